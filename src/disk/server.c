/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Starting the helper that fits an image, and waiting until it answers.
 *
 * What a helper says on standard error is kept until it answers: when the first connection fails, that is the cause.
 */
#include "disk/server.h"
#include "disk/image-beneath.h"
#include "disk/image-vmdk.h"
#include "disk/nbd.h"
#include "disk/server-graph.h"
#include "base/error.h"
#include "base/plugins.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum
{
    QEMU_LOCK_WRITE = 101, /* the byte of an image file that QEMU locks while it may write to it */
    CONNECTIONS_MAX = 64,
    CONNECT_TRIES = 2000,
    OPEN_MAX_MS = 20 * 60 * 1000, /* without a word from a helper that is alive */
    CONNECT_PAUSE_US = 5 * 1000,
    LAST_WORDS_MAX_US = 500 * 1000, /* by when a helper's complaint about a read has come through its pipe */
};

struct vmf_server
{
    GPtrArray *children; /* struct vmf_child*: proxies first */
    GPtrArray *sockets;  /* char*: taken away at the end */
    vmf_feed *feed;      /* NULL: none */
    char *name, *socket, *uri;
    uint64_t size_bytes;
    GMutex lock;
    GCond something; /* was said */
    GString *said;   /* under lock: the first thing that a helper complained about */
};

/* One helper to start. */
struct helper
{
    const char *what;
    GPtrArray *argv; /* NULL-terminated */
    const char *socket;
    const char *const *readable;
    bool confined;
    const char *const *env;
    const char *secret;
    int feed_fd; /* 0: none */
};

/* The first line is the cause; qemu repeats its own command line in front of it. */
static void
on_line (const char *line, void *data)
{
    struct vmf_server *server = data;
    const char *json_end = g_strrstr (line, "}: ");
    g_debug ("%s: %s", server->name, line);
    g_mutex_lock (&server->lock);
    if (server->said->len == 0)
        g_string_append_printf (server->said, "%.600s", json_end ? json_end + 3 : line);
    g_cond_broadcast (&server->something);
    g_mutex_unlock (&server->lock);
}

void
vmf_server_free (struct vmf_server *server)
{
    if (!server)
        return;
    g_ptr_array_unref (server->children);
    vmf_feed_free (server->feed);
    for (guint i = 0; i < server->sockets->len; i++)
        unlink (g_ptr_array_index (server->sockets, i));
    g_ptr_array_unref (server->sockets);
    g_string_free (server->said, TRUE);
    g_mutex_clear (&server->lock);
    g_cond_clear (&server->something);
    g_free (server->name);
    g_free (server->socket);
    g_free (server->uri);
    g_free (server);
}

bool
vmf_server_is_running (const struct vmf_server *server)
{
    for (guint i = 0; i < server->children->len; i++)
        if (!vmf_child_running (g_ptr_array_index (server->children, i)))
            return false;
    return !server->feed || !vmf_feed_has_failed (server->feed, NULL);
}

/* The feed's failure, which is why the helper then fails; else what the helper says. NULL: nothing. Caller frees. */
static char *
get_cause (struct vmf_server *server)
{
    g_autoptr (GError) feed = NULL;
    if (server->feed && vmf_feed_has_failed (server->feed, &feed))
        return g_strdup (feed->message);
    g_mutex_lock (&server->lock);
    char *said = server->said->len > 0 ? vmf_text_printable (server->said->str, 600) : NULL;
    g_mutex_unlock (&server->lock);
    return said;
}

/* A failed read's answer may be here before the line that says why. */
static void
wait_for_words (struct vmf_server *server)
{
    int64_t until_us = g_get_monotonic_time () + LAST_WORDS_MAX_US;
    bool feed_failed = server->feed && vmf_feed_has_failed (server->feed, NULL);
    g_mutex_lock (&server->lock);
    while (!feed_failed && server->said->len == 0 && g_cond_wait_until (&server->something, &server->lock, until_us))
        continue;
    g_mutex_unlock (&server->lock);
}

