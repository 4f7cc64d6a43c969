/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside src/target/ only: names that one import at a time may have (on this host, or in this container: they are a
 * network namespace's), where no file can stand for them (a domain's name, its UUID).
 *
 * A claim is a listening socket in Linux' abstract namespace: taking it is atomic, it leaves nothing behind, and it is
 * gone with its process, however that ends. Any thread.
 */
#pragma once
#include <gio/gio.h>
#include <stdbool.h>
#include <sys/types.h>

/* NAME is any text; each user has claims of their own. A descriptor that holds the claim until it is closed; -1,
   EXISTS: a sentence that WHAT ("a domain 'web'") is being made by that process; -1, FAILED. */
int vmf_claim_take (const char *name, const char *what, GError **error);

/* That sentence where somebody holds NAME; NULL: nobody. Caller frees. */
char *vmf_claim_holder (const char *name, const char *what);
