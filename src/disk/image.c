/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opening an image and what it refers to. Parsers give names (image-parse.h), image-beneath.c opens them, this file
 * holds the rules: which names may be followed, how deep, and that no chain bites its tail.
 */
#include "disk/image.h"
#include "disk/image-beneath.h"
#include "disk/image-parse.h"
#include "disk/nbd.h"
#include "base/error.h"
#include "base/text.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum
{
    DEPTH_MAX = 32,
};

/* What the images of one chain share while it is opened. */
struct opening
{
    const char *root; /* NULL: no references */
    GArray *seen;     /* struct stat of each file of the chain */
};

static void
helper_free (struct vmf_image_helper *helper)
{
    if (!helper)
        return;
    g_strfreev (helper->words);
    g_free (helper->secret);
    g_strfreev (helper->env);
    g_strfreev (helper->readable);
    vmf_feed_options_free (helper->feed);
    g_free (helper);
}

void
vmf_image_free (struct vmf_image *image)
{
    if (!image)
        return;
    g_free (image->path);
    g_free (image->nbd_uri);
    helper_free (image->helper);
    g_free (image->format);
    g_free (image->root);
    vmf_image_free (image->backing);
    vmf_image_free (image->data_file);
    g_free (image);
}

static uint64_t
whole_sectors (uint64_t bytes)
{
    return bytes + (-bytes & 511);
}

static bool
check_not_seen (struct opening *opening, int fd, GError **error)
{
    struct stat info;
    if (fstat (fd, &info) != 0)
        return vmf_image_refuse (error, VMF_ERROR_FAILED, "cannot look at it");
    for (guint i = 0; i < opening->seen->len; i++)
    {
        const struct stat *other = &g_array_index (opening->seen, struct stat, i);
        if (other->st_ino == info.st_ino && other->st_dev == info.st_dev)
            return vmf_image_refuse (error, VMF_ERROR_UNSAFE, "its chain of backing files leads back to itself");
    }
    g_array_append_val (opening->seen, info);
    if (opening->seen->len > DEPTH_MAX)
        return vmf_image_refuse (error, VMF_ERROR_UNSAFE, "its chain of backing files is more than %d deep", DEPTH_MAX);
    return true;
}

/* Opens NAME, which the image at PATH named, in that image's own folder. */
static int
open_reference (const struct opening *opening, const char *path, const char *name, const char *what, char **real_path,
                GError **error)
{
    g_autofree char *folder = g_path_get_dirname (path);
    if (!vmf_beneath_check_name (name, what, error))
        return -1;
    if (!opening->root)
    {
        g_autofree char *shown = vmf_text_printable (name, 120);
        vmf_image_refuse (error, VMF_ERROR_UNSAFE, "refused: the %s '%s' is named, but this image stands alone", what,
                          shown);
        return -1;
    }
    return vmf_beneath_open (folder, name, what, real_path, error);
}

static bool
check_extent (const struct opening *opening, const char *path, const struct vmf_image_extent *extent, GError **error)
{
    g_autofree char *real_path = NULL;
    struct stat info;
    int fd = open_reference (opening, path, extent->name, "extent", &real_path, error);
    bool good = fd >= 0 && fstat (fd, &info) == 0;
    struct vmf_image_input input = { fd, 0, good ? (uint64_t)info.st_size : 0 };
    if (good && !vmf_image_check_extent (&input, extent, error))
        good = (g_prefix_error (error, "extent '%s': ", extent->name), false);
    if (fd >= 0)
        close (fd);
    return good;
}

static struct vmf_image *open_chain (struct opening *opening, int fd, char *path, uint64_t length_bytes,
                                     const char *format, struct vmf_image *backing, GError **error);

/* The backing file or data file that IMAGE names. */
static struct vmf_image *
open_child (struct opening *opening, const struct vmf_image *image, const char *name, const char *what,
            const char *format, GError **error)
{
    char *path = NULL;
    struct stat info = { 0 };
    int fd = open_reference (opening, image->path, name, what, &path, error);
    if (fd < 0 || fstat (fd, &info) != 0)
        return NULL;
    return open_chain (opening, fd, path, (uint64_t)info.st_size, format, NULL, error);
}

