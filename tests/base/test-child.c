/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Children end when they must, see what they may, and cannot flood us (D2, B14). The shell here is the test's, as a
 * program that starts others; the product starts none.
 */
#include "../folder.h"
#include "base/child.h"
#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static char *folder;

static char *
path_in (const char *name)
{
    return g_build_filename (folder, name, NULL);
}

static struct vmf_child *
start (const char *script, const char *arg, enum vmf_child_flags flags, const struct vmf_room *room)
{
    g_autoptr (GError) error = NULL;
    const char *argv[] = { "sh", "-c", script, arg ? arg : "sh", NULL };
    const char *writable[] = { folder, NULL };
    struct vmf_child_options options = {
        .name = "the child", .argv = argv, .flags = flags, .room = room, .writable = writable
    };
    struct vmf_child *child = vmf_child_start (&options, &error);
    g_assert_no_error (error);
    return child;
}

/* The pid that a child wrote there, once it has. */
static pid_t
read_pid (const char *path)
{
    g_autofree char *text = NULL;
    while (!g_file_get_contents (path, &text, NULL, NULL) || !strchr (text, '\n'))
    {
        g_clear_pointer (&text, g_free);
        g_usleep (2000);
    }
    return (pid_t)atoi (text);
}

static void
wait_gone (pid_t pid)
{
    while (kill (pid, 0) == 0)
    {
        /* a zombie that only init could reap counts as gone */
        g_autofree char *path = g_strdup_printf ("/proc/%d/stat", (int)pid), *text = NULL;
        if (!g_file_get_contents (path, &text, NULL, NULL) || strstr (text, ") Z "))
            return;
        g_usleep (2000);
    }
}

static void
test_status (void)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (vmf_child) good = start ("echo hello; echo aside >&2", NULL, VMF_CHILD_KEEP_OUTPUT, NULL);
    g_assert_true (vmf_child_wait (good, 0, NULL, &error));
    g_assert_cmpstr (vmf_child_get_output (good, NULL), ==, "hello\n");
    g_autoptr (vmf_child) bad = start ("echo the disk is on fire >&2; exit 3", NULL, VMF_CHILD_NONE, NULL);
    g_assert_false (vmf_child_wait (bad, 0, NULL, &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_FAILED);
    g_assert_nonnull (strstr (error->message, "status 3"));
    g_assert_nonnull (strstr (error->message, "the disk is on fire"));
    g_clear_error (&error);
    g_autoptr (vmf_child) killed = start ("kill -SEGV $$", NULL, VMF_CHILD_NONE, NULL);
    g_assert_false (vmf_child_wait (killed, 0, NULL, &error));
    g_assert_nonnull (strstr (error->message, "signal 11"));
}

static void
test_missing (void)
{
    g_autoptr (GError) error = NULL;
    const char *argv[] = { "vmferry-no-such-program", NULL };
    for (unsigned flags = 0; flags <= VMF_CHILD_CONFINED; flags += VMF_CHILD_CONFINED)
    {
        struct vmf_child_options options = { .argv = argv, .flags = flags };
        g_assert_null (vmf_child_start (&options, &error));
        g_assert_error (error, VMF_ERROR, VMF_ERROR_MISSING);
        g_clear_error (&error);
    }
}

