/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Starting, draining, waiting for and killing child processes.
 *
 * Between fork and exec only async-signal-safe calls are made: other threads of ours may hold locks at that moment. The
 * group is killed before the leader is reaped, so its number cannot have been given to somebody else.
 */
#include "base/child.h"
#include "base/confine.h"
#include "base/error.h"
#include "base/text.h"
#include "base/tools.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/ioprio.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum
{
    TAIL_BYTES = 64 * 1024,
    OUTPUT_MAX_BYTES = 64 * 1024 * 1024,
};

struct vmf_child
{
    char *name;
    pid_t pid;
    int pid_fd;
    int error_fd, output_fd; /* our ends of the pipes; the draining thread reads them */
    int over_fd;             /* an eventfd: the child is dead, read what is left and end */
    GThread *drain;
    vmf_child_line_fn on_line;
    void *on_line_data;
    bool reaped;
    int status; /* of waitpid, when reaped */

    GMutex lock;
    GString *tail; /* under lock */
    GString *output;
    bool output_too_long;
};

static void
child_line (struct vmf_child *child, const char *line)
{
    g_mutex_lock (&child->lock);
    if (child->tail->len + strlen (line) > TAIL_BYTES)
        g_string_erase (child->tail, 0, (gssize)child->tail->len / 2);
    g_string_append_printf (child->tail, "%.*s\n", 4096, line);
    g_mutex_unlock (&child->lock);
    if (child->on_line)
        child->on_line (line, child->on_line_data);
    else
        g_debug ("%s: %s", child->name, line);
}

/* Hands every full line in BUFFER on; a line that never ends is cut. */
static void
split_lines (struct vmf_child *child, GString *buffer, bool at_end)
{
    char *newline;
    while ((newline = memchr (buffer->str, '\n', buffer->len)) || (buffer->len > 0 && (at_end || buffer->len > 65536)))
    {
        size_t length = newline ? (size_t)(newline - buffer->str) : buffer->len;
        g_autofree char *line = g_strndup (buffer->str, length);
        child_line (child, line);
        g_string_erase (buffer, 0, (gssize)(newline ? length + 1 : length));
    }
}

/* Reads what is there from *FD into BUFFER; at the end closes it and sets it to -1. */
static bool
drain_once (int *fd, GString *buffer)
{
    char bytes[16384];
    ssize_t n = read (*fd, bytes, sizeof bytes);
    if (n > 0)
        g_string_append_len (buffer, bytes, n);
    else if (n == 0 || errno != EINTR)
    {
        close (*fd);
        *fd = -1;
    }
    return n > 0;
}

/* A process that left the child's group (setsid) may hold the pipes open for ever, so their end is not waited for once
   the child is dead: what lies in them then was all. */
static void *
drain (void *data)
{
    struct vmf_child *child = data;
    g_autoptr (GString) lines = g_string_new (NULL);
    unsigned after = 0; /* reads after its death */
    while (child->error_fd >= 0 || child->output_fd >= 0)
    {
        struct pollfd fds[3] = { { child->error_fd, POLLIN, 0 },
                                 { child->output_fd, POLLIN, 0 },
                                 { child->over_fd, POLLIN, 0 } };
        if (poll (fds, 3, -1) < 0)
            continue;
        if (fds[2].revents && ((!fds[0].revents && !fds[1].revents) || ++after > TAIL_BYTES / 1024))
            break;
        if (fds[0].revents)
        {
            drain_once (&child->error_fd, lines);
            split_lines (child, lines, child->error_fd < 0);
        }
        if (fds[1].revents)
            drain_once (&child->output_fd, child->output);
        if (child->output->len > OUTPUT_MAX_BYTES)
        {
            child->output_too_long = true;
            g_string_truncate (child->output, 0);
        }
    }
    split_lines (child, lines, true);
    return NULL;
}

/* What the new process needs between fork and exec, all made beforehand. */
struct launch
{
    char **argv, **env;
    const char *program;
    const struct vmf_room *room;
    const char *work_dir;
    bool low_priority;
    int null_fd, out_fd, err_fd;
    struct vmf_child_fd fds[VMF_CHILD_FDS_MAX];
    size_t n_fds;
    int failed_fd; /* closed by a good exec, otherwise errno comes through */
    pid_t parent;
};

/* All are moved above the numbers that are given out before the first is: a source may have the number of another's
   target, and so may the descriptor that reports a failure. */
static bool
launch_fds (struct launch *launch)
{
    int moved[VMF_CHILD_FDS_MAX];
    if (launch->n_fds == 0)
        return true;
    launch->failed_fd = fcntl (launch->failed_fd, F_DUPFD_CLOEXEC, VMF_CHILD_FD_MAX + 1);
    bool good = launch->failed_fd >= 0;
    for (size_t i = 0; good && i < launch->n_fds; i++)
        good = (moved[i] = fcntl (launch->fds[i].fd, F_DUPFD_CLOEXEC, VMF_CHILD_FD_MAX + 1)) >= 0;
    for (size_t i = 0; good && i < launch->n_fds; i++)
        good = dup2 (moved[i], launch->fds[i].as) >= 0;
    return good;
}

