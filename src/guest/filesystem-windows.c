/* SPDX-License-Identifier: GPL-2.0-or-later */
/* NTFS, FAT16, FAT32 and exFAT: their dirty flags.
 *
 * NTFS' flag is in record 3 of its master file table; whether its log is clean and Windows is not hibernated needs a
 * walk through its directory, which ntfs-3g.probe does, confined (map.c). FAT12 has no flag.
 */
#include "guest/filesystem-probe.h"

enum
{
    SECTOR = 512,
};

struct ntfs
{
    uint32_t sector, cluster, record;
    uint64_t sectors, mft;
};

static bool
ntfs_parse (struct ntfs *ntfs, const uint8_t *boot)
{
    int8_t per_cluster = (int8_t)boot[0x0d], per_record = (int8_t)boot[0x40];
    ntfs->sector = vmf_le16 (boot + 0x0b);
    if (ntfs->sector != SECTOR && ntfs->sector != 1024 && ntfs->sector != 2048 && ntfs->sector != 4096)
        return false;
    /* Values above 128 mean 2 to the power of minus the value. */
    uint64_t cluster = per_cluster > 0      ? (uint64_t)per_cluster * ntfs->sector
                       : boot[0x0d] == 128  ? (uint64_t)128 * ntfs->sector
                       : per_cluster >= -12 ? ((uint64_t)1 << -per_cluster) * ntfs->sector
                                            : 0;
    uint64_t record = per_record > 0      ? (uint64_t)per_record * cluster
                      : per_record >= -16 ? (uint64_t)1 << -per_record
                                          : 0;
    ntfs->sectors = vmf_le64 (boot + 0x28);
    ntfs->mft = vmf_le64 (boot + 0x30);
    ntfs->cluster = (uint32_t)cluster;
    ntfs->record = (uint32_t)record;
    return cluster >= 512 && cluster <= 2 * 1024 * 1024 && (cluster & (cluster - 1)) == 0 && record >= 512
           && record <= 65536 && (record & (record - 1)) == 0 && ntfs->sectors > 0
           && ntfs->sectors <= UINT64_MAX / ntfs->sector && ntfs->mft > 0
           && ntfs->mft < ntfs->sectors / (ntfs->cluster / ntfs->sector);
}

/* Puts back the last word of each sector, which a record keeps in its update sequence array. */
static bool
ntfs_fix_up (uint8_t *record, uint32_t length)
{
    uint32_t array = vmf_le16 (record + 4), count = vmf_le16 (record + 6);
    if (memcmp (record, "FILE", 4) != 0 || count != length / SECTOR + 1 || array + 2 * count > SECTOR - 2)
        return false;
    for (uint32_t i = 1; i < count; i++)
    {
        uint8_t *last = record + i * SECTOR - 2;
        if (memcmp (last, record + array, 2) != 0)
            return false;
        memcpy (last, record + array + 2 * i, 2);
    }
    return true;
}

/* $Volume's flags; false where the record has none. */
static bool
ntfs_volume_flags (const uint8_t *record, uint32_t length, uint16_t *flags)
{
    const uint32_t volume_information = 0x70, end = 0xffffffff;
    uint32_t at = vmf_le16 (record + 20);
    while (at + 24 <= length)
    {
        uint32_t type = vmf_le32 (record + at), size = vmf_le32 (record + at + 4);
        if (type == end || size < 24 || size > length - at)
            return false;
        uint32_t value = vmf_le16 (record + at + 20);
        if (type == volume_information)
        {
            if (record[at + 8] != 0 || vmf_le32 (record + at + 16) < 12 || value + 12 > size)
                return false;
            *flags = vmf_le16 (record + at + value + 10);
            return true;
        }
        at += size;
    }
    return false;
}

bool
vmf_probe_ntfs (struct vmf_probe *probe, GError **error)
{
    struct ntfs ntfs;
    uint16_t flags;
    if (!ntfs_parse (&ntfs, probe->head))
        return vmf_probe_opaque (probe, "its boot sector is damaged");
    g_autofree uint8_t *record = g_malloc (ntfs.record);
    if (!vmf_view_read (probe->view, probe->reader, ntfs.mft * ntfs.cluster + 3 * (uint64_t)ntfs.record, record,
                        ntfs.record, error))
        return false;
    if (!ntfs_fix_up (record, ntfs.record) || !ntfs_volume_flags (record, ntfs.record, &flags))
        return vmf_probe_opaque (probe, "its $Volume record is damaged");
    if ((flags & ~0x8000u) != 0) /* 0x8000: chkdsk was here; anything else asks for something to be done */
        return vmf_probe_opaque (probe, flags & 1 ? "it was not cleanly unmounted (its dirty flag is set)"
                                                  : "it is marked for a check or an upgrade");
    probe->fs->windows_check = true;
    return vmf_probe_clean (probe, "partclone.ntfs", ntfs.sectors * ntfs.sector, ntfs.cluster);
}

struct fat
{
    uint32_t sector, cluster_sectors, reserved, fats, fat_sectors, root_entries;
    uint64_t sectors, clusters;
    unsigned bits;
};

