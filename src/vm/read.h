/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Readers: text to struct vmf_vm. Pure functions; no file, no network, no entity is ever fetched.
 *
 * TEXT is what somebody else wrote and is not trusted: documents above 16 MiB, DTDs and entities, more than 4096
 * devices, numbers out of range and names with NUL or control bytes are refused (VMF_ERROR_UNSAFE or VMF_ERROR_CORRUPT)
 * with the line where one is known. Paths are handed on as written; whoever opens them checks where they lead. Each
 * gives a new machine, or NULL with ERROR set.
 */
#pragma once
#include "vm/vm.h"

/* OVF 1.x and 2.0 (DMTF DSP0243), as VMware, VirtualBox and oVirt write it. A disk's place.path is the File's href; an
   href with a scheme is refused. Several VirtualSystems: the first, or the one that NAME is the name or ovf:id of, and
   a note names the others. NOT_FOUND: there is none of that name. */
struct vmf_vm *vmf_vm_read_ovf (const char *text, size_t length, GError **error);
struct vmf_vm *vmf_vm_read_ovf_named (const char *text, size_t length, const char *name, GError **error);

/* The names of all systems of an OVF, as vmf_vm_read_ovf_named() takes them. */
GStrv vmf_vm_list_ovf (const char *text, size_t length, GError **error);

/* VMware's .vmx (and .vmtx): "key = "value"" lines, |XX escapes, .encoding. */
struct vmf_vm *vmf_vm_read_vmx (const char *text, size_t length, GError **error);

/* libvirt domain XML: types kvm, qemu, xen (pv, pvh, hvm), vmware. */
struct vmf_vm *vmf_vm_read_libvirt (const char *text, size_t length, GError **error);

/* vSphere's VirtualMachineConfigInfo, as the API gives it: the root element is the value of a VM's property `config`. A
   disk's place.path is "[datastore] folder/name.vmdk"; a card on a distributed port group has the group's key as
   network. */
struct vmf_vm *vmf_vm_read_vsphere (const char *text, size_t length, GError **error);
