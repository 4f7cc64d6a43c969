/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One pass over a stream-optimised VMDK whose bytes are still arriving: the caller reads and takes the grains.
 *
 * Grains are expected in the order of the disk, as the format has them. A stream ends with its end marker; one whose
 * tables stand in front (QEMU's) may end without, so its tables are counted on the way: a stream that breaks off
 * between two grains is noticed in both. One thread.
 */
#pragma once
#include "vmdk-parse.h"

#include <sys/types.h>

struct vmdk_walk_ops
{
    /* Fills BUFFER. Less than LENGTH only at the stream's end; -1 with ERROR. */
    ssize_t (*read) (void *data, void *buffer, size_t length, struct vmdk_error *error);
    /* Once, before any grain. */
    bool (*header) (void *data, const struct vmdk_header *header, struct vmdk_error *error);
    /* A grain, deflated: BYTES are malloc'ed and taken over, also on error. INDEX rises; what is left out is zeroes. */
    bool (*grain) (void *data, uint64_t index, uint8_t *bytes, size_t size, struct vmdk_error *error);
};

/* True when the whole disk went by. False with ERROR, also where an op was false. */
bool vmdk_walk (const struct vmdk_walk_ops *ops, void *data, struct vmdk_error *error);
