/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From settings, pins and the server's own certificate to whom a connection believes. */
#include "source/vsphere/pins.h"

enum
{
    ASK_TIMEOUT_MS = 30000,
};

void
vmf_trust_clear (struct vmf_trust *trust)
{
    g_clear_pointer (&trust->thumbprint, g_free);
    trust->tls = (struct vmf_tls_trust){ 0 };
}

/* What a first connection finds is what all later ones must find: a certificate, or that the authorities vouch for it.
 */
static bool
use_pin (const char *path, const char *host, uint16_t port, struct vmf_trust *trust, GCancellable *cancellable,
         GError **error)
{
    g_autofree char *pinned = NULL;
    g_autoptr (GError) unknown = NULL;
    if (!vmf_pins_look (path, host, port, &pinned, error))
        return false;
    bool was_vouched_for = g_strcmp0 (pinned, VMF_PINS_AUTHORITIES) == 0;
    if (pinned && !was_vouched_for)
        return trust->thumbprint = g_steal_pointer (&pinned), true;
    if (vmf_tls_is_vouched_for (host, port, ASK_TIMEOUT_MS, cancellable, &unknown))
    {
        vmf_pins_add (path, host, port, VMF_PINS_AUTHORITIES, NULL); /* or it is found out again the next time */
        return true;
    }
    if (unknown)
        return g_propagate_error (error, g_steal_pointer (&unknown)), false;
    g_autofree char *seen = vmf_tls_ask_thumbprint (host, port, ASK_TIMEOUT_MS, cancellable, error);
    if (!seen)
        return false;
    if (was_vouched_for)
        return vmf_pins_refuse (host, port, pinned, seen, NULL, error);
    trust->thumbprint = g_steal_pointer (&seen);
    trust->first_use = true;
    return vmf_pins_add (path, host, port, trust->thumbprint, error);
}

bool
vmf_trust_decide (const struct vmf_settings *settings, const char *host, uint16_t port, bool no_verify,
                  struct vmf_trust *trust, GCancellable *cancellable, GError **error)
{
    const char *set = vmf_settings_get_string (settings, "vddk.thumbprint");
    const char *ca_file = vmf_settings_get_string (settings, "vsphere.ca_file");
    g_autofree char *path = vmf_pins_path (settings);
    *trust = (struct vmf_trust){ 0 };
    if (*set)
    {
        if (!(trust->thumbprint = vmf_tls_normalise_thumbprint (set, error)))
            return g_prefix_error (error, "the setting vddk.thumbprint: "), false;
    }
    else if (*ca_file)
        trust->tls.ca_file = ca_file;
    else if (no_verify)
    {
        trust->tls.no_verify = true;
        trust->thumbprint = vmf_tls_ask_thumbprint (host, port, ASK_TIMEOUT_MS, cancellable, error);
        return trust->thumbprint != NULL;
    }
    else if (!use_pin (path, host, port, trust, cancellable, error))
        return false;
    trust->tls.thumbprint = trust->thumbprint;
    return true;
}
