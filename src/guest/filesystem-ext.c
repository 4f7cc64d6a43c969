/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ext2, ext3, ext4: the superblock's word on its journal. Format: Linux, Documentation/filesystems/ext4/super.rst.
 *
 * Clean is: state "valid", no errors recorded, no needs_recovery, no orphans, only features that are known here. With
 * needs_recovery alone the journal is replayed on a throw-away overlay first.
 */
#include "guest/filesystem-probe.h"

enum
{
    SUPER = 1024,
    PER_GROUP_MIN = 256,  /* mke2fs' own */
    GROUPS_MAX = 1 << 20, /* 128 TiB with blocks of 4 KiB: each may cost an entry in a list */
    STATE_VALID = 1,
    STATE_ERROR = 2,

    COMPAT_HAS_JOURNAL = 0x4,
    COMPAT_SPARSE_SUPER2 = 0x200,
    COMPAT_FAST_COMMIT = 0x400,
    INCOMPAT_RECOVER = 0x4,
    INCOMPAT_64BIT = 0x80,
    /* filetype, recover, meta_bg, extents, 64bit, mmp, flex_bg, ea_inode, csum_seed, largedir, inline_data, encrypt,
       casefold; not: compression, journal_dev, dirdata */
    INCOMPAT_KNOWN =
        0x2 | 0x4 | 0x10 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x8000 | 0x10000 | 0x20000,
    RO_COMPAT_SPARSE_SUPER = 0x1,
    RO_COMPAT_ORPHAN_PRESENT = 0x10000,
    RO_COMPAT_GDT_CSUM = 0x10,
    /* sparse_super, large_file, huge_file, gdt_csum, dir_nlink, extra_isize, quota, metadata_csum, readonly, project,
       verity, orphan_present; not: bigalloc (a bit is a cluster there), replica, shared_blocks */
    RO_COMPAT_KNOWN = 0x1 | 0x2 | 0x8 | 0x10 | 0x20 | 0x40 | 0x100 | 0x400 | 0x1000 | 0x2000 | 0x8000 | 0x10000,
};

struct ext
{
    uint64_t blocks, free_blocks, block_bytes;
    uint32_t per_group, first_block, compat, incompat, ro_compat, descriptor_bytes;
    const uint8_t *super;
};

static bool
is_power_of (uint64_t n, uint64_t base)
{
    while (n > 1 && n % base == 0)
        n /= base;
    return n == 1;
}

static bool
has_backup (const struct ext *ext, uint64_t group)
{
    if (group == 0)
        return true;
    if (ext->compat & COMPAT_SPARSE_SUPER2)
        return group == vmf_le32 (ext->super + 0x24c) || group == vmf_le32 (ext->super + 0x250);
    return !(ext->ro_compat & RO_COMPAT_SPARSE_SUPER) || group == 1 || is_power_of (group, 3) || is_power_of (group, 5)
           || is_power_of (group, 7);
}

static uint64_t
count_groups (const struct ext *ext)
{
    return (ext->blocks - ext->first_block + ext->per_group - 1) / ext->per_group;
}

/* partclone calls groups whose bitmap was never written (uninit_bg) free altogether, the copies of the superblock
   and the group descriptors in them included. They are what a repair starts from. */
static void
need_backups (struct vmf_probe *probe, const struct ext *ext)
{
    uint64_t groups = count_groups (ext);
    uint64_t table = (groups * ext->descriptor_bytes + ext->block_bytes - 1) / ext->block_bytes;
    uint64_t length = (1 + table + vmf_le16 (ext->super + 0xce)) * ext->block_bytes;
    for (uint64_t group = 0; group < groups; group++)
        if (has_backup (ext, group))
            vmf_probe_always (probe, (ext->first_block + group * ext->per_group) * ext->block_bytes, length);
}

