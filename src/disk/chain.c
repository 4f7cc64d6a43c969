/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One qemu-storage-daemon per disk, and what must be done around it.
 *
 * The daemon's own NBD server listens on a unix socket: that is what the mover uses from outside the room. virt-v2v 2.2
 * opens an NBD disk only as the default export of a port on localhost, so an nbdkit in the room hands that through.
 */
#include "disk/chain.h"
#include "base/error.h"
#include "base/text.h"
#include "disk/nbd.h"
#include "disk/qmp.h"
#include "disk/reserve.h"
#include "disk/zero.h"

#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>

enum
{
    END_GRACE_MS = 5 * 60 * 1000, /* QEMU writes its caches back; a slow target may need long */
    CREATE_TIMEOUT_MS = 5 * 60 * 1000,
    RECONNECT_S = 300, /* the conversion waits so long for a source that is started again */
};

struct vmf_chain
{
    char *name, *target_path, *target_uri, *overlay_uri;
    char *socket, *monitor, *map, *overlay,
        *port_pid;                                 /* paths in the work directory; map, overlay, port_pid may be NULL */
    bool raw, has_source, preallocate, completing; /* completing: the commit was told to end */
    uint64_t size_bytes;
    const struct vmf_room *room;
    struct vmf_child *daemon, *port;
    struct vmf_qmp *qmp;
};

void
vmf_chain_free (struct vmf_chain *chain)
{
    if (!chain)
        return;
    vmf_qmp_free (chain->qmp);
    vmf_child_free (chain->port);
    vmf_child_free (chain->daemon);
    char *temporary[] = { chain->socket, chain->monitor, chain->overlay, chain->map, chain->port_pid };
    for (size_t i = 0; i < G_N_ELEMENTS (temporary); i++)
    {
        if (temporary[i])
            g_unlink (temporary[i]);
        g_free (temporary[i]);
    }
    g_free (chain->name);
    g_free (chain->target_path);
    g_free (chain->target_uri);
    g_free (chain->overlay_uri);
    g_free (chain);
}

const char *
vmf_chain_get_overlay_uri (const struct vmf_chain *chain)
{
    return chain->overlay_uri;
}

const char *
vmf_chain_get_overlay_path (const struct vmf_chain *chain)
{
    return chain->overlay;
}

bool
vmf_chain_has_overlay (const char *work_dir, const char *name)
{
    g_autofree char *path = g_strdup_printf ("%s/%s-overlay.qcow2", work_dir, name);
    return g_file_test (path, G_FILE_TEST_EXISTS);
}

const char *
vmf_chain_get_target_uri (const struct vmf_chain *chain)
{
    return chain->target_uri;
}

/* A qcow2 file at PATH; with DATA_FILE it is a map over that. */
static bool
create_qcow2 (struct vmf_chain *chain, const char *path, const char *data_file, GCancellable *cancellable,
              GError **error)
{
    g_autofree char *size = g_strdup_printf ("%" G_GUINT64_FORMAT, (guint64)chain->size_bytes);
    g_autofree char *value = data_file ? vmf_text_double_commas (data_file) : NULL; /* a VM's name is in it */
    g_autofree char *option = g_strconcat ("data_file=", value, NULL);
    const char *plain[] = { "qemu-img", "create", "-q", "-f", "qcow2", path, size, NULL };
    const char *map[] = { "qemu-img", "create", "-q", "-f", "qcow2", "-o", option, path, size, NULL };
    struct vmf_child_options run = { .name = "qemu-img create", .argv = data_file ? map : plain };
    g_autofree char *output = vmf_child_run (&run, CREATE_TIMEOUT_MS, cancellable, error);
    return output != NULL;
}

/* The options of the target's node, as blockdev-add and blockdev-reopen want them. BACKING: a node's name or NULL. */
static json_t *
target_node (const struct vmf_chain *chain, const struct vmf_chain_options *options, const char *backing)
{
    const char *driver = chain->raw && !chain->map ? "raw" : "qcow2";
    json_t *node =
        json_pack ("{s:s, s:s, s:s, s:{s:s, s:s}}", "driver", driver, "node-name", "target", "discard", "unmap", "file",
                   "driver", options->target_is_block && !chain->map ? "host_device" : "file", "filename",
                   chain->map ? chain->map : chain->target_path);
    if (chain->map)
        json_object_set_new (node, "data-file",
                             json_pack ("{s:s, s:s, s:s}", "driver", options->target_is_block ? "host_device" : "file",
                                        "filename", chain->target_path, "discard", "unmap"));
    if (strcmp (driver, "qcow2") == 0)
        json_object_set_new (node, "backing", backing ? json_string (backing) : json_null ());
    return node;
}

