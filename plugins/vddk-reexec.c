/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vddk-reexec.h. The user's value travels in a variable of our own: '=' and the value, or nothing. */
#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "vddk-reexec.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MARK "VMFERRY_VDDK_USERS_PATH"
#define SEARCH_PATH "LD_LIBRARY_PATH"

enum
{
    FIRST_SOCKET = 3, /* of systemd's protocol */
};

static char *path_at_start; /* LD_LIBRARY_PATH as the loader saw it */
static bool is_second;

void
vddk_reexec_restore (void)
{
    const char *now = getenv (SEARCH_PATH), *mark = getenv (MARK);
    free (path_at_start);
    path_at_start = strdup (now ? now : "");
    is_second = mark != NULL;
    if (!mark)
        return;
    if (mark[0] == '=')
        setenv (SEARCH_PATH, mark + 1, 1);
    else
        unsetenv (SEARCH_PATH);
    unsetenv (MARK);
}

static bool
is_in_path (const char *path, const char *directory)
{
    size_t length = strlen (directory);
    for (const char *at = path; at && *at; at = strchr (at, ':'))
    {
        at += *at == ':';
        if (strncmp (at, directory, length) == 0 && (at[length] == '\0' || at[length] == ':'))
            return true;
    }
    return false;
}

/* The whole of a file of /proc/self, with a NUL behind it. */
static char *
slurp (const char *path, size_t *size)
{
    int fd = open (path, O_RDONLY | O_CLOEXEC);
    char *bytes = NULL;
    size_t room = 0;
    ssize_t got = 1;
    for (*size = 0; fd >= 0 && got > 0; *size += (size_t)got)
    {
        if (room - *size < 4096)
        {
            char *more = realloc (bytes, room = room * 2 + 8192);
            if (!more)
                break;
            bytes = more;
        }
        got = read (fd, bytes + *size, room - *size - 1);
        if (got < 0)
            break;
    }
    if (fd >= 0)
        close (fd);
    if (bytes && got == 0)
    {
        bytes[*size] = '\0';
        return bytes;
    }
    free (bytes);
    return NULL;
}

static char **
split (char *bytes, size_t size)
{
    size_t count = 0;
    for (size_t at = 0; at < size; at++)
        count += bytes[at] == '\0';
    char **words = calloc (count + 2, sizeof *words);
    count = 0;
    for (size_t at = 0; words && at < size; at += strlen (bytes + at) + 1)
        words[count++] = bytes + at;
    return words;
}

/* nbdkit has taken note of its systemd sockets: variables gone, descriptors close-on-exec. Undone, or the second life
   would not know of them. */
static void
hand_on_sockets (void)
{
    size_t size;
    char *environment = slurp ("/proc/self/environ", &size);
    unsigned long pid = 0, count = 0;
    for (size_t at = 0; environment && at < size; at += strlen (environment + at) + 1)
        if (strncmp (environment + at, "LISTEN_PID=", 11) == 0)
            pid = strtoul (environment + at + 11, NULL, 10);
        else if (strncmp (environment + at, "LISTEN_FDS=", 11) == 0)
            count = strtoul (environment + at + 11, NULL, 10);
    free (environment);
    if (pid != (unsigned long)getpid () || count == 0 || count > 1024)
        return;
    char text[32];
    snprintf (text, sizeof text, "%lu", pid);
    setenv ("LISTEN_PID", text, 1);
    snprintf (text, sizeof text, "%lu", count);
    setenv ("LISTEN_FDS", text, 1);
    for (int fd = FIRST_SOCKET; fd < FIRST_SOCKET + (int)count; fd++)
        fcntl (fd, F_SETFD, 0);
}

static bool
set_environment (const char *directory)
{
    const char *now = getenv (SEARCH_PATH);
    char *mark = NULL, *path = NULL;
    bool good = asprintf (&mark, "%s%s", now ? "=" : "", now ? now : "") >= 0
                && asprintf (&path, "%s%s%s", directory, now && *now ? ":" : "", now ? now : "") >= 0
                && setenv (MARK, mark, 1) == 0 && setenv (SEARCH_PATH, path, 1) == 0;
    free (mark);
    free (path);
    return good;
}

bool
vddk_reexec_with (const char *directory, struct vddk_error *error)
{
    size_t size;
    if (is_in_path (path_at_start, directory))
        return true;
    if (is_second)
        return vddk_fail (error, "nbdkit was started again for VDDK in '%s', but LD_LIBRARY_PATH did not arrive",
                          directory);
    if (strchr (directory, ':'))
        return vddk_fail (error, "VDDK's directory '%s' has a colon in its name: LD_LIBRARY_PATH cannot say that",
                          directory);
    char *bytes = slurp ("/proc/self/cmdline", &size), **arguments = bytes ? split (bytes, size) : NULL;
    if (arguments && set_environment (directory))
    {
        hand_on_sockets ();
        nbdkit_debug ("executing nbdkit again with VDDK's directory %s in LD_LIBRARY_PATH", directory);
        /* What --dump-plugin has written so far is written again. */
        __fpurge (stdout);
        fflush (stderr);
        execv ("/proc/self/exe", arguments);
    }
    int saved = errno;
    vddk_reexec_restore ();
    free (arguments);
    free (bytes);
    return vddk_fail (error, "cannot start nbdkit again with VDDK's directory '%s' in LD_LIBRARY_PATH: %s", directory,
                      strerror (saved));
}