static void
test_timeout_and_cancel (void)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (vmf_child) slow = start ("sleep 1000", NULL, VMF_CHILD_NONE, NULL);
    g_assert_true (vmf_child_running (slow));
    g_assert_false (vmf_child_wait (slow, 30, NULL, &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_FAILED);
    g_assert_false (vmf_child_running (slow));
    g_clear_error (&error);
    g_autoptr (GCancellable) cancellable = g_cancellable_new ();
    g_autoptr (vmf_child) stopped = start ("sleep 1000", NULL, VMF_CHILD_NONE, NULL);
    g_cancellable_cancel (cancellable);
    g_assert_false (vmf_child_wait (stopped, 0, cancellable, &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_CANCELLED);
}

static void
test_group_dies (void)
{
    g_autofree char *pid_path = path_in ("pid");
    struct vmf_child *child = start ("sleep 1000 & echo $! > \"$0\"; wait", pid_path, VMF_CHILD_NONE, NULL);
    pid_t pid = read_pid (pid_path);
    vmf_child_free (child);
    wait_gone (pid);
    unlink (pid_path);
}

/* It left the group, and holds our pipe open: freeing must not wait for it. In a cage it dies as well. */
static void
test_escaped (void)
{
    g_autofree char *pid_path = path_in ("pid");
    struct vmf_child *child =
        start ("setsid sh -c 'echo $$ > \"$0\"; exec sleep 1000' \"$0\" & wait", pid_path, VMF_CHILD_NONE, NULL);
    pid_t pid = read_pid (pid_path);
    vmf_child_free (child);
    g_assert_cmpint (kill (pid, 0), ==, 0);
    kill (pid, SIGKILL);
    unlink (pid_path);
}

/* Counts this host's processes with WORD in their command line: pids in a cage are not ours. */
static unsigned
count_processes (const char *word)
{
    g_autoptr (GDir) proc = g_dir_open ("/proc", 0, NULL);
    unsigned count = 0;
    const char *name;
    while ((name = g_dir_read_name (proc)))
    {
        g_autofree char *path = g_strdup_printf ("/proc/%s/cmdline", name), *text = NULL;
        gsize length = 0;
        if (g_ascii_isdigit (*name) && g_file_get_contents (path, &text, &length, NULL)
            && memmem (text, length, word, strlen (word)))
            count++;
    }
    return count;
}

static void
test_cage (void)
{
    g_autofree char *ready = path_in ("ready");
    g_autofree char *word = g_strdup_printf ("98765%d", (int)getpid ());
    g_autofree char *script = g_strdup_printf ("setsid sh -c 'echo > \"$0\"; exec sleep %s' \"$0\" & wait", word);
    struct vmf_child *child = start (script, ready, VMF_CHILD_CAGE, NULL);
    while (access (ready, F_OK) != 0)
        g_usleep (2000);
    g_assert_cmpuint (count_processes (word), >, 0);
    vmf_child_free (child);
    while (count_processes (word) > 0)
        g_usleep (2000);
    unlink (ready);
}

/* SIGKILL of a process that has started children, here a fork of the test, ends them and what is caged in them. */
static void
test_killed_with_parent (void)
{
    g_autofree char *ready = path_in ("ready");
    g_autofree char *word = g_strdup_printf ("98764%d", (int)getpid ());
    g_autofree char *script = g_strdup_printf ("setsid sleep %s & sleep %s & echo > \"$0\"; wait", word, word);
    pid_t middle = fork ();
    if (middle == 0)
    {
        start (script, ready, VMF_CHILD_CAGE, NULL);
        pause ();
    }
    while (access (ready, F_OK) != 0)
        g_usleep (2000);
    kill (middle, SIGKILL);
    waitpid (middle, NULL, 0);
    while (count_processes (word) > 0)
        g_usleep (2000);
    unlink (ready);
}

static void
test_confined (void)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (vmf_child) child = start (
        "cat /etc/shadow; ls /home /root /var /work; id -u; ip -o link 2>/dev/null | grep -v ' lo:';"
        "cat /proc/net/dev | grep -v lo: | grep : ; ls /proc | grep -c '^[0-9]*$'; touch \"$0/mine\" && echo mine;"
        "touch /usr/bin/x 2>/dev/null && echo usr; true",
        folder, VMF_CHILD_CONFINED | VMF_CHILD_KEEP_OUTPUT, NULL);
    g_assert_true (vmf_child_wait (child, 0, NULL, &error));
    g_auto (GStrv) lines = g_strsplit (vmf_child_get_output (child, NULL), "\n", -1);
    g_test_message ("%s", vmf_child_get_output (child, NULL));
    g_assert_cmpuint (g_strv_length (lines), ==, 4); /* uid, few processes, mine, "" */
    g_assert_cmpint (atoi (lines[1]), <, 8);
    g_assert_cmpstr (lines[2], ==, "mine");
    g_autofree char *mine = path_in ("mine");
    g_assert_cmpint (unlink (mine), ==, 0);
}

