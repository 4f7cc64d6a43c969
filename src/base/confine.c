/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bubblewrap's arguments.
 *
 * A cage sees the file system as it is but has a process namespace, so that all it ever started dies with it. A
 * confined child sees programs and what it was given, keeps no capability but reading other people's files (an image
 * may belong to another user), and has no network: not the room's either, where others' servers listen.
 */
#include "base/confine.h"

#include <sys/stat.h>
#include <unistd.h>

static void
add (GPtrArray *argv, const char *first, ...)
{
    va_list args;
    va_start (args, first);
    for (const char *word = first; word; word = va_arg (args, const char *))
        g_ptr_array_add (argv, g_strdup (word));
    va_end (args);
}

static void
add_cage (GPtrArray *argv)
{
    add (argv, "bwrap", "--die-with-parent", "--unshare-pid", "--dev-bind", "/", "/", "--proc", "/proc", "--", NULL);
}

/* Devices are bound as devices: a plain bind is mounted nodev. */
static void
add_bind (GPtrArray *argv, const char *path, const char *how)
{
    struct stat info;
    bool device = stat (path, &info) == 0 && (S_ISBLK (info.st_mode) || S_ISCHR (info.st_mode));
    add (argv, device ? "--dev-bind" : how, path, path, NULL);
}

static void
add_confined (GPtrArray *argv, const struct vmf_child_options *options)
{
    static const char *const links[] = { "lib", "lib32", "lib64", "bin", "sbin" };
    add (argv, "bwrap", "--die-with-parent", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-net",
         "--new-session", "--cap-drop", "ALL", "--ro-bind", "/usr", "/usr", "--ro-bind-try", "/etc/ld.so.cache",
         "/etc/ld.so.cache", "--ro-bind-try", "/etc/alternatives", "/etc/alternatives", "--proc", "/proc", "--dev",
         "/dev", "--tmpfs", "/tmp", NULL);
    if (geteuid () == 0)
        add (argv, "--cap-add", "CAP_DAC_READ_SEARCH", NULL);
    for (size_t i = 0; i < G_N_ELEMENTS (links); i++)
    {
        g_autofree char *target = g_strdup_printf ("usr/%s", links[i]);
        g_autofree char *link = g_strdup_printf ("/%s", links[i]);
        add (argv, "--symlink", target, link, NULL);
    }
    for (size_t i = 0; options->readable && options->readable[i]; i++)
        add_bind (argv, options->readable[i], "--ro-bind");
    for (size_t i = 0; options->writable && options->writable[i]; i++)
        add_bind (argv, options->writable[i], "--bind");
    if (options->work_dir)
        add (argv, "--chdir", options->work_dir, NULL);
    add (argv, "--", NULL);
}

GPtrArray *
vmf_confine_argv (const struct vmf_child_options *options)
{
    GPtrArray *argv = g_ptr_array_new_with_free_func (g_free);
    if (options->flags & VMF_CHILD_CONFINED)
        add_confined (argv, options);
    else if (options->flags & VMF_CHILD_CAGE)
        add_cage (argv);
    for (size_t i = 0; options->argv[i]; i++)
        g_ptr_array_add (argv, g_strdup (options->argv[i]));
    g_ptr_array_add (argv, NULL);
    return argv;
}
