/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Devices of a vSphere machine: disks, drives and network cards.
 *
 * A device names its controller by key; the controller's busNumber and the device's unitNumber make the name that .vmx
 * would give it. The guest's firmware sees SCSI disks before SATA, NVMe and IDE ones.
 */
#include "base/text.h"
#include "vm/facts.h"
#include "vm/read-vsphere.h"
#include "vm/xml.h"

#include <string.h>

static const struct
{
    const char *type;
    enum vmf_bus bus;
    const char *model;
} controllers[] = {
    { "ParaVirtualSCSIController", VMF_BUS_SCSI, "pvscsi" },
    { "VirtualLsiLogicController", VMF_BUS_SCSI, "lsilogic" },
    { "VirtualLsiLogicSASController", VMF_BUS_SCSI, "lsisas1068" },
    { "VirtualBusLogicController", VMF_BUS_SCSI, "buslogic" },
    { "VirtualSCSIController", VMF_BUS_SCSI, NULL },
    { "VirtualAHCIController", VMF_BUS_SATA, NULL },
    { "VirtualSATAController", VMF_BUS_SATA, NULL },
    { "VirtualNVMEController", VMF_BUS_NVME, NULL },
    { "VirtualIDEController", VMF_BUS_IDE, NULL },
    { "VirtualSIOController", VMF_BUS_FDC, NULL },
};

/* In the firmware's order. */
static const struct
{
    enum vmf_bus bus;
    const char *prefix;
} buses[] = {
    { VMF_BUS_SCSI, "scsi" }, { VMF_BUS_SATA, "sata" },  { VMF_BUS_NVME, "nvme" },
    { VMF_BUS_IDE, "ide" },   { VMF_BUS_FDC, "floppy" },
};

static const char *const cards[][2] = {
    { "VirtualVmxnet3", "vmxnet3" },      { "VirtualVmxnet2", "vmxnet2" }, { "VirtualVmxnet", "vmxnet" },
    { "VirtualE1000e", "e1000e" },        { "VirtualE1000", "e1000" },     { "VirtualPCNet32", "vlance" },
    { "VirtualVmxnet3Vrdma", "vmxnet3" },
};

char *
vmf_vsphere_device_type (const xmlNode *device)
{
    g_autofree char *type = vmf_xml_attribute (device, "type");
    const char *colon = type ? strrchr (type, ':') : NULL;
    return g_strdup (colon ? colon + 1 : type ? type : "");
}

static const xmlNode *
find_device (const xmlNode *hardware, const char *key)
{
    for (const xmlNode *at = vmf_xml_child (hardware, "device"); at && key; at = vmf_xml_next (at, "device"))
    {
        const xmlNode *own = vmf_xml_child (at, "key"), *text = own ? own->children : NULL;
        if (text && text->content && strcmp ((const char *)text->content, key) == 0)
            return at;
    }
    return NULL;
}

bool
vmf_vsphere_find_slot (const xmlNode *device, struct vmf_vsphere_slot *slot)
{
    g_autofree char *key = vmf_xml_find_text (device, "controllerKey");
    const xmlNode *controller = find_device (device->parent, key);
    if (!controller)
        return false;
    g_autofree char *type = vmf_vsphere_device_type (controller);
    g_autofree char *sharing = vmf_xml_find_text (controller, "sharedBus");
    for (size_t i = 0; i < G_N_ELEMENTS (controllers); i++)
    {
        if (strcmp (type, controllers[i].type) != 0)
            continue;
        slot->bus = controllers[i].bus;
        slot->model = controllers[i].model;
        slot->controller = (unsigned)vmf_vsphere_number (controller, "busNumber", 255);
        slot->unit = (unsigned)vmf_vsphere_number (device, "unitNumber", 255);
        slot->shared = sharing && strcmp (sharing, "noSharing") != 0;
        return true;
    }
    return false;
}