void
vmf_server_explain (struct vmf_server *server, GError **error)
{
    bool wanted = server && error && g_error_matches (*error, VMF_ERROR, VMF_ERROR_FAILED);
    if (wanted)
        wait_for_words (server);
    g_autofree char *cause = wanted ? get_cause (server) : NULL;
    if (!cause)
        return;
    char *message = g_strdup_printf ("%s (%s)", (*error)->message, cause);
    g_free ((*error)->message);
    (*error)->message = message;
}

const char *
vmf_server_get_socket (const struct vmf_server *server)
{
    return server->socket;
}

const char *
vmf_server_get_uri (const struct vmf_server *server)
{
    return server->uri;
}

uint64_t
vmf_server_get_size (const struct vmf_server *server)
{
    return server->size_bytes;
}

static GPtrArray *
words (const char *first, ...)
{
    GPtrArray *argv = g_ptr_array_new_with_free_func (g_free);
    va_list args;
    va_start (args, first);
    for (const char *word = first; word; word = va_arg (args, const char *))
        g_ptr_array_add (argv, g_strdup (word));
    va_end (args);
    return argv;
}

static GPtrArray *
nbdkit_nbd (const char *uri, const char *socket)
{
    GPtrArray *argv = words ("nbdkit", "-f", "-r", "-U", socket, "nbd", NULL);
    g_ptr_array_add (argv, g_strdup_printf ("uri=%s", uri));
    g_ptr_array_add (argv, NULL);
    return argv;
}

static GPtrArray *
nbdkit_file (const struct vmf_image *image, const char *socket)
{
    bool part = image->length_bytes != 0;
    GPtrArray *argv = words ("nbdkit", "-f", "-r", "-U", socket, "--filter=truncate", NULL);
    if (part)
        g_ptr_array_add (argv, g_strdup ("--filter=offset"));
    g_ptr_array_add (argv, g_strdup ("file"));
    g_ptr_array_add (argv, g_strdup_printf ("file=%s", image->path));
    g_ptr_array_add (argv, g_strdup ("round-up=512"));
    if (part)
    {
        g_ptr_array_add (argv, g_strdup_printf ("offset=%" G_GUINT64_FORMAT, (guint64)image->offset_bytes));
        g_ptr_array_add (argv, g_strdup_printf ("range=%" G_GUINT64_FORMAT, (guint64)image->length_bytes));
    }
    g_ptr_array_add (argv, NULL);
    return argv;
}

static GPtrArray *
nbdkit_vmdkstream (const struct vmf_image *image, const char *plugin, const char *socket)
{
    GPtrArray *argv = words ("nbdkit", "-f", "-r", "-U", socket, plugin, NULL);
    g_ptr_array_add (argv, g_strdup_printf ("file=%s", image->path));
    if (image->length_bytes != 0)
    {
        g_ptr_array_add (argv, g_strdup_printf ("offset=%" G_GUINT64_FORMAT, (guint64)image->offset_bytes));
        g_ptr_array_add (argv, g_strdup_printf ("size=%" G_GUINT64_FORMAT, (guint64)image->length_bytes));
    }
    g_ptr_array_add (argv, NULL);
    return argv;
}

static GPtrArray *
storage_daemon (const json_t *graph, const char *socket)
{
    json_t *server =
        json_pack ("{s:{s:s, s:s}, s:i}", "addr", "type", "unix", "path", socket, "max-connections", CONNECTIONS_MAX);
    g_autofree char *server_text = json_dumps (server, JSON_COMPACT), *graph_text = json_dumps (graph, JSON_COMPACT);
    json_decref (server);
    GPtrArray *argv = words ("qemu-storage-daemon", "--nbd-server", server_text, "--blockdev", graph_text, "--export",
                             "{\"type\":\"nbd\",\"id\":\"export\",\"node-name\":\"top\",\"name\":\"\","
                             "\"writable\":false}",
                             NULL);
    g_ptr_array_add (argv, NULL);
    return argv;
}

