/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vddk-job.h */
#include "vddk-job.h"

#include <stdlib.h>

enum
{
    BUFFER_ALIGNMENT = 4096,
};

void
vddk_job_push (struct vddk_job_queue *queue, struct vddk_job *job)
{
    job->next = NULL;
    if (queue->last)
        queue->last->next = job;
    else
        queue->first = job;
    queue->last = job;
}

void
vddk_job_push_front (struct vddk_job_queue *queue, struct vddk_job *job)
{
    job->next = queue->first;
    queue->first = job;
    if (!queue->last)
        queue->last = job;
}

struct vddk_job *
vddk_job_pop (struct vddk_job_queue *queue)
{
    struct vddk_job *job = queue->first;
    if (!job)
        return NULL;
    queue->first = job->next;
    if (!queue->first)
        queue->last = NULL;
    return job;
}

void
vddk_job_remove (struct vddk_job_queue *queue, struct vddk_job *job)
{
    struct vddk_job *before = NULL;
    for (struct vddk_job *at = queue->first; at; before = at, at = at->next)
    {
        if (at != job)
            continue;
        if (before)
            before->next = at->next;
        else
            queue->first = at->next;
        if (queue->last == at)
            queue->last = before;
        return;
    }
}

static void
free_one (struct vddk_job *job)
{
    free (job->bytes);
    free (job);
}

static struct vddk_job *
take_idle (struct vddk_job_pool *pool, size_t size)
{
    for (struct vddk_job *job = pool->idle.first; job; job = job->next)
        if (job->room >= size)
        {
            uint8_t *bytes = job->bytes;
            size_t room = job->room;
            vddk_job_remove (&pool->idle, job);
            pool->bytes -= room;
            *job = (struct vddk_job){ .bytes = bytes, .room = room };
            return job;
        }
    return NULL;
}

struct vddk_job *
vddk_job_new (struct vddk_job_pool *pool, size_t size)
{
    struct vddk_job *job = take_idle (pool, size);
    if (!job)
        job = calloc (1, sizeof *job);
    if (!job || job->room >= size)
        return job;
    if (posix_memalign ((void **)&job->bytes, BUFFER_ALIGNMENT, size) != 0)
    {
        free (job);
        return NULL;
    }
    job->room = size;
    return job;
}

void
vddk_job_recycle (struct vddk_job_pool *pool, struct vddk_job *job)
{
    if (pool->bytes + job->room > pool->bytes_max || job->room == 0)
    {
        free_one (job);
        return;
    }
    pool->bytes += job->room;
    vddk_job_push_front (&pool->idle, job);
}

void
vddk_job_free_all (struct vddk_job_pool *pool)
{
    for (struct vddk_job *job; (job = vddk_job_pop (&pool->idle));)
        free_one (job);
    pool->bytes = 0;
}
