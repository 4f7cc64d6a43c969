/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The mover's loop: see mover.h for the picture.
 *
 * Callbacks of libnbd run in this same thread, inside nbd_aio_notify_* and the calls that submit: they only mark slots,
 * and the loop acts on the marks.
 */
#include "disk/mover.h"
#include "base/error.h"
#include "disk/held-up.h"
#include "disk/mover-internal.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum
{
    LIMIT_START = 16,
    WORKERS_MAX = 4,
    IO_TIMEOUT_MS = 60 * 1000,
    IDLE_MS = 1000,          /* how often to look at what has no event of its own */
    LINK_MS = 20,            /* the same while a connection is being made */
    LOOK_US = 100 * 1000,    /* how often to look for what hangs */
    EXCUSE_US = 1000 * 1000, /* what is older may be excused */
};

static const uint64_t MEMORY_BYTES = 32 * 1024 * 1024;

/* What other threads want changed. */
struct change
{
    uint64_t offset, length;
    bool add;
};

/* ---- making and ending ---- */

static void
run_task (gpointer data, gpointer mover)
{
    struct task *task = data;
    task->work (task);
    g_async_queue_push (((struct vmf_mover *)mover)->worked, task);
    eventfd_write (((struct vmf_mover *)mover)->wake_fd, 1);
}

void
mover_hand_over (struct task *task)
{
    g_thread_pool_push (task->mover->workers, task, NULL);
}

void
mover_fail (struct vmf_mover *mover, GError *failure)
{
    if (mover->failure)
        g_error_free (failure);
    else
        mover->failure = failure;
}

static void
make_slots (struct vmf_mover *mover)
{
    mover->n_slots = SLOTS_MAX + LINKS_MAX;
    for (unsigned i = 0; i < mover->n_slots; i++)
    {
        mover->slots[i].task.mover = mover;
        mover->slots[i].probe = i >= SLOTS_MAX;
    }
}

static void
join_budget (struct vmf_mover *mover)
{
    const struct vmf_mover_options *options = mover->options;
    if (!options->budget)
        mover->own_budget = vmf_budget_new (options->memory_bytes ? options->memory_bytes : MEMORY_BYTES);
    mover->budget = vmf_budget_join (options->budget ? options->budget : mover->own_budget, mover->wake_fd);
}

struct vmf_mover *
vmf_mover_new (const struct vmf_mover_options *options)
{
    struct vmf_mover *mover = g_new0 (struct vmf_mover, 1);
    mover->options = options;
    mover->progress = options->progress;
    mover->limit = LIMIT_START;
    mover->tuning.growing = true;
    mover->request_bytes = REQUEST_MIN_BYTES;
    mover->pending = g_byte_array_new ();
    mover->dropped = vmf_extents_new ();
    mover->checkpoint.records = g_byte_array_new ();
    mover->worked = g_async_queue_new ();
    mover->inbox = g_async_queue_new_full (g_free);
    mover->wake_fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
    mover->workers = g_thread_pool_new (run_task, mover, (gint)MIN (g_get_num_processors (), WORKERS_MAX), FALSE, NULL);
    for (unsigned i = 0; i < ASKS_MAX; i++)
        mover->asks[i] = (struct ask){ .mover = mover, .id = i };
    make_slots (mover);
    join_budget (mover);
    return mover;
}

static void
close_links (struct vmf_mover *mover)
{
    struct nbd_handle *nbds[2 * LINKS_MAX];
    size_t n = 0;
    for (unsigned i = 0; i < mover->n_sources; i++)
        nbds[n++] = g_steal_pointer (&mover->sources[i].nbd);
    for (unsigned i = 0; i < mover->n_targets; i++)
        nbds[n++] = g_steal_pointer (&mover->targets[i].nbd);
    vmf_nbd_close_all (nbds, n);
    for (unsigned i = 0; i < mover->n_sources; i++)
        vmf_link_clear (&mover->sources[i]);
    for (unsigned i = 0; i < mover->n_targets; i++)
        vmf_link_clear (&mover->targets[i]);
}

