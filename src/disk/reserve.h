/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disk space that a file has before its data come (B11, PITFALLS 40): blocks that the file system gives to nobody else,
 * neither to another import nor to any other program, and that read as zeroes.
 *
 * They belong to the file: they survive a kill with it, count as free again when it is deleted, and what is written
 * goes into them. What was reserved and not written is given back at the end. Any thread; not for a file that another
 * process makes longer or shorter meanwhile, where the comment says so.
 */
#pragma once
#include "disk/extents.h"
#include <stdbool.h>

/* Reserves RANGES of the raw image at PATH. *RESERVED: false on a file system that cannot, or a block device. NO_SPACE.
 */
bool vmf_reserve_raw (const char *path, const struct vmf_extents *ranges, bool *reserved, GError **error);

/* What the file of a qcow2 image of SIZE with DATA in it comes to at most; all in bytes. */
uint64_t vmf_reserve_qcow2_bytes (uint64_t data_bytes, uint64_t size_bytes);

/* The same for a qcow2 image, which grows at its end: its first LENGTH bytes, also where it is shorter. */
bool vmf_reserve_qcow2 (const char *path, uint64_t length, bool *reserved, GError **error);

/* What was reserved and has no data is free again: behind the file's end, and within it what the kernel calls a hole.
   No other process has it open for writing. */
bool vmf_reserve_end (const char *path, GError **error);
