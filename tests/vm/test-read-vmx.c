/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The VMX reader on files that ESXi, Fusion and GSX wrote (C12, C14, B18). */
#include "data.h"

#include <string.h>

static void
test_esx_efi (void)
{
    g_autoptr (vmf_vm) vm = read_vm ("esx8-efi.vmx");
    g_assert_cmpstr (vm->name, ==, "Auto-esx8.0-rhell9.3-efi-with-empty-cdrom");
    g_assert_cmpint (vm->origin, ==, VMF_ORIGIN_VMWARE);
    g_assert_cmpint (vm->firmware, ==, VMF_FIRMWARE_UEFI);
    g_assert_true (vm->secure_boot);
    g_assert_cmpuint (vm->memory_bytes, ==, UINT64_C (2048) << 20);
    g_assert_cmpuint (vm->vcpus, ==, 1);
    g_assert_cmpstr (vm->uuid, ==, "4220fca7-11dd-d67e-19cc-fcad0a37c342");
    g_assert_cmpstr (vm->os_id, ==, "rhel9-64");
    g_assert_cmpstr (vm->os_name, ==, "Red Hat Enterprise Linux 9.3 (Plow)");
    g_assert_cmpstr (vm->nvram_path, ==, "Auto-esx8.0-rhell9.3-efi-with-empty-cdrom.nvram");
    g_assert_cmpuint (vm->disks->len, ==, 2);
    g_assert_cmpstr (disk_at (vm, 0)->id, ==, "scsi0:0");
    g_assert_cmpstr (disk_at (vm, 0)->controller_model, ==, "pvscsi");
    g_assert_cmpstr (disk_at (vm, 0)->place.path, ==, "Auto-esx8.0-rhell9.3-efi-with-empty-cdrom.vmdk");
    g_assert_cmpstr (disk_at (vm, 0)->place.format, ==, "vmdk");
    g_assert_cmpint (disk_at (vm, 1)->device, ==, VMF_DEVICE_CDROM);
    g_assert_cmpint (disk_at (vm, 1)->place.location, ==, VMF_LOCATION_NONE);
    g_assert_cmpstr (nic_at (vm, 0)->mac, ==, "00:50:56:a0:cf:2f");
    g_assert_cmpstr (nic_at (vm, 0)->model, ==, "vmxnet3");
    g_assert_cmpstr (nic_at (vm, 0)->network, ==, "VM Network");
}

static void
test_esx_nvme (void)
{
    g_autoptr (vmf_vm) vm = read_vm ("esx67-nvme.vmx");
    g_assert_cmpint (vmf_vm_get_import_disk (vm, 0)->bus, ==, VMF_BUS_NVME);
    g_assert_cmpstr (vmf_vm_get_import_disk (vm, 0)->place.path, ==, "nvme-disk.vmdk");
    g_assert_null (vmf_vm_get_import_disk (vm, 1));
}

static void
test_fusion (void)
{
    g_autoptr (vmf_vm) vm = read_vm ("fusion-winxp.vmx");
    g_assert_true (vm->os_windows);
    g_assert_true (vm->has_sound);
    g_assert_cmpuint (vm->vcpus, ==, 2);
    g_assert_cmpuint (vm->nics->len, ==, 2);
    g_assert_cmpstr (nic_at (vm, 1)->mac, ==, "00:0c:29:3b:64:f4");
    g_assert_cmpstr (disk_at (vm, 0)->controller_model, ==, "buslogic");
    g_assert_cmpint (disk_at (vm, 1)->device, ==, VMF_DEVICE_CDROM);
    g_assert_cmpint (disk_at (vm, 1)->place.location, ==, VMF_LOCATION_NONE);
}

static void
test_gsx (void)
{
    g_autoptr (vmf_vm) vm = read_vm ("gsx-ide.vmx");
    g_assert_cmpuint (vm->disks->len, ==, 1);
    g_assert_cmpint (disk_at (vm, 0)->bus, ==, VMF_BUS_IDE);
    g_assert_cmpstr (nic_at (vm, 0)->network, ==, "net2");
    g_assert_cmpuint (vm->memory_bytes, ==, 264 << 20);
}

static struct vmf_vm *
read_small (const char *lines)
{
    g_autofree char *text = g_strconcat ("config.version = \"8\"\r\n", lines, NULL);
    g_autoptr (GError) error = NULL;
    struct vmf_vm *vm = vmf_vm_read_vmx (text, strlen (text), &error);
    g_assert_no_error (error);
    return vm;
}

static void
test_escapes_and_encoding (void)
{
    g_autoptr (vmf_vm) vm = read_small ("DISPLAYNAME = \"a |22quoted|22 |7c name\"\r\nannotation = \"one|0Atwo\"\r\n");
    g_assert_cmpstr (vm->name, ==, "a \"quoted\" | name");
    g_assert_cmpstr (vm->description, ==, "one\ntwo");
    g_autoptr (vmf_vm) latin = read_small (".encoding = \"windows-1252\"\ndisplayName = \"B\xfcro\"\n");
    g_assert_cmpstr (latin->name, ==, "Büro");
}

