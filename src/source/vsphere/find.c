/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which VMs a name may mean, without reading the whole inventory: a path is looked up, otherwise all VMs are asked for
 * their names alone; then the few that are left for what a row is made of, with what is above them, by one question.
 */
#include "source/vsphere/inventory.h"

#include <string.h>

/* Machines a question: of one name there may be one in each of many datacenters. */
#define BATCH 64

static const char what[] = "looking for a VM";

struct search
{
    const char *name;
    GPtrArray *morefs; /* char* */
    unsigned n_seen;
};

/* Is TEXT the name itself, or the last word of a path? */
static bool
may_mean (const char *name, const char *text)
{
    size_t length = strlen (name), n = strlen (text);
    return n > 0 && n <= length && strcmp (name + length - n, text) == 0
           && (n == length || name[length - n - 1] == '/');
}

static void
on_name (xmlNode *object, void *data)
{
    struct search *search = data;
    g_autofree char *moref = vmf_xml_find_text (object, "obj"), *raw = vmf_property_text (object, "name");
    g_autofree char *name = vmf_name_decode (raw ? raw : "");
    search->n_seen++;
    if (moref && (may_mean (search->name, name) || strcmp (search->name, moref) == 0))
        g_ptr_array_add (search->morefs, g_steal_pointer (&moref));
}

static bool
find_by_names (struct vmf_vsphere *vsphere, struct search *search, GCancellable *cancellable, GError **error)
{
    static const char *const paths[] = { "name", NULL };
    return vmf_inventory_each (vsphere, what, paths, on_name, search, cancellable, error);
}

/* "DC0/vm/a/b" of the datacenter DC0 (a path, too) and "a/b", spelled as the server does. Caller frees. */
static char *
make_inventory_path (const char *datacenter, const char *rest)
{
    g_autoptr (GString) path = g_string_new (rest);
    g_string_replace (path, "%", "%25", 0);
    g_string_replace (path, "\\", "%5c", 0);
    return g_strjoin ("/", datacenter, "vm", path->str, NULL);
}

bool
vmf_inventory_look_up (struct vmf_vsphere *vsphere, const char *path, char **type, char **moref, bool *refused,
                       GCancellable *cancellable, GError **error)
{
    enum vmf_fault fault = VMF_FAULT_NONE;
    g_autoptr (GError) failed = NULL;
    struct vmf_call call = { .what = what, .fault = &fault };
    call.request = vmf_request_new ("FindByInventoryPath", "SearchIndex", vsphere->search_index);
    vmf_request_add (call.request, "inventoryPath", path);
    vmf_request_end (call.request);
    xmlDoc *doc = vmf_call_run (vsphere, &call, cancellable, &failed);
    const xmlNode *found = doc ? vmf_xml_child (vmf_answer_response (doc), "returnval") : NULL;
    *type = found ? g_strdup (vmf_node_moref_type (found)) : NULL;
    if (moref)
        *moref = found ? vmf_xml_text (found) : NULL;
    xmlFreeDoc (doc);
    if (!doc && fault == VMF_FAULT_NONE)
        return g_propagate_error (error, g_steal_pointer (&failed)), false;
    *refused = !doc;
    return true;
}

/* Not found, not a VM, or a server that refuses to look: then names are asked for. */
static bool
look_up (struct vmf_vsphere *vsphere, char *path, struct search *search, GCancellable *cancellable, GError **error)
{
    bool refused;
    g_autofree char *type = NULL, *moref = NULL;
    bool good = vmf_inventory_look_up (vsphere, path, &type, &moref, &refused, cancellable, error);
    g_free (path);
    if (g_strcmp0 (type, "VirtualMachine") == 0)
        g_ptr_array_add (search->morefs, g_steal_pointer (&moref));
    return good;
}

/* "DC0/a/b" as it stands; otherwise within the datacenter that the address names. */
static bool
find_by_path (struct vmf_vsphere *vsphere, const struct vmf_vsphere_filter *within, struct search *search,
              GCancellable *cancellable, GError **error)
{
    const char *slash = strchr (search->name, '/');
    if (!slash || slash == search->name || !vsphere->search_index)
        return true;
    g_autofree char *first = g_strndup (search->name, (size_t)(slash - search->name));
    if (!look_up (vsphere, make_inventory_path (first, slash + 1), search, cancellable, error))
        return false;
    return search->morefs->len > 0 || !within || !within->datacenter
           || look_up (vsphere, make_inventory_path (within->datacenter, search->name), search, cancellable, error);
}

