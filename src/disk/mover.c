/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The mover: see mover.h for the picture.
 *
 * Callbacks of libnbd run in this same thread, inside nbd_aio_notify_* and the calls that submit: they only mark slots,
 * and the main loop acts on the marks.
 */
#include "disk/mover.h"
#include "base/error.h"
#include "disk/nbd.h"
#include "disk/zero.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

enum
{
    CLUSTER_BYTES = 64 * 1024, /* qcow2's: what is written is whole clusters, so QEMU never reads to fill one */
    REQUEST_MIN_BYTES = 256 * 1024,
    REQUEST_MAX_BYTES = 1024 * 1024,
    SLOTS_MAX = 32,
    SLOTS_START = 4,
    CONNECTIONS_MAX = 8,
    CONNECTIONS_DEFAULT = 4,
    QUEUE_SLACK_US = 100 * 1000, /* how much longer than the shortest a request may take before it counts as queueing */
    FAST_US = 20 * 1000,         /* requests shorter than this may grow */
};

static const uint64_t WINDOW_BYTES = (uint64_t)1 << 30;

enum slot_state
{
    SLOT_FREE,
    SLOT_READING,
    SLOT_READ, /* its bytes are here, writes not yet sent */
    SLOT_WRITING,
};

struct mover;

struct slot
{
    struct mover *mover;
    enum slot_state state;
    uint64_t offset;
    size_t length;
    char *buffer;
    unsigned writes; /* in flight */
    int64_t started_us;
};

/* A stretch of the disk with what must be read in it. */
struct window
{
    uint64_t offset, length;
    struct vmf_extents *todo;
    uint64_t answered; /* up to where the source has told its extents */
    bool asked;
};

struct mover
{
    const struct vmf_mover_options *options;
    struct vmf_extents *needed; /* options->needed in whole clusters */
    struct nbd_handle *sources[CONNECTIONS_MAX], *targets[CONNECTIONS_MAX];
    unsigned n_sources, n_targets, next_source, next_target;
    bool source_extents;
    struct slot slots[SLOTS_MAX];
    unsigned in_flight, limit;
    size_t request_bytes;
    int64_t shortest_us;
    unsigned since_tuned;
    struct window now, ahead;
    uint64_t cursor, window_end; /* where the next request begins; where the next window begins */
    int failed_errno;            /* of the first failed command */
    bool failed_on_source;
};

static void
count (uint64_t *counter, uint64_t bytes)
{
    __atomic_add_fetch (counter, bytes, __ATOMIC_RELAXED);
}

/* ---- connections ---- */

static bool
connect_side (const struct vmf_mover_options *options, const char *uri, enum vmf_nbd_flags flags,
              struct nbd_handle **handles, unsigned *n_handles, GError **error)
{
    unsigned wanted = options->connections ? MIN (options->connections, CONNECTIONS_MAX) : CONNECTIONS_DEFAULT;
    for (*n_handles = 0; *n_handles < wanted; (*n_handles)++)
    {
        struct nbd_handle *nbd = vmf_nbd_connect (uri, options->name, flags, options->cancellable, error);
        if (!nbd)
            return false;
        handles[*n_handles] = nbd;
        if (nbd_can_multi_conn (nbd) <= 0)
            wanted = 1;
    }
    return true;
}

static bool
mover_connect (struct mover *mover, GError **error)
{
    const struct vmf_mover_options *options = mover->options;
    if (!connect_side (options, options->source_uri, VMF_NBD_EXTENTS, mover->sources, &mover->n_sources, error)
        || !connect_side (options, options->target_uri, options->skip_present ? VMF_NBD_DEPTH : VMF_NBD_NONE,
                          mover->targets, &mover->n_targets, error))
        return false;
    mover->source_extents = nbd_can_meta_context (mover->sources[0], LIBNBD_CONTEXT_BASE_ALLOCATION) == 1;
    if ((uint64_t)nbd_get_size (mover->sources[0]) < options->size_bytes)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT,
                     "%s: the source has become smaller: %" G_GINT64_FORMAT " bytes instead of %" G_GUINT64_FORMAT,
                     options->name, (gint64)nbd_get_size (mover->sources[0]), (guint64)options->size_bytes);
        return false;
    }
    return true;
}

