/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A feed: a thread that downloads one HTTP(S) address into a pipe, for a helper that reads a stream.
 *
 *     HTTP server ─► feed's thread (libcurl) ─► pipe ─► nbdkit's vmdkstream plugin, stream=fd:4
 *
 * Nothing is kept but what the pipe holds: who reads slowly makes the server send slowly. A download that succeeds ends
 * the stream; one that fails ends it too, and the reason is kept for whoever asks. A feed cannot go back: who needs the
 * bytes again starts another.
 *
 * Order of calls: start, then anything in any thread, free.
 */
#pragma once
#include "base/tls.h"

/* A stream may say nothing for so long before it counts as hung, where nothing else is said. */
#define VMF_FEED_STALL_MS 60000

struct vmf_feed_options
{
    char *url;     /* http:// or https://, without a password */
    GStrv headers; /* "Name: value" besides our own; NULL: none */
    /* The cookie to send ("name=value"), asked for before each request, on the feed's thread; caller frees. NULL: none.
     */
    char *(*get_cookie) (void *data);
    void *data; /* must live as long as the feed */
    struct vmf_tls_trust trust;
    bool direct;      /* by no proxy, whatever the environment says: a session's server is reached without one, too */
    int64_t stall_ms; /* hung: no byte for so long, while the reader takes them; 0: VMF_FEED_STALL_MS */
};

struct vmf_feed_options *vmf_feed_options_copy (const struct vmf_feed_options *options);
void vmf_feed_options_free (struct vmf_feed_options *options);

/* URL as it may be shown and written down: without user, query and fragment, where passwords and signatures are. Caller
   frees. NULL, USAGE: it is no HTTP address, or has a password in it. */
char *vmf_feed_show_url (const char *url, GError **error);

/* OPTIONS are copied. *READ_FD is the end to read from, close-on-exec; the caller closes it, and once nobody has it the
   download ends. A redirect is followed on the same host only. */
typedef struct vmf_feed vmf_feed;
struct vmf_feed *vmf_feed_start (const struct vmf_feed_options *options, GCancellable *cancellable, int *read_fd,
                                 GError **error);

/* Ends the thread at once, whatever it waits for. */
void vmf_feed_free (struct vmf_feed *feed);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_feed, vmf_feed_free)

/* Bytes that came so far, and all that will as the server says it (0: it does not). */
void vmf_feed_get_progress (const struct vmf_feed *feed, uint64_t *received_bytes, uint64_t *total_bytes);

/* True, with ERROR (may be NULL) set, when the download failed: NOT_FOUND, AUTH, UNSAFE (whose certificate
   it is), CANCELLED, FAILED. A reader that went away is
   no failure. */
bool vmf_feed_has_failed (struct vmf_feed *feed, GError **error);
