/* SPDX-License-Identifier: GPL-2.0-or-later */
/* struct vmf_vm: life, death and the lists in it.
 *
 * A place frees its backing chain in a loop: how long a chain is, is up to whoever wrote the description.
 */
#include "vm/vm.h"

static void
clear_one (struct vmf_place *place)
{
    g_free (place->path);
    g_free (place->host);
    g_free (place->socket);
    g_free (place->export_name);
    g_free (place->pool);
    g_free (place->volume);
    g_free (place->format);
}

void
vmf_place_clear (struct vmf_place *place)
{
    struct vmf_place *backing = place->backing;
    clear_one (place);
    *place = (struct vmf_place){ 0 };
    while (backing)
    {
        struct vmf_place *next = backing->backing;
        clear_one (backing);
        g_free (backing);
        backing = next;
    }
}

static void
free_disk (gpointer data)
{
    struct vmf_disk *disk = data;
    vmf_place_clear (&disk->place);
    g_free (disk->id);
    g_free (disk->controller_model);
    g_free (disk->serial);
    g_free (disk->alias);
    g_free (disk);
}

static void
free_nic (gpointer data)
{
    struct vmf_nic *nic = data;
    g_free (nic->id);
    g_free (nic->mac);
    g_free (nic->model);
    g_free (nic->network);
    g_free (nic->map_network);
    g_free (nic->map_bridge);
    g_free (nic->virtual_port);
    g_free (nic);
}

struct vmf_vm *
vmf_vm_new (void)
{
    struct vmf_vm *vm = g_new0 (struct vmf_vm, 1);
    vm->boot_devices = g_ptr_array_new_with_free_func (g_free);
    vm->disks = g_ptr_array_new_with_free_func (free_disk);
    vm->nics = g_ptr_array_new_with_free_func (free_nic);
    vm->notes = g_ptr_array_new_with_free_func (g_free);
    return vm;
}

void
vmf_vm_free (struct vmf_vm *vm)
{
    if (!vm)
        return;
    g_free (vm->name);
    g_free (vm->uuid);
    g_free (vm->description);
    g_free (vm->origin_product);
    g_free (vm->arch);
    g_free (vm->os_id);
    g_free (vm->os_name);
    g_free (vm->cpu_model);
    g_free (vm->machine_type);
    g_free (vm->nvram_path);
    g_clear_pointer (&vm->boot_devices, g_ptr_array_unref);
    g_clear_pointer (&vm->disks, g_ptr_array_unref);
    g_clear_pointer (&vm->nics, g_ptr_array_unref);
    g_clear_pointer (&vm->notes, g_ptr_array_unref);
    g_free (vm);
}

struct vmf_disk *
vmf_vm_add_disk (struct vmf_vm *vm)
{
    struct vmf_disk *disk = g_new0 (struct vmf_disk, 1);
    if (!vm->disks)
        vm->disks = g_ptr_array_new_with_free_func (free_disk);
    g_ptr_array_add (vm->disks, disk);
    return disk;
}

struct vmf_nic *
vmf_vm_add_nic (struct vmf_vm *vm)
{
    struct vmf_nic *nic = g_new0 (struct vmf_nic, 1);
    if (!vm->nics)
        vm->nics = g_ptr_array_new_with_free_func (free_nic);
    g_ptr_array_add (vm->nics, nic);
    return nic;
}

void
vmf_vm_add_note (struct vmf_vm *vm, const char *format, ...)
{
    va_list args;
    va_start (args, format);
    if (!vm->notes)
        vm->notes = g_ptr_array_new_with_free_func (g_free);
    g_ptr_array_add (vm->notes, g_strdup_vprintf (format, args));
    va_end (args);
}

struct vmf_disk *
vmf_vm_get_import_disk (const struct vmf_vm *vm, unsigned n)
{
    for (unsigned i = 0; vm->disks && i < vm->disks->len; i++)
    {
        struct vmf_disk *disk = vm->disks->pdata[i];
        if (disk->device == VMF_DEVICE_DISK && !disk->keep_out && n-- == 0)
            return disk;
    }
    return NULL;
}