static size_t
rank_of_bus (enum vmf_bus bus)
{
    size_t i = 0;
    while (i < G_N_ELEMENTS (buses) && buses[i].bus != bus)
        i++;
    return i;
}

static char *
plain_id (const xmlNode *device)
{
    struct vmf_vsphere_slot slot;
    if (!vmf_vsphere_find_slot (device, &slot))
    {
        g_autofree char *key = vmf_xml_find_text (device, "key");
        return g_strdup_printf ("device-%s", key ? key : "unknown");
    }
    const char *prefix = buses[rank_of_bus (slot.bus)].prefix;
    return slot.bus == VMF_BUS_FDC ? g_strdup_printf ("%s%u", prefix, slot.unit)
                                   : g_strdup_printf ("%s%u:%u", prefix, slot.controller, slot.unit);
}

static bool
is_storage (const char *type)
{
    return strcmp (type, "VirtualDisk") == 0 || strcmp (type, "VirtualCdrom") == 0
           || strcmp (type, "VirtualFloppy") == 0;
}

static bool
same_text (const xmlNode *device, const xmlNode *other, const char *name)
{
    const xmlNode *a = vmf_xml_child (device, name), *b = vmf_xml_child (other, name);
    const xmlNode *left = a ? a->children : NULL, *right = b ? b->children : NULL;
    return left && right && left->content && right->content
           && strcmp ((const char *)left->content, (const char *)right->content) == 0;
}

/* Two devices in one slot are nothing that ESXi makes, but simulators do: the later one has its key behind. */
char *
vmf_vsphere_disk_id (const xmlNode *device)
{
    g_autofree char *id = plain_id (device);
    for (const xmlNode *at = vmf_xml_child (device->parent, "device"); at && at != device;
         at = vmf_xml_next (at, "device"))
    {
        if (!same_text (at, device, "controllerKey") || !same_text (at, device, "unitNumber"))
            continue;
        g_autofree char *key = vmf_xml_find_text (device, "key");
        return g_strdup_printf ("%s-%s", id, key ? key : "unknown");
    }
    return g_steal_pointer (&id);
}

unsigned
vmf_vsphere_count_devices (const xmlNode *hardware)
{
    unsigned n = 0;
    for (const xmlNode *at = vmf_xml_child (hardware, "device"); at && n <= VMF_DEVICES_MAX;
         at = vmf_xml_next (at, "device"))
        n++;
    return n;
}

char *
vmf_vsphere_backing_file (const xmlNode *backing)
{
    char *file = vmf_xml_find_text (backing, "fileName");
    return file ? file : vmf_xml_find_text (backing, "descriptorFileName"); /* RawDiskVer2 */
}

uint64_t
vmf_vsphere_disk_capacity (const xmlNode *device)
{
    uint64_t bytes = vmf_vsphere_number (device, "capacityInBytes", VMF_CAPACITY_MAX_BYTES);
    return bytes ? bytes : vmf_vsphere_number (device, "capacityInKB", VMF_CAPACITY_MAX_BYTES >> 10) << 10;
}

static void
read_disk_place (const xmlNode *device, struct vmf_vm *vm, struct vmf_disk *disk)
{
    const xmlNode *backing = vmf_xml_child (device, "backing");
    g_autofree char *mode = vmf_xml_find_text (backing, "diskMode");
    g_autofree char *sharing = vmf_xml_find_text (backing, "sharing");
    g_autofree char *compatibility = vmf_xml_find_text (backing, "compatibilityMode");
    disk->place.path = vmf_vsphere_backing_file (backing);
    disk->capacity_bytes = vmf_vsphere_disk_capacity (device);
    disk->shareable |= sharing && strcmp (sharing, "sharingMultiWriter") == 0;
    if (disk->place.path)
    {
        disk->place.location = VMF_LOCATION_FILE;
        disk->place.format = g_strdup ("vmdk");
    }
    else
    {
        disk->keep_out = true;
        vmf_vm_add_note (vm, "disk %s names no file and is left out", disk->id);
    }
    if (mode && strstr (mode, "nonpersistent"))
        vmf_vm_add_note (vm, "disk %s forgets what is written at power off (%s); on the target it keeps it", disk->id,
                         mode);
    if (compatibility && strcmp (compatibility, "physicalMode") == 0)
        vmf_vm_add_note (vm, "disk %s is a raw device in physical mode: no snapshot holds it", disk->id);
}

