/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The <disk> elements of libvirt domain XML.
 *
 * <backingStore> is believed: it is the one way by which a description may name files outside of an image's own folder
 * (DESIGN idea 7). Chains are built in a loop with an end, as a document may nest them to the parser's limit.
 */
#include "base/error.h"
#include "base/text.h"
#include "vm/facts.h"
#include "vm/libvirt-xml.h"

#include <string.h>

static void
read_nbd (struct vmf_place *place, const xmlNode *source)
{
    xmlNode *host = vmf_xml_child (source, "host");
    g_autofree char *port = vmf_xml_attribute (host, "port");
    uint64_t number = 0;
    place->location = VMF_LOCATION_NBD;
    place->export_name = vmf_xml_attribute (source, "name");
    place->tls = vmf_xml_attribute_is (source, "tls", "yes");
    if (vmf_xml_attribute_is (host, "transport", "unix"))
    {
        place->socket = vmf_xml_attribute (host, "socket");
        return;
    }
    place->host = vmf_xml_attribute (host, "name");
    if (!place->host)
        place->host = g_strdup ("localhost");
    if (port && vmf_text_to_uint64 (port, "port", 1, 65535, &number, NULL))
        place->port = (uint16_t)number;
    else if (port)
    {
        place->location = VMF_LOCATION_OTHER;
        place->path = g_strdup_printf ("an NBD server on port %s, which is no port", port);
    }
}

static void
read_network (struct vmf_place *place, const xmlNode *source)
{
    if (vmf_xml_attribute_is (source, "protocol", "nbd"))
    {
        read_nbd (place, source);
        return;
    }
    g_autofree char *protocol = vmf_xml_attribute (source, "protocol");
    g_autofree char *name = vmf_xml_attribute (source, "name");
    place->location = VMF_LOCATION_OTHER;
    place->path = g_strdup_printf ("%s:%s, a network disk of a kind that is not read; NBD is",
                                   protocol ? protocol : "?", name ? name : "");
}

static void
set_path (struct vmf_place *place, enum vmf_location location, char *path)
{
    place->path = path;
    place->location = path ? location : VMF_LOCATION_NONE;
}

/* TYPE is the <disk>'s or <backingStore>'s own. */
static void
read_source (struct vmf_place *place, const char *type, const xmlNode *source)
{
    if (!source)
        return;
    if (!type || strcmp (type, "file") == 0)
        set_path (place, VMF_LOCATION_FILE, vmf_xml_attribute (source, "file"));
    else if (strcmp (type, "block") == 0)
        set_path (place, VMF_LOCATION_BLOCK, vmf_xml_attribute (source, "dev"));
    else if (strcmp (type, "network") == 0)
        read_network (place, source);
    else if (strcmp (type, "volume") == 0)
    {
        place->location = VMF_LOCATION_VOLUME;
        place->pool = vmf_xml_attribute (source, "pool");
        place->volume = vmf_xml_attribute (source, "volume");
    }
    else
        set_path (place, VMF_LOCATION_OTHER, g_strdup_printf ("a disk of type '%s'", type));
    bool encrypted = vmf_xml_child (source, "encryption");
    if (encrypted || vmf_xml_child (source, "slices"))
    {
        vmf_place_clear (place);
        set_path (place, VMF_LOCATION_OTHER,
                  g_strdup (encrypted ? "a disk that the source's host decrypts; decrypt it there first"
                                      : "a slice of a larger file"));
    }
}

static bool
read_chain (struct vmf_place *place, const xmlNode *disk, GError **error)
{
    const xmlNode *backing = vmf_xml_child (disk, "backingStore");
    for (unsigned depth = 0; backing; depth++)
    {
        xmlNode *source = vmf_xml_child (backing, "source");
        if (!source)
            return true;
        if (depth == VMF_CHAIN_MAX)
        {
            g_set_error (error, VMF_ERROR, VMF_ERROR_UNSAFE, "line %ld: a chain of more than %d backing files",
                         xmlGetLineNo (backing), VMF_CHAIN_MAX);
            return false;
        }
        place->backing = g_new0 (struct vmf_place, 1);
        place = place->backing;
        g_autofree char *type = vmf_xml_attribute (backing, "type");
        g_autofree char *format = vmf_xml_find_attribute (backing, "format", "type");
        read_source (place, type, source);
        const char *driver = vmf_format_from_name (format);
        place->format = g_strdup (driver ? driver : format);
        backing = vmf_xml_child (backing, "backingStore");
    }
    return true;
}