static void
add_json (GPtrArray *argv, const char *option, json_t *value)
{
    char *text = json_dumps (value, JSON_COMPACT);
    g_ptr_array_add (argv, g_strdup (option));
    g_ptr_array_add (argv, g_strdup (text));
    free (text);
    json_decref (value);
}

static void
add_export (GPtrArray *argv, const char *node)
{
    add_json (argv, "--export",
              json_pack ("{s:s, s:s, s:s, s:s, s:b, s:b}", "type", "nbd", "id", node, "node-name", node, "name", node,
                         "writable", 1, "allocation-depth", 1));
}

static GPtrArray *
daemon_argv (const struct vmf_chain *chain, const struct vmf_chain_options *options)
{
    GPtrArray *argv = g_ptr_array_new_with_free_func (g_free);
    g_ptr_array_add (argv, g_strdup ("qemu-storage-daemon"));
    g_ptr_array_add (argv, g_strdup ("--chardev"));
    g_ptr_array_add (argv, g_strdup_printf ("socket,id=monitor,server=on,wait=off,path=%s", chain->monitor));
    g_ptr_array_add (argv, g_strdup ("--monitor"));
    g_ptr_array_add (argv, g_strdup ("chardev=monitor"));
    if (options->source_socket)
        add_json (argv, "--blockdev",
                  json_pack ("{s:s, s:s, s:b, s:i, s:{s:s, s:s}}", "driver", "nbd", "node-name", "source", "read-only",
                             1, "reconnect-delay", RECONNECT_S, "server", "type", "unix", "path",
                             options->source_socket));
    add_json (argv, "--blockdev", target_node (chain, options, options->source_socket ? "source" : NULL));
    if (chain->overlay)
    {
        add_json (argv, "--blockdev",
                  json_pack ("{s:s, s:s, s:s}", "driver", "copy-on-read", "node-name", "cor", "file", "target"));
        add_json (argv, "--blockdev",
                  json_pack ("{s:s, s:s, s:s, s:s, s:{s:s, s:s}}", "driver", "qcow2", "node-name", "overlay", "backing",
                             "cor", "discard", "unmap", "file", "driver", "file", "filename", chain->overlay));
    }
    g_ptr_array_add (argv, g_strdup ("--nbd-server"));
    g_ptr_array_add (argv, g_strdup_printf ("addr.type=unix,addr.path=%s,max-connections=0", chain->socket));
    add_export (argv, "target");
    if (chain->overlay)
        add_export (argv, "overlay");
    g_ptr_array_add (argv, NULL);
    return argv;
}

static bool
start_daemon (struct vmf_chain *chain, const struct vmf_chain_options *options, GCancellable *cancellable,
              GError **error)
{
    g_autoptr (GPtrArray) argv = daemon_argv (chain, options);
    g_autofree char *name = g_strdup_printf ("qemu-storage-daemon for %s", chain->name);
    struct vmf_child_options start = { .name = name, .argv = (const char *const *)argv->pdata, .room = options->room };
    chain->daemon = vmf_child_start (&start, error);
    /* The NBD socket is made after the monitor's, so when it is there all nodes are open. */
    if (!chain->daemon || !vmf_child_wait_for_path (chain->daemon, chain->socket, cancellable, error))
        return false;
    chain->qmp = vmf_qmp_connect (chain->monitor, cancellable, error);
    return chain->qmp != NULL;
}

static bool
start_port (struct vmf_chain *chain, unsigned port, GCancellable *cancellable, GError **error)
{
    g_autofree char *number = g_strdup_printf ("%u", port);
    g_autofree char *uri = g_strdup_printf ("uri=nbd+unix:///overlay?socket=%s", chain->socket);
    g_autofree char *name = g_strdup_printf ("nbdkit for the overlay of %s", chain->name);
    const char *argv[] = { "nbdkit", "-f", "-i", "127.0.0.1", "-p", number, "-P", chain->port_pid, "nbd", uri, NULL };
    struct vmf_child_options start = { .name = name, .argv = argv, .room = chain->room };
    chain->port = vmf_child_start (&start, error);
    return chain->port && vmf_child_wait_for_path (chain->port, chain->port_pid, cancellable, error);
}

