/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The vmdkstream plugin: QEMU's images and VMware's layout, from a file, from a part of one and as they arrive; bent
 * images (vmdk-set.py) are refused, or fail to read, with words that name the place.
 */
#include "../folder.h"

#include <glib.h>
#include <glib/gstdio.h>
#include <fcntl.h>
#include <libnbd.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum
{
    GRAIN = 64 * 1024, /* of QEMU's images */
    BIG = 6 * 1024 * 1024 + 1536,
    DENSE = 24 * 1024 * 1024,
};

static char *folder, *plugin;

static char *
path_in (const char *name)
{
    return g_build_filename (folder, name, NULL);
}

static void
run_ok (const char *first, ...)
{
    g_autoptr (GPtrArray) argv = g_ptr_array_new ();
    g_autofree char *output = NULL, *complaints = NULL;
    int status;
    va_list args;
    va_start (args, first);
    for (const char *word = first; word; word = va_arg (args, const char *))
        g_ptr_array_add (argv, (char *)word);
    va_end (args);
    g_ptr_array_add (argv, NULL);
    g_assert_true (g_spawn_sync (NULL, (char **)argv->pdata, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &output,
                                 &complaints, &status, NULL));
    if (status != 0)
        g_error ("%s: %s%s", first, output, complaints);
}

/* An nbdkit with the plugin, and a connection to it. */
struct server
{
    GPid pid;
    int feed; /* its standard input, or -1 */
    char *socket, *said;
    struct nbd_handle *nbd; /* NULL: it would not start, or not answer */
};

static bool
has_ended (struct server *server)
{
    if (server->pid != 0 && waitpid (server->pid, NULL, WNOHANG) == server->pid)
        server->pid = 0;
    return server->pid == 0;
}

static void
start (struct server *server, bool feed, ...)
{
    g_autofree char *pid_path = path_in ("pid");
    *server = (struct server){ .feed = -1, .socket = path_in ("sock"), .said = path_in ("said") };
    g_autoptr (GPtrArray) argv = g_ptr_array_new ();
    const char *before[] = { "nbdkit", "-f", "-U", server->socket, "-P", pid_path, plugin };
    for (size_t i = 0; i < G_N_ELEMENTS (before); i++)
        g_ptr_array_add (argv, (char *)before[i]);
    va_list args;
    va_start (args, feed);
    for (const char *word = va_arg (args, const char *); word; word = va_arg (args, const char *))
        g_ptr_array_add (argv, (char *)word);
    va_end (args);
    g_ptr_array_add (argv, NULL);
    g_unlink (server->socket);
    g_unlink (pid_path);
    int said = open (server->said, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), ends[2] = { -1, -1 };
    g_assert_cmpint (said, >=, 0);
    if (feed)
        g_assert_cmpint (pipe2 (ends, O_CLOEXEC), ==, 0);
    g_assert_true (g_spawn_async_with_fds (NULL, (char **)argv->pdata, NULL,
                                           G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL, &server->pid,
                                           ends[0], -1, said, NULL));
    close (said);
    if (feed)
        close (ends[0]);
    server->feed = ends[1];
    while (!has_ended (server) && access (pid_path, F_OK) != 0)
        g_usleep (1000);
}

/* Where nothing is fed yet this waits for the header. */
static struct nbd_handle *
connect_to (struct server *server)
{
    struct nbd_handle *nbd = nbd_create ();
    nbd_add_meta_context (nbd, LIBNBD_CONTEXT_BASE_ALLOCATION);
    if (!has_ended (server) && nbd_connect_unix (nbd, server->socket) == 0)
        return nbd;
    nbd_close (nbd);
    return NULL;
}

static void
end_feed (struct server *server)
{
    if (server->feed >= 0)
        close (server->feed);
    server->feed = -1;
}

/* Ends it; within five seconds, or the test fails. */
static void
stop (struct server *server)
{
    if (server->nbd)
        nbd_close (server->nbd);
    if (!has_ended (server))
        kill (server->pid, SIGTERM);
    for (int i = 0; i < 5000 && !has_ended (server); i++)
        g_usleep (1000);
    g_assert_true (has_ended (server));
    end_feed (server);
    g_free (server->socket);
    g_free (server->said);
}

