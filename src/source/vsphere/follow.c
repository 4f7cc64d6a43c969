/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The inventory that follows: one view of VMs, folders and hosts, one filter on it, and a mirror of what it tells.
 *
 * Both live as long as the session at the server; where that is lost they are made anew, and the mirror finds what has
 * changed meanwhile.
 */
#include "source/vsphere/mirror.h"
#include "base/error.h"
#include "source/vsphere/tags.h"
#include "source/vsphere/updates.h"

#define RENEWALS_MAX 5 /* without an answer in between */
#define TAGS_EVERY_US (G_TIME_SPAN_SECOND * 30)

static const char what[] = "following the inventory";

struct vmf_vsphere_inventory
{
    struct vmf_vsphere *vsphere;
    struct vmf_mirror *mirror;
    struct vmf_updates updates;
    char *view;
    unsigned renewals;
    bool is_complete;   /* all was heard once since the beginning, or since it was lost */
    bool was_told;      /* the caller has heard of it: the first call does not wait, even where there is nothing */
    int64_t tags_at_us; /* when they were looked at; 0: not yet */
};

struct vmf_vsphere_inventory *
vmf_vsphere_inventory_new (struct vmf_vsphere *vsphere, const struct vmf_vsphere_filter *filter)
{
    struct vmf_vsphere_inventory *inventory = g_new0 (struct vmf_vsphere_inventory, 1);
    inventory->vsphere = vsphere;
    inventory->mirror = vmf_mirror_new (filter);
    inventory->updates = (struct vmf_updates){ .vsphere = vsphere, .what = what };
    return inventory;
}

static void
end (struct vmf_vsphere_inventory *inventory)
{
    vmf_updates_end (&inventory->updates);
    if (inventory->view)
        vmf_view_end (inventory->vsphere, inventory->view);
    g_clear_pointer (&inventory->view, g_free);
    inventory->is_complete = false;
}

void
vmf_vsphere_inventory_free (struct vmf_vsphere_inventory *inventory)
{
    if (!inventory)
        return;
    end (inventory);
    vmf_mirror_free (inventory->mirror);
    g_free (inventory);
}

static bool
look_at_tags (struct vmf_vsphere_inventory *inventory, GCancellable *cancellable, GError **error)
{
    const char *tag = vmf_mirror_get_tag (inventory->mirror);
    int64_t now = g_get_monotonic_time ();
    if (!tag || (inventory->tags_at_us && now < inventory->tags_at_us + TAGS_EVERY_US))
        return true;
    GHashTable *tagged = vmf_tags_find (inventory->vsphere, tag, cancellable, error);
    if (!tagged)
        return false;
    vmf_mirror_take_tagged (inventory->mirror, tagged);
    inventory->tags_at_us = now;
    return true;
}

/* What a view of all that rows are made of shows. */
static bool
begin (struct vmf_vsphere_inventory *inventory, GCancellable *cancellable, GError **error)
{
    g_autoptr (GPtrArray) types = g_ptr_array_new ();
    g_ptr_array_add (types, (char *)"VirtualMachine");
    for (unsigned i = 0; vmf_tree_types[i]; i++)
        g_ptr_array_add (types, (char *)vmf_tree_types[i]);
    g_ptr_array_add (types, NULL);
    inventory->view =
        vmf_vsphere_view_new (inventory->vsphere, what, (const char *const *)types->pdata, cancellable, error);
    if (!inventory->view)
        return false;
    GString *spec = g_string_new (NULL);
    vmf_spec_add_paths (spec, "VirtualMachine", vmf_row_paths);
    vmf_tree_add_paths (spec);
    vmf_spec_add_view (spec, inventory->view);
    vmf_mirror_restart (inventory->mirror);
    return vmf_updates_begin (&inventory->updates, spec, cancellable, error);
}

static void
on_object (xmlNode *object, void *data)
{
    struct vmf_vsphere_inventory *inventory = data;
    vmf_mirror_apply (inventory->mirror, object);
}

/* The view may be lost between its making and its use: that is LOST, too. */
static enum vmf_updated
ask (struct vmf_vsphere_inventory *inventory, int64_t wait_s, GCancellable *cancellable, GError **error)
{
    g_autoptr (GError) failed = NULL;
    if (inventory->updates.collector || begin (inventory, cancellable, &failed))
        return vmf_updates_ask (&inventory->updates, wait_s, on_object, inventory, cancellable, error);
    bool lost = g_error_matches (failed, VMF_ERROR, VMF_ERROR_NOT_FOUND);
    g_propagate_error (error, g_steal_pointer (&failed));
    return lost ? VMF_UPDATED_LOST : VMF_UPDATED_ERROR;
}

/* One question. False: ERROR. */
static bool
step (struct vmf_vsphere_inventory *inventory, int64_t wait_s, enum vmf_updated *told, GCancellable *cancellable,
      GError **error)
{
    g_autoptr (GError) failed = NULL;
    *told = ask (inventory, wait_s, cancellable, &failed);
    if (*told == VMF_UPDATED_LOST && inventory->renewals++ < RENEWALS_MAX)
    {
        g_debug ("%s: beginning anew: %s", inventory->vsphere->server, failed->message);
        end (inventory);
        return true;
    }
    if (!failed)
        inventory->renewals = 0;
    else
    {
        end (inventory);
        g_propagate_error (error, g_steal_pointer (&failed));
        return false;
    }
    if (*told == VMF_UPDATED_NOTHING && !inventory->is_complete) /* an inventory of nothing */
        *told = VMF_UPDATED_ALL;
    inventory->is_complete |= *told == VMF_UPDATED_ALL;
    return true;
}

bool
vmf_vsphere_inventory_poll (struct vmf_vsphere_inventory *inventory, int64_t timeout_ms,
                            vmf_vsphere_on_change on_change, void *data, GCancellable *cancellable, GError **error)
{
    int64_t deadline_us = g_get_monotonic_time () + timeout_ms * 1000;
    enum vmf_updated told;
    int64_t left_us;
    bool changed = false;
    do
    {
        left_us = MAX (deadline_us - g_get_monotonic_time (), 0);
        int64_t wait_s = MIN ((left_us + G_USEC_PER_SEC - 1) / G_USEC_PER_SEC, VMF_WAIT_SLICE_S);
        if (!look_at_tags (inventory, cancellable, error) || !step (inventory, wait_s, &told, cancellable, error))
            return false;
        if (inventory->is_complete && told != VMF_UPDATED_PART)
        {
            changed = vmf_mirror_settle (inventory->mirror, on_change, data) > 0 || !inventory->was_told;
            inventory->was_told = true;
        }
    } while (!inventory->is_complete || told == VMF_UPDATED_PART || (!changed && left_us > 0));
    return true;
}

GPtrArray *
vmf_vsphere_inventory_get_rows (struct vmf_vsphere_inventory *inventory)
{
    return vmf_mirror_get_rows (inventory->mirror);
}
