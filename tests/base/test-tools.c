/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of programs: versions, distributions, known-bad pairs, and that each program we start is in it (A10, A14).
 */
#include "../folder.h"
#include "base/tools.h"

#include <glib/gstdio.h>
#include <string.h>

static void
test_versions (void)
{
    g_assert_cmpint (vmf_version_compare ("7.2.22", "7.2"), >, 0);
    g_assert_cmpint (vmf_version_compare ("1.9", "1.10"), <, 0);
    g_assert_cmpint (vmf_version_compare ("2.0", "2.0.0"), ==, 0);
    g_assert_cmpint (vmf_version_compare ("0.3.23", "0.3.12"), >, 0);
}

static void
test_families (void)
{
    g_assert_cmpint (vmf_family_of ("NAME=\"Debian\"\nID=debian\n"), ==, VMF_FAMILY_DEBIAN);
    g_assert_cmpint (vmf_family_of ("ID=ubuntu\nID_LIKE=debian\n"), ==, VMF_FAMILY_DEBIAN);
    g_assert_cmpint (vmf_family_of ("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n"), ==, VMF_FAMILY_FEDORA);
    g_assert_cmpint (vmf_family_of ("ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\n"), ==, VMF_FAMILY_SUSE);
    g_assert_cmpint (vmf_family_of ("ID=plan9\n"), ==, VMF_FAMILY_OTHER);
}

static void
test_install_command (void)
{
    g_autoptr (GPtrArray) packages = g_ptr_array_new ();
    g_assert_null (vmf_family_install_command (VMF_FAMILY_DEBIAN, packages));
    g_ptr_array_add (packages, (char *)"partclone");
    g_ptr_array_add (packages, (char *)"nbdkit");
    g_ptr_array_add (packages, (char *)"partclone");
    g_autofree char *debian = vmf_family_install_command (VMF_FAMILY_DEBIAN, packages);
    g_autofree char *fedora = vmf_family_install_command (VMF_FAMILY_FEDORA, packages);
    g_assert_cmpstr (debian, ==, "apt-get install --no-install-recommends partclone nbdkit");
    g_assert_cmpstr (fedora, ==, "dnf install partclone nbdkit");
}

/* Looks at a script that says LINE on standard error and ends with 1, as partclone and e2fsck do. */
static struct vmf_tool_found *
look_at_script (const char *line, const char *min_version)
{
    g_autofree char *folder = test_folder_new ("tools");
    g_autofree char *path = g_build_filename (folder, "tool", NULL);
    g_autofree char *text = g_strdup_printf ("#!/bin/sh\necho '%s' >&2\nexit 1\n", line);
    const struct vmf_tool tool = { .name = path, .version_option = "--version", .min_version = min_version };
    g_assert_true (g_file_set_contents (path, text, -1, NULL));
    g_chmod (path, 0755);
    struct vmf_tool_found *found = vmf_tool_look (&tool);
    g_unlink (path);
    g_rmdir (folder);
    return found;
}

static void
test_look (void)
{
    static const struct
    {
        const char *line, *min, *version;
        enum vmf_tool_state state;
    } cases[] = {
        { "Partclone : v0.3.23 (cff71700a8c9)", "0.3.12", "0.3.23", VMF_TOOL_PRESENT },
        { "e2fsck 1.47.0 (5-Feb-2023)", NULL, "1.47.0", VMF_TOOL_PRESENT },
        { "virt-v2v-in-place 1.42.0", "2.0", "1.42.0", VMF_TOOL_OLD },
        { "what version?", "2.0", NULL, VMF_TOOL_SILENT },
    };
    for (size_t i = 0; i < G_N_ELEMENTS (cases); i++)
    {
        struct vmf_tool_found *found = look_at_script (cases[i].line, cases[i].min);
        g_assert_cmpstr (found->version, ==, cases[i].version);
        g_assert_cmpint (found->state, ==, cases[i].state);
        vmf_tool_found_free (found);
    }
    const struct vmf_tool absent = { .name = "no-such-program-of-ours", .version_option = "-V" };
    struct vmf_tool_found *found = vmf_tool_look (&absent);
    g_assert_cmpint (found->state, ==, VMF_TOOL_ABSENT);
    vmf_tool_found_free (found);
}

