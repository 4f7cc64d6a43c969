/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the conversion has written or freed need not travel: its overlay has whole clusters there, data or zeroes, which
 * hide what lies beneath from then on and are committed over it at the end. A cluster of an overlay with a backing file
 * never goes back to "not here".
 *
 * That is valid for this overlay alone. So what is dropped is not done by the journal's account: should the guest have
 * to be converted anew, on a new overlay, it is read then.
 *
 * The overlay's own tables are read, from its file, while QEMU has it open: what QEMU has not written back yet is seen
 * later, and a source that hangs beneath is not asked. Any thread.
 */
#pragma once
#include "disk/mover.h"

/* Adds what the qcow2 file PATH has clusters for; it has none smaller than 64 KiB. VMF_ERROR_CORRUPT. */
bool vmf_covered_read (const char *path, uint64_t size_bytes, struct vmf_extents *covered, GError **error);

/* Drops from MOVER what the overlay at PATH covers and DROPPED, where it is noted then, does not have yet. */
bool vmf_covered_drop (struct vmf_mover *mover, const char *path, uint64_t size_bytes, struct vmf_extents *dropped,
                       GError **error);
