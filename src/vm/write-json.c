/* SPDX-License-Identifier: GPL-2.0-or-later */
/* struct vmf_vm to JSON, for programs: docs/vm.schema.json says what each member is.
 *
 * Every member is always there; what is not known is null. Numbers that are not said are null, not 0.
 */
#include "vm/write.h"

static json_t *
text_or_null (const char *text)
{
    if (!text)
        return json_null ();
    g_autofree char *valid = g_utf8_make_valid (text, -1);
    return json_string (valid);
}

static json_t *
number_or_null (uint64_t number)
{
    return number ? json_integer ((json_int_t)number) : json_null ();
}

static json_t *
list_of_text (const GPtrArray *list)
{
    json_t *array = json_array ();
    for (unsigned i = 0; list && i < list->len; i++)
        json_array_append_new (array, text_or_null (list->pdata[i]));
    return array;
}

static const char *
location_name (enum vmf_location location)
{
    static const char *const names[] = { "none", "file", "block", "nbd", "volume", "other" };
    return location < G_N_ELEMENTS (names) ? names[location] : "other";
}

static json_t *
write_place (const struct vmf_place *place)
{
    json_t *object = json_object ();
    json_object_set_new (object, "location", json_string (location_name (place->location)));
    json_object_set_new (object, "path", text_or_null (place->path));
    json_object_set_new (object, "format", text_or_null (place->format));
    json_object_set_new (object, "gzip", json_boolean (place->gzip));
    json_object_set_new (object, "host", text_or_null (place->host));
    json_object_set_new (object, "port", number_or_null (place->port));
    json_object_set_new (object, "socket", text_or_null (place->socket));
    json_object_set_new (object, "export_name", text_or_null (place->export_name));
    json_object_set_new (object, "tls", json_boolean (place->tls));
    json_object_set_new (object, "pool", text_or_null (place->pool));
    json_object_set_new (object, "volume", text_or_null (place->volume));
    return object;
}

static json_t *
write_disk (const struct vmf_disk *disk)
{
    json_t *object = json_object ();
    json_t *chain = json_array ();
    for (const struct vmf_place *place = disk->place.backing; place; place = place->backing)
        json_array_append_new (chain, write_place (place));
    json_object_set_new (object, "id", text_or_null (disk->id));
    json_object_set_new (object, "alias", text_or_null (disk->alias));
    json_object_set_new (object, "device", json_string (vmf_device_name (disk->device)));
    json_object_set_new (object, "place", write_place (&disk->place));
    json_object_set_new (object, "backing", chain);
    json_object_set_new (object, "capacity_bytes", number_or_null (disk->capacity_bytes));
    json_object_set_new (object, "bus", json_string (vmf_bus_name (disk->bus)));
    json_object_set_new (object, "controller_model", text_or_null (disk->controller_model));
    json_object_set_new (object, "controller", json_integer (disk->controller));
    json_object_set_new (object, "unit", json_integer (disk->unit));
    json_object_set_new (object, "boot_order", number_or_null (disk->boot_order));
    json_object_set_new (object, "serial", text_or_null (disk->serial));
    json_object_set_new (object, "read_only", json_boolean (disk->read_only));
    json_object_set_new (object, "shareable", json_boolean (disk->shareable));
    json_object_set_new (object, "keep_out", json_boolean (disk->keep_out));
    return object;
}

static json_t *
write_nic (const struct vmf_nic *nic)
{
    json_t *object = json_object ();
    json_object_set_new (object, "id", text_or_null (nic->id));
    json_object_set_new (object, "mac", text_or_null (nic->mac));
    json_object_set_new (object, "model", text_or_null (nic->model));
    json_object_set_new (object, "network", text_or_null (nic->network));
    json_object_set_new (object, "map_network", text_or_null (nic->map_network));
    json_object_set_new (object, "map_bridge", text_or_null (nic->map_bridge));
    json_object_set_new (object, "virtual_port", text_or_null (nic->virtual_port));
    json_object_set_new (object, "boot_order", number_or_null (nic->boot_order));
    json_object_set_new (object, "disconnected", json_boolean (nic->disconnected));
    json_object_set_new (object, "keep_out", json_boolean (nic->keep_out));
    return object;
}

static json_t *
write_topology (const struct vmf_vm *vm)
{
    if (vm->sockets == 0)
        return json_null ();
    return json_pack ("{s:i, s:i, s:i}", "sockets", (int)vm->sockets, "cores", (int)vm->cores, "threads",
                      (int)vm->threads);
}

static void
write_machine (json_t *object, const struct vmf_vm *vm)
{
    json_object_set_new (object, "name", text_or_null (vm->name));
    json_object_set_new (object, "uuid", text_or_null (vm->uuid));
    json_object_set_new (object, "description", text_or_null (vm->description));
    json_object_set_new (object, "origin", json_string (vmf_origin_name (vm->origin)));
    json_object_set_new (object, "origin_product", text_or_null (vm->origin_product));
    json_object_set_new (object, "arch", text_or_null (vm->arch));
    json_object_set_new (object, "os_id", text_or_null (vm->os_id));
    json_object_set_new (object, "os_name", text_or_null (vm->os_name));
    json_object_set_new (object, "os_windows", json_boolean (vm->os_windows));
    json_object_set_new (object, "memory_bytes", number_or_null (vm->memory_bytes));
    json_object_set_new (object, "vcpus", number_or_null (vm->vcpus));
    json_object_set_new (object, "topology", write_topology (vm));
    json_object_set_new (object, "cpu_model", text_or_null (vm->cpu_model));
    json_object_set_new (object, "firmware", json_string (vmf_firmware_name (vm->firmware)));
    json_object_set_new (object, "secure_boot", json_boolean (vm->secure_boot));
    json_object_set_new (object, "tpm", json_boolean (vm->tpm));
    json_object_set_new (object, "running", json_boolean (vm->running));
    json_object_set_new (object, "machine", json_string (vmf_machine_name (vm->machine)));
    json_object_set_new (object, "machine_type", text_or_null (vm->machine_type));
    json_object_set_new (object, "clock_localtime", json_boolean (vm->clock_localtime));
    json_object_set_new (object, "has_sound", json_boolean (vm->has_sound));
    json_object_set_new (object, "nvram_path", text_or_null (vm->nvram_path));
    json_object_set_new (object, "boot_devices", list_of_text (vm->boot_devices));
}

json_t *
vmf_vm_write_json (const struct vmf_vm *vm)
{
    json_t *object = json_object ();
    json_t *disks = json_array (), *nics = json_array ();
    for (unsigned i = 0; vm->disks && i < vm->disks->len; i++)
        json_array_append_new (disks, write_disk (vm->disks->pdata[i]));
    for (unsigned i = 0; vm->nics && i < vm->nics->len; i++)
        json_array_append_new (nics, write_nic (vm->nics->pdata[i]));
    json_object_set_new (object, "schema_version", json_integer (1));
    write_machine (object, vm);
    json_object_set_new (object, "disks", disks);
    json_object_set_new (object, "nics", nics);
    json_object_set_new (object, "notes", list_of_text (vm->notes));
    return object;
}
