/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names for cards on distributed port groups and on NSX' networks, which a VM's configuration knows by keys only. */
#include "source/vsphere/machine.h"
#include "base/error.h"

#include <string.h>

static const char what[] = "reading the names of networks";

static void
on_network (xmlNode *object, void *data)
{
    GHashTable *names = data;
    g_autofree char *name = vmf_property_text (object, "name");
    const char *const keys[] = { "key", "summary.opaqueNetworkId" };
    if (!name)
        return;
    g_hash_table_insert (names, vmf_xml_find_text (object, "obj"), g_strdup (name));
    for (size_t i = 0; i < G_N_ELEMENTS (keys); i++)
    {
        char *key = vmf_property_text (object, keys[i]);
        if (key)
            g_hash_table_insert (names, key, g_strdup (name));
    }
}

/* A network that this user may not see keeps its key: nothing to fail for. */
static void
ask (struct vmf_vsphere *vsphere, const GString *objects, GHashTable *names, GCancellable *cancellable)
{
    static const char *const group[] = { "name", "key", NULL };
    static const char *const opaque[] = { "name", "summary.opaqueNetworkId", NULL };
    g_autoptr (GError) error = NULL;
    if (objects->len == 0)
        return;
    GString *spec = g_string_new (NULL);
    vmf_spec_add_paths (spec, "DistributedVirtualPortgroup", group);
    vmf_spec_add_paths (spec, "OpaqueNetwork", opaque);
    g_string_append_len (spec, objects->str, (gssize)objects->len);
    if (!vmf_properties_each (vsphere, what, spec, on_network, names, cancellable, &error))
        g_debug ("%s", error->message);
}

/* Those that the VM's property `network` lists. */
static void
ask_listed (struct vmf_vsphere *vsphere, const xmlNode *networks, GHashTable *names, GCancellable *cancellable)
{
    g_autoptr (GString) objects = g_string_new (NULL);
    for (const xmlNode *at = vmf_xml_child (networks, NULL); at; at = vmf_xml_next (at, NULL))
    {
        g_autofree char *moref = vmf_xml_text (at);
        const char *type = vmf_node_moref_type (at);
        if (moref && (strcmp (type, "DistributedVirtualPortgroup") == 0 || strcmp (type, "OpaqueNetwork") == 0))
            vmf_spec_add_object (objects, type, moref);
    }
    ask (vsphere, objects, names, cancellable);
}

/* A port group's key is its reference too. */
static void
ask_by_key (struct vmf_vsphere *vsphere, const char *key, GHashTable *names, GCancellable *cancellable)
{
    g_autoptr (GString) objects = g_string_new (NULL);
    vmf_spec_add_object (objects, "DistributedVirtualPortgroup", key);
    ask (vsphere, objects, names, cancellable);
}

bool
vmf_networks_name (struct vmf_vsphere *vsphere, const xmlNode *networks, struct vmf_vm *vm, GCancellable *cancellable,
                   GError **error)
{
    g_autoptr (GHashTable) names = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
    ask_listed (vsphere, networks, names, cancellable);
    for (unsigned i = 0; i < vm->nics->len; i++)
    {
        struct vmf_nic *nic = vm->nics->pdata[i];
        if (!nic->network)
            continue;
        if (g_str_has_prefix (nic->network, "dvportgroup-") && !g_hash_table_contains (names, nic->network))
            ask_by_key (vsphere, nic->network, names, cancellable);
        const char *name = g_hash_table_lookup (names, nic->network);
        char *decoded = vmf_name_decode (name ? name : nic->network);
        g_free (nic->network);
        nic->network = decoded;
    }
    return !vmf_error_if_cancelled (cancellable, error);
}
