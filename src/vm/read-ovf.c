/* SPDX-License-Identifier: GPL-2.0-or-later */
/* OVF 1.x, 2.0 (DMTF DSP0243) and oVirt's 0.9 to struct vmf_vm: the envelope.
 *
 * The three dialects differ less than they look: sections by name or by xsi:type, and one section of the vendor's own.
 * What VMware cannot say in OVF stands in vmw:Config and vmw:ExtraConfig as key and value.
 */
#include "base/error.h"
#include "base/text.h"
#include "vm/facts.h"
#include "vm/ovf.h"
#include "vm/read.h"

#include <string.h>

static const char what[] = "the OVF descriptor";

xmlNode *
vmf_ovf_section (const xmlNode *parent, const char *name)
{
    xmlNode *section = vmf_xml_child (parent, name);
    g_autofree char *type = g_strconcat (name, "_Type", NULL);
    for (xmlNode *node = vmf_xml_child (parent, "Section"); node && !section; node = vmf_xml_next (node, "Section"))
    {
        g_autofree char *written = vmf_xml_attribute (node, "type");
        const char *colon = written ? strrchr (written, ':') : NULL;
        if (written && strcmp (colon ? colon + 1 : written, type) == 0)
            section = node;
    }
    return section;
}

static char *
system_name (const xmlNode *system)
{
    xmlNode *hardware = vmf_ovf_section (system, "VirtualHardwareSection");
    char *name = vmf_xml_find_text (system, "Name");
    if (!name)
        name = vmf_xml_find_text (hardware, "System/VirtualSystemIdentifier");
    if (!name)
        name = vmf_xml_attribute (system, "id");
    return name;
}

/* Collections may be nested; libxml2 bounds the depth to 256. */
static void
list_systems (const xmlNode *parent, GPtrArray *systems)
{
    for (xmlNode *node = vmf_xml_child (parent, NULL); node; node = vmf_xml_next (node, NULL))
        if (vmf_xml_is (node, "VirtualSystem") || vmf_xml_is (node, "Content"))
            g_ptr_array_add (systems, node);
        else if (vmf_xml_is (node, "VirtualSystemCollection"))
            list_systems (node, systems);
}

static void
note_others (struct vmf_vm *vm, const GPtrArray *systems)
{
    GString *names = g_string_new (NULL);
    for (unsigned i = 1; i < systems->len && i <= 10; i++)
    {
        g_autofree char *name = system_name (systems->pdata[i]);
        g_autofree char *shown = vmf_text_printable (name ? name : "?", 60);
        g_string_append_printf (names, "%s%s", i > 1 ? ", " : "", shown);
    }
    if (systems->len > 11)
        g_string_append (names, ", ...");
    if (systems->len > 1)
        vmf_vm_add_note (vm, "the package holds %u machines; only the first is read, not: %s", systems->len,
                         names->str);
    g_string_free (names, TRUE);
}

static void
index_by (GHashTable *table, xmlNode *node, const char *attribute)
{
    char *key = vmf_xml_attribute (node, attribute);
    if (key && !g_hash_table_contains (table, key))
        g_hash_table_insert (table, key, node);
    else
        g_free (key);
}

static void
index_parts (struct ovf *ovf)
{
    xmlNode *references = vmf_xml_child (ovf->envelope, "References");
    for (xmlNode *file = vmf_xml_child (references, "File"); file; file = vmf_xml_next (file, "File"))
    {
        index_by (ovf->files, file, "id");
        index_by (ovf->files, file, "href");
    }
    xmlNode *section = vmf_ovf_section (ovf->envelope, "DiskSection");
    for (xmlNode *disk = vmf_xml_child (section, "Disk"); disk; disk = vmf_xml_next (disk, "Disk"))
    {
        index_by (ovf->disks, disk, "diskId");
        index_by (ovf->disks, disk, "fileRef");
    }
    xmlNode *options = vmf_ovf_section (ovf->envelope, "DeploymentOptionSection");
    xmlNode *first = vmf_xml_child (options, "Configuration");
    for (xmlNode *option = first; option; option = vmf_xml_next (option, "Configuration"))
        if (vmf_xml_attribute_is (option, "default", "true"))
            first = option;
    ovf->configuration = vmf_xml_attribute (first, "id");
}

static void
set_origin (struct ovf *ovf)
{
    struct vmf_vm *vm = ovf->vm;
    char *type = vmf_xml_find_text (ovf->hardware, "System/VirtualSystemType");
    g_autofree char *lower = g_ascii_strdown (type ? type : "", -1);
    vm->origin_product = type;
    ovf->ovirt = vmf_xml_is (ovf->system, "Content") || g_str_has_prefix (lower, "engine") || strstr (lower, "ovirt")
                 || strstr (lower, "rhev") || vmf_xml_child (ovf->system, "BiosType");
    if (ovf->ovirt)
        vm->origin = VMF_ORIGIN_OVIRT;
    else if (g_str_has_prefix (lower, "virtualbox"))
        vm->origin = VMF_ORIGIN_VIRTUALBOX;
    else if (strstr (lower, "vmx-"))
        vm->origin = VMF_ORIGIN_VMWARE;
    else if (g_str_has_prefix (lower, "xen-3"))
        vm->origin = VMF_ORIGIN_XEN_PV;
    else if (g_str_has_prefix (lower, "hvm-3"))
        vm->origin = VMF_ORIGIN_XEN_HVM;
    else if (!type
             && xmlSearchNsByHref (ovf->envelope->doc, ovf->envelope,
                                   (const xmlChar *)"http://www.vmware.com/schema/ovf"))
        vm->origin = VMF_ORIGIN_VMWARE;
}