static void
launch_exec (struct launch *launch)
{
    sigset_t none;
    sigemptyset (&none);
    bool good = setpgid (0, 0) == 0 && prctl (PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid () == launch->parent
                && sigprocmask (SIG_SETMASK, &none, NULL) == 0 && close_range (3, ~0U, CLOSE_RANGE_CLOEXEC) == 0
                && (!launch->room || vmf_room_enter (launch->room))
                && chdir (launch->work_dir ? launch->work_dir : "/") == 0 && dup2 (launch->null_fd, 0) >= 0
                && dup2 (launch->out_fd, 1) >= 0 && dup2 (launch->err_fd, 2) >= 0 && launch_fds (launch);
    signal (SIGPIPE, SIG_DFL);
    if (good && launch->low_priority)
    {
        setpriority (PRIO_PROCESS, 0, 10);
        syscall (SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE (IOPRIO_CLASS_BE, 7));
    }
    /* setns and PDEATHSIG: entering a user namespace clears the latter. */
    if (good && prctl (PR_SET_PDEATHSIG, SIGKILL) == 0)
        execve (launch->program, launch->argv, launch->env);
    int failed = errno ? errno : ECHILD;
    if (write (launch->failed_fd, &failed, sizeof failed) < 0)
        _exit (126);
    _exit (127);
}

static bool
launch_fork (struct vmf_child *child, struct launch *launch, GError **error)
{
    int failed_pipe[2], failed = 0;
    if (pipe2 (failed_pipe, O_CLOEXEC) != 0)
        return g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "cannot make a pipe: %s", g_strerror (errno)), false;
    launch->failed_fd = failed_pipe[1];
    launch->parent = getpid ();
    child->pid = fork ();
    if (child->pid == 0)
        launch_exec (launch);
    int fork_errno = errno;
    close (failed_pipe[1]);
    if (child->pid > 0 && read (failed_pipe[0], &failed, sizeof failed) <= 0)
        failed = 0;
    close (failed_pipe[0]);
    if (child->pid < 0 || failed != 0)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "cannot start %s (%s): %s", child->name, launch->program,
                     g_strerror (child->pid < 0 ? fork_errno : failed));
        if (child->pid > 0)
            waitpid (child->pid, NULL, 0);
        child->pid = 0;
        return false;
    }
    /* Without it nobody would ever notice the child's end. */
    child->pid_fd = pidfd_open (child->pid, 0);
    if (child->pid_fd >= 0)
        return true;
    g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "cannot watch %s: %s", child->name, g_strerror (errno));
    kill (-child->pid, SIGKILL);
    waitpid (child->pid, NULL, 0);
    child->pid = 0;
    return false;
}

static struct vmf_child *
child_new (const struct vmf_child_options *options)
{
    struct vmf_child *child = g_new0 (struct vmf_child, 1);
    child->name = g_strdup (options->name ? options->name : options->argv[0]);
    child->pid_fd = child->error_fd = child->output_fd = -1;
    child->over_fd = eventfd (0, EFD_CLOEXEC);
    child->on_line = options->on_line;
    child->on_line_data = options->on_line_data;
    child->tail = g_string_new (NULL);
    child->output = g_string_new (NULL);
    g_mutex_init (&child->lock);
    return child;
}

static char **
environment (const struct vmf_child_options *options)
{
    char **env = g_get_environ ();
    for (size_t i = 0; options->set_env && options->set_env[i]; i++)
    {
        g_auto (GStrv) pair = g_strsplit (options->set_env[i], "=", 2);
        env = g_environ_setenv (env, pair[0], pair[1] ? pair[1] : "", TRUE);
    }
    return env;
}

static void
set_missing (GError **error, const char *program)
{
    g_autofree char *hint = vmf_tool_hint (program);
    g_set_error (error, VMF_ERROR, VMF_ERROR_MISSING, "the program '%s' is not installed%s%s", program,
                 hint ? "; " : "", hint ? hint : "");
}

static bool
take_fd (struct launch *launch, struct vmf_child_fd one)
{
    bool good =
        one.fd >= 0 && one.as > STDERR_FILENO && one.as <= VMF_CHILD_FD_MAX && launch->n_fds < VMF_CHILD_FDS_MAX;
    for (size_t i = 0; good && i < launch->n_fds; i++)
        good = launch->fds[i].as != one.as;
    if (good)
        launch->fds[launch->n_fds++] = one;
    return good;
}

