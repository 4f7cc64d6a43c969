/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VirtualBox's own section of its OVFs, <vbox:Machine>: what OVF cannot say, such as firmware, chipset and MAC
 * addresses.
 *
 * It is the machine's settings file as it is on disk there; only elements that differ from the defaults are written.
 */
#include "vm/facts.h"
#include "vm/ovf.h"

#include <string.h>

static void
read_boot_order (struct vmf_vm *vm, const xmlNode *boot)
{
    static const char *const names[][2] = {
        { "HardDisk", "hd" }, { "DVD", "cdrom" }, { "Network", "network" }, { "Floppy", "fd" }
    };
    for (xmlNode *order = vmf_xml_child (boot, "Order"); order; order = vmf_xml_next (order, "Order"))
        for (size_t i = 0; i < G_N_ELEMENTS (names); i++)
            if (vmf_xml_attribute_is (order, "device", names[i][0]) && vm->boot_devices->len < G_N_ELEMENTS (names))
                g_ptr_array_add (vm->boot_devices, g_strdup (names[i][1]));
}

/* OVF's network items stand in the order of the enabled adapters. */
static void
read_adapters (struct vmf_vm *vm, const xmlNode *network)
{
    unsigned at = 0;
    for (xmlNode *adapter = vmf_xml_child (network, "Adapter"); adapter; adapter = vmf_xml_next (adapter, "Adapter"))
    {
        if (!vmf_xml_attribute_is (adapter, "enabled", "true"))
            continue;
        if (at >= vm->nics->len)
            return;
        struct vmf_nic *nic = vm->nics->pdata[at++];
        g_autofree char *mac = vmf_xml_attribute (adapter, "MACAddress");
        if (!nic->mac)
            vmf_vm_set_mac (vm, nic, mac);
        if (!nic->model)
            nic->model = vmf_xml_attribute (adapter, "type");
        nic->disconnected = vmf_xml_attribute_is (adapter, "cable", "false");
    }
}

static bool
has_secure_boot (const xmlNode *node)
{
    for (xmlNode *child = vmf_xml_child (node, NULL); child; child = vmf_xml_next (child, NULL))
        if ((vmf_xml_is (child, "SecureBoot") && vmf_xml_attribute_is (child, "enabled", "true"))
            || has_secure_boot (child))
            return true;
    return false;
}

void
vmf_ovf_read_vbox (struct ovf *ovf)
{
    struct vmf_vm *vm = ovf->vm;
    xmlNode *machine = vmf_xml_child (ovf->system, "Machine");
    xmlNode *hardware = vmf_xml_child (machine, "Hardware");
    if (!machine)
        return;
    vm->origin = VMF_ORIGIN_VIRTUALBOX;
    g_autofree char *version = vmf_xml_attribute (machine, "version");
    g_free (vm->origin_product);
    vm->origin_product = g_strdup_printf ("VirtualBox, settings version %s", version ? version : "unknown");
    g_autofree char *uuid = vmf_xml_attribute (machine, "uuid");
    if (!vm->uuid)
        vm->uuid = vmf_uuid_from_text (uuid);
    g_autofree char *firmware = vmf_xml_find_attribute (hardware, "Firmware", "type");
    if (firmware && g_str_has_prefix (firmware, "EFI"))
        vm->firmware = VMF_FIRMWARE_UEFI;
    vm->secure_boot = vm->secure_boot || has_secure_boot (hardware);
    g_autofree char *chipset = vmf_xml_find_attribute (hardware, "Chipset", "type");
    if (!chipset)
        chipset = vmf_xml_find_attribute (machine, "Platform/Chipset", "type");
    vm->machine = chipset && strcmp (chipset, "ICH9") == 0 ? VMF_MACHINE_Q35 : VMF_MACHINE_I440FX;
    g_autofree char *arch = vmf_xml_find_attribute (machine, "Platform", "architecture");
    if (arch && strcmp (arch, "ARM") == 0)
    {
        vm->machine = VMF_MACHINE_VIRT;
        vm->arch = g_strdup ("aarch64");
    }
    g_autofree char *tpm = vmf_xml_find_attribute (hardware, "TrustedPlatformModule", "type");
    vm->tpm = vm->tpm || (tpm && strcmp (tpm, "None") != 0);
    vm->clock_localtime = vmf_xml_attribute_is (vmf_xml_child (hardware, "RTC"), "localOrUTC", "local");
    read_boot_order (vm, vmf_xml_child (hardware, "Boot"));
    read_adapters (vm, vmf_xml_child (hardware, "Network"));
}
