/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The living extent queue of a pass: which bytes of the disk are still to be read.
 *
 *     needed ranges ─► asks (what does the source call data there?) ─► todo ─► pieces
 *
 * The disk is walked in asks of at most 1 GiB, a few of them under way at once and never further ahead of the reads
 * than a bound, so memory does not grow with the disk. Pieces come in rising order, whole blocks of 64 KiB
 * (VMF_BLOCK_BYTES): a block is a hole only if all of it is. Ranges can be taken away or added at any time. One thread.
 */
#pragma once
#include "disk/digest.h"
#include "disk/extents.h"

typedef struct vmf_queue vmf_queue;

/* NEEDED is copied, grown to whole blocks, and what is in DONE (may be NULL) left out. With EXTENTS the source can be
   asked. HOLE_BYTES, atomic, gets what turns out to be a hole. */
struct vmf_queue *vmf_queue_new (const struct vmf_extents *needed, const struct vmf_extents *done, uint64_t size_bytes,
                                 bool extents, uint64_t *hole_bytes);
void vmf_queue_free (struct vmf_queue *queue);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_queue, vmf_queue_free)

/* The next piece, at most MAX_BYTES (a power of two) and never across a multiple of that. False: none now. */
bool vmf_queue_next (struct vmf_queue *queue, uint64_t max_bytes, struct vmf_extent *piece);

/* The same, but it stays in the queue. */
bool vmf_queue_peek (const struct vmf_queue *queue, uint64_t max_bytes, struct vmf_extent *piece);

/* The rest of the piece that was given last, which ended at OFFSET + LENGTH, comes again. */
void vmf_queue_put_back (struct vmf_queue *queue, uint64_t offset, uint64_t length);

/* A question for the source: RANGE's extents. False: none to ask now. Every question ends with vmf_queue_answered. */
bool vmf_queue_ask (struct vmf_queue *queue, unsigned *id, struct vmf_extent *range);

/* Part of the answer to ask ID: N_ENTRIES pairs of length and flags (LIBNBD_STATE_*) from OFFSET on. */
void vmf_queue_answer (struct vmf_queue *queue, unsigned id, uint64_t offset, const uint32_t *entries,
                       size_t n_entries);

/* The answer to ID has come; what it left open is asked again. Without GOOD that is data, all of it (PITFALLS 6). */
void vmf_queue_answered (struct vmf_queue *queue, unsigned id, bool good);

/* The question got lost with its connection: it will be asked again. */
void vmf_queue_unanswered (struct vmf_queue *queue, unsigned id);

/* Bytes that were not handed out and are not known to be holes. */
uint64_t vmf_queue_left (const struct vmf_queue *queue);

/* Nothing is left to hand out and nothing to ask. */
bool vmf_queue_is_empty (const struct vmf_queue *queue);

/* Everything that was needed below this offset was handed out or is a hole. */
uint64_t vmf_queue_position (const struct vmf_queue *queue);

/* Not needed any more: gives how many bytes fall away that were not handed out yet. Only whole blocks do. */
uint64_t vmf_queue_drop (struct vmf_queue *queue, uint64_t offset, uint64_t length);

/* Needed, or needed once more, without asking the source. Gives the bytes that this adds, in whole blocks. */
uint64_t vmf_queue_add (struct vmf_queue *queue, uint64_t offset, uint64_t length);
