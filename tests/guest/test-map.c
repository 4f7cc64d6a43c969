/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PITFALLS 41-43, A5: a disk that is copied by its map has every file as it was.
 *
 * Each image is made by mkfs and the kernel, mapped through nbdkit, copied by the map into an empty file, and judged by
 * the file system's own checker and by the files' digests. Seen to fail when needs_recovery was taken for clean.
 */
#include "images.h"

#include <unistd.h>

#define MIB ((uint64_t)1 << 20)

enum
{
    SYNCED = 20 * 1024 * 1024,
};

static int
by_name (const void *a, const void *b, void *data)
{
    return strcmp (*(char *const *)a, *(char *const *)b);
}

/* One digest of all files in an image, in order of their names. */
static char *
tree_digest (const char *image, const char *options)
{
    g_autofree char *mount_point = image_mount (image, options);
    g_autoptr (GChecksum) sum = g_checksum_new (G_CHECKSUM_SHA256);
    g_autofree char *list = run_output ((const char *[]){ "find", mount_point, "-type", "f", NULL });
    g_auto (GStrv) paths = g_strsplit (g_strchomp (list), "\n", -1);
    g_qsort_with_data (paths, (int)g_strv_length (paths), sizeof *paths, by_name, NULL);
    g_assert_cmpuint (g_strv_length (paths), >, 150);
    for (size_t i = 0; paths[i]; i++)
    {
        g_autofree char *one = sha256_of (paths[i]);
        g_checksum_update (sum, (guchar *)paths[i], -1);
        g_checksum_update (sum, (guchar *)one, -1);
    }
    image_unmount ();
    return g_strdup (g_checksum_get_string (sum));
}

struct clean_case
{
    const char *type;
    const char *mkfs[10]; /* without the image */
    const char *options;  /* of mount */
    const char *check[6]; /* without the image */
};

static void
test_clean (const void *data)
{
    const struct clean_case *c = data;
    if (!have_mounts (c->type) || !have_programs (c->mkfs[0], c->check[0], NULL))
        return;
    g_autofree char *image = image_new ("clean.img", 600 * MIB);
    GPtrArray *mkfs = g_ptr_array_new (), *check = g_ptr_array_new ();
    for (size_t i = 0; c->mkfs[i]; i++)
        g_ptr_array_add (mkfs, (gpointer)c->mkfs[i]);
    g_ptr_array_add (mkfs, image);
    g_ptr_array_add (mkfs, NULL);
    g_assert_cmpint (run_status ((const char *const *)mkfs->pdata), ==, 0);
    g_autofree char *mount_point = image_mount (image, c->options);
    g_autofree char *synced = image_populate (mount_point, SYNCED);
    if (g_str_equal (c->type, "btrfs")) /* no checksums: what databases and journald ask for */
    {
        g_autofree char *plain = g_build_filename (mount_point, "nocow", NULL);
        g_autofree char *from = g_build_filename (mount_point, "synced", NULL);
        run ("touch", plain);
        run ("chattr", "+C", plain);
        run ("cp", "--reflink=never", from, plain);
    }
    image_unmount ();
    g_autoptr (vmf_map) map = image_map_one (image);
    const struct vmf_map_volume *volume = map_volume (map, "sda");
    g_assert_cmpstr (volume->type, ==, c->type);
    g_assert_cmpint (volume->way, ==, VMF_MAP_WAY_MAP);
    g_assert_cmpuint (vmf_extents_total (g_ptr_array_index (map->needed, 0)), <, 300 * MIB);
    g_autofree char *copy = image_copy (image, map, 0);
    for (size_t i = 0; c->check[i]; i++)
        g_ptr_array_add (check, (gpointer)c->check[i]);
    g_ptr_array_add (check, copy);
    g_ptr_array_add (check, NULL);
    g_assert_cmpint (run_status ((const char *const *)check->pdata), ==, 0);
    g_autofree char *before = tree_digest (image, c->options);
    g_autofree char *after = tree_digest (copy, c->options);
    g_assert_cmpstr (before, ==, after);
    g_ptr_array_unref (mkfs);
    g_ptr_array_unref (check);
    unlink (image);
    unlink (copy);
}

#define E2FSCK                                                                                                         \
    {                                                                                                                  \
        "e2fsck", "-fn"                                                                                                \
    }
