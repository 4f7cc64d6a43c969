/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Network cards and all other devices of the target's domain.
 *
 * Only what starts on any host: no vsock (it needs a kernel module), no SPICE (EL's QEMU has none).
 */
#include "vm/domain.h"

#include <string.h>

static void
add_nic (const struct domain *domain, xmlNode *devices, const struct vmf_nic *nic)
{
    const char *model = vmf_domain_nic_model (domain);
    if (strcmp (model, "virtio") == 0 && domain->virtio_model)
        model = domain->virtio_model;
    bool bridge = nic->map_bridge != NULL;
    xmlNode *node = vmf_xml_add (devices, "interface", NULL, "type", bridge ? "bridge" : "network", NULL);
    if (nic->mac)
        vmf_xml_add (node, "mac", NULL, "address", nic->mac, NULL);
    if (bridge)
        vmf_xml_add (node, "source", NULL, "bridge", nic->map_bridge, NULL);
    else
        vmf_xml_add (node, "source", NULL, "network", nic->map_network ? nic->map_network : "default", NULL);
    if (bridge && nic->virtual_port)
        vmf_xml_add (node, "virtualport", NULL, "type", nic->virtual_port, NULL);
    vmf_xml_add (node, "model", NULL, "type", model, NULL);
    if (nic->disconnected)
        vmf_xml_add (node, "link", NULL, "state", "down", NULL);
    g_autofree char *rank = vmf_domain_boot_rank (domain, &nic->boot_order);
    if (rank)
        vmf_xml_add (node, "boot", NULL, "order", rank, NULL);
}

void
vmf_domain_add_nics (const struct domain *domain, xmlNode *devices)
{
    for (unsigned i = 0; i < domain->vm->nics->len; i++)
    {
        const struct vmf_nic *nic = domain->vm->nics->pdata[i];
        if (!nic->keep_out)
            add_nic (domain, devices, nic);
    }
}

static void
add_consoles (const struct domain *domain, xmlNode *devices)
{
    xmlNode *serial = vmf_xml_add (devices, "serial", NULL, "type", "pty", NULL);
    vmf_xml_add (serial, "target", NULL, "port", "0", NULL);
    xmlNode *console = vmf_xml_add (devices, "console", NULL, "type", "pty", NULL);
    vmf_xml_add (console, "target", NULL, "type", "serial", "port", "0", NULL);
    if (domain->virtio)
    {
        vmf_xml_add (devices, "controller", NULL, "type", "virtio-serial", "index", "0", "model", domain->virtio_model,
                     NULL);
        xmlNode *channel = vmf_xml_add (devices, "channel", NULL, "type", "unix", NULL);
        vmf_xml_add (channel, "target", NULL, "type", "virtio", "name", "org.qemu.guest_agent.0", NULL);
    }
}

static void
add_screen (const struct domain *domain, xmlNode *devices)
{
    /* A pointer with absolute coordinates: otherwise VNC's and the guest's drift apart. */
    vmf_xml_add (devices, "input", NULL, "type", "tablet", "bus", "usb", NULL);
    if (domain->machine == VMF_MACHINE_VIRT)
    {
        vmf_xml_add (devices, "controller", NULL, "type", "usb", "index", "0", "model", "qemu-xhci", NULL);
        vmf_xml_add (devices, "input", NULL, "type", "keyboard", "bus", "usb", NULL);
    }
    xmlNode *graphics = vmf_xml_add (devices, "graphics", NULL, "type", "vnc", "port", "-1", "autoport", "yes", NULL);
    vmf_xml_add (graphics, "listen", NULL, "type", "address", "address", "127.0.0.1", NULL);
    if (domain->vm->has_sound)
        vmf_xml_add (devices, "sound", NULL, "model", domain->machine == VMF_MACHINE_I440FX ? "ich6" : "ich9", NULL);
    xmlNode *video = vmf_xml_add (devices, "video", NULL, NULL);
    vmf_xml_add (video, "model", NULL, "type", domain->machine == VMF_MACHINE_VIRT ? "virtio" : "vga", NULL);
}

static void
add_tpm (const struct domain *domain, xmlNode *devices)
{
    xmlNode *tpm =
        vmf_xml_add (devices, "tpm", NULL, "model", domain->machine == VMF_MACHINE_VIRT ? "tpm-tis" : "tpm-crb", NULL);
    vmf_xml_add (tpm, "backend", NULL, "type", "emulator", "version", "2.0", NULL);
}

void
vmf_domain_add_others (const struct domain *domain, xmlNode *devices)
{
    const struct vmf_guest_caps *caps = &domain->plan->caps;
    const char *model = domain->virtio_model ? domain->virtio_model : "virtio";
    add_consoles (domain, devices);
    if (domain->vm->tpm)
        add_tpm (domain, devices);
    add_screen (domain, devices);
    vmf_xml_add (devices, "memballoon", NULL, "model", caps->virtio_balloon ? model : "none", NULL);
    if (caps->virtio_rng)
    {
        xmlNode *rng = vmf_xml_add (devices, "rng", NULL, "model", model, NULL);
        vmf_xml_add (rng, "backend", "/dev/urandom", "model", "random", NULL);
    }
    if (caps->pvpanic && domain->machine != VMF_MACHINE_VIRT)
        vmf_xml_add (devices, "panic", NULL, "model", "isa", NULL);
}
