/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The index of a tar: libarchive reads the headers, and tells where each begins; where its data begin is found by
 * walking over the extension headers (pax, GNU long names) in front of it.
 */
#include "source/bundle.h"
#include "disk/image-beneath.h"
#include "base/error.h"
#include "base/text.h"

#include <archive.h>
#include <archive_entry.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum
{
    BLOCK = 512,
    EXTENSIONS_MAX = 16,
    EXTENSION_MAX_BYTES = 1 << 20,
};

typedef struct archive archive_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC (archive_t, archive_read_free)

static bool
corrupt (GError **error, const char *why)
{
    g_autofree char *shown = vmf_text_printable (why ? why : "damaged", 200);
    g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT, "the tar archive is damaged or cut off: %s", shown);
    return false;
}

/* From the first header of an entry at AT to its data. */
static bool
find_data (int fd, uint64_t at, uint64_t *data_at, GError **error)
{
    for (int n = 0; n < EXTENSIONS_MAX; n++)
    {
        char h[BLOCK], digits[13] = { 0 };
        if (pread (fd, h, BLOCK, (off_t)at) != BLOCK)
            return corrupt (error, "a header is missing");
        at += BLOCK;
        if (!strchr ("xgXLK", h[156]) || h[156] == '\0')
            return *data_at = at, true;
        memcpy (digits, h + 124, 12);
        guint64 length = g_ascii_strtoull (g_strstrip (digits), NULL, 8);
        if (length > EXTENSION_MAX_BYTES)
            return corrupt (error, "a member's name is too long");
        at += (length + BLOCK - 1) & ~(guint64)(BLOCK - 1);
    }
    return corrupt (error, "a member has too many headers");
}

static bool
check_entry (struct archive_entry *entry, const char *name, GError **error)
{
    const char *what = NULL;
    mode_t type = archive_entry_filetype (entry);
    if (archive_entry_hardlink (entry))
        what = "a hard link";
    else if (type == AE_IFLNK)
        what = "a symbolic link";
    else if (type == AE_IFCHR || type == AE_IFBLK)
        what = "a device";
    else if (type != AE_IFREG && type != AE_IFDIR)
        what = "no regular file";
    else if (archive_entry_sparse_count (entry) > 0)
        what = "stored as a sparse file";
    if (!what)
        return true;
    g_autofree char *shown = vmf_text_printable (name, 120);
    g_set_error (error, VMF_ERROR, VMF_ERROR_UNSAFE,
                 "refused: the archive's member '%s' is %s; an OVA holds regular files only", shown, what);
    return false;
}

static bool
add_entry (struct vmf_bundle *bundle, GHashTable *names, struct archive *archive, struct archive_entry *entry, int fd,
           uint64_t file_bytes, GError **error)
{
    const char *name = archive_entry_pathname (entry);
    uint64_t at, end, length = (uint64_t)archive_entry_size (entry);
    if (!name)
        name = archive_entry_pathname_utf8 (entry);
    if (!name)
        return corrupt (error, "a member has no readable name");
    if (!check_entry (entry, name, error))
        return false;
    if (archive_entry_filetype (entry) == AE_IFDIR)
    {
        g_autofree char *folder = g_strconcat ("./", name, NULL); /* "." and "./" are fine */
        const char *rest = folder + strspn (folder, "./");
        return (*rest == '\0' && *name != '/' && !strstr (name, ".."))
               || vmf_beneath_check_name (name, "archive member", error);
    }
    if (!find_data (fd, (uint64_t)archive_read_header_position (archive), &at, error))
        return false;
    if (__builtin_add_overflow (at, length, &end) || end > file_bytes)
    {
        g_autofree char *shown = vmf_text_printable (name, 120);
        g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT,
                     "the archive is cut off: its member '%s' should reach to byte %" G_GUINT64_FORMAT
                     ", but the file has only %" G_GUINT64_FORMAT " bytes; copy it again",
                     shown, (guint64)end, (guint64)file_bytes);
        return false;
    }
    return vmf_bundle_add (bundle, names, name, at, length, true, error);
}

static bool
index_entries (struct vmf_bundle *bundle, struct archive *archive, int fd, uint64_t file_bytes,
               GCancellable *cancellable, GError **error)
{
    g_autoptr (GHashTable) names = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
    for (unsigned n = 0;; n++)
    {
        struct archive_entry *entry;
        int result = archive_read_next_header (archive, &entry);
        if (result == ARCHIVE_EOF)
            break;
        if (result != ARCHIVE_OK && result != ARCHIVE_WARN)
            return corrupt (error, archive_error_string (archive));
        /* Folders count too. */
        if (n > 20000)
        {
            g_set_error (error, VMF_ERROR, VMF_ERROR_UNSAFE, "refused: the archive has too many members");
            return false;
        }
        if (vmf_error_if_cancelled (cancellable, error)
            || !add_entry (bundle, names, archive, entry, fd, file_bytes, error))
            return false;
    }
    return bundle->members->len > 0 || corrupt (error, "it is empty, or no tar archive at all");
}

bool
vmf_bundle_index_tar (struct vmf_bundle *bundle, GCancellable *cancellable, GError **error)
{
    g_autoptr (archive_t) archive = archive_read_new ();
    g_autofree char *real_path = NULL;
    uint64_t file_bytes;
    int fd = vmf_beneath_open_own (bundle->path, &real_path, &file_bytes, error);
    if (fd < 0)
        return false;
    archive_read_support_format_tar (archive);
    bool good = archive_read_open_fd (archive, fd, 64 * 1024) == ARCHIVE_OK
                    ? index_entries (bundle, archive, fd, file_bytes, cancellable, error)
                    : corrupt (error, archive_error_string (archive));
    close (fd);
    return good;
}
