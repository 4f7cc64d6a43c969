/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The OVF reader on files that VMware, VirtualBox and virt-v2v (for oVirt) wrote (C6, C14, B18). */
#include "data.h"
#include "base/error.h"
#include "vm/ovf.h"

#include <string.h>

static void
test_vmware_efi (void)
{
    g_autoptr (vmf_vm) vm = read_vm ("vmware-efi-secure-tpm.ovf");
    g_assert_cmpstr (vm->name, ==, "gm-ubuntu-test");
    g_assert_cmpint (vm->origin, ==, VMF_ORIGIN_VMWARE);
    g_assert_cmpint (vm->firmware, ==, VMF_FIRMWARE_UEFI);
    g_assert_true (vm->secure_boot);
    g_assert_true (vm->tpm);
    g_assert_cmpuint (vm->vcpus, ==, 4);
    g_assert_cmpuint (vm->sockets, ==, 4);
    g_assert_cmpuint (vm->cores, ==, 1);
    g_assert_cmpuint (vm->memory_bytes, ==, UINT64_C (8192) << 20);
    g_assert_cmpstr (vm->os_id, ==, "ubuntu64Guest");
    g_assert_cmpstr (vm->os_name, ==, "Ubuntu Linux (64-bit)");
    g_assert_cmpstr (vm->arch, ==, "x86_64");
    g_assert_false (vm->os_windows);
    g_assert_cmpuint (vm->disks->len, ==, 1);
    const struct vmf_disk *disk = disk_at (vm, 0);
    g_assert_cmpint (disk->place.location, ==, VMF_LOCATION_FILE);
    g_assert_cmpstr (disk->place.path, ==, "gm-ubuntu-test-1.vmdk");
    g_assert_cmpstr (disk->place.format, ==, "vmdk");
    g_assert_cmpuint (disk->capacity_bytes, ==, UINT64_C (42949672960));
    g_assert_cmpint (disk->bus, ==, VMF_BUS_SCSI);
    g_assert_cmpstr (disk->controller_model, ==, "VirtualSCSI");
    g_assert_cmpstr (disk->id, ==, "vmdisk1");
    g_assert_cmpstr (disk->alias, ==, "Hard Disk 1");
    g_assert_cmpuint (vm->nics->len, ==, 1);
    g_assert_cmpstr (nic_at (vm, 0)->network, ==, "DSwitch-vCenter-HA-VM-Network");
}

static void
test_deployment_options (void)
{
    g_autoptr (vmf_vm) vm = read_vm ("vmware-haproxy-options.ovf");
    /* The third card belongs to the option "frontend", which is not the default one. */
    g_assert_cmpuint (vm->nics->len, ==, 2);
    g_assert_cmpstr (nic_at (vm, 1)->network, ==, "Workload");
    g_assert_cmpstr (nic_at (vm, 0)->model, ==, "VmxNet3");
    g_assert_cmpuint (disk_at (vm, 0)->capacity_bytes, ==, UINT64_C (20) << 30);
    g_assert_cmpint (disk_at (vm, 1)->bus, ==, VMF_BUS_NVME);
    g_assert_true (disk_at (vm, 1)->keep_out);
    g_assert_true (has_note (vm, "Hard Disk 5 has no file"));
    g_assert_cmpstr (vm->description, ==, "HAProxy for the Load Balancer API (v0.2.0)");
    g_assert_cmpuint (vm->sockets, ==, 1);
    g_assert_cmpuint (vm->cores, ==, 2);
    g_assert_cmpint (vm->firmware, ==, VMF_FIRMWARE_BIOS);
    g_assert_null (vmf_vm_get_import_disk (vm, 1));
}

static void
test_vcloud_collection (void)
{
    g_autoptr (vmf_vm) vm = read_vm ("vmware-vcloud-ide-sas.ovf");
    g_assert_cmpstr (vm->name, ==, "Vm1");
    g_assert_cmpstr (vm->uuid, ==, "422c5082-d330-cc0e-c38c-a86cd7c15879");
    g_assert_cmpstr (vm->arch, ==, "i686");
    g_assert_cmpstr (nic_at (vm, 0)->mac, ==, "00:50:56:0e:00:fa");
    const struct vmf_disk *ide = vmf_vm_get_import_disk (vm, 0), *sas = vmf_vm_get_import_disk (vm, 1);
    g_assert_cmpstr (ide->place.path, ==, "IdeSas-disk1.vmdk");
    g_assert_cmpint (ide->bus, ==, VMF_BUS_IDE);
    g_assert_cmpuint (ide->controller, ==, 1);
    g_assert_cmpuint (ide->unit, ==, 1);
    g_assert_cmpuint (ide->capacity_bytes, ==, 8 << 20);
    g_assert_cmpstr (sas->controller_model, ==, "lsilogicsas");
    unsigned kinds[3] = { 0 };
    for (unsigned i = 0; i < vm->disks->len; i++)
        kinds[disk_at (vm, i)->device]++;
    g_assert_cmpuint (kinds[VMF_DEVICE_CDROM], ==, 1);
    g_assert_cmpuint (kinds[VMF_DEVICE_FLOPPY], ==, 1);
}

