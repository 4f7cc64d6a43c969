/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The libvirt target on a real libvirtd and a real pool: what stands there at the end (C13), after failures and after
 * kills at any step (B14). virsh is the witness.
 */
#include "libvirt-support.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

static const char finished[] = "web01|web01-sda.qcow2 web01-sdb.raw|web01-sda.qcow2 web01-sdb.raw";

static void
import_in_child (void *data)
{
    lab_import (data, NULL);
}

static void
domain_comes_at_the_end (struct lab *lab, const void *data)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (GPtrArray) findings = lab_check (lab);
    assert_not_blocked (findings);
    lab_assert_state (lab, "||");
    g_autoptr (vmf_target) target = lab_open (lab);
    g_autoptr (GPtrArray) disks = target->ops->create (target, lab->vm, lab->wishes, 2, NULL, &error);
    g_assert_no_error (error);
    lab_assert_state (lab, "|web01-sda.qcow2 web01-sdb.raw|web01-sda.qcow2 web01-sdb.raw");
    const struct vmf_target_disk *first = g_ptr_array_index (disks, 0), *second = g_ptr_array_index (disks, 1);
    g_assert_true (first->fresh && second->fresh && !first->block);
    g_autofree char *info = output_of ("qemu-img", "info", "--output=json", "-f", "qcow2", first->path, NULL);
    const char *const facts[] = { "\"virtual-size\": 8388608", "\"compat\": \"1.1\"", "\"lazy-refcounts\": false",
                                  "\"cluster-size\": 65536" };
    for (size_t i = 0; i < G_N_ELEMENTS (facts); i++)
        if (!strstr (info, facts[i]))
            g_error ("no %s in %s", facts[i], info);
    const char *paths[] = { first->final_path, second->final_path, NULL };
    g_autofree char *megabyte = g_strnfill (1 << 20, 'x');
    write_start (second->path, megabyte);
    g_autofree char *xml = lab_domain_xml (lab, "web01", NULL, "52:54:00:00:00:01", paths);
    g_autofree char *made = target->ops->finish (target, lab->vm, xml, &error);
    g_assert_no_error (error);
    g_assert_cmpstr (made, ==, "web01");
    lab_assert_state (lab, finished);
    g_autofree char *volume =
        output_of ("virsh", "-c", lab->uri, "vol-info", "--bytes", "--pool", "default", "web01-sdb.raw", NULL);
    g_assert_nonnull (strstr (volume, "3145728"));
    g_assert_nonnull (strstr (volume, "1048576")); /* C13: the actual size */
    g_autofree char *undo = names_in (lab->work);
    g_assert_cmpstr (undo, ==, "");
}

/* Nobody has to refresh the pool by hand after an import (C13). */
static void
pool_tells_its_use (struct lab *lab, const void *data)
{
    g_assert_cmpint (mount ("tmpfs", lab->folder, "tmpfs", 0, "size=64m"), ==, 0);
    g_autoptr (vmf_target) target = lab_open (lab);
    g_autoptr (GPtrArray) disks = target->ops->create (target, lab->vm, lab->wishes, 2, NULL, NULL);
    const char *path = ((struct vmf_target_disk *)g_ptr_array_index (disks, 1))->path, *paths[] = { path, NULL };
    g_autofree char *megabyte = g_strnfill (1 << 20, 'x');
    write_start (path, megabyte);
    g_autofree char *xml = lab_domain_xml (lab, "web01", NULL, NULL, paths);
    g_autofree char *made = target->ops->finish (target, lab->vm, xml, NULL);
    g_assert_nonnull (made);
    struct statvfs fs;
    g_assert_cmpint (statvfs (lab->folder, &fs), ==, 0);
    g_autofree char *used =
        g_strdup_printf (" %" G_GUINT64_FORMAT "\n", (guint64)((fs.f_blocks - fs.f_bfree) * fs.f_frsize));
    g_autofree char *info = output_of ("virsh", "-q", "-c", lab->uri, "pool-info", "--bytes", "default", NULL);
    g_assert_nonnull (strstr (info, used));
    g_free (output_of ("virsh", "-q", "-c", lab->uri, "pool-destroy", "default", NULL));
    umount2 (lab->folder, MNT_DETACH);
}

