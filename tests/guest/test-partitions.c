/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Partition tables: what sfdisk writes is read as sfdisk reads it; what an attacker writes is refused, bounded. */
#include "guest/partitions.h"
#include "images.h"

#include <jansson.h>

#define MIB ((uint64_t)1 << 20)

static struct vmf_partition_table *
read_table (const char *path)
{
    g_autoptr (GError) error = NULL;
    struct vmf_reader *reader = reader_new (path);
    struct vmf_partition_table *table = vmf_partition_table_read (reader, 0, &error);
    g_assert_no_error (error);
    g_assert_cmpuint (reader->bytes_read, <=, 2 * MIB + 200 * 512);
    reader_free (reader);
    return table;
}

static char *
image_by_sfdisk (const char *script)
{
    g_autofree char *script_path = images_path ("script");
    char *image = image_new ("disk.img", 200 * MIB);
    g_assert_true (g_file_set_contents (script_path, script, -1, NULL));
    run ("sh", "-c", "sfdisk -q \"$0\" < \"$1\"", image, script_path);
    return image;
}

/* Every partition that sfdisk lists (extended ones aside) is ours, and no other. */
static void
assert_same_as_sfdisk (const char *image)
{
    g_autofree char *text = run_output ((const char *[]){ "sfdisk", "-J", image, NULL });
    json_t *root = json_loads (text, 0, NULL), *list, *entry;
    g_autoptr (vmf_partition_table) table = read_table (image);
    size_t i, seen = 0;
    g_assert_cmpstr (table->trouble, ==, NULL);
    list = json_object_get (json_object_get (root, "partitiontable"), "partitions");
    json_array_foreach (list, i, entry)
    {
        const char *type = json_string_value (json_object_get (entry, "type"));
        if (strcmp (type, "5") == 0 || strcmp (type, "f") == 0)
            continue;
        g_autofree char *node = NULL;
        for (guint j = 0; j < table->partitions->len && !node; j++)
        {
            struct vmf_partition *partition = &g_array_index (table->partitions, struct vmf_partition, j);
            if (partition->offset == (uint64_t)json_integer_value (json_object_get (entry, "start")) * 512
                && partition->length == (uint64_t)json_integer_value (json_object_get (entry, "size")) * 512)
                node = g_strdup_printf ("%s%u", image, partition->number);
        }
        g_assert_cmpstr (node, ==, json_string_value (json_object_get (entry, "node")));
        seen++;
    }
    g_assert_cmpuint (table->partitions->len, ==, seen);
    g_assert_cmpuint (seen, >, 1);
    json_decref (root);
}

static void
test_mbr (void)
{
    if (!have_programs ("sfdisk", NULL))
        return;
    g_autofree char *image =
        image_by_sfdisk ("label: dos\nstart=2048,size=20480,type=7\nsize=20480,type=83\nsize=100000,type=5\n"
                         "size=20480,type=83\nsize=20480,type=82\nsize=20480,type=8e\n");
    assert_same_as_sfdisk (image);
}

static void
test_gpt (void)
{
    if (!have_programs ("sfdisk", NULL))
        return;
    g_autofree char *image = image_by_sfdisk ("label: "
                                              "gpt\nsize=20480,type=U\nsize=20480,type=L\nstart=100000,size=4096,type="
                                              "21686148-6449-6E6F-744E-656564454649\n");
    assert_same_as_sfdisk (image);
    /* a broken first header: the copy at the end serves, as it does for Linux */
    image_write (image, 512 + 40, "\xff", 1);
    g_autoptr (vmf_partition_table) second = read_table (image);
    g_assert_cmpstr (second->trouble, ==, NULL);
    g_assert_cmpuint (second->partitions->len, ==, 3);
    image_write (image, 200 * MIB - 512 + 40, "\xff", 1);
    g_autoptr (vmf_partition_table) none = read_table (image);
    g_assert_nonnull (none->trouble);
}

