/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The list of all VMs: few and small properties of each, in pages. */
#include "source/vsphere/inventory.h"
#include "source/vsphere/tags.h"

static const char what[] = "listing the VMs";
static const char *const types[] = { "VirtualMachine", NULL };

struct listing
{
    struct vmf_tree *tree;
    const struct vmf_vsphere_filter *filter;
    GHashTable *tagged; /* morefs that have the filter's tag; NULL: any */
    GPtrArray *rows;
};

static void
on_object (xmlNode *object, void *data)
{
    struct listing *listing = data;
    struct vmf_row_facts facts = { 0 };
    g_autofree char *moref = vmf_xml_find_text (object, "obj");
    if (!moref)
        return;
    vmf_row_facts_apply (&facts, object);
    struct vmf_vsphere_row *row = vmf_row_new (moref, &facts, listing->tree);
    if (vmf_row_is_wanted (row, &facts, listing->tree, listing->filter, listing->tagged))
        g_ptr_array_add (listing->rows, row);
    else
        vmf_row_free (row);
    vmf_row_facts_clear (&facts);
}

bool
vmf_inventory_each (struct vmf_vsphere *vsphere, const char *doing, const char *const *paths, vmf_answer_func on_vm,
                    void *data, GCancellable *cancellable, GError **error)
{
    g_autofree char *view = vmf_vsphere_view_new (vsphere, doing, types, cancellable, error);
    if (!view)
        return false;
    GString *spec = g_string_new (NULL);
    vmf_spec_add_paths (spec, "VirtualMachine", paths);
    vmf_spec_add_view (spec, view);
    bool ok = vmf_properties_each (vsphere, doing, spec, on_vm, data, cancellable, error);
    vmf_view_end (vsphere, view);
    return ok;
}

GPtrArray *
vmf_vsphere_list (struct vmf_vsphere *vsphere, const struct vmf_vsphere_filter *filter, GCancellable *cancellable,
                  GError **error)
{
    g_autoptr (vmf_tree) tree = vmf_tree_read (vsphere, cancellable, error);
    g_autoptr (GHashTable) tagged = NULL;
    g_autoptr (GPtrArray) rows = g_ptr_array_new_with_free_func (vmf_row_free);
    if (!tree)
        return NULL;
    if (filter && filter->tag && *filter->tag && !(tagged = vmf_tags_find (vsphere, filter->tag, cancellable, error)))
        return NULL;
    struct listing listing = { tree, filter, tagged, rows };
    if (!vmf_inventory_each (vsphere, what, vmf_row_paths, on_object, &listing, cancellable, error))
        return NULL;
    g_ptr_array_sort (rows, vmf_row_compare);
    return g_steal_pointer (&rows);
}
