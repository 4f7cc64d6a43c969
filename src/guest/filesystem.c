/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of signatures. Two reads per volume find all of them: its first 72 KiB and its last 20 KiB, and a third one
 * of 4 KiB for md's old superblock.
 */
#include "guest/filesystem-probe.h"

enum
{
    TAIL = 20 * 1024,
    MD_OLD_RESERVED = 64 * 1024,
};

struct signature
{
    const char *type;
    uint32_t offset;
    uint8_t length;
    const char *bytes;
    vmf_probe_fn probe; /* NULL: opaque, with… */
    const char *why;
};

#define MD "member of a software RAID (md)"
#define ENCRYPTED "encrypted"
#define NO_MAP "no map is read of this kind"

static const struct signature at_head[] = {
    { "ext4", 1024 + 56, 2, "\x53\xef", vmf_probe_ext, NULL },
    { "xfs", 0, 4, "XFSB", vmf_probe_xfs, NULL },
    { "btrfs", 65536 + 64, 8, "_BHRfS_M", vmf_probe_btrfs, NULL },
    { "ntfs", 3, 8, "NTFS    ", vmf_probe_ntfs, NULL },
    { "exfat", 3, 8, "EXFAT   ", vmf_probe_exfat, NULL },
    { "swap", 4096 - 10, 10, "SWAPSPACE2", vmf_probe_swap, NULL },
    { "swap", 8192 - 10, 10, "SWAPSPACE2", vmf_probe_swap, NULL },
    { "swap", 16384 - 10, 10, "SWAPSPACE2", vmf_probe_swap, NULL },
    { "swap", 65536 - 10, 10, "SWAPSPACE2", vmf_probe_swap, NULL },
    { "swap", 4096 - 10, 10, "SWAP-SPACE", NULL, "swap of the old kind" },
    { "linux_raid_member", 0, 4, "\xfc\x4e\x2b\xa9", NULL, MD },
    { "linux_raid_member", 4096, 4, "\xfc\x4e\x2b\xa9", NULL, MD },
    { "LVM1_member", 0, 4, "HM\x01\0", NULL, "a physical volume of LVM1" },
    { "LVM1_member", 0, 4, "HM\x02\0", NULL, "a physical volume of LVM1" },
    { "crypto_LUKS", 0, 6, "LUKS\xba\xbe", NULL, ENCRYPTED },
    { "BitLocker", 3, 8, "-FVE-FS-", NULL, ENCRYPTED },
    { "bcache", 4096 + 24, 16, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81", NULL,
      "part of a bcache" },
    { "bcachefs", 4096 + 24, 16, "\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef", NULL, NO_MAP },
    { "zfs_member", 16384, 12, "\x01\x01\0\0\0\0\0\0\0\0\0\x01", NULL, "part of a ZFS pool" },
    { "stratis", 512 + 4, 9, "!Stra0tis", NULL, "part of a Stratis pool" },
    { "VDO", 0, 8, "dmvdo001", NULL, "a VDO volume" },
    { "DM_integrity", 0, 8, "integrt\0", NULL, "a dm-integrity volume" },
    { "DM_verity_hash", 0, 8, "verity\0\0", NULL, NO_MAP },
    { "DM_snapshot_cow", 0, 4, "SnAp", NULL, "a snapshot's store" },
    { "oracleasm", 32, 8, "ORCLDISK", NULL, "an Oracle ASM disk" },
    { "ceph_bluestore", 0, 22, "bluestore block device", NULL, NO_MAP },
    { "f2fs", 1024, 4, "\x10\x20\xf5\xf2", NULL, NO_MAP },
    { "hfsplus", 1024, 2, "H+", NULL, NO_MAP },
    { "hfsplus", 1024, 2, "HX", NULL, NO_MAP },
    { "apfs", 32, 4, "NXSB", NULL, NO_MAP },
    { "ReFS", 3, 8, "ReFS\0\0\0\0", NULL, NO_MAP },
    { "reiserfs", 65536 + 52, 6, "ReIsEr", NULL, NO_MAP },
    { "jfs", 32768, 4, "JFS1", NULL, NO_MAP },
    { "iso9660", 32769, 5, "CD001", NULL, NO_MAP },
    { "udf", 32769, 5, "BEA01", NULL, NO_MAP },
    { "squashfs", 0, 4, "hsqs", NULL, NO_MAP },
    { "erofs", 1024, 4, "\xe2\xe1\xf5\xe0", NULL, NO_MAP },
    { "nilfs2", 1024 + 6, 2, "\x34\x34", NULL, NO_MAP },
    { "ufs", 8192 + 1372, 4, "\x54\x19\x01\x00", NULL, NO_MAP },
    { "ufs", 65536 + 1372, 4, "\x19\x01\x54\x19", NULL, NO_MAP },
};