static void
assert_said (const struct server *server, const char *words)
{
    g_autofree char *text = NULL;
    g_assert_true (g_file_get_contents (server->said, &text, NULL, NULL));
    if (!strstr (text, words))
        g_error ("it does not say '%s' but: %s", words, text);
}

/* In order, in pieces of odd lengths. False: a read failed. */
static bool
read_all (struct nbd_handle *nbd, GByteArray *bytes)
{
    int64_t size = nbd_get_size (nbd);
    g_assert_cmpint (size, >, 0);
    g_byte_array_set_size (bytes, (guint)size);
    for (int64_t at = 0, piece = 1; at < size; at += piece, piece = 1 + (at * 7919) % 100000)
    {
        piece = MIN (piece, size - at);
        if (nbd_pread (nbd, bytes->data + at, (size_t)piece, (uint64_t)at, 0) != 0)
            return false;
    }
    return true;
}

static void
assert_same (struct nbd_handle *nbd, const char *raw_name)
{
    g_autofree char *path = path_in (raw_name), *expected = NULL;
    g_autoptr (GByteArray) bytes = g_byte_array_new ();
    gsize length;
    g_assert_true (g_file_get_contents (path, &expected, &length, NULL));
    g_assert_true (read_all (nbd, bytes));
    g_assert_cmpmem (bytes->data, bytes->len, expected, (int)length);
}

/* NAME.raw and NAME.vmdk: data, grains that deflate well and badly, and holes. */
static void
make_image (const char *name, gsize size)
{
    g_autofree char *raw = g_strdup_printf ("%s/%s.raw", folder, name),
                    *vmdk = g_strdup_printf ("%s/%s.vmdk", folder, name), *bytes = g_malloc0 (size);
    for (gsize at = 0; at < size; at++)
        if (at / GRAIN % 5 < 3)
            bytes[at] = (char)(at / GRAIN % 5 == 0 ? g_test_rand_int () : (gint32)(at / 100));
    g_assert_true (g_file_set_contents (raw, bytes, (gssize)size, NULL));
    run_ok ("qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", raw, vmdk, NULL);
}

static char *
argument (const char *key, const char *name)
{
    return g_strdup_printf ("%s=%s/%s", key, folder, name);
}

static void
test_sizes (void)
{
    static const gsize sizes[] = { 512, GRAIN - 512, GRAIN, GRAIN + 512, 40 * GRAIN + 1024 };
    for (size_t i = 0; i < G_N_ELEMENTS (sizes); i++)
        for (int stream = 0; stream < 2; stream++)
        {
            struct server server;
            g_autofree char *arg = argument (stream ? "stream" : "file", "odd.vmdk");
            make_image ("odd", sizes[i]);
            start (&server, false, arg, NULL);
            server.nbd = connect_to (&server);
            g_assert_nonnull (server.nbd);
            g_assert_cmpint (nbd_get_size (server.nbd), ==, sizes[i]);
            g_assert_cmpint (nbd_is_read_only (server.nbd), ==, 1);
            g_assert_cmpint (nbd_can_multi_conn (server.nbd), ==, 1);
            assert_same (server.nbd, "odd.raw");
            stop (&server);
        }
}

/* Whoever reads as fast as it can, with many requests on several connections. */
static void
test_parallel (void)
{
    struct server server;
    g_autofree char *arg = argument ("file", "big.vmdk"), *raw = path_in ("big.raw"), *out = path_in ("out.raw");
    start (&server, false, arg, NULL);
    g_autofree char *uri = g_strdup_printf ("nbd+unix:///?socket=%s", server.socket);
    run_ok ("nbdcopy", "--request-size=32768", uri, out, NULL);
    run_ok ("cmp", raw, out, NULL);
    run_ok ("qemu-img", "compare", "-f", "raw", "-F", "raw", raw, uri, NULL);
    stop (&server);
}

static void
test_random_reads (void)
{
    struct server server;
    g_autofree char *arg = argument ("file", "big.vmdk"), *raw = path_in ("big.raw"), *expected = NULL,
                    *buffer = g_malloc (BIG);
    g_assert_true (g_file_get_contents (raw, &expected, NULL, NULL));
    start (&server, false, arg, NULL);
    server.nbd = connect_to (&server);
    g_assert_nonnull (server.nbd);
    for (int i = 0; i < 500; i++)
    {
        gint32 at = g_test_rand_int_range (0, BIG), length = g_test_rand_int_range (1, i % 2 ? 4096 : 3 * GRAIN);
        length = MIN (length, BIG - at);
        g_assert_cmpint (nbd_pread (server.nbd, buffer, (size_t)length, (uint64_t)at, 0), ==, 0);
        g_assert_cmpmem (buffer, length, expected + at, length);
    }
    stop (&server);
}

