/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The queue: `needed` is what the pass needs by the answers that come yet, `todo` what is known to be data; before
   `cursor` it was handed out. */
#include "disk/queue.h"

#include <libnbd.h>

enum
{
    ASKS = 16,
    ASKS_FEW = 4, /* open at once while there is enough to read */
    TODO_RANGES_MAX = 65536, /* 1 MiB */
    PURGE_RANGES = 1024,
};

static const uint64_t ASK_BYTES = (uint64_t)1 << 30; /* a multiple of the block; NBD's limit is 4 GiB - 1 */
static const uint64_t AHEAD_BYTES = (uint64_t)1 << 30;
static const uint64_t PLENTY_BYTES = (uint64_t)64 << 20; /* known data that keeps the reads busy meanwhile */

enum ask_state
{
    ASK_FREE,
    ASK_OPEN, /* to be sent, for the first time or for the rest */
    ASK_SENT,
};

struct ask
{
    enum ask_state state;
    uint64_t offset, end;
};

struct vmf_queue
{
    struct vmf_extents *needed, *todo;
    uint64_t size_bytes, todo_bytes, cursor, asked_to;
    bool extents, answered; /* answered: the source has said something */
    struct ask asks[ASKS];
    uint64_t *hole_bytes;
};

struct vmf_queue *
vmf_queue_new (const struct vmf_extents *needed, const struct vmf_extents *done, uint64_t size_bytes, bool extents,
               uint64_t *hole_bytes)
{
    struct vmf_queue *queue = g_new0 (struct vmf_queue, 1);
    queue->needed = vmf_extents_aligned (needed, VMF_BLOCK_BYTES, size_bytes);
    for (size_t i = 0; done && i < vmf_extents_count (done); i++)
        vmf_extents_remove (queue->needed, vmf_extents_nth (done, i).offset, vmf_extents_nth (done, i).length);
    queue->todo = vmf_extents_new ();
    queue->size_bytes = size_bytes;
    queue->extents = extents;
    queue->hole_bytes = hole_bytes;
    return queue;
}

void
vmf_queue_free (struct vmf_queue *queue)
{
    if (!queue)
        return;
    vmf_extents_free (queue->needed);
    vmf_extents_free (queue->todo);
    g_free (queue);
}

static void
add_todo (struct vmf_queue *queue, uint64_t offset, uint64_t length)
{
    vmf_extents_add (queue->todo, offset, length);
    queue->todo_bytes += length;
}

/* The first offset whose answer is still open. */
static uint64_t
open_from (const struct vmf_queue *queue)
{
    uint64_t first = queue->asked_to;
    for (unsigned i = 0; i < ASKS; i++)
        if (queue->asks[i].state != ASK_FREE)
            first = MIN (first, queue->asks[i].offset);
    return first;
}

bool
vmf_queue_peek (const struct vmf_queue *queue, uint64_t max_bytes, struct vmf_extent *piece)
{
    if (!vmf_extents_next (queue->todo, queue->cursor, piece) || piece->offset >= open_from (queue))
        return false;
    uint64_t cut = (piece->offset + max_bytes) & ~(max_bytes - 1);
    piece->length = MIN (piece->length, cut - piece->offset);
    return true;
}

bool
vmf_queue_next (struct vmf_queue *queue, uint64_t max_bytes, struct vmf_extent *piece)
{
    if (!vmf_queue_peek (queue, max_bytes, piece))
        return false;
    queue->cursor = piece->offset + piece->length;
    queue->todo_bytes -= piece->length;
    if (vmf_extents_count (queue->todo) > PURGE_RANGES
        && vmf_extents_nth (queue->todo, PURGE_RANGES).offset < queue->cursor)
        vmf_extents_remove (queue->todo, 0, queue->cursor & ~(uint64_t)(VMF_BLOCK_BYTES - 1));
    return true;
}

void
vmf_queue_put_back (struct vmf_queue *queue, uint64_t offset, uint64_t length)
{
    vmf_extents_add (queue->todo, offset, length);
    queue->cursor = offset;
    queue->todo_bytes += length;
}

/* ---- asking ---- */

