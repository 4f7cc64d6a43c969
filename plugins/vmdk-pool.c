/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmdk-pool.h"

#include <inttypes.h>
#include <libdeflate.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum
{
    WORKERS_MAX = 64,
    WORKERS_KEPT = 8, /* before one that is idle is used for another grain */
};

#define NO_GRAIN UINT64_MAX

struct vmdk_worker
{
    struct libdeflate_decompressor *inflater;
    uint8_t *room; /* deflated bytes */
    size_t room_size;
    uint8_t *grain; /* what `index` says, inflated */
    uint64_t index; /* under the pool's lock while idle; the one that has the worker changes it */
    uint64_t used;  /* when: the pool's clock */
    bool busy;
};

struct vmdk_pool
{
    pthread_mutex_t lock;
    pthread_cond_t idle;
    struct vmdk_header header;
    struct vmdk_worker workers[WORKERS_MAX];
    unsigned n_workers;
    uint64_t clock;
};

struct vmdk_pool *
vmdk_pool_new (const struct vmdk_header *header)
{
    struct vmdk_pool *pool = calloc (1, sizeof *pool);
    if (!pool)
        return NULL;
    pool->header = *header;
    pthread_mutex_init (&pool->lock, NULL);
    pthread_cond_init (&pool->idle, NULL);
    return pool;
}

void
vmdk_pool_free (struct vmdk_pool *pool)
{
    if (!pool)
        return;
    for (unsigned i = 0; i < pool->n_workers; i++)
    {
        libdeflate_free_decompressor (pool->workers[i].inflater);
        free (pool->workers[i].room);
        free (pool->workers[i].grain);
    }
    pthread_cond_destroy (&pool->idle);
    pthread_mutex_destroy (&pool->lock);
    free (pool);
}

uint8_t *
vmdk_worker_room (struct vmdk_worker *worker, size_t size)
{
    uint8_t *more = size > worker->room_size ? realloc (worker->room, size) : worker->room;
    if (more && size > worker->room_size)
    {
        worker->room = more;
        worker->room_size = size;
    }
    return more;
}

/* Who has the grain, idle or not; else the idle one whose grain was asked for longest ago. */
static struct vmdk_worker *
find_worker (struct vmdk_pool *pool, uint64_t index)
{
    struct vmdk_worker *oldest = NULL;
    for (unsigned i = 0; i < pool->n_workers; i++)
    {
        struct vmdk_worker *worker = &pool->workers[i];
        if (worker->index == index)
            return worker;
        if (!worker->busy && (!oldest || worker->used < oldest->used))
            oldest = worker;
    }
    bool enough = pool->n_workers == WORKERS_MAX || (oldest && pool->n_workers >= WORKERS_KEPT);
    return enough ? oldest : NULL;
}

/* Gives an idle worker, which is the caller's until give_worker(). With FILL it is on its way to that grain: who asks
   for the same meanwhile waits for it. */
static struct vmdk_worker *
take_worker (struct vmdk_pool *pool, uint64_t index, bool fill, bool *has)
{
    pthread_mutex_lock (&pool->lock);
    struct vmdk_worker *worker = find_worker (pool, index);
    while (worker ? worker->busy : pool->n_workers == WORKERS_MAX)
    {
        pthread_cond_wait (&pool->idle, &pool->lock);
        worker = find_worker (pool, index);
    }
    if (!worker)
    {
        worker = &pool->workers[pool->n_workers++];
        *worker = (struct vmdk_worker){ .index = NO_GRAIN };
    }
    *has = worker->index == index;
    worker->busy = true;
    worker->used = ++pool->clock;
    if (fill && !*has)
        worker->index = index;
    pthread_mutex_unlock (&pool->lock);
    return worker;
}

static void
give_worker (struct vmdk_pool *pool, struct vmdk_worker *worker, bool forget)
{
    pthread_mutex_lock (&pool->lock);
    worker->busy = false;
    if (forget)
        worker->index = NO_GRAIN;
    pthread_cond_broadcast (&pool->idle);
    pthread_mutex_unlock (&pool->lock);
}

static bool
prepare_worker (struct vmdk_worker *worker, size_t grain_bytes, bool fill, struct vmdk_error *error)
{
    if (!worker->inflater)
        worker->inflater = libdeflate_alloc_decompressor ();
    if (fill && !worker->grain)
        worker->grain = malloc (grain_bytes);
    return (worker->inflater && (!fill || worker->grain)) || vmdk_fail (error, "out of memory");
}

/* A whole grain into OUT, of grain_bytes. QEMU ends the last grain where the disk ends. */
static bool
inflate_grain (const struct vmdk_pool *pool, struct vmdk_worker *worker, uint64_t index, const uint8_t *bytes,
               size_t size, uint8_t *out, struct vmdk_error *error)
{
    size_t length = 0;
    uint64_t sector = index * (pool->header.grain_bytes / VMDK_SECTOR);
    switch (libdeflate_zlib_decompress (worker->inflater, bytes, size, out, pool->header.grain_bytes, &length))
    {
    case LIBDEFLATE_SUCCESS:
        break;
    case LIBDEFLATE_INSUFFICIENT_SPACE:
        return vmdk_fail (error, "the grain for sector %" PRIu64 " is damaged: it inflates to more than a grain",
                          sector);
    default:
        return vmdk_fail (error, "the grain for sector %" PRIu64 " is damaged: it cannot be inflated", sector);
    }
    uint32_t least = vmdk_grain_length (&pool->header, index);
    return length >= least
           || vmdk_fail (error, "the grain for sector %" PRIu64 " inflates to %zu bytes instead of %" PRIu32, sector,
                         length, least);
}

bool
vmdk_pool_read (struct vmdk_pool *pool, uint64_t index, uint32_t within, uint32_t length, uint8_t *out,
                vmdk_fetch_fn fetch, void *data, struct vmdk_error *error)
{
    size_t grain_bytes = pool->header.grain_bytes, size = 0;
    const uint8_t *bytes = NULL;
    bool fill = length < grain_bytes, has;
    struct vmdk_worker *worker = take_worker (pool, index, fill, &has);
    bool good =
        has
        || (prepare_worker (worker, grain_bytes, fill, error) && fetch (data, index, worker, &bytes, &size, error)
            && inflate_grain (pool, worker, index, bytes, size, fill ? worker->grain : out, error));
    if (good && (has || fill))
        memcpy (out, worker->grain + within, length);
    give_worker (pool, worker, fill && !good);
    return good;
}
