/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One machine, found by its name and described in full. */
#include "base/error.h"
#include "base/text.h"
#include "source/vsphere/inventory.h"
#include "source/vsphere/machine.h"
#include "vm/read.h"

#include <string.h>

#define CANDIDATES_SHOWN 8

static const char what[] = "describing a VM";

/* "DC0/folder/name", as paths are given and shown. Caller frees. */
static char *
path_of (const struct vmf_vsphere_row *row)
{
    return *row->folder ? g_strjoin ("/", row->datacenter, row->folder, row->name, NULL)
                        : g_strjoin ("/", row->datacenter, row->name, NULL);
}

static bool
has_path (const struct vmf_vsphere_row *row, const char *name)
{
    g_autofree char *path = path_of (row);
    /* Without the datacenter too. */
    return strcmp (path, name) == 0 || strcmp (path + strlen (row->datacenter) + 1, name) == 0;
}

static bool
has_name (const struct vmf_vsphere_row *row, const char *name)
{
    return strcmp (row->name, name) == 0;
}

static bool
has_moref (const struct vmf_vsphere_row *row, const char *name)
{
    return strcmp (row->moref, name) == 0;
}

static GPtrArray *
find_all (GPtrArray *rows, const char *name, bool (*is) (const struct vmf_vsphere_row *row, const char *name))
{
    GPtrArray *found = g_ptr_array_new ();
    for (unsigned i = 0; i < rows->len; i++)
        if (is (rows->pdata[i], name))
            g_ptr_array_add (found, rows->pdata[i]);
    return found;
}

static void
set_ambiguous (const struct vmf_vsphere *vsphere, const char *name, const GPtrArray *found, GError **error)
{
    g_autoptr (GString) all = g_string_new (NULL);
    for (unsigned i = 0; i < found->len && i < CANDIDATES_SHOWN; i++)
    {
        const struct vmf_vsphere_row *row = found->pdata[i];
        g_autofree char *path = path_of (row);
        g_autofree char *shown = vmf_text_printable (path, 200);
        g_string_append_printf (all, "%s%s (%s)", i ? ", " : "", shown, row->moref);
    }
    g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE,
                 "%s: %u VMs are named '%s': %s%s; name one by its path or reference", vsphere->server, found->len,
                 name, all->str, found->len > CANDIDATES_SHOWN ? " …" : "");
}

/* A name goes before a reference, and that before a path. */
static const struct vmf_vsphere_row *
find_row (const struct vmf_vsphere *vsphere, GPtrArray *rows, const char *name, unsigned n_seen, GError **error)
{
    bool (*const ways[]) (const struct vmf_vsphere_row *, const char *) = { has_name, has_moref, has_path };
    g_autofree char *shown = vmf_text_printable (name, 200);
    for (size_t i = 0; i < G_N_ELEMENTS (ways); i++)
    {
        g_autoptr (GPtrArray) found = find_all (rows, name, ways[i]);
        if (found->len == 1)
            return found->pdata[0];
        if (found->len > 1)
        {
            set_ambiguous (vsphere, shown, found, error);
            return NULL;
        }
    }
    g_set_error (error, VMF_ERROR, VMF_ERROR_NOT_FOUND,
                 "%s: there is no VM '%s' at this address among the %u that the user '%s' can see there",
                 vsphere->server, shown, n_seen, vsphere->user);
    return NULL;
}

/* <val> as a document's text, for the reader, which knows nothing of sessions. */
static struct vmf_vm *
read_vm (const xmlNode *config, GError **error)
{
    xmlDoc *doc = xmlNewDoc ((const xmlChar *)"1.0");
    xmlDocSetRootElement (doc, xmlDocCopyNode ((xmlNode *)config, doc, 1));
    xmlChar *text = NULL;
    int length = 0;
    xmlDocDumpMemory (doc, &text, &length);
    struct vmf_vm *vm = vmf_vm_read_vsphere ((const char *)text, (size_t)length, error);
    xmlFree (text);
    xmlFreeDoc (doc);
    return vm;
}

/* A user who may see the VM need not be one who may see its host: then its name is not known. */
static bool
read_host (struct vmf_vsphere *vsphere, struct vmf_vsphere_machine *machine, GCancellable *cancellable, GError **error)
{
    static const char *const paths[] = { "name", "summary.config.product.version", NULL };
    g_autoptr (GError) failed = NULL;
    if (!machine->host_moref)
        return true;
    xmlDoc *doc = vmf_properties_one (vsphere, what, "HostSystem", machine->host_moref, paths, cancellable, &failed);
    if (failed)
    {
        g_debug ("%s", failed->message);
        return !vmf_error_if_cancelled (cancellable, error);
    }
    const xmlNode *object = xmlDocGetRootElement (doc);
    g_autofree char *name = vmf_property_text (object, "name");
    machine->host_name = name ? vmf_name_decode (name) : NULL;
    machine->host_version = vmf_property_text (object, "summary.config.product.version");
    xmlFreeDoc (doc);
    return true;
}

static void
read_flags (const xmlNode *object, const xmlNode *config, struct vmf_vsphere_machine *machine)
{
    g_autofree char *power = vmf_property_text (object, "runtime.powerState");
    g_autofree char *tools = vmf_property_text (object, "guest.toolsRunningStatus");
    g_autofree char *supported = vmf_property_text (object, "capability.changeTrackingSupported");
    machine->power = vmf_power_from_text (power);
    machine->tools_running = tools && strcmp (tools, "guestToolsRunning") == 0;
    machine->change_tracking = vmf_node_bool (config, "changeTrackingEnabled");
    machine->change_tracking_supported = supported && strcmp (supported, "true") == 0;
    machine->encrypted = vmf_xml_child (config, "keyId") != NULL;
    machine->has_vtpm = machine->vm->tpm;
    machine->vmx_path = vmf_xml_find_text (config, "files/vmPathName");
    machine->host_moref = vmf_property_text (object, "runtime.host");
    for (unsigned i = 0; i < machine->disks->len; i++)
        machine->encrypted |= ((const struct vmf_vsphere_disk *)machine->disks->pdata[i])->encrypted;
}

