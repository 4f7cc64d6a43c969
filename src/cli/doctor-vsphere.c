/* SPDX-License-Identifier: GPL-2.0-or-later */
/* doctor at a vCenter or an ESXi host, as far as one gets without a login: its ports and its certificate. */
#include "cli/doctor-vsphere.h"
#include "base/error.h"
#include "source/vsphere/pins.h"

#include <string.h>

enum
{
    ASK_TIMEOUT_MS = 10000,
};

static const char for_vcenter[] = "login, inventory, snapshots";
static const char for_host[] = "login, inventory, snapshots, and the roads export and https fetch disks here";

/* Who says that a certificate without a pin is the right one. */
static const char *
voucher (struct doctor_vsphere *looking)
{
    if (*vmf_settings_get_string (looking->settings, "vsphere.ca_file"))
        return "checked by the authority in vsphere.ca_file at each login";
    if (looking->address->no_verify)
        return "which is not checked, as no_verify=1 says: anybody could be in between";
    if (vmf_tls_is_vouched_for (looking->address->host, looking->port, ASK_TIMEOUT_MS, looking->cancellable, NULL))
        return "vouched for by an authority that this host trusts";
    return "not pinned yet: the first login does that; compare it with the server's console";
}

/* A18: what is known, what is shown, and what to do where they differ; *GOOD: a login makes sense. */
static bool
look_at_certificate (struct doctor_vsphere *looking, bool *good, GError **error)
{
    const char *host = looking->address->host;
    g_autoptr (GError) why = NULL;
    g_autofree char *path = vmf_pins_path (looking->settings), *pinned = NULL;
    g_autofree char *seen = vmf_tls_ask_thumbprint (host, looking->port, ASK_TIMEOUT_MS, looking->cancellable, &why);
    if (vmf_error_if_cancelled (looking->cancellable, error))
        return false;
    *good = false;
    if (!seen)
        return row_add (looking->list, "certificate", ROW_MISSING, "%s", why->message), true;
    const char *set = vmf_settings_get_string (looking->settings, "vddk.thumbprint");
    if (*set ? !(pinned = vmf_tls_normalise_thumbprint (set, error))
             : !vmf_pins_look (path, host, looking->port, &pinned, error))
        return false;
    bool by_authority = g_strcmp0 (pinned, VMF_PINS_AUTHORITIES) == 0;
    *good = by_authority ? vmf_tls_is_vouched_for (host, looking->port, ASK_TIMEOUT_MS, looking->cancellable, NULL)
                         : !pinned || strcmp (pinned, seen) == 0;
    if (*good)
        row_add (looking->list, "certificate", ROW_GOOD, "thumbprint %s, %s", seen,
                 *set                      ? "as the setting vddk.thumbprint says"
                 : pinned && !by_authority ? "as it is pinned"
                                           : voucher (looking));
    else if (*set)
        row_add (looking->list, "certificate", ROW_MISSING,
                 "the setting vddk.thumbprint is %s, but the server shows %s: compare it with the server's console",
                 pinned, seen);
    else
    {
        vmf_pins_refuse (host, looking->port, pinned, seen, looking->source->address, &why);
        row_add (looking->list, "certificate", ROW_MISSING, "%s", why->message);
    }
    return true;
}

static bool
forget_thumbprint (struct doctor_vsphere *looking, GError **error)
{
    bool was_there;
    g_autofree char *path = vmf_pins_path (looking->settings);
    if (!vmf_pins_forget (path, looking->address->host, looking->port, &was_there, error))
        return false;
    row_add (looking->list, "certificate", ROW_GOOD,
             was_there ? "the pinned thumbprint is forgotten; the next connection pins the server's new one"
                       : "no thumbprint was pinned for %s:%u",
             looking->address->host, looking->port);
    return true;
}

static bool
look (struct doctor_vsphere *looking, GError **error)
{
    size_t n_ok = 0;
    bool trusted = false;
    bool vcenter = looking->address->is_vcenter;
    if (looking->source->forget_thumbprint)
        return forget_thumbprint (looking, error);
    const struct doctor_port ports[] = {
        { looking->address->host, looking->port, vcenter ? for_vcenter : for_host, ROW_MISSING, false },
        { looking->address->host, VMF_VDDK_NFC_PORT, DOCTOR_FOR_VDDK, ROW_WARNING, true },
    };
    if (!doctor_look_at_ports (looking->list, ports, vcenter ? 1 : 2, &n_ok, looking->cancellable, error))
        return false;
    if (n_ok == 0)
        return true;
    return look_at_certificate (looking, &trusted, error) && (!trusted || doctor_look_behind_login (looking, error));
}

bool
doctor_look_at_vsphere (GPtrArray *list, const struct doctor_source *source, const struct vmf_settings *settings,
                        GCancellable *cancellable, GError **error)
{
    struct vmf_vsphere_address *address = vmf_vsphere_address_parse (source->address, error);
    if (!address)
        return false;
    struct doctor_vsphere looking = {
        list, source, settings, address, vmf_vsphere_address_port (address), cancellable
    };
    bool good = look (&looking, error);
    vmf_vsphere_address_free (address);
    return good;
}