/* The part of what is needed that lies in [OFFSET, END). A new set. */
static struct vmf_extents *
needed_part (const struct vmf_queue *queue, uint64_t offset, uint64_t end)
{
    struct vmf_extents *part = vmf_extents_new ();
    struct vmf_extent extent;
    for (uint64_t at = offset; vmf_extents_next (queue->needed, at, &extent) && extent.offset < end;
         at = extent.offset + extent.length)
        vmf_extents_add (part, extent.offset, MIN (extent.length, end - extent.offset));
    return part;
}

static uint64_t
needed_bytes (const struct vmf_queue *queue, uint64_t offset, uint64_t end)
{
    g_autoptr (vmf_extents) part = needed_part (queue, offset, end);
    return vmf_extents_total (part);
}

/* What is needed of [OFFSET, END) and no zero range of ZEROES becomes todo; it is not asked about again. */
static void
settle (struct vmf_queue *queue, uint64_t offset, uint64_t end, const struct vmf_extents *zeroes)
{
    g_autoptr (vmf_extents) data = needed_part (queue, offset, end);
    uint64_t before = vmf_extents_total (data);
    for (size_t i = 0; zeroes && i < vmf_extents_count (zeroes); i++)
        vmf_extents_remove (data, vmf_extents_nth (zeroes, i).offset, vmf_extents_nth (zeroes, i).length);
    __atomic_add_fetch (queue->hole_bytes, before - vmf_extents_total (data), __ATOMIC_RELAXED);
    for (size_t i = 0; i < vmf_extents_count (data); i++)
        add_todo (queue, vmf_extents_nth (data, i).offset, vmf_extents_nth (data, i).length);
}

/* The next stretch that nobody was asked about; false: there is none. */
static bool
next_stretch (struct vmf_queue *queue, struct vmf_extent *range)
{
    if (!vmf_extents_next (queue->needed, queue->asked_to, range))
        return queue->asked_to = queue->size_bytes, false;
    range->length = MIN (ASK_BYTES, queue->size_bytes - range->offset);
    queue->asked_to = range->offset + range->length;
    return true;
}

static bool
has_enough (const struct vmf_queue *queue)
{
    return queue->todo_bytes >= AHEAD_BYTES || vmf_extents_count (queue->todo) >= TODO_RANGES_MAX;
}

/* Where there is little data in much space the answers are what is waited for: then more are asked for at once. */
static bool
may_ask_more (const struct vmf_queue *queue)
{
    unsigned busy = 0;
    for (unsigned i = 0; i < ASKS; i++)
        busy += queue->asks[i].state != ASK_FREE;
    return !has_enough (queue) && (busy < ASKS_FEW || (queue->answered && queue->todo_bytes < PLENTY_BYTES));
}

static struct ask *
find_ask (struct vmf_queue *queue, enum ask_state state)
{
    for (unsigned i = 0; i < ASKS; i++)
        if (queue->asks[i].state == state)
            return &queue->asks[i];
    return NULL;
}

bool
vmf_queue_ask (struct vmf_queue *queue, unsigned *id, struct vmf_extent *range)
{
    struct ask *ask = find_ask (queue, ASK_OPEN);
    while (!queue->extents && !has_enough (queue) && next_stretch (queue, range))
        settle (queue, range->offset, range->offset + range->length, NULL);
    if (!queue->extents)
        return false;
    if (!ask && may_ask_more (queue) && (ask = find_ask (queue, ASK_FREE)))
    {
        if (!next_stretch (queue, range))
            return false;
        *ask = (struct ask){ ASK_OPEN, range->offset, range->offset + range->length };
    }
    if (!ask)
        return false;
    ask->state = ASK_SENT;
    *id = (unsigned)(ask - queue->asks);
    *range = (struct vmf_extent){ ask->offset, ask->end - ask->offset };
    return true;
}

/* The whole blocks of a run of zeroes. */
static void
add_zeroes (const struct vmf_queue *queue, struct vmf_extents *zeroes, uint64_t start, uint64_t end)
{
    start = (start + VMF_BLOCK_BYTES - 1) & ~(uint64_t)(VMF_BLOCK_BYTES - 1);
    end = end == queue->size_bytes ? end : end & ~(uint64_t)(VMF_BLOCK_BYTES - 1);
    if (start < end)
        vmf_extents_add (zeroes, start, end - start);
}

