/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vSphere's VirtualMachineConfigInfo to struct vmf_vm; what its elements are is in the vSphere Web Services API
 * reference.
 */
#include "vm/read.h"
#include "base/error.h"
#include "base/text.h"
#include "vm/facts.h"
#include "vm/read-vsphere.h"
#include "vm/xml.h"

#include <string.h>

static const char what[] = "the machine's configuration";

uint64_t
vmf_vsphere_number (const xmlNode *parent, const char *path, uint64_t max)
{
    g_autofree char *text = vmf_xml_find_text (parent, path);
    uint64_t value = 0;
    return text && vmf_text_to_uint64 (text, path, 0, max, &value, NULL) ? value : 0;
}

bool
vmf_vsphere_is_true (const xmlNode *parent, const char *path)
{
    g_autofree char *text = vmf_xml_find_text (parent, path);
    return text && g_ascii_strcasecmp (text, "true") == 0;
}

/* The value of <extraConfig> KEY: what .vmx has besides. Caller frees. */
static char *
extra (const xmlNode *config, const char *key)
{
    for (xmlNode *at = vmf_xml_child (config, "extraConfig"); at; at = vmf_xml_next (at, "extraConfig"))
    {
        g_autofree char *name = vmf_xml_find_text (at, "key");
        if (name && g_ascii_strcasecmp (name, key) == 0)
            return vmf_xml_find_text (at, "value");
    }
    return NULL;
}

/* The guest's own words, which VMware Tools left: …prettyName='Red Hat Enterprise Linux 9.3 (Plow)'… */
static char *
pretty_name (const xmlNode *config)
{
    g_autofree char *data = extra (config, "guestInfo.detailed.data");
    if (!data)
        data = extra (config, "guestOS.detailed.data");
    const char *start = data ? strstr (data, "prettyName='") : NULL;
    if (!start)
        return NULL;
    start += strlen ("prettyName='");
    const char *end = strchr (start, '\'');
    return end && end > start ? g_strndup (start, (gsize)(end - start)) : NULL;
}

static void
read_sizes (const xmlNode *config, struct vmf_vm *vm)
{
    uint64_t cores = vmf_vsphere_number (config, "hardware/numCoresPerSocket", VMF_VCPUS_MAX);
    vm->memory_bytes = vmf_vsphere_number (config, "hardware/memoryMB", VMF_MEMORY_MAX_BYTES >> 20) << 20;
    vm->vcpus = (unsigned)vmf_vsphere_number (config, "hardware/numCPU", VMF_VCPUS_MAX);
    if (cores > 0)
        vmf_vm_set_topology (vm, vm->vcpus / cores, cores, 1);
}

static void
read_machine (const xmlNode *config, struct vmf_vm *vm)
{
    g_autofree char *version = vmf_xml_find_text (config, "version"), *uuid = vmf_xml_find_text (config, "uuid");
    g_autofree char *firmware = vmf_xml_find_text (config, "firmware");
    const char *number = version && g_str_has_prefix (version, "vmx-") ? version + 4 : version;
    vm->origin = VMF_ORIGIN_VMWARE;
    vm->origin_product = g_strdup_printf ("VMware, hardware version %s", number ? number : "unknown");
    vm->name = vmf_xml_find_text (config, "name");
    vm->description = vmf_xml_find_text (config, "annotation");
    vm->uuid = vmf_uuid_from_text (uuid);
    vm->os_id = vmf_xml_find_text (config, "guestId");
    vm->os_name = pretty_name (config);
    if (!vm->os_name)
        vm->os_name = vmf_xml_find_text (config, "guestFullName");
    if (firmware && g_ascii_strcasecmp (firmware, "efi") == 0)
        vm->firmware = VMF_FIRMWARE_UEFI;
    vm->secure_boot =
        vm->firmware == VMF_FIRMWARE_UEFI && vmf_vsphere_is_true (config, "bootOptions/efiSecureBootEnabled");
    vm->nvram_path = extra (config, "nvram");
    if (vmf_xml_child (config, "keyId"))
        vmf_vm_add_note (vm, "the machine's files are encrypted by VMware; disks that are encrypted can be read only "
                             "through VDDK, by a user with the privilege Cryptographer.Access");
    read_sizes (config, vm);
}

struct vmf_vm *
vmf_vm_read_vsphere (const char *text, size_t length, GError **error)
{
    g_autoptr (vmf_xml_doc) doc = vmf_xml_parse (text, length, what, error);
    if (!doc)
        return NULL;
    const xmlNode *config = xmlDocGetRootElement (doc), *hardware = vmf_xml_child (config, "hardware");
    if (!hardware)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT, "%s tells nothing of its hardware", what);
        return NULL;
    }
    if (vmf_vsphere_count_devices (hardware) > VMF_DEVICES_MAX)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_UNSAFE, "%s has more than %d devices", what, VMF_DEVICES_MAX);
        return NULL;
    }
    g_autoptr (vmf_vm) vm = vmf_vm_new ();
    read_machine (config, vm);
    vmf_vsphere_read_devices (hardware, vm);
    vmf_vsphere_read_boot_order (config, hardware, vm);
    vmf_vm_guess_from_os (vm);
    if (!vmf_vm_check (vm, error))
    {
        g_prefix_error (error, "%s: ", what);
        return NULL;
    }
    return g_steal_pointer (&vm);
}
