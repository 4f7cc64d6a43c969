/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pinned thumbprints (A18): trusted at first use, kept, a change refused with both values, forgotten by name. */
#include "../folder.h"
#include "base/error.h"
#include "base/file.h"
#include "source/vsphere/pins.h"

#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIRST "AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD"
#define SECOND "01:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD"

static char *folder, *path;

static char *
look (const char *host, uint16_t port)
{
    char *thumbprint = NULL;
    g_autoptr (GError) error = NULL;
    vmf_pins_look (path, host, port, &thumbprint, &error);
    g_assert_no_error (error);
    return thumbprint;
}

static void
add (const char *host, uint16_t port, const char *thumbprint)
{
    g_autoptr (GError) error = NULL;
    vmf_pins_add (path, host, port, thumbprint, &error);
    g_assert_no_error (error);
}

static void
test_first_use_is_kept (void)
{
    g_assert_null (look ("vcenter", 443));
    add ("vCenter", 443, FIRST);
    add ("vcenter", 443, FIRST);
    add ("vcenter", 8443, SECOND);
    add ("::1", 443, SECOND);
    g_autofree char *a = look ("VCENTER", 443), *b = look ("vcenter", 8443), *c = look ("::1", 443);
    g_assert_cmpstr (a, ==, FIRST);
    g_assert_cmpstr (b, ==, SECOND);
    g_assert_cmpstr (c, ==, SECOND);
    g_assert_null (look ("center", 443)); /* the end of a name is not the name */
    struct stat info;
    g_assert_cmpint (stat (path, &info), ==, 0);
    g_assert_cmpint (info.st_mode & 0777, ==, 0600);
}

/* PITFALLS 22. */
static void
test_change_is_refused_with_both_values (void)
{
    g_autoptr (GError) error = NULL;
    g_assert_false (vmf_pins_add (path, "vcenter", 443, SECOND, &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_UNSAFE);
    g_assert_nonnull (strstr (error->message, FIRST));
    g_assert_nonnull (strstr (error->message, SECOND));
    g_assert_nonnull (strstr (error->message, "vmferry doctor 'vpx://vcenter:443/' --forget-thumbprint"));
    g_autofree char *kept = look ("vcenter", 443);
    g_assert_cmpstr (kept, ==, FIRST);
}

static void
test_forget_one (void)
{
    bool was_there;
    g_assert_true (vmf_pins_forget (path, "vcenter", 443, &was_there, NULL));
    g_assert_true (was_there);
    g_assert_null (look ("vcenter", 443));
    g_autofree char *other = look ("vcenter", 8443);
    g_assert_cmpstr (other, ==, SECOND);
    g_assert_true (vmf_pins_forget (path, "vcenter", 443, &was_there, NULL));
    g_assert_false (was_there);
    add ("vcenter", 443, SECOND);
}

static void *
add_many (void *data)
{
    for (unsigned i = 0; i < 20; i++)
        add ("many", (uint16_t)(GPOINTER_TO_UINT (data) + i), FIRST);
    return NULL;
}

static void
test_adding_together (void)
{
    GThread *threads[4];
    for (unsigned i = 0; i < G_N_ELEMENTS (threads); i++)
        threads[i] = g_thread_new ("add", add_many, GUINT_TO_POINTER (1000 * (i + 1)));
    for (unsigned i = 0; i < G_N_ELEMENTS (threads); i++)
        g_thread_join (threads[i]);
    for (unsigned i = 0; i < 80; i++)
    {
        g_autofree char *pinned = look ("many", (uint16_t)(1000 * (i / 20 + 1) + i % 20));
        g_assert_cmpstr (pinned, ==, FIRST);
    }
}

static void
test_not_believed (void)
{
    char *thumbprint = NULL;
    g_autoptr (GError) error = NULL;
    g_assert_cmpint (g_chmod (path, 0622), ==, 0);
    g_assert_false (vmf_pins_look (path, "vcenter", 443, &thumbprint, &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_UNSAFE);
    g_clear_error (&error);
    g_assert_true (g_file_set_contents (path, "# mine\nvcenter:443 " FIRST "\nvcenter:444 AA:BB\n", -1, NULL));
    g_assert_cmpint (g_chmod (path, 0600), ==, 0);
    g_assert_false (vmf_pins_look (path, "vcenter", 443, &thumbprint, &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_CORRUPT);
    g_assert_nonnull (strstr (error->message, "line 3"));
    g_clear_error (&error);
    g_assert_false (vmf_pins_add (path, "x", 1, "AA:BB\nevil:443 " FIRST, &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_USAGE);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    folder = test_folder_new ("pins");
    path = g_build_filename (folder, "new", "thumbprints", NULL);
    g_test_add_func ("/pins/A18-first-use-is-kept", test_first_use_is_kept);
    g_test_add_func ("/pins/A18-change-is-refused-with-both-values", test_change_is_refused_with_both_values);
    g_test_add_func ("/pins/forget-one", test_forget_one);
    g_test_add_func ("/pins/adding-together", test_adding_together);
    g_test_add_func ("/pins/not-believed", test_not_believed);
    int status = g_test_run ();
    vmf_file_remove_tree (folder);
    g_free (folder);
    g_free (path);
    return status;
}
