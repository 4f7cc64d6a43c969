/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Running virt-v2v-in-place: its files, its environment, its life.
 *
 * libguestfs keeps its appliance in LIBGUESTFS_CACHEDIR, or else in TMPDIR. Ours sets TMPDIR to the import's own
 * directory, so that nothing is left in /tmp, and LIBGUESTFS_CACHEDIR to where the appliance was kept before: building
 * one takes long. Messages come through a file of their own: on standard output they could be torn by what nbdkit and
 * QEMU write to standard error.
 */
#include "guest/convert-parts.h"
#include "base/error.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum
{
    /* virt-v2v puts "/v2v.XXXXXX/in10" behind TMPDIR for unix sockets, which may have 107 characters. */
    TMPDIR_MAX = 84,
};

struct vmf_convert
{
    struct vmf_child *child;
    char *log_path, *messages_path;
    char *temp_dir; /* TMPDIR, ours to remove */
    FILE *log;      /* written by the draining thread until the child is reaped */
};

static void
log_line (const char *line, void *data)
{
    FILE *log = data;
    fprintf (log, "%s\n", line);
    /* Whoever looks while it runs sees all that was said, and so does who looks after a crash. */
    fflush (log);
}

static bool
make_temp_dir (struct vmf_convert *convert, const char *work_dir, GError **error)
{
    g_autofree char *inside = g_build_filename (work_dir, "tmp", NULL);
    if (strlen (inside) > TMPDIR_MAX)
        convert->temp_dir = g_dir_make_tmp ("vmferry-XXXXXX", error);
    else if (g_mkdir_with_parents (inside, 0700) == 0)
        convert->temp_dir = g_steal_pointer (&inside);
    else
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "cannot make the directory %s: %s", inside,
                     g_strerror (errno));
    return convert->temp_dir != NULL;
}

/* Inside a room that is not root's, libguestfs takes itself for root and would refuse another user's cached appliance
   in /var/tmp/.guestfs-0. */
static char *
appliance_cache (void)
{
    const char *set = g_getenv ("LIBGUESTFS_CACHEDIR");
    if (set)
        return g_strdup (set);
    if (geteuid () != 0)
    {
        char *own = g_build_filename (g_get_user_cache_dir (), "vmferry", NULL);
        g_mkdir_with_parents (own, 0700);
        return own;
    }
    const char *temp = g_getenv ("TMPDIR");
    return g_strdup (temp ? temp : "/var/tmp");
}

static GPtrArray *
environment (const struct vmf_convert *convert, const struct vmf_convert_options *options)
{
    g_autofree char *cache = appliance_cache ();
    GPtrArray *env = g_ptr_array_new_with_free_func (g_free);
    g_ptr_array_add (env, g_strdup ("LC_ALL=C.UTF-8"));
    g_ptr_array_add (env, g_strconcat ("TMPDIR=", convert->temp_dir, NULL));
    g_ptr_array_add (env, g_strconcat ("VIRT_V2V_TMPDIR=", convert->temp_dir, NULL));
    g_ptr_array_add (env, g_strconcat ("LIBGUESTFS_CACHEDIR=", cache, NULL));
    if (options->virtio_win)
        g_ptr_array_add (env, g_strconcat ("VIRTIO_WIN=", options->virtio_win, NULL));
    for (size_t i = 0; options->libguestfs_env && options->libguestfs_env[i]; i++)
        g_ptr_array_add (env, g_strdup (options->libguestfs_env[i]));
    g_ptr_array_add (env, NULL);
    return env;
}

static GPtrArray *
arguments (const struct vmf_convert *convert, const struct vmf_v2v *v2v, const struct vmf_convert_options *options,
           const char *xml_path)
{
    const char *root = options->root ? options->root : "first";
    const char *const fixed[] = { v2v->program, "-v", "-x", "-i", "libvirtxml", "--root", root };
    GPtrArray *argv = g_ptr_array_new_with_free_func (g_free);
    for (size_t i = 0; i < G_N_ELEMENTS (fixed); i++)
        g_ptr_array_add (argv, g_strdup (fixed[i]));
    g_ptr_array_add (argv, g_strconcat ("--machine-readable=file:", convert->messages_path, NULL));
    for (size_t i = 0; options->extra_args && options->extra_args[i]; i++)
        g_ptr_array_add (argv, g_strdup (options->extra_args[i]));
    g_ptr_array_add (argv, g_strdup (xml_path));
    g_ptr_array_add (argv, NULL);
    return argv;
}

