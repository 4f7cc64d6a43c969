/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disks, drives and network cards of a .vmx.
 *
 * A device is there when its `present` says TRUE. The guest's firmware sees SCSI disks before SATA, NVMe and IDE ones,
 * and each in the order of controller and unit, unless bios.hddOrder names some first.
 */
#include "base/text.h"
#include "vm/facts.h"
#include "vm/vmx.h"

#include <string.h>

static const struct
{
    const char *prefix;
    enum vmf_bus bus;
} buses[] = {
    { "scsi", VMF_BUS_SCSI },
    { "sata", VMF_BUS_SATA },
    { "nvme", VMF_BUS_NVME },
    { "ide", VMF_BUS_IDE },
};

/* "scsi0:1.present" to bus, controller and unit. */
static bool
parse_slot (const char *key, size_t *bus, unsigned *controller, unsigned *unit)
{
    if (!g_str_has_suffix (key, ".present"))
        return false;
    for (size_t i = 0; i < G_N_ELEMENTS (buses); i++)
    {
        if (!g_str_has_prefix (key, buses[i].prefix))
            continue;
        const char *at = key + strlen (buses[i].prefix);
        g_autofree char *rest = g_strndup (at, strlen (at) - strlen (".present"));
        g_auto (GStrv) parts = g_strsplit (rest, ":", 3);
        uint64_t numbers[2];
        if (!parts[0] || !parts[1] || parts[2]
            || !vmf_text_to_uint64 (parts[0], "controller", 0, 255, &numbers[0], NULL)
            || !vmf_text_to_uint64 (parts[1], "unit", 0, 255, &numbers[1], NULL))
            return false;
        *bus = i;
        *controller = (unsigned)numbers[0];
        *unit = (unsigned)numbers[1];
        return true;
    }
    return false;
}

static bool
is_cdrom (const char *type, const char *file)
{
    g_autofree char *lower = g_ascii_strdown (type ? type : "", -1);
    g_autofree char *name = g_ascii_strdown (file ? file : "", -1);
    return strstr (lower, "cdrom") || (!type && g_str_has_suffix (name, ".iso"));
}

/* What VMware writes where a drive is empty or a host's own. */
static bool
is_no_image (const char *file, const char *type)
{
    static const char *const words[] = { "emptyBackingString", "auto detect", "cdrom0" };
    for (size_t i = 0; file && i < G_N_ELEMENTS (words); i++)
        if (g_ascii_strcasecmp (file, words[i]) == 0)
            return true;
    return !file || (type && g_ascii_strcasecmp (type, "cdrom-image") != 0);
}

static void
read_place (struct vmf_vm *vm, struct vmf_disk *disk, const char *type, const char *file)
{
    if (disk->device == VMF_DEVICE_CDROM)
    {
        if (is_no_image (file, type))
            return;
        disk->place.location = VMF_LOCATION_FILE;
        disk->place.path = g_strdup (file);
        disk->place.format = g_strdup ("raw");
        return;
    }
    if (!file)
    {
        disk->keep_out = true;
        vmf_vm_add_note (vm, "disk %s names no file and is left out", disk->id);
        return;
    }
    bool passed = type && g_ascii_strcasecmp (type, "scsi-passthru") == 0;
    disk->place.location = passed ? VMF_LOCATION_OTHER : VMF_LOCATION_FILE;
    disk->place.path = passed ? g_strdup_printf ("%s, a SCSI device of the VMware host itself", file) : g_strdup (file);
    disk->place.format = g_strdup ("vmdk");
}

static void
read_mode (GHashTable *settings, struct vmf_vm *vm, struct vmf_disk *disk)
{
    const char *mode = vmf_vmx_get (settings, disk->id, "mode");
    const char *sharing = vmf_vmx_get (settings, disk->id, "sharing");
    g_autofree char *controller = g_strndup (disk->id, strcspn (disk->id, ":"));
    const char *bus_sharing = vmf_vmx_get (settings, controller, "sharedBus");
    disk->shareable = (sharing && g_ascii_strcasecmp (sharing, "sharing-multiWriter") == 0)
                      || (bus_sharing && g_ascii_strcasecmp (bus_sharing, "none") != 0);
    if (mode && strstr (mode, "nonpersistent"))
        vmf_vm_add_note (vm, "disk %s forgets what is written at power off (%s); on the target it keeps it", disk->id,
                         mode);
}

static void
read_disk (GHashTable *settings, struct vmf_vm *vm, size_t bus, unsigned controller, unsigned unit)
{
    g_autofree char *name = g_strdup_printf ("%s%u:%u", buses[bus].prefix, controller, unit);
    g_autofree char *adapter = g_strdup_printf ("%s%u", buses[bus].prefix, controller);
    if (vmf_vmx_is_false (settings, adapter, "present"))
        return;
    const char *type = vmf_vmx_get (settings, name, "deviceType");
    const char *file = vmf_vmx_get (settings, name, "fileName");
    struct vmf_disk *disk = vmf_vm_add_disk (vm);
    disk->bus = buses[bus].bus;
    disk->controller = controller;
    disk->unit = unit;
    disk->controller_model = g_strdup (vmf_vmx_get (settings, adapter, "virtualDev"));
    disk->device = is_cdrom (type, file) ? VMF_DEVICE_CDROM : VMF_DEVICE_DISK;
    disk->id = g_steal_pointer (&name);
    read_place (vm, disk, type, file);
    if (disk->device == VMF_DEVICE_DISK)
        read_mode (settings, vm, disk);
}

