/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmdk-window.h"
#include "vmdk-pool.h"
#include "vmdk-queue.h"
#include "vmdk-walk.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum
{
    WAIT_MS = 50,              /* between two looks at whether to give up */
    EXTENTS_PATIENCE_MS = 100, /* a wrong "data" costs less than the wait of a reader that asks before it reads */
    EXTENTS_GUESS = 64,        /* grains */
    PIPE_BYTES = 1 << 20,
    BUFFER_BYTES = 256 << 10,
};

/* Who waits for the frontier to pass `index`; on its own stack. Each has a condition, so that a grain wakes those who
   waited for it and no others. */
struct waiter
{
    uint64_t index;
    bool reads;        /* rather than asks what is there */
    uint64_t since_ms; /* when it came */
    pthread_cond_t arrived;
    struct waiter *next;
};

struct vmdk_window
{
    struct vmdk_window_options options;
    int stop_fd; /* an eventfd: readable when the thread shall end */
    pthread_t thread;
    uint8_t *buffer; /* the thread's: what was read ahead of the walk */
    size_t buffer_at, buffer_end;
    bool started;
    struct vmdk_pool *pool;
    struct vmdk_header header;

    pthread_mutex_t lock;   /* all below */
    pthread_cond_t let_go;  /* there is room, or somebody waits */
    struct waiter *waiters; /* each until it has what it waited for */
    bool have_header, failed, stopping;
    bool full;               /* the thread waits for room */
    struct vmdk_error error; /* where it failed */
    uint64_t frontier;       /* the first grain of which nothing is known yet */
    uint8_t *seen;           /* a bit for each grain that came */
    struct vmdk_queue queue;
    uint64_t active_at_ms; /* when something was read, or asked for, last */
};

