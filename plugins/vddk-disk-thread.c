/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The disk's thread: one step() after the other, and every call of the library. */
#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "vddk-disk-state.h"

#include <stdio.h>
#include <string.h>

enum
{
    SLOT_POLL_MS = 100,
    WANTED_POLL_MS = 100,
    IN_USE_MS = 500,   /* after its last read a disk with clients counts as in use: to open it again takes a second */
    BACK_OFF_MS = 250, /* doubled with each refusal, up to */
    BACK_OFF_MAX_MS = 5000,
    BYTES_MIN = 64 * 1024, /* of a request, however short the host is of memory */
    MAP_FAILURES_MAX = 3,
};

static void
leave_for_library (struct vddk_disk *disk)
{
    disk->call_since_ms = vddk_now_ms ();
    pthread_mutex_unlock (&disk->lock);
}

static void
return_from_library (struct vddk_disk *disk)
{
    pthread_mutex_lock (&disk->lock);
    disk->call_since_ms = 0;
    disk->progress_ms = vddk_now_ms ();
}

/* JOB is over: who waits has what it wanted, or ERROR. */
static void
finish (struct vddk_disk *disk, struct vddk_job *job, const struct vddk_error *error)
{
    struct vddk_request *request = job->request;
    job->state = VDDK_JOB_DONE;
    if (!request)
    {
        vddk_job_recycle (&disk->pool, job);
        return;
    }
    request->pending--;
    if (error && !request->failed)
    {
        request->failed = true;
        request->error = *error;
    }
    if (request->pending == 0 || request->failed)
        pthread_cond_signal (&request->changed);
}

static void
fail_queued (struct vddk_disk *disk, const struct vddk_error *error)
{
    for (struct vddk_job *job; (job = vddk_job_pop (&disk->queue));)
        finish (disk, job, error);
}

/* --- reads: called by the library's threads, or by the disk's own --- */

static void
land (void *data, vddk_code code)
{
    struct vddk_job *job = data;
    struct vddk_disk *disk = job->disk;
    pthread_mutex_lock (&disk->lock);
    disk->progress_ms = vddk_now_ms ();
    if (job->state == VDDK_JOB_LOST)
    {
        disk->lost--;
        vddk_job_recycle (&disk->pool, job);
    }
    else
    {
        disk->flying--;
        disk->flying_bytes -= job->asked * VDDK_SECTOR;
        job->state = VDDK_JOB_LANDED;
        job->code = code;
        if (code == VDDK_OK)
        {
            job->got += job->asked;
            disk->was_read = true;
            disk->no_room_since_ms = 0;
            disk->refusals = 0;
        }
        if (code == VDDK_OK && job->got == job->sectors)
            finish (disk, job, NULL);
        else
            vddk_job_push (&disk->landed, job);
    }
    if (disk->queue.first || disk->landed.first || disk->is_closing || disk->is_stopping || disk->flying == 0)
        pthread_cond_signal (&disk->work);
    pthread_mutex_unlock (&disk->lock);
}

/* --- the disk's thread: each of these is entered with the lock and leaves with it --- */

/* A read that failed, or of which a part is still to be read. */
static void
settle_one (struct vddk_disk *disk)
{
    struct vddk_job *job = vddk_job_pop (&disk->landed);
    struct vddk_error error;
    bool is_first = !disk->was_read;
    if (job->code == VDDK_OK && job->request)
    {
        job->state = VDDK_JOB_QUEUED;
        vddk_job_push_front (&disk->queue, job);
        return;
    }
    if (job->code == VDDK_OK)
    {
        finish (disk, job, NULL);
        return;
    }
    leave_for_library (disk);
    enum vddk_outcome outcome = vddk_session_judge_read (&disk->session, job->code, is_first, &error);
    return_from_library (disk);
    /* After an error the handle is not trusted: what comes next gets a new one. */
    disk->is_closing = true;
    if (outcome == VDDK_REFUSED && job->request)
    {
        nbdkit_debug ("no room: %s", error.text);
        disk->is_refused = true;
        job->state = VDDK_JOB_QUEUED;
        vddk_job_push_front (&disk->queue, job);
    }
    else
        finish (disk, job, &error);
}

/* --- waiting: for room on the host, and for a slot that another disk of ours has --- */

static const char *
server_of (const struct vddk_disk *disk)
{
    return disk->session.target->server ? disk->session.target->server : "the host";
}

