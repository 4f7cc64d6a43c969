/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmdk-queue.h"

#include <stdlib.h>

size_t
vmdk_queue_cost (size_t size)
{
    return size + VMDK_SECTOR + sizeof (struct vmdk_held); /* a grain comes in whole sectors */
}

/* Takes out what was dropped in the middle: the queue is as long as what is held, however old its first one is. */
static void
compact (struct vmdk_queue *queue)
{
    size_t n = 0;
    for (size_t i = queue->first; i < queue->first + queue->n; i++)
        if (queue->held[i].bytes)
            queue->held[n++] = queue->held[i];
    queue->first = 0;
    queue->n = n;
}

bool
vmdk_queue_push (struct vmdk_queue *queue, const struct vmdk_held *held)
{
    if (queue->first + queue->n == queue->room)
        compact (queue);
    if (queue->n >= queue->room / 2)
    {
        size_t room = queue->room ? 2 * queue->room : 256;
        struct vmdk_held *more = realloc (queue->held, room * sizeof *more);
        if (!more)
            return false;
        queue->held = more;
        queue->room = room;
    }
    queue->held[queue->first + queue->n++] = *held;
    queue->bytes += vmdk_queue_cost (held->size);
    return true;
}

struct vmdk_held *
vmdk_queue_find (struct vmdk_queue *queue, uint64_t index)
{
    size_t low = queue->first, high = queue->first + queue->n;
    while (low < high)
    {
        size_t middle = low + (high - low) / 2;
        if (queue->held[middle].index < index)
            low = middle + 1;
        else
            high = middle;
    }
    bool found = low < queue->first + queue->n && queue->held[low].index == index && queue->held[low].bytes;
    return found ? &queue->held[low] : NULL;
}

struct vmdk_held *
vmdk_queue_next (struct vmdk_queue *queue, const struct vmdk_held *held)
{
    size_t i = held ? (size_t)(held - queue->held) + 1 : queue->first, end = queue->first + queue->n;
    while (i < end && !queue->held[i].bytes)
        i++;
    return i < end ? &queue->held[i] : NULL;
}

void
vmdk_queue_drop (struct vmdk_queue *queue, struct vmdk_held *held)
{
    queue->bytes -= vmdk_queue_cost (held->size);
    free (held->bytes);
    held->bytes = NULL;
    while (queue->n > 0 && !queue->held[queue->first].bytes)
    {
        queue->first++;
        queue->n--;
    }
}

void
vmdk_queue_clear (struct vmdk_queue *queue)
{
    for (size_t i = queue->first; i < queue->first + queue->n; i++)
        free (queue->held[i].bytes);
    free (queue->held);
    *queue = (struct vmdk_queue){ 0 };
}
