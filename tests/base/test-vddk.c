/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Finding VDDK by directories that look like it (A7, A12, A13, PITFALLS 20). Whether a library that is there loads is
 * tried with a file that is an ELF header and nothing more: nbdkit must say no, and the user be told which file.
 */
#include "../folder.h"
#include "base/plugins.h"
#include "base/file.h"
#include "base/vddk.h"

#include <elf.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

static char *folder;

/* DIR/lib64/NAME, a header of MACHINE. */
static void
make_library (const char *dir, const char *name, uint16_t machine)
{
    g_autofree char *lib = g_build_filename (dir, "lib64", NULL), *path = g_build_filename (lib, name, NULL);
    Elf64_Ehdr elf = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT }, .e_machine = machine };
    g_assert_cmpint (g_mkdir_with_parents (lib, 0700), ==, 0);
    g_assert_true (g_file_set_contents (path, (const char *)&elf, sizeof elf, NULL));
}

static void
make_link (const char *dir, const char *name, const char *target)
{
    g_autofree char *path = g_build_filename (dir, "lib64", name, NULL);
    g_assert_cmpint (symlink (target, path), ==, 0);
}

static void
test_newest_name_with_version (void)
{
    g_autofree char *dir = g_build_filename (folder, "nine", NULL);
    make_library (dir, "libvixDiskLib.so.9.0.1", EM_X86_64);
    make_link (dir, "libvixDiskLib.so.9", "libvixDiskLib.so.9.0.1");
    struct vmf_vddk_place *place = vmf_vddk_look_at (dir);
    g_assert_cmpuint (place->number, ==, 9);
    g_assert_cmpstr (place->version, ==, "9.0.1");
#ifdef __x86_64__
    g_assert_null (place->problem);
#endif
    vmf_vddk_place_free (place);
    make_library (dir, "libvixDiskLib.so.10", EM_X86_64); /* not a version that is known */
    make_library (dir, "libvixDiskLib.so.8", EM_X86_64);
    place = vmf_vddk_look_at (dir);
    g_assert_cmpuint (place->number, ==, 9);
    vmf_vddk_place_free (place);
}

static void
assert_problem (const char *dir, const char *part)
{
    struct vmf_vddk_place *place = vmf_vddk_look_at (dir);
    g_assert_nonnull (place->problem);
    g_test_message ("%s", place->problem);
    g_assert_nonnull (strstr (place->problem, part));
    vmf_vddk_place_free (place);
}

static void
test_problems (void)
{
    g_autofree char *arm = g_build_filename (folder, "arm", NULL), *text = g_build_filename (folder, "text", NULL);
    g_autofree char *absent = g_build_filename (folder, "absent", NULL);
    g_autofree char *text_file = g_build_filename (text, "lib64", "libvixDiskLib.so.7", NULL);
    make_library (arm, "libvixDiskLib.so.8", EM_AARCH64);
    make_library (text, "other.so", EM_X86_64);
    assert_problem (arm, "another kind of machine");
    assert_problem (text, "no lib64/libvixDiskLib.so");
    assert_problem (absent, "not there");
    g_assert_true (g_file_set_contents (text_file, "version https://git-lfs", -1, NULL));
    assert_problem (text, "not a library");
}

static struct vmf_vddk *
look (const char *pair)
{
    g_autoptr (vmf_settings) settings = vmf_settings_new ();
    g_assert_true (vmf_settings_set (settings, pair, NULL));
    return vmf_vddk_look (settings, NULL);
}

/* A7: what is missing, where it was looked for, how to get it. */
static void
test_absent_says_how_to_get_it (void)
{
    g_autofree char *absent = g_build_filename (folder, "absent", NULL);
    g_autofree char *pair = g_strdup_printf ("vddk.lib.dir=%s", absent);
    g_autoptr (vmf_vddk) vddk = look (pair);
    g_assert_null (vddk->chosen);
    g_assert_cmpuint (vddk->places->len, ==, 1); /* a directory that was named is the only one */
    g_assert_nonnull (strstr (vddk->problem, absent));
    g_assert_nonnull (strstr (vddk->problem, "vddk.lib.dir"));
    g_assert_nonnull (strstr (vddk->problem, "developer.broadcom.com"));
    g_autoptr (vmf_vddk) usual = look ("vddk.lib.dir=");
    g_assert_cmpuint (usual->places->len, >, 4);
    const struct vmf_vddk_place *first = g_ptr_array_index (usual->places, 0);
    g_assert_cmpstr (first->dir, ==, "/opt/vmware-vddk/vmware-vix-disklib-distrib");
}