void
vmf_mover_free (struct vmf_mover *mover)
{
    if (!mover)
        return;
    g_thread_pool_free (mover->workers, FALSE, TRUE); /* waits: a worker may still write from a slot */
    close_links (mover);
    for (unsigned i = 0; i < mover->n_slots; i++)
    {
        slot_drop_buffer (&mover->slots[i]);
        g_clear_error (&mover->slots[i].error);
    }
    vmf_budget_leave (mover->budget);
    vmf_budget_free (mover->own_budget);
    vmf_queue_free (mover->queue);
    vmf_extents_free (mover->dropped);
    g_clear_error (&mover->checkpoint.error);
    g_clear_error (&mover->failure);
    g_byte_array_unref (mover->pending);
    g_byte_array_unref (mover->checkpoint.records);
    g_async_queue_unref (mover->worked);
    g_async_queue_unref (mover->inbox);
    close (mover->wake_fd);
    g_free (mover);
}

/* ---- connections ---- */

static bool
open_side (struct vmf_mover *mover, const char *uri, enum vmf_nbd_flags flags, struct vmf_link *links,
           unsigned *n_links, GError **error)
{
    const struct vmf_mover_options *options = mover->options;
    unsigned wanted = options->connections ? MIN (options->connections, (unsigned)LINKS_START) : LINKS_START;
    if (options->sequential && links == mover->sources)
        wanted = 1;
    for (*n_links = 0; *n_links < wanted; (*n_links)++)
    {
        struct vmf_link *link = &links[*n_links];
        *link = (struct vmf_link){ .uri = uri, .what = options->name, .flags = flags };
        if (!vmf_link_open (link, options->cancellable, error))
            return false;
        if (nbd_can_multi_conn (link->nbd) <= 0)
            wanted = 1;
    }
    return true;
}

static bool
check_size (struct vmf_mover *mover, struct nbd_handle *nbd, GError **error)
{
    int64_t size_bytes = nbd_get_size (nbd);
    if ((uint64_t)size_bytes >= mover->options->size_bytes)
        return true;
    g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT,
                 "the source has become smaller: %" G_GINT64_FORMAT " bytes instead of %" G_GUINT64_FORMAT,
                 (gint64)size_bytes, (guint64)mover->options->size_bytes);
    return false;
}

static bool
open_links (struct vmf_mover *mover, GError **error)
{
    const struct vmf_mover_options *options = mover->options;
    enum vmf_nbd_flags depth = options->skip_present ? VMF_NBD_DEPTH : VMF_NBD_NONE;
    if (!open_side (mover, options->source_uri, VMF_NBD_EXTENTS, mover->sources, &mover->n_sources, error))
        return false;
    bool several = nbd_can_multi_conn (mover->sources[0].nbd) == 1;
    mover->links_max = !several || options->sequential ? 1
                       : options->connections          ? MIN (options->connections, LINKS_MAX)
                                                       : LINKS_MAX;
    mover->links_wanted = mover->n_sources;
    return check_size (mover, mover->sources[0].nbd, error)
           && (!options->target_uri
               || open_side (mover, options->target_uri, depth, mover->targets, &mover->n_targets, error));
}

struct vmf_link *
mover_least_busy (struct vmf_link *links, unsigned n)
{
    struct vmf_link *best = NULL;
    for (unsigned i = 0; i < n; i++)
        if (links[i].state == VMF_LINK_UP && !vmf_link_is_dead (&links[i])
            && (!best || nbd_aio_in_flight (links[i].nbd) < nbd_aio_in_flight (best->nbd)))
            best = &links[i];
    return best;
}

struct vmf_link *
mover_source (struct vmf_mover *mover)
{
    struct vmf_link *link = mover_least_busy (mover->sources, MIN (mover->links_wanted, mover->n_sources));
    return link ? link : mover_least_busy (mover->sources, mover->n_sources);
}

