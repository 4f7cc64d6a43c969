/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Namespaces, made by a short-lived child and held by file descriptors of /proc/PID/ns. */
#include "base/room.h"
#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <signal.h>

struct vmf_room
{
    int user, net, mount; /* user: -1 for root */
};

static bool
write_text (const char *path, const char *text)
{
    int fd = open (path, O_WRONLY | O_CLOEXEC);
    bool good = fd >= 0 && write (fd, text, strlen (text)) == (ssize_t)strlen (text);
    if (fd >= 0)
        close (fd);
    return good;
}

/* We stay who we are inside the user namespace: root there, so that mounts and loopback are ours to make. */
static bool
map_ids (uid_t uid, gid_t gid)
{
    char uid_map[64], gid_map[64];
    snprintf (uid_map, sizeof uid_map, "0 %u 1", uid);
    snprintf (gid_map, sizeof gid_map, "0 %u 1", gid);
    return write_text ("/proc/self/setgroups", "deny") && write_text ("/proc/self/uid_map", uid_map)
           && write_text ("/proc/self/gid_map", gid_map);
}

static bool
loopback_up (void)
{
    struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
    int fd = socket (AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool good = fd >= 0 && ioctl (fd, SIOCSIFFLAGS, &request) == 0;
    if (fd >= 0)
        close (fd);
    return good;
}

/* In the child: makes the room and says how it went with one int, then waits to be killed. */
static void
build (bool own_user, const int pipe_fds[2])
{
    int report = pipe_fds[1];
    uid_t uid = geteuid ();
    gid_t gid = getegid ();
    int failed = 0;
    prctl (PR_SET_PDEATHSIG, SIGKILL);
    close (pipe_fds[0]); /* so that writing fails where nobody reads any more */
    if (unshare (CLONE_NEWNET | CLONE_NEWNS | (own_user ? CLONE_NEWUSER : 0)) != 0 || (own_user && !map_ids (uid, gid))
        || mount ("none", "/", NULL, MS_REC | MS_SLAVE, NULL) != 0 || !loopback_up ())
        failed = errno ? errno : EPERM;
    if (write (report, &failed, sizeof failed) == sizeof failed)
        pause ();
    _exit (0);
}

static int
open_namespace (pid_t pid, const char *name)
{
    g_autofree char *path = g_strdup_printf ("/proc/%d/ns/%s", (int)pid, name);
    return open (path, O_RDONLY | O_CLOEXEC);
}

/* The room that PID is in; NULL with errno. */
static struct vmf_room *
hold (pid_t pid, bool own_user)
{
    g_autoptr (vmf_room) room = g_new0 (struct vmf_room, 1);
    room->user = own_user ? open_namespace (pid, "user") : -1;
    room->net = open_namespace (pid, "net");
    room->mount = open_namespace (pid, "mnt");
    bool good = (!own_user || room->user >= 0) && room->net >= 0 && room->mount >= 0;
    return good ? g_steal_pointer (&room) : NULL;
}

struct vmf_room *
vmf_room_new (GError **error)
{
    bool own_user = geteuid () != 0;
    int pipe_fds[2], failed = EIO;
    if (pipe2 (pipe_fds, O_CLOEXEC) != 0)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "cannot make a pipe: %s", g_strerror (errno));
        return NULL;
    }
    pid_t pid = fork ();
    if (pid == 0)
        build (own_user, pipe_fds);
    close (pipe_fds[1]);
    struct vmf_room *room = NULL;
    if (pid > 0 && read (pipe_fds[0], &failed, sizeof failed) == sizeof failed && failed == 0)
    {
        room = hold (pid, own_user);
        failed = room ? 0 : errno;
    }
    close (pipe_fds[0]);
    if (pid > 0)
    {
        kill (pid, SIGKILL);
        waitpid (pid, NULL, 0);
    }
    if (!room)
        g_set_error (
            error, VMF_ERROR, VMF_ERROR_MISSING,
            "cannot make a network namespace for the conversion: %s; as root this needs CAP_SYS_ADMIN, otherwise "
            "user namespaces (sysctl kernel.unprivileged_userns_clone=1)",
            g_strerror (failed));
    return room;
}

void
vmf_room_free (struct vmf_room *room)
{
    if (!room)
        return;
    const int fds[] = { room->user, room->net, room->mount };
    for (size_t i = 0; i < G_N_ELEMENTS (fds); i++)
        if (fds[i] >= 0)
            close (fds[i]);
    g_free (room);
}

bool
vmf_room_enter (const struct vmf_room *room)
{
    return (room->user < 0 || setns (room->user, CLONE_NEWUSER) == 0) && setns (room->net, CLONE_NEWNET) == 0
           && setns (room->mount, CLONE_NEWNS) == 0;
}
