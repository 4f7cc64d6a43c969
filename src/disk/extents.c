/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sets of byte ranges. Everything goes by end offsets, and `find` is the only search. */
#include "disk/extents.h"

struct vmf_extents
{
    GArray *ranges; /* struct vmf_extent, sorted */
};

struct vmf_extents *
vmf_extents_new (void)
{
    struct vmf_extents *set = g_new0 (struct vmf_extents, 1);
    set->ranges = g_array_new (FALSE, FALSE, sizeof (struct vmf_extent));
    return set;
}

void
vmf_extents_free (struct vmf_extents *set)
{
    if (!set)
        return;
    g_array_unref (set->ranges);
    g_free (set);
}

static struct vmf_extent *
nth (const struct vmf_extents *set, size_t n)
{
    return &g_array_index (set->ranges, struct vmf_extent, n);
}

static uint64_t
end_of (uint64_t offset, uint64_t length)
{
    uint64_t end;
    return __builtin_add_overflow (offset, length, &end) ? UINT64_MAX : end;
}

/* The index of the first range that ends behind OFFSET (at or behind it with TOUCHING). */
static size_t
find (const struct vmf_extents *set, uint64_t offset, bool touching)
{
    size_t low = 0, high = set->ranges->len;
    while (low < high)
    {
        size_t middle = low + (high - low) / 2;
        uint64_t end = nth (set, middle)->offset + nth (set, middle)->length;
        if (touching ? end >= offset : end > offset)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* Replaces the COUNT ranges from FIRST on by those of WITH. */
static void
splice (struct vmf_extents *set, size_t first, size_t count, const struct vmf_extent *with, size_t n_with)
{
    if (count > 0)
        g_array_remove_range (set->ranges, (guint)first, (guint)count);
    if (n_with > 0)
        g_array_insert_vals (set->ranges, (guint)first, with, (guint)n_with);
}

void
vmf_extents_add (struct vmf_extents *set, uint64_t offset, uint64_t length)
{
    if (length == 0)
        return;
    uint64_t end = end_of (offset, length);
    size_t first = find (set, offset, true), last = first;
    for (; last < set->ranges->len && nth (set, last)->offset <= end; last++)
    {
        offset = MIN (offset, nth (set, last)->offset);
        end = MAX (end, nth (set, last)->offset + nth (set, last)->length);
    }
    struct vmf_extent merged = { offset, end - offset };
    splice (set, first, last - first, &merged, 1);
}

void
vmf_extents_remove (struct vmf_extents *set, uint64_t offset, uint64_t length)
{
    uint64_t end = end_of (offset, length);
    size_t first = find (set, offset, false), last = first, kept = 0;
    struct vmf_extent rest[2];
    for (; last < set->ranges->len && nth (set, last)->offset < end; last++)
    {
        struct vmf_extent *range = nth (set, last);
        uint64_t range_end = range->offset + range->length;
        if (range->offset < offset)
            rest[kept++] = (struct vmf_extent){ range->offset, offset - range->offset };
        if (range_end > end)
            rest[kept++] = (struct vmf_extent){ end, range_end - end };
    }
    if (length > 0)
        splice (set, first, last - first, rest, kept);
}

void
vmf_extents_add_all (struct vmf_extents *set, const struct vmf_extents *other)
{
    for (size_t i = 0; i < other->ranges->len; i++)
        vmf_extents_add (set, nth (other, i)->offset, nth (other, i)->length);
}

size_t
vmf_extents_count (const struct vmf_extents *set)
{
    return set->ranges->len;
}

struct vmf_extent
vmf_extents_nth (const struct vmf_extents *set, size_t n)
{
    return *nth (set, n);
}

uint64_t
vmf_extents_total (const struct vmf_extents *set)
{
    uint64_t total = 0;
    for (size_t i = 0; i < set->ranges->len; i++)
        total += nth (set, i)->length;
    return total;
}

bool
vmf_extents_next (const struct vmf_extents *set, uint64_t offset, struct vmf_extent *extent)
{
    size_t i = find (set, offset, false);
    if (i == set->ranges->len)
        return false;
    *extent = *nth (set, i);
    if (extent->offset < offset)
    {
        extent->length -= offset - extent->offset;
        extent->offset = offset;
    }
    return true;
}

struct vmf_extents *
vmf_extents_aligned (const struct vmf_extents *set, uint64_t alignment, uint64_t size)
{
    struct vmf_extents *aligned = vmf_extents_new ();
    for (size_t i = 0; i < set->ranges->len; i++)
    {
        uint64_t start = nth (set, i)->offset & ~(alignment - 1);
        uint64_t end = end_of (nth (set, i)->offset + nth (set, i)->length, alignment - 1) & ~(alignment - 1);
        if (start < size)
            vmf_extents_add (aligned, start, MIN (end, size) - start);
    }
    return aligned;
}
