/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A qcow2 file's beginning and end: made, taken up again after a kill, completed with refcounts. See writer-qcow2.h. */
#include "disk/image-parse.h"
#include "disk/image.h"
#include "disk/writer-qcow2.h"
#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum
{
    CLUSTER_BITS = 16,
    CLUSTER_BYTES = VMF_QCOW2_CLUSTER_BYTES,
    TABLE_ENTRIES = VMF_QCOW2_ENTRIES,
    REFCOUNTS = CLUSTER_BYTES / 2, /* of a refcount block: 2 GiB of the file */
    HEADER_BYTES = 104,
    HEADER_SECTOR_BYTES = 512, /* header and extension are written at once */
    DIRTY = 1,
};

/* Our header extension, "vmfy"; QEMU keeps the unknown and does not mind it. Its 8 bytes: how long the file was at the
   last flush. A file that is shorter now was cut off; what lies behind may be lost rightly. */
static const uint32_t EXTENSION = 0x766d6679;

/* ---- layout and header ---- */

static void
lay_out (struct vmf_writer_qcow2 *qcow2, uint64_t size_bytes)
{
    uint64_t data = vmf_qcow2_clusters (size_bytes);
    qcow2->base.size_bytes = size_bytes;
    qcow2->l1_entries = MAX (1, (data + TABLE_ENTRIES - 1) / TABLE_ENTRIES);
    uint64_t l1_clusters = vmf_qcow2_clusters (qcow2->l1_entries * 8);
    /* An eighth more than the disk could need: each kill may leak some clusters. */
    uint64_t file = data + data / 8 + qcow2->l1_entries + 64;
    uint64_t refcount_clusters = vmf_qcow2_clusters ((file / REFCOUNTS + 1) * 8);
    qcow2->refcount_entries = refcount_clusters * TABLE_ENTRIES;
    qcow2->refcount_offset = (1 + l1_clusters) * CLUSTER_BYTES;
    qcow2->first_cluster = 1 + l1_clusters + refcount_clusters;
}

static void
put_be32 (uint8_t *at, uint64_t value)
{
    uint32_t be = GUINT32_TO_BE ((uint32_t)value);
    memcpy (at, &be, sizeof be);
}

static void
put_header (const struct vmf_writer_qcow2 *qcow2, bool finished, uint8_t header[HEADER_SECTOR_BYTES])
{
    memset (header, 0, HEADER_SECTOR_BYTES);
    memcpy (header, "QFI\xfb", 4);
    put_be32 (header + 4, 3);
    put_be32 (header + 20, CLUSTER_BITS);
    vmf_qcow2_put_be64 (header + 24, (qcow2->base.size_bytes + 511) & ~(uint64_t)511); /* QEMU ignores half a sector */
    put_be32 (header + 36, qcow2->l1_entries);
    vmf_qcow2_put_be64 (header + 40, VMF_QCOW2_L1_OFFSET);
    vmf_qcow2_put_be64 (header + 48, qcow2->refcount_offset);
    put_be32 (header + 56, qcow2->refcount_entries / TABLE_ENTRIES);
    vmf_qcow2_put_be64 (header + 72, finished ? 0 : DIRTY);
    put_be32 (header + 96, 4); /* refcounts of 2^4 bits */
    put_be32 (header + 100, HEADER_BYTES);
    if (finished)
        return;
    put_be32 (header + HEADER_BYTES, EXTENSION);
    put_be32 (header + HEADER_BYTES + 4, 8);
}

static bool
write_header (struct vmf_writer_qcow2 *qcow2, bool finished, GError **error)
{
    uint8_t header[HEADER_SECTOR_BYTES];
    put_header (qcow2, finished, header);
    return vmf_writer_file_write (&qcow2->file, header, 0, sizeof header, error);
}

static bool
check_disk_size (uint64_t size_bytes, GError **error)
{
    if (size_bytes <= VMF_IMAGE_SIZE_MAX_BYTES)
        return true;
    g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE,
                 "a disk of %" G_GUINT64_FORMAT " bytes is too large; 64 TiB is the most", (guint64)size_bytes);
    return false;
}

