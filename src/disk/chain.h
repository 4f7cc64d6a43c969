/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The chain of DESIGN idea 3, held by one qemu-storage-daemon per disk:
 *
 *     conversion → overlay → copy-on-read → target → source
 *
 * Order of calls: start; then the conversion writes on the overlay's port while the mover fills the target;
 * release_source as soon as the mover's pass is complete, under the running conversion; when the conversion has ended,
 * commit; then close. Without an overlay (no conversion) the chain is the target alone, and commit is not called.
 *
 * A raw target gets a qcow2 map beside it while there is an overlay (`data_file`: same offsets), so that "not here yet"
 * can be told from zero; close() puts what the map calls zero into the raw file and compares both (PITFALLS 47). Main
 * thread only. Freed at any moment, it leaves the target as it is and no process.
 */
#pragma once
#include "base/child.h"
#include <stdint.h>

struct vmf_chain_options
{
    const char *name; /* "sda": for messages and file names in work_dir */
    const char *work_dir;
    const struct vmf_room *room;
    const char *target_path;
    const char *target_format; /* "qcow2" or "raw" */
    bool target_is_block;
    bool preallocate; /* close reserves all that the disk can ever need; the target itself must not be preallocated */
    uint64_t size_bytes;
    const char *source_socket; /* the source helper's; NULL: no source beneath */
    bool keep_map;             /* going on: the map that lies in work_dir, if it does, says what is here */
    bool keep_overlay;         /* going on: the guest is converted on the overlay that lies in work_dir */
    unsigned overlay_port;     /* TCP on localhost in the room, default export; 0: no overlay */
};

typedef struct vmf_chain vmf_chain;
struct vmf_chain *vmf_chain_start (const struct vmf_chain_options *options, GCancellable *cancellable, GError **error);
void vmf_chain_free (struct vmf_chain *chain);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_chain, vmf_chain_free)

/* Does the overlay of disk NAME lie in WORK_DIR? Then its map does too, where it needs one. */
bool vmf_chain_has_overlay (const char *work_dir, const char *name);

/* The target's export for the mover: with qemu:allocation-depth, depth 1 is here, anything else is not. Borrowed. */
const char *vmf_chain_get_target_uri (const struct vmf_chain *chain);

/* The overlay's export, with qemu:allocation-depth too: depth 1 is in the overlay itself. Borrowed; NULL: no overlay.
 */
const char *vmf_chain_get_overlay_uri (const struct vmf_chain *chain);

/* The overlay's file: a qcow2 of the disk's size, without a backing file's name in it. Borrowed; NULL: no overlay. */
const char *vmf_chain_get_overlay_path (const struct vmf_chain *chain);

/* How many bytes of the target are here now, in whole clusters: what the mover wrote and what copy-on-read brought. */
bool vmf_chain_present_bytes (struct vmf_chain *chain, uint64_t *present_bytes, GError **error);

/* Drops the source from beneath; OPTIONS are those of the start. Whoever reads on sees zeroes where nothing is. */
bool vmf_chain_release_source (struct vmf_chain *chain, const struct vmf_chain_options *options, GError **error);

/* Pass 2: begins to commit the overlay into the target; then ask until DONE, and not again. OVERLAY_BYTES gets what the
   overlay holds. NO_SPACE where the target is full.
   WRITTEN_BYTES and TOTAL_BYTES are QEMU's progress, in which free ranges count too. */
bool vmf_chain_commit_start (struct vmf_chain *chain, uint64_t *overlay_bytes, GError **error);
bool vmf_chain_commit_poll (struct vmf_chain *chain, bool *done, uint64_t *written_bytes, uint64_t *total_bytes,
                            GError **error);

/* Ends the daemon in good order: everything is on disk, a raw target is complete without its map, no temporary is left.
 */
bool vmf_chain_close (struct vmf_chain *chain, GCancellable *cancellable, GError **error);
