/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Resolving volume groups from their metadata text: lvm.c reads, this part decides. No I/O happens here. */
#pragma once
#include "guest/lvm.h"
#include "guest/lvmtext.h"
#include "disk/extents.h"

struct vmf_lvm_pv
{
    const struct vmf_view *view; /* borrowed */
    char *id;                    /* 32 characters, without dashes; NULL: the label was not readable */
    struct vmf_lvmtext *text;    /* its newest metadata; NULL: it keeps none */
    char *trouble;

    /* set while its group is resolved */
    bool resolved;
    uint64_t start, extent_bytes, n_extents;
    struct vmf_extents *claimed; /* in extents, not bytes */
    bool claims_all;             /* what no volume claims is needed too */
};

/* Takes TEXT over. false: it is not a volume group's, or contradicts what the PV has. */
bool vmf_lvm_pv_add_text (struct vmf_lvm_pv *pv, struct vmf_lvmtext *text);

/* PVS: struct vmf_lvm_pv*. Appends to VOLUMES (struct vmf_lvm_volume*) and sets each PV's trouble. */
void vmf_lvm_resolve (const GPtrArray *pvs, GPtrArray *volumes);

/* The extents that no volume claims; NULL: none that could be relied on. */
struct vmf_view *vmf_lvm_pv_unclaimed (const struct vmf_lvm_pv *pv);
