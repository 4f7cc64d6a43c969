/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The space check of B11. Two directories or pools may lie on one file system, so needs are summed by device number,
 * and free space is asked of the kernel, not of what libvirt remembers from its last refresh.
 */
#include "base/text.h"
#include "target/targets.h"

#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

struct place
{
    char *key;   /* a device number, or a pool that is none */
    char *shown; /* the first name it was asked for by */
    uint64_t available_bytes, needed_bytes;
};

struct vmf_space
{
    GArray *places; /* struct place */
};

static void
place_clear (void *data)
{
    struct place *place = data;
    g_free (place->key);
    g_free (place->shown);
}

struct vmf_space *
vmf_space_new (void)
{
    struct vmf_space *space = g_new0 (struct vmf_space, 1);
    space->places = g_array_new (FALSE, TRUE, sizeof (struct place));
    g_array_set_clear_func (space->places, place_clear);
    return space;
}

void
vmf_space_free (struct vmf_space *space)
{
    g_array_unref (space->places);
    g_free (space);
}

/* The free bytes at DIRECTORY and a key for its file system; 0 where nothing of the path can be read. */
static char *
file_system (const char *directory, uint64_t *available_bytes)
{
    g_autofree char *path = g_strdup (directory);
    struct stat info;
    struct statvfs fs;
    while (stat (path, &info) != 0 && strcmp (path, "/") != 0 && strcmp (path, ".") != 0)
    {
        char *parent = g_path_get_dirname (path);
        g_free (path);
        path = parent;
    }
    *available_bytes = 0;
    if (stat (path, &info) != 0 || statvfs (path, &fs) != 0)
        return g_strdup (directory);
    if (__builtin_mul_overflow ((uint64_t)fs.f_bavail, (uint64_t)fs.f_frsize, available_bytes))
        *available_bytes = UINT64_MAX;
    return g_strdup_printf ("%jx", (uintmax_t)info.st_dev);
}

static struct place *
place_for (struct vmf_space *space, const char *key)
{
    for (guint i = 0; i < space->places->len; i++)
    {
        struct place *place = &g_array_index (space->places, struct place, i);
        if (strcmp (place->key, key) == 0)
            return place;
    }
    return NULL;
}

void
vmf_space_need (struct vmf_space *space, const char *place, const char *directory, uint64_t available_bytes,
                const struct vmf_target_disk_wish *wish)
{
    bool whole = wish->preallocate || wish->expected_bytes == 0;
    uint64_t needed = whole ? wish->size_bytes : wish->expected_bytes;
    g_autofree char *key = directory ? file_system (directory, &available_bytes) : g_strdup (place);
    struct place *known = place_for (space, key);
    if (!known)
    {
        struct place added = { g_steal_pointer (&key), g_strdup (place), available_bytes, 0 };
        g_array_append_val (space->places, added);
        known = &g_array_index (space->places, struct place, space->places->len - 1);
    }
    if (__builtin_add_overflow (known->needed_bytes, needed, &known->needed_bytes))
        known->needed_bytes = UINT64_MAX;
}

void
vmf_space_report (const struct vmf_space *space, GPtrArray *findings)
{
    for (guint i = 0; i < space->places->len; i++)
    {
        const struct place *place = &g_array_index (space->places, struct place, i);
        g_autofree char *needed = vmf_text_from_size (place->needed_bytes);
        g_autofree char *available = vmf_text_from_size (place->available_bytes);
        if (place->needed_bytes > place->available_bytes)
            vmf_findings_add (findings, VMF_FINDING_BLOCKING,
                              "%s has %s free, and this import may need %s; free some, choose another place for one of "
                              "the disks, or leave a disk out",
                              place->shown, available, needed);
        else
            vmf_findings_add (findings, VMF_FINDING_INFO, "%s has %s free, this import needs at most %s", place->shown,
                              available, needed);
    }
}
