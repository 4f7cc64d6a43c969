/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bundles: opening, finding a member as people expect it, reading it. */
#include "source/bundle.h"
#include "disk/image-beneath.h"
#include "base/error.h"
#include "base/text.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum
{
    MEMBERS_MAX = 10000,
    CHUNK_BYTES = 1024 * 1024,
};

static void
member_free (void *data)
{
    struct vmf_bundle_member *member = data;
    g_free (member->name);
    g_free (member);
}

void
vmf_bundle_free (struct vmf_bundle *bundle)
{
    if (!bundle)
        return;
    g_free (bundle->path);
    g_ptr_array_unref (bundle->members);
    g_free (bundle);
}

static struct vmf_bundle *
bundle_new (enum vmf_bundle_kind kind, const char *path)
{
    struct vmf_bundle *bundle = g_new0 (struct vmf_bundle, 1);
    bundle->kind = kind;
    bundle->path = realpath (path, NULL);
    bundle->members = g_ptr_array_new_with_free_func (member_free);
    return bundle;
}

static void
append (struct vmf_bundle *bundle, const char *name, uint64_t offset_bytes, uint64_t length_bytes, bool in_place)
{
    struct vmf_bundle_member *member = g_new0 (struct vmf_bundle_member, 1);
    *member = (struct vmf_bundle_member){ g_strdup (name), offset_bytes, length_bytes, in_place };
    g_ptr_array_add (bundle->members, member);
}

static const char *
without_dot (const char *name)
{
    while (g_str_has_prefix (name, "./"))
        name += 2 + strspn (name + 2, "/");
    return name;
}

bool
vmf_bundle_add (struct vmf_bundle *bundle, GHashTable *names, const char *name, uint64_t offset_bytes,
                uint64_t length_bytes, bool in_place, GError **error)
{
    name = without_dot (name);
    if (!vmf_beneath_check_name (name, "archive member", error))
        return false;
    if (g_hash_table_contains (names, name))
    {
        g_autofree char *shown = vmf_text_printable (name, 120);
        g_set_error (error, VMF_ERROR, VMF_ERROR_UNSAFE, "refused: the archive has the member '%s' twice", shown);
        return false;
    }
    if (bundle->members->len >= MEMBERS_MAX)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_UNSAFE,
                     "refused: the archive has more than %d members; an OVA has a handful", MEMBERS_MAX);
        return false;
    }
    g_hash_table_add (names, g_strdup (name));
    append (bundle, name, offset_bytes, length_bytes, in_place);
    return true;
}

/* Only the folder itself: what lies deeper is found when an OVF names it. */
struct vmf_bundle *
vmf_bundle_open_folder (const char *path, GError **error)
{
    g_autoptr (vmf_bundle) bundle = bundle_new (VMF_BUNDLE_FOLDER, path);
    g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
    const char *name;
    if (!dir || !bundle->path)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_NOT_FOUND, "cannot open the folder '%s'", path);
        return NULL;
    }
    while ((name = g_dir_read_name (dir)) && bundle->members->len < MEMBERS_MAX)
        append (bundle, name, 0, 0, false);
    return g_steal_pointer (&bundle);
}

static bool
check_kind (struct vmf_bundle *bundle, const uint8_t *first, GError **error)
{
    static const struct
    {
        const char *magic, *name, *program;
    } packed[] = { { "\x1f\x8b", "gzip", "gunzip" },
                   { "BZh", "bzip2", "bunzip2" },
                   { "\xfd"
                     "7zXZ",
                     "xz", "unxz" },
                   { "\x28\xb5\x2f\xfd", "zstd", "unzstd" } };
    for (size_t i = 0; i < G_N_ELEMENTS (packed); i++)
        if (memcmp (first, packed[i].magic, strlen (packed[i].magic)) == 0)
        {
            g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE,
                         "the archive is compressed as a whole with %s, so its disks can't be read in place; unpack it "
                         "with %s first",
                         packed[i].name, packed[i].program);
            return false;
        }
    bundle->kind = memcmp (first, "PK", 2) == 0 ? VMF_BUNDLE_ZIP : VMF_BUNDLE_TAR;
    return true;
}

struct vmf_bundle *
vmf_bundle_open_archive (const char *path, GCancellable *cancellable, GError **error)
{
    g_autoptr (vmf_bundle) bundle = bundle_new (VMF_BUNDLE_TAR, path);
    g_autofree char *real_path = NULL;
    uint8_t first[8] = { 0 };
    uint64_t size_bytes;
    int fd = vmf_beneath_open_own (path, &real_path, &size_bytes, error);
    if (fd < 0)
        return NULL;
    bool good = pread (fd, first, sizeof first, 0) >= 0;
    close (fd);
    if (!good)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "cannot read it");
        return NULL;
    }
    if (!check_kind (bundle, first, error))
        return NULL;
    good = bundle->kind == VMF_BUNDLE_ZIP ? vmf_bundle_index_zip (bundle, cancellable, error)
                                          : vmf_bundle_index_tar (bundle, cancellable, error);
    return good ? g_steal_pointer (&bundle) : NULL;
}

/* How well MEMBER fits WANTED: 0 not at all, 1 by its last part, 2 but for ".gz", 3 but for case, 4 exactly. */
static int
fitness (const char *member, const char *wanted)
{
    if (strcmp (member, wanted) == 0)
        return 4;
    if (g_ascii_strcasecmp (member, wanted) == 0)
        return 3;
    g_autofree char *longer = g_strconcat (wanted, ".gz", NULL), *other = g_strconcat (member, ".gz", NULL);
    if (g_ascii_strcasecmp (member, longer) == 0 || g_ascii_strcasecmp (other, wanted) == 0)
        return 2;
    g_autofree char *last = g_path_get_basename (member), *wanted_last = g_path_get_basename (wanted);
    return g_ascii_strcasecmp (last, wanted_last) == 0 ? 1 : 0;
}

