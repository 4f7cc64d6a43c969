/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MBR and GPT. Formats: UEFI specification 2.10, chapter 5; the chain of extended boot records as all systems read it.
 *
 * The first difficulty ends the reading: `trouble` is set and what was found so far is forgotten by the caller.
 */
#include "guest/partitions.h"

enum
{
    SECTOR = 512,
    MBR_TABLE = 446,
    LOGICAL_MAX = 128,           /* EBRs followed; Linux itself stops at 256 partitions */
    GPT_ARRAY_MAX = 1024 * 1024, /* bytes; the usual one has 16 KiB */
};

struct mbr_entry
{
    uint8_t boot, type;
    uint64_t start, count; /* sectors */
};

struct reading
{
    struct vmf_reader *reader;
    struct vmf_view *view;
    struct vmf_partition_table *table;
    uint64_t sectors;
};

static void
trouble (struct reading *reading, const char *why)
{
    if (!reading->table->trouble)
        reading->table->trouble = g_strdup (why);
}

static struct mbr_entry
mbr_entry (const uint8_t *sector, unsigned n)
{
    const uint8_t *at = sector + MBR_TABLE + 16 * n;
    return (struct mbr_entry){ at[0], at[4], vmf_le32 (at + 8), vmf_le32 (at + 12) };
}

static bool
mbr_is_extended (uint8_t type)
{
    return type == 0x05 || type == 0x0f || type == 0x85;
}

/* Whether the sector carries a table at all: the signature, and boot flags that are flags. */
static bool
mbr_is_table (const uint8_t *sector)
{
    bool any = false;
    if (sector[510] != 0x55 || sector[511] != 0xaa)
        return false;
    for (unsigned i = 0; i < 4; i++)
    {
        struct mbr_entry entry = mbr_entry (sector, i);
        if (entry.boot != 0 && entry.boot != 0x80)
            return false;
        any = any || entry.type != 0;
    }
    return any;
}

static enum vmf_partition_kind
mbr_kind (uint8_t type)
{
    return type == 0x42 ? VMF_PARTITION_LDM : VMF_PARTITION_DATA;
}

/* START and COUNT are sectors. A range that is there already is the same partition, seen in a hybrid table. */
static void
add_partition (struct reading *reading, unsigned number, uint64_t start, uint64_t count, enum vmf_partition_kind kind)
{
    if (start == 0 || count == 0 || start >= reading->sectors || count > reading->sectors - start)
    {
        trouble (reading, "a partition lies outside the disk");
        return;
    }
    struct vmf_partition partition = { number, start * SECTOR, count * SECTOR, kind, false };
    for (guint i = 0; i < reading->table->partitions->len; i++)
    {
        struct vmf_partition *other = &g_array_index (reading->table->partitions, struct vmf_partition, i);
        if (other->offset == partition.offset && other->length == partition.length)
            return;
    }
    g_array_append_val (reading->table->partitions, partition);
}

/* Follows the extended boot records from CONTAINER: each has one logical partition, relative to itself, and the place
   of the next, relative to the container. The chain must go forward, which rules out loops. */
static bool
read_logical (struct reading *reading, struct mbr_entry container, GError **error)
{
    uint64_t at = container.start, end = container.start + container.count;
    for (unsigned n = 0;; n++)
    {
        uint8_t sector[SECTOR];
        if (!vmf_view_read (reading->view, reading->reader, at * SECTOR, sector, sizeof sector, error))
            return false;
        if (sector[510] != 0x55 || sector[511] != 0xaa)
            return trouble (reading, "an extended boot record is damaged"), true;
        struct mbr_entry logical = mbr_entry (sector, 0), next = mbr_entry (sector, 1);
        if (logical.type != 0 && logical.count > 0)
        {
            if (mbr_is_extended (logical.type) || logical.start == 0 || at + logical.start + logical.count > end)
                return trouble (reading, "a logical partition lies outside its extended partition"), true;
            add_partition (reading, 5 + n, at + logical.start, logical.count, mbr_kind (logical.type));
        }
        if (next.type == 0 || next.count == 0)
            return true;
        if (!mbr_is_extended (next.type) || container.start + next.start <= at || container.start + next.start >= end
            || n >= LOGICAL_MAX)
            return trouble (reading, "the chain of logical partitions goes astray"), true;
        at = container.start + next.start;
    }
}

