/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What all readers share: limits and spellings.
 *
 * vmf_vm_check() is the one place where the text of a source is judged: readers hand on what they find.
 */
#include "vm/facts.h"
#include "base/error.h"
#include "base/text.h"

#include "vm/xml.h"

#include <string.h>

bool
vmf_text_check (const char *text, size_t length, const char *what, GError **error)
{
    if (length > VMF_TEXT_MAX_BYTES)
    {
        g_autofree char *size = vmf_text_from_size (length);
        g_set_error (error, VMF_ERROR, VMF_ERROR_UNSAFE,
                     "%s has %s, more than the 16 MiB that are read; no description of a machine is that long", what,
                     size);
        return false;
    }
    if (length == 0)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT, "%s is empty", what);
        return false;
    }
    if (memchr (text, '\0', length))
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT, "%s has a NUL byte; it is not text in UTF-8", what);
        return false;
    }
    return true;
}

static bool
check_text (const char *text, const char *what, bool lines, GError **error)
{
    for (const char *at = text; at && *at; at++)
    {
        bool control = g_ascii_iscntrl (*at);
        if (!control || (lines && strchr ("\t\r\n", *at)))
            continue;
        g_autofree char *shown = vmf_text_printable (text, 60);
        g_set_error (error, VMF_ERROR, VMF_ERROR_UNSAFE,
                     "%s '%s' has a control character (0x%02x); edit the description and remove it", what, shown,
                     (unsigned char)*at);
        return false;
    }
    if (text && !g_utf8_validate (text, -1, NULL))
    {
        g_autofree char *shown = vmf_text_printable (text, 60);
        g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT, "%s '%s' is not valid UTF-8", what, shown);
        return false;
    }
    return true;
}

static bool
check_place (const struct vmf_place *place, GError **error)
{
    for (; place; place = place->backing)
        if (!check_text (place->path, "the path of a disk", false, error)
            || !check_text (place->host, "the host of a disk", false, error)
            || !check_text (place->socket, "the socket of a disk", false, error)
            || !check_text (place->export_name, "the export of a disk", false, error)
            || !check_text (place->pool, "the pool of a disk", false, error)
            || !check_text (place->volume, "the volume of a disk", false, error)
            || !check_text (place->format, "the format of a disk", false, error))
            return false;
    return true;
}

static bool
check_disk (const struct vmf_disk *disk, GError **error)
{
    if (disk->capacity_bytes > VMF_CAPACITY_MAX_BYTES)
    {
        g_autofree char *size = vmf_text_from_size (disk->capacity_bytes);
        g_autofree char *id = vmf_text_printable (disk->id ? disk->id : "?", 60);
        g_set_error (error, VMF_ERROR, VMF_ERROR_UNSAFE, "disk %s is said to have %s; at most 64 PiB are believed", id,
                     size);
        return false;
    }
    return check_text (disk->id, "the name of a disk", false, error)
           && check_text (disk->alias, "the alias of a disk", false, error)
           && check_text (disk->serial, "the serial number of a disk", false, error)
           && check_text (disk->controller_model, "the controller of a disk", false, error)
           && check_place (&disk->place, error);
}

static bool
check_nic (const struct vmf_nic *nic, GError **error)
{
    return check_text (nic->id, "the name of a network card", false, error)
           && check_text (nic->model, "the model of a network card", false, error)
           && check_text (nic->network, "the network", false, error)
           && check_text (nic->virtual_port, "the port type of a network card", false, error);
}

static bool
check_size (const struct vmf_vm *vm, GError **error)
{
    if (vm->disks->len + vm->nics->len > VMF_DEVICES_MAX)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_UNSAFE,
                     "the description has %u disks, drives and network cards; at most %d are read",
                     vm->disks->len + vm->nics->len, VMF_DEVICES_MAX);
        return false;
    }
    if (vm->memory_bytes > VMF_MEMORY_MAX_BYTES)
    {
        g_autofree char *size = vmf_text_from_size (vm->memory_bytes);
        g_set_error (error, VMF_ERROR, VMF_ERROR_UNSAFE,
                     "the machine is said to have %s of memory; at most 1 PiB is believed", size);
        return false;
    }
    if (vm->vcpus > VMF_VCPUS_MAX)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_UNSAFE,
                     "the machine is said to have %u virtual processors; at most %d are believed", vm->vcpus,
                     VMF_VCPUS_MAX);
        return false;
    }
    return true;
}

bool
vmf_vm_check (const struct vmf_vm *vm, GError **error)
{
    if (!check_size (vm, error) || !check_text (vm->name, "the name of the machine", false, error)
        || !check_text (vm->description, "the machine's description", true, error)
        || !check_text (vm->origin_product, "the product", false, error)
        || !check_text (vm->arch, "the architecture", false, error)
        || !check_text (vm->os_id, "the operating system", false, error)
        || !check_text (vm->os_name, "the operating system", false, error)
        || !check_text (vm->cpu_model, "the processor model", false, error)
        || !check_text (vm->nvram_path, "the path of the firmware's variables", false, error))
        return false;
    for (unsigned i = 0; i < vm->disks->len; i++)
        if (!check_disk (vm->disks->pdata[i], error))
            return false;
    for (unsigned i = 0; i < vm->nics->len; i++)
        if (!check_nic (vm->nics->pdata[i], error))
            return false;
    return true;
}

/* The hexadecimal digits of TEXT in lower case, or NULL unless there are exactly COUNT and nothing but SEPARATORS
 * between. */