static void
test_virtualbox (void)
{
    g_autoptr (vmf_vm) vm = read_vm ("virtualbox5-ovf1.ovf");
    g_assert_cmpint (vm->origin, ==, VMF_ORIGIN_VIRTUALBOX);
    g_assert_cmpstr (vm->name, ==, "centos-0.0.1");
    g_assert_cmpstr (vm->uuid, ==, "aaf6485a-eba1-4105-b903-68f9d4ed35fc");
    g_assert_cmpuint (vm->memory_bytes, ==, 512 << 20);
    g_assert_cmpstr (nic_at (vm, 0)->mac, ==, "08:00:27:18:a8:f8");
    g_assert_cmpstr (nic_at (vm, 0)->model, ==, "virtio");
    g_assert_cmpint (disk_at (vm, 0)->bus, ==, VMF_BUS_SATA);
    g_assert_cmpuint (disk_at (vm, 0)->capacity_bytes, ==, UINT64_C (104857600000));
    g_assert_cmpint (disk_at (vm, 1)->device, ==, VMF_DEVICE_CDROM);
    g_assert_cmpuint (vm->boot_devices->len, ==, 2);
    g_assert_cmpstr (vm->boot_devices->pdata[0], ==, "hd");
    g_assert_cmpstr (vm->boot_devices->pdata[1], ==, "cdrom");
    g_assert_cmpint (vm->machine, ==, VMF_MACHINE_I440FX);
    g_assert_cmpstr (vm->os_id, ==, "RedHat_64");
    g_assert_cmpstr (vm->arch, ==, "x86_64");
}

static void
test_virtualbox_firmware (void)
{
    size_t length;
    g_autofree char *text = read_data ("virtualbox5-ovf1.ovf", &length);
    g_auto (GStrv) parts = g_strsplit (text, "<Memory RAMSize=\"512\"/>", 2);
    g_autofree char *efi =
        g_strconcat (parts[0],
                     "<Memory RAMSize=\"512\"/><Firmware type=\"EFI\"/><Chipset type=\"ICH9\"/>"
                     "<TrustedPlatformModule type=\"v2_0\" location=\"\"/><RTC localOrUTC=\"local\"/>",
                     parts[1], NULL);
    g_autoptr (GError) error = NULL;
    g_autoptr (vmf_vm) vm = vmf_vm_read_ovf (efi, strlen (efi), &error);
    g_assert_no_error (error);
    g_assert_cmpint (vm->firmware, ==, VMF_FIRMWARE_UEFI);
    g_assert_cmpint (vm->machine, ==, VMF_MACHINE_Q35);
    g_assert_true (vm->tpm);
    g_assert_true (vm->clock_localtime);
}

static void
test_ovf2 (void)
{
    g_autoptr (vmf_vm) vm = read_vm ("virtualbox-ovf2.ovf");
    g_assert_cmpstr (vm->name, ==, "ubuntu");
    g_assert_cmpstr (vmf_vm_get_import_disk (vm, 0)->place.path, ==, "ubuntu.2.0-disk1.vmdk");
    g_assert_cmpint (vmf_vm_get_import_disk (vm, 0)->bus, ==, VMF_BUS_SATA);
    g_assert_cmpuint (vm->nics->len, ==, 1);
    g_assert_cmpstr (nic_at (vm, 0)->model, ==, "E1000");
    g_assert_cmpstr (nic_at (vm, 0)->network, ==, "NAT");
    g_assert_true (vm->has_sound);
}

static void
test_ovirt (void)
{
    g_autoptr (vmf_vm) vm = read_vm ("ovirt-export.ovf");
    g_assert_cmpint (vm->origin, ==, VMF_ORIGIN_OVIRT);
    g_assert_cmpstr (vm->name, ==, "windows");
    g_assert_true (vm->os_windows);
    g_assert_cmpstr (vm->os_id, ==, "Windows7");
    g_assert_cmpuint (vm->vcpus, ==, 1);
    g_assert_cmpuint (vm->memory_bytes, ==, 1024 << 20);
    g_assert_cmpint (vm->machine, ==, VMF_MACHINE_I440FX);
    g_assert_cmpstr (vm->uuid, ==, "3a3a1b1e-0000-4000-8000-000000000004");
    g_assert_cmpuint (vm->disks->len, ==, 1);
    const struct vmf_disk *disk = disk_at (vm, 0);
    g_assert_cmpstr (disk->place.path, ==, "3a3a1b1e-0000-4000-8000-000000000001/3a3a1b1e-0000-4000-8000-000000000002");
    g_assert_cmpstr (disk->place.format, ==, "raw");
    g_assert_cmpint (disk->bus, ==, VMF_BUS_VIRTIO_BLK);
    g_assert_cmpuint (disk->boot_order, ==, 1);
    g_assert_cmpuint (disk->capacity_bytes, ==, 536870912);
    g_assert_cmpstr (nic_at (vm, 0)->model, ==, "virtio");
    g_assert_cmpstr (nic_at (vm, 0)->mac, ==, "00:11:22:33:44:55");
}

