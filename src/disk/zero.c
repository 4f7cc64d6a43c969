/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Zeroes. A file system that cannot punch holes gets zeroes written. */
#include "disk/zero.h"
#include "base/error.h"
#include "disk/nbd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum
{
    WRITE_BYTES = 1 << 20,
    PUNCH_BYTES = 64 << 20, /* between two looks at a cancel: where it means writing, a second's work */
};

bool
vmf_zero_is (const void *data, size_t length)
{
    /* The first sixteen bytes by hand, the rest compared with itself sixteen bytes on: memcmp runs at full speed. */
    const unsigned char *bytes = data;
    size_t head = MIN (length, 16);
    for (size_t i = 0; i < head; i++)
        if (bytes[i] != 0)
            return false;
    return length <= 16 || memcmp (bytes, bytes + 16, length - 16) == 0;
}

static void
add_if_zero (uint64_t offset, const struct vmf_nbd_status *status, void *data)
{
    if (status->flags & LIBNBD_STATE_ZERO)
        vmf_extents_add (data, offset, status->length_bytes);
}

struct vmf_extents *
vmf_zero_ranges (const char *uri, const char *what, GCancellable *cancellable, GError **error)
{
    g_autoptr (vmf_extents) ranges = vmf_extents_new ();
    if (!vmf_nbd_walk (uri, what, VMF_NBD_EXTENTS, LIBNBD_CONTEXT_BASE_ALLOCATION, add_if_zero, ranges, cancellable,
                       error))
        return NULL;
    return g_steal_pointer (&ranges);
}

static bool
write_zeroes (int fd, uint64_t offset, uint64_t length)
{
    static const char zeroes[WRITE_BYTES];
    while (length > 0)
    {
        ssize_t n = pwrite (fd, zeroes, MIN (length, sizeof zeroes), (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = ENOSPC;
        if (n <= 0)
            return false;
        offset += (uint64_t)n;
        length -= (uint64_t)n;
    }
    return true;
}

bool
vmf_zero_range (int fd, uint64_t offset, uint64_t length)
{
    if (length == 0)
        return true;
    /* On block devices a hole is a discard that is known to leave zeroes, and ZERO_RANGE is the kernel's own writing.
     */
    static const int ways[] = { FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE };
    for (size_t i = 0; i < G_N_ELEMENTS (ways); i++)
    {
        int result;
        do
            result = fallocate (fd, ways[i], (off_t)offset, (off_t)length);
        while (result != 0 && errno == EINTR);
        /* EINVAL: a device whose sectors are larger than what the range is made of. */
        if (result == 0 || (errno != EOPNOTSUPP && errno != ENOSYS && errno != ENODEV && errno != EINVAL))
            return result == 0;
    }
    return write_zeroes (fd, offset, length);
}

static bool
fail (const char *what, const char *path, int failed, GError **error)
{
    g_set_error (error, VMF_ERROR, failed == ENOSPC ? VMF_ERROR_NO_SPACE : VMF_ERROR_FAILED, "cannot %s %s: %s", what,
                 path, g_strerror (failed));
    return false;
}

static bool
punch (int fd, const char *path, struct vmf_extent range, GCancellable *cancellable, GError **error)
{
    for (uint64_t done = 0; done < range.length; done += PUNCH_BYTES)
    {
        uint64_t length = MIN (range.length - done, (uint64_t)PUNCH_BYTES);
        if (vmf_error_if_cancelled (cancellable, error))
            return false;
        if (!vmf_zero_range (fd, range.offset + done, length))
            return fail ("write zeroes into", path, errno, error);
    }
    return true;
}

bool
vmf_zero_punch (const char *path, const struct vmf_extents *ranges, GCancellable *cancellable, GError **error)
{
    int fd = open (path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return fail ("write zeroes into", path, errno, error);
    bool good = true;
    for (size_t i = 0; good && i < vmf_extents_count (ranges); i++)
        good = punch (fd, path, vmf_extents_nth (ranges, i), cancellable, error);
    close (fd);
    return good;
}

bool
vmf_zero_allocate (const char *path, uint64_t length, GError **error)
{
    struct stat info;
    int fd = open (path, O_RDWR | O_CLOEXEC), failed = 0;
    if (fd < 0 || fstat (fd, &info) != 0)
        failed = errno;
    else if (S_ISREG (info.st_mode))
        failed = posix_fallocate (fd, 0, (off_t)length);
    if (fd >= 0)
        close (fd);
    return failed == 0 || fail ("allocate", path, failed, error);
}

bool
vmf_zero_sync (const char *path, GError **error)
{
    int fd = open (path, O_RDONLY | O_CLOEXEC);
    bool good = (fd >= 0 && fsync (fd) == 0) || fail ("bring to its disk", path, errno, error);
    if (fd >= 0)
        close (fd);
    return good;
}