static char *
hex_digits (const char *text, size_t count, const char *separators)
{
    GString *digits = g_string_new (NULL);
    for (; text && *text; text++)
        if (g_ascii_isxdigit (*text))
            g_string_append_c (digits, g_ascii_tolower (*text));
        else if (!strchr (separators, *text))
            break;
    bool good = text && !*text && digits->len == count;
    return g_string_free (digits, !good);
}

char *
vmf_uuid_from_text (const char *text)
{
    g_autofree char *hex = hex_digits (text, 32, "{}- ");
    if (!hex)
        return NULL;
    return g_strdup_printf ("%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
}

char *
vmf_mac_from_text (const char *text)
{
    g_autofree char *hex = hex_digits (text, 12, ":-.");
    if (!hex || g_ascii_xdigit_value (hex[1]) & 1)
        return NULL;
    return g_strdup_printf ("%.2s:%.2s:%.2s:%.2s:%.2s:%.2s", hex, hex + 2, hex + 4, hex + 6, hex + 8, hex + 10);
}

void
vmf_vm_set_mac (struct vmf_vm *vm, struct vmf_nic *nic, const char *text)
{
    g_free (nic->mac);
    nic->mac = vmf_mac_from_text (text);
    if (nic->mac || !text || !*text)
        return;
    g_autofree char *shown = vmf_text_printable (text, 40);
    vmf_vm_add_note (vm, "network card %s is said to have the address '%s', which no card can have; it gets a new one",
                     nic->id ? nic->id : "?", shown);
}

void
vmf_vm_set_topology (struct vmf_vm *vm, uint64_t sockets, uint64_t cores, uint64_t threads)
{
    if (sockets == 0 || cores == 0 || sockets > VMF_VCPUS_MAX || cores > VMF_VCPUS_MAX || threads > VMF_VCPUS_MAX)
        return;
    if (threads == 0)
        threads = 1;
    if (sockets * cores * threads != vm->vcpus)
    {
        vmf_vm_add_note (vm, "%u sockets with %u cores and %u threads are not %u processors; the topology is left out",
                         (unsigned)sockets, (unsigned)cores, (unsigned)threads, vm->vcpus);
        return;
    }
    vm->sockets = (unsigned)sockets;
    vm->cores = (unsigned)cores;
    vm->threads = (unsigned)threads;
}

void
vmf_vm_guess_from_os (struct vmf_vm *vm)
{
    g_autofree char *words = g_strconcat (vm->os_id ? vm->os_id : "", " ", vm->os_name ? vm->os_name : "", NULL);
    g_autofree char *lower = g_ascii_strdown (words, -1);
    g_autofree char *id = g_ascii_strdown (vm->os_id ? vm->os_id : "", -1);
    if (g_str_has_prefix (id, "win") || strstr (lower, "windows") || strstr (lower, "microsoft.com/win"))
        vm->os_windows = true;
    if (vm->arch)
        return;
    if (strstr (lower, "arm64") || strstr (lower, "aarch64") || g_str_has_prefix (id, "arm-")) /* arm-debian12-64 */
        vm->arch = g_strdup ("aarch64");
    else if (strstr (lower, "64guest") || strstr (lower, "_64") || strstr (lower, "-64") || strstr (lower, "64-bit")
             || strstr (lower, "x64"))
        vm->arch = g_strdup ("x86_64");
    else if (strstr (lower, "32-bit"))
        vm->arch = g_strdup ("i686");
}

enum vmf_bus
vmf_bus_from_model (const char *model, enum vmf_bus otherwise)
{
    if (!model)
        return otherwise;
    g_autofree char *lower = g_ascii_strdown (model, -1);
    if (strstr (lower, "virtio"))
        return VMF_BUS_VIRTIO_SCSI;
    if (strstr (lower, "nvme"))
        return VMF_BUS_NVME;
    if (strstr (lower, "ahci") || strstr (lower, "sata"))
        return VMF_BUS_SATA;
    return otherwise;
}

struct order
{
    unsigned rank; /* where the first disk on its bus stood */
    unsigned place;
    struct vmf_disk *disk;
};

static int
compare_order (gconstpointer left, gconstpointer right)
{
    const struct order *a = left, *b = right;
    const unsigned keys[][2] = { { a->rank, b->rank },
                                 { a->disk->controller, b->disk->controller },
                                 { a->disk->unit, b->disk->unit },
                                 { a->place, b->place } };
    for (size_t i = 0; i < G_N_ELEMENTS (keys); i++)
        if (keys[i][0] != keys[i][1])
            return keys[i][0] < keys[i][1] ? -1 : 1;
    return 0;
}

void
vmf_vm_sort_disks (struct vmf_vm *vm)
{
    unsigned first[VMF_BUS_VIRTIO_SCSI + 1];
    for (size_t i = 0; i < G_N_ELEMENTS (first); i++)
        first[i] = G_MAXUINT;
    g_autofree struct order *orders = g_new0 (struct order, vm->disks->len + 1);
    for (unsigned i = 0; i < vm->disks->len; i++)
    {
        struct vmf_disk *disk = vm->disks->pdata[i];
        first[disk->bus] = MIN (first[disk->bus], i);
        orders[i] = (struct order){ first[disk->bus], i, disk };
    }
    qsort (orders, vm->disks->len, sizeof *orders, compare_order);
    for (unsigned i = 0; i < vm->disks->len; i++)
        vm->disks->pdata[i] = orders[i].disk;
}
