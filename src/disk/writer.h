/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where a pass writes when it need not go through a daemon: a raw file, a block device or a qcow2 file.
 *
 * A back end is a table of functions and a struct that begins with struct vmf_writer. write() and zero() may be called
 * by several threads at once for ranges that do not overlap; flush() beside them, for what had returned before; the
 * rest by one thread alone. Offsets are of the guest's disk, multiples of VMF_WRITER_BLOCK_BYTES; lengths too, but for
 * the disk's end.
 */
#pragma once
#include <gio/gio.h>
#include <stdbool.h>
#include <stdint.h>

enum
{
    VMF_WRITER_BLOCK_BYTES = 64 * 1024, /* qcow2's default cluster */
};

struct vmf_writer;
struct vmf_writer_ops
{
    bool (*write) (struct vmf_writer *writer, const void *data, uint64_t offset, size_t length, GError **error);
    /* The range reads as zeroes afterwards and takes no room, where the target can do that. */
    bool (*zero) (struct vmf_writer *writer, uint64_t offset, uint64_t length, GError **error);
    bool (*read) (struct vmf_writer *writer, void *data, uint64_t offset, size_t length, GError **error);
    /* What was written before is on stable storage, and is found there after a power loss. */
    bool (*flush) (struct vmf_writer *writer, GError **error);
    /* Makes the target complete for other programs and flushes it; nothing but free may follow. */
    bool (*finish) (struct vmf_writer *writer, GError **error);
    void (*free) (struct vmf_writer *writer);
};

typedef struct vmf_writer
{
    const struct vmf_writer_ops *ops;
    uint64_t size_bytes; /* of the guest's disk */
} vmf_writer;

/* Opens PATH, which must be there and be as large as SIZE_BYTES: a regular file or a block device. */
struct vmf_writer *vmf_writer_open_raw (const char *path, uint64_t size_bytes, GError **error);

/* Opens the qcow2 file PATH that vmf_writer_create_qcow2() made and that was not finished, after a kill for instance. A
   file that other programs made, or that was finished, is VMF_ERROR_CORRUPT. */
struct vmf_writer *vmf_writer_open_qcow2 (const char *path, uint64_t size_bytes, GError **error);

/* Was the qcow2 file PATH finished by us, and not changed since in what its header says? */
bool vmf_writer_is_finished_qcow2 (const char *path, uint64_t size_bytes, bool *finished, GError **error);

/* Makes the empty qcow2 PATH, which must not exist or be an empty file. */
bool vmf_writer_create_qcow2 (const char *path, uint64_t size_bytes, GError **error);

void vmf_writer_free (struct vmf_writer *writer); /* leaves what is unfinished as it is */
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_writer, vmf_writer_free)
