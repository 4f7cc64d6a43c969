/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a reader waits for, in the parts that the library gets to see. Only vddk-disk.c uses this; its lock guards all.
 */
#pragma once
#include "vddk-error.h"
#include <pthread.h>
#include <stdint.h>

struct vddk_disk;

enum vddk_job_kind
{
    VDDK_JOB_OPEN, /* the size is wanted */
    VDDK_JOB_READ,
    VDDK_JOB_MAP, /* the window of the map that has `sector` */
};

enum vddk_job_state
{
    VDDK_JOB_QUEUED,
    VDDK_JOB_FLYING, /* the library has it */
    VDDK_JOB_LOST,   /* the library has it, and nobody counts on an answer any more */
    VDDK_JOB_LANDED, /* the library is done with it, we are not */
    VDDK_JOB_DONE,
};

/* On the stack of who waits. */
struct vddk_request
{
    pthread_cond_t changed;
    unsigned pending; /* jobs */
    bool failed;
    struct vddk_error error;
};

struct vddk_job
{
    struct vddk_job *next; /* in the queue, among the landed, or among the idle */
    struct vddk_job *sibling;
    struct vddk_request *request; /* NULL: nobody waits any more */
    struct vddk_disk *disk;
    enum vddk_job_kind kind;
    enum vddk_job_state state;
    uint64_t sector, sectors; /* of a read: what is to be read yet is [sector + got, sector + sectors) */
    uint64_t got, asked;      /* asked: what the library has of it now */
    uint64_t code;
    int64_t since_ms; /* in flight */
    uint8_t *bytes;
    size_t room;
};

/* First in, first out. */
struct vddk_job_queue
{
    struct vddk_job *first, *last;
};

void vddk_job_push (struct vddk_job_queue *queue, struct vddk_job *job);
void vddk_job_push_front (struct vddk_job_queue *queue, struct vddk_job *job);
struct vddk_job *vddk_job_pop (struct vddk_job_queue *queue);
void vddk_job_remove (struct vddk_job_queue *queue, struct vddk_job *job);

/* Buffers that were used once are worth keeping: to fault in a fresh one costs more than to read into it. */
struct vddk_job_pool
{
    struct vddk_job_queue idle;
    size_t bytes, bytes_max;
};

/* With room for SIZE bytes. NULL: no memory. */
struct vddk_job *vddk_job_new (struct vddk_job_pool *pool, size_t size);
void vddk_job_recycle (struct vddk_job_pool *pool, struct vddk_job *job);
void vddk_job_free_all (struct vddk_job_pool *pool);
