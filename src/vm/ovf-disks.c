/* SPDX-License-Identifier: GPL-2.0-or-later */
/* OVF disks: from an item's HostResource by DiskSection to a File of References.
 *
 * HostResource is "ovf:/disk/ID" by the standard, "/disk/ID" by VirtualBox and old VMware, "ovf:/file/ID" for images of
 * CD-ROMs, and the path of an image by oVirt's export domains.
 */
#include "base/error.h"
#include "base/text.h"
#include "vm/facts.h"
#include "vm/ovf.h"

#include <string.h>

static bool
has_scheme (const char *href)
{
    const char *at = href;
    if (!g_ascii_isalpha (*at))
        return false;
    while (g_ascii_isalnum (*at) || *at == '+' || *at == '-' || *at == '.')
        at++;
    return *at == ':';
}

bool
vmf_ovf_check_files (struct ovf *ovf, GError **error)
{
    GHashTableIter iter;
    gpointer value;
    g_hash_table_iter_init (&iter, ovf->files);
    while (g_hash_table_iter_next (&iter, NULL, &value))
    {
        g_autofree char *href = vmf_xml_attribute (value, "href");
        if (!href || !has_scheme (href))
            continue;
        g_autofree char *shown = vmf_text_printable (href, 80);
        g_set_error (error, VMF_ERROR, VMF_ERROR_UNSAFE,
                     "line %ld: the file reference '%s' leads elsewhere; only files of the package itself are read",
                     xmlGetLineNo (value), shown);
        return false;
    }
    return true;
}

/* What nobody can open from the package as it is. WHY becomes the place's path, for the error that its opener gives. */
static void
set_other (struct vmf_disk *disk, char *why)
{
    disk->place.location = VMF_LOCATION_OTHER;
    disk->place.path = why;
}

static void
read_file (struct ovf *ovf, const xmlNode *file, struct vmf_disk *disk)
{
    g_autofree char *href = vmf_xml_attribute (file, "href");
    g_autofree char *chunk = vmf_xml_attribute (file, "chunkSize");
    if (!href)
        return;
    if (chunk)
    {
        set_other (disk,
                   g_strdup_printf ("%s, which the package holds cut in chunks; join them into one file and remove "
                                    "ovf:chunkSize",
                                    href));
        return;
    }
    disk->place.location = VMF_LOCATION_FILE;
    disk->place.gzip = vmf_xml_attribute_is (file, "compression", "gzip");
    disk->place.path = g_steal_pointer (&href);
}

static bool
read_capacity (struct ovf *ovf, const xmlNode *node, struct vmf_disk *disk, GError **error)
{
    g_autofree char *capacity = vmf_xml_attribute (node, "capacity");
    g_autofree char *unit = vmf_xml_attribute (node, "capacityAllocationUnits");
    g_autofree char *gigabytes = capacity ? NULL : vmf_xml_attribute (node, "size");
    if (capacity && g_str_has_prefix (capacity, "${"))
    {
        vmf_vm_add_note (ovf->vm, "the size of disk %s is chosen at deployment (%s); the image's own size is used",
                         disk->id, capacity);
        return true;
    }
    /* oVirt's export domains may say only ovf:size, in GiB. */
    if (gigabytes && ovf->ovirt)
        return vmf_ovf_amount (node, gigabytes, "gib", "disk size", VMF_CAPACITY_MAX_BYTES, &disk->capacity_bytes,
                               error);
    return !capacity
           || vmf_ovf_amount (node, capacity, unit, "disk capacity", VMF_CAPACITY_MAX_BYTES, &disk->capacity_bytes,
                              error);
}

static char *
read_format (const xmlNode *node, const char *path)
{
    g_autofree char *volume = vmf_xml_attribute (node, "volume-format");
    g_autofree char *uri = vmf_xml_attribute (node, "format");
    const char *driver = vmf_format_from_name (volume);
    if (!driver)
        driver = vmf_format_from_name (uri);
    if (!driver)
        driver = vmf_format_from_path (path);
    return g_strdup (driver);
}

static bool
read_disk_node (struct ovf *ovf, const xmlNode *item, const xmlNode *node, struct vmf_disk *disk, GError **error)
{
    g_autofree char *id = vmf_xml_attribute (node, "diskId");
    g_autofree char *ref = vmf_xml_attribute (node, "fileRef");
    g_autofree char *parent = vmf_xml_attribute (node, "parentRef");
    if (id)
    {
        g_free (disk->id);
        disk->id = g_steal_pointer (&id);
    }
    if (!read_capacity (ovf, node, disk, error))
        return false;
    const xmlNode *file = ref ? g_hash_table_lookup (ovf->files, ref) : NULL;
    if (ref && !file)
    {
        g_autofree char *shown = vmf_text_printable (ref, 60);
        g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT,
                     "line %ld: disk %s is in the file '%s', which the References do not name", xmlGetLineNo (node),
                     disk->id ? disk->id : "?", shown);
        return false;
    }
    if (file)
        read_file (ovf, file, disk);
    if (ovf->ovirt)
        vmf_ovirt_read_disk (item, node, disk);
    else if (parent && file)
    {
        g_clear_pointer (&disk->place.path, g_free);
        set_other (disk,
                   g_strdup_printf ("the difference to disk %s; export the machine again without snapshots", parent));
    }
    disk->place.format = read_format (node, disk->place.location == VMF_LOCATION_FILE ? disk->place.path : NULL);
    return true;
}

static const xmlNode *
find_disk_node (struct ovf *ovf, const char *resource)
{
    const xmlNode *node = g_hash_table_lookup (ovf->disks, resource);
    const char *slash = strrchr (resource, '/');
    if (!node && slash)
        node = g_hash_table_lookup (ovf->disks, slash + 1);
    return node;
}

bool
vmf_ovf_read_disk (struct ovf *ovf, const xmlNode *item, struct vmf_disk *disk, GError **error)
{
    g_autofree char *resource = vmf_xml_find_text (item, "HostResource");
    const char *rest = resource ? resource : "";
    if (g_str_has_prefix (rest, "ovf:"))
        rest += 4;
    rest += strspn (rest, "/");
    if (g_str_has_prefix (rest, "file/"))
    {
        const xmlNode *file = g_hash_table_lookup (ovf->files, rest + 5);
        if (file)
            read_file (ovf, file, disk);
        disk->place.format = g_strdup (vmf_format_from_path (disk->place.path));
        return true;
    }
    const xmlNode *node = find_disk_node (ovf, g_str_has_prefix (rest, "disk/") ? rest + 5 : rest);
    if (node && !read_disk_node (ovf, item, node, disk, error))
        return false;
    if (!node && *rest && disk->device == VMF_DEVICE_DISK)
    {
        g_autofree char *shown = vmf_text_printable (resource, 80);
        g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT, "line %ld: the DiskSection has no disk '%s'",
                     xmlGetLineNo (item), shown);
        return false;
    }
    if (disk->device == VMF_DEVICE_DISK && disk->place.location == VMF_LOCATION_NONE)
    {
        disk->keep_out = true;
        vmf_vm_add_note (ovf->vm, "%s has no file in the package: an empty disk, which is left out",
                         disk->alias ? disk->alias : "a disk");
    }
    return true;
}
