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

/* What a first connection finds is what all later ones must find. */
static bool
use_pin (const char *path, const char *host, uint16_t port, struct vmf_trust *trust, GCancellable *cancellable,
         GError **error)
{
    if (!vmf_pins_look (path, host, port, &trust->thumbprint, error))
        return false;
    if (trust->thumbprint || vmf_tls_is_vouched_for (host, port, ASK_TIMEOUT_MS, cancellable))
        return true;
    trust->thumbprint = vmf_tls_ask_thumbprint (host, port, ASK_TIMEOUT_MS, cancellable, error);
    trust->first_use = trust->thumbprint != NULL;
    return trust->thumbprint && vmf_pins_add (path, host, port, trust->thumbprint, error);
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
