/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ports that answer, refuse, stay silent; names that are none; routes by tables as Linux prints them (A15, A22). */
#include "base/error.h"
#include "base/reach.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum
{
    TIMEOUT_MS = 20000,
    SHORT_MS = 200,
};

/* A socket bound to a free port of the loopback. */
static int
bound (uint16_t *port, int backlog)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl (INADDR_LOOPBACK) };
    socklen_t length = sizeof address;
    int fd = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint (bind (fd, (struct sockaddr *)&address, length), ==, 0);
    g_assert_cmpint (getsockname (fd, (struct sockaddr *)&address, &length), ==, 0);
    if (backlog >= 0)
        g_assert_cmpint (listen (fd, backlog), ==, 0);
    *port = ntohs (address.sin_port);
    return fd;
}

/* Port 443 open and 902 closed is what users have (PITFALLS 19): each answer belongs to its own port. */
static void
test_each_port_for_itself (void)
{
    uint16_t open_port, closed_port;
    int open_fd = bound (&open_port, 5), closed_fd = bound (&closed_port, -1);
    struct vmf_reach reaches[] = { { "127.0.0.1", open_port },
                                   { "127.0.0.1", closed_port },
                                   { "localhost", open_port },
                                   { "no-such-name.invalid", open_port } };
    g_autoptr (GError) error = NULL;
    g_assert_true (vmf_reach_check (reaches, G_N_ELEMENTS (reaches), TIMEOUT_MS, NULL, &error));
    g_assert_no_error (error);
    g_assert_cmpint (reaches[0].state, ==, VMF_REACH_OK);
    g_assert_cmpstr (reaches[0].local, ==, "127.0.0.1");
    g_assert_cmpstr (reaches[0].address, ==, "127.0.0.1");
    g_assert_null (reaches[0].text);
    g_assert_cmpint (reaches[1].state, ==, VMF_REACH_REFUSED);
    g_assert_nonnull (reaches[1].text);
    /* ::1 refuses, 127.0.0.1 answers. */
    g_assert_cmpint (reaches[2].state, ==, VMF_REACH_OK);
    g_assert_cmpint (reaches[3].state, ==, VMF_REACH_NO_NAME);
    for (size_t i = 0; i < G_N_ELEMENTS (reaches); i++)
        vmf_reach_clear (&reaches[i]);
    close (open_fd);
    close (closed_fd);
}

/* A listener whose queue is full lets further connections wait for ever, as a firewall that drops does. */
static int
fill_queue (uint16_t port, int *fds, int n)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl (INADDR_LOOPBACK),
                                   .sin_port = htons (port) };
    for (int i = 0; i < n; i++)
    {
        fds[i] = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        connect (fds[i], (struct sockaddr *)&address, sizeof address);
    }
    return n;
}

static void
test_silence_times_out (void)
{
    uint16_t port;
    int fds[8], fd = bound (&port, 0), n = fill_queue (port, fds, 8);
    struct vmf_reach reach = { "127.0.0.1", port };
    g_assert_true (vmf_reach_check (&reach, 1, SHORT_MS, NULL, NULL));
    g_assert_cmpint (reach.state, ==, VMF_REACH_TIMED_OUT);
    g_assert_cmpstr (reach.address, ==, "127.0.0.1");
    vmf_reach_clear (&reach);
    while (n > 0)
        close (fds[--n]);
    close (fd);
}

static void *
cancel_thread (void *cancellable)
{
    g_cancellable_cancel (cancellable);
    return NULL;
}

static void
test_cancel (void)
{
    uint16_t port;
    int fds[8], fd = bound (&port, 0), n = fill_queue (port, fds, 8);
    struct vmf_reach reach = { "127.0.0.1", port };
    g_autoptr (GCancellable) cancellable = g_cancellable_new ();
    g_autoptr (GError) error = NULL;
    GThread *thread = g_thread_new ("cancel", cancel_thread, cancellable);
    g_assert_false (vmf_reach_check (&reach, 1, G_MAXINT32, cancellable, &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_CANCELLED);
    g_thread_join (thread);
    vmf_reach_clear (&reach);
    while (n > 0)
        close (fds[--n]);
    close (fd);
}

/* Two networks: eth0 with the default route, eth1 with 10.20.0.0/16, and 172.16.0.0/12 behind a router on eth1. */
static const char table_4[] = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
                              "eth0\t00000000\t0102A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
                              "eth0\t0002A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n"
                              "eth1\t0000140A\t00000000\t0001\t0\t0\t101\t0000FFFF\t0\t0\t0\n"
                              "eth1\t000010AC\t0100140A\t0003\t0\t0\t101\t0000F0FF\t0\t0\t0\n";

static const char table_6[] = "fd000000000000020000000000000000 40 00000000000000000000000000000000 00 "
                              "00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth1\n"
                              "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
                              "fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth0\n"
                              "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
                              "00000000000000000000000000000000 ffffffff 00000001 00000000 00200201       lo\n";

static void
assert_route (const char *address_text, const char *interface, bool is_default, bool shares_default)
{
    g_autoptr (GInetAddress) address = g_inet_address_new_from_string (address_text);
    struct vmf_route route = { .interface = (char *)interface };
    bool v6 = g_inet_address_get_family (address) == G_SOCKET_FAMILY_IPV6;
    vmf_route_read_table (v6 ? table_6 : table_4, address, &route);
    g_assert_cmpint (route.is_default, ==, is_default);
    g_assert_cmpint (route.shares_default, ==, shares_default);
}

static void
test_tables (void)
{
    assert_route ("8.8.8.8", "eth0", true, true);
    assert_route ("192.168.2.77", "eth0", false, true); /* its own network, but the default route's interface */
    assert_route ("10.20.3.4", "eth1", false, false);
    assert_route ("172.31.255.1", "eth1", false, false);
    assert_route ("2001:db8::1", "eth0", true, true);
    assert_route ("fd00:0:0:2::9", "eth1", false, false);
    assert_route ("::1", "lo", false, false); /* the unreachable default route of lo is none */
}

static void
test_loopback_route (void)
{
    g_autoptr (GError) error = NULL;
    struct vmf_route *route = vmf_route_look ("127.0.0.1", &error);
    g_assert_no_error (error);
    g_assert_cmpstr (route->interface, ==, "lo");
    g_assert_cmpstr (route->local, ==, "127.0.0.1");
    g_assert_false (route->is_default);
    vmf_route_free (route);
    g_assert_null (vmf_route_look ("vcenter", &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_FAILED);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/reach/A15-each-port-for-itself", test_each_port_for_itself);
    g_test_add_func ("/reach/silence-times-out", test_silence_times_out);
    g_test_add_func ("/reach/cancel", test_cancel);
    g_test_add_func ("/route/A22-tables", test_tables);
    g_test_add_func ("/route/loopback", test_loopback_route);
    return g_test_run ();
}
