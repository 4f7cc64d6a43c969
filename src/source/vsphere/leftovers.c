/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Trees of snapshots, and those of all machines that carry our mark. */
#include "source/vsphere/inventory.h"
#include "source/vsphere/machine.h"

#include <string.h>

#define SNAPSHOT_DEPTH_MAX 64

static void
free_snapshot (void *data)
{
    struct vmf_vsphere_snapshot *snapshot = data;
    g_free (snapshot->moref);
    g_free (snapshot->name);
    g_free (snapshot->description);
    g_free (snapshot->created_at);
    g_free (snapshot);
}

/* NODE is a VirtualMachineSnapshotTree. */
static void
read_snapshot (const xmlNode *node, const char *current, unsigned depth, GPtrArray *snapshots)
{
    struct vmf_vsphere_snapshot *snapshot = g_new0 (struct vmf_vsphere_snapshot, 1);
    g_autofree char *name = vmf_xml_find_text (node, "name");
    snapshot->moref = vmf_xml_find_text (node, "snapshot");
    snapshot->name = vmf_name_decode (name ? name : "");
    snapshot->description = vmf_xml_find_text (node, "description");
    snapshot->created_at = vmf_xml_find_text (node, "createTime");
    snapshot->depth = depth;
    snapshot->current = current && snapshot->moref && strcmp (current, snapshot->moref) == 0;
    g_ptr_array_add (snapshots, snapshot);
    for (const xmlNode *at = vmf_xml_child (node, "childSnapshotList"); at && depth < SNAPSHOT_DEPTH_MAX;
         at = vmf_xml_next (at, "childSnapshotList"))
        read_snapshot (at, current, depth + 1, snapshots);
}

GPtrArray *
vmf_snapshots_read (const xmlNode *info)
{
    GPtrArray *snapshots = g_ptr_array_new_with_free_func (free_snapshot);
    g_autofree char *current = vmf_xml_find_text (info, "currentSnapshot");
    for (const xmlNode *at = vmf_xml_child (info, "rootSnapshotList"); at; at = vmf_xml_next (at, "rootSnapshotList"))
        read_snapshot (at, current, 0, snapshots);
    return snapshots;
}

/* ---- what imports left ---- */

struct looking
{
    GHashTable *rows;     /* moref → const struct vmf_vsphere_row*: who is asked about */
    GPtrArray *leftovers; /* struct vmf_vsphere_leftover* */
    unsigned n_unread;
};

static void
free_leftover (void *data)
{
    struct vmf_vsphere_leftover *leftover = data;
    g_free (leftover->vm_moref);
    g_free (leftover->vm_name);
    free_snapshot (leftover->snapshot);
    g_free (leftover);
}

bool
vmf_vsphere_snapshot_is_ours (const struct vmf_vsphere_snapshot *snapshot)
{
    return snapshot->moref && snapshot->description && g_str_has_prefix (snapshot->description, VMF_SNAPSHOT_MARK);
}

static void
on_vm (xmlNode *object, void *data)
{
    struct looking *looking = data;
    g_autofree char *moref = vmf_xml_find_text (object, "obj");
    const struct vmf_vsphere_row *row = moref ? g_hash_table_lookup (looking->rows, moref) : NULL;
    if (!row)
        return;
    looking->n_unread += vmf_xml_child (object, "missingSet") != NULL;
    g_autoptr (GPtrArray) snapshots = vmf_snapshots_read (vmf_property_find (object, "snapshot"));
    for (unsigned i = 0; i < snapshots->len;)
    {
        if (!vmf_vsphere_snapshot_is_ours (snapshots->pdata[i]))
        {
            i++;
            continue;
        }
        struct vmf_vsphere_leftover *leftover = g_new0 (struct vmf_vsphere_leftover, 1);
        leftover->vm_moref = g_strdup (moref);
        leftover->vm_name = g_strdup (row->name);
        leftover->snapshot = g_ptr_array_steal_index (snapshots, i);
        g_ptr_array_add (looking->leftovers, leftover);
    }
}

GPtrArray *
vmf_vsphere_find_leftovers (struct vmf_vsphere *vsphere, const GPtrArray *rows, unsigned *n_unread,
                            GCancellable *cancellable, GError **error)
{
    static const char *const paths[] = { "snapshot", NULL };
    g_autoptr (GHashTable) by_moref = g_hash_table_new (g_str_hash, g_str_equal);
    g_autoptr (GPtrArray) leftovers = g_ptr_array_new_with_free_func (free_leftover);
    struct looking looking = { by_moref, leftovers, 0 };
    for (unsigned i = 0; i < rows->len; i++)
        g_hash_table_insert (by_moref, ((struct vmf_vsphere_row *)rows->pdata[i])->moref, rows->pdata[i]);
    if (!vmf_inventory_each (vsphere, "looking for snapshots", paths, on_vm, &looking, cancellable, error))
        return NULL;
    *n_unread = looking.n_unread;
    return g_steal_pointer (&leftovers);
}
