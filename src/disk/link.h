/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A connection to an NBD server that comes back: lost, refused or hung, it is made again with growing pauses.
 *
 *     down ──(pause over)──► connecting ──► on trial ──► up ──(died, hung)──► down
 *
 * What comes back may be another disk's server: the owner looks at it, while the link is on trial, and then says that
 * it is up. Nothing here waits but vmf_link_open: the owner polls. Commands go straight to `nbd`. One thread.
 */
#pragma once
#include "disk/nbd.h"
#include <poll.h>

enum vmf_link_state
{
    VMF_LINK_DOWN,
    VMF_LINK_CONNECTING,
    VMF_LINK_ON_TRIAL, /* the owner looks whether it is the same disk */
    VMF_LINK_UP,
};

struct vmf_link
{
    const char *uri, *what; /* borrowed; WHAT for messages: "sda" */
    enum vmf_nbd_flags flags;
    enum vmf_link_state state;
    struct nbd_handle *nbd;
    int64_t since_us; /* when the state began */
    int64_t retry_us; /* down: when to try again */
    unsigned tries;   /* since it was last up */
    bool was_up;
    char *trouble; /* libnbd's words for why it is down; NULL: none yet */
};

/* Connects, waiting for a helper that is just starting. */
bool vmf_link_open (struct vmf_link *link, GCancellable *cancellable, GError **error);
void vmf_link_clear (struct vmf_link *link);

/* Closes it at once. Callbacks of what was in flight do not come any more. */
void vmf_link_drop (struct vmf_link *link, const char *why);

/* The connection died while a command was sent: poll will not tell. Call vmf_link_drop. */
bool vmf_link_is_dead (const struct vmf_link *link);

/* Does what is due. True when it was connected just now, and is on trial. */
bool vmf_link_step (struct vmf_link *link, int64_t now_us, int64_t timeout_us);

/* It is the same disk: it may be used. */
void vmf_link_trust (struct vmf_link *link);

/* What to poll for; fd -1 where there is nothing. */
struct pollfd vmf_link_pollfd (const struct vmf_link *link);

/* Lets libnbd work on what poll found. False: the connection died; call vmf_link_drop. */
bool vmf_link_notify (struct vmf_link *link, short revents);
