/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is allocated of a disk, as far as VDDK was asked: in chunks of 64 KiB, by windows that are asked for one by one.
 *
 * The disk does not change while we read it (it is that of a snapshot, or of a VM that is off), so an answer holds for
 * good. A window is 32 GiB, the most that one question may span, and costs 64 KiB, or nothing when it is all the same.
 * The part of a chunk at the disk's end cannot be asked about: it is data. Pure memory; the caller locks.
 */
#pragma once
#include "vddk-abi.h"
#include <stdbool.h>

struct vddk_map;

struct vddk_map *vddk_map_new (uint64_t capacity_sectors);
void vddk_map_free (struct vddk_map *map);

/* Of the window that has SECTOR in it, false: nothing is known of it. */
bool vddk_map_is_known (const struct vddk_map *map, uint64_t sector);

/* The question for that window: whole chunks, within the disk. False: there is none, the window is known now. */
bool vddk_map_question (struct vddk_map *map, uint64_t sector, uint64_t *first, uint64_t *count);

/* The answer to the question; LIST NULL: there was none, all of the window is data. False: no memory. */
bool vddk_map_answer (struct vddk_map *map, uint64_t sector, const struct vddk_block_list *list);

/* How many SECTORS from SECTOR on are DATA or a hole, not further than the window. It must be known. */
void vddk_map_run (const struct vddk_map *map, uint64_t sector, uint64_t *sectors, bool *data);