static void
test_in_tar (void)
{
    struct server server;
    gsize length;
    g_autofree char *vmdk = path_in ("big.vmdk"), *tar = path_in ("a.tar"), *bytes = NULL;
    g_assert_true (g_file_get_contents (vmdk, &bytes, &length, NULL));
    g_autofree char *padded = g_malloc (length + 10000), *arg = argument ("file", "a.tar"),
                    *size = g_strdup_printf ("size=%" G_GSIZE_FORMAT, length),
                    *too_long = g_strdup_printf ("size=%" G_GSIZE_FORMAT, length + 10000);
    memset (padded, 'x', length + 10000);
    memcpy (padded + 1536, bytes, length);
    g_assert_true (g_file_set_contents (tar, padded, (gssize)length + 10000, NULL));
    start (&server, false, arg, "offset=1536", size, NULL);
    server.nbd = connect_to (&server);
    g_assert_nonnull (server.nbd);
    assert_same (server.nbd, "big.raw");
    stop (&server);
    start (&server, false, arg, "offset=1536", too_long, NULL);
    server.nbd = connect_to (&server);
    g_assert_null (server.nbd);
    assert_said (&server, "but the file ends at");
    stop (&server);
}

static int
on_extents (void *data, const char *context, uint64_t offset, uint32_t *entries, size_t n, int *error)
{
    GArray *pairs = data;
    g_array_append_vals (pairs, entries, (guint)n);
    return 0;
}

/* Pairs of a length and its flags, from AT on. */
static GArray *
get_extents (struct nbd_handle *nbd, uint64_t at, uint64_t length, uint32_t flags)
{
    GArray *pairs = g_array_new (FALSE, FALSE, sizeof (uint32_t));
    nbd_extent_callback callback = { .callback = on_extents, .user_data = pairs };
    g_assert_cmpint (nbd_block_status (nbd, length, at, callback, flags), ==, 0);
    return pairs;
}

static void
assert_extents (const GArray *pairs, const uint32_t *expected, guint n)
{
    g_assert_cmpuint (pairs->len, ==, n);
    g_assert_cmpmem (pairs->data, n * 4, expected, n * 4);
}

enum
{
    HOLE = LIBNBD_STATE_HOLE | LIBNBD_STATE_ZERO,
};

static void
test_extents (void)
{
    static const uint32_t all[] = { 3 * GRAIN, 0, 2 * GRAIN, HOLE }, one[] = { 2 * GRAIN, 0 };
    struct server server;
    g_autofree char *arg = argument ("file", "big.vmdk");
    start (&server, false, arg, NULL);
    server.nbd = connect_to (&server);
    g_assert_nonnull (server.nbd);
    for (uint64_t at = 0; at + 5 * GRAIN <= BIG; at += 5 * GRAIN)
    {
        g_autoptr (GArray) pairs = get_extents (server.nbd, at, 5 * GRAIN, 0);
        assert_extents (pairs, all, G_N_ELEMENTS (all));
    }
    g_autoptr (GArray) first = get_extents (server.nbd, GRAIN, 4 * GRAIN, LIBNBD_CMD_FLAG_REQ_ONE);
    assert_extents (first, one, G_N_ELEMENTS (one));
    stop (&server);
}

/* A hole of more than 4 GiB behind data: nbdkit 1.32 dies of an extent that its protocol has no number for. */
static void
test_large_hole (void)
{
    struct server server;
    g_autofree char *arg = argument ("file", "large.vmdk"), *raw = path_in ("large.raw"),
                    *vmdk = path_in ("large.vmdk");
    run_ok ("qemu-img", "create", "-q", "-f", "raw", raw, "10G", NULL);
    run_ok ("qemu-io", "-f", "raw", "-c", "write -P 1 9G 64k", raw, NULL);
    run_ok ("qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", raw, vmdk, NULL);
    start (&server, false, arg, NULL);
    g_autofree char *uri = g_strdup_printf ("nbd+unix:///?socket=%s", server.socket);
    run_ok ("nbdinfo", "--map", "--totals", uri, NULL);
    stop (&server);
    g_unlink (raw);
    g_unlink (vmdk);
}

