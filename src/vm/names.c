/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The words for things: enums, device letters, image formats.
 *
 * JSON, messages and options all use these words, so they are a promise: add, never change.
 */
#include "vm/vm.h"

#include <string.h>

const char *
vmf_origin_name (enum vmf_origin origin)
{
    static const char *const names[] = {
        "unknown", "vmware", "virtualbox", "ovirt", "xen-pv", "xen-hvm", "kvm", "image"
    };
    return origin < G_N_ELEMENTS (names) ? names[origin] : "unknown";
}

const char *
vmf_firmware_name (enum vmf_firmware firmware)
{
    return firmware == VMF_FIRMWARE_UEFI ? "uefi" : "bios";
}

const char *
vmf_machine_name (enum vmf_machine machine)
{
    static const char *const names[] = { "unknown", "pc", "q35", "virt" };
    return machine < G_N_ELEMENTS (names) ? names[machine] : "unknown";
}

const char *
vmf_bus_name (enum vmf_bus bus)
{
    static const char *const names[] = { "unknown", "ide", "sata", "scsi",       "nvme",
                                         "usb",     "fdc", "xen",  "virtio-blk", "virtio-scsi" };
    return bus < G_N_ELEMENTS (names) ? names[bus] : "unknown";
}

const char *
vmf_device_name (enum vmf_device device)
{
    static const char *const names[] = { "disk", "cdrom", "floppy" };
    return device < G_N_ELEMENTS (names) ? names[device] : "disk";
}

char *
vmf_disk_letter_name (unsigned n)
{
    char letters[16];
    size_t at = sizeof letters;
    letters[--at] = '\0';
    for (unsigned long rest = (unsigned long)n + 1; rest > 0; rest = (rest - 1) / 26)
        letters[--at] = (char)('a' + (rest - 1) % 26);
    return g_strdup_printf ("sd%s", letters + at);
}

/* What people and descriptions write, and what QEMU calls it. OVF's URIs are matched by the part that names the format:
   VMware's ends in #streamOptimized or #sparse, VirtualBox's .vdi and .vhd have no registered URI at all. */
static const struct
{
    const char *name;
    const char *driver;
} formats[] = {
    { "raw", "raw" },   { "img", "raw" },   { "aio", "raw" },                         /* Xen's tap:aio: */
    { "iso", "raw" },   { "byte", "raw" },  { "qcow2", "qcow2" }, { "cow", "qcow2" }, /* oVirt's volume-format */
    { "qed", "qed" },   { "vmdk", "vmdk" }, { "vhd", "vpc" },     { "vpc", "vpc" },
    { "vhdx", "vhdx" }, { "vdi", "vdi" },   { "qcow", "qcow" },
};

static const struct
{
    const char *part;
    const char *driver;
} uris[] = {
    { "/specifications/vmdk.html", "vmdk" },
    { "/technical_resources/interfaces/vmdk", "vmdk" },
    { "qcow-image-format", "qcow2" },
    { "wiki/byte", "raw" },
    { "virtualserver/evaluation/vhd", "vpc" },
    { "go.microsoft.com/fwlink/?linkid=137171", "vpc" }, /* Citrix and Microsoft name VHD so */
    { "virtualbox.org/wiki/vdi", "vdi" },
};

const char *
vmf_format_from_name (const char *name)
{
    if (!name)
        return NULL;
    for (size_t i = 0; i < G_N_ELEMENTS (formats); i++)
        if (g_ascii_strcasecmp (name, formats[i].name) == 0)
            return formats[i].driver;
    g_autofree char *lower = g_ascii_strdown (name, -1);
    if (!g_str_has_prefix (lower, "http"))
        return NULL;
    for (size_t i = 0; i < G_N_ELEMENTS (uris); i++)
        if (strstr (lower, uris[i].part))
            return uris[i].driver;
    return NULL;
}

const char *
vmf_format_from_path (const char *path)
{
    if (!path)
        return NULL;
    const char *slash = strrchr (path, '/');
    const char *name = slash ? slash + 1 : path;
    g_autofree char *bare = g_ascii_strdown (name, -1);
    if (g_str_has_suffix (bare, ".gz"))
        bare[strlen (bare) - 3] = '\0';
    const char *dot = strrchr (bare, '.');
    if (!dot)
        return NULL;
    return vmf_format_from_name (dot + 1);
}