static void
mover_clear (struct mover *mover)
{
    for (unsigned i = 0; i < mover->n_sources; i++)
        vmf_nbd_close (mover->sources[i]);
    for (unsigned i = 0; i < mover->n_targets; i++)
        vmf_nbd_close (mover->targets[i]);
    for (unsigned i = 0; i < SLOTS_MAX; i++)
        g_free (mover->slots[i].buffer);
    vmf_extents_free (mover->needed);
    vmf_extents_free (mover->now.todo);
    vmf_extents_free (mover->ahead.todo);
}

/* ---- windows ---- */

/* The needed ranges of WINDOW, before the source was asked. */
static void
window_fill (struct mover *mover, struct window *window)
{
    struct vmf_extent extent;
    uint64_t end = window->offset + window->length;
    for (uint64_t at = window->offset; vmf_extents_next (mover->needed, at, &extent) && extent.offset < end;
         at = extent.offset + extent.length)
    {
        extent.length = MIN (extent.length, end - extent.offset);
        vmf_extents_add (window->todo, extent.offset, extent.length);
    }
}

/* The next stretch in which anything is needed; length 0 past the last. */
static void
window_next (struct mover *mover, struct window *window)
{
    struct vmf_extent first;
    vmf_extents_free (window->todo);
    *window = (struct window){ .offset = mover->window_end, .answered = mover->window_end, .todo = vmf_extents_new () };
    if (!vmf_extents_next (mover->needed, mover->window_end, &first))
        return;
    window->offset = first.offset;
    window->length = MIN (WINDOW_BYTES, mover->options->size_bytes - first.offset);
    window->answered = window->offset;
    mover->window_end = window->offset + window->length;
    window_fill (mover, window);
    if (!mover->source_extents)
        window->answered = mover->window_end;
}

static int
on_extents (void *data, const char *context, uint64_t offset, uint32_t *entries, size_t n_entries, int *error)
{
    struct mover *mover = data;
    struct window *window = offset >= mover->ahead.offset && mover->ahead.length > 0 ? &mover->ahead : &mover->now;
    uint64_t end = window->offset + window->length, before = vmf_extents_total (window->todo);
    if (strcmp (context, LIBNBD_CONTEXT_BASE_ALLOCATION) != 0)
        return 0;
    for (size_t i = 0; i + 1 < n_entries && offset < end; i += 2)
    {
        uint64_t length = MIN (entries[i], end - offset);
        if (entries[i + 1] & LIBNBD_STATE_ZERO)
            vmf_extents_remove (window->todo, offset, length);
        offset += length;
    }
    uint64_t holes = before - vmf_extents_total (window->todo);
    count (&mover->options->progress->hole, holes);
    count (&mover->options->progress->done, holes);
    window->answered = MAX (window->answered, offset);
    return 0;
}

static int
on_extents_done (void *data, int *error)
{
    struct mover *mover = data;
    if (*error != 0)
        mover->source_extents = false; /* PITFALLS 6: a failing query means reading, never the end */
    if (!mover->source_extents)
    {
        mover->now.answered = mover->now.offset + mover->now.length;
        mover->ahead.answered = mover->ahead.offset + mover->ahead.length;
    }
    mover->now.asked = mover->ahead.asked = false;
    return 1;
}

/* One query at a time: for the window being read first, then for the one ahead. */
static void
ask_extents (struct mover *mover)
{
    struct window *window = mover->now.answered < mover->now.offset + mover->now.length ? &mover->now : &mover->ahead;
    if (mover->now.asked || mover->ahead.asked || window->answered >= window->offset + window->length)
        return;
    window->asked = true;
    nbd_extent_callback extents = { .callback = on_extents, .user_data = mover };
    nbd_completion_callback done = { .callback = on_extents_done, .user_data = mover };
    if (nbd_aio_block_status (mover->sources[0], window->offset + window->length - window->answered, window->answered,
                              extents, done, 0)
        < 0)
    {
        int failed = EIO;
        on_extents_done (mover, &failed);
    }
}

