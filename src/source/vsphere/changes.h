/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What can be tested of changed block tracking without a server. Pure functions. */
#pragma once
#include "source/vsphere/internal.h"

/* Adds the areas of a DiskChangeInfo element, cut at the disk's end, and moves *START behind it: what was answered says
   where the next window begins, not what was asked. CORRUPT: a gap, or no progress. */
bool vmf_changes_read_window (const xmlNode *window, uint64_t capacity_bytes, uint64_t *start,
                              struct vmf_extents *changed, GError **error);
