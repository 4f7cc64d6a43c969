/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What vddk-disk.c (who waits) and vddk-disk-thread.c (who works) share. One lock guards all of it; it is never held
 * while the library is called.
 */
#pragma once
#include "vddk-disk.h"
#include "vddk-job.h"

#include <time.h>

enum
{
    VDDK_TICK_MS = 300, /* how often who waits looks around */
    VDDK_STOP_S = 10,   /* what is in flight at the end may take */
};

struct vddk_disk
{
    pthread_mutex_t lock;
    pthread_cond_t work; /* for the disk's thread */
    pthread_t thread;
    struct vddk_disk_options options; /* request_bytes and in_flight_bytes shrink as we learn */
    struct vddk_session session;      /* the disk's thread's; capacity_sectors does not change once it is known */
    struct vddk_job_queue queue, landed;
    struct vddk_job_pool pool;
    unsigned flying, lost;
    uint64_t flying_bytes;
    bool is_open, has_slot, is_closing, is_refused, is_size_known, was_read, is_stopping, is_clean;
    int64_t call_since_ms; /* the disk's thread is in the library; 0: it is not */
    int64_t progress_ms;   /* something came back last */
    int64_t used_ms;       /* there was something to do last */
    int64_t no_room_since_ms, retry_at_ms;
    int64_t slot_since_ms; /* it waits for a slot; 0: it does not */
    struct vddk_mark mark; /* the disk's thread's */
    int clients;
    unsigned refusals;
    struct vddk_map *map;
    unsigned map_failures;
    bool map_answered;
};

static inline int64_t
vddk_now_ms (void)
{
    struct timespec now;
    clock_gettime (CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C (1000) + now.tv_nsec / 1000000;
}

/* With the lock; CONDITION's clock is the monotonic one. */
static inline void
vddk_wait_until (struct vddk_disk *disk, pthread_cond_t *condition, int64_t at_ms)
{
    struct timespec until = { .tv_sec = at_ms / 1000, .tv_nsec = at_ms % 1000 * 1000000 };
    pthread_cond_timedwait (condition, &disk->lock, &until);
}

/* The disk's thread; DATA is the disk. Ends after is_stopping was set and the session was closed (is_clean). */
void *vddk_disk_work (void *data);
