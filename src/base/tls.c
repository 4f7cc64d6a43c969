/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whom a TLS connection believes.
 *
 * The one non-obvious thing: OpenSSL's verification of a chain is replaced by ours as a whole, so that the leaf is seen
 * (and compared with the pinned one) within the handshake, before libcurl has sent one byte of HTTP.
 */
#include "base/tls.h"
#include "base/error.h"
#include "base/text.h"

#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <string.h>

#define SHA1_BYTES 20

static void
set_protocols (CURL *curl, bool http)
{
#if LIBCURL_VERSION_NUM >= 0x075500
    curl_easy_setopt (curl, CURLOPT_PROTOCOLS_STR, http ? "http,https" : "https");
#else
    curl_easy_setopt (curl, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTPS | (http ? CURLPROTO_HTTP : 0)));
#endif
}

void
vmf_tls_allow_http (CURL *curl)
{
    set_protocols (curl, true);
}

CURL *
vmf_tls_handle_new (void)
{
    static gsize once;
    if (g_once_init_enter (&once))
    {
        curl_global_init (CURL_GLOBAL_DEFAULT);
        g_once_init_leave (&once, 1);
    }
    CURL *curl = curl_easy_init ();
    if (!curl)
        g_error ("libcurl gives no handle: out of memory");
    set_protocols (curl, false);
    curl_easy_setopt (curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt (curl, CURLOPT_FOLLOWLOCATION, 0L);
    return curl;
}

static void
format_thumbprint (const uint8_t *digest, char *text)
{
    for (unsigned i = 0; i < SHA1_BYTES; i++)
        g_snprintf (text + 3 * i, 4, i + 1 < SHA1_BYTES ? "%02X:" : "%02X", digest[i]);
}

static void
remember_pem (X509 *leaf, struct vmf_tls_seen *seen)
{
    BIO *memory = BIO_new (BIO_s_mem ());
    seen->pem[0] = '\0';
    if (memory && PEM_write_bio_X509 (memory, leaf) == 1 && BIO_pending (memory) < VMF_TLS_PEM_MAX)
    {
        int length = BIO_read (memory, seen->pem, VMF_TLS_PEM_MAX - 1);
        seen->pem[length > 0 ? length : 0] = '\0';
    }
    BIO_free (memory);
}

/* OpenSSL calls it in place of its own verification: 1 goes on, 0 ends the handshake. */
static int
check_chain (X509_STORE_CTX *chain, void *data)
{
    struct vmf_tls_seen *seen = data;
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    X509 *leaf = X509_STORE_CTX_get0_cert (chain);
    if (!leaf || X509_digest (leaf, EVP_sha1 (), digest, &length) != 1 || length != SHA1_BYTES)
    {
        X509_STORE_CTX_set_error (chain, X509_V_ERR_UNSPECIFIED);
        return 0;
    }
    format_thumbprint (digest, seen->thumbprint);
    remember_pem (leaf, seen);
    if (seen->pinned[0])
    {
        seen->mismatch = strcmp (seen->thumbprint, seen->pinned) != 0;
        X509_STORE_CTX_set_error (chain, seen->mismatch ? X509_V_ERR_APPLICATION_VERIFICATION : X509_V_OK);
        return !seen->mismatch;
    }
    if (seen->no_verify)
    {
        X509_STORE_CTX_set_error (chain, X509_V_OK);
        return 1;
    }
    return X509_verify_cert (chain) == 1;
}

/* libcurl calls it with each new SSL_CTX. */
static CURLcode
prepare_context (CURL *curl, void *context, void *data)
{
    SSL_CTX_set_cert_verify_callback (context, check_chain, data);
    return CURLE_OK;
}

bool
vmf_tls_setup (CURL *curl, const struct vmf_tls_trust *trust, struct vmf_tls_seen *seen, GError **error)
{
    g_autofree char *pinned = trust->thumbprint ? vmf_tls_normalise_thumbprint (trust->thumbprint, error) : NULL;
    if (trust->thumbprint && !pinned)
        return false;
    g_strlcpy (seen->pinned, pinned ? pinned : "", sizeof seen->pinned);
    seen->no_verify = trust->no_verify && !pinned;
    bool authorities = !pinned && !trust->no_verify;
    /* A session that is taken up again would not show its certificate. */
    curl_easy_setopt (curl, CURLOPT_SSL_SESSIONID_CACHE, 0L);
    curl_easy_setopt (curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt (curl, CURLOPT_SSL_VERIFYPEER, 1L); /* or OpenSSL would go on whatever the check says */
    curl_easy_setopt (curl, CURLOPT_SSL_VERIFYHOST, authorities ? 2L : 0L);
    if (!authorities)
    {
        curl_easy_setopt (curl, CURLOPT_CAINFO, NULL);
        curl_easy_setopt (curl, CURLOPT_CAPATH, NULL);
    }
    else if (trust->ca_file)
    {
        curl_easy_setopt (curl, CURLOPT_CAINFO, trust->ca_file);
        curl_easy_setopt (curl, CURLOPT_CAPATH, NULL);
    }
    curl_easy_setopt (curl, CURLOPT_SSL_CTX_DATA, seen);
    if (curl_easy_setopt (curl, CURLOPT_SSL_CTX_FUNCTION, prepare_context) == CURLE_OK)
        return true;
    g_set_error (error, VMF_ERROR, VMF_ERROR_MISSING,
                 "this host's libcurl is not built on OpenSSL (%s): certificates cannot be checked", curl_version ());
    return false;
}

static void
set_untrusted (const char *server, const struct vmf_tls_trust *trust, const struct vmf_tls_seen *seen,
               const char *detail, GError **error)
{
    if (seen->mismatch)
        g_set_error (
            error, VMF_ERROR, VMF_ERROR_UNSAFE,
            "the certificate of %s has the thumbprint %s, but %s is pinned: nothing was sent. Either it was "
            "renewed, or somebody is in between; compare it with the server's own, then set vddk.thumbprint to "
            "the new one",
            server, seen->thumbprint, seen->pinned);
    else
        g_set_error (
            error, VMF_ERROR, VMF_ERROR_UNSAFE,
            "the certificate of %s is not trusted (%s), nothing was sent. Its thumbprint is %s: compare it with "
            "the server's own, then set vddk.thumbprint to it, or name the CA file of its authority",
            server, detail, seen->thumbprint[0] ? seen->thumbprint : "unknown");
}

void
vmf_tls_set_error (CURLcode code, const char *server, const struct vmf_tls_trust *trust,
                   const struct vmf_tls_seen *seen, const char *detail, GError **error)
{
    g_autofree char *shown = vmf_text_printable (detail && *detail ? detail : curl_easy_strerror (code), 300);
    if (code == CURLE_ABORTED_BY_CALLBACK)
        g_set_error (error, VMF_ERROR, VMF_ERROR_CANCELLED, "stopped on request");
    else if (code == CURLE_SSL_CACERT_BADFILE)
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "the authorities' certificates cannot be read from %s: %s",
                     trust->ca_file ? trust->ca_file : "where this system keeps them", shown);
    else if (code == CURLE_COULDNT_RESOLVE_HOST)
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "%s: there is no such host name (%s)", server, shown);
    else if (code == CURLE_COULDNT_CONNECT)
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED,
                     "%s does not answer (%s): is it up, and is the port open from this host?", server, shown);
    else if (code == CURLE_OPERATION_TIMEDOUT)
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "%s did not answer in time (%s)", server, shown);
    else if (seen->mismatch || code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_ISSUER_ERROR)
        set_untrusted (server, trust, seen, shown, error);
    else
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "%s: %s", server, shown);
}

