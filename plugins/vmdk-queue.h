/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The grains of a stream that were not read to their end yet, by rising index; used by vmdk-window.c under its lock. */
#pragma once
#include "vmdk-parse.h"

/* Pointers to one are good until the next vmdk_queue_push(). */
struct vmdk_held
{
    uint64_t index;
    uint8_t *bytes; /* malloc'ed; NULL: was let go of */
    size_t size;
    uint32_t from, to; /* what was read of it: one range */
    unsigned readers;  /* while it is not 0, the bytes stay */
};

/* All zeroes is an empty one. */
struct vmdk_queue
{
    struct vmdk_held *held; /* `n` of them from `first` on; the first one has bytes */
    size_t first, n, room;
    uint64_t bytes; /* of memory */
};

/* What this many deflated bytes will take. */
size_t vmdk_queue_cost (size_t size);

/* The index is above all others. Takes over the bytes, unless it is false: no memory. */
bool vmdk_queue_push (struct vmdk_queue *queue, const struct vmdk_held *held);

/* NULL: it is not here. */
struct vmdk_held *vmdk_queue_find (struct vmdk_queue *queue, uint64_t index);

/* The one behind HELD, or the first one where that is NULL. NULL: there is no more. */
struct vmdk_held *vmdk_queue_next (struct vmdk_queue *queue, const struct vmdk_held *held);

/* Frees its bytes. */
void vmdk_queue_drop (struct vmdk_queue *queue, struct vmdk_held *held);

void vmdk_queue_clear (struct vmdk_queue *queue);
