/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The mover: one pass over one disk, from an NBD reader to an NBD target.
 *
 *     windows of extents → requests → reads in flight → zero detection → writes in flight
 *
 * One thread runs one mover and nothing in it is shared but the progress counters, so there is no lock. The needed
 * ranges are walked in windows: for each the source is asked what it calls allocated, one window ahead of the reads. A
 * request is a slot with one buffer: it is read, its runs of non-zero blocks are written from the same buffer, and it
 * is free again. Memory is slots × request size and does not depend on the disk (at most 32 MiB).
 *
 * How many requests are in flight is tuned while running: while a request's time stays within a little of the shortest
 * seen, more are sent; when they only queue, fewer. So a fast source is kept busy, and on a slow line the conversion's
 * own reads do not stand behind a long queue.
 */
#pragma once
#include "disk/extents.h"
#include <gio/gio.h>

/* Written by the mover, read by anybody, with the atomic built-ins; bytes. */
struct vmf_mover_progress
{
    uint64_t needed;  /* what the pass will have dealt with at its end */
    uint64_t done;    /* of it, dealt with */
    uint64_t read;    /* from the source by this mover */
    uint64_t written; /* to the target */
    uint64_t zero;    /* read, and found to be zero: not written */
    uint64_t hole;    /* needed, but the source says that it reads as zeroes: not read */
    uint64_t here;    /* was on the target already: copy-on-read had brought it */
};

struct vmf_mover_options
{
    const char *name;       /* "sda": for messages */
    const char *source_uri; /* NBD, read-only */
    const char *target_uri; /* NBD; reads as zeroes where nothing was written */
    uint64_t size_bytes;
    const struct vmf_extents *needed; /* borrowed */
    unsigned connections;             /* at most, to each side; 0: 4 */
    bool skip_present;                /* the target is a chain that brings blocks itself: ask before reading */
    GCancellable *cancellable;
    struct vmf_mover_progress *progress; /* zeroed by the caller */
};

/* Runs the pass to its end and flushes the target. Blocks; any thread. */
bool vmf_mover_run (const struct vmf_mover_options *options, GError **error);
