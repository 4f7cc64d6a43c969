/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An OVF and what travels with it: a tar or zip (.ova), a folder, or the .ovf by its own name (C6).
 *
 * The OVF's own digest is checked before it is believed, those of the disks by `verify`, beside the copy. Members found
 * by the manifest are resolved when the source is opened, so that `verify` may run in a thread.
 */
#include "source/bundle.h"
#include "source/manifest.h"
#include "source/sources.h"
#include "source/unpack.h"
#include "disk/image-beneath.h"
#include "vm/read.h"
#include "base/error.h"
#include "base/text.h"

#include <string.h>
#include <unistd.h>

enum
{
    MANIFEST_MAX_BYTES = 4 << 20,
};

struct ova
{
    struct vmf_source base;
    struct vmf_bundle *bundle;
    const struct vmf_bundle_member *ovf;
    char *folder;        /* of the OVF within the bundle, or "" */
    GPtrArray *manifest; /* struct vmf_manifest_entry*; NULL: none */
    bool signed_;        /* there is a .cert, which nobody checks */
    char *work_dir;
    GHashTable *unpacked; /* member → path of the unpacked file, removed at the end */
};

static bool
is_archive (const char *address)
{
    static const char *const extensions[] = { ".ova", ".ovf", NULL };
    char first[512];
    if (!vmf_source_first_bytes (address, first, sizeof first))
        return false;
    return vmf_source_has_extension (address, extensions) || memcmp (first + 257, "ustar", 5) == 0
           || memcmp (first, "PK\x03\x04", 4) == 0;
}

static bool
claims (const char *address)
{
    if (!g_file_test (address, G_FILE_TEST_IS_DIR))
        return is_archive (address);
    g_autoptr (GPtrArray) names = vmf_source_names_in (address, ".ovf");
    return names->len > 0;
}

/* The only .ovf; with WANTED, that one. */
static const struct vmf_bundle_member *
find_ovf (const struct vmf_bundle *bundle, const char *wanted, GError **error)
{
    static const char *const extensions[] = { ".ovf", NULL };
    const struct vmf_bundle_member *found = NULL;
    g_autoptr (GString) names = g_string_new (NULL);
    unsigned n = 0;
    for (guint i = 0; i < bundle->members->len; i++)
    {
        const struct vmf_bundle_member *member = g_ptr_array_index (bundle->members, i);
        g_autofree char *shown = vmf_text_printable (member->name, 80);
        if (wanted ? strcmp (member->name, wanted) != 0 : !vmf_source_has_extension (member->name, extensions))
            continue;
        if (names->len < 1000)
            g_string_append_printf (names, "%s%s", n > 0 ? ", " : "", shown);
        found = member;
        n++;
    }
    if (n == 1)
        return found;
    if (n == 0)
        g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT, "there is no .ovf in it, so it is no OVA");
    else
        g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE,
                     "there are several machines in it (%s); unpack it and name one of the .ovf files", names->str);
    return NULL;
}

/* The member beside the OVF with its name but EXTENSION; NULL: none. */
static const struct vmf_bundle_member *
find_sibling (const struct ova *ova, const char *extension)
{
    g_autofree char *stem = g_strndup (ova->ovf->name, strlen (ova->ovf->name) - strlen (".ovf"));
    g_autofree char *wanted = g_strconcat (stem, extension, NULL);
    for (guint i = 0; i < ova->bundle->members->len; i++)
    {
        const struct vmf_bundle_member *member = g_ptr_array_index (ova->bundle->members, i);
        if (g_ascii_strcasecmp (member->name, wanted) == 0)
            return member;
    }
    return NULL;
}

static bool
read_manifest (struct ova *ova, GError **error)
{
    size_t length;
    const struct vmf_bundle_member *member = find_sibling (ova, ".mf");
    ova->signed_ = find_sibling (ova, ".cert") != NULL;
    if (!member)
        return true;
    g_autofree char *text = vmf_bundle_read (ova->bundle, member, MANIFEST_MAX_BYTES, &length, error);
    ova->manifest = text ? vmf_manifest_parse (text, ova->bundle, ova->folder, error) : NULL;
    return ova->manifest != NULL;
}