/* bios.hddOrder = "scsi0:1,ide0:0": these first. */
static void
apply_hdd_order (GHashTable *settings, struct vmf_vm *vm)
{
    const char *order = vmf_vmx_get (settings, NULL, "bios.hddOrder");
    g_auto (GStrv) names = g_strsplit (order ? order : "", ",", 64);
    unsigned front = 0;
    for (char **name = names; *name; name++)
        for (unsigned i = front; i < vm->disks->len; i++)
        {
            struct vmf_disk *disk = vm->disks->pdata[i];
            if (g_ascii_strcasecmp (disk->id, g_strstrip (*name)) != 0)
                continue;
            for (unsigned j = i; j > front; j--)
                vm->disks->pdata[j] = vm->disks->pdata[j - 1];
            vm->disks->pdata[front++] = disk;
            break;
        }
}

static void
read_floppies (GHashTable *settings, struct vmf_vm *vm)
{
    for (unsigned i = 0; i < 2; i++)
    {
        g_autofree char *name = g_strdup_printf ("floppy%u", i);
        if (!vmf_vmx_is_true (settings, name, "present"))
            continue;
        struct vmf_disk *disk = vmf_vm_add_disk (vm);
        disk->device = VMF_DEVICE_FLOPPY;
        disk->bus = VMF_BUS_FDC;
        disk->unit = i;
        disk->id = g_steal_pointer (&name);
    }
}

/* Numbers; for disks a slot: by bus as VMware's firmware goes, whose index is in the upper bits, controller, unit. */
static int
compare_slots (gconstpointer left, gconstpointer right)
{
    guint a = *(const guint *)left, b = *(const guint *)right;
    return a < b ? -1 : a > b;
}

void
vmf_vmx_read_disks (GHashTable *settings, struct vmf_vm *vm)
{
    g_autoptr (GArray) slots = g_array_new (FALSE, FALSE, sizeof (guint));
    GHashTableIter iter;
    gpointer key, value;
    g_hash_table_iter_init (&iter, settings);
    while (g_hash_table_iter_next (&iter, &key, &value))
    {
        size_t bus;
        unsigned controller, unit;
        if (g_ascii_strcasecmp (value, "TRUE") != 0 || !parse_slot (key, &bus, &controller, &unit))
            continue;
        guint slot = (guint)bus << 16 | controller << 8 | unit;
        g_array_append_val (slots, slot);
    }
    g_array_sort (slots, compare_slots);
    for (guint i = 0; i < slots->len; i++)
    {
        guint slot = g_array_index (slots, guint, i);
        /* "scsi0:1" and "scsi00:01" are one. */
        if (i == 0 || slot != g_array_index (slots, guint, i - 1))
            read_disk (settings, vm, slot >> 16, slot >> 8 & 255, slot & 255);
    }
    apply_hdd_order (settings, vm);
    read_floppies (settings, vm);
}

static void
read_nic (GHashTable *settings, struct vmf_vm *vm, const char *name)
{
    static const char *const networks[] = { "networkName", "dvs.portgroupId", "vnet", "connectionType" };
    /* addressType is "static", or "generated" or "vpx"; what the other one says is left over from before. */
    const char *type = vmf_vmx_get (settings, name, "addressType");
    bool fixed = type && g_ascii_strcasecmp (type, "static") == 0;
    const char *const addresses[] = { fixed ? "address" : "generatedAddress", fixed ? "generatedAddress" : "address" };
    const char *address = NULL;
    struct vmf_nic *nic = vmf_vm_add_nic (vm);
    nic->id = g_strdup (name);
    nic->model = g_strdup (vmf_vmx_get (settings, name, "virtualDev"));
    for (size_t i = 0; i < G_N_ELEMENTS (networks) && !nic->network; i++)
        nic->network = g_strdup (vmf_vmx_get (settings, name, networks[i]));
    for (size_t i = 0; i < G_N_ELEMENTS (addresses) && !(address && *address); i++)
        address = vmf_vmx_get (settings, name, addresses[i]);
    vmf_vm_set_mac (vm, nic, address);
    nic->disconnected = vmf_vmx_is_false (settings, name, "startConnected");
}

/* "ethernet12.present" to 12. */
static bool
parse_nic (const char *key, guint *number)
{
    if (!g_str_has_prefix (key, "ethernet") || !g_str_has_suffix (key, ".present"))
        return false;
    const char *at = key + strlen ("ethernet");
    g_autofree char *digits = g_strndup (at, strlen (at) - strlen (".present"));
    uint64_t value;
    /* A name with leading zeroes would not be found again. */
    if ((digits[0] == '0' && digits[1]) || !vmf_text_to_uint64 (digits, "card", 0, 65535, &value, NULL))
        return false;
    *number = (guint)value;
    return true;
}

void
vmf_vmx_read_nics (GHashTable *settings, struct vmf_vm *vm)
{
    g_autoptr (GArray) numbers = g_array_new (FALSE, FALSE, sizeof (guint));
    GHashTableIter iter;
    gpointer key, value;
    g_hash_table_iter_init (&iter, settings);
    while (g_hash_table_iter_next (&iter, &key, &value))
    {
        guint number;
        if (g_ascii_strcasecmp (value, "TRUE") == 0 && parse_nic (key, &number))
            g_array_append_val (numbers, number);
    }
    g_array_sort (numbers, compare_slots);
    for (guint i = 0; i < numbers->len; i++)
    {
        g_autofree char *name = g_strdup_printf ("ethernet%u", g_array_index (numbers, guint, i));
        read_nic (settings, vm, name);
    }
}