static void
preallocates (struct lab *lab, const void *data)
{
    lab->wishes[0].preallocate = lab->wishes[1].preallocate = true;
    g_autoptr (vmf_target) target = lab_open (lab);
    g_autoptr (GPtrArray) disks = target->ops->create (target, lab->vm, lab->wishes, 2, NULL, NULL);
    g_assert_nonnull (disks);
    for (guint i = 0; i < 2; i++)
    {
        struct stat info;
        g_assert_cmpint (stat (((struct vmf_target_disk *)g_ptr_array_index (disks, i))->path, &info), ==, 0);
        g_assert_cmpint (info.st_blocks * 512, >=, (int64_t)lab->wishes[i].size_bytes);
    }
    g_assert_true (target->ops->abort (target, NULL));
    lab_assert_state (lab, "||");
}

static void
disks_in_pools_of_their_own (struct lab *lab, const void *data)
{
    g_autoptr (GError) error = NULL;
    g_autofree char *second = new_folder ();
    g_free (output_of ("virsh", "-q", "-c", lab->uri, "pool-create-as", "fast", "dir", "--target", second, NULL));
    lab->wishes[1].pool = "fast";
    g_assert_true (lab_import (lab, &error));
    g_assert_no_error (error);
    lab_assert_state (lab, "web01|web01-sda.qcow2|web01-sda.qcow2");
    g_autofree char *there = names_in (second);
    g_assert_cmpstr (there, ==, "web01-sdb.raw");
    g_free (output_of ("virsh", "-q", "-c", lab->uri, "pool-destroy", "fast", NULL));
    remove_tree (second);
}

/* libvirt says no at the very end: XML that its schema does not know. */
static void
refused_definition_leaves_nothing (struct lab *lab, const void *data)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (vmf_target) target = lab_open (lab);
    g_autoptr (GPtrArray) disks = target->ops->create (target, lab->vm, lab->wishes, 2, NULL, &error);
    g_assert_no_error (error);
    g_autofree char *made =
        target->ops->finish (target, lab->vm, "<domain type='qemu'><name>web01</name><bogus/></domain>", &error);
    g_assert_null (made);
    g_assert_nonnull (strstr (error->message, "cannot define the domain 'web01'"));
    g_assert_true (target->ops->abort (target, NULL));
    lab_assert_state (lab, "||");
}

/* A domain of the name appears while the disks are copied. */
static void
name_taken_meanwhile (struct lab *lab, const void *data)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (vmf_target) target = lab_open (lab);
    g_autoptr (GPtrArray) disks = target->ops->create (target, lab->vm, lab->wishes, 2, NULL, NULL);
    lab_define (lab, "web01", NULL, NULL, NULL);
    g_autofree char *xml = lab_domain_xml (lab, "web01", NULL, NULL, NULL);
    g_assert_null (target->ops->finish (target, lab->vm, xml, &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_EXISTS);
    g_assert_true (target->ops->abort (target, NULL));
    lab_assert_state (lab, "web01||");
}

enum what
{
    PLAIN,
    REPLACE,           /* the old domain has another UUID */
    REPLACE_SAME_UUID, /* the old domain is redefined */
};
static const enum what plain = PLAIN, replace = REPLACE, replace_same_uuid = REPLACE_SAME_UUID;

static const char old_uuid[] = "11111111-2222-4333-8444-555555555555";
static const char new_uuid[] = "aaaaaaaa-2222-4333-8444-555555555555";

