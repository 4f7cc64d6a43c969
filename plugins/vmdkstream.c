/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nbdkit-vmdkstream-plugin: the disk in a stream-optimised VMDK, read-only.
 *
 * file=PATH or fd=N: a regular file, or the part of it that offset= and size= name (a member of a tar): any read at any
 * time, inflated on as many cores as requests are in flight. stream=PATH, stream=- or stream=fd:N: bytes that are still
 * arriving, read once and in order (vmdk-window.h). This file is nbdkit's side; vmdk-*.c know nothing of it.
 */
#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "vmdk-file.h"
#include "vmdk-window.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

enum
{
    RUNS_MAX = 256,           /* pieces of extents that one request looks up */
    STREAM_RUN_MAX = 1 << 18, /* grains, of one piece */
    WINDOW_DEFAULT = 32 << 20,
    PATIENCE_DEFAULT_MS = 10 * 1000,
    PATIENCE_FORWARD_MS = 1000, /* longer than a request is under way between nbdkit's socket and us */
};

static char *file_path, *stream_path;
static int fd = -1;
static int64_t part_offset, part_size, window_size = WINDOW_DEFAULT;
static unsigned patience_ms;
static bool has_patience, forward;
static const char *shown; /* what we read, for messages */

static struct vmdk_file *file;
static struct vmdk_window *window; /* one of both */

static int
parse_size (const char *value, int64_t *size)
{
    *size = nbdkit_parse_size (value);
    return *size < 0 ? -1 : 0;
}

static int
set_path (const char *value, char **path)
{
    free (*path);
    *path = nbdkit_absolute_path (value);
    return *path ? 0 : -1;
}

