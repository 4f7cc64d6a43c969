/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pinned certificates (A18): what a server showed at the first connection is believed from then on, and nothing else.
 *
 * A file of lines "HOST:PORT THUMBPRINT", or "HOST:PORT authorities" for a server that the system's authorities vouched
 * for, which must do so again; 0600, replaced as a whole under a lock, so two vmferrys may add at the same
 * time. A file that others may write to is not believed. Thumbprints are as base/tls.h spells them. Any thread may
 * call.
 *
 * Order of calls: look before a connection; with a thumbprint found, connect by it alone; with none, ask the server for
 * its own, show it to the user, add, connect by it.
 */
#pragma once
#include "base/settings.h"
#include "base/tls.h"
#include <gio/gio.h>
#include <stdbool.h>
#include <stdint.h>

#define VMF_PINS_AUTHORITIES "authorities" /* in place of a thumbprint */

/* The setting vsphere.known_hosts, or its default. Caller frees. */
char *vmf_pins_path (const struct vmf_settings *settings);

/* *THUMBPRINT: the pinned one, or VMF_PINS_AUTHORITIES, which the caller frees; NULL: none yet. False: the file cannot
 * be read or believed. */
bool vmf_pins_look (const char *path, const char *host, uint16_t port, char **thumbprint, GError **error);

/* Pins it. One that is there and the same is fine; another is refused as by vmf_pins_refuse. */
bool vmf_pins_add (const char *path, const char *host, uint16_t port, const char *thumbprint, GError **error);

/* *WAS_THERE: whether there was one. */
bool vmf_pins_forget (const char *path, const char *host, uint16_t port, bool *was_there, GError **error);

/* Sets ERROR (UNSAFE) to what a user must know about a certificate that changed: both values, and the command that
   forgets the old one, for ADDRESS (a source; NULL: HOST:PORT's is made up). Gives false. */
bool vmf_pins_refuse (const char *host, uint16_t port, const char *pinned, const char *seen, const char *address,
                      GError **error);

/* Whom to believe at HOST:PORT, all things considered; its strings are freed by vmf_trust_clear(). */
struct vmf_trust
{
    struct vmf_tls_trust tls; /* for vmf_vsphere_login() and the like; borrows from here and from the settings */
    char *thumbprint;         /* NULL: authorities vouch for the server */
    bool first_use;           /* it was pinned just now: show it to the user */
};

/* In this order: the setting vddk.thumbprint; vsphere.ca_file; NO_VERIFY (the user's ?no_verify=1), with which the
   certificate's own is taken, whatever it is, but not kept; a pinned one; the system's authorities, where they vouch
   for the server; the one that it shows now, which is then pinned. Only the last ask the server. */
bool vmf_trust_decide (const struct vmf_settings *settings, const char *host, uint16_t port, bool no_verify,
                       struct vmf_trust *trust, GCancellable *cancellable, GError **error);
void vmf_trust_clear (struct vmf_trust *trust);