/* All of an MBR but its protective entries. */
static bool
read_mbr (struct reading *reading, const uint8_t *sector, GError **error)
{
    unsigned extended = 0;
    for (unsigned i = 0; i < 4; i++)
    {
        struct mbr_entry entry = mbr_entry (sector, i);
        if (entry.type == 0 || entry.type == 0xee)
            continue;
        if (!mbr_is_extended (entry.type))
        {
            add_partition (reading, i + 1, entry.start, entry.count, mbr_kind (entry.type));
            continue;
        }
        if (extended++ > 0 || entry.start == 0 || entry.start + entry.count > reading->sectors)
            return trouble (reading, "the extended partition is not sound"), true;
        if (!read_logical (reading, entry, error))
            return false;
    }
    return true;
}

struct gpt
{
    bool valid;
    uint64_t alternate, first, last, entries;
    uint32_t n_entries, entry_bytes, entries_crc;
    uint8_t *array;
};

static void
gpt_clear (struct gpt *gpt)
{
    g_free (gpt->array);
}

static bool
gpt_parse_header (struct gpt *gpt, const uint8_t *header, uint64_t lba, uint64_t sectors)
{
    uint8_t copy[SECTOR];
    uint32_t length = vmf_le32 (header + 12);
    if (memcmp (header, "EFI PART", 8) != 0 || length < 92 || length > SECTOR || vmf_le64 (header + 24) != lba)
        return false;
    memcpy (copy, header, SECTOR);
    memset (copy + 16, 0, 4);
    if (~vmf_crc32 (~0u, copy, length) != vmf_le32 (header + 16))
        return false;
    gpt->alternate = vmf_le64 (header + 32);
    gpt->first = vmf_le64 (header + 40);
    gpt->last = vmf_le64 (header + 48);
    gpt->entries = vmf_le64 (header + 72);
    gpt->n_entries = vmf_le32 (header + 80);
    gpt->entry_bytes = vmf_le32 (header + 84);
    gpt->entries_crc = vmf_le32 (header + 88);
    return gpt->entry_bytes >= 128 && gpt->entry_bytes <= 4096 && gpt->n_entries > 0
           && gpt->n_entries <= GPT_ARRAY_MAX / gpt->entry_bytes && gpt->entries < sectors && gpt->first <= gpt->last
           && gpt->last < sectors;
}

/* HEADER is the sector at LBA. The array's bytes are read only when the header holds. */
static bool
gpt_read (struct reading *reading, struct gpt *gpt, const uint8_t *header, uint64_t lba, GError **error)
{
    if (!gpt_parse_header (gpt, header, lba, reading->sectors))
        return true;
    size_t length = (size_t)gpt->n_entries * gpt->entry_bytes;
    gpt->array = g_malloc (length);
    if (!vmf_view_read (reading->view, reading->reader, gpt->entries * SECTOR, gpt->array, length, error))
        return false;
    gpt->valid = ~vmf_crc32 (~0u, gpt->array, length) == gpt->entries_crc;
    return true;
}

/* Type GUIDs as they lie on disk. */
static enum vmf_partition_kind
gpt_kind (const uint8_t *guid)
{
    static const uint8_t ldm[][16] = {
        /* dynamic disk, metadata; dynamic disk, data; storage spaces */
        { 0xaa, 0xc8, 0x08, 0x58, 0x8f, 0x7e, 0xe0, 0x42, 0x85, 0xd2, 0xe1, 0xe9, 0x04, 0x34, 0xcf, 0xb3 },
        { 0xa0, 0x60, 0x9b, 0xaf, 0x31, 0x14, 0x62, 0x4f, 0xbc, 0x68, 0x33, 0x11, 0x71, 0x4a, 0x69, 0xad },
        { 0x8f, 0xaf, 0x5c, 0xe7, 0x80, 0xf6, 0xee, 0x4c, 0xaf, 0xa3, 0xb0, 0x01, 0xe5, 0x6e, 0xfc, 0x2d },
    };
    for (size_t i = 0; i < G_N_ELEMENTS (ldm); i++)
        if (memcmp (guid, ldm[i], 16) == 0)
            return VMF_PARTITION_LDM;
    return VMF_PARTITION_DATA;
}

