/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Can a TCP port be reached, how long does it take, and by which of this host's addresses and interfaces (A15, A22)?
 *
 * Nothing is sent: a connection is made and closed. All of a call's targets are tried at the same time, all addresses
 * of a name too; the first that answers counts. Any thread may call; everything is done when a call returns.
 */
#pragma once
#include <gio/gio.h>
#include <stdbool.h>
#include <stdint.h>

enum vmf_reach_state
{
    VMF_REACH_OK,
    VMF_REACH_REFUSED,     /* the host is there and nothing listens, or a firewall says no */
    VMF_REACH_TIMED_OUT,   /* no answer: a firewall drops it, or the host is off */
    VMF_REACH_UNREACHABLE, /* this host, or a router, knows no way */
    VMF_REACH_NO_NAME,     /* the name has no address */
    VMF_REACH_FAILED,      /* else: `text` says */
};

struct vmf_reach
{
    const char *host; /* by the caller, who keeps it: a name or an address */
    uint16_t port;
    /* The result; strings are freed by vmf_reach_clear(). */
    enum vmf_reach_state state;
    double time_ms; /* OK: until the connection stood, without the look-up of the name */
    char *address;  /* which of the host's addresses: OK: the one that answered, otherwise the first; NULL: NO_NAME */
    char *local;    /* OK: this host's address */
    char *text;     /* for people: "connection refused"; NULL where OK */
};

/* Tries all N of REACHES. False only when cancelled; the results are then not to be used, but to be cleared. */
bool vmf_reach_check (struct vmf_reach *reaches, size_t n, int64_t timeout_ms, GCancellable *cancellable,
                      GError **error);
void vmf_reach_clear (struct vmf_reach *reach);

/* How packets to an address leave this host. */
struct vmf_route
{
    char *local;         /* this host's address on the way */
    char *interface;     /* NULL: not found */
    bool is_default;     /* no route but the default one leads there */
    bool shares_default; /* the interface is the one of the default route */
};

/* ADDRESS is numeric. No packet is sent. NULL: there is no way there. */
struct vmf_route *vmf_route_look (const char *address, GError **error);
void vmf_route_free (struct vmf_route *route);

/* For vmf_route_look and its test: TABLE has the text of /proc/net/route (or, for an IPv6 address, of
   /proc/net/ipv6_route). Sets is_default and shares_default by ADDRESS and ROUTE's interface. */
void vmf_route_read_table (const char *table, GInetAddress *address, struct vmf_route *route);