/* What is to be sent, by a thread, in pieces of odd lengths. */
struct feeding
{
    int fd;
    char *bytes;
    gsize length;
};

static void *
feed_thread (void *data)
{
    struct feeding *feeding = data;
    gsize at = 0;
    for (gsize piece = 1; at < feeding->length; piece = 1 + piece * 31 % 9973)
    {
        ssize_t n = write (feeding->fd, feeding->bytes + at, MIN (piece, feeding->length - at));
        if (n < 0)
            break;
        at += (gsize)n;
    }
    close (feeding->fd);
    return NULL;
}

static void
test_stream_pipe (const void *name)
{
    struct server server;
    struct feeding feeding;
    g_autofree char *vmdk = g_strdup_printf ("%s/%s.vmdk", folder, (const char *)name),
                    *raw = g_strdup_printf ("%s.raw", (const char *)name);
    g_assert_true (g_file_get_contents (vmdk, &feeding.bytes, &feeding.length, NULL));
    start (&server, true, "stream=-", "window=100k", NULL);
    feeding.fd = server.feed;
    server.feed = -1;
    GThread *thread = g_thread_new ("feed", feed_thread, &feeding);
    server.nbd = connect_to (&server);
    g_assert_nonnull (server.nbd);
    assert_same (server.nbd, raw);
    g_thread_join (thread);
    g_free (feeding.bytes);
    stop (&server);
}

/* Several connections at once, and more bytes than the window holds. */
static void
test_stream_parallel (void)
{
    struct server server;
    g_autofree char *arg = argument ("stream", "big.vmdk"), *raw = path_in ("big.raw"), *out = path_in ("out.raw");
    start (&server, false, arg, "window=1M", NULL);
    g_autofree char *uri = g_strdup_printf ("nbd+unix:///?socket=%s", server.socket);
    run_ok ("nbdcopy", "--request-size=32768", uri, out, NULL);
    run_ok ("cmp", raw, out, NULL);
    stop (&server);
}

static void
feed_bytes (struct server *server, const char *bytes, gsize from, gsize to)
{
    while (from < to)
    {
        ssize_t n = write (server->feed, bytes + from, to - from);
        g_assert_cmpint (n, >, 0);
        from += (gsize)n;
    }
}

/* VMware's layout, whose parts lie where vmdk-set.py put them: the second grain ends before byte 20000. */
static void
test_stream_waits (void)
{
    static const uint32_t known[] = { 16384, 0 };
    struct server server;
    gsize length;
    g_autofree char *vmdk = path_in ("good.vmdk"), *raw = path_in ("good.raw"), *bytes = NULL, *expected = NULL;
    char buffer[4096];
    g_assert_true (g_file_get_contents (vmdk, &bytes, &length, NULL));
    g_assert_true (g_file_get_contents (raw, &expected, NULL, NULL));
    start (&server, true, "stream=-", NULL);
    feed_bytes (&server, bytes, 0, 20000);
    server.nbd = connect_to (&server);
    g_assert_nonnull (server.nbd);
    /* No further than is known. */
    g_autoptr (GArray) pairs = get_extents (server.nbd, 0, 512000, 0);
    assert_extents (pairs, known, G_N_ELEMENTS (known));
    g_assert_cmpint (nbd_pread (server.nbd, buffer, sizeof buffer, 8192, 0), ==, 0);
    g_assert_cmpmem (buffer, sizeof buffer, expected + 8192, sizeof buffer);
    /* A read of what has not arrived waits, and so does the question what is there. */
    int64_t cookie = nbd_aio_pread (server.nbd, buffer, sizeof buffer, 253952, NBD_NULL_COMPLETION, 0);
    g_assert_cmpint (cookie, >, 0);
    g_assert_cmpint (nbd_poll (server.nbd, 300), ==, 0);
    g_assert_cmpint (nbd_aio_command_completed (server.nbd, (uint64_t)cookie), ==, 0);
    feed_bytes (&server, bytes, 20000, length);
    while (nbd_aio_command_completed (server.nbd, (uint64_t)cookie) == 0)
        g_assert_cmpint (nbd_poll (server.nbd, -1), ==, 1);
    g_assert_cmpmem (buffer, sizeof buffer, expected + 253952, sizeof buffer);
    end_feed (&server);
    stop (&server);
}

