/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The libvirt reader on what libvirt printed for KVM and Xen (C3, C4, C5, B18). */
#include "data.h"

#include <string.h>

static void
test_kvm_machine (void)
{
    g_autoptr (vmf_vm) vm = read_vm ("libvirt-q35-efi.xml");
    g_assert_cmpstr (vm->name, ==, "web01");
    g_assert_cmpstr (vm->uuid, ==, "63d4678f-621a-466a-8b4c-58281b285088");
    g_assert_cmpint (vm->origin, ==, VMF_ORIGIN_KVM);
    g_assert_cmpuint (vm->memory_bytes, ==, UINT64_C (2) << 30);
    g_assert_cmpuint (vm->vcpus, ==, 4);
    g_assert_cmpuint (vm->sockets, ==, 1);
    g_assert_cmpuint (vm->cores, ==, 2);
    g_assert_cmpuint (vm->threads, ==, 2);
    g_assert_cmpstr (vm->cpu_model, ==, "qemu64");
    g_assert_cmpint (vm->machine, ==, VMF_MACHINE_Q35);
    g_assert_cmpint (vm->firmware, ==, VMF_FIRMWARE_UEFI);
    g_assert_true (vm->secure_boot);
    g_assert_cmpuint (vm->nics->len, ==, 3);
    g_assert_cmpstr (nic_at (vm, 0)->network, ==, "default");
    g_assert_cmpuint (nic_at (vm, 0)->boot_order, ==, 2);
    g_assert_cmpstr (nic_at (vm, 1)->network, ==, "ovsbr0");
    g_assert_cmpstr (nic_at (vm, 1)->virtual_port, ==, "openvswitch");
    g_assert_true (nic_at (vm, 1)->disconnected);
    g_assert_cmpstr (nic_at (vm, 2)->network, ==, "eth1");
}

static void
test_kvm_disks (void)
{
    g_autoptr (vmf_vm) vm = read_vm ("libvirt-q35-efi.xml");
    g_assert_cmpuint (vm->disks->len, ==, 6);
    const struct vmf_disk *disk = disk_at (vm, 0);
    g_assert_cmpstr (disk->id, ==, "vda");
    g_assert_cmpstr (disk->place.path, ==, "/srv/vm/web01.qcow2");
    g_assert_cmpstr (disk->place.format, ==, "qcow2");
    g_assert_cmpuint (disk->boot_order, ==, 1);
    g_assert_cmpstr (disk->place.backing->path, ==, "/srv/vm/base.raw");
    g_assert_cmpstr (disk->place.backing->format, ==, "raw");
    g_assert_null (disk->place.backing->backing);
    const struct vmf_place *tcp = &disk_at (vm, 1)->place, *unix_socket = &disk_at (vm, 2)->place;
    g_assert_cmpint (tcp->location, ==, VMF_LOCATION_NBD);
    g_assert_cmpstr (tcp->host, ==, "nbd.example");
    g_assert_cmpuint (tcp->port, ==, 10810);
    g_assert_cmpstr (tcp->export_name, ==, "export1");
    g_assert_true (tcp->tls);
    g_assert_cmpstr (unix_socket->socket, ==, "/run/nbd.sock");
    g_assert_null (unix_socket->host);
    g_assert_false (unix_socket->tls);
    g_assert_cmpint (disk_at (vm, 3)->place.location, ==, VMF_LOCATION_VOLUME);
    g_assert_cmpstr (disk_at (vm, 3)->place.volume, ==, "web01-2.raw");
    g_assert_true (disk_at (vm, 3)->shareable);
    disk = disk_at (vm, 4);
    g_assert_cmpint (disk->place.location, ==, VMF_LOCATION_BLOCK);
    g_assert_cmpstr (disk->place.path, ==, "/dev/vg0/web01-data");
    g_assert_cmpint (disk->bus, ==, VMF_BUS_VIRTIO_SCSI);
    g_assert_cmpstr (disk->serial, ==, "DATA01");
    g_assert_cmpint (disk_at (vm, 5)->device, ==, VMF_DEVICE_CDROM);
    g_assert_cmpint (disk_at (vm, 5)->place.location, ==, VMF_LOCATION_NONE);
}

