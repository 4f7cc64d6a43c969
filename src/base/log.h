/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The log of one import (D3): everything that goes through g_debug() … g_critical(), a line each with its time, in a
 * file that outlives the work directory. Standard error stays the user's. Lines are bounded, and so is the file.
 */
#pragma once
#include <glib.h>
#include <stdbool.h>

/* Makes DIR/NAME-TIME.log, 0600. Once per process, before other threads. */
bool vmf_log_open (const char *dir, const char *name, GError **error);

/* NULL where none is open. Borrowed. */
const char *vmf_log_get_path (void);

/* DIR NULL or "": /var/log/vmferry for root, below $XDG_STATE_HOME for others. Caller frees. */
char *vmf_log_default_dir (const char *dir);
