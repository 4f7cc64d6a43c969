/* SPDX-License-Identifier: GPL-2.0-or-later */
/* WaitForUpdatesEx, and what its answers say. */
#include "source/vsphere/updates.h"
#include "base/error.h"

#include <string.h>

/* Objects an answer: what is told at once at the beginning may be ten thousand. */
#define PAGE_OBJECTS 500

void
vmf_updates_end (struct vmf_updates *updates)
{
    if (updates->collector)
    {
        struct vmf_call call = { .what = updates->what, .timeout_ms = VMF_GOODBYE_MS };
        call.request =
            vmf_request_end (vmf_request_new ("DestroyPropertyCollector", "PropertyCollector", updates->collector));
        vmf_call_do (updates->vsphere, &call, NULL, NULL);
    }
    g_clear_pointer (&updates->collector, g_free);
    g_clear_pointer (&updates->version, g_free);
}

/* Nothing came that vSphere said. */
static bool
is_away (enum vmf_fault fault, const GError *failed)
{
    return fault == VMF_FAULT_NONE && g_error_matches (failed, VMF_ERROR, VMF_ERROR_FAILED);
}

static bool
create_filter (struct vmf_updates *updates, const GString *spec, enum vmf_fault *fault, GCancellable *cancellable,
               GError **error)
{
    struct vmf_call call = { .what = updates->what, .fault = fault };
    call.request = vmf_request_new ("CreateFilter", "PropertyCollector", updates->collector);
    vmf_request_open (call.request, "spec", NULL);
    g_string_append_len (call.request, spec->str, (gssize)spec->len);
    vmf_request_close (call.request, "spec");
    vmf_request_add_bool (call.request, "partialUpdates", false);
    vmf_request_end (call.request);
    return vmf_call_do (updates->vsphere, &call, cancellable, error);
}

bool
vmf_updates_begin (struct vmf_updates *updates, GString *spec, GCancellable *cancellable, GError **error)
{
    enum vmf_fault fault = VMF_FAULT_NONE;
    g_autoptr (GError) failed = NULL;
    struct vmf_call call = { .what = updates->what, .fault = &fault };
    call.request = vmf_request_end (
        vmf_request_new ("CreatePropertyCollector", "PropertyCollector", updates->vsphere->property_collector));
    updates->collector = vmf_call_text (updates->vsphere, &call, cancellable, &failed);
    bool ok = updates->collector && create_filter (updates, spec, &fault, cancellable, &failed);
    g_string_free (spec, TRUE);
    updates->is_away = is_away (fault, failed);
    if (ok)
        return true;
    vmf_updates_end (updates);
    g_propagate_error (error, g_steal_pointer (&failed));
    return false;
}

static GString *
make_request (const struct vmf_updates *updates, int64_t wait_s)
{
    GString *request = vmf_request_new ("WaitForUpdatesEx", "PropertyCollector", updates->collector);
    vmf_request_add (request, "version", updates->version ? updates->version : "");
    vmf_request_open (request, "options", NULL);
    vmf_request_add_int (request, "maxWaitSeconds", wait_s);
    vmf_request_add_int (request, "maxObjectUpdates", PAGE_OBJECTS);
    vmf_request_close (request, "options");
    return vmf_request_end (request);
}

/* The objects were handed on; what is left says how to go on. */
static enum vmf_updated
take_rest (struct vmf_updates *updates, xmlDoc *doc)
{
    const xmlNode *set = vmf_xml_child (vmf_answer_response (doc), "returnval");
    char *version = vmf_xml_find_text (set, "version");
    enum vmf_updated found = !set                               ? VMF_UPDATED_NOTHING
                             : vmf_node_bool (set, "truncated") ? VMF_UPDATED_PART
                                                                : VMF_UPDATED_ALL;
    if (version)
    {
        g_free (updates->version);
        updates->version = version;
    }
    xmlFreeDoc (doc);
    return found;
}

enum vmf_updated
vmf_updates_ask (struct vmf_updates *updates, int64_t wait_s, vmf_answer_func on_object, void *data,
                 GCancellable *cancellable, GError **error)
{
    enum vmf_fault fault = VMF_FAULT_NONE;
    struct vmf_call call = { .what = updates->what,
                             .request = make_request (updates, wait_s),
                             .each = "objectSet",
                             .on_each = on_object,
                             .data = data,
                             .fault = &fault,
                             .waits = true };
    call.timeout_ms = updates->vsphere->timeout_ms + wait_s * 1000;
    g_autoptr (GError) failed = NULL;
    xmlDoc *doc = vmf_call_run (updates->vsphere, &call, cancellable, &failed);
    updates->is_away = is_away (fault, failed);
    if (doc)
        return take_rest (updates, doc);
    g_propagate_error (error, g_steal_pointer (&failed));
    return fault == VMF_FAULT_NOT_FOUND || fault == VMF_FAULT_VERSION ? VMF_UPDATED_LOST : VMF_UPDATED_ERROR;
}

bool
vmf_update_is_leave (const xmlNode *object)
{
    return vmf_node_child_is (object, "kind", "leave");
}

/* Text of NODE's child NAME where it is plain, without a copy. */
static const char *
plain_text (const xmlNode *node, const char *name)
{
    const xmlNode *child = vmf_xml_child (node, name);
    const xmlNode *text = child ? child->children : NULL;
    return text && !text->next && text->content ? (const char *)text->content : NULL;
}

static bool
is_removal (const xmlNode *change)
{
    return vmf_node_child_is (change, "op", "remove") || vmf_node_child_is (change, "op", "indirectRemove");
}

void
vmf_update_each (const xmlNode *object, void (*f) (const char *path, const xmlNode *value, void *data), void *data)
{
    for (const xmlNode *at = vmf_xml_child (object, NULL); at; at = vmf_xml_next (at, NULL))
    {
        bool change = vmf_xml_is (at, "changeSet");
        const char *path = change || vmf_xml_is (at, "propSet") ? plain_text (at, "name") : NULL;
        if (path)
            f (path, change && is_removal (at) ? NULL : vmf_xml_child (at, "val"), data);
    }
}