static void
forget_unpacked (void *path)
{
    unlink (path);
    g_free (path);
}

static void
close_source (struct vmf_source *base)
{
    struct ova *ova = (struct ova *)base;
    g_hash_table_unref (ova->unpacked);
    g_clear_pointer (&ova->manifest, g_ptr_array_unref);
    vmf_bundle_free (ova->bundle);
    g_free (ova->folder);
    g_free (ova->work_dir);
    g_free (ova);
}

static struct vmf_bundle *
open_bundle (const char *address, char **wanted, GCancellable *cancellable, GError **error)
{
    static const char *const extensions[] = { ".ovf", NULL };
    if (g_file_test (address, G_FILE_TEST_IS_DIR))
        return vmf_bundle_open_folder (address, error);
    if (!vmf_source_has_extension (address, extensions))
        return vmf_bundle_open_archive (address, cancellable, error);
    g_autofree char *path = g_canonicalize_filename (address, NULL), *folder = g_path_get_dirname (path);
    *wanted = g_path_get_basename (path);
    return vmf_bundle_open_folder (folder, error);
}

static struct vmf_source *
open_source (const char *address, const struct vmf_source_options *options, GCancellable *cancellable, GError **error)
{
    g_autofree char *wanted = NULL;
    struct vmf_bundle *bundle = open_bundle (address, &wanted, cancellable, error);
    if (!bundle)
        return NULL;
    struct ova *ova = g_new0 (struct ova, 1);
    ova->bundle = bundle;
    ova->work_dir = g_strdup (options->work_dir);
    ova->unpacked = g_hash_table_new_full (g_direct_hash, g_direct_equal, NULL, forget_unpacked);
    ova->ovf = find_ovf (bundle, wanted, error);
    if (ova->ovf)
    {
        const char *slash = strrchr (ova->ovf->name, '/');
        ova->folder = slash ? g_strndup (ova->ovf->name, (gsize)(slash - ova->ovf->name)) : g_strdup ("");
    }
    if (ova->ovf && read_manifest (ova, error))
        return &ova->base;
    close_source (&ova->base);
    return NULL;
}

/* The manifest's entry for MEMBER. */
static const struct vmf_manifest_entry *
vouching (const struct ova *ova, const struct vmf_bundle_member *member)
{
    for (guint i = 0; ova->manifest && i < ova->manifest->len; i++)
    {
        const struct vmf_manifest_entry *entry = g_ptr_array_index (ova->manifest, i);
        if (entry->member == member)
            return entry;
    }
    return NULL;
}

static const struct vmf_bundle_member *
find_disk (struct ova *ova, const struct vmf_disk *disk, GError **error)
{
    if (disk->place.location == VMF_LOCATION_FILE && disk->place.path)
        return vmf_bundle_find (ova->bundle, ova->folder, disk->place.path, error);
    g_set_error (error, VMF_ERROR, VMF_ERROR_NOT_FOUND, "the OVF names no file for it, so there is nothing to import");
    return NULL;
}

/* A slow road is said, with what would be a faster one (PITFALLS 1). */
static void
note_unpacking (struct ova *ova, struct vmf_vm *vm)
{
    const struct vmf_disk *disk;
    for (unsigned n = 0; ova->bundle->kind == VMF_BUNDLE_ZIP && (disk = vmf_vm_get_import_disk (vm, n)); n++)
    {
        const struct vmf_bundle_member *member = find_disk (ova, disk, NULL);
        g_autofree char *size = member && !member->in_place ? vmf_text_from_size (member->length_bytes) : NULL;
        if (size)
            vmf_vm_add_note (vm,
                             "The zip has %s compressed, so its %s are unpacked into the work directory first; from a "
                             "zip that only stores it (zip -0), a tar or a folder it is read where it lies.",
                             member->name, size);
    }
}

