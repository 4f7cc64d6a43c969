/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vddk-temp.h. TMPDIR/vmferry-vddk.XXXXXX holds `lock`, which its owner keeps locked, `vixdisklib.conf` and `tmp`. */
#include "vddk-temp.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char name_begin[] = "vmferry-vddk.";

enum
{
    UNLOCKED_GRACE_S = 60, /* between mkdtemp() and the lock */
    TREE_FDS = 16,
};

static const char *
base (void)
{
    const char *set = getenv ("TMPDIR");
    return set && set[0] == '/' ? set : "/tmp";
}

static int
remove_entry (const char *path, const struct stat *status, int type, struct FTW *where)
{
    return remove (path) == 0 || errno == ENOENT ? 0 : -1;
}

static void
remove_tree (const char *path)
{
    nftw (path, remove_entry, TREE_FDS, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

/* True: its process is gone. The lock is ours then, until FD is closed. */
static bool
is_abandoned (const char *path, int *fd)
{
    struct stat status;
    char *lock;
    *fd = -1;
    if (lstat (path, &status) != 0 || !S_ISDIR (status.st_mode) || status.st_uid != geteuid ()
        || asprintf (&lock, "%s/lock", path) < 0)
        return false;
    *fd = open (lock, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    free (lock);
    if (*fd < 0)
        return errno == ENOENT && status.st_mtime + UNLOCKED_GRACE_S < time (NULL);
    return flock (*fd, LOCK_EX | LOCK_NB) == 0;
}

static void
sweep (void)
{
    DIR *stream = opendir (base ());
    if (!stream)
        return;
    for (struct dirent *entry; (entry = readdir (stream));)
    {
        char *path;
        int fd;
        if (strncmp (entry->d_name, name_begin, sizeof name_begin - 1) != 0
            || asprintf (&path, "%s/%s", base (), entry->d_name) < 0)
            continue;
        if (is_abandoned (path, &fd))
            remove_tree (path);
        if (fd >= 0)
            close (fd);
        free (path);
    }
    closedir (stream);
}

static bool
copy_lines (FILE *to, const char *path, struct vddk_error *error)
{
    FILE *from = fopen (path, "re");
    char *line = NULL;
    size_t room = 0;
    if (!from)
        return vddk_fail (error, "cannot open config=%s: %s", path, strerror (errno));
    /* The last value of a key counts in VDDK's files; ours comes behind. */
    while (getline (&line, &room, from) > 0)
        fprintf (to, "%s%s", line, strchr (line, '\n') ? "" : "\n");
    free (line);
    fclose (from);
    return true;
}

static bool
write_config (struct vddk_temp *temp, const char *user_config, struct vddk_error *error)
{
    FILE *file = fopen (temp->config, "wxe");
    if (!file)
        return vddk_fail (error, "cannot create '%s': %s", temp->config, strerror (errno));
    bool good = !user_config || copy_lines (file, user_config, error);
    /* VMware's own advice for reading over the network ("Best Practices for NBD Transport"): four buffers of 1 MiB. */
    if (!user_config)
        fputs ("vixDiskLib.nfcAio.Session.BufSizeIn64KB=16\nvixDiskLib.nfcAio.Session.BufCount=4\n", file);
    fprintf (file, "tmpDirectory=\"%s/tmp\"\n", temp->directory);
    if (fclose (file) != 0 && good)
        good = vddk_fail (error, "cannot write '%s': %s", temp->config, strerror (errno));
    return good;
}

static bool
fill (struct vddk_temp *temp, const char *user_config, struct vddk_error *error)
{
    char *lock = NULL, *tmp = NULL;
    bool good = asprintf (&lock, "%s/lock", temp->directory) >= 0 && asprintf (&tmp, "%s/tmp", temp->directory) >= 0
                && asprintf (&temp->config, "%s/vixdisklib.conf", temp->directory) >= 0;
    if (good)
        temp->lock_fd = open (lock, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (!good || temp->lock_fd < 0 || flock (temp->lock_fd, LOCK_EX) != 0 || mkdir (tmp, 0700) != 0)
        good = vddk_fail (error, "cannot fill '%s': %s", temp->directory, strerror (errno));
    free (lock);
    free (tmp);
    return good && write_config (temp, user_config, error);
}

bool
vddk_temp_make (struct vddk_temp *temp, const char *user_config, struct vddk_error *error)
{
    *temp = (struct vddk_temp){ .lock_fd = -1 };
    sweep ();
    if (asprintf (&temp->directory, "%s/%sXXXXXX", base (), name_begin) < 0)
        temp->directory = NULL;
    if (!temp->directory || !mkdtemp (temp->directory))
    {
        free (temp->directory);
        temp->directory = NULL;
        return vddk_fail (error, "cannot make a directory for VDDK's temporary files in '%s' (TMPDIR): %s", base (),
                          strerror (errno));
    }
    if (fill (temp, user_config, error))
        return true;
    vddk_temp_remove (temp);
    return false;
}

void
vddk_temp_remove (struct vddk_temp *temp)
{
    if (!temp->directory)
        return;
    remove_tree (temp->directory);
    if (temp->lock_fd >= 0)
        close (temp->lock_fd);
    free (temp->directory);
    free (temp->config);
    *temp = (struct vddk_temp){ .lock_fd = -1 };
}