/* Who leaves while a read waits for a stream that does not go on: the server can end. */
static void
test_stream_stops (void)
{
    struct server server;
    gsize length;
    g_autofree char *vmdk = path_in ("good.vmdk"), *bytes = NULL;
    char buffer[512];
    g_assert_true (g_file_get_contents (vmdk, &bytes, &length, NULL));
    start (&server, true, "stream=-", NULL);
    feed_bytes (&server, bytes, 0, 20000);
    server.nbd = connect_to (&server);
    g_assert_nonnull (server.nbd);
    g_assert_cmpint (nbd_aio_pread (server.nbd, buffer, sizeof buffer, 253952, NBD_NULL_COMPLETION, 0), >, 0);
    g_assert_cmpint (nbd_poll (server.nbd, 200), ==, 0);
    stop (&server);
}

/* A stream is read once: what was read to its end is gone, what was not is not. */
static void
test_stream_behind (void)
{
    struct server server;
    g_autofree char *arg = argument ("stream", "big.vmdk"), *buffer = g_malloc (BIG);
    start (&server, false, arg, NULL);
    server.nbd = connect_to (&server);
    g_assert_nonnull (server.nbd);
    g_assert_cmpint (nbd_pread (server.nbd, buffer, 3 * GRAIN / 2, 0, 0), ==, 0);
    g_assert_cmpint (nbd_pread (server.nbd, buffer, GRAIN / 2, 3 * GRAIN / 2, 0), ==, 0);
    g_assert_cmpint (nbd_pread (server.nbd, buffer, GRAIN, 3 * GRAIN, 0), ==, 0); /* a hole: for ever */
    g_assert_cmpint (nbd_pread (server.nbd, buffer, GRAIN, 3 * GRAIN, 0), ==, 0);
    g_assert_cmpint (nbd_pread (server.nbd, buffer, GRAIN, 2 * GRAIN, 0), ==, 0);
    g_assert_cmpint (nbd_pread (server.nbd, buffer, GRAIN, 0, 0), ==, -1);
    assert_said (&server, "the grain for sector 0 has passed");
    stop (&server);
}

/* A reader that skips more than the window: what it left out is let go of, what it wants arrives. */
static void
test_stream_skip (void)
{
    struct server server;
    g_autofree char *arg = argument ("stream", "big.vmdk"), *raw = path_in ("big.raw"), *expected = NULL,
                    *buffer = g_malloc (BIG);
    g_assert_true (g_file_get_contents (raw, &expected, NULL, NULL));
    start (&server, false, arg, "window=200k", "patience-ms=200", NULL);
    server.nbd = connect_to (&server);
    g_assert_nonnull (server.nbd);
    g_assert_cmpint (nbd_pread (server.nbd, buffer, 4096, 0, 0), ==, 0);
    g_assert_cmpint (nbd_pread (server.nbd, buffer, GRAIN, 80 * GRAIN, 0), ==, 0);
    g_assert_cmpmem (buffer, GRAIN, expected + 80 * GRAIN, GRAIN);
    g_assert_cmpint (nbd_pread (server.nbd, buffer, GRAIN, 5 * GRAIN, 0), ==, -1);
    assert_said (&server, "has passed");
    stop (&server);
}

/* What was read in part goes as soon as its room is needed. */
static void
test_stream_parts (void)
{
    struct server server;
    g_autofree char *arg = argument ("stream", "big.vmdk");
    char buffer[4096];
    gint64 began = g_get_monotonic_time ();
    start (&server, false, arg, "window=200k", "patience-ms=60000", NULL);
    server.nbd = connect_to (&server);
    g_assert_nonnull (server.nbd);
    for (uint64_t at = 0; at + GRAIN <= BIG; at += GRAIN)
        g_assert_cmpint (nbd_pread (server.nbd, buffer, sizeof buffer, at, 0), ==, 0);
    g_assert_cmpint (g_get_monotonic_time () - began, <, 50 * G_USEC_PER_SEC);
    stop (&server);
}