/* What the DMTF's text allows and few exporters write. */
static struct vmf_vm *
read_small (const char *files, const char *disks, const char *items)
{
    g_autofree char *text =
        g_strconcat ("<Envelope xmlns='http://schemas.dmtf.org/ovf/envelope/1'><References>", files,
                     "</References><DiskSection>", disks,
                     "</DiskSection><VirtualSystem "
                     "id='a'><VirtualHardwareSection><System><VirtualSystemType>vmx-19</VirtualSystemType>"
                     "</System>",
                     items, "</VirtualHardwareSection></VirtualSystem><VirtualSystem id='b'/></Envelope>", NULL);
    g_autoptr (GError) error = NULL;
    struct vmf_vm *vm = vmf_vm_read_ovf (text, strlen (text), &error);
    g_assert_no_error (error);
    return vm;
}

#define DISK_ITEM(id, unit, disk)                                                                                      \
    "<Item><InstanceID>" id "</InstanceID><ResourceType>17</ResourceType><Parent>3</Parent><AddressOnParent>" unit     \
    "</AddressOnParent><HostResource>ovf:/disk/" disk "</HostResource></Item>"

static void
test_gzip_chunks_and_order (void)
{
    g_autoptr (vmf_vm) vm = read_small (
        "<File id='f1' href='one.vmdk' compression='gzip'/><File id='f2' href='two.vmdk' chunkSize='100'/>"
        "<File id='f3' href='three.vmdk'/>",
        "<Disk diskId='d1' fileRef='f1' capacity='1' capacityAllocationUnits='byte * 2^30'/>"
        "<Disk diskId='d2' fileRef='f2' capacity='1' capacityAllocationUnits='byte * 2^30'/>"
        "<Disk diskId='d3' fileRef='f3' capacity='1' parentRef='d1'/>",
        DISK_ITEM ("12", "2", "d3") DISK_ITEM ("11", "1", "d2")
            DISK_ITEM ("10", "0", "d1") "<Item><InstanceID>3</InstanceID><ResourceType>6</ResourceType></Item>");
    g_assert_cmpstr (disk_at (vm, 0)->place.path, ==, "one.vmdk");
    g_assert_true (disk_at (vm, 0)->place.gzip);
    g_assert_cmpint (disk_at (vm, 1)->place.location, ==, VMF_LOCATION_OTHER);
    g_assert_nonnull (strstr (disk_at (vm, 1)->place.path, "chunks"));
    g_assert_cmpint (disk_at (vm, 2)->place.location, ==, VMF_LOCATION_OTHER);
    g_assert_nonnull (strstr (disk_at (vm, 2)->place.path, "difference to disk d1"));
    g_assert_true (has_note (vm, "holds 2 machines; this is one, --vm chooses another: b"));
}

static void
test_units (void)
{
    static const struct
    {
        const char *unit;
        uint64_t bytes;
    } cases[] = {
        { NULL, 1 },
        { "byte", 1 },
        { "byte * 2^30", UINT64_C (1) << 30 },
        { "byte*1024*1024", 1 << 20 },
        { "Byte * 2 ^ 10", 1024 },
        { "MegaBytes", 1 << 20 },
        { "GB", UINT64_C (1) << 30 },
        { "byte * 10^3", 1000 },
    };
    for (size_t i = 0; i < G_N_ELEMENTS (cases); i++)
    {
        uint64_t bytes = 0;
        g_assert_true (vmf_ovf_unit (cases[i].unit, &bytes));
        g_assert_cmpuint (bytes, ==, cases[i].bytes);
    }
    static const char *const bad[] = {
        "", "furlong", "byte * 2^64", "byte *", "byte * -2", "byte / 2", "byte * 2^2^2"
    };
    for (size_t i = 0; i < G_N_ELEMENTS (bad); i++)
    {
        uint64_t bytes;
        g_assert_false (vmf_ovf_unit (bad[i], &bytes));
    }
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/vm/ovf/vmware-efi-secure-boot-tpm", test_vmware_efi);
    g_test_add_func ("/vm/ovf/vmware-deployment-options", test_deployment_options);
    g_test_add_func ("/vm/ovf/vcloud-collection", test_vcloud_collection);
    g_test_add_func ("/vm/ovf/virtualbox", test_virtualbox);
    g_test_add_func ("/vm/ovf/virtualbox-firmware-chipset-tpm", test_virtualbox_firmware);
    g_test_add_func ("/vm/ovf/version-2-items", test_ovf2);
    g_test_add_func ("/vm/ovf/ovirt-export", test_ovirt);
    g_test_add_func ("/vm/ovf/gzip-chunks-deltas-order", test_gzip_chunks_and_order);
    g_test_add_func ("/vm/ovf/units", test_units);
    return g_test_run ();
}
