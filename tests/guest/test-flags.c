/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PITFALLS 28, 41, 43: flags and signatures after which a volume goes by allocation.
 *
 * A good image of each kind is made by its own mkfs and mapped; then single bytes are changed.
 */
#include "images.h"

#include <unistd.h>

#define MIB ((uint64_t)1 << 20)

static void
assert_way (const char *image, enum vmf_map_way way, const char *type)
{
    g_autoptr (vmf_map) map = image_map_one (image);
    const struct vmf_map_volume *volume = map_volume (map, "sda");
    g_assert_cmpstr (volume->type, ==, type);
    g_assert_cmpint (volume->way, ==, way);
    if (way == VMF_MAP_WAY_ALLOCATION)
        g_assert_cmpuint (vmf_extents_total (g_ptr_array_index (map->needed, 0)), ==, volume->size_bytes);
}

static char *
file_of (const char *name, size_t size)
{
    char *path = images_path (name);
    g_autofree uint32_t *words = g_malloc (size);
    for (size_t i = 0; i < size / 4; i++)
        words[i] = (uint32_t)g_test_rand_int ();
    g_assert_true (g_file_set_contents (path, (char *)words, (gssize)size, NULL));
    return path;
}

static void
test_fat (const void *data)
{
    const char *bits = data;
    bool is_32 = strcmp (bits, "32") == 0;
    if (!have_programs ("mkfs.vfat", "mcopy", "fsck.fat", NULL))
        return;
    g_autofree char *image = image_new ("fat.img", 200 * MIB), *file = file_of ("file", 5 * MIB),
                    *out = images_path ("out");
    run ("mkfs.vfat", "-F", bits, image);
    run ("mcopy", "-i", image, file, "::one");
    run ("mcopy", "-i", image, file, "::two");
    run ("mdel", "-i", image, "::one");
    g_autoptr (vmf_map) map = image_map_one (image);
    g_assert_cmpint (map_volume (map, "sda")->way, ==, VMF_MAP_WAY_MAP);
    g_assert_cmpuint (vmf_extents_total (g_ptr_array_index (map->needed, 0)), <, 20 * MIB);
    g_autofree char *copy = image_copy (image, map, 0);
    run ("fsck.fat", "-n", copy);
    run ("mcopy", "-n", "-i", copy, "::two", out);
    g_autofree char *before = sha256_of (file), *after = sha256_of (out);
    g_assert_cmpstr (before, ==, after);
    unlink (out);
    uint8_t reserved[2], entry[8];
    image_read (image, 0x0e, reserved, 2);
    uint64_t fat = (uint64_t)vmf_le16 (reserved) * 512, high = fat + (is_32 ? 7 : 3);
    image_read (image, high, entry, 1);
    image_write (image, high, (uint8_t[]){ entry[0] & (is_32 ? 0xf7 : 0x7f) }, 1); /* not unmounted */
    assert_way (image, VMF_MAP_WAY_ALLOCATION, "vfat");
    image_write (image, high, (uint8_t[]){ entry[0] & (is_32 ? 0xfb : 0xbf) }, 1); /* hard errors */
    assert_way (image, VMF_MAP_WAY_ALLOCATION, "vfat");
    image_write (image, high, entry, 1);
    image_write (image, is_32 ? 0x41 : 0x25, "\1", 1); /* Linux' own mark */
    assert_way (image, VMF_MAP_WAY_ALLOCATION, "vfat");
}

static void
test_fat12 (void)
{
    if (!have_programs ("mkfs.vfat", NULL))
        return;
    g_autofree char *image = image_new ("fat.img", 2 * MIB);
    run ("mkfs.vfat", "-F", "12", image);
    assert_way (image, VMF_MAP_WAY_ALLOCATION, "vfat");
}

