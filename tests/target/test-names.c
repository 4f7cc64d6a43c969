/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names from a source are not trusted (DESIGN idea 7): what may name files, volumes and domains. */
#include "support.h"

#include <string.h>

static void
hostile (void)
{
    g_autofree char *long_name = g_strnfill (201, 'x');
    const char *const names[][2] = {
        { "../../etc/passwd", "'/'" },
        { "/etc/passwd", "'/'" },
        { "a/b", "'/'" },
        { "..", "dot" },
        { ".hidden", "dot" },
        { "-rf", "dash" },
        { "", "empty" },
        { "a\nb", "control" },
        { "a\x1b[31mb", "control" },
        { "a\x7f", "control" },
        { "web\xe2\x80\xae", "control" },
        { "\xff\xfe", "UTF-8" },
        { long_name, "200 bytes" },
        { " web", "space" },
    };
    for (size_t i = 0; i < G_N_ELEMENTS (names); i++)
    {
        g_autofree char *problem = vmf_target_name_problem (names[i][0]);
        g_assert_nonnull (problem);
        g_assert_nonnull (strstr (problem, names[i][1]));
        g_assert_nonnull (strstr (problem, "--name"));
        g_assert_null (strpbrk (problem, "\n\x1b\x7f"));
    }
    g_autofree char *none = vmf_target_name_problem (NULL);
    g_assert_nonnull (none);
}

static void
ordinary (void)
{
    const char *const names[] = { "web01", "Web Server (old)", "db_1.example.org", "büro-pc", "東京" };
    for (size_t i = 0; i < G_N_ELEMENTS (names); i++)
        g_assert_null (vmf_target_name_problem (names[i]));
}

static void
disks (void)
{
    g_autofree char *first = vmf_target_disk_name ("web01", 0, "qcow2");
    g_autofree char *later = vmf_target_disk_name ("web01", 26, "raw");
    g_assert_cmpstr (first, ==, "web01-sda.qcow2");
    g_assert_cmpstr (later, ==, "web01-sdaa.raw");
}

static void
refused_by_create (void)
{
    g_autofree char *folder = new_folder (), *work = new_folder ();
    g_autofree char *target_path = g_build_filename (folder, "in", NULL);
    const struct vmf_target_options options = { .work_dir = work };
    const struct vmf_target_disk_wish wish = { .format = "raw", .size_bytes = 512 };
    g_autoptr (vmf_target) target = vmf_target_open (target_path, &options, NULL);
    g_autoptr (GPtrArray) findings = vmf_findings_new ();
    g_autoptr (vmf_vm) vm = sample_vm ();
    g_autoptr (GError) error = NULL;
    g_free (vm->name);
    vm->name = g_strdup ("../outside");
    g_assert_true (target->ops->check (target, vm, &wish, 1, findings, NULL));
    assert_finding (findings, VMF_FINDING_BLOCKING, "../outside", "--name", NULL);
    g_assert_null (target->ops->create (target, vm, &wish, 1, NULL, &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_UNSAFE);
    g_autofree char *left = names_in (folder), *undo = names_in (work);
    g_assert_cmpstr (left, ==, "");
    g_assert_cmpstr (undo, ==, "");
    remove_tree (folder);
    remove_tree (work);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/target/names/hostile", hostile);
    g_test_add_func ("/target/names/ordinary", ordinary);
    g_test_add_func ("/target/names/disks", disks);
    g_test_add_func ("/target/names/refused-by-create", refused_by_create);
    return g_test_run ();
}
