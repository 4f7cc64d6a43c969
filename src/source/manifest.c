/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Manifests: parsed strictly, since a line that is skipped is a file that nobody checks. */
#include "source/manifest.h"
#include "base/error.h"
#include "base/text.h"

#include <openssl/evp.h>
#include <string.h>

typedef EVP_MD_CTX evp_md_ctx;
G_DEFINE_AUTOPTR_CLEANUP_FUNC (evp_md_ctx, EVP_MD_CTX_free)

static void
entry_free (void *data)
{
    struct vmf_manifest_entry *entry = data;
    g_free (entry->name);
    g_free (entry->algorithm);
    g_free (entry->digest);
    g_free (entry->missing);
    g_free (entry);
}

static const EVP_MD *
digest_of (const char *algorithm)
{
    static const char *const known[] = { "SHA1", "SHA256", "SHA384", "SHA512", NULL };
    return g_strv_contains (known, algorithm) ? EVP_get_digestbyname (algorithm) : NULL;
}

static struct vmf_manifest_entry *
parse_line (const char *line, GError **error)
{
    g_autoptr (GRegex) form = g_regex_new ("^([A-Za-z0-9-]+) ?\\((.+)\\) ?= ?([0-9A-Fa-f]+)$", G_REGEX_RAW, 0, NULL);
    g_autoptr (GMatchInfo) match = NULL;
    bool fits = g_regex_match (form, line, 0, &match);
    g_autofree char *word = fits ? g_match_info_fetch (match, 1) : NULL,
                    *digest = fits ? g_match_info_fetch (match, 3) : NULL;
    g_auto (GStrv) parts = word ? g_strsplit (word, "-", -1) : NULL;
    g_autofree char *joined = parts ? g_strjoinv ("", parts) : NULL,
                    *algorithm = joined ? g_ascii_strup (joined, -1) : NULL;
    const EVP_MD *md = algorithm ? digest_of (algorithm) : NULL;
    if (!md || strlen (digest) != 2 * (size_t)EVP_MD_get_size (md))
    {
        g_autofree char *shown = vmf_text_printable (line, 120);
        g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT,
                     "the manifest's line '%s' is none of SHA1, SHA256, SHA384 or SHA512 of a file", shown);
        return NULL;
    }
    struct vmf_manifest_entry *entry = g_new0 (struct vmf_manifest_entry, 1);
    entry->name = g_match_info_fetch (match, 2);
    entry->algorithm = g_steal_pointer (&algorithm);
    entry->digest = g_ascii_strdown (digest, -1);
    return entry;
}

GPtrArray *
vmf_manifest_parse (const char *text, struct vmf_bundle *bundle, const char *folder, GError **error)
{
    g_autoptr (GPtrArray) entries = g_ptr_array_new_with_free_func (entry_free);
    g_auto (GStrv) lines = g_strsplit (text, "\n", -1);
    for (size_t i = 0; lines[i]; i++)
    {
        const char *line = g_strstrip (lines[i]);
        if (*line == '\0')
            continue;
        struct vmf_manifest_entry *entry = parse_line (line, error);
        if (!entry)
            return NULL;
        g_ptr_array_add (entries, entry);
        GError *missing = NULL;
        entry->member = vmf_bundle_find (bundle, folder, entry->name, &missing);
        if (g_error_matches (missing, VMF_ERROR, VMF_ERROR_UNSAFE))
            return g_propagate_prefixed_error (error, missing, "in the manifest: "), NULL;
        entry->missing = missing ? g_strdup (missing->message) : NULL;
        g_clear_error (&missing);
    }
    return g_steal_pointer (&entries);
}

static bool
fail_digest (GError **error)
{
    g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "OpenSSL cannot compute its digest here");
    return false;
}

static bool
on_chunk (const void *bytes, size_t length, void *data, GError **error)
{
    return EVP_DigestUpdate (data, bytes, length) == 1 || fail_digest (error);
}

bool
vmf_manifest_check (const struct vmf_bundle *bundle, const struct vmf_manifest_entry *entry, GCancellable *cancellable,
                    GError **error)
{
    g_autoptr (evp_md_ctx) context = EVP_MD_CTX_new ();
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    g_autofree char *shown = vmf_text_printable (entry->name, 120);
    if (!entry->member)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_NOT_FOUND, "the manifest: %s", entry->missing);
        return false;
    }
    /* SHA-1 may be forbidden by the host's policy (FIPS, EL9). */
    bool good = EVP_DigestInit_ex (context, digest_of (entry->algorithm), NULL) == 1 || fail_digest (error);
    good = good && vmf_bundle_stream (bundle, entry->member, on_chunk, context, cancellable, error)
           && (EVP_DigestFinal_ex (context, digest, &length) == 1 || fail_digest (error));
    if (!good)
        return g_prefix_error (error, "cannot check '%s' against the manifest: ", shown), false;
    g_autoptr (GString) hex = g_string_new (NULL);
    for (unsigned i = 0; i < length; i++)
        g_string_append_printf (hex, "%02x", digest[i]);
    if (strcmp (hex->str, entry->digest) == 0)
        return true;
    g_set_error (
        error, VMF_ERROR, VMF_ERROR_CORRUPT,
        "'%s' is not what its manifest says: %s is %s, the manifest has %s; it was damaged or changed, copy it "
        "again",
        shown, entry->algorithm, hex->str, entry->digest);
    return false;
}
