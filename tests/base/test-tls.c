/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whom a TLS connection believes, held against openssl's own server and its own word for a thumbprint. */
#include "../folder.h"
#include "base/error.h"
#include "base/file.h"
#include "base/tls.h"

#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#define OTHER "00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33"

/* "openssl s_server", which prints what it was sent. */
struct server
{
    char *dir, *certificate, *fingerprint, *url;
    uint16_t port;
    GSubprocess *process;
    GDataInputStream *output;
};

static char *
run (const char *const *argv)
{
    g_autoptr (GError) error = NULL;
    char *out = NULL;
    g_autoptr (GSubprocess) process =
        g_subprocess_newv (argv, G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_SILENCE, &error);
    g_assert_no_error (error);
    g_subprocess_communicate_utf8 (process, NULL, NULL, &out, NULL, &error);
    g_assert_no_error (error);
    g_assert_true (g_subprocess_get_successful (process));
    return out;
}

static void
make_certificate (struct server *server)
{
    g_autofree char *key = g_build_filename (server->dir, "key.pem", NULL);
    server->certificate = g_build_filename (server->dir, "cert.pem", NULL);
    const char *const request[] = { "openssl",
                                    "req",
                                    "-x509",
                                    "-newkey",
                                    "ec",
                                    "-pkeyopt",
                                    "ec_paramgen_curve:P-256",
                                    "-nodes",
                                    "-days",
                                    "2",
                                    "-subj",
                                    "/CN=lab",
                                    "-addext",
                                    "subjectAltName=IP:127.0.0.1",
                                    "-keyout",
                                    key,
                                    "-out",
                                    server->certificate,
                                    NULL };
    g_free (run (request));
    const char *const ask[] = {
        "openssl", "x509", "-in", server->certificate, "-noout", "-fingerprint", "-sha1", NULL
    };
    g_autofree char *line = run (ask); /* "SHA1 Fingerprint=AB:…" */
    server->fingerprint = g_strdup (g_strstrip (strchr (line, '=') + 1));
}

static void
start (struct server *server, gconstpointer unused)
{
    g_autoptr (GError) error = NULL;
    server->dir = test_folder_new ("tls");
    g_assert_no_error (error);
    make_certificate (server);
    g_autofree char *key = g_build_filename (server->dir, "key.pem", NULL);
    server->process = g_subprocess_new (
        G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_SILENCE | G_SUBPROCESS_FLAGS_STDIN_PIPE, &error,
        "openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", server->certificate, "-key", key, NULL);
    g_assert_no_error (error);
    server->output = g_data_input_stream_new (g_subprocess_get_stdout_pipe (server->process));
    for (;;)
    {
        g_autofree char *line = g_data_input_stream_read_line (server->output, NULL, NULL, &error);
        g_assert_nonnull (line);
        if (g_str_has_prefix (line, "ACCEPT "))
        {
            server->port = (uint16_t)g_ascii_strtoull (strrchr (line, ':') + 1, NULL, 10);
            break;
        }
    }
    server->url = g_strdup_printf ("https://127.0.0.1:%u/secret", server->port);
}

/* Ends the server; gives what it printed since. */
static char *
end_server (struct server *server)
{
    GString *all = g_string_new (NULL);
    g_subprocess_send_signal (server->process, SIGTERM);
    char *line;
    while ((line = g_data_input_stream_read_line (server->output, NULL, NULL, NULL)))
    {
        g_string_append_printf (all, "%s\n", line);
        g_free (line);
    }
    g_subprocess_wait (server->process, NULL, NULL);
    return g_string_free (all, FALSE);
}

static void
stop (struct server *server, gconstpointer unused)
{
    g_free (end_server (server));
    vmf_file_remove_tree (server->dir);
    g_clear_object (&server->output);
    g_clear_object (&server->process);
    g_free (server->dir);
    g_free (server->certificate);
    g_free (server->fingerprint);
    g_free (server->url);
}

/* Connects by TRUST; true where the request would have been sent. */
static bool
try (struct server *server, const struct vmf_tls_trust *trust, struct vmf_tls_seen *seen, GError **error)
{
    char detail[CURL_ERROR_SIZE] = "";
    memset (seen, 0, sizeof *seen);
    CURL *curl = vmf_tls_handle_new ();
    g_assert_true (vmf_tls_setup (curl, trust, seen, NULL));
    curl_easy_setopt (curl, CURLOPT_URL, server->url);
    curl_easy_setopt (curl, CURLOPT_PROXY, "");
    curl_easy_setopt (curl, CURLOPT_ERRORBUFFER, detail);
    curl_easy_setopt (curl, CURLOPT_CONNECT_ONLY, 1L);
    CURLcode code = curl_easy_perform (curl);
    if (code != CURLE_OK)
        vmf_tls_set_error (code, "lab:1", trust, seen, detail, error);
    curl_easy_cleanup (curl);
    return code == CURLE_OK;
}

static void
test_ask (struct server *server, gconstpointer unused)
{
    g_autoptr (GError) error = NULL;
    g_autofree char *thumbprint = vmf_tls_ask_thumbprint ("127.0.0.1", server->port, 60000, NULL, &error);
    g_assert_no_error (error);
    g_assert_cmpstr (thumbprint, ==, server->fingerprint);
}