/* Who asks for all extents before it reads gets an answer, also where more is to come than the window holds. */
static void
test_stream_extents_first (void)
{
    struct server server;
    g_autofree char *arg = argument ("stream", "big.vmdk");
    start (&server, false, arg, "window=200k", NULL);
    server.nbd = connect_to (&server);
    g_assert_nonnull (server.nbd);
    for (uint64_t at = 0; at < BIG;)
    {
        g_autoptr (GArray) pairs = get_extents (server.nbd, at, BIG - at, 0);
        for (guint i = 0; i < pairs->len; i += 2)
            at += g_array_index (pairs, uint32_t, i);
    }
    assert_same (server.nbd, "big.raw");
    stop (&server);
}

/* More than a hundred times what the windows of the tests below hold. */
static void
make_dense (void)
{
    g_autofree char *raw = path_in ("dense.raw"), *vmdk = path_in ("dense.vmdk"), *bytes = g_malloc (DENSE);
    for (gsize at = 0; at + 4 <= DENSE; at += 4)
        *(guint32 *)(void *)(bytes + at) = g_test_rand_int ();
    g_assert_true (g_file_set_contents (raw, bytes, DENSE, NULL));
    run_ok ("qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", raw, vmdk, NULL);
}

/* The most memory that the server ever had. */
static guint64
peak_kib (const struct server *server)
{
    g_autofree char *path = g_strdup_printf ("/proc/%d/status", (int)server->pid), *text = NULL;
    g_assert_true (g_file_get_contents (path, &text, NULL, NULL));
    return g_ascii_strtoull (strstr (text, "VmHWM:") + 6, NULL, 10);
}

/* A reader that goes on where an earlier one was: to the last grain patience is paid once, not 400 times (which the
   suite would not wait for), and no more is kept than the window. */
static void
test_forward_skip (void)
{
    struct server server;
    g_autofree char *arg = argument ("stream", "dense.vmdk"), *raw = path_in ("dense.raw"), *expected = NULL,
                    *buffer = g_malloc (GRAIN);
    g_assert_true (g_file_get_contents (raw, &expected, NULL, NULL));
    start (&server, false, arg, "window=200k", "patience-ms=2000", "forward=true", NULL);
    server.nbd = connect_to (&server);
    g_assert_nonnull (server.nbd);
    g_assert_cmpint (nbd_pread (server.nbd, buffer, GRAIN, 0, 0), ==, 0);
    guint64 before = peak_kib (&server);
    g_assert_cmpint (nbd_pread (server.nbd, buffer, GRAIN, DENSE - GRAIN, 0), ==, 0);
    g_assert_cmpmem (buffer, GRAIN, expected + DENSE - GRAIN, GRAIN);
#ifndef __SANITIZE_ADDRESS__
    g_assert_cmpuint (peak_kib (&server), <, before + DENSE / 1024 / 4);
#else
    (void)before;
#endif
    g_assert_cmpint (nbd_pread (server.nbd, buffer, GRAIN, 5 * GRAIN, 0), ==, -1);
    assert_said (&server, "has passed");
    stop (&server);
}

/* Sixteen requests in flight, in order, with more than the window between each two. */
static void
test_forward_in_flight (void)
{
    enum
    {
        N = 16,
        STEP = DENSE / N,
    };
    struct server server;
    g_autofree char *arg = argument ("stream", "dense.vmdk"), *raw = path_in ("dense.raw"), *expected = NULL,
                    *buffer = g_malloc (N * GRAIN);
    int64_t cookies[N];
    g_assert_true (g_file_get_contents (raw, &expected, NULL, NULL));
    start (&server, false, arg, "window=200k", "patience-ms=500", "forward=true", NULL);
    server.nbd = connect_to (&server);
    g_assert_nonnull (server.nbd);
    for (int i = 0; i < N; i++)
    {
        cookies[i] = nbd_aio_pread (server.nbd, buffer + i * GRAIN, GRAIN, (uint64_t)i * STEP, NBD_NULL_COMPLETION, 0);
        g_assert_cmpint (cookies[i], >, 0);
    }
    for (int i = 0; i < N; i++)
    {
        int done;
        while ((done = nbd_aio_command_completed (server.nbd, (uint64_t)cookies[i])) == 0)
            g_assert_cmpint (nbd_poll (server.nbd, -1), ==, 1);
        g_assert_cmpint (done, ==, 1);
        g_assert_cmpmem (buffer + i * GRAIN, GRAIN, expected + i * STEP, GRAIN);
    }
    stop (&server);
}

