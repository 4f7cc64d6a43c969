/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tls-name.h: the names by OpenSSL, the trial by libcurl. */
#include "base/tls-name.h"
#include "base/text.h"
#include "base/tls.h"

#include <arpa/inet.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>

static X509 *
parse (const char *pem)
{
    BIO *memory = BIO_new_mem_buf (pem, -1);
    X509 *certificate = memory ? PEM_read_bio_X509 (memory, NULL, NULL, NULL) : NULL;
    BIO_free (memory);
    return certificate;
}

/* As it may stand in an address; caller frees. The name came from the server. */
static char *
usable (const char *text, size_t length)
{
    g_autofree char *name = g_strndup (text, length);
    g_autofree char *full = g_str_has_prefix (name, "*.") ? g_strconcat ("any", name + 1, NULL) : g_strdup (name);
    bool plain = *full && strlen (name) == length
                 && strspn (full, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") == strlen (full);
    return plain && *full != '-' && *full != '.' ? g_steal_pointer (&full) : NULL;
}

static char *
name_of_alternative (const GENERAL_NAME *alternative)
{
    char text[INET6_ADDRSTRLEN] = "";
    const ASN1_STRING *value = alternative->d.ia5;
    if (alternative->type == GEN_DNS)
        return usable ((const char *)ASN1_STRING_get0_data (value), (size_t)ASN1_STRING_length (value));
    if (alternative->type != GEN_IPADD)
        return NULL;
    int length = ASN1_STRING_length (value);
    int family = length == 4 ? AF_INET : length == 16 ? AF_INET6 : AF_UNSPEC;
    return family != AF_UNSPEC && inet_ntop (family, ASN1_STRING_get0_data (value), text, sizeof text) ? g_strdup (text)
                                                                                                       : NULL;
}

/* Where there are alternative names the subject's does not count. */
static char *
name_of_subject (X509 *certificate)
{
    char text[256];
    int length = X509_NAME_get_text_by_NID (X509_get_subject_name (certificate), NID_commonName, text, sizeof text);
    return length > 0 ? usable (text, (size_t)length) : NULL;
}

char *
vmf_tls_get_own_name (const char *pem)
{
    X509 *certificate = parse (pem);
    GENERAL_NAMES *names = certificate ? X509_get_ext_d2i (certificate, NID_subject_alt_name, NULL, NULL) : NULL;
    char *name = NULL;
    for (int i = 0; names && i < sk_GENERAL_NAME_num (names) && !name; i++)
        name = name_of_alternative (sk_GENERAL_NAME_value (names, i));
    if (certificate && !names)
        name = name_of_subject (certificate);
    GENERAL_NAMES_free (names);
    X509_free (certificate);
    return name;
}

char *
vmf_tls_try_name (const char *host, uint16_t port, const char *name, const char *pem, int64_t timeout_ms,
                  GCancellable *cancellable)
{
    char detail[CURL_ERROR_SIZE] = "";
    g_autofree char *url = g_uri_join (G_URI_FLAGS_NONE, "https", NULL, name, port, "/", NULL, NULL);
    g_autofree char *place = vmf_text_host_port (host, port), *any_to_place = g_strconcat ("::", place, NULL);
    struct curl_slist *connect_to = curl_slist_append (NULL, any_to_place);
    struct curl_blob authority = { (char *)pem, strlen (pem), CURL_BLOB_COPY };
    CURL *curl = vmf_tls_handle_new ();
    curl_easy_setopt (curl, CURLOPT_URL, url);
    curl_easy_setopt (curl, CURLOPT_CONNECT_TO, connect_to);
    curl_easy_setopt (curl, CURLOPT_PROXY, "");
    curl_easy_setopt (curl, CURLOPT_CAPATH, NULL);
    curl_easy_setopt (curl, CURLOPT_CAINFO_BLOB, &authority);
    curl_easy_setopt (curl, CURLOPT_CONNECT_ONLY, 1L);
    curl_easy_setopt (curl, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    curl_easy_setopt (curl, CURLOPT_ERRORBUFFER, detail);
    vmf_tls_set_cancellable (curl, cancellable);
    CURLcode code = curl_easy_perform (curl);
    curl_easy_cleanup (curl);
    curl_slist_free_all (connect_to);
    return code == CURLE_OK ? NULL : vmf_text_printable (*detail ? detail : curl_easy_strerror (code), 300);
}
