/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which bytes of a VM's disks the new VM needs, read from the source before anything is copied (DESIGN idea 4).
 *
 * Partition tables (MBR with logical partitions, GPT), linear LVM logical volumes (across disks too), then partclone's
 * domain map of each file system that is provably clean. Everything else is needed as a whole: the copy then goes by
 * what the source calls allocated. A wrong map loses data in silence, so in doubt it is allocation (PITFALLS 41-44),
 * and the reason is kept. What a guest put on its disks is not trusted: whatever parses more than fixed-size headers
 * runs confined (partclone), and nothing found there ends an import. Main thread only (it starts children).
 */
#pragma once
#include "base/room.h"
#include "disk/extents.h"
#include <gio/gio.h>

struct vmf_map_disk
{
    const char *name; /* "sda" */
    const char *uri;  /* NBD, read-only */
    uint64_t size_bytes;
    const char *whole_why; /* all of it is needed, and nothing is read for the map, since …; NULL: it is looked into */
};

enum vmf_map_way
{
    VMF_MAP_WAY_MAP,        /* used blocks by the file system's own map */
    VMF_MAP_WAY_REPLAYED,   /* the same, after its journal was replayed on a throw-away overlay */
    VMF_MAP_WAY_ALLOCATION, /* what the source calls allocated */
    VMF_MAP_WAY_NONE,       /* not needed at all (clean swap) */
};

/* What was decided for one partition, logical volume or whole-disk file system. */
struct vmf_map_volume
{
    char *name; /* "sda1", "vg0/root", "sdb" */
    char *type; /* "ext4", "xfs", "ntfs", "swap", "LVM2_member", "linux_raid_member", "unknown" */
    uint64_t size_bytes;
    uint64_t used_bytes; /* by its map; size_bytes where there is none */
    enum vmf_map_way way;
    char *why; /* a sentence for the user: "clean ext4", "the journal needs recovery", "member of an md RAID" */
};

struct vmf_map
{
    GPtrArray *needed;   /* struct vmf_extents*, one for each disk in order */
    GPtrArray *volumes;  /* struct vmf_map_volume* */
    uint64_t used_bytes; /* in the guest's file systems, where maps told */
    uint64_t bytes_read; /* from the disks, for all of this (A5) */
};

typedef struct vmf_map vmf_map;

/* Where one disk has a whole_why, the others are not looked into either: a volume may lie on several.
   WORK_DIR is the import's own (0700): sockets, mount points and maps lie in it for the while. Fails only where the
   source cannot be read or it is cancelled; for want of a program a volume goes by allocation. */
struct vmf_map *vmf_map_read (const struct vmf_map_disk *disks, unsigned n_disks, const struct vmf_room *room,
                              const char *work_dir, GCancellable *cancellable, GError **error);
void vmf_map_free (struct vmf_map *map);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_map, vmf_map_free)

const char *vmf_map_way_name (enum vmf_map_way way); /* "map", "replayed", "allocation", "none" */
