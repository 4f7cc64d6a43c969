/* SPDX-License-Identifier: GPL-2.0-or-later */
/* <disk> elements of the target's domain: the imported disks in their order, then CD-ROM drives, empty.
 */
#include "vm/domain.h"

#include <string.h>

#define DISKS_PER_CONTROLLER 7 /* what any SCSI bus takes */

static const char *
libvirt_bus (enum vmf_bus bus)
{
    switch (bus)
    {
    case VMF_BUS_VIRTIO_BLK:
        return "virtio";
    case VMF_BUS_VIRTIO_SCSI:
        return "scsi";
    default:
        return vmf_bus_name (bus);
    }
}

static void
add_boot (const struct domain *domain, xmlNode *node, const unsigned *order)
{
    g_autofree char *rank = vmf_domain_boot_rank (domain, order);
    if (rank)
        vmf_xml_add (node, "boot", NULL, "order", rank, NULL);
}

/* libvirt would spread many disks over controllers of its own choice, for which the guest may have no driver. */
static void
add_scsi_address (xmlNode *node, unsigned n)
{
    g_autofree char *controller = g_strdup_printf ("%u", n / DISKS_PER_CONTROLLER);
    g_autofree char *unit = g_strdup_printf ("%u", n % DISKS_PER_CONTROLLER);
    vmf_xml_add (node, "address", NULL, "type", "drive", "controller", controller, "bus", "0", "target", "0", "unit",
                 unit, NULL);
}

static void
add_scsi_controllers (const struct domain *domain, xmlNode *devices)
{
    for (unsigned n = 0; n == 0 || n * DISKS_PER_CONTROLLER < domain->plan->n_disks; n++)
    {
        g_autofree char *index = g_strdup_printf ("%u", n);
        vmf_xml_add (devices, "controller", NULL, "type", "scsi", "index", index, "model",
                     domain->virtio_model ? domain->virtio_model : "virtio-scsi", NULL);
    }
}

static void
add_disk (struct domain *domain, xmlNode *devices, const struct vmf_disk *disk, const struct vmf_domain_disk *where)
{
    g_autofree char *name = NULL;
    unsigned n = domain->used_sd;
    enum vmf_bus bus = vmf_domain_next_disk (domain, &name);
    bool virtio = bus == VMF_BUS_VIRTIO_BLK || bus == VMF_BUS_VIRTIO_SCSI;
    /* A shared disk may not be cached by its host, and libvirt takes raw ones only. */
    bool shared = disk->shareable && strcmp (where->format, "raw") == 0;
    xmlNode *node = vmf_xml_add (devices, "disk", NULL, "type", where->block ? "block" : "file", "device", "disk",
                                 "model", bus == VMF_BUS_VIRTIO_BLK ? domain->virtio_model : NULL, NULL);
    vmf_xml_add (node, "driver", NULL, "name", "qemu", "type", where->format, "cache",
                 where->block || shared ? "none" : NULL, "io", where->block ? "native" : NULL, "discard", "unmap",
                 NULL);
    vmf_xml_add (node, "source", NULL, where->block ? "dev" : "file", where->path, NULL);
    vmf_xml_add (node, "target", NULL, "dev", name, "bus", libvirt_bus (bus), NULL);
    if (disk->read_only && virtio)
        vmf_xml_add (node, "readonly", NULL, NULL);
    if (shared)
        vmf_xml_add (node, "shareable", NULL, NULL);
    if (disk->serial)
        vmf_xml_add (node, "serial", disk->serial, NULL);
    add_boot (domain, node, &disk->boot_order);
    if (bus == VMF_BUS_VIRTIO_SCSI)
        add_scsi_address (node, n);
}

static void
add_cdrom (struct domain *domain, xmlNode *devices, const struct vmf_disk *disk)
{
    g_autofree char *name = NULL;
    enum vmf_bus bus = vmf_domain_next_cdrom (domain, &name);
    xmlNode *node = vmf_xml_add (devices, "disk", NULL, "type", "file", "device", "cdrom", NULL);
    vmf_xml_add (node, "driver", NULL, "name", "qemu", "type", "raw", NULL);
    vmf_xml_add (node, "target", NULL, "dev", name, "bus", libvirt_bus (bus), NULL);
    vmf_xml_add (node, "readonly", NULL, NULL);
    add_boot (domain, node, &disk->boot_order);
}

void
vmf_domain_add_disks (struct domain *domain, xmlNode *devices)
{
    const struct vmf_vm *vm = domain->vm;
    const struct vmf_disk *disk;
    for (unsigned n = 0; n < domain->plan->n_disks && (disk = vmf_vm_get_import_disk (vm, n)); n++)
        add_disk (domain, devices, disk, &domain->plan->disks[n]);
    if (domain->plan->caps.disk_bus == VMF_BUS_VIRTIO_SCSI)
        add_scsi_controllers (domain, devices);
    for (unsigned i = 0; i < vm->disks->len; i++)
    {
        disk = vm->disks->pdata[i];
        if (disk->device == VMF_DEVICE_CDROM && !disk->keep_out)
            add_cdrom (domain, devices, disk);
    }
}
