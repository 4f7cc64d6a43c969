/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where the stored members of a zip lie: they are read in place, as a tar's are.
 *
 * libarchive, which reads everything else of a zip, does not tell. So the central directory is read here once more
 * (APPNOTE.TXT 4.3.7, 4.3.12 to 4.3.16, 4.5.3), for nothing but that. Whatever is odd in it is no error: the member is
 * then unpacked, as compressed ones are.
 */
#include "source/bundle.h"
#include "disk/image-beneath.h"
#include "disk/image-parse.h"

#include <string.h>
#include <unistd.h>

enum
{
    END_BYTES = 22, /* of central directory, without its comment */
    END64_BYTES = 56,
    LOCATOR_BYTES = 20,
    ENTRY_BYTES = 46,
    LOCAL_BYTES = 30,
    COMMENT_MAX_BYTES = 65535,
    DIRECTORY_MAX_BYTES = 16 << 20, /* 20,000 members with long names */
    ZIP64_EXTRA = 0x0001,
    ENCRYPTED = 1 << 0,
};

struct zip
{
    int fd;
    uint64_t size_bytes;
    uint64_t directory_offset, directory_bytes;
};

/* What an entry of the central directory says. */
struct entry
{
    uint16_t flags, method;
    uint64_t packed_bytes, bytes, local_offset;
    char *name;
};

static bool
read_at (const struct zip *zip, uint64_t offset, void *bytes, size_t length)
{
    return offset <= zip->size_bytes && length <= zip->size_bytes - offset
           && pread (zip->fd, bytes, length, (off_t)offset) == (ssize_t)length;
}

/* From the record of zip64 that the locator before the end names. */
static bool
find_directory64 (struct zip *zip, uint64_t end_offset)
{
    uint8_t locator[LOCATOR_BYTES], end[END64_BYTES];
    if (end_offset < LOCATOR_BYTES || !read_at (zip, end_offset - LOCATOR_BYTES, locator, sizeof locator)
        || memcmp (locator, "PK\x06\x07", 4) != 0 || !read_at (zip, vmf_le64 (locator + 8), end, sizeof end)
        || memcmp (end, "PK\x06\x06", 4) != 0)
        return false;
    zip->directory_bytes = vmf_le64 (end + 40);
    zip->directory_offset = vmf_le64 (end + 48);
    return true;
}

static bool
find_directory (struct zip *zip)
{
    size_t length = (size_t)MIN (zip->size_bytes, (uint64_t)END_BYTES + COMMENT_MAX_BYTES);
    g_autofree uint8_t *tail = g_malloc (length);
    if (length < END_BYTES || !read_at (zip, zip->size_bytes - length, tail, length))
        return false;
    for (size_t at = length - END_BYTES + 1; at-- > 0;)
    {
        const uint8_t *end = tail + at;
        if (memcmp (end, "PK\x05\x06", 4) != 0 || at + END_BYTES + vmf_le16 (end + 20) != length)
            continue;
        zip->directory_bytes = vmf_le32 (end + 12);
        zip->directory_offset = vmf_le32 (end + 16);
        bool large = zip->directory_bytes == UINT32_MAX || zip->directory_offset == UINT32_MAX
                     || vmf_le16 (end + 10) == UINT16_MAX;
        return !large || find_directory64 (zip, zip->size_bytes - length + at);
    }
    return false;
}

/* The numbers that did not fit into 32 bits, in this order, each only where its field is full. */
static bool
read_zip64 (struct entry *entry, const uint8_t *extra, size_t length)
{
    uint64_t *const fields[] = { &entry->bytes, &entry->packed_bytes, &entry->local_offset };
    for (size_t i = 0; i < G_N_ELEMENTS (fields); i++)
    {
        if (*fields[i] != UINT32_MAX)
            continue;
        if (length < 8)
            return false;
        *fields[i] = vmf_le64 (extra);
        extra += 8;
        length -= 8;
    }
    return true;
}

