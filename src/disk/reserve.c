/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fallocate() with KEEP_SIZE, and its undoing. A reserved block that was never written is a hole to SEEK_HOLE. */
#include "disk/reserve.h"
#include "base/error.h"
#include "disk/writer-qcow2.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static bool
fail (const char *what, const char *path, int failed, GError **error)
{
    bool full = failed == ENOSPC || failed == EDQUOT;
    g_set_error (error, VMF_ERROR, full ? VMF_ERROR_NO_SPACE : VMF_ERROR_FAILED, "cannot %s %s: %s", what, path,
                 g_strerror (failed));
    return false;
}

/* 0, or errno. */
static int
reserve (int fd, uint64_t offset, uint64_t length)
{
    int result;
    do
        result = fallocate (fd, FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length);
    while (result != 0 && errno == EINTR);
    return result == 0 ? 0 : errno;
}

static bool
cannot (int failed)
{
    return failed == EOPNOTSUPP || failed == ENOSYS || failed == ENODEV;
}

/* The file at PATH, open for writing. *FD -1: it is a device, which has its space. */
static bool
open_file (const char *path, int *fd, GError **error)
{
    struct stat info;
    *fd = open (path, O_RDWR | O_CLOEXEC);
    if (*fd < 0 || fstat (*fd, &info) != 0)
        return fail ("reserve space for", path, errno, error);
    if (!S_ISREG (info.st_mode))
    {
        close (*fd);
        *fd = -1;
    }
    return true;
}

bool
vmf_reserve_raw (const char *path, const struct vmf_extents *ranges, bool *reserved, GError **error)
{
    int fd, failed = 0;
    *reserved = false;
    if (!open_file (path, &fd, error))
        return false;
    for (size_t i = 0; fd >= 0 && failed == 0 && i < vmf_extents_count (ranges); i++)
    {
        const struct vmf_extent range = vmf_extents_nth (ranges, i);
        failed = reserve (fd, range.offset, range.length);
    }
    *reserved = fd >= 0 && failed == 0;
    if (fd >= 0)
        close (fd);
    return failed == 0 || cannot (failed) || fail ("reserve space for", path, failed, error);
}

/* 8 bytes for each of the disk's clusters in the L2 tables, 2 in the refcount blocks, and the tables of these. */
uint64_t
vmf_reserve_qcow2_bytes (uint64_t data_bytes, uint64_t size_bytes)
{
    uint64_t clusters = size_bytes / VMF_QCOW2_CLUSTER_BYTES + 1;
    return data_bytes + clusters * 11 + (1 << 20);
}

bool
vmf_reserve_qcow2 (const char *path, uint64_t length, bool *reserved, GError **error)
{
    g_autoptr (vmf_extents) whole = vmf_extents_new ();
    vmf_extents_add (whole, 0, length);
    return vmf_reserve_raw (path, whole, reserved, error);
}

/* Punches each hole below SIZE: what was never written there is no data, but may have blocks. */
static bool
punch_holes (int fd, off_t size)
{
    for (off_t at = 0; at < size;)
    {
        off_t hole = lseek (fd, at, SEEK_HOLE);
        off_t data = hole < 0 ? -1 : lseek (fd, hole, SEEK_DATA);
        if (hole < 0 || (data < 0 && errno != ENXIO))
            return false;
        off_t end = data < 0 ? size : data;
        if (hole < size && fallocate (fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, hole, end - hole) != 0)
        {
            if (errno == EINTR)
                continue;
            return cannot (errno); /* such a file system reserved nothing either */
        }
        at = end;
    }
    return true;
}

bool
vmf_reserve_end (const char *path, GError **error)
{
    struct stat info;
    int fd = open (path, O_RDWR | O_CLOEXEC);
    /* Synced first: what is only in memory yet is data to every file system then. To cut a file at its own end frees
       what lies behind that. */
    bool good = fd >= 0 && fsync (fd) == 0 && fstat (fd, &info) == 0
                && (!S_ISREG (info.st_mode) || (punch_holes (fd, info.st_size) && ftruncate (fd, info.st_size) == 0));
    int failed = errno;
    if (fd >= 0)
        close (fd);
    return good || fail ("give back the reserved space of", path, failed, error);
}
