/* SPDX-License-Identifier: GPL-2.0-or-later */
/* OVF's VirtualHardwareSection: the items, each a CIM_ResourceAllocationSettingData, to processors, memory, disks,
 * cards.
 *
 * Which items count depends on the deployment option: one that names other options than the default one is not there,
 * and one that names the default replaces the general one of the same InstanceID. Numbers are CIM's ResourceTypes.
 */
#include "base/error.h"
#include "base/text.h"
#include "vm/facts.h"
#include "vm/ovf.h"

#include <string.h>

enum resource
{
    RESOURCE_OTHER = 1,
    RESOURCE_PROCESSOR = 3,
    RESOURCE_MEMORY = 4,
    RESOURCE_IDE = 5,
    RESOURCE_SCSI = 6,
    RESOURCE_ETHERNET = 10,
    RESOURCE_FLOPPY = 14,
    RESOURCE_CD = 15,
    RESOURCE_DVD = 16,
    RESOURCE_DISK = 17,
    RESOURCE_STORAGE = 20, /* SATA and NVMe; oVirt's graphics card */
    RESOURCE_SOUND = 35,
};

struct controller
{
    enum vmf_bus bus;
    char *model;
    unsigned address;
};

static void
free_controller (gpointer data)
{
    struct controller *controller = data;
    g_free (controller->model);
    g_free (controller);
}

static unsigned
small_number (const xmlNode *item, const char *name)
{
    g_autofree char *text = vmf_xml_find_text (item, name);
    uint64_t value = 0;
    return text && vmf_text_to_uint64 (text, name, 0, VMF_DEVICES_MAX, &value, NULL) ? (unsigned)value : 0;
}

static int
resource_type (const xmlNode *item)
{
    g_autofree char *text = vmf_xml_find_text (item, "ResourceType");
    uint64_t value = 0;
    return text && vmf_text_to_uint64 (text, "ResourceType", 0, 65535, &value, NULL) ? (int)value : 0;
}

/* Whether ITEM counts under the default deployment option. Limits (ovf:bound) never do. */
static bool
item_counts (const struct ovf *ovf, const xmlNode *item)
{
    g_autofree char *bound = vmf_xml_attribute (item, "bound");
    g_autofree char *list = vmf_xml_attribute (item, "configuration");
    if (bound && strcmp (bound, "normal") != 0)
        return false;
    if (!list)
        return true;
    g_auto (GStrv) names = g_strsplit_set (list, " \t\r\n", -1);
    return ovf->configuration && g_strv_contains ((const char *const *)names, ovf->configuration);
}

static bool
is_item (const xmlNode *node)
{
    return vmf_xml_is (node, "Item") || vmf_xml_is (node, "StorageItem") || vmf_xml_is (node, "EthernetPortItem");
}

/* The items that count, in order. */
static GPtrArray *
list_items (const struct ovf *ovf)
{
    g_autoptr (GHashTable) special = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
    for (xmlNode *node = vmf_xml_child (ovf->hardware, NULL); node; node = vmf_xml_next (node, NULL))
    {
        g_autofree char *list = vmf_xml_attribute (node, "configuration");
        char *id = vmf_xml_find_text (node, "InstanceID");
        if (list && id && is_item (node) && item_counts (ovf, node))
            g_hash_table_insert (special, id, node);
        else
            g_free (id);
    }
    GPtrArray *items = g_ptr_array_new ();
    for (xmlNode *node = vmf_xml_child (ovf->hardware, NULL); node; node = vmf_xml_next (node, NULL))
    {
        g_autofree char *id = vmf_xml_find_text (node, "InstanceID");
        const xmlNode *instead = id ? g_hash_table_lookup (special, id) : NULL;
        if (is_item (node) && item_counts (ovf, node) && (!instead || instead == node))
            g_ptr_array_add (items, node);
    }
    return items;
}

static bool
read_processors (struct ovf *ovf, const xmlNode *item, GError **error)
{
    struct vmf_vm *vm = ovf->vm;
    g_autofree char *quantity = vmf_xml_find_text (item, "VirtualQuantity");
    uint64_t count = 0;
    if (!vmf_xml_number (item, quantity, "number of processors", VMF_VCPUS_MAX, &count, error))
        return false;
    unsigned sockets = small_number (item, "num_of_sockets");
    unsigned cores = small_number (item, "cpu_per_socket");
    unsigned threads = small_number (item, "threads_per_cpu");
    if (sockets > 0 && cores > 0)
    {
        /* oVirt. Each factor is at most 4096, so the product fits; vmf_vm_check() judges it. */
        uint64_t all = (uint64_t)sockets * cores * MAX (threads, 1);
        vm->vcpus = (unsigned)MIN (all, VMF_VCPUS_MAX + 1);
        vmf_vm_set_topology (vm, sockets, cores, threads);
        return true;
    }
    vm->vcpus = (unsigned)count;
    cores = small_number (item, "CoresPerSocket");
    if (cores > 0 && count > 0)
        vmf_vm_set_topology (vm, count / cores, cores, 1);
    return true;
}

