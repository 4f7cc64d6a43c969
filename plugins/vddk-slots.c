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
    OWNER_MAX = 64,  /* characters */
    OWNERS_MAX = 64, /* that are told apart */
};

struct vddk_slots
{
    int directory_fd, waiting_fd;
    int slot_fd; /* ours, or -1 */
    unsigned max;
    bool waits;
    char owner[OWNER_MAX];
    char directory[];
};

struct vddk_slots *
vddk_slots_new (const char *directory, unsigned max, const char *owner, struct vddk_error *error)
{
    struct vddk_slots *slots = malloc (sizeof *slots + strlen (directory) + 1);
    if (!slots)
    {
        vddk_fail (error, "no memory");
        return NULL;
    }
    *slots = (struct vddk_slots){ .slot_fd = -1, .waiting_fd = -1, .max = max > 0 ? max : 1 };
    strcpy (slots->directory, directory);
    snprintf (slots->owner, sizeof slots->owner, "%s", owner);
    slots->directory_fd = open (directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (slots->directory_fd >= 0)
        slots->waiting_fd = openat (slots->directory_fd, "waiting", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (slots->waiting_fd >= 0)
        return slots;
    vddk_fail (error, "slots=%s: %s", directory, strerror (errno));
    vddk_slots_free (slots);
    return NULL;
}

void
vddk_slots_free (struct vddk_slots *slots)
{
    if (!slots)
        return;
    vddk_slots_give_back (slots);
    if (slots->waiting_fd >= 0)
        close (slots->waiting_fd);
    if (slots->directory_fd >= 0)
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

/* Whose is slot NUMBER? By the words of who locked it last. */
static void
read_owner (const struct vddk_slots *slots, unsigned number, char owner[OWNER_MAX])
{
    char name[32];
    snprintf (name, sizeof name, "slot.%u", number);
    int fd = openat (slots->directory_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read (fd, owner, OWNER_MAX - 1) : 0;
    owner[got > 0 ? got : 0] = '\0';
    owner[strcspn (owner, "\n")] = '\0';
    if (fd >= 0)
        close (fd);
}

static void
write_owner (const struct vddk_slots *slots)
{
    char text[OWNER_MAX + 1];
    int length = snprintf (text, sizeof text, "%s\n", slots->owner);
    /* It is for a message only: a full file system is no reason to fail. */
    if (ftruncate (slots->slot_fd, 0) == 0 && pwrite (slots->slot_fd, text, (size_t)length, 0) != length)
        ftruncate (slots->slot_fd, 0);
}

static bool
is_among (char (*owners)[OWNER_MAX], unsigned n, const char *owner)
{
    for (unsigned i = 0; i < n; i++)
        if (strcmp (owners[i], owner) == 0)
            return true;
    return false;
}

/* With `lock`: nobody takes one meanwhile, though somebody may give one back. */
static struct vddk_slots_taken
count_owners (const struct vddk_slots *slots)
{
    char owners[OWNERS_MAX][OWNER_MAX], owner[OWNER_MAX];
    struct vddk_slots_taken taken = { .limit = read_limit (slots, NULL) };
    for (unsigned i = 0; i < slots->max; i++)
    {
        int fd = try_slot (slots, i);
        if (fd >= 0)
        {
            close (fd);
            continue;
        }
        read_owner (slots, i, owner);
        if (strcmp (owner, slots->owner) == 0)
        {
            taken.ours++;
            continue;
        }
        taken.theirs++;
        if (taken.owners < OWNERS_MAX && !is_among (owners, taken.owners, owner))
            strcpy (owners[taken.owners++], owner);
    }
    return taken;
}

static void
set_waiting (struct vddk_slots *slots, bool waits)
{
    struct flock lock = { .l_type = waits ? F_RDLCK : F_UNLCK, .l_whence = SEEK_SET };
    if (slots->waits != waits)
        fcntl (slots->waiting_fd, F_OFD_SETLK, &lock);
    slots->waits = waits;
}

void
vddk_slots_stop_waiting (struct vddk_slots *slots)
{
    set_waiting (slots, false);
}

bool
vddk_slots_is_wanted (const struct vddk_slots *slots)
{
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    return fcntl (slots->waiting_fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

const char *
vddk_slots_get_host (const struct vddk_slots *slots)
{
    const char *slash = strrchr (slots->directory, '/');
    return slash && slash[1] ? slash + 1 : slots->directory;
}

bool
vddk_slots_take (struct vddk_slots *slots, struct vddk_slots_taken *who, struct vddk_error *error)
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
    slots->slot_fd = fd;
    if (fd >= 0)
        write_owner (slots);
    else if (!error->text[0])
        *who = count_owners (slots);
    close (lock);
    set_waiting (slots, fd < 0 && !error->text[0]);
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
