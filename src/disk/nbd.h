/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Small things around libnbd that every reader of disks needs. */
#pragma once
#include <gio/gio.h>
#include <libnbd.h>
#include <stdbool.h>
#include <stdint.h>

/* Is ADDRESS that of an NBD server's disk: nbd://, nbds://, nbd+unix:// or nbds+unix://? */
bool vmf_nbd_is_uri (const char *address);

/* Takes leave of the server, where nothing is in flight, and closes: nbdkit 1.32 may abort when a client just goes. */
void vmf_nbd_close (struct nbd_handle *nbd);
void vmf_nbd_close_all (struct nbd_handle *const *nbds, size_t n); /* takes leave of all, then waits for all */
typedef struct nbd_handle nbd_handle;
G_DEFINE_AUTOPTR_CLEANUP_FUNC (nbd_handle, vmf_nbd_close)

enum vmf_nbd_flags
{
    VMF_NBD_NONE = 0,
    VMF_NBD_EXTENTS = 1 << 0, /* ask for base:allocation where the server has it */
    VMF_NBD_DEPTH = 1 << 1,   /* ask for qemu:allocation-depth */
    VMF_NBD_NAMED = 1 << 2,   /* the user's server, no helper of ours: one that is not there is not waited for */
};

/* A handle that is not connected yet and asks for the contexts of FLAGS. NULL: libnbd failed. */
struct nbd_handle *vmf_nbd_new (enum vmf_nbd_flags flags);

/* Lets libnbd work on NBD once the connection is ready for it. False: cancelled, or nothing came for TIMEOUT_MS, or the
   connection died; it is of no use any more. WHAT is for the message: "sda". */
bool vmf_nbd_wait (struct nbd_handle *nbd, const char *what, int timeout_ms, GCancellable *cancellable, GError **error);

/* The connection that an nbd_aio_connect…() began is made, or has said nothing for TIMEOUT_MS. */
bool vmf_nbd_finish_connecting (struct nbd_handle *nbd, const char *what, int timeout_ms, GCancellable *cancellable,
                                GError **error);

/* A connected handle. A helper's socket exists a moment before it listens, and one that died may just be started again:
   refused connections are tried again for ten seconds, unless FLAGS say that the user named the server. A server that
   takes the connection and says nothing for a minute has failed. */
struct nbd_handle *vmf_nbd_connect (const char *uri, const char *what, enum vmf_nbd_flags flags,
                                    GCancellable *cancellable, GError **error);

/* Reads; a server that says nothing for a minute has failed. */
bool vmf_nbd_read (struct nbd_handle *nbd, const char *what, void *data, size_t length, uint64_t offset,
                   GCancellable *cancellable, GError **error);

/* libnbd's words for why its last call in this thread failed, or a connection ended. Never NULL; borrowed till the
 * next. */
const char *vmf_nbd_words (void);

/* Sets ERROR to "WHAT: libnbd's own words" and gives false. */
bool vmf_nbd_fail (const char *what, GError **error);

/* One chunk of a block status answer: `flags` are LIBNBD_STATE_* (base:allocation) or the depth
 * (qemu:allocation-depth). */
struct vmf_nbd_status
{
    uint64_t length_bytes;
    uint32_t flags;
};

/* Asks for at most LENGTH bytes from OFFSET on and appends what the server says to STATUS (struct vmf_nbd_status); the
   sum may be shorter than LENGTH and is never longer. */
bool vmf_nbd_block_status (struct nbd_handle *nbd, const char *context, uint64_t offset, uint64_t length,
                           GArray *status, const char *what, GError **error);

/* Walks a whole export in windows and calls EACH for every chunk of CONTEXT's answer, offsets rising. FLAGS must ask
   for that context. */
typedef void (*vmf_nbd_status_fn) (uint64_t offset, const struct vmf_nbd_status *status, void *data);
bool vmf_nbd_walk (const char *uri, const char *what, enum vmf_nbd_flags flags, const char *context,
                   vmf_nbd_status_fn each, void *data, GCancellable *cancellable, GError **error);
