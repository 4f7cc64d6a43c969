/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The qcow2 back end: writing, zeroing and reading clusters. The picture is in writer-qcow2.h. */
#include "disk/writer-qcow2.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>

enum
{
    CLUSTER_BYTES = VMF_QCOW2_CLUSTER_BYTES,
    TABLE_ENTRIES = VMF_QCOW2_ENTRIES,
    PIECE_CLUSTERS = 1024, /* what is dealt with at once: 64 MiB of the disk */
};

/* ---- tables ---- */

static uint64_t
give_out (struct vmf_writer_qcow2 *qcow2, uint64_t clusters)
{
    return __atomic_fetch_add (&qcow2->next_cluster, clusters, __ATOMIC_RELAXED);
}

/* The table is zeroes in the file before the L1 entry names it. */
static bool
make_table (struct vmf_writer_qcow2 *qcow2, uint64_t index, GError **error)
{
    static const uint8_t zeroes[CLUSTER_BYTES];
    uint8_t entry[8];
    uint64_t at = give_out (qcow2, 1) * CLUSTER_BYTES;
    vmf_qcow2_put_be64 (entry, at | VMF_QCOW2_COPIED);
    if (!vmf_writer_file_write (&qcow2->file, zeroes, at, CLUSTER_BYTES, error)
        || !vmf_writer_file_write (&qcow2->file, entry, VMF_QCOW2_L1_OFFSET + index * 8, sizeof entry, error))
        return false;
    __atomic_store_n (&qcow2->l1[index], at, __ATOMIC_RELEASE);
    return true;
}

static uint64_t
get_table (const struct vmf_writer_qcow2 *qcow2, uint64_t index)
{
    return __atomic_load_n (&qcow2->l1[index], __ATOMIC_ACQUIRE);
}

static bool
need_table (struct vmf_writer_qcow2 *qcow2, uint64_t index, GError **error)
{
    if (get_table (qcow2, index) != 0)
        return true;
    g_mutex_lock (&qcow2->tables);
    bool good = get_table (qcow2, index) != 0 || make_table (qcow2, index, error);
    g_mutex_unlock (&qcow2->tables);
    return good;
}

/* Consecutive clusters of the disk with their L2 entries, as numbers. */
struct piece
{
    uint64_t first, count;
    uint64_t entries[PIECE_CLUSTERS];
};

/* Entries AT and behind that lie in one table. */
static uint64_t
in_one_table (const struct piece *piece, uint64_t at, uint64_t end)
{
    return MIN (end - at, TABLE_ENTRIES - (piece->first + at) % TABLE_ENTRIES);
}

static bool
read_entries (struct vmf_writer_qcow2 *qcow2, struct piece *piece, GError **error)
{
    for (uint64_t at = 0, n; at < piece->count; at += n)
    {
        uint64_t cluster = piece->first + at, *entries = piece->entries + at;
        uint64_t table = get_table (qcow2, cluster / TABLE_ENTRIES);
        n = in_one_table (piece, at, piece->count);
        if (table == 0)
            memset (entries, 0, n * 8);
        else if (!vmf_writer_file_read (&qcow2->file, entries, table + cluster % TABLE_ENTRIES * 8, n * 8, error))
            return false;
        for (uint64_t i = 0; i < n; i++)
            entries[i] = GUINT64_FROM_BE (entries[i]);
    }
    return true;
}

static bool
write_entries (struct vmf_writer_qcow2 *qcow2, const struct piece *piece, uint64_t begin, uint64_t end, GError **error)
{
    uint64_t be[PIECE_CLUSTERS];
    for (uint64_t at = begin, n; at < end; at += n)
    {
        uint64_t cluster = piece->first + at, index = cluster / TABLE_ENTRIES;
        n = in_one_table (piece, at, end);
        for (uint64_t i = 0; i < n; i++)
            be[i] = GUINT64_TO_BE (piece->entries[at + i]);
        if (!need_table (qcow2, index, error)
            || !vmf_writer_file_write (&qcow2->file, be, get_table (qcow2, index) + cluster % TABLE_ENTRIES * 8, n * 8,
                                       error))
            return false;
    }
    return true;
}

