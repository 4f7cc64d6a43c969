/* SPDX-License-Identifier: GPL-2.0-or-later */
/* btrfs and swap.
 *
 * btrfs has no clean flag and needs none: its last commit is whole at any instant. Only what was fsynced since then is
 * in a log tree, whose blocks the extent tree does not list; so a log tree means allocation.
 */
#include "guest/filesystem-probe.h"

enum
{
    SUPER = 65536,
    /* mixed_backref, default_subvol, mixed_groups, lzo, zstd, big_metadata, extended_iref, skinny, no_holes,
       metadata_uuid; not: raid56, raid1c34, zoned, extent_tree_v2, raid_stripe_tree */
    INCOMPAT_KNOWN = 0x77f,
};

bool
vmf_probe_btrfs (struct vmf_probe *probe, GError **error)
{
    static const uint64_t copies[] = { (uint64_t)64 << 20, (uint64_t)256 << 30 };
    const uint64_t seeding = (uint64_t)1 << 32, known_flags = 1; /* WRITTEN */
    const uint8_t *super = probe->head + SUPER;
    uint64_t flags = vmf_le64 (super + 56), size = vmf_le64 (super + 112);
    uint32_t sector = vmf_le32 (super + 144);
    if (vmf_le64 (super + 136) != 1)
        return vmf_probe_opaque (probe, "it has several devices");
    if (flags & seeding)
        return vmf_probe_opaque (probe, "it is a seed device");
    if ((flags & ~known_flags) || (vmf_le64 (super + 188) & ~(uint64_t)INCOMPAT_KNOWN))
        return vmf_probe_opaque (probe, "it has features that no map is read with");
    if (vmf_le64 (super + 48) != SUPER || sector < 4096 || sector > 65536 || (sector & (sector - 1))
        || vmf_le64 (super + 72) == 0)
        return vmf_probe_opaque (probe, "its superblock is damaged");
    if (vmf_le64 (super + 96) != 0)
        return vmf_probe_opaque (probe, "it has a log tree to replay");
    probe->fs->used_bytes = vmf_le64 (super + 120);
    probe->fs->node_bytes = vmf_le32 (super + 148);
    vmf_probe_always (probe, 0, 1 << 20); /* btrfs leaves the first MiB to boot loaders */
    for (size_t i = 0; i < G_N_ELEMENTS (copies); i++)
        vmf_probe_always (probe, copies[i], 65536);
    return vmf_probe_clean (probe, "btrfs", size, sector);
}

/* The header's page has the version, the label and the UUID by which fstab names it. */
bool
vmf_probe_swap (struct vmf_probe *probe, GError **error)
{
    if (vmf_le32 (probe->head + 1024) != 1 || vmf_le32 (probe->head + 1028) == 0)
        return vmf_probe_opaque (probe, "its header is damaged");
    probe->fs->state = VMF_FILESYSTEM_UNUSED;
    probe->fs->size_bytes = probe->view->size_bytes;
    probe->fs->why = g_strdup ("swap that holds no hibernated system");
    vmf_probe_always (probe, 0, 65536);
    return true;
}
