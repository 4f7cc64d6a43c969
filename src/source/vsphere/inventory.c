/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The list of all VMs: few and small properties of each, in pages; what cannot be read of one is said in its row. */
#include "source/vsphere/inventory.h"
#include "base/error.h"
#include "base/text.h"
#include "source/vsphere/tags.h"
#include "source/vsphere/tree.h"

#include <string.h>

/* What a row is made of, and where its value goes. */
enum path
{
    PATH_NAME,
    PATH_PARENT,
    PATH_HOST,
    PATH_POWER,
    PATH_CONNECTION,
    PATH_GUEST_ID,
    PATH_GUEST_NAME,
    PATH_TEMPLATE,
    PATH_DISKS,
    PATH_COMMITTED,
    PATH_UNCOMMITTED,
    N_PATHS,
};

static const char *const paths[N_PATHS + 1] = {
    [PATH_NAME] = "name",
    [PATH_PARENT] = "parent",
    [PATH_HOST] = "runtime.host",
    [PATH_POWER] = "runtime.powerState",
    [PATH_CONNECTION] = "runtime.connectionState",
    [PATH_GUEST_ID] = "summary.config.guestId",
    [PATH_GUEST_NAME] = "summary.config.guestFullName",
    [PATH_TEMPLATE] = "summary.config.template",
    [PATH_DISKS] = "summary.config.numVirtualDisks",
    [PATH_COMMITTED] = "summary.storage.committed",
    [PATH_UNCOMMITTED] = "summary.storage.uncommitted",
};

struct listing
{
    struct vmf_tree *tree;
    const struct vmf_vsphere_filter *filter;
    GHashTable *tagged; /* morefs that have the filter's tag; NULL: any */
    GPtrArray *rows;
};

static void
free_row (void *data)
{
    struct vmf_vsphere_row *row = data;
    char *texts[] = { row->moref,  row->name,  row->host,    row->cluster, row->datacenter,
                      row->folder, row->os_id, row->os_name, row->problem };
    for (size_t i = 0; i < G_N_ELEMENTS (texts); i++)
        g_free (texts[i]);
    g_free (row);
}

enum vmf_vsphere_power
vmf_power_from_text (const char *text)
{
    return !text                              ? VMF_POWER_UNKNOWN
           : strcmp (text, "poweredOn") == 0  ? VMF_POWER_ON
           : strcmp (text, "poweredOff") == 0 ? VMF_POWER_OFF
           : strcmp (text, "suspended") == 0  ? VMF_POWER_SUSPENDED
                                              : VMF_POWER_UNKNOWN;
}

/* All <val> of an object, by the table of paths: one walk instead of one for each. */
static void
collect (const xmlNode *object, const xmlNode **values)
{
    for (const xmlNode *set = vmf_xml_child (object, "propSet"); set; set = vmf_xml_next (set, "propSet"))
        for (unsigned i = 0; i < N_PATHS; i++)
            if (!values[i] && vmf_node_child_is (set, "name", paths[i]))
            {
                values[i] = vmf_xml_child (set, "val");
                break;
            }
}

static uint64_t
number_of (const xmlNode *value)
{
    g_autofree char *text = vmf_xml_text (value);
    uint64_t number = 0;
    return text && vmf_text_to_uint64 (text, "number", 0, G_MAXINT64, &number, NULL) ? number : 0;
}

/* A property that the server has none of is no fault; one that it refuses is. */
static char *
find_refusal (const xmlNode *object)
{
    for (const xmlNode *set = vmf_xml_child (object, "missingSet"); set; set = vmf_xml_next (set, "missingSet"))
    {
        const xmlNode *fault = vmf_xml_find (set, "fault/fault");
        g_autofree char *type = vmf_fault_type (fault), *path = vmf_xml_find_text (set, "path");
        if (strcmp (type, "InvalidProperty") == 0)
            continue;
        g_autofree char *privilege = vmf_xml_find_text (fault, "privilegeId");
        g_autofree char *problem =
            privilege ? g_strdup_printf ("no permission to read it: privilege %s is missing", privilege)
                      : g_strdup_printf ("%s cannot be read: %s", path ? path : "a property", type);
        return vmf_text_printable (problem, 200);
    }
    return NULL;
}

static char *
find_problem (const xmlNode *object, const char *connection, const char *host_state)
{
    static const char *const states[][2] = {
        { "disconnected", "its ESXi host is disconnected from the vCenter" },
        { "inaccessible", "its files cannot be reached: a datastore is gone" },
        { "invalid", "its configuration file is damaged" },
        { "orphaned", "its ESXi host knows nothing of it (orphaned)" },
    };
    char *refusal = find_refusal (object);
    if (refusal)
        return refusal;
    for (size_t i = 0; connection && i < G_N_ELEMENTS (states); i++)
        if (strcmp (connection, states[i][0]) == 0)
            return g_strdup (states[i][1]);
    if (strcmp (host_state, "notResponding") == 0)
        return g_strdup ("its ESXi host does not respond");
    return NULL;
}