static void
test_ask_nobody (void)
{
    g_autoptr (GError) error = NULL;
    g_assert_null (vmf_tls_ask_thumbprint ("127.0.0.1", 1, 60000, NULL, &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_FAILED);
    g_assert_nonnull (strstr (error->message, "127.0.0.1:1"));
}

static void
test_pinned (struct server *server, gconstpointer unused)
{
    g_autoptr (GError) error = NULL;
    struct vmf_tls_seen seen;
    g_autofree char *lower = g_ascii_strdown (server->fingerprint, -1);
    struct vmf_tls_trust trust = { .thumbprint = lower };
    g_assert_true (try (server, &trust, &seen, &error));
    g_assert_no_error (error);
    g_assert_cmpstr (seen.thumbprint, ==, server->fingerprint);
    g_autofree char *pem = NULL;
    g_file_get_contents (server->certificate, &pem, NULL, NULL);
    g_assert_cmpstr (seen.pem, ==, pem);
}

/* The request, and so a password in it, never reaches a server whose certificate is another. */
static void
test_mismatch (struct server *server, gconstpointer unused)
{
    g_autoptr (GError) error = NULL;
    struct vmf_tls_seen seen = { 0 };
    struct vmf_tls_trust trust = { .thumbprint = OTHER, .no_verify = true };
    char detail[CURL_ERROR_SIZE] = "";
    CURL *curl = vmf_tls_handle_new ();
    g_assert_true (vmf_tls_setup (curl, &trust, &seen, NULL));
    curl_easy_setopt (curl, CURLOPT_URL, server->url);
    curl_easy_setopt (curl, CURLOPT_PROXY, "");
    CURLcode code = curl_easy_perform (curl);
    vmf_tls_set_error (code, "lab:1", &trust, &seen, detail, &error);
    curl_easy_cleanup (curl);
    g_assert_error (error, VMF_ERROR, VMF_ERROR_UNSAFE);
    g_assert_true (seen.mismatch);
    g_assert_nonnull (strstr (error->message, server->fingerprint));
    g_assert_nonnull (strstr (error->message, OTHER));
    g_autofree char *received = end_server (server);
    g_assert_null (strstr (received, "GET"));
}

static void
test_untrusted (struct server *server, gconstpointer unused)
{
    g_autoptr (GError) error = NULL;
    struct vmf_tls_seen seen;
    struct vmf_tls_trust trust = { 0 };
    g_assert_false (try (server, &trust, &seen, &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_UNSAFE);
    g_assert_nonnull (strstr (error->message, server->fingerprint));
    g_assert_nonnull (strstr (error->message, "lab:1"));
}

static void
test_ca_file (struct server *server, gconstpointer unused)
{
    g_autoptr (GError) error = NULL;
    struct vmf_tls_seen seen;
    struct vmf_tls_trust trust = { .ca_file = server->certificate };
    g_assert_true (try (server, &trust, &seen, &error));
    g_assert_no_error (error);
    g_assert_cmpstr (seen.thumbprint, ==, server->fingerprint);
    /* Trusted, but for another name than the one asked for. */
    g_free (server->url);
    server->url = g_strdup_printf ("https://localhost:%u/", server->port);
    g_assert_false (try (server, &trust, &seen, &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_UNSAFE);
}

static void
test_no_ca_file (struct server *server, gconstpointer unused)
{
    g_autoptr (GError) error = NULL;
    struct vmf_tls_seen seen;
    struct vmf_tls_trust trust = { .ca_file = "/nonexistent/ca.pem" };
    g_assert_false (try (server, &trust, &seen, &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_FAILED);
    g_assert_nonnull (strstr (error->message, "/nonexistent/ca.pem"));
}

static void
test_no_verify (struct server *server, gconstpointer unused)
{
    struct vmf_tls_seen seen;
    struct vmf_tls_trust trust = { .no_verify = true };
    g_assert_true (try (server, &trust, &seen, NULL));
    g_assert_cmpstr (seen.thumbprint, ==, server->fingerprint);
}

static void
test_normalise (void)
{
    static const char *const good[] = { OTHER, "00112233445566778899AABBCCDDEEFF00112233",
                                        "00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff:00:11:22:33" };
    static const char *const bad[] = { "",
                                       ":",
                                       "00:11",
                                       OTHER ":",
                                       OTHER ":44",
                                       ":" OTHER,
                                       "zz" OTHER,
                                       "0:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:4",
                                       "00::11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33" };
    for (size_t i = 0; i < G_N_ELEMENTS (good); i++)
    {
        g_autofree char *text = vmf_tls_normalise_thumbprint (good[i], NULL);
        g_assert_cmpstr (text, ==, OTHER);
    }
    for (size_t i = 0; i < G_N_ELEMENTS (bad); i++)
    {
        g_autoptr (GError) error = NULL;
        g_assert_null (vmf_tls_normalise_thumbprint (bad[i], &error));
        g_assert_error (error, VMF_ERROR, VMF_ERROR_USAGE);
    }
}

#define ADD(name, function) g_test_add ("/tls/" name, struct server, NULL, start, function, stop)

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/tls/normalise", test_normalise);
    g_test_add_func ("/tls/ask-nobody", test_ask_nobody);
    g_autofree char *openssl = g_find_program_in_path ("openssl");
    if (openssl)
    {
        ADD ("ask", test_ask);
        ADD ("pinned", test_pinned);
        ADD ("mismatch", test_mismatch);
        ADD ("untrusted", test_untrusted);
        ADD ("ca-file", test_ca_file);
        ADD ("no-ca-file", test_no_ca_file);
        ADD ("no-verify", test_no_verify);
    }
    return g_test_run ();
}
