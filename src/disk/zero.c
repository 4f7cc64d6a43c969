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
    WINDOW_BYTES = 1 << 30,
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

static bool
add_zero_ranges (struct nbd_handle *nbd, struct vmf_extents *ranges, const char *what, uint64_t size_bytes,
                 GCancellable *cancellable, GError **error)
{
    uint64_t offset = 0;
    while (offset < size_bytes)
    {
        g_autoptr (GArray) status = g_array_new (FALSE, FALSE, sizeof (struct vmf_nbd_status));
        uint64_t window = MIN (size_bytes - offset, (uint64_t)WINDOW_BYTES);
        if (vmf_error_if_cancelled (cancellable, error)
            || !vmf_nbd_block_status (nbd, LIBNBD_CONTEXT_BASE_ALLOCATION, offset, window, status, what, error))
            return false;
        for (guint i = 0; i < status->len; i++)
        {
            const struct vmf_nbd_status *one = &g_array_index (status, struct vmf_nbd_status, i);
            if (one->flags & LIBNBD_STATE_ZERO)
                vmf_extents_add (ranges, offset, one->length_bytes);
            offset += one->length_bytes;
        }
    }
    return true;
}

struct vmf_extents *
vmf_zero_ranges (const char *uri, const char *what, uint64_t size_bytes, GCancellable *cancellable, GError **error)
{
    g_autoptr (vmf_extents) ranges = vmf_extents_new ();
    g_autoptr (nbd_handle) nbd = vmf_nbd_connect (uri, what, VMF_NBD_EXTENTS, cancellable, error);
    if (!nbd || !add_zero_ranges (nbd, ranges, what, size_bytes, cancellable, error))
        return NULL;
    nbd_shutdown (nbd, 0);
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
