/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Connecting: to helpers that are just starting, and to servers that a user named. */
#include "base/error.h"
#include "disk/nbd.h"
#include "fixture.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void
expect_remedy (const char *uri, const char *cause)
{
    GError *error = NULL;
    g_autoptr (nbd_handle) nbd = vmf_nbd_connect (uri, "the source", VMF_NBD_NAMED, NULL, &error);
    g_assert_null (nbd);
    g_assert_error (error, VMF_ERROR, VMF_ERROR_FAILED);
    g_assert_true (g_str_has_prefix (error->message, "the source: "));
    g_assert_nonnull (strstr (error->message, cause));
    g_assert_nonnull (strstr (error->message, "; no NBD server listens there: start it, or correct the address"));
    g_clear_error (&error);
}

static void
test_named_and_missing (void)
{
    char *folder = fixture_folder ();
    g_autofree char *uri = g_strdup_printf ("nbd+unix:///?socket=%s/none", folder);
    expect_remedy (uri, "No such file or directory");
    fixture_remove (folder);
}

/* A socket that a server which has died left behind. */
static void
test_named_and_refusing (void)
{
    char *folder = fixture_folder ();
    g_autofree char *uri = g_strdup_printf ("nbd+unix:///?socket=%s/dead", folder);
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    g_snprintf (address.sun_path, sizeof address.sun_path, "%s/dead", folder);
    int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint (bind (fd, (struct sockaddr *)&address, sizeof address), ==, 0);
    expect_remedy (uri, "Connection refused");
    close (fd);
    fixture_remove (folder);
}

static void *
connect_patiently (void *uri)
{
    GError *error = NULL;
    g_autoptr (nbd_handle) nbd = vmf_nbd_connect (uri, "sda", VMF_NBD_NONE, NULL, &error);
    g_assert_no_error (error);
    return GINT_TO_POINTER (nbd_get_size (nbd) == 1024 * 1024);
}

static void
test_helper_is_waited_for (void)
{
    char *folder = fixture_folder ();
    g_autofree char *socket_path = g_build_filename (folder, "late", NULL);
    g_autofree char *uri = g_strdup_printf ("nbd+unix:///?socket=%s", socket_path);
    GThread *thread = g_thread_new ("connect", connect_patiently, uri);
    g_autoptr (vmf_child) server = fixture_nbdkit (socket_path, "null", "size=1M", NULL);
    g_assert_true (GPOINTER_TO_INT (g_thread_join (thread)));
    fixture_remove (folder);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/disk/nbd/named-and-missing", test_named_and_missing);
    g_test_add_func ("/disk/nbd/named-and-refusing", test_named_and_refusing);
    g_test_add_func ("/disk/nbd/a-helper-is-waited-for", test_helper_is_waited_for);
    return g_test_run ();
}