/* A pipe with the secret in it, whose other end is closed: it fits, so nobody has to go on writing. */
static int
secret_pipe (const char *secret)
{
    int ends[2];
    size_t length = strlen (secret);
    if (length > VMF_CHILD_SECRET_MAX_BYTES || pipe2 (ends, O_CLOEXEC) != 0)
        return -1;
    bool good = write (ends[1], secret, length) == (ssize_t)length;
    close (ends[1]);
    if (good)
        return ends[0];
    close (ends[0]);
    return -1;
}

/* What the child has besides its standard files. SECRET_FD is to be closed. */
static bool
take_fds (struct launch *launch, const struct vmf_child_options *options, int *secret_fd, GError **error)
{
    bool good = true;
    *secret_fd = -1;
    if (options->secret)
        good = (*secret_fd = secret_pipe (options->secret)) >= 0
               && take_fd (launch, (struct vmf_child_fd){ *secret_fd, VMF_CHILD_SECRET_FD });
    for (size_t i = 0; good && i < options->n_fds; i++)
        good = take_fd (launch, options->fds[i]);
    if (!good)
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "cannot hand %s its file descriptors",
                     options->name ? options->name : options->argv[0]);
    return good;
}

struct vmf_child *
vmf_child_start (const struct vmf_child_options *options, GError **error)
{
    g_autoptr (vmf_child) child = child_new (options);
    g_autoptr (GPtrArray) argv = vmf_confine_argv (options);
    g_auto (GStrv) env = environment (options);
    g_autofree char *program = g_find_program_in_path (g_ptr_array_index (argv, 0));
    g_autofree char *inner = g_find_program_in_path (options->argv[0]);
    if (!program || !inner)
    {
        set_missing (error, program ? options->argv[0] : g_ptr_array_index (argv, 0));
        return NULL;
    }
    int err_pipe[2] = { -1, -1 }, out_pipe[2] = { -1, -1 };
    int null_fd = open ("/dev/null", O_RDWR | O_CLOEXEC);
    bool keep = options->flags & VMF_CHILD_KEEP_OUTPUT;
    bool good = child->over_fd >= 0 && null_fd >= 0 && pipe2 (err_pipe, O_CLOEXEC) == 0
                && (!keep || pipe2 (out_pipe, O_CLOEXEC) == 0);
    if (!good)
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "cannot start %s: %s", child->name, g_strerror (errno));
    struct launch launch = {
        .argv = (char **)argv->pdata,
        .env = env,
        .program = program,
        .room = options->room,
        .work_dir = options->work_dir,
        .low_priority = options->flags & VMF_CHILD_LOW_PRIORITY,
        .null_fd = null_fd,
        .out_fd = keep                                         ? out_pipe[1]
                  : options->flags & VMF_CHILD_STDOUT_TO_LINES ? err_pipe[1]
                                                               : null_fd,
        .err_fd = err_pipe[1],
    };
    child->error_fd = err_pipe[0];
    child->output_fd = out_pipe[0];
    int secret_fd = -1;
    good = good && take_fds (&launch, options, &secret_fd, error) && launch_fork (child, &launch, error);
    int unneeded[] = { null_fd, err_pipe[1], out_pipe[1], secret_fd };
    for (size_t i = 0; i < G_N_ELEMENTS (unneeded); i++)
        if (unneeded[i] >= 0)
            close (unneeded[i]);
    if (!good)
        return NULL;
    child->drain = g_thread_new ("drain", drain, child);
    return g_steal_pointer (&child);
}

/* Kills what is left of the group, reaps the leader and waits until its pipes are read to their end. */
static void
reap (struct vmf_child *child)
{
    if (child->pid <= 0 || child->reaped)
        return;
    kill (-child->pid, SIGKILL);
    while (waitpid (child->pid, &child->status, 0) < 0 && errno == EINTR)
        ;
    child->reaped = true;
    if (child->drain)
    {
        eventfd_write (child->over_fd, 1);
        g_thread_join (g_steal_pointer (&child->drain));
    }
}

void
vmf_child_free (struct vmf_child *child)
{
    if (!child)
        return;
    reap (child);
    int fds[] = { child->pid_fd, child->error_fd, child->output_fd, child->over_fd };
    for (size_t i = 0; i < G_N_ELEMENTS (fds); i++)
        if (fds[i] >= 0)
            close (fds[i]);
    g_string_free (child->tail, TRUE);
    g_string_free (child->output, TRUE);
    g_mutex_clear (&child->lock);
    g_free (child->name);
    g_free (child);
}

int
vmf_child_get_fd (const struct vmf_child *child)
{
    return child->pid_fd;
}

