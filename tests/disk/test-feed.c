/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A feed against a server that is not ours (Python's), by fault: what comes out of the pipe, and what is said. */
#include "disk/feed.h"
#include "base/error.h"
#include "fixture-http.h"
#include "fixture.h"

#include <fcntl.h>
#include <unistd.h>

enum
{
    SIZE = 5 * 1024 * 1024 + 12345,
};

static char *folder, *log_path, *contents;
static int port, tls_port;

static struct vmf_feed_options
options_for (const char *what)
{
    return (struct vmf_feed_options){ .url = g_strdup_printf ("http://127.0.0.1:%d/%s", port, what), .stall_ms = 500 };
}

/* All that comes, to the stream's end. */
static GByteArray *
read_all (int fd)
{
    GByteArray *bytes = g_byte_array_new ();
    char buffer[65536];
    ssize_t n;
    while ((n = read (fd, buffer, sizeof buffer)) > 0)
        g_byte_array_append (bytes, (guint8 *)buffer, (guint)n);
    g_assert_cmpint (n, ==, 0);
    close (fd);
    return bytes;
}

/* Takes over OPTIONS' url. Gives how many bytes came, which are those of the file; ERROR: why no more. */
static guint
download (struct vmf_feed_options *options, GError **error)
{
    g_autoptr (GError) why = NULL;
    int fd = -1;
    g_autoptr (vmf_feed) feed = vmf_feed_start (options, NULL, &fd, &why);
    g_assert_no_error (why);
    g_free (options->url); /* a copy was made */
    g_autoptr (GByteArray) bytes = read_all (fd);
    g_assert_cmpmem (bytes->data, bytes->len, contents, bytes->len);
    uint64_t received, total;
    vmf_feed_get_progress (feed, &received, &total);
    g_assert_cmpuint (received, ==, bytes->len);
    if (!vmf_feed_has_failed (feed, error))
        g_assert_cmpuint (bytes->len, ==, SIZE);
    return bytes->len;
}

static void
test_whole (void)
{
    static const char *const good[] = { "disk", "disk?length=no", "disk?status=302&location=/disk" };
    for (size_t i = 0; i < G_N_ELEMENTS (good); i++)
    {
        g_autoptr (GError) error = NULL;
        struct vmf_feed_options options = options_for (good[i]);
        g_assert_cmpuint (download (&options, &error), ==, SIZE);
        g_assert_no_error (error);
    }
}

static void
test_failures (void)
{
    static const struct
    {
        const char *what;
        guint bytes;
        enum vmf_error code;
        const char *words;
    } cases[] = {
        { "nothing", 0, VMF_ERROR_NOT_FOUND, "404" },
        { "disk?status=403", 0, VMF_ERROR_AUTH, "403" },
        { "disk?status=500", 0, VMF_ERROR_FAILED, "500" },
        { "disk?status=206", 0, VMF_ERROR_FAILED, "206" },
        { "disk?cut=3000000", 3000000, VMF_ERROR_FAILED, "broke off after 3000000 of 5255225 bytes" },
        { "disk?hang=200000", 200000, VMF_ERROR_FAILED, "after 200000 bytes: it hangs" },
        { "disk?status=302&location=http://localhost:1/disk", 0, VMF_ERROR_FAILED,
          "redirects to http://localhost:1/disk" },
        { "disk?status=302&location=file:///etc/passwd", 0, VMF_ERROR_FAILED, "redirects to nowhere" },
        { "disk?status=302&location=/disk?status=302%26location=/x", 0, VMF_ERROR_NOT_FOUND, "404" },
    };
    for (size_t i = 0; i < G_N_ELEMENTS (cases); i++)
    {
        g_autoptr (GError) error = NULL;
        struct vmf_feed_options options = options_for (cases[i].what);
        g_assert_cmpuint (download (&options, &error), ==, cases[i].bytes);
        g_assert_error (error, VMF_ERROR, (int)cases[i].code);
        g_test_message ("%s", error->message);
        g_assert_nonnull (strstr (error->message, cases[i].words));
        g_assert_nonnull (strstr (error->message, "/disk") ?: strstr (error->message, "/nothing"));
        g_assert_null (strstr (error->message, "?"));
    }
}

static void
test_unreachable (void)
{
    g_autoptr (GError) error = NULL;
    struct vmf_feed_options options = { .url = g_strdup ("http://127.0.0.1:1/disk") };
    g_assert_cmpuint (download (&options, &error), ==, 0);
    g_assert_error (error, VMF_ERROR, VMF_ERROR_FAILED);
    g_assert_nonnull (strstr (error->message, "does not answer"));
}

static void
test_addresses (void)
{
    static const char *const bad[] = { "ftp://host/x", "/disk", "http://", "https://user:secret@host/disk" };
    for (size_t i = 0; i < G_N_ELEMENTS (bad); i++)
    {
        g_autoptr (GError) error = NULL;
        struct vmf_feed_options options = { .url = (char *)bad[i] };
        int fd = -1;
        g_assert_null (vmf_feed_start (&options, NULL, &fd, &error));
        g_assert_error (error, VMF_ERROR, VMF_ERROR_USAGE);
        g_assert_null (strstr (error->message, "secret"));
    }
    g_autofree char *shown = vmf_feed_show_url ("https://me@host:8/a%20b/disk.vmdk?signature=x#y", NULL);
    g_assert_cmpstr (shown, ==, "https://host:8/a%20b/disk.vmdk");
}

static char *
give_cookie (void *data)
{
    return g_strdup_printf ("session=%u", ++*(unsigned *)data);
}

/* Asked for before each request, so that one that was renewed is used. */
static void
test_cookie (void)
{
    g_autoptr (GError) error = NULL;
    unsigned n = 0;
    char *headers[] = { (char *)"X-Test: yes", NULL };
    struct vmf_feed_options options = options_for ("disk?status=302&location=/disk%3Fcookie=session%253D2");
    options.get_cookie = give_cookie;
    options.data = &n;
    options.headers = headers;
    g_assert_cmpuint (download (&options, &error), ==, SIZE);
    g_assert_no_error (error);
    g_assert_cmpuint (n, ==, 2);
    g_autofree char *log = NULL;
    g_assert_true (g_file_get_contents (log_path, &log, NULL, NULL));
    g_assert_nonnull (strstr (log, "\"header\": \"yes\""));
    struct vmf_feed_options again = options_for ("disk?cookie=session%3D9");
    again.get_cookie = give_cookie;
    again.data = &n;
    g_assert_cmpuint (download (&again, &error), ==, 0);
    g_assert_error (error, VMF_ERROR, VMF_ERROR_AUTH);
}

/* A reader that takes nothing makes the server stop sending, for longer than a hang may last, and nothing fails. */
static void
test_backpressure (void)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (vmf_feed) feed = NULL;
    struct vmf_feed_options options = options_for ("disk");
    uint64_t received = 0, before, total = 0;
    int fd = -1;
    options.stall_ms = 100;
    feed = vmf_feed_start (&options, NULL, &fd, &error);
    g_assert_no_error (error);
    do
    {
        before = received;
        g_usleep (300 * 1000);
        vmf_feed_get_progress (feed, &received, &total);
    } while (received == 0 || received != before);
    g_assert_cmpuint (total, ==, SIZE);
    g_assert_cmpuint (received, <=, (1 << 20) + 512 * 1024); /* the pipe, and one piece */
    g_autoptr (GByteArray) bytes = read_all (fd);
    g_assert_cmpmem (bytes->data, bytes->len, contents, SIZE);
    g_assert_false (vmf_feed_has_failed (feed, &error));
    g_free (options.url);
}