static enum vmf_bus
bus_from_names (const char *bus, const char *dev)
{
    static const struct
    {
        const char *bus, *prefix;
        enum vmf_bus value;
    } names[] = {
        { "ide", "hd", VMF_BUS_IDE },           { "sata", NULL, VMF_BUS_SATA }, { "scsi", "sd", VMF_BUS_SCSI },
        { "virtio", "vd", VMF_BUS_VIRTIO_BLK }, { "xen", "xvd", VMF_BUS_XEN },  { "usb", NULL, VMF_BUS_USB },
        { "fdc", "fd", VMF_BUS_FDC },           { "nvme", NULL, VMF_BUS_NVME },
    };
    for (size_t i = 0; i < G_N_ELEMENTS (names); i++)
        if (bus ? strcmp (bus, names[i].bus) == 0 : dev && names[i].prefix && g_str_has_prefix (dev, names[i].prefix))
            return names[i].value;
    return VMF_BUS_UNKNOWN;
}

/* The model of SCSI controller INDEX. */
static char *
scsi_model (const xmlNode *devices, unsigned index)
{
    g_autofree char *wanted = g_strdup_printf ("%u", index);
    for (xmlNode *node = vmf_xml_child (devices, "controller"); node; node = vmf_xml_next (node, "controller"))
        if (vmf_xml_attribute_is (node, "type", "scsi") && vmf_xml_attribute_is (node, "index", wanted))
            return vmf_xml_attribute (node, "model");
    return NULL;
}

static unsigned
small_number (const xmlNode *node, const char *name)
{
    g_autofree char *text = vmf_xml_attribute (node, name);
    uint64_t value = 0;
    return text && vmf_text_to_uint64 (text, name, 0, VMF_DEVICES_MAX, &value, NULL) ? (unsigned)value : 0;
}

static void
read_target (struct vmf_disk *disk, const xmlNode *devices, const xmlNode *node)
{
    xmlNode *target = vmf_xml_child (node, "target");
    xmlNode *address = vmf_xml_child (node, "address");
    g_autofree char *bus = vmf_xml_attribute (target, "bus");
    disk->id = vmf_xml_attribute (target, "dev");
    disk->bus = bus_from_names (bus, disk->id);
    disk->controller = small_number (address, "controller");
    disk->unit = small_number (address, "unit");
    if (disk->bus == VMF_BUS_SCSI)
    {
        disk->controller_model = scsi_model (devices, disk->controller);
        disk->bus = vmf_bus_from_model (disk->controller_model, VMF_BUS_SCSI);
    }
}

static bool
read_disk (struct vmf_vm *vm, const xmlNode *devices, const xmlNode *node, GError **error)
{
    struct vmf_disk *disk = vmf_vm_add_disk (vm);
    g_autofree char *type = vmf_xml_attribute (node, "type");
    g_autofree char *device = vmf_xml_attribute (node, "device");
    g_autofree char *format = vmf_xml_find_attribute (node, "driver", "type");
    disk->device = g_strcmp0 (device, "cdrom") == 0    ? VMF_DEVICE_CDROM
                   : g_strcmp0 (device, "floppy") == 0 ? VMF_DEVICE_FLOPPY
                                                       : VMF_DEVICE_DISK;
    read_target (disk, devices, node);
    read_source (&disk->place, type, vmf_xml_child (node, "source"));
    if (disk->place.location != VMF_LOCATION_NONE)
    {
        const char *driver = vmf_format_from_name (format);
        disk->place.format = g_strdup (driver ? driver : format);
    }
    disk->serial = vmf_xml_find_text (node, "serial");
    disk->read_only = disk->device == VMF_DEVICE_CDROM || vmf_xml_child (node, "readonly");
    disk->shareable = vmf_xml_child (node, "shareable");
    disk->boot_order = small_number (vmf_xml_child (node, "boot"), "order");
    if (g_strcmp0 (device, "lun") == 0)
        vmf_vm_add_note (vm, "disk %s is a SCSI device of the source's host; its contents become an ordinary disk",
                         disk->id ? disk->id : "?");
    if (vmf_xml_child (node, "transient"))
        vmf_vm_add_note (vm, "disk %s forgets what is written at power off; on the target it keeps it",
                         disk->id ? disk->id : "?");
    if (disk->device == VMF_DEVICE_DISK && disk->place.location == VMF_LOCATION_NONE)
    {
        disk->keep_out = true;
        vmf_vm_add_note (vm, "disk %s has no source and is left out", disk->id ? disk->id : "?");
    }
    return read_chain (&disk->place, node, error);
}

bool
vmf_libvirt_read_disks (struct vmf_vm *vm, const xmlNode *devices, GError **error)
{
    for (xmlNode *node = vmf_xml_child (devices, "disk"); node; node = vmf_xml_next (node, "disk"))
    {
        /* scsi_model() walks the controllers for each disk: bounded here, not only at the end. */
        if (vm->disks->len >= VMF_DEVICES_MAX)
        {
            g_set_error (error, VMF_ERROR, VMF_ERROR_UNSAFE, "the description has more than %d disks and drives",
                         VMF_DEVICES_MAX);
            return false;
        }
        if (!read_disk (vm, devices, node, error))
            return false;
    }
    return true;
}