/* WORK_DIR/NAME-SUFFIX, which must not contain what QEMU's key=value options and URIs give a meaning to. */
static char *
work_path (const struct vmf_chain_options *options, const char *suffix)
{
    return g_strdup_printf ("%s/%s-%s", options->work_dir, options->name, suffix);
}

struct vmf_chain *
vmf_chain_start (const struct vmf_chain_options *options, GCancellable *cancellable, GError **error)
{
    g_autoptr (vmf_chain) chain = g_new0 (struct vmf_chain, 1);
    chain->name = g_strdup (options->name);
    chain->target_path = g_strdup (options->target_path);
    chain->raw = strcmp (options->target_format, "raw") == 0;
    chain->preallocate = options->preallocate;
    chain->size_bytes = options->size_bytes;
    chain->room = options->room;
    chain->has_source = options->source_socket != NULL;
    chain->socket = work_path (options, "target.sock");
    chain->monitor = work_path (options, "monitor.sock");
    chain->target_uri = g_strdup_printf ("nbd+unix:///target?socket=%s", chain->socket);
    if (options->overlay_port != 0)
    {
        chain->overlay = work_path (options, "overlay.qcow2");
        chain->overlay_uri = g_strdup_printf ("nbd+unix:///overlay?socket=%s", chain->socket);
        chain->port_pid = work_path (options, "port.pid");
        chain->map = chain->raw ? work_path (options, "map.qcow2") : NULL;
    }
    if (strlen (chain->monitor) > 107 || strpbrk (chain->monitor, ",?&#%= "))
    {
        g_set_error (
            error, VMF_ERROR, VMF_ERROR_USAGE,
            "the work directory %s is too long or has one of ',?&#%%= ' in its name; choose another with --work",
            options->work_dir);
        return NULL;
    }
    bool new_map = chain->map && !(options->keep_map && g_file_test (chain->map, G_FILE_TEST_EXISTS));
    bool good =
        (!new_map || create_qcow2 (chain, chain->map, chain->target_path, cancellable, error))
        && (!chain->overlay || options->keep_overlay || create_qcow2 (chain, chain->overlay, NULL, cancellable, error))
        && start_daemon (chain, options, cancellable, error)
        && (!chain->overlay || start_port (chain, options->overlay_port, cancellable, error));
    if (!good)
        g_prefix_error (error, "cannot set up %s at %s: ", chain->name, chain->target_path);
    return good ? g_steal_pointer (&chain) : NULL;
}

/* Runs COMMAND and throws its answer away. */
static bool
command (struct vmf_chain *chain, const char *name, json_t *arguments, GError **error)
{
    json_t *answer = vmf_qmp_run (chain->qmp, name, arguments, error);
    json_decref (answer);
    return answer != NULL;
}

static void
add_if_here (uint64_t offset, const struct vmf_nbd_status *status, void *data)
{
    if (status->flags == 1)
        *(uint64_t *)data += status->length_bytes;
}

bool
vmf_chain_present_bytes (struct vmf_chain *chain, uint64_t *present_bytes, GError **error)
{
    *present_bytes = 0;
    return vmf_nbd_walk (chain->target_uri, chain->name, VMF_NBD_DEPTH, "qemu:allocation-depth", add_if_here,
                         present_bytes, NULL, error);
}

bool
vmf_chain_release_source (struct vmf_chain *chain, const struct vmf_chain_options *options, GError **error)
{
    if (!chain->has_source)
        return true;
    json_t *reopened = json_pack ("{s:[o]}", "options", target_node (chain, options, NULL));
    bool good = command (chain, "blockdev-reopen", reopened, error)
                && command (chain, "blockdev-del", json_pack ("{s:s}", "node-name", "source"), error);
    if (good)
        chain->has_source = false;
    else
        g_prefix_error (error, "cannot release the source of %s: ", chain->name);
    return good;
}

