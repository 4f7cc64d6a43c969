/* SPDX-License-Identifier: GPL-2.0-or-later */
/* oVirt's dialect of OVF, in its OVAs and on its export domains.
 *
 * What is bare elements there (BiosType, BootOrder, Linked) and numbers where others have words comes from
 * ovirt-engine's OvfWriter; virt-v2v writes the same.
 */
#include "vm/facts.h"
#include "vm/ovf.h"

#include <string.h>

static void
read_bios_type (struct vmf_vm *vm, const xmlNode *system)
{
    /* The numbers since 4.4; 0 is "as the cluster". */
    static const struct
    {
        const char *number, *word;
        enum vmf_machine machine;
        enum vmf_firmware firmware;
        bool secure;
    } types[] = {
        { "1", "I440FX_SEA_BIOS", VMF_MACHINE_I440FX, VMF_FIRMWARE_BIOS, false },
        { "2", "Q35_SEA_BIOS", VMF_MACHINE_Q35, VMF_FIRMWARE_BIOS, false },
        { "3", "Q35_OVMF", VMF_MACHINE_Q35, VMF_FIRMWARE_UEFI, false },
        { "4", "Q35_SECURE_BOOT", VMF_MACHINE_Q35, VMF_FIRMWARE_UEFI, true },
    };
    g_autofree char *type = vmf_xml_find_text (system, "BiosType");
    if (!type)
        return;
    for (size_t i = 0; i < G_N_ELEMENTS (types); i++)
        if (strcmp (type, types[i].number) == 0 || g_ascii_strcasecmp (type, types[i].word) == 0)
        {
            vm->machine = types[i].machine;
            vm->firmware = types[i].firmware;
            vm->secure_boot = types[i].secure;
            return;
        }
    vmf_vm_add_note (vm, "the firmware is what the source's cluster had by default; BIOS is assumed");
}

bool
vmf_ovirt_read_system (struct ovf *ovf, GError **error)
{
    struct vmf_vm *vm = ovf->vm;
    read_bios_type (vm, ovf->system);
    g_autofree char *zone = vmf_xml_find_text (ovf->system, "TimeZone");
    /* Linux guests get Etc/GMT there, Windows guests the zone's name. */
    vm->clock_localtime = zone && !g_str_has_prefix (zone, "Etc/");
    if (!vm->description)
        vm->description = vmf_xml_find_text (ovf->system, "Description");
    xmlNode *os = vmf_ovf_section (ovf->system, "OperatingSystemSection");
    g_autofree char *section_id = vmf_xml_attribute (os, "id");
    if (!vm->uuid)
        vm->uuid = vmf_uuid_from_text (section_id);
    g_autofree char *sound = vmf_xml_find_text (ovf->system, "IsSoundDeviceEnabled");
    vm->has_sound = vm->has_sound || (sound && g_ascii_strcasecmp (sound, "true") == 0);
    return true;
}

void
vmf_ovirt_read_disk (const xmlNode *item, const xmlNode *disk_node, struct vmf_disk *disk)
{
    static const struct
    {
        const char *word;
        enum vmf_bus bus;
    } interfaces[] = {
        { "VirtIO", VMF_BUS_VIRTIO_BLK },
        { "VirtIO_SCSI", VMF_BUS_VIRTIO_SCSI },
        { "VIRTIO_BLK", VMF_BUS_VIRTIO_BLK },
        { "IDE", VMF_BUS_IDE },
        { "SATA", VMF_BUS_SATA },
        { "SPAPR_VSCSI", VMF_BUS_SCSI },
    };
    for (size_t i = 0; i < G_N_ELEMENTS (interfaces); i++)
        if (vmf_xml_attribute_is (disk_node, "disk-interface", interfaces[i].word))
            disk->bus = interfaces[i].bus;
    g_autofree char *alias = vmf_xml_attribute (disk_node, "disk-alias");
    if (alias)
    {
        g_free (disk->alias);
        disk->alias = g_steal_pointer (&alias);
    }
    g_autofree char *order = vmf_xml_find_text (item, "BootOrder");
    guint64 number = order ? g_ascii_strtoull (order, NULL, 10) : 0;
    if (number > 0 && number <= VMF_DEVICES_MAX)
        disk->boot_order = (unsigned)number;
    else if (vmf_xml_attribute_is (disk_node, "boot", "true"))
        disk->boot_order = 1;
    g_autofree char *read_only = vmf_xml_find_text (item, "IsReadOnly");
    disk->read_only = read_only && g_ascii_strcasecmp (read_only, "true") == 0;
    disk->shareable = vmf_xml_attribute_is (disk_node, "shareable", "true");
}

void
vmf_ovirt_read_nic (const xmlNode *item, struct vmf_nic *nic)
{
    /* VmInterfaceType of ovirt-engine. */
    static const char *const models[] = { "rtl8139", "rtl8139", "e1000", "virtio", "spapr-vlan", NULL, "e1000e" };
    guint64 number = nic->model ? g_ascii_strtoull (nic->model, NULL, 10) : G_N_ELEMENTS (models);
    if (nic->model && g_ascii_isdigit (*nic->model) && number < G_N_ELEMENTS (models))
    {
        g_free (nic->model);
        nic->model = g_strdup (models[number]);
    }
    g_autofree char *linked = vmf_xml_find_text (item, "Linked");
    nic->disconnected = linked && g_ascii_strcasecmp (linked, "false") == 0;
}