/* Whatever it waits for: a full pipe, bytes that do not come. */
static void
test_cancel (void)
{
    static const char *const what[] = { "disk", "disk?hang=1000" };
    for (size_t i = 0; i < G_N_ELEMENTS (what); i++)
    {
        g_autoptr (GError) error = NULL;
        g_autoptr (GCancellable) cancellable = g_cancellable_new ();
        struct vmf_feed_options options = options_for (what[i]);
        uint64_t received = 0, total;
        int fd = -1;
        options.stall_ms = 0;
        g_autoptr (vmf_feed) feed = vmf_feed_start (&options, cancellable, &fd, &error);
        while (received < 1000)
            vmf_feed_get_progress (feed, &received, &total);
        g_cancellable_cancel (cancellable);
        g_autoptr (GByteArray) bytes = read_all (fd);
        g_assert_cmpuint (bytes->len, <, SIZE);
        g_assert_true (vmf_feed_has_failed (feed, &error));
        g_assert_error (error, VMF_ERROR, VMF_ERROR_CANCELLED);
        g_free (options.url);
        /* Freeing does the same, without a cancel. */
        struct vmf_feed_options again = options_for (what[i]);
        again.stall_ms = 0;
        vmf_feed_free (vmf_feed_start (&again, NULL, &fd, NULL));
        close (fd);
        g_free (again.url);
    }
}

