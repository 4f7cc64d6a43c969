/* SPDX-License-Identifier: GPL-2.0-or-later */
/* struct vmf_vm to libvirt domain XML for the target: everything but devices.
 *
 * libvirt fills in what is not said (emulator, PCI addresses, machine version); what it would choose otherwise than the
 * source had it, is said.
 */
#include "vm/domain.h"

#include <string.h>

#define LIBOSINFO "http://libosinfo.org/xmlns/libvirt/domain/1.0"

/* Under TCG: a model that any build of QEMU emulates in full, and that x86-64-v2 guests (EL9) start on. */
#define TCG_X86_MODEL "Nehalem"
#define TCG_ARM_MODEL "cortex-a57"

static void
add_identity (const struct domain *domain, xmlNode *root)
{
    const struct vmf_vm *vm = domain->vm;
    vmf_xml_add (root, "name", vm->name ? vm->name : "imported", NULL);
    if (vm->uuid)
        vmf_xml_add (root, "uuid", vm->uuid, NULL);
    if (domain->plan->caps.osinfo_id)
    {
        xmlNode *metadata = vmf_xml_add (root, "metadata", NULL, NULL);
        xmlNode *info = vmf_xml_add (metadata, "libosinfo", NULL, NULL);
        xmlSetNs (info, xmlNewNs (info, (const xmlChar *)LIBOSINFO, (const xmlChar *)"libosinfo"));
        vmf_xml_add (info, "os", NULL, "id", domain->plan->caps.osinfo_id, NULL);
    }
    if (vm->description)
        vmf_xml_add (root, "description", vm->description, NULL);
}

static void
add_sizes (const struct domain *domain, xmlNode *root)
{
    const struct vmf_vm *vm = domain->vm;
    /* A description that says no memory: what the smallest of today's systems start in. */
    uint64_t kib = vm->memory_bytes ? vm->memory_bytes / 1024 : 1024 * 1024;
    g_autofree char *memory = g_strdup_printf ("%" G_GUINT64_FORMAT, (guint64)kib);
    g_autofree char *vcpus = g_strdup_printf ("%u", MAX (vm->vcpus, 1));
    vmf_xml_add (root, "memory", memory, "unit", "KiB", NULL);
    vmf_xml_add (root, "currentMemory", memory, "unit", "KiB", NULL);
    vmf_xml_add (root, "vcpu", vcpus, NULL);
}

/* By libvirt's own choice of the firmware, with what it must and must not be said: an enrolled Secure Boot firmware
   would refuse the boot loader of a guest that never had it. */
static void
add_firmware (const struct domain *domain, xmlNode *os)
{
    const char *secure = domain->vm->secure_boot ? "yes" : "no";
    xmlNode *firmware = vmf_xml_add (os, "firmware", NULL, NULL);
    vmf_xml_add (firmware, "feature", NULL, "enabled", secure, "name", "enrolled-keys", NULL);
    vmf_xml_add (firmware, "feature", NULL, "enabled", secure, "name", "secure-boot", NULL);
}

static void
add_os (const struct domain *domain, xmlNode *root)
{
    const struct vmf_vm *vm = domain->vm;
    bool uefi = vm->firmware == VMF_FIRMWARE_UEFI;
    xmlNode *os = vmf_xml_add (root, "os", NULL, "firmware", uefi ? "efi" : NULL, NULL);
    vmf_xml_add (os, "type", "hvm", "arch", domain->arch, "machine", domain->machine_type, NULL);
    if (uefi)
        add_firmware (domain, os);
    if (domain->device_boot)
        return;
    for (unsigned i = 0; i < vm->boot_devices->len; i++)
        vmf_xml_add (os, "boot", NULL, "dev", vm->boot_devices->pdata[i], NULL);
    if (vm->boot_devices->len == 0)
        vmf_xml_add (os, "boot", NULL, "dev", "hd", NULL);
}

