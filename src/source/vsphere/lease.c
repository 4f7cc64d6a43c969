/* SPDX-License-Identifier: GPL-2.0-or-later */
/* NFC export leases: taken, kept alive by a thread, and ended.
 *
 * A lease ends by itself where nobody reports progress for `leaseTimeout` seconds, and blocks other operations on the
 * VM as long as it lives: so it is ended with the session at the latest.
 */
#include "source/vsphere/lease.h"
#include "base/error.h"

#include <string.h>

#define TIMEOUT_S 300 /* what vSphere has, where a lease does not say */

struct vmf_vsphere_lease
{
    struct vmf_vsphere *vsphere;
    char *moref, *what;
    GPtrArray *files;
    int64_t interval_us; /* between reports */
    GThread *thread;
    GCancellable *stop; /* what the thread asks */
    GMutex lock;        /* over what follows */
    GCond woken;
    bool ending;
    unsigned percent;
};

static bool
report (struct vmf_vsphere_lease *lease, unsigned percent)
{
    g_autoptr (GError) error = NULL;
    struct vmf_call call = { .what = lease->what };
    call.request = vmf_request_new ("HttpNfcLeaseProgress", "HttpNfcLease", lease->moref);
    vmf_request_add_int (call.request, "percent", percent);
    vmf_request_end (call.request);
    enum vmf_fault fault = VMF_FAULT_NONE; /* it stays this where the server could not be asked */
    call.fault = &fault;
    if (vmf_call_do (lease->vsphere, &call, lease->stop, &error))
        return true;
    g_debug ("reporting progress: %s", error->message); /* whoever reads its URLs will hear of its end */
    return fault == VMF_FAULT_NONE;
}

static void *
keep_alive (void *data)
{
    struct vmf_vsphere_lease *lease = data;
    g_mutex_lock (&lease->lock);
    while (!lease->ending)
    {
        unsigned percent = lease->percent;
        g_mutex_unlock (&lease->lock);
        report (lease, percent);
        g_mutex_lock (&lease->lock);
        int64_t until = g_get_monotonic_time () + lease->interval_us;
        while (!lease->ending && g_cond_wait_until (&lease->woken, &lease->lock, until))
            ;
    }
    g_mutex_unlock (&lease->lock);
    return NULL;
}

static struct vmf_vsphere_lease *
new_lease (struct vmf_vsphere *vsphere, char *moref, const char *what)
{
    struct vmf_vsphere_lease *lease = g_new0 (struct vmf_vsphere_lease, 1);
    lease->vsphere = vsphere;
    lease->moref = moref;
    lease->what = g_strdup (what);
    lease->stop = g_cancellable_new ();
    g_mutex_init (&lease->lock);
    g_cond_init (&lease->woken);
    g_mutex_lock (&vsphere->leases_lock);
    g_ptr_array_add (vsphere->leases, lease);
    g_mutex_unlock (&vsphere->leases_lock);
    return lease;
}

/* Asks for the lease; where another task is in the way, waits for that. Not given up halfway: a lease whose name nobody
   heard would stand in the VM's way until it ends by itself. */
static char *
ask (struct vmf_vsphere *vsphere, const char *what, const char *vm_moref, const char *snapshot_moref,
     GCancellable *cancellable, GError **error)
{
    int64_t begun = g_get_monotonic_time ();
    g_autoptr (GError) failed = NULL;
    char *moref;
    bool again;
    do
    {
        enum vmf_fault fault = VMF_FAULT_NONE;
        g_autofree char *other = NULL;
        struct vmf_call call = { .what = what, .fault = &fault, .other_task = &other };
        g_clear_error (&failed);
        moref = NULL;
        if (vmf_error_if_cancelled (cancellable, &failed))
            break;
        call.request = vmf_request_end (
            snapshot_moref ? vmf_request_new ("ExportSnapshot", "VirtualMachineSnapshot", snapshot_moref)
                           : vmf_request_new ("ExportVm", "VirtualMachine", vm_moref));
        moref = vmf_call_text (vsphere, &call, NULL, &failed);
        again = !moref && vmf_task_wait_for_other (vsphere, fault, other, begun, cancellable, &failed);
    } while (again);
    if (failed)
        g_propagate_error (error, g_steal_pointer (&failed));
    return moref;
}

/* What the VM, or the snapshot, has for disks. */
static xmlDoc *
read_config (struct vmf_vsphere *vsphere, const char *what, const char *vm_moref, const char *snapshot_moref,
             GCancellable *cancellable, GError **error)
{
    static const char *const paths[] = { "config", NULL };
    return vmf_properties_one (vsphere, what, snapshot_moref ? "VirtualMachineSnapshot" : "VirtualMachine",
                               snapshot_moref ? snapshot_moref : vm_moref, paths, cancellable, error);
}

static bool
set_lease_error (const struct vmf_vsphere_lease *lease, const xmlNode *object, GError **error)
{
    const xmlNode *why = vmf_property_find (object, "error");
    const xmlNode *fault = vmf_xml_child (why, "fault"); /* LocalizedMethodFault, or the fault itself */
    struct vmf_fault_place place = { lease->vsphere->server, lease->vsphere->user, lease->what };
    g_autofree char *message = vmf_xml_find_text (why, "localizedMessage");
    vmf_fault_set_error (fault ? fault : why, message, &place, error);
    return false;
}