/* The window is full and somebody asks what is far behind: a few grains are called data, not all of it. */
static void
test_forward_extents (void)
{
    static const uint32_t few[] = { 64 * GRAIN, 0 };
    struct server server;
    g_autofree char *arg = argument ("stream", "dense.vmdk");
    start (&server, false, arg, "window=200k", "forward=true", NULL);
    server.nbd = connect_to (&server);
    g_assert_nonnull (server.nbd);
    g_autoptr (GArray) pairs = get_extents (server.nbd, DENSE / 2, DENSE / 2, 0);
    assert_extents (pairs, few, G_N_ELEMENTS (few));
    stop (&server);
}

/* Somebody looks at the first sector, and reads all of it, the first grain too, when the window has long been full. */
static void
test_forward_preflight (void)
{
    struct server server;
    struct feeding feeding;
    g_autofree char *vmdk = path_in ("dense.vmdk");
    char sector[512];
    g_assert_true (g_file_get_contents (vmdk, &feeding.bytes, &feeding.length, NULL));
    start (&server, true, "stream=-", "window=200k", "forward=true", NULL);
    int waiting = dup (server.feed);
    feeding.fd = server.feed;
    server.feed = -1;
    GThread *thread = g_thread_new ("feed", feed_thread, &feeding);
    server.nbd = connect_to (&server);
    g_assert_nonnull (server.nbd);
    g_assert_cmpint (nbd_pread (server.nbd, sector, sizeof sector, 0, 0), ==, 0);
    for (int before = -1, now = 0; before != now || now == 0; g_usleep (100 * 1000))
    {
        before = now; /* what stands in the pipe, until it stays so */
        g_assert_cmpint (ioctl (waiting, FIONREAD, &now), ==, 0);
    }
    close (waiting);
    assert_same (server.nbd, "dense.raw");
    g_thread_join (thread);
    g_free (feeding.bytes);
    stop (&server);
}

static void
assert_cut (const char *key, const char *bytes, gsize at)
{
    struct server server;
    g_autofree char *cut = path_in ("cut.vmdk"), *arg = argument (key, "cut.vmdk");
    g_autoptr (GByteArray) got = g_byte_array_new ();
    g_assert_true (g_file_set_contents (cut, bytes, (gssize)at, NULL));
    start (&server, false, arg, NULL);
    server.nbd = connect_to (&server);
    g_assert_false (server.nbd && read_all (server.nbd, got));
    assert_said (&server, "cut off");
    stop (&server);
}

/* Cut off anywhere, between two grains too: no server, or a read fails, and the message says that it was cut off. */
static void
test_cut (const void *key)
{
    static const char *const names[] = { "good", "odd" };
    make_image ("odd", 3 * GRAIN + 512);
    for (size_t i = 0; i < G_N_ELEMENTS (names); i++)
    {
        g_autofree char *path = g_strdup_printf ("%s/%s.vmdk", folder, names[i]), *bytes = NULL;
        gsize length;
        g_assert_true (g_file_get_contents (path, &bytes, &length, NULL));
        while (bytes[length - 1] == 0) /* QEMU leaves a grain's room behind the last one */
            length--;
        for (gsize at = 0; at < length; at += i == 0 ? 997 : 4987)
            assert_cut (key, bytes, at);
        for (gsize at = (length - 4096) & ~(gsize)511; at < length; at += 512)
            assert_cut (key, bytes, at);
    }
}

/* A line of vmdk-set.py's list: NAME, how, outcome, words. */
static void
test_set (const void *data)
{
    char *const *fields = (char *const *)data;
    g_autofree char *name = g_strconcat (fields[0], ".vmdk", NULL), *arg = argument (fields[1], name);
    g_autoptr (GByteArray) got = g_byte_array_new ();
    struct server server;
    start (&server, false, arg, NULL);
    server.nbd = connect_to (&server);
    g_assert_cmpint (server.nbd == NULL, ==, strcmp (fields[2], "refused") == 0);
    if (strcmp (fields[2], "same") == 0)
        assert_same (server.nbd, "good.raw");
    else if (server.nbd)
        g_assert_false (read_all (server.nbd, got));
    assert_said (&server, fields[3]);
    stop (&server);
}