static bool
open_backing (struct opening *opening, struct vmf_image *image, const struct vmf_image_facts *facts, GError **error)
{
    if (image->backing || !facts->backing)
        return true;
    if (!vmf_beneath_check_name (facts->backing, "backing file", error))
    {
        static const char remedy[] = "; record a relative name with 'qemu-img rebase -u -b NAME -F FORMAT', or name "
                                     "the chain as <backingStore> in a libvirt XML";
        if (error && *error && strcmp (image->format, "qcow2") == 0)
        {
            g_autofree char *cause = (*error)->message;
            (*error)->message = g_strconcat (cause, remedy, NULL);
        }
        return false;
    }
    const char *format = facts->backing_format;
    if (!format || !*format)
        return vmf_image_refuse (error, VMF_ERROR_UNSAFE,
                                 "refused: it does not record its backing file's format, and a format is never "
                                 "guessed; record it with 'qemu-img rebase -u -b %s -F FORMAT'",
                                 facts->backing);
    image->has_references = true;
    image->backing = open_child (opening, image, facts->backing, "backing file", format, error);
    return image->backing != NULL;
}

static bool
open_references (struct opening *opening, struct vmf_image *image, const struct vmf_image_facts *facts, GError **error)
{
    for (guint i = 0; i < facts->extents->len; i++)
        if (!check_extent (opening, image->path, g_ptr_array_index (facts->extents, i), error))
            return false;
    image->has_references = facts->extents->len > 0 || facts->data_file;
    if (facts->data_file)
    {
        image->data_file = open_child (opening, image, facts->data_file, "data file", "raw", error);
        if (!image->data_file)
            return false;
    }
    return open_backing (opening, image, facts, error);
}

static void
take_facts (struct vmf_image *image, const struct vmf_image_facts *facts, const char *format)
{
    image->size_bytes = whole_sectors (facts->size_bytes);
    image->format = g_strdup (facts->is_raw ? "raw" : format);
    if (facts->is_raw && strcmp (format, "raw") != 0)
        image->length_bytes = facts->size_bytes;
}

/* FD, PATH and BACKING are taken over. */
static struct vmf_image *
open_chain (struct opening *opening, int fd, char *path, uint64_t length_bytes, const char *format,
            struct vmf_image *backing, GError **error)
{
    g_autoptr (vmf_image) image = g_new0 (struct vmf_image, 1);
    struct vmf_image_input input = { fd, 0, length_bytes };
    image->path = path;
    image->root = g_strdup (opening->root);
    image->backing = backing;
    g_autoptr (vmf_image_facts) facts = NULL;
    if (check_not_seen (opening, fd, error))
        facts = vmf_image_parse (&input, format, error);
    if (facts)
        take_facts (image, facts, format);
    bool good = facts && open_references (opening, image, facts, error);
    close (fd);
    if (good)
        return g_steal_pointer (&image);
    /* The image that has the fault is named, not all that led to it. */
    g_autofree char *shown = vmf_text_printable (path, 300);
    if (error && *error && !g_str_has_prefix ((*error)->message, "image '"))
        g_prefix_error (error, "image '%s' (%s): ", shown, format ? format : "no format");
    return NULL;
}

/* ROOT with links resolved, or NULL where references have no place: a device, or the top folder. */
static char *
usable_root (int fd, const char *root, const char *real_path)
{
    struct stat info;
    if (!root || fstat (fd, &info) != 0 || !S_ISREG (info.st_mode))
        return NULL;
    g_autofree char *real = realpath (root, NULL);
    g_autofree char *with_slash = g_strconcat (real ? real : "", "/", NULL);
    g_autofree char *result =
        real && g_str_has_prefix (real_path, with_slash) ? g_strdup (real) : g_path_get_dirname (real_path);
    return strcmp (result, "/") == 0 ? NULL : g_steal_pointer (&result);
}

struct vmf_image *
vmf_image_new_file (const char *path, const char *format, const char *root, struct vmf_image *backing, GError **error)
{
    uint64_t length_bytes = 0;
    char *real_path = NULL;
    int fd = vmf_beneath_open_own (path, &real_path, &length_bytes, error);
    if (fd < 0)
        return vmf_image_free (backing), NULL;
    g_autofree char *real_root = usable_root (fd, root, real_path);
    g_autoptr (GArray) seen = g_array_new (FALSE, FALSE, sizeof (struct stat));
    struct opening opening = { real_root, seen };
    return open_chain (&opening, fd, real_path, length_bytes, format, backing, error);
}

