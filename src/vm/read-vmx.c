/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VMware's .vmx to struct vmf_vm: lines of key = "value", keys in any case, |XX for bytes that a value cannot hold.
 *
 * VMware documents only some keys; the rest is what ESXi, Workstation and Fusion are seen to write. The last of two
 * equal keys counts.
 */
#include "vm/read.h"
#include "base/error.h"
#include "base/text.h"
#include "vm/facts.h"
#include "vm/vmx.h"
#include "vm/xml.h"

#include <string.h>

static const char what[] = "the VMX file";

/* "one|0Atwo" to "one\ntwo". false: an escape that makes a NUL. */
static bool
unescape (char *value)
{
    char *to = value;
    for (const char *at = value; *at; at++)
    {
        if (*at == '|' && g_ascii_isxdigit (at[1]) && g_ascii_isxdigit (at[2]))
        {
            int byte = g_ascii_xdigit_value (at[1]) * 16 + g_ascii_xdigit_value (at[2]);
            if (byte == 0)
                return false;
            *to++ = (char)byte;
            at += 2;
        }
        else
            *to++ = *at;
    }
    *to = '\0';
    return true;
}

/* One line, which is changed. Comments and lines without '=' are nothing. */
static bool
read_line (GHashTable *settings, char *line, unsigned number, GError **error)
{
    g_strstrip (line);
    char *equals = strchr (line, '=');
    if (*line == '#' || *line == '\0' || !equals)
        return true;
    *equals = '\0';
    char *value = g_strstrip (equals + 1);
    if (*value == '"')
    {
        value++;
        char *end = strrchr (value, '"');
        if (!end)
        {
            g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT, "%s: line %u: the closing quotation mark is missing",
                         what, number);
            return false;
        }
        *end = '\0';
    }
    if (!unescape (value))
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_UNSAFE, "%s: line %u: the value has a NUL byte (|00)", what, number);
        return false;
    }
    g_hash_table_insert (settings, g_ascii_strdown (g_strstrip (line), -1), g_strdup (value));
    return true;
}

static GHashTable *
read_settings (const char *text, GError **error)
{
    g_autoptr (GHashTable) settings = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
    g_auto (GStrv) lines = g_strsplit (text, "\n", -1);
    for (unsigned i = 0; lines[i]; i++)
        if (!read_line (settings, lines[i], i + 1, error))
            return NULL;
    return g_steal_pointer (&settings);
}

/* The text in UTF-8. Its own .encoding says what it is in; that line is ASCII in every encoding VMware uses. Escapes
   (|E9) are bytes of that encoding too, but VMware only escapes controls, quotes and the bar. */
static char *
to_utf8 (const char *text, size_t length, GError **error)
{
    g_autofree char *copy = g_strndup (text ? text : "", length);
    if (g_utf8_validate (copy, -1, NULL))
        return g_steal_pointer (&copy);
    g_autoptr (GHashTable) settings = read_settings (copy, error);
    if (!settings)
        return NULL;
    const char *encoding = vmf_vmx_get (settings, NULL, ".encoding");
    g_autofree char *name = vmf_text_printable (encoding ? encoding : "UTF-8", 40);
    g_autoptr (GError) failed = NULL;
    char *converted = encoding ? g_convert (copy, -1, "UTF-8", encoding, NULL, NULL, &failed) : NULL;
    if (!converted)
        g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT, "%s is not in the encoding that it names, %s", what, name);
    return converted;
}

const char *
vmf_vmx_get (GHashTable *settings, const char *prefix, const char *name)
{
    g_autofree char *key = prefix ? g_strconcat (prefix, ".", name, NULL) : g_strdup (name);
    g_autofree char *lower = g_ascii_strdown (key, -1);
    const char *value = g_hash_table_lookup (settings, lower);
    return value && *value ? value : NULL;
}

bool
vmf_vmx_is_true (GHashTable *settings, const char *prefix, const char *name)
{
    const char *value = vmf_vmx_get (settings, prefix, name);
    return value && g_ascii_strcasecmp (value, "TRUE") == 0;
}

bool
vmf_vmx_is_false (GHashTable *settings, const char *prefix, const char *name)
{
    const char *value = vmf_vmx_get (settings, prefix, name);
    return value && g_ascii_strcasecmp (value, "FALSE") == 0;
}

static bool
read_sizes (GHashTable *settings, struct vmf_vm *vm, GError **error)
{
    const char *memory = vmf_vmx_get (settings, NULL, "memsize");
    const char *vcpus = vmf_vmx_get (settings, NULL, "numvcpus");
    const char *cores = vmf_vmx_get (settings, NULL, "cpuid.coresPerSocket");
    uint64_t mebibytes = 0, count = 1, per_socket = 0;
    if ((memory && !vmf_text_to_uint64 (memory, "memsize", 0, VMF_MEMORY_MAX_BYTES >> 20, &mebibytes, error))
        || (vcpus && !vmf_text_to_uint64 (vcpus, "numvcpus", 1, VMF_VCPUS_MAX, &count, error))
        || (cores && !vmf_text_to_uint64 (cores, "cpuid.coresPerSocket", 0, VMF_VCPUS_MAX, &per_socket, error)))
        return false;
    vm->memory_bytes = mebibytes << 20;
    vm->vcpus = (unsigned)count;
    if (per_socket > 0)
        vmf_vm_set_topology (vm, count / per_socket, per_socket, 1);
    return true;
}

