/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What reads a stream-optimised VMDK for plugins/vmdkstream.c: from a file, by one walk over a stream, and by the
 * window on top of that. A failure has a sentence, and what is read stays within the disk.
 */
#include "vmdk-file.h"
#include "vmdk-walk.h"
#include "vmdk-window.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum
{
    GRAINS_MAX = 300, /* that are read of one image */
};

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

struct input
{
    const uint8_t *bytes;
    size_t length, at;
    uint64_t next_grain, n_grains;
    const struct vmdk_header *header;
};

static void
check (bool holds)
{
    if (!holds)
        __builtin_trap ();
}

static ssize_t
on_read (void *data, void *buffer, size_t length, struct vmdk_error *error)
{
    struct input *input = data;
    size_t left = input->length - input->at, n = length < left ? length : left;
    memcpy (buffer, input->bytes + input->at, n);
    input->at += n;
    return (ssize_t)n;
}

static bool
on_header (void *data, const struct vmdk_header *header, struct vmdk_error *error)
{
    struct input *input = data;
    check (!input->header);
    input->header = header;
    input->n_grains = vmdk_count_grains (header);
    return true;
}

static bool
on_grain (void *data, uint64_t index, uint8_t *bytes, size_t size, struct vmdk_error *error)
{
    struct input *input = data;
    check (index >= input->next_grain && index < input->n_grains && size > 0);
    check (size <= vmdk_deflated_max (input->header));
    input->next_grain = index + 1;
    free (bytes);
    return true;
}

static int
make_fd (const uint8_t *data, size_t size)
{
    int fd = memfd_create ("image", MFD_CLOEXEC);
    check (fd >= 0 && write (fd, data, size) == (ssize_t)size && lseek (fd, 0, SEEK_SET) == 0);
    return fd;
}

/* One of both is NULL. */
static void
read_grains (struct vmdk_file *file, struct vmdk_window *window, const struct vmdk_header *header)
{
    uint64_t n = vmdk_count_grains (header);
    for (uint64_t i = 0; i < n && i < GRAINS_MAX; i++)
    {
        struct vmdk_error error = { "" };
        uint32_t length = vmdk_grain_length (header, i);
        uint8_t *bytes = malloc (length); /* of its exact size: a byte too many is seen */
        check (length > 0 && length <= header->grain_bytes);
        bool good = file ? vmdk_file_read (file, i, 0, length, bytes, &error)
                         : vmdk_window_read (window, i, 0, length, bytes, &error);
        check (good || *error.text);
        free (bytes);
    }
}

static void
read_runs (struct vmdk_file *file, const struct vmdk_header *header)
{
    uint64_t index = 0, n = vmdk_count_grains (header), grains;
    struct vmdk_error error = { "" };
    bool data;
    for (int i = 0; i < GRAINS_MAX && index < n; i++, index += grains)
        if (!vmdk_file_run (file, index, &grains, &data, &error))
            grains = 1;
    check (index <= n);
}

static void
read_file (const uint8_t *data, size_t size)
{
    struct vmdk_error error = { "" };
    int fd = make_fd (data, size);
    struct vmdk_file *file = vmdk_file_open (fd, 0, size, &error);
    check (file || *error.text);
    if (file)
    {
        read_runs (file, vmdk_file_get_header (file));
        read_grains (file, NULL, vmdk_file_get_header (file));
    }
    vmdk_file_free (file);
    close (fd);
}

static void
read_window (const uint8_t *data, size_t size)
{
    struct vmdk_error error = { "" };
    struct vmdk_window_options options = { .fd = make_fd (data, size), .size_bytes = 1 << 14 };
    struct vmdk_window *window = vmdk_window_new (&options, &error);
    check (window && vmdk_window_start (window, &error));
    const struct vmdk_header *header = vmdk_window_get_header (window, &error);
    check (header || *error.text);
    if (header)
        read_grains (NULL, window, header);
    vmdk_window_free (window);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    static const struct vmdk_walk_ops ops = { on_read, on_header, on_grain };
    struct vmdk_error error = { "" };
    struct input input = { data, size, 0, 0, 0, NULL };
    check (vmdk_walk (&ops, &input, &error) || *error.text);
    read_file (data, size);
    read_window (data, size);
    return 0;
}
