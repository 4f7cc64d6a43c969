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

#define VMF_TLS_PEM_MAX 16384

struct vmf_tls_trust
{
    const char *ca_file;    /* PEM; NULL: the system's authorities */
    const char *thumbprint; /* pinned: this certificate and no other, whatever its name and issuer; NULL: none */
    bool no_verify;         /* the user said so (?no_verify=1); callers warn */
};

/* What one connection saw; zeroed by the caller, must live as long as the handle is used. */
struct vmf_tls_seen
{
    char thumbprint[60];       /* of the leaf; "" before a handshake */
    bool mismatch;             /* it was not the pinned one: nothing was sent */
    char pem[VMF_TLS_PEM_MAX]; /* the leaf; "" where it is longer */
    char pinned[60];           /* what is asked of it, by vmf_tls_setup(); "": the authorities decide … */
    bool no_verify;            /* … or nobody does */
};

/* A new curl handle, with libcurl initialised once; speaks https only and follows no redirect. Never NULL. */
CURL *vmf_tls_handle_new (void);
void vmf_tls_set_cancellable (CURL *curl, GCancellable *cancellable); /* CURLE_ABORTED_BY_CALLBACK then */
void vmf_tls_allow_http (CURL *curl);                                 /* for a server that the user named so */

/* Makes CURL verify by TRUST (borrowed as long as the handle is used), at each connection anew. VMF_ERROR_USAGE: a
   pinned thumbprint that is none. VMF_ERROR_MISSING: a libcurl that is not built on OpenSSL. */
bool vmf_tls_setup (CURL *curl, const struct vmf_tls_trust *trust, struct vmf_tls_seen *seen, GError **error);

/* Puts what made curl_easy_perform() fail into words. SERVER ("vc.example:443") names it; DETAIL is what curl left in
   its error buffer, or NULL. VMF_ERROR_UNSAFE: it is not trusted; both thumbprints and the remedy are in the message.
   VMF_ERROR_CANCELLED for CURLE_ABORTED_BY_CALLBACK, otherwise VMF_ERROR_FAILED. */
void vmf_tls_set_error (CURLcode code, const char *server, const struct vmf_tls_trust *trust,
                        const struct vmf_tls_seen *seen, const char *detail, GError **error);

/* The thumbprint of HOST:PORT, by a handshake that sends nothing else; trusts nobody. Caller frees. */
char *vmf_tls_ask_thumbprint (const char *host, uint16_t port, int64_t timeout_ms, GCancellable *cancellable,
                              GError **error);

/* Do this system's authorities vouch for the certificate of HOST:PORT, and is it for that name? By a handshake too.
   ERROR is set where that is not known: it did not answer, for one. */
bool vmf_tls_is_vouched_for (const char *host, uint16_t port, int64_t timeout_ms, GCancellable *cancellable,
                             GError **error);

/* "ab:cd…", "ABCD…" with or without colons → the one spelling; NULL, VMF_ERROR_USAGE. Caller frees. */
char *vmf_tls_normalise_thumbprint (const char *text, GError **error);
