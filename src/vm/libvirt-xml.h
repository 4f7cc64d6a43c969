/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The libvirt reader's pieces. */
#pragma once
#include "vm/vm.h"
#include "vm/xml.h"

bool vmf_libvirt_read_disks (struct vmf_vm *vm, const xmlNode *devices, GError **error);
