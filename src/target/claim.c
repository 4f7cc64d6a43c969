/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Claims as abstract sockets: see claim.h. */
#include "target/claim.h"
#include "base/error.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* The address of NAME: hashed, for sun_path is short. Gives its length. */
static socklen_t
address_of (const char *name, struct sockaddr_un *address)
{
    g_autofree char *full = g_strdup_printf ("%u %s", (unsigned)geteuid (), name);
    g_autofree char *digest = g_compute_checksum_for_string (G_CHECKSUM_SHA256, full, -1);
    *address = (struct sockaddr_un){ .sun_family = AF_UNIX };
    int n = g_snprintf (address->sun_path + 1, sizeof address->sun_path - 1, "vmferry-claim-%s", digest);
    return (socklen_t)(offsetof (struct sockaddr_un, sun_path) + 1 + (size_t)n);
}

static char *
sentence (const char *what, pid_t pid)
{
    g_autofree char *process =
        pid > 0 ? g_strdup_printf ("process %d", (int)pid) : g_strdup ("a process that is not seen from here");
    return g_strdup_printf ("%s is being made by another import just now (%s); wait for its end, or import under "
                            "another name and UUID (--name, --uuid new)",
                            what, process);
}

/* Who listens at ADDRESS; 0: it cannot be told, -1: nobody. */
static pid_t
listener (const struct sockaddr_un *address, socklen_t length)
{
    struct ucred peer = { .pid = 0 };
    socklen_t size = sizeof peer;
    int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return 0;
    bool refused = connect (fd, (const struct sockaddr *)address, length) != 0 && errno == ECONNREFUSED;
    if (!refused && getsockopt (fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
        peer.pid = 0;
    close (fd);
    return refused ? -1 : MAX (peer.pid, 0);
}

char *
vmf_claim_holder (const char *name, const char *what)
{
    struct sockaddr_un address;
    socklen_t length = address_of (name, &address);
    pid_t pid = listener (&address, length);
    return pid < 0 ? NULL : sentence (what, pid);
}

int
vmf_claim_take (const char *name, const char *what, GError **error)
{
    struct sockaddr_un address;
    socklen_t length = address_of (name, &address);
    int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && bind (fd, (const struct sockaddr *)&address, length) == 0 && listen (fd, SOMAXCONN) == 0)
        return fd;
    int failed = errno;
    if (fd >= 0)
        close (fd);
    g_autofree char *taken = failed == EADDRINUSE ? sentence (what, MAX (listener (&address, length), 0)) : NULL;
    if (taken)
        g_set_error (error, VMF_ERROR, VMF_ERROR_EXISTS, "%s", taken);
    else
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "cannot reserve %s: %s", what, g_strerror (failed));
    return -1;
}