/* The storage daemon's schema has no force_size_calc, and without it a VHD may be cut to its CHS geometry. */
static GPtrArray *
qemu_nbd (const json_t *graph, const char *socket)
{
    g_autofree char *options = vmf_server_graph_options (graph);
    g_autofree char *sized = g_strconcat (options, ",force_size_calc=current_size", NULL);
    GPtrArray *argv = words ("qemu-nbd", "-r", "-t", "-e", "64", "-x", "", "-k", socket, "--image-opts", sized, NULL);
    g_ptr_array_add (argv, NULL);
    return argv;
}

static bool
fail_with_words (struct vmf_server *server, GCancellable *cancellable, GError **error)
{
    if (vmf_error_if_cancelled (cancellable, error))
        return false;
    g_autofree char *own = g_strdup (nbd_get_error ());
    /* A helper's end is what makes sure that its last line was read. */
    for (guint i = 0; i < server->children->len; i++)
        vmf_child_stop (g_ptr_array_index (server->children, i), 1000);
    if (server->feed && vmf_feed_has_failed (server->feed, error))
        return false;
    g_autofree char *cause = get_cause (server);
    g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "its helper says: %s", cause ? cause : own ? own : "nothing");
    return false;
}

static bool
start_helper (struct vmf_server *server, const struct helper *helper, GCancellable *cancellable, GError **error)
{
    g_autofree char *folder = g_path_get_dirname (helper->socket);
    const char *const writable[] = { folder, NULL };
    g_autofree char *name = g_strdup_printf ("%s for %s", helper->what, server->name);
    const struct vmf_child_fd feed = { helper->feed_fd, VMF_IMAGE_FEED_FD };
    struct vmf_child_options options = {
        .name = name,
        .argv = (const char *const *)helper->argv->pdata,
        .flags = helper->confined ? VMF_CHILD_CONFINED : VMF_CHILD_NONE,
        .readable = helper->readable,
        .writable = writable,
        .set_env = helper->env,
        .secret = helper->secret,
        .fds = &feed,
        .n_fds = helper->feed_fd ? 1 : 0,
        .on_line = on_line,
        .on_line_data = server,
    };
    g_unlink (helper->socket); /* of one that was killed */
    struct vmf_child *child = vmf_child_start (&options, error);
    if (!child)
        return false;
    g_ptr_array_add (server->children, child);
    g_ptr_array_add (server->sockets, g_strdup (helper->socket));
    g_autoptr (GError) why = NULL;
    return vmf_child_wait_for_path (child, helper->socket, cancellable, &why)
           || fail_with_words (server, cancellable, error);
}

/* A program that may write to a file of the chain, such as the QEMU of a running VM, holds a lock on it. */
static bool
check_not_in_use (const struct vmf_image *image, GError **error)
{
    for (; image; image = image->backing)
    {
        struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = QEMU_LOCK_WRITE, .l_len = 1 };
        g_autofree char *real_path = NULL;
        uint64_t size_bytes;
        int fd = image->path ? vmf_beneath_open_own (image->path, &real_path, &size_bytes, NULL) : -1;
        bool in_use = fd >= 0 && fcntl (fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
        if (fd >= 0)
            close (fd);
        if (!in_use)
            continue;
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED,
                     "the image '%s' is in use by a program that writes to it; shut its VM down first", image->path);
        return false;
    }
    return true;
}

static bool
start_file (struct vmf_server *server, const struct vmf_image *image, GCancellable *cancellable, GError **error)
{
    g_auto (GStrv) bindings = vmf_image_get_bindings (image);
    g_autoptr (GPtrArray) argv = nbdkit_file (image, server->socket);
    struct helper helper = { "nbdkit", argv, server->socket, (const char *const *)bindings, true };
    return start_helper (server, &helper, cancellable, error);
}

