/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sets of byte ranges of one disk: sorted, disjoint, never touching.
 *
 * A set is a plain GArray inside; one thread at a time. Sixteen bytes a range: a badly fragmented file system of 1 TiB
 * with a million ranges costs 16 MB.
 */
#pragma once
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct vmf_extent
{
    uint64_t offset, length; /* bytes; length is never 0 within a set */
};

typedef struct vmf_extents vmf_extents;
struct vmf_extents *vmf_extents_new (void);
void vmf_extents_free (struct vmf_extents *set);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_extents, vmf_extents_free)

/* Appending in rising order is O(1); anywhere else costs a copy of what lies behind. An end beyond 2^64 is cut there.
 */
void vmf_extents_add (struct vmf_extents *set, uint64_t offset, uint64_t length);
void vmf_extents_remove (struct vmf_extents *set, uint64_t offset, uint64_t length);
void vmf_extents_add_all (struct vmf_extents *set, const struct vmf_extents *other);

size_t vmf_extents_count (const struct vmf_extents *set);
/* The Nth from 0; N below the count. */
struct vmf_extent vmf_extents_nth (const struct vmf_extents *set, size_t n);
uint64_t vmf_extents_total (const struct vmf_extents *set); /* sum of lengths */

/* The first range at or behind OFFSET, cut so that it begins there at the earliest; false: none. */
bool vmf_extents_next (const struct vmf_extents *set, uint64_t offset, struct vmf_extent *extent);

/* Every range grown outwards to multiples of ALIGNMENT (a power of two), cut at SIZE. A new set. */
struct vmf_extents *vmf_extents_aligned (const struct vmf_extents *set, uint64_t alignment, uint64_t size);