/* Takes the next piece to read from the window, moving on to the next window at its end. False: none now. */
static bool
next_piece (struct mover *mover, struct vmf_extent *piece)
{
    while (mover->now.length > 0)
    {
        uint64_t end = mover->now.offset + mover->now.length;
        if (vmf_extents_next (mover->now.todo, mover->cursor, piece) && piece->offset < mover->now.answered)
        {
            piece->length = MIN (piece->length, mover->now.answered - piece->offset);
            uint64_t aligned_end = (piece->offset + mover->request_bytes) & ~((uint64_t)mover->request_bytes - 1);
            piece->length = MIN (piece->length, aligned_end - piece->offset);
            mover->cursor = piece->offset + piece->length;
            return true;
        }
        if (mover->now.answered < end)
            return false;
        vmf_extents_free (mover->now.todo);
        mover->now = mover->ahead;
        mover->ahead.todo = NULL;
        mover->cursor = mover->now.offset;
        window_next (mover, &mover->ahead);
    }
    return false;
}

/* ---- requests ---- */

static void
slot_release (struct slot *slot)
{
    slot->state = SLOT_FREE;
    slot->mover->in_flight--;
}

static int
fail (struct mover *mover, int error, bool on_source)
{
    if (mover->failed_errno == 0)
    {
        mover->failed_errno = error;
        mover->failed_on_source = on_source;
    }
    return 1;
}

static int
on_read (void *data, int *error)
{
    struct slot *slot = data;
    if (*error != 0)
        return fail (slot->mover, *error, true);
    slot->state = SLOT_READ;
    return 1;
}

static int
on_written (void *data, int *error)
{
    struct slot *slot = data;
    if (*error != 0)
        return fail (slot->mover, *error, false);
    if (--slot->writes == 0 && slot->state == SLOT_WRITING)
    {
        count (&slot->mover->options->progress->done, slot->length);
        slot_release (slot);
    }
    return 1;
}

static struct nbd_handle *
least_busy (struct nbd_handle **handles, unsigned n)
{
    struct nbd_handle *best = handles[0];
    for (unsigned i = 1; i < n; i++)
        if (nbd_aio_in_flight (handles[i]) < nbd_aio_in_flight (best))
            best = handles[i];
    return best;
}

static bool
submit_read (struct mover *mover, struct slot *slot, GError **error)
{
    if (!slot->buffer)
        slot->buffer = g_malloc (REQUEST_MAX_BYTES);
    slot->state = SLOT_READING;
    slot->started_us = g_get_monotonic_time ();
    mover->in_flight++;
    nbd_completion_callback done = { .callback = on_read, .user_data = slot };
    struct nbd_handle *nbd = least_busy (mover->sources, mover->n_sources);
    if (nbd_aio_pread (nbd, slot->buffer, slot->length, slot->offset, done, 0) < 0)
        return vmf_nbd_fail (mover->options->name, error);
    return true;
}

static bool
submit_write (struct slot *slot, size_t from, size_t length, GError **error)
{
    struct mover *mover = slot->mover;
    nbd_completion_callback done = { .callback = on_written, .user_data = slot };
    struct nbd_handle *nbd = least_busy (mover->targets, mover->n_targets);
    slot->writes++;
    if (nbd_aio_pwrite (nbd, slot->buffer + from, length, slot->offset + from, done, 0) < 0)
        return vmf_nbd_fail (mover->options->name, error);
    count (&mover->options->progress->written, length);
    return true;
}

/* The length of the run of clusters from FROM on that are all zero, or all not. */
static size_t
run_length (const struct slot *slot, size_t from, bool *zero)
{
    size_t at = from;
    while (at < slot->length)
    {
        size_t piece = MIN (slot->length - at, (size_t)CLUSTER_BYTES);
        bool this_zero = vmf_zero_is (slot->buffer + at, piece);
        if (at > from && this_zero != *zero)
            break;
        *zero = this_zero;
        at += piece;
    }
    return at - from;
}

/* Sends the writes of a slot that was read. */
static bool
write_slot (struct slot *slot, GError **error)
{
    struct vmf_mover_progress *progress = slot->mover->options->progress;
    count (&progress->read, slot->length);
    slot->state = SLOT_WRITING;
    slot->writes = 1; /* held while sending: a write may end at once */
    for (size_t at = 0, n; at < slot->length; at += n)
    {
        bool zero = false;
        n = run_length (slot, at, &zero);
        if (zero)
            count (&progress->zero, n);
        else if (!submit_write (slot, at, n, error))
            return false;
    }
    int good = 0;
    on_written (slot, &good);
    return true;
}

