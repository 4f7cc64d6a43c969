/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The reader of vSphere's machine configurations (B18): one with one of each device, and the simulator's. */
#include "data.h"
#include "base/error.h"

#include <string.h>

static void
test_machine (void)
{
    g_autoptr (vmf_vm) vm = read_vm ("vsphere8-efi.vim");
    g_assert_cmpint (vm->origin, ==, VMF_ORIGIN_VMWARE);
    g_assert_cmpstr (vm->origin_product, ==, "VMware, hardware version 19");
    g_assert_cmpstr (vm->uuid, ==, "4220fca7-11dd-d67e-19cc-fcad0a37c342");
    g_assert_cmpstr (vm->description, ==, "shop & cart\nsecond line");
    g_assert_cmpstr (vm->os_id, ==, "rhel9_64Guest");
    g_assert_cmpstr (vm->os_name, ==, "Red Hat Enterprise Linux 9.3 (Plow)");
    g_assert_cmpstr (vm->arch, ==, "x86_64");
    g_assert_cmpint (vm->firmware, ==, VMF_FIRMWARE_UEFI);
    g_assert_true (vm->secure_boot && vm->tpm && vm->has_sound);
    g_assert_cmpuint (vm->memory_bytes, ==, UINT64_C (6144) << 20);
    g_assert_cmpuint (vm->vcpus, ==, 8);
    g_assert_cmpuint (vm->sockets, ==, 2);
    g_assert_cmpuint (vm->cores, ==, 4);
    g_assert_cmpstr (vm->nvram_path, ==, "web.nvram");
    g_assert_true (has_note (vm, "encrypted"));
}

static void
check_disk (const struct vmf_vm *vm, unsigned n, const char *id, const char *path, uint64_t capacity_bytes)
{
    g_assert_cmpstr (disk_at (vm, n)->id, ==, id);
    g_assert_cmpstr (disk_at (vm, n)->place.path, ==, path);
    g_assert_cmpuint (disk_at (vm, n)->capacity_bytes, ==, capacity_bytes);
}

/* In the order of the guest's firmware, whatever theirs in the answer. */
static void
test_disks (void)
{
    g_autoptr (vmf_vm) vm = read_vm ("vsphere8-efi.vim");
    g_assert_cmpuint (vm->disks->len, ==, 7);
    check_disk (vm, 0, "scsi0:0", "[ds1] web/web-000002.vmdk", UINT64_C (16) << 30);
    check_disk (vm, 1, "scsi0:1", "[ds1] web/web_1.vmdk", UINT64_C (2) << 30);
    check_disk (vm, 2, "scsi1:0", "[ds1] web/raw.vmdk", UINT64_C (1) << 20);
    check_disk (vm, 3, "sata0:0", "[iso] rhel.iso", 0);
    check_disk (vm, 4, "nvme0:0", "[ds 2] web/cache.vmdk", UINT64_C (1) << 30);
    check_disk (vm, 5, "ide1:0", NULL, 0);
    check_disk (vm, 6, "floppy0", NULL, 0);
    g_assert_cmpstr (disk_at (vm, 0)->controller_model, ==, "pvscsi");
    g_assert_cmpstr (disk_at (vm, 0)->alias, ==, "Hard disk 1");
    g_assert_cmpstr (disk_at (vm, 2)->controller_model, ==, "lsisas1068");
    g_assert_false (disk_at (vm, 0)->shareable);
    g_assert_true (disk_at (vm, 2)->shareable);
    g_assert_cmpint (disk_at (vm, 3)->device, ==, VMF_DEVICE_CDROM);
    g_assert_cmpint (disk_at (vm, 5)->place.location, ==, VMF_LOCATION_NONE);
    g_assert_cmpint (disk_at (vm, 6)->bus, ==, VMF_BUS_FDC);
    g_assert_true (has_note (vm, "nvme0:0 forgets"));
    g_assert_true (has_note (vm, "scsi0:1 is a raw device in physical mode"));
}