static void
set_mark (struct vddk_disk *disk, const char *text)
{
    pthread_mutex_unlock (&disk->lock);
    if (vddk_mark_set (&disk->mark, text))
        nbdkit_debug ("%s", text);
    pthread_mutex_lock (&disk->lock);
}

/* It goes on, or nobody wants it any more. */
static void
end_wait (struct vddk_disk *disk)
{
    disk->slot_since_ms = 0;
    pthread_mutex_unlock (&disk->lock);
    vddk_mark_clear (&disk->mark);
    if (disk->options.slots)
        vddk_slots_stop_waiting (disk->options.slots);
    pthread_mutex_lock (&disk->lock);
}

static void
wait_for_room (struct vddk_disk *disk, int64_t delay_ms, const char *why)
{
    int64_t now = vddk_now_ms ();
    if (disk->no_room_since_ms == 0)
        disk->no_room_since_ms = now;
    int64_t waited_s = (now - disk->no_room_since_ms) / 1000;
    disk->retry_at_ms = now + delay_ms;
    if (waited_s < disk->options.patience_s)
    {
        char text[sizeof disk->mark.text];
        snprintf (text, sizeof text, "waiting for room on %s, which has too much open already, ours or a backup's",
                  disk->options.slots ? vddk_slots_get_host (disk->options.slots) : server_of (disk));
        set_mark (disk, text);
        return;
    }
    struct vddk_error error;
    vddk_fail (&error,
               "no room to open '%s' on %s for %lld s (patience=%u): other disks are open there, ours or a backup's; "
               "let fewer be read at a time%s%s",
               disk->session.target->file, server_of (disk), (long long)waited_s, disk->options.patience_s,
               *why ? ". Last: " : "", why);
    disk->no_room_since_ms = 0;
    fail_queued (disk, &error);
}

static void
describe_taken (const struct vddk_disk *disk, const struct vddk_slots_taken *taken, char *text, size_t size)
{
    char theirs[64] = "", ours[64] = "";
    if (taken->owners > 0)
        snprintf (theirs, sizeof theirs, "%u other import%s", taken->owners, taken->owners == 1 ? "" : "s");
    if (taken->ours > 0)
        snprintf (ours, sizeof ours, "%u other disk%s of this one", taken->ours, taken->ours == 1 ? "" : "s");
    snprintf (text, size, "waiting for one of %u disk connections of %s, held by %s%s%s", taken->limit,
              vddk_slots_get_host (disk->options.slots), theirs, *theirs && *ours ? " and " : "",
              *theirs || *ours ? ours : "others");
}

/* No failure: who has them gives them back. How long the host bore others of ours does not count against its patience.
 */
static void
wait_for_slot (struct vddk_disk *disk, const struct vddk_slots_taken *taken)
{
    char text[sizeof disk->mark.text];
    int64_t now = vddk_now_ms ();
    describe_taken (disk, taken, text, sizeof text);
    if (disk->slot_since_ms == 0)
        disk->slot_since_ms = now;
    disk->no_room_since_ms = 0;
    disk->retry_at_ms = now + SLOT_POLL_MS;
    if (disk->options.slots_wait_s == 0 || now - disk->slot_since_ms < disk->options.slots_wait_s * INT64_C (1000))
    {
        set_mark (disk, text);
        return;
    }
    struct vddk_error error;
    vddk_fail (&error, "'%s' was not opened within the %u s that it may wait (slots-wait=): %s",
               disk->session.target->file, disk->options.slots_wait_s, text);
    fail_queued (disk, &error);
}

/* The host refused, at the opening or at a read: less of everything. */
static void
learn_refusal (struct vddk_disk *disk, bool by_read, const char *why)
{
    int64_t delay_ms = (int64_t)BACK_OFF_MS << (disk->refusals < 5 ? disk->refusals : 5);
    disk->refusals++;
    if (by_read && disk->options.in_flight_bytes > BYTES_MIN)
        disk->options.in_flight_bytes /= 2;
    if (disk->options.request_bytes > disk->options.in_flight_bytes)
        disk->options.request_bytes = (uint32_t)disk->options.in_flight_bytes;
    if (disk->has_slot)
        vddk_slots_lower (disk->options.slots);
    disk->has_slot = false;
    nbdkit_debug ("the host has no room: %llu bytes in flight, %u at a time from now on, %u slots",
                  (unsigned long long)disk->options.in_flight_bytes, disk->options.request_bytes,
                  disk->options.slots ? vddk_slots_get_limit (disk->options.slots) : 0);
    wait_for_room (disk, delay_ms < BACK_OFF_MAX_MS ? delay_ms : BACK_OFF_MAX_MS, why);
}

