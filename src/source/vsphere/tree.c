/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The inventory's skeleton, as a table by reference. */
#include "source/vsphere/tree.h"
#include "source/vsphere/updates.h"

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
    bool is_stale;     /* `path` and `top` of its nodes are of before a change */
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

/* Paths are by names and parents, of others too. */
static void
forget_paths (struct vmf_tree *tree)
{
    GHashTableIter all;
    void *value;
    g_hash_table_iter_init (&all, tree->nodes);
    while (tree->is_stale && g_hash_table_iter_next (&all, NULL, &value))
    {
        struct node *node = value;
        g_clear_pointer (&node->path, g_free);
        g_clear_pointer (&node->top, g_free);
    }
    tree->is_stale = false;
}

static void
set_property (const char *path, const xmlNode *value, void *data)
{
    struct node *node = data;
    char *text = vmf_xml_text (value);
    if (strcmp (path, "name") == 0 && text)
    {
        g_free (node->raw_name);
        g_free (node->name);
        node->raw_name = g_steal_pointer (&text);
        node->name = vmf_name_decode (node->raw_name);
        return;
    }
    char **place = strcmp (path, "parent") == 0                    ? &node->parent
                   : strcmp (path, "runtime.connectionState") == 0 ? &node->state
                                                                   : NULL;
    if (place)
    {
        g_free (*place);
        *place = g_steal_pointer (&text);
    }
    g_free (text);
}

static struct node *
add_node (struct vmf_tree *tree, const xmlNode *reference, const char *moref)
{
    struct node *node = g_new0 (struct node, 1);
    node->type = g_strdup (vmf_node_moref_type (reference));
    node->raw_name = g_strdup (moref);
    node->name = vmf_name_decode (moref);
    g_hash_table_replace (tree->nodes, g_strdup (moref), node);
    return node;
}

void
vmf_tree_apply (struct vmf_tree *tree, const xmlNode *object)
{
    const xmlNode *reference = vmf_xml_child (object, "obj");
    g_autofree char *moref = vmf_xml_text (reference);
    if (!moref)
        return;
    tree->is_stale = true;
    if (vmf_update_is_leave (object))
    {
        g_hash_table_remove (tree->nodes, moref);
        return;
    }
    struct node *node = g_hash_table_lookup (tree->nodes, moref);
    vmf_update_each (object, set_property, node ? node : add_node (tree, reference, moref));
}

static void
on_object (xmlNode *object, void *data)
{
    vmf_tree_apply (data, object);
}

const char *const vmf_tree_types[] = { "Datacenter", "Folder", "ComputeResource", "HostSystem", NULL };

void
vmf_tree_add_paths (GString *spec)
{
    static const char *const plain[] = { "name", "parent", NULL };
    static const char *const of_host[] = { "name", "parent", "runtime.connectionState", NULL };
    for (unsigned i = 0; vmf_tree_types[i]; i++)
        vmf_spec_add_paths (spec, vmf_tree_types[i], strcmp (vmf_tree_types[i], "HostSystem") == 0 ? of_host : plain);
}

bool
vmf_tree_has_type (const xmlNode *object)
{
    const char *type = vmf_node_moref_type (vmf_xml_child (object, "obj"));
    return g_strv_contains (vmf_tree_types, type) || strcmp (type, "ClusterComputeResource") == 0;
}

struct vmf_tree *
vmf_tree_new (void)
{
    struct vmf_tree *tree = g_new0 (struct vmf_tree, 1);
    tree->nodes = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, free_node);
    return tree;
}

struct vmf_tree *
vmf_tree_read (struct vmf_vsphere *vsphere, GCancellable *cancellable, GError **error)
{
    static const char what[] = "reading folders and hosts";
    g_autofree char *view = vmf_vsphere_view_new (vsphere, what, vmf_tree_types, cancellable, error);
    if (!view)
        return NULL;
    struct vmf_tree *tree = vmf_tree_new ();
    GString *spec = g_string_new (NULL);
    vmf_tree_add_paths (spec);
    vmf_spec_add_view (spec, view);
    bool ok = vmf_properties_each (vsphere, what, spec, on_object, tree, cancellable, error);
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
    forget_paths (tree);
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
