/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The mover: one pass over one disk, from an NBD source to a target.
 *
 *     queue ─► slots: read ─► digest, zero detection (worker threads) ─► write ─┐
 *                                                                             ▼
 *                                   checkpoint: flush the target, then the journal says so
 *
 * One thread runs the loop that owns the connections, the queue and the slots. A slot is one request with one buffer:
 * it is read, a worker takes the digests of its blocks and writes the runs that are not zero from the same buffer (or
 * the loop does, where the target is an NBD server), and it waits for the next checkpoint. Buffers come from a budget
 * (mover-budget.h) that disks share; memory does not depend on the disk. Between loop and workers a slot is handed
 * over, never shared.
 *
 * How many reads are in flight is tuned while running: doubled until requests only queue, then fewer. So a fast source
 * is kept busy, and on a slow line the conversion's own reads do not stand behind a long queue.
 *
 * A read that fails, a connection that dies or gives no answer for io_timeout_ms, is tried again until the same bytes
 * have failed for retry_ms. After a connection came back a block that was read before is read again and compared: a
 * server that came back with another disk ends the pass.
 *
 * Order of calls: new, run once, free. drop and add at any time between, by any thread.
 */
#pragma once
#include "disk/extents.h"
#include "disk/journal.h"
#include "disk/mover-budget.h"
#include "disk/pace.h"
#include "disk/writer.h"
#include <gio/gio.h>

/* What the loop waited for, by its own account. */
enum vmf_mover_wait
{
    VMF_WAIT_SOURCE_LATENCY,   /* reads were in flight and each took its time */
    VMF_WAIT_SOURCE_BANDWIDTH, /* more in flight did not bring more */
    VMF_WAIT_SOURCE_LOST,      /* no connection */
    VMF_WAIT_CPU,              /* digests, zero detection, and the loop itself */
    VMF_WAIT_TARGET,           /* writes and flushes */
    VMF_WAIT_LIMIT,            /* rate limit or pause */
    VMF_WAIT_N,
};

/* Written by the mover, read by anybody, with the atomic built-ins; bytes where nothing else is said. */
struct vmf_mover_progress
{
    uint64_t needed;                         /* what the pass will have dealt with at its end */
    uint64_t done;                           /* of it, dealt with */
    uint64_t resumed;                        /* of it, done before by the journal's account */
    uint64_t read;                           /* from the source by this mover */
    uint64_t written;                        /* to the target */
    uint64_t zero;                           /* read, and found to be zero: not written */
    uint64_t hole;                           /* needed, but the source says that it reads as zeroes: not read */
    uint64_t here;                           /* was on the target already: copy-on-read had brought it */
    uint64_t proven;                         /* journalled by this mover */
    uint64_t retries, reconnects, in_flight; /* counts */
    uint64_t wait_us[VMF_WAIT_N];
};

struct vmf_mover_options
{
    const char *name;          /* "sda": for messages */
    const char *source_uri;    /* NBD, read-only */
    const char *target_uri;    /* NBD; reads as zeroes where nothing was written. NULL: */
    struct vmf_writer *writer; /* then this, borrowed */
    uint64_t size_bytes;
    const struct vmf_extents *needed; /* borrowed */
    unsigned connections;             /* at most, to the source; 0: 16. It begins with 4; a target gets 4 at most */
    struct vmf_budget *budget;        /* for buffers, shared with other movers; borrowed. NULL: */
    uint64_t memory_bytes;            /* then so much of its own; 0: 32 MiB */
    bool skip_present;                /* the target is a chain that brings blocks itself: ask before reading */
    bool no_digests;                  /* for measurements: the journal then cannot prove anything */
    struct vmf_journal *journal;      /* borrowed; NULL: none */
    uint32_t pass;                    /* the journal's number for this pass */
    struct vmf_pace *pace;            /* borrowed; NULL: as fast as it goes */
    int64_t io_timeout_ms;            /* 0: 60 s */
    int64_t retry_ms;                 /* how long the same bytes may fail; 0: the first failure ends the pass */
    GCancellable *cancellable;
    struct vmf_mover_progress *progress; /* zeroed by the caller */
};

/* OPTIONS is borrowed until free. */
typedef struct vmf_mover vmf_mover;
struct vmf_mover *vmf_mover_new (const struct vmf_mover_options *options);
void vmf_mover_free (struct vmf_mover *mover);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_mover, vmf_mover_free)

/* Runs the pass to its end and flushes the target. Blocks; any thread. What was journalled stays so on an error. */
bool vmf_mover_run (struct vmf_mover *mover, GError **error);

/* These bytes need not travel any more, or must (again). */
void vmf_mover_drop (struct vmf_mover *mover, uint64_t offset, uint64_t length);
void vmf_mover_add (struct vmf_mover *mover, uint64_t offset, uint64_t length);

/* The looks at wait_us that "of late" is measured by; zeroed at first. */
struct vmf_mover_waits
{
    uint64_t last_us[VMF_WAIT_N], before_us[VMF_WAIT_N];
};

/* "source latency", "target" …: what the pass waited for most, of late with WAITS, or in all. NULL: nothing. */
const char *vmf_mover_waits_for (struct vmf_mover_waits *waits, const struct vmf_mover_progress *progress);
