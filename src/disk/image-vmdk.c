/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VMDK's binary side: the header of sparse extents (hosted "KDMV", stream-optimised ones with their footer, ESX's
 * "COWD") and the walk through their grain tables. After VMware's "Virtual Disk Format 5.0".
 *
 * A sparse file of capacity 0 makes QEMU follow its embedded descriptor to other files: refused.
 */
#include "disk/image-vmdk.h"
#include "disk/image-beneath.h"
#include "disk/image-parse.h"
#include "base/error.h"

#include <string.h>
#include <unistd.h>

enum
{
    SECTOR = 512,
    FLAG_COMPRESSED = 1 << 16,
    FLAG_MARKERS = 1 << 17,
    COMPRESSION_DEFLATE = 1,
    STREAM_GRAIN_SECTORS_MIN = 8, /* these three: what the plugin reads */
    STREAM_GRAIN_SECTORS_MAX = 2048,
    STREAM_TABLE_ENTRIES_MAX = 512,
    GRAIN_UNALLOCATED = 0,
    GRAIN_ZERO = 1,
    DESCRIPTOR_MAX_BYTES = 1 << 20,
    COWD_TABLE_ENTRIES = 4096,
};

/* What is needed to walk a sparse extent's tables. */
struct sparse
{
    uint64_t capacity_bytes, grain_bytes, directory_at;
    uint64_t table_entries;
    uint64_t descriptor_at, descriptor_bytes;
    bool compressed;
};

static bool
sectors_to_bytes (uint64_t sectors, uint64_t *bytes, const char *what, GError **error)
{
    if (!__builtin_mul_overflow (sectors, (uint64_t)SECTOR, bytes))
        return true;
    return vmf_image_refuse (error, VMF_ERROR_UNSAFE, "its %s is absurd (%" G_GUINT64_FORMAT " sectors)", what,
                             (guint64)sectors);
}

/* A stream-optimised file is written in one go: the header in front does not know where the tables will be, the footer
   does. A file that was cut off has none. */
static bool
read_footer (const struct vmf_image_input *input, uint8_t *h, GError **error)
{
    uint64_t end = input->length_bytes & ~(uint64_t)(SECTOR - 1);
    if (end < 4 * SECTOR || !vmf_image_read (input, end - 2 * SECTOR, h, SECTOR, "footer", error)
        || memcmp (h, "KDMV", 4) != 0)
    {
        g_clear_error (error);
        return vmf_image_refuse (error, VMF_ERROR_CORRUPT,
                                 "it is cut off: a stream-optimized VMDK ends with a footer, this one does not; copy "
                                 "it again");
    }
    return true;
}

static bool
read_hosted (const struct vmf_image_input *input, struct sparse *sparse, GError **error)
{
    uint8_t h[SECTOR];
    if (!vmf_image_read (input, 0, h, SECTOR, "header", error))
        return false;
    uint32_t version = vmf_le32 (h + 4);
    if (version < 1 || version > 3)
        return vmf_image_refuse (error, VMF_ERROR_CORRUPT, "it is VMDK of version %u; known are 1 to 3", version);
    if (!sectors_to_bytes (vmf_le64 (h + 28), &sparse->descriptor_at, "descriptor", error)
        || !sectors_to_bytes (vmf_le64 (h + 36), &sparse->descriptor_bytes, "descriptor", error))
        return false;
    if (vmf_le64 (h + 56) == G_MAXUINT64 && !read_footer (input, h, error))
        return false;
    sparse->compressed = vmf_le32 (h + 8) & FLAG_COMPRESSED;
    sparse->table_entries = vmf_le32 (h + 44);
    return sectors_to_bytes (vmf_le64 (h + 12), &sparse->capacity_bytes, "size", error)
           && sectors_to_bytes (vmf_le64 (h + 20), &sparse->grain_bytes, "grain size", error)
           && sectors_to_bytes (vmf_le64 (h + 56), &sparse->directory_at, "grain directory", error);
}

static bool
read_cowd (const struct vmf_image_input *input, struct sparse *sparse, GError **error)
{
    uint8_t h[SECTOR];
    if (!vmf_image_read (input, 0, h, SECTOR, "header", error))
        return false;
    sparse->table_entries = COWD_TABLE_ENTRIES;
    return sectors_to_bytes (vmf_le32 (h + 12), &sparse->capacity_bytes, "size", error)
           && sectors_to_bytes (vmf_le32 (h + 16), &sparse->grain_bytes, "grain size", error)
           && sectors_to_bytes (vmf_le32 (h + 20), &sparse->directory_at, "grain directory", error);
}