void
vmf_queue_answer (struct vmf_queue *queue, unsigned id, uint64_t offset, const uint32_t *entries, size_t n_entries)
{
    g_autoptr (vmf_extents) zeroes = vmf_extents_new ();
    struct ask *ask = &queue->asks[id];
    uint64_t at = offset, zero_from = offset;
    if (offset != ask->offset)
        return; /* not what was asked: treated as no answer */
    for (size_t i = 0; i + 1 < n_entries && at < ask->end; i += 2)
    {
        uint64_t end = at + MIN (entries[i], ask->end - at);
        if (!(entries[i + 1] & LIBNBD_STATE_ZERO))
        {
            add_zeroes (queue, zeroes, zero_from, at);
            zero_from = end;
        }
        at = end;
    }
    add_zeroes (queue, zeroes, zero_from, at);
    uint64_t answered = at == ask->end ? at : at & ~(uint64_t)(VMF_BLOCK_BYTES - 1);
    if (answered <= ask->offset) /* it says less than a block: then that block is read */
        answered = MIN (ask->offset + VMF_BLOCK_BYTES, ask->end);
    settle (queue, ask->offset, answered, zeroes);
    ask->offset = answered;
}

void
vmf_queue_answered (struct vmf_queue *queue, unsigned id, bool good)
{
    struct ask *ask = &queue->asks[id];
    queue->answered = true;
    if (!good)
    {
        settle (queue, ask->offset, ask->end, NULL);
        ask->offset = ask->end;
    }
    ask->state = ask->offset < ask->end ? ASK_OPEN : ASK_FREE;
}

void
vmf_queue_unanswered (struct vmf_queue *queue, unsigned id)
{
    queue->asks[id].state = ASK_OPEN;
}

bool
vmf_queue_is_empty (const struct vmf_queue *queue)
{
    struct vmf_extent rest;
    return queue->todo_bytes == 0 && open_from (queue) >= queue->asked_to
           && !vmf_extents_next (queue->needed, queue->asked_to, &rest);
}

uint64_t
vmf_queue_left (const struct vmf_queue *queue)
{
    uint64_t left = queue->todo_bytes + needed_bytes (queue, queue->asked_to, queue->size_bytes);
    for (unsigned i = 0; i < ASKS; i++)
        if (queue->asks[i].state != ASK_FREE)
            left += needed_bytes (queue, queue->asks[i].offset, queue->asks[i].end);
    return left;
}

uint64_t
vmf_queue_position (const struct vmf_queue *queue)
{
    struct vmf_extent next;
    uint64_t open = open_from (queue);
    return vmf_extents_next (queue->todo, queue->cursor, &next) ? MIN (next.offset, open) : open;
}

/* ---- changes while it runs ---- */

uint64_t
vmf_queue_drop (struct vmf_queue *queue, uint64_t offset, uint64_t length)
{
    g_autoptr (vmf_extents) whole = vmf_extents_new ();
    add_zeroes (queue, whole, offset, offset + length);
    if (vmf_extents_count (whole) == 0)
        return 0;
    struct vmf_extent range = vmf_extents_nth (whole, 0);
    uint64_t before = vmf_queue_left (queue);
    vmf_extents_remove (queue->todo, 0, queue->cursor);
    vmf_extents_remove (queue->todo, range.offset, range.length);
    vmf_extents_remove (queue->needed, range.offset, range.length);
    queue->todo_bytes = vmf_extents_total (queue->todo);
    return before - vmf_queue_left (queue);
}

uint64_t
vmf_queue_add (struct vmf_queue *queue, uint64_t offset, uint64_t length)
{
    g_autoptr (vmf_extents) one = vmf_extents_new ();
    vmf_extents_add (one, offset, length);
    g_autoptr (vmf_extents) whole = vmf_extents_aligned (one, VMF_BLOCK_BYTES, queue->size_bytes);
    if (vmf_extents_count (whole) == 0)
        return 0;
    struct vmf_extent range = vmf_extents_nth (whole, 0);
    uint64_t before = vmf_queue_left (queue);
    vmf_extents_remove (queue->todo, 0, queue->cursor);
    vmf_extents_add (queue->todo, range.offset, range.length);
    vmf_extents_remove (queue->needed, range.offset, range.length); /* an answer that comes yet changes nothing */
    queue->cursor = MIN (queue->cursor, range.offset);
    queue->todo_bytes = vmf_extents_total (queue->todo);
    return vmf_queue_left (queue) - before;
}