static void
test_cards (void)
{
    g_autoptr (vmf_vm) vm = read_vm ("vsphere8-efi.vim");
    g_assert_cmpuint (vm->nics->len, ==, 3);
    static const struct
    {
        const char *id, *model, *mac, *network;
        bool disconnected;
    } cards[] = {
        { "ethernet0", "vmxnet3", "00:50:56:a0:cf:2f", "VM Network", false },
        { "ethernet2", "e1000e", "00:50:56:00:00:02", "dvportgroup-31", true },
        { "ethernet3", "VirtualNewerCard", "00:50:56:00:00:03", "nsx-1", false },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS (cards); i++)
    {
        g_assert_cmpstr (nic_at (vm, i)->id, ==, cards[i].id);
        g_assert_cmpstr (nic_at (vm, i)->model, ==, cards[i].model);
        g_assert_cmpstr (nic_at (vm, i)->mac, ==, cards[i].mac);
        g_assert_cmpstr (nic_at (vm, i)->network, ==, cards[i].network);
        g_assert_true (nic_at (vm, i)->disconnected == cards[i].disconnected);
    }
}

/* A device that is not there takes no place in the order. */
static void
test_boot_order (void)
{
    g_autoptr (vmf_vm) vm = read_vm ("vsphere8-efi.vim");
    g_assert_cmpuint (nic_at (vm, 1)->boot_order, ==, 1);
    g_assert_cmpuint (disk_at (vm, 1)->boot_order, ==, 2);
    g_assert_cmpuint (disk_at (vm, 3)->boot_order, ==, 3);
    g_assert_cmpuint (disk_at (vm, 0)->boot_order, ==, 0);
}

/* Its xsi prefix is spelt otherwise, and a CD-ROM sits in the disk's slot. */
static void
test_simulator (void)
{
    g_autoptr (vmf_vm) vm = read_vm ("vcsim.vim");
    g_assert_cmpuint (vm->disks->len, ==, 2);
    g_assert_cmpstr (disk_at (vm, 0)->id, ==, "scsi0:0");
    g_assert_cmpint (disk_at (vm, 0)->device, ==, VMF_DEVICE_CDROM);
    check_disk (vm, 1, "scsi0:0-255511522", "[LocalDS_0] DC0_H0_VM0/disk1.vmdk", UINT64_C (1) << 20);
    g_assert_cmpint (vm->firmware, ==, VMF_FIRMWARE_BIOS);
    g_assert_cmpstr (nic_at (vm, 0)->network, ==, "dvportgroup-18");
}

static void
refused (const char *text, int code)
{
    g_autoptr (GError) error = NULL;
    g_assert_null (vmf_vm_read_vsphere (text, strlen (text), &error));
    g_assert_error (error, VMF_ERROR, code);
}

static void
test_refused (void)
{
    g_autoptr (GString) many = g_string_new ("<val><hardware>");
    for (unsigned i = 0; i < 100000; i++)
        g_string_append_printf (many, "<device type='VirtualDisk'><key>%u</key></device>", i);
    g_string_append (many, "</hardware></val>");
    refused (many->str, VMF_ERROR_UNSAFE);
    refused ("<val/>", VMF_ERROR_CORRUPT);
    refused ("<val>", VMF_ERROR_CORRUPT);
    refused ("<!DOCTYPE val [<!ENTITY a 'b'>]><val><name>&a;</name><hardware/></val>", VMF_ERROR_UNSAFE);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/vsphere/machine", test_machine);
    g_test_add_func ("/vsphere/disks", test_disks);
    g_test_add_func ("/vsphere/cards", test_cards);
    g_test_add_func ("/vsphere/boot-order", test_boot_order);
    g_test_add_func ("/vsphere/simulator", test_simulator);
    g_test_add_func ("/vsphere/refused", test_refused);
    return g_test_run ();
}
