/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reaching ports: a thread per target, which looks the name up and then connects to all its addresses at once.
 *
 * Threads end by one cancellable, which the time-out cancels too: GLib's resolver gives up at once when it is
 * cancelled, getaddrinfo() would not.
 */
#include "base/reach.h"
#include "base/error.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum
{
    ADDRESSES_MAX = 8,
};

/* What one call's threads share. */
struct checking
{
    GCancellable *stop;
    GMutex lock;
    GCond done;
    size_t n_left; /* under lock */
};

struct attempt
{
    struct vmf_reach *reach;
    struct checking *checking;
    GThread *thread;
};

void
vmf_reach_clear (struct vmf_reach *reach)
{
    g_clear_pointer (&reach->address, g_free);
    g_clear_pointer (&reach->local, g_free);
    g_clear_pointer (&reach->text, g_free);
}

static void
set_state (struct vmf_reach *reach, enum vmf_reach_state state, const char *text)
{
    reach->state = state;
    g_free (reach->text);
    reach->text = g_strdup (text);
}

static void
set_errno (struct vmf_reach *reach, int number)
{
    switch (number)
    {
    case ECONNREFUSED:
        return set_state (reach, VMF_REACH_REFUSED, "the connection is refused");
    case ETIMEDOUT:
        return set_state (reach, VMF_REACH_TIMED_OUT, "no answer");
    case ENETUNREACH:
    case EHOSTUNREACH:
    case EADDRNOTAVAIL:
        return set_state (reach, VMF_REACH_UNREACHABLE, g_strerror (number));
    default:
        return set_state (reach, VMF_REACH_FAILED, g_strerror (number));
    }
}

static char *
local_of (int fd)
{
    struct sockaddr_storage storage;
    socklen_t length = sizeof storage;
    if (getsockname (fd, (struct sockaddr *)&storage, &length) != 0)
        return NULL;
    g_autoptr (GSocketAddress) address = g_socket_address_new_from_native (&storage, length);
    return G_IS_INET_SOCKET_ADDRESS (address)
               ? g_inet_address_to_string (g_inet_socket_address_get_address (G_INET_SOCKET_ADDRESS (address)))
               : NULL;
}

/* A socket on its way to ADDRESS. -1: errno says why. */
static int
connect_to (GInetAddress *address, uint16_t port, int type)
{
    g_autoptr (GSocketAddress) target = g_inet_socket_address_new (address, port);
    struct sockaddr_storage storage;
    gssize length = g_socket_address_get_native_size (target);
    if (!g_socket_address_to_native (target, &storage, sizeof storage, NULL))
        return errno = EINVAL, -1;
    int fd = socket (storage.ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect (fd, (struct sockaddr *)&storage, (socklen_t)length) == 0 || errno == EINPROGRESS)
        return fd;
    int saved = errno;
    close (fd);
    errno = saved;
    return -1;
}

/* The sockets of one target; fds[n] is the cancel. */
struct sockets
{
    struct pollfd fds[ADDRESSES_MAX + 1];
    GInetAddress *addresses[ADDRESSES_MAX]; /* borrowed */
    nfds_t n, n_open;
};

static void
start_all (struct sockets *sockets, GList *addresses, struct vmf_reach *reach)
{
    for (GList *node = addresses; node && sockets->n < ADDRESSES_MAX; node = node->next)
    {
        int fd = connect_to (node->data, reach->port, SOCK_STREAM);
        if (fd < 0)
            set_errno (reach, errno);
        else
            sockets->n_open++;
        sockets->addresses[sockets->n] = node->data;
        sockets->fds[sockets->n++] = (struct pollfd){ fd, POLLOUT, 0 };
    }
}

/* One that poll() named: did it connect? */
static bool
look_at (struct sockets *sockets, nfds_t i, struct vmf_reach *reach)
{
    int number = 0;
    socklen_t length = sizeof number;
    if (getsockopt (sockets->fds[i].fd, SOL_SOCKET, SO_ERROR, &number, &length) != 0)
        number = errno;
    if (number == 0)
    {
        set_state (reach, VMF_REACH_OK, NULL);
        g_free (reach->address);
        reach->address = g_inet_address_to_string (sockets->addresses[i]);
        reach->local = local_of (sockets->fds[i].fd);
        return true;
    }
    set_errno (reach, number);
    close (sockets->fds[i].fd);
    sockets->fds[i].fd = -1; /* poll() passes over it */
    sockets->n_open--;
    return false;
}

