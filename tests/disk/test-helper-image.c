/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images that a helper serves by its words: a stream-optimised VMDK decoded while it arrives over HTTP, a raw disk
 * through nbdkit's curl plugin, a secret by file descriptor; and what is said when the source fails.
 */
#include "base/error.h"
#include "disk/nbd.h"
#include "disk/server.h"
#include "fixture-http.h"
#include "fixture.h"

enum
{
    SIZE = 24 << 20,
};

static char *folder, *sockets, *socket_path;
static int port;

static char *
path_to (const char *name)
{
    return g_build_filename (folder, name, NULL);
}

static struct vmf_server *
start (const struct vmf_image_helper *helper, GError **error)
{
    g_autoptr (vmf_image) image = vmf_image_new_helper (helper, 0, error);
    g_assert_nonnull (image);
    g_assert_cmpint (vmf_image_is_sequential (image), ==, helper->sequential);
    return vmf_server_start (image, "sda of test", socket_path, NULL, error);
}

/* The VMDK at WHAT as it arrives. */
static struct vmf_server *
start_stream (const char *what, GError **error)
{
    char *words[] = { (char *)"vmdkstream", (char *)"stream=fd:4", (char *)"forward=true", NULL };
    g_autofree char *url = g_strdup_printf ("http://127.0.0.1:%d/%s", port, what);
    struct vmf_feed_options feed = { .url = url, .stall_ms = 500 };
    struct vmf_image_helper helper = { .words = words, .sequential = true, .feed = &feed };
    return start (&helper, error);
}

static bool
read_through (struct vmf_server *server, GError **error)
{
    g_autofree char *path = path_to ("pattern.raw"), *expected = NULL, *found = g_malloc (SIZE);
    gsize length;
    g_assert_true (g_file_get_contents (path, &expected, &length, NULL));
    g_autoptr (nbd_handle) nbd = vmf_nbd_connect (vmf_server_get_uri (server), "test", VMF_NBD_NONE, NULL, error);
    bool good = nbd != NULL;
    for (gsize at = 0; good && at < SIZE; at += 1 << 20)
        good = vmf_nbd_read (nbd, "test", found + at, 1 << 20, at, NULL, error);
    if (good)
        g_assert_true (length == SIZE && memcmp (found, expected, SIZE) == 0);
    return good;
}

/* A server that is started again begins at the beginning. */
static void
test_stream (void)
{
    for (int i = 0; i < 2; i++)
    {
        g_autoptr (GError) error = NULL;
        g_autoptr (vmf_server) server = start_stream ("disk.vmdk", &error);
        g_assert_no_error (error);
        g_assert_cmpuint (vmf_server_get_size (server), ==, SIZE);
        g_assert_true (read_through (server, &error));
        g_assert_no_error (error);
        g_assert_true (vmf_server_is_running (server));
    }
}

/* Refused at the start: the feed's words, for the helper only knows that nothing came. */
static void
test_stream_refused (void)
{
    static const char *const cases[][2] = {
        { "nothing.vmdk", "status 404" },
        { "disk.vmdk?hang=0", "it hangs" },
        { "pattern.raw", "its helper says" },
    };
    for (size_t i = 0; i < G_N_ELEMENTS (cases); i++)
    {
        g_autoptr (GError) error = NULL;
        g_assert_null (start_stream (cases[i][0], &error));
        g_assert_nonnull (error);
        g_test_message ("%s", error->message);
        g_assert_nonnull (strstr (error->message, cases[i][1]));
        g_assert_nonnull (strstr (error->message, "sda of test"));
    }
}

/* In the middle: the read fails, the reason is to be had, and the server says that it is of no more use. */
static void
test_stream_breaks (void)
{
    static const char *const cases[][2] = {
        { "disk.vmdk?cut=3000000", "broke off after 3000000 of" },
        { "disk.vmdk?hang=3000000", "it hangs" },
        { "disk.vmdk?cut=3000000&length=no", "it was cut off" }, /* only the plugin can know */
    };
    for (size_t i = 0; i < G_N_ELEMENTS (cases); i++)
    {
        g_autoptr (GError) error = NULL;
        g_autoptr (vmf_server) server = start_stream (cases[i][0], &error);
        g_assert_no_error (error);
        g_assert_false (read_through (server, &error));
        vmf_server_explain (server, &error);
        g_test_message ("%s", error->message);
        g_assert_nonnull (strstr (error->message, cases[i][1]));
        g_assert_cmpint (vmf_server_is_running (server), ==, i == 2);
    }
    g_autoptr (GError) none = NULL;
    vmf_server_explain (NULL, &none);
    g_assert_no_error (none);
}