static void
test_exfat (void)
{
    if (!have_programs ("mkfs.exfat", NULL))
        return;
    g_autofree char *image = image_new ("exfat.img", 100 * MIB);
    uint8_t boot[512];
    run ("mkfs.exfat", image);
    g_autoptr (vmf_map) map = image_map_one (image);
    g_assert_cmpint (map_volume (map, "sda")->way, ==, VMF_MAP_WAY_MAP);
    g_autofree char *copy = image_copy (image, map, 0);
    run ("fsck.exfat", "-n", copy);
    image_read (image, 0, boot, sizeof boot);
    struct vmf_extent first;
    g_assert_true (vmf_extents_next (g_ptr_array_index (map->needed, 0), 0, &first));
    g_assert_cmpuint (first.length, >=, (uint64_t)vmf_le32 (boot + 88) << boot[108]); /* all before the clusters */
    image_write (image, 106, "\2", 1);
    assert_way (image, VMF_MAP_WAY_ALLOCATION, "exfat");
}

/* The flags of $Volume, wherever mkntfs put its record. */
static uint64_t
ntfs_flags_at (const char *image)
{
    uint8_t boot[512], record[1024];
    image_read (image, 0, boot, sizeof boot);
    uint64_t at = vmf_le64 (boot + 0x30) * boot[0x0d] * 512 + 3 * 1024;
    image_read (image, at, record, sizeof record);
    for (uint32_t a = vmf_le16 (record + 20); a < 900; a += vmf_le32 (record + a + 4))
        if (vmf_le32 (record + a) == 0x70)
            return at + a + vmf_le16 (record + a + 20) + 10;
    g_assert_not_reached ();
}

static void
test_ntfs (void)
{
    if (!have_programs ("mkfs.ntfs", "ntfscp", "ntfscat", "ntfs-3g.probe", NULL))
        return;
    g_autofree char *image = image_new ("ntfs.img", 200 * MIB), *file = file_of ("file", 5 * MIB),
                    *out = images_path ("out"), *hibernated = file_of ("hiber", 65536);
    run ("mkfs.ntfs", "-q", "-f", "-F", image);
    run ("ntfscp", "-q", image, file, "file");
    g_autoptr (vmf_map) map = image_map_one (image);
    g_assert_cmpint (map_volume (map, "sda")->way, ==, VMF_MAP_WAY_MAP);
    g_assert_cmpuint (vmf_extents_total (g_ptr_array_index (map->needed, 0)), <, 20 * MIB);
    g_autofree char *copy = image_copy (image, map, 0);
    run ("sh", "-c", "ntfscat \"$0\" file > \"$1\"", copy, out);
    g_autofree char *before = sha256_of (file), *after = sha256_of (out);
    g_assert_cmpstr (before, ==, after);
    uint8_t last[512], copied[512]; /* the boot sector's copy lies behind the file system's end */
    image_read (image, 200 * MIB - 512, last, 512);
    image_read (copy, 200 * MIB - 512, copied, 512);
    g_assert_cmpmem (last, 512, copied, 512);
    g_assert_cmpmem (last + 3, 4, "NTFS", 4);

    uint64_t flags = ntfs_flags_at (image);
    image_write (image, flags, "\1", 1);
    assert_way (image, VMF_MAP_WAY_ALLOCATION, "ntfs");
    image_write (image, flags, "\0", 1);
    assert_way (image, VMF_MAP_WAY_MAP, "ntfs");
    image_write (hibernated, 0, "hibr", 4);
    run ("ntfscp", "-q", image, hibernated, "hiberfil.sys");
    assert_way (image, VMF_MAP_WAY_ALLOCATION, "ntfs");
}

struct opaque_case
{
    const char *name, *type;
    uint64_t offset; /* from the end with `from_end` */
    bool from_end;
    const char *bytes;
    size_t length;
};

