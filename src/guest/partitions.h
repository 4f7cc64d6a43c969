/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A disk's partition table: MBR with logical partitions, GPT, or none.
 *
 * A parser of our own, in process, because the structures have fixed sizes and it needs two or three small reads where
 * a program would need a device. Sector size 512. It is stricter than an operating system: where two readers could
 * come to different partitions (a GPT and an MBR that disagree, a damaged header, an entry beyond the end) the table
 * is in `trouble` and its disk is copied by allocation.
 */
#pragma once
#include "guest/bytes.h"

enum vmf_partition_kind
{
    VMF_PARTITION_DATA,
    VMF_PARTITION_LDM, /* Windows dynamic disk or storage space: a volume may lie on several */
};

struct vmf_partition
{
    unsigned number; /* as an operating system counts: logical ones from 5 */
    uint64_t offset, length;
    enum vmf_partition_kind kind;
    bool overlaps; /* with another one */
};

struct vmf_partition_table
{
    const char *type;   /* "gpt", "dos", or NULL: none */
    GArray *partitions; /* struct vmf_partition, by offset */
    char *trouble;      /* why nothing in it can be relied on: "the GPT's checksum is wrong"; NULL: fine */
};

typedef struct vmf_partition_table vmf_partition_table;

/* NULL only where the source cannot be read. */
struct vmf_partition_table *vmf_partition_table_read (struct vmf_reader *reader, unsigned disk, GError **error);
void vmf_partition_table_free (struct vmf_partition_table *table);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_partition_table, vmf_partition_table_free)