/* Loopback only, up, and the same for all in the room. */
static void
test_room (void)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (vmf_room) room = vmf_room_new (&error);
    if (!room)
    {
        g_test_skip (error->message);
        return;
    }
    for (unsigned flags = 0; flags <= VMF_CHILD_CONFINED; flags += VMF_CHILD_CONFINED)
    {
        g_autoptr (vmf_child) child =
            start ("readlink /proc/self/ns/net; grep -c : /proc/net/dev; cat /proc/net/fib_trie | grep -c 127.0.0.1",
                   NULL, flags | VMF_CHILD_KEEP_OUTPUT, room);
        g_assert_true (vmf_child_wait (child, 0, NULL, &error));
        g_auto (GStrv) lines = g_strsplit (vmf_child_get_output (child, NULL), "\n", -1);
        char ours[64] = "";
        g_assert_cmpint (readlink ("/proc/self/ns/net", ours, sizeof ours - 1), >, 0);
        g_assert_cmpstr (lines[0], !=, ours);
        g_assert_cmpstr (lines[1], ==, "1");
        g_assert_cmpint (atoi (lines[2]), >, 0);
    }
}

static void
test_output_bounded (void)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (vmf_child) child = start ("head -c 80000000 /dev/zero", NULL, VMF_CHILD_KEEP_OUTPUT, NULL);
    g_assert_false (vmf_child_wait (child, 0, NULL, &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_CORRUPT);
    g_clear_error (&error);
    g_autoptr (vmf_child) endless = start (
        "head -c 3000000 /dev/zero | tr '\\0' x >&2; echo >&2; echo last >&2; exit 1", NULL, VMF_CHILD_NONE, NULL);
    g_assert_false (vmf_child_wait (endless, 0, NULL, &error));
    g_assert_cmpuint (strlen (error->message), <, 2000);
    g_assert_nonnull (strstr (error->message, "last"));
}

static void
test_no_descriptors (void)
{
    g_autoptr (GError) error = NULL;
    int fd = dup (0); /* not close-on-exec */
    g_autoptr (vmf_child) child = start ("ls /proc/self/fd | wc -w", NULL, VMF_CHILD_KEEP_OUTPUT, NULL);
    g_assert_true (vmf_child_wait (child, 0, NULL, &error));
    g_assert_cmpint (atoi (vmf_child_get_output (child, NULL)), ==, 4); /* 0, 1, 2, and ls' own */
    close (fd);
}

/* What a child has of the kinds of cage: exactly what it was given, under the numbers that were asked for, also where
   the sources stand in each other's way. */
static void
test_descriptors (void)
{
    static const enum vmf_child_flags kinds[] = { VMF_CHILD_NONE, VMF_CHILD_CAGE, VMF_CHILD_CONFINED };
    int ends[2][2];
    for (int i = 0; i < 2; i++)
    {
        g_assert_cmpint (pipe (ends[i]), ==, 0);
        g_assert_cmpint (write (ends[i][1], i ? "two\n" : "one\n", 4), ==, 4);
        close (ends[i][1]);
    }
    /* Each has the number that the other shall get, and far away is a third. */
    int a = fcntl (ends[0][0], F_DUPFD, 20), b = fcntl (ends[1][0], F_DUPFD, 21), null = open ("/dev/null", O_RDONLY);
    for (size_t i = 0; i < G_N_ELEMENTS (kinds); i++)
    {
        g_autoptr (GError) error = NULL;
        const struct vmf_child_fd fds[] = { { a, b }, { b, a }, { null, 9 } };
        g_autofree char *script =
            g_strdup_printf ("ls /proc/self/fd; readlink /proc/self/fd/%d /proc/self/fd/%d", a, b);
        const char *argv[] = { "sh", "-c", script, NULL };
        struct vmf_child_options options = { .argv = argv, .flags = kinds[i], .fds = fds, .n_fds = 3 };
        g_autofree char *output = vmf_child_run (&options, 0, NULL, &error);
        g_assert_no_error (error);
        g_autofree char *own_a = g_file_read_link ("/proc/self/fd/20", NULL),
                        *own_b = g_file_read_link ("/proc/self/fd/21", NULL);
        g_autofree char *links = g_strdup_printf ("%s\n%s\n", own_b, own_a);
        g_assert_true (g_str_has_suffix (output, links));
        g_auto (GStrv) lines = g_strsplit (output, "\n", -1);
        g_assert_cmpuint (g_strv_length (lines), ==, 10); /* 0-2, ls' own, our three, two links, "" */
    }
    int all[] = { a, b, null, ends[0][0], ends[1][0] };
    for (size_t i = 0; i < G_N_ELEMENTS (all); i++)
        close (all[i]);
}

