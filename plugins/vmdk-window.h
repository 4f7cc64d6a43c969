/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A stream-optimised VMDK that is still arriving: a thread reads it, and keeps what was not read yet within a bound.
 *
 * What is known of the disk ends at the frontier, which only rises. A read in front of it is served from the window, a
 * read behind it waits. Grains are kept deflated. One is let go of when it was read to its last byte. When the window
 * is full and a read waits for what is behind it, the oldest one that was read in part goes; and when nothing was read
 * for `patience_ms` then, the oldest of all: whoever skips that much does not want it. A read of what is gone fails. So
 * the reader goes in order, with less than a window between its first and its last request in flight.
 *
 * A reader that promises to go `forward` skips at no cost: what lies before a read is not asked for any more, but by
 * requests that are under way with it. So once that read has waited for `patience_ms`, all that stands in its way goes
 * at once, however much it is; the next read's patience began when it came.
 *
 *   vmdk_window_new → vmdk_window_start (after the last fork) → reads in any threads → vmdk_window_free
 */
#pragma once
#include "vmdk-parse.h"

struct vmdk_window;

struct vmdk_window_options
{
    int fd;              /* taken over */
    uint64_t size_bytes; /* of the window; a grain larger than it still passes */
    unsigned patience_ms;
    bool forward; /* reads come in rising order, but for those in flight together */
    /* Asked several times a second by who waits: true ends the wait. Called without a lock. */
    bool (*give_up) (void);
};

struct vmdk_window *vmdk_window_new (const struct vmdk_window_options *options, struct vmdk_error *error);
bool vmdk_window_start (struct vmdk_window *window, struct vmdk_error *error);

/* No call may be under way. Ends the thread. */
void vmdk_window_free (struct vmdk_window *window);

/* Waits for the header. It stays valid. NULL with ERROR. */
const struct vmdk_header *vmdk_window_get_header (struct vmdk_window *window, struct vmdk_error *error);

/* LENGTH bytes of grain INDEX, beginning WITHIN it, all of them the guest's; when they have arrived. After
   vmdk_window_get_header(). */
bool vmdk_window_read (struct vmdk_window *window, uint64_t index, uint32_t within, uint32_t length, uint8_t *out,
                       struct vmdk_error *error);

/* How many grains from INDEX on, not above MOST, are DATA or are zeroes. Where that is not known yet: with WAIT it
   waits, else GRAINS is 0. It cannot become known where the window is full and nobody reads: then all of MOST is called
   data, which is never wrong; a few grains where the reader goes forward, for it will skip to them and ask again. */
bool vmdk_window_run (struct vmdk_window *window, uint64_t index, uint64_t most, bool wait, uint64_t *grains,
                      bool *data, struct vmdk_error *error);
