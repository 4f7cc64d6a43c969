/* SPDX-License-Identifier: GPL-2.0-or-later */
/* XFS: clean when the last thing in its log is an unmount record. Formats: Linux, fs/xfs/libxfs/xfs_format.h and
 * xfs_log_format.h; what "clean" means: xlog_check_unmount_rec() in xfs_log_recover.c.
 *
 * The log is a ring of 512-byte blocks. The first word of each (the second, in a record's header) is the number of the
 * round in which it was written, so its head is where that number drops, found by bisection: some twenty small reads.
 * A frozen XFS has a log that is not clean by this rule, and is copied by allocation.
 */
#include "guest/filesystem-probe.h"

enum
{
    BLOCK = 512,
    RECORD_MAX = 256 * 1024 + 8 * BLOCK, /* largest record with its headers */
    NEAR = 32 * 1024,                    /* an unmount record is nearly always as short as this */
    LEAF = 32 * 1024,                    /* bisection ends with one read of this size */

    VERSION_NUMBER = 0xf,
    INCOMPAT_KNOWN = 0x2f, /* ftype, spinodes, meta_uuid, bigtime, nrext64; not: needsrepair */
    OP_UNMOUNT = 0x20,
};

static const uint32_t record_magic = 0xfeedbabe;

struct xfs_log
{
    struct vmf_probe *probe;
    uint64_t offset;  /* bytes */
    uint64_t blocks;  /* of 512 bytes */
    uint8_t *scratch; /* RECORD_MAX bytes */
};

static uint32_t
round_of (const uint8_t *block)
{
    return vmf_be32 (block) == record_magic ? vmf_be32 (block + 4) : vmf_be32 (block);
}

/* COUNT blocks from FIRST on, round the ring's end. */
static bool
read_log (struct xfs_log *log, uint64_t first, uint64_t count, GError **error)
{
    uint64_t part = MIN (count, log->blocks - first);
    return vmf_view_read (log->probe->view, log->probe->reader, log->offset + first * BLOCK, log->scratch,
                          (size_t)(part * BLOCK), error)
           && (part == count
               || vmf_view_read (log->probe->view, log->probe->reader, log->offset, log->scratch + part * BLOCK,
                                 (size_t)((count - part) * BLOCK), error));
}

/* The first block that was not written in the round of block 0; log->blocks where all were (the head is block 0). The
   ring's state is: N N N … N [older …]. */
static bool
find_head (struct xfs_log *log, uint64_t *head, GError **error)
{
    if (!read_log (log, 0, 1, error))
        return false;
    uint32_t first = round_of (log->scratch);
    uint64_t low = 1, high = log->blocks; /* the answer is in [low, high] */
    while (high - low > LEAF / BLOCK)
    {
        uint64_t middle = low + (high - low) / 2;
        if (!read_log (log, middle, 1, error))
            return false;
        if (round_of (log->scratch) == first)
            low = middle + 1;
        else
            high = middle;
    }
    if (high > low && !read_log (log, low, high - low, error))
        return false;
    for (*head = low; *head < high && round_of (log->scratch + (*head - low) * BLOCK) == first;)
        (*head)++;
    return true;
}

/* HEADER is a record's, at BLOCK_NUMBER; AVAILABLE blocks follow it in the buffer. */
static bool
is_unmount_record (struct xfs_log *log, const uint8_t *header, uint64_t available)
{
    uint32_t length = vmf_be32 (header + 12), version = vmf_be32 (header + 8), size = vmf_be32 (header + 320);
    uint64_t header_blocks = (version & 2) && size > 32768 ? (size + 32767) / 32768 : 1;
    const uint8_t *operation = header + header_blocks * BLOCK;
    /* it must end exactly at the head, which is where the buffer ends */
    return length > 0 && length % BLOCK == 0 && header_blocks + length / BLOCK == available
           && vmf_be32 (header + 40) == 1 && (operation[9] & OP_UNMOUNT) != 0
           && memcmp (header + 304, log->probe->head + 32, 16) == 0;
}

/* Looks back from HEAD for the last record, first near, then as far as a record can be long. */
static bool
last_is_unmount (struct xfs_log *log, uint64_t head, bool *clean, GError **error)
{
    static const uint32_t distances[] = { NEAR, RECORD_MAX };
    *clean = false;
    for (size_t i = 0; i < G_N_ELEMENTS (distances); i++)
    {
        uint64_t count = MIN (distances[i] / BLOCK, log->blocks);
        if (!read_log (log, (head + log->blocks - count) % log->blocks, count, error))
            return false;
        for (uint64_t back = 2; back <= count; back++)
        {
            const uint8_t *header = log->scratch + (count - back) * BLOCK;
            if (vmf_be32 (header) != record_magic)
                continue;
            *clean = is_unmount_record (log, header, back);
            return true;
        }
    }
    return true;
}

static const char *
why_opaque (const uint8_t *super)
{
    uint32_t block = vmf_be32 (super + 4), ags = vmf_be32 (super + 88);
    uint64_t blocks = vmf_be64 (super + 8);
    unsigned version = vmf_be16 (super + 100) & VERSION_NUMBER;
    if (block < 512 || block > 65536 || (block & (block - 1)) || blocks == 0 || blocks > UINT64_MAX / block
        || vmf_be32 (super + 84) == 0 || ags == 0 || super[124] > 32 || (version != 4 && version != 5))
        return "its superblock is damaged";
    if (vmf_be64 (super + 16) != 0)
        return "it has a real-time device";
    if (vmf_be64 (super + 48) == 0)
        return "its log is on another device";
    if (super[126] != 0 || (version == 5 && (vmf_be32 (super + 216) & ~(uint32_t)INCOMPAT_KNOWN)))
        return "it needs repair or has features that no map is read with";
    if (blocks > UINT32_MAX) /* partclone 0.3.23 multiplies group by group size in 32 bits */
        return "it is too large for its map to be read";
    return NULL;
}

bool
vmf_probe_xfs (struct vmf_probe *probe, GError **error)
{
    const uint8_t *super = probe->head;
    uint32_t block = vmf_be32 (super + 4);
    if (why_opaque (super))
        return vmf_probe_opaque (probe, why_opaque (super));
    uint64_t size = vmf_be64 (super + 8) * block, start = vmf_be64 (super + 48);
    uint64_t in_group = start & (((uint64_t)1 << super[124]) - 1), group = start >> super[124];
    uint64_t log_blocks = (uint64_t)vmf_be32 (super + 96) * block / BLOCK;
    if (group >= vmf_be32 (super + 88) || log_blocks < 64)
        return vmf_probe_opaque (probe, "its superblock is damaged");
    g_autofree uint8_t *scratch = g_malloc (RECORD_MAX);
    struct xfs_log log = { probe, (group * vmf_be32 (super + 84) + in_group) * block, log_blocks, scratch };
    uint64_t head;
    bool clean;
    if (!find_head (&log, &head, error) || !last_is_unmount (&log, head % log_blocks, &clean, error))
        return false;
    if (!clean)
        return vmf_probe_opaque (probe, "its log is not clean");
    probe->fs->free_bytes = vmf_be64 (super + 144) > UINT64_MAX / block ? 0 : vmf_be64 (super + 144) * block;
    return vmf_probe_clean (probe, "partclone.xfs", size, block);
}
