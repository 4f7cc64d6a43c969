/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The user's changes to the description before anything starts (C16): name, size, NICs, disks.
 *
 * A word that names nothing in this VM is an error: a misspelt "sdb" must not become a disk imported by surprise.
 */
#include "base/error.h"
#include "base/text.h"
#include "import/internal.h"

#include <string.h>

static bool usage (GError **error, const char *format, ...) G_GNUC_PRINTF (2, 3);

static bool
usage (GError **error, const char *format, ...)
{
    va_list args;
    va_start (args, format);
    GError *made = g_error_new_valist (VMF_ERROR, VMF_ERROR_USAGE, format, args);
    va_end (args);
    g_propagate_error (error, made);
    return false;
}

/* "bridge:br0", "network:lab", or a bare name: a bridge where it looks like one of the kernel's, a libvirt network
 * else. */
static void
map_nic (struct vmf_nic *nic, const char *target)
{
    g_clear_pointer (&nic->map_network, g_free);
    g_clear_pointer (&nic->map_bridge, g_free);
    nic->keep_out = strcmp (target, "none") == 0;
    g_autofree char *device = g_build_filename ("/sys/class/net", target, "bridge", NULL);
    if (g_str_has_prefix (target, "bridge:"))
        nic->map_bridge = g_strdup (target + strlen ("bridge:"));
    else if (g_str_has_prefix (target, "network:"))
        nic->map_network = g_strdup (target + strlen ("network:"));
    else if (g_regex_match_simple ("^br[0-9]+$", target, 0, 0) || g_file_test (device, G_FILE_TEST_EXISTS))
        nic->map_bridge = g_strdup (target);
    else if (!nic->keep_out)
        nic->map_network = g_strdup (target);
}

/* One --network. "SOURCE=TARGET" maps the NICs on SOURCE, "N=TARGET" NIC N, "TARGET" all that have no map yet. */
static bool
apply_network (struct vmf_vm *vm, const char *word, GError **error)
{
    const char *equals = strrchr (word, '=');
    g_autofree char *source = equals ? g_strndup (word, (gsize)(equals - word)) : NULL;
    const char *target = equals ? equals + 1 : word;
    unsigned matched = 0;
    for (unsigned i = 0; i < vm->nics->len; i++)
    {
        struct vmf_nic *nic = g_ptr_array_index (vm->nics, i);
        g_autofree char *number = g_strdup_printf ("%u", i + 1);
        bool mapped = nic->map_network || nic->map_bridge || nic->keep_out;
        bool match = source ? g_strcmp0 (nic->network, source) == 0 || strcmp (number, source) == 0 : !mapped;
        if (match)
            map_nic (nic, target);
        matched += match;
    }
    if (*target == '\0')
        return usage (error, "--network '%s' names no network of the target", word);
    return !source || matched > 0
           || usage (error, "--network '%s': no NIC of %s is on '%s'; 'vmferry show' lists them", word, vm->name,
                     source);
}

static bool
apply_mac (struct vmf_vm *vm, const char *word, GError **error)
{
    g_auto (GStrv) pair = g_strsplit (word, "=", 2);
    uint64_t number = 0;
    if (!pair[0] || !pair[1] || !vmf_text_to_uint64 (pair[0], "NIC", 1, vm->nics->len, &number, NULL))
        return usage (error, "--mac '%s': write it as N=MAC or N=new, with N from 1 to %u, the NIC's number", word,
                      vm->nics->len);
    struct vmf_nic *nic = g_ptr_array_index (vm->nics, number - 1);
    bool fresh = strcmp (pair[1], "new") == 0;
    if (!fresh && !g_regex_match_simple ("^[0-9a-fA-F][02468aceACE](:[0-9a-fA-F]{2}){5}$", pair[1], 0, 0))
        return usage (error, "--mac '%s': '%s' is not a unicast MAC address like 52:54:00:12:34:56", word, pair[1]);
    g_free (nic->mac);
    guint32 random = g_random_int ();
    nic->mac = fresh
                   ? g_strdup_printf ("52:54:00:%02x:%02x:%02x", random & 0xff, random >> 8 & 0xff, random >> 16 & 0xff)
                   : g_ascii_strdown (pair[1], -1);
    return true;
}