static const struct clean_case clean_cases[] = {
    { "ext4", { "mkfs.ext4", "-q", "-F" }, "defaults", E2FSCK },
    { "ext4", { "mkfs.ext4", "-q", "-F", "-b", "1024" }, "defaults", E2FSCK },
    { "ext4", { "mkfs.ext4", "-q", "-F", "-O", "^metadata_csum,uninit_bg,^flex_bg" }, "defaults", E2FSCK },
    { "ext4", { "mkfs.ext4", "-q", "-F", "-O", "meta_bg,^resize_inode,sparse_super2" }, "defaults", E2FSCK },
    { "ext3", { "mkfs.ext3", "-q", "-F" }, "defaults", E2FSCK },
    { "ext2", { "mkfs.ext2", "-q", "-F" }, "defaults", E2FSCK },
    { "xfs", { "mkfs.xfs", "-q", "-f" }, "nouuid", { "xfs_repair", "-n", "-f" } },
    { "xfs", { "mkfs.xfs", "-q", "-f", "-b", "size=1024" }, "nouuid", { "xfs_repair", "-n", "-f" } },
    { "xfs", { "mkfs.xfs", "-q", "-f", "-d", "su=64k,sw=4", "-l", "su=256k" }, "nouuid", { "xfs_repair", "-n", "-f" } },
    { "btrfs", { "mkfs.btrfs", "-q", "-f" }, "rw", { "btrfs", "check", "--check-data-csum" } },
    { "btrfs",
      { "mkfs.btrfs", "-q", "-f", "-m", "single", "--mixed" },
      "rw",
      { "btrfs", "check", "--check-data-csum" } },
};

struct dirty_case
{
    const char *type;
    const char *mkfs[6];
    const char *options; /* of the copy's mount */
    enum vmf_map_way way;
};

/* As a snapshot of a running guest: the image is taken while it is mounted, with a file that was fsynced. */
static void
test_dirty (const void *data)
{
    const struct dirty_case *c = data;
    if (!have_mounts (c->type) || !have_programs (c->mkfs[0], NULL))
        return;
    g_autofree char *live = image_new ("live.img", 400 * MIB);
    GPtrArray *mkfs = g_ptr_array_new ();
    for (size_t i = 0; c->mkfs[i]; i++)
        g_ptr_array_add (mkfs, (gpointer)c->mkfs[i]);
    g_ptr_array_add (mkfs, live);
    g_ptr_array_add (mkfs, NULL);
    g_assert_cmpint (run_status ((const char *const *)mkfs->pdata), ==, 0);
    g_autofree char *mount_point = image_mount (live, "defaults");
    g_autofree char *synced = image_populate (mount_point, SYNCED);
    g_autofree char *image = images_path ("dirty.img");
    run ("cp", "--sparse=always", live, image);
    image_unmount ();
    g_autoptr (vmf_map) map = image_map_one (image);
    const struct vmf_map_volume *volume = map_volume (map, "sda");
    g_assert_cmpint (volume->way, ==, c->way);
    g_autofree char *copy = image_copy (image, map, 0);
    g_autofree char *copy_mount = image_mount (copy, c->options);
    g_autofree char *path = g_build_filename (copy_mount, "synced", NULL);
    g_autofree char *found = sha256_of (path);
    g_assert_cmpstr (found, ==, synced);
    image_unmount ();
    if (c->way == VMF_MAP_WAY_REPLAYED)
        run ("e2fsck", "-fn", copy); /* the mount has replayed its journal */
    g_ptr_array_unref (mkfs);
    unlink (live);
    unlink (image);
    unlink (copy);
}

static const struct dirty_case dirty_cases[] = {
    { "ext4", { "mkfs.ext4", "-q", "-F" }, "defaults", VMF_MAP_WAY_REPLAYED },
    { "ext4", { "mkfs.ext4", "-q", "-F", "-b", "1024" }, "defaults", VMF_MAP_WAY_REPLAYED },
    { "ext4", { "mkfs.ext4", "-q", "-F", "-O", "fast_commit" }, "defaults", VMF_MAP_WAY_ALLOCATION },
    { "ext3", { "mkfs.ext3", "-q", "-F" }, "defaults", VMF_MAP_WAY_REPLAYED },
    { "ext2", { "mkfs.ext2", "-q", "-F" }, "defaults", VMF_MAP_WAY_ALLOCATION },
    { "xfs", { "mkfs.xfs", "-q", "-f" }, "nouuid", VMF_MAP_WAY_ALLOCATION },
    { "btrfs", { "mkfs.btrfs", "-q", "-f" }, "defaults", VMF_MAP_WAY_ALLOCATION },
};