static bool
ext_parse (struct ext *ext, const uint8_t *super)
{
    uint32_t shift = vmf_le32 (super + 0x18);
    if (shift > 6)
        return false;
    *ext = (struct ext){
        .blocks = vmf_le32 (super + 0x4),
        .free_blocks = vmf_le32 (super + 0xc),
        .block_bytes = (uint64_t)1024 << shift,
        .per_group = vmf_le32 (super + 0x20),
        .first_block = vmf_le32 (super + 0x14),
        .descriptor_bytes = 32,
        .super = super,
    };
    if (vmf_le32 (super + 0x4c) >= 1)
    {
        ext->compat = vmf_le32 (super + 0x5c);
        ext->incompat = vmf_le32 (super + 0x60);
        ext->ro_compat = vmf_le32 (super + 0x64);
    }
    if (ext->incompat & INCOMPAT_64BIT)
    {
        ext->blocks |= (uint64_t)vmf_le32 (super + 0x150) << 32;
        ext->free_blocks |= (uint64_t)vmf_le32 (super + 0x158) << 32;
        ext->descriptor_bytes = vmf_le16 (super + 0xfe);
    }
    /* A bitmap is one block, so a group has at most eight times its bytes. */
    return ext->per_group >= PER_GROUP_MIN && ext->per_group <= 8 * ext->block_bytes && ext->first_block <= 1
           && ext->blocks > ext->first_block && ext->blocks <= UINT64_MAX / ext->block_bytes
           && count_groups (ext) <= GROUPS_MAX && ext->free_blocks <= ext->blocks && ext->descriptor_bytes >= 32
           && ext->descriptor_bytes <= 1024;
}

static const char *
ext_type (const struct ext *ext)
{
    bool four = ext->incompat & ~0x6u || ext->ro_compat & ~0x3u;
    return four ? "ext4" : ext->compat & COMPAT_HAS_JOURNAL ? "ext3" : "ext2";
}

/* Why a journal that needs recovery can't be replayed; NULL: it can. */
static const char *
why_not_replay (const struct ext *ext)
{
    if (!(ext->compat & COMPAT_HAS_JOURNAL) || vmf_le32 (ext->super + 0xe0) == 0)
        return "its journal is on another device and needs recovery";
    if (ext->compat & COMPAT_FAST_COMMIT)
        return "its journal needs recovery and has fast commits";
    return NULL;
}

bool
vmf_probe_ext (struct vmf_probe *probe, GError **error)
{
    struct ext ext;
    if (!ext_parse (&ext, probe->head + SUPER))
        return vmf_probe_opaque (probe, "its superblock is damaged");
    probe->fs->type = ext_type (&ext);
    uint16_t state = vmf_le16 (ext.super + 0x3a);
    if (ext.incompat & ~(uint32_t)INCOMPAT_KNOWN || ext.ro_compat & ~(uint32_t)RO_COMPAT_KNOWN)
        return vmf_probe_opaque (probe, "it has features that no map is read with");
    if (state & STATE_ERROR)
        return vmf_probe_opaque (probe, "it has recorded errors");
    bool replay = ext.incompat & INCOMPAT_RECOVER;
    if (!replay && !(state & STATE_VALID))
        return vmf_probe_opaque (probe, "it was not cleanly unmounted");
    if (!replay && (ext.ro_compat & RO_COMPAT_ORPHAN_PRESENT))
        return vmf_probe_opaque (probe, "it has orphaned files to clean up");
    if (replay && why_not_replay (&ext))
        return vmf_probe_opaque (probe, why_not_replay (&ext));
    if (ext.blocks * ext.block_bytes > probe->view->size_bytes)
        return vmf_probe_opaque (probe, "the file system is larger than its partition");
    /* with uninit_bg the map calls more free than the superblock, see need_backups */
    bool counted = !replay && !(ext.ro_compat & RO_COMPAT_GDT_CSUM);
    probe->fs->free_bytes = counted ? ext.free_blocks * ext.block_bytes : UINT64_MAX;
    need_backups (probe, &ext);
    vmf_probe_clean (probe, "partclone.ext4", ext.blocks * ext.block_bytes, ext.block_bytes);
    if (replay)
    {
        probe->fs->state = VMF_FILESYSTEM_REPLAY;
        probe->fs->tool = "dumpe2fs";
    }
    return true;
}