/* A program that lies at the second of the places where it may be, outside of PATH. */
static void
test_other_places (void)
{
    g_autofree char *folder = test_folder_new ("tools");
    g_autofree char *path = g_build_filename (folder, "tool", NULL);
    g_autofree char *places = g_strdup_printf ("/nonexistent/tool:%s", path);
    const struct vmf_tool tool = { .name = "no-such-program-of-ours", .other_place = places };
    g_assert_true (g_file_set_contents (path, "#!/bin/sh\n", -1, NULL));
    g_chmod (path, 0755);
    g_autofree char *found = vmf_tool_find (&tool);
    g_assert_cmpstr (found, ==, path);
    g_unlink (path);
    g_rmdir (folder);
}

static void
test_bad_pairs (void)
{
    const struct vmf_bad_pair pair = { "libguestfs", "1.46", "qemu-img", "6.1", "" };
    g_assert_true (vmf_bad_pair_applies (&pair, "1.45.3", "7.2"));
    g_assert_false (vmf_bad_pair_applies (&pair, "1.46.0", "7.2"));
    g_assert_false (vmf_bad_pair_applies (&pair, "1.44", "6.0"));
    g_assert_false (vmf_bad_pair_applies (&pair, NULL, "7.2"));
    g_assert_false (vmf_bad_pair_applies (&pair, "1.44", NULL));
}

static void
test_table_is_whole (void)
{
    for (const struct vmf_tool *tool = vmf_tools_table (); tool->name; tool++)
    {
        for (size_t i = 0; i < G_N_ELEMENTS (tool->package); i++)
            g_assert_nonnull (tool->package[i]);
        g_assert_nonnull (tool->needed_for);
        g_autofree char *hint = vmf_tool_hint (tool->name);
        g_assert_nonnull (strstr (hint, "install the package "));
    }
}

/* What the names of programs in argument vectors look like: argv[] = { "qemu-img", … */
static void
check_file (const char *path, GRegex *regex)
{
    g_autofree char *text = NULL;
    g_autoptr (GMatchInfo) match = NULL;
    g_assert_true (g_file_get_contents (path, &text, NULL, NULL));
    for (g_regex_match (regex, text, 0, &match); g_match_info_matches (match); g_match_info_next (match, NULL))
    {
        g_autofree char *name = g_match_info_fetch (match, 1);
        if (!vmf_tool_get (name) && !g_str_equal (name, "true"))
            g_error ("%s starts '%s', which is not in the table of src/base/tools.c", path, name);
    }
}

static void
test_programs_we_start_are_in_the_table (void)
{
    g_autofree char *src = g_test_build_filename (G_TEST_DIST, "..", "src", NULL);
    g_autoptr (GRegex) regex =
        g_regex_new ("(?:argv\\[[^]]*\\]\\s*=\\s*\\{|= words \\()\\s*\"([a-z0-9.-]+)\"", 0, 0, NULL);
    g_autoptr (GDir) folders = g_dir_open (src, 0, NULL);
    const char *folder, *name;
    while ((folder = g_dir_read_name (folders)))
    {
        g_autofree char *path = g_build_filename (src, folder, NULL);
        g_autoptr (GDir) files = g_dir_open (path, 0, NULL);
        while (files && (name = g_dir_read_name (files)))
        {
            g_autofree char *file = g_build_filename (path, name, NULL);
            if (g_str_has_suffix (name, ".c"))
                check_file (file, regex);
        }
    }
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/tools/versions", test_versions);
    g_test_add_func ("/tools/A10-families", test_families);
    g_test_add_func ("/tools/A10-install-command", test_install_command);
    g_test_add_func ("/tools/A10-look", test_look);
    g_test_add_func ("/tools/A10-other-places", test_other_places);
    g_test_add_func ("/tools/A14-bad-pairs", test_bad_pairs);
    g_test_add_func ("/tools/table-is-whole", test_table_is_whole);
    g_test_add_func ("/tools/programs-we-start-are-in-the-table", test_programs_we_start_are_in_the_table);
    return g_test_run ();
}