/* A VM, and the way up from it and from its host: folders, clusters and datacenters, each once. */
static void
add_with_ancestors (GString *spec, const char *moref)
{
    static const struct
    {
        const char *name, *type, *path;
    } ways[] = { { "up", "ManagedEntity", "parent" }, { "host", "VirtualMachine", "runtime.host" } };
    vmf_request_open (spec, "objectSet", NULL);
    vmf_request_add_moref (spec, "obj", "VirtualMachine", moref);
    vmf_request_add_bool (spec, "skip", false);
    for (size_t i = 0; i < G_N_ELEMENTS (ways); i++)
    {
        vmf_request_open (spec, "selectSet", "TraversalSpec");
        vmf_request_add (spec, "name", ways[i].name);
        vmf_request_add (spec, "type", ways[i].type);
        vmf_request_add (spec, "path", ways[i].path);
        vmf_request_add_bool (spec, "skip", false);
        vmf_request_open (spec, "selectSet", NULL);
        vmf_request_add (spec, "name", ways[0].name);
        vmf_request_close (spec, "selectSet");
        vmf_request_close (spec, "selectSet");
    }
    vmf_request_close (spec, "objectSet");
}

struct reading
{
    struct vmf_tree *tree;
    GHashTable *facts; /* moref → struct vmf_row_facts* */
};

static void
free_facts (void *facts)
{
    vmf_row_facts_clear (facts);
    g_free (facts);
}

static void
on_object (xmlNode *object, void *data)
{
    struct reading *reading = data;
    char *moref = vmf_xml_find_text (object, "obj");
    if (moref && !vmf_tree_has_type (object))
    {
        struct vmf_row_facts *facts = g_new0 (struct vmf_row_facts, 1);
        vmf_row_facts_apply (facts, object);
        g_hash_table_replace (reading->facts, g_steal_pointer (&moref), facts);
    }
    else
        vmf_tree_apply (reading->tree, object);
    g_free (moref);
}

static GPtrArray *
make_rows (const struct reading *reading, const struct vmf_vsphere_filter *within)
{
    GPtrArray *rows = g_ptr_array_new_with_free_func (vmf_row_free);
    GHashTableIter all;
    void *moref, *facts;
    g_hash_table_iter_init (&all, reading->facts);
    while (g_hash_table_iter_next (&all, &moref, &facts))
    {
        struct vmf_vsphere_row *row = vmf_row_new (moref, facts, reading->tree);
        if (vmf_row_is_wanted (row, facts, reading->tree, within, NULL))
            g_ptr_array_add (rows, row);
        else
            vmf_row_free (row);
    }
    g_ptr_array_sort (rows, vmf_row_compare);
    return rows;
}

/* The rows of MOREFS, and their tree. */
static GPtrArray *
read_rows (struct vmf_vsphere *vsphere, const struct vmf_vsphere_filter *within, const GPtrArray *morefs,
           struct vmf_tree **tree, GCancellable *cancellable, GError **error)
{
    g_autoptr (GHashTable) facts = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, free_facts);
    g_autoptr (vmf_tree) above = vmf_tree_new ();
    struct reading reading = { above, facts };
    for (unsigned first = 0; first < morefs->len; first += BATCH)
    {
        GString *spec = g_string_new (NULL);
        vmf_spec_add_paths (spec, "VirtualMachine", vmf_row_paths);
        vmf_tree_add_paths (spec);
        for (unsigned i = first; i < MIN (first + BATCH, morefs->len); i++)
            add_with_ancestors (spec, morefs->pdata[i]);
        if (!vmf_properties_each (vsphere, what, spec, on_object, &reading, cancellable, error))
            return NULL;
    }
    GPtrArray *rows = make_rows (&reading, within);
    vmf_tree_free (*tree);
    *tree = g_steal_pointer (&above);
    return rows;
}

GPtrArray *
vmf_inventory_find_reference (struct vmf_vsphere *vsphere, const char *moref, struct vmf_tree **tree,
                              GCancellable *cancellable, GError **error)
{
    g_autoptr (GPtrArray) morefs = g_ptr_array_new ();
    g_ptr_array_add (morefs, (void *)moref);
    return read_rows (vsphere, NULL, morefs, tree, cancellable, error);
}

GPtrArray *
vmf_inventory_find (struct vmf_vsphere *vsphere, const struct vmf_vsphere_filter *within, const char *name,
                    struct vmf_tree **tree, unsigned *n_seen, GCancellable *cancellable, GError **error)
{
    g_autoptr (GPtrArray) morefs = g_ptr_array_new_with_free_func (g_free);
    struct search search = { .name = name, .morefs = morefs };
    if (!find_by_path (vsphere, within, &search, cancellable, error))
        return NULL;
    if (morefs->len > 0)
    {
        GPtrArray *rows = read_rows (vsphere, within, morefs, tree, cancellable, error);
        if (!rows || rows->len > 0)
            return rows;
        g_ptr_array_unref (rows);
        g_ptr_array_set_size (morefs, 0);
    }
    if (!find_by_names (vsphere, &search, cancellable, error))
        return NULL;
    *n_seen = search.n_seen;
    return read_rows (vsphere, within, morefs, tree, cancellable, error);
}