static void
read_cdrom_place (const xmlNode *device, struct vmf_disk *disk)
{
    const xmlNode *backing = vmf_xml_child (device, "backing");
    g_autofree char *type = vmf_vsphere_device_type (backing);
    g_autofree char *file = vmf_xml_find_text (backing, "fileName");
    if (strcmp (type, "VirtualCdromIsoBackingInfo") != 0 || !file)
        return;
    disk->place.location = VMF_LOCATION_FILE;
    disk->place.path = g_steal_pointer (&file);
    disk->place.format = g_strdup ("raw");
}

static void
read_storage (const xmlNode *device, const char *type, struct vmf_vm *vm)
{
    struct vmf_vsphere_slot slot = { 0 };
    struct vmf_disk *disk = vmf_vm_add_disk (vm);
    disk->id = vmf_vsphere_disk_id (device);
    disk->alias = vmf_xml_find_text (device, "deviceInfo/label");
    if (vmf_vsphere_find_slot (device, &slot))
    {
        disk->bus = slot.bus;
        disk->controller = slot.bus == VMF_BUS_FDC ? 0 : slot.controller;
        disk->unit = slot.unit;
        disk->controller_model = g_strdup (slot.model);
    }
    if (strcmp (type, "VirtualDisk") == 0)
    {
        disk->shareable = slot.shared;
        read_disk_place (device, vm, disk);
    }
    else if (strcmp (type, "VirtualCdrom") == 0)
    {
        disk->device = VMF_DEVICE_CDROM;
        read_cdrom_place (device, disk);
    }
    else
        disk->device = VMF_DEVICE_FLOPPY;
}

/* vSphere gives cards the keys from 4000 on: 4001 is .vmx' ethernet1. */
static unsigned
card_number (const xmlNode *device, const struct vmf_vm *vm)
{
    uint64_t key = vmf_vsphere_number (device, "key", G_MAXINT32);
    return key >= 4000 && key < 4100 ? (unsigned)key - 4000 : vm->nics->len;
}

/* A distributed port group is named by its key: only the server knows its name. */
static char *
network_of (const xmlNode *backing)
{
    static const char *const places[] = { "deviceName", "port/portgroupKey", "opaqueNetworkId" };
    char *network = NULL;
    for (size_t i = 0; i < G_N_ELEMENTS (places) && !network; i++)
        network = vmf_xml_find_text (backing, places[i]);
    return network;
}

static void
read_card (const xmlNode *device, const char *model, struct vmf_vm *vm)
{
    unsigned number = card_number (device, vm);
    struct vmf_nic *nic = vmf_vm_add_nic (vm);
    g_autofree char *mac = vmf_xml_find_text (device, "macAddress");
    g_autofree char *connected = vmf_xml_find_text (device, "connectable/startConnected");
    nic->id = g_strdup_printf ("ethernet%u", number);
    nic->model = g_strdup (model);
    nic->network = network_of (vmf_xml_child (device, "backing"));
    nic->disconnected = connected && strcmp (connected, "false") == 0;
    vmf_vm_set_mac (vm, nic, mac);
}

static const char *
card_model (const xmlNode *device, const char *type)
{
    for (size_t i = 0; i < G_N_ELEMENTS (cards); i++)
        if (strcmp (type, cards[i][0]) == 0)
            return cards[i][1];
    if (strcmp (type, "VirtualSriovEthernetCard") == 0)
        return "sriov";
    /* One that is newer than this list is a card still. */
    return vmf_xml_child (device, "macAddress") ? type : NULL;
}

