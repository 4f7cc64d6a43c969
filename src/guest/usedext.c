/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ext3 and ext4 with a journal to replay: free blocks from dumpe2fs' text, before and after the replay.
 *
 * partclone refuses both, since the superblock's count of free blocks lags behind while a file system is mounted. Here
 * the ranges are checked against each group's own count instead, which the journal does cover.
 */
#include "guest/usedblocks.h"
#include "base/error.h"

#include <string.h>

struct groups
{
    const struct vmf_filesystem *fs;
    struct vmf_used *used;
    uint64_t next;               /* block with which the next group must begin */
    uint64_t first, last;        /* of the current group */
    uint64_t counted, announced; /* its free blocks; announced: UINT64_MAX before it was */
    bool any;
};

/* "123" or "123-456" at *AT. */
static bool
take_range (const char **at, uint64_t *first, uint64_t *last)
{
    char *end;
    if (!g_ascii_isdigit (**at))
        return false;
    *first = *last = g_ascii_strtoull (*at, &end, 10);
    if (*end == '-' && g_ascii_isdigit (end[1]))
        *last = g_ascii_strtoull (end + 1, &end, 10);
    *at = end;
    return *first <= *last && *last < UINT64_MAX;
}

static bool
end_group (struct groups *groups)
{
    return !groups->any || groups->counted == groups->announced;
}

/* "Group 3: (Blocks 98304-131071) …" */
static bool
begin_group (struct groups *groups, const char *line)
{
    const char *at = strstr (line, "(Blocks ");
    if (!end_group (groups) || !at)
        return false;
    at += strlen ("(Blocks ");
    if (!take_range (&at, &groups->first, &groups->last) || groups->first != groups->next)
        return false;
    groups->next = groups->last + 1;
    groups->counted = 0;
    groups->announced = UINT64_MAX;
    groups->any = true;
    return groups->last < groups->fs->size_bytes / groups->fs->block_bytes;
}

static bool
add_free (struct groups *groups, const char *at)
{
    uint64_t block = groups->fs->block_bytes;
    while (*(at += strspn (at, " ,")))
    {
        uint64_t first, last;
        if (!take_range (&at, &first, &last) || first < groups->first || last > groups->last)
            return false;
        groups->counted += last - first + 1;
        vmf_extents_remove (groups->used->extents, first * block, (last - first + 1) * block);
    }
    return true;
}

static bool
parse_line (struct groups *groups, const char *line)
{
    static const char free_blocks[] = "  Free blocks:";
    if (g_str_has_prefix (line, "Group ") && g_ascii_isdigit (line[6])) /* not "Group descriptor size" */
        return begin_group (groups, line);
    if (!groups->any)
        return true; /* the superblock's part */
    if (g_str_has_prefix (line, free_blocks))
        return add_free (groups, line + strlen (free_blocks));
    const char *count = strstr (line, " free blocks, ");
    if (count)
        groups->announced = g_ascii_strtoull (line, NULL, 10);
    return true;
}

bool
vmf_used_parse_dumpe2fs (const char *text, const struct vmf_filesystem *fs, struct vmf_used *used, GError **error)
{
    struct groups groups = { .fs = fs, .used = used };
    bool good = true;
    vmf_used_clear (used);
    used->extents = vmf_extents_new ();
    used->end = fs->size_bytes;
    vmf_extents_add (used->extents, 0, fs->size_bytes);
    groups.next = fs->block_bytes == 1024 ? 1 : 0; /* with blocks of 1 KiB the first is outside */
    while (*text && good)
    {
        size_t length = strcspn (text, "\n");
        g_autofree char *line = g_strndup (text, length);
        good = parse_line (&groups, line);
        text += length + (text[length] == '\n');
    }
    if (!good || !end_group (&groups) || groups.next != fs->size_bytes / fs->block_bytes)
        g_set_error_literal (error, VMF_ERROR, VMF_ERROR_CORRUPT, "its bitmaps and its groups' counts disagree");
    return good && end_group (&groups) && groups.next == fs->size_bytes / fs->block_bytes;
}