/* Where the cluster lies in the file; 0: it reads as zeroes. */
static uint64_t
place_of (uint64_t entry)
{
    return entry & VMF_QCOW2_ZERO ? 0 : entry & VMF_QCOW2_PLACE;
}

/* From entry AT on, how many lie behind each other in the file; or have no place, none of them. */
static uint64_t
run_length (const struct piece *piece, uint64_t at)
{
    uint64_t place = place_of (piece->entries[at]), n = 1;
    while (at + n < piece->count && place_of (piece->entries[at + n]) == (place ? place + n * CLUSTER_BYTES : 0))
        n++;
    return n;
}

/* Calls STEP for a range of the disk, piece after piece; DATA is advanced with it. */
static bool
each_piece (struct vmf_writer_qcow2 *qcow2, uint64_t offset, uint64_t length, char *data,
            bool (*step) (struct vmf_writer_qcow2 *qcow2, struct piece *piece, char *data, uint64_t length,
                          GError **error),
            GError **error)
{
    struct piece piece;
    while (length > 0)
    {
        uint64_t bytes = MIN (length, (uint64_t)PIECE_CLUSTERS * CLUSTER_BYTES);
        piece.first = offset / CLUSTER_BYTES;
        piece.count = vmf_qcow2_clusters (bytes);
        if (!read_entries (qcow2, &piece, error) || !step (qcow2, &piece, data, bytes, error))
            return false;
        offset += bytes;
        length -= bytes;
        data = data ? data + bytes : NULL;
    }
    return true;
}

/* ---- write, zero, read ---- */

/* Gives every cluster of PIECE a place. [*BEGIN, *END): the entries that changed. */
static void
give_places (struct vmf_writer_qcow2 *qcow2, struct piece *piece, uint64_t *begin, uint64_t *end)
{
    uint64_t missing = 0;
    *begin = piece->count;
    *end = 0;
    for (uint64_t i = 0; i < piece->count; i++)
        if (place_of (piece->entries[i]) == 0)
        {
            *begin = MIN (*begin, i);
            *end = i + 1;
            missing += (piece->entries[i] & VMF_QCOW2_PLACE) == 0;
        }
    uint64_t next = missing ? give_out (qcow2, missing) * CLUSTER_BYTES : 0;
    for (uint64_t i = *begin; i < *end; i++)
        if ((piece->entries[i] & VMF_QCOW2_PLACE) == 0)
        {
            piece->entries[i] = next | VMF_QCOW2_COPIED;
            next += CLUSTER_BYTES;
        }
        else
            piece->entries[i] &= ~VMF_QCOW2_ZERO;
}

static bool
write_piece (struct vmf_writer_qcow2 *qcow2, struct piece *piece, char *data, uint64_t length, GError **error)
{
    uint64_t begin, end;
    give_places (qcow2, piece, &begin, &end);
    for (uint64_t at = 0, n; at < piece->count; at += n)
    {
        uint64_t from = at * CLUSTER_BYTES;
        n = run_length (piece, at);
        if (!vmf_writer_file_write (&qcow2->file, data + from, place_of (piece->entries[at]),
                                    MIN (n * CLUSTER_BYTES, length - from), error))
            return false;
    }
    return begin >= end || write_entries (qcow2, piece, begin, end, error);
}

static bool
qcow2_write (struct vmf_writer *writer, const void *data, uint64_t offset, size_t length, GError **error)
{
    return vmf_writer_check_range (writer, offset, length, error)
           && each_piece ((struct vmf_writer_qcow2 *)writer, offset, length, (char *)data, write_piece, error);
}

/* A cluster that has a place keeps it for later, marked as zeroes; its bytes go back to the file system where that
   takes them. */
static bool
zero_piece (struct vmf_writer_qcow2 *qcow2, struct piece *piece, char *data, uint64_t length, GError **error)
{
    struct piece after = *piece;
    uint64_t begin = piece->count, end = 0;
    for (uint64_t i = 0; i < piece->count; i++)
        if (place_of (piece->entries[i]) != 0)
        {
            after.entries[i] |= VMF_QCOW2_ZERO;
            begin = MIN (begin, i);
            end = i + 1;
        }
    if (begin >= end)
        return true;
    if (!write_entries (qcow2, &after, begin, end, error))
        return false;
    for (uint64_t at = begin, n; at < end; at += n)
    {
        uint64_t place = place_of (piece->entries[at]);
        n = run_length (piece, at);
        if (place != 0)
            (void)fallocate (qcow2->file.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)place,
                             (off_t)(n * CLUSTER_BYTES));
    }
    return true;
}

