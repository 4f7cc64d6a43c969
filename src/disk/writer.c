/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the back ends of a writer share. */
#include "disk/writer-file.h"
#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum
{
    DIRECT_MIN_BYTES = 256 * 1024,
    DIRECT_ALIGN = 4096, /* of memory, offset and length: enough for every device of today */
};

void
vmf_writer_free (struct vmf_writer *writer)
{
    if (writer)
        writer->ops->free (writer);
}

bool
vmf_writer_check_range (const struct vmf_writer *writer, uint64_t offset, uint64_t length, GError **error)
{
    uint64_t end;
    if (!__builtin_add_overflow (offset, length, &end) && end <= writer->size_bytes
        && offset % VMF_WRITER_BLOCK_BYTES == 0 && (length % VMF_WRITER_BLOCK_BYTES == 0 || end == writer->size_bytes))
        return true;
    g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE,
                 "%" G_GUINT64_FORMAT " bytes at byte %" G_GUINT64_FORMAT
                 " are not whole blocks of a disk of %" G_GUINT64_FORMAT " bytes",
                 (guint64)length, (guint64)offset, (guint64)writer->size_bytes);
    return false;
}

static const char *
remedy (int code)
{
    switch (code)
    {
    case ENOSPC:
        return "; make room there or choose another target";
    case EDQUOT:
        return "; make room within the quota or choose another target";
    case EFBIG:
        return "; the file system there, or 'ulimit -f', allows no file as large as the disk: choose another target";
    default:
        return "";
    }
}

bool
vmf_writer_file_fail (const struct vmf_writer_file *file, const char *doing, uint64_t offset, GError **error)
{
    int code = errno;
    bool full = code == ENOSPC || code == EDQUOT;
    g_set_error (error, VMF_ERROR, full ? VMF_ERROR_NO_SPACE : VMF_ERROR_FAILED,
                 "cannot %s %s at byte %" G_GUINT64_FORMAT ": %s%s", doing, file->path, (guint64)offset,
                 g_strerror (code), remedy (code));
    return false;
}

static bool
open_failed (const char *path, GError **error)
{
    int code = errno == ENOENT ? VMF_ERROR_NOT_FOUND : VMF_ERROR_FAILED;
    g_set_error (error, VMF_ERROR, code, "cannot open %s for writing: %s", path, g_strerror (errno));
    return false;
}

/* Whether what was opened may be written to. */
static bool
check_kind (struct vmf_writer_file *file, bool link, GError **error)
{
    struct stat info;
    if (fstat (file->fd, &info) != 0)
        return open_failed (file->path, error);
    file->is_device = S_ISBLK (info.st_mode);
    if (file->is_device || (S_ISREG (info.st_mode) && !link))
        return true;
    g_set_error (error, VMF_ERROR, VMF_ERROR_UNSAFE, "%s %s, so nothing is written there", file->path,
                 link ? "is a link to something other than a block device"
                      : "is neither a regular file nor a block device");
    return false;
}

/* The file that is open at FD, past the page cache. -1: it cannot be had, and then nothing is lost but time. */
static int
open_direct (int fd)
{
    g_autofree char *path = g_strdup_printf ("/proc/self/fd/%d", fd); /* PATH may be another file by now */
    return open (path, O_RDWR | O_CLOEXEC | O_DIRECT);
}