static struct vmf_vsphere_row *
make_row (const xmlNode *object, struct vmf_tree *tree, struct vmf_tree_place *where)
{
    const xmlNode *values[N_PATHS] = { NULL };
    collect (object, values);
    struct vmf_vsphere_row *row = g_new0 (struct vmf_vsphere_row, 1);
    g_autofree char *name = vmf_xml_text (values[PATH_NAME]), *power = vmf_xml_text (values[PATH_POWER]);
    g_autofree char *connection = vmf_xml_text (values[PATH_CONNECTION]);
    g_autofree char *template = vmf_xml_text (values[PATH_TEMPLATE]);
    g_autofree char *host = vmf_xml_text (values[PATH_HOST]), *parent = vmf_xml_text (values[PATH_PARENT]);
    struct vmf_tree_place place = *where = vmf_tree_find (tree, host, parent);
    row->moref = vmf_xml_find_text (object, "obj");
    row->name = vmf_name_decode (name ? name : row->moref ? row->moref : "");
    row->host = g_strdup (place.host);
    row->cluster = g_strdup (place.cluster);
    row->datacenter = g_strdup (place.datacenter);
    row->folder = g_strdup (place.folder);
    row->os_id = vmf_xml_text (values[PATH_GUEST_ID]);
    row->os_name = vmf_xml_text (values[PATH_GUEST_NAME]);
    row->power = vmf_power_from_text (power);
    row->is_template = template && strcmp (template, "true") == 0;
    row->n_disks = (unsigned)number_of (values[PATH_DISKS]);
    row->capacity_bytes = number_of (values[PATH_COMMITTED]) + number_of (values[PATH_UNCOMMITTED]);
    row->problem = find_problem (object, connection, place.host_state);
    return row;
}

/* PATTERN NULL: any. Both sides without regard to case. */
static bool
matches (const char *pattern, const char *text)
{
    if (!pattern || !*pattern)
        return true;
    g_autofree char *folded_pattern = g_utf8_casefold (pattern, -1), *folded = g_utf8_casefold (text ? text : "", -1);
    return strcmp (folded_pattern, folded) == 0 || g_pattern_match_simple (folded_pattern, folded);
}

/* A folder's pattern takes what is below it too. */
static bool
matches_folder (const char *pattern, const char *folder)
{
    if (!pattern || matches (pattern, folder))
        return true;
    g_autofree char *below = g_strconcat (pattern, "/*", NULL);
    return matches (below, folder);
}

static bool
is_wanted (const struct listing *listing, const struct vmf_vsphere_row *row, const struct vmf_tree_place *where)
{
    const struct vmf_vsphere_filter *filter = listing->filter;
    if (!row->moref)
        return false;
    if (!filter)
        return true;
    return matches (filter->name, row->name) && matches (filter->host, row->host)
           && matches (filter->cluster, row->cluster)
           && (matches (filter->datacenter, row->datacenter) || matches (filter->datacenter, where->datacenter_path))
           && matches_folder (filter->folder, row->folder)
           && (matches (filter->os, row->os_id) || matches (filter->os, row->os_name))
           && (filter->power == VMF_POWER_UNKNOWN || filter->power == row->power)
           && (!listing->tagged || g_hash_table_contains (listing->tagged, row->moref));
}

static void
on_object (xmlNode *object, void *data)
{
    struct listing *listing = data;
    struct vmf_tree_place where;
    struct vmf_vsphere_row *row = make_row (object, listing->tree, &where);
    if (is_wanted (listing, row, &where))
        g_ptr_array_add (listing->rows, row);
    else
        free_row (row);
}

static int
compare_names (gconstpointer left, gconstpointer right)
{
    const struct vmf_vsphere_row *a = *(struct vmf_vsphere_row *const *)left,
                                 *b = *(struct vmf_vsphere_row *const *)right;
    int order = strcmp (a->name, b->name);
    return order ? order : strcmp (a->moref, b->moref);
}

GPtrArray *
vmf_inventory_list (struct vmf_vsphere *vsphere, struct vmf_tree *tree, const struct vmf_vsphere_filter *filter,
                    GCancellable *cancellable, GError **error)
{
    static const char *const types[] = { "VirtualMachine", NULL };
    static const char what[] = "listing the VMs";
    g_autoptr (GHashTable) tagged = NULL;
    g_autoptr (GPtrArray) rows = g_ptr_array_new_with_free_func (free_row);
    if (filter && filter->tag && *filter->tag && !(tagged = vmf_tags_find (vsphere, filter->tag, cancellable, error)))
        return NULL;
    g_autofree char *view = vmf_vsphere_view_new (vsphere, what, types, cancellable, error);
    if (!view)
        return NULL;
    struct listing listing = { tree, filter, tagged, rows };
    GString *spec = g_string_new (NULL);
    vmf_spec_add_paths (spec, "VirtualMachine", paths);
    vmf_spec_add_view (spec, view);
    bool ok = vmf_properties_each (vsphere, what, spec, on_object, &listing, cancellable, error);
    vmf_view_end (vsphere, view);
    if (!ok)
        return NULL;
    g_ptr_array_sort (rows, compare_names);
    return g_steal_pointer (&rows);
}

GPtrArray *
vmf_vsphere_list (struct vmf_vsphere *vsphere, const struct vmf_vsphere_filter *filter, GCancellable *cancellable,
                  GError **error)
{
    g_autoptr (vmf_tree) tree = vmf_tree_read (vsphere, cancellable, error);
    return tree ? vmf_inventory_list (vsphere, tree, filter, cancellable, error) : NULL;
}