/* More connections, or fewer. Those that are new are connected as lost ones are. */
static void
fit_links (struct vmf_mover *mover)
{
    for (unsigned i = LINKS_START; i < mover->n_sources; i++) /* the server takes no more than it has */
        if (!mover->sources[i].was_up && mover->sources[i].tries > 0)
            mover->links_max = MIN (mover->links_max, i);
    mover->links_wanted = MIN (mover->links_wanted, mover->links_max);
    for (; mover->n_sources < mover->links_wanted; mover->n_sources++)
        mover->sources[mover->n_sources] = (struct vmf_link){ .uri = mover->options->source_uri,
                                                              .what = mover->options->name,
                                                              .flags = VMF_NBD_EXTENTS };
    while (mover->n_sources > mover->links_wanted)
    {
        struct vmf_link *last = &mover->sources[mover->n_sources - 1];
        if (last->state == VMF_LINK_ON_TRIAL || (last->state == VMF_LINK_UP && nbd_aio_in_flight (last->nbd) > 0))
            return; /* when it is idle */
        vmf_link_clear (last);
        mover->n_sources--;
    }
}

/* When the oldest read on LINK was sent; 0: there is none. */
static int64_t
oldest_us (const struct vmf_mover *mover, const struct vmf_link *link)
{
    int64_t oldest = 0;
    for (unsigned i = 0; i < mover->n_slots; i++)
    {
        const struct slot *slot = &mover->slots[i];
        if (slot->state == SLOT_READING && slot->link == link && (oldest == 0 || slot->started_us < oldest))
            oldest = slot->started_us;
    }
    for (unsigned i = 0; i < ASKS_MAX; i++)
        if (mover->asks[i].link == link && (oldest == 0 || mover->asks[i].started_us < oldest))
            oldest = mover->asks[i].started_us;
    return oldest;
}

static void
check_lost (struct vmf_mover *mover, int64_t now_us)
{
    if (mover_source (mover))
    {
        mover->lost_us = 0;
        return;
    }
    mover->lost_us = mover->lost_us ? mover->lost_us : now_us;
    if (now_us - mover->lost_us >= mover->options->retry_ms * 1000)
        mover_fail (mover, g_error_new (VMF_ERROR, VMF_ERROR_FAILED,
                                        "the source cannot be reached any more (for %" G_GINT64_FORMAT " s): %s",
                                        (gint64)(now_us - mover->lost_us) / G_USEC_PER_SEC,
                                        mover->sources[0].trouble ? mover->sources[0].trouble : "no answer"));
}

/* Does LINK's server wait for its turn at a host? Then what it was asked for is not late: its time begins now. */
static bool
excuse (struct vmf_mover *mover, const struct vmf_link *link, int64_t now_us)
{
    g_autofree char *why = vmf_held_up_look (link->uri);
    for (unsigned i = 0; why && i < mover->n_slots; i++)
    {
        struct slot *slot = &mover->slots[i];
        if (slot->state == SLOT_READING && slot->link == link)
            slot->started_us = now_us;
        if (slot->failed_us)
            slot->failed_us = now_us;
    }
    for (unsigned i = 0; why && i < ASKS_MAX; i++)
        if (mover->asks[i].link == link)
            mover->asks[i].started_us = now_us;
    return why != NULL;
}

/* Drops the connections that died, and those that gave no answer for TIMEOUT_US. */
static void
drop_lost (struct vmf_mover *mover, int64_t now_us, int64_t timeout_us)
{
    bool look = now_us - mover->looked_us >= LOOK_US;
    mover->looked_us = look ? now_us : mover->looked_us;
    for (unsigned i = 0; i < mover->n_sources; i++)
    {
        struct vmf_link *link = &mover->sources[i];
        bool used = look && (link->state == VMF_LINK_UP || link->state == VMF_LINK_ON_TRIAL);
        int64_t oldest = used && !mover->options->sequential ? oldest_us (mover, link) : 0;
        if (vmf_link_is_dead (link))
            slot_drop_link (mover, link, "the server closed the connection", now_us);
        else if (oldest && now_us - oldest > MIN (timeout_us, (int64_t)EXCUSE_US) && excuse (mover, link, now_us))
            continue;
        else if (oldest && now_us - oldest > timeout_us)
            slot_drop_link (mover, link, "the server gave no answer in time", now_us);
    }
}