/* One key of a --disk. */
static bool
apply_disk_key (struct import_disk *disk, const char *word, GError **error)
{
    g_auto (GStrv) pair = g_strsplit (word, "=", 2);
    const char *value = pair[1] ? pair[1] : "";
    if (strcmp (word, "skip") == 0)
        disk->disk->keep_out = true;
    else if (strcmp (pair[0], "pool") == 0 && *value)
        disk->pool = (g_free (disk->pool), g_strdup (value));
    else if (strcmp (pair[0], "format") == 0 && (strcmp (value, "raw") == 0 || strcmp (value, "qcow2") == 0))
        disk->format = (g_free (disk->format), g_strdup (value));
    else if (strcmp (pair[0], "allocation") == 0 && (strcmp (value, "full") == 0 || strcmp (value, "thin") == 0))
        disk->preallocate = strcmp (value, "full") == 0;
    else if (strcmp (pair[0], "alias") == 0 && *value)
        disk->disk->alias = (g_free (disk->disk->alias), g_strdup (value));
    else
        return usage (
            error, "--disk: '%s' is none of skip, pool=NAME, format=qcow2|raw, allocation=thin|full, alias=TEXT", word);
    return true;
}

static bool
apply_disk (struct vmf_import *import, const char *word, GError **error)
{
    g_auto (GStrv) halves = g_strsplit (word, ":", 2);
    struct import_disk *disk = NULL;
    for (unsigned i = 0; i < import->n_disks; i++)
        if (g_strcmp0 (import->disks[i].name, halves[0]) == 0 || g_strcmp0 (import->disks[i].disk->id, halves[0]) == 0)
            disk = &import->disks[i];
    if (!disk)
        return usage (error, "--disk '%s': %s has no disk '%s'; 'vmferry show' lists them", word, import->vm->name,
                      halves[0] ? halves[0] : "");
    g_auto (GStrv) keys = g_strsplit (halves[1] ? halves[1] : "", ",", -1);
    for (size_t i = 0; keys[i]; i++)
        if (!apply_disk_key (disk, keys[i], error))
            return false;
    return true;
}

static void
set_string (char **field, const char *value)
{
    if (!value)
        return;
    g_free (*field);
    *field = g_strdup (value);
}

static bool
apply_machine (struct vmf_import *import, GError **error)
{
    const struct vmf_import_options *options = &import->options;
    struct vmf_vm *vm = import->vm;
    set_string (&vm->name, options->name);
    set_string (&vm->cpu_model, options->cpu_model);
    const char *machine_type = vmf_settings_get_string (import->settings, "domain.machine");
    set_string (&vm->machine_type, options->machine_type ? options->machine_type : *machine_type ? machine_type : NULL);
    set_string (&vm->os_name, options->os_name);
    if (options->uuid && strcmp (options->uuid, "new") != 0 && !g_uuid_string_is_valid (options->uuid))
        return usage (error, "--uuid '%s' is neither a UUID nor 'new'", options->uuid);
    g_autofree char *fresh = g_uuid_string_random ();
    set_string (&vm->uuid, options->uuid && strcmp (options->uuid, "new") == 0 ? fresh : options->uuid);
    if (options->firmware && strcmp (options->firmware, "bios") != 0 && strcmp (options->firmware, "uefi") != 0)
        return usage (error, "--firmware '%s' is neither bios nor uefi", options->firmware);
    if (options->firmware)
        vm->firmware = strcmp (options->firmware, "uefi") == 0 ? VMF_FIRMWARE_UEFI : VMF_FIRMWARE_BIOS;
    if (options->memory_bytes)
        vm->memory_bytes = options->memory_bytes;
    if (options->vcpus)
    {
        vm->vcpus = (unsigned)options->vcpus;
        vm->sockets = vm->cores = vm->threads = 0; /* the source's topology does not fit another number */
    }
    return true;
}

/* After --disk: who was skipped leaves, the others get their names by what is left. */
static void
drop_skipped (struct vmf_import *import)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < import->n_disks; i++)
    {
        if (import->disks[i].disk->keep_out)
        {
            import_disk_clear (&import->disks[i]);
            continue;
        }
        import->disks[kept] = import->disks[i];
        g_free (import->disks[kept].name);
        import->disks[kept].name = vmf_disk_letter_name (kept);
        kept++;
    }
    import->n_disks = kept;
}

bool
import_apply (struct vmf_import *import, GError **error)
{
    const struct vmf_import_options *options = &import->options;
    if (!apply_machine (import, error))
        return false;
    for (size_t i = 0; options->networks && options->networks[i]; i++)
        if (!apply_network (import->vm, options->networks[i], error))
            return false;
    for (size_t i = 0; options->macs && options->macs[i]; i++)
        if (!apply_mac (import->vm, options->macs[i], error))
            return false;
    for (size_t i = 0; options->disks && options->disks[i]; i++)
        if (!apply_disk (import, options->disks[i], error))
            return false;
    drop_skipped (import);
    return true;
}