/* nbdkit-vddk-plugin of the distribution, or rather of this test: a shell script plugin cannot stand in for one, so the
   absence is what is looked at. */
static void
test_plugin (void)
{
    g_autofree char *dir = g_build_filename (folder, "nine", NULL);
    g_autofree char *pair = g_strdup_printf ("vddk.lib.dir=%s", dir);
    g_setenv ("VMFERRY_PLUGIN_DIR", "/nonexistent", TRUE);
    g_autoptr (vmf_vddk) vddk = look (pair);
    g_unsetenv ("VMFERRY_PLUGIN_DIR");
#ifdef __x86_64__
    g_assert_nonnull (vddk->chosen);
    g_assert_nonnull (vddk->problem); /* no plugin, or one that cannot load a header */
    g_test_message ("%s", vddk->problem);
    g_assert_nonnull (strstr (vddk->problem, vddk->plugin ? "cannot be loaded" : "nbdkit-vddk-plugin"));
#endif
}

/* PITFALLS 21, by the release notes: "VDDK 7.0 will support vSphere 6.5, 6.7 and the next major release". */
static void
test_supports (void)
{
    g_assert_true (vmf_vddk_supports ("7.0.2", "6.5.0"));
    g_assert_true (vmf_vddk_supports ("7.0.2", "8.0.1"));
    g_assert_false (vmf_vddk_supports ("7.0.2", "6.0.0"));
    g_assert_false (vmf_vddk_supports ("8.0.2", "6.5.0"));
    g_assert_true (vmf_vddk_supports ("8.0.2", "6.7.0"));
    g_assert_false (vmf_vddk_supports ("6.7.3", "8.0.0"));
    g_assert_true (vmf_vddk_supports (NULL, "6.5.0"));
    g_assert_true (vmf_vddk_supports ("11.0", "6.5.0"));
}

static void
test_plugins_of_nbdkit (void)
{
    const struct vmf_plugin *ssh = vmf_plugins_table ();
    while (!g_str_equal (ssh->name, "ssh"))
        ssh++;
    if (!vmf_plugin_is_installed ("ssh", NULL))
        return g_test_skip ("nbdkit's ssh plugin is not installed");
    struct vmf_plugin_found *found = vmf_plugin_look (ssh, NULL, NULL);
    g_assert_cmpstr (found->word, ==, "ssh");
    g_assert_nonnull (found->version);
    g_assert_true (g_ascii_isdigit (found->version[0]));
    vmf_plugin_found_free (found);
    found = vmf_plugin_look (ssh, "nonsense=1", NULL);
    g_assert_nonnull (strstr (found->problem, "nonsense"));
    vmf_plugin_found_free (found);
    g_assert_false (vmf_plugin_is_installed ("no-such", NULL));
}

static void
test_fields (void)
{
    static const char dump[] = "path=/x.so\nname=vddk\nversion=1.42\nvddk_library_version=8\nlibrary=no\n";
    g_autofree char *version = vmf_plugin_get_field (dump, "version");
    g_autofree char *library = vmf_plugin_get_field (dump, "vddk_library_version");
    g_assert_cmpstr (version, ==, "1.42");
    g_assert_cmpstr (library, ==, "8");
    g_assert_null (vmf_plugin_get_field (dump, "lib"));
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    folder = test_folder_new ("vddk");
    g_test_add_func ("/vddk/A13-newest-name-with-version", test_newest_name_with_version);
    g_test_add_func ("/vddk/A12-problems", test_problems);
    g_test_add_func ("/vddk/A7-absent-says-how-to-get-it", test_absent_says_how_to_get_it);
    g_test_add_func ("/vddk/plugin", test_plugin);
    g_test_add_func ("/vddk/A14-supports", test_supports);
    g_test_add_func ("/plugins/nbdkit", test_plugins_of_nbdkit);
    g_test_add_func ("/plugins/fields", test_fields);
    int status = g_test_run ();
    vmf_file_remove_tree (folder);
    g_free (folder);
    return status;
}
