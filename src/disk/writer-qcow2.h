/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the two halves of the qcow2 back end share: writer-qcow2.c moves data, writer-qcow2-file.c begins and ends a
 * file.
 *
 *     header | L1 table | refcount table | L2 tables and data in the order of allocation … | refcount blocks
 *
 * Version 3, 64 KiB clusters, 16-bit refcounts, as in QEMU's docs/interop/qcow2.rst. A cluster of the file is given out
 * once, in rising order, by a counter; so threads share that counter and nothing else but the making of an L2 table.
 * The L1 table is kept in memory (1 MiB for 64 TiB), L2 entries are not: they are written straight into the file, and
 * read from there when their table exists. What is written again stays where it is.
 *
 * Refcounts are written at the end. Until then the header says "dirty", which tells other programs not to believe them,
 * and has an extension of ours by which we know the file again. After a kill or a power loss the tables tell what is in
 * use; clusters that they do not name are leaked, and free (refcount 0) in the end.
 */
#pragma once
#include "disk/writer-file.h"
#include <string.h>

enum
{
    VMF_QCOW2_CLUSTER_BYTES = VMF_WRITER_BLOCK_BYTES,
    VMF_QCOW2_ENTRIES = VMF_QCOW2_CLUSTER_BYTES / 8, /* of an L2 table: 512 MiB of the disk */
    VMF_QCOW2_L1_OFFSET = VMF_QCOW2_CLUSTER_BYTES,
    VMF_QCOW2_FLUSHED_OFFSET = 112, /* in the header: our extension's eight bytes */
};

#define VMF_QCOW2_COPIED ((uint64_t)1 << 63) /* in L1 and L2: the cluster is referred to once */
#define VMF_QCOW2_ZERO ((uint64_t)1)         /* in L2: reads as zeroes, whatever the cluster holds */
#define VMF_QCOW2_PLACE                                                                                                \
    ((uint64_t)0x00ffffffffff0000) /* in L1 and L2: where the cluster lies in the file; 0: nowhere */

struct vmf_writer_qcow2
{
    struct vmf_writer base;
    struct vmf_writer_file file;
    uint64_t l1_entries, refcount_offset, refcount_entries, first_cluster;
    uint64_t *l1;          /* atomic: where an L2 table lies in the file; 0: there is none */
    uint64_t next_cluster; /* atomic: of the file, the first that was not given out */
    GMutex tables;         /* held while an L2 table is made */
    GMutex flush;
};

static inline uint64_t
vmf_qcow2_clusters (uint64_t bytes)
{
    return bytes / VMF_QCOW2_CLUSTER_BYTES + (bytes % VMF_QCOW2_CLUSTER_BYTES != 0);
}

static inline void
vmf_qcow2_put_be64 (uint8_t *at, uint64_t value)
{
    uint64_t be = GUINT64_TO_BE (value);
    memcpy (at, &be, sizeof be);
}

/* Opens PATH with QCOW2 zeroed but for its base: the layout, what is in use, the L1 table. */
bool vmf_qcow2_take_up (struct vmf_writer_qcow2 *qcow2, const char *path, GError **error);

/* Writes the refcounts, then the header that says so, each on the disk before the next. No other call runs. */
bool vmf_qcow2_complete (struct vmf_writer_qcow2 *qcow2, GError **error);
