/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The name by which a pinned certificate is believed; certificates are openssl's. That it then is: tests/e2e. */
#include "base/child.h"
#include "base/file.h"
#include "base/tls-name.h"

#include <string.h>

static char *folder;

/* The certificate for SUBJECT and ALTERNATIVES ("subjectAltName=…"; NULL: none), as PEM. */
static char *
make (const char *subject, const char *alternatives)
{
    GError *error = NULL;
    char *pem = NULL;
    g_autofree char *key = g_build_filename (folder, "key", NULL), *out = g_build_filename (folder, "pem", NULL);
    const char *argv[] = {
        "openssl", "req", "-x509", "-newkey", "ec",    "-pkeyopt", "ec_paramgen_curve:prime256v1",  "-nodes",
        "-keyout", key,   "-out",  out,       "-subj", subject,    alternatives ? "-addext" : NULL, alternatives,
        NULL
    };
    const struct vmf_child_options options = { .argv = argv };
    g_autofree char *said = vmf_child_run (&options, 0, NULL, &error);
    g_assert_no_error (error);
    g_assert_true (g_file_get_contents (out, &pem, NULL, NULL));
    return pem;
}

static void
test_own_name (void)
{
    static const struct
    {
        const char *subject, *alternatives, *name;
    } rows[] = {
        { "/CN=esx1.example", NULL, "esx1.example" },
        { "/CN=esx1.example", "subjectAltName=DNS:localhost.localdomain", "localhost.localdomain" },
        { "/CN=x", "subjectAltName=email:a@b.example,DNS:second.example", "second.example" },
        { "/CN=x", "subjectAltName=DNS:*.lab.example", "any.lab.example" },
        { "/CN=x", "subjectAltName=IP:192.0.2.7", "192.0.2.7" },
        { "/CN=x", "subjectAltName=IP:2001:db8::7", "2001:db8::7" },
        { "/CN=ignored.example", "subjectAltName=email:a@b.example", NULL },
        { "/O=VMware, Inc.", NULL, NULL },
        /* The name goes into an address and comes from the server. */
        { "/CN=VMware default certificate", NULL, NULL },
        { "/CN=a@evil.example", NULL, NULL },
        { "/CN=x", "subjectAltName=DNS:a\\/b,DNS:good.example", "good.example" },
        { "/CN=-o.example", NULL, NULL },
    };
    for (size_t i = 0; i < G_N_ELEMENTS (rows); i++)
    {
        g_autofree char *pem = make (rows[i].subject, rows[i].alternatives), *name = vmf_tls_get_own_name (pem);
        g_test_message ("%s %s", rows[i].subject, rows[i].alternatives);
        g_assert_cmpstr (name, ==, rows[i].name);
    }
    g_assert_null (vmf_tls_get_own_name (""));
    g_assert_null (vmf_tls_get_own_name ("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n"));
}

/* Nobody is there: libcurl's words, and no hang. */
static void
test_nobody (void)
{
    g_autofree char *pem = make ("/CN=esx1.example", NULL);
    g_autofree char *why = vmf_tls_try_name ("127.0.0.1", 1, "esx1.example", pem, 20000, NULL);
    g_assert_nonnull (why);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    folder = g_dir_make_tmp ("vmferry-test-XXXXXX", NULL);
    g_test_add_func ("/tls-name/own-name", test_own_name);
    g_test_add_func ("/tls-name/nobody", test_nobody);
    int status = g_test_run ();
    vmf_file_remove_tree (folder);
    g_free (folder);
    return status;
}
