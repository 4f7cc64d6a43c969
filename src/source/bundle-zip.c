/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Zip archives, read by libarchive from their central directory.
 *
 * Compressed members are streamed: what imports from them is unpacked first. Stored ones are used where they lie
 * (bundle-zip-stored.c).
 */
#include "source/bundle.h"
#include "disk/image-beneath.h"
#include "base/error.h"
#include "base/text.h"

#include <archive.h>
#include <archive_entry.h>
#include <string.h>
#include <unistd.h>

enum
{
    ENTRIES_MAX = 20000,
};

typedef struct archive archive_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC (archive_t, archive_read_free)

static bool
corrupt (GError **error, const char *why)
{
    g_autofree char *shown = vmf_text_printable (why ? why : "damaged", 200);
    g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT, "the zip archive is damaged or cut off: %s", shown);
    return false;
}

static struct archive *
open_zip (const char *path, GError **error)
{
    g_autoptr (archive_t) archive = archive_read_new ();
    archive_read_support_format_zip_seekable (archive);
    if (archive_read_open_filename (archive, path, 1 << 20) == ARCHIVE_OK)
        return g_steal_pointer (&archive);
    corrupt (error, archive_error_string (archive));
    return NULL;
}

static bool
refuse (GError **error, const char *name, const char *what)
{
    g_autofree char *shown = vmf_text_printable (name, 120);
    g_set_error (error, VMF_ERROR, VMF_ERROR_UNSAFE, "refused: the archive's member '%s' is %s", shown, what);
    return false;
}

static bool
add_entry (struct vmf_bundle *bundle, GHashTable *names, struct archive_entry *entry, GError **error)
{
    const char *name = archive_entry_pathname (entry);
    if (!name)
        name = archive_entry_pathname_utf8 (entry);
    if (!name)
        return corrupt (error, "a member has no readable name");
    if (archive_entry_filetype (entry) == AE_IFDIR)
        return vmf_beneath_check_name (name, "archive member", error);
    if (archive_entry_filetype (entry) != AE_IFREG)
        return refuse (error, name, "a link or no regular file; an OVA holds regular files only");
    if (archive_entry_is_data_encrypted (entry))
        return refuse (error, name, "encrypted; unpack the archive first");
    return vmf_bundle_add (bundle, names, name, 0, (uint64_t)archive_entry_size (entry), false, error);
}

bool
vmf_bundle_index_zip (struct vmf_bundle *bundle, GCancellable *cancellable, GError **error)
{
    g_autoptr (archive_t) archive = open_zip (bundle->path, error);
    g_autoptr (GHashTable) names = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
    for (unsigned n = 0; archive; n++)
    {
        struct archive_entry *entry;
        int result = archive_read_next_header (archive, &entry);
        if (result == ARCHIVE_EOF)
        {
            vmf_bundle_place_stored (bundle);
            return bundle->members->len > 0 || corrupt (error, "it is empty");
        }
        if (result != ARCHIVE_OK && result != ARCHIVE_WARN)
            return corrupt (error, archive_error_string (archive));
        if (n > ENTRIES_MAX)
            return refuse (error, "...", "one too many");
        if (vmf_error_if_cancelled (cancellable, error) || !add_entry (bundle, names, entry, error))
            return false;
    }
    return false;
}

static struct archive_entry *
seek_member (struct archive *archive, const char *wanted)
{
    struct archive_entry *entry;
    int result;
    while ((result = archive_read_next_header (archive, &entry)) == ARCHIVE_OK || result == ARCHIVE_WARN)
    {
        const char *name = archive_entry_pathname (entry);
        if (!name)
            name = archive_entry_pathname_utf8 (entry);
        while (name && g_str_has_prefix (name, "./"))
            name += 2 + strspn (name + 2, "/");
        if (name && strcmp (name, wanted) == 0 && archive_entry_filetype (entry) == AE_IFREG)
            return entry;
    }
    return NULL;
}

bool
vmf_bundle_stream_zip (const struct vmf_bundle *bundle, const struct vmf_bundle_member *member,
                       vmf_bundle_chunk_fn on_chunk, void *data, GCancellable *cancellable, GError **error)
{
    g_autoptr (archive_t) archive = open_zip (bundle->path, error);
    if (!archive)
        return false;
    if (!seek_member (archive, member->name))
        return corrupt (error, "a member has gone");
    g_autofree char *chunk = g_malloc (1 << 20);
    uint64_t left = member->length_bytes;
    for (;;)
    {
        la_ssize_t n = archive_read_data (archive, chunk, 1 << 20);
        if (n < 0)
            return corrupt (error, archive_error_string (archive));
        if (n == 0)
            return left == 0 || corrupt (error, "a member is shorter than it says");
        if ((uint64_t)n > left)
            return corrupt (error, "a member is longer than it says");
        left -= (uint64_t)n;
        if (vmf_error_if_cancelled (cancellable, error) || !on_chunk (chunk, (size_t)n, data, error))
            return false;
    }
}
