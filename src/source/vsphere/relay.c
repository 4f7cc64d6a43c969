/* SPDX-License-Identifier: GPL-2.0-or-later */
/* relay.h: a thread that accepts, and two for each connection, one per direction. */
#include "source/vsphere/relay.h"

#include <gio/gunixsocketaddress.h>
#include <glib/gstdio.h>
#include <stdbool.h>
#include <sys/stat.h>

enum
{
    BUFFER_BYTES = 256 * 1024,
    CONNECT_TIMEOUT_S = 30,
    BACKLOG = 32,
    ACCEPT_PAUSE_US = 100 * 1000,
};

struct vmf_relay
{
    char *path, *host;
    uint16_t port;
    GSocket *listener;
    GThread *thread;
    GCancellable *cancellable;
    GMutex lock;
    GCond ended;
    unsigned pipes; /* under lock: threads that carry bytes */
};

/* One direction of a connection. */
struct pipe
{
    struct vmf_relay *relay;
    GSocket *from, *to; /* references */
};

/* Ends PIPE, which held FROM and TO (NULL: none), as the last act of its thread. */
static void
end (struct pipe *pipe)
{
    struct vmf_relay *relay = pipe->relay;
    g_clear_object (&pipe->from);
    g_clear_object (&pipe->to);
    g_free (pipe);
    g_mutex_lock (&relay->lock);
    relay->pipes--;
    g_cond_signal (&relay->ended);
    g_mutex_unlock (&relay->lock);
}

/* RUN in a thread of its own, which ends the pipe. FROM and TO are taken over. */
static void
begin (struct vmf_relay *relay, GThreadFunc run, GSocket *from, GSocket *to)
{
    struct pipe *pipe = g_new (struct pipe, 1);
    *pipe = (struct pipe){ relay, from, to };
    g_mutex_lock (&relay->lock);
    relay->pipes++;
    g_mutex_unlock (&relay->lock);
    g_thread_unref (g_thread_new ("relay", run, pipe));
}

static bool
send_all (const struct pipe *pipe, const char *data, gssize length)
{
    for (gssize sent; length > 0; data += sent, length -= sent)
        if ((sent = g_socket_send (pipe->to, data, (gsize)length, pipe->relay->cancellable, NULL)) <= 0)
            return false;
    return true;
}

static void *
carry (void *data)
{
    struct pipe *pipe = data;
    struct vmf_relay *relay = pipe->relay;
    g_autofree char *buffer = g_malloc (BUFFER_BYTES);
    gssize got;
    do
        got = g_socket_receive (pipe->from, buffer, BUFFER_BYTES, relay->cancellable, NULL);
    while (got > 0 && send_all (pipe, buffer, got));
    /* The other side learns of the end as it would without us; where this one can be sent to no more, neither goes on.
     */
    g_socket_shutdown (pipe->to, FALSE, TRUE, NULL);
    if (got > 0)
        g_socket_shutdown (pipe->from, TRUE, FALSE, NULL);
    end (pipe);
    return NULL;
}

/* By no proxy: the session's server is reached without one, too. */
static void *
connect_through (void *data)
{
    struct pipe *pipe = data;
    struct vmf_relay *relay = pipe->relay;
    g_autoptr (GSocketClient) client = g_socket_client_new ();
    g_autoptr (GError) error = NULL;
    g_socket_client_set_enable_proxy (client, FALSE);
    g_socket_client_set_timeout (client, CONNECT_TIMEOUT_S);
    g_autoptr (GSocketConnection) connection =
        g_socket_client_connect_to_host (client, relay->host, relay->port, relay->cancellable, &error);
    if (connection)
    {
        GSocket *server = g_socket_connection_get_socket (connection);
        g_socket_set_timeout (server, 0); /* how long to wait for an answer is the client's business */
        begin (relay, carry, g_object_ref (pipe->from), g_object_ref (server));
        begin (relay, carry, g_object_ref (server), g_object_ref (pipe->from));
    }
    else
        g_debug ("%s: %s", relay->host, error->message);
    end (pipe);
    return NULL;
}

static void *
accept_all (void *data)
{
    struct vmf_relay *relay = data;
    while (!g_cancellable_is_cancelled (relay->cancellable))
    {
        GSocket *client = g_socket_accept (relay->listener, relay->cancellable, NULL);
        if (!client) /* no descriptor is left, for one: who connects waits */
        {
            g_usleep (ACCEPT_PAUSE_US);
            continue;
        }
        begin (relay, connect_through, client, NULL);
    }
    return NULL;
}

struct vmf_relay *
vmf_relay_start (const char *socket_path, const char *host, uint16_t port, GError **error)
{
    g_autoptr (GSocketAddress) address = g_unix_socket_address_new (socket_path);
    g_unlink (socket_path);
    GSocket *listener = g_socket_new (G_SOCKET_FAMILY_UNIX, G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_DEFAULT, error);
    if (listener)
        g_socket_set_listen_backlog (listener, BACKLOG);
    if (!listener || !g_socket_bind (listener, address, FALSE, error) || !g_socket_listen (listener, error))
    {
        g_clear_object (&listener);
        g_prefix_error (error, "cannot listen at %s: ", socket_path);
        return NULL;
    }
    struct vmf_relay *relay = g_new0 (struct vmf_relay, 1);
    relay->path = g_strdup (socket_path);
    relay->host = g_strdup (host);
    relay->port = port;
    relay->listener = listener;
    relay->cancellable = g_cancellable_new ();
    g_mutex_init (&relay->lock);
    g_cond_init (&relay->ended);
    relay->thread = g_thread_new ("relay", accept_all, relay);
    return relay;
}

void
vmf_relay_free (struct vmf_relay *relay)
{
    if (!relay)
        return;
    g_cancellable_cancel (relay->cancellable);
    g_thread_join (relay->thread);
    g_mutex_lock (&relay->lock);
    while (relay->pipes > 0)
        g_cond_wait (&relay->ended, &relay->lock);
    g_mutex_unlock (&relay->lock);
    g_unlink (relay->path);
    g_object_unref (relay->listener);
    g_object_unref (relay->cancellable);
    g_mutex_clear (&relay->lock);
    g_cond_clear (&relay->ended);
    g_free (relay->path);
    g_free (relay->host);
    g_free (relay);
}