static int
take_fd (int number)
{
    if (fd >= 0)
        close (fd);
    fd = fcntl (number, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (fd < 0)
        nbdkit_error ("file descriptor %d: %s", number, strerror (errno));
    return fd < 0 ? -1 : 0;
}

/* nbdkit puts /dev/null on standard input before it serves, so it is taken over here. */
static int
set_stream (const char *value)
{
    int number;
    bool is_stdin = strcmp (value, "-") == 0;
    free (stream_path);
    stream_path = NULL;
    if (!is_stdin && strncmp (value, "fd:", 3) != 0)
        return set_path (value, &stream_path);
    if (is_stdin && !nbdkit_stdio_safe ())
    {
        nbdkit_error ("stream=- cannot be used with -s: standard input is the client");
        return -1;
    }
    stream_path = strdup (is_stdin ? "standard input" : value);
    if (!stream_path || (!is_stdin && nbdkit_parse_int ("stream", value + 3, &number) < 0))
        return -1;
    return take_fd (is_stdin ? STDIN_FILENO : number);
}

static int
vmdkstream_config (const char *key, const char *value)
{
    int number;
    if (strcmp (key, "forward") == 0)
    {
        number = nbdkit_parse_bool (value);
        forward = number == 1;
        return number < 0 ? -1 : 0;
    }
    if (strcmp (key, "file") == 0)
        return set_path (value, &file_path);
    if (strcmp (key, "fd") == 0)
        return nbdkit_parse_int ("fd", value, &number) < 0 ? -1 : take_fd (number);
    if (strcmp (key, "stream") == 0)
        return set_stream (value);
    if (strcmp (key, "offset") == 0)
        return parse_size (value, &part_offset);
    if (strcmp (key, "size") == 0)
        return parse_size (value, &part_size);
    if (strcmp (key, "window") == 0)
        return parse_size (value, &window_size);
    has_patience = has_patience || strcmp (key, "patience-ms") == 0;
    if (strcmp (key, "patience-ms") == 0)
        return nbdkit_parse_unsigned ("patience-ms", value, &patience_ms);
    nbdkit_error ("unknown parameter '%s'", key);
    return -1;
}

static int
vmdkstream_config_complete (void)
{
    bool own_fd = fd >= 0 && !stream_path;
    if ((stream_path != NULL) + (file_path != NULL) + own_fd != 1)
    {
        nbdkit_error ("one of file=, fd= and stream= is needed");
        return -1;
    }
    if (stream_path && (part_offset != 0 || part_size != 0))
    {
        nbdkit_error ("offset= and size= are for file=, not for stream=");
        return -1;
    }
    if (!has_patience)
        patience_ms = forward ? PATIENCE_FORWARD_MS : PATIENCE_DEFAULT_MS;
    shown = stream_path ? stream_path : file_path ? file_path : "the file";
    return 0;
}

/* A FIFO is opened here, and waited for until somebody writes to it. */
static int
open_path (void)
{
    const char *path = stream_path ? stream_path : file_path;
    if (fd < 0)
        fd = open (path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        nbdkit_error ("cannot open '%s': %s", path, strerror (errno));
    return fd < 0 ? -1 : 0;
}

static int
fail (const struct vmdk_error *error)
{
    nbdkit_error ("%s: %s", shown, error->text);
    nbdkit_set_error (EIO);
    return -1;
}

/* A file is checked before anybody can connect. */
static int
vmdkstream_get_ready (void)
{
    struct vmdk_error error = { "" };
    if (stream_path)
        return 0;
    if (open_path () < 0)
        return -1;
    file = vmdk_file_open (fd, (uint64_t)part_offset, (uint64_t)part_size, &error);
    return file ? 0 : fail (&error);
}

/* nbdkit's own sleep is the one that notices its end, and the client's. */
static bool
give_up (void)
{
    return nbdkit_nanosleep (0, 1) < 0;
}

/* Threads do not live through a fork. */
static int
vmdkstream_after_fork (void)
{
    struct vmdk_error error = { "" };
    if (!stream_path)
        return 0;
    if (open_path () < 0)
        return -1;
    struct vmdk_window_options options = {
        .fd = fd,
        .size_bytes = (uint64_t)window_size,
        .patience_ms = patience_ms,
        .forward = forward,
        .give_up = give_up,
    };
    window = vmdk_window_new (&options, &error);
    if (!window)
        return fail (&error);
    fd = -1; /* the window's now */
    return vmdk_window_start (window, &error) ? 0 : fail (&error);
}

static void
vmdkstream_unload (void)
{
    vmdk_window_free (window);
    vmdk_file_free (file);
    if (fd >= 0)
        close (fd);
    free (file_path);
    free (stream_path);
}

/* The handle is the header. */
static void *
vmdkstream_open (int readonly)
{
    struct vmdk_error error = { "" };
    const struct vmdk_header *header = file ? vmdk_file_get_header (file) : vmdk_window_get_header (window, &error);
    if (!header)
        fail (&error);
    return (void *)header;
}

static int64_t
vmdkstream_get_size (void *handle)
{
    const struct vmdk_header *header = handle;
    return (int64_t)header->capacity_bytes;
}

static int
vmdkstream_block_size (void *handle, uint32_t *minimum, uint32_t *preferred, uint32_t *maximum)
{
    const struct vmdk_header *header = handle;
    *minimum = 1;
    *preferred = header->grain_bytes;
    *maximum = UINT32_MAX;
    return 0;
}

static int
vmdkstream_can_write (void *handle)
{
    return 0;
}

static int
vmdkstream_can_multi_conn (void *handle)
{
    return 1;
}

static int
vmdkstream_can_extents (void *handle)
{
    return 1;
}

static int
vmdkstream_pread (void *handle, void *buffer, uint32_t count, uint64_t offset, uint32_t flags)
{
    const struct vmdk_header *header = handle;
    struct vmdk_error error = { "" };
    uint8_t *to = buffer;
    while (count > 0)
    {
        uint64_t index = offset / header->grain_bytes;
        uint32_t within = (uint32_t)(offset % header->grain_bytes), left = header->grain_bytes - within,
                 part = left < count ? left : count;
        bool good = file ? vmdk_file_read (file, index, within, part, to, &error)
                         : vmdk_window_read (window, index, within, part, to, &error);
        if (!good)
            return fail (&error);
        to += part;
        offset += part;
        count -= part;
    }
    return 0;
}

static int
vmdkstream_extents (void *handle, uint32_t count, uint64_t offset, uint32_t flags, struct nbdkit_extents *extents)
{
    const struct vmdk_header *header = handle;
    struct vmdk_error error = { "" };
    uint64_t index = offset / header->grain_bytes, end = (offset + count - 1) / header->grain_bytes + 1;
    bool first_is_data = false;
    for (unsigned runs = 0; index < end && runs < RUNS_MAX; runs++)
    {
        uint64_t most = end - index < STREAM_RUN_MAX ? end - index : STREAM_RUN_MAX, grains;
        bool data;
        bool good = file ? vmdk_file_run (file, index, &grains, &data, &error)
                         : vmdk_window_run (window, index, most, runs == 0, &grains, &data, &error);
        /* What was found so far is an answer; the next request will get the error. */
        if (!good)
            return runs > 0 ? 0 : fail (&error);
        if (runs == 0)
            first_is_data = data;
        if (grains == 0 || ((flags & NBDKIT_FLAG_REQ_ONE) && data != first_is_data))
            break;
        uint64_t at = index * header->grain_bytes, length = grains * header->grain_bytes;
        if (length > offset + count - at) /* nbdkit 1.32 dies of extents above 4 GiB */
            length = offset + count - at;
        if (nbdkit_add_extent (extents, at, length, data ? 0 : NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO) < 0)
            return -1;
        index += grains;
    }
    return 0;
}

static struct nbdkit_plugin plugin = {
    .name = "vmdkstream",
    .longname = "the disk in a stream-optimised VMDK",
    .config = vmdkstream_config,
    .config_complete = vmdkstream_config_complete,
    .config_help = "file=PATH | fd=N     a file that is the VMDK\n"
                   "offset=N size=N      the VMDK is this part of the file\n"
                   "stream=PATH|-|fd:N   the VMDK is still arriving here: it can be read once, in order\n"
                   "window=SIZE          of a stream, how much is kept until it is read (default 32M)\n"
                   "patience-ms=N        when it is full and nobody reads: how long to wait before the oldest is let "
                   "go of (default 10000)\n"
                   "forward=BOOL         reads come in rising order: once one has waited for patience-ms (then "
                   "default 1000), all that is before it is let go of at once",
    .magic_config_key = "file",
    .unload = vmdkstream_unload,
    .get_ready = vmdkstream_get_ready,
    .after_fork = vmdkstream_after_fork,
    .open = vmdkstream_open,
    .get_size = vmdkstream_get_size,
    .block_size = vmdkstream_block_size,
    .can_write = vmdkstream_can_write,
    .can_multi_conn = vmdkstream_can_multi_conn,
    .can_extents = vmdkstream_can_extents,
    .extents = vmdkstream_extents,
    .pread = vmdkstream_pread,
    .errno_is_preserved = 0,
};

NBDKIT_REGISTER_PLUGIN (plugin)