bool
vmf_chain_commit_start (struct vmf_chain *chain, uint64_t *overlay_bytes, GError **error)
{
    struct stat info;
    vmf_child_stop (chain->port, 10 * 1000);
    *overlay_bytes = stat (chain->overlay, &info) == 0 ? (uint64_t)info.st_blocks * 512 : 0;
    bool good = command (chain, "block-export-del", json_pack ("{s:s, s:s}", "id", "overlay", "mode", "hard"), error)
                && command (chain, "block-commit",
                            json_pack ("{s:s, s:s, s:s, s:b}", "job-id", "commit", "device", "overlay", "base-node",
                                       "target", "auto-dismiss", 0),
                            error);
    if (!good)
        g_prefix_error (error, "cannot commit the conversion of %s: ", chain->name);
    return good;
}

/* What query-jobs says of our only job. It stays there until we dismiss it: of a job that goes by itself nobody could
   tell whether it had failed. */
static bool
read_job (struct vmf_chain *chain, json_t *job, bool *done, GError **error)
{
    const char *status = json_string_value (json_object_get (job, "status"));
    const char *problem = json_string_value (json_object_get (job, "error"));
    if (problem)
    {
        bool full = strstr (problem, "No space left") != NULL;
        g_set_error (error, VMF_ERROR, full ? VMF_ERROR_NO_SPACE : VMF_ERROR_FAILED,
                     "committing the conversion of %s into %s failed: %s", chain->name, chain->target_path, problem);
        return false;
    }
    if (!status)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED,
                     "committing the conversion of %s into %s failed: QEMU does not know that job any more",
                     chain->name, chain->target_path);
        return false;
    }
    *done = strcmp (status, "concluded") == 0;
    if (*done)
        return command (chain, "job-dismiss", json_pack ("{s:s}", "id", "commit"), error);
    if (chain->completing || strcmp (status, "ready") != 0)
        return true;
    chain->completing = true;
    return command (chain, "job-complete", json_pack ("{s:s}", "id", "commit"), error);
}

bool
vmf_chain_commit_poll (struct vmf_chain *chain, bool *done, uint64_t *written_bytes, uint64_t *total_bytes,
                       GError **error)
{
    json_t *jobs = vmf_qmp_run (chain->qmp, "query-jobs", NULL, error);
    if (!jobs)
        return false;
    json_t *job = json_array_get (jobs, 0);
    if (job)
    {
        *written_bytes = (uint64_t)json_integer_value (json_object_get (job, "current-progress"));
        *total_bytes = (uint64_t)json_integer_value (json_object_get (job, "total-progress"));
    }
    bool good = read_job (chain, job, done, error);
    json_decref (jobs);
    return good;
}

/* The map against the raw file, by a program that is not ours. */
static bool
compare_with_map (struct vmf_chain *chain, GCancellable *cancellable, GError **error)
{
    const char *argv[] = { "qemu-img", "compare", "-f", "raw", "-F", "qcow2", chain->target_path, chain->map, NULL };
    struct vmf_child_options run = { .name = "qemu-img compare", .argv = argv };
    g_autofree char *output = vmf_child_run (&run, 0, cancellable, error);
    if (!output)
        g_prefix_error (error, "the raw disk %s is not what its map says: ", chain->target_path);
    return output != NULL;
}

/* Not before: clusters that were allocated in advance would hide the source beneath, and count as copied. */
static bool
preallocate (struct vmf_chain *chain, GError **error)
{
    uint64_t full = chain->raw ? chain->size_bytes : vmf_reserve_qcow2_bytes (chain->size_bytes, chain->size_bytes);
    return !chain->preallocate || vmf_zero_allocate (chain->target_path, full, error);
}

bool
vmf_chain_close (struct vmf_chain *chain, GCancellable *cancellable, GError **error)
{
    g_autoptr (vmf_extents) zeroes =
        chain->map ? vmf_zero_ranges (chain->target_uri, chain->name, cancellable, error) : NULL;
    if ((chain->map && !zeroes) || !command (chain, "quit", NULL, error)
        || !vmf_child_wait (chain->daemon, END_GRACE_MS, NULL, error))
    {
        g_prefix_error (error, "cannot close %s: ", chain->target_path);
        return false;
    }
    if (zeroes
        && (!vmf_zero_punch (chain->target_path, zeroes, cancellable, error)
            || !compare_with_map (chain, cancellable, error)))
        return false;
    return preallocate (chain, error) && vmf_zero_sync (chain->target_path, error);
}