static uint64_t
now_ms (void)
{
    struct timespec now;
    clock_gettime (CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void
init_cond (pthread_cond_t *cond)
{
    pthread_condattr_t attributes;
    pthread_condattr_init (&attributes);
    pthread_condattr_setclock (&attributes, CLOCK_MONOTONIC);
    pthread_cond_init (cond, &attributes);
    pthread_condattr_destroy (&attributes);
}

/* Releases the lock while it waits, WAIT_MS at most. False when that time has passed. */
static bool
wait_for (struct vmdk_window *window, pthread_cond_t *cond)
{
    struct timespec until;
    clock_gettime (CLOCK_MONOTONIC, &until);
    until.tv_nsec += WAIT_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    return pthread_cond_timedwait (cond, &window->lock, &until) == 0;
}

/* Under the lock. FRONTIER: who waited for what lies before it goes on; UINT64_MAX: everybody. */
static void
wake (struct vmdk_window *window, uint64_t frontier)
{
    for (struct waiter *waiter = window->waiters; waiter; waiter = waiter->next)
        if (waiter->index < frontier)
            pthread_cond_signal (&waiter->arrived);
}

/* Does a read wait for what has not arrived? One that came at UNTIL_MS or before. */
static bool
a_read_waits (const struct vmdk_window *window, uint64_t until_ms)
{
    const struct waiter *waiter = window->waiters;
    while (waiter && !(waiter->reads && waiter->index >= window->frontier && waiter->since_ms <= until_ms))
        waiter = waiter->next;
    return waiter;
}

/* May a grain go that nobody has read of yet? */
static bool
out_of_patience (const struct vmdk_window *window)
{
    uint64_t now = now_ms (), patience = window->options.patience_ms;
    if (window->options.forward)
        return now >= patience && a_read_waits (window, now - patience);
    return now - window->active_at_ms >= patience && a_read_waits (window, now);
}

/* It has arrived, but who waited for it has not woken yet. */
static bool
is_wanted (const struct vmdk_window *window, uint64_t index)
{
    const struct waiter *waiter = window->waiters;
    while (waiter && !(waiter->reads && waiter->index == index))
        waiter = waiter->next;
    return waiter;
}

static bool
is_seen (const struct vmdk_window *window, uint64_t index)
{
    return window->seen[index / 8] >> (index % 8) & 1;
}

/* Under the lock. Nobody may be reading it. */
static void
let_go (struct vmdk_window *window, struct vmdk_held *held)
{
    vmdk_queue_drop (&window->queue, held);
    pthread_cond_signal (&window->let_go);
}

/* Under the lock. ANY: also one that nobody has read of yet. */
static bool
let_go_of_oldest (struct vmdk_window *window, bool any)
{
    struct vmdk_held *held = vmdk_queue_next (&window->queue, NULL);
    while (held && (held->readers > 0 || (!any && held->to == 0) || is_wanted (window, held->index)))
        held = vmdk_queue_next (&window->queue, held);
    if (held)
        let_go (window, held);
    return held;
}

/* Under the lock, which it releases meanwhile. */
static void
wait_for_room (struct vmdk_window *window, size_t size)
{
    while (!window->stopping && window->queue.n > 0
           && window->queue.bytes + vmdk_queue_cost (size) > window->options.size_bytes)
    {
        if ((a_read_waits (window, UINT64_MAX) && let_go_of_oldest (window, false))
            || (out_of_patience (window) && let_go_of_oldest (window, true)))
            continue;
        window->full = true;
        wait_for (window, &window->let_go);
    }
    window->full = false;
}

/* Some bytes; 0 at the stream's end, -1 with ERROR. */
static ssize_t
read_some (struct vmdk_window *window, void *buffer, size_t length, struct vmdk_error *error)
{
    for (;;)
    {
        struct pollfd fds[2] = { { .fd = window->options.fd, .events = POLLIN },
                                 { .fd = window->stop_fd, .events = POLLIN } };
        if (poll (fds, 2, -1) < 0 && errno != EINTR)
            return vmdk_fail (error, "cannot wait for the stream: %s", strerror (errno)), -1;
        if (fds[1].revents)
            return vmdk_fail (error, "the server is ending"), -1;
        ssize_t n = fds[0].revents ? read (window->options.fd, buffer, length) : -1;
        if (n >= 0)
            return n;
        if (fds[0].revents && errno != EINTR && errno != EAGAIN)
            return vmdk_fail (error, "cannot read the stream: %s", strerror (errno)), -1;
    }
}

/* vmdk_walk_ops, on the window's thread. */
static ssize_t
on_read (void *data, void *buffer, size_t length, struct vmdk_error *error)
{
    struct vmdk_window *window = data;
    size_t got = 0;
    while (got < length)
    {
        if (window->buffer_at == window->buffer_end)
        {
            ssize_t n = read_some (window, window->buffer, BUFFER_BYTES, error);
            if (n <= 0)
                return n < 0 ? -1 : (ssize_t)got;
            window->buffer_at = 0;
            window->buffer_end = (size_t)n;
        }
        size_t here = window->buffer_end - window->buffer_at, part = here < length - got ? here : length - got;
        memcpy ((uint8_t *)buffer + got, window->buffer + window->buffer_at, part);
        window->buffer_at += part;
        got += part;
    }
    return (ssize_t)got;
}

static bool
on_header (void *data, const struct vmdk_header *header, struct vmdk_error *error)
{
    struct vmdk_window *window = data;
    /* 2^30 grains are 64 TiB of the usual size. The kernel gives memory only for the bits that are set. */
    if (vmdk_count_grains (header) > (uint64_t)1 << 30)
        return vmdk_fail (error, "the header claims %" PRIu64 " grains, too many for a stream",
                          vmdk_count_grains (header));
    uint8_t *seen = calloc (1, vmdk_count_grains (header) / 8 + 1);
    struct vmdk_pool *pool = vmdk_pool_new (header);
    pthread_mutex_lock (&window->lock);
    window->header = *header;
    window->seen = seen;
    window->pool = pool;
    window->have_header = seen && pool;
    wake (window, UINT64_MAX);
    pthread_mutex_unlock (&window->lock);
    return window->have_header || vmdk_fail (error, "out of memory");
}

static bool
on_grain (void *data, uint64_t index, uint8_t *bytes, size_t size, struct vmdk_error *error)
{
    struct vmdk_window *window = data;
    struct vmdk_held held = { .index = index, .bytes = bytes, .size = size };
    pthread_mutex_lock (&window->lock);
    window->frontier = index; /* what lies before it will not come */
    wake (window, window->frontier);
    wait_for_room (window, size);
    bool good = vmdk_queue_push (&window->queue, &held);
    if (good)
    {
        window->seen[index / 8] |= (uint8_t)(1 << index % 8);
        /* The disk's last grain is known when the stream's end was found to be in order, so nobody reads all of a disk
           that is not. */
        window->frontier = index + 1 < vmdk_count_grains (&window->header) ? index + 1 : index;
    }
    wake (window, window->frontier);
    pthread_mutex_unlock (&window->lock);
    if (!good)
        free (bytes);
    return good || vmdk_fail (error, "out of memory");
}

/* Whoever sends may have more to say behind the image, and shall not be cut off. */
static void
drain (struct vmdk_window *window)
{
    struct vmdk_error ignored;
    while (read_some (window, window->buffer, BUFFER_BYTES, &ignored) > 0)
        ;
}

static void *
run (void *data)
{
    static const struct vmdk_walk_ops ops = { on_read, on_header, on_grain };
    struct vmdk_window *window = data;
    struct vmdk_error error = { "" };
    bool good = vmdk_walk (&ops, window, &error);
    pthread_mutex_lock (&window->lock);
    window->failed = !good;
    window->error = error;
    if (good)
        window->frontier = vmdk_count_grains (&window->header);
    wake (window, UINT64_MAX);
    pthread_mutex_unlock (&window->lock);
    if (good)
        drain (window);
    return NULL;
}

struct vmdk_window *
vmdk_window_new (const struct vmdk_window_options *options, struct vmdk_error *error)
{
    struct vmdk_window *window = calloc (1, sizeof *window);
    uint8_t *buffer = malloc (BUFFER_BYTES);
    int stop_fd = eventfd (0, EFD_CLOEXEC);
    if (!window || !buffer || stop_fd < 0)
    {
        vmdk_fail (error, "cannot prepare for a stream: %s", strerror (errno));
        if (stop_fd >= 0)
            close (stop_fd);
        free (buffer);
        free (window);
        return NULL;
    }
    window->options = *options;
    window->stop_fd = stop_fd;
    window->buffer = buffer;
    window->active_at_ms = now_ms ();
    pthread_mutex_init (&window->lock, NULL);
    init_cond (&window->let_go);
    /* Only a pipe knows this; fewer changes between who writes and who reads. */
    (void)fcntl (options->fd, F_SETPIPE_SZ, PIPE_BYTES);
    return window;
}

/* Signals are nbdkit's to take. */
bool
vmdk_window_start (struct vmdk_window *window, struct vmdk_error *error)
{
    sigset_t all, before;
    sigfillset (&all);
    pthread_sigmask (SIG_SETMASK, &all, &before);
    int result = pthread_create (&window->thread, NULL, run, window);
    pthread_sigmask (SIG_SETMASK, &before, NULL);
    window->started = result == 0;
    return window->started || vmdk_fail (error, "cannot start a thread: %s", strerror (result));
}

static void
stop (struct vmdk_window *window)
{
    uint64_t one = 1;
    pthread_mutex_lock (&window->lock);
    window->stopping = true;
    pthread_cond_broadcast (&window->let_go);
    pthread_mutex_unlock (&window->lock);
    if (write (window->stop_fd, &one, sizeof one) == sizeof one)
        pthread_join (window->thread, NULL);
}

void
vmdk_window_free (struct vmdk_window *window)
{
    if (!window)
        return;
    if (window->started)
        stop (window);
    vmdk_queue_clear (&window->queue);
    free (window->buffer);
    free (window->seen);
    vmdk_pool_free (window->pool);
    close (window->options.fd);
    close (window->stop_fd);
    pthread_cond_destroy (&window->let_go);
    pthread_mutex_destroy (&window->lock);
    free (window);
}

/* Both under the lock, like what is between them. */
static void
begin_wait (struct vmdk_window *window, struct waiter *waiter)
{
    init_cond (&waiter->arrived);
    waiter->next = window->waiters;
    window->waiters = waiter;
    waiter->since_ms = now_ms ();
    if (!waiter->reads)
        return;
    window->active_at_ms = waiter->since_ms;
    pthread_cond_signal (&window->let_go);
}

static void
end_wait (struct vmdk_window *window, struct waiter *waiter)
{
    struct waiter **link = &window->waiters;
    while (*link != waiter)
        link = &(*link)->next;
    *link = waiter->next;
    pthread_cond_destroy (&waiter->arrived);
    if (waiter->reads)
        window->active_at_ms = now_ms ();
}

/* Releases the lock while it waits, once. False where there is nothing to wait for any more. */
static bool
wait_once (struct vmdk_window *window, struct waiter *waiter, struct vmdk_error *error)
{
    if (window->failed)
    {
        *error = window->error;
        return false;
    }
    if (wait_for (window, &waiter->arrived) || !window->options.give_up)
        return true;
    pthread_mutex_unlock (&window->lock);
    bool give_up = window->options.give_up ();
    pthread_mutex_lock (&window->lock);
    return !give_up || vmdk_fail (error, "the server is ending");
}

const struct vmdk_header *
vmdk_window_get_header (struct vmdk_window *window, struct vmdk_error *error)
{
    struct waiter waiter = { 0 };
    bool good = true;
    pthread_mutex_lock (&window->lock);
    begin_wait (window, &waiter);
    while (good && !window->have_header)
        good = wait_once (window, &waiter, error);
    end_wait (window, &waiter);
    pthread_mutex_unlock (&window->lock);
    return good ? &window->header : NULL;
}

/* Under the lock: what was read of it, as one range. Of two that do not meet the longer one is remembered. */
static void
note_read (struct vmdk_held *held, uint32_t from, uint32_t to)
{
    bool meet = held->to > 0 && from <= held->to && to >= held->from;
    if (meet)
    {
        from = from < held->from ? from : held->from;
        to = to > held->to ? to : held->to;
    }
    if (meet || to - from > held->to - held->from)
    {
        held->from = from;
        held->to = to;
    }
}

/* What a read works on: bytes that stay until release(). NULL: the grain was let go of, or never came. */
struct pinned
{
    const struct vmdk_window *window;
    const uint8_t *bytes;
    size_t size;
};

/* Under the lock. */
static void
pin (struct vmdk_window *window, uint64_t index, struct pinned *pinned)
{
    struct vmdk_held *held = vmdk_queue_find (&window->queue, index);
    if (!held)
        return;
    held->readers++;
    pinned->bytes = held->bytes;
    pinned->size = held->size;
}

static void
release (struct vmdk_window *window, uint64_t index, uint32_t from, uint32_t to)
{
    pthread_mutex_lock (&window->lock);
    struct vmdk_held *held = vmdk_queue_find (&window->queue, index);
    held->readers--;
    note_read (held, from, to);
    if (held->readers == 0 && held->from == 0 && held->to == vmdk_grain_length (&window->header, index))
        let_go (window, held);
    window->active_at_ms = now_ms ();
    pthread_mutex_unlock (&window->lock);
}

/* vmdk_fetch_fn */
static bool
fetch_pinned (void *data, uint64_t index, struct vmdk_worker *worker, const uint8_t **bytes, size_t *size,
              struct vmdk_error *error)
{
    const struct pinned *pinned = data;
    (void)worker;
    *bytes = pinned->bytes;
    *size = pinned->size;
    return *bytes
           || vmdk_fail (error, "the grain for sector %" PRIu64 " has passed: a stream is read once, in order",
                         index * (pinned->window->header.grain_bytes / VMDK_SECTOR));
}

bool
vmdk_window_read (struct vmdk_window *window, uint64_t index, uint32_t within, uint32_t length, uint8_t *out,
                  struct vmdk_error *error)
{
    struct waiter waiter = { .index = index, .reads = true };
    struct pinned pinned = { .window = window };
    bool good = true;
    pthread_mutex_lock (&window->lock);
    begin_wait (window, &waiter);
    while (good && index >= window->frontier)
        good = wait_once (window, &waiter, error);
    bool seen = good && is_seen (window, index);
    if (seen)
        pin (window, index, &pinned);
    end_wait (window, &waiter);
    pthread_mutex_unlock (&window->lock);
    if (seen)
        good = vmdk_pool_read (window->pool, index, within, length, out, fetch_pinned, &pinned, error);
    else if (good)
        memset (out, 0, length);
    if (pinned.bytes)
        release (window, index, within, good ? within + length : within);
    return good;
}

/* Under the lock. */
static bool
nobody_reads (const struct vmdk_window *window)
{
    return window->full && now_ms () - window->active_at_ms >= EXTENTS_PATIENCE_MS
           && !(window->options.forward && a_read_waits (window, UINT64_MAX));
}

/* Under the lock; INDEX is before the frontier. */
static uint64_t
count_run (const struct vmdk_window *window, uint64_t index, uint64_t most)
{
    uint64_t end = window->frontier - index < most ? window->frontier : index + most, i = index + 1;
    while (i < end && is_seen (window, i) == is_seen (window, index))
        i++;
    return i - index;
}

bool
vmdk_window_run (struct vmdk_window *window, uint64_t index, uint64_t most, bool wait, uint64_t *grains, bool *data,
                 struct vmdk_error *error)
{
    struct waiter waiter = { .index = index };
    bool good = true;
    pthread_mutex_lock (&window->lock);
    begin_wait (window, &waiter);
    while (wait && good && index >= window->frontier && !nobody_reads (window))
        good = wait_once (window, &waiter, error);
    bool known = index < window->frontier;
    if (!known && window->options.forward && most > EXTENTS_GUESS)
        most = EXTENTS_GUESS;
    *grains = known ? count_run (window, index, most) : wait ? most : 0;
    *data = !known || is_seen (window, index);
    end_wait (window, &waiter);
    pthread_mutex_unlock (&window->lock);
    return good;
}