/* Is this range on the target already? */
static bool
is_here (struct mover *mover, struct vmf_extent piece, struct vmf_extent *missing, GError **error)
{
    g_autoptr (GArray) status = g_array_new (FALSE, FALSE, sizeof (struct vmf_nbd_status));
    *missing = piece;
    if (!vmf_nbd_block_status (mover->targets[0], "qemu:allocation-depth", piece.offset, piece.length, status,
                               mover->options->name, error))
        return false;
    uint64_t here = 0, absent = 0;
    for (guint i = 0; i < status->len; i++)
    {
        const struct vmf_nbd_status *one = &g_array_index (status, struct vmf_nbd_status, i);
        if (one->flags == 1 && absent > 0)
            break;
        *(one->flags == 1 ? &here : &absent) += one->length_bytes;
    }
    missing->offset += here;
    missing->length = absent;
    count (&mover->options->progress->here, here);
    count (&mover->options->progress->done, here);
    mover->cursor = missing->offset + missing->length;
    return true;
}

static struct slot *
free_slot (struct mover *mover)
{
    for (unsigned i = 0; i < SLOTS_MAX; i++)
        if (mover->slots[i].state == SLOT_FREE)
            return &mover->slots[i];
    return NULL;
}

/* Sends reads until the limit is reached or there is nothing to send now. */
static bool
submit_reads (struct mover *mover, GError **error)
{
    struct vmf_extent piece;
    while (mover->in_flight < mover->limit && next_piece (mover, &piece))
    {
        if (mover->options->skip_present && !is_here (mover, piece, &piece, error))
            return false;
        if (piece.length == 0)
            continue;
        struct slot *slot = free_slot (mover);
        slot->offset = piece.offset;
        slot->length = piece.length;
        if (!submit_read (mover, slot, error))
            return false;
    }
    ask_extents (mover);
    return true;
}

/* Called with a request's time: more in flight while that costs nothing, fewer when requests only queue. */
static void
tune (struct mover *mover, int64_t took_us)
{
    if (mover->shortest_us == 0 || took_us < mover->shortest_us)
        mover->shortest_us = took_us;
    if (++mover->since_tuned < mover->limit)
        return;
    mover->since_tuned = 0;
    if (took_us > mover->shortest_us + QUEUE_SLACK_US)
        mover->limit = MAX (mover->limit - mover->limit / 4 - 1, 2);
    else
        mover->limit = MIN (mover->limit + 1, SLOTS_MAX);
    if (took_us < FAST_US)
        mover->request_bytes = MIN (mover->request_bytes * 2, REQUEST_MAX_BYTES);
    else if (took_us > QUEUE_SLACK_US)
        mover->request_bytes = MAX (mover->request_bytes / 2, REQUEST_MIN_BYTES);
}

static bool
write_what_was_read (struct mover *mover, GError **error)
{
    for (unsigned i = 0; i < SLOTS_MAX; i++)
    {
        struct slot *slot = &mover->slots[i];
        if (slot->state != SLOT_READ)
            continue;
        tune (mover, g_get_monotonic_time () - slot->started_us);
        if (!write_slot (slot, error))
            return false;
    }
    return true;
}

static bool
has_read_slot (const struct mover *mover)
{
    for (unsigned i = 0; i < SLOTS_MAX; i++)
        if (mover->slots[i].state == SLOT_READ)
            return true;
    return false;
}

/* ---- the loop ---- */

static unsigned
add_poll (struct nbd_handle **handles, unsigned n, struct pollfd *fds)
{
    for (unsigned i = 0; i < n; i++)
    {
        unsigned direction = nbd_aio_get_direction (handles[i]);
        fds[i] = (struct pollfd){ .fd = nbd_aio_get_fd (handles[i]),
                                  .events = (short)((direction & LIBNBD_AIO_DIRECTION_READ ? POLLIN : 0)
                                                    | (direction & LIBNBD_AIO_DIRECTION_WRITE ? POLLOUT : 0)) };
    }
    return n;
}

