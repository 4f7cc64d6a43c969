/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The journal of one disk's transfer: what stands on the target for certain (DESIGN idea 6).
 *
 * A file that only grows: a header of 4096 bytes (JSON, padded with spaces, with a checksum at its end), then records:
 *
 *     piece   offset, length, pass, and the digest of each of its 64 KiB blocks: it is on stable storage
 *     mark    everything that the pass needed of this range is, holes included
 *     again   this range is needed once more: what was said of it before is void
 *     end     nothing follows: the target is complete, and gets its name
 *
 * While it is open there are zeroes behind the last record, so that a sync writes into blocks that the file has
 * already. Each record has a checksum. The first that is torn or wrong ends the journal: what lies behind it is cut off
 * when the journal is opened, and its data will be copied again. Numbers are little-endian. Records become bytes with
 * encode, in memory and by any thread; append writes and syncs them, by one thread at a time. Opening takes a lock on
 * the file, so two movers cannot share it.
 */
#pragma once
#include "disk/digest.h"
#include "disk/extents.h"
#include <gio/gio.h>

enum
{
    VMF_JOURNAL_BLOCKS_MAX = 64, /* of one piece: 4 MiB */
};

/* What the journal belongs to. A journal of another disk is refused. */
struct vmf_journal_subject
{
    const char *source; /* what the user calls it: a path, a URI without secrets */
    const char *target;
    const char *format; /* of the target */
    uint64_t size_bytes;
};

enum vmf_journal_kind
{
    VMF_JOURNAL_PIECE = 1,
    VMF_JOURNAL_MARK = 2,
    VMF_JOURNAL_AGAIN = 3,
    VMF_JOURNAL_END = 4,
};

struct vmf_journal_record
{
    enum vmf_journal_kind kind;
    uint32_t pass;
    uint64_t offset, length;
    const struct vmf_digest *digests; /* of a piece, one for each block that it touches; NULL: without digests */
};

typedef struct vmf_journal vmf_journal;

enum vmf_journal_state
{
    VMF_JOURNAL_NEW,   /* the file was not there */
    VMF_JOURNAL_EMPTY, /* it was, but a kill came before vmf_journal_begin */
    VMF_JOURNAL_BEGUN,
};

/* Opens or makes PATH. A lock held by another: VMF_ERROR_EXISTS; another disk's or not a journal: VMF_ERROR_CORRUPT. */
struct vmf_journal *vmf_journal_open (const char *path, const struct vmf_journal_subject *subject, GError **error);

/* As it was found. */
enum vmf_journal_state vmf_journal_get_state (const struct vmf_journal *journal);

/* It ended with VMF_JOURNAL_END when it was opened. */
bool vmf_journal_has_ended (const struct vmf_journal *journal);

/* Writes the header of a journal that was not begun: the target is there now. */
bool vmf_journal_begin (struct vmf_journal *journal, const struct vmf_journal_subject *subject, GError **error);
void vmf_journal_free (struct vmf_journal *journal);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_journal, vmf_journal_free)

/* What was done when the journal was opened, by pass PASS or a later one. A new set. */
struct vmf_extents *vmf_journal_done (const struct vmf_journal *journal, uint32_t pass);

/* Puts RECORD behind what TO holds. Any thread. */
void vmf_journal_encode (const struct vmf_journal *journal, GByteArray *to, const struct vmf_journal_record *record);

/* Writes what was encoded, and syncs it. */
bool vmf_journal_append (struct vmf_journal *journal, const GByteArray *records, GError **error);

/* A table of what the journal says of each block now: a nameless file of the journal's folder, so memory does not grow
   with the disk. A block that is needed again is not known. */
typedef struct vmf_digest_table vmf_digest_table;
struct vmf_digest_table *vmf_journal_table (struct vmf_journal *journal, GError **error);
void vmf_digest_table_free (struct vmf_digest_table *table);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_digest_table, vmf_digest_table_free)

uint64_t vmf_digest_table_size (const struct vmf_digest_table *table); /* of the disk, in bytes */

/* The digests of the N blocks from BLOCK on (offset / 64 KiB); KNOWN is false where no piece was journalled. */
bool vmf_digest_table_get (const struct vmf_digest_table *table, uint64_t block, size_t n, struct vmf_digest *digests,
                           bool *known, GError **error);

/* Every block that is known, as byte ranges (the last one cut at the disk's end). A new set. */
struct vmf_extents *vmf_digest_table_known (const struct vmf_digest_table *table, GError **error);
