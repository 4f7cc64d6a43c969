/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The raw back end: a regular file or a block device that holds the disk's bytes as they are. */
#include "disk/writer-file.h"
#include "disk/zero.h"
#include "base/error.h"

struct raw
{
    struct vmf_writer base;
    struct vmf_writer_file file;
};

static bool
raw_write (struct vmf_writer *writer, const void *data, uint64_t offset, size_t length, GError **error)
{
    struct raw *raw = (struct raw *)writer;
    return vmf_writer_check_range (writer, offset, length, error)
           && vmf_writer_file_write (&raw->file, data, offset, length, error);
}

static bool
raw_zero (struct vmf_writer *writer, uint64_t offset, uint64_t length, GError **error)
{
    struct raw *raw = (struct raw *)writer;
    return vmf_writer_check_range (writer, offset, length, error)
           && (vmf_zero_range (raw->file.fd, offset, length)
               || vmf_writer_file_fail (&raw->file, "zero", offset, error));
}

static bool
raw_read (struct vmf_writer *writer, void *data, uint64_t offset, size_t length, GError **error)
{
    struct raw *raw = (struct raw *)writer;
    return vmf_writer_check_range (writer, offset, length, error)
           && vmf_writer_file_read (&raw->file, data, offset, length, error);
}

static bool
raw_flush (struct vmf_writer *writer, GError **error)
{
    return vmf_writer_file_flush (&((struct raw *)writer)->file, error);
}

static void
raw_free (struct vmf_writer *writer)
{
    vmf_writer_file_close (&((struct raw *)writer)->file);
    g_free (writer);
}

static const struct vmf_writer_ops raw_ops = {
    .write = raw_write,
    .zero = raw_zero,
    .read = raw_read,
    .flush = raw_flush,
    .finish = raw_flush, /* every byte is where other programs look for it */
    .free = raw_free,
};

static bool
check_size (const struct raw *raw, GError **error)
{
    uint64_t size_bytes = 0;
    if (!vmf_writer_file_size (&raw->file, &size_bytes, error))
        return false;
    if (size_bytes >= raw->base.size_bytes)
        return true;
    g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT,
                 "%s has %" G_GUINT64_FORMAT " bytes; the disk needs %" G_GUINT64_FORMAT, raw->file.path,
                 (guint64)size_bytes, (guint64)raw->base.size_bytes);
    return false;
}

struct vmf_writer *
vmf_writer_open_raw (const char *path, uint64_t size_bytes, GError **error)
{
    struct raw *raw = g_new0 (struct raw, 1);
    g_autoptr (vmf_writer) writer = &raw->base;
    *writer = (struct vmf_writer){ .ops = &raw_ops, .size_bytes = size_bytes };
    if (!vmf_writer_file_open (&raw->file, path, error) || !check_size (raw, error))
        return NULL;
    return g_steal_pointer (&writer);
}