static bool
notify (const char *what, struct nbd_handle **handles, unsigned n, const struct pollfd *fds, GError **error)
{
    for (unsigned i = 0; i < n; i++)
    {
        unsigned direction = nbd_aio_get_direction (handles[i]);
        int result = 0;
        if (fds[i].revents & (POLLIN | POLLHUP | POLLERR) && direction & LIBNBD_AIO_DIRECTION_READ)
            result = nbd_aio_notify_read (handles[i]);
        else if (fds[i].revents & POLLOUT && direction & LIBNBD_AIO_DIRECTION_WRITE)
            result = nbd_aio_notify_write (handles[i]);
        if (result < 0 || nbd_aio_is_dead (handles[i]) == 1)
            return vmf_nbd_fail (what, error);
    }
    return true;
}

/* Waits until a connection can go on or a cancel comes, and lets libnbd work. */
static bool
wait_and_notify (struct mover *mover, GError **error)
{
    struct pollfd fds[2 * CONNECTIONS_MAX + 1];
    GPollFD cancel = { -1, G_IO_IN, 0 };
    bool has_cancel = mover->options->cancellable && g_cancellable_make_pollfd (mover->options->cancellable, &cancel);
    unsigned n = add_poll (mover->sources, mover->n_sources, fds);
    n += add_poll (mover->targets, mover->n_targets, fds + n);
    fds[n] = (struct pollfd){ .fd = has_cancel ? cancel.fd : -1, .events = POLLIN };
    int ready = poll (fds, n + 1, -1);
    if (has_cancel)
        g_cancellable_release_fd (mover->options->cancellable);
    if (ready < 0 && errno != EINTR)
        return g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "poll: %s", g_strerror (errno)), false;
    return ready < 0
           || (notify ("the source", mover->sources, mover->n_sources, fds, error)
               && notify ("the target", mover->targets, mover->n_targets, fds + mover->n_sources, error));
}

static bool
check_failed (struct mover *mover, GError **error)
{
    if (mover->failed_errno == 0)
        return true;
    g_set_error (error, VMF_ERROR, mover->failed_errno == ENOSPC ? VMF_ERROR_NO_SPACE : VMF_ERROR_FAILED,
                 "%s the %s failed: %s%s", mover->failed_on_source ? "reading from" : "writing to",
                 mover->failed_on_source ? "source" : "target", g_strerror (mover->failed_errno),
                 mover->failed_errno == ENOSPC ? "; make room there or choose another target" : "");
    return false;
}

static bool
mover_loop (struct mover *mover, GError **error)
{
    window_next (mover, &mover->now);
    mover->cursor = mover->now.offset;
    window_next (mover, &mover->ahead);
    for (;;)
    {
        if (vmf_error_if_cancelled (mover->options->cancellable, error) || !write_what_was_read (mover, error)
            || !submit_reads (mover, error) || !check_failed (mover, error))
            return false;
        if (mover->in_flight == 0 && mover->now.length == 0)
            return true;
        /* A call that submits may already have completed what was in flight: then there is nothing to wait for. */
        bool waiting = (mover->in_flight > 0 || mover->now.asked || mover->ahead.asked) && !has_read_slot (mover);
        if (waiting && !wait_and_notify (mover, error))
            return false;
    }
}

bool
vmf_mover_run (const struct vmf_mover_options *options, GError **error)
{
    struct mover mover = {
        .options = options,
        .needed = vmf_extents_aligned (options->needed, CLUSTER_BYTES, options->size_bytes),
        .limit = SLOTS_START,
        .request_bytes = REQUEST_MIN_BYTES,
    };
    for (unsigned i = 0; i < SLOTS_MAX; i++)
        mover.slots[i].mover = &mover;
    count (&options->progress->needed, vmf_extents_total (mover.needed));
    bool good = mover_connect (&mover, error) && mover_loop (&mover, error);
    for (unsigned i = 0; good && i < mover.n_targets; i++)
        if (nbd_can_flush (mover.targets[i]) == 1 && nbd_flush (mover.targets[i], 0) != 0)
            good = vmf_nbd_fail ("writing the target's caches back", error);
    mover_clear (&mover);
    if (!good)
        g_prefix_error (error, "copying %s: ", options->name);
    return good;
}
