/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The inventory's skeleton, as a table by reference. */
#include "source/vsphere/tree.h"

#include <string.h>

/* No inventory is as deep; a ring of parents ends there. */
#define DEPTH_MAX 64

struct node
{
    char *type, *name, *raw_name, *parent, *state;
    char *path; /* of a folder: below its datacenter's VM folder; of a datacenter: raw, from the root. When asked */
    char *top;  /* moref of the datacenter that it is in, or "" */
};

struct vmf_tree
{
    GHashTable *nodes; /* moref → struct node */
};

static void
free_node (void *data)
{
    struct node *node = data;
    char *texts[] = { node->type, node->name, node->raw_name, node->parent, node->state, node->path, node->top };
    for (size_t i = 0; i < G_N_ELEMENTS (texts); i++)
        g_free (texts[i]);
    g_free (node);
}

static void
on_object (xmlNode *object, void *data)
{
    struct vmf_tree *tree = data;
    const xmlNode *reference = vmf_xml_child (object, "obj");
    char *moref = vmf_xml_text (reference);
    if (!moref)
        return;
    struct node *node = g_new0 (struct node, 1);
    g_autofree char *name = vmf_property_text (object, "name");
    node->type = g_strdup (vmf_node_moref_type (reference));
    node->raw_name = g_strdup (name ? name : moref);
    node->name = vmf_name_decode (node->raw_name);
    node->parent = vmf_property_text (object, "parent");
    node->state = vmf_property_text (object, "runtime.connectionState");
    g_hash_table_replace (tree->nodes, moref, node);
}

/* Kinds of objects that have other properties than names and parents are asked for them in the same call. */
static GString *
make_spec (const char *view)
{
    static const char *const plain[] = { "name", "parent", NULL };
    static const char *const of_host[] = { "name", "parent", "runtime.connectionState", NULL };
    GString *spec = g_string_new (NULL);
    vmf_spec_add_paths (spec, "Datacenter", plain);
    vmf_spec_add_paths (spec, "Folder", plain);
    vmf_spec_add_paths (spec, "ComputeResource", plain);
    vmf_spec_add_paths (spec, "HostSystem", of_host);
    vmf_spec_add_view (spec, view);
    return spec;
}

struct vmf_tree *
vmf_tree_read (struct vmf_vsphere *vsphere, GCancellable *cancellable, GError **error)
{
    static const char *const types[] = { "Datacenter", "Folder", "ComputeResource", "HostSystem", NULL };
    static const char what[] = "reading folders and hosts";
    g_autofree char *view = vmf_vsphere_view_new (vsphere, what, types, cancellable, error);
    if (!view)
        return NULL;
    struct vmf_tree *tree = g_new0 (struct vmf_tree, 1);
    tree->nodes = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, free_node);
    bool ok = vmf_properties_each (vsphere, what, make_spec (view), on_object, tree, cancellable, error);
    vmf_view_end (vsphere, view);
    if (!ok)
        g_clear_pointer (&tree, vmf_tree_free);
    return tree;
}

void
vmf_tree_free (struct vmf_tree *tree)
{
    if (!tree)
        return;
    g_hash_table_unref (tree->nodes);
    g_free (tree);
}

static struct node *
find (struct vmf_tree *tree, const char *moref)
{
    return moref ? g_hash_table_lookup (tree->nodes, moref) : NULL;
}

static bool
is (const struct node *node, const char *type)
{
    return node && strcmp (node->type, type) == 0;
}

/* The datacenter above NODE, kept in node->top. */
static struct node *
datacenter_of (struct vmf_tree *tree, struct node *node)
{
    if (!node->top)
    {
        const char *moref = node->parent;
        struct node *at = find (tree, moref);
        for (unsigned i = 0; at && !is (at, "Datacenter") && i < DEPTH_MAX; i++)
        {
            moref = at->parent;
            at = find (tree, moref);
        }
        node->top = g_strdup (is (at, "Datacenter") ? moref : "");
    }
    return find (tree, node->top);
}

/* "a/b" for folder b in folder a in the datacenter's folder "vm", which itself is "". */
static const char *
folder_path (struct vmf_tree *tree, struct node *node)
{
    if (node->path)
        return node->path;
    g_autoptr (GString) path = g_string_new (NULL);
    struct node *at = node;
    for (unsigned i = 0; is (at, "Folder") && i < DEPTH_MAX; i++)
    {
        struct node *above = find (tree, at->parent);
        if (!above || is (above, "Datacenter"))
            break;
        g_string_prepend (path, path->len > 0 ? "/" : "");
        g_string_prepend (path, at->name);
        at = above;
    }
    return node->path = g_strdup (path->str);
}

/* "folder/DC0": without the root folder, which has no parent. */
static const char *
datacenter_path (struct vmf_tree *tree, struct node *datacenter)
{
    if (datacenter->path)
        return datacenter->path;
    g_autoptr (GString) path = g_string_new (datacenter->raw_name);
    struct node *at = find (tree, datacenter->parent);
    for (unsigned i = 0; at && at->parent && i < DEPTH_MAX; i++)
    {
        g_string_prepend (path, "/");
        g_string_prepend (path, at->raw_name);
        at = find (tree, at->parent);
    }
    return datacenter->path = g_strdup (path->str);
}

struct vmf_tree_place
vmf_tree_find (struct vmf_tree *tree, const char *host_moref, const char *folder_moref)
{
    struct vmf_tree_place place = { "", "", "", "", "", "" };
    struct node *host = find (tree, host_moref), *folder = find (tree, folder_moref);
    struct node *above = host ? find (tree, host->parent) : NULL;
    struct node *datacenter = folder ? datacenter_of (tree, folder) : NULL;
    if (!datacenter && host) /* in a vApp: its parent is no folder */
        datacenter = datacenter_of (tree, host);
    if (host)
    {
        place.host = host->name;
        place.host_state = host->state ? host->state : "";
    }
    if (is (above, "ClusterComputeResource"))
        place.cluster = above->name;
    if (is (folder, "Folder"))
        place.folder = folder_path (tree, folder);
    if (datacenter)
    {
        place.datacenter = datacenter->name;
        place.datacenter_path = datacenter_path (tree, datacenter);
    }
    return place;
}
