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

#define SYSTEMS_MAX 256
#define SHOWN_MAX 10 /* names in a message */

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

/* The names to choose by: a system's own, or its id where another has the same name. */
static GStrv
unique_names (const GPtrArray *systems)
{
    g_autoptr (GHashTable) seen = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
    GStrv names = g_new0 (char *, systems->len + 1);
    for (unsigned i = 0; i < systems->len; i++)
    {
        names[i] = system_name (systems->pdata[i]);
        if (names[i] && g_hash_table_add (seen, g_strdup (names[i])))
            continue;
        g_free (names[i]);
        char *id = vmf_xml_attribute (systems->pdata[i], "id");
        names[i] = id ? id : g_strdup_printf ("%u", i + 1);
    }
    return names;
}

/* The first few of NAMES but EXCEPT, printable. Caller frees. */
static char *
show_names (const GStrv names, const char *except)
{
    GString *shown = g_string_new (NULL);
    unsigned n = 0;
    for (unsigned i = 0; names[i] && n <= SHOWN_MAX; i++)
    {
        g_autofree char *name = n == SHOWN_MAX ? g_strdup ("...") : vmf_text_printable (names[i], 60);
        if (names[i] != except)
            g_string_append_printf (shown, "%s%s", n++ > 0 ? ", " : "", name);
    }
    return g_string_free (shown, FALSE);
}

/* The system that WANTED names, NULL: the first. A note names the others. */
static xmlNode *
choose_system (const GPtrArray *systems, const char *wanted, struct vmf_vm *vm, GError **error)
{
    g_auto (GStrv) names = unique_names (systems);
    for (unsigned i = 0; i < systems->len; i++)
    {
        g_autofree char *id = vmf_xml_attribute (systems->pdata[i], "id");
        if (wanted && strcmp (names[i], wanted) != 0 && g_strcmp0 (id, wanted) != 0)
            continue;
        g_autofree char *others = show_names (names, names[i]);
        if (systems->len > 1)
            vmf_vm_add_note (vm, "the package holds %u machines; this is one, --vm chooses another: %s", systems->len,
                             others);
        return systems->pdata[i];
    }
    g_autofree char *shown = vmf_text_printable (wanted, 60), *all = show_names (names, NULL);
    g_set_error (error, VMF_ERROR, VMF_ERROR_NOT_FOUND, "%s has no machine '%s'; it has: %s", what, shown, all);
    return NULL;
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

/* xmlNode*, borrowed from DOC: at least one. */
static GPtrArray *
find_systems (xmlDoc *doc, GError **error)
{
    xmlNode *envelope = xmlDocGetRootElement (doc);
    g_autoptr (GPtrArray) systems = g_ptr_array_new ();
    if (vmf_xml_is (envelope, "Envelope"))
        list_systems (envelope, systems);
    if (systems->len > 0 && systems->len <= SYSTEMS_MAX)
        return g_steal_pointer (&systems);
    g_autofree char *root = vmf_text_printable ((const char *)envelope->name, 40);
    if (systems->len == 0)
        g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT, "%s describes no machine: <%s> holds no VirtualSystem", what,
                     root);
    else
        g_set_error (error, VMF_ERROR, VMF_ERROR_UNSAFE, "%s describes %u machines; at most %d are read", what,
                     systems->len, SYSTEMS_MAX);
    return NULL;
}

GStrv
vmf_vm_list_ovf (const char *text, size_t length, GError **error)
{
    g_autoptr (vmf_xml_doc) doc = vmf_xml_parse (text, length, what, error);
    g_autoptr (GPtrArray) systems = doc ? find_systems (doc, error) : NULL;
    return systems ? unique_names (systems) : NULL;
}

struct vmf_vm *
vmf_vm_read_ovf (const char *text, size_t length, GError **error)
{
    return vmf_vm_read_ovf_named (text, length, NULL, error);
}

struct vmf_vm *
vmf_vm_read_ovf_named (const char *text, size_t length, const char *name, GError **error)
{
    g_autoptr (vmf_xml_doc) doc = vmf_xml_parse (text, length, what, error);
    g_autoptr (GPtrArray) systems = doc ? find_systems (doc, error) : NULL;
    g_autoptr (vmf_vm) vm = vmf_vm_new ();
    xmlNode *system = systems ? choose_system (systems, name, vm, error) : NULL;
    if (!system)
        return NULL;
    struct ovf ovf = { .envelope = xmlDocGetRootElement (doc), .vm = vm, .system = system };
    ovf.files = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
    ovf.disks = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
    index_parts (&ovf);
    bool good = read_system (&ovf, error);
    if (!good)
        g_prefix_error (error, "%s: ", what);
    g_hash_table_unref (ovf.files);
    g_hash_table_unref (ovf.disks);
    g_free (ovf.configuration);
    return good ? g_steal_pointer (&vm) : NULL;
}