static void
test_order (void)
{
    static const char disks[] = "ide0:0.present = \"TRUE\"\nide0:0.fileName = \"ide.vmdk\"\n"
                                "scsi1:0.present = \"TRUE\"\nscsi1:0.fileName = \"s10.vmdk\"\n"
                                "scsi0:10.present = \"TRUE\"\nscsi0:10.fileName = \"s010.vmdk\"\n"
                                "scsi0:2.present = \"TRUE\"\nscsi0:2.fileName = \"s02.vmdk\"\n"
                                "sata0:0.present = \"TRUE\"\nsata0:0.fileName = \"sata.vmdk\"\n";
    static const char *const expected[] = { "s02.vmdk", "s010.vmdk", "s10.vmdk", "sata.vmdk", "ide.vmdk" };
    g_autoptr (vmf_vm) vm = read_small (disks);
    for (unsigned i = 0; i < G_N_ELEMENTS (expected); i++)
        g_assert_cmpstr (disk_at (vm, i)->place.path, ==, expected[i]);
    g_autofree char *ordered =
        g_strconcat (disks, "bios.hddOrder = \"ide0:0, scsi1:0\"\nbios.bootOrder = \"cdrom,hdd,ethernet0\"\n", NULL);
    g_autoptr (vmf_vm) first = read_small (ordered);
    static const char *const chosen[] = { "ide.vmdk", "s10.vmdk", "s02.vmdk", "s010.vmdk", "sata.vmdk" };
    for (unsigned i = 0; i < G_N_ELEMENTS (chosen); i++)
        g_assert_cmpstr (disk_at (first, i)->place.path, ==, chosen[i]);
    g_assert_cmpuint (first->boot_devices->len, ==, 3);
    g_assert_cmpstr (first->boot_devices->pdata[0], ==, "cdrom");
    g_assert_cmpstr (first->boot_devices->pdata[2], ==, "network");
}

static void
test_topology (void)
{
    g_autoptr (vmf_vm) vm = read_small ("numvcpus = \"8\"\ncpuid.coresPerSocket = \"4\"\nvtpm.present = \"TRUE\"\n");
    g_assert_cmpuint (vm->sockets, ==, 2);
    g_assert_cmpuint (vm->cores, ==, 4);
    g_assert_cmpuint (vm->threads, ==, 1);
    g_assert_true (vm->tpm);
}

static void
test_mac (void)
{
    static const struct
    {
        const char *lines, *mac;
    } cases[] = {
        { "ethernet0.addressType = \"generated\"\nethernet0.address = \"00:50:56:00:00:01\"\n"
          "ethernet0.generatedAddress = \"00:0c:29:00:00:02\"\n",
          "00:0c:29:00:00:02" },
        { "ethernet0.addressType = \"static\"\nethernet0.address = \"00:50:56:00:00:01\"\n"
          "ethernet0.generatedAddress = \"00:0c:29:00:00:02\"\n",
          "00:50:56:00:00:01" },
        { "ethernet0.address = \"00:50:56:00:00:01\"\n", "00:50:56:00:00:01" },
        { "ethernet0.address = \"01:50:56:00:00:01\"\n", NULL }, /* a group's */
        { "ethernet0.address = \"nonsense\"\n", NULL },
    };
    for (size_t i = 0; i < G_N_ELEMENTS (cases); i++)
    {
        g_autofree char *text = g_strconcat ("ethernet0.present = \"TRUE\"\n", cases[i].lines, NULL);
        g_autoptr (vmf_vm) vm = read_small (text);
        g_assert_cmpstr (nic_at (vm, 0)->mac, ==, cases[i].mac);
        g_assert_cmpuint (vm->notes->len, ==, cases[i].mac ? 0 : 1);
    }
}

static void
test_arm (void)
{
    g_autoptr (vmf_vm) vm = read_small ("guestOS = \"arm-debian12-64\"\n");
    g_assert_cmpstr (vm->arch, ==, "aarch64");
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/vm/vmx/esx8-efi-secure-boot", test_esx_efi);
    g_test_add_func ("/vm/vmx/esx67-nvme", test_esx_nvme);
    g_test_add_func ("/vm/vmx/fusion-windows", test_fusion);
    g_test_add_func ("/vm/vmx/gsx-ide", test_gsx);
    g_test_add_func ("/vm/vmx/escapes-and-encoding", test_escapes_and_encoding);
    g_test_add_func ("/vm/vmx/disk-and-boot-order", test_order);
    g_test_add_func ("/vm/vmx/topology", test_topology);
    g_test_add_func ("/vm/vmx/mac", test_mac);
    g_test_add_func ("/vm/vmx/arm", test_arm);
    return g_test_run ();
}