/* Connects what was lost or is new and drops what hangs. */
static void
tend_links (struct vmf_mover *mover, int64_t now_us)
{
    int64_t timeout_ms = mover->options->io_timeout_ms ? mover->options->io_timeout_ms : IO_TIMEOUT_MS;
    drop_lost (mover, now_us, timeout_ms * 1000);
    fit_links (mover);
    for (unsigned i = 0; i < mover->n_sources; i++)
    {
        struct vmf_link *link = &mover->sources[i];
        GError *error = NULL;
        if (!vmf_link_step (link, now_us, timeout_ms * 1000))
            continue;
        mover_count (&mover->progress->reconnects, link->was_up);
        if (!check_size (mover, link->nbd, &error))
            mover_fail (mover, error);
        else
            slot_probe (mover, link);
    }
    check_lost (mover, now_us);
    for (unsigned i = 0; i < mover->n_targets; i++)
        if (vmf_link_is_dead (&mover->targets[i]))
            mover_fail (mover, g_error_new (VMF_ERROR, VMF_ERROR_FAILED, "the target's server is gone"));
}

/* ---- what the source calls data ---- */

static int
on_extents (void *data, const char *context, uint64_t offset, uint32_t *entries, size_t n_entries, int *error)
{
    struct ask *ask = data;
    struct vmf_mover *mover = ask->mover;
    uint64_t holes = mover->progress->hole;
    if (strcmp (context, LIBNBD_CONTEXT_BASE_ALLOCATION) == 0)
        vmf_queue_answer (mover->queue, ask->id, offset, entries, n_entries);
    mover_count (&mover->progress->done, mover->progress->hole - holes);
    return 0;
}

static int
on_extents_done (void *data, int *error)
{
    struct ask *ask = data;
    /* Within this callback the handle does not say yet that its connection died. */
    if (*error == ENOTCONN || *error == ESHUTDOWN)
        vmf_queue_unanswered (ask->mover->queue, ask->id);
    else
        vmf_queue_answered (ask->mover->queue, ask->id, *error == 0);
    ask->link = NULL;
    return 1;
}

static void
send_asks (struct vmf_mover *mover, int64_t now_us)
{
    struct vmf_link *link = mover_source (mover);
    struct vmf_extent range;
    unsigned id;
    while (link && vmf_queue_ask (mover->queue, &id, &range))
    {
        struct ask *ask = &mover->asks[id];
        nbd_extent_callback extents = { .callback = on_extents, .user_data = ask };
        nbd_completion_callback done = { .callback = on_extents_done, .user_data = ask };
        ask->link = link;
        ask->started_us = now_us;
        if (nbd_aio_block_status (link->nbd, range.length, range.offset, extents, done, 0) < 0)
        {
            ask->link = NULL;
            if (nbd_aio_is_dead (link->nbd) == 1 || nbd_aio_is_closed (link->nbd) == 1)
                return vmf_queue_unanswered (mover->queue, id);
            vmf_queue_answered (mover->queue, id, false);
        }
        link = mover_source (mover);
    }
}

/* ---- changes by other threads ---- */

static void
change (struct vmf_mover *mover, uint64_t offset, uint64_t length, bool add)
{
    struct change *one = g_new (struct change, 1);
    *one = (struct change){ offset, length, add };
    g_async_queue_push (mover->inbox, one);
    eventfd_write (mover->wake_fd, 1);
}

void
vmf_mover_drop (struct vmf_mover *mover, uint64_t offset, uint64_t length)
{
    change (mover, offset, length, false);
}

void
vmf_mover_add (struct vmf_mover *mover, uint64_t offset, uint64_t length)
{
    change (mover, offset, length, true);
}

static void
add_again (struct vmf_mover *mover, const struct change *one)
{
    const struct vmf_mover_options *options = mover->options;
    mover_count (&mover->progress->needed, vmf_queue_add (mover->queue, one->offset, one->length));
    if (!options->journal)
        return;
    struct vmf_journal_record record = { VMF_JOURNAL_AGAIN, options->pass, one->offset, one->length, NULL };
    vmf_journal_encode (options->journal, mover->pending, &record);
    mover->dirty = true;
}

/* A mark must not say that it is done. */
static void
drop (struct vmf_mover *mover, const struct change *one)
{
    uint64_t bytes = vmf_queue_drop (mover->queue, one->offset, one->length);
    mover_count (&mover->progress->needed, -bytes);
    if (bytes > 0)
        vmf_extents_add (mover->dropped, one->offset, one->length);
}

static void
take_inbox (struct vmf_mover *mover)
{
    struct change *one;
    while ((one = g_async_queue_try_pop (mover->inbox)))
    {
        if (one->add)
            add_again (mover, one);
        else
            drop (mover, one);
        g_free (one);
    }
}

