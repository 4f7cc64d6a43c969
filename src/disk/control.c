/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Both sides of the control socket. A client that says nothing holds nobody up for long. */
#include "disk/control.h"
#include "base/error.h"
#include "base/text.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum
{
    LINE_MAX_BYTES = 4096,
    SERVER_TIMEOUT_MS = 200,
    CLIENT_TIMEOUT_MS = 10 * 1000,
};

struct vmf_control
{
    char *path;
    int fd;
    vmf_control_fn handler;
    void *data;
};

static bool
make_address (const char *work_dir, struct sockaddr_un *address, GError **error)
{
    *address = (struct sockaddr_un){ .sun_family = AF_UNIX };
    int n = g_snprintf (address->sun_path, sizeof address->sun_path, "%s/control.sock", work_dir);
    if (n < (int)sizeof address->sun_path)
        return true;
    g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE, "the work directory's name %s is too long for a socket in it",
                 work_dir);
    return false;
}

static void
set_timeout (int fd, int timeout_ms)
{
    struct timeval time = { timeout_ms / 1000, timeout_ms % 1000 * 1000 };
    setsockopt (fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
    setsockopt (fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time);
}

/* One line as JSON; NULL: none came. */
static json_t *
receive (int fd)
{
    char line[LINE_MAX_BYTES];
    size_t have = 0;
    while (have < sizeof line && !memchr (line, '\n', have))
    {
        ssize_t n = recv (fd, line + have, sizeof line - have, 0);
        if (n <= 0)
            return NULL;
        have += (size_t)n;
    }
    char *end = memchr (line, '\n', have);
    return end ? json_loadb (line, (size_t)(end - line), 0, NULL) : NULL;
}

/* Takes VALUE. */
static bool
send_line (int fd, json_t *value)
{
    char *text = json_dumps (value, JSON_COMPACT);
    g_autofree char *line = g_strconcat (text ? text : "{}", "\n", NULL);
    bool good = send (fd, line, strlen (line), MSG_NOSIGNAL) == (ssize_t)strlen (line);
    free (text);
    json_decref (value);
    return good;
}

struct vmf_control *
vmf_control_new (const char *work_dir, vmf_control_fn handler, void *data, GError **error)
{
    g_autoptr (vmf_control) control = g_new0 (struct vmf_control, 1);
    struct sockaddr_un address;
    control->fd = -1;
    control->handler = handler;
    control->data = data;
    if (!make_address (work_dir, &address, error))
        return NULL;
    g_unlink (address.sun_path); /* a killed one's: the caller holds the directory's lock */
    control->fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (control->fd < 0 || bind (control->fd, (struct sockaddr *)&address, sizeof address) != 0
        || listen (control->fd, 8) != 0)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "cannot make the control socket %s: %s", address.sun_path,
                     g_strerror (errno));
        return NULL;
    }
    control->path = g_strdup (address.sun_path);
    return g_steal_pointer (&control);
}

void
vmf_control_free (struct vmf_control *control)
{
    if (!control)
        return;
    if (control->path)
        g_unlink (control->path);
    if (control->fd >= 0)
        close (control->fd);
    g_free (control->path);
    g_free (control);
}

int
vmf_control_get_fd (const struct vmf_control *control)
{
    return control->fd;
}

static json_t *
answer (struct vmf_control *control, const json_t *request)
{
    g_autoptr (GError) error = NULL;
    const char *command = json_string_value (json_object_get (request, "command"));
    json_t *members = NULL;
    if (command)
        members = control->handler (command, json_string_value (json_object_get (request, "disk")),
                                    json_string_value (json_object_get (request, "value")), control->data, &error);
    if (!members)
        return json_pack ("{s:b, s:s}", "ok", 0, "error", error ? error->message : "a request names a command");
    json_object_set_new (members, "ok", json_true ());
    return members;
}

void
vmf_control_step (struct vmf_control *control)
{
    int fd;
    while ((fd = accept4 (control->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0)
    {
        set_timeout (fd, SERVER_TIMEOUT_MS);
        json_t *request = receive (fd);
        send_line (fd, answer (control, request));
        json_decref (request);
        close (fd);
    }
}

/* ---- commands ---- */

/* On Linux each thread has a level of its own, and gives it to those that it starts. */
static bool
renice_threads (int level)
{
    g_autoptr (GDir) tasks = g_dir_open ("/proc/self/task", 0, NULL);
    const char *name;
    bool good = tasks != NULL;
    while (tasks && (name = g_dir_read_name (tasks)))
        good =
            (setpriority (PRIO_PROCESS, (id_t)g_ascii_strtoull (name, NULL, 10), level) == 0 || errno == ESRCH) && good;
    return good;
}

static json_t *
set_nice (const char *value, GError **error)
{
    uint64_t level;
    if (!vmf_text_to_uint64 (value, "the nice level", 0, 19, &level, error))
        return NULL;
    if (renice_threads ((int)level))
        return json_object ();
    g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "cannot set the nice level: %s", g_strerror (errno));
    return NULL;
}

json_t *
vmf_control_pace (struct vmf_pace *pace, const char *command, const char *value, GError **error)
{
    uint64_t rate;
    if (strcmp (command, "pause") == 0 || strcmp (command, "resume") == 0)
        return vmf_pace_set_paused (pace, *command == 'p'), json_object ();
    if (strcmp (command, "nice") == 0 && value)
        return set_nice (value, error);
    if (strcmp (command, "rate") == 0 && value)
        return vmf_text_to_size (value, "the rate", &rate, error) ? (vmf_pace_set_rate (pace, rate), json_object ())
                                                                  : NULL;
    g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE, "'%s' is none of status, rate VALUE, pause, resume, nice VALUE",
                 command);
    return NULL;
}

/* ---- the other side ---- */

static json_t *
ask (int fd, json_t *request, GError **error)
{
    json_t *reply = send_line (fd, request) ? receive (fd) : NULL;
    if (reply && json_is_true (json_object_get (reply, "ok")))
        return reply;
    const char *why = json_string_value (json_object_get (reply, "error"));
    g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "%s", why ? why : "it gave no answer in time");
    json_decref (reply);
    return NULL;
}

json_t *
vmf_control_send (const char *work_dir, const char *command, const char *disk, const char *value, GError **error)
{
    struct sockaddr_un address;
    if (!make_address (work_dir, &address, error))
        return NULL;
    int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    json_t *reply = NULL;
    set_timeout (fd, CLIENT_TIMEOUT_MS);
    if (fd < 0 || connect (fd, (struct sockaddr *)&address, sizeof address) != 0)
        g_set_error (error, VMF_ERROR, VMF_ERROR_NOT_FOUND, "nothing runs in the work directory %s (%s)", work_dir,
                     g_strerror (errno));
    else
        reply = ask (fd, json_pack ("{s:s, s:s?, s:s?}", "command", command, "disk", disk, "value", value), error);
    if (fd >= 0)
        close (fd);
    return reply;
}