static void
test_stream_cancelled (void)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (GCancellable) cancellable = g_cancellable_new ();
    char *words[] = { (char *)"vmdkstream", (char *)"stream=fd:4", NULL };
    g_autofree char *url = g_strdup_printf ("http://127.0.0.1:%d/disk.vmdk?hang=0", port);
    struct vmf_feed_options feed = { .url = url };
    struct vmf_image_helper helper = { .words = words, .feed = &feed };
    g_autoptr (vmf_image) image = vmf_image_new_helper (&helper, 0, &error);
    GThread *thread = g_thread_new ("cancel", (GThreadFunc)(void (*) (void))g_cancellable_cancel, cancellable);
    g_assert_null (vmf_server_start (image, "sda", socket_path, cancellable, &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_CANCELLED);
    g_thread_join (thread);
}

/* At any time and in any order, by a plugin of nbdkit's own. */
static void
test_curl (void)
{
    g_autoptr (GError) error = NULL;
    g_autofree char *url = g_strdup_printf ("url=http://127.0.0.1:%d/pattern.raw", port);
    char *words[] = { (char *)"--filter=readahead", (char *)"curl", url, NULL };
    struct vmf_image_helper helper = { .words = words, .network = true };
    g_autoptr (vmf_server) server = start (&helper, &error);
    g_assert_no_error (error);
    read_through (server, &error);
    g_assert_no_error (error);
    helper.network = false; /* without the word it has no network */
    g_clear_pointer (&server, vmf_server_free);
    g_assert_null (start (&helper, &error));
}

/* The plugin is the test's: it makes a disk of what it reads from 3 and of its environment. */
static void
test_secret (void)
{
    for (int network = 0; network < 2; network++)
    {
        g_autoptr (GError) error = NULL;
        char *words[] = { (char *)"eval", (char *)"config_complete=read -r s <&3; echo \"$s $NAME\" > $tmpdir/d",
                          (char *)"get_size=echo 1024",
                          (char *)"pread=head -c \"$3\" $tmpdir/d; head -c $(($3 - $(wc -c < $tmpdir/d))) /dev/zero",
                          NULL };
        char *env[] = { (char *)"NAME=of-the-environment", NULL };
        struct vmf_image_helper helper = {
            .words = words, .secret = (char *)"open sesame\n", .env = env, .network = network
        };
        char block[512];
        g_autoptr (vmf_server) server = start (&helper, &error);
        g_assert_no_error (error);
        g_autoptr (nbd_handle) nbd = vmf_nbd_connect (vmf_server_get_uri (server), "test", VMF_NBD_NONE, NULL, &error);
        g_assert_no_error (error);
        g_assert_true (vmf_nbd_read (nbd, "test", block, sizeof block, 0, NULL, &error));
        g_assert_cmpstr (block, ==, "open sesame of-the-environment\n");
    }
}

static void
test_no_plugin (void)
{
    g_autoptr (GError) error = NULL;
    char *words[] = { (char *)"--filter=cow", NULL };
    struct vmf_image_helper helper = { .words = words };
    g_assert_null (vmf_image_new_helper (&helper, 0, &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_USAGE);
}

static void
test_nothing_left (void)
{
    g_autoptr (GDir) dir = g_dir_open (sockets, 0, NULL);
    g_assert_null (g_dir_read_name (dir));
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    folder = fixture_folder ();
    sockets = fixture_folder ();
    socket_path = g_build_filename (sockets, "s", NULL);
    g_autofree char *program = g_file_read_link ("/proc/self/exe", NULL), *here = g_path_get_dirname (program);
    g_autofree char *plugins = g_build_filename (here, "..", "..", "plugins", NULL);
    g_setenv ("VMFERRY_PLUGIN_DIR", plugins, FALSE);
    g_autofree char *raw = path_to ("pattern.raw"), *vmdk = path_to ("disk.vmdk"), *log = path_to ("log");
    fixture_image (raw, SIZE);
    g_free (fixture_run ("qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", raw, vmdk,
                         NULL));
    port = fixture_serve (folder, log, NULL);
    g_test_add_func ("/helper-image/stream", test_stream);
    g_test_add_func ("/helper-image/stream-refused", test_stream_refused);
    g_test_add_func ("/helper-image/stream-breaks", test_stream_breaks);
    g_test_add_func ("/helper-image/stream-cancelled", test_stream_cancelled);
    g_test_add_func ("/helper-image/curl", test_curl);
    g_test_add_func ("/helper-image/secret", test_secret);
    g_test_add_func ("/helper-image/no-plugin", test_no_plugin);
    g_test_add_func ("/helper-image/nothing-left", test_nothing_left);
    int result = g_test_run ();
    fixture_remove (folder);
    fixture_remove (sockets);
    g_free (socket_path);
    return result;
}
