/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which machine, buses and models the target's domain has, and how that differs from the source.
 *
 * The order of authority for the machine type: the user; then UEFI, which needs q35 (PITFALLS 29); then what the
 * conversion found the guest to drive; then the source.
 */
#include "vm/domain.h"

#include <string.h>

#define IDE_DEVICES_MAX 4

static bool
needs_q35 (const struct vmf_vm *vm)
{
    if (vm->firmware == VMF_FIRMWARE_UEFI)
        return true;
    /* Windows 11 and Server 2025 do not start on i440fx. VMware's word for the latter is windows2022srvNext. */
    g_autofree char *words = g_strconcat (vm->os_id ? vm->os_id : "", " ", vm->os_name ? vm->os_name : "", NULL);
    g_autofree char *lower = g_ascii_strdown (words, -1);
    static const char *const newer[] = { "2025", "2022srvnext", "windows11", "windows 11", "win/11", "win/2k25" };
    for (size_t i = 0; vm->os_windows && i < G_N_ELEMENTS (newer); i++)
        if (strstr (lower, newer[i]))
            return true;
    return false;
}

static enum vmf_machine
choose_machine (const struct vmf_vm *vm, const struct vmf_guest_caps *caps, const char *arch)
{
    if (vm->machine_type)
        return strstr (vm->machine_type, "q35")              ? VMF_MACHINE_Q35
               : g_str_has_prefix (vm->machine_type, "virt") ? VMF_MACHINE_VIRT
                                                             : VMF_MACHINE_I440FX;
    if (strcmp (arch, "aarch64") == 0)
        return VMF_MACHINE_VIRT;
    if (needs_q35 (vm))
        return VMF_MACHINE_Q35;
    enum vmf_machine machine = caps->machine != VMF_MACHINE_UNKNOWN ? caps->machine : vm->machine;
    return machine == VMF_MACHINE_Q35 ? VMF_MACHINE_Q35 : VMF_MACHINE_I440FX;
}

struct vmf_domain_machine
vmf_domain_choose_machine (const struct vmf_vm *vm, const struct vmf_guest_caps *caps)
{
    /* A 32-bit guest runs on a 64-bit PC, as it did on the source; the other way round nothing is gained. */
    bool arm = g_strcmp0 (caps->arch ? caps->arch : vm->arch, "aarch64") == 0;
    struct vmf_domain_machine chosen = { .arch = arm ? "aarch64" : "x86_64" };
    chosen.machine = choose_machine (vm, caps, chosen.arch);
    chosen.type = vm->machine_type ? vm->machine_type : vmf_machine_name (chosen.machine);
    return chosen;
}

bool
vmf_domain_knows_arch (const struct vmf_vm *vm)
{
    static const char *const known[] = { "x86_64", "i386", "i486", "i586", "i686", "aarch64", NULL };
    return !vm->arch || g_strv_contains (known, vm->arch);
}

static bool
any_device_boots (const struct vmf_vm *vm)
{
    for (unsigned i = 0; i < vm->disks->len; i++)
    {
        const struct vmf_disk *disk = vm->disks->pdata[i];
        if (disk->boot_order > 0 && !disk->keep_out && disk->device != VMF_DEVICE_FLOPPY)
            return true;
    }
    for (unsigned i = 0; i < vm->nics->len; i++)
    {
        const struct vmf_nic *nic = vm->nics->pdata[i];
        if (nic->boot_order > 0 && !nic->keep_out)
            return true;
    }
    return false;
}

void
vmf_domain_decide (struct domain *domain, const struct vmf_vm *vm, const struct vmf_domain_plan *plan)
{
    const struct vmf_guest_caps *caps = &plan->caps;
    *domain = (struct domain){ .vm = vm, .plan = plan };
    struct vmf_domain_machine chosen = vmf_domain_choose_machine (vm, caps);
    domain->arch = chosen.arch;
    domain->machine = chosen.machine;
    domain->machine_type = chosen.type;
    domain->kvm = g_strcmp0 (plan->domain_type, "qemu") != 0;
    domain->localtime = vm->clock_localtime || (vm->os_windows && !caps->rtc_utc);
    domain->device_boot = any_device_boots (vm);
    domain->virtio = caps->virtio_net || caps->disk_bus == VMF_BUS_VIRTIO_BLK || caps->disk_bus == VMF_BUS_VIRTIO_SCSI;
    /* On q35 a virtio device is 1.0 only, unless it is asked to be both. */
    domain->virtio_model = domain->machine == VMF_MACHINE_Q35 && !caps->virtio_1_0 ? "virtio-transitional" : NULL;
}

static char *
next_name (const char *prefix, unsigned *used)
{
    g_autofree char *letters = vmf_disk_letter_name ((*used)++);
    return g_strconcat (prefix, letters + 2, NULL);
}

enum vmf_bus
vmf_domain_next_disk (struct domain *domain, char **name)
{
    enum vmf_bus bus = domain->plan->caps.disk_bus;
    if (domain->machine == VMF_MACHINE_VIRT && bus != VMF_BUS_VIRTIO_SCSI)
        bus = VMF_BUS_VIRTIO_BLK;
    if (bus == VMF_BUS_VIRTIO_BLK)
        *name = next_name ("vd", &domain->used_vd);
    else if (bus == VMF_BUS_VIRTIO_SCSI)
        *name = next_name ("sd", &domain->used_sd);
    else if (bus != VMF_BUS_SATA && domain->machine == VMF_MACHINE_I440FX && domain->used_hd < IDE_DEVICES_MAX)
    {
        *name = next_name ("hd", &domain->used_hd);
        bus = VMF_BUS_IDE;
    }
    else
    {
        *name = next_name ("sd", &domain->used_sd);
        bus = VMF_BUS_SATA;
    }
    return bus;
}

