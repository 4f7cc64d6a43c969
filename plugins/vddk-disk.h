/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One disk behind VDDK, as nbdkit's threads see it: size, bytes, extents, from any thread at any time.
 *
 *     nbdkit's threads ──jobs──► queue ──► the disk's thread ──ReadAsync──► VDDK's threads
 *           ▲                                  (all calls)                       │
 *           └───────────────────────── a job is done ◄──────────────────────────┘
 *
 * The disk's thread makes every call of the library (vddk-session.h). It opens the disk when there is a job, keeps many
 * reads in flight, closes it after `idle_close_s` without one, and at once where it is not in use and another disk
 * waits for its slot. Where the host has no room (NFC buffers, connections) that is no error: close, fewer bytes in
 * flight, a slot less for all, and again, for up to `patience_s`. Where all slots are taken by disks of ours it waits
 * for one, for as long as that takes (or `slots_wait_s`). While it waits for either, a file says so (vddk-mark.h); not
 * while the library is called, so that a host that hangs is still found.
 *
 * Reads go through buffers of the disk's own: a call that hangs is given up by its reader after `io_timeout_s`, and may
 * still write to its buffer afterwards.
 *
 *   vddk_disk_start (after the library's InitEx) → any → vddk_disk_stop (when nobody is in a call)
 */
#pragma once
#include "vddk-mark.h"
#include "vddk-session.h"
#include "vddk-slots.h"

struct vddk_disk;

struct vddk_disk_options
{
    uint32_t request_bytes;                          /* of one read of the library */
    uint64_t in_flight_bytes;                        /* of all of them */
    unsigned in_flight;                              /* their number */
    unsigned io_timeout_s, idle_close_s, patience_s; /* idle_close_s 0: never */
    unsigned slots_wait_s;                           /* for a slot; 0: as long as it takes */
    uint64_t capacity_bytes;                         /* as the caller knows it: its size is told unopened; 0: ask */
    const char *mark_path;                           /* borrowed; or NULL */
    struct vddk_slots *slots;                        /* or NULL; taken over */
    bool (*give_up) (void);                          /* asked now and then by who waits: true ends the wait */
};

/* LIBRARY and TARGET are borrowed until the end. */
struct vddk_disk *vddk_disk_start (const struct vddk_library *library, const struct vddk_target *target,
                                   const struct vddk_disk_options *options, struct vddk_error *error);

/* Closes it. False: the library does not answer; nothing of it may be called any more, Exit neither. */
bool vddk_disk_stop (struct vddk_disk *disk);

/* A client more or less: a disk without one is not in use. */
void vddk_disk_count_client (struct vddk_disk *disk, int change);

bool vddk_disk_get_size (struct vddk_disk *disk, uint64_t *bytes, struct vddk_error *error);
bool vddk_disk_read (struct vddk_disk *disk, uint8_t *out, uint64_t offset, uint32_t length, struct vddk_error *error);

/* How many LENGTH bytes from OFFSET on, which is within the disk, are DATA or a hole. */
bool vddk_disk_run (struct vddk_disk *disk, uint64_t offset, uint64_t *length, bool *data, struct vddk_error *error);
