/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2's header (QEMU's docs/interop/qcow2.txt) and its L1 and L2 tables.
 *
 * The active tables only: what snapshots hold is not imported. A data file's blocks lie elsewhere and are not looked
 * for here.
 */
#include "disk/image-parse.h"
#include "disk/image.h"
#include "base/error.h"

#include <string.h>

enum
{
    INCOMPATIBLE_CORRUPT = 1 << 1,
    INCOMPATIBLE_DATA_FILE = 1 << 2,
    INCOMPATIBLE_EXTENDED_L2 = 1 << 4,
    INCOMPATIBLE_KNOWN = 0x1f,
    EXTENSIONS_MAX = 64,
    NAME_MAX_BYTES = 1023,
    L1_MAX_BYTES = 32 << 20, /* QEMU's own limit */
};

static const uint64_t offset_mask = 0x00fffffffffffe00ULL;

struct qcow2
{
    uint32_t version, cluster_bits, l1_entries, header_length;
    uint64_t l1_offset, incompatible;
    uint64_t backing_offset;
    uint32_t backing_length;
};

static bool
read_header (const struct vmf_image_input *input, struct qcow2 *qcow2, struct vmf_image_facts *facts, GError **error)
{
    uint8_t h[104] = { 0 };
    if (!vmf_image_read (input, 0, h, 72, "header", error))
        return false;
    if (memcmp (h, "QFI\xfb", 4) != 0)
        return vmf_image_refuse (error, VMF_ERROR_CORRUPT, "it is not a qcow2 image");
    qcow2->version = vmf_be32 (h + 4);
    if (qcow2->version != 2 && qcow2->version != 3)
        return vmf_image_refuse (error, VMF_ERROR_CORRUPT, "it is qcow2 of version %u; known are 2 and 3",
                                 qcow2->version);
    if (qcow2->version == 3 && !vmf_image_read (input, 0, h, 104, "header", error))
        return false;
    qcow2->backing_offset = vmf_be64 (h + 8);
    qcow2->backing_length = vmf_be32 (h + 16);
    qcow2->cluster_bits = vmf_be32 (h + 20);
    facts->size_bytes = vmf_be64 (h + 24);
    qcow2->l1_entries = vmf_be32 (h + 36);
    qcow2->l1_offset = vmf_be64 (h + 40);
    qcow2->incompatible = qcow2->version == 3 ? vmf_be64 (h + 72) : 0;
    qcow2->header_length = qcow2->version == 3 ? vmf_be32 (h + 100) : 72;
    if (vmf_be32 (h + 32) != 0)
        return vmf_image_refuse (error, VMF_ERROR_USAGE,
                                 "it is encrypted; decrypt it first, with 'qemu-img convert' and its secret");
    return true;
}

static bool
check_header (const struct qcow2 *qcow2, const struct vmf_image_facts *facts, GError **error)
{
    if (qcow2->cluster_bits < 9 || qcow2->cluster_bits > 21)
        return vmf_image_refuse (error, VMF_ERROR_CORRUPT, "its cluster size 2^%u is out of range",
                                 qcow2->cluster_bits);
    if (qcow2->header_length < 72 || qcow2->header_length > (1U << qcow2->cluster_bits))
        return vmf_image_refuse (error, VMF_ERROR_CORRUPT, "its header length %u is out of range",
                                 qcow2->header_length);
    if (facts->size_bytes > VMF_IMAGE_SIZE_MAX_BYTES)
        return true; /* vmf_image_parse() says it */
    if (qcow2->incompatible & ~(uint64_t)INCOMPATIBLE_KNOWN)
        return vmf_image_refuse (error, VMF_ERROR_USAGE,
                                 "it uses features that are not known (0x%" G_GINT64_MODIFIER "x)",
                                 (guint64)qcow2->incompatible);
    if (qcow2->incompatible & INCOMPATIBLE_CORRUPT)
        return vmf_image_refuse (error, VMF_ERROR_CORRUPT,
                                 "it is marked as corrupt; try 'qemu-img check -r all' on a copy");
    return true;
}

/* The header extensions: the backing file's format and the data file's name. */
static bool
read_extensions (const struct vmf_image_input *input, const struct qcow2 *qcow2, struct vmf_image_facts *facts,
                 GError **error)
{
    uint64_t at = qcow2->header_length, end = (uint64_t)1 << qcow2->cluster_bits;
    if (qcow2->backing_offset != 0)
        end = MIN (end, qcow2->backing_offset);
    for (int n = 0; n < EXTENSIONS_MAX && at + 8 <= end; n++)
    {
        uint8_t h[8];
        char name[NAME_MAX_BYTES + 1] = { 0 };
        if (!vmf_image_read (input, at, h, 8, "header extensions", error))
            return false;
        uint32_t type = vmf_be32 (h), length = vmf_be32 (h + 4);
        if (type == 0)
            return true;
        if (at + 8 + length > end)
            return vmf_image_refuse (error, VMF_ERROR_CORRUPT, "a header extension is longer than its header");
        bool backing_format = type == 0xe2792aca, data_file = type == 0x44415441;
        if ((backing_format || data_file) && length > NAME_MAX_BYTES)
            return vmf_image_refuse (error, VMF_ERROR_CORRUPT, "a name in its header is too long");
        if ((backing_format || data_file) && !vmf_image_read (input, at + 8, name, length, "header extensions", error))
            return false;
        if (backing_format)
            g_free (g_steal_pointer (&facts->backing_format)), facts->backing_format = g_strdup (name);
        if (data_file)
            g_free (g_steal_pointer (&facts->data_file)), facts->data_file = g_strdup (name);
        at += 8 + (((uint64_t)length + 7) & ~(uint64_t)7);
    }
    return true;
}