struct vmf_image *
vmf_image_new_part (const char *path, uint64_t offset_bytes, uint64_t length_bytes, const char *format, GError **error)
{
    uint64_t file_bytes, end;
    g_autoptr (vmf_image) image = g_new0 (struct vmf_image, 1);
    int fd = vmf_beneath_open_own (path, &image->path, &file_bytes, error);
    if (fd < 0)
        return NULL;
    struct vmf_image_input input = { fd, offset_bytes, length_bytes };
    g_autoptr (vmf_image_facts) facts = NULL;
    if (length_bytes == 0 || __builtin_add_overflow (offset_bytes, length_bytes, &end) || end > file_bytes)
        vmf_image_refuse (error, VMF_ERROR_CORRUPT, "the file '%s' is cut off: the image lies behind its end", path);
    else
        facts = vmf_image_parse (&input, format, error);
    close (fd);
    if (facts && (facts->extents->len > 0 || facts->data_file || facts->backing))
        return vmf_image_refuse (
                   error, VMF_ERROR_UNSAFE,
                   "refused: the image refers to other files, but it lies in an archive and stands alone"),
               NULL;
    if (!facts)
        return NULL;
    image->offset_bytes = offset_bytes;
    image->length_bytes = length_bytes;
    take_facts (image, facts, format);
    return g_steal_pointer (&image);
}

static bool
check_uri (const char *uri, GError **error)
{
    g_autoptr (GUri) parsed = vmf_nbd_is_uri (uri) ? g_uri_parse (uri, G_URI_FLAGS_HAS_PASSWORD, NULL) : NULL;
    if (!parsed)
        return vmf_image_refuse (error, VMF_ERROR_USAGE,
                                 "'%s' is not an NBD address; they look like nbd://host:port/export or "
                                 "nbd+unix:///export?socket=/path",
                                 uri);
    if (g_uri_get_password (parsed))
        return vmf_image_refuse (error, VMF_ERROR_USAGE, "an NBD address holds no password; take it out");
    return true;
}

struct vmf_image *
vmf_image_new_nbd (const char *nbd_uri, const char *format, struct vmf_image *backing, GError **error)
{
    static const char *const formats[] = { "raw", "qcow2", "vmdk", "vpc", "vhdx", "vdi", NULL };
    g_autoptr (vmf_image) image = g_new0 (struct vmf_image, 1);
    image->backing = backing;
    if (!check_uri (nbd_uri, error))
        return NULL;
    if (!format || !g_strv_contains (formats, format))
        return vmf_image_refuse (error, VMF_ERROR_USAGE, "'%s': the format '%s' is not known", nbd_uri,
                                 format ? format : ""),
               NULL;
    image->nbd_uri = g_strdup (nbd_uri);
    image->format = g_strdup (format);
    return g_steal_pointer (&image);
}

struct vmf_image *
vmf_image_new_helper (const struct vmf_image_helper *helper, uint64_t size_bytes, GError **error)
{
    bool plugin = false;
    for (size_t i = 0; helper->words && helper->words[i]; i++)
        plugin = plugin || helper->words[i][0] != '-';
    if (!plugin)
        return vmf_image_refuse (error, VMF_ERROR_USAGE, "nothing says which plugin serves this disk"), NULL;
    struct vmf_image *image = g_new0 (struct vmf_image, 1);
    struct vmf_image_helper *copy = image->helper = g_new (struct vmf_image_helper, 1);
    *copy = *helper;
    copy->words = g_strdupv (helper->words);
    copy->secret = g_strdup (helper->secret);
    copy->env = g_strdupv (helper->env);
    copy->readable = g_strdupv (helper->readable);
    copy->feed = helper->feed ? vmf_feed_options_copy (helper->feed) : NULL;
    image->format = g_strdup ("raw");
    image->size_bytes = size_bytes;
    return image;
}

bool
vmf_image_is_sequential (const struct vmf_image *image)
{
    return image->helper && image->helper->sequential;
}

static bool
chain_has_references (const struct vmf_image *image)
{
    return image && (image->has_references || chain_has_references (image->backing));
}

void
vmf_image_narrow (struct vmf_image *image)
{
    for (; image && !chain_has_references (image); image = image->backing)
        g_clear_pointer (&image->root, g_free);
}

static void
add_bindings (const struct vmf_image *image, GPtrArray *paths)
{
    if (!image)
        return;
    const char *path = image->root ? image->root : image->path;
    if (path && !g_ptr_array_find_with_equal_func (paths, path, g_str_equal, NULL))
        g_ptr_array_add (paths, g_strdup (path));
    add_bindings (image->data_file, paths);
    add_bindings (image->backing, paths);
}

GStrv
vmf_image_get_bindings (const struct vmf_image *image)
{
    GPtrArray *paths = g_ptr_array_new ();
    add_bindings (image, paths);
    g_ptr_array_add (paths, NULL);
    return (GStrv)g_ptr_array_free (paths, FALSE);
}
