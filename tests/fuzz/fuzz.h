/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What every fuzz target of a reader asserts: an error that can be shown, or a machine that every writer takes and
 * whose domain can be read back.
 */
#pragma once
#include "vm/read.h"
#include "vm/write.h"

#include <string.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

static inline void
fuzz_write_domain (const struct vmf_vm *vm, enum vmf_bus bus)
{
    static const struct vmf_domain_disk where = { "/srv/disk.qcow2", "qcow2", false };
    unsigned n = 0;
    while (vmf_vm_get_import_disk (vm, n) && n < 64)
        n++;
    g_autofree struct vmf_domain_disk *disks = g_new0 (struct vmf_domain_disk, n + 1);
    for (unsigned i = 0; i < n; i++)
        disks[i] = where;
    const struct vmf_domain_plan plan = { .domain_type = "kvm",
                                          .caps = { .disk_bus = bus, .virtio_net = bus == VMF_BUS_VIRTIO_BLK },
                                          .disks = disks,
                                          .n_disks = n };
    g_autofree char *xml = vmf_vm_write_libvirt (vm, &plan);
    g_autoptr (GPtrArray) changes = vmf_vm_list_changes (vm, &plan);
    g_autoptr (GError) error = NULL;
    g_autoptr (vmf_vm) back = vmf_vm_read_libvirt (xml, strlen (xml), &error);
    if (!back)
        g_error ("the domain that was written cannot be read: %s\n%s", error->message, xml);
    if (g_strcmp0 (back->uuid, vm->uuid) != 0)
        g_error ("the UUID changed on its way");
}

static inline void
fuzz_write_all (const struct vmf_vm *vm, const GError *failed)
{
    if (!vm)
    {
        if (!failed || !*failed->message || !g_utf8_validate (failed->message, -1, NULL))
            g_error ("refused without a sentence");
        return;
    }
    if (failed)
        g_error ("a machine and an error at once");
    json_t *json = vmf_vm_write_json (vm);
    g_autofree char *dump = json_dumps (json, 0);
    json_decref (json);
    g_autofree char *text = vmf_vm_write_text (vm);
    if (!dump || !g_utf8_validate (text, -1, NULL))
        g_error ("a writer failed");
    fuzz_write_domain (vm, VMF_BUS_UNKNOWN);
    fuzz_write_domain (vm, VMF_BUS_VIRTIO_BLK);
}
