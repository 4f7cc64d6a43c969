/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Starting partclone, e2fsck, ntfs-3g.probe and btrfs with bounds: util-linux' prlimit in front limits memory, CPU time
 * and the size of what they write; a hostile file system makes them fail, and its volume goes by allocation.
 */
#include "guest/usedblocks.h"
#include "base/error.h"

#include <glib/gstdio.h>
#include <string.h>

enum
{
    MAP_MAX = 256 * 1024 * 1024, /* bytes of a domain map: seven million ranges */
    LOG_MAX = 1024 * 1024,
    WAIT_MS = 600 * 1000,
};

/* Ten minutes, and a second for each GiB. */
static int64_t
timeout_ms (const struct vmf_filesystem *fs)
{
    return WAIT_MS + (int64_t)(fs->size_bytes >> 30) * 1000;
}

/* ARGV's program under limits, seeing the mount and its output folder. Bitmaps are kept bit by block, some three times
   over: one byte for 4 KiB leaves room. */
static struct vmf_child *
start_limited (const char *const *argv, const struct vmf_filesystem *fs, const struct vmf_mount *mount,
               const struct vmf_room *room, bool writes, bool keep_output, GError **error)
{
    g_autofree char *as =
        g_strdup_printf ("--as=%" G_GUINT64_FORMAT, (guint64)(1024u * 1024 * 1024 + fs->size_bytes / 4096));
    g_autofree char *fsize = g_strdup_printf ("--fsize=%d", MAP_MAX);
    g_autofree char *cpu = g_strdup_printf ("--cpu=%" G_GINT64_FORMAT, (gint64)(timeout_ms (fs) / 1000));
    g_autoptr (GPtrArray) all = g_ptr_array_new ();
    g_autofree char *program = g_find_program_in_path (argv[0]);
    const char *readable[] = { writes ? NULL : mount->mount_point, NULL };
    const char *writable[] = { mount->out, writes ? mount->mount_point : NULL, NULL };
    static const char *const env[] = { "LC_ALL=C", NULL };
    if (!program)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_MISSING, "%s is not installed", argv[0]);
        return NULL;
    }
    g_ptr_array_add (all, (gpointer) "prlimit");
    g_ptr_array_add (all, as);
    /* e2fsck writes into the volume, whose size is not the limit's business */
    if (!writes)
        g_ptr_array_add (all, fsize);
    g_ptr_array_add (all, cpu);
    for (size_t i = 0; argv[i]; i++)
        g_ptr_array_add (all, (gpointer)argv[i]);
    g_ptr_array_add (all, NULL);
    struct vmf_child_options options = {
        .name = argv[0],
        .argv = (const char *const *)all->pdata,
        .set_env = env,
        .room = room,
        .flags = VMF_CHILD_CONFINED | (keep_output ? VMF_CHILD_KEEP_OUTPUT : VMF_CHILD_NONE),
        .readable = readable,
        .writable = writable,
    };
    return vmf_child_start (&options, error);
}

static char *
out_path (const struct vmf_mount *mount, const char *pass, const char *what)
{
    g_autofree char *name = g_strdup_printf ("%s-%s", pass, what);
    return g_build_filename (mount->out, name, NULL);
}

static struct vmf_child *
start_btrfs (const struct vmf_filesystem *fs, const struct vmf_mount *mount, const struct vmf_room *room,
             const char *tree, GError **error)
{
    const char *argv[] = { "btrfs", "inspect-internal", "dump-tree", "--noscan", "-t", tree, mount->file, NULL };
    return start_limited (argv, fs, mount, room, false, true, error);
}

struct vmf_child *
vmf_used_start (const struct vmf_filesystem *fs, const struct vmf_mount *mount, const struct vmf_room *room,
                const char *pass, GError **error)
{
    if (g_str_equal (fs->tool, "btrfs"))
        return start_btrfs (fs, mount, room, "extent", error);
    if (g_str_equal (fs->tool, "dumpe2fs"))
    {
        const char *argv[] = { "dumpe2fs", mount->file, NULL };
        return start_limited (argv, fs, mount, room, false, true, error);
    }
    g_autofree char *map = out_path (mount, pass, "map");
    g_autofree char *log = out_path (mount, pass, "log");
    /* -f 0: its progress thread would otherwise sleep two seconds. -I: its own check refuses a file system only for
       having been mounted often; what matters was checked before. */
    bool ext = g_str_equal (fs->tool, "partclone.ext4");
    const char *argv[] = { fs->tool,          "-D", "-q", "-f", "0", "-s", mount->file, "-O", map, "-L", log,
                           ext ? "-I" : NULL, NULL };
    return start_limited (argv, fs, mount, room, false, false, error);
}

void
vmf_used_clear (struct vmf_used *used)
{
    g_clear_pointer (&used->extents, vmf_extents_free);
    used->end = 0;
}

static bool
fail (GError **error, const char *why)
{
    g_set_error_literal (error, VMF_ERROR, VMF_ERROR_CORRUPT, why);
    return false;
}

/* "0x0001F000" at *AT, which moves behind it. */
static bool
take_hex (const char **at, uint64_t *value)
{
    char *end;
    *at += strspn (*at, " \t");
    if (strncmp (*at, "0x", 2) != 0 || !g_ascii_isxdigit ((*at)[2]))
        return false;
    *value = g_ascii_strtoull (*at, &end, 16);
    bool good = end - *at <= 18;
    *at = end;
    return good;
}