static void
read_os (struct ovf *ovf)
{
    struct vmf_vm *vm = ovf->vm;
    xmlNode *os = vmf_ovf_section (ovf->system, "OperatingSystemSection");
    vm->os_name = vmf_xml_find_text (os, "Description");
    vm->os_id = vmf_xml_attribute (os, "osType");
    if (!vm->os_id)
        vm->os_id = vmf_xml_find_text (os, "OSType");
    if (!vm->os_id && ovf->ovirt)
        vm->os_id = g_strdup (vm->os_name);
    g_autofree char *number = vmf_xml_attribute (os, "id");
    if (!vm->os_id && number)
        vm->os_id = g_strdup_printf ("cim:%s", number);
}

/* vmw:Config and vmw:ExtraConfig, which may stand in the hardware section or in the system. */
static void
read_config (struct vmf_vm *vm, const xmlNode *parent)
{
    for (xmlNode *node = vmf_xml_child (parent, NULL); node; node = vmf_xml_next (node, NULL))
    {
        if (!vmf_xml_is (node, "Config") && !vmf_xml_is (node, "ExtraConfig"))
            continue;
        g_autofree char *key = vmf_xml_attribute (node, "key");
        g_autofree char *value = vmf_xml_attribute (node, "value");
        if (!key || !value)
            continue;
        bool on = g_ascii_strcasecmp (value, "true") == 0;
        if (g_ascii_strcasecmp (key, "firmware") == 0 && g_ascii_strcasecmp (value, "efi") == 0)
            vm->firmware = VMF_FIRMWARE_UEFI;
        else if (g_ascii_strcasecmp (key, "uefi.secureBoot.enabled") == 0
                 || g_ascii_strcasecmp (key, "bootOptions.efiSecureBootEnabled") == 0)
            vm->secure_boot = vm->secure_boot || on;
        else if (g_ascii_strcasecmp (key, "vtpm.present") == 0)
            vm->tpm = vm->tpm || on;
        else if ((g_ascii_strcasecmp (key, "uuid") == 0 || g_ascii_strcasecmp (key, "uuid.bios") == 0) && !vm->uuid)
            vm->uuid = vmf_uuid_from_text (value);
    }
}

static bool
read_system (struct ovf *ovf, GError **error)
{
    struct vmf_vm *vm = ovf->vm;
    ovf->hardware = vmf_ovf_section (ovf->system, "VirtualHardwareSection");
    vm->name = system_name (ovf->system);
    vm->description = vmf_xml_find_text (ovf->system, "AnnotationSection/Annotation");
    set_origin (ovf);
    read_os (ovf);
    if (!ovf->hardware)
        vmf_vm_add_note (vm, "the descriptor has no VirtualHardwareSection: processors, memory and disks are not said");
    if (!vmf_ovf_check_files (ovf, error) || !vmf_ovf_read_hardware (ovf, error))
        return false;
    read_config (vm, ovf->hardware);
    read_config (vm, ovf->system);
    vmf_ovf_read_vbox (ovf);
    if (ovf->ovirt && !vmf_ovirt_read_system (ovf, error))
        return false;
    g_autofree char *id = vmf_xml_attribute (ovf->system, "id");
    if (!vm->uuid && ovf->ovirt)
        vm->uuid = vmf_uuid_from_text (id);
    vmf_vm_guess_from_os (vm);
    vm->secure_boot = vm->secure_boot && vm->firmware == VMF_FIRMWARE_UEFI;
    return vmf_vm_check (vm, error);
}

struct vmf_vm *
vmf_vm_read_ovf (const char *text, size_t length, GError **error)
{
    g_autoptr (vmf_xml_doc) doc = vmf_xml_parse (text, length, what, error);
    if (!doc)
        return NULL;
    struct ovf ovf = { .envelope = xmlDocGetRootElement (doc) };
    g_autoptr (GPtrArray) systems = g_ptr_array_new ();
    if (vmf_xml_is (ovf.envelope, "Envelope"))
        list_systems (ovf.envelope, systems);
    if (systems->len == 0)
    {
        g_autofree char *root = vmf_text_printable ((const char *)ovf.envelope->name, 40);
        g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT, "%s describes no machine: <%s> holds no VirtualSystem", what,
                     root);
        return NULL;
    }
    g_autoptr (vmf_vm) vm = vmf_vm_new ();
    ovf.vm = vm;
    ovf.system = systems->pdata[0];
    ovf.files = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
    ovf.disks = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
    note_others (vm, systems);
    index_parts (&ovf);
    bool good = read_system (&ovf, error);
    if (!good)
        g_prefix_error (error, "%s: ", what);
    g_hash_table_unref (ovf.files);
    g_hash_table_unref (ovf.disks);
    g_free (ovf.configuration);
    return good ? g_steal_pointer (&vm) : NULL;
}
