/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmdk-walk.h"

#include <endian.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum
{
    METADATA_SECTORS_MAX = (16 << 20) / VMDK_SECTOR, /* of a table or a directory */
};

struct walk
{
    const struct vmdk_walk_ops *ops;
    void *data;
    uint64_t at;        /* how many bytes of the stream were read */
    uint64_t marker_at; /* where the last marker was */
    struct vmdk_header header;
    uint64_t next_grain;             /* the lowest index that may come */
    uint64_t n_grains, n_expected;   /* n_expected: by tables in front */
    uint64_t last_at, last_expected; /* where the last grain began, and where it should */
    bool footer;                     /* was there */
};

static bool
ended (const struct walk *walk, const char *what, struct vmdk_error *error)
{
    return vmdk_fail (error, "the stream ends at byte %" PRIu64 ", in the middle of %s: it was cut off", walk->at,
                      what);
}

static bool
read_exactly (struct walk *walk, void *buffer, size_t length, const char *what, struct vmdk_error *error)
{
    ssize_t n = walk->ops->read (walk->data, buffer, length, error);
    walk->at += n > 0 ? (uint64_t)n : 0;
    return n == (ssize_t)length || (n >= 0 && ended (walk, what, error));
}

static bool
skip_to (struct walk *walk, uint64_t to, const char *what, struct vmdk_error *error)
{
    uint8_t buffer[64 * VMDK_SECTOR];
    while (walk->at < to)
    {
        uint64_t left = to - walk->at;
        if (!read_exactly (walk, buffer, left < sizeof buffer ? (size_t)left : sizeof buffer, what, error))
            return false;
    }
    return true;
}

