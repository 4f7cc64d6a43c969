/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Any bytes through the vsphere reader, and what it makes of them through every writer. See README.md. */
#include "fuzz.h"

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (vmf_vm) vm = vmf_vm_read_vsphere ((const char *)data, size, &error);
    fuzz_write_all (vm, error);
    return 0;
}
