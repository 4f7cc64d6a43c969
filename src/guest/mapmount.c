/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Starting and ending the two processes behind a mount, and the folder they work in. */
#include "guest/mapmount.h"
#include "base/error.h"
#include "base/file.h"
#include "base/plugins.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static bool
write_table (const char *path, const struct vmf_view *view, const struct vmf_map_disk *disks, unsigned n_disks,
             GError **error)
{
    g_autoptr (GString) table = g_string_new (NULL);
    for (unsigned i = 0; i < n_disks; i++)
        g_string_append_printf (table, "disk %s\n", disks[i].uri);
    for (guint i = 0; i < view->segments->len; i++)
    {
        const struct vmf_segment *segment = &g_array_index (view->segments, struct vmf_segment, i);
        g_string_append_printf (table, "segment %u %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT "\n", segment->disk,
                                (guint64)segment->offset, (guint64)segment->length);
    }
    return g_file_set_contents_full (path, table->str, (gssize)table->len, G_FILE_SET_CONTENTS_NONE, 0600, error);
}

static bool
start_server (struct vmf_mount *mount, const char *socket_path, const char *pid_path, const char *table_path,
              bool writable, GError **error)
{
    g_autofree char *plugin = vmf_plugin_find_own ("segments");
    if (!plugin)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_MISSING,
                     "vmferry's own nbdkit plugin 'segments' is not there; reinstall vmferry, or set "
                     "VMFERRY_PLUGIN_DIR");
        return false;
    }
    g_autofree char *table = g_strconcat ("table=", table_path, NULL);
    g_autofree char *count = g_strconcat ("count=", mount->count_path, NULL);
    g_autofree char *tmp = g_strconcat ("TMPDIR=", mount->dir, NULL);
    const char *read_only[] = { "nbdkit", "-f", "-r", "-U", socket_path, "-P", pid_path, plugin, table, count, NULL };
    const char *with_cow[] = { "nbdkit", "-f",  "-U",  socket_path,           "-P", pid_path, "--filter=cow",
                               plugin,   table, count, "cow-block-size=4096", NULL };
    const char *const env[] = { tmp, NULL };
    struct vmf_child_options options = { .name = "nbdkit for the map",
                                         .argv = writable ? with_cow : read_only,
                                         .set_env = env };
    return (mount->server = vmf_child_start (&options, error)) != NULL;
}

static bool
start_fuse (struct vmf_mount *mount, const char *socket_path, const char *pid_path, const struct vmf_room *room,
            bool writable, GError **error)
{
    g_autofree char *escaped = g_uri_escape_string (socket_path, "/", FALSE);
    g_autofree char *uri = g_strconcat ("nbd+unix:///?socket=", escaped, NULL);
    const char *argv[] = { "nbdfuse", "-P", pid_path, mount->mount_point, uri, NULL };
    const char *read_only[] = { "nbdfuse", "-r", "-P", pid_path, mount->mount_point, uri, NULL };
    struct vmf_child_options options = { .name = "nbdfuse for the map",
                                         .argv = writable ? argv : read_only,
                                         .room = room };
    return (mount->fuse = vmf_child_start (&options, error)) != NULL;
}

static bool
make_dir (const char *path, GError **error)
{
    if (mkdir (path, 0700) == 0)
        return true;
    g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "cannot make the folder %s: %s", path, g_strerror (errno));
    return false;
}

struct vmf_mount *
vmf_mount_start (const struct vmf_view *view, const struct vmf_map_disk *disks, unsigned n_disks,
                 const struct vmf_room *room, const char *work_dir, const char *name, bool writable,
                 GCancellable *cancellable, GError **error)
{
    g_autoptr (vmf_mount) mount = g_new0 (struct vmf_mount, 1);
    mount->dir = g_build_filename (work_dir, name, NULL);
    mount->out = g_build_filename (mount->dir, "out", NULL);
    mount->mount_point = g_build_filename (mount->dir, "mnt", NULL);
    mount->file = g_build_filename (mount->mount_point, "nbd", NULL);
    mount->count_path = g_build_filename (mount->dir, "count", NULL);
    g_autofree char *socket_path = g_build_filename (mount->dir, "sock", NULL);
    g_autofree char *table_path = g_build_filename (mount->dir, "table", NULL);
    g_autofree char *pid_path = g_build_filename (mount->dir, "pid", NULL);
    g_autofree char *server_pid_path = g_build_filename (mount->dir, "server-pid", NULL);
    if (!make_dir (mount->dir, error) || !make_dir (mount->out, error) || !make_dir (mount->mount_point, error)
        || !write_table (table_path, view, disks, n_disks, error)
        || !start_server (mount, socket_path, server_pid_path, table_path, writable, error)
        /* The socket's name is there before nbdkit listens, its pid file is not; nbdfuse does not try twice. */
        || !vmf_child_wait_for_path (mount->server, server_pid_path, cancellable, error)
        || !start_fuse (mount, socket_path, pid_path, room, writable, error))
        return NULL;
    return g_steal_pointer (&mount);
}

/* The mount itself cannot be seen from here, only in the room; nbdfuse writes its pid when it stands. */
bool
vmf_mount_wait (struct vmf_mount *mount, GCancellable *cancellable, GError **error)
{
    g_autofree char *pid_path = g_build_filename (mount->dir, "pid", NULL);
    return vmf_child_wait_for_path (mount->fuse, pid_path, cancellable, error);
}

void
vmf_mount_end (struct vmf_mount *mount, uint64_t *bytes_read)
{
    g_autofree char *text = NULL;
    if (mount->fuse)
        vmf_child_stop (mount->fuse, 2000);
    if (mount->server)
        vmf_child_stop (mount->server, 2000);
    g_clear_pointer (&mount->fuse, vmf_child_free);
    g_clear_pointer (&mount->server, vmf_child_free);
    if (bytes_read && g_file_get_contents (mount->count_path, &text, NULL, NULL))
        *bytes_read += g_ascii_strtoull (text, NULL, 10);
    vmf_file_remove_tree (mount->dir);
}

void
vmf_mount_free (struct vmf_mount *mount)
{
    if (!mount)
        return;
    vmf_mount_end (mount, NULL);
    g_free (mount->dir);
    g_free (mount->out);
    g_free (mount->file);
    g_free (mount->mount_point);
    g_free (mount->count_path);
    g_free (mount);
}
