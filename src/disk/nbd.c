/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Connecting, and block status as an array. */
#include "disk/nbd.h"
#include "base/error.h"
#include "base/text.h"

#include <errno.h>
#include <string.h>

enum
{
    CONNECT_TRIES = 500,
    CONNECT_PAUSE_US = 20 * 1000,
    WALK_WINDOW_BYTES = 1 << 30,
};

bool
vmf_nbd_fail (const char *what, GError **error)
{
    int code = nbd_get_errno () == ENOSPC ? VMF_ERROR_NO_SPACE : VMF_ERROR_FAILED;
    g_autofree char *words = vmf_text_printable (nbd_get_error (), 500);
    g_set_error (error, VMF_ERROR, code, "%s: %s", what, words);
    return false;
}

void
vmf_nbd_close (struct nbd_handle *nbd)
{
    if (nbd && nbd_aio_is_ready (nbd) == 1 && nbd_aio_in_flight (nbd) == 0)
        nbd_shutdown (nbd, 0);
    nbd_close (nbd);
}

static bool
is_starting (void)
{
    int code = nbd_get_errno ();
    return code == ECONNREFUSED || code == ENOENT || code == EAGAIN;
}

struct nbd_handle *
vmf_nbd_connect (const char *uri, const char *what, enum vmf_nbd_flags flags, GCancellable *cancellable, GError **error)
{
    for (int tries = 0;; tries++)
    {
        g_autoptr (nbd_handle) nbd = nbd_create ();
        bool good = nbd
                    && (!(flags & VMF_NBD_EXTENTS) || nbd_add_meta_context (nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) == 0)
                    && (!(flags & VMF_NBD_DEPTH) || nbd_add_meta_context (nbd, "qemu:allocation-depth") == 0)
                    && nbd_connect_uri (nbd, uri) == 0;
        if (good)
            return g_steal_pointer (&nbd);
        if (!is_starting () || tries == CONNECT_TRIES)
            return vmf_nbd_fail (what, error), NULL;
        if (vmf_error_if_cancelled (cancellable, error))
            return NULL;
        g_usleep (CONNECT_PAUSE_US);
    }
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
