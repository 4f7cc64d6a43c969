/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The VMX reader's own pieces: settings as a table of lower-case key to value, and the devices read from it.
 */
#pragma once
#include "vm/vm.h"

/* The value of "PREFIX.NAME" (PREFIX NULL: of NAME), or NULL. Borrowed. */
const char *vmf_vmx_get (GHashTable *settings, const char *prefix, const char *name);
bool vmf_vmx_is_true (GHashTable *settings, const char *prefix, const char *name);
bool vmf_vmx_is_false (GHashTable *settings, const char *prefix, const char *name);

void vmf_vmx_read_disks (GHashTable *settings, struct vmf_vm *vm);
void vmf_vmx_read_nics (GHashTable *settings, struct vmf_vm *vm);