static FILE *
open_log (const char *path, GError **error)
{
    int fd = open (path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    /* A second conversion after a failed one starts its log anew: what the former said would be taken for its own. */
    if (fd >= 0 && ftruncate (fd, 0) == 0)
        return fdopen (fd, "a");
    g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "cannot write the log %s: %s", path, g_strerror (errno));
    if (fd >= 0)
        close (fd);
    return NULL;
}

static bool
start_child (struct vmf_convert *convert, const struct vmf_convert_options *options, const char *xml_path,
             GError **error)
{
    struct vmf_v2v v2v = { 0 };
    bool good = vmf_v2v_probe (&v2v, NULL, error);
    if (good)
    {
        g_autoptr (GPtrArray) argv = arguments (convert, &v2v, options, xml_path);
        g_autoptr (GPtrArray) env = environment (convert, options);
        const struct vmf_child_options child = {
            .name = "virt-v2v-in-place",
            .argv = (const char *const *)argv->pdata,
            .set_env = (const char *const *)env->pdata,
            .room = options->room,
            .flags = VMF_CHILD_CAGE | VMF_CHILD_LOW_PRIORITY | VMF_CHILD_STDOUT_TO_LINES,
            .on_line = log_line,
            .on_line_data = convert->log,
        };
        convert->child = vmf_child_start (&child, error);
    }
    vmf_v2v_clear (&v2v);
    return convert->child != NULL;
}

struct vmf_convert *
vmf_convert_start (const struct vmf_convert_options *options, GError **error)
{
    g_return_val_if_fail (options->n_ports > 0, NULL);
    g_autoptr (vmf_convert) convert = g_new0 (struct vmf_convert, 1);
    g_autofree char *xml = vmf_convert_write_xml (options);
    g_autofree char *xml_path = g_build_filename (options->work_dir, "guest.xml", NULL);
    convert->log_path = g_strdup (options->log_path);
    convert->messages_path = g_build_filename (options->work_dir, "convert.messages", NULL);
    g_remove (convert->messages_path);
    if (!g_file_set_contents_full (xml_path, xml, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0600, error)
        || !make_temp_dir (convert, options->work_dir, error) || !(convert->log = open_log (options->log_path, error))
        || !start_child (convert, options, xml_path, error))
    {
        g_prefix_error (error, "cannot start the conversion: ");
        return NULL;
    }
    return g_steal_pointer (&convert);
}

void
vmf_convert_free (struct vmf_convert *convert)
{
    if (!convert)
        return;
    vmf_child_free (convert->child);
    if (convert->log)
        fclose (convert->log);
    if (convert->temp_dir)
        vmf_file_remove_tree (convert->temp_dir);
    g_free (convert->temp_dir);
    g_free (convert->log_path);
    g_free (convert->messages_path);
    g_free (convert);
}

struct vmf_child *
vmf_convert_get_child (struct vmf_convert *convert)
{
    return convert->child;
}

static void
keep_last (const char *type, const char *text, void *data)
{
    char **last = data;
    if (!g_str_equal (type, "message"))
        return;
    g_free (*last);
    *last = g_strdup (text);
}

char *
vmf_convert_get_stage (struct vmf_convert *convert)
{
    char *last = NULL;
    vmf_v2v_read_messages (convert->messages_path, keep_last, &last);
    return last;
}

struct vmf_convert_result *
vmf_convert_finish (struct vmf_convert *convert, GCancellable *cancellable, GError **error)
{
    g_autoptr (GError) problem = NULL;
    if (vmf_child_wait (convert->child, 0, cancellable, &problem))
        return vmf_v2v_read_log (convert->log_path, convert->messages_path, error);
    if (g_error_matches (problem, VMF_ERROR, VMF_ERROR_CANCELLED))
        g_propagate_error (error, g_steal_pointer (&problem));
    else
        vmf_v2v_explain (convert->log_path, convert->messages_path, problem, error);
    return NULL;
}