static void
test_xen (void)
{
    g_autoptr (vmf_vm) hvm = read_vm ("xen-hvm.xml");
    g_assert_cmpint (hvm->origin, ==, VMF_ORIGIN_XEN_HVM);
    g_assert_cmpuint (hvm->memory_bytes, ==, UINT64_C (592896) << 10);
    g_assert_cmpint (disk_at (hvm, 0)->place.location, ==, VMF_LOCATION_BLOCK);
    g_assert_cmpstr (disk_at (hvm, 1)->place.format, ==, "qcow2");
    g_assert_cmpint (disk_at (hvm, 2)->device, ==, VMF_DEVICE_CDROM);
    g_assert_cmpstr (hvm->boot_devices->pdata[0], ==, "cdrom");
    g_assert_cmpint (hvm->firmware, ==, VMF_FIRMWARE_BIOS);
    static const char *const names[] = { "xen-pv.xml", "xen-pvh.xml" };
    for (size_t i = 0; i < G_N_ELEMENTS (names); i++)
    {
        g_autoptr (vmf_vm) pv = read_vm (names[i]);
        g_assert_cmpint (pv->origin, ==, VMF_ORIGIN_XEN_PV);
        g_assert_true (has_note (pv, "boots the kernel /tmp/vmlinuz"));
    }
}

static struct vmf_vm *
read_small (const char *inside)
{
    g_autofree char *text = g_strconcat ("<domain type='kvm'><name>a</name>", inside, "</domain>", NULL);
    g_autoptr (GError) error = NULL;
    struct vmf_vm *vm = vmf_vm_read_libvirt (text, strlen (text), &error);
    g_assert_no_error (error);
    return vm;
}

static void
test_firmware_spellings (void)
{
    static const char *const uefi[] = {
        "<os firmware='efi'/>",
        "<os><loader readonly='yes' type='pflash'>/x/code.fd</loader><nvram>/var/lib/n.fd</nvram></os>",
        "<os><loader type='rom'>/usr/lib/xen/boot/ovmf.bin</loader></os>",
    };
    for (size_t i = 0; i < G_N_ELEMENTS (uefi); i++)
    {
        g_autoptr (vmf_vm) vm = read_small (uefi[i]);
        g_assert_cmpint (vm->firmware, ==, VMF_FIRMWARE_UEFI);
        g_assert_false (vm->secure_boot);
    }
    g_autoptr (vmf_vm) vm = read_small ("<os><loader secure='yes' type='pflash'>/x</loader></os>");
    g_assert_true (vm->secure_boot);
}

/* What stands in the source's host is said, not lost in silence (B18). */
static void
test_notes (void)
{
    g_autoptr (vmf_vm) vm =
        read_small ("<vcpu current='2'>8</vcpu><devices><hostdev/><filesystem/>"
                    "<disk type='network'><source protocol='rbd' name='pool/image'/><target dev='vda'/></disk>"
                    "<disk type='file'><source file='/a'><encryption format='luks'/></source>"
                    "<target dev='vdb'/></disk></devices>");
    g_assert_true (has_note (vm, "<hostdev>"));
    g_assert_true (has_note (vm, "<filesystem>"));
    g_assert_cmpuint (vm->vcpus, ==, 2);
    g_assert_cmpint (disk_at (vm, 0)->place.location, ==, VMF_LOCATION_OTHER);
    g_assert_nonnull (strstr (disk_at (vm, 0)->place.path, "rbd:pool/image"));
    g_assert_cmpint (disk_at (vm, 1)->place.location, ==, VMF_LOCATION_OTHER);
    g_assert_nonnull (strstr (disk_at (vm, 1)->place.path, "decrypt"));
}

static void
test_osinfo (void)
{
    g_autoptr (vmf_vm) vm = read_small ("<metadata><l:libosinfo xmlns:l='x'><l:os id='http://microsoft.com/win/10'/>"
                                        "</l:libosinfo></metadata><clock offset='localtime'/>");
    g_assert_cmpstr (vm->os_id, ==, "http://microsoft.com/win/10");
    g_assert_true (vm->os_windows);
    g_assert_true (vm->clock_localtime);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/vm/libvirt/kvm-machine", test_kvm_machine);
    g_test_add_func ("/vm/libvirt/kvm-disks-of-every-kind", test_kvm_disks);
    g_test_add_func ("/vm/libvirt/xen-pv-pvh-hvm", test_xen);
    g_test_add_func ("/vm/libvirt/firmware-spellings", test_firmware_spellings);
    g_test_add_func ("/vm/libvirt/what-is-not-kept-is-said", test_notes);
    g_test_add_func ("/vm/libvirt/osinfo-metadata", test_osinfo);
    return g_test_run ();
}
