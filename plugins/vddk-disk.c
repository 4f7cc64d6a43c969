/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vddk-disk.h: nbdkit's threads put jobs in the queue and wait for them. */
#include "vddk-disk-state.h"

#include <stdlib.h>
#include <string.h>

static bool
is_hung (const struct vddk_disk *disk, const struct vddk_job *jobs)
{
    int64_t limit = vddk_now_ms () - disk->options.io_timeout_s * INT64_C (1000);
    if ((disk->call_since_ms != 0 && disk->call_since_ms < limit) || (disk->flying > 0 && disk->progress_ms < limit))
        return true;
    for (; jobs; jobs = jobs->sibling)
        if (jobs->state == VDDK_JOB_FLYING && jobs->since_ms < limit)
            return true;
    return false;
}

/* REQUEST ends with its JOBS where they are. */
static void
disown (struct vddk_disk *disk, struct vddk_job *jobs)
{
    int64_t limit = vddk_now_ms () - disk->options.io_timeout_s * INT64_C (1000);
    for (struct vddk_job *job = jobs, *next; job; job = next)
    {
        next = job->sibling;
        job->request = NULL;
        if (job->state == VDDK_JOB_QUEUED)
            vddk_job_remove (&disk->queue, job);
        if (job->state == VDDK_JOB_QUEUED || job->state == VDDK_JOB_DONE)
            vddk_job_recycle (&disk->pool, job);
        else if (job->state == VDDK_JOB_FLYING && job->since_ms < limit)
        {
            job->state = VDDK_JOB_LOST;
            disk->lost++;
            disk->flying--;
            disk->flying_bytes -= job->asked * VDDK_SECTOR;
        }
    }
    pthread_cond_signal (&disk->work);
}

static void
wait_for (struct vddk_disk *disk, struct vddk_request *request, struct vddk_job *jobs)
{
    while (request->pending > 0 && !request->failed)
    {
        vddk_wait_until (disk, &request->changed, vddk_now_ms () + VDDK_TICK_MS);
        if (request->pending == 0 || request->failed)
            return;
        pthread_mutex_unlock (&disk->lock);
        bool gives_up = disk->options.give_up ();
        pthread_mutex_lock (&disk->lock);
        if (request->pending == 0 || request->failed)
            return;
        request->failed = gives_up || is_hung (disk, jobs);
        if (gives_up)
            vddk_fail (&request->error, "given up: the connection or the server ends");
        else if (request->failed)
            vddk_fail (
                &request->error,
                "VDDK has not answered for %u s (io-timeout=) while '%s' of %s was read: the server, the ESXi host "
                "or the network between is stuck",
                disk->options.io_timeout_s, disk->session.target->file,
                disk->session.target->server ? disk->session.target->server : "this host");
    }
}

