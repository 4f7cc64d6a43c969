/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Connecting, and block status as an array. */
#include "disk/nbd.h"
#include "disk/held-up.h"
#include "base/error.h"
#include "base/text.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

enum
{
    CONNECT_TRIES = 500,
    CONNECT_PAUSE_US = 20 * 1000,
    WALK_WINDOW_BYTES = 1 << 30,
    SILENCE_MAX_MS = 60 * 1000,
    LEAVE_MAX_MS = 1000,
    LOOK_MS = 1000, /* how often who waits looks whether the server is held up */
};

bool
vmf_nbd_is_uri (const char *address)
{
    return g_str_has_prefix (address, "nbd://") || g_str_has_prefix (address, "nbds://")
           || g_str_has_prefix (address, "nbd+unix://") || g_str_has_prefix (address, "nbds+unix://");
}

/* A connection that the server closes between two answers is no error to libnbd. */
const char *
vmf_nbd_words (void)
{
    const char *words = nbd_get_error ();
    return words ? words : "the server closed the connection";
}

bool
vmf_nbd_fail (const char *what, GError **error)
{
    int code = nbd_get_errno () == ENOSPC ? VMF_ERROR_NO_SPACE : VMF_ERROR_FAILED;
    g_autofree char *words = vmf_text_printable (vmf_nbd_words (), 500);
    g_set_error (error, VMF_ERROR, code, "%s: %s", what, words);
    return false;
}

/* nbd_shutdown() would wait for ever for a server that hangs. */
void
vmf_nbd_close_all (struct nbd_handle *const *nbds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (nbds[i] && nbd_aio_is_ready (nbds[i]) == 1 && nbd_aio_in_flight (nbds[i]) == 0)
            nbd_aio_disconnect (nbds[i], 0);
    for (size_t i = 0; i < n; i++)
    {
        bool leave = nbds[i] && nbd_aio_is_ready (nbds[i]) == 1 && nbd_aio_in_flight (nbds[i]) == 0;
        while (leave && nbd_aio_is_closed (nbds[i]) != 1 && nbd_aio_is_dead (nbds[i]) != 1)
            leave = vmf_nbd_wait (nbds[i], "leaving", LEAVE_MAX_MS, NULL, NULL);
        nbd_close (nbds[i]);
    }
}

void
vmf_nbd_close (struct nbd_handle *nbd)
{
    vmf_nbd_close_all (&nbd, 1);
}

static bool
is_starting (void)
{
    int code = nbd_get_errno ();
    return code == ECONNREFUSED || code == ENOENT || code == EAGAIN;
}

struct nbd_handle *
vmf_nbd_new (enum vmf_nbd_flags flags)
{
    g_autoptr (nbd_handle) nbd = nbd_create ();
    bool good = nbd && (!(flags & VMF_NBD_EXTENTS) || nbd_add_meta_context (nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) == 0)
                && (!(flags & VMF_NBD_DEPTH) || nbd_add_meta_context (nbd, "qemu:allocation-depth") == 0)
                && nbd_set_pread_initialize (nbd, false) == 0; /* no buffer is looked at whose read failed */
    return good ? g_steal_pointer (&nbd) : NULL;
}

static int
notify (struct nbd_handle *nbd, short revents)
{
    unsigned direction = nbd_aio_get_direction (nbd);
    if (revents & (POLLIN | POLLHUP | POLLERR) && direction & LIBNBD_AIO_DIRECTION_READ)
        return nbd_aio_notify_read (nbd);
    if (revents & (POLLOUT | POLLHUP | POLLERR) && direction & LIBNBD_AIO_DIRECTION_WRITE)
        return nbd_aio_notify_write (nbd);
    return 0;
}

