/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Zeroes: finding them in memory, asking an export for them, and putting them into a file. */
#pragma once
#include "disk/extents.h"
#include <gio/gio.h>

/* Is every byte of the LENGTH bytes at DATA zero? At memory bandwidth. */
bool vmf_zero_is (const void *data, size_t length);

/* The ranges of an export that read as zeroes by its own account (base:allocation). NULL on error. */
struct vmf_extents *vmf_zero_ranges (const char *uri, const char *what, GCancellable *cancellable, GError **error);

/* Makes RANGES of the file or block device at PATH zero, punching holes where the file system can. */
bool vmf_zero_punch (const char *path, const struct vmf_extents *ranges, GCancellable *cancellable, GError **error);

/* The same for one range of an open file or device. false: errno says why. */
bool vmf_zero_range (int fd, uint64_t offset, uint64_t length);

/* Gives the file at PATH the disk space for LENGTH bytes, making it so long where it is shorter; its data stays. A
   block device has its space. NO_SPACE. */
bool vmf_zero_allocate (const char *path, uint64_t length, GError **error);

/* fsync of PATH. */
bool vmf_zero_sync (const char *path, GError **error);