static void
give_slot_back (struct vddk_disk *disk)
{
    if (disk->has_slot)
        vddk_slots_give_back (disk->options.slots);
    disk->has_slot = false;
}

static void
close_session (struct vddk_disk *disk)
{
    leave_for_library (disk);
    vddk_session_close (&disk->session);
    return_from_library (disk);
    disk->is_open = disk->is_closing = false;
    if (disk->is_refused)
        learn_refusal (disk, true, "");
    else
        give_slot_back (disk);
    disk->is_refused = false;
}

static bool
take_slot (struct vddk_disk *disk)
{
    struct vddk_error error;
    struct vddk_slots_taken who;
    if (!disk->options.slots || disk->has_slot)
        return true;
    pthread_mutex_unlock (&disk->lock);
    bool taken = vddk_slots_take (disk->options.slots, &who, &error);
    pthread_mutex_lock (&disk->lock);
    disk->has_slot = taken;
    if (!taken && error.text[0])
        fail_queued (disk, &error);
    else if (!taken)
        wait_for_slot (disk, &who);
    return taken;
}

/* What the caller knows of the disk must hold: its clients go by it. */
static void
check_capacity (struct vddk_disk *disk)
{
    struct vddk_error error;
    uint64_t bytes = disk->session.capacity_sectors * VDDK_SECTOR;
    if (disk->options.capacity_bytes == 0 || disk->options.capacity_bytes == bytes)
        return;
    vddk_fail (&error, "'%s' of %s has %llu bytes, not %llu: it was resized meanwhile; begin anew",
               disk->session.target->file, server_of (disk), (unsigned long long)bytes,
               (unsigned long long)disk->options.capacity_bytes);
    disk->is_closing = true;
    fail_queued (disk, &error);
}

static void
open_session (struct vddk_disk *disk)
{
    struct vddk_error error;
    if (vddk_now_ms () < disk->retry_at_ms)
    {
        vddk_wait_until (disk, &disk->work, disk->retry_at_ms);
        return;
    }
    if (!take_slot (disk))
        return;
    end_wait (disk);
    leave_for_library (disk);
    enum vddk_outcome outcome = vddk_session_open (&disk->session, &error);
    return_from_library (disk);
    disk->is_open = outcome == VDDK_GOOD;
    if (outcome == VDDK_GOOD && !disk->map)
        disk->map = vddk_map_new (disk->session.capacity_sectors);
    disk->is_size_known |= outcome == VDDK_GOOD;
    if (outcome == VDDK_GOOD)
        check_capacity (disk);
    if (outcome == VDDK_REFUSED)
    {
        nbdkit_debug ("no room: %s", error.text);
        learn_refusal (disk, false, error.text);
    }
    else if (outcome == VDDK_FAILED)
    {
        give_slot_back (disk);
        fail_queued (disk, &error);
    }
}

/* The answer is never an error: where it is not known what is allocated, all is. */
static void
answer_map (struct vddk_disk *disk, uint64_t sector)
{
    struct vddk_block_list *list = NULL;
    struct vddk_error error;
    uint64_t first, count;
    if (vddk_map_is_known (disk->map, sector) || !vddk_map_question (disk->map, sector, &first, &count))
        return;
    bool asks = disk->map_failures < (disk->map_answered ? MAP_FAILURES_MAX : 1)
                && disk->session.library->api.QueryAllocatedBlocks && disk->session.library->api.FreeBlockList;
    if (asks)
    {
        leave_for_library (disk);
        bool good = vddk_session_query (&disk->session, first, count, &list, &error);
        return_from_library (disk);
        disk->map_answered |= good;
        if (!good && disk->map_failures++ == 0)
            nbdkit_error ("warning: %s: what is not known to be a hole is read", error.text);
    }
    vddk_map_answer (disk->map, sector, list);
    if (list)
        disk->session.library->api.FreeBlockList (list);
}