enum vmf_bus
vmf_domain_next_cdrom (struct domain *domain, char **name)
{
    if (domain->machine == VMF_MACHINE_I440FX && domain->used_hd < IDE_DEVICES_MAX)
    {
        *name = next_name ("hd", &domain->used_hd);
        return VMF_BUS_IDE;
    }
    *name = next_name ("sd", &domain->used_sd);
    return domain->machine == VMF_MACHINE_VIRT ? VMF_BUS_USB : VMF_BUS_SATA;
}

const char *
vmf_domain_nic_model (const struct domain *domain)
{
    const struct vmf_guest_caps *caps = &domain->plan->caps;
    if (caps->virtio_net || domain->machine == VMF_MACHINE_VIRT)
        return "virtio";
    return caps->nic_model ? caps->nic_model : "e1000";
}

/* libvirt wants orders to be unique; descriptions repeat them (oVirt) and skip what is left out. */
char *
vmf_domain_boot_rank (const struct domain *domain, const unsigned *order)
{
    const struct vmf_vm *vm = domain->vm;
    unsigned rank = 1;
    bool before = true;
    if (*order == 0)
        return NULL;
    for (unsigned i = 0; i < vm->disks->len; i++)
    {
        const struct vmf_disk *disk = vm->disks->pdata[i];
        before = before && &disk->boot_order != order;
        if (disk->boot_order > 0 && !disk->keep_out && disk->device != VMF_DEVICE_FLOPPY && &disk->boot_order != order)
            rank += disk->boot_order < *order || (before && disk->boot_order == *order);
    }
    for (unsigned i = 0; i < vm->nics->len; i++)
    {
        const struct vmf_nic *nic = vm->nics->pdata[i];
        before = before && &nic->boot_order != order;
        if (nic->boot_order > 0 && !nic->keep_out && &nic->boot_order != order)
            rank += nic->boot_order < *order || (before && nic->boot_order == *order);
    }
    return g_strdup_printf ("%u", rank);
}

static void change (GPtrArray *changes, const char *format, ...) G_GNUC_PRINTF (2, 3);

static void
change (GPtrArray *changes, const char *format, ...)
{
    va_list args;
    va_start (args, format);
    g_ptr_array_add (changes, g_strdup_vprintf (format, args));
    va_end (args);
}

static void
list_disk_changes (struct domain *domain, GPtrArray *changes)
{
    unsigned n = 0;
    for (unsigned i = 0; i < domain->vm->disks->len; i++)
    {
        const struct vmf_disk *disk = domain->vm->disks->pdata[i];
        const char *shown = disk->alias ? disk->alias : disk->id ? disk->id : "?";
        g_autofree char *name = NULL;
        if (disk->device == VMF_DEVICE_FLOPPY)
            change (changes, "floppy drive %s is left out", shown);
        else if (disk->device == VMF_DEVICE_CDROM && disk->place.location != VMF_LOCATION_NONE)
            change (changes, "CD-ROM drive %s is empty; it held %s", shown,
                    disk->place.path ? disk->place.path : "an image");
        if (disk->device != VMF_DEVICE_DISK || disk->keep_out)
            continue;
        enum vmf_bus bus = vmf_domain_next_disk (domain, &name);
        g_autofree char *letters = vmf_disk_letter_name (n++);
        if (bus != disk->bus)
            change (changes, "disk %s is on %s as %s; on the source it was on %s%s%s", letters, vmf_bus_name (bus),
                    name, vmf_bus_name (disk->bus), disk->controller_model ? " " : "",
                    disk->controller_model ? disk->controller_model : "");
    }
}

static void
list_machine_changes (const struct domain *domain, GPtrArray *changes)
{
    const struct vmf_vm *vm = domain->vm;
    if (vm->machine != VMF_MACHINE_UNKNOWN && vm->machine != domain->machine)
        change (changes, "the machine type is %s; on the source it was %s", domain->machine_type,
                vmf_machine_name (vm->machine));
    if (vm->firmware == VMF_FIRMWARE_UEFI)
        change (changes, "the firmware's variables are new%s",
                vm->secure_boot ? ", Secure Boot has the default keys" : "");
    if (vm->tpm)
        change (changes,
                "the TPM is new and empty; what was sealed with the old one, such as BitLocker's key, needs its "
                "recovery key");
}

static void
list_nic_change (const struct domain *domain, const struct vmf_nic *nic, GPtrArray *changes)
{
    const char *model = vmf_domain_nic_model (domain), *shown = nic->id ? nic->id : "?";
    if (nic->added && !nic->keep_out)
        change (changes, "a network card was added, a %s: the source says nothing of network cards", model);
    else if (nic->added)
        return;
    else if (nic->keep_out)
        change (changes, "network card %s is left out", shown);
    else if (!nic->model || g_ascii_strcasecmp (nic->model, model) != 0)
        change (changes, "network card %s is a %s; on the source it was %s", shown, model,
                nic->model ? nic->model : "of a model that is not said");
}

GPtrArray *
vmf_vm_list_changes (const struct vmf_vm *vm, const struct vmf_domain_plan *plan)
{
    struct domain domain;
    GPtrArray *changes = g_ptr_array_new_with_free_func (g_free);
    vmf_domain_decide (&domain, vm, plan);
    list_machine_changes (&domain, changes);
    list_disk_changes (&domain, changes);
    for (unsigned i = 0; i < vm->nics->len; i++)
        list_nic_change (&domain, vm->nics->pdata[i], changes);
    return changes;
}
