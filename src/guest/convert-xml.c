/* SPDX-License-Identifier: GPL-2.0-or-later */
/* guest.xml: what virt-v2v-in-place is told about the source.
 *
 * virt-v2v 2.2 opens a disk over NBD only as protocol='nbd' with the host name 'localhost' and the default export;
 * '127.0.0.1' and unix sockets are dropped in silence. All disks stand in one file, so that the guest's fstab is right
 * for each of them (PITFALLS 46).
 */
#include "guest/convert-parts.h"

/* What virt-v2v calls the source hypervisor. */
static const char *
domain_type (enum vmf_origin origin)
{
    switch (origin)
    {
    case VMF_ORIGIN_VMWARE:
        return "vmware";
    case VMF_ORIGIN_VIRTUALBOX:
        return "vbox";
    case VMF_ORIGIN_XEN_PV:
    case VMF_ORIGIN_XEN_HVM:
        return "xen";
    default:
        return "kvm";
    }
}

/* The name that the guest has for the disk now; virt-v2v maps it to the new one in the boot loader and fstab. */
static void
add_disk (GString *xml, const struct vmf_disk *disk, unsigned n, unsigned port)
{
    const char *bus = "scsi", *prefix = "sd";
    if (disk->bus == VMF_BUS_XEN)
        bus = "xen", prefix = "xvd";
    else if (disk->bus == VMF_BUS_VIRTIO_BLK)
        bus = "virtio", prefix = "vd";
    else if (disk->bus == VMF_BUS_IDE)
        bus = "ide", prefix = "hd";
    else if (disk->bus == VMF_BUS_SATA)
        bus = "sata";
    g_autofree char *letters = vmf_disk_letter_name (n);
    g_string_append_printf (xml,
                            "    <disk type='network' device='disk'>\n"
                            "      <driver name='qemu' type='raw'/>\n"
                            "      <source protocol='nbd'><host name='localhost' port='%u'/></source>\n"
                            "      <target dev='%s%s' bus='%s'/>\n"
                            "    </disk>\n",
                            port, prefix, letters + 2, bus);
}

/* Control characters, which XML cannot carry, do not get through. */
static void
add_text (GString *xml, const char *before, const char *text, const char *after)
{
    g_autofree char *clean = g_utf8_make_valid (text, -1);
    for (char *c = clean; *c; c++)
        if ((unsigned char)*c < ' ')
            *c = ' ';
    g_autofree char *escaped = g_markup_escape_text (clean, -1);
    g_string_append_printf (xml, "%s%s%s", before, escaped, after);
}

static void
add_nic (GString *xml, const struct vmf_nic *nic)
{
    g_string_append (xml, "    <interface type='network'>\n");
    if (nic->mac)
        add_text (xml, "      <mac address='", nic->mac, "'/>\n");
    add_text (xml, "      <source network='", nic->network ? nic->network : "default", "'/>\n");
    if (nic->model)
        add_text (xml, "      <model type='", nic->model, "'/>\n");
    g_string_append (xml, "    </interface>\n");
}

char *
vmf_convert_write_xml (const struct vmf_convert_options *options)
{
    const struct vmf_vm *vm = options->vm;
    GString *xml = g_string_new (NULL);
    bool uefi = vm->firmware == VMF_FIRMWARE_UEFI;
    const char *os_type = vm->origin == VMF_ORIGIN_XEN_PV ? "xen" : "hvm";
    g_string_append_printf (xml, "<domain type='%s'>\n", domain_type (vm->origin));
    add_text (xml, "  <name>", vm->name ? vm->name : "guest", "</name>\n");
    /* In KiB without a unit: virt-v2v 2.2 takes no notice of unit='b'. */
    g_string_append_printf (xml, "  <memory>%" G_GUINT64_FORMAT "</memory>\n  <vcpu>%u</vcpu>\n",
                            vm->memory_bytes ? vm->memory_bytes / 1024 : (uint64_t)1 << 20, vm->vcpus ? vm->vcpus : 1);
    g_string_append_printf (xml, "  <os%s>\n", uefi ? " firmware='efi'" : "");
    add_text (xml, "    <type arch='", vm->arch ? vm->arch : "x86_64", "'>");
    g_string_append_printf (xml, "%s</type>\n  </os>\n  <features><acpi/><apic/></features>\n  <devices>\n", os_type);
    for (unsigned n = 0; n < options->n_ports; n++)
        add_disk (xml, vmf_vm_get_import_disk (vm, n), n, options->ports[n]);
    for (unsigned n = 0; n < vm->nics->len; n++)
    {
        const struct vmf_nic *nic = g_ptr_array_index (vm->nics, n);
        if (!nic->keep_out)
            add_nic (xml, nic);
    }
    g_string_append (xml, "  </devices>\n</domain>\n");
    return g_string_free (xml, FALSE);
}
