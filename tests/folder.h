/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Temporary folders of a test program: all below one of its own, /tmp/vmf-run.XXXXXX, which goes at its end.
 *
 * The program holds a lock on that one as long as it lives, its forked children too. What a killed one left is told by
 * that from what is in use, and swept by the next program that wants a folder. Main thread only.
 */
#pragma once
#include <fcntl.h>
#include <ftw.h>
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEST_FOLDER_PREFIX "vmf-run."

static inline int
test_folder_remove_one (const char *path, const struct stat *info, int type, struct FTW *where)
{
    return remove (path), 0;
}

static inline void
test_folder_remove (const char *path)
{
    nftw (path, test_folder_remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

/* A descriptor that holds the lock on PATH; -1: somebody lives there. */
static inline int
test_folder_take (const char *path)
{
    int fd = open (path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || flock (fd, LOCK_EX | LOCK_NB) == 0)
        return fd;
    close (fd);
    return -1;
}

static inline void
test_folder_sweep (const char *parent)
{
    g_autoptr (GDir) dir = g_dir_open (parent, 0, NULL);
    const char *name;
    while (dir && (name = g_dir_read_name (dir)))
    {
        g_autofree char *path = g_build_filename (parent, name, NULL);
        int fd = g_str_has_prefix (name, TEST_FOLDER_PREFIX) ? test_folder_take (path) : -1;
        if (fd < 0)
            continue;
        test_folder_remove (path);
        close (fd);
    }
}

static char *test_folder_top;
static pid_t test_folder_owner;

static inline void
test_folder_at_exit (void)
{
    if (getpid () == test_folder_owner)
        test_folder_remove (test_folder_top);
}

static inline void
test_folder_begin (void)
{
    const char *parent = g_get_tmp_dir ();
    int fd = -1;
    test_folder_sweep (parent);
    while (fd < 0) /* a sweep may come between its making and its lock */
    {
        g_free (test_folder_top);
        test_folder_top = g_mkdtemp (g_build_filename (parent, TEST_FOLDER_PREFIX "XXXXXX", NULL));
        g_assert_nonnull (test_folder_top);
        fd = test_folder_take (test_folder_top);
        if (fd >= 0 && access (test_folder_top, F_OK) != 0)
        {
            close (fd);
            fd = -1;
        }
    }
    chmod (test_folder_top, 0711); /* libvirt's QEMU has to get through */
    test_folder_owner = getpid ();
    atexit (test_folder_at_exit);
}

/* A new folder, with NAME in its own. Caller frees. */
static inline char *
test_folder_new (const char *name)
{
    if (!test_folder_top)
        test_folder_begin ();
    g_autofree char *leaf = g_strconcat (name, "-XXXXXX", NULL);
    char *path = g_mkdtemp (g_build_filename (test_folder_top, leaf, NULL));
    g_assert_nonnull (path);
    return path;
}