static void
gpt_add_partitions (struct reading *reading, const struct gpt *gpt)
{
    static const uint8_t unused[16];
    for (uint32_t i = 0; i < gpt->n_entries && !reading->table->trouble; i++)
    {
        const uint8_t *entry = gpt->array + (size_t)i * gpt->entry_bytes;
        uint64_t first = vmf_le64 (entry + 32), last = vmf_le64 (entry + 40);
        if (memcmp (entry, unused, 16) == 0)
            continue;
        if (first < gpt->first || last > gpt->last || first > last)
            trouble (reading, "a partition lies outside the area that the GPT gives");
        else
            add_partition (reading, i + 1, first, last - first + 1, gpt_kind (entry));
    }
}

/* The GPT that a system would use, and its twin where that can be read; HEADER is sector 1. */
static bool
read_gpt (struct reading *reading, const uint8_t *header, GError **error)
{
    struct gpt first = { 0 }, second = { 0 };
    uint8_t sector[SECTOR];
    bool good = gpt_read (reading, &first, header, 1, error);
    uint64_t lba = first.valid ? first.alternate : reading->sectors - 1;
    if (good && lba > 1 && lba < reading->sectors)
        good = vmf_view_read (reading->view, reading->reader, lba * SECTOR, sector, SECTOR, error)
               && gpt_read (reading, &second, sector, lba, error);
    if (good && !first.valid && !second.valid)
        trouble (reading, "the GPT is damaged");
    else if (good && first.valid && second.valid && first.entries_crc != second.entries_crc)
        trouble (reading, "the two copies of the GPT disagree");
    else if (good)
        gpt_add_partitions (reading, first.valid ? &first : &second);
    gpt_clear (&first);
    gpt_clear (&second);
    return good;
}

static int
by_offset (const void *a, const void *b)
{
    const struct vmf_partition *one = a, *two = b;
    return one->offset < two->offset ? -1 : one->offset > two->offset;
}

static void
mark_overlaps (GArray *partitions)
{
    uint64_t end = 0;
    guint holder = 0; /* the one that reaches to END */
    g_array_sort (partitions, by_offset);
    for (guint i = 0; i < partitions->len; i++)
    {
        struct vmf_partition *partition = &g_array_index (partitions, struct vmf_partition, i);
        if (partition->offset < end)
            partition->overlaps = g_array_index (partitions, struct vmf_partition, holder).overlaps = true;
        if (partition->offset + partition->length > end)
        {
            end = partition->offset + partition->length;
            holder = i;
        }
    }
}

static bool
read_tables (struct reading *reading, GError **error)
{
    uint8_t sectors[2 * SECTOR];
    if (!vmf_view_read (reading->view, reading->reader, 0, sectors, sizeof sectors, error))
        return false;
    bool has_mbr = mbr_is_table (sectors), protective = false;
    for (unsigned i = 0; has_mbr && i < 4; i++)
        protective = protective || mbr_entry (sectors, i).type == 0xee;
    bool has_gpt = memcmp (sectors + SECTOR, "EFI PART", 8) == 0;
    if (protective)
    {
        reading->table->type = "gpt";
        return read_gpt (reading, sectors + SECTOR, error)
               && (reading->table->trouble || read_mbr (reading, sectors, error));
    }
    if (has_mbr || has_gpt)
        reading->table->type = has_mbr ? "dos" : "gpt";
    if (has_gpt)
        return trouble (reading, "there is a GPT but no protective MBR"), true;
    return !has_mbr || read_mbr (reading, sectors, error);
}

struct vmf_partition_table *
vmf_partition_table_read (struct vmf_reader *reader, unsigned disk, GError **error)
{
    g_autoptr (vmf_partition_table) table = g_new0 (struct vmf_partition_table, 1);
    g_autoptr (vmf_view) view = vmf_view_new_part (disk, 0, reader->sizes[disk]);
    struct reading reading = { reader, view, table, reader->sizes[disk] / SECTOR };
    table->partitions = g_array_new (FALSE, FALSE, sizeof (struct vmf_partition));
    if (!read_tables (&reading, error))
        return NULL;
    mark_overlaps (table->partitions);
    return g_steal_pointer (&table);
}

void
vmf_partition_table_free (struct vmf_partition_table *table)
{
    if (!table)
        return;
    g_clear_pointer (&table->partitions, g_array_unref);
    g_free (table->trouble);
    g_free (table);
}
