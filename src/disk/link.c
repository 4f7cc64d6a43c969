/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Connections that come back. */
#include "disk/link.h"
#include "base/text.h"

enum
{
    PAUSE_FIRST_US = 50 * 1000,
    PAUSE_MAX_US = 5 * 1000 * 1000,
    TROUBLE_MAX_CHARS = 200,
};

static void
enter (struct vmf_link *link, enum vmf_link_state state)
{
    link->state = state;
    link->since_us = g_get_monotonic_time ();
}

bool
vmf_link_open (struct vmf_link *link, GCancellable *cancellable, GError **error)
{
    link->nbd = vmf_nbd_connect (link->uri, link->what, link->flags, cancellable, error);
    link->was_up = link->nbd != NULL;
    if (link->was_up)
        enter (link, VMF_LINK_UP);
    return link->nbd != NULL;
}

void
vmf_link_clear (struct vmf_link *link)
{
    vmf_nbd_close (g_steal_pointer (&link->nbd));
    g_clear_pointer (&link->trouble, g_free);
}

void
vmf_link_drop (struct vmf_link *link, const char *why)
{
    g_free (link->trouble);
    link->trouble = vmf_text_printable (why, TROUBLE_MAX_CHARS);
    g_clear_pointer (&link->nbd, nbd_close);
    int64_t pause_us = PAUSE_FIRST_US << MIN (link->tries, 10u);
    link->tries++;
    enter (link, VMF_LINK_DOWN);
    link->retry_us = link->since_us + MIN (pause_us, (int64_t)PAUSE_MAX_US);
}

bool
vmf_link_is_dead (const struct vmf_link *link)
{
    return (link->state == VMF_LINK_UP || link->state == VMF_LINK_ON_TRIAL)
           && (nbd_aio_is_dead (link->nbd) == 1 || nbd_aio_is_closed (link->nbd) == 1);
}

static void
begin_connecting (struct vmf_link *link)
{
    enter (link, VMF_LINK_CONNECTING);
    link->nbd = vmf_nbd_new (link->flags);
    if (!link->nbd || nbd_aio_connect_uri (link->nbd, link->uri) != 0)
        vmf_link_drop (link, vmf_nbd_words ());
}

bool
vmf_link_step (struct vmf_link *link, int64_t now_us, int64_t timeout_us)
{
    if (link->state == VMF_LINK_DOWN && now_us >= link->retry_us)
        begin_connecting (link);
    if (link->state != VMF_LINK_CONNECTING)
        return false;
    if (nbd_aio_is_ready (link->nbd) == 1)
    {
        enter (link, VMF_LINK_ON_TRIAL);
        return true;
    }
    if (nbd_aio_is_dead (link->nbd) == 1 || nbd_aio_is_closed (link->nbd) == 1)
        vmf_link_drop (link, vmf_nbd_words ());
    else if (now_us - link->since_us > timeout_us)
        vmf_link_drop (link, "the server took the connection and said nothing");
    return false;
}

void
vmf_link_trust (struct vmf_link *link)
{
    link->tries = 0;
    link->was_up = true;
    enter (link, VMF_LINK_UP);
}

struct pollfd
vmf_link_pollfd (const struct vmf_link *link)
{
    if (link->state == VMF_LINK_DOWN)
        return (struct pollfd){ .fd = -1 };
    unsigned direction = nbd_aio_get_direction (link->nbd);
    short events = (short)((direction & LIBNBD_AIO_DIRECTION_READ ? POLLIN : 0)
                           | (direction & LIBNBD_AIO_DIRECTION_WRITE ? POLLOUT : 0));
    return (struct pollfd){ .fd = nbd_aio_get_fd (link->nbd), .events = events };
}

bool
vmf_link_notify (struct vmf_link *link, short revents)
{
    if (link->state == VMF_LINK_DOWN || revents == 0)
        return true;
    unsigned direction = nbd_aio_get_direction (link->nbd);
    int result = 0;
    if (revents & (POLLIN | POLLHUP | POLLERR) && direction & LIBNBD_AIO_DIRECTION_READ)
        result = nbd_aio_notify_read (link->nbd);
    else if (revents & (POLLOUT | POLLERR) && direction & LIBNBD_AIO_DIRECTION_WRITE)
        result = nbd_aio_notify_write (link->nbd);
    return result == 0 && nbd_aio_is_dead (link->nbd) != 1 && nbd_aio_is_closed (link->nbd) != 1;
}