/* The best one; NULL where there is none, or where two fit equally well (AMBIGUOUS). */
static const struct vmf_bundle_member *
best (const struct vmf_bundle *bundle, const char *wanted, int least, bool *ambiguous)
{
    const struct vmf_bundle_member *found = NULL;
    int found_fit = least - 1;
    for (guint i = 0; i < bundle->members->len; i++)
    {
        const struct vmf_bundle_member *member = g_ptr_array_index (bundle->members, i);
        int fit = fitness (member->name, wanted);
        if (fit > found_fit)
            *ambiguous = false;
        else if (fit == found_fit && found)
            *ambiguous = true;
        if (fit > found_fit)
        {
            found = member;
            found_fit = fit;
        }
    }
    return *ambiguous ? NULL : found;
}

/* A folder's deeper files: not listed, tried. */
static const struct vmf_bundle_member *
find_deeper (struct vmf_bundle *bundle, const char *name, GError **error)
{
    int fd = vmf_beneath_open (bundle->path, name, "file", NULL, error);
    if (fd < 0)
        return NULL;
    close (fd);
    append (bundle, name, 0, 0, false);
    return g_ptr_array_index (bundle->members, bundle->members->len - 1);
}

const struct vmf_bundle_member *
vmf_bundle_find (struct vmf_bundle *bundle, const char *folder, const char *name, GError **error)
{
    bool ambiguous = false;
    name = without_dot (name);
    if (!vmf_beneath_check_name (name, "file", error))
        return NULL;
    g_autofree char *beside = *folder ? g_build_filename (folder, name, NULL) : g_strdup (name);
    g_autoptr (GError) why = NULL;
    const struct vmf_bundle_member *member = best (bundle, beside, 2, &ambiguous);
    if (!member && !ambiguous && bundle->kind == VMF_BUNDLE_FOLDER && strchr (beside, '/'))
        member = find_deeper (bundle, beside, &why);
    if (why && !g_error_matches (why, VMF_ERROR, VMF_ERROR_NOT_FOUND))
        return g_propagate_error (error, g_steal_pointer (&why)), NULL;
    if (!member && !ambiguous)
        member = best (bundle, name, 1, &ambiguous);
    if (member)
        return member;
    g_autofree char *shown = vmf_text_printable (name, 120);
    g_set_error (error, VMF_ERROR, VMF_ERROR_NOT_FOUND,
                 ambiguous ? "the description names the file '%s', and several that are here could be meant"
                           : "the description names the file '%s', which is not here",
                 shown);
    return NULL;
}

static bool
stream_fd (int fd, uint64_t offset, uint64_t length, vmf_bundle_chunk_fn on_chunk, void *data,
           GCancellable *cancellable, GError **error)
{
    g_autofree char *chunk = g_malloc (CHUNK_BYTES);
    while (length > 0)
    {
        if (vmf_error_if_cancelled (cancellable, error))
            return false;
        ssize_t n = pread (fd, chunk, (size_t)MIN (length, (uint64_t)CHUNK_BYTES), (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
        {
            g_set_error (error, VMF_ERROR, n < 0 ? VMF_ERROR_FAILED : VMF_ERROR_CORRUPT, "cannot read it: %s",
                         n < 0 ? g_strerror (errno) : "it is cut off");
            return false;
        }
        if (!on_chunk (chunk, (size_t)n, data, error))
            return false;
        offset += (uint64_t)n;
        length -= (uint64_t)n;
    }
    return true;
}

bool
vmf_bundle_stream (const struct vmf_bundle *bundle, const struct vmf_bundle_member *member,
                   vmf_bundle_chunk_fn on_chunk, void *data, GCancellable *cancellable, GError **error)
{
    g_autofree char *real_path = NULL;
    uint64_t size_bytes = 0;
    if (bundle->kind != VMF_BUNDLE_FOLDER && !member->in_place)
        return vmf_bundle_stream_zip (bundle, member, on_chunk, data, cancellable, error);
    bool folder = bundle->kind == VMF_BUNDLE_FOLDER;
    int fd = folder ? vmf_beneath_open (bundle->path, member->name, "file", NULL, error)
                    : vmf_beneath_open_own (bundle->path, &real_path, &size_bytes, error);
    if (fd < 0)
        return false;
    uint64_t length = folder ? (uint64_t)lseek (fd, 0, SEEK_END) : member->length_bytes;
    bool good = stream_fd (fd, member->offset_bytes, length, on_chunk, data, cancellable, error);
    close (fd);
    return good;
}

struct text
{
    GByteArray *bytes;
    size_t max;
};

static bool
on_text (const void *bytes, size_t length, void *data, GError **error)
{
    struct text *text = data;
    if (text->bytes->len + length > text->max)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_UNSAFE, "it is longer than %zu KiB, the most that is read",
                     text->max / 1024);
        return false;
    }
    g_byte_array_append (text->bytes, bytes, (guint)length);
    return true;
}

char *
vmf_bundle_read (const struct vmf_bundle *bundle, const struct vmf_bundle_member *member, size_t max_bytes,
                 size_t *length, GError **error)
{
    struct text text = { g_byte_array_new (), max_bytes };
    bool good = vmf_bundle_stream (bundle, member, on_text, &text, NULL, error);
    if (!good)
        g_prefix_error (error, "cannot read '%s': ", member->name);
    *length = text.bytes->len;
    g_byte_array_append (text.bytes, (const guint8 *)"", 1);
    char *bytes = (char *)g_byte_array_free (text.bytes, FALSE);
    if (!good)
        g_clear_pointer (&bytes, g_free);
    return bytes;
}
