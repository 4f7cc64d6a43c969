/* SPDX-License-Identifier: GPL-2.0-or-later */
/* LVM2: from physical volumes to the logical volumes that lie on them, across disks.
 *
 * Only plain linear volumes get a view; everything else (striped, mirrored, RAID, thin, cached, snapshots and their
 * origins, what they are made of, anything unknown) keeps its reason and is copied by allocation. What no volume claims
 * is free only in a group whose metadata leaves no question: every PV is here, all copies agree, every segment is
 * understood, nothing overlaps. Otherwise the whole group goes by allocation.
 */
#pragma once
#include "guest/bytes.h"

struct vmf_lvm_volume
{
    char *name;            /* "vg0/root" */
    struct vmf_view *view; /* NULL with… */
    char *why;             /* …the reason */
    uint64_t size_bytes;
};

struct vmf_lvm
{
    GPtrArray *volumes;   /* struct vmf_lvm_volume* */
    GPtrArray *trouble;   /* char*, one for each PV in order: why its group cannot be relied on; NULL: it can */
    GPtrArray *unclaimed; /* struct vmf_view*, one for each PV: extents that no volume claims; NULL: none */
};

typedef struct vmf_lvm vmf_lvm;

/* PVS: struct vmf_view*, each a partition or disk that bears an LVM2 label. NULL only where the source cannot be read.
 */
struct vmf_lvm *vmf_lvm_read (struct vmf_reader *reader, const GPtrArray *pvs, GError **error);
void vmf_lvm_free (struct vmf_lvm *lvm);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_lvm, vmf_lvm_free)