static void
test_parameters (void)
{
    static const char *const wrong[][2] = {
        { "offset=0", "one of file=" },
        { "size=x", "" },
        { "stream=fd:x", "" },
        { "forward=perhaps", "" },
        { "colour=red", "unknown parameter" },
        { "file=/nowhere/at/all", "No such" },
        { "stream=fd:99", "file descriptor 99" },
    };
    for (size_t i = 0; i < G_N_ELEMENTS (wrong); i++)
    {
        struct server server;
        start (&server, false, wrong[i][0], NULL);
        g_assert_true (has_ended (&server));
        assert_said (&server, wrong[i][1]);
        stop (&server);
    }
}

static void
add_set (void)
{
    g_autofree char *script = g_test_build_filename (G_TEST_DIST, "plugins", "vmdk-set.py", NULL),
                    *list = path_in ("list"), *text = NULL;
    run_ok ("python3", script, folder, NULL);
    g_assert_true (g_file_get_contents (list, &text, NULL, NULL));
    g_auto (GStrv) lines = g_strsplit (g_strchomp (text), "\n", -1);
    for (guint i = 0; lines[i]; i++)
    {
        char **fields = g_strsplit (lines[i], "\t", 4);
        g_assert_cmpuint (g_strv_length (fields), ==, 4);
        g_autofree char *name = g_strdup_printf ("/vmdkstream/set/%s-%s", fields[0], fields[1]);
        g_test_add_data_func_full (name, fields, test_set, (GDestroyNotify)g_strfreev);
    }
}

int
main (int argc, char **argv)
{
    signal (SIGPIPE, SIG_IGN);
    g_test_init (&argc, &argv, NULL);
    folder = test_folder_new ("vmdkstream");
    plugin = g_build_filename (g_getenv ("VMFERRY_PLUGIN_DIR"), "nbdkit-vmdkstream-plugin.so", NULL);
    make_image ("big", BIG);
    make_dense ();
    add_set ();
    g_test_add_func ("/vmdkstream/parameters", test_parameters);
    g_test_add_func ("/vmdkstream/file/sizes", test_sizes);
    g_test_add_func ("/vmdkstream/file/parallel", test_parallel);
    g_test_add_func ("/vmdkstream/file/random-reads", test_random_reads);
    g_test_add_func ("/vmdkstream/file/in-tar", test_in_tar);
    g_test_add_func ("/vmdkstream/file/extents", test_extents);
    g_test_add_data_func ("/vmdkstream/file/cut", "file", test_cut);
    g_test_add_data_func ("/vmdkstream/stream/pipe-of-qemu", "big", test_stream_pipe);
    g_test_add_data_func ("/vmdkstream/stream/pipe-of-vmware", "good", test_stream_pipe);
    g_test_add_func ("/vmdkstream/stream/parallel", test_stream_parallel);
    g_test_add_func ("/vmdkstream/stream/waits", test_stream_waits);
    g_test_add_func ("/vmdkstream/stream/stops", test_stream_stops);
    g_test_add_func ("/vmdkstream/stream/behind", test_stream_behind);
    g_test_add_func ("/vmdkstream/stream/skip", test_stream_skip);
    g_test_add_func ("/vmdkstream/stream/parts", test_stream_parts);
    g_test_add_func ("/vmdkstream/stream/extents-first", test_stream_extents_first);
    g_test_add_func ("/vmdkstream/large-hole", test_large_hole);
    g_test_add_func ("/vmdkstream/stream/forward-skip", test_forward_skip);
    g_test_add_func ("/vmdkstream/stream/forward-in-flight", test_forward_in_flight);
    g_test_add_func ("/vmdkstream/stream/forward-extents", test_forward_extents);
    g_test_add_func ("/vmdkstream/stream/forward-preflight", test_forward_preflight);
    g_test_add_data_func ("/vmdkstream/stream/cut", "stream", test_cut);
    int result = g_test_run ();
    const char *rm[] = { "rm", "-rf", folder, NULL };
    g_spawn_sync (NULL, (char **)rm, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL);
    g_free (folder);
    g_free (plugin);
    return result;
}
