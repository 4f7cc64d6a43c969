/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VHDX, after Microsoft's [MS-VHDX]: two headers, a region table, metadata, and the block allocation table.
 *
 * A log that was not replayed means that Hyper-V did not close the file; QEMU replays only what it may write to, and a
 * source is never written to.
 */
#include "disk/image-parse.h"
#include "disk/image.h"
#include "base/error.h"

#include <string.h>

enum
{
    HEADER_1 = 64 * 1024,
    HEADER_2 = 128 * 1024,
    REGIONS = 192 * 1024,
    TABLE_BYTES = 64 * 1024,
    REGIONS_MAX = 2047,
    METADATA_MAX = 2047,
    FLAG_HAS_PARENT = 1 << 1,
    BLOCK_PRESENT = 6,
    BLOCK_PARTLY_PRESENT = 7,
};

/* GUIDs as they lie in the file. */
static const uint8_t region_bat[16] = { 0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42,
                                        0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08 };
static const uint8_t region_metadata[16] = { 0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b,
                                             0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e };
static const uint8_t item_parameters[16] = { 0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d,
                                             0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b };
static const uint8_t item_size[16] = { 0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48,
                                       0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8 };
static const uint8_t item_sector[16] = { 0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47,
                                         0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f };

struct vhdx
{
    uint64_t bat_at, bat_bytes, metadata_at;
    uint64_t block_bytes, sector_bytes;
    uint32_t flags;
};

/* The header with the higher sequence number is the current one. */
static bool
check_log (const struct vmf_image_input *input, GError **error)
{
    static const uint8_t nothing[16];
    uint8_t h[2][80];
    if (!vmf_image_read (input, HEADER_1, h[0], 80, "header", error)
        || !vmf_image_read (input, HEADER_2, h[1], 80, "second header", error))
        return false;
    bool first = memcmp (h[0], "head", 4) == 0, second = memcmp (h[1], "head", 4) == 0;
    if (!first && !second)
        return vmf_image_refuse (error, VMF_ERROR_CORRUPT, "both its headers are damaged");
    bool use_second = !first || (second && vmf_le64 (h[1] + 8) > vmf_le64 (h[0] + 8));
    if (memcmp (h[use_second] + 48, nothing, 16) != 0)
        return vmf_image_refuse (error, VMF_ERROR_CORRUPT,
                                 "it was not closed cleanly: its log was never replayed; shut the VM down in Hyper-V, "
                                 "or run 'qemu-img check -r all' on a copy");
    return true;
}

static bool
read_regions (const struct vmf_image_input *input, struct vhdx *vhdx, GError **error)
{
    g_autofree uint8_t *table = vmf_image_read_table (input, REGIONS, TABLE_BYTES, "region table", error);
    if (!table)
        return false;
    uint32_t n = vmf_le32 (table + 8);
    if (memcmp (table, "regi", 4) != 0 || n > REGIONS_MAX)
        return vmf_image_refuse (error, VMF_ERROR_CORRUPT, "its region table is damaged");
    for (uint32_t i = 0; i < n; i++)
    {
        const uint8_t *entry = table + 16 + 32 * i;
        if (memcmp (entry, region_bat, 16) == 0)
        {
            vhdx->bat_at = vmf_le64 (entry + 16);
            vhdx->bat_bytes = vmf_le32 (entry + 24);
        }
        else if (memcmp (entry, region_metadata, 16) == 0)
            vhdx->metadata_at = vmf_le64 (entry + 16);
    }
    if (vhdx->bat_at == 0 || vhdx->metadata_at == 0)
        return vmf_image_refuse (error, VMF_ERROR_CORRUPT, "its region table names no block table or no metadata");
    return true;
}

