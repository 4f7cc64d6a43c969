/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The libvirt target's preflight on a real libvirtd (B10, B11): each clash is found before anything is made, and the
 * message names it and the remedy.
 */
#include "libvirt-support.h"

#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

static struct vmf_nic *
nic_of (struct lab *lab)
{
    return g_ptr_array_index (lab->vm->nics, 0);
}

static void
name_clash (struct lab *lab, const void *data)
{
    lab_define (lab, "web01", NULL, NULL, NULL);
    lab_define (lab, "web01-2", NULL, NULL, NULL);
    g_autoptr (GPtrArray) findings = lab_check (lab);
    assert_finding (findings, VMF_FINDING_BLOCKING, "'web01'", "--name web01-3", "--replace", NULL);
    g_autoptr (GError) error = NULL;
    g_assert_false (lab_import (lab, &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_EXISTS);
    lab_assert_state (lab, "web01 web01-2||");
}

static void
uuid_clash (struct lab *lab, const void *data)
{
    lab->vm->uuid = g_strdup ("11111111-2222-4333-8444-555555555555");
    lab_define (lab, "other", lab->vm->uuid, NULL, NULL);
    g_autoptr (GPtrArray) findings = lab_check (lab);
    assert_finding (findings, VMF_FINDING_BLOCKING, lab->vm->uuid, "'other'", "--uuid new", NULL);
    lab->replace = true; /* another machine is never replaced */
    g_autoptr (GPtrArray) again = lab_check (lab);
    assert_finding (again, VMF_FINDING_BLOCKING, lab->vm->uuid, "'other'", NULL);
}

static void
mac_clash (struct lab *lab, const void *data)
{
    lab_define (lab, "other", NULL, "52:54:00:aa:bb:cc", NULL);
    g_free (nic_of (lab)->mac);
    nic_of (lab)->mac = g_strdup ("52:54:00:AA:BB:CC");
    g_autoptr (GPtrArray) findings = lab_check (lab);
    assert_finding (findings, VMF_FINDING_BLOCKING, "52:54:00:AA:BB:CC", "ethernet0", "'other'",
                    "--mac 1=52:54:00:", NULL);
    nic_of (lab)->keep_out = true;
    g_autoptr (GPtrArray) without = lab_check (lab);
    assert_not_blocked (without);
}

static void
same_mac_twice (struct lab *lab, const void *data)
{
    struct vmf_nic *nic = vmf_vm_add_nic (lab->vm);
    nic->mac = g_strdup (nic_of (lab)->mac);
    nic->map_network = g_strdup ("lab");
    g_autoptr (GPtrArray) findings = lab_check (lab);
    assert_finding (findings, VMF_FINDING_BLOCKING, "another NIC of this machine", "--mac 2=", NULL);
}

static void
unknown_network (struct lab *lab, const void *data)
{
    g_free (nic_of (lab)->map_network);
    nic_of (lab)->map_network = g_strdup ("nowhere");
    g_autoptr (GPtrArray) findings = lab_check (lab);
    assert_finding (findings, VMF_FINDING_BLOCKING, "'nowhere'", "VM Network", "there are: lab", "--network 1=", NULL);
    g_clear_pointer (&nic_of (lab)->map_network, g_free);
    g_autoptr (GPtrArray) unmapped = lab_check (lab);
    assert_finding (unmapped, VMF_FINDING_BLOCKING, "NIC 1", "not mapped", "--network 1=none", NULL);
}

static void
stopped_network (struct lab *lab, const void *data)
{
    g_autoptr (GPtrArray) findings = lab_check (lab);
    assert_not_blocked (findings);
    assert_finding (findings, VMF_FINDING_WARNING, "'lab'", "virsh net-start", NULL);
}

static void
bridges (struct lab *lab, const void *data)
{
    g_clear_pointer (&nic_of (lab)->map_network, g_free);
    nic_of (lab)->map_bridge = g_strdup ("vmfbr0");
    g_autoptr (GPtrArray) findings = lab_check (lab);
    assert_finding (findings, VMF_FINDING_BLOCKING, "bridge 'vmfbr0'", "networks there are: lab", NULL);
    /* In the lab's own network namespace. */
    g_free (output_of ("ip", "link", "add", "vmfbr0", "type", "bridge", NULL));
    g_autoptr (GPtrArray) there = lab_check (lab);
    g_free (output_of ("ip", "link", "delete", "vmfbr0", NULL));
    assert_not_blocked (there);
    g_free (nic_of (lab)->map_bridge);
    nic_of (lab)->map_bridge = g_strdup ("lo"); /* an interface, and no bridge */
    g_autoptr (GPtrArray) loopback = lab_check (lab);
    assert_finding (loopback, VMF_FINDING_BLOCKING, "bridge 'lo'", NULL);
}

static void
pools (struct lab *lab, const void *data)
{
    lab->wishes[1].pool = "nothere";
    g_autoptr (GPtrArray) findings = lab_check (lab);
    assert_finding (findings, VMF_FINDING_BLOCKING, "'nothere'", "there are: default", "--pool", NULL);
    assert_finding (findings, VMF_FINDING_WARNING, "'default'", "pool-autostart", NULL);
    g_free (output_of ("virsh", "-q", "-c", lab->uri, "pool-destroy", "default", NULL));
    g_autoptr (GPtrArray) stopped = lab_check (lab);
    assert_finding (stopped, VMF_FINDING_BLOCKING, "'default' is not running", "virsh pool-start 'default'", NULL);
}

static void
volume_is_there (struct lab *lab, const void *data)
{
    g_free (lab_volume (lab, "web01-sda.qcow2"));
    g_autoptr (GPtrArray) findings = lab_check (lab);
    assert_finding (findings, VMF_FINDING_BLOCKING, "web01-sda.qcow2", "'default'", "--name", NULL);
    /* A file that libvirt does not know yet is as much in the way. */
    g_autofree char *file = g_build_filename (lab->folder, "web01-sdb.raw", NULL);
    g_assert_true (g_file_set_contents (file, "mine", -1, NULL));
    g_autoptr (GPtrArray) again = lab_check (lab);
    assert_finding (again, VMF_FINDING_BLOCKING, "web01-sdb.raw", NULL);
    g_assert_false (lab_import (lab, NULL));
    lab_assert_state (lab, "|web01-sda.qcow2 web01-sdb.raw|web01-sda.qcow2 web01-sdb.raw");
}

/* B11, PITFALLS 40: two disks that only together are too large. */
static void
space (struct lab *lab, const void *data)
{
    g_assert_cmpint (mount ("tmpfs", lab->folder, "tmpfs", 0, "size=8m"), ==, 0);
    g_autoptr (GPtrArray) findings = lab_check (lab);
    assert_finding (findings, VMF_FINDING_BLOCKING, "pool 'default' has 8.0 MiB free", "11.0 MiB", NULL);
    lab->wishes[0].expected_bytes = 1 << 20;
    g_autoptr (GPtrArray) fits = lab_check (lab);
    assert_not_blocked (fits);
    g_autoptr (GError) error = NULL;
    lab->wishes[0].preallocate = lab->wishes[1].preallocate = true;
    g_assert_false (lab_import (lab, &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_NO_SPACE);
    lab_assert_state (lab, "||");
    g_free (output_of ("virsh", "-q", "-c", lab->uri, "pool-destroy", "default", NULL));
    umount2 (lab->folder, MNT_DETACH);
}

static void
too_large_a_machine (struct lab *lab, const void *data)
{
    lab->vm->memory_bytes = (uint64_t)1 << 50;
    lab->vm->vcpus = 5000;
    g_autoptr (GPtrArray) findings = lab_check (lab);
    assert_finding (findings, VMF_FINDING_BLOCKING, "1.0 PiB", "--memory", NULL);
    assert_finding (findings, VMF_FINDING_BLOCKING, "5000 virtual CPUs", "at most 255", "--cpus", NULL);
    lab->vm->memory_bytes = 64 << 20;
    lab->vm->vcpus = 255;
    g_autoptr (GPtrArray) slow = lab_check (lab);
    assert_not_blocked (slow);
    assert_finding (slow, VMF_FINDING_WARNING, "255 virtual CPUs", NULL);
}

/* The preflight asks about the machine that will be written: Windows 11 has q35 whatever its source had, and a 32-bit
   guest an x86_64 one. */
static void
asks_about_the_machine_that_is_written (struct lab *lab, const void *data)
{
    lab->vm->machine = VMF_MACHINE_I440FX;
    lab->vm->os_windows = true;
    lab->vm->os_id = g_strdup ("windows11_64Guest");
    lab->vm->arch = g_strdup ("i686");
    lab->vm->vcpus = 4000;
    g_autoptr (GPtrArray) findings = lab_check (lab);
    assert_finding (findings, VMF_FINDING_BLOCKING, "machine type q35 takes at most", NULL);
}

static void
unknown_architecture (struct lab *lab, const void *data)
{
    lab->vm->arch = g_strdup ("ppc64le");
    g_autoptr (GPtrArray) findings = lab_check (lab);
    assert_finding (findings, VMF_FINDING_BLOCKING, "ppc64le", "x86_64 and aarch64 only", NULL);
}

static void
machine_types (struct lab *lab, const void *data)
{
    lab->vm->machine_type = g_strdup ("pc-i440fx-0.1");
    g_autoptr (GPtrArray) findings = lab_check (lab);
    assert_finding (findings, VMF_FINDING_BLOCKING, "pc-i440fx-0.1", "not supported", "--machine", NULL);
    g_free (lab->vm->machine_type);
    lab->vm->machine_type = g_strdup ("q35");
    g_autoptr (GPtrArray) known = lab_check (lab);
    assert_not_blocked (known);
    lab->vm->cpu_model = g_strdup ("Z80");
    g_autoptr (GPtrArray) cpu = lab_check (lab);
    assert_finding (cpu, VMF_FINDING_BLOCKING, "'Z80'", NULL);
}

/* libvirt finds firmware by QEMU's descriptors; behind an empty file system there are none. It remembers what it found
   by machine type, so each question is about another one. */
static void
firmware (struct lab *lab, const void *data)
{
    lab->vm->firmware = VMF_FIRMWARE_UEFI;
    lab->vm->machine_type = g_strdup ("pc-q35-7.1");
    g_autoptr (GPtrArray) with = lab_check (lab);
    assert_not_blocked (with);
    g_assert_cmpint (mount ("tmpfs", "/usr/share/qemu/firmware", "tmpfs", 0, NULL), ==, 0);
    g_free (lab->vm->machine_type);
    lab->vm->machine_type = g_strdup ("pc-q35-7.0");
    g_autoptr (GPtrArray) without = lab_check (lab);
    umount2 ("/usr/share/qemu/firmware", MNT_DETACH);
    assert_finding (without, VMF_FINDING_BLOCKING, "UEFI", "ovmf", NULL);
    /* i440fx has no system management mode, so no Secure Boot either. */
    lab->vm->secure_boot = true;
    g_free (lab->vm->machine_type);
    lab->vm->machine_type = g_strdup ("pc-i440fx-7.0");
    g_autoptr (GPtrArray) insecure = lab_check (lab);
    assert_finding (insecure, VMF_FINDING_BLOCKING, "Secure Boot", "pc-i440fx-7.0", "q35", NULL);
}

static void
hypervisors_elsewhere (void)
{
    const char *const uris[] = { "qemu+ssh://root@example.org/system", "qemu://example.org/system", "xen:///",
                                 "test:///default", "vpx://a@b/c" };
    const struct vmf_target_options options = { 0 };
    for (size_t i = 0; i < G_N_ELEMENTS (uris); i++)
    {
        g_autoptr (GError) error = NULL;
        g_assert_null (vmf_target_open (uris[i], &options, &error));
        g_assert_error (error, VMF_ERROR, VMF_ERROR_USAGE);
        g_assert_nonnull (strstr (error->message, "qemu:///system"));
    }
}

static void
no_libvirtd (void)
{
    const struct vmf_target_options options = { 0 };
    g_autoptr (GError) error = NULL;
    g_assert_null (vmf_target_open ("qemu+unix:///system?socket=/nonexistent/sock", &options, &error));
    g_assert_nonnull (strstr (error->message, "/nonexistent/sock"));
    g_assert_nonnull (strstr (error->message, "is libvirtd running"));
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    lab_add ("/target/libvirt-check/name-clash", NULL, name_clash);
    lab_add ("/target/libvirt-check/uuid-clash", NULL, uuid_clash);
    lab_add ("/target/libvirt-check/mac-clash", NULL, mac_clash);
    lab_add ("/target/libvirt-check/same-mac-twice", NULL, same_mac_twice);
    lab_add ("/target/libvirt-check/unknown-network", NULL, unknown_network);
    lab_add ("/target/libvirt-check/stopped-network", NULL, stopped_network);
    lab_add ("/target/libvirt-check/bridges", NULL, bridges);
    lab_add ("/target/libvirt-check/pools", NULL, pools);
    lab_add ("/target/libvirt-check/volume-is-there", NULL, volume_is_there);
    lab_add ("/target/libvirt-check/space", NULL, space);
    lab_add ("/target/libvirt-check/too-large-a-machine", NULL, too_large_a_machine);
    lab_add ("/target/libvirt-check/asks-about-the-machine-that-is-written", NULL,
             asks_about_the_machine_that_is_written);
    lab_add ("/target/libvirt-check/unknown-architecture", NULL, unknown_architecture);
    lab_add ("/target/libvirt-check/machine-types", NULL, machine_types);
    lab_add ("/target/libvirt-check/firmware", NULL, firmware);
    g_test_add_func ("/target/libvirt-check/hypervisors-elsewhere", hypervisors_elsewhere);
    g_test_add_func ("/target/libvirt-check/no-libvirtd", no_libvirtd);
    return g_test_run ();
}