/* The domain web01 with one volume named like ours and one that is not. */
static void
put_old (struct lab *lab, enum what what)
{
    g_free (lab->uuid);
    lab->uuid = g_strdup (what == REPLACE_SAME_UUID ? old_uuid : new_uuid);
    if (what == PLAIN)
        return;
    lab->replace = true;
    g_autofree char *sda = lab_volume (lab, "web01-sdb.raw"), *data = lab_volume (lab, "precious.raw");
    const char *disks[] = { sda, data, NULL };
    write_start (sda, "old");
    lab_define (lab, "web01", old_uuid, "52:54:00:00:00:01", disks);
    g_free (output_of ("virsh", "-q", "-c", lab->uri, "autostart", "web01", NULL));
}

/* Everything as before or all of the new, and nothing besides. True: the new. */
static bool
assert_old_or_new (struct lab *lab, enum what what)
{
    static const char *const states[][2] = {
        { "||", finished },
        { "web01|precious.raw web01-sdb.raw|precious.raw web01-sdb.raw",
          "web01|precious.raw web01-sda.qcow2 web01-sdb-1.raw|precious.raw web01-sda.qcow2 web01-sdb-1.raw" },
    };
    const char *const *expected = states[what != PLAIN];
    g_autofree char *state = lab_state (lab), *undo = names_in (lab->work);
    bool is_new = strcmp (state, expected[1]) == 0;
    g_assert_cmpstr (state, ==, expected[is_new]);
    g_assert_cmpstr (undo, ==, "");
    if (what == PLAIN && !is_new)
        return false;
    g_autofree char *xml = output_of ("virsh", "-q", "-c", lab->uri, "dumpxml", "--inactive", "web01", NULL);
    g_autofree char *info = output_of ("virsh", "-q", "-c", lab->uri, "dominfo", "web01", NULL);
    g_autofree char *path =
        g_build_filename (lab->folder, is_new && what != PLAIN ? "web01-sdb-1.raw" : "web01-sdb.raw", NULL);
    g_autofree char *bytes = NULL;
    g_assert_nonnull (strstr (xml, is_new ? lab->uuid : old_uuid));
    g_assert_nonnull (strstr (xml, path));
    g_assert_true ((strstr (xml, "precious.raw") != NULL) == !is_new);
    g_assert_true (is_new || strstr (info, "Autostart:      enable"));
    g_assert_true (g_file_get_contents (path, &bytes, NULL, NULL));
    g_assert_cmpmem (bytes, 3, is_new ? "new" : "old", 3);
    return is_new;
}

static void
clear_lab (struct lab *lab)
{
    lab_tear_down (lab, NULL);
    *lab = (struct lab){ 0 };
    lab_set_up (lab, NULL);
}

/* B14: SIGKILL before and behind every step, then what the next start does. */
static void
killed_at_each_step (struct lab *lab, const void *data)
{
    const enum what what = *(const enum what *)data;
    unsigned steps = 0, with_old = 0, with_new = 0;
    for (bool killed = true; killed;)
    {
        g_autoptr (GError) error = NULL;
        clear_lab (lab);
        put_old (lab, what);
        killed = dies_at (++steps, import_in_child, lab);
        vmf_target_undo_leftovers (lab->work, NULL, &error);
        g_assert_no_error (error);
        bool is_new = assert_old_or_new (lab, what);
        with_old += killed && !is_new;
        with_new += killed && is_new;
    }
    g_test_message ("%u steps; the old stood after %u kills, the new after %u", steps, with_old, with_new);
    g_assert_cmpuint (with_old, >, 8);
    g_assert_cmpuint (with_new, >, 0);
}

static void
fails_at_each_step (struct lab *lab, const void *data)
{
    const enum what what = *(const enum what *)data;
    unsigned steps = 0;
    for (bool good = false; !good;)
    {
        clear_lab (lab);
        put_old (lab, what);
        faults = (struct faults){ .fail_at = ++steps, .fail_errno = EIO };
        good = lab_import (lab, NULL);
        faults = (struct faults){ 0 };
        g_assert_true (assert_old_or_new (lab, what) == good);
    }
    g_assert_cmpuint (steps, >, 8);
}