static bool
read_memory (struct ovf *ovf, const xmlNode *item, GError **error)
{
    g_autofree char *quantity = vmf_xml_find_text (item, "VirtualQuantity");
    g_autofree char *unit = vmf_xml_find_text (item, "AllocationUnits");
    uint64_t bytes = 0;
    if (!quantity)
        return true;
    if (!vmf_ovf_amount (item, quantity, unit, "memory size", VMF_MEMORY_MAX_BYTES, &bytes, error))
        return false;
    /* Without a unit it should be bytes; nobody means a machine of 512 of them. */
    if (!unit && bytes < (1u << 20))
        bytes <<= 20;
    ovf->vm->memory_bytes = bytes;
    return true;
}

static void
read_controller (const xmlNode *item, int type, GHashTable *controllers)
{
    char *id = vmf_xml_find_text (item, "InstanceID");
    if (!id)
        return;
    struct controller *controller = g_new0 (struct controller, 1);
    controller->model = vmf_xml_find_text (item, "ResourceSubType");
    controller->address = small_number (item, "Address");
    enum vmf_bus otherwise = type == RESOURCE_IDE ? VMF_BUS_IDE : type == RESOURCE_SCSI ? VMF_BUS_SCSI : VMF_BUS_SATA;
    controller->bus = vmf_bus_from_model (controller->model, otherwise);
    g_hash_table_insert (controllers, id, controller);
}

static bool
read_drive (struct ovf *ovf, const xmlNode *item, int type, GHashTable *controllers, GError **error)
{
    struct vmf_disk *disk = vmf_vm_add_disk (ovf->vm);
    disk->device = type == RESOURCE_DISK     ? VMF_DEVICE_DISK
                   : type == RESOURCE_FLOPPY ? VMF_DEVICE_FLOPPY
                                             : VMF_DEVICE_CDROM;
    g_autofree char *parent = vmf_xml_find_text (item, "Parent");
    const struct controller *controller = parent ? g_hash_table_lookup (controllers, parent) : NULL;
    disk->unit = small_number (item, "AddressOnParent");
    if (controller)
    {
        disk->bus = controller->bus;
        disk->controller = controller->address;
        disk->controller_model = g_strdup (controller->model);
    }
    if (type == RESOURCE_FLOPPY)
        disk->bus = VMF_BUS_FDC;
    disk->id = vmf_xml_find_text (item, "InstanceID");
    disk->alias = vmf_xml_find_text (item, "ElementName");
    if (!disk->alias)
        disk->alias = vmf_xml_find_text (item, "Caption");
    return vmf_ovf_read_disk (ovf, item, disk, error);
}

static void
read_nic (struct ovf *ovf, const xmlNode *item)
{
    struct vmf_nic *nic = vmf_vm_add_nic (ovf->vm);
    static const char *const names[] = { "ElementName", "Name", "Caption", "InstanceID" };
    for (size_t i = 0; i < G_N_ELEMENTS (names) && !nic->id; i++)
        nic->id = vmf_xml_find_text (item, names[i]);
    nic->network = vmf_xml_find_text (item, "Connection");
    nic->model = vmf_xml_find_text (item, "ResourceSubType");
    g_autofree char *address = vmf_xml_find_text (item, "MACAddress");
    if (!address)
        address = vmf_xml_find_text (item, "Address");
    vmf_vm_set_mac (ovf->vm, nic, address);
    if (ovf->ovirt)
        vmf_ovirt_read_nic (item, nic);
}

static bool
is_tpm (const xmlNode *item)
{
    g_autofree char *model = vmf_xml_find_text (item, "ResourceSubType");
    g_autofree char *type = vmf_xml_find_text (item, "Type");
    return (model && g_ascii_strcasecmp (model, "vmware.vtpm") == 0) || (type && strcmp (type, "tpm") == 0);
}

static bool
read_item (struct ovf *ovf, const xmlNode *item, GHashTable *controllers, GError **error)
{
    int type = resource_type (item);
    switch (type)
    {
    case RESOURCE_PROCESSOR:
        return read_processors (ovf, item, error);
    case RESOURCE_MEMORY:
        return read_memory (ovf, item, error);
    case RESOURCE_ETHERNET:
        read_nic (ovf, item);
        return true;
    case RESOURCE_FLOPPY:
    case RESOURCE_CD:
    case RESOURCE_DVD:
    case RESOURCE_DISK:
        return read_drive (ovf, item, type, controllers, error);
    case RESOURCE_SOUND:
        ovf->vm->has_sound = true;
        return true;
    default:
        ovf->vm->tpm = ovf->vm->tpm || is_tpm (item);
        return true;
    }
}

bool
vmf_ovf_read_hardware (struct ovf *ovf, GError **error)
{
    g_autoptr (GHashTable) controllers = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, free_controller);
    g_autoptr (GPtrArray) items = list_items (ovf);
    /* Controllers first: an item's parent may stand behind it. */
    for (unsigned i = 0; i < items->len; i++)
    {
        int type = resource_type (items->pdata[i]);
        if (type == RESOURCE_IDE || type == RESOURCE_SCSI || type == RESOURCE_STORAGE)
            read_controller (items->pdata[i], type, controllers);
    }
    for (unsigned i = 0; i < items->len; i++)
        if (!read_item (ovf, items->pdata[i], controllers, error))
            return false;
    vmf_vm_sort_disks (ovf->vm);
    return true;
}
