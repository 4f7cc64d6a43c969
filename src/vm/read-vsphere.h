/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the vSphere client and the reader of its machines both need: how a device of vSphere's hardware is named and
 * where it is plugged in. Nodes are <device> elements below <hardware> of a VirtualMachineConfigInfo. Pure functions.
 */
#pragma once
#include "vm/vm.h"
#include <libxml/tree.h>

struct vmf_vsphere_slot
{
    enum vmf_bus bus;
    const char *model; /* as .vmx spells it: "pvscsi", "lsilogic"; NULL: the bus has but one */
    unsigned controller, unit;
    bool shared; /* the controller is shared with other machines */
};

/* The type of a device: "VirtualDisk"; "" where none is said. Caller frees. */
char *vmf_vsphere_device_type (const xmlNode *device);
/* How many devices there are, counted up to one more than any machine may have. */
unsigned vmf_vsphere_count_devices (const xmlNode *hardware);
/* Where DEVICE is plugged in. false: its controller is not there, or is none that disks have. */
bool vmf_vsphere_find_slot (const xmlNode *device, struct vmf_vsphere_slot *slot);
/* vmf_disk.id of a disk or drive: "scsi0:1", as .vmx has it. Unique within the machine. Caller frees. */
char *vmf_vsphere_disk_id (const xmlNode *device);
/* The file of a disk's backing: "[datastore] folder/name.vmdk", or NULL. Caller frees. */
char *vmf_vsphere_backing_file (const xmlNode *backing);
/* Bytes; 0: not said. */
uint64_t vmf_vsphere_disk_capacity (const xmlNode *device);
bool vmf_vsphere_is_true (const xmlNode *parent, const char *path);
uint64_t vmf_vsphere_number (const xmlNode *parent, const char *path, uint64_t max);

void vmf_vsphere_read_devices (const xmlNode *hardware, struct vmf_vm *vm);
/* <bootOptions><bootOrder>…: which disks and cards the firmware tries, by their keys. */
void vmf_vsphere_read_boot_order (const xmlNode *config, const xmlNode *hardware, struct vmf_vm *vm);
