/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A helper whose answers do not come, and why that is no fault: it waits for its turn at a host.
 *
 * While it does, a file stands beside its socket, SOCKET.waiting, with a sentence in it (plugins/vddk-mark.h). Whoever
 * counts seconds of silence looks there before the helper is given up, and begins to count anew. The helper takes the
 * file away before it asks the host, so a host that hangs is still found; vmf_server_free() takes away that of one that
 * was killed. Any thread may look.
 */
#pragma once
#include <glib.h>
#include <stdbool.h>

/* Where the helper at SOCKET is to say it. Caller frees. */
char *vmf_held_up_path (const char *socket);

/* Is WHY (NULL: nothing) other than what was told last? *TOLD is the caller's, and gets it. */
bool vmf_held_up_is_news (char **told, const char *why);

/* What the helper at URI (nbd+unix:///?socket=…) waits for: "waiting for …". NULL: nothing. Caller frees. */
char *vmf_held_up_look (const char *uri);
