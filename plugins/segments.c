/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nbdkit-segments-plugin: a volume that lies in pieces on one or more NBD disks, as one disk, read-only.
 *
 * table=FILE has a line for each disk, "disk URI", and then one for each piece, "segment DISK OFFSET LENGTH", DISK
 * counted from 0, in the volume's order. count=FILE gets "BYTES REQUESTS" at the end: what was read from the disks.
 * Addresses stand in a file because a command line is for all to see. Each connection has its own to every disk.
 */
#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include <inttypes.h>
#include <libnbd.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREAD_MODEL NBDKIT_THREAD_MODEL_SERIALIZE_REQUESTS

struct segment
{
    unsigned disk;
    uint64_t offset, length, at; /* `at`: where it begins in the volume */
};

static char **disks;
static unsigned n_disks;
static struct segment *segments;
static size_t n_segments;
static uint64_t total;
static char *table_path, *count_path;
static atomic_uint_least64_t bytes_read, requests;

static int
segments_config (const char *key, const char *value)
{
    char **path = strcmp (key, "table") == 0 ? &table_path : strcmp (key, "count") == 0 ? &count_path : NULL;
    if (!path)
    {
        nbdkit_error ("unknown parameter '%s'", key);
        return -1;
    }
    *path = nbdkit_absolute_path (value);
    return *path ? 0 : -1;
}

static int
add_disk (const char *uri)
{
    char **more = realloc (disks, (n_disks + 1) * sizeof *disks);
    if (!more)
        return -1;
    disks = more;
    disks[n_disks] = strdup (uri);
    return disks[n_disks++] ? 0 : -1;
}

static int
add_segment (const char *text)
{
    struct segment segment = { .at = total };
    uint64_t end;
    if (sscanf (text, "%u %" SCNu64 " %" SCNu64, &segment.disk, &segment.offset, &segment.length) != 3
        || segment.disk >= n_disks || segment.length == 0 || segment.length > INT64_MAX - total
        || __builtin_add_overflow (segment.offset, segment.length, &end))
    {
        nbdkit_error ("%s: not a segment: %s", table_path, text);
        return -1;
    }
    if ((n_segments & (n_segments - 1)) == 0)
    {
        struct segment *more = realloc (segments, (n_segments ? 2 * n_segments : 1) * sizeof *segments);
        if (!more)
            return -1;
        segments = more;
    }
    segments[n_segments++] = segment;
    total += segment.length;
    return 0;
}

static int
read_line (char *line)
{
    line[strcspn (line, "\n")] = '\0';
    if (strncmp (line, "disk ", 5) == 0)
        return add_disk (line + 5);
    if (strncmp (line, "segment ", 8) == 0)
        return add_segment (line + 8);
    nbdkit_error ("%s: not a line of a table: %s", table_path, line);
    return -1;
}

static int
segments_config_complete (void)
{
    FILE *file = table_path ? fopen (table_path, "re") : NULL;
    char *line = NULL;
    size_t size = 0;
    int result = 0;
    if (!file)
    {
        nbdkit_error ("cannot read the table '%s'", table_path ? table_path : "(table= is missing)");
        return -1;
    }
    while (result == 0 && getline (&line, &size, file) >= 0)
        result = read_line (line);
    free (line);
    fclose (file);
    return result;
}

static void
segments_unload (void)
{
    FILE *file = count_path ? fopen (count_path, "we") : NULL;
    if (file)
    {
        fprintf (file, "%" PRIu64 " %" PRIu64 "\n", (uint64_t)bytes_read, (uint64_t)requests);
        fclose (file);
    }
    for (unsigned i = 0; i < n_disks; i++)
        free (disks[i]);
    free (disks);
    free (segments);
    free (table_path);
    free (count_path);
}

struct handle
{
    struct nbd_handle *nbd[1]; /* n_disks of them */
};

static void
segments_close (void *data)
{
    struct handle *handle = data;
    for (unsigned i = 0; i < n_disks; i++)
        nbd_close (handle->nbd[i]);
    free (handle);
}

static void *
segments_open (int readonly)
{
    struct handle *handle = calloc (1, sizeof *handle + n_disks * sizeof *handle->nbd);
    if (!handle)
        return NULL;
    for (unsigned i = 0; i < n_disks; i++)
    {
        handle->nbd[i] = nbd_create ();
        if (!handle->nbd[i] || nbd_set_uri_allow_local_file (handle->nbd[i], true) == -1
            || nbd_connect_uri (handle->nbd[i], disks[i]) == -1)
        {
            nbdkit_error ("cannot connect to disk %u: %s", i, nbd_get_error ());
            segments_close (handle);
            return NULL;
        }
    }
    return handle;
}

static int64_t
segments_get_size (void *handle)
{
    return (int64_t)total;
}

static int
segments_can_write (void *handle)
{
    return 0;
}

static int
segments_can_multi_conn (void *handle)
{
    return 1;
}

static const struct segment *
find_segment (uint64_t offset)
{
    size_t low = 0, high = n_segments;
    while (high - low > 1)
    {
        size_t middle = low + (high - low) / 2;
        if (segments[middle].at <= offset)
            low = middle;
        else
            high = middle;
    }
    return &segments[low];
}

static int
segments_pread (void *data, void *buffer, uint32_t count, uint64_t offset, uint32_t flags)
{
    struct handle *handle = data;
    char *at = buffer;
    while (count > 0)
    {
        const struct segment *segment = find_segment (offset);
        uint64_t within = offset - segment->at, left = segment->length - within;
        uint32_t part = left < count ? (uint32_t)left : count;
        if (nbd_pread (handle->nbd[segment->disk], at, part, segment->offset + within, 0) == -1)
        {
            nbdkit_error ("cannot read disk %u: %s", segment->disk, nbd_get_error ());
            return -1;
        }
        atomic_fetch_add (&bytes_read, part);
        atomic_fetch_add (&requests, 1);
        at += part;
        offset += part;
        count -= part;
    }
    return 0;
}

static struct nbdkit_plugin plugin = {
    .name = "segments",
    .longname = "pieces of NBD disks as one disk",
    .config = segments_config,
    .config_complete = segments_config_complete,
    .config_help = "table=FILE  (required) lines 'disk URI', then 'segment DISK OFFSET LENGTH'\n"
                   "count=FILE  at the end gets the bytes and requests read from the disks",
    .magic_config_key = "table",
    .unload = segments_unload,
    .open = segments_open,
    .close = segments_close,
    .get_size = segments_get_size,
    .can_write = segments_can_write,
    .can_multi_conn = segments_can_multi_conn,
    .pread = segments_pread,
    .errno_is_preserved = 0,
};

NBDKIT_REGISTER_PLUGIN (plugin)
