/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Proofs of what a disk holds, for receipts and for comparing a copy with what was read.
 *
 * A disk is the list of its blocks of 64 KiB that are not zero. For each range of 16 MiB that has any, the range's
 * digest is XXH3-128 over, for each such block in rising order, its number (offset / 64 KiB) as eight bytes,
 * big-endian, and its digest (digest.h). SHA-256 runs over, for each such block in rising order, its offset in bytes as
 * eight bytes, big-endian, and its bytes. So both depend on what the guest sees and on nothing else: not on the format,
 * not on holes.
 */
#pragma once
#include "disk/journal.h"
#include "disk/writer.h"
#include <gio/gio.h>
#include <jansson.h>

enum
{
    VMF_PROOF_RANGE_BYTES = 16 * 1024 * 1024,
};

struct vmf_proof_range
{
    uint64_t offset;
    struct vmf_digest digest;
};

typedef struct vmf_proof
{
    uint64_t size_bytes;
    uint64_t data_bytes;  /* in blocks that are not zero */
    uint64_t known_bytes; /* of a table: in blocks that were read, zero or not */
    GArray *ranges;       /* struct vmf_proof_range, rising */
    char *sha256;         /* hexadecimal; NULL: not taken */
} vmf_proof;

void vmf_proof_free (struct vmf_proof *proof);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_proof, vmf_proof_free)

struct vmf_proof_options
{
    const char *uri;  /* NBD */
    bool named;       /* by the user: where no server listens, none is waited for */
    const char *name; /* for messages: "sda" */
    uint64_t size_bytes;
    const struct vmf_digest_table *table; /* what each block should be; NULL: nothing is compared */
    bool unknown_is_zero;                 /* with TABLE: what it does not know must be zero; else anything */
    const struct vmf_extents *except;     /* with TABLE: what was changed since, whole blocks; NULL: nothing */
    GPtrArray *differences;               /* with TABLE: char*, a sentence for each run of blocks that differs */
    void (*tell) (uint64_t done_bytes, void *data); /* called after each MiB or so; may be NULL */
    void *tell_data;
    GCancellable *cancellable;
};

/* Reads a whole disk and takes its proof, SHA-256 included. A disk of no bytes is not looked at. Blocks; any thread. */
struct vmf_proof *vmf_proof_read (const struct vmf_proof_options *options, GError **error);

/* What the journal says the disk holds; what it does not know is zero. No SHA-256. */
struct vmf_proof *vmf_proof_from_table (const struct vmf_digest_table *table, GError **error);

/* Members size_bytes, data_bytes, block_bytes, range_bytes, ranges, sha256. New reference; NULL error:
 * VMF_ERROR_CORRUPT. */
json_t *vmf_proof_to_json (const struct vmf_proof *proof);
struct vmf_proof *vmf_proof_from_json (const json_t *json, GError **error);

/* Adds a sentence to DIFFERENCES (char*) for each thing in which FOUND is not EXPECTED. */
void vmf_proof_compare (const struct vmf_proof *expected, const struct vmf_proof *found, GPtrArray *differences);
