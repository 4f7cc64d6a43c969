/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A pinned certificate in the hands of a program that can be given authorities and no thumbprint: it believes the
 * certificate as if it were one, but also asks that its name be the server's, that it has not expired, and so on. This
 * says whether it will, and by which name. Any thread may call.
 */
#pragma once
#include <gio/gio.h>
#include <stdint.h>

/* A name that the certificate PEM is for: the first that it has, a wildcard with something in its place. NULL: none
   that could stand in an address. Caller frees. */
char *vmf_tls_get_own_name (const char *pem);

/* A handshake with HOST:PORT as libcurl does it by itself, where PEM is the only authority and the server is called
   NAME. NULL: it succeeds; otherwise libcurl's words, also when it is cancelled. Caller frees. */
char *vmf_tls_try_name (const char *host, uint16_t port, const char *name, const char *pem, int64_t timeout_ms,
                        GCancellable *cancellable);
