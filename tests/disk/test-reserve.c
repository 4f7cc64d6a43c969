/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Space that is a file's before its data: nobody else gets it, no byte changes, and what was not used is free again. */
#include "fixture.h"
#include "base/error.h"
#include "disk/reserve.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

enum
{
    MIB = 1 << 20,
};

static char *folder;

static char *
path_to (const char *name)
{
    return g_build_filename (folder, name, NULL);
}

static int64_t
blocks_bytes (const char *path)
{
    struct stat info;
    g_assert_cmpint (stat (path, &info), ==, 0);
    return info.st_blocks * 512;
}

static int64_t
size_of (const char *path)
{
    struct stat info;
    g_assert_cmpint (stat (path, &info), ==, 0);
    return info.st_size;
}

static void
write_at (const char *path, int64_t offset, char byte, size_t length)
{
    g_autofree char *bytes = g_strnfill (length, byte);
    int fd = open (path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    g_assert_cmpint (pwrite (fd, bytes, length, offset), ==, (ssize_t)length);
    close (fd);
}

/* Two ranges of a sparse raw disk, of which one half is written. */
static void
test_raw (void)
{
    g_autoptr (GError) error = NULL;
    g_autofree char *raw = path_to ("r.raw"), *same = path_to ("same.raw");
    g_autoptr (vmf_extents) ranges = vmf_extents_new ();
    bool reserved = false;
    const char *const both[] = { raw, same };
    for (size_t i = 0; i < 2; i++)
    {
        write_at (both[i], 0, 'a', MIB);
        g_assert_cmpint (truncate (both[i], 64 * MIB), ==, 0);
    }
    vmf_extents_add (ranges, 0, 8 * MIB);
    vmf_extents_add (ranges, 32 * MIB, 8 * MIB);
    g_assert_true (vmf_reserve_raw (raw, ranges, &reserved, &error));
    g_assert_no_error (error);
    if (!reserved)
        return g_test_skip ("this file system reserves no space");
    g_assert_cmpint (size_of (raw), ==, 64 * MIB);
    g_assert_cmpint (blocks_bytes (raw), >=, 16 * MIB);
    for (size_t i = 0; i < 2; i++)
        write_at (both[i], 32 * MIB, 'b', 4 * MIB);
    g_assert_true (vmf_reserve_end (raw, &error));
    g_assert_no_error (error);
    g_assert_cmpint (blocks_bytes (raw), <, 6 * MIB);
    g_free (fixture_run ("cmp", raw, same, NULL));
    g_assert_true (vmf_reserve_end (raw, &error)); /* again is no error */
    g_free (fixture_run ("cmp", raw, same, NULL));
}

/* A qcow2 grows into what was reserved behind its end. */
static void
test_qcow2 (void)
{
    g_autoptr (GError) error = NULL;
    g_autofree char *image = path_to ("q.qcow2");
    bool reserved = false;
    g_free (fixture_run ("qemu-img", "create", "-q", "-f", "qcow2", image, "1G", NULL));
    int64_t empty = size_of (image);
    g_assert_true (vmf_reserve_qcow2 (image, 24 * MIB, &reserved, &error));
    g_assert_no_error (error);
    if (!reserved)
        return g_test_skip ("this file system reserves no space");
    g_assert_cmpint (size_of (image), ==, empty);
    g_assert_cmpint (blocks_bytes (image), >=, 24 * MIB);
    g_free (fixture_run ("qemu-io", "-f", "qcow2", "-c", "write -P 7 512M 8M", image, NULL));
    g_assert_cmpint (blocks_bytes (image), <, 26 * MIB);
    g_assert_true (vmf_reserve_end (image, &error));
    g_assert_no_error (error);
    g_assert_cmpint (blocks_bytes (image), <, 10 * MIB);
    g_free (fixture_run ("qemu-img", "check", "-q", "-f", "qcow2", image, NULL));
    g_autofree char *read = fixture_run ("qemu-io", "-f", "qcow2", "-c", "read -P 7 512M 8M", image, NULL);
    g_assert_null (strstr (read, "fail"));
}

/* Of two that do not fit together the second gets nothing, until the first is gone. */
static void
test_full (void)
{
    g_autoptr (GError) error = NULL;
    g_autofree char *first = path_to ("first"), *second = path_to ("second");
    bool reserved = false;
    if (unshare (CLONE_NEWNS) != 0 || mount ("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0
        || mount ("tmpfs", folder, "tmpfs", 0, "size=16m") != 0)
        return g_test_skip ("a small file system can be mounted by root only");
    write_at (first, 0, 'a', 4096);
    write_at (second, 0, 'a', 4096);
    g_assert_true (vmf_reserve_qcow2 (first, 10 * MIB, &reserved, &error));
    g_assert_true (reserved);
    g_assert_false (vmf_reserve_qcow2 (second, 10 * MIB, &reserved, &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_NO_SPACE);
    g_clear_error (&error);
    g_assert_cmpint (unlink (first), ==, 0);
    g_assert_true (vmf_reserve_qcow2 (second, 10 * MIB, &reserved, &error));
    g_assert_no_error (error);
    g_assert_true (vmf_reserve_end (second, &error));
    g_assert_cmpint (blocks_bytes (second), ==, 4096);
    umount2 (folder, MNT_DETACH);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    folder = fixture_folder ();
    g_test_add_func ("/reserve/raw", test_raw);
    g_test_add_func ("/reserve/qcow2", test_qcow2);
    g_test_add_func ("/reserve/full", test_full);
    int result = g_test_run ();
    fixture_remove (folder);
    return result;
}