static bool
read_backing (const struct vmf_image_input *input, const struct qcow2 *qcow2, struct vmf_image_facts *facts,
              GError **error)
{
    char name[NAME_MAX_BYTES + 1] = { 0 };
    if (qcow2->backing_offset == 0 || qcow2->backing_length == 0)
        return true;
    if (qcow2->backing_length > NAME_MAX_BYTES)
        return vmf_image_refuse (error, VMF_ERROR_CORRUPT, "its backing file's name is too long");
    if (!vmf_image_read (input, qcow2->backing_offset, name, qcow2->backing_length, "backing file's name", error))
        return false;
    facts->backing = g_strdup (name);
    return true;
}

/* Entries of one L2 table. COMPRESSED ones say where they begin; their length is checked when they are read. */
static bool
check_l2 (const struct vmf_image_input *input, const struct qcow2 *qcow2, const uint8_t *l2, uint64_t guest_offset,
          const struct vmf_image_facts *facts, GError **error)
{
    size_t entry_bytes = qcow2->incompatible & INCOMPATIBLE_EXTENDED_L2 ? 16 : 8;
    uint64_t cluster = (uint64_t)1 << qcow2->cluster_bits;
    unsigned shift = 62 - (qcow2->cluster_bits - 8);
    for (size_t at = 0; at < cluster; at += entry_bytes, guest_offset += cluster)
    {
        uint64_t entry = vmf_be64 (l2 + at);
        uint64_t length = vmf_image_block_length (facts->size_bytes, guest_offset, cluster);
        bool zero = entry_bytes == 8 && (entry & 1);
        if (entry >> 62 & 1)
        {
            if (!vmf_image_check_block (input, entry & (((uint64_t)1 << shift) - 1), 1, error))
                return false;
        }
        else if ((entry & offset_mask) != 0 && !zero
                 && !vmf_image_check_block (input, entry & offset_mask, length, error))
            return false;
    }
    return true;
}

static bool
check_tables (const struct vmf_image_input *input, const struct qcow2 *qcow2, const struct vmf_image_facts *facts,
              GError **error)
{
    uint64_t cluster = (uint64_t)1 << qcow2->cluster_bits;
    uint64_t entries = cluster / (qcow2->incompatible & INCOMPATIBLE_EXTENDED_L2 ? 16 : 8);
    uint64_t needed = facts->size_bytes / (cluster * entries) + (facts->size_bytes % (cluster * entries) != 0);
    uint64_t budget = vmf_image_get_table_budget (input);
    if (needed > L1_MAX_BYTES / 8)
        return vmf_image_refuse (error, VMF_ERROR_UNSAFE, "its L1 table would be larger than 32 MiB");
    if (needed > qcow2->l1_entries)
        return vmf_image_refuse (error, VMF_ERROR_CORRUPT, "its L1 table is too short for its size");
    g_autofree uint8_t *l1 = vmf_image_read_table (input, qcow2->l1_offset, needed * 8, "L1 table", error);
    g_autofree uint8_t *l2 = g_malloc (cluster);
    for (uint64_t i = 0; l1 && i < needed; i++)
    {
        uint64_t at = vmf_be64 (l1 + i * 8) & offset_mask;
        if (at == 0)
            continue;
        if (budget < cluster)
            return vmf_image_refuse (error, VMF_ERROR_CORRUPT, "its L1 table has more entries than its file can hold");
        budget -= cluster;
        if (!vmf_image_read (input, at, l2, cluster, "L2 table", error)
            || !check_l2 (input, qcow2, l2, i * entries * cluster, facts, error))
            return false;
    }
    return l1 != NULL;
}

bool
vmf_image_parse_qcow2 (const struct vmf_image_input *input, struct vmf_image_facts *facts, GError **error)
{
    struct qcow2 qcow2 = { 0 };
    if (!read_header (input, &qcow2, facts, error) || !check_header (&qcow2, facts, error)
        || !read_extensions (input, &qcow2, facts, error) || !read_backing (input, &qcow2, facts, error))
        return false;
    if (!(qcow2.incompatible & INCOMPATIBLE_DATA_FILE))
        g_clear_pointer (&facts->data_file, g_free);
    else if (!facts->data_file)
        return vmf_image_refuse (error, VMF_ERROR_UNSAFE, "it keeps its data in another file and does not name it");
    if (facts->size_bytes > VMF_IMAGE_SIZE_MAX_BYTES || facts->data_file)
        return true;
    return check_tables (input, &qcow2, facts, error);
}