static void
add_notes (struct ova *ova, struct vmf_vm *vm)
{
    const struct vmf_disk *disk;
    note_unpacking (ova, vm);
    for (unsigned n = 0; ova->manifest && (disk = vmf_vm_get_import_disk (vm, n)); n++)
    {
        const struct vmf_bundle_member *member = find_disk (ova, disk, NULL);
        if (member && !vouching (ova, member))
            vmf_vm_add_note (vm, "The manifest says nothing about %s, so its bytes are not checked.", member->name);
    }
    if (ova->signed_)
        vmf_vm_add_note (vm, "The OVF is signed; the manifest is checked, the signature is not.");
}

/* The OVF's text, checked. Caller frees. */
static char *
read_ovf (struct ova *ova, size_t *length, GCancellable *cancellable, GError **error)
{
    const struct vmf_manifest_entry *entry = vouching (ova, ova->ovf);
    if (entry && !vmf_manifest_check (ova->bundle, entry, cancellable, error))
        return NULL;
    return vmf_bundle_read (ova->bundle, ova->ovf, VMF_SOURCE_TEXT_MAX, length, error);
}

/* An OVF that cannot be read at all is one entry with its problem. */
static GPtrArray *
list (struct vmf_source *base, const struct vmf_source_filter *filter, GCancellable *cancellable, GError **error)
{
    size_t length;
    g_autofree char *text = read_ovf ((struct ova *)base, &length, cancellable, NULL);
    g_auto (GStrv) names = text ? vmf_vm_list_ovf (text, length, NULL) : NULL;
    return names ? vmf_source_list_names (base, (const char *const *)names, cancellable, error)
                 : vmf_source_list_one (base, filter, cancellable, error);
}

static struct vmf_vm *
describe (struct vmf_source *base, const char *name, GCancellable *cancellable, GError **error)
{
    struct ova *ova = (struct ova *)base;
    size_t length;
    g_autofree char *text = read_ovf (ova, &length, cancellable, error);
    struct vmf_vm *vm = text ? vmf_vm_read_ovf_named (text, length, name, error) : NULL;
    if (vm)
        add_notes (ova, vm);
    else if (text)
        g_prefix_error (error, "'%s': ", ova->ovf->name);
    return vm;
}

/* What may come out of a compressed disk: its capacity, and a format's own tables. */
static uint64_t
unpacked_max (const struct vmf_disk *disk)
{
    uint64_t capacity = MIN (disk->capacity_bytes, VMF_IMAGE_SIZE_MAX_BYTES);
    return capacity == 0 ? VMF_IMAGE_SIZE_MAX_BYTES : capacity + capacity / 32 + (16 << 20);
}

/* Unpacks MEMBER once. Borrowed. */
static const char *
unpack (struct ova *ova, const struct vmf_bundle_member *member, const struct vmf_disk *disk, bool gzip,
        GCancellable *cancellable, GError **error)
{
    char *path = g_hash_table_lookup (ova->unpacked, member);
    struct vmf_unpack_options options = { .work_dir = ova->work_dir,
                                          .number = g_hash_table_size (ova->unpacked),
                                          .gzip = gzip,
                                          .max_bytes = unpacked_max (disk) };
    if (!path)
        path = vmf_unpack (ova->bundle, member, &options, cancellable, error);
    if (path)
        g_hash_table_steal (ova->unpacked, member), g_hash_table_insert (ova->unpacked, (void *)member, path);
    return path;
}

static char *
format_of (const struct vmf_disk *disk)
{
    static const char *const extensions[] = { ".gz", NULL };
    g_autofree char *name = g_strdup (disk->place.path);
    if (disk->place.format)
        return g_strdup (disk->place.format);
    if (vmf_source_has_extension (name, extensions))
        name[strlen (name) - 3] = '\0';
    return g_strdup (vmf_format_from_path (name));
}

static struct vmf_image *
open_in_folder (const struct ova *ova, const struct vmf_bundle_member *member, const char *format, GError **error)
{
    g_autofree char *path = NULL;
    int fd = vmf_beneath_open (ova->bundle->path, member->name, "disk", &path, error);
    if (fd < 0)
        return NULL;
    close (fd);
    return vmf_image_new_file (path, format, ova->bundle->path, NULL, error);
}