bool
vmf_writer_file_open (struct vmf_writer_file *file, const char *path, GError **error)
{
    int fd = open (path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    bool link = fd < 0 && errno == ELOOP;
    if (link)
        fd = open (path, O_RDWR | O_CLOEXEC);
    *file = (struct vmf_writer_file){ .fd = fd, .direct_fd = -1, .path = g_strdup (path) };
    if (fd >= 0 && check_kind (file, link, error))
    {
        file->direct_fd = open_direct (fd);
        return true;
    }
    if (fd < 0)
        open_failed (path, error);
    vmf_writer_file_close (file);
    return false;
}

void
vmf_writer_file_close (struct vmf_writer_file *file)
{
    if (file->path && file->fd >= 0)
        close (file->fd);
    if (file->path && file->direct_fd >= 0)
        close (file->direct_fd);
    g_clear_pointer (&file->path, g_free);
}

bool
vmf_writer_file_size (const struct vmf_writer_file *file, uint64_t *size_bytes, GError **error)
{
    off_t end = lseek (file->fd, 0, SEEK_END); /* of block devices too */
    if (end < 0)
        return vmf_writer_file_fail (file, "find the end of", 0, error);
    *size_bytes = (uint64_t)end;
    return true;
}

/* The oldest write that is to be forgotten, if those behind it are enough. */
static bool
take_oldest (struct vmf_writer_file *file, struct vmf_writer_sent *oldest)
{
    if (file->n_sent == 0 || (file->n_sent < VMF_WRITER_SENT_MAX && file->sent_bytes <= VMF_WRITER_SENT_BYTES))
        return false;
    *oldest = file->sent[file->first_sent % VMF_WRITER_SENT_MAX];
    file->first_sent++;
    file->n_sent--;
    file->sent_bytes -= oldest->length;
    return true;
}

/* Waits until a write is on the disk; its pages are then free. This may be what tells of a failed write-back, and then
   no later fdatasync does. */
static void
forget (struct vmf_writer_file *file, const struct vmf_writer_sent *sent)
{
    if (sync_file_range (file->fd, (off_t)sent->offset, (off_t)sent->length,
                         SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER)
            != 0
        && errno != ENOSYS)
        __atomic_store_n (&file->flush_errno, errno, __ATOMIC_RELEASE);
    (void)posix_fadvise (file->fd, (off_t)sent->offset, (off_t)sent->length, POSIX_FADV_DONTNEED);
}

/* Begins to write back what was just written, and lets the page cache forget what was begun some MiB ago. So a flush
 * finds little to do, the host keeps its page cache for others, and the same warm pages take the next data: on a
 * virtual machine writing into pages that were never touched is three times as slow. Small writes are tables, which are
 * read again.
 */
static void
stream_out (struct vmf_writer_file *file, uint64_t offset, size_t length)
{
    struct vmf_writer_sent oldest;
    if (length < VMF_WRITER_BLOCK_BYTES)
        return;
    (void)sync_file_range (file->fd, (off_t)offset, (off_t)length, SYNC_FILE_RANGE_WRITE); /* a hint */
    g_mutex_lock (&file->lock);
    bool full = take_oldest (file, &oldest);
    file->sent[(file->first_sent + file->n_sent) % VMF_WRITER_SENT_MAX] = (struct vmf_writer_sent){ offset, length };
    file->n_sent++;
    file->sent_bytes += length;
    g_mutex_unlock (&file->lock);
    if (full)
        forget (file, &oldest);
}

/* How much of DATA can be written directly, from its beginning. */
static size_t
direct_length (const struct vmf_writer_file *file, const void *data, uint64_t offset, size_t length)
{
    bool aligned = ((uintptr_t)data | offset) % DIRECT_ALIGN == 0;
    return file->direct_fd >= 0 && aligned && length >= DIRECT_MIN_BYTES ? length - length % DIRECT_ALIGN : 0;
}

/* Gives how much was written directly. What was not is written through the page cache, and that says what was wrong. */
static size_t
write_direct (const struct vmf_writer_file *file, const void *data, uint64_t offset, size_t length)
{
    size_t wanted = direct_length (file, data, offset, length);
    ssize_t n = wanted > 0 ? pwrite (file->direct_fd, data, wanted, (off_t)offset) : 0;
    return n > 0 ? (size_t)n : 0;
}

bool
vmf_writer_file_write (struct vmf_writer_file *file, const void *data, uint64_t offset, size_t length, GError **error)
{
    size_t direct = write_direct (file, data, offset, length);
    for (size_t done = direct; done < length;)
    {
        ssize_t n = pwrite (file->fd, (const char *)data + done, length - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = ENOSPC; /* what some devices say at their end */
        if (n <= 0)
            return vmf_writer_file_fail (file, "write to", offset + done, error);
        done += (size_t)n;
    }
    stream_out (file, offset + direct, length - direct);
    return true;
}

bool
vmf_writer_file_read (const struct vmf_writer_file *file, void *data, uint64_t offset, size_t length, GError **error)
{
    for (size_t done = 0; done < length;)
    {
        ssize_t n = pread (file->fd, (char *)data + done, length - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return vmf_writer_file_fail (file, "read", offset + done, error);
        if (n == 0)
        {
            g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT, "%s ends at byte %" G_GUINT64_FORMAT ": it was cut off",
                         file->path, (guint64)(offset + done));
            return false;
        }
        done += (size_t)n;
    }
    return true;
}

bool
vmf_writer_file_flush (struct vmf_writer_file *file, GError **error)
{
    int failed = __atomic_load_n (&file->flush_errno, __ATOMIC_ACQUIRE);
    if (failed == 0 && fdatasync (file->fd) != 0)
    {
        failed = errno;
        __atomic_store_n (&file->flush_errno, failed, __ATOMIC_RELEASE);
    }
    if (failed == 0)
        return true;
    bool full = failed == ENOSPC || failed == EDQUOT; /* of blocks that were not looked for until now */
    g_set_error (error, VMF_ERROR, full ? VMF_ERROR_NO_SPACE : VMF_ERROR_FAILED, "cannot bring %s to its disk: %s%s",
                 file->path, g_strerror (failed), remedy (failed));
    return false;
}
