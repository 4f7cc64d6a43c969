/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A unix socket behind which a server is: what one side sends the other gets, unread. A client that cannot be told to
 * reach HOST by another name than the certificate's (nbdkit's curl plugin) asks for that name, at this socket; who
 * answers is proved to it by TLS, end to end, as ever.
 *
 *     nbdkit's curl ──TLS──► SOCKET ═ relay ═ TCP ──TLS──► HOST:PORT
 *
 * Threads of its own do the work; any thread may start and free it. Freed before its clients it cuts them off.
 */
#pragma once
#include <gio/gio.h>
#include <stdint.h>

/* SOCKET_PATH in a folder of the caller's own, 0700; taken over from one that was killed, and removed at the end. */
typedef struct vmf_relay vmf_relay;
struct vmf_relay *vmf_relay_start (const char *socket_path, const char *host, uint16_t port, GError **error);
void vmf_relay_free (struct vmf_relay *relay);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_relay, vmf_relay_free)
