/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Waiting for a property by change notification.
 *
 * Each wait has a property collector of its own at the server: updates of a shared one would go to whichever thread
 * asks first. It is gone where the session was, and then made anew.
 */
#include "source/vsphere/internal.h"
#include "base/error.h"

#include <poll.h>
#include <string.h>

#define RENEWALS_MAX 5

struct wait
{
    struct vmf_vsphere *vsphere;
    const char *what, *type, *moref, *path;
    const char *const *values;
    char *collector, *version;
};

bool
vmf_sleep_ms (int64_t ms, GCancellable *cancellable, GError **error)
{
    GPollFD fd;
    if (cancellable && g_cancellable_make_pollfd (cancellable, &fd))
    {
        struct pollfd one = { .fd = fd.fd, .events = POLLIN };
        (void)poll (&one, 1, (int)ms);
        g_cancellable_release_fd (cancellable);
    }
    else
        g_usleep ((gulong)ms * 1000);
    return !vmf_error_if_cancelled (cancellable, error);
}

static void
end_collector (struct wait *wait)
{
    if (wait->collector)
    {
        struct vmf_call call = { .what = wait->what };
        call.request =
            vmf_request_end (vmf_request_new ("DestroyPropertyCollector", "PropertyCollector", wait->collector));
        vmf_call_do (wait->vsphere, &call, NULL, NULL);
    }
    g_clear_pointer (&wait->collector, g_free);
    g_clear_pointer (&wait->version, g_free);
}

static bool
begin_collector (struct wait *wait, GCancellable *cancellable, GError **error)
{
    const char *const paths[] = { wait->path, NULL };
    struct vmf_call call = { .what = wait->what };
    call.request = vmf_request_end (
        vmf_request_new ("CreatePropertyCollector", "PropertyCollector", wait->vsphere->property_collector));
    wait->collector = vmf_call_text (wait->vsphere, &call, cancellable, error);
    if (!wait->collector)
        return false;
    struct vmf_call filter = { .what = wait->what };
    filter.request = vmf_request_new ("CreateFilter", "PropertyCollector", wait->collector);
    vmf_request_open (filter.request, "spec", NULL);
    vmf_spec_add_paths (filter.request, wait->type, paths);
    vmf_spec_add_object (filter.request, wait->type, wait->moref);
    vmf_request_close (filter.request, "spec");
    vmf_request_add_bool (filter.request, "partialUpdates", false);
    vmf_request_end (filter.request);
    if (vmf_call_do (wait->vsphere, &filter, cancellable, error))
        return true;
    end_collector (wait);
    return false;
}

static xmlDoc *
ask (struct wait *wait, int64_t left_us, enum vmf_fault *fault, GCancellable *cancellable, GError **error)
{
    int64_t seconds = MIN (MAX (left_us / G_USEC_PER_SEC, 1), VMF_WAIT_SLICE_S);
    struct vmf_call call = { .what = wait->what, .fault = fault, .waits = true };
    call.timeout_ms = wait->vsphere->timeout_ms + seconds * 1000;
    call.request = vmf_request_new ("WaitForUpdatesEx", "PropertyCollector", wait->collector);
    vmf_request_add (call.request, "version", wait->version ? wait->version : "");
    vmf_request_open (call.request, "options", NULL);
    vmf_request_add_int (call.request, "maxWaitSeconds", seconds);
    vmf_request_close (call.request, "options");
    vmf_request_end (call.request);
    return vmf_call_run (wait->vsphere, &call, cancellable, error);
}

/* One <objectSet> of an update: DONE; TIMEOUT: not yet. */
static enum vmf_wait
look (const struct wait *wait, const xmlNode *object, GError **error)
{
    const xmlNode *missing = vmf_xml_child (object, "missingSet");
    struct vmf_fault_place place = { wait->vsphere->server, wait->vsphere->user, wait->what };
    if (vmf_node_child_is (object, "kind", "leave"))
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_NOT_FOUND, "%s: %s: %s is not there any more", place.server,
                     wait->what, wait->moref);
        return VMF_WAIT_ERROR;
    }
    for (const xmlNode *at = vmf_xml_child (object, "changeSet"); at; at = vmf_xml_next (at, "changeSet"))
        for (unsigned i = 0; wait->values[i] && vmf_node_child_is (at, "name", wait->path); i++)
            if (vmf_node_child_is (at, "val", wait->values[i]))
                return VMF_WAIT_DONE;
    if (!missing)
        return VMF_WAIT_TIMEOUT;
    vmf_fault_set_error (vmf_xml_find (missing, "fault/fault"), NULL, &place, error);
    return VMF_WAIT_ERROR;
}

static enum vmf_wait
look_at_all (struct wait *wait, xmlDoc *doc, GError **error)
{
    enum vmf_wait found = VMF_WAIT_TIMEOUT;
    const xmlNode *update = vmf_xml_child (vmf_answer_response (doc), "returnval");
    char *version = vmf_xml_find_text (update, "version");
    if (version)
    {
        g_free (wait->version);
        wait->version = version;
    }
    const xmlNode *set = vmf_xml_child (update, "filterSet");
    for (const xmlNode *at = vmf_xml_child (set, "objectSet"); at && found == VMF_WAIT_TIMEOUT;
         at = vmf_xml_next (at, "objectSet"))
        found = look (wait, at, error);
    return found;
}

/* One question; TIMEOUT: not yet. */
static enum vmf_wait
step (struct wait *wait, int64_t deadline_us, unsigned *renewals, GCancellable *cancellable, GError **error)
{
    enum vmf_fault fault = VMF_FAULT_NONE;
    g_autoptr (GError) failed = NULL;
    if (!wait->collector && !begin_collector (wait, cancellable, error))
        return VMF_WAIT_ERROR;
    xmlDoc *doc = ask (wait, deadline_us - g_get_monotonic_time (), &fault, cancellable, &failed);
    enum vmf_wait found = doc ? look_at_all (wait, doc, error) : VMF_WAIT_ERROR;
    xmlFreeDoc (doc);
    if (!doc && fault == VMF_FAULT_NOT_FOUND && (*renewals)++ < RENEWALS_MAX)
    {
        end_collector (wait);
        return VMF_WAIT_TIMEOUT;
    }
    if (failed)
        g_propagate_error (error, g_steal_pointer (&failed));
    return found;
}

enum vmf_wait
vmf_wait_for (struct vmf_vsphere *vsphere, const char *what, const char *type, const char *moref, const char *path,
              const char *const *values, int64_t deadline_us, GCancellable *cancellable, GError **error)
{
    struct wait wait = { vsphere, what, type, moref, path, values, NULL, NULL };
    enum vmf_wait found = VMF_WAIT_TIMEOUT;
    unsigned renewals = 0;
    do
        found = step (&wait, deadline_us, &renewals, cancellable, error);
    while (found == VMF_WAIT_TIMEOUT && g_get_monotonic_time () < deadline_us);
    end_collector (&wait);
    return found;
}
