/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VDI, VirtualBox's own format: one header, one map of blocks. */
#include "disk/image-parse.h"
#include "disk/image.h"
#include "base/error.h"

#include <string.h>

enum
{
    HEADER = 512,
    TYPE_DYNAMIC = 1,
    TYPE_FIXED = 2,
    TYPE_DIFFERENCING = 4,
};

static const uint32_t signature = 0xbeda107f;
static const uint32_t block_unallocated = 0xfffffffe; /* and one above: discarded */

static bool
check_blocks (const struct vmf_image_input *input, const uint8_t *header, const struct vmf_image_facts *facts,
              GError **error)
{
    uint64_t block = vmf_le32 (header + 0x178), n = vmf_le32 (header + 0x180), data = vmf_le32 (header + 0x158);
    if (block < 512 || (block & (block - 1)) != 0)
        return vmf_image_refuse (error, VMF_ERROR_CORRUPT, "its block size %" G_GUINT64_FORMAT " is out of range",
                                 (guint64)block);
    if (facts->size_bytes > VMF_IMAGE_SIZE_MAX_BYTES)
        return true; /* vmf_image_parse() says it */
    if (n < facts->size_bytes / block + (facts->size_bytes % block != 0))
        return vmf_image_refuse (error, VMF_ERROR_CORRUPT, "its block map is too short for its size");
    g_autofree uint8_t *map = vmf_image_read_table (input, vmf_le32 (header + 0x154), n * 4, "block map", error);
    for (uint64_t i = 0; map && i < n; i++)
    {
        uint32_t entry = vmf_le32 (map + i * 4);
        uint64_t length = vmf_image_block_length (facts->size_bytes, i * block, block);
        if (entry >= block_unallocated)
            continue;
        if (!vmf_image_check_block (input, data + entry * block, length, error))
            return false;
    }
    return map != NULL;
}

bool
vmf_image_parse_vdi (const struct vmf_image_input *input, struct vmf_image_facts *facts, GError **error)
{
    static const uint8_t nothing[32];
    uint8_t h[HEADER];
    if (!vmf_image_read (input, 0, h, sizeof h, "header", error))
        return false;
    if (vmf_le32 (h + 0x40) != signature)
        return vmf_image_refuse (error, VMF_ERROR_CORRUPT, "it is not a VDI image");
    if (vmf_le32 (h + 0x44) != 0x00010001)
        return vmf_image_refuse (error, VMF_ERROR_CORRUPT, "it is VDI of version %u.%u; known is 1.1",
                                 vmf_le32 (h + 0x44) >> 16, vmf_le32 (h + 0x44) & 0xffff);
    uint32_t type = vmf_le32 (h + 0x4c);
    if (type == TYPE_DIFFERENCING || memcmp (h + 0x1a8, nothing, 32) != 0)
        return vmf_image_refuse (error, VMF_ERROR_USAGE,
                                 "it is a differencing VDI (a snapshot); merge it first (VBoxManage clonemedium)");
    if (type != TYPE_DYNAMIC && type != TYPE_FIXED)
        return vmf_image_refuse (error, VMF_ERROR_CORRUPT, "it is a VDI of type %u; known are dynamic and fixed", type);
    facts->size_bytes = vmf_le64 (h + 0x170);
    return check_blocks (input, h, facts, error);
}