/* One line "POS SIZE STATUS" behind what was read so far. */
static bool
parse_range (const char *at, struct vmf_used *used, const char **end)
{
    uint64_t offset, length;
    if (!take_hex (&at, &offset) || !take_hex (&at, &length) || length == 0 || offset != used->end
        || __builtin_add_overflow (offset, length, &used->end))
        return false;
    at += strspn (at, " \t");
    char status = *at;
    if ((status != '+' && status != '?') || (at[1] != '\n' && at[1] != '\0'))
        return false;
    if (status == '+')
        vmf_extents_add (used->extents, offset, length);
    *end = at + 1;
    return true;
}

static bool
check_used (const struct vmf_filesystem *fs, const struct vmf_used *used, GError **error)
{
    uint64_t total = vmf_extents_total (used->extents);
    if (used->end > fs->size_bytes || fs->size_bytes - used->end >= fs->block_bytes)
        return fail (error, "its map does not end where the file system does");
    if (used->end - total > fs->free_bytes)
        return fail (error, "its map calls more free than its superblock does");
    return true;
}

bool
vmf_used_parse_partclone (const char *text, const struct vmf_filesystem *fs, struct vmf_used *used, GError **error)
{
    bool has_position = false;
    vmf_used_clear (used);
    used->extents = vmf_extents_new ();
    while (*text)
    {
        const char *at = text;
        uint64_t position;
        if (*text == '#')
            text += strcspn (text, "\n");
        else if (!has_position)
        {
            /* ddrescue's first line is where it stands */
            if (!take_hex (&at, &position))
                return fail (error, "its map is malformed");
            has_position = true;
            text += strcspn (text, "\n");
        }
        else if (!parse_range (text, used, &text))
            return fail (error, "its map is malformed");
        text += *text == '\n';
    }
    return check_used (fs, used, error);
}

/* Programs that go on after an error say so only in their log. */
static bool
check_log (const char *path, GError **error)
{
    g_autofree char *text = NULL;
    gsize length;
    if (!g_file_get_contents (path, &text, &length, NULL) || length > LOG_MAX)
        return fail (error, "the log of its map's reading is missing or too long");
    g_autofree char *lower = g_ascii_strdown (text, (gssize)length);
    if (strstr (lower, "error") || strstr (lower, "warning") || strstr (lower, " bad") || strstr (lower, "can't"))
        return fail (error, "its map was read with warnings");
    return true;
}

static bool
finish_partclone (const struct vmf_filesystem *fs, const struct vmf_mount *mount, const char *pass,
                  struct vmf_used *used, GError **error)
{
    g_autofree char *map = out_path (mount, pass, "map");
    g_autofree char *log = out_path (mount, pass, "log");
    g_autofree char *text = NULL;
    if (!check_log (log, error) || !g_file_get_contents (map, &text, NULL, error))
        return false;
    return vmf_used_parse_partclone (text, fs, used, error);
}

bool
vmf_used_finish (struct vmf_child *child, const struct vmf_filesystem *fs, const struct vmf_mount *mount,
                 const struct vmf_room *room, const char *pass, struct vmf_used *used, GCancellable *cancellable,
                 GError **error)
{
    if (!vmf_child_wait (child, timeout_ms (fs), cancellable, error))
        return false;
    if (g_str_equal (fs->tool, "dumpe2fs"))
        return vmf_used_parse_dumpe2fs (vmf_child_get_output (child, NULL), fs, used, error);
    if (!g_str_equal (fs->tool, "btrfs"))
        return finish_partclone (fs, mount, pass, used, error);
    g_autoptr (vmf_child) chunks = start_btrfs (fs, mount, room, "chunk", error);
    return chunks && vmf_child_wait (chunks, timeout_ms (fs), cancellable, error)
           && vmf_used_parse_btrfs (vmf_child_get_output (chunks, NULL), vmf_child_get_output (child, NULL), fs, used,
                                    error);
}

bool
vmf_used_replay (const struct vmf_filesystem *fs, const struct vmf_mount *mount, const struct vmf_room *room,
                 GCancellable *cancellable, GError **error)
{
    const char *argv[] = { "e2fsck", "-E", "journal_only", "-p", mount->file, NULL };
    g_autoptr (vmf_child) child = start_limited (argv, fs, mount, room, true, false, error);
    return child && vmf_child_wait (child, timeout_ms (fs), cancellable, error);
}

bool
vmf_used_check_ntfs (const struct vmf_filesystem *fs, const struct vmf_mount *mount, const struct vmf_room *room,
                     GCancellable *cancellable, GError **error)
{
    const char *argv[] = { "ntfs-3g.probe", "--readwrite", mount->file, NULL };
    g_autoptr (vmf_child) child = start_limited (argv, fs, mount, room, true, false, error);
    GError *failed = NULL;
    if (!child)
        return false;
    if (vmf_child_wait (child, timeout_ms (fs), cancellable, &failed))
        return true;
    /* its exit codes, of ntfs-3g.probe(8) */
    if (strstr (failed->message, "exit status 14:"))
        g_set_error_literal (error, VMF_ERROR, VMF_ERROR_CORRUPT,
                             "Windows is hibernated in it, or was shut down with fast startup");
    else if (strstr (failed->message, "exit status 15:"))
        g_set_error_literal (error, VMF_ERROR, VMF_ERROR_CORRUPT, "its log is not clean");
    else
        g_propagate_error (error, g_steal_pointer (&failed));
    g_clear_error (&failed);
    return false;
}