static int
compare_sectors (const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

static bool
count_table (struct walk *walk, uint64_t table_at, uint64_t end, struct vmdk_error *error)
{
    uint32_t entries[VMDK_TABLE_ENTRIES_MAX], n = walk->header.table_entries;
    if (table_at < walk->at || table_at + n * sizeof *entries > end)
        return vmdk_fail (
            error, "a grain table should be at byte %" PRIu64 ", where there is no place for it in a stream", table_at);
    if (!skip_to (walk, table_at, "what is before the grains", error)
        || !read_exactly (walk, entries, n * sizeof *entries, "a grain table", error))
        return false;
    for (uint32_t i = 0; i < n; i++)
    {
        uint32_t entry = le32toh (entries[i]);
        if (!vmdk_entry_is_data (&walk->header, entry))
            continue;
        walk->n_expected++;
        if ((uint64_t)entry * VMDK_SECTOR > walk->last_expected)
            walk->last_expected = (uint64_t)entry * VMDK_SECTOR;
    }
    return true;
}

/* The tables that stand in front. DIRECTORY is theirs, N long. */
static bool
count_tables (struct walk *walk, uint32_t *directory, uint64_t n, uint64_t end, struct vmdk_error *error)
{
    if (!read_exactly (walk, directory, n * sizeof *directory, "the grain directory", error))
        return false;
    for (uint64_t i = 0; i < n; i++)
        directory[i] = le32toh (directory[i]);
    qsort (directory, n, sizeof *directory, compare_sectors);
    for (uint64_t i = 0; i < n; i++)
        if (directory[i] != 0 && !count_table (walk, (uint64_t)directory[i] * VMDK_SECTOR, end, error))
            return false;
    return true;
}

static bool
read_front (struct walk *walk, uint64_t data_at, struct vmdk_error *error)
{
    uint64_t n = vmdk_count_tables (&walk->header), at;
    if (__builtin_mul_overflow (walk->header.directory_sector, (uint64_t)VMDK_SECTOR, &at) || at < walk->at
        || at > data_at || data_at - at < n * sizeof (uint32_t))
        return vmdk_fail (
            error, "the grain directory should be at sector %" PRIu64 ", where there is no place for it in a stream",
            walk->header.directory_sector);
    if (!skip_to (walk, at, "what is before the grains", error))
        return false;
    uint32_t *directory = malloc (n * sizeof *directory);
    bool good = directory ? count_tables (walk, directory, n, data_at, error) : vmdk_fail (error, "out of memory");
    free (directory);
    return good;
}

/* Up to the first byte where a marker may be. */
static bool
read_start (struct walk *walk, struct vmdk_error *error)
{
    uint8_t sector[VMDK_SECTOR];
    uint64_t data_at;
    if (!read_exactly (walk, sector, sizeof sector, "the header", error)
        || !vmdk_parse_header (sector, "header", &walk->header, error))
        return false;
    if (walk->header.data_sector == 0
        || __builtin_mul_overflow (walk->header.data_sector, (uint64_t)VMDK_SECTOR, &data_at))
        return vmdk_fail (error, "the header says that grains begin at sector %" PRIu64 ", which is absurd",
                          walk->header.data_sector);
    if (!walk->ops->header (walk->data, &walk->header, error))
        return false;
    return (walk->header.directory_sector == VMDK_AT_END || read_front (walk, data_at, error))
           && skip_to (walk, data_at, "what is before the grains", error);
}

/* The deflated bytes behind a marker, of which SECTOR has the first. The padding of a file's last grain may be missing
   where no footer follows. */
static bool
read_grain (struct walk *walk, const uint8_t *sector, const struct vmdk_marker *marker, struct vmdk_error *error)
{
    static const size_t first_max = VMDK_SECTOR - VMDK_MARKER_BYTES;
    uint64_t index = marker->value * VMDK_SECTOR / walk->header.grain_bytes;
    size_t padded = (VMDK_MARKER_BYTES + (size_t)marker->size + VMDK_SECTOR - 1) / VMDK_SECTOR * VMDK_SECTOR;
    uint8_t *bytes = malloc (padded);
    ssize_t n = 0;
    if (!bytes)
        return vmdk_fail (error, "out of memory");
    memcpy (bytes, sector + VMDK_MARKER_BYTES, first_max);
    if (padded > VMDK_SECTOR)
        n = walk->ops->read (walk->data, bytes + first_max, padded - VMDK_SECTOR, error);
    walk->at += n > 0 ? (uint64_t)n : 0;
    if (n < 0 || first_max + (size_t)n < marker->size)
    {
        free (bytes);
        return n >= 0
               && vmdk_fail (error,
                             "the stream ends at byte %" PRIu64 ", in the middle of the grain for sector %" PRIu64
                             ": %zu of its bytes are missing; it was cut off",
                             walk->at, marker->value, marker->size - first_max - (size_t)n);
    }
    walk->next_grain = index + 1;
    walk->n_grains++;
    walk->last_at = walk->marker_at;
    return walk->ops->grain (walk->data, index, bytes, marker->size, error);
}

static bool
take_grain (struct walk *walk, const uint8_t *sector, const struct vmdk_marker *marker, struct vmdk_error *error)
{
    if (!vmdk_check_grain (&walk->header, marker, walk->marker_at, error))
        return false;
    if (marker->value * VMDK_SECTOR / walk->header.grain_bytes < walk->next_grain)
        return vmdk_fail (error,
                          "the grain at byte %" PRIu64 " is for sector %" PRIu64
                          ", but later ones came before it: this image can be read from a file only",
                          walk->marker_at, marker->value);
    return read_grain (walk, sector, marker, error);
}

static bool
take_footer (struct walk *walk, struct vmdk_error *error)
{
    uint8_t sector[VMDK_SECTOR];
    struct vmdk_header footer;
    if (!read_exactly (walk, sector, sizeof sector, "the footer", error)
        || !vmdk_parse_header (sector, "footer", &footer, error))
        return false;
    walk->footer = true;
    return (footer.capacity_bytes == walk->header.capacity_bytes && footer.grain_bytes == walk->header.grain_bytes)
           || vmdk_fail (error, "the footer at byte %" PRIu64 " claims another disk or grain size than the header",
                         walk->at - VMDK_SECTOR);
}

static bool
take_metadata (struct walk *walk, const struct vmdk_marker *marker, struct vmdk_error *error)
{
    const char *what = marker->type == VMDK_MARKER_TABLE ? "a grain table" : "the grain directory";
    if (marker->type == VMDK_MARKER_FOOTER)
        return take_footer (walk, error);
    if (marker->type != VMDK_MARKER_TABLE && marker->type != VMDK_MARKER_DIRECTORY)
        return vmdk_fail (error, "at byte %" PRIu64 " is a marker of type %" PRIu32 ", which nobody knows",
                          walk->marker_at, marker->type);
    if (marker->value > METADATA_SECTORS_MAX)
        return vmdk_fail (error, "the marker at byte %" PRIu64 " claims %" PRIu64 " sectors for %s", walk->marker_at,
                          marker->value, what);
    return skip_to (walk, walk->at + marker->value * VMDK_SECTOR, what, error);
}

/* The end marker was there (MARKED), or the stream is over. A sector of zeroes where a marker should be is an end
   marker too: hence the footer. */
static bool
check_end (const struct walk *walk, bool marked, struct vmdk_error *error)
{
    if (walk->header.directory_sector == VMDK_AT_END)
        return (marked && walk->footer)
               || vmdk_fail (error,
                             "the stream ends at byte %" PRIu64 " without a footer and an end marker: it was cut off",
                             walk->at);
    return (walk->n_grains == walk->n_expected && walk->last_at == walk->last_expected)
           || vmdk_fail (error,
                         "the stream ends at byte %" PRIu64 " with %" PRIu64 " grains; its tables have %" PRIu64
                         ", the last of them at byte %" PRIu64 ": it was cut off",
                         walk->at, walk->n_grains, walk->n_expected, walk->last_expected);
}

/* The next marker, in a sector of its own; 0: the stream is over, -1: ERROR. A file's last grain may be shorter than a
   sector. */
static int
next_marker (struct walk *walk, uint8_t *sector, struct vmdk_marker *marker, struct vmdk_error *error)
{
    memset (sector, 0, VMDK_SECTOR);
    walk->marker_at = walk->at;
    ssize_t n = walk->ops->read (walk->data, sector, VMDK_SECTOR, error);
    if (n <= 0)
        return (int)n;
    walk->at += (uint64_t)n;
    *marker = vmdk_parse_marker (sector, VMDK_SECTOR);
    bool whole = n == VMDK_SECTOR || (marker->size > 0 && n >= VMDK_MARKER_BYTES + (int64_t)marker->size);
    return whole ? 1 : (ended (walk, "a marker or a grain", error), -1);
}

bool
vmdk_walk (const struct vmdk_walk_ops *ops, void *data, struct vmdk_error *error)
{
    struct walk walk = { .ops = ops, .data = data };
    uint8_t sector[VMDK_SECTOR];
    struct vmdk_marker marker;
    if (!read_start (&walk, error))
        return false;
    for (;;)
    {
        int more = next_marker (&walk, sector, &marker, error);
        if (more < 0)
            return false;
        if (more == 0 || (marker.size == 0 && marker.type == VMDK_MARKER_END))
            return check_end (&walk, more, error);
        if (marker.size > 0 ? !take_grain (&walk, sector, &marker, error) : !take_metadata (&walk, &marker, error))
            return false;
    }
}
