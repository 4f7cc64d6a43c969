/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The files of a lease, and which disks they are.
 *
 * A file is named "/vm-12/ParaVirtualSCSIController0:1": the type of the disk's controller, its bus number and the
 * disk's unit. That is how it is found among the devices, never by its order.
 */
#include "source/vsphere/lease.h"
#include "vm/facts.h"
#include "vm/read-vsphere.h"

#include <string.h>

static void
free_file (void *data)
{
    struct vmf_vsphere_lease_file *file = data;
    g_free (file->url);
    g_free (file->thumbprint);
    g_free (file);
}

static const xmlNode *
find_by_key (const xmlNode *hardware, int64_t key)
{
    for (const xmlNode *at = vmf_xml_child (hardware, "device"); at; at = vmf_xml_next (at, "device"))
        if (vmf_node_int (at, "key", G_MININT64) == key)
            return at;
    return NULL;
}

/* "ParaVirtualSCSIController0:1" of a disk. Caller frees. */
static char *
symbolic_name (const xmlNode *hardware, const xmlNode *disk)
{
    const xmlNode *controller = find_by_key (hardware, vmf_node_int (disk, "controllerKey", -1));
    return g_strdup_printf ("%s%d:%d", vmf_node_type (controller), (int)vmf_node_int (controller, "busNumber", 0),
                            (int)vmf_node_int (disk, "unitNumber", 0));
}

static bool
is_disk (const xmlNode *device)
{
    return strcmp (vmf_node_type (device), "VirtualDisk") == 0;
}

/* Symbolic name → <device>, of all disks. */
static GHashTable *
name_disks (const xmlNode *hardware)
{
    GHashTable *names = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
    if (vmf_vsphere_count_devices (hardware) > VMF_DEVICES_MAX)
        return names;
    for (const xmlNode *at = vmf_xml_child (hardware, "device"); at; at = vmf_xml_next (at, "device"))
        if (is_disk (at))
            g_hash_table_insert (names, symbolic_name (hardware, at), (xmlNode *)at);
    return names;
}

/* What is behind the last slash names it. */
static const xmlNode *
find_disk (GHashTable *names, const char *key)
{
    const char *slash = key ? strrchr (key, '/') : NULL;
    return key ? g_hash_table_lookup (names, slash ? slash + 1 : key) : NULL;
}

/* Where there is one disk and one file of a disk, they are each other's, however it is named. */
static const xmlNode *
find_only_disk (const xmlNode *info, const xmlNode *hardware)
{
    unsigned files = 0, disks = 0;
    const xmlNode *disk = NULL;
    for (const xmlNode *at = vmf_xml_child (info, "deviceUrl"); at; at = vmf_xml_next (at, "deviceUrl"))
        files += vmf_node_bool (at, "disk");
    for (const xmlNode *at = vmf_xml_child (hardware, "device"); at; at = vmf_xml_next (at, "device"))
        if (is_disk (at))
        {
            disks++;
            disk = at;
        }
    return files == 1 && disks == 1 ? disk : NULL;
}

/* "https://∗/nfc/…" is ESXi's: itself, as it was called. */
static char *
complete_url (char *url, const char *authority)
{
    static const char star[] = "https://*";
    if (!url || !g_str_has_prefix (url, star))
        return url;
    const char *rest = url + strlen (star);
    /* A port of its own stays. */
    size_t bracketed = *authority == '[' ? strcspn (authority, "]") : 0;
    size_t host_length = *rest == ':' ? bracketed + strcspn (authority + bracketed, ":") : strlen (authority);
    char *complete = g_strdup_printf ("https://%.*s%s", (int)host_length, authority, rest);
    g_free (url);
    return complete;
}

GPtrArray *
vmf_lease_files_read (const xmlNode *info, const xmlNode *config, const char *authority)
{
    GPtrArray *files = g_ptr_array_new_with_free_func (free_file);
    const xmlNode *hardware = vmf_xml_child (config, "hardware");
    const xmlNode *only = find_only_disk (info, hardware);
    g_autoptr (GHashTable) names = name_disks (hardware);
    for (const xmlNode *at = vmf_xml_child (info, "deviceUrl"); at; at = vmf_xml_next (at, "deviceUrl"))
    {
        struct vmf_vsphere_lease_file *file = g_new0 (struct vmf_vsphere_lease_file, 1);
        g_autofree char *key = vmf_xml_find_text (at, "key"), *import_key = vmf_xml_find_text (at, "importKey");
        file->url = complete_url (vmf_xml_find_text (at, "url"), authority);
        file->thumbprint = vmf_xml_find_text (at, "sslThumbprint");
        file->size_bytes = (uint64_t)MAX (vmf_node_int (at, "fileSize", 0), 0);
        g_ptr_array_add (files, file);
        if (!vmf_node_bool (at, "disk"))
            continue;
        const xmlNode *disk = find_disk (names, key);
        disk = disk ? disk : find_disk (names, import_key);
        disk = disk ? disk : only;
        file->disk_key = disk ? (int32_t)vmf_node_int (disk, "key", 0) : 0;
        file->capacity_bytes = disk ? vmf_vsphere_disk_capacity (disk) : 0;
    }
    return files;
}