static void
add_features (const struct domain *domain, xmlNode *root)
{
    xmlNode *features = vmf_xml_add (root, "features", NULL, NULL);
    vmf_xml_add (features, "acpi", NULL, NULL);
    if (domain->machine == VMF_MACHINE_VIRT)
    {
        vmf_xml_add (features, "gic", NULL, NULL);
        return;
    }
    vmf_xml_add (features, "apic", NULL, NULL);
    if (domain->vm->os_windows && domain->kvm)
    {
        xmlNode *hyperv = vmf_xml_add (features, "hyperv", NULL, NULL);
        vmf_xml_add (hyperv, "relaxed", NULL, "state", "on", NULL);
        vmf_xml_add (hyperv, "vapic", NULL, "state", "on", NULL);
        vmf_xml_add (hyperv, "spinlocks", NULL, "state", "on", "retries", "8191", NULL);
    }
    /* Secure Boot keeps its variables from the guest by system management mode. */
    if (domain->vm->secure_boot && domain->machine == VMF_MACHINE_Q35)
        vmf_xml_add (features, "smm", NULL, "state", "on", NULL);
}

static xmlNode *
add_cpu_model (const struct domain *domain, xmlNode *root)
{
    const char *model = domain->vm->cpu_model;
    bool host = model && g_str_has_prefix (model, "host-");
    if (domain->kvm && (host || !model))
        return vmf_xml_add (root, "cpu", NULL, "mode", host ? model : "host-model", NULL);
    bool arm = domain->machine == VMF_MACHINE_VIRT;
    if (!model || host)
        model = arm ? TCG_ARM_MODEL : TCG_X86_MODEL;
    xmlNode *cpu = vmf_xml_add (root, "cpu", NULL, "mode", "custom", "match", "exact", "check",
                                domain->kvm ? "partial" : "none", NULL);
    vmf_xml_add (cpu, "model", model, "fallback", "allow", NULL);
    return cpu;
}

static void
add_cpu (const struct domain *domain, xmlNode *root)
{
    const struct vmf_vm *vm = domain->vm;
    xmlNode *cpu = add_cpu_model (domain, root);
    uint64_t product = (uint64_t)vm->sockets * vm->cores * vm->threads;
    if (product == 0 || product != MAX (vm->vcpus, 1))
        return;
    g_autofree char *sockets = g_strdup_printf ("%u", vm->sockets);
    g_autofree char *cores = g_strdup_printf ("%u", vm->cores);
    g_autofree char *threads = g_strdup_printf ("%u", vm->threads);
    vmf_xml_add (cpu, "topology", NULL, "sockets", sockets, "cores", cores, "threads", threads, NULL);
}

static void
add_clock (const struct domain *domain, xmlNode *root)
{
    xmlNode *clock = vmf_xml_add (root, "clock", NULL, "offset", domain->localtime ? "localtime" : "utc", NULL);
    if (domain->machine == VMF_MACHINE_VIRT)
        return;
    vmf_xml_add (clock, "timer", NULL, "name", "rtc", "tickpolicy", "catchup", NULL);
    vmf_xml_add (clock, "timer", NULL, "name", "pit", "tickpolicy", "delay", NULL);
    vmf_xml_add (clock, "timer", NULL, "name", "hpet", "present", "no", NULL);
    if (domain->vm->os_windows && domain->kvm)
        vmf_xml_add (clock, "timer", NULL, "name", "hypervclock", "present", "yes", NULL);
}

char *
vmf_vm_write_libvirt (const struct vmf_vm *vm, const struct vmf_domain_plan *plan)
{
    struct domain domain;
    vmf_domain_decide (&domain, vm, plan);
    g_autoptr (vmf_xml_doc) doc = xmlNewDoc ((const xmlChar *)"1.0");
    xmlNode *root = xmlNewNode (NULL, (const xmlChar *)"domain");
    xmlDocSetRootElement (doc, root);
    xmlNewProp (root, (const xmlChar *)"type", (const xmlChar *)(domain.kvm ? "kvm" : "qemu"));
    add_identity (&domain, root);
    add_sizes (&domain, root);
    add_os (&domain, root);
    add_features (&domain, root);
    add_cpu (&domain, root);
    add_clock (&domain, root);
    vmf_xml_add (root, "on_poweroff", "destroy", NULL);
    vmf_xml_add (root, "on_reboot", "restart", NULL);
    vmf_xml_add (root, "on_crash", "destroy", NULL);
    xmlNode *devices = vmf_xml_add (root, "devices", NULL, NULL);
    vmf_domain_add_disks (&domain, devices);
    vmf_domain_add_nics (&domain, devices);
    vmf_domain_add_others (&domain, devices);
    xmlBuffer *buffer = xmlBufferCreate ();
    xmlNodeDump (buffer, doc, root, 0, 1);
    char *text = g_strconcat ((const char *)xmlBufferContent (buffer), "\n", NULL);
    xmlBufferFree (buffer);
    return text;
}
