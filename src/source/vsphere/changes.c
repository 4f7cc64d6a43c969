/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Changed block tracking: switched on, asked in windows, and told apart from one that began anew. */
#include "source/vsphere/changes.h"
#include "base/error.h"

#include <string.h>

static GString *
make_reconfigure (const void *data)
{
    GString *request = vmf_request_new ("ReconfigVM_Task", "VirtualMachine", data);
    vmf_request_open (request, "spec", NULL);
    vmf_request_add_bool (request, "changeTrackingEnabled", true);
    vmf_request_close (request, "spec");
    return vmf_request_end (request);
}

/* The setting takes effect when the VM is stunned, as a snapshot does (PITFALLS 15). */
static bool
stun (struct vmf_vsphere *vsphere, const char *vm_moref, GCancellable *cancellable, GError **error)
{
    g_autofree char *snapshot = vmf_vsphere_create_snapshot (
        vsphere, vm_moref, "vmferry-change-tracking",
        VMF_SNAPSHOT_MARK " made for a moment, to switch changed block tracking on", false, NULL, cancellable, error);
    return snapshot && vmf_vsphere_remove_snapshot (vsphere, vm_moref, snapshot, NULL, error);
}

bool
vmf_vsphere_enable_change_tracking (struct vmf_vsphere *vsphere, const char *vm_moref, GCancellable *cancellable,
                                    GError **error)
{
    bool enabled = false;
    g_autofree char *what = g_strdup_printf ("switching on changed block tracking for %s", vm_moref);
    if (!vmf_properties_bool (vsphere, what, "VirtualMachine", vm_moref, "config.changeTrackingEnabled", &enabled,
                              cancellable, error))
        return false;
    if (enabled)
        return true;
    xmlDoc *doc = vmf_task_run (vsphere, what, make_reconfigure, vm_moref, NULL, cancellable, error);
    xmlFreeDoc (doc);
    return doc && stun (vsphere, vm_moref, cancellable, error);
}

struct question
{
    struct vmf_vsphere *vsphere;
    const char *what, *vm, *snapshot, *change_id;
    int32_t key;
};

static xmlDoc *
ask (const struct question *question, uint64_t start, GCancellable *cancellable, GError **error)
{
    struct vmf_call call = { .what = question->what };
    call.request = vmf_request_new ("QueryChangedDiskAreas", "VirtualMachine", question->vm);
    vmf_request_add_moref (call.request, "snapshot", "VirtualMachineSnapshot", question->snapshot);
    vmf_request_add_int (call.request, "deviceKey", question->key);
    vmf_request_add_int (call.request, "startOffset", (int64_t)start);
    vmf_request_add (call.request, "changeId", question->change_id);
    vmf_request_end (call.request);
    return vmf_call_run (question->vsphere, &call, cancellable, error);
}

/* Adds the areas of one window, cut at the disk's end; false: numbers that make no sense. */
static bool
add_areas (const xmlNode *window, uint64_t capacity_bytes, struct vmf_extents *changed)
{
    for (const xmlNode *at = vmf_xml_child (window, "changedArea"); at; at = vmf_xml_next (at, "changedArea"))
    {
        int64_t start = vmf_node_int (at, "start", -1), length = vmf_node_int (at, "length", -1);
        if (start < 0 || length < 0)
            return false;
        if ((uint64_t)start < capacity_bytes && length > 0)
            vmf_extents_add (changed, (uint64_t)start, MIN ((uint64_t)length, capacity_bytes - (uint64_t)start));
    }
    return true;
}

bool
vmf_changes_read_window (const xmlNode *window, uint64_t capacity_bytes, uint64_t *start, struct vmf_extents *changed,
                         GError **error)
{
    int64_t begin = vmf_node_int (window, "startOffset", -1), length = vmf_node_int (window, "length", -1);
    uint64_t end = begin >= 0 && length >= 0 ? (uint64_t)begin + (uint64_t)length : 0;
    /* A gap before it would be lost, and no progress would go on for ever. */
    if (end <= *start || (uint64_t)begin > *start || !add_areas (window, capacity_bytes, changed))
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT,
                     "asked from offset %" G_GUINT64_FORMAT " on, the server answers for %" G_GINT64_FORMAT
                     " bytes from %" G_GINT64_FORMAT " on: the list of changes cannot be relied on",
                     *start, length, begin);
        return false;
    }
    *start = end;
    return true;
}

bool
vmf_vsphere_query_changed (struct vmf_vsphere *vsphere, const char *vm_moref, const char *snapshot_moref,
                           int32_t device_key, const char *change_id, uint64_t capacity_bytes,
                           struct vmf_extents *changed, GCancellable *cancellable, GError **error)
{
    g_autofree char *what =
        g_strdup_printf ("asking what changed on disk %d of %s in %s", device_key, vm_moref, snapshot_moref);
    struct question question = { vsphere, what, vm_moref, snapshot_moref, change_id, device_key };
    for (uint64_t start = 0; start < capacity_bytes;)
    {
        xmlDoc *doc = ask (&question, start, cancellable, error);
        if (!doc)
            return false;
        const xmlNode *window = vmf_xml_child (vmf_answer_response (doc), "returnval");
        bool ok = vmf_changes_read_window (window, capacity_bytes, &start, changed, error);
        xmlFreeDoc (doc);
        if (!ok)
        {
            g_prefix_error (error, "%s: %s: ", vsphere->server, what);
            return false;
        }
    }
    return true;
}

bool
vmf_vsphere_same_history (const char *change_id, const char *other)
{
    const char *slash = change_id ? strrchr (change_id, '/') : NULL, *end = other ? strrchr (other, '/') : NULL;
    return slash && end && slash > change_id && slash - change_id == end - other
           && g_ascii_strncasecmp (change_id, other, (gsize)(slash - change_id)) == 0;
}
