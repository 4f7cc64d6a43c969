/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writers: struct vmf_vm to text.
 *
 * A domain for the target needs more than the source's description: which devices the converted guest has drivers for,
 * and where its disks now are. That is struct vmf_domain_plan, filled by import. Callers free the text.
 */
#pragma once
#include "vm/vm.h"
#include <jansson.h>

/* What the guest can drive after its conversion (virt-v2v's guestcaps). Zeroed: nothing but what every PC has. */
struct vmf_guest_caps
{
    bool virtio_net;       /* otherwise `nic_model` */
    const char *nic_model; /* "e1000", "rtl8139": used where virtio_net is false; NULL: e1000 */
    enum vmf_bus disk_bus; /* VIRTIO_BLK, VIRTIO_SCSI, SATA or IDE; UNKNOWN: SATA on q35, IDE on i440fx */
    bool virtio_rng, virtio_balloon, pvpanic, virtio_1_0;
    enum vmf_machine machine;
    const char *arch;      /* NULL: the VM's, otherwise x86_64 */
    const char *osinfo_id; /* "http://debian.org/debian/12" or NULL */
    bool rtc_utc;
};

/* Where disk N of vmf_vm_get_import_disk now is. */
struct vmf_domain_disk
{
    const char *path;   /* absolute; for the directory and libvirt targets alike */
    const char *format; /* "qcow2" or "raw" */
    bool block;         /* a block device */
};

struct vmf_domain_plan
{
    const char *domain_type; /* "kvm", or "qemu" where KVM does not work */
    struct vmf_guest_caps caps;
    const struct vmf_domain_disk *disks; /* one for each import disk */
    unsigned n_disks;
};

/* Which machine a domain is given; before the conversion CAPS is zeroed. Strings are borrowed from VM, or static. */
struct vmf_domain_machine
{
    enum vmf_machine machine;
    const char *type; /* as libvirt spells it */
    const char *arch; /* x86_64 or aarch64 */
};
struct vmf_domain_machine vmf_domain_choose_machine (const struct vmf_vm *vm, const struct vmf_guest_caps *caps);

/* Whether there is a domain for VM's architecture. */
bool vmf_domain_knows_arch (const struct vmf_vm *vm);

/* libvirt domain XML for the target. Keeps UUID (where set), MACs, memory, topology, firmware, boot order, disk order.
 */
char *vmf_vm_write_libvirt (const struct vmf_vm *vm, const struct vmf_domain_plan *plan);

/* What the domain that vmf_vm_write_libvirt() writes has otherwise than the source had, a sentence each (B18): machine
   type, disk and network adapters, drives that are left out. char*; caller unrefs. */
GPtrArray *vmf_vm_list_changes (const struct vmf_vm *vm, const struct vmf_domain_plan *plan);

/* The neutral description: schema in docs/vm.schema.json. Units in names, words from vmf_*_name(). New reference. */
json_t *vmf_vm_write_json (const struct vmf_vm *vm);

/* The same for people: a few lines, control characters made harmless. */
char *vmf_vm_write_text (const struct vmf_vm *vm);