static bool
is_sound (const char *type)
{
    return strcmp (type, "VirtualHdAudioCard") == 0 || strcmp (type, "VirtualEnsoniq1371") == 0
           || strcmp (type, "VirtualSoundBlaster16") == 0 || strcmp (type, "VirtualSoundCard") == 0;
}

static int
compare_disks (gconstpointer left, gconstpointer right)
{
    const struct vmf_disk *a = *(struct vmf_disk *const *)left, *b = *(struct vmf_disk *const *)right;
    const size_t keys[][2] = { { rank_of_bus (a->bus), rank_of_bus (b->bus) },
                               { a->controller, b->controller },
                               { a->unit, b->unit } };
    for (size_t i = 0; i < G_N_ELEMENTS (keys); i++)
        if (keys[i][0] != keys[i][1])
            return keys[i][0] < keys[i][1] ? -1 : 1;
    return strcmp (a->id, b->id);
}

void
vmf_vsphere_read_devices (const xmlNode *hardware, struct vmf_vm *vm)
{
    for (const xmlNode *at = vmf_xml_child (hardware, "device"); at; at = vmf_xml_next (at, "device"))
    {
        g_autofree char *type = vmf_vsphere_device_type (at);
        const char *model = card_model (at, type);
        if (is_storage (type))
            read_storage (at, type, vm);
        else if (model)
            read_card (at, model, vm);
        else if (strcmp (type, "VirtualTPM") == 0)
            vm->tpm = true;
        else if (is_sound (type))
            vm->has_sound = true;
    }
    g_ptr_array_sort (vm->disks, compare_disks);
}

static struct vmf_disk *
find_disk (const struct vmf_vm *vm, const char *id)
{
    for (unsigned i = 0; i < vm->disks->len; i++)
    {
        struct vmf_disk *disk = vm->disks->pdata[i];
        if (strcmp (disk->id, id) == 0)
            return disk;
    }
    return NULL;
}

/* <deviceKey> names a disk or a card; a CD-ROM entry means the first drive. */
static unsigned *
find_boot_order (const xmlNode *entry, const xmlNode *hardware, struct vmf_vm *vm)
{
    g_autofree char *type = vmf_vsphere_device_type (entry), *key = vmf_xml_find_text (entry, "deviceKey");
    const xmlNode *device = find_device (hardware, key);
    if (strcmp (type, "VirtualMachineBootOptionsBootableCdromDevice") == 0)
    {
        for (unsigned i = 0; i < vm->disks->len; i++)
            if (((struct vmf_disk *)vm->disks->pdata[i])->device == VMF_DEVICE_CDROM)
                return &((struct vmf_disk *)vm->disks->pdata[i])->boot_order;
        return NULL;
    }
    if (device && strcmp (type, "VirtualMachineBootOptionsBootableDiskDevice") == 0)
    {
        g_autofree char *id = vmf_vsphere_disk_id (device);
        struct vmf_disk *disk = find_disk (vm, id);
        return disk ? &disk->boot_order : NULL;
    }
    g_autofree char *mac = device ? vmf_xml_find_text (device, "macAddress") : NULL;
    g_autofree char *plain = mac ? vmf_mac_from_text (mac) : NULL;
    for (unsigned i = 0; plain && i < vm->nics->len; i++)
    {
        struct vmf_nic *nic = vm->nics->pdata[i];
        if (nic->mac && strcmp (nic->mac, plain) == 0)
            return &nic->boot_order;
    }
    return NULL;
}

void
vmf_vsphere_read_boot_order (const xmlNode *config, const xmlNode *hardware, struct vmf_vm *vm)
{
    unsigned next = 1;
    const xmlNode *options = vmf_xml_child (config, "bootOptions");
    for (const xmlNode *at = vmf_xml_child (options, "bootOrder"); at; at = vmf_xml_next (at, "bootOrder"))
    {
        unsigned *order = find_boot_order (at, hardware, vm);
        if (order && *order == 0)
            *order = next++;
    }
}