/* Makes the file long enough for CLUSTERS, or shorter: then what is given out later begins as zeroes. */
static bool
set_length (struct vmf_writer_qcow2 *qcow2, uint64_t clusters, GError **error)
{
    return ftruncate (qcow2->file.fd, (off_t)(clusters * CLUSTER_BYTES)) == 0
           || vmf_writer_file_fail (&qcow2->file, "set the length of", clusters * CLUSTER_BYTES, error);
}

/* ---- take up ---- */

static bool
refuse (const struct vmf_writer_qcow2 *qcow2, const char *why, GError **error)
{
    g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT,
                 "%s cannot be continued: %s; remove it and import this disk from the start", qcow2->file.path, why);
    return false;
}

/* The header is compared with the one that we would write: nothing of a stranger's is interpreted. */
static bool
check_header (struct vmf_writer_qcow2 *qcow2, uint64_t length, uint64_t *flushed_bytes, GError **error)
{
    uint8_t header[HEADER_SECTOR_BYTES], ours[HEADER_SECTOR_BYTES], done[HEADER_SECTOR_BYTES];
    if (qcow2->file.is_device || length < sizeof header)
        return refuse (qcow2, "it is not a qcow2 file of vmferry", error);
    if (!vmf_writer_file_read (&qcow2->file, header, 0, sizeof header, error))
        return false;
    *flushed_bytes = vmf_be64 (header + VMF_QCOW2_FLUSHED_OFFSET);
    put_header (qcow2, false, ours);
    put_header (qcow2, true, done);
    if (memcmp (header, done, sizeof done) == 0)
        return refuse (qcow2, "it is finished already", error);
    memcpy (ours + VMF_QCOW2_FLUSHED_OFFSET, header + VMF_QCOW2_FLUSHED_OFFSET, 8);
    if (memcmp (header, ours, sizeof ours) == 0)
        return true;
    bool is_ours = memcmp (header, ours, 8) == 0 && memcmp (header + HEADER_BYTES, ours + HEADER_BYTES, 8) == 0;
    if (is_ours && memcmp (header + 24, ours + 24, 8) != 0)
        return refuse (qcow2, "it is for a disk of another size", error);
    return refuse (qcow2, is_ours ? "another program has changed it" : "it is not an unfinished qcow2 file of vmferry",
                   error);
}

bool
vmf_writer_is_finished_qcow2 (const char *path, uint64_t size_bytes, bool *finished, GError **error)
{
    struct vmf_writer_qcow2 qcow2 = { 0 };
    uint8_t header[HEADER_SECTOR_BYTES] = { 0 }, done[HEADER_SECTOR_BYTES];
    uint64_t length = 0;
    lay_out (&qcow2, size_bytes);
    put_header (&qcow2, true, done);
    if (!vmf_writer_file_open (&qcow2.file, path, error))
        return false;
    bool good = vmf_writer_file_size (&qcow2.file, &length, error)
                && (length < sizeof header || vmf_writer_file_read (&qcow2.file, header, 0, sizeof header, error));
    *finished = good && memcmp (header, done, sizeof done) == 0;
    vmf_writer_file_close (&qcow2.file);
    return good;
}

/* Judges an entry of the L1 or an L2 table when the file ends at cluster END. What lies behind it was never flushed, so
   the entry is forgotten: *DROPPED. */
static bool
check_entry (struct vmf_writer_qcow2 *qcow2, uint64_t *entry, uint64_t flags, uint64_t end, bool *dropped,
             GError **error)
{
    uint64_t cluster = (*entry & VMF_QCOW2_PLACE) / CLUSTER_BYTES;
    if (*entry == 0)
        return true;
    if ((*entry & ~(VMF_QCOW2_PLACE | flags)) != 0 || !(*entry & VMF_QCOW2_COPIED) || cluster < qcow2->first_cluster)
        return refuse (qcow2, "its tables are damaged", error);
    if (cluster >= end)
    {
        *entry = 0;
        *dropped = true;
    }
    else
        qcow2->next_cluster = MAX (qcow2->next_cluster, cluster + 1);
    return true;
}

