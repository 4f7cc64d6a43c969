/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Connecting: to helpers that are just starting, and to servers that a user named. */
#include "base/error.h"
#include "disk/held-up.h"
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

static void
test_held_up_look (void)
{
    char *folder = fixture_folder ();
    g_autofree char *socket = g_build_filename (folder, "a b.sock", NULL), *path = vmf_held_up_path (socket);
    g_autofree char *escaped = g_uri_escape_string (socket, "/", FALSE);
    g_autofree char *uri = g_strdup_printf ("nbd+unix:///?socket=%s", escaped);
    g_assert_null (vmf_held_up_look (uri));
    g_assert_true (g_file_set_contents (path, "waiting for one of 2\x1b[31m", -1, NULL));
    g_autofree char *why = vmf_held_up_look (uri);
    g_assert_true (g_str_has_prefix (why, "waiting for one of 2"));
    g_assert_null (strchr (why, '\x1b'));
    g_assert_null (vmf_held_up_look ("nbd://localhost:10809"));
    g_assert_null (vmf_held_up_look ("nbd+unix:///?socket="));
    g_assert_null (vmf_held_up_look (NULL));
    fixture_remove (folder);
}

struct silent
{
    struct nbd_handle *nbd;
    GCancellable *cancellable;
    GError *error;
    bool ended; /* atomic */
};

static void *
wait_for_silent (void *data)
{
    struct silent *silent = data;
    while (vmf_nbd_wait (silent->nbd, "sda", 20, silent->cancellable, &silent->error))
        ;
    __atomic_store_n (&silent->ended, true, __ATOMIC_RELEASE);
    return NULL;
}

/* A server that takes the connection and says nothing: while it is held up that is no failure, and can be cancelled. */
static void
wait_held_up (bool cancels)
{
    char *folder = fixture_folder ();
    g_autofree char *path = g_build_filename (folder, "silent", NULL), *mark = vmf_held_up_path (path);
    g_autofree char *uri = g_strdup_printf ("nbd+unix:///?socket=%s", path);
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    g_strlcpy (address.sun_path, path, sizeof address.sun_path);
    int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint (bind (fd, (struct sockaddr *)&address, sizeof address), ==, 0);
    g_assert_cmpint (listen (fd, 1), ==, 0);
    struct silent silent = { .nbd = nbd_create (), .cancellable = g_cancellable_new () };
    g_assert_cmpint (nbd_aio_connect_uri (silent.nbd, uri), ==, 0);
    g_assert_true (g_file_set_contents (mark, "waiting", -1, NULL));
    GThread *thread = g_thread_new ("waits", wait_for_silent, &silent);
    g_usleep (20 * 10 * 1000); /* ten times as long as it may be silent */
    g_assert_false (__atomic_load_n (&silent.ended, __ATOMIC_ACQUIRE));
    if (cancels)
        g_cancellable_cancel (silent.cancellable);
    else
        g_assert_cmpint (unlink (mark), ==, 0);
    g_thread_join (thread);
    int code = cancels ? VMF_ERROR_CANCELLED : VMF_ERROR_FAILED;
    g_assert_error (silent.error, VMF_ERROR, code);
    g_clear_error (&silent.error);
    g_object_unref (silent.cancellable);
    nbd_close (silent.nbd);
    close (fd);
    fixture_remove (folder);
}

static void
test_held_up_wait (void)
{
    wait_held_up (false);
    wait_held_up (true);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/disk/nbd/named-and-missing", test_named_and_missing);
    g_test_add_func ("/disk/nbd/named-and-refusing", test_named_and_refusing);
    g_test_add_func ("/disk/nbd/a-helper-is-waited-for", test_helper_is_waited_for);
    g_test_add_func ("/disk/nbd/held-up-look", test_held_up_look);
    g_test_add_func ("/disk/nbd/held-up-wait", test_held_up_wait);
    return g_test_run ();
}