static bool
take_item (const struct vmf_image_input *input, const uint8_t *entry, struct vhdx *vhdx, struct vmf_image_facts *facts,
           GError **error)
{
    uint8_t value[8] = { 0 };
    bool parameters = memcmp (entry, item_parameters, 16) == 0, size = memcmp (entry, item_size, 16) == 0,
         sector = memcmp (entry, item_sector, 16) == 0;
    uint64_t at;
    if (!parameters && !size && !sector)
        return true;
    if (__builtin_add_overflow (vhdx->metadata_at, vmf_le32 (entry + 16), &at))
        return vmf_image_refuse (error, VMF_ERROR_CORRUPT, "its metadata are damaged");
    if (!vmf_image_read (input, at, value, sector ? 4 : 8, "metadata", error))
        return false;
    if (parameters)
    {
        vhdx->block_bytes = vmf_le32 (value);
        vhdx->flags = vmf_le32 (value + 4);
    }
    else if (size)
        facts->size_bytes = vmf_le64 (value);
    else
        vhdx->sector_bytes = vmf_le32 (value);
    return true;
}

static bool
read_metadata (const struct vmf_image_input *input, struct vhdx *vhdx, struct vmf_image_facts *facts, GError **error)
{
    g_autofree uint8_t *table = vmf_image_read_table (input, vhdx->metadata_at, TABLE_BYTES, "metadata", error);
    if (!table)
        return false;
    uint32_t n = vmf_le16 (table + 10);
    if (memcmp (table, "metadata", 8) != 0 || n > METADATA_MAX)
        return vmf_image_refuse (error, VMF_ERROR_CORRUPT, "its metadata are damaged");
    for (uint32_t i = 0; i < n; i++)
        if (!take_item (input, table + 32 + 32 * i, vhdx, facts, error))
            return false;
    if (vhdx->flags & FLAG_HAS_PARENT)
        return vmf_image_refuse (error, VMF_ERROR_USAGE,
                                 "it is a differencing VHDX; merge it into its parent first (Hyper-V: Merge-VHD)");
    if (vhdx->block_bytes < 1 << 20 || vhdx->block_bytes > 256 << 20
        || (vhdx->block_bytes & (vhdx->block_bytes - 1)) != 0
        || (vhdx->sector_bytes != 512 && vhdx->sector_bytes != 4096))
        return vmf_image_refuse (error, VMF_ERROR_CORRUPT, "its block or sector size is out of range");
    return true;
}

/* After every chunk of blocks the table holds one entry for a bitmap, which only differencing disks use. */
static bool
check_blocks (const struct vmf_image_input *input, const struct vhdx *vhdx, const struct vmf_image_facts *facts,
              GError **error)
{
    uint64_t ratio = ((uint64_t)1 << 23) * vhdx->sector_bytes / vhdx->block_bytes;
    uint64_t blocks = facts->size_bytes / vhdx->block_bytes + (facts->size_bytes % vhdx->block_bytes != 0);
    uint64_t entries = blocks + (blocks > 0 ? (blocks - 1) / ratio : 0);
    if (entries * 8 > vhdx->bat_bytes)
        return vmf_image_refuse (error, VMF_ERROR_CORRUPT, "its block table is too short for its size");
    g_autofree uint8_t *bat = vmf_image_read_table (input, vhdx->bat_at, entries * 8, "block table", error);
    for (uint64_t i = 0; bat && i < blocks; i++)
    {
        uint64_t entry = vmf_le64 (bat + (i + i / ratio) * 8);
        unsigned state = entry & 7;
        uint64_t length = vmf_image_block_length (facts->size_bytes, i * vhdx->block_bytes, vhdx->block_bytes);
        if ((state == BLOCK_PRESENT || state == BLOCK_PARTLY_PRESENT)
            && !vmf_image_check_block (input, entry & ~(uint64_t)0xfffff, length, error))
            return false;
    }
    return bat != NULL;
}

bool
vmf_image_parse_vhdx (const struct vmf_image_input *input, struct vmf_image_facts *facts, GError **error)
{
    char magic[8];
    struct vhdx vhdx = { 0 };
    if (!vmf_image_read (input, 0, magic, sizeof magic, "header", error))
        return false;
    if (memcmp (magic, "vhdxfile", 8) != 0)
        return vmf_image_refuse (error, VMF_ERROR_CORRUPT, "it is not a VHDX image");
    if (!check_log (input, error) || !read_regions (input, &vhdx, error) || !read_metadata (input, &vhdx, facts, error))
        return false;
    return facts->size_bytes > VMF_IMAGE_SIZE_MAX_BYTES || check_blocks (input, &vhdx, facts, error);
}