static bool
check_sparse (const struct sparse *sparse, GError **error)
{
    if (sparse->capacity_bytes == 0)
        return vmf_image_refuse (error, VMF_ERROR_UNSAFE, "it is a sparse VMDK of size 0, which would lead elsewhere");
    if (sparse->capacity_bytes > VMF_IMAGE_SIZE_MAX_BYTES)
        return vmf_image_refuse (error, VMF_ERROR_UNSAFE, "it claims a disk above 64 TiB, the most that is imported");
    if (sparse->grain_bytes < SECTOR || sparse->grain_bytes > 128 << 20
        || (sparse->grain_bytes & (sparse->grain_bytes - 1)) != 0)
        return vmf_image_refuse (error, VMF_ERROR_CORRUPT, "its grain size %" G_GUINT64_FORMAT " is out of range",
                                 (guint64)sparse->grain_bytes);
    if (sparse->table_entries == 0 || sparse->table_entries > COWD_TABLE_ENTRIES)
        return vmf_image_refuse (error, VMF_ERROR_CORRUPT, "its grain tables have %" G_GUINT64_FORMAT " entries",
                                 (guint64)sparse->table_entries);
    return true;
}

static bool
check_grains (const struct vmf_image_input *input, const struct sparse *sparse, const uint8_t *table,
              uint64_t guest_offset, GError **error)
{
    for (uint64_t i = 0; i < sparse->table_entries; i++, guest_offset += sparse->grain_bytes)
    {
        uint32_t sector = vmf_le32 (table + i * 4);
        uint64_t length = vmf_image_block_length (sparse->capacity_bytes, guest_offset, sparse->grain_bytes);
        if (sector == GRAIN_UNALLOCATED || sector == GRAIN_ZERO || length == 0)
            continue;
        if (!vmf_image_check_block (input, (uint64_t)sector * SECTOR, sparse->compressed ? SECTOR : length, error))
            return false;
    }
    return true;
}

static bool
check_directory (const struct vmf_image_input *input, const struct sparse *sparse, GError **error)
{
    uint64_t covered = sparse->grain_bytes * sparse->table_entries, table_bytes = sparse->table_entries * 4;
    uint64_t n_tables = (sparse->capacity_bytes + covered - 1) / covered, budget = input->length_bytes;
    g_autofree uint8_t *directory =
        vmf_image_read_table (input, sparse->directory_at, n_tables * 4, "grain directory", error);
    g_autofree uint8_t *table = g_malloc (table_bytes);
    for (uint64_t i = 0; directory && i < n_tables; i++)
    {
        uint64_t at = (uint64_t)vmf_le32 (directory + i * 4) * SECTOR;
        if (at == 0)
            continue;
        if (budget < table_bytes)
            return vmf_image_refuse (error, VMF_ERROR_CORRUPT,
                                     "its grain directory has more entries than its file can hold");
        budget -= table_bytes;
        if (!vmf_image_read (input, at, table, table_bytes, "grain table", error)
            || !check_grains (input, sparse, table, i * covered, error))
            return false;
    }
    return directory != NULL;
}

/* SESPARSE is newer ESX's snapshot format; QEMU reads it, and checks its tables itself. */
static bool
read_sparse (const struct vmf_image_input *input, struct sparse *sparse, GError **error)
{
    static const uint8_t sesparse[8] = { 0xfe, 0xca, 0xfe, 0xca };
    uint8_t magic[8];
    if (!vmf_image_read (input, 0, magic, sizeof magic, "header", error))
        return false;
    bool hosted = memcmp (magic, "KDMV", 4) == 0, cowd = memcmp (magic, "COWD", 4) == 0;
    if (memcmp (magic, sesparse, 4) == 0)
    {
        uint8_t capacity[8];
        return vmf_image_read (input, 16, capacity, 8, "header", error)
               && sectors_to_bytes (vmf_le64 (capacity), &sparse->capacity_bytes, "size", error);
    }
    if (!hosted && !cowd)
        return vmf_image_refuse (error, VMF_ERROR_CORRUPT, "it is not a VMDK");
    if (hosted ? !read_hosted (input, sparse, error) : !read_cowd (input, sparse, error))
        return false;
    return check_sparse (sparse, error) && check_directory (input, sparse, error);
}

