/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A stream-optimised VMDK in a regular file, or in a part of one: any grain at any time.
 *
 * All tables are read once when it is opened: what leads out of the file is refused then, before a guest's disk is half
 * copied. In memory stay the directory (at most 16 MiB) and 64 tables. Two entries that lead to one grain need no check
 * of their own: its marker names one place, so the other read fails. Any thread, after vmdk_file_open().
 */
#pragma once
#include "vmdk-parse.h"

struct vmdk_file;

/* The SIZE bytes at OFFSET of FD are the image; SIZE 0: to the file's end. FD is the caller's and stays open. */
struct vmdk_file *vmdk_file_open (int fd, uint64_t offset, uint64_t size, struct vmdk_error *error);
void vmdk_file_free (struct vmdk_file *file);

const struct vmdk_header *vmdk_file_get_header (const struct vmdk_file *file);

/* LENGTH bytes of grain INDEX, beginning WITHIN it; all of them the guest's. */
bool vmdk_file_read (struct vmdk_file *file, uint64_t index, uint32_t within, uint32_t length, uint8_t *out,
                     struct vmdk_error *error);

/* How many grains from INDEX on, one or more, are DATA or are not: to the end of their table, no further. */
bool vmdk_file_run (struct vmdk_file *file, uint64_t index, uint64_t *grains, bool *data, struct vmdk_error *error);
