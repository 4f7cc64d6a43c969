/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The space that the disks will take, checked and reserved as soon as the map tells how much that is, and before the
 * copy begins (B11, PITFALLS 40): the files get their blocks from the file system now, so nobody takes them while hours
 * are copied. What a killed import had reserved is its files' and stays theirs until it goes on or is cleared.
 */
#include "base/error.h"
#include "base/text.h"
#include "disk/reserve.h"
#include "import/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* A file that will grow. */
struct file
{
    struct import_disk *disk;
    const char *path, *format;
    bool preallocate;
    struct stat info;
};

static void
add_file (GArray *files, struct import_disk *disk, const char *path, const char *format, bool preallocate)
{
    struct file file = { .disk = disk, .path = path, .format = format, .preallocate = preallocate };
    if (stat (path, &file.info) == 0 && S_ISREG (file.info.st_mode))
        g_array_append_val (files, file);
}

/* struct file: the targets, and where they are staged, the staged disks. Block devices have their space. */
static GArray *
all_files (struct vmf_import *import)
{
    GArray *files = g_array_new (FALSE, FALSE, sizeof (struct file));
    for (unsigned i = 0; i < import->n_disks; i++)
    {
        struct import_disk *disk = &import->disks[i];
        const struct vmf_target_disk *target = g_ptr_array_index (import->target_disks, i);
        add_file (files, disk, target->path, target->format, disk->preallocate);
        if (import->staged)
            add_file (files, disk, disk->write_path, "qcow2", false);
    }
    return files;
}

static uint64_t
needed_bytes (const struct file *file)
{
    uint64_t size_bytes = file->disk->size_bytes;
    uint64_t data_bytes = file->preallocate ? size_bytes : vmf_extents_total (file->disk->needed);
    return g_str_equal (file->format, "raw") ? data_bytes : vmf_reserve_qcow2_bytes (data_bytes, size_bytes);
}

/* How much space FILE will take beyond what it has. */
static uint64_t
still_to_come (const struct file *file)
{
    uint64_t needed = needed_bytes (file), has = (uint64_t)file->info.st_blocks * 512;
    return needed > has ? needed - has : 0;
}

static bool
fail_full (const char *path, uint64_t needed, GError **error)
{
    struct statvfs space;
    uint64_t free_bytes = statvfs (path, &space) == 0 ? (uint64_t)space.f_bavail * space.f_frsize : 0;
    g_autofree char *needed_text = vmf_text_from_size (needed), *free_text = vmf_text_from_size (free_bytes);
    g_set_error (error, VMF_ERROR, VMF_ERROR_NO_SPACE,
                 "the disks need up to %s more at %s, where %s are free; make room or choose another target",
                 needed_text, path, free_text);
    return false;
}

/* What all files on FILE's file system still need. */
static uint64_t
sum_beside (const GArray *files, const struct file *file)
{
    uint64_t sum = 0;
    for (guint i = 0; i < files->len; i++)
    {
        const struct file *other = &g_array_index (files, struct file, i);
        sum += other->info.st_dev == file->info.st_dev ? still_to_come (other) : 0;
    }
    return sum;
}

static bool
check (const GArray *files, GError **error)
{
    for (guint i = 0; i < files->len; i++)
    {
        const struct file *file = &g_array_index (files, struct file, i);
        struct statvfs space;
        uint64_t sum = sum_beside (files, file);
        if (statvfs (file->path, &space) == 0 && sum > (uint64_t)space.f_bavail * space.f_frsize)
            return fail_full (file->path, sum, error);
    }
    return true;
}

static bool
reserve (const struct file *file, GError **error)
{
    bool raw = g_str_equal (file->format, "raw"), reserved = false;
    g_autoptr (vmf_extents) whole = vmf_extents_new ();
    vmf_extents_add (whole, 0, file->disk->size_bytes);
    const struct vmf_extents *ranges = file->preallocate ? whole : file->disk->needed;
    g_autoptr (GError) why = NULL;
    bool good = raw ? vmf_reserve_raw (file->path, ranges, &reserved, &why)
                    : vmf_reserve_qcow2 (file->path, needed_bytes (file), &reserved, &why);
    file->disk->reserved |= reserved;
    if (g_error_matches (why, VMF_ERROR, VMF_ERROR_NO_SPACE)) /* somebody was quicker since the check */
        return fail_full (file->path, still_to_come (file), error);
    if (why)
        g_propagate_error (error, g_steal_pointer (&why));
    else if (!reserved)
        g_debug ("%s: this file system reserves no space", file->path);
    return good;
}

/* Imports into one folder look and reserve one after the other: both might fail where one alone fits. Where the folder
   cannot be opened or locked, that may happen. -1: not locked; ERROR: cancelled. */
static int
lock_folder (struct vmf_import *import, const char *path, GError **error)
{
    g_autofree char *folder = g_path_get_dirname (path);
    int fd = open (folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool good = true;
    while (fd >= 0 && good && flock (fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        good = import_wait_for_events (import, IMPORT_TICK_MS, error);
    if (fd >= 0 && !good)
        close (fd);
    return good ? fd : -1;
}

bool
import_reserve_space (struct vmf_import *import, GError **error)
{
    g_autoptr (GArray) files = all_files (import);
    g_autoptr (GError) cancelled = NULL;
    int lock = files->len > 0 ? lock_folder (import, g_array_index (files, struct file, 0).path, &cancelled) : -1;
    if (cancelled)
        return g_propagate_error (error, g_steal_pointer (&cancelled)), false;
    bool good = check (files, error);
    for (guint i = 0; good && i < files->len; i++)
        good = reserve (&g_array_index (files, struct file, i), error);
    if (lock >= 0)
        close (lock);
    return good;
}

void
import_give_back_space (struct vmf_import *import)
{
    for (unsigned i = 0; i < import->n_disks; i++)
    {
        const struct import_disk *disk = &import->disks[i];
        const struct vmf_target_disk *target = g_ptr_array_index (import->target_disks, i);
        g_autoptr (GError) error = NULL;
        if ((disk->reserved || import->resumed) && !disk->preallocate && !vmf_reserve_end (target->path, &error))
            import_say (import, VMF_IMPORT_WARNING, "%s; the disk is good, and larger than it needs to be",
                        error->message);
    }
}