static void
replace_says_what_goes (struct lab *lab, const void *data)
{
    put_old (lab, REPLACE);
    g_autoptr (GPtrArray) findings = lab_check (lab);
    assert_not_blocked (findings);
    assert_finding (findings, VMF_FINDING_WARNING, "'web01' will be replaced", NULL);
    assert_finding (findings, VMF_FINDING_WARNING, "web01-sdb.raw", "will be deleted", NULL);
    assert_finding (findings, VMF_FINDING_WARNING, "precious.raw", "stays", NULL);
}

static void
replace_needs_it_shut_off (struct lab *lab, const void *data)
{
    lab->replace = true;
    lab_define (lab, "web01", NULL, NULL, NULL);
    g_free (output_of ("virsh", "-q", "-c", lab->uri, "start", "--paused", "web01", NULL));
    g_autoptr (GPtrArray) findings = lab_check (lab);
    assert_finding (findings, VMF_FINDING_BLOCKING, "web01", "is running", "shut it down", NULL);
    g_autoptr (GError) error = NULL;
    g_assert_false (lab_import (lab, &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_EXISTS);
    lab_assert_state (lab, "web01||");
    g_free (output_of ("virsh", "-q", "-c", lab->uri, "destroy", "web01", NULL));
    g_free (output_of ("virsh", "-q", "-c", lab->uri, "undefine", "web01", NULL));
}

static void
replace_leaves_shared_volume (struct lab *lab, const void *data)
{
    g_autoptr (GError) error = NULL;
    put_old (lab, REPLACE);
    g_autofree char *shared = g_build_filename (lab->folder, "web01-sdb.raw", NULL);
    const char *disks[] = { shared, NULL };
    lab_define (lab, "other", NULL, NULL, disks);
    lab_import (lab, &error);
    g_assert_no_error (error);
    g_assert_true (g_file_test (shared, G_FILE_TEST_EXISTS));
}

/* The other domain names the volume by its pool, or is an overlay's, whose backing file it is. */
static void
replace_leaves_volume_used_otherwise (struct lab *lab, const void *data)
{
    const bool by_overlay = data != NULL;
    g_autoptr (GError) error = NULL;
    put_old (lab, REPLACE);
    g_autofree char *shared = g_build_filename (lab->folder, "web01-sdb.raw", NULL),
                    *overlay = g_build_filename (lab->folder, "clone.qcow2", NULL);
    if (by_overlay)
        g_free (output_of ("qemu-img", "create", "-q", "-f", "qcow2", "-b", shared, "-F", "raw", overlay, NULL));
    else
        lab_define_with (lab, "other",
                         "<disk type='volume' device='disk'><source pool='default' volume='web01-sdb.raw'/>"
                         "<target dev='vda' bus='virtio'/></disk>");
    g_autoptr (GPtrArray) findings = lab_check (lab);
    assert_finding (findings, VMF_FINDING_WARNING, "web01-sdb.raw", "stays", NULL);
    lab_import (lab, &error);
    g_assert_no_error (error);
    g_assert_true (g_file_test (shared, G_FILE_TEST_EXISTS));
}

/* The TPM's keys open the guest's disk: BitLocker's above all. */
static void
replace_keeps_tpm_keys (struct lab *lab, const void *data)
{
    g_autoptr (GError) error = NULL;
    g_autofree char *program = g_find_program_in_path ("swtpm_setup");
    if (!program)
        return g_test_skip ("without swtpm libvirt defines no domain with a TPM");
    lab->replace = true;
    lab_define_with (lab, "web01", "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>");
    g_autofree char *said = output_of ("virsh", "-q", "-c", lab->uri, "domuuid", "web01", NULL);
    g_autofree char *keys = g_strdup_printf ("/var/lib/libvirt/swtpm/%s/tpm2", g_strstrip (said));
    g_assert_cmpint (g_mkdir_with_parents (keys, 0700), ==, 0);
    lab_import (lab, &error);
    g_assert_no_error (error);
    g_assert_true (g_file_test (keys, G_FILE_TEST_IS_DIR));
}

/* A volume of ours was deleted by hand and made again by somebody: not ours. */
static void
leaves_what_is_not_ours (struct lab *lab, const void *data)
{
    g_autoptr (GPtrArray) removed = g_ptr_array_new_with_free_func (g_free);
    g_autoptr (GError) error = NULL;
    g_autoptr (vmf_target) target = lab_open (lab);
    g_autoptr (GPtrArray) disks = target->ops->create (target, lab->vm, lab->wishes, 2, NULL, NULL);
    g_assert_nonnull (disks);
    g_free (output_of ("virsh", "-q", "-c", lab->uri, "vol-delete", "--pool", "default", "web01-sda.qcow2", NULL));
    g_free (lab_volume (lab, "web01-sda.qcow2"));
    g_assert_true (vmf_target_undo_leftovers (lab->work, removed, &error));
    lab_assert_state (lab, "|web01-sda.qcow2|web01-sda.qcow2");
    g_assert_cmpuint (removed->len, ==, 2);
    g_assert_nonnull (strstr (g_ptr_array_index (removed, 0), "deleted the volume web01-sdb.raw"));
    g_assert_nonnull (strstr (g_ptr_array_index (removed, 1), "left alone"));
}

/* What could not be cleared stays in the list, and the next try does it. */
static void
clears_when_the_pool_is_back (struct lab *lab, const void *data)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (vmf_target) target = lab_open (lab);
    g_autoptr (GPtrArray) disks = target->ops->create (target, lab->vm, lab->wishes, 2, NULL, NULL);
    g_free (output_of ("virsh", "-q", "-c", lab->uri, "pool-destroy", "default", NULL));
    g_assert_false (target->ops->abort (target, &error));
    g_assert_nonnull (strstr (error->message, "pool 'default'"));
    g_free (output_of ("virsh", "-q", "-c", lab->uri, "pool-start", "default", NULL));
    g_assert_true (vmf_target_undo_leftovers (lab->work, NULL, NULL));
    lab_assert_state (lab, "||");
}