static void
test_descriptors_refused (void)
{
    const char *argv[] = { "true", NULL };
    const struct vmf_child_fd wrong[][2] = { { { 0, 4 }, { 0, 4 } }, { { 0, 2 } }, { { -1, 4 } }, { { 0, 32 } } };
    g_autofree char *long_secret = g_strnfill (VMF_CHILD_SECRET_MAX_BYTES + 1, 'x');
    for (size_t i = 0; i <= G_N_ELEMENTS (wrong); i++)
    {
        g_autoptr (GError) error = NULL;
        bool secret = i == G_N_ELEMENTS (wrong);
        struct vmf_child_options options = { .argv = argv,
                                             .fds = secret ? NULL : wrong[i],
                                             .n_fds = secret   ? 0
                                                      : i == 0 ? 2
                                                               : 1,
                                             .secret = secret ? long_secret : NULL };
        g_assert_null (vmf_child_start (&options, &error));
        g_assert_error (error, VMF_ERROR, VMF_ERROR_FAILED);
    }
}

/* On the draining thread, which has ended when the child was waited for. */
static void
keep_line (const char *line, void *data)
{
    g_string_append (data, line);
}

/* It is read once, whole, and stands in no place where others could read it. */
static void
test_secret (void)
{
    static const enum vmf_child_flags kinds[] = { VMF_CHILD_NONE, VMF_CHILD_CAGE, VMF_CHILD_CONFINED };
    g_autofree char *longest = g_strnfill (VMF_CHILD_SECRET_MAX_BYTES, 's');
    const char *const secrets[] = { "correct horse, 'staple'", "", longest };
    const char *argv[] = { "sh", "-c", "cat <&3; tr '\\0' ' ' < /proc/$$/cmdline >&2; env >&2", NULL };
    for (size_t i = 0; i < G_N_ELEMENTS (kinds); i++)
        for (size_t j = 0; j < G_N_ELEMENTS (secrets); j++)
        {
            g_autoptr (GError) error = NULL;
            g_autoptr (GString) said = g_string_new (NULL);
            struct vmf_child_options options = {
                .argv = argv, .flags = kinds[i], .secret = secrets[j], .on_line = keep_line, .on_line_data = said
            };
            g_autofree char *output = vmf_child_run (&options, 0, NULL, &error);
            g_assert_no_error (error);
            g_assert_cmpstr (output, ==, secrets[j]);
            g_assert_nonnull (strstr (said->str, "PATH="));
            g_assert_true (!*secrets[j] || !strstr (said->str, secrets[j]));
        }
}

static void
test_wait_for_path (void)
{
    g_autoptr (GError) error = NULL;
    g_autofree char *ready = path_in ("ready");
    g_autoptr (vmf_child) child = start ("echo > \"$0\"; sleep 1000", ready, VMF_CHILD_NONE, NULL);
    g_assert_true (vmf_child_wait_for_path (child, ready, NULL, &error));
    unlink (ready);
    g_autoptr (vmf_child) dead = start ("echo no port >&2; exit 1", NULL, VMF_CHILD_NONE, NULL);
    g_assert_false (vmf_child_wait_for_path (dead, ready, NULL, &error));
    g_assert_nonnull (strstr (error->message, "no port"));
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    folder = test_folder_new ("child");
    g_test_add_func ("/child/status", test_status);
    g_test_add_func ("/child/missing", test_missing);
    g_test_add_func ("/child/timeout-and-cancel", test_timeout_and_cancel);
    g_test_add_func ("/child/D2-group-dies", test_group_dies);
    g_test_add_func ("/child/escaped-is-not-waited-for", test_escaped);
    g_test_add_func ("/child/D2-cage", test_cage);
    g_test_add_func ("/child/D2-killed-with-parent", test_killed_with_parent);
    g_test_add_func ("/child/confined", test_confined);
    g_test_add_func ("/child/room", test_room);
    g_test_add_func ("/child/output-bounded", test_output_bounded);
    g_test_add_func ("/child/no-descriptors", test_no_descriptors);
    g_test_add_func ("/child/descriptors", test_descriptors);
    g_test_add_func ("/child/descriptors-refused", test_descriptors_refused);
    g_test_add_func ("/child/secret", test_secret);
    g_test_add_func ("/child/wait-for-path", test_wait_for_path);
    int result = g_test_run ();
    rmdir (folder);
    g_free (folder);
    return result;
}
