/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QEMU locks a byte of the file for each thing that it may do with an image, and one for each thing that others may not
 * (block/file-posix.c: RAW_LOCK_PERM_BASE, RAW_LOCK_SHARED_BASE). Asking who holds them takes none.
 */
#include "disk/in-use.h"
#include "disk/image-beneath.h"

#include <fcntl.h>
#include <unistd.h>

enum
{
    QEMU_LOCKS_AT = 100,
    QEMU_LOCKS = 200, /* both rows */
    QEMU_LOCK_WRITE = QEMU_LOCKS_AT + 1,
};

bool
vmf_in_use (const char *path, enum vmf_in_use_by who)
{
    bool writer = who == VMF_IN_USE_BY_WRITER;
    struct flock lock = { .l_type = F_WRLCK,
                          .l_whence = SEEK_SET,
                          .l_start = writer ? QEMU_LOCK_WRITE : QEMU_LOCKS_AT,
                          .l_len = writer ? 1 : QEMU_LOCKS };
    g_autofree char *real_path = NULL;
    uint64_t size_bytes;
    int fd = vmf_beneath_open_own (path, &real_path, &size_bytes, NULL);
    if (fd < 0)
        return false;
    bool in_use = fcntl (fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
    close (fd);
    return in_use;
}
