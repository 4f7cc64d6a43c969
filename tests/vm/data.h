/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Test data by name, and the reader that its name asks for. */
#pragma once
#include "vm/read.h"

static inline char *
read_data (const char *name, size_t *length)
{
    g_autofree char *path = g_test_build_filename (G_TEST_DIST, "vm", "data", name, NULL);
    char *text = NULL;
    g_autoptr (GError) error = NULL;
    if (!g_file_get_contents (path, &text, length, &error))
        g_error ("%s", error->message);
    return text;
}

static inline struct vmf_vm *
read_vm (const char *name)
{
    size_t length = 0;
    g_autofree char *text = read_data (name, &length);
    g_autoptr (GError) error = NULL;
    struct vmf_vm *vm = g_str_has_suffix (name, ".ovf")   ? vmf_vm_read_ovf (text, length, &error)
                        : g_str_has_suffix (name, ".vmx") ? vmf_vm_read_vmx (text, length, &error)
                        : g_str_has_suffix (name, ".vim") ? vmf_vm_read_vsphere (text, length, &error)
                                                          : vmf_vm_read_libvirt (text, length, &error);
    g_assert_no_error (error);
    g_assert_nonnull (vm);
    return vm;
}

static inline struct vmf_disk *
disk_at (const struct vmf_vm *vm, unsigned n)
{
    g_assert_cmpuint (n, <, vm->disks->len);
    return vm->disks->pdata[n];
}

static inline struct vmf_nic *
nic_at (const struct vmf_vm *vm, unsigned n)
{
    g_assert_cmpuint (n, <, vm->nics->len);
    return vm->nics->pdata[n];
}

static inline bool
has_note (const struct vmf_vm *vm, const char *part)
{
    for (unsigned i = 0; i < vm->notes->len; i++)
        if (strstr (vm->notes->pdata[i], part))
            return true;
    return false;
}