/* Ours inflates grains on all cores, QEMU on one, behind a lock: three times as fast on two cores. */
static bool
start_vmdkstream (struct vmf_server *server, const struct vmf_image *image, const char *plugin,
                  GCancellable *cancellable, GError **error)
{
    g_auto (GStrv) bindings = vmf_image_get_bindings (image);
    g_autoptr (GPtrArray) readable = g_ptr_array_new ();
    for (size_t i = 0; bindings[i]; i++)
        g_ptr_array_add (readable, bindings[i]);
    g_ptr_array_add (readable, (char *)plugin);
    g_ptr_array_add (readable, NULL);
    g_autoptr (GPtrArray) argv = nbdkit_vmdkstream (image, plugin, server->socket);
    struct helper helper = { "nbdkit", argv, server->socket, (const char *const *)readable->pdata, true };
    return start_helper (server, &helper, cancellable, error);
}

static bool
start_nbd (struct vmf_server *server, const char *uri, const char *socket, GCancellable *cancellable, GError **error)
{
    g_autoptr (GPtrArray) argv = nbdkit_nbd (uri, socket);
    struct helper helper = { "nbdkit", argv, socket, NULL, false };
    return start_helper (server, &helper, cancellable, error);
}

static bool
start_qemu (struct vmf_server *server, const struct vmf_image *image, GCancellable *cancellable, GError **error)
{
    g_autoptr (GPtrArray) uris = vmf_server_graph_nbd_uris (image);
    g_autoptr (GPtrArray) proxies = g_ptr_array_new_with_free_func (g_free);
    for (guint i = 0; i < uris->len; i++)
    {
        g_ptr_array_add (proxies, g_strdup_printf ("%s.%u", server->socket, i));
        if (!start_nbd (server, g_ptr_array_index (uris, i), g_ptr_array_index (proxies, i), cancellable, error))
            return false;
    }
    json_t *graph = vmf_server_graph (image, (const char *const *)proxies->pdata);
    bool vhd = strcmp (image->format, "vpc") == 0;
    g_autoptr (GPtrArray) argv = vhd ? qemu_nbd (graph, server->socket) : storage_daemon (graph, server->socket);
    json_decref (graph);
    g_auto (GStrv) bindings = vmf_image_get_bindings (image);
    struct helper helper = { vhd ? "qemu-nbd" : "qemu-storage-daemon", argv, server->socket,
                             (const char *const *)bindings, true };
    return start_helper (server, &helper, cancellable, error);
}

/* The image's own words, with a plugin of ours as a path. READABLE gets that too. */
static GPtrArray *
nbdkit_words (const struct vmf_image_helper *helper, const char *socket, GPtrArray *readable)
{
    GPtrArray *argv = words ("nbdkit", "-f", "-r", "-U", socket, NULL);
    size_t i = 0;
    for (; helper->words[i][0] == '-'; i++)
        g_ptr_array_add (argv, g_strdup (helper->words[i]));
    char *plugin = vmf_plugin_find_own (helper->words[i]);
    if (plugin)
        g_ptr_array_add (readable, g_strdup (plugin));
    g_ptr_array_add (argv, plugin ? plugin : g_strdup (helper->words[i]));
    while (helper->words[++i])
        g_ptr_array_add (argv, g_strdup (helper->words[i]));
    g_ptr_array_add (argv, NULL);
    return argv;
}

static bool
start_image_helper (struct vmf_server *server, const struct vmf_image_helper *image, GCancellable *cancellable,
                    GError **error)
{
    g_autoptr (GPtrArray) readable = g_ptr_array_new_with_free_func (g_free);
    for (size_t i = 0; image->readable && image->readable[i]; i++)
        g_ptr_array_add (readable, g_strdup (image->readable[i]));
    g_autoptr (GPtrArray) argv = nbdkit_words (image, server->socket, readable);
    g_ptr_array_add (readable, NULL);
    int feed_fd = 0;
    if (image->feed && !(server->feed = vmf_feed_start (image->feed, cancellable, &feed_fd, error)))
        return false;
    struct helper helper = { "nbdkit",        argv,
                             server->socket,  (const char *const *)readable->pdata,
                             !image->network, (const char *const *)image->env,
                             image->secret,   feed_fd };
    bool good = start_helper (server, &helper, cancellable, error);
    if (feed_fd > 0)
        close (feed_fd);
    return good;
}

