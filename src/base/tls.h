/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whom a TLS connection believes: the system's authorities, a CA file of the user's, or one pinned certificate.
 *
 * A thumbprint is the SHA-1 of the leaf certificate's DER as VMware's tools print it: 20 upper-case hex pairs with
 * colons. It is compared before anything is sent, a password least of all. Any thread may call.
 */
#pragma once
#include <curl/curl.h>
#include <gio/gio.h>
#include <stdbool.h>
#include <stdint.h>

struct vmf_tls_trust
{
    const char *ca_file;    /* PEM; NULL: the system's authorities */
    const char *thumbprint; /* pinned: this certificate and no other, whatever its name and issuer; NULL: none */
    bool no_verify;         /* the user said so (?no_verify=1); callers warn */
};

/* What one connection saw; zeroed by the caller, must live as long as the handle is used. */
struct vmf_tls_seen
{
    char thumbprint[60]; /* of the leaf; "" before a handshake */
    bool mismatch;       /* it was not the pinned one: nothing was sent */
};

/* Makes CURL verify by TRUST (borrowed as long as the handle is used). */
bool vmf_tls_setup (CURL *curl, const struct vmf_tls_trust *trust, struct vmf_tls_seen *seen, GError **error);

/* The thumbprint of HOST:PORT, by a handshake that sends nothing else; trusts nobody. Caller frees. */
char *vmf_tls_ask_thumbprint (const char *host, uint16_t port, int64_t timeout_ms, GCancellable *cancellable,
                              GError **error);

/* "ab:cd…", "ABCD…" with or without colons → the one spelling; NULL, VMF_ERROR_USAGE. Caller frees. */
char *vmf_tls_normalise_thumbprint (const char *text, GError **error);