static int
stop_if_cancelled (void *data, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    return g_cancellable_is_cancelled (data);
}

void
vmf_tls_set_cancellable (CURL *curl, GCancellable *cancellable)
{
    curl_easy_setopt (curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt (curl, CURLOPT_XFERINFOFUNCTION, stop_if_cancelled);
    curl_easy_setopt (curl, CURLOPT_XFERINFODATA, cancellable);
}

/* A handshake and nothing behind it. Gives libcurl's word on it; SEEN and DETAIL (CURL_ERROR_SIZE) what came up. */
static CURLcode
shake_hands (const char *host, uint16_t port, const struct vmf_tls_trust *trust, struct vmf_tls_seen *seen,
             int64_t timeout_ms, GCancellable *cancellable, char *detail)
{
    g_autofree char *url = g_uri_join (G_URI_FLAGS_NONE, "https", NULL, host, port, "/", NULL, NULL);
    CURL *curl = vmf_tls_handle_new ();
    CURLcode code = CURLE_FAILED_INIT;
    if (vmf_tls_setup (curl, trust, seen, NULL))
    {
        curl_easy_setopt (curl, CURLOPT_URL, url);
        curl_easy_setopt (curl, CURLOPT_PROXY, "");
        curl_easy_setopt (curl, CURLOPT_CONNECT_ONLY, 1L);
        curl_easy_setopt (curl, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
        curl_easy_setopt (curl, CURLOPT_ERRORBUFFER, detail);
        vmf_tls_set_cancellable (curl, cancellable);
        code = curl_easy_perform (curl);
    }
    curl_easy_cleanup (curl);
    return code;
}

char *
vmf_tls_ask_thumbprint (const char *host, uint16_t port, int64_t timeout_ms, GCancellable *cancellable, GError **error)
{
    const struct vmf_tls_trust nobody = { .no_verify = true };
    g_autofree struct vmf_tls_seen *seen = g_new0 (struct vmf_tls_seen, 1);
    g_autofree char *server = g_strdup_printf ("%s:%u", host, port);
    char detail[CURL_ERROR_SIZE] = "";
    CURLcode code = shake_hands (host, port, &nobody, seen, timeout_ms, cancellable, detail);
    /* Whatever came after the certificate does not matter here: it was seen. */
    if (!seen->thumbprint[0])
        vmf_tls_set_error (code, server, &nobody, seen, detail, error);
    return seen->thumbprint[0] ? g_strdup (seen->thumbprint) : NULL;
}

bool
vmf_tls_is_vouched_for (const char *host, uint16_t port, int64_t timeout_ms, GCancellable *cancellable, GError **error)
{
    const struct vmf_tls_trust authorities = { 0 };
    g_autofree struct vmf_tls_seen *seen = g_new0 (struct vmf_tls_seen, 1);
    char detail[CURL_ERROR_SIZE] = "";
    CURLcode code = shake_hands (host, port, &authorities, seen, timeout_ms, cancellable, detail);
    if (code != CURLE_OK && code != CURLE_PEER_FAILED_VERIFICATION && code != CURLE_SSL_ISSUER_ERROR
        && code != CURLE_SSL_CACERT_BADFILE)
    {
        g_autofree char *server = g_strdup_printf ("%s:%u", host, port);
        vmf_tls_set_error (code, server, &authorities, seen, detail, error);
    }
    return code == CURLE_OK;
}

char *
vmf_tls_normalise_thumbprint (const char *text, GError **error)
{
    uint8_t digest[SHA1_BYTES];
    unsigned n = 0;
    for (const char *at = text; *at && n <= SHA1_BYTES; n++)
    {
        if (n > 0 && *at == ':')
            at++;
        if (n == SHA1_BYTES || !g_ascii_isxdigit (at[0]) || !g_ascii_isxdigit (at[1]))
        {
            n = 0;
            break;
        }
        digest[n] = (uint8_t)(g_ascii_xdigit_value (at[0]) * 16 + g_ascii_xdigit_value (at[1]));
        at += 2;
    }
    if (n != SHA1_BYTES)
    {
        g_autofree char *shown = vmf_text_printable (text, 80);
        g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE,
                     "'%s' is no thumbprint: that is a certificate's SHA-1, 20 pairs of hex digits, as in 0A:1B:…",
                     shown);
        return NULL;
    }
    char *thumbprint = g_malloc (3 * SHA1_BYTES);
    format_thumbprint (digest, thumbprint);
    return thumbprint;
}
