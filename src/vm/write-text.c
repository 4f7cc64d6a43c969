/* SPDX-License-Identifier: GPL-2.0-or-later */
/* struct vmf_vm to a few lines for people.
 *
 * All text in it is a source's: whatever a terminal would act on is made harmless on the way.
 */
#include "base/text.h"
#include "vm/write.h"

#define SHOWN_MAX 120

/* "  key         value", or nothing where VALUE is NULL. */
static void
add_line (GString *out, const char *key, const char *value)
{
    if (!value || !*value)
        return;
    g_autofree char *shown = vmf_text_printable (value, SHOWN_MAX);
    g_string_append_printf (out, "  %-12s %s\n", key, shown);
}

static void
add_words (GString *words, const char *text)
{
    if (text && *text)
        g_string_append_printf (words, "%s%s", words->len ? ", " : "", text);
}

static char *
place_text (const struct vmf_place *place)
{
    switch (place->location)
    {
    case VMF_LOCATION_NONE:
        return g_strdup ("empty");
    case VMF_LOCATION_NBD:
        if (place->socket)
            return g_strdup_printf ("nbd+unix:///%s?socket=%s", place->export_name ? place->export_name : "",
                                    place->socket);
        return g_strdup_printf ("%s://%s:%u/%s", place->tls ? "nbds" : "nbd", place->host ? place->host : "localhost",
                                place->port ? place->port : 10809, place->export_name ? place->export_name : "");
    case VMF_LOCATION_VOLUME:
        return g_strdup_printf ("volume %s of pool %s", place->volume, place->pool);
    default:
        return g_strdup (place->path);
    }
}

static void
add_disk (GString *out, const struct vmf_disk *disk, unsigned *n)
{
    g_autoptr (GString) words = g_string_new (NULL);
    g_autofree char *place = place_text (&disk->place);
    g_autofree char *size = disk->capacity_bytes ? vmf_text_from_size (disk->capacity_bytes) : NULL;
    add_words (words, place);
    add_words (words, disk->place.format);
    add_words (words, disk->place.gzip ? "gzip" : NULL);
    add_words (words, size);
    if (disk->bus != VMF_BUS_UNKNOWN)
        add_words (words, vmf_bus_name (disk->bus));
    add_words (words, disk->controller_model);
    if (disk->boot_order)
        g_string_append_printf (words, ", boots as %u", disk->boot_order);
    add_words (words, disk->keep_out ? "left out" : NULL);
    g_autofree char *key = NULL;
    if (disk->device == VMF_DEVICE_DISK && !disk->keep_out)
        key = vmf_disk_letter_name ((*n)++);
    add_line (out, key ? key : vmf_device_name (disk->device), words->str);
    for (const struct vmf_place *backing = disk->place.backing; backing; backing = backing->backing)
    {
        g_autofree char *text = place_text (backing);
        add_line (out, "  backed by", text);
    }
}

static void
add_nic (GString *out, const struct vmf_nic *nic)
{
    g_autoptr (GString) words = g_string_new (NULL);
    g_autofree char *network = nic->network ? g_strdup_printf ("on '%s'", nic->network) : NULL;
    add_words (words, nic->id);
    add_words (words, nic->mac);
    add_words (words, nic->model);
    add_words (words, network);
    add_words (words, nic->disconnected ? "not connected" : NULL);
    add_words (words, nic->keep_out ? "left out" : NULL);
    add_line (out, "network", words->str);
}

static void
add_machine (GString *out, const struct vmf_vm *vm)
{
    g_autoptr (GString) firmware = g_string_new (vm->firmware == VMF_FIRMWARE_UEFI ? "UEFI" : "BIOS");
    g_autofree char *memory = vm->memory_bytes ? vmf_text_from_size (vm->memory_bytes) : NULL;
    g_autofree char *cpus = vm->vcpus ? g_strdup_printf ("%u", vm->vcpus) : NULL;
    g_autofree char *topology = vm->sockets ? g_strdup_printf ("%u (%u sockets, %u cores, %u threads)", vm->vcpus,
                                                               vm->sockets, vm->cores, vm->threads)
                                            : NULL;
    g_autofree char *system = vm->os_name && vm->os_id ? g_strdup_printf ("%s (%s)", vm->os_name, vm->os_id) : NULL;
    add_words (firmware, vm->secure_boot ? "Secure Boot" : NULL);
    add_words (firmware, vm->tpm ? "TPM" : NULL);
    add_words (firmware, vm->machine != VMF_MACHINE_UNKNOWN ? vmf_machine_name (vm->machine) : NULL);
    g_autofree char *title = vmf_text_printable (vm->name ? vm->name : "(no name)", SHOWN_MAX);
    g_string_append_printf (out, "%s\n", title);
    add_line (out, "from", vm->origin_product ? vm->origin_product : vmf_origin_name (vm->origin));
    add_line (out, "state", vm->running ? "running" : NULL);
    add_line (out, "description", vm->description);
    add_line (out, "system", system ? system : vm->os_name ? vm->os_name : vm->os_id ? vm->os_id : "not said");
    add_line (out, "processors", topology ? topology : cpus);
    add_line (out, "memory", memory);
    add_line (out, "firmware", firmware->str);
    add_line (out, "uuid", vm->uuid);
}

char *
vmf_vm_write_text (const struct vmf_vm *vm)
{
    GString *out = g_string_new (NULL);
    unsigned n = 0;
    add_machine (out, vm);
    for (unsigned i = 0; vm->disks && i < vm->disks->len; i++)
        add_disk (out, vm->disks->pdata[i], &n);
    for (unsigned i = 0; vm->nics && i < vm->nics->len; i++)
        add_nic (out, vm->nics->pdata[i]);
    for (unsigned i = 0; vm->notes && i < vm->notes->len; i++)
    {
        g_autofree char *shown = vmf_text_printable (vm->notes->pdata[i], 4 * SHOWN_MAX);
        g_string_append_printf (out, "  note         %s\n", shown);
    }
    return g_string_free (out, FALSE);
}
