/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tasks: started, awaited by change notification, and started again where another one was in the way. */
#include "source/vsphere/internal.h"
#include "base/error.h"

#include <string.h>

/* How long others may be in the way altogether. */
#define OTHERS_MAX_US (G_TIME_SPAN_HOUR * 2)
#define RETRY_MS 2000
#define END_TRIES 10 /* a task that has ended must not be given up for an answer that broke off */

static const char *const ends[] = { "success", "error", NULL };

static void
cancel_task (struct vmf_vsphere *vsphere, const char *what, const char *task)
{
    struct vmf_call call = { .what = what, .timeout_ms = VMF_GOODBYE_MS };
    call.request = vmf_request_end (vmf_request_new ("CancelTask", "Task", task));
    vmf_call_do (vsphere, &call, NULL, NULL); /* not every task can be */
}

/* Until TASK has ended, whether well or not. */
static bool
wait_for_end (struct vmf_vsphere *vsphere, const char *what, const char *task, GCancellable *cancellable,
              GError **error)
{
    g_autoptr (GError) failed = NULL;
    enum vmf_wait found =
        vmf_wait_for (vsphere, what, "Task", task, "info.state", ends, G_MAXINT64, cancellable, &failed);
    if (found == VMF_WAIT_DONE)
        return true;
    if (g_error_matches (failed, VMF_ERROR, VMF_ERROR_CANCELLED))
    {
        cancel_task (vsphere, what, task);
        int64_t deadline = g_get_monotonic_time () + vsphere->cancel_ms * 1000;
        if (vmf_wait_for (vsphere, what, "Task", task, "info.state", ends, deadline, NULL, NULL) == VMF_WAIT_DONE)
            return true;
        g_prefix_error (&failed, "%s: %s goes on at the server: ", what, task);
    }
    g_propagate_error (error, g_steal_pointer (&failed));
    return false;
}

/* What ended TASK: its document, or the fault. */
static xmlDoc *
read_end (struct vmf_vsphere *vsphere, const char *what, const char *task, enum vmf_fault *fault, char **other,
          GError **error)
{
    static const char *const paths[] = { "info", NULL };
    g_autoptr (GError) failed = NULL;
    xmlDoc *doc = NULL;
    for (unsigned tries = 0; !doc && tries < END_TRIES; tries++)
    {
        if (tries > 0)
            g_usleep (RETRY_MS * 1000);
        g_clear_error (&failed);
        doc = vmf_properties_one (vsphere, what, "Task", task, paths, NULL, &failed);
        if (!g_error_matches (failed, VMF_ERROR, VMF_ERROR_FAILED))
            break;
    }
    if (failed)
        g_propagate_error (error, g_steal_pointer (&failed));
    const xmlNode *info = doc ? vmf_property_find (xmlDocGetRootElement (doc), "info") : NULL;
    if (!doc || vmf_node_child_is (info, "state", "success"))
        return doc;
    struct vmf_fault_place place = { vsphere->server, vsphere->user, what };
    g_autofree char *message = vmf_xml_find_text (info, "error/localizedMessage");
    const xmlNode *why = vmf_xml_find (info, "error/fault");
    *fault = vmf_fault_set_error (why, message, &place, error);
    *other = vmf_xml_find_text (why, "task");
    xmlFreeDoc (doc);
    return NULL;
}

bool
vmf_task_wait_for_other (struct vmf_vsphere *vsphere, enum vmf_fault fault, const char *other, int64_t begun_us,
                         GCancellable *cancellable, GError **error)
{
    int64_t deadline = begun_us + OTHERS_MAX_US;
    if (fault != VMF_FAULT_TASK_IN_PROGRESS || g_get_monotonic_time () >= deadline)
        return false;
    g_autoptr (GError) failed = NULL;
    g_debug ("%s: waiting for another task (%s)", vsphere->server, other ? other : "not named");
    /* One that is gone by now, or that this user may not see, is no failure of ours. */
    if (!other
        || vmf_wait_for (vsphere, "waiting for another task", "Task", other, "info.state", ends, deadline, cancellable,
                         NULL)
               != VMF_WAIT_DONE)
        vmf_sleep_ms (RETRY_MS, cancellable, NULL);
    if (!vmf_error_if_cancelled (cancellable, &failed))
        return true;
    g_clear_error (error);
    g_propagate_error (error, g_steal_pointer (&failed));
    return false;
}

/* One try. The question that starts the task is not given up halfway: the server may have heard it, and nobody would
   know what it made. */
static xmlDoc *
run_once (struct vmf_vsphere *vsphere, const char *what, GString *request, enum vmf_fault *fault, char **other,
          GCancellable *cancellable, GError **error)
{
    struct vmf_call call = { .what = what, .request = request, .fault = fault, .other_task = other };
    if (vmf_error_if_cancelled (cancellable, error))
        return g_string_free (request, TRUE), NULL;
    g_autofree char *task = vmf_call_text (vsphere, &call, NULL, error);
    xmlDoc *doc = NULL;
    if (task)
    {
        g_autofree char *named = g_strdup_printf ("%s (%s)", what, task);
        doc = wait_for_end (vsphere, named, task, cancellable, error)
                  ? read_end (vsphere, named, task, fault, other, error)
                  : NULL;
    }
    if (!doc && *fault == VMF_FAULT_NONE)
        *fault = VMF_FAULT_NO_END;
    return doc;
}

xmlDoc *
vmf_task_run (struct vmf_vsphere *vsphere, const char *what, vmf_make_request make, const void *data,
              enum vmf_fault *fault, GCancellable *cancellable, GError **error)
{
    int64_t begun = g_get_monotonic_time ();
    enum vmf_fault own = VMF_FAULT_NONE;
    g_autoptr (GError) failed = NULL;
    xmlDoc *doc = NULL;
    bool again;
    do
    {
        g_autofree char *other = NULL;
        g_clear_error (&failed);
        own = VMF_FAULT_NONE;
        doc = run_once (vsphere, what, make (data), &own, &other, cancellable, &failed);
        again = !doc && vmf_task_wait_for_other (vsphere, own, other, begun, cancellable, &failed);
    } while (again);
    if (fault)
        *fault = own;
    if (failed)
        g_propagate_error (error, g_steal_pointer (&failed));
    return doc;
}