static void
test_nothing (void)
{
    g_autofree char *image = image_new ("disk.img", MIB);
    g_autoptr (vmf_partition_table) table = read_table (image);
    g_assert_null (table->type);
    g_assert_null (table->trouble);
    g_assert_cmpuint (table->partitions->len, ==, 0);
}

static void
put32 (uint8_t *at, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> 8 * i);
}

static void
put64 (uint8_t *at, uint64_t value)
{
    put32 (at, (uint32_t)value);
    put32 (at + 4, (uint32_t)(value >> 32));
}

static void
put_entry (uint8_t *sector, unsigned n, uint8_t type, uint32_t start, uint32_t count)
{
    uint8_t *at = sector + 446 + 16 * n;
    at[4] = type;
    put32 (at + 8, start);
    put32 (at + 12, count);
    sector[510] = 0x55;
    sector[511] = 0xaa;
}

struct hostile_mbr
{
    const char *name;
    struct
    {
        uint32_t sector; /* of the disk that gets the entry */
        unsigned n;
        uint8_t type;
        uint32_t start, count;
    } entries[5];
};

static const struct hostile_mbr hostile_mbrs[] = {
    { "behind-the-end", { { 0, 0, 0x83, 2048, 0xffffffff } } },
    { "from-the-table-itself", { { 0, 0, 0x83, 0, 2048 } } },
    { "chain-to-itself", { { 0, 0, 5, 2048, 20000 }, { 2048, 0, 0x83, 64, 100 }, { 2048, 1, 5, 0, 100 } } },
    { "chain-backwards", { { 0, 0, 5, 2048, 20000 }, { 2048, 1, 5, 5000, 100 }, { 7048, 1, 5, 1000, 100 } } },
    { "chain-out-of-its-partition", { { 0, 0, 5, 2048, 20000 }, { 2048, 1, 5, 30000, 100 } } },
    { "logical-behind-its-partition", { { 0, 0, 5, 2048, 20000 }, { 2048, 0, 0x83, 64, 30000 } } },
    { "two-extended", { { 0, 0, 5, 2048, 2000 }, { 0, 1, 15, 8048, 2000 } } },
    { "extended-without-a-record", { { 0, 0, 5, 2048, 2000 } } },
};

static void
test_hostile_mbr (const void *data)
{
    const struct hostile_mbr *c = data;
    g_autofree char *image = image_new ("disk.img", 20 * MIB);
    for (size_t i = 0; i < G_N_ELEMENTS (c->entries) && c->entries[i].type; i++)
    {
        uint8_t sector[512];
        image_read (image, c->entries[i].sector * 512ull, sector, sizeof sector);
        put_entry (sector, c->entries[i].n, c->entries[i].type, c->entries[i].start, c->entries[i].count);
        image_write (image, c->entries[i].sector * 512ull, sector, sizeof sector);
    }
    g_autoptr (vmf_partition_table) table = read_table (image);
    g_assert_nonnull (table->trouble);
}

static void
test_overlap (void)
{
    uint8_t sector[512] = { 0 };
    g_autofree char *image = image_new ("disk.img", 20 * MIB);
    put_entry (sector, 0, 0x83, 2048, 10000);
    put_entry (sector, 1, 0x83, 4096, 100);
    put_entry (sector, 2, 0x83, 20000, 100);
    image_write (image, 0, sector, sizeof sector);
    g_autoptr (vmf_partition_table) table = read_table (image);
    g_assert_cmpstr (table->trouble, ==, NULL);
    g_assert_true (g_array_index (table->partitions, struct vmf_partition, 0).overlaps);
    g_assert_true (g_array_index (table->partitions, struct vmf_partition, 1).overlaps);
    g_assert_false (g_array_index (table->partitions, struct vmf_partition, 2).overlaps);
}

struct hostile_gpt
{
    const char *name;
    uint32_t n_entries, entry_bytes;
    uint64_t entries, first, last, start, end;
};

