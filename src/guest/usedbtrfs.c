/* SPDX-License-Identifier: GPL-2.0-or-later */
/* btrfs' extent and chunk trees, from the text of `btrfs inspect-internal dump-tree`.
 *
 * Extents are logical; a chunk says where a range of logical addresses lies, once (single) or twice (DUP). That nothing
 * was missed is checked by a sum: all extents together are the superblock's bytes_used, to the byte.
 */
#include "guest/usedblocks.h"
#include "base/error.h"

#include <string.h>

struct chunk
{
    uint64_t logical, length;
    unsigned n_stripes, n_seen;
    uint64_t stripes[2];
};

static bool
fail (GError **error, const char *why)
{
    g_set_error_literal (error, VMF_ERROR, VMF_ERROR_CORRUPT, why);
    return false;
}

/* The number behind WORD in [LINE, END); the words of a dump's line come in fixed order. */
static bool
number_after (const char *line, const char *end, const char *word, uint64_t *value)
{
    const char *at = g_strstr_len (line, end - line, word);
    char *rest;
    if (!at || !g_ascii_isdigit (at[strlen (word)]))
        return false;
    *value = g_ascii_strtoull (at + strlen (word), &rest, 10);
    return *value < UINT64_MAX;
}

static const char *
line_end (const char *line)
{
    return line + strcspn (line, "\n");
}

static bool
has (const char *line, const char *end, const char *word)
{
    return g_strstr_len (line, end - line, word) != NULL;
}

/* The lines below a CHUNK_ITEM's: "length L owner … type DATA|single", "num_stripes N …", "stripe I devid D offset O".
 */
static bool
parse_chunk_line (struct chunk *chunk, const char *line, const char *end)
{
    uint64_t value;
    if (has (line, end, " type ") && number_after (line, end, "length ", &chunk->length))
        return !has (line, end, "RAID");
    if (number_after (line, end, "num_stripes ", &value))
    {
        chunk->n_stripes = (unsigned)MIN (value, 3);
        return value == 1 || value == 2;
    }
    if (has (line, end, " devid ") && number_after (line, end, " offset ", &value))
    {
        if (chunk->n_seen >= 2)
            return false;
        chunk->stripes[chunk->n_seen++] = value;
    }
    return true;
}

static bool
parse_chunks (const char *text, GArray *chunks)
{
    struct chunk *current = NULL;
    for (const char *line = text; *line; line = line_end (line) + (*line_end (line) == '\n'))
    {
        const char *end = line_end (line);
        if (has (line, end, "item ") && has (line, end, " key ("))
        {
            struct chunk chunk = { 0 };
            current = NULL;
            if (!number_after (line, end, "CHUNK_ITEM ", &chunk.logical))
                continue;
            g_array_append_val (chunks, chunk);
            current = &g_array_index (chunks, struct chunk, chunks->len - 1);
        }
        else if (current && !parse_chunk_line (current, line, end))
            return false;
    }
    return chunks->len > 0;
}

static bool
check_chunks (const GArray *chunks, uint64_t size)
{
    uint64_t behind = 0;
    for (guint i = 0; i < chunks->len; i++)
    {
        const struct chunk *chunk = &g_array_index (chunks, struct chunk, i);
        uint64_t end;
        if (chunk->length == 0 || chunk->n_stripes == 0 || chunk->n_seen != chunk->n_stripes || chunk->logical < behind
            || __builtin_add_overflow (chunk->logical, chunk->length, &behind))
            return false;
        for (unsigned s = 0; s < chunk->n_seen; s++)
            if (__builtin_add_overflow (chunk->stripes[s], chunk->length, &end) || end > size)
                return false;
    }
    return true;
}

static const struct chunk *
find_chunk (const GArray *chunks, uint64_t logical)
{
    guint low = 0, high = chunks->len;
    while (high - low > 1)
    {
        guint middle = low + (high - low) / 2;
        if (g_array_index (chunks, struct chunk, middle).logical <= logical)
            low = middle;
        else
            high = middle;
    }
    return &g_array_index (chunks, struct chunk, low);
}

static bool
add_extent (const GArray *chunks, uint64_t logical, uint64_t length, struct vmf_extents *extents)
{
    const struct chunk *chunk = find_chunk (chunks, logical);
    if (logical < chunk->logical || length == 0 || length > chunk->length
        || logical - chunk->logical > chunk->length - length)
        return false;
    for (unsigned i = 0; i < chunk->n_seen; i++)
        vmf_extents_add (extents, chunk->stripes[i] + (logical - chunk->logical), length);
    return true;
}

/* "item N key (LOGICAL EXTENT_ITEM LENGTH) …" or "… METADATA_ITEM LEVEL) …", the length then a node's. */
static bool
parse_extent (const char *line, const char *end, uint32_t node_bytes, uint64_t *logical, uint64_t *length)
{
    uint64_t level;
    *length = 0;
    if (!has (line, end, "item ") || !number_after (line, end, " key (", logical))
        return false;
    if (number_after (line, end, " EXTENT_ITEM ", length))
        return true;
    if (number_after (line, end, " METADATA_ITEM ", &level))
        *length = node_bytes;
    return *length > 0;
}

bool
vmf_used_parse_btrfs (const char *chunk_text, const char *extent_text, const struct vmf_filesystem *fs,
                      struct vmf_used *used, GError **error)
{
    g_autoptr (GArray) chunks = g_array_new (FALSE, TRUE, sizeof (struct chunk));
    uint64_t sum = 0;
    vmf_used_clear (used);
    used->extents = vmf_extents_new ();
    used->end = fs->size_bytes;
    if (!parse_chunks (chunk_text, chunks) || !check_chunks (chunks, fs->size_bytes))
        return fail (error, "its chunks are not of kinds that are known here");
    for (const char *line = extent_text; *line; line = line_end (line) + (*line_end (line) == '\n'))
    {
        uint64_t logical, length;
        if (!parse_extent (line, line_end (line), fs->node_bytes, &logical, &length))
            continue;
        if (!add_extent (chunks, logical, length, used->extents) || __builtin_add_overflow (sum, length, &sum))
            return fail (error, "an extent lies outside its chunks");
    }
    if (sum != fs->used_bytes)
        return fail (error, "its extents are not all that its superblock counts");
    return true;
}
