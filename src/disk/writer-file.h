/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the back ends of writer.h share: an open file, whole reads and writes, errors that name the path and the offset.
 *
 * Large writes go past the page cache: no second copy of each byte, no pages taken from others, and a flush waits for
 * what it is for. fdatasync waits for all of a file that is on its way to the disk, and while writes go on through the
 * page cache that is mostly what came after its beginning. Small writes, which would each wait for the disk, and those
 * that are not aligned go through the page cache.
 *
 * Only src/disk/writer*.c include this. Any thread, several at once, but for open and close.
 */
#pragma once
#include "disk/writer.h"

enum
{
    VMF_WRITER_SENT_MAX = 256, /* writes that the kernel is bringing to the disk while we go on, at most */
    VMF_WRITER_SENT_BYTES = 16 * 1024 * 1024,
};

struct vmf_writer_sent
{
    uint64_t offset;
    size_t length;
};

struct vmf_writer_file
{
    int fd, direct_fd; /* direct_fd: the same file past the page cache; -1: cannot be had */
    char *path;
    bool is_device;
    int flush_errno; /* atomic: of the first flush or write-back that failed */
    GMutex lock;     /* of what follows: a ring */
    struct vmf_writer_sent sent[VMF_WRITER_SENT_MAX];
    unsigned first_sent, n_sent;
    uint64_t sent_bytes;
};

/* Opens the regular file or block device PATH. A link is followed to a block device only: /dev/vg/lv is one, while a
   link in a directory of users may lead anywhere. */
bool vmf_writer_file_open (struct vmf_writer_file *file, const char *path, GError **error);
void vmf_writer_file_close (struct vmf_writer_file *file); /* a zeroed struct and a closed one too */

/* errno as an error: "cannot DOING PATH at byte OFFSET: …", with a remedy where there is one. Gives false. */
bool vmf_writer_file_fail (const struct vmf_writer_file *file, const char *doing, uint64_t offset, GError **error);

bool vmf_writer_file_size (const struct vmf_writer_file *file, uint64_t *size_bytes, GError **error);
bool vmf_writer_file_write (struct vmf_writer_file *file, const void *data, uint64_t offset, size_t length,
                            GError **error);
bool vmf_writer_file_read (const struct vmf_writer_file *file, void *data, uint64_t offset, size_t length,
                           GError **error);

/* fdatasync. Once it has failed it fails for good: the kernel reports lost data only once. */
bool vmf_writer_file_flush (struct vmf_writer_file *file, GError **error);

/* Is the range within WRITER's disk and made of whole blocks? Callers' mistakes must not reach a table. */
bool vmf_writer_check_range (const struct vmf_writer *writer, uint64_t offset, uint64_t length, GError **error);
