/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ports and routes of a source, and what can be said of one that is reached by ssh. vCenter and ESXi: doctor-vsphere.c.
 */
#include "cli/doctor-source.h"
#include "base/error.h"
#include "base/reach.h"
#include "base/text.h"
#include "cli/commands.h"
#include "source/source.h"
#include "source/ssh-host.h"

#include <string.h>

enum
{
    REACH_TIMEOUT_MS = 5000,
};

/* What each outcome hints at, for PITFALLS 19: which host, which port, what for, and what to do. */
static const char *const remedies[] = {
    [VMF_REACH_OK] = "",
    [VMF_REACH_REFUSED] = "; the host is there, but nothing listens, or a firewall says no",
    [VMF_REACH_TIMED_OUT] = "; a firewall between here and there drops it, or the host is off",
    [VMF_REACH_UNREACHABLE] = "; there is no route",
    [VMF_REACH_NO_NAME] = "; this host must be able to resolve the name (DNS, or a line in /etc/hosts)",
    [VMF_REACH_FAILED] = "",
};

/* A22: bulk data follows the routes, so the way is told; two ports of one host have the same. */
static void
add_route (GPtrArray *list, const char *host, const char *address)
{
    g_autoptr (GError) error = NULL;
    struct vmf_route *route = vmf_route_look (address, &error);
    g_autofree char *name = g_strdup_printf ("way to %s", host);
    if (!route)
    {
        row_add (list, name, ROW_WARNING, "%s", error->message);
        return;
    }
    const char *interface = route->interface ? route->interface : "an interface that is not known";
    bool loopback = g_strcmp0 (route->interface, "lo") == 0;
    if (!loopback && (route->is_default || route->shares_default))
        row_add (list, name, ROW_WARNING,
                 "disks would come by %s (local address %s), which %s: that tends to be the management network; where "
                 "there is another for bulk data, add a route to %s through it",
                 interface, route->local,
                 route->is_default ? "is this host's default route" : "is also this host's default route", address);
    else
        row_add (list, name, ROW_GOOD, "disks come by %s, local address %s", interface, route->local);
    vmf_route_free (route);
}

static void
add_port (GPtrArray *list, const struct doctor_port *port, const struct vmf_reach *reach)
{
    g_autofree char *name = g_strdup_printf ("%s:%u", port->host, port->port);
    if (reach->state == VMF_REACH_OK)
        row_add (list, name, ROW_GOOD, "%s; reached in %.1f ms", port->purpose, reach->time_ms);
    else
        row_add (list, name, port->if_not, "%s; not reached: %s%s", port->purpose, reach->text, remedies[reach->state]);
    if (port->is_bulk && reach->address)
        add_route (list, port->host, reach->address);
}

bool
doctor_look_at_ports (GPtrArray *list, const struct doctor_port *ports, size_t n, size_t *n_ok,
                      GCancellable *cancellable, GError **error)
{
    g_autofree struct vmf_reach *reaches = g_new0 (struct vmf_reach, n);
    size_t ok = 0;
    for (size_t i = 0; i < n; i++)
    {
        reaches[i].host = ports[i].host;
        reaches[i].port = ports[i].port;
    }
    bool good = vmf_reach_check (reaches, n, REACH_TIMEOUT_MS, cancellable, error);
    for (size_t i = 0; i < n; i++)
    {
        if (good)
            add_port (list, &ports[i], &reaches[i]);
        ok += reaches[i].state == VMF_REACH_OK;
        vmf_reach_clear (&reaches[i]);
    }
    if (n_ok)
        *n_ok = ok;
    return good;
}

/* Opens each disk: the descriptor, and the data once. */
static bool
look_at_disks (GPtrArray *list, struct vmf_source *source, const struct vmf_vm *vm, GCancellable *cancellable,
               GError **error)
{
    const struct vmf_disk *disk;
    for (unsigned i = 0; (disk = vmf_vm_get_import_disk (vm, i)); i++)
    {
        g_autoptr (GError) why = NULL;
        g_autoptr (vmf_image) image = source->ops->image (source, vm, disk, cancellable, &why);
        if (vmf_error_if_cancelled (cancellable, error))
            return false;
        g_autofree char *size = vmf_text_from_size (image ? image->size_bytes : 0);
        const char *name = disk->id ? disk->id : "disk";
        if (image)
            row_add (list, name, ROW_GOOD, "%s of %s can be opened", size, disk->place.path);
        else
            row_add (list, name, ROW_MISSING, "%s", why->message);
    }
    return true;
}

/* The host key, the login and the .vmx are one step: nbdkit's plugin takes them together. */
static bool
look_at_machine (GPtrArray *list, const char *address, const struct vmf_settings *settings, GCancellable *cancellable,
                 GError **error)
{
    struct vmf_source_options options = { .settings = settings, .ask_password = vmf_cli_ask_password };
    g_autoptr (GError) why = NULL;
    g_autoptr (vmf_source) source = vmf_source_open (address, &options, cancellable, &why);
    g_autoptr (vmf_vm) vm = source ? source->ops->describe (source, NULL, cancellable, &why) : NULL;
    if (vmf_error_if_cancelled (cancellable, error))
        return false;
    if (!vm)
    {
        row_add (list, "login", ROW_MISSING, "%s", why->message);
        return true;
    }
    g_autofree char *name = vmf_text_printable (vm->name ? vm->name : "it", 80);
    row_add (list, "login", ROW_GOOD, "the host key is known, the login works, and %s is described", name);
    return look_at_disks (list, source, vm, cancellable, error);
}

static bool
look_at_ssh (GPtrArray *list, const struct doctor_source *source, const struct vmf_settings *settings,
             GCancellable *cancellable, GError **error)
{
    g_autofree char *user = NULL, *host = NULL, *path = NULL;
    uint16_t number;
    size_t n_ok = 0;
    if (source->forget_thumbprint || source->remove_snapshot)
        return g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE,
                            "sources by ssh have no thumbprint and no snapshots that vmferry made; host keys are in "
                            "ssh's own known_hosts ('ssh-keygen -R HOST' takes one out)"),
               false;
    if (!vmf_ssh_parse (source->address, &user, &host, &number, &path, error))
        return false;
    const struct doctor_port port = { host, number, "the road ssh: descriptions and disks come this way", ROW_MISSING,
                                      true };
    if (!doctor_look_at_ports (list, &port, 1, &n_ok, cancellable, error))
        return false;
    return n_ok == 0 || look_at_machine (list, source->address, settings, cancellable, error);
}

static const struct
{
    const char *scheme;
    bool (*look) (GPtrArray *list, const struct doctor_source *source, const struct vmf_settings *settings,
                  GCancellable *cancellable, GError **error);
} kinds[] = {
    { "ssh://", look_at_ssh },
    { "vpx://", doctor_look_at_vsphere },
    { "esx://", doctor_look_at_vsphere },
};

bool
doctor_look_at_source (GPtrArray *list, const struct doctor_source *source, const struct vmf_settings *settings,
                       GCancellable *cancellable, GError **error)
{
    for (size_t i = 0; i < G_N_ELEMENTS (kinds); i++)
        if (g_str_has_prefix (source->address, kinds[i].scheme))
            return kinds[i].look (list, source, settings, cancellable, error);
    g_autofree char *shown = vmf_text_printable (source->address, 300);
    g_set_error (
        error, VMF_ERROR, VMF_ERROR_USAGE,
        "doctor looks at sources on the network: vpx://, esx://, ssh://; '%s' is none ('vmferry show' looks at "
        "it)",
        shown);
    return false;
}