static void
init_request (struct vddk_request *request)
{
    pthread_condattr_t monotonic;
    *request = (struct vddk_request){ 0 };
    pthread_condattr_init (&monotonic);
    pthread_condattr_setclock (&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init (&request->changed, &monotonic);
    pthread_condattr_destroy (&monotonic);
}

/* With the lock. */
static struct vddk_job *
add_job (struct vddk_disk *disk, struct vddk_request *request, enum vddk_job_kind kind, uint64_t sector,
         uint64_t sectors)
{
    struct vddk_job *job = vddk_job_new (&disk->pool, (size_t)(sectors * VDDK_SECTOR));
    if (!job)
        return NULL;
    job->disk = disk;
    job->request = request;
    job->kind = kind;
    job->sector = sector;
    job->sectors = sectors;
    request->pending++;
    disk->used_ms = vddk_now_ms ();
    vddk_job_push (&disk->queue, job);
    pthread_cond_signal (&disk->work);
    return job;
}

/* One job without bytes, and its end. With the lock. */
static bool
do_and_wait (struct vddk_disk *disk, enum vddk_job_kind kind, uint64_t sector, struct vddk_error *error)
{
    struct vddk_request request;
    init_request (&request);
    struct vddk_job *job = add_job (disk, &request, kind, sector, 0);
    if (!job)
        return vddk_fail (error, "no memory");
    wait_for (disk, &request, job);
    disown (disk, job);
    pthread_cond_destroy (&request.changed);
    *error = request.error;
    return !request.failed;
}

void
vddk_disk_count_client (struct vddk_disk *disk, int change)
{
    pthread_mutex_lock (&disk->lock);
    disk->clients += change;
    pthread_cond_signal (&disk->work);
    pthread_mutex_unlock (&disk->lock);
}

bool
vddk_disk_get_size (struct vddk_disk *disk, uint64_t *bytes, struct vddk_error *error)
{
    if (disk->options.capacity_bytes)
        return *bytes = disk->options.capacity_bytes, true;
    pthread_mutex_lock (&disk->lock);
    bool good = disk->is_size_known || do_and_wait (disk, VDDK_JOB_OPEN, 0, error);
    *bytes = disk->session.capacity_sectors * VDDK_SECTOR;
    pthread_mutex_unlock (&disk->lock);
    return good;
}

/* The jobs of a read, whole sectors of it; NULL with the request failed. */
static struct vddk_job *
add_reads (struct vddk_disk *disk, struct vddk_request *request, uint64_t sector, uint64_t end)
{
    struct vddk_job *first = NULL, **tail = &first;
    uint64_t most = disk->options.request_bytes / VDDK_SECTOR;
    while (sector < end)
    {
        uint64_t part = end - sector < most ? end - sector : most;
        *tail = add_job (disk, request, VDDK_JOB_READ, sector, part);
        if (!*tail)
        {
            request->failed = true;
            vddk_fail (&request->error, "no memory for a read of %llu bytes", (unsigned long long)(part * VDDK_SECTOR));
            break;
        }
        tail = &(*tail)->sibling;
        sector += part;
    }
    return first;
}

/* What of [OFFSET, +LENGTH) lies in JOBS goes to OUT. */
static void
copy_out (const struct vddk_job *jobs, uint8_t *out, uint64_t offset, uint32_t length)
{
    for (; jobs; jobs = jobs->sibling)
    {
        uint64_t begin = jobs->sector * VDDK_SECTOR, end = begin + jobs->sectors * VDDK_SECTOR,
                 from = begin > offset ? begin : offset, to = end < offset + length ? end : offset + length;
        memcpy (out + (from - offset), jobs->bytes + (from - begin), (size_t)(to - from));
    }
}

bool
vddk_disk_read (struct vddk_disk *disk, uint8_t *out, uint64_t offset, uint32_t length, struct vddk_error *error)
{
    struct vddk_request request;
    init_request (&request);
    pthread_mutex_lock (&disk->lock);
    struct vddk_job *jobs =
        add_reads (disk, &request, offset / VDDK_SECTOR, (offset + length + VDDK_SECTOR - 1) / VDDK_SECTOR);
    wait_for (disk, &request, jobs);
    if (!request.failed)
    {
        pthread_mutex_unlock (&disk->lock);
        copy_out (jobs, out, offset, length);
        pthread_mutex_lock (&disk->lock);
    }
    disown (disk, jobs);
    pthread_mutex_unlock (&disk->lock);
    pthread_cond_destroy (&request.changed);
    *error = request.error;
    return !request.failed;
}

bool
vddk_disk_run (struct vddk_disk *disk, uint64_t offset, uint64_t *length, bool *data, struct vddk_error *error)
{
    uint64_t sector = offset / VDDK_SECTOR, sectors = 1;
    pthread_mutex_lock (&disk->lock);
    bool good = (disk->map && vddk_map_is_known (disk->map, sector)) || do_and_wait (disk, VDDK_JOB_MAP, sector, error);
    if (good && disk->map)
        vddk_map_run (disk->map, sector, &sectors, data);
    else if (good)
        good = vddk_fail (error, "no memory for the map of '%s'", disk->session.target->file);
    pthread_mutex_unlock (&disk->lock);
    *length = (sector + sectors) * VDDK_SECTOR - offset;
    return good;
}

struct vddk_disk *
vddk_disk_start (const struct vddk_library *library, const struct vddk_target *target,
                 const struct vddk_disk_options *options, struct vddk_error *error)
{
    struct vddk_disk *disk = calloc (1, sizeof *disk);
    pthread_condattr_t monotonic;
    if (!disk)
    {
        vddk_fail (error, "no memory");
        return NULL;
    }
    disk->options = *options;
    disk->pool.bytes_max = options->in_flight_bytes;
    disk->mark.path = options->mark_path;
    disk->session = (struct vddk_session){ .library = library, .target = target };
    pthread_mutex_init (&disk->lock, NULL);
    pthread_condattr_init (&monotonic);
    pthread_condattr_setclock (&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init (&disk->work, &monotonic);
    pthread_condattr_destroy (&monotonic);
    int failed = pthread_create (&disk->thread, NULL, vddk_disk_work, disk);
    if (failed == 0)
        return disk;
    vddk_fail (error, "cannot start a thread: %s", strerror (failed));
    free (disk);
    return NULL;
}

bool
vddk_disk_stop (struct vddk_disk *disk)
{
    struct timespec until;
    pthread_mutex_lock (&disk->lock);
    bool hangs = is_hung (disk, NULL);
    disk->is_stopping = true;
    pthread_cond_signal (&disk->work);
    pthread_mutex_unlock (&disk->lock);
    clock_gettime (CLOCK_REALTIME, &until);
    until.tv_sec += hangs ? 1 : 2 * VDDK_STOP_S;
    /* Where the library hangs, its threads and ours use the memory until the process ends. */
    if (pthread_timedjoin_np (disk->thread, NULL, &until) != 0 || !disk->is_clean)
        return false;
    vddk_slots_free (disk->options.slots);
    vddk_map_free (disk->map);
    vddk_job_free_all (&disk->pool);
    pthread_cond_destroy (&disk->work);
    pthread_mutex_destroy (&disk->lock);
    free (disk);
    return true;
}
