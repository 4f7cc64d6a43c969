/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The domain's definition: what the guest can drive decides its devices, and the target makes the VM visible. */
#include "base/error.h"
#include "import/internal.h"

#include <string.h>
#include <sys/utsname.h>

/* Without a conversion the guest keeps what it had. */
static struct vmf_guest_caps
caps_as_they_were (const struct vmf_vm *vm)
{
    const struct vmf_disk *disk = vmf_vm_get_import_disk (vm, 0);
    const struct vmf_nic *nic = vm->nics->len ? g_ptr_array_index (vm->nics, 0) : NULL;
    bool virtio = vm->origin == VMF_ORIGIN_KVM && (disk->bus == VMF_BUS_VIRTIO_BLK || disk->bus == VMF_BUS_VIRTIO_SCSI);
    bool kept = virtio || disk->bus == VMF_BUS_IDE || disk->bus == VMF_BUS_SATA;
    return (struct vmf_guest_caps){
        .virtio_net = nic ? g_str_has_prefix (nic->model ? nic->model : "", "virtio") : virtio,
        .nic_model = nic && nic->model && g_str_has_prefix (nic->model, "rtl") ? "rtl8139" : NULL,
        .disk_bus = kept ? disk->bus : VMF_BUS_UNKNOWN,
        .virtio_rng = virtio,
        .virtio_balloon = virtio,
        .virtio_1_0 = virtio,
        .machine = vm->machine,
        .rtc_utc = !vm->clock_localtime,
    };
}

/* KVM runs only what its own processor does. */
static bool
runs_on_kvm (const struct vmf_import *import, const struct vmf_guest_caps *caps)
{
    struct utsname host;
    return import->accel == VMF_ACCEL_KVM && uname (&host) == 0
           && strcmp (vmf_domain_choose_machine (import->vm, caps).arch, host.machine) == 0;
}

static void
say_what_changes (struct vmf_import *import, const struct vmf_domain_plan *plan)
{
    import->changes = vmf_vm_list_changes (import->vm, plan);
    if (import->converted && import->converted->virtio_missing)
        import_say (import, VMF_IMPORT_WARNING,
                    "no virtio driver was found in the guest: the new VM gets devices that boot without one, which are "
                    "slower; install the drivers in the guest and change the domain's devices");
}

bool
import_finish (struct vmf_import *import, GError **error)
{
    g_autofree struct vmf_domain_disk *disks = g_new0 (struct vmf_domain_disk, import->n_disks);
    for (unsigned i = 0; i < import->n_disks; i++)
    {
        const struct vmf_target_disk *disk = g_ptr_array_index (import->target_disks, i);
        disks[i] = (struct vmf_domain_disk){ disk->final_path, disk->format, disk->block };
    }
    struct vmf_guest_caps caps = import->converted ? import->converted->caps : caps_as_they_were (import->vm);
    struct vmf_domain_plan plan = {
        .domain_type = runs_on_kvm (import, &caps) ? "kvm" : "qemu",
        .caps = caps,
        .disks = disks,
        .n_disks = import->n_disks,
    };
    import_stage_begin (import, "finish");
    say_what_changes (import, &plan);
    g_autofree char *xml = vmf_vm_write_libvirt (import->vm, &plan);
    import->result = import->target->ops->finish (import->target, import->vm, xml, error);
    if (!import->result)
        return false;
    import->finished = true;
    if (import->target->remains)
        import_say (import, VMF_IMPORT_WARNING, "%s", import->target->remains);
    import_stage_end (import, "finish");
    return true;
}