/* ---- the loop ---- */

/* What a wait is for, by the state in which it begins. */
static enum vmf_mover_wait
waits_for (struct vmf_mover *mover)
{
    bool target_is_busy = mover->writing > 0 || mover->checkpoint.running;
    if (mover->paced_us > 0 && mover->reading == 0)
        return VMF_WAIT_LIMIT;
    if (mover->lost_us)
        return VMF_WAIT_SOURCE_LOST;
    if (mover->working > mover->reading)
        return __atomic_load_n (&mover->digest_us, __ATOMIC_RELAXED)
                       > __atomic_load_n (&mover->write_us, __ATOMIC_RELAXED)
                   ? VMF_WAIT_CPU
                   : VMF_WAIT_TARGET;
    if (target_is_busy && mover->writing >= mover->reading)
        return VMF_WAIT_TARGET;
    return mover->queueing ? VMF_WAIT_SOURCE_BANDWIDTH : VMF_WAIT_SOURCE_LATENCY;
}

static int
timeout_ms (const struct vmf_mover *mover, int64_t now_us)
{
    int64_t wait_us = IDLE_MS * 1000, retry_us = slot_next_us (mover);
    if (mover->paced_us > 0)
        wait_us = MIN (wait_us, mover->paced_us);
    if (retry_us != INT64_MAX)
        wait_us = MIN (wait_us, MAX (retry_us - now_us, 1000));
    for (unsigned i = 0; i < mover->n_sources; i++)
        if (mover->sources[i].state != VMF_LINK_UP)
            wait_us = MIN (wait_us, LINK_MS * 1000);
    return (int)((wait_us + 999) / 1000);
}

static void
notify (struct vmf_mover *mover, const struct pollfd *fds, int64_t now_us)
{
    for (unsigned i = 0; i < mover->n_sources; i++)
        if (!vmf_link_notify (&mover->sources[i], fds[i].revents))
            slot_drop_link (mover, &mover->sources[i], vmf_nbd_words (), now_us);
    for (unsigned i = 0; i < mover->n_targets; i++)
        if (!vmf_link_notify (&mover->targets[i], fds[mover->n_sources + i].revents))
            mover_fail (mover,
                        g_error_new (VMF_ERROR, VMF_ERROR_FAILED, "the target's server is gone: %s", vmf_nbd_words ()));
}

/* Waits until a connection can go on, a worker has ended or a cancel comes, and lets libnbd work. */
static void
wait_and_notify (struct vmf_mover *mover)
{
    struct pollfd fds[2 * LINKS_MAX + 2];
    GCancellable *cancellable = mover->options->cancellable;
    GPollFD cancel = { -1, G_IO_IN, 0 };
    bool has_cancel = cancellable && g_cancellable_make_pollfd (cancellable, &cancel);
    unsigned n = 0;
    for (unsigned i = 0; i < mover->n_sources; i++)
        fds[n++] = vmf_link_pollfd (&mover->sources[i]);
    for (unsigned i = 0; i < mover->n_targets; i++)
        fds[n++] = vmf_link_pollfd (&mover->targets[i]);
    fds[n++] = (struct pollfd){ .fd = mover->wake_fd, .events = POLLIN };
    fds[n++] = (struct pollfd){ .fd = has_cancel ? cancel.fd : -1, .events = POLLIN };
    enum vmf_mover_wait what = waits_for (mover);
    int64_t begin_us = g_get_monotonic_time ();
    int ready = poll (fds, n, timeout_ms (mover, begin_us));
    int64_t now_us = g_get_monotonic_time ();
    mover_count (&mover->progress->wait_us[what], (uint64_t)(now_us - begin_us));
    if (has_cancel)
        g_cancellable_release_fd (cancellable);
    eventfd_t ignored;
    if (ready > 0 && fds[n - 2].revents)
        eventfd_read (mover->wake_fd, &ignored);
    if (ready > 0)
        notify (mover, fds, now_us);
}

static void
take_worked (struct vmf_mover *mover)
{
    struct task *task;
    while ((task = g_async_queue_try_pop (mover->worked)))
        task->ended (task);
}