static bool
start_by_kind (struct vmf_server *server, const struct vmf_image *image, GCancellable *cancellable, GError **error)
{
    bool raw = strcmp (image->format, "raw") == 0;
    if (image->helper)
        return start_image_helper (server, image->helper, cancellable, error);
    if (raw && image->nbd_uri)
        return start_nbd (server, image->nbd_uri, server->socket, cancellable, error);
    if (raw)
        return start_file (server, image, cancellable, error);
    g_autofree char *plugin = vmf_image_is_vmdk_stream (image) ? vmf_plugin_find_own ("vmdkstream") : NULL;
    if (plugin)
        return start_vmdkstream (server, image, plugin, cancellable, error);
    return start_qemu (server, image, cancellable, error);
}

/* The socket's name is there a moment before anybody listens. A helper that has ended will never answer. One that opens
   its disk now (VDDK) may need its time, and says itself when that is too long. */
static struct nbd_handle *
connect_first (struct vmf_server *server, GCancellable *cancellable)
{
    struct vmf_child *child = g_ptr_array_index (server->children, server->children->len - 1);
    for (int tries = 0; tries < CONNECT_TRIES; tries++)
    {
        g_autoptr (nbd_handle) nbd = nbd_create ();
        if (nbd && nbd_aio_connect_unix (nbd, server->socket) == 0
            && vmf_nbd_finish_connecting (nbd, server->name, OPEN_MAX_MS, cancellable, NULL))
            return g_steal_pointer (&nbd);
        if (nbd_get_errno () != ECONNREFUSED || g_cancellable_is_cancelled (cancellable) || !vmf_child_running (child))
            break;
        g_usleep (CONNECT_PAUSE_US);
    }
    return NULL;
}

/* The first connection: does it answer, and does the disk have the size that the header promised? */
static bool
check_answer (struct vmf_server *server, const struct vmf_image *image, GCancellable *cancellable, GError **error)
{
    g_autoptr (nbd_handle) nbd = connect_first (server, cancellable);
    int64_t size = nbd ? nbd_get_size (nbd) : -1;
    if (size < 0)
        return fail_with_words (server, cancellable, error);
    server->size_bytes = (uint64_t)size;
    if (image->size_bytes == 0 || server->size_bytes == image->size_bytes)
        return true;
    g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT,
                 "the image says that its disk has %" G_GUINT64_FORMAT " bytes, but %" G_GUINT64_FORMAT
                 " can be read from it",
                 (guint64)image->size_bytes, (guint64)server->size_bytes);
    return false;
}

static void
child_free (void *child)
{
    vmf_child_free (child);
}

struct vmf_server *
vmf_server_start (const struct vmf_image *image, const char *name, const char *socket_path, GCancellable *cancellable,
                  GError **error)
{
    g_autoptr (vmf_server) server = g_new0 (struct vmf_server, 1);
    server->children = g_ptr_array_new_with_free_func (child_free);
    server->sockets = g_ptr_array_new_with_free_func (g_free);
    server->said = g_string_new (NULL);
    g_mutex_init (&server->lock);
    g_cond_init (&server->something);
    server->name = g_strdup (name);
    /* ".0" is added for a proxy. */
    if (strlen (socket_path) + 3 >= sizeof (((struct sockaddr_un *)NULL)->sun_path))
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE,
                     "the path of a socket, '%s', is too long; choose a shorter work directory", socket_path);
        return NULL;
    }
    server->socket = g_strdup (socket_path);
    g_autofree char *escaped = g_uri_escape_string (socket_path, "/", FALSE);
    server->uri = g_strdup_printf ("nbd+unix:///?socket=%s", escaped);
    if (check_not_in_use (image, error) && start_by_kind (server, image, cancellable, error)
        && check_answer (server, image, cancellable, error))
        return g_steal_pointer (&server);
    g_prefix_error (error, "cannot open %s: ", name);
    return NULL;
}
