/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Digests of a disk's blocks: XXH3-128 of each 64 KiB, in the canonical (big-endian) form of the xxHash specification.
 *
 * A block of zeroes has the digest of sixteen zero bytes, so a hole and written zeroes are the same, and what a disk
 * holds has one set of digests however it was stored or cut into requests. Found to be zero at memory bandwidth. Not
 * cryptographic: it finds damage, not a forger; receipts have SHA-256 beside it. Any thread.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum
{
    VMF_BLOCK_BYTES =
        64 * 1024, /* also qcow2's cluster: what is written is whole clusters, so QEMU never reads to fill one */
};

struct vmf_digest
{
    uint8_t bytes[16];
};

/* The digest of one block, LENGTH bytes at DATA: VMF_BLOCK_BYTES, or less at the disk's end. */
struct vmf_digest vmf_digest_block (const void *data, size_t length);

/* Of any bytes, zero or not. */
struct vmf_digest vmf_digest_bytes (const void *data, size_t length);

bool vmf_digest_is_zero (const struct vmf_digest *digest);
bool vmf_digest_equal (const struct vmf_digest *one, const struct vmf_digest *other);
