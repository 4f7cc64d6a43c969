/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Power: the guest is asked first. */
#include "base/error.h"
#include "source/vsphere/inventory.h"

#include <string.h>

static bool
read_state (struct vmf_vsphere *vsphere, const char *what, const char *vm_moref, enum vmf_vsphere_power *power,
            bool *tools, GCancellable *cancellable, GError **error)
{
    static const char *const paths[] = { "runtime.powerState", "guest.toolsRunningStatus", NULL };
    xmlDoc *doc = vmf_properties_one (vsphere, what, "VirtualMachine", vm_moref, paths, cancellable, error);
    if (!doc)
        return false;
    g_autofree char *state = vmf_property_text (xmlDocGetRootElement (doc), paths[0]);
    g_autofree char *running = vmf_property_text (xmlDocGetRootElement (doc), paths[1]);
    *power = vmf_power_from_text (state);
    *tools = running && strcmp (running, "guestToolsRunning") == 0;
    xmlFreeDoc (doc);
    return true;
}

static GString *
make_power_off (const void *data)
{
    return vmf_request_end (vmf_request_new ("PowerOffVM_Task", "VirtualMachine", data));
}

static GString *
make_power_on (const void *data)
{
    return vmf_request_end (vmf_request_new ("PowerOnVM_Task", "VirtualMachine", data));
}

/* Runs a power task; that the VM is in WANTED already is a success. */
static bool
set_power (struct vmf_vsphere *vsphere, const char *what, vmf_make_request make, const char *vm_moref,
           enum vmf_vsphere_power wanted, GCancellable *cancellable, GError **error)
{
    enum vmf_fault fault = VMF_FAULT_NONE;
    enum vmf_vsphere_power power = VMF_POWER_UNKNOWN;
    bool tools;
    g_autoptr (GError) failed = NULL;
    xmlDoc *doc = vmf_task_run (vsphere, what, make, vm_moref, &fault, cancellable, &failed);
    xmlFreeDoc (doc);
    if (doc
        || (fault == VMF_FAULT_POWER_STATE && read_state (vsphere, what, vm_moref, &power, &tools, cancellable, NULL)
            && power == wanted))
        return true;
    g_propagate_error (error, g_steal_pointer (&failed));
    return false;
}

/* DONE: it is off. TIMEOUT: the guest did not do it, or could not be asked. */
static enum vmf_wait
ask_guest (struct vmf_vsphere *vsphere, const char *what, const char *vm_moref, int64_t timeout_ms,
           GCancellable *cancellable, GError **error)
{
    static const char *const off[] = { "poweredOff", NULL };
    int64_t deadline = g_get_monotonic_time () + timeout_ms * 1000;
    enum vmf_fault fault = VMF_FAULT_NONE;
    g_autoptr (GError) failed = NULL;
    struct vmf_call call = { .what = what, .fault = &fault };
    call.request = vmf_request_end (vmf_request_new ("ShutdownGuest", "VirtualMachine", vm_moref));
    if (vmf_call_do (vsphere, &call, cancellable, &failed))
        return vmf_wait_for (vsphere, what, "VirtualMachine", vm_moref, "runtime.powerState", off, deadline,
                             cancellable, error);
    if (fault == VMF_FAULT_TOOLS)
        return VMF_WAIT_TIMEOUT;
    g_propagate_error (error, g_steal_pointer (&failed));
    return VMF_WAIT_ERROR;
}

bool
vmf_vsphere_shut_down (struct vmf_vsphere *vsphere, const char *vm_moref, int64_t timeout_ms, bool force, bool *asked,
                       GCancellable *cancellable, GError **error)
{
    enum vmf_vsphere_power power;
    bool tools;
    g_autofree char *what = g_strdup_printf ("shutting %s down", vm_moref);
    *asked = false;
    if (!read_state (vsphere, what, vm_moref, &power, &tools, cancellable, error))
        return false;
    if (power == VMF_POWER_OFF)
        return true;
    enum vmf_wait found = VMF_WAIT_TIMEOUT;
    *asked = tools && power == VMF_POWER_ON;
    if (*asked)
        found = ask_guest (vsphere, what, vm_moref, timeout_ms, cancellable, error);
    if (found != VMF_WAIT_TIMEOUT)
        return found == VMF_WAIT_DONE;
    if (force)
        return set_power (vsphere, what, make_power_off, vm_moref, VMF_POWER_OFF, cancellable, error);
    g_autofree char *late = g_strdup_printf ("the guest was asked, but is not off in time (%" G_GINT64_FORMAT
                                             " s), though it may yet do it; shut it down "
                                             "from within, or let it have more time: the setting vsphere.shutdown_s",
                                             timeout_ms / 1000);
    const char *why = power == VMF_POWER_SUSPENDED ? "it is suspended: resume it and shut it down"
                      : !tools ? "VMware Tools do not run in the guest, so it cannot be asked; shut it down within"
                               : late;
    g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "%s: %s: %s", vsphere->server, what, why);
    return false;
}

bool
vmf_vsphere_power_on (struct vmf_vsphere *vsphere, const char *vm_moref, GCancellable *cancellable, GError **error)
{
    g_autofree char *what = g_strdup_printf ("powering %s on", vm_moref);
    return set_power (vsphere, what, make_power_on, vm_moref, VMF_POWER_ON, cancellable, error);
}
