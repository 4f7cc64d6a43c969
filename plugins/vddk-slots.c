/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vddk-slots.h */
#include "vddk-slots.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum
{
    /* When a host refuses, it refuses several at once: that is one lesson, not several. */
    SAME_LESSON_S = 2,
    /* What else read from the host, a backup, may be done by then; if not, it refuses again. */
    LESSON_LASTS_S = 15 * 60,
};

struct vddk_slots
{
    int directory_fd;
    int slot_fd; /* ours, or -1 */
    unsigned max;
    char directory[];
};

struct vddk_slots *
vddk_slots_new (const char *directory, unsigned max, struct vddk_error *error)
{
    struct vddk_slots *slots = malloc (sizeof *slots + strlen (directory) + 1);
    if (!slots)
    {
        vddk_fail (error, "no memory");
        return NULL;
    }
    *slots = (struct vddk_slots){ .slot_fd = -1, .max = max > 0 ? max : 1 };
    strcpy (slots->directory, directory);
    slots->directory_fd = open (directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (slots->directory_fd >= 0)
        return slots;
    vddk_fail (error, "slots=%s: %s", directory, strerror (errno));
    free (slots);
    return NULL;
}

void
vddk_slots_free (struct vddk_slots *slots)
{
    if (!slots)
        return;
    vddk_slots_give_back (slots);
    close (slots->directory_fd);
    free (slots);
}

static int
open_lock (const struct vddk_slots *slots, const char *name, int how)
{
    int fd = openat (slots->directory_fd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 || flock (fd, how) == 0)
        return fd;
    int saved = errno;
    close (fd);
    errno = saved;
    return -1;
}

static unsigned
read_limit (const struct vddk_slots *slots, time_t *changed)
{
    char text[32] = "";
    struct stat status = { 0 };
    int fd = openat (slots->directory_fd, "limit", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read (fd, text, sizeof text - 1) : -1;
    if (fd >= 0)
    {
        fstat (fd, &status);
        close (fd);
    }
    if (changed)
        *changed = status.st_mtime;
    bool is_old = status.st_mtime + LESSON_LASTS_S < time (NULL);
    unsigned long limit = got > 0 && !is_old ? strtoul (text, NULL, 10) : 0;
    return limit == 0 || limit > slots->max ? slots->max : (unsigned)limit;
}

/* By renaming, so that who reads without the lock sees one number or the other. */
static void
write_limit (const struct vddk_slots *slots, unsigned limit)
{
    char text[32];
    int length = snprintf (text, sizeof text, "%u\n", limit),
        fd = openat (slots->directory_fd, "limit.new", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    bool good = write (fd, text, (size_t)length) == length;
    close (fd);
    if (good)
        renameat (slots->directory_fd, "limit.new", slots->directory_fd, "limit");
}

static int
try_slot (const struct vddk_slots *slots, unsigned number)
{
    char name[32];
    snprintf (name, sizeof name, "slot.%u", number);
    return open_lock (slots, name, LOCK_EX | LOCK_NB);
}

/* How many others have, and a free one in FREE_FD (or -1, with errno where it is not merely taken). */
static unsigned
count_taken (const struct vddk_slots *slots, int *free_fd)
{
    unsigned taken = 0;
    int saved = EWOULDBLOCK;
    *free_fd = -1;
    for (unsigned i = 0; i < slots->max; i++)
    {
        int fd = try_slot (slots, i);
        if (fd < 0)
        {
            taken++;
            saved = errno == EWOULDBLOCK ? saved : errno;
        }
        else if (*free_fd < 0)
            *free_fd = fd;
        else
            close (fd);
    }
    errno = saved;
    return taken;
}

bool
vddk_slots_take (struct vddk_slots *slots, struct vddk_error *error)
{
    error->text[0] = '\0';
    int lock = open_lock (slots, "lock", LOCK_EX), fd = -1;
    if (lock < 0)
        return vddk_fail (error, "slots=%s: cannot lock '%s/lock': %s", slots->directory, slots->directory,
                          strerror (errno));
    unsigned taken = count_taken (slots, &fd);
    if (fd < 0 && errno != EWOULDBLOCK)
        vddk_fail (error, "slots=%s: cannot take a slot there: %s", slots->directory, strerror (errno));
    if (fd >= 0 && taken >= read_limit (slots, NULL))
    {
        close (fd);
        fd = -1;
    }
    close (lock);
    slots->slot_fd = fd;
    return fd >= 0;
}

void
vddk_slots_give_back (struct vddk_slots *slots)
{
    if (slots->slot_fd >= 0)
        close (slots->slot_fd);
    slots->slot_fd = -1;
}

void
vddk_slots_lower (struct vddk_slots *slots)
{
    int lock = open_lock (slots, "lock", LOCK_EX), fd;
    if (lock < 0)
    {
        vddk_slots_give_back (slots);
        return;
    }
    time_t changed;
    unsigned taken = count_taken (slots, &fd), limit = read_limit (slots, &changed);
    if (fd >= 0)
        close (fd);
    bool is_same_lesson = changed + SAME_LESSON_S > time (NULL);
    if (taken > 1 && taken - 1 < limit && !is_same_lesson)
        write_limit (slots, taken - 1);
    vddk_slots_give_back (slots);
    close (lock);
}

unsigned
vddk_slots_get_limit (struct vddk_slots *slots)
{
    return read_limit (slots, NULL);
}