/* A hibernated system's marks stand where swap's own do. */
static const char *const suspended[] = { "S1SUSPEND", "S2SUSPEND", "ULSUSPEND", "LINHIB0001",
                                         "\xed\xc3\x02\xe9\x98\x56\xe5\x0c" };

struct finding
{
    const char *type;
    vmf_probe_fn probe;
    const char *why;
    bool lvm;
    GString *all; /* every type found, for the message when there are several */
    unsigned n_types;
};

static void
found (struct finding *finding, const char *type, vmf_probe_fn probe, const char *why)
{
    if (finding->type && strcmp (finding->type, type) == 0)
        return;
    finding->n_types++;
    g_string_append_printf (finding->all, "%s%s", finding->all->len ? ", " : "", type);
    finding->type = type;
    finding->probe = probe;
    finding->why = why;
}

static void
search_head (struct finding *finding, const uint8_t *head)
{
    for (size_t i = 0; i < G_N_ELEMENTS (at_head); i++)
        if (memcmp (head + at_head[i].offset, at_head[i].bytes, at_head[i].length) == 0)
            found (finding, at_head[i].type, at_head[i].probe, at_head[i].why);
    for (unsigned page = 4096; page <= 65536; page *= 2)
        for (size_t i = 0; i < G_N_ELEMENTS (suspended); i++)
            if (memcmp (head + page - 10, suspended[i], strlen (suspended[i])) == 0)
                found (finding, "swsuspend", NULL, "swap that holds a hibernated system");
    for (unsigned i = 0; i < 4; i++)
        if (memcmp (head + i * 512, "LABELONE", 8) == 0)
        {
            found (finding, "LVM2_member", NULL, NULL);
            finding->lvm = true;
        }
    if (vmf_probe_is_fat (head))
        found (finding, "vfat", vmf_probe_fat, NULL);
}

/* What keeps its superblock at the volume's end. TAIL_BYTES are the last LENGTH bytes. */
static void
search_tail (struct finding *finding, const uint8_t *tail, size_t length, uint64_t size)
{
    const uint8_t *end = tail + length;
    uint64_t md_offset = ((size / 512 - 16) & ~(uint64_t)7) * 512;
    if (length < 9 * 1024)
        return;
    if (size - md_offset <= length && vmf_le32 (end - (size - md_offset)) == 0xa92b4efc)
        found (finding, "linux_raid_member", NULL, MD);
    const uint8_t *drbd = end - 4096 - size % 4096;
    if (drbd >= tail && (vmf_be32 (drbd + 60) & ~0x0fu) == 0x83740260)
        found (finding, "drbd", NULL, "a DRBD volume");
    if (vmf_be32 (end - 512) == 0xde11de11 || memcmp (end - 1024, "Intel Raid ISM Cfg Sig. ", 24) == 0
        || memcmp (end - 512, "$XIDE$", 6) == 0 || memcmp (end - 1024, "NVIDIA  ", 8) == 0)
        found (finding, "raid_member", NULL, "member of a firmware RAID");
}

