/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Snapshots: made, read, and removed with what they leave behind. */
#include "source/vsphere/internal.h"
#include "base/error.h"

#include <string.h>

/* A file that a road has just closed stays locked at its host for a moment. */
#define CONSOLIDATE_TRIES 6
#define CONSOLIDATE_WAIT_MS 5000

struct wish
{
    const char *vm, *snapshot, *name, *description;
    bool quiesce;
};

static GString *
make_create (const void *data)
{
    const struct wish *wish = data;
    GString *request = vmf_request_new ("CreateSnapshot_Task", "VirtualMachine", wish->vm);
    vmf_request_add (request, "name", wish->name);
    vmf_request_add (request, "description", wish->description ? wish->description : "");
    vmf_request_add_bool (request, "memory", false);
    vmf_request_add_bool (request, "quiesce", wish->quiesce);
    return vmf_request_end (request);
}

char *
vmf_vsphere_create_snapshot (struct vmf_vsphere *vsphere, const char *vm_moref, const char *name,
                             const char *description, bool quiesce, bool *may_come, GCancellable *cancellable,
                             GError **error)
{
    enum vmf_fault fault = VMF_FAULT_NONE;
    struct wish wish = { .vm = vm_moref, .name = name, .description = description, .quiesce = quiesce };
    g_autofree char *what = g_strdup_printf ("taking a %ssnapshot of %s", quiesce ? "quiesced " : "", vm_moref);
    xmlDoc *doc = vmf_task_run (vsphere, what, make_create, &wish, &fault, cancellable, error);
    if (may_come)
        *may_come = !doc && fault == VMF_FAULT_NO_END;
    if (!doc)
        return NULL;
    char *moref = vmf_xml_find_text (vmf_property_find (xmlDocGetRootElement (doc), "info"), "result");
    xmlFreeDoc (doc);
    if (!moref)
        g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT,
                     "%s: %s: the task ended well, but names no snapshot; look for '%s' and remove it", vsphere->server,
                     what, name);
    return moref;
}

GPtrArray *
vmf_vsphere_snapshot_disks (struct vmf_vsphere *vsphere, const char *snapshot_moref, GCancellable *cancellable,
                            GError **error)
{
    static const char *const paths[] = { "config", NULL };
    g_autofree char *what = g_strdup_printf ("reading the disks of %s", snapshot_moref);
    xmlDoc *doc =
        vmf_properties_one (vsphere, what, "VirtualMachineSnapshot", snapshot_moref, paths, cancellable, error);
    if (!doc)
        return NULL;
    GPtrArray *disks = vmf_disks_read (vmf_property_find (xmlDocGetRootElement (doc), "config"), error);
    xmlFreeDoc (doc);
    if (!disks)
        g_prefix_error (error, "%s: %s: ", vsphere->server, what);
    return disks;
}

static GString *
make_remove (const void *data)
{
    const struct wish *wish = data;
    GString *request = vmf_request_new ("RemoveSnapshot_Task", "VirtualMachineSnapshot", wish->snapshot);
    vmf_request_add_bool (request, "removeChildren", false);
    vmf_request_add_bool (request, "consolidate", true);
    return vmf_request_end (request);
}

static GString *
make_consolidate (const void *data)
{
    const struct wish *wish = data;
    return vmf_request_end (vmf_request_new ("ConsolidateVMDisks_Task", "VirtualMachine", wish->vm));
}

/* The snapshot is gone; are its files? */
static bool
consolidate (struct vmf_vsphere *vsphere, const struct wish *wish, GCancellable *cancellable, GError **error)
{
    g_autofree char *what = g_strdup_printf ("consolidating the disks of %s after its snapshot was removed", wish->vm);
    for (unsigned i = 0;; i++)
    {
        bool needed = false;
        enum vmf_fault fault = VMF_FAULT_NONE;
        g_autoptr (GError) failed = NULL;
        if (!vmf_properties_bool (vsphere, "asking for left-over snapshot files", "VirtualMachine", wish->vm,
                                  "runtime.consolidationNeeded", &needed, cancellable, error))
            return false;
        if (!needed)
            return true;
        xmlDoc *doc = vmf_task_run (vsphere, what, make_consolidate, wish, &fault, cancellable, &failed);
        xmlFreeDoc (doc);
        if (failed && (fault != VMF_FAULT_FILE || i + 1 >= CONSOLIDATE_TRIES))
        {
            g_propagate_error (error, g_steal_pointer (&failed));
            return false;
        }
        if (!failed && i + 1 >= CONSOLIDATE_TRIES)
        {
            g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "%s: %s: the server still says that it is needed",
                         vsphere->server, what);
            return false;
        }
        if (failed && !vmf_sleep_ms (CONSOLIDATE_WAIT_MS, cancellable, error))
            return false;
    }
}

bool
vmf_vsphere_remove_snapshot (struct vmf_vsphere *vsphere, const char *vm_moref, const char *snapshot_moref,
                             GCancellable *cancellable, GError **error)
{
    struct wish wish = { .vm = vm_moref, .snapshot = snapshot_moref };
    enum vmf_fault fault = VMF_FAULT_NONE;
    g_autoptr (GError) failed = NULL;
    g_autofree char *what = g_strdup_printf ("removing %s of %s", snapshot_moref, vm_moref);
    xmlDoc *doc = vmf_task_run (vsphere, what, make_remove, &wish, &fault, cancellable, &failed);
    xmlFreeDoc (doc);
    if (failed && fault != VMF_FAULT_NOT_FOUND)
    {
        g_propagate_error (error, g_steal_pointer (&failed));
        return false;
    }
    return consolidate (vsphere, &wish, cancellable, error);
}
