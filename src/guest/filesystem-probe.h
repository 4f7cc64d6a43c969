/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between filesystem.c, which finds out what a volume holds, and the files that judge one kind each. */
#pragma once
#include "guest/filesystem.h"

enum
{
    VMF_PROBE_HEAD = 72 * 1024, /* has every superblock that is judged, btrfs' at 64 KiB included */
};

struct vmf_probe
{
    const struct vmf_view *view;
    struct vmf_reader *reader;
    const uint8_t *head; /* the volume's first VMF_PROBE_HEAD bytes, zeroes behind its end */
    struct vmf_filesystem *fs;
};

/* Each sets fs->state and what goes with it; false only where the source cannot be read. */
typedef bool (*vmf_probe_fn) (struct vmf_probe *probe, GError **error);
bool vmf_probe_ext (struct vmf_probe *probe, GError **error);
bool vmf_probe_xfs (struct vmf_probe *probe, GError **error);
bool vmf_probe_btrfs (struct vmf_probe *probe, GError **error);
bool vmf_probe_ntfs (struct vmf_probe *probe, GError **error);
bool vmf_probe_fat (struct vmf_probe *probe, GError **error);
bool vmf_probe_exfat (struct vmf_probe *probe, GError **error);
bool vmf_probe_swap (struct vmf_probe *probe, GError **error);

/* Whether the first sector is a FAT's: it has no magic. */
bool vmf_probe_is_fat (const uint8_t *head);

/* Always true, for `return`. */
bool vmf_probe_opaque (struct vmf_probe *probe, const char *why);
bool vmf_probe_clean (struct vmf_probe *probe, const char *tool, uint64_t size_bytes, uint64_t block_bytes);
void vmf_probe_always (struct vmf_probe *probe, uint64_t offset, uint64_t length);
