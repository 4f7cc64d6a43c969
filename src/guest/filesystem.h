/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a volume holds, and whether its map of used blocks can be trusted (PITFALLS 41-43).
 *
 * A table of signatures says which formats claim the volume; when two do, none is believed. For the file systems whose
 * maps can be read, the superblock (for XFS: the log's end) says whether everything that was written has reached its
 * place. Only fixed-size structures are read here; their bytes are untrusted.
 */
#pragma once
#include "guest/bytes.h"

enum vmf_filesystem_state
{
    VMF_FILESYSTEM_OPAQUE, /* no map: `why` */
    VMF_FILESYSTEM_CLEAN,  /* its map can be read as it stands, with `tool` */
    VMF_FILESYSTEM_REPLAY, /* after its journal was replayed on a throw-away overlay (ext3, ext4) */
    VMF_FILESYSTEM_UNUSED, /* nothing in it is needed but what `always` has (clean swap) */
    VMF_FILESYSTEM_LVM,    /* a physical volume of LVM2 */
};

struct vmf_filesystem
{
    enum vmf_filesystem_state state;
    const char *type;     /* as blkid calls it; "unknown" */
    unsigned n_claims;    /* formats whose signatures were found */
    char *why;            /* a sentence for the user */
    const char *tool;     /* "partclone.xfs", "dumpe2fs" or "btrfs" */
    bool windows_check;   /* NTFS: ntfs-3g.probe must agree that it is neither hibernated nor has an unclean log */
    uint64_t size_bytes;  /* of the file system, at most the volume's */
    uint64_t free_bytes;  /* by its superblock: a map that calls more than this free is wrong; UINT64_MAX: not known */
    uint64_t block_bytes; /* a map's ranges are multiples of this */
    uint64_t used_bytes;  /* btrfs: the sum of its extents must be this */
    uint32_t node_bytes;  /* btrfs: length of a metadata extent */
    GArray *always;       /* struct vmf_segment, disk unused: needed whatever the map says */
};

typedef struct vmf_filesystem vmf_filesystem;

/* NULL only where the source cannot be read. */
struct vmf_filesystem *vmf_filesystem_probe (const struct vmf_view *view, struct vmf_reader *reader, GError **error);
void vmf_filesystem_free (struct vmf_filesystem *fs);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_filesystem, vmf_filesystem_free)