/* Is anything to be read or written? 0: not within TIMEOUT_MS. */
static int
wait_ready (struct nbd_handle *nbd, int timeout_ms, short *revents, GCancellable *cancellable)
{
    unsigned direction = nbd_aio_get_direction (nbd);
    GPollFD cancel = { -1, G_IO_IN, 0 };
    bool has_cancel = cancellable && g_cancellable_make_pollfd (cancellable, &cancel);
    struct pollfd fds[] = { { nbd_aio_get_fd (nbd),
                              (short)((direction & LIBNBD_AIO_DIRECTION_READ ? POLLIN : 0)
                                      | (direction & LIBNBD_AIO_DIRECTION_WRITE ? POLLOUT : 0)),
                              0 },
                            { has_cancel ? cancel.fd : -1, POLLIN, 0 } };
    int ready = poll (fds, G_N_ELEMENTS (fds), timeout_ms);
    if (has_cancel)
        g_cancellable_release_fd (cancellable);
    *revents = fds[0].revents;
    return ready;
}

/* Nothing came. Is that to be expected? TELL gets why. */
static bool
is_held_up (struct nbd_handle *nbd, const char *what, vmf_nbd_tell_fn tell, void *tell_data)
{
    char *uri = nbd_get_uri (nbd);
    g_autofree char *why = vmf_held_up_look (uri);
    free (uri);
    if (why)
        g_debug ("%s: %s", what, why);
    if (why && tell)
        tell (why, tell_data);
    return why != NULL;
}

static bool
wait_telling (struct nbd_handle *nbd, const char *what, int timeout_ms, vmf_nbd_tell_fn tell, void *tell_data,
              GCancellable *cancellable, GError **error)
{
    int ready = 0, left_ms = timeout_ms;
    short revents = 0;
    while (ready == 0 && left_ms > 0)
    {
        int slice_ms = MIN (left_ms, LOOK_MS);
        ready = wait_ready (nbd, slice_ms, &revents, cancellable);
        if (vmf_error_if_cancelled (cancellable, error))
            return false;
        left_ms = ready == 0 && is_held_up (nbd, what, tell, tell_data) ? timeout_ms : left_ms - slice_ms;
    }
    if (ready == 0)
        return g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "%s: the NBD server has said nothing for %d s", what,
                            timeout_ms / 1000),
               false;
    return (ready < 0 && errno == EINTR) || (ready > 0 && notify (nbd, revents) == 0) || vmf_nbd_fail (what, error);
}

bool
vmf_nbd_wait (struct nbd_handle *nbd, const char *what, int timeout_ms, GCancellable *cancellable, GError **error)
{
    return wait_telling (nbd, what, timeout_ms, NULL, NULL, cancellable, error);
}

bool
vmf_nbd_finish_connecting (struct nbd_handle *nbd, const char *what, int timeout_ms, GCancellable *cancellable,
                           GError **error)
{
    while (nbd_aio_is_connecting (nbd) == 1)
        if (!vmf_nbd_wait (nbd, what, timeout_ms, cancellable, error))
            return false;
    return nbd_aio_is_ready (nbd) == 1 || vmf_nbd_fail (what, error);
}

/* Of a server that the user named. */
static void
add_remedy (GError *why)
{
    g_autofree char *words = g_steal_pointer (&why->message);
    why->message = g_strdup_printf ("%s; no NBD server listens there: start it, or correct the address", words);
}

struct nbd_handle *
vmf_nbd_connect (const char *uri, const char *what, enum vmf_nbd_flags flags, GCancellable *cancellable, GError **error)
{
    for (int tries = 0;; tries++)
    {
        g_autoptr (nbd_handle) nbd = vmf_nbd_new (flags);
        g_autoptr (GError) why = NULL;
        if (nbd && (nbd_aio_connect_uri (nbd, uri) == 0 || vmf_nbd_fail (what, &why))
            && vmf_nbd_finish_connecting (nbd, what, SILENCE_MAX_MS, cancellable, &why))
            return g_steal_pointer (&nbd);
        bool starting = is_starting () && !(nbd && nbd_aio_is_connecting (nbd) == 1);
        if (!nbd)
            vmf_nbd_fail (what, &why);
        if (vmf_error_if_cancelled (cancellable, error))
            return NULL;
        if (starting && flags & VMF_NBD_NAMED)
            add_remedy (why);
        if (!starting || tries == CONNECT_TRIES || flags & VMF_NBD_NAMED)
            return g_propagate_error (error, g_steal_pointer (&why)), NULL;
        g_usleep (CONNECT_PAUSE_US);
    }
}