static const struct opaque_case opaque_cases[] = {
    { "luks", "crypto_LUKS", 0, false, "LUKS\xba\xbe", 6 },
    { "bitlocker", "BitLocker", 3, false, "-FVE-FS-", 8 },
    { "md-1.1", "linux_raid_member", 0, false, "\xfc\x4e\x2b\xa9", 4 },
    { "md-1.2", "linux_raid_member", 4096, false, "\xfc\x4e\x2b\xa9", 4 },
    { "md-1.0", "linux_raid_member", 8192, true, "\xfc\x4e\x2b\xa9", 4 },
    { "md-0.9", "linux_raid_member", 65536, true, "\xfc\x4e\x2b\xa9", 4 },
    { "bcache", "bcache", 4096 + 24, false, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81", 16 },
    { "drbd", "drbd", 4096 - 60, true, "\x83\x74\x02\x6b", 4 },
    { "ddf", "raid_member", 512, true, "\xde\x11\xde\x11", 4 },
    { "nothing", "unknown", 0, false, "", 1 },
};

static void
test_opaque (const void *data)
{
    const struct opaque_case *c = data;
    g_autofree char *image = image_new ("opaque.img", 16 * MIB);
    image_write (image, c->from_end ? 16 * MIB - c->offset : c->offset, c->bytes, c->length);
    assert_way (image, VMF_MAP_WAY_ALLOCATION, c->type);
}

/* The same marks on a clean ext4: two layers claim it, so neither is believed. */
static void
test_claimed_twice (void)
{
    if (!have_programs ("mkfs.ext4", NULL))
        return;
    for (size_t i = 0; i + 1 < G_N_ELEMENTS (opaque_cases); i++)
    {
        const struct opaque_case *c = &opaque_cases[i];
        g_autofree char *image = image_new ("twice.img", 16 * MIB);
        run ("mkfs.ext4", "-q", "-F", image);
        assert_way (image, VMF_MAP_WAY_MAP, "ext4");
        image_write (image, c->from_end ? 16 * MIB - c->offset : c->offset, c->bytes, c->length);
        assert_way (image, VMF_MAP_WAY_ALLOCATION, "unknown");
    }
}

struct ext_case
{
    const char *name;
    uint64_t offset; /* in the superblock */
    const char *bytes;
    size_t length;
};

static const struct ext_case ext_cases[] = {
    { "errors", 0x3a, "\3", 1 },
    { "not-unmounted", 0x3a, "\0", 1 },
    { "unknown-feature", 0x63, "\x80", 1 },
    { "bigalloc", 0x65, "\x06", 1 },
    { "larger-than-its-volume", 0x4, "\xff\xff\xff\x7f", 4 },
    { "2-to-the-63-blocks", 0x150, "\xff\xff\xff\x7f", 4 },
    { "blocks-of-2-to-the-80", 0x18, "\x46", 1 },
    { "groups-of-none", 0x20, "\0\0\0\0", 4 },
    { "groups-of-eight", 0x20, "\x08\0\0\0", 4 },
};

static void
test_ext (const void *data)
{
    const struct ext_case *c = data;
    if (!have_programs ("mkfs.ext4", NULL))
        return;
    g_autofree char *image = image_new ("ext.img", 16 * MIB);
    run ("mkfs.ext4", "-q", "-F", image);
    image_write (image, 1024 + c->offset, c->bytes, c->length);
    assert_way (image, VMF_MAP_WAY_ALLOCATION, "ext4");
    /* By its superblock alone: no program was started, no list was made. */
    g_autoptr (vmf_map) map = image_map_one (image);
    g_assert_null (strstr (map_volume (map, "sda")->why, "its map could not be read"));
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_data_func ("/flags/fat16", "16", test_fat);
    g_test_add_data_func ("/flags/fat32", "32", test_fat);
    g_test_add_func ("/flags/fat12", test_fat12);
    g_test_add_func ("/flags/exfat", test_exfat);
    g_test_add_func ("/flags/pitfall-28-ntfs", test_ntfs);
    g_test_add_func ("/flags/pitfall-43-claimed-twice", test_claimed_twice);
    for (size_t i = 0; i < G_N_ELEMENTS (opaque_cases); i++)
    {
        g_autofree char *name = g_strconcat ("/flags/pitfall-43-opaque/", opaque_cases[i].name, NULL);
        g_test_add_data_func (name, &opaque_cases[i], test_opaque);
    }
    for (size_t i = 0; i < G_N_ELEMENTS (ext_cases); i++)
    {
        g_autofree char *name = g_strconcat ("/flags/ext4/", ext_cases[i].name, NULL);
        g_test_add_data_func (name, &ext_cases[i], test_ext);
    }
    int result = g_test_run ();
    images_end ();
    return result;
}