/* The guest's own words, which VMware Tools left: …prettyName='Red Hat Enterprise Linux 9.3 (Plow)'… */
static char *
pretty_name (GHashTable *settings)
{
    const char *data = vmf_vmx_get (settings, NULL, "guestInfo.detailed.data");
    if (!data)
        data = vmf_vmx_get (settings, NULL, "guestOS.detailed.data");
    const char *start = data ? strstr (data, "prettyName='") : NULL;
    if (!start)
        return NULL;
    start += strlen ("prettyName='");
    const char *end = strchr (start, '\'');
    return end && end > start ? g_strndup (start, (gsize)(end - start)) : NULL;
}

static void
read_boot_order (GHashTable *settings, struct vmf_vm *vm)
{
    static const char *const names[][2] = {
        { "hdd", "hd" }, { "cdrom", "cdrom" }, { "ethernet", "network" }, { "floppy", "fd" }
    };
    const char *order = vmf_vmx_get (settings, NULL, "bios.bootOrder");
    g_auto (GStrv) words = g_strsplit (order ? order : "", ",", 16);
    for (char **word = words; *word; word++)
    {
        g_autofree char *lower = g_ascii_strdown (g_strstrip (*word), -1);
        for (size_t i = 0; i < G_N_ELEMENTS (names); i++)
            if (g_str_has_prefix (lower, names[i][0])
                && !g_ptr_array_find_with_equal_func (vm->boot_devices, names[i][1], g_str_equal, NULL))
                g_ptr_array_add (vm->boot_devices, g_strdup (names[i][1]));
    }
}

static bool
read_machine (GHashTable *settings, struct vmf_vm *vm, GError **error)
{
    vm->origin = VMF_ORIGIN_VMWARE;
    const char *version = vmf_vmx_get (settings, NULL, "virtualHW.version");
    vm->origin_product = g_strdup_printf ("VMware, hardware version %s", version ? version : "unknown");
    vm->name = g_strdup (vmf_vmx_get (settings, NULL, "displayName"));
    vm->description = g_strdup (vmf_vmx_get (settings, NULL, "annotation"));
    vm->uuid = vmf_uuid_from_text (vmf_vmx_get (settings, NULL, "uuid.bios"));
    vm->os_id = g_strdup (vmf_vmx_get (settings, NULL, "guestOS"));
    vm->os_name = pretty_name (settings);
    const char *firmware = vmf_vmx_get (settings, NULL, "firmware");
    if (firmware && g_ascii_strcasecmp (firmware, "efi") == 0)
        vm->firmware = VMF_FIRMWARE_UEFI;
    vm->secure_boot = vm->firmware == VMF_FIRMWARE_UEFI && vmf_vmx_is_true (settings, "uefi.secureBoot", "enabled");
    vm->tpm = vmf_vmx_is_true (settings, "vtpm", "present");
    vm->has_sound = vmf_vmx_is_true (settings, "sound", "present");
    vm->nvram_path = g_strdup (vmf_vmx_get (settings, NULL, "nvram"));
    if (vmf_vmx_get (settings, "encryption", "keySafe"))
        vmf_vm_add_note (vm, "the machine's files are encrypted by VMware; disks that are encrypted cannot be read");
    read_boot_order (settings, vm);
    return read_sizes (settings, vm, error);
}

struct vmf_vm *
vmf_vm_read_vmx (const char *text, size_t length, GError **error)
{
    if (!vmf_text_check (text, length, what, error))
        return NULL;
    g_autofree char *utf8 = to_utf8 (text, length, error);
    if (!utf8)
        return NULL;
    g_autoptr (GHashTable) settings = read_settings (utf8, error);
    if (!settings)
        return NULL;
    if (!vmf_vmx_get (settings, NULL, "config.version") && !vmf_vmx_get (settings, NULL, "virtualHW.version"))
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT,
                     "%s is none: it has neither config.version nor virtualHW.version", what);
        return NULL;
    }
    g_autoptr (vmf_vm) vm = vmf_vm_new ();
    if (!read_machine (settings, vm, error))
    {
        g_prefix_error (error, "%s: ", what);
        return NULL;
    }
    vmf_vmx_read_disks (settings, vm);
    vmf_vmx_read_nics (settings, vm);
    vmf_vm_guess_from_os (vm);
    if (!vmf_vm_check (vm, error))
    {
        g_prefix_error (error, "%s: ", what);
        return NULL;
    }
    return g_steal_pointer (&vm);
}