static bool
fat_parse (struct fat *fat, const uint8_t *boot)
{
    fat->sector = vmf_le16 (boot + 0x0b);
    fat->cluster_sectors = boot[0x0d];
    fat->reserved = vmf_le16 (boot + 0x0e);
    fat->fats = boot[0x10];
    fat->root_entries = vmf_le16 (boot + 0x11);
    fat->sectors = vmf_le16 (boot + 0x13) ? vmf_le16 (boot + 0x13) : vmf_le32 (boot + 0x20);
    fat->fat_sectors = vmf_le16 (boot + 0x16) ? vmf_le16 (boot + 0x16) : vmf_le32 (boot + 0x24);
    if (fat->sector < 512 || fat->sector > 4096 || (fat->sector & (fat->sector - 1)) || fat->cluster_sectors == 0
        || (fat->cluster_sectors & (fat->cluster_sectors - 1)) || fat->reserved == 0 || fat->fats < 1 || fat->fats > 2
        || fat->fat_sectors == 0 || boot[0x15] < 0xf0)
        return false;
    uint64_t before = fat->reserved + (uint64_t)fat->fats * fat->fat_sectors
                      + (fat->root_entries * 32 + fat->sector - 1) / fat->sector;
    if (before >= fat->sectors)
        return false;
    /* The number of clusters alone says which FAT it is. */
    fat->clusters = (fat->sectors - before) / fat->cluster_sectors;
    fat->bits = fat->clusters < 4085 ? 12 : fat->clusters < 65525 ? 16 : 32;
    return true;
}

bool
vmf_probe_is_fat (const uint8_t *head)
{
    struct fat fat;
    return head[510] == 0x55 && head[511] == 0xaa && (head[0] == 0xeb || head[0] == 0xe9)
           && memcmp (head + 3, "NTFS    ", 8) != 0 && memcmp (head + 3, "EXFAT   ", 8) != 0 && fat_parse (&fat, head);
}

/* partclone goes by the label that mkfs wrote beside the name; it must agree. */
static bool
fat_label_agrees (const struct fat *fat, const uint8_t *boot)
{
    return fat->bits == 16 ? boot[0x26] == 0x29 && memcmp (boot + 0x36, "FAT16", 5) == 0
                           : boot[0x26] != 0x29 && memcmp (boot + 0x52, "FAT32", 5) == 0;
}

bool
vmf_probe_fat (struct vmf_probe *probe, GError **error)
{
    const uint8_t *boot = probe->head;
    struct fat fat;
    uint8_t entries[8];
    if (!fat_parse (&fat, boot) || fat.bits == 12)
        return vmf_probe_opaque (probe, "FAT12 does not say whether it is clean");
    if (fat.sector != SECTOR || !fat_label_agrees (&fat, boot) || (fat.bits == 32 && (boot[0x28] & 0x80))
        || fat.fat_sectors < (fat.clusters + 2) * fat.bits / 8 / SECTOR)
        return vmf_probe_opaque (probe, "it is laid out in an unusual way");
    if (!vmf_view_read (probe->view, probe->reader, (uint64_t)fat.reserved * SECTOR, entries, sizeof entries, error))
        return false;
    /* Bits of the second entry: unmounted cleanly, no hard errors. Linux keeps its own mark in the boot sector. */
    uint32_t second = fat.bits == 16 ? (uint32_t)vmf_le16 (entries + 2) << 12 : vmf_le32 (entries + 4);
    if ((second & 0x0c000000) != 0x0c000000 || (boot[fat.bits == 16 ? 0x25 : 0x41] & 3) != 0)
        return vmf_probe_opaque (probe, "it was not cleanly unmounted (its clean flag is not set)");
    vmf_probe_always (probe, 0,
                      (fat.reserved + (uint64_t)fat.fats * fat.fat_sectors) * SECTOR + fat.root_entries * 32u);
    return vmf_probe_clean (probe, "partclone.fat", fat.sectors * SECTOR, SECTOR);
}

bool
vmf_probe_exfat (struct vmf_probe *probe, GError **error)
{
    const uint8_t *boot = probe->head;
    uint64_t sectors = vmf_le64 (boot + 72);
    unsigned sector_shift = boot[108], cluster_shift = boot[109];
    if (sector_shift < 9 || sector_shift > 12 || cluster_shift > 25 - sector_shift || boot[110] != 1 || sectors == 0
        || sectors > UINT64_MAX >> sector_shift || vmf_le32 (boot + 88) >= sectors)
        return vmf_probe_opaque (probe, "its boot sector is damaged or unusual");
    if (vmf_le16 (boot + 106) != 0)
        return vmf_probe_opaque (probe, "it was not cleanly unmounted (its dirty flag is set)");
    vmf_probe_always (probe, 0, (uint64_t)vmf_le32 (boot + 88) << sector_shift);
    return vmf_probe_clean (probe, "partclone.exfat", sectors << sector_shift, (uint64_t)1 << sector_shift);
}