static bool
check_table (struct vmf_writer_qcow2 *qcow2, uint64_t index, uint64_t end, bool *dropped, GError **error)
{
    uint64_t entries[TABLE_ENTRIES], at = qcow2->l1[index];
    bool changed = false;
    if (!vmf_writer_file_read (&qcow2->file, entries, at, sizeof entries, error))
        return false;
    for (uint64_t i = 0; i < TABLE_ENTRIES; i++)
    {
        uint64_t entry = GUINT64_FROM_BE (entries[i]);
        if (!check_entry (qcow2, &entry, VMF_QCOW2_COPIED | VMF_QCOW2_ZERO, end, &changed, error))
            return false;
        entries[i] = GUINT64_TO_BE (entry);
    }
    *dropped = *dropped || changed;
    return !changed || vmf_writer_file_write (&qcow2->file, entries, at, sizeof entries, error);
}

static bool
check_tables (struct vmf_writer_qcow2 *qcow2, uint64_t end, bool *dropped, GError **error)
{
    static const uint8_t none[8];
    uint64_t *l1 = qcow2->l1;
    if (!vmf_writer_file_read (&qcow2->file, l1, VMF_QCOW2_L1_OFFSET, qcow2->l1_entries * 8, error))
        return false;
    for (uint64_t i = 0; i < qcow2->l1_entries; i++)
    {
        bool gone = false;
        l1[i] = GUINT64_FROM_BE (l1[i]);
        if (!check_entry (qcow2, &l1[i], VMF_QCOW2_COPIED, end, &gone, error)
            || (gone && !vmf_writer_file_write (&qcow2->file, none, VMF_QCOW2_L1_OFFSET + i * 8, sizeof none, error)))
            return false;
        *dropped = *dropped || gone;
        l1[i] &= VMF_QCOW2_PLACE;
        if (l1[i] != 0 && !check_table (qcow2, i, end, dropped, error))
            return false;
    }
    return true;
}

/* Finds what is in use and lets the file end behind it. */
static bool
find_used (struct vmf_writer_qcow2 *qcow2, uint64_t length, uint64_t flushed_bytes, GError **error)
{
    uint64_t end = MAX (vmf_qcow2_clusters (length), qcow2->first_cluster);
    bool dropped = false;
    if (length < flushed_bytes)
        return refuse (qcow2, "it was cut off", error);
    qcow2->l1 = g_new0 (uint64_t, qcow2->l1_entries);
    qcow2->next_cluster = MAX (vmf_qcow2_clusters (flushed_bytes), qcow2->first_cluster);
    if (!set_length (qcow2, end, error) || !check_tables (qcow2, end, &dropped, error)
        || !set_length (qcow2, qcow2->next_cluster, error))
        return false;
    /* An entry that came back after a power loss would lead to a cluster that was given out again. */
    return !dropped || vmf_writer_file_flush (&qcow2->file, error);
}

bool
vmf_qcow2_take_up (struct vmf_writer_qcow2 *qcow2, const char *path, GError **error)
{
    uint64_t length = 0, flushed_bytes = 0;
    lay_out (qcow2, qcow2->base.size_bytes);
    return check_disk_size (qcow2->base.size_bytes, error) && vmf_writer_file_open (&qcow2->file, path, error)
           && vmf_writer_file_size (&qcow2->file, &length, error) && check_header (qcow2, length, &flushed_bytes, error)
           && find_used (qcow2, length, flushed_bytes, error);
}

/* ---- create ---- */

static bool
check_empty (const struct vmf_writer_qcow2 *qcow2, GError **error)
{
    struct stat info;
    if (fstat (qcow2->file.fd, &info) != 0)
        return vmf_writer_file_fail (&qcow2->file, "look at", 0, error);
    if (S_ISREG (info.st_mode) && info.st_size == 0)
        return true;
    g_set_error (error, VMF_ERROR, VMF_ERROR_EXISTS, "%s is not an empty file; a qcow2 file is not made over it",
                 qcow2->file.path);
    return false;
}

bool
vmf_writer_create_qcow2 (const char *path, uint64_t size_bytes, GError **error)
{
    struct vmf_writer_qcow2 qcow2 = { .file = { .path = (char *)path } };
    lay_out (&qcow2, size_bytes);
    if (!check_disk_size (size_bytes, error))
        return false;
    qcow2.file.fd = open (path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (qcow2.file.fd < 0)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "cannot make %s: %s", path, g_strerror (errno));
        return false;
    }
    bool empty = check_empty (&qcow2, error);
    bool good = empty && set_length (&qcow2, qcow2.first_cluster, error) && write_header (&qcow2, false, error);
    if (empty && !good)
        (void)!ftruncate (qcow2.file.fd, 0);
    close (qcow2.file.fd);
    return good;
}

