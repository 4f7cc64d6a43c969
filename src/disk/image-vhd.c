/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VHD ("vpc" to QEMU), after Microsoft's "Virtual Hard Disk Image Format Specification".
 *
 * The footer's current size counts, not its CHS geometry: VirtualBox and Hyper-V show the former to the guest, and QEMU
 * left alone would cut the disk to the latter (server.c tells it). A fixed VHD is its bytes and a footer: raw.
 */
#include "disk/image-parse.h"
#include "disk/image.h"
#include "base/error.h"

#include <string.h>

enum
{
    FOOTER = 512,
    TYPE_FIXED = 2,
    TYPE_DYNAMIC = 3,
    TYPE_DIFFERENCING = 4,
};

static bool
check_footer (const uint8_t *footer, GError **error)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < FOOTER; i++)
        sum += i >= 64 && i < 68 ? 0 : footer[i];
    if (memcmp (footer, "conectix", 8) != 0)
        return vmf_image_refuse (error, VMF_ERROR_CORRUPT,
                                 "it is not a VHD, or cut off: a VHD ends with a footer, this file does not");
    if (~sum != vmf_be32 (footer + 64))
        return vmf_image_refuse (error, VMF_ERROR_CORRUPT, "its footer's checksum is wrong");
    return true;
}

static bool
check_blocks (const struct vmf_image_input *input, const uint8_t *bat, uint64_t n, uint64_t block,
              const struct vmf_image_facts *facts, GError **error)
{
    uint64_t bitmap = ((block / 512 / 8) + 511) & ~(uint64_t)511;
    for (uint64_t i = 0; i < n; i++)
    {
        uint32_t sector = vmf_be32 (bat + i * 4);
        uint64_t length = vmf_image_block_length (facts->size_bytes, i * block, block);
        if (sector != G_MAXUINT32 && !vmf_image_check_block (input, (uint64_t)sector * 512, bitmap + length, error))
            return false;
    }
    return true;
}

static bool
parse_dynamic (const struct vmf_image_input *input, const uint8_t *footer, const struct vmf_image_facts *facts,
               GError **error)
{
    uint8_t h[1024];
    if (!vmf_image_read (input, vmf_be64 (footer + 16), h, sizeof h, "dynamic header", error))
        return false;
    if (memcmp (h, "cxsparse", 8) != 0)
        return vmf_image_refuse (error, VMF_ERROR_CORRUPT, "its dynamic header is damaged");
    uint64_t entries = vmf_be32 (h + 28), block = vmf_be32 (h + 32);
    if (block < 512 || (block & (block - 1)) != 0)
        return vmf_image_refuse (error, VMF_ERROR_CORRUPT, "its block size %" G_GUINT64_FORMAT " is out of range",
                                 (guint64)block);
    uint64_t needed = facts->size_bytes / block + (facts->size_bytes % block != 0);
    if (facts->size_bytes > VMF_IMAGE_SIZE_MAX_BYTES)
        return true; /* vmf_image_parse() says it */
    if (needed > entries)
        return vmf_image_refuse (error, VMF_ERROR_CORRUPT, "its block table is too short for its size");
    g_autofree uint8_t *bat = vmf_image_read_table (input, vmf_be64 (h + 16), needed * 4, "block table", error);
    return bat && check_blocks (input, bat, needed, block, facts, error);
}

bool
vmf_image_parse_vhd (const struct vmf_image_input *input, struct vmf_image_facts *facts, GError **error)
{
    uint8_t footer[FOOTER];
    if (input->length_bytes < FOOTER)
        return vmf_image_refuse (error, VMF_ERROR_CORRUPT, "it is not a VHD: it is shorter than a VHD's footer");
    if (!vmf_image_read (input, input->length_bytes - FOOTER, footer, FOOTER, "footer", error)
        || !check_footer (footer, error))
        return false;
    facts->size_bytes = vmf_be64 (footer + 48);
    uint32_t type = vmf_be32 (footer + 60);
    if (type == TYPE_DIFFERENCING)
        return vmf_image_refuse (error, VMF_ERROR_USAGE,
                                 "it is a differencing VHD; merge it into its parent first (Hyper-V: Merge-VHD)");
    if (type != TYPE_FIXED && type != TYPE_DYNAMIC)
        return vmf_image_refuse (error, VMF_ERROR_CORRUPT, "it is a VHD of type %u; known are fixed and dynamic", type);
    facts->is_raw = type == TYPE_FIXED;
    if (type == TYPE_FIXED)
        return facts->size_bytes > VMF_IMAGE_SIZE_MAX_BYTES
               || vmf_image_check_block (input, 0, facts->size_bytes + FOOTER, error);
    return parse_dynamic (input, footer, facts, error);
}
