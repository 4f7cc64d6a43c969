/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Child processes: the one place that starts any.
 *
 * Every child gets a process group of its own, /dev/null or what the options say as its standard files, no other file
 * descriptor but what the options name, SIGKILL when vmferry dies, and its standard error drained by a thread: the last
 * 64 KiB are kept for error messages and every line goes to the import's log or to a callback. vmf_child_free() kills
 * what still runs and reaps it, so a g_autoptr is a promise that nothing stays behind.
 *
 * The kernel ties "killed when the parent dies" to the *thread* that forked: start children only from the main thread.
 * Grandchildren die too where the child is started in a cage (VMF_CHILD_CAGE): bubblewrap with a process namespace.
 */
#pragma once
#include "base/room.h"
#include <gio/gio.h>
#include <stdbool.h>
#include <stdint.h>

enum vmf_child_flags
{
    VMF_CHILD_NONE = 0,
    VMF_CHILD_CAGE = 1 << 0,         /* own process namespace, the file system as it is; kills what it starts (D2) */
    VMF_CHILD_CONFINED = 1 << 1,     /* sees only /usr, `readable` and `writable`; no network, not the room's either */
    VMF_CHILD_LOW_PRIORITY = 1 << 2, /* nice 10, lowest best-effort IO (D2); idle IO would starve beside our own copy */
    VMF_CHILD_STDOUT_TO_LINES = 1 << 3, /* standard output goes where standard error goes */
    VMF_CHILD_KEEP_OUTPUT = 1 << 4, /* keep standard output for vmf_child_get_output (at most 64 MiB, then an error) */
};

/* A file descriptor of ours that the child gets under the number `as`, from 3 to VMF_CHILD_FD_MAX. It stays ours. */
struct vmf_child_fd
{
    int fd, as;
};

enum
{
    VMF_CHILD_FDS_MAX = 8,
    VMF_CHILD_FD_MAX = 31,
    VMF_CHILD_SECRET_FD = 3,
    VMF_CHILD_SECRET_MAX_BYTES = 4096,
};

/* One line of standard error (or output), without its newline; called on the draining thread. */
typedef void (*vmf_child_line_fn) (const char *line, void *data);

struct vmf_child_options
{
    const char *name;            /* for messages: "nbdkit for sda" */
    const char *const *argv;     /* argv[0] is looked for in PATH */
    const char *const *set_env;  /* "NAME=value" pairs added to ours; NULL: none */
    const struct vmf_room *room; /* NULL: the host's namespaces */
    enum vmf_child_flags flags;
    const char *const *readable;    /* CONFINED: absolute paths bound read-only (devices too) */
    const char *const *writable;    /* CONFINED: absolute paths bound read-write */
    const char *work_dir;           /* current directory; NULL: / */
    const struct vmf_child_fd *fds; /* N_FDS of them */
    size_t n_fds;
    const char *secret;        /* a password: read from VMF_CHILD_SECRET_FD, up to its end; nowhere else. NULL: none */
    vmf_child_line_fn on_line; /* NULL: to g_debug */
    void *on_line_data;
};

typedef struct vmf_child vmf_child;

/* NULL with VMF_ERROR_MISSING where the program is not there (the message names the package of one that tools.h knows),
   else FAILED. */
struct vmf_child *vmf_child_start (const struct vmf_child_options *options, GError **error);
void vmf_child_free (struct vmf_child *child);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_child, vmf_child_free)

/* Waits for its end. An exit status other than 0 is an error that quotes the last lines of standard error. When
   CANCELLABLE is cancelled or TIMEOUT_MS (0: none) has passed the child is killed and the error says which. */
bool vmf_child_wait (struct vmf_child *child, int64_t timeout_ms, GCancellable *cancellable, GError **error);

/* Waits until the unix socket or file PATH exists; fails if the child ends before. A socket may still refuse for some
   instants: it has its name before its server listens. */
bool vmf_child_wait_for_path (struct vmf_child *child, const char *path, GCancellable *cancellable, GError **error);

/* True while it runs; afterwards vmf_child_wait() returns at once. */
bool vmf_child_running (struct vmf_child *child);

/* A file descriptor that polls readable when the child has ended. Borrowed. */
int vmf_child_get_fd (const struct vmf_child *child);

/* Asks it to end (SIGTERM), after GRACE_MS kills its group, and reaps it. */
void vmf_child_stop (struct vmf_child *child, int64_t grace_ms);

/* Standard output of a child that was waited for (KEEP_OUTPUT). Borrowed. */
const char *vmf_child_get_output (const struct vmf_child *child, size_t *length);

/* start, wait, output in one: for programs that answer and end. Caller frees. NULL on error. */
char *vmf_child_run (const struct vmf_child_options *options, int64_t timeout_ms, GCancellable *cancellable,
                     GError **error);
