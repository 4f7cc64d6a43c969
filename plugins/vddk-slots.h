/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A bound on the disks that all processes together have open on one ESXi host (or vCenter).
 *
 * They share a directory: `slot.N` is locked (flock) by whoever has a disk open, `limit` holds the number that the host
 * was found to bear within the last quarter of an hour, `lock` guards the two. Locks go with their process, however it
 * ends; the files stay. A disk may be opened while fewer than limit slots are locked. One thread at a time.
 */
#pragma once
#include "vddk-error.h"

struct vddk_slots;

/* DIRECTORY must exist. MAX: never more than that, whatever `limit` says. */
struct vddk_slots *vddk_slots_new (const char *directory, unsigned max, struct vddk_error *error);
void vddk_slots_free (struct vddk_slots *slots);

/* False: all are taken, ask again later; or with a text in ERROR: the directory cannot be used. */
bool vddk_slots_take (struct vddk_slots *slots, struct vddk_error *error);
void vddk_slots_give_back (struct vddk_slots *slots);

/* The host refused what we did with our slot: one slot less than are taken now will do. Then gives ours back. */
void vddk_slots_lower (struct vddk_slots *slots);

unsigned vddk_slots_get_limit (struct vddk_slots *slots);