/* btrfs' last commit is whole without any unmount: after a sync there is no log tree, and the map holds. */
static void
test_btrfs_mounted_synced (void)
{
    if (!have_mounts ("btrfs") || !have_programs ("mkfs.btrfs", NULL))
        return;
    g_autofree char *live = image_new ("live.img", 400 * MIB);
    run ("mkfs.btrfs", "-q", "-f", live);
    g_autofree char *mount_point = image_mount (live, "defaults");
    g_autofree char *synced = image_populate (mount_point, SYNCED);
    run ("btrfs", "filesystem", "sync", mount_point);
    g_autofree char *image = images_path ("dirty.img");
    run ("cp", "--sparse=always", live, image);
    image_unmount ();
    g_autoptr (vmf_map) map = image_map_one (image);
    g_assert_cmpint (map_volume (map, "sda")->way, ==, VMF_MAP_WAY_MAP);
    g_autofree char *copy = image_copy (image, map, 0);
    run ("btrfs", "check", "--check-data-csum", copy);
    g_autofree char *copy_mount = image_mount (copy, "defaults");
    g_autofree char *path = g_build_filename (copy_mount, "synced", NULL);
    g_autofree char *found = sha256_of (path);
    g_assert_cmpstr (found, ==, synced);
    run ("btrfs", "scrub", "start", "-B", copy_mount);
    g_autofree char *status = run_output ((const char *[]){ "btrfs", "device", "stats", copy_mount, NULL });
    g_assert_null (strstr (status, " 1\n")); /* both copies of DUP metadata are there */
    image_unmount ();
}

/* A partition table made by sfdisk: everything outside the file systems stays (PITFALLS 42). */
static void
test_partitions_and_swap (void)
{
    if (!have_mounts ("ext4") || !have_programs ("sfdisk", "mkfs.ext4", "mkswap", NULL))
        return;
    g_autofree char *image = image_new ("disk.img", 400 * MIB), *part = image_new ("part.img", 200 * MIB),
                    *script = images_path ("script"), *swap = image_new ("swap.img", 64 * MIB);
    g_assert_true (
        g_file_set_contents (script, "label: gpt\nstart=2048,size=409600\nstart=411648,size=131072\n", -1, NULL));
    run ("sh", "-c", "sfdisk -q \"$0\" < \"$1\"", image, script);
    run ("mkfs.ext4", "-q", "-F", part, "190M"); /* ten MiB of the partition lie behind the file system */
    g_autofree char *mount_point = image_mount (part, "defaults");
    g_autofree char *synced = image_populate (mount_point, SYNCED);
    image_unmount ();
    run ("mkswap", swap);
    g_autofree char *if_part = g_strconcat ("if=", part, NULL), *if_swap = g_strconcat ("if=", swap, NULL),
                    *of_image = g_strconcat ("of=", image, NULL);
    run ("dd", if_part, of_image, "bs=1M", "seek=1", "conv=notrunc,sparse");
    run ("dd", if_swap, of_image, "bs=1M", "seek=201", "conv=notrunc");
    g_autoptr (vmf_map) map = image_map_one (image);
    g_assert_cmpint (map_volume (map, "sda1")->way, ==, VMF_MAP_WAY_MAP);
    g_assert_cmpint (map_volume (map, "sda2")->way, ==, VMF_MAP_WAY_NONE);
    const struct vmf_extents *needed = g_ptr_array_index (map->needed, 0);
    struct vmf_extent extent;
    g_assert_true (vmf_extents_next (needed, 0, &extent));
    g_assert_cmpuint (extent.length, >, MIB); /* MBR, GPT, the gap, the boot block */
    g_assert_true (vmf_extents_next (needed, 191 * MIB, &extent));
    g_assert_cmpuint (extent.offset, ==, 191 * MIB); /* behind the file system, up to swap's header */
    g_assert_cmpuint (extent.length, ==, 10 * MIB + 65536);
    g_assert_true (vmf_extents_next (needed, 201 * MIB + 65536, &extent));
    g_assert_cmpuint (extent.offset, ==, 265 * MIB); /* behind swap, up to the GPT's copy */
    g_assert_cmpuint (extent.offset + extent.length, ==, 400 * MIB);
    image_write (image, 201 * MIB + 4086, "S1SUSPEND\0", 10);
    g_autoptr (vmf_map) hibernated = image_map_one (image);
    g_assert_cmpint (map_volume (hibernated, "sda2")->way, ==, VMF_MAP_WAY_ALLOCATION);
    g_assert_true (vmf_extents_next (g_ptr_array_index (hibernated->needed, 0), 201 * MIB, &extent));
    g_assert_cmpuint (extent.offset + extent.length, ==, 400 * MIB);
}