static bool
read_extras (struct entry *entry, const uint8_t *extra, size_t length)
{
    while (length >= 4)
    {
        size_t n = vmf_le16 (extra + 2);
        if (n > length - 4)
            return false;
        if (vmf_le16 (extra) == ZIP64_EXTRA)
            return read_zip64 (entry, extra + 4, n);
        extra += 4 + n;
        length -= 4 + n;
    }
    return true;
}

/* The entry at *AT of DIRECTORY, and *AT behind it. False: there is none. Its name is the caller's to free. */
static bool
next_entry (const uint8_t *directory, size_t length, size_t *at, struct entry *entry)
{
    const uint8_t *p = directory + *at;
    if (length - *at < ENTRY_BYTES || memcmp (p, "PK\x01\x02", 4) != 0)
        return false;
    size_t name = vmf_le16 (p + 28), extra = vmf_le16 (p + 30), all = ENTRY_BYTES + name + extra + vmf_le16 (p + 32);
    if (all > length - *at)
        return false;
    *entry = (struct entry){ .flags = vmf_le16 (p + 8),
                             .method = vmf_le16 (p + 10),
                             .packed_bytes = vmf_le32 (p + 20),
                             .bytes = vmf_le32 (p + 24),
                             .local_offset = vmf_le32 (p + 42) };
    if (!read_extras (entry, p + ENTRY_BYTES + name, extra))
        return false;
    entry->name = g_strndup ((const char *)p + ENTRY_BYTES, name);
    *at += all;
    return true;
}

static struct vmf_bundle_member *
member_of (GHashTable *by_name, const char *name)
{
    while (g_str_has_prefix (name, "./"))
        name += 2 + strspn (name + 2, "/");
    return g_hash_table_lookup (by_name, name);
}

/* MEMBER is used where it lies, if ENTRY and the header in front of its bytes say so. */
static void
place (const struct zip *zip, const struct entry *entry, struct vmf_bundle_member *member)
{
    uint8_t local[LOCAL_BYTES];
    if (!member || entry->method != 0 || (entry->flags & ENCRYPTED) || entry->packed_bytes != entry->bytes
        || member->length_bytes != entry->bytes || !read_at (zip, entry->local_offset, local, sizeof local)
        || memcmp (local, "PK\x03\x04", 4) != 0 || vmf_le16 (local + 8) != 0)
        return;
    uint64_t offset = entry->local_offset + LOCAL_BYTES + vmf_le16 (local + 26) + vmf_le16 (local + 28);
    if (offset > zip->directory_offset || entry->bytes > zip->directory_offset - offset)
        return;
    member->offset_bytes = offset;
    member->in_place = true;
}

static void
place_all (const struct zip *zip, const struct vmf_bundle *bundle)
{
    if (zip->directory_bytes > DIRECTORY_MAX_BYTES)
        return;
    size_t length = (size_t)zip->directory_bytes, at = 0;
    g_autofree uint8_t *directory = g_malloc (length + 1);
    g_autoptr (GHashTable) by_name = g_hash_table_new (g_str_hash, g_str_equal);
    for (guint i = 0; i < bundle->members->len; i++)
    {
        struct vmf_bundle_member *member = g_ptr_array_index (bundle->members, i);
        g_hash_table_insert (by_name, member->name, member);
    }
    struct entry entry;
    if (!read_at (zip, zip->directory_offset, directory, length))
        return;
    while (next_entry (directory, length, &at, &entry))
    {
        place (zip, &entry, member_of (by_name, entry.name));
        g_free (entry.name);
    }
}

void
vmf_bundle_place_stored (struct vmf_bundle *bundle)
{
    struct zip zip = { 0 };
    g_autofree char *real_path = NULL;
    zip.fd = vmf_beneath_open_own (bundle->path, &real_path, &zip.size_bytes, NULL);
    if (zip.fd < 0)
        return;
    if (find_directory (&zip))
        place_all (&zip, bundle);
    close (zip.fd);
}