static bool
search (struct finding *finding, const struct vmf_view *view, struct vmf_reader *reader, const uint8_t *head,
        GError **error)
{
    uint8_t tail[TAIL], old[512];
    uint64_t size = view->size_bytes;
    size_t length = (size_t)MIN (size & ~(uint64_t)511, TAIL);
    search_head (finding, head);
    if (!vmf_view_read (view, reader, (size & ~(uint64_t)511) - length, tail, length, error))
        return false;
    search_tail (finding, tail, length, size & ~(uint64_t)511);
    if (size < 2 * MD_OLD_RESERVED)
        return true;
    uint64_t at = (size & ~(uint64_t)(MD_OLD_RESERVED - 1)) - MD_OLD_RESERVED;
    if (!vmf_view_read (view, reader, at, old, sizeof old, error))
        return false;
    if (vmf_le32 (old) == 0xa92b4efc || vmf_be32 (old) == 0xa92b4efc)
        found (finding, "linux_raid_member", NULL, MD);
    return true;
}

struct vmf_filesystem *
vmf_filesystem_probe (const struct vmf_view *view, struct vmf_reader *reader, GError **error)
{
    g_autoptr (vmf_filesystem) fs = g_new0 (struct vmf_filesystem, 1);
    g_autofree uint8_t *head = g_malloc (VMF_PROBE_HEAD);
    g_autoptr (GString) all = g_string_new (NULL);
    struct finding finding = { .type = NULL, .all = all };
    struct vmf_probe probe = { view, reader, head, fs };
    fs->always = g_array_new (FALSE, FALSE, sizeof (struct vmf_segment));
    fs->type = "unknown";
    if (!vmf_view_read (view, reader, 0, head, VMF_PROBE_HEAD, error) || !search (&finding, view, reader, head, error))
        return NULL;
    fs->n_claims = finding.n_types;
    if (finding.n_types == 0)
        vmf_probe_opaque (&probe, "nothing known was found in it");
    else if (finding.n_types > 1)
    {
        g_autofree char *why = g_strdup_printf ("claimed by several formats at once (%s)", all->str);
        vmf_probe_opaque (&probe, why);
    }
    else
    {
        fs->type = finding.type;
        if (finding.lvm)
            fs->state = VMF_FILESYSTEM_LVM;
        else if (!finding.probe)
            vmf_probe_opaque (&probe, finding.why);
        else if (!finding.probe (&probe, error))
            return NULL;
    }
    return g_steal_pointer (&fs);
}

void
vmf_filesystem_free (struct vmf_filesystem *fs)
{
    if (!fs)
        return;
    g_clear_pointer (&fs->always, g_array_unref);
    g_free (fs->why);
    g_free (fs);
}

bool
vmf_probe_opaque (struct vmf_probe *probe, const char *why)
{
    probe->fs->state = VMF_FILESYSTEM_OPAQUE;
    g_free (probe->fs->why);
    probe->fs->why = g_strdup (why);
    return true;
}

void
vmf_probe_always (struct vmf_probe *probe, uint64_t offset, uint64_t length)
{
    struct vmf_segment range = { 0, offset, length };
    g_array_append_val (probe->fs->always, range);
}

/* A file system that is larger than its volume was cut, or is not one. The boot area is always needed (PITFALLS 42). */
bool
vmf_probe_clean (struct vmf_probe *probe, const char *tool, uint64_t size_bytes, uint64_t block_bytes)
{
    struct vmf_filesystem *fs = probe->fs;
    if (size_bytes == 0 || size_bytes > probe->view->size_bytes)
        return vmf_probe_opaque (probe, "the file system is larger than its partition");
    fs->state = VMF_FILESYSTEM_CLEAN;
    fs->tool = tool;
    fs->size_bytes = size_bytes;
    fs->block_bytes = block_bytes;
    if (fs->free_bytes == 0)
        fs->free_bytes = UINT64_MAX;
    if (!fs->why)
        fs->why = g_strdup_printf ("clean %s", fs->type);
    vmf_probe_always (probe, 0, 64 * 1024);
    return true;
}
