/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pinned certificates (A18): what a server showed at the first connection is believed from then on, and nothing else.
 *
 * A file of lines "HOST:PORT THUMBPRINT", 0600, replaced as a whole under a lock, so two vmferrys may add at the same
 * time. A file that others may write to is not believed. Thumbprints are as base/tls.h spells them. Any thread may
 * call.
 *
 * Order of calls: look before a connection; with a thumbprint found, connect by it alone; with none, ask the server for
 * its own, show it to the user, add, connect by it.
 */
#pragma once
#include "base/settings.h"
#include <gio/gio.h>
#include <stdbool.h>
#include <stdint.h>

/* The setting vsphere.known_hosts, or its default. Caller frees. */
char *vmf_pins_path (const struct vmf_settings *settings);

/* *THUMBPRINT: the pinned one, which the caller frees; NULL: none yet. False: the file cannot be read or believed. */
bool vmf_pins_look (const char *path, const char *host, uint16_t port, char **thumbprint, GError **error);

/* Pins it. One that is there and the same is fine; another is refused as by vmf_pins_refuse. */
bool vmf_pins_add (const char *path, const char *host, uint16_t port, const char *thumbprint, GError **error);

/* *WAS_THERE: whether there was one. */
bool vmf_pins_forget (const char *path, const char *host, uint16_t port, bool *was_there, GError **error);

/* Sets ERROR (UNSAFE) to what a user must know about a certificate that changed: both values, and the command that
   forgets the old one, for ADDRESS (a source; NULL: HOST:PORT's is made up). Gives false. */
bool vmf_pins_refuse (const char *host, uint16_t port, const char *pinned, const char *seen, const char *address,
                      GError **error);
