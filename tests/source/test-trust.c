/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whom a connection believes (A18): pinned at the first, held against it at each later one. Against a TLS server of
 * Python's, with a certificate of openssl's.
 */
#include "base/error.h"
#include "base/text.h"
#include "source/vsphere/pins.h"
#include "fixture.h"

#include <sys/stat.h>
#include <unistd.h>

struct setting
{
    char *folder, *pins, *thumbprint, *certificate;
    struct vmf_settings *settings;
    struct vmf_child *server;
    uint16_t port;
};

static const char serve[] = "import socket, ssl, sys\n"
                            "context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
                            "context.load_cert_chain(sys.argv[1], sys.argv[2])\n"
                            "listener = socket.create_server(('127.0.0.1', 0))\n"
                            "open(sys.argv[3] + '.new', 'w').write(str(listener.getsockname()[1]))\n"
                            "import os; os.rename(sys.argv[3] + '.new', sys.argv[3])\n"
                            "while True:\n"
                            "    connection, _ = listener.accept()\n"
                            "    try:\n"
                            "        context.wrap_socket(connection, server_side=True).close()\n"
                            "    except OSError:\n"
                            "        pass\n";

static uint16_t
read_port (const char *path)
{
    g_autofree char *text = NULL;
    uint64_t port = 0;
    g_assert_true (g_file_get_contents (path, &text, NULL, NULL));
    g_assert_true (vmf_text_to_uint64 (text, "port", 1, 65535, &port, NULL));
    return (uint16_t)port;
}

/* A server with a new certificate, which NAME tells apart. */
static void
start (struct setting *s, const char *name)
{
    GError *error = NULL;
    g_autofree char *key = g_strdup_printf ("%s/%s.key", s->folder, name);
    g_autofree char *port = g_strdup_printf ("%s/%s.port", s->folder, name);
    g_free (s->certificate);
    s->certificate = g_strdup_printf ("%s/%s.pem", s->folder, name);
    g_autofree char *made =
        fixture_run ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                     "-keyout", key, "-out", s->certificate, "-days", "2", "-subj", "/CN=elsewhere.example", NULL);
    g_autofree char *shown =
        fixture_run ("openssl", "x509", "-in", s->certificate, "-noout", "-fingerprint", "-sha1", NULL);
    g_free (s->thumbprint);
    s->thumbprint = g_strdup (strchr (shown, '=') + 1);
    g_strchomp (s->thumbprint);
    const char *argv[] = { "python3", "-c", serve, s->certificate, key, port, NULL };
    struct vmf_child_options options = { .argv = argv };
    s->server = vmf_child_start (&options, &error);
    g_assert_no_error (error);
    g_assert_true (vmf_child_wait_for_path (s->server, port, NULL, &error));
    s->port = read_port (port);
}

static void
set (struct setting *s, const char *key, const char *value)
{
    g_autofree char *pair = g_strdup_printf ("%s=%s", key, value);
    g_assert_true (vmf_settings_set (s->settings, pair, NULL));
}

static void
set_up (struct setting *s)
{
    *s = (struct setting){ .folder = fixture_folder (), .settings = vmf_settings_new () };
    s->pins = g_build_filename (s->folder, "pins", NULL);
    set (s, "vsphere.known_hosts", s->pins);
    start (s, "first");
}

static void
tear_down (struct setting *s)
{
    vmf_child_free (s->server);
    vmf_settings_free (s->settings);
    fixture_remove (s->folder);
    g_free (s->pins);
    g_free (s->thumbprint);
    g_free (s->certificate);
}

static bool
decide (const struct setting *s, bool no_verify, struct vmf_trust *trust, GError **error)
{
    return vmf_trust_decide (s->settings, "127.0.0.1", s->port, no_verify, trust, NULL, error);
}

static void
expect (const struct setting *s, const char *thumbprint, bool first_use)
{
    struct vmf_trust trust;
    GError *error = NULL;
    g_assert_true (decide (s, false, &trust, &error));
    g_assert_no_error (error);
    g_assert_cmpstr (trust.thumbprint, ==, thumbprint);
    g_assert_cmpstr (trust.tls.thumbprint, ==, thumbprint);
    g_assert_cmpint (trust.first_use, ==, first_use);
    g_assert_false (trust.tls.no_verify);
    vmf_trust_clear (&trust);
    g_assert_null (trust.thumbprint);
}

