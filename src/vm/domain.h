/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The libvirt writer's pieces: the decisions (domain-plan.c), made once, and the elements written from them.
 *
 * Decisions and elements are apart so that vmf_vm_list_changes() says what vmf_vm_write_libvirt() does.
 */
#pragma once
#include "vm/write.h"
#include "vm/xml.h"

struct domain
{
    const struct vmf_vm *vm;
    const struct vmf_domain_plan *plan;
    enum vmf_machine machine;
    const char *machine_type, *arch;
    bool kvm;
    bool localtime;
    bool device_boot;         /* devices carry <boot order>; then <boot dev> is not allowed */
    bool virtio;              /* the guest drives some virtio device */
    const char *virtio_model; /* "virtio-transitional" where the guest only knows virtio 0.9 on q35; else NULL */
    unsigned used_sd, used_hd, used_vd; /* names given so far */
};

void vmf_domain_decide (struct domain *domain, const struct vmf_vm *vm, const struct vmf_domain_plan *plan);

/* The bus that the Nth hard disk, or a CD-ROM drive, gets next; counts it. NAME is its target, "vda": caller frees. */
enum vmf_bus vmf_domain_next_disk (struct domain *domain, char **name);
enum vmf_bus vmf_domain_next_cdrom (struct domain *domain, char **name);

/* The model of network cards. */
const char *vmf_domain_nic_model (const struct domain *domain);

/* The place of a device in the boot order as text, counted without gaps and twins; NULL where ORDER is 0. Caller frees.
 */
char *vmf_domain_boot_rank (const struct domain *domain, const unsigned *order);

void vmf_domain_add_disks (struct domain *domain, xmlNode *devices);
void vmf_domain_add_nics (const struct domain *domain, xmlNode *devices);
void vmf_domain_add_others (const struct domain *domain, xmlNode *devices);
