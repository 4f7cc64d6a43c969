/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See images.h. Children of this file are g_spawn's: the module under test is not used to judge itself. */
#include "../folder.h"
#include "images.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char *folder;

/* Mounts are made in a mount namespace of our own: nobody else's new namespace can keep a copy of one, which would keep
   the file system mounted behind our umount, and all are gone when the test program ends, however it ends. */
static void
enter_own_namespace (void)
{
    if (geteuid () == 0 && unshare (CLONE_NEWNS) == 0)
        g_assert_cmpint (mount ("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), ==, 0);
}

const char *
images_dir (void)
{
    if (!folder)
    {
        enter_own_namespace ();
        folder = test_folder_new ("map");
    }
    g_assert_nonnull (folder);
    return folder;
}

void
images_end (void)
{
    if (folder)
        run ("rm", "-rf", "--one-file-system", folder);
    g_clear_pointer (&folder, g_free);
}

char *
images_path (const char *name)
{
    return g_build_filename (images_dir (), name, NULL);
}

static int
spawn (const char *const *argv, char **output)
{
    g_autofree char *errors = NULL;
    g_autoptr (GError) error = NULL;
    int status = -1;
    bool good =
        g_spawn_sync ("/", (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, output, &errors, &status, &error);
    g_assert_no_error (error);
    g_assert_true (good);
    if (status != 0)
        g_test_message ("%s: status %d: %s", argv[0], status, errors);
    return WIFEXITED (status) ? WEXITSTATUS (status) : 255;
}

int
run_status (const char *const *argv)
{
    g_autofree char *output = NULL;
    return spawn (argv, &output);
}

char *
run_output (const char *const *argv)
{
    char *output = NULL;
    g_assert_cmpint (spawn (argv, &output), ==, 0);
    return output;
}

bool
have_programs (const char *first, ...)
{
    va_list args;
    bool all = true;
    va_start (args, first);
    for (const char *name = first; name && all; name = va_arg (args, const char *))
    {
        g_autofree char *path = g_find_program_in_path (name);
        if ((all = path != NULL) == false)
        {
            g_autofree char *why = g_strdup_printf ("%s is not installed", name);
            g_test_skip (why);
        }
    }
    va_end (args);
    return all;
}

bool
have_mounts (const char *type)
{
    g_autofree char *known = NULL;
    g_file_get_contents ("/proc/filesystems", &known, NULL, NULL);
    if (geteuid () != 0)
        return g_test_skip ("mounting needs root"), false;
    if (access ("/dev/loop-control", R_OK) != 0)
        return g_test_skip ("this host has no loop devices"), false;
    if (!known || !strstr (known, type))
        return g_test_skip ("this host's kernel cannot mount that file system"), false;
    return true;
}

char *
image_new (const char *name, uint64_t size)
{
    char *path = images_path (name);
    int fd = open (path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    g_assert_cmpint (fd, >=, 0);
    g_assert_cmpint (ftruncate (fd, (off_t)size), ==, 0);
    close (fd);
    return path;
}

void
image_write (const char *path, uint64_t offset, const void *bytes, size_t length)
{
    int fd = open (path, O_WRONLY | O_CLOEXEC);
    g_assert_cmpint (pwrite (fd, bytes, length, (off_t)offset), ==, (gssize)length);
    close (fd);
}

void
image_read (const char *path, uint64_t offset, void *bytes, size_t length)
{
    int fd = open (path, O_RDONLY | O_CLOEXEC);
    g_assert_cmpint (pread (fd, bytes, length, (off_t)offset), ==, (gssize)length);
    close (fd);
}

char *
image_mount (const char *image, const char *options)
{
    char *mount_point = images_path ("mnt");
    g_autofree char *all = g_strconcat ("loop,", options, NULL);
    g_mkdir_with_parents (mount_point, 0700);
    run ("mount", "-o", all, image, mount_point);
    return mount_point;
}

void
image_unmount (void)
{
    g_autofree char *mount_point = images_path ("mnt");
    run ("umount", mount_point);
}

static void
write_file (const char *dir, const char *name, size_t size, bool sync)
{
    g_autofree char *path = g_build_filename (dir, name, NULL);
    g_autofree uint32_t *words = g_malloc (size + 4);
    for (size_t i = 0; i < size / 4 + 1; i++)
        words[i] = g_test_rand_bit () ? (uint32_t)g_test_rand_int () : (uint32_t)i;
    int fd = open (path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    /* In two parts: btrfs commits for the fsync of a new file, and logs the second one. */
    g_assert_cmpint (write (fd, words, size / 2), ==, (gssize)(size / 2));
    g_assert_cmpint (sync ? fsync (fd) : 0, ==, 0);
    g_assert_cmpint (write (fd, words + size / 8, size - size / 2), ==, (gssize)(size - size / 2));
    g_assert_cmpint (sync ? fsync (fd) : 0, ==, 0);
    close (fd);
}

char *
image_populate (const char *mount_point, size_t size)
{
    for (unsigned i = 0; i < 300; i++)
    {
        g_autofree char *name = g_strdup_printf ("file-%u", i);
        write_file (mount_point, name, 100 + i * 331, false);
    }
    sync ();
    for (unsigned i = 0; i < 300; i += 3)
    {
        g_autofree char *name = g_strdup_printf ("%s/file-%u", mount_point, i);
        g_assert_cmpint (unlink (name), ==, 0);
    }
    sync ();
    write_file (mount_point, "synced", size, true);
    g_autofree char *path = g_build_filename (mount_point, "synced", NULL);
    return sha256_of (path);
}

char *
sha256_of (const char *path)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (GMappedFile) file = g_mapped_file_new (path, FALSE, &error);
    g_assert_no_error (error);
    g_autoptr (GBytes) bytes = g_mapped_file_get_bytes (file);
    return g_compute_checksum_for_bytes (G_CHECKSUM_SHA256, bytes);
}

static GPid
serve (const char *path, const char *socket_path, const char *stats_path)
{
    g_autofree char *stats = g_strconcat ("statsfile=", stats_path, NULL);
    g_autofree char *file = g_strconcat ("file=", path, NULL);
    const char *argv[] = { "nbdkit", "-f", "-r", "-U", socket_path, "--filter=stats", "file", file, stats, NULL };
    g_autoptr (GError) error = NULL;
    GPid pid = 0;
    g_spawn_async ("/", (char **)argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL, &pid, &error);
    g_assert_no_error (error);
    while (access (socket_path, F_OK) != 0 && kill (pid, 0) == 0)
        g_usleep (2000);
    return pid;
}

/* nbdkit's own "read: 21 ops, …, 391168 bytes"-like text has units; its request table does not. So the sizes of all
   requests are not added up here: the total is parsed with its unit. */
static uint64_t
read_stats (const char *path)
{
    g_autofree char *text = NULL;
    double number = 0;
    char unit[8] = "";
    g_assert_true (g_file_get_contents (path, &text, NULL, NULL));
    g_assert_cmpint (sscanf (text, "total: %*d ops, %*f s, %lf %7[A-Za-z]", &number, unit), ==, 2);
    unsigned shift = g_str_has_prefix (unit, "Gi")   ? 30
                     : g_str_has_prefix (unit, "Mi") ? 20
                     : g_str_has_prefix (unit, "Ki") ? 10
                                                     : 0;
    return (uint64_t)(number * (double)(1u << shift));
}

struct vmf_map *
image_map (const char *const *paths, uint64_t *stats)
{
    static const char *const names[] = { "sda", "sdb", "sdc", "sdd" };
    struct vmf_map_disk disks[4];
    GPid pids[4];
    g_autofree char *work = images_path ("work");
    g_autoptr (GError) error = NULL;
    unsigned n = 0;
    g_assert_cmpint (g_mkdir_with_parents (work, 0700), ==, 0);
    for (; paths[n]; n++)
    {
        g_autofree char *socket_path = g_strdup_printf ("%s/%s.sock", work, names[n]);
        g_autofree char *stats_path = g_strdup_printf ("%s/%s.stats", work, names[n]);
        struct stat info;
        g_assert_cmpint (stat (paths[n], &info), ==, 0);
        pids[n] = serve (paths[n], socket_path, stats_path);
        disks[n] = (struct vmf_map_disk){ names[n], g_strconcat ("nbd+unix:///?socket=", socket_path, NULL),
                                          (uint64_t)info.st_size };
    }
    g_autoptr (vmf_room) room = vmf_room_new (&error);
    g_assert_no_error (error);
    struct vmf_map *map = vmf_map_read (disks, n, room, work, NULL, &error);
    g_assert_no_error (error);
    for (unsigned i = 0; i < n; i++)
    {
        g_autofree char *stats_path = g_strdup_printf ("%s/%s.stats", work, names[i]);
        kill (pids[i], SIGTERM);
        waitpid (pids[i], NULL, 0);
        g_free ((char *)disks[i].uri);
        if (stats)
            *stats += read_stats (stats_path);
        unlink (stats_path);
    }
    /* nothing of the map's own stays behind */
    g_autofree char *left =
        run_output ((const char *[]){ "find", work, "-mindepth", "1", "-not", "-name", "*.sock", NULL });
    g_assert_cmpstr (left, ==, "");
    run ("rm", "-rf", work);
    return map;
}

struct vmf_map *
image_map_one (const char *path)
{
    return image_map ((const char *[]){ path, NULL }, NULL);
}

const struct vmf_map_volume *
map_volume (const struct vmf_map *map, const char *name)
{
    for (guint i = 0; i < map->volumes->len; i++)
    {
        const struct vmf_map_volume *volume = g_ptr_array_index (map->volumes, i);
        g_test_message ("%s %s %s: %s", volume->name, volume->type, vmf_map_way_name (volume->way), volume->why);
        if (strcmp (volume->name, name) == 0)
            return volume;
    }
    g_test_message ("no volume %s", name);
    g_assert_not_reached ();
}

char *
image_copy (const char *path, const struct vmf_map *map, unsigned n)
{
    const struct vmf_extents *needed = g_ptr_array_index (map->needed, n);
    struct stat info;
    g_assert_cmpint (stat (path, &info), ==, 0);
    g_autofree char *name = g_strdup_printf ("copy-%u", n);
    char *copy = image_new (name, (uint64_t)info.st_size);
    int from = open (path, O_RDONLY | O_CLOEXEC), to = open (copy, O_WRONLY | O_CLOEXEC);
    for (size_t i = 0; i < vmf_extents_count (needed); i++)
    {
        struct vmf_extent extent = vmf_extents_nth (needed, i);
        off_t in = (off_t)extent.offset, out = in;
        g_assert_cmpuint (extent.offset + extent.length, <=, info.st_size);
        for (uint64_t left = extent.length; left > 0;)
        {
            ssize_t done = copy_file_range (from, &in, to, &out, left, 0);
            g_assert_cmpint (done, >, 0);
            left -= (uint64_t)done;
        }
    }
    close (from);
    close (to);
    return copy;
}

struct file_reader
{
    struct vmf_reader reader;
    uint64_t size;
    int fd;
};

static bool
read_file (void *data, unsigned disk, uint64_t offset, void *buffer, size_t length, GError **error)
{
    struct file_reader *file = data;
    g_assert_cmpuint (offset + length, <=, file->size);
    g_assert_cmpint (pread (file->fd, buffer, length, (off_t)offset), ==, (gssize)length);
    return true;
}

struct vmf_reader *
reader_new (const char *path)
{
    struct file_reader *file = g_new0 (struct file_reader, 1);
    struct stat info;
    file->fd = open (path, O_RDONLY | O_CLOEXEC);
    g_assert_cmpint (fstat (file->fd, &info), ==, 0);
    file->size = (uint64_t)info.st_size;
    file->reader = (struct vmf_reader){ &file->size, 1, read_file, file, 0 };
    return &file->reader;
}

void
reader_free (struct vmf_reader *reader)
{
    struct file_reader *file = reader->data;
    close (file->fd);
    g_free (file);
}