/* "esx1", "esx1:8443", "[::1]:8443": as it stands in a URL. */
static char *
authority_of (const struct vmf_vsphere *vsphere)
{
    bool has_colon = strchr (vsphere->host, ':') != NULL;
    g_autofree char *host = has_colon ? g_strdup_printf ("[%s]", vsphere->host) : g_strdup (vsphere->host);
    return vsphere->port == VMF_VSPHERE_PORT ? g_steal_pointer (&host) : g_strdup_printf ("%s:%u", host, vsphere->port);
}

/* Waits until it is ready, and reads what it gives. */
static bool
get_ready (struct vmf_vsphere_lease *lease, const xmlNode *config, GCancellable *cancellable, GError **error)
{
    static const char *const ends[] = { "ready", "error", "done", NULL };
    static const char *const paths[] = { "state", "info", "error", NULL };
    struct vmf_vsphere *vsphere = lease->vsphere;
    if (vmf_wait_for (vsphere, lease->what, "HttpNfcLease", lease->moref, "state", ends, G_MAXINT64, cancellable, error)
        != VMF_WAIT_DONE)
        return false;
    xmlDoc *doc = vmf_properties_one (vsphere, lease->what, "HttpNfcLease", lease->moref, paths, cancellable, error);
    if (!doc)
        return false;
    const xmlNode *object = xmlDocGetRootElement (doc), *info = vmf_property_find (object, "info");
    g_autofree char *state = vmf_property_text (object, "state");
    bool ready = info && state && strcmp (state, "ready") == 0;
    if (ready)
    {
        int64_t timeout_s = CLAMP (vmf_node_int (info, "leaseTimeout", TIMEOUT_S), 1, 3600);
        g_autofree char *authority = authority_of (vsphere);
        lease->interval_us = MIN (timeout_s * G_USEC_PER_SEC / 4, 30 * G_USEC_PER_SEC);
        lease->files = vmf_lease_files_read (info, config, authority);
    }
    else
        set_lease_error (lease, object, error);
    xmlFreeDoc (doc);
    return ready;
}

struct vmf_vsphere_lease *
vmf_vsphere_export (struct vmf_vsphere *vsphere, const char *vm_moref, const char *snapshot_moref,
                    GCancellable *cancellable, GError **error)
{
    g_autofree char *what = snapshot_moref ? g_strdup_printf ("exporting %s of %s", snapshot_moref, vm_moref)
                                           : g_strdup_printf ("exporting %s", vm_moref);
    xmlDoc *config = read_config (vsphere, what, vm_moref, snapshot_moref, cancellable, error);
    if (!config)
        return NULL;
    char *moref = ask (vsphere, what, vm_moref, snapshot_moref, cancellable, error);
    struct vmf_vsphere_lease *lease = moref ? new_lease (vsphere, moref, what) : NULL;
    bool ready =
        lease && get_ready (lease, vmf_property_find (xmlDocGetRootElement (config), "config"), cancellable, error);
    xmlFreeDoc (config);
    if (ready)
        lease->thread = g_thread_new ("lease", keep_alive, lease);
    else if (lease)
        vmf_vsphere_lease_end (g_steal_pointer (&lease), false);
    return lease;
}

const GPtrArray *
vmf_vsphere_lease_get_files (const struct vmf_vsphere_lease *lease)
{
    return lease->files;
}

void
vmf_vsphere_lease_set_percent (struct vmf_vsphere_lease *lease, unsigned percent)
{
    g_mutex_lock (&lease->lock);
    lease->percent = MIN (percent, 100);
    g_mutex_unlock (&lease->lock);
}

bool
vmf_vsphere_lease_lives (struct vmf_vsphere_lease *lease)
{
    g_mutex_lock (&lease->lock);
    unsigned percent = lease->percent;
    g_mutex_unlock (&lease->lock);
    return report (lease, percent);
}

static void
tell_end (struct vmf_vsphere_lease *lease, bool complete)
{
    g_autoptr (GError) error = NULL;
    struct vmf_call call = { .what = lease->what, .timeout_ms = VMF_GOODBYE_MS };
    call.request = vmf_request_end (
        vmf_request_new (complete ? "HttpNfcLeaseComplete" : "HttpNfcLeaseAbort", "HttpNfcLease", lease->moref));
    if (!vmf_call_do (lease->vsphere, &call, NULL, &error))
        g_debug ("ending a lease: %s", error->message);
}

void
vmf_vsphere_lease_end (struct vmf_vsphere_lease *lease, bool complete)
{
    if (!lease)
        return;
    g_mutex_lock (&lease->lock);
    lease->ending = true;
    g_cond_signal (&lease->woken);
    g_mutex_unlock (&lease->lock);
    g_cancellable_cancel (lease->stop);
    if (lease->thread)
        g_thread_join (lease->thread);
    tell_end (lease, complete);
    g_mutex_lock (&lease->vsphere->leases_lock);
    g_ptr_array_remove (lease->vsphere->leases, lease);
    g_mutex_unlock (&lease->vsphere->leases_lock);
    if (lease->files)
        g_ptr_array_unref (lease->files);
    g_free (lease->moref);
    g_free (lease->what);
    g_object_unref (lease->stop);
    g_mutex_clear (&lease->lock);
    g_cond_clear (&lease->woken);
    g_free (lease);
}