static bool
qcow2_zero (struct vmf_writer *writer, uint64_t offset, uint64_t length, GError **error)
{
    const uint64_t table_bytes = (uint64_t)TABLE_ENTRIES * CLUSTER_BYTES;
    struct vmf_writer_qcow2 *qcow2 = (struct vmf_writer_qcow2 *)writer;
    if (!vmf_writer_check_range (writer, offset, length, error))
        return false;
    while (length > 0)
    {
        uint64_t bytes = MIN (length, table_bytes - offset % table_bytes);
        if (get_table (qcow2, offset / table_bytes) != 0 && !each_piece (qcow2, offset, bytes, NULL, zero_piece, error))
            return false;
        offset += bytes;
        length -= bytes;
    }
    return true;
}

static bool
read_piece (struct vmf_writer_qcow2 *qcow2, struct piece *piece, char *data, uint64_t length, GError **error)
{
    for (uint64_t at = 0, n; at < piece->count; at += n)
    {
        uint64_t place = place_of (piece->entries[at]), from = at * CLUSTER_BYTES;
        n = run_length (piece, at);
        size_t bytes = MIN (n * CLUSTER_BYTES, length - from);
        if (place == 0)
            memset (data + from, 0, bytes);
        else if (!vmf_writer_file_read (&qcow2->file, data + from, place, bytes, error))
            return false;
    }
    return true;
}

static bool
qcow2_read (struct vmf_writer *writer, void *data, uint64_t offset, size_t length, GError **error)
{
    return vmf_writer_check_range (writer, offset, length, error)
           && each_piece ((struct vmf_writer_qcow2 *)writer, offset, length, data, read_piece, error);
}

/* ---- flush, finish, open ---- */

/* The length goes to the disk with the next flush only: so it is never there before what it speaks of. */
static bool
qcow2_flush (struct vmf_writer *writer, GError **error)
{
    struct vmf_writer_qcow2 *qcow2 = (struct vmf_writer_qcow2 *)writer;
    uint64_t length = 0;
    uint8_t be[8];
    g_mutex_lock (&qcow2->flush);
    bool good = vmf_writer_file_size (&qcow2->file, &length, error) && vmf_writer_file_flush (&qcow2->file, error);
    vmf_qcow2_put_be64 (be, length);
    good = good && vmf_writer_file_write (&qcow2->file, be, VMF_QCOW2_FLUSHED_OFFSET, sizeof be, error);
    g_mutex_unlock (&qcow2->flush);
    return good;
}

static bool
qcow2_finish (struct vmf_writer *writer, GError **error)
{
    return vmf_qcow2_complete ((struct vmf_writer_qcow2 *)writer, error);
}

static void
qcow2_free (struct vmf_writer *writer)
{
    struct vmf_writer_qcow2 *qcow2 = (struct vmf_writer_qcow2 *)writer;
    vmf_writer_file_close (&qcow2->file);
    g_mutex_clear (&qcow2->tables);
    g_mutex_clear (&qcow2->flush);
    g_free (qcow2->l1);
    g_free (qcow2);
}

static const struct vmf_writer_ops qcow2_ops = {
    .write = qcow2_write,
    .zero = qcow2_zero,
    .read = qcow2_read,
    .flush = qcow2_flush,
    .finish = qcow2_finish,
    .free = qcow2_free,
};

struct vmf_writer *
vmf_writer_open_qcow2 (const char *path, uint64_t size_bytes, GError **error)
{
    struct vmf_writer_qcow2 *qcow2 = g_new0 (struct vmf_writer_qcow2, 1);
    g_autoptr (vmf_writer) writer = &qcow2->base;
    *writer = (struct vmf_writer){ .ops = &qcow2_ops, .size_bytes = size_bytes };
    g_mutex_init (&qcow2->tables);
    g_mutex_init (&qcow2->flush);
    return vmf_qcow2_take_up (qcow2, path, error) ? g_steal_pointer (&writer) : NULL;
}