static bool
is_idle (const struct vmf_mover *mover)
{
    return mover->reading + mover->working + mover->writing == 0 && slot_next_us (mover) == INT64_MAX
           && vmf_queue_is_empty (mover->queue);
}

static bool
has_read_slot (const struct vmf_mover *mover)
{
    for (unsigned i = 0; i < mover->n_slots; i++)
        if (mover->slots[i].state == SLOT_READ)
            return true;
    return false;
}

static bool
loop (struct vmf_mover *mover, GError **error)
{
    for (;;)
    {
        int64_t now_us = g_get_monotonic_time ();
        take_worked (mover);
        take_inbox (mover);
        tend_links (mover, now_us);
        slot_pass_on (mover, now_us);
        slot_send_due (mover, now_us);
        send_asks (mover, now_us);
        bool proven = !mover->failure && checkpoint_step (mover, now_us, is_idle (mover));
        __atomic_store_n (&mover->progress->in_flight, mover->reading, __ATOMIC_RELAXED);
        mover_count (&mover->progress->wait_us[VMF_WAIT_CPU], (uint64_t)(g_get_monotonic_time () - now_us));
        if (mover->failure)
            return g_propagate_error (error, g_steal_pointer (&mover->failure)), false;
        if (vmf_error_if_cancelled (mover->options->cancellable, error))
            return false;
        if (is_idle (mover) && proven && !mover->dirty)
            return true;
        /* A call that submits may already have completed what was in flight: then there is nothing to wait for. */
        if (!has_read_slot (mover))
            wait_and_notify (mover);
    }
}

static void
make_queue (struct vmf_mover *mover)
{
    const struct vmf_mover_options *options = mover->options;
    g_autoptr (vmf_extents) done = options->journal ? vmf_journal_done (options->journal, options->pass) : NULL;
    g_autoptr (vmf_extents) all = vmf_extents_aligned (options->needed, VMF_BLOCK_BYTES, options->size_bytes);
    bool extents = nbd_can_meta_context (mover->sources[0].nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) == 1;
    mover->queue = vmf_queue_new (all, done, options->size_bytes, extents, &mover->progress->hole);
    uint64_t needed = vmf_extents_total (all), left = vmf_queue_left (mover->queue);
    mover_count (&mover->progress->needed, needed);
    mover_count (&mover->progress->done, needed - left);
    mover_count (&mover->progress->resumed, needed - left);
}

bool
vmf_mover_run (struct vmf_mover *mover, GError **error)
{
    bool good = open_links (mover, error);
    if (good)
    {
        make_queue (mover);
        mover->checkpoint_us = mover->tuning.since_us = g_get_monotonic_time ();
        good = loop (mover, error);
    }
    if (!good)
        g_prefix_error (error, "copying %s: ", mover->options->name);
    return good;
}

/* The two looks are at least a second apart. */
static void
look_again (struct vmf_mover_waits *waits, const uint64_t now_us[VMF_WAIT_N])
{
    uint64_t passed_us = 0;
    for (unsigned i = 0; i < VMF_WAIT_N; i++)
        passed_us += now_us[i] - waits->last_us[i];
    if (passed_us < G_USEC_PER_SEC)
        return;
    memcpy (waits->before_us, waits->last_us, sizeof waits->before_us);
    memcpy (waits->last_us, now_us, sizeof waits->last_us);
}

const char *
vmf_mover_waits_for (struct vmf_mover_waits *waits, const struct vmf_mover_progress *progress)
{
    static const char *const names[VMF_WAIT_N] = { "source latency", "source bandwidth", "source lost", "CPU", "target",
                                                   "limit" };
    uint64_t waited_us[VMF_WAIT_N];
    unsigned most = 0;
    for (unsigned i = 0; i < VMF_WAIT_N; i++)
        waited_us[i] = __atomic_load_n (&progress->wait_us[i], __ATOMIC_RELAXED);
    if (waits)
        look_again (waits, waited_us);
    for (unsigned i = 0; i < VMF_WAIT_N; i++)
    {
        waited_us[i] -= waits ? waits->before_us[i] : 0;
        most = waited_us[i] > waited_us[most] ? i : most;
    }
    return waited_us[most] > 0 ? names[most] : NULL;
}