bool
vmf_nbd_read_telling (struct nbd_handle *nbd, const char *what, void *data, size_t length, uint64_t offset,
                      vmf_nbd_tell_fn tell, void *tell_data, GCancellable *cancellable, GError **error)
{
    int64_t cookie = nbd_aio_pread (nbd, data, length, offset, NBD_NULL_COMPLETION, 0);
    int done = cookie < 0 ? -1 : 0;
    while (done == 0 && (done = nbd_aio_command_completed (nbd, (uint64_t)cookie)) == 0)
        if (!wait_telling (nbd, what, SILENCE_MAX_MS, tell, tell_data, cancellable, error))
            return false;
    return done > 0 || vmf_nbd_fail (what, error);
}

bool
vmf_nbd_read (struct nbd_handle *nbd, const char *what, void *data, size_t length, uint64_t offset,
              GCancellable *cancellable, GError **error)
{
    return vmf_nbd_read_telling (nbd, what, data, length, offset, NULL, NULL, cancellable, error);
}

struct answer
{
    const char *context;
    GArray *status;
    uint64_t left;
};

static int
on_status (void *data, const char *context, uint64_t offset, uint32_t *entries, size_t n_entries, int *error)
{
    struct answer *answer = data;
    for (size_t i = 0; strcmp (context, answer->context) == 0 && i + 1 < n_entries && answer->left > 0; i += 2)
    {
        struct vmf_nbd_status one = { MIN (entries[i], answer->left), entries[i + 1] };
        answer->left -= one.length_bytes;
        if (one.length_bytes > 0)
            g_array_append_val (answer->status, one);
    }
    return 0;
}

bool
vmf_nbd_block_status (struct nbd_handle *nbd, const char *context, uint64_t offset, uint64_t length, GArray *status,
                      const char *what, GError **error)
{
    struct answer answer = { context, status, length };
    nbd_extent_callback callback = { .callback = on_status, .user_data = &answer };
    if (nbd_block_status (nbd, length, offset, callback, 0) != 0)
        return vmf_nbd_fail (what, error);
    if (answer.left == length)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT, "%s: the NBD server gave an empty answer about its extents",
                     what);
        return false;
    }
    return true;
}

static bool
walk (struct nbd_handle *nbd, const char *what, const char *context, vmf_nbd_status_fn each, void *data,
      GCancellable *cancellable, GError **error)
{
    uint64_t size = (uint64_t)nbd_get_size (nbd), offset = 0;
    while (offset < size)
    {
        g_autoptr (GArray) status = g_array_new (FALSE, FALSE, sizeof (struct vmf_nbd_status));
        uint64_t window = MIN (size - offset, (uint64_t)WALK_WINDOW_BYTES);
        if (vmf_error_if_cancelled (cancellable, error)
            || !vmf_nbd_block_status (nbd, context, offset, window, status, what, error))
            return false;
        for (guint i = 0; i < status->len; i++)
        {
            const struct vmf_nbd_status *one = &g_array_index (status, struct vmf_nbd_status, i);
            each (offset, one, data);
            offset += one->length_bytes;
        }
    }
    return true;
}

bool
vmf_nbd_walk (const char *uri, const char *what, enum vmf_nbd_flags flags, const char *context, vmf_nbd_status_fn each,
              void *data, GCancellable *cancellable, GError **error)
{
    g_autoptr (nbd_handle) nbd = vmf_nbd_connect (uri, what, flags, cancellable, error);
    return nbd && walk (nbd, what, context, each, data, cancellable, error);
}
