/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which way packets leave: the kernel is asked by a connected UDP socket, which sends nothing; its tables say whether
 * that was the default route. Policy routing has tables that /proc does not show: the address is right there too, only
 * "is it the default route" is then the main table's answer.
 */
#include "base/reach.h"
#include "base/error.h"

#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum
{
    ADDRESS_BYTES_MAX = 16,
    ROUTE_UP = 1, /* RTF_UP */
    ROUTE_REJECT = 0x200,
    DISCARD_PORT = 9,
};

/* One line of a table. */
struct line
{
    uint8_t network[ADDRESS_BYTES_MAX];
    unsigned prefix_bits;
    unsigned long flags;
    char interface[64];
};

void
vmf_route_free (struct vmf_route *route)
{
    if (!route)
        return;
    g_free (route->local);
    g_free (route->interface);
    g_free (route);
}

/* /proc/net/route: interface, network, gateway, flags, three counters, mask; addresses as the machine has them in
   memory, in hexadecimal. */
static bool
read_line_4 (const char *text, struct line *line)
{
    unsigned network, gateway, mask;
    if (sscanf (text, "%63s %8x %8x %8lx %*s %*s %*s %8x", line->interface, &network, &gateway, &line->flags, &mask)
        != 5)
        return false;
    memcpy (line->network, &network, sizeof network);
    line->prefix_bits = (unsigned)__builtin_popcount (mask);
    return true;
}

/* /proc/net/ipv6_route: network, its prefix length, source, its prefix length, gateway, metric, two counters, flags,
   interface. */
static bool
read_line_6 (const char *text, struct line *line)
{
    char network[33];
    if (sscanf (text, "%32s %2x %*s %*s %*s %*s %*s %*s %8lx %63s", network, &line->prefix_bits, &line->flags,
                line->interface)
            != 4
        || strlen (network) != 32)
        return false;
    for (size_t i = 0; i < ADDRESS_BYTES_MAX; i++)
        line->network[i] =
            (uint8_t)(g_ascii_xdigit_value (network[2 * i]) << 4 | g_ascii_xdigit_value (network[2 * i + 1]));
    return line->prefix_bits <= 128;
}

static bool
covers (const struct line *line, const uint8_t *address)
{
    unsigned whole = line->prefix_bits / 8, rest = line->prefix_bits % 8;
    if (memcmp (line->network, address, whole) != 0)
        return false;
    return rest == 0 || (line->network[whole] ^ address[whole]) >> (8 - rest) == 0;
}

void
vmf_route_read_table (const char *table, GInetAddress *address, struct vmf_route *route)
{
    bool v6 = g_inet_address_get_family (address) == G_SOCKET_FAMILY_IPV6, other = false;
    const uint8_t *bytes = g_inet_address_to_bytes (address);
    g_auto (GStrv) lines = g_strsplit (table, "\n", -1);
    route->is_default = route->shares_default = false;
    for (size_t i = 0; lines[i]; i++)
    {
        struct line line = { 0 };
        if (!(v6 ? read_line_6 (lines[i], &line) : read_line_4 (lines[i], &line)) || !(line.flags & ROUTE_UP)
            || line.flags & ROUTE_REJECT)
            continue;
        bool own = g_strcmp0 (line.interface, route->interface) == 0;
        if (line.prefix_bits == 0 && own)
            route->shares_default = true;
        else if (line.prefix_bits > 0 && own && covers (&line, bytes))
            other = true;
    }
    route->is_default = route->shares_default && !other;
}

/* The interface that has LOCAL. */
static char *
interface_of (GInetAddress *local)
{
    struct ifaddrs *all = NULL;
    char *name = NULL;
    if (getifaddrs (&all) != 0)
        return NULL;
    for (struct ifaddrs *one = all; one && !name; one = one->ifa_next)
    {
        int family = one->ifa_addr ? one->ifa_addr->sa_family : AF_UNSPEC;
        if (family != AF_INET && family != AF_INET6)
            continue;
        size_t length = family == AF_INET ? sizeof (struct sockaddr_in) : sizeof (struct sockaddr_in6);
        g_autoptr (GSocketAddress) socket = g_socket_address_new_from_native (one->ifa_addr, length);
        if (socket && g_inet_address_equal (g_inet_socket_address_get_address (G_INET_SOCKET_ADDRESS (socket)), local))
            name = g_strdup (one->ifa_name);
    }
    freeifaddrs (all);
    return name;
}

/* The address that this host would use. */
static GInetAddress *
local_towards (GInetAddress *address)
{
    struct sockaddr_storage storage;
    socklen_t length = sizeof storage;
    g_autoptr (GSocketAddress) target = g_inet_socket_address_new (address, DISCARD_PORT);
    gssize target_length = g_socket_address_get_native_size (target);
    int fd = socket (g_socket_address_get_family (target) == G_SOCKET_FAMILY_IPV6 ? AF_INET6 : AF_INET,
                     SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool good = fd >= 0 && g_socket_address_to_native (target, &storage, sizeof storage, NULL)
                && connect (fd, (struct sockaddr *)&storage, (socklen_t)target_length) == 0
                && getsockname (fd, (struct sockaddr *)&storage, &length) == 0;
    int saved = errno;
    if (fd >= 0)
        close (fd);
    errno = saved;
    g_autoptr (GSocketAddress) local = good ? g_socket_address_new_from_native (&storage, length) : NULL;
    return local ? g_object_ref (g_inet_socket_address_get_address (G_INET_SOCKET_ADDRESS (local))) : NULL;
}

struct vmf_route *
vmf_route_look (const char *address_text, GError **error)
{
    g_autoptr (GInetAddress) address = g_inet_address_new_from_string (address_text);
    g_autoptr (GInetAddress) local = address ? local_towards (address) : NULL;
    if (!local)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "no route leads to %s: %s", address_text,
                     address ? g_strerror (errno) : "it is not an address");
        return NULL;
    }
    bool v6 = g_inet_address_get_family (address) == G_SOCKET_FAMILY_IPV6;
    struct vmf_route *route = g_new0 (struct vmf_route, 1);
    g_autofree char *table = NULL;
    route->local = g_inet_address_to_string (local);
    route->interface = interface_of (local);
    if (g_file_get_contents (v6 ? "/proc/net/ipv6_route" : "/proc/net/route", &table, NULL, NULL))
        vmf_route_read_table (table, address, route);
    return route;
}