static bool
fill (struct vmf_vsphere *vsphere, struct vmf_tree *tree, const xmlNode *object, struct vmf_vsphere_machine *machine,
      GCancellable *cancellable, GError **error)
{
    const xmlNode *config = vmf_property_find (object, "config");
    g_autofree char *parent = vmf_property_text (object, "parent");
    if (!config)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED,
                     "its configuration cannot be read: is its host connected, and may the user %s see it?",
                     vsphere->user);
        return false;
    }
    if (!(machine->vm = read_vm (config, error)) || !(machine->disks = vmf_disks_read (config, error)))
        return false;
    machine->snapshots = vmf_snapshots_read (vmf_property_find (object, "snapshot"));
    read_flags (object, config, machine);
    struct vmf_tree_place place = vmf_tree_find (tree, machine->host_moref, parent);
    machine->datacenter = g_strdup (place.datacenter_path);
    g_free (machine->vm->name);
    machine->vm->name = g_strdup (machine->name);
    return vmf_networks_name (vsphere, vmf_property_find (object, "network"), machine->vm, cancellable, error)
           && read_host (vsphere, machine, cancellable, error);
}

static struct vmf_vsphere_machine *
describe_row (struct vmf_vsphere *vsphere, struct vmf_tree *tree, const struct vmf_vsphere_row *row,
              GCancellable *cancellable, GError **error)
{
    static const char *const paths[] = {
        "config",   "parent",  "runtime.powerState",       "runtime.host",
        "snapshot", "network", "guest.toolsRunningStatus", "capability.changeTrackingSupported",
        NULL
    };
    xmlDoc *doc = vmf_properties_one (vsphere, what, "VirtualMachine", row->moref, paths, cancellable, error);
    if (!doc)
        return NULL;
    struct vmf_vsphere_machine *machine = g_new0 (struct vmf_vsphere_machine, 1);
    machine->moref = g_strdup (row->moref);
    machine->name = g_strdup (row->name);
    if (!fill (vsphere, tree, xmlDocGetRootElement (doc), machine, cancellable, error))
    {
        g_autofree char *shown = vmf_text_printable (row->name, 200);
        g_prefix_error (error, "VM '%s' (%s): ", shown, row->moref);
        if (row->problem)
            g_prefix_error (error, "%s; ", row->problem);
        g_clear_pointer (&machine, vmf_vsphere_machine_free);
    }
    xmlFreeDoc (doc);
    return machine;
}

struct vmf_vsphere_machine *
vmf_vsphere_describe_reference (struct vmf_vsphere *vsphere, const char *moref, GCancellable *cancellable,
                                GError **error)
{
    g_autoptr (vmf_tree) tree = NULL;
    g_autoptr (GPtrArray) rows = vmf_inventory_find_reference (vsphere, moref, &tree, cancellable, error);
    const struct vmf_vsphere_row *row = rows ? find_row (vsphere, rows, moref, 0, error) : NULL;
    return row ? describe_row (vsphere, tree, row, cancellable, error) : NULL;
}

/* Without a name: the only one. */
static struct vmf_vsphere_machine *
describe_only (struct vmf_vsphere *vsphere, const struct vmf_vsphere_filter *within, GCancellable *cancellable,
               GError **error)
{
    g_autoptr (GPtrArray) rows = vmf_vsphere_list (vsphere, within, cancellable, error);
    if (!rows)
        return NULL;
    if (rows->len == 1)
        return vmf_vsphere_describe_reference (vsphere, ((struct vmf_vsphere_row *)rows->pdata[0])->moref, cancellable,
                                               error);
    g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE,
                 rows->len == 0 ? "%s: the user '%s' can see no VM at this address"
                                : "%s: which VM? The user '%s' can see %u at this address; name one",
                 vsphere->server, vsphere->user, rows->len);
    return NULL;
}

struct vmf_vsphere_machine *
vmf_vsphere_describe (struct vmf_vsphere *vsphere, const struct vmf_vsphere_filter *within, const char *name,
                      GCancellable *cancellable, GError **error)
{
    unsigned n_seen = 0;
    if (!name)
        return describe_only (vsphere, within, cancellable, error);
    g_autoptr (vmf_tree) tree = NULL;
    g_autoptr (GPtrArray) rows = vmf_inventory_find (vsphere, within, name, &tree, &n_seen, cancellable, error);
    const struct vmf_vsphere_row *row = rows ? find_row (vsphere, rows, name, n_seen, error) : NULL;
    return row ? describe_row (vsphere, tree, row, cancellable, error) : NULL;
}

void
vmf_vsphere_machine_free (struct vmf_vsphere_machine *machine)
{
    if (!machine)
        return;
    vmf_vm_free (machine->vm);
    if (machine->disks)
        g_ptr_array_unref (machine->disks);
    if (machine->snapshots)
        g_ptr_array_unref (machine->snapshots);
    char *texts[] = { machine->moref,        machine->name,       machine->host_moref, machine->host_name,
                      machine->host_version, machine->datacenter, machine->vmx_path };
    for (size_t i = 0; i < G_N_ELEMENTS (texts); i++)
        g_free (texts[i]);
    g_free (machine);
}
