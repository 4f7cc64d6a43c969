/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The disks of a VM or of a snapshot, from its configuration: what the roads need to open them. */
#include "source/vsphere/internal.h"
#include "base/error.h"
#include "vm/facts.h"
#include "vm/read-vsphere.h"

#include <string.h>

#define CHAIN_MAX 256

static void
free_disk (void *data)
{
    struct vmf_vsphere_disk *disk = data;
    char *texts[] = { disk->id, disk->path, disk->base_path, disk->datastore, disk->change_id };
    for (size_t i = 0; i < G_N_ELEMENTS (texts); i++)
        g_free (texts[i]);
    g_free (disk);
}

/* "[datastore] folder/name.vmdk" to "datastore". */
static char *
datastore_of (const char *path)
{
    const char *end = path && *path == '[' ? strchr (path, ']') : NULL;
    return end ? g_strndup (path + 1, (gsize)(end - path - 1)) : NULL;
}

/* The oldest of the chain that <parent> within <parent> makes. */
static const xmlNode *
base_of (const xmlNode *backing)
{
    const xmlNode *at = backing;
    for (unsigned i = 0; i < CHAIN_MAX && vmf_xml_child (at, "parent"); i++)
        at = vmf_xml_child (at, "parent");
    return at;
}

static struct vmf_vsphere_disk *
read_disk (const xmlNode *device)
{
    struct vmf_vsphere_disk *disk = g_new0 (struct vmf_vsphere_disk, 1);
    struct vmf_vsphere_slot slot = { 0 };
    const xmlNode *backing = vmf_xml_child (device, "backing");
    g_autofree char *type = vmf_vsphere_device_type (backing), *mode = vmf_xml_find_text (backing, "diskMode");
    g_autofree char *sharing = vmf_xml_find_text (backing, "sharing");
    vmf_vsphere_find_slot (device, &slot);
    disk->key = (int32_t)vmf_node_int (device, "key", 0);
    disk->id = vmf_vsphere_disk_id (device);
    disk->path = vmf_vsphere_backing_file (backing);
    disk->base_path = vmf_vsphere_backing_file (base_of (backing));
    disk->datastore = datastore_of (disk->path);
    disk->change_id = vmf_xml_find_text (backing, "changeId");
    disk->capacity_bytes = vmf_vsphere_disk_capacity (device);
    disk->independent = mode && g_str_has_prefix (mode, "independent");
    disk->rdm = strstr (type, "RawDisk") != NULL;
    disk->shared = slot.shared || (sharing && strcmp (sharing, "sharingMultiWriter") == 0);
    disk->encrypted = vmf_xml_child (backing, "keyId") != NULL;
    disk->is_delta = vmf_xml_child (backing, "parent") != NULL;
    return disk;
}

GPtrArray *
vmf_disks_read (const xmlNode *config, GError **error)
{
    const xmlNode *hardware = vmf_xml_child (config, "hardware");
    g_autoptr (GPtrArray) disks = g_ptr_array_new_with_free_func (free_disk);
    if (!hardware)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT, "its configuration tells nothing of its hardware");
        return NULL;
    }
    if (vmf_vsphere_count_devices (hardware) > VMF_DEVICES_MAX)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_UNSAFE, "its configuration has more than %d devices", VMF_DEVICES_MAX);
        return NULL;
    }
    for (const xmlNode *at = vmf_xml_child (hardware, "device"); at; at = vmf_xml_next (at, "device"))
    {
        g_autofree char *type = vmf_vsphere_device_type (at);
        if (strcmp (type, "VirtualDisk") == 0)
            g_ptr_array_add (disks, read_disk (at));
    }
    return g_steal_pointer (&disks);
}
