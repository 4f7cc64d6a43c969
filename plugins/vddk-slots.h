/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A bound on the disks that all processes together have open on one ESXi host (or vCenter).
 *
 * They share a directory, named after the host: `slot.N` is locked (flock) by whoever has a disk open and says whose it
 * is, `limit` holds the number that the host was found to bear within the last quarter of an hour, `lock` guards the
 * two. Who waits for a slot has a read lock (fcntl) on `waiting`: so who has one that it does not use sees that it is
 * wanted. Locks go with their process, however it ends; the files stay. A disk may be opened while fewer than limit
 * slots are locked. One thread at a time.
 *
 *   take, again and again until it is true → give_back or lower. stop_waiting, where it is not wanted any more.
 */
#pragma once
#include "vddk-error.h"

struct vddk_slots;

/* Why there is none to be had. */
struct vddk_slots_taken
{
    unsigned limit;
    unsigned ours;           /* by others of our owner's */
    unsigned theirs, owners; /* by so many other owners */
};

/* DIRECTORY must exist. MAX: never more than that, whatever `limit` says. OWNER: one word, the same for all disks of
   one import. */
struct vddk_slots *vddk_slots_new (const char *directory, unsigned max, const char *owner, struct vddk_error *error);
void vddk_slots_free (struct vddk_slots *slots);

/* False: all are taken, by whom TAKEN says; ask again later, for we count as waiting from now on. Or with a text in
   ERROR: the directory cannot be used. */
bool vddk_slots_take (struct vddk_slots *slots, struct vddk_slots_taken *taken, struct vddk_error *error);
void vddk_slots_give_back (struct vddk_slots *slots);
void vddk_slots_stop_waiting (struct vddk_slots *slots);

/* Does anybody wait for a slot? Never blocks. */
bool vddk_slots_is_wanted (const struct vddk_slots *slots);

/* The directory's own name, for messages: the host's. */
const char *vddk_slots_get_host (const struct vddk_slots *slots);

/* The host refused what we did with our slot: one slot less than are taken now will do. Then gives ours back. */
void vddk_slots_lower (struct vddk_slots *slots);

unsigned vddk_slots_get_limit (struct vddk_slots *slots);