/* B11: a machine's name is one import's from its start, also where its volumes would go elsewhere or replace the old.
 */
static void
two_imports_of_one_name (struct lab *lab, const void *data)
{
    g_autoptr (GError) error = NULL;
    g_autofree char *first_work = lab->work, *pid = g_strdup_printf ("process %d", (int)getpid ());
    struct vmf_target *first = lab_open (lab);
    g_autoptr (GPtrArray) disks = first->ops->create (first, lab->vm, lab->wishes, 2, NULL, NULL);
    lab->work = new_folder ();
    lab->wishes[0].format = "raw";
    lab->wishes[1].format = "qcow2";
    lab->replace = true;
    g_autoptr (vmf_target) second = lab_open (lab);
    g_autoptr (GPtrArray) findings = lab_check (lab);
    assert_finding (findings, VMF_FINDING_BLOCKING, "a domain 'web01' is being made by another import", pid, NULL);
    g_assert_null (second->ops->create (second, lab->vm, lab->wishes, 2, NULL, &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_EXISTS);
    g_assert_nonnull (strstr (error->message, pid));
    g_assert_true (second->ops->abort (second, NULL));
    lab_assert_state (lab, "|web01-sda.qcow2 web01-sdb.raw|web01-sda.qcow2 web01-sdb.raw");
    g_assert_true (first->ops->abort (first, NULL));
    vmf_target_close (first);
    remove_tree (first_work);
    g_clear_error (&error);
    g_assert_true (lab_import (lab, &error)); /* nothing of the claim stays */
    g_assert_no_error (error);
}

/* The same UUID under another name; and a killed import's claims go with it. */
static void
claims_its_uuid (struct lab *lab, const void *data)
{
    g_autoptr (GError) error = NULL;
    lab->vm->uuid = g_strdup ("4F7A1C6E-0a3b-4c5d-8e9f-001122334455");
    int pipes[2];
    char byte = 0;
    g_assert_cmpint (pipe (pipes), ==, 0);
    pid_t pid = fork ();
    if (pid == 0)
    {
        g_autoptr (vmf_target) target = lab_open (lab);
        g_autoptr (GPtrArray) disks = target->ops->create (target, lab->vm, lab->wishes, 2, NULL, NULL);
        _exit (disks && write (pipes[1], "x", 1) == 1 && pause () == 0 ? 0 : 1);
    }
    close (pipes[1]);
    g_assert_cmpint (read (pipes[0], &byte, 1), ==, 1);
    g_autofree char *dead_work = lab->work, *shown = g_strdup_printf ("process %d", (int)pid);
    lab->work = new_folder ();
    lab->vm->name = (g_free (lab->vm->name), g_strdup ("other"));
    g_autoptr (GPtrArray) findings = lab_check (lab);
    assert_finding (findings, VMF_FINDING_BLOCKING, "UUID 4f7a1c6e-0a3b-4c5d-8e9f-001122334455", shown, NULL);
    kill (pid, SIGKILL);
    g_assert_cmpint (waitpid (pid, NULL, 0), ==, pid);
    g_assert_true (vmf_target_undo_leftovers (dead_work, NULL, &error));
    g_autoptr (GPtrArray) now = lab_check (lab);
    assert_not_blocked (now);
    lab_assert_state (lab, "||");
    close (pipes[0]);
    remove_tree (dead_work);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    lab_add ("/target/libvirt/domain-comes-at-the-end", NULL, domain_comes_at_the_end);
    lab_add ("/target/libvirt/pool-tells-its-use", NULL, pool_tells_its_use);
    lab_add ("/target/libvirt/preallocates", NULL, preallocates);
    lab_add ("/target/libvirt/disks-in-pools-of-their-own", NULL, disks_in_pools_of_their_own);
    lab_add ("/target/libvirt/refused-definition-leaves-nothing", NULL, refused_definition_leaves_nothing);
    lab_add ("/target/libvirt/name-taken-meanwhile", NULL, name_taken_meanwhile);
    lab_add ("/target/libvirt/two-imports-of-one-name", NULL, two_imports_of_one_name);
    lab_add ("/target/libvirt/claims-its-uuid", NULL, claims_its_uuid);
    lab_add ("/target/libvirt/replace-says-what-goes", NULL, replace_says_what_goes);
    lab_add ("/target/libvirt/replace-needs-it-shut-off", NULL, replace_needs_it_shut_off);
    lab_add ("/target/libvirt/replace-leaves-shared-volume", NULL, replace_leaves_shared_volume);
    lab_add ("/target/libvirt/replace-leaves-volume-used-by-pool", NULL, replace_leaves_volume_used_otherwise);
    lab_add ("/target/libvirt/replace-leaves-volume-used-by-overlay", "overlay", replace_leaves_volume_used_otherwise);
    lab_add ("/target/libvirt/replace-keeps-tpm-keys", NULL, replace_keeps_tpm_keys);
    lab_add ("/target/libvirt/leaves-what-is-not-ours", NULL, leaves_what_is_not_ours);
    lab_add ("/target/libvirt/clears-when-the-pool-is-back", NULL, clears_when_the_pool_is_back);
    lab_add ("/target/libvirt/killed-at-each-step", &plain, killed_at_each_step);
    lab_add ("/target/libvirt/killed-at-each-step-of-a-replace", &replace, killed_at_each_step);
    lab_add ("/target/libvirt/killed-at-each-step-of-a-redefinition", &replace_same_uuid, killed_at_each_step);
    lab_add ("/target/libvirt/fails-at-each-step", &plain, fails_at_each_step);
    lab_add ("/target/libvirt/fails-at-each-step-of-a-replace", &replace, fails_at_each_step);
    lab_add ("/target/libvirt/fails-at-each-step-of-a-redefinition", &replace_same_uuid, fails_at_each_step);
    return g_test_run ();
}