static void
wait_for_first (struct sockets *sockets, struct vmf_reach *reach, GCancellable *stop)
{
    GPollFD cancel;
    if (!g_cancellable_make_pollfd (stop, &cancel))
        return set_state (reach, VMF_REACH_FAILED, "no file descriptor is left");
    sockets->fds[sockets->n] = (struct pollfd){ cancel.fd, POLLIN, 0 };
    bool over = sockets->n_open == 0;
    while (!over)
    {
        if (poll (sockets->fds, sockets->n + 1, -1) < 0)
        {
            if (errno == EINTR)
                continue;
            set_state (reach, VMF_REACH_FAILED, g_strerror (errno));
            break;
        }
        for (nfds_t i = 0; i < sockets->n && !over; i++)
            if (sockets->fds[i].fd >= 0 && sockets->fds[i].revents)
                over = look_at (sockets, i, reach);
        over = over || sockets->n_open == 0;
        if (!over && sockets->fds[sockets->n].revents)
        {
            set_state (reach, VMF_REACH_TIMED_OUT, "no answer");
            over = true;
        }
    }
    g_cancellable_release_fd (stop);
}

static void
try_addresses (GList *addresses, struct vmf_reach *reach, GCancellable *stop)
{
    struct sockets sockets = { 0 };
    int64_t start_us = g_get_monotonic_time ();
    reach->address = g_inet_address_to_string (addresses->data);
    start_all (&sockets, addresses, reach);
    wait_for_first (&sockets, reach, stop);
    reach->time_ms = (double)(g_get_monotonic_time () - start_us) / 1000;
    for (nfds_t i = 0; i < sockets.n; i++)
        if (sockets.fds[i].fd >= 0)
            close (sockets.fds[i].fd);
}

static void *
attempt_thread (void *data)
{
    struct attempt *attempt = data;
    struct vmf_reach *reach = attempt->reach;
    struct checking *checking = attempt->checking;
    g_autoptr (GResolver) resolver = g_resolver_get_default ();
    g_autoptr (GError) error = NULL;
    GList *addresses = g_resolver_lookup_by_name (resolver, reach->host, checking->stop, &error);
    if (addresses)
        try_addresses (addresses, reach, checking->stop);
    else if (g_error_matches (error, G_IO_ERROR, G_IO_ERROR_CANCELLED))
        set_state (reach, VMF_REACH_TIMED_OUT, "looking up its name got no answer");
    else
        set_state (reach, VMF_REACH_NO_NAME, error->message);
    g_resolver_free_addresses (addresses);
    g_mutex_lock (&checking->lock);
    checking->n_left--;
    g_cond_signal (&checking->done);
    g_mutex_unlock (&checking->lock);
    return NULL;
}

static void
on_cancel (GCancellable *cancellable, void *data)
{
    struct checking *checking = data;
    g_mutex_lock (&checking->lock);
    g_cond_signal (&checking->done);
    g_mutex_unlock (&checking->lock);
}

/* Until all are done, or the time is over, or the user has had enough. */
static void
wait_for_all (struct checking *checking, int64_t timeout_ms, GCancellable *cancellable)
{
    gulong handler = cancellable ? g_cancellable_connect (cancellable, G_CALLBACK (on_cancel), checking, NULL) : 0;
    int64_t deadline_us = g_get_monotonic_time () + timeout_ms * 1000;
    bool in_time = true;
    g_mutex_lock (&checking->lock);
    while (checking->n_left > 0 && in_time && !g_cancellable_is_cancelled (cancellable))
        in_time = g_cond_wait_until (&checking->done, &checking->lock, deadline_us);
    g_mutex_unlock (&checking->lock);
    if (handler)
        g_cancellable_disconnect (cancellable, handler);
    g_cancellable_cancel (checking->stop);
}

bool
vmf_reach_check (struct vmf_reach *reaches, size_t n, int64_t timeout_ms, GCancellable *cancellable, GError **error)
{
    struct checking checking = { .stop = g_cancellable_new (), .n_left = n };
    g_autofree struct attempt *attempts = g_new0 (struct attempt, n);
    g_mutex_init (&checking.lock);
    g_cond_init (&checking.done);
    for (size_t i = 0; i < n; i++)
    {
        attempts[i].reach = &reaches[i];
        attempts[i].checking = &checking;
        attempts[i].thread = g_thread_new ("reach", attempt_thread, &attempts[i]);
    }
    wait_for_all (&checking, timeout_ms, cancellable);
    for (size_t i = 0; i < n; i++)
        g_thread_join (attempts[i].thread);
    g_cond_clear (&checking.done);
    g_mutex_clear (&checking.lock);
    g_object_unref (checking.stop);
    return !vmf_error_if_cancelled (cancellable, error);
}
