/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What all readers share: limits, and the spellings of UUIDs, MAC addresses and operating systems. Private to this
 * folder, and of the vSphere client's.
 */
#pragma once
#include "vm/vm.h"

/* Far above what any hypervisor allows, far below what would hurt us. */
#define VMF_DEVICES_MAX 4096
#define VMF_VCPUS_MAX 4096
#define VMF_MEMORY_MAX_BYTES (UINT64_C (1) << 50)   /* 1 PiB */
#define VMF_CAPACITY_MAX_BYTES (UINT64_C (1) << 56) /* 64 PiB: qcow2's own limit */

/* The first step of each reader: too long (UNSAFE), empty or not text (CORRUPT). WHAT as for vmf_xml_parse(). */
bool vmf_text_check (const char *text, size_t length, const char *what, GError **error);

/* The last step of each reader: too many devices, memory, processors, control characters in names and paths.
   VMF_ERROR_UNSAFE. */
bool vmf_vm_check (const struct vmf_vm *vm, GError **error);

/* Any common spelling of it ("{…}", "56 4d ad-…", upper case) as canonical text, or NULL. Caller frees. */
char *vmf_uuid_from_text (const char *text);

/* "08002718A8F8", "00-50-56-…", upper case: as "08:00:27:18:a8:f8", or NULL, for a multicast address too. Caller frees.
 */
char *vmf_mac_from_text (const char *text);

/* Gives NIC the address TEXT. One that is none, or a group's, becomes a note, and the card gets a new one; so does
 * none.
 */
void vmf_vm_set_mac (struct vmf_vm *vm, struct vmf_nic *nic, const char *text);

/* Sets sockets, cores and threads from what a description gives (0: not said), but only where they multiply to vcpus.
 */
void vmf_vm_set_topology (struct vmf_vm *vm, uint64_t sockets, uint64_t cores, uint64_t threads);

/* Sets arch and os_windows from the words that os_id and os_name are. */
void vmf_vm_guess_from_os (struct vmf_vm *vm);

/* The bus and, where there is one, the model that a controller's name stands for. */
enum vmf_bus vmf_bus_from_model (const char *model, enum vmf_bus otherwise);

/* Sorts hard disks and drives of the same bus by controller and unit; buses stay in the order of their first disk. */
void vmf_vm_sort_disks (struct vmf_vm *vm);