/* A reader that goes ends the download, and neither a signal nor an error comes of it. */
static void
test_reader_goes (void)
{
    g_autoptr (GError) error = NULL;
    struct vmf_feed_options options = options_for ("disk?rate=4000000");
    uint64_t received = 0, before = 1, total;
    char byte;
    int fd = -1;
    g_autoptr (vmf_feed) feed = vmf_feed_start (&options, NULL, &fd, &error);
    g_assert_cmpint (read (fd, &byte, 1), ==, 1);
    close (fd);
    while (received != before)
    {
        before = received;
        g_usleep (200 * 1000);
        vmf_feed_get_progress (feed, &received, &total);
    }
    g_assert_cmpuint (received, <, SIZE);
    g_assert_false (vmf_feed_has_failed (feed, NULL));
    g_free (options.url);
}

static void
test_tls (void)
{
    g_autofree char *certificate = g_build_filename (folder, "tls.pem", NULL),
                    *key = g_build_filename (folder, "key.pem", NULL);
    g_free (fixture_run ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out",
                         certificate, "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
                         NULL));
    g_autofree char *a = NULL, *b = NULL;
    g_assert_true (g_file_get_contents (certificate, &a, NULL, NULL) && g_file_get_contents (key, &b, NULL, NULL));
    g_autofree char *both = g_strconcat (b, a, NULL), *pair = g_build_filename (folder, "pair.pem", NULL);
    g_assert_true (g_file_set_contents (pair, both, -1, NULL));
    tls_port = fixture_serve (folder, log_path, pair);
    for (int trusted = 0; trusted < 2; trusted++)
    {
        g_autoptr (GError) error = NULL;
        struct vmf_feed_options options = { .url = g_strdup_printf ("https://127.0.0.1:%d/disk", tls_port) };
        options.trust.ca_file = trusted ? certificate : NULL;
        g_assert_cmpuint (download (&options, &error), ==, trusted ? SIZE : 0);
        if (trusted)
            g_assert_no_error (error);
        else
            g_assert_error (error, VMF_ERROR, VMF_ERROR_UNSAFE);
    }
}

/* A session's server is reached without the environment's proxy, others by it. */
static void
test_direct (void)
{
    g_autoptr (GError) none = NULL, error = NULL;
    g_setenv ("http_proxy", "http://127.0.0.1:1", TRUE);
    struct vmf_feed_options direct = options_for ("disk"), other = options_for ("disk");
    direct.direct = true;
    g_assert_cmpuint (download (&direct, &none), ==, SIZE);
    g_assert_no_error (none);
    g_assert_cmpuint (download (&other, &error), ==, 0);
    g_assert_error (error, VMF_ERROR, VMF_ERROR_FAILED);
    g_unsetenv ("http_proxy");
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    folder = fixture_folder ();
    log_path = g_build_filename (folder, "log", NULL);
    g_autofree char *path = g_build_filename (folder, "disk", NULL);
    contents = g_malloc (SIZE);
    for (size_t i = 0; i < SIZE; i++)
        contents[i] = (char)(i * 2654435761u >> 13);
    g_assert_true (g_file_set_contents (path, contents, SIZE, NULL));
    port = fixture_serve (folder, log_path, NULL);
    g_test_add_func ("/feed/whole", test_whole);
    g_test_add_func ("/feed/failures", test_failures);
    g_test_add_func ("/feed/unreachable", test_unreachable);
    g_test_add_func ("/feed/addresses", test_addresses);
    g_test_add_func ("/feed/cookie", test_cookie);
    g_test_add_func ("/feed/backpressure", test_backpressure);
    g_test_add_func ("/feed/cancel", test_cancel);
    g_test_add_func ("/feed/reader-goes", test_reader_goes);
    g_test_add_func ("/feed/tls", test_tls);
    g_test_add_func ("/feed/direct", test_direct);
    int result = g_test_run ();
    fixture_remove (folder);
    g_free (log_path);
    g_free (contents);
    return result;
}
