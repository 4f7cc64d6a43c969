/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See support.h. */
#include "../folder.h"
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct faults faults;

ssize_t __real_write (int fd, const void *bytes, size_t length);
ssize_t __wrap_write (int fd, const void *bytes, size_t length);
int __real_fsync (int fd);
int __wrap_fsync (int fd);

ssize_t
__wrap_write (int fd, const void *bytes, size_t length)
{
    faults.calls++;
    if (faults.calls == faults.die_at)
        raise (SIGKILL);
    if (faults.calls == faults.fail_at)
    {
        errno = faults.fail_errno;
        return -1;
    }
    return __real_write (fd, bytes, length);
}

int
__wrap_fsync (int fd)
{
    faults.calls++;
    int result = __real_fsync (fd);
    if (faults.calls == faults.hook_at)
        faults.hook (faults.hook_data);
    if (faults.calls == faults.die_at)
        raise (SIGKILL);
    if (faults.calls == faults.fail_at)
    {
        errno = faults.fail_errno;
        return -1;
    }
    return result;
}

struct vmf_vm *
sample_vm (void)
{
    struct vmf_vm *vm = vmf_vm_new ();
    vm->name = g_strdup ("web01");
    vm->memory_bytes = 64 << 20;
    vm->vcpus = 1;
    struct vmf_nic *nic = vmf_vm_add_nic (vm);
    nic->id = g_strdup ("ethernet0");
    nic->mac = g_strdup ("52:54:00:00:00:01");
    nic->network = g_strdup ("VM Network");
    return vm;
}

static int
compare (const void *a, const void *b)
{
    return strcmp (*(const char *const *)a, *(const char *const *)b);
}

char *
names_in (const char *folder)
{
    g_autoptr (GDir) dir = g_dir_open (folder, 0, NULL);
    g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);
    const char *name;
    while (dir && (name = g_dir_read_name (dir)))
        g_ptr_array_add (names, g_strdup (name));
    g_ptr_array_sort (names, compare);
    g_ptr_array_add (names, NULL);
    return g_strjoinv (" ", (char **)names->pdata);
}

char *
new_folder (void)
{
    g_autoptr (GError) error = NULL;
    char *path = test_folder_new ("target");
    g_assert_no_error (error);
    g_chmod (path, 0711);
    return path;
}

void
remove_tree (const char *path)
{
    g_autoptr (GDir) dir = g_file_test (path, G_FILE_TEST_IS_SYMLINK) ? NULL : g_dir_open (path, 0, NULL);
    const char *name;
    while (dir && (name = g_dir_read_name (dir)))
    {
        g_autofree char *inner = g_build_filename (path, name, NULL);
        remove_tree (inner);
    }
    g_remove (path);
}

char *
output_of (const char *program, ...)
{
    g_autoptr (GPtrArray) argv = g_ptr_array_new ();
    g_autoptr (GError) error = NULL;
    g_autofree char *stderr_text = NULL;
    char *output = NULL;
    int status = 0;
    va_list args;
    va_start (args, program);
    for (const char *arg = program; arg; arg = va_arg (args, const char *))
        g_ptr_array_add (argv, (void *)arg);
    va_end (args);
    g_ptr_array_add (argv, NULL);
    g_spawn_sync (NULL, (char **)argv->pdata, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &output, &stderr_text, &status,
                  &error);
    g_assert_no_error (error);
    if (!g_spawn_check_wait_status (status, NULL))
        g_error ("%s: %s", program, stderr_text);
    return output;
}

void
write_start (const char *path, const char *bytes)
{
    int fd = open (path, O_WRONLY | O_CLOEXEC);
    g_assert_cmpint (fd, >=, 0);
    g_assert_cmpint (pwrite (fd, bytes, strlen (bytes), 0), ==, (ssize_t)strlen (bytes));
    close (fd);
}

void
assert_finding (GPtrArray *findings, enum vmf_finding_kind kind, ...)
{
    g_autoptr (GString) all = g_string_new (NULL);
    bool found = false;
    for (guint i = 0; i < findings->len; i++)
    {
        const struct vmf_finding *finding = g_ptr_array_index (findings, i);
        bool match = finding->kind == kind;
        va_list args;
        va_start (args, kind);
        for (const char *text = va_arg (args, const char *); text; text = va_arg (args, const char *))
            match = match && strstr (finding->text, text);
        va_end (args);
        found = found || match;
        g_string_append_printf (all, "%d %s\n", (int)finding->kind, finding->text);
    }
    if (!found)
        g_error ("not among the findings:\n%s", all->str);
}

void
assert_not_blocked (GPtrArray *findings)
{
    for (guint i = 0; i < findings->len; i++)
    {
        const struct vmf_finding *finding = g_ptr_array_index (findings, i);
        if (finding->kind == VMF_FINDING_BLOCKING)
            g_error ("blocked: %s", finding->text);
    }
}

bool
dies_at (unsigned n, void (*body) (void *data), void *data)
{
    int status;
    pid_t pid = fork ();
    if (pid == 0)
    {
        faults = (struct faults){ .die_at = n };
        body (data);
        _exit (0);
    }
    g_assert_cmpint (waitpid (pid, &status, 0), ==, pid);
    if (WIFSIGNALED (status) && WTERMSIG (status) == SIGKILL)
        return true;
    g_assert_true (WIFEXITED (status) && WEXITSTATUS (status) == 0);
    return false;
}