static void
test_pinned_at_first_use (void)
{
    struct setting s;
    set_up (&s);
    expect (&s, s.thumbprint, true);
    g_autofree char *text = NULL, *line = g_strdup_printf ("127.0.0.1:%u %s\n", s.port, s.thumbprint);
    g_assert_true (g_file_get_contents (s.pins, &text, NULL, NULL));
    g_assert_cmpstr (text, ==, line);
    expect (&s, s.thumbprint, false);
    tear_down (&s);
}

/* The pin is what is believed, whatever the server shows now: the connection that is made by it refuses (tls.h), and
   what it shows is not pinned over it. */
static void
test_change_is_refused (void)
{
    struct setting s;
    GError *error = NULL;
    struct vmf_tls_seen seen = { 0 };
    struct vmf_trust trust;
    char detail[CURL_ERROR_SIZE] = "";
    set_up (&s);
    expect (&s, s.thumbprint, true);
    g_autofree char *old = g_strdup (s.thumbprint);
    g_clear_pointer (&s.server, vmf_child_free);
    start (&s, "second");
    g_autofree char *line = g_strdup_printf ("127.0.0.1:%u %s\n", s.port, old);
    g_assert_true (g_file_set_contents (s.pins, line, -1, NULL));
    g_assert_cmpint (chmod (s.pins, 0600), ==, 0);
    expect (&s, old, false);
    g_assert_true (decide (&s, false, &trust, NULL));
    g_autofree char *url = g_strdup_printf ("https://127.0.0.1:%u/", s.port);
    CURL *curl = vmf_tls_handle_new ();
    g_assert_true (vmf_tls_setup (curl, &trust.tls, &seen, NULL));
    curl_easy_setopt (curl, CURLOPT_URL, url);
    curl_easy_setopt (curl, CURLOPT_ERRORBUFFER, detail);
    CURLcode code = curl_easy_perform (curl);
    vmf_tls_set_error (code, "127.0.0.1", &trust.tls, &seen, detail, &error);
    g_assert_error (error, VMF_ERROR, VMF_ERROR_UNSAFE);
    g_assert_nonnull (strstr (error->message, old));
    g_assert_nonnull (strstr (error->message, s.thumbprint));
    g_clear_error (&error);
    curl_easy_cleanup (curl);
    vmf_trust_clear (&trust);
    g_assert_false (vmf_pins_add (s.pins, "127.0.0.1", s.port, s.thumbprint, &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_UNSAFE);
    g_clear_error (&error);
    tear_down (&s);
}

static void
expect_refusal (const struct setting *s, int code, const char *words)
{
    struct vmf_trust trust;
    GError *error = NULL;
    g_assert_false (decide (s, false, &trust, &error));
    g_assert_error (error, VMF_ERROR, code);
    g_test_message ("%s", error->message);
    g_assert_nonnull (strstr (error->message, words));
    g_clear_error (&error);
    vmf_trust_clear (&trust);
}

/* A file that is there and cannot be believed is never taken for one that has no pin. */
static void
test_pins_that_cannot_be_read (void)
{
    struct setting s;
    set_up (&s);
    g_assert_true (g_file_set_contents (s.pins, "127.0.0.1:443 not a thumbprint\n", -1, NULL));
    g_assert_cmpint (chmod (s.pins, 0600), ==, 0);
    struct vmf_trust trust;
    GError *error = NULL;
    g_assert_false (decide (&s, false, &trust, &error));
    g_assert_nonnull (strstr (error->message, s.pins));
    g_clear_error (&error);
    g_assert_true (g_file_set_contents (s.pins, "", -1, NULL));
    g_assert_cmpint (chmod (s.pins, 0666), ==, 0);
    expect_refusal (&s, VMF_ERROR_UNSAFE, "nobody else may write");
    g_assert_cmpint (unlink (s.pins), ==, 0);
    g_assert_cmpint (mkdir (s.pins, 0700), ==, 0);
    expect_refusal (&s, VMF_ERROR_UNSAFE, "is not believed");
    g_assert_cmpint (rmdir (s.pins), ==, 0);
    g_clear_pointer (&s.server, vmf_child_free); /* nobody to ask */
    expect_refusal (&s, VMF_ERROR_FAILED, "does not answer");
    g_assert_false (g_file_test (s.pins, G_FILE_TEST_EXISTS));
    tear_down (&s);
}

/* What is said beforehand comes before what was pinned, and pins nothing. */
static void
test_order (void)
{
    static const char given[] = "00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33";
    struct setting s;
    struct vmf_trust trust;
    set_up (&s);
    g_assert_true (decide (&s, true, &trust, NULL));
    g_assert_true (trust.tls.no_verify);
    g_assert_cmpstr (trust.thumbprint, ==, s.thumbprint); /* for VDDK */
    g_assert_null (trust.tls.thumbprint);
    vmf_trust_clear (&trust);
    set (&s, "vsphere.ca_file", s.certificate);
    g_assert_true (decide (&s, true, &trust, NULL));
    g_assert_cmpstr (trust.tls.ca_file, ==, s.certificate);
    g_assert_false (trust.tls.no_verify);
    g_assert_null (trust.thumbprint);
    vmf_trust_clear (&trust);
    set (&s, "vddk.thumbprint", "00112233445566778899aabbccddeeff00112233");
    expect (&s, given, false);
    set (&s, "vddk.thumbprint", "nonsense");
    expect_refusal (&s, VMF_ERROR_USAGE, "vddk.thumbprint");
    g_assert_false (g_file_test (s.pins, G_FILE_TEST_EXISTS));
    tear_down (&s);
}

/* Run in a process of its own by the test below. */
static int
pin_now (char **argv)
{
    uint64_t port = 0;
    struct vmf_trust trust;
    g_autoptr (vmf_settings) settings = vmf_settings_new ();
    if (!vmf_text_to_uint64 (argv[3], "port", 1, 65535, &port, NULL) || !vmf_settings_set (settings, argv[2], NULL)
        || !vmf_trust_decide (settings, argv[4], (uint16_t)port, false, &trust, NULL, NULL))
        return 1;
    vmf_trust_clear (&trust);
    return 0;
}

/* Several at once, some for the same server: each has its line, once, and none is lost. */
static void
test_processes_at_once (void)
{
    enum
    {
        PROCESSES = 8,
    };
    struct setting s;
    struct vmf_child *children[PROCESSES];
    set_up (&s);
    g_autofree char *pair = g_strconcat ("vsphere.known_hosts=", s.pins, NULL);
    g_autofree char *port = g_strdup_printf ("%u", s.port), *self = g_file_read_link ("/proc/self/exe", NULL);
    for (int i = 0; i < PROCESSES; i++)
    {
        const char *argv[] = { self, "--pin", pair, port, i % 2 ? "127.0.0.1" : "localhost", NULL };
        struct vmf_child_options options = { .argv = argv };
        children[i] = vmf_child_start (&options, NULL);
        g_assert_nonnull (children[i]);
    }
    for (int i = 0; i < PROCESSES; i++)
    {
        g_assert_true (vmf_child_wait (children[i], 60000, NULL, NULL));
        vmf_child_free (children[i]);
    }
    g_autofree char *text = NULL;
    g_assert_true (g_file_get_contents (s.pins, &text, NULL, NULL));
    g_auto (GStrv) lines = g_strsplit (g_strchomp (text), "\n", -1);
    g_assert_cmpuint (g_strv_length (lines), ==, 2);
    for (int i = 0; i < 2; i++)
        g_assert_true (g_str_has_suffix (lines[i], s.thumbprint));
    tear_down (&s);
}

/* One in between, with a certificate of its own, at a server that authorities vouched for: no first use. */
static void
test_vouched_for_before (void)
{
    struct setting s;
    struct vmf_trust trust;
    GError *error = NULL;
    set_up (&s);
    g_assert_true (vmf_pins_add (s.pins, "127.0.0.1", s.port, VMF_PINS_AUTHORITIES, &error));
    g_assert_no_error (error);
    g_assert_false (decide (&s, false, &trust, &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_UNSAFE);
    g_assert_nonnull (strstr (error->message, "authority"));
    g_assert_nonnull (strstr (error->message, s.thumbprint));
    g_clear_error (&error);
    vmf_trust_clear (&trust);
    tear_down (&s);
}

int
main (int argc, char **argv)
{
    if (argc == 5 && g_str_equal (argv[1], "--pin"))
        return pin_now (argv);
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/trust/A18-pinned-at-first-use", test_pinned_at_first_use);
    g_test_add_func ("/trust/A18-change-is-refused", test_change_is_refused);
    g_test_add_func ("/trust/pins-that-cannot-be-read", test_pins_that_cannot_be_read);
    g_test_add_func ("/trust/order", test_order);
    g_test_add_func ("/trust/processes-at-once", test_processes_at_once);
    g_test_add_func ("/trust/vouched-for-before", test_vouched_for_before);
    return g_test_run ();
}
