/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Running the programs that know file systems, confined, and reading what they say, strictly.
 *
 * partclone's domain map for most; dumpe2fs' list of free blocks where a journal is replayed (usedext.c); for btrfs the
 * extent and chunk trees as btrfs-progs prints them, because partclone.btrfs leaves out the second copy of DUP
 * metadata. All are started first and waited for later, so that several volumes are mapped at a time. What they print
 * is bounded and checked: ranges without gaps, the right end, no more free space than the superblock gives. Main thread
 * only.
 */
#pragma once
#include "guest/filesystem.h"
#include "guest/mapmount.h"
#include "disk/extents.h"

struct vmf_used
{
    struct vmf_extents *extents; /* relative to the volume; `end` and what lies behind it is not in it */
    uint64_t end;                /* of the file system, by its map */
};

void vmf_used_clear (struct vmf_used *used);

/* PASS distinguishes several maps of one mount. */
struct vmf_child *vmf_used_start (const struct vmf_filesystem *fs, const struct vmf_mount *mount,
                                  const struct vmf_room *room, const char *pass, GError **error);

/* false with VMF_ERROR_CANCELLED, or with why the map cannot be trusted. */
bool vmf_used_finish (struct vmf_child *child, const struct vmf_filesystem *fs, const struct vmf_mount *mount,
                      const struct vmf_room *room, const char *pass, struct vmf_used *used, GCancellable *cancellable,
                      GError **error);

/* e2fsck's replay of the journal, nothing else, on a writable mount. */
bool vmf_used_replay (const struct vmf_filesystem *fs, const struct vmf_mount *mount, const struct vmf_room *room,
                      GCancellable *cancellable, GError **error);

/* Whether ntfs-3g would mount it for writing: clean log, no hibernation. Needs a writable mount. */
bool vmf_used_check_ntfs (const struct vmf_filesystem *fs, const struct vmf_mount *mount, const struct vmf_room *room,
                          GCancellable *cancellable, GError **error);

/* The parsers, for tests: TEXT is a program's whole output. */
bool vmf_used_parse_partclone (const char *text, const struct vmf_filesystem *fs, struct vmf_used *used,
                               GError **error);
bool vmf_used_parse_dumpe2fs (const char *text, const struct vmf_filesystem *fs, struct vmf_used *used, GError **error);
bool vmf_used_parse_btrfs (const char *chunks, const char *extents, const struct vmf_filesystem *fs,
                           struct vmf_used *used, GError **error);