/* Polls for the child's end and for a cancel. The timeout is in ms, -1 for none. */
static bool
ended_within (struct vmf_child *child, int timeout_ms, GCancellable *cancellable)
{
    GPollFD cancel_fd = { -1, 0, 0 };
    bool has_cancel = cancellable && g_cancellable_make_pollfd (cancellable, &cancel_fd);
    struct pollfd fds[2] = { { child->pid_fd, POLLIN, 0 }, { has_cancel ? cancel_fd.fd : -1, POLLIN, 0 } };
    int n = poll (fds, 2, timeout_ms);
    if (has_cancel)
        g_cancellable_release_fd (cancellable);
    return n > 0 && fds[0].revents;
}

bool
vmf_child_running (struct vmf_child *child)
{
    return !child->reaped && !ended_within (child, 0, NULL);
}

/* The last few lines of what the child said, in one, for an error message. */
static char *
last_words (struct vmf_child *child)
{
    g_mutex_lock (&child->lock);
    g_autofree char *all = g_strdup (child->tail->str);
    g_mutex_unlock (&child->lock);
    g_auto (GStrv) lines = g_strsplit (g_strchomp (all), "\n", -1);
    guint n = g_strv_length (lines), first = n > 3 ? n - 3 : 0;
    /* Each cut by itself, or a long one would push the last, which tends to say why, out of the message. */
    for (guint i = first; i < n; i++)
    {
        char *cut = vmf_text_printable (lines[i], 400);
        g_free (lines[i]);
        lines[i] = cut;
    }
    g_autofree char *joined = g_strjoinv ("; ", lines + first);
    return *joined == '\0' ? g_strdup ("it said nothing") : g_steal_pointer (&joined);
}

static bool
check_status (struct vmf_child *child, GError **error)
{
    if (WIFEXITED (child->status) && WEXITSTATUS (child->status) == 0 && !child->output_too_long)
        return true;
    g_autofree char *words = last_words (child);
    if (child->output_too_long)
        g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT, "%s printed more than 64 MiB", child->name);
    else if (WIFSIGNALED (child->status))
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "%s was ended by signal %d (%s): %s", child->name,
                     WTERMSIG (child->status), strsignal (WTERMSIG (child->status)), words);
    else
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "%s failed with exit status %d: %s", child->name,
                     WEXITSTATUS (child->status), words);
    return false;
}

bool
vmf_child_wait (struct vmf_child *child, int64_t timeout_ms, GCancellable *cancellable, GError **error)
{
    int64_t deadline_us = g_get_monotonic_time () + timeout_ms * 1000;
    while (!child->reaped)
    {
        int64_t left_ms = timeout_ms > 0 ? (deadline_us - g_get_monotonic_time ()) / 1000 : G_MAXINT;
        if (ended_within (child, (int)CLAMP (left_ms, 0, G_MAXINT), cancellable))
            reap (child);
        else if (g_cancellable_is_cancelled (cancellable) || left_ms <= 0)
        {
            bool cancelled = g_cancellable_is_cancelled (cancellable);
            reap (child);
            g_set_error (error, VMF_ERROR, cancelled ? VMF_ERROR_CANCELLED : VMF_ERROR_FAILED,
                         cancelled ? "%s was stopped" : "%s did not end within %" G_GINT64_FORMAT " s and was killed",
                         child->name, timeout_ms / 1000);
            return false;
        }
    }
    return check_status (child, error);
}

bool
vmf_child_wait_for_path (struct vmf_child *child, const char *path, GCancellable *cancellable, GError **error)
{
    struct stat info;
    /* A bind() makes the name some instants before listen(), so callers' connects retry; see vmf_nbd_connect. */
    while (stat (path, &info) != 0)
    {
        if (g_cancellable_is_cancelled (cancellable))
            return g_set_error (error, VMF_ERROR, VMF_ERROR_CANCELLED, "%s was stopped", child->name), false;
        if (!ended_within (child, 5, cancellable))
            continue;
        if (vmf_child_wait (child, 0, NULL, error))
            g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "%s ended before it was ready", child->name);
        return false;
    }
    return true;
}

void
vmf_child_stop (struct vmf_child *child, int64_t grace_ms)
{
    if (child->reaped || child->pid <= 0)
        return;
    kill (-child->pid, SIGTERM);
    ended_within (child, (int)grace_ms, NULL);
    reap (child);
}

const char *
vmf_child_get_output (const struct vmf_child *child, size_t *length)
{
    if (length)
        *length = child->output->len;
    return child->output->str;
}

char *
vmf_child_run (const struct vmf_child_options *options, int64_t timeout_ms, GCancellable *cancellable, GError **error)
{
    struct vmf_child_options with_output = *options;
    with_output.flags |= VMF_CHILD_KEEP_OUTPUT;
    g_autoptr (vmf_child) child = vmf_child_start (&with_output, error);
    if (!child || !vmf_child_wait (child, timeout_ms, cancellable, error))
        return NULL;
    return g_strdup (child->output->str);
}
