/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Zeroes. A file system that cannot punch holes gets zeroes written. */
#include "disk/zero.h"
#include "base/error.h"
#include "disk/nbd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum
{
    WRITE_BYTES = 1 << 20,
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
zero_range (int fd, struct vmf_extent range)
{
    static const char zeroes[WRITE_BYTES];
    if (fallocate (fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)range.offset, (off_t)range.length) == 0)
        return true;
    if (errno != EOPNOTSUPP)
        return false;
    while (range.length > 0)
    {
        ssize_t n = pwrite (fd, zeroes, MIN (range.length, sizeof zeroes), (off_t)range.offset);
        if (n <= 0)
            return false;
        range.offset += (uint64_t)n;
        range.length -= (uint64_t)n;
    }
    return true;
}

bool
vmf_zero_punch (const char *path, const struct vmf_extents *ranges, GError **error)
{
    int fd = open (path, O_RDWR | O_CLOEXEC);
    bool good = fd >= 0;
    for (size_t i = 0; good && i < vmf_extents_count (ranges); i++)
        good = zero_range (fd, vmf_extents_nth (ranges, i));
    if (!good)
        g_set_error (error, VMF_ERROR, errno == ENOSPC ? VMF_ERROR_NO_SPACE : VMF_ERROR_FAILED,
                     "cannot write zeroes into %s: %s", path, g_strerror (errno));
    if (fd >= 0)
        close (fd);
    return good;
}

bool
vmf_zero_sync (const char *path, GError **error)
{
    int fd = open (path, O_RDONLY | O_CLOEXEC);
    bool good = fd >= 0 && fsync (fd) == 0;
    if (!good)
        g_set_error (error, VMF_ERROR, errno == ENOSPC ? VMF_ERROR_NO_SPACE : VMF_ERROR_FAILED,
                     "cannot write %s to its disk: %s", path, g_strerror (errno));
    if (fd >= 0)
        close (fd);
    return good;
}
