/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Settings: layers, errors, and the shipped configuration file against the table (A19, A20). */
#include "base/error.h"
#include "base/settings.h"

#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

/* Settings loaded from TEXT as a file; the caller frees. */
static struct vmf_settings *
load (const char *text, GError **error)
{
    struct vmf_settings *settings = vmf_settings_new ();
    g_autofree char *path = NULL;
    close (g_file_open_tmp ("vmferry-XXXXXX.conf", &path, NULL));
    g_assert_true (g_file_set_contents (path, text, -1, NULL));
    if (!vmf_settings_load (settings, path, error))
        g_clear_pointer (&settings, vmf_settings_free);
    g_unlink (path);
    return settings;
}

static void
test_layers (void)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (vmf_settings) settings =
        load ("# comment\n\n convert.timeout_s = 600 \nwork.dir=/srv/a b\nimport.direct=no\nvirtio_win =\n", &error);
    g_assert_no_error (error);
    g_assert_cmpuint (vmf_settings_get_uint64 (settings, "convert.timeout_s"), ==, 600);
    g_assert_cmpuint (vmf_settings_get_uint64 (settings, "copy.connections"), ==, 16);
    g_assert_cmpstr (vmf_settings_get_string (settings, "work.dir"), ==, "/srv/a b");
    g_assert_false (vmf_settings_get_bool (settings, "import.direct"));
    g_assert_cmpstr (vmf_settings_get_string (settings, "virtio_win"), ==, "");
    g_assert_true (vmf_settings_set (settings, "convert.timeout_s=60", &error));
    g_assert_cmpuint (vmf_settings_get_uint64 (settings, "convert.timeout_s"), ==, 60);
    /* A20: blank falls back to the file. */
    g_assert_true (vmf_settings_set (settings, "convert.timeout_s=", &error));
    g_assert_cmpuint (vmf_settings_get_uint64 (settings, "convert.timeout_s"), ==, 600);
}

/* The names that scripts of other tools have (A16-A18), with their defaults. */
static void
test_vmware (void)
{
    g_autoptr (vmf_settings) settings =
        load ("vddk.lib.dir = /srv/vddk\nvddk.thumbprint =\nvsphere.road = ssh\n", NULL);
    g_assert_cmpstr (vmf_settings_get_string (settings, "vddk.lib.dir"), ==, "/srv/vddk");
    g_assert_true (vmf_settings_set (settings, "vddk.lib.dir=/srv/other", NULL));
    g_assert_cmpstr (vmf_settings_get_string (settings, "vddk.lib.dir"), ==, "/srv/other");
    g_assert_cmpstr (vmf_settings_get_string (settings, "vddk.transports"), ==, "nbdssl:nbd");
    g_assert_cmpstr (vmf_settings_get_string (settings, "vddk.thumbprint"), ==, "");
    g_assert_cmpstr (vmf_settings_get_string (settings, "vsphere.road"), ==, "ssh");
    g_autoptr (vmf_settings) none = vmf_settings_new ();
    g_assert_cmpstr (vmf_settings_get_string (none, "vddk.lib.dir"), ==, "/opt/vmware-vddk/vmware-vix-disklib-distrib");
}

static void
test_list (void)
{
    g_autoptr (vmf_settings) settings = load ("convert.allowed_options = --key,  --mac\n", NULL);
    g_auto (GStrv) list = vmf_settings_get_list (settings, "convert.allowed_options");
    g_assert_cmpuint (g_strv_length (list), ==, 2);
    g_assert_cmpstr (list[1], ==, "--mac");
    g_autoptr (vmf_settings) none = vmf_settings_new ();
    g_auto (GStrv) empty = vmf_settings_get_list (none, "convert.allowed_options");
    g_assert_cmpuint (g_strv_length (empty), ==, 0);
}

static void
assert_refused (const char *text, const char *part, const char *other)
{
    g_autoptr (GError) error = NULL;
    g_assert_null (load (text, &error));
    g_test_message ("%s", error->message);
    g_assert_nonnull (strstr (error->message, part));
    g_assert_nonnull (strstr (error->message, other));
}

static void
test_errors_name_line_and_remedy (void)
{
    assert_refused ("\n# x\nconvert.timeout = 5\n", "line 3", "'convert.timeout_s'");
    assert_refused ("copy.paralel_disks = 5\n", "line 1", "'copy.parallel_disks'");
    assert_refused ("work.dir = tmp\n", "work.dir", "absolute");
    assert_refused ("import.direct = maybe\n", "line 1", "true or false");
    assert_refused ("copy.connections = 99\n", "line 1", "copy.connections");
    assert_refused ("vsphere.road = nfc\n", "line 1", "auto, vddk, export, https, ssh");
    assert_refused ("vddk.compression = lz4\n", "vddk.compression", "fastlz");
    assert_refused ("vddk.lib.dir = vddk\n", "vddk.lib.dir", "absolute");
    assert_refused ("[group]\n", "line 1", "key=value");
}

static void
test_named_file_must_be_there (void)
{
    g_autoptr (vmf_settings) settings = vmf_settings_new ();
    g_autoptr (GError) error = NULL;
    g_assert_false (vmf_settings_load (settings, "/nonexistent/vmferry.conf", &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_NOT_FOUND);
}

/* Each default is a value that its own check accepts, and the shipped file is what the table says. With
   VMFERRY_REGENERATE=1 in the environment the file is written instead. */
static void
test_shipped_file_is_the_table (void)
{
    g_autofree char *path = g_test_build_filename (G_TEST_DIST, "..", "data", "vmferry.conf", NULL);
    g_autofree char *expected = vmf_settings_example ();
    if (g_getenv ("VMFERRY_REGENERATE"))
        g_assert_true (g_file_set_contents (path, expected, -1, NULL));
    g_autofree char *shipped = NULL;
    g_autoptr (GError) error = NULL;
    g_file_get_contents (path, &shipped, NULL, &error);
    g_assert_no_error (error);
    g_assert_cmpstr (shipped, ==, expected);
    g_autoptr (vmf_settings) settings = load (shipped, &error);
    g_assert_no_error (error);
    g_autoptr (GHashTable) seen = g_hash_table_new (g_str_hash, g_str_equal);
    for (const struct vmf_setting *setting = vmf_settings_table (); setting->key; setting++)
    {
        g_assert_true (g_hash_table_add (seen, (char *)setting->key)); /* no key twice */
        g_autofree char *pair = g_strconcat (setting->key, "=", setting->fallback, NULL);
        g_assert_true (vmf_settings_set (settings, pair, &error));
        g_assert_no_error (error);
    }
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/settings/A20-layers", test_layers);
    g_test_add_func ("/settings/A16-A18-vmware", test_vmware);
    g_test_add_func ("/settings/list", test_list);
    g_test_add_func ("/settings/errors-name-line-and-remedy", test_errors_name_line_and_remedy);
    g_test_add_func ("/settings/named-file-must-be-there", test_named_file_must_be_there);
    g_test_add_func ("/settings/A19-shipped-file-is-the-table", test_shipped_file_is_the_table);
    return g_test_run ();
}
