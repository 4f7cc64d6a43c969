/* SPDX-License-Identifier: GPL-2.0-or-later */
/* xxHash compiled in: it is a header, and inlined it is quicker for blocks of one size. */
#define XXH_INLINE_ALL
#include "disk/digest.h"
#include "disk/zero.h"

#include <string.h>
#include <xxhash.h>

struct vmf_digest
vmf_digest_bytes (const void *data, size_t length)
{
    struct vmf_digest digest;
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash (&canonical, XXH3_128bits (data, length));
    memcpy (digest.bytes, canonical.digest, sizeof digest.bytes);
    return digest;
}

struct vmf_digest
vmf_digest_block (const void *data, size_t length)
{
    return vmf_zero_is (data, length) ? (struct vmf_digest){ 0 } : vmf_digest_bytes (data, length);
}

bool
vmf_digest_is_zero (const struct vmf_digest *digest)
{
    return vmf_digest_equal (digest, &(struct vmf_digest){ 0 });
}

bool
vmf_digest_equal (const struct vmf_digest *one, const struct vmf_digest *other)
{
    return memcmp (one->bytes, other->bytes, sizeof one->bytes) == 0;
}