bool
vmf_image_check_extent (const struct vmf_image_input *input, const struct vmf_image_extent *extent, GError **error)
{
    struct sparse sparse = { 0 };
    if (extent->flat)
        return vmf_image_check_block (input, extent->offset_bytes, extent->size_bytes, error);
    if (!read_sparse (input, &sparse, error))
        return false;
    if (sparse.capacity_bytes < extent->size_bytes)
        return vmf_image_refuse (error, VMF_ERROR_CORRUPT, "it holds less than its descriptor says");
    return true;
}

/* Text of at most LENGTH bytes, ended by the first NUL. */
static char *
read_text (const struct vmf_image_input *input, uint64_t at, uint64_t length, GError **error)
{
    if (length > DESCRIPTOR_MAX_BYTES)
        return vmf_image_refuse (error, VMF_ERROR_UNSAFE, "its descriptor is longer than 1 MiB"), NULL;
    g_autofree uint8_t *bytes = vmf_image_read_table (input, at, length, "descriptor", error);
    return bytes ? g_strndup ((const char *)bytes, length) : NULL;
}

static bool
parse_sparse (const struct vmf_image_input *input, struct vmf_image_facts *facts, GError **error)
{
    struct sparse sparse = { 0 };
    if (!read_sparse (input, &sparse, error))
        return false;
    facts->size_bytes = sparse.capacity_bytes;
    if (sparse.descriptor_at == 0)
        return true;
    g_autofree char *text = read_text (input, sparse.descriptor_at, sparse.descriptor_bytes, error);
    return text && vmf_image_parse_vmdk_text (text, true, facts, error);
}

/* A descriptor begins with a comment line, possibly after blank ones. */
static bool
is_descriptor (const char *start)
{
    start += strspn (start, " \t\r\n");
    return g_ascii_strncasecmp (start, "# Disk DescriptorFile", 21) == 0;
}

bool
vmf_image_parse_vmdk (const struct vmf_image_input *input, struct vmf_image_facts *facts, GError **error)
{
    char start[65] = { 0 };
    size_t length = (size_t)MIN (input->length_bytes, sizeof start - 1);
    if (!vmf_image_read (input, 0, start, length, "header", error))
        return false;
    if (length >= 4 && (memcmp (start, "KDMV", 4) == 0 || memcmp (start, "COWD", 4) == 0))
        return parse_sparse (input, facts, error);
    if (!is_descriptor (start))
        return vmf_image_refuse (error, VMF_ERROR_CORRUPT,
                                 "it is not a VMDK; if it is the data of one (NAME-flat.vmdk), name the descriptor "
                                 "(NAME.vmdk) instead, or give --format raw");
    g_autofree char *text = read_text (input, 0, input->length_bytes, error);
    return text && vmf_image_parse_vmdk_text (text, false, facts, error);
}

/* The header itself was checked when the image was opened. */
static bool
is_stream (const struct vmf_image_input *input)
{
    uint8_t h[SECTOR];
    if (!vmf_image_read (input, 0, h, SECTOR, "header", NULL) || memcmp (h, "KDMV", 4) != 0)
        return false;
    uint32_t flags = vmf_le32 (h + 8);
    uint64_t grain = vmf_le64 (h + 20);
    return (flags & FLAG_COMPRESSED) && (flags & FLAG_MARKERS) && vmf_le16 (h + 77) == COMPRESSION_DEFLATE
           && grain >= STREAM_GRAIN_SECTORS_MIN && grain <= STREAM_GRAIN_SECTORS_MAX
           && vmf_le32 (h + 44) <= STREAM_TABLE_ENTRIES_MAX;
}

bool
vmf_image_is_vmdk_stream (const struct vmf_image *image)
{
    g_autofree char *real_path = NULL;
    uint64_t length_bytes = 0;
    if (strcmp (image->format, "vmdk") != 0 || !image->path || image->backing)
        return false;
    int fd = vmf_beneath_open_own (image->path, &real_path, &length_bytes, NULL);
    if (fd < 0)
        return false;
    struct vmf_image_input input = { fd, image->offset_bytes,
                                     image->length_bytes ? image->length_bytes : length_bytes };
    bool stream = is_stream (&input);
    close (fd);
    return stream;
}