static const struct hostile_gpt hostile_gpts[] = {
    { "four-thousand-million-entries", 0xffffffff, 128, 2, 34, 4000, 34, 100 },
    { "entries-of-2-to-the-31", 128, 0x80000000, 2, 34, 4000, 34, 100 },
    { "entries-of-0-bytes", 128, 0, 2, 34, 4000, 34, 100 },
    { "array-behind-the-end", 128, 128, UINT64_MAX / 512, 34, 4000, 34, 100 },
    { "partition-of-2-to-the-63", 128, 128, 2, 34, 4000, 34, (uint64_t)1 << 63 },
    { "partition-ends-before-it-begins", 128, 128, 2, 34, 4000, 100, 34 },
    { "usable-to-2-to-the-63", 128, 128, 2, 34, (uint64_t)1 << 63, 34, (uint64_t)1 << 62 },
};

/* With good checksums: an attacker computes them, too. */
static void
test_hostile_gpt (const void *data)
{
    const struct hostile_gpt *c = data;
    g_autofree uint8_t *disk = g_malloc0 (64 * 512);
    uint8_t *header = disk + 512, *entry = disk + 1024;
    g_autofree char *image = image_new ("disk.img", 4 * MIB);
    put_entry (disk, 0, 0xee, 1, 8191);
    memset (entry, 0x11, 16);
    put64 (entry + 32, c->start);
    put64 (entry + 40, c->end);
    memcpy (header, "EFI PART\0\0\1\0", 12);
    put32 (header + 12, 92);
    put64 (header + 24, 1);
    put64 (header + 32, 8191);
    put64 (header + 40, c->first);
    put64 (header + 48, c->last);
    put64 (header + 72, c->entries);
    put32 (header + 80, c->n_entries);
    put32 (header + 84, c->entry_bytes);
    put32 (header + 88, ~vmf_crc32 (~0u, entry, 128 * 128));
    put32 (header + 16, ~vmf_crc32 (~0u, header, 92));
    image_write (image, 0, disk, 64 * 512);
    g_autoptr (vmf_partition_table) table = read_table (image);
    g_assert_nonnull (table->trouble);
}

/* Tables that two systems would read differently. */
static void
test_ambiguous (void)
{
    if (!have_programs ("sfdisk", NULL))
        return;
    uint8_t sector[512] = { 0 };
    g_autofree char *image = image_by_sfdisk ("label: gpt\nsize=20480\n");
    put_entry (sector, 0, 0x83, 2048, 10000);
    image_write (image, 0, sector, sizeof sector);
    g_autoptr (vmf_partition_table) without = read_table (image);
    g_assert_nonnull (without->trouble);
    put_entry (sector, 1, 0xee, 1, 2047);
    image_write (image, 0, sector, sizeof sector);
    g_autoptr (vmf_partition_table) hybrid = read_table (image);
    g_assert_cmpstr (hybrid->trouble, ==, NULL);
    g_assert_cmpuint (hybrid->partitions->len, ==, 2);
    g_assert_true (g_array_index (hybrid->partitions, struct vmf_partition, 0).overlaps);
    g_assert_true (g_array_index (hybrid->partitions, struct vmf_partition, 1).overlaps);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/partitions/mbr-as-sfdisk", test_mbr);
    g_test_add_func ("/partitions/gpt-as-sfdisk", test_gpt);
    g_test_add_func ("/partitions/none", test_nothing);
    g_test_add_func ("/partitions/overlap", test_overlap);
    g_test_add_func ("/partitions/ambiguous", test_ambiguous);
    for (size_t i = 0; i < G_N_ELEMENTS (hostile_mbrs); i++)
    {
        g_autofree char *name = g_strconcat ("/partitions/hostile-mbr/", hostile_mbrs[i].name, NULL);
        g_test_add_data_func (name, &hostile_mbrs[i], test_hostile_mbr);
    }
    for (size_t i = 0; i < G_N_ELEMENTS (hostile_gpts); i++)
    {
        g_autofree char *name = g_strconcat ("/partitions/hostile-gpt/", hostile_gpts[i].name, NULL);
        g_test_add_data_func (name, &hostile_gpts[i], test_hostile_gpt);
    }
    int result = g_test_run ();
    images_end ();
    return result;
}
