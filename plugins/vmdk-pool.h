/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Workers that inflate grains, and remember the last one each.
 *
 * A request takes a worker for each grain, in nbdkit's own thread: as many grains are inflated at once as requests are
 * in flight, 64 at most. A grain that is read whole goes straight to the reader's buffer. Of a grain that is read in
 * part all is inflated into the worker, which keeps it: the next part costs a copy. Any thread.
 */
#pragma once
#include "vmdk-parse.h"

struct vmdk_pool;
struct vmdk_worker;

/* Gives the deflated bytes of grain INDEX: in vmdk_worker_room(), or where they lie anyhow and stay until the read is
   over. */
typedef bool (*vmdk_fetch_fn) (void *data, uint64_t index, struct vmdk_worker *worker, const uint8_t **bytes,
                               size_t *size, struct vmdk_error *error);

struct vmdk_pool *vmdk_pool_new (const struct vmdk_header *header);
void vmdk_pool_free (struct vmdk_pool *pool);

/* LENGTH bytes of grain INDEX, beginning WITHIN it, all of them the guest's. FETCH is not called for a grain that a
   worker has. */
bool vmdk_pool_read (struct vmdk_pool *pool, uint64_t index, uint32_t within, uint32_t length, uint8_t *out,
                     vmdk_fetch_fn fetch, void *data, struct vmdk_error *error);

/* At least SIZE bytes; what was in it stays. NULL: no memory. */
uint8_t *vmdk_worker_room (struct vmdk_worker *worker, size_t size);