/* ---- complete ---- */

/* Sets refcounts of consecutive clusters of the file, in the blocks that begin at cluster BLOCKS, to 1. */
static bool
count_clusters (struct vmf_writer_qcow2 *qcow2, uint64_t blocks, uint64_t cluster, uint64_t n, GError **error)
{
    uint16_t counts[TABLE_ENTRIES];
    uint64_t at = blocks * CLUSTER_BYTES + cluster * 2;
    if (!vmf_writer_file_read (&qcow2->file, counts, at, n * 2, error))
        return false;
    for (uint64_t i = 0; i < n; i++)
    {
        if (counts[i] != 0)
        {
            g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT,
                         "%s is damaged: two of its tables' entries lead to byte %" G_GUINT64_FORMAT
                         "; import this disk from the start",
                         qcow2->file.path, (guint64)((cluster + i) * CLUSTER_BYTES));
            return false;
        }
        counts[i] = GUINT16_TO_BE (1);
    }
    return vmf_writer_file_write (&qcow2->file, counts, at, n * 2, error);
}

/* The L2 table at TABLE and all that its entries lead to. */
static bool
count_table (struct vmf_writer_qcow2 *qcow2, uint64_t blocks, uint64_t table, GError **error)
{
    uint64_t entries[TABLE_ENTRIES];
    if (!count_clusters (qcow2, blocks, table / CLUSTER_BYTES, 1, error)
        || !vmf_writer_file_read (&qcow2->file, entries, table, sizeof entries, error))
        return false;
    for (uint64_t i = 0, n; i < TABLE_ENTRIES; i += n)
    {
        uint64_t place = GUINT64_FROM_BE (entries[i]) & VMF_QCOW2_PLACE;
        n = 1;
        while (place != 0 && i + n < TABLE_ENTRIES
               && (GUINT64_FROM_BE (entries[i + n]) & VMF_QCOW2_PLACE) == place + n * CLUSTER_BYTES)
            n++;
        if (place != 0 && !count_clusters (qcow2, blocks, place / CLUSTER_BYTES, n, error))
            return false;
    }
    return true;
}

/* N_BLOCKS refcount blocks at cluster BLOCKS, which are zeroes until now. */
static bool
write_refcounts (struct vmf_writer_qcow2 *qcow2, uint64_t blocks, uint64_t n_blocks, GError **error)
{
    if (!count_clusters (qcow2, blocks, 0, qcow2->first_cluster, error))
        return false;
    for (uint64_t i = 0; i < n_blocks; i++)
        if (!count_clusters (qcow2, blocks, blocks + i, 1, error))
            return false;
    for (uint64_t i = 0; i < qcow2->l1_entries; i++)
        if (qcow2->l1[i] != 0 && !count_table (qcow2, blocks, qcow2->l1[i], error))
            return false;
    g_autofree uint8_t *table = g_malloc0 (qcow2->refcount_entries * 8);
    for (uint64_t i = 0; i < n_blocks; i++)
        vmf_qcow2_put_be64 (table + i * 8, (blocks + i) * CLUSTER_BYTES);
    return vmf_writer_file_write (&qcow2->file, table, qcow2->refcount_offset, qcow2->refcount_entries * 8, error);
}

bool
vmf_qcow2_complete (struct vmf_writer_qcow2 *qcow2, GError **error)
{
    uint64_t blocks = qcow2->next_cluster, n_blocks = 1;
    while (n_blocks * REFCOUNTS < blocks + n_blocks)
        n_blocks++;
    if (n_blocks > qcow2->refcount_entries)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED,
                     "%s has grown to %" G_GUINT64_FORMAT
                     " bytes over many starts, more than its refcount table can tell; import this disk from the start",
                     qcow2->file.path, (guint64)(blocks * CLUSTER_BYTES));
        return false;
    }
    /* Cut first: an attempt that failed has left refcounts there. */
    return set_length (qcow2, blocks, error) && set_length (qcow2, blocks + n_blocks, error)
           && write_refcounts (qcow2, blocks, n_blocks, error) && vmf_writer_file_flush (&qcow2->file, error)
           && write_header (qcow2, true, error) && vmf_writer_file_flush (&qcow2->file, error);
}