/* A5: what was read is counted, agrees with the server's own count, and is little. */
static void
test_reads_little (void)
{
    if (!have_mounts ("ext4") || !have_programs ("mkfs.ext4", NULL))
        return;
    g_autofree char *image = image_new ("big.img", 2048 * MIB);
    run ("mkfs.ext4", "-q", "-F", image);
    g_autofree char *mount_point = image_mount (image, "defaults");
    for (unsigned i = 0; i < 3; i++)
    {
        g_autofree char *path = g_strdup_printf ("of=%s/%u", mount_point, i);
        run ("dd", "if=/dev/zero", path, "bs=1M", "count=100");
    }
    image_unmount ();
    uint64_t stats = 0;
    g_autoptr (vmf_map) map = image_map ((const char *[]){ image, NULL }, &stats);
    g_assert_cmpuint (map->used_bytes, >, 300 * MIB);
    g_assert_cmpuint (map->bytes_read, <, map->used_bytes / 100);
    g_assert_cmpuint (stats, >, map->bytes_read - map->bytes_read / 50);
    g_assert_cmpuint (stats, <, map->bytes_read + map->bytes_read / 50);
}

/* More volumes than are mapped at a time, and no program for them: each goes by allocation, and says why. */
static void
test_program_missing (void)
{
    if (!have_programs ("sfdisk", "mkfs.ext4", NULL))
        return;
    g_autofree char *image = image_new ("six.img", 200 * MIB), *script = images_path ("script");
    g_autoptr (GString) table = g_string_new ("label: gpt\n");
    for (unsigned i = 0; i < 6; i++)
        g_string_append (table, "size=16MiB\n");
    g_assert_true (g_file_set_contents (script, table->str, -1, NULL));
    run ("sh", "-c", "sfdisk -q \"$0\" < \"$1\"", image, script);
    for (unsigned i = 0; i < 6; i++)
    {
        g_autofree char *offset = g_strdup_printf ("offset=%u", (1 + i * 16) * (unsigned)MIB);
        run ("mkfs.ext4", "-q", "-F", "-E", offset, image, "16m");
    }
    g_autofree char *bin = images_path ("bin"), *path = g_strdup (g_getenv ("PATH"));
    static const char *const kept[] = { "nbdkit", "nbdfuse", "bwrap", "prlimit", "fusermount3", "find", "rm" };
    run ("mkdir", bin);
    for (size_t i = 0; i < G_N_ELEMENTS (kept); i++)
    {
        g_autofree char *from = g_find_program_in_path (kept[i]);
        if (from)
            run ("ln", "-s", from, bin);
    }
    g_setenv ("PATH", bin, TRUE);
    g_autoptr (vmf_map) map = image_map_one (image);
    g_setenv ("PATH", path, TRUE);
    for (unsigned i = 1; i <= 6; i++)
    {
        g_autofree char *name = g_strdup_printf ("sda%u", i);
        const struct vmf_map_volume *volume = map_volume (map, name);
        g_assert_cmpint (volume->way, ==, VMF_MAP_WAY_ALLOCATION);
        g_assert_nonnull (strstr (volume->why, "partclone.ext4 is not installed"));
    }
}

static void
test_cancelled (void)
{
    g_autoptr (GCancellable) cancellable = g_cancellable_new ();
    g_autoptr (GError) error = NULL;
    g_autofree char *image = image_new ("none.img", MIB);
    struct vmf_map_disk disk = { "sda", "nbd+unix:///?socket=/nowhere/socket", MIB };
    g_cancellable_cancel (cancellable);
    g_autoptr (vmf_map) map = vmf_map_read (&disk, 1, NULL, images_dir (), cancellable, &error);
    g_assert_null (map);
    g_assert_nonnull (error);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS (clean_cases); i++)
    {
        g_autofree char *name = g_strdup_printf ("/map/clean/%s-%zu", clean_cases[i].type, i);
        g_test_add_data_func (name, &clean_cases[i], test_clean);
    }
    for (size_t i = 0; i < G_N_ELEMENTS (dirty_cases); i++)
    {
        g_autofree char *name = g_strdup_printf ("/map/pitfall-41-dirty/%s-%zu", dirty_cases[i].type, i);
        g_test_add_data_func (name, &dirty_cases[i], test_dirty);
    }
    g_test_add_func ("/map/pitfall-41-btrfs-mounted-synced", test_btrfs_mounted_synced);
    g_test_add_func ("/map/pitfall-42-43-outside-and-swap", test_partitions_and_swap);
    g_test_add_func ("/map/A5-reads-little", test_reads_little);
    g_test_add_func ("/map/program-missing", test_program_missing);
    g_test_add_func ("/map/cancelled", test_cancelled);
    int result = g_test_run ();
    images_end ();
    return result;
}
