/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vddk-map.h */
#include "vddk-map.h"

#include <stdlib.h>
#include <string.h>

#define WINDOW_SECTORS ((uint64_t)VDDK_CHUNK_SECTORS * VDDK_CHUNKS_MAX)

enum state
{
    UNKNOWN,
    ALL_HOLE,
    ALL_DATA,
    MIXED,
};

struct window
{
    enum state state;
    uint8_t *bits; /* of a mixed one: a chunk's bit is 1 when it is data */
};

struct vddk_map
{
    uint64_t capacity; /* sectors */
    size_t count;
    struct window windows[];
};

struct vddk_map *
vddk_map_new (uint64_t capacity_sectors)
{
    uint64_t count = capacity_sectors / WINDOW_SECTORS + 1;
    if (count > SIZE_MAX / 2 / sizeof (struct window))
        return NULL;
    struct vddk_map *map = calloc (1, sizeof *map + (size_t)count * sizeof map->windows[0]);
    if (!map)
        return NULL;
    map->capacity = capacity_sectors;
    map->count = (size_t)count;
    return map;
}

void
vddk_map_free (struct vddk_map *map)
{
    for (size_t i = 0; map && i < map->count; i++)
        free (map->windows[i].bits);
    free (map);
}

static uint64_t
smaller (uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

bool
vddk_map_is_known (const struct vddk_map *map, uint64_t sector)
{
    return map->windows[sector / WINDOW_SECTORS].state != UNKNOWN;
}

bool
vddk_map_question (struct vddk_map *map, uint64_t sector, uint64_t *first, uint64_t *count)
{
    *first = sector / WINDOW_SECTORS * WINDOW_SECTORS;
    *count = smaller (WINDOW_SECTORS, map->capacity - *first) / VDDK_CHUNK_SECTORS * VDDK_CHUNK_SECTORS;
    if (*count > 0)
        return true;
    map->windows[sector / WINDOW_SECTORS].state = ALL_DATA;
    return false;
}

static void
set_bits (uint8_t *bits, uint64_t from, uint64_t to)
{
    for (; from < to && from % 8 != 0; from++)
        bits[from / 8] |= (uint8_t)(1u << from % 8);
    if (to - from >= 8)
        memset (bits + from / 8, 0xff, (size_t)((to - from) / 8));
    for (from = to - from >= 8 ? to / 8 * 8 : from; from < to; from++)
        bits[from / 8] |= (uint8_t)(1u << from % 8);
}

/* LIST's blocks need not be whole chunks, nor in order, nor inside: a chunk is data that any of them touches. */
static void
mark (uint8_t *bits, uint64_t first, const struct vddk_block_list *list)
{
    for (uint32_t i = 0; i < list->count; i++)
    {
        uint64_t from = list->blocks[i].offset, length = list->blocks[i].length,
                 to = length > UINT64_MAX - from ? UINT64_MAX : from + length;
        from = from > first ? from - first : 0;
        to = to > first ? smaller (to - first, WINDOW_SECTORS) : 0;
        if (from < to)
            set_bits (bits, from / VDDK_CHUNK_SECTORS, (to + VDDK_CHUNK_SECTORS - 1) / VDDK_CHUNK_SECTORS);
    }
}

static bool
is_all (const uint8_t *bits, uint64_t chunks, bool value)
{
    for (uint64_t i = 0; i < chunks; i++)
        if (((bits[i / 8] >> i % 8) & 1) != value)
            return false;
    return true;
}

bool
vddk_map_answer (struct vddk_map *map, uint64_t sector, const struct vddk_block_list *list)
{
    struct window *window = &map->windows[sector / WINDOW_SECTORS];
    uint64_t first = sector / WINDOW_SECTORS * WINDOW_SECTORS, within = smaller (WINDOW_SECTORS, map->capacity - first),
             whole = within / VDDK_CHUNK_SECTORS, all = (within + VDDK_CHUNK_SECTORS - 1) / VDDK_CHUNK_SECTORS;
    if (window->state != UNKNOWN)
        return true;
    window->state = ALL_DATA;
    if (!list)
        return true;
    window->bits = calloc (1, VDDK_CHUNKS_MAX / 8);
    if (!window->bits)
        return false;
    mark (window->bits, first, list);
    set_bits (window->bits, whole, all);
    window->state = is_all (window->bits, all, true) ? ALL_DATA : is_all (window->bits, all, false) ? ALL_HOLE : MIXED;
    if (window->state == MIXED)
        return true;
    free (window->bits);
    window->bits = NULL;
    return true;
}

void
vddk_map_run (const struct vddk_map *map, uint64_t sector, uint64_t *sectors, bool *data)
{
    const struct window *window = &map->windows[sector / WINDOW_SECTORS];
    uint64_t first = sector / WINDOW_SECTORS * WINDOW_SECTORS, within = smaller (WINDOW_SECTORS, map->capacity - first),
             chunk = (sector - first) / VDDK_CHUNK_SECTORS,
             chunks = (within + VDDK_CHUNK_SECTORS - 1) / VDDK_CHUNK_SECTORS;
    if (window->state != MIXED)
    {
        *data = window->state != ALL_HOLE;
        *sectors = within - (sector - first);
        return;
    }
    *data = (window->bits[chunk / 8] >> chunk % 8) & 1;
    while (chunk < chunks && ((window->bits[chunk / 8] >> chunk % 8) & 1) == *data)
        chunk++;
    *sectors = smaller (chunk * VDDK_CHUNK_SECTORS, within) - (sector - first);
}