static void
launch (struct vddk_disk *disk, struct vddk_job *job)
{
    uint64_t most = disk->options.request_bytes / VDDK_SECTOR, left = job->sectors - job->got;
    job->asked = left < most ? left : most;
    job->state = VDDK_JOB_FLYING;
    job->since_ms = disk->progress_ms = vddk_now_ms ();
    disk->flying++;
    disk->flying_bytes += job->asked * VDDK_SECTOR;
    leave_for_library (disk);
    vddk_session_read (&disk->session, job->sector + job->got, job->asked, job->bytes + job->got * VDDK_SECTOR, land,
                       job);
    /* Perhaps JOB is somebody else's already. */
    return_from_library (disk);
}

static bool
fits (const struct vddk_disk *disk, const struct vddk_job *job)
{
    uint64_t bytes = (job->sectors - job->got) * VDDK_SECTOR;
    if (bytes > disk->options.request_bytes)
        bytes = disk->options.request_bytes;
    return job->kind != VDDK_JOB_READ || disk->flying == 0
           || (disk->flying < disk->options.in_flight && disk->flying_bytes + bytes <= disk->options.in_flight_bytes);
}

static void
do_one (struct vddk_disk *disk)
{
    struct vddk_job *job = vddk_job_pop (&disk->queue);
    if (job->kind == VDDK_JOB_READ)
    {
        launch (disk, job);
        return;
    }
    /* Nobody may take it from the queue while the library is asked. */
    job->state = VDDK_JOB_LANDED;
    if (job->kind == VDDK_JOB_MAP && disk->map)
        answer_map (disk, job->sector);
    finish (disk, job, NULL);
}

/* When the disk may be closed, as nobody reads it. */
static int64_t
close_at_ms (const struct vddk_disk *disk)
{
    int64_t last_ms = disk->used_ms > disk->progress_ms ? disk->used_ms : disk->progress_ms;
    if (disk->has_slot && vddk_slots_is_wanted (disk->options.slots))
        return disk->clients > 0 ? last_ms + IN_USE_MS : 0;
    return disk->options.idle_close_s > 0 ? disk->used_ms + disk->options.idle_close_s * INT64_C (1000) : INT64_MAX;
}

static void
rest (struct vddk_disk *disk)
{
    disk->no_room_since_ms = 0;
    if (disk->slot_since_ms != 0 || disk->mark.text[0])
    {
        end_wait (disk);
        return; /* there may be something to do now */
    }
    if (!disk->is_open || disk->lost > 0 || (disk->options.idle_close_s == 0 && !disk->has_slot))
    {
        pthread_cond_wait (&disk->work, &disk->lock);
        return;
    }
    int64_t now = vddk_now_ms (), close_at = close_at_ms (disk), look_at = now + WANTED_POLL_MS;
    if (now >= close_at)
        close_session (disk);
    else
        vddk_wait_until (disk, &disk->work, disk->has_slot && look_at < close_at ? look_at : close_at);
}

static void
step (struct vddk_disk *disk)
{
    bool is_quiet = disk->flying == 0 && !disk->landed.first;
    if (disk->landed.first)
        settle_one (disk);
    else if (disk->is_closing && is_quiet && disk->lost == 0)
        close_session (disk);
    else if (disk->is_closing && is_quiet)
        disk->is_closing = false; /* Wait would wait for what is lost: the handle has to do */
    else if (!disk->queue.first && is_quiet)
        rest (disk);
    else if (disk->is_closing || !disk->queue.first || (disk->is_open && !fits (disk, disk->queue.first)))
        pthread_cond_wait (&disk->work, &disk->lock);
    else if (!disk->is_open)
        open_session (disk);
    else
        do_one (disk);
}

void *
vddk_disk_work (void *data)
{
    struct vddk_disk *disk = data;
    pthread_mutex_lock (&disk->lock);
    while (!disk->is_stopping)
        step (disk);
    int64_t until = vddk_now_ms () + VDDK_STOP_S * INT64_C (1000);
    while (disk->flying > 0 && vddk_now_ms () < until)
        vddk_wait_until (disk, &disk->work, vddk_now_ms () + VDDK_TICK_MS);
    if (disk->flying == 0 && disk->lost == 0)
    {
        disk->is_refused = false;
        close_session (disk);
        disk->is_clean = true;
    }
    end_wait (disk);
    give_slot_back (disk);
    pthread_mutex_unlock (&disk->lock);
    return NULL;
}