static struct vmf_image *
open_member (struct ova *ova, const struct vmf_bundle_member *member, const struct vmf_disk *disk, const char *format,
             GCancellable *cancellable, GError **error)
{
    static const char *const extensions[] = { ".gz", NULL };
    bool gzip = disk->place.gzip || vmf_source_has_extension (member->name, extensions);
    if (gzip || (ova->bundle->kind == VMF_BUNDLE_ZIP && !member->in_place))
    {
        const char *path = unpack (ova, member, disk, gzip, cancellable, error);
        return path ? vmf_image_new_file (path, format, NULL, NULL, error) : NULL;
    }
    if (ova->bundle->kind == VMF_BUNDLE_FOLDER)
        return open_in_folder (ova, member, format, error);
    return vmf_image_new_part (ova->bundle->path, member->offset_bytes, member->length_bytes, format, error);
}

/* A raw disk has no header that could say that it is cut off; the OVF knows its size. */
static bool
check_capacity (const struct vmf_image *image, const struct vmf_disk *disk, GError **error)
{
    if (strcmp (image->format, "raw") != 0 || image->size_bytes >= disk->capacity_bytes)
        return true;
    g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT,
                 "the file '%s' holds %" G_GUINT64_FORMAT
                 " bytes, but the OVF says that the disk has %" G_GUINT64_FORMAT "; it is cut off, copy it again",
                 disk->place.path, (guint64)image->size_bytes, (guint64)disk->capacity_bytes);
    return false;
}

static struct vmf_image *
open_image (struct vmf_source *base, const struct vmf_vm *vm, const struct vmf_disk *disk, GCancellable *cancellable,
            GError **error)
{
    struct ova *ova = (struct ova *)base;
    const struct vmf_bundle_member *member = find_disk (ova, disk, error);
    g_autofree char *format = member ? format_of (disk) : NULL;
    g_autoptr (vmf_image) image = NULL;
    if (member && !format)
        g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT, "neither the OVF nor the name '%s' says its format",
                     disk->place.path);
    if (format)
        image = open_member (ova, member, disk, format, cancellable, error);
    if (image && check_capacity (image, disk, error))
        return g_steal_pointer (&image);
    g_prefix_error (error, "disk %s: ", disk->id ? disk->id : "");
    return NULL;
}

static bool
ignore_chunk (const void *bytes, size_t length, void *data, GError **error)
{
    return true;
}

/* What no manifest vouches for, the zip does: by a CRC, which reading in place does not look at. */
static bool
check_crcs (struct ova *ova, GCancellable *cancellable, GError **error)
{
    for (guint i = 0; ova->bundle->kind == VMF_BUNDLE_ZIP && i < ova->bundle->members->len; i++)
    {
        const struct vmf_bundle_member *member = g_ptr_array_index (ova->bundle->members, i);
        if (!member->in_place || vouching (ova, member)
            || vmf_bundle_stream_zip (ova->bundle, member, ignore_chunk, NULL, cancellable, error))
            continue;
        g_prefix_error (error, "'%s': ", member->name);
        return false;
    }
    return true;
}

static bool
verify (struct vmf_source *base, const struct vmf_vm *vm, GCancellable *cancellable, GError **error)
{
    struct ova *ova = (struct ova *)base;
    for (guint i = 0; ova->manifest && i < ova->manifest->len; i++)
    {
        const struct vmf_manifest_entry *entry = g_ptr_array_index (ova->manifest, i);
        if (!vmf_manifest_check (ova->bundle, entry, cancellable, error))
            return false;
    }
    return check_crcs (ova, cancellable, error);
}

const struct vmf_source_ops vmf_source_ova = {
    .name = "ova",
    .claims = claims,
    .open = open_source,
    .close = close_source,
    .list = list,
    .describe = describe,
    .image = open_image,
    .verify = verify,
};
