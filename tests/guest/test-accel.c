/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The KVM probe and what libguestfs is told. QEMU is a script here: what a guest on it does is the test's choice. */
#include "../folder.h"
#include "guest/accel.h"

#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *folder;

/* QEMU that answers with LAST on its serial console and ends with STATUS. */
static void
fake_qemu (const char *last, int status)
{
    g_autofree char *path = g_build_filename (folder, "qemu-system-x86_64", NULL);
    g_autofree char *count = g_build_filename (folder, "count", NULL);
    g_autofree char *text = g_strdup_printf ("#!/bin/sh\necho run >> %s\necho '%s'\necho 'MSR trouble' >&2\nexit %d\n",
                                             count, last, status);
    g_assert_true (g_file_set_contents (path, text, -1, NULL));
    g_assert_cmpint (g_chmod (path, 0755), ==, 0);
}

static unsigned
runs (void)
{
    g_autofree char *path = g_build_filename (folder, "count", NULL);
    g_autofree char *text = NULL;
    return g_file_get_contents (path, &text, NULL, NULL) ? (unsigned)strlen (text) / 4 : 0;
}

static bool
no_kvm_node (void)
{
    if (g_access ("/dev/kvm", R_OK | W_OK) == 0)
        return false;
    g_test_skip ("there is no /dev/kvm here that opens, so the guest is not run");
    return true;
}

static void
test_panic_is_success (void)
{
    if (no_kvm_node ())
        return;
    g_autofree char *why = NULL;
    fake_qemu ("Kernel panic - not syncing: VFS: Unable to mount root fs", 0);
    g_assert_cmpint (vmf_accel_probe (NULL, &why), ==, VMF_ACCEL_KVM);
    g_assert_nonnull (strstr (why, "KVM works"));
}

/* /dev/kvm opens and QEMU dies: nested virtualisation that does not work (issue text, "Whether KVM really works"). */
static void
test_death_is_tcg_with_reason (void)
{
    if (no_kvm_node ())
        return;
    g_autofree char *why = NULL;
    fake_qemu ("", 134);
    g_assert_cmpint (vmf_accel_probe (NULL, &why), ==, VMF_ACCEL_TCG);
    g_assert_nonnull (strstr (why, "MSR trouble"));
}

static void
test_silence_is_tcg (void)
{
    if (no_kvm_node ())
        return;
    g_autofree char *why = NULL;
    fake_qemu ("Decompressing Linux...", 0);
    g_assert_cmpint (vmf_accel_probe (NULL, &why), ==, VMF_ACCEL_TCG);
    g_assert_nonnull (strstr (why, "before the guest got anywhere"));
}

static void
test_verdict_is_kept (void)
{
    if (no_kvm_node ())
        return;
    g_autofree char *first = NULL, *second = NULL;
    fake_qemu ("", 99);
    unsigned before = runs ();
    enum vmf_accel once = vmf_accel_probe (NULL, &first);
    g_assert_cmpuint (runs (), ==, before + 1);
    g_assert_cmpint (vmf_accel_probe (NULL, &second), ==, once);
    g_assert_cmpuint (runs (), ==, before + 1);
    g_assert_cmpstr (first, ==, second);
}

static void
test_cancelled_is_not_kept (void)
{
    if (no_kvm_node ())
        return;
    g_autoptr (GCancellable) cancelled = g_cancellable_new ();
    g_cancellable_cancel (cancelled);
    g_autofree char *path = g_build_filename (folder, "qemu-system-x86_64", NULL);
    g_assert_true (g_file_set_contents (path, "#!/bin/sh\nexec sleep 60\n", -1, NULL));
    g_chmod (path, 0755);
    g_autofree char *kept = g_build_filename (folder, "kvm", NULL);
    g_unlink (kept);
    g_assert_cmpint (vmf_accel_probe (cancelled, NULL), ==, VMF_ACCEL_TCG);
    g_assert_false (g_file_test (kept, G_FILE_TEST_EXISTS));
}

static void
assert_env (enum vmf_accel accel, const char *backend, const char *settings, const char *expected)
{
    g_auto (GStrv) env = vmf_accel_libguestfs_env (accel, backend, settings);
    g_autofree char *joined = g_strjoinv (" ", env);
    g_assert_cmpstr (joined, ==, expected);
}

static void
test_env_a11 (void)
{
    g_unsetenv ("LIBGUESTFS_BACKEND");
    g_unsetenv ("LIBGUESTFS_BACKEND_SETTINGS");
    assert_env (VMF_ACCEL_KVM, NULL, "", "LIBGUESTFS_BACKEND=direct");
    assert_env (VMF_ACCEL_TCG, "", NULL, "LIBGUESTFS_BACKEND=direct LIBGUESTFS_BACKEND_SETTINGS=force_tcg");
    assert_env (VMF_ACCEL_TCG, "libvirt", "force_kvm",
                "LIBGUESTFS_BACKEND=libvirt LIBGUESTFS_BACKEND_SETTINGS=force_kvm");
    g_setenv ("LIBGUESTFS_BACKEND", "libvirt", TRUE);
    g_setenv ("LIBGUESTFS_BACKEND_SETTINGS", "network_bridge=br0", TRUE);
    assert_env (VMF_ACCEL_TCG, NULL, NULL, "");
    assert_env (VMF_ACCEL_TCG, "direct", NULL, "LIBGUESTFS_BACKEND=direct");
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    folder = test_folder_new ("accel");
    g_autofree char *path = g_strconcat (folder, ":", g_getenv ("PATH"), NULL);
    g_setenv ("PATH", path, TRUE);
    g_setenv ("VMFERRY_CACHE_DIR", folder, TRUE);
    g_test_add_func ("/accel/a-kernel-that-panics-means-kvm", test_panic_is_success);
    g_test_add_func ("/accel/qemu-that-dies-means-tcg-and-why", test_death_is_tcg_with_reason);
    g_test_add_func ("/accel/no-panic-means-tcg", test_silence_is_tcg);
    g_test_add_func ("/accel/verdict-is-kept", test_verdict_is_kept);
    g_test_add_func ("/accel/a-cancelled-probe-is-not-kept", test_cancelled_is_not_kept);
    g_test_add_func ("/accel/A11-what-libguestfs-is-told", test_env_a11);
    int status = g_test_run ();
    static const char *const made[] = { "qemu-system-x86_64", "count", "kvm" };
    for (size_t i = 0; i < G_N_ELEMENTS (made); i++)
    {
        g_autofree char *file = g_build_filename (folder, made[i], NULL);
        g_unlink (file);
    }
    g_rmdir (folder);
    g_free (folder);
    return status;
}
