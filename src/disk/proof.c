/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Proofs: reading a disk in order with several reads in flight, and the digests over it. */
#include "disk/proof.h"
#include "base/error.h"
#include "base/text.h"
#include "disk/nbd.h"

#include <openssl/evp.h>
#include <string.h>

enum
{
    READ_BYTES = 1024 * 1024,
    READS = 8,
    SILENCE_MAX_MS = 60 * 1000, /* of the server, between two answers */
    DIFFERENCES_MAX = 100,
    BLOCKS_PER_RANGE = VMF_PROOF_RANGE_BYTES / VMF_BLOCK_BYTES,
    ENTRY_BYTES = 8 + sizeof (struct vmf_digest),
};

void
vmf_proof_free (struct vmf_proof *proof)
{
    if (!proof)
        return;
    g_clear_pointer (&proof->ranges, g_array_unref);
    g_free (proof->sha256);
    g_free (proof);
}

/* ---- building ---- */

/* A proof that grows block by block. */
struct builder
{
    struct vmf_proof *proof;
    uint64_t range; /* the range that ENTRIES belong to */
    GByteArray *entries;
    EVP_MD_CTX *sha;
};

static struct builder
builder_new (uint64_t size_bytes, bool sha256)
{
    struct builder builder = { g_new0 (struct vmf_proof, 1), 0, g_byte_array_new (), NULL };
    builder.proof->size_bytes = size_bytes;
    builder.proof->ranges = g_array_new (FALSE, FALSE, sizeof (struct vmf_proof_range));
    if (sha256)
    {
        builder.sha = EVP_MD_CTX_new ();
        EVP_DigestInit_ex (builder.sha, EVP_sha256 (), NULL);
    }
    return builder;
}

static void
builder_clear (struct builder *builder)
{
    vmf_proof_free (builder->proof);
    g_byte_array_unref (builder->entries);
    EVP_MD_CTX_free (builder->sha);
}

static void
end_range (struct builder *builder)
{
    if (builder->entries->len == 0)
        return;
    struct vmf_proof_range range = { builder->range * VMF_PROOF_RANGE_BYTES,
                                     vmf_digest_bytes (builder->entries->data, builder->entries->len) };
    g_array_append_val (builder->proof->ranges, range);
    g_byte_array_set_size (builder->entries, 0);
}

static void
put_be64 (uint8_t bytes[8], uint64_t value)
{
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(value >> (56 - 8 * i));
}

/* A block that is not zero; rising. DATA only where SHA-256 is taken. */
static void
add_block (struct builder *builder, uint64_t block, const struct vmf_digest *digest, const void *data, size_t length)
{
    uint8_t number[8];
    if (block / BLOCKS_PER_RANGE != builder->range)
        end_range (builder);
    builder->range = block / BLOCKS_PER_RANGE;
    put_be64 (number, block);
    g_byte_array_append (builder->entries, number, sizeof number);
    g_byte_array_append (builder->entries, digest->bytes, sizeof digest->bytes);
    builder->proof->data_bytes += length;
    if (!builder->sha)
        return;
    put_be64 (number, block * VMF_BLOCK_BYTES);
    EVP_DigestUpdate (builder->sha, number, sizeof number);
    EVP_DigestUpdate (builder->sha, data, length);
}

static char *
to_hex (const uint8_t *bytes, size_t n)
{
    GString *text = g_string_sized_new (2 * n);
    for (size_t i = 0; i < n; i++)
        g_string_append_printf (text, "%02x", bytes[i]);
    return g_string_free (text, FALSE);
}

static struct vmf_proof *
builder_end (struct builder *builder)
{
    uint8_t sha[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    end_range (builder);
    if (builder->sha && EVP_DigestFinal_ex (builder->sha, sha, &length) == 1)
        builder->proof->sha256 = to_hex (sha, length);
    return g_steal_pointer (&builder->proof);
}

/* ---- from the journal ---- */

struct vmf_proof *
vmf_proof_from_table (const struct vmf_digest_table *table, GError **error)
{
    struct builder builder = builder_new (vmf_digest_table_size (table), false);
    struct vmf_proof *proof = NULL;
    g_autoptr (vmf_extents) known = vmf_digest_table_known (table, error);
    for (size_t i = 0; known && i < vmf_extents_count (known); i++)
    {
        struct vmf_extent extent = vmf_extents_nth (known, i);
        for (uint64_t at = extent.offset; at < extent.offset + extent.length; at += VMF_BLOCK_BYTES)
        {
            struct vmf_digest digest;
            bool is_known;
            if (!vmf_digest_table_get (table, at / VMF_BLOCK_BYTES, 1, &digest, &is_known, error))
                goto out;
            if (!vmf_digest_is_zero (&digest))
                add_block (&builder, at / VMF_BLOCK_BYTES, &digest, NULL,
                           (size_t)MIN ((uint64_t)VMF_BLOCK_BYTES, builder.proof->size_bytes - at));
        }
    }
    if (known)
    {
        builder.proof->known_bytes = vmf_extents_total (known);
        proof = builder_end (&builder);
    }
out:
    builder_clear (&builder);
    return proof;
}

/* ---- from a disk ---- */

struct read
{
    char *buffer;
    uint64_t offset;
    size_t length;
    int64_t cookie;
};

struct reader
{
    const struct vmf_proof_options *options;
    struct nbd_handle *nbd;
    struct vmf_extents *known; /* to the table; NULL: there is none */
    struct builder builder;
    struct read reads[READS];
    unsigned first, n; /* in flight, a ring */
    GArray *chunks;    /* struct vmf_extent that the server calls data, not read yet, of the present window */
    uint64_t asked_to;
    uint64_t bad_from, bad_to; /* a run of blocks that differ */
};

static void
tell_difference (struct reader *reader)
{
    GPtrArray *differences = reader->options->differences;
    if (reader->bad_to > reader->bad_from && differences->len < DIFFERENCES_MAX)
        g_ptr_array_add (differences,
                         g_strdup_printf ("%s: the %" G_GUINT64_FORMAT " bytes at byte %" G_GUINT64_FORMAT
                                          " are not what was read from the source",
                                          reader->options->name, (guint64)(reader->bad_to - reader->bad_from),
                                          (guint64)reader->bad_from));
    reader->bad_from = reader->bad_to = 0;
}

/* Is this block free to be anything? */
static bool
is_excepted (const struct vmf_proof_options *options, uint64_t offset, bool known)
{
    struct vmf_extent extent;
    return (!known && !options->unknown_is_zero)
           || (options->except && vmf_extents_next (options->except, offset, &extent)
               && extent.offset < offset + VMF_BLOCK_BYTES);
}

/* What was found in the N blocks from BLOCK on, against the table. */
static bool
compare (struct reader *reader, uint64_t block, const struct vmf_digest *found, size_t n, GError **error)
{
    struct vmf_digest expected[READ_BYTES / VMF_BLOCK_BYTES];
    bool known[READ_BYTES / VMF_BLOCK_BYTES];
    if (!reader->options->table)
        return true;
    if (!vmf_digest_table_get (reader->options->table, block, n, expected, known, error))
        return false;
    for (size_t i = 0; i < n; i++)
    {
        uint64_t offset = (block + i) * VMF_BLOCK_BYTES;
        if (is_excepted (reader->options, offset, known[i]))
            continue;
        struct vmf_digest right = known[i] ? expected[i] : (struct vmf_digest){ 0 };
        if (vmf_digest_equal (&right, &found[i]))
            continue;
        if (reader->bad_to != offset)
            tell_difference (reader);
        reader->bad_from = reader->bad_to == offset ? reader->bad_from : offset;
        reader->bad_to = MIN (offset + VMF_BLOCK_BYTES, reader->options->size_bytes);
    }
    return true;
}

/* The server calls [FROM, TO) zero: whole blocks. */
static bool
compare_zero (struct reader *reader, uint64_t from, uint64_t to, GError **error)
{
    static const struct vmf_digest zeroes[READ_BYTES / VMF_BLOCK_BYTES];
    struct vmf_extent known; /* what is not known may be zero */
    uint64_t length;
    for (uint64_t at = from; reader->known && vmf_extents_next (reader->known, at, &known) && known.offset < to;
         at = known.offset + length)
    {
        length = MIN (MIN (known.length, to - known.offset), (uint64_t)READ_BYTES);
        size_t n = (size_t)((length + VMF_BLOCK_BYTES - 1) / VMF_BLOCK_BYTES);
        if (!compare (reader, known.offset / VMF_BLOCK_BYTES, zeroes, n, error))
            return false;
    }
    return true;
}

static bool
take_read (struct reader *reader, const struct read *read, GError **error)
{
    struct vmf_digest digests[READ_BYTES / VMF_BLOCK_BYTES];
    size_t n = 0;
    for (size_t at = 0; at < read->length; at += VMF_BLOCK_BYTES, n++)
    {
        size_t length = MIN (read->length - at, (size_t)VMF_BLOCK_BYTES);
        digests[n] = vmf_digest_block (read->buffer + at, length);
        if (!vmf_digest_is_zero (&digests[n]))
            add_block (&reader->builder, (read->offset + at) / VMF_BLOCK_BYTES, &digests[n], read->buffer + at, length);
    }
    return compare (reader, read->offset / VMF_BLOCK_BYTES, digests, n, error);
}

/* Waits for the oldest read and takes it in. */
static bool
finish_read (struct reader *reader, GError **error)
{
    struct read *read = &reader->reads[reader->first];
    int done;
    while ((done = nbd_aio_command_completed (reader->nbd, (uint64_t)read->cookie)) == 0)
        if (!vmf_nbd_wait (reader->nbd, reader->options->name, SILENCE_MAX_MS, reader->options->cancellable, error))
            return false;
    if (done < 0)
    {
        vmf_nbd_fail (reader->options->name, error);
        g_prefix_error (error, "cannot read byte %" G_GUINT64_FORMAT ": ", (guint64)read->offset);
        return false;
    }
    reader->first = (reader->first + 1) % READS;
    reader->n--;
    if (reader->options->tell)
        reader->options->tell (read->offset + read->length, reader->options->tell_data);
    return take_read (reader, read, error);
}

static bool
start_read (struct reader *reader, uint64_t offset, size_t length, GError **error)
{
    if (reader->n == READS && !finish_read (reader, error))
        return false;
    struct read *read = &reader->reads[(reader->first + reader->n) % READS];
    read->buffer = read->buffer ? read->buffer : g_malloc (READ_BYTES);
    read->offset = offset;
    read->length = length;
    read->cookie = nbd_aio_pread (reader->nbd, read->buffer, length, offset, NBD_NULL_COMPLETION, 0);
    if (read->cookie < 0)
        return vmf_nbd_fail (reader->options->name, error);
    reader->n++;
    return true;
}

static bool
drain (struct reader *reader, GError **error)
{
    while (reader->n > 0)
        if (!finish_read (reader, error))
            return false;
    return true;
}

/* Reads [FROM, TO), or compares it with zeroes. */
static bool
walk_range (struct reader *reader, uint64_t from, uint64_t to, bool zero, GError **error)
{
    if (zero)
        return drain (reader, error) && compare_zero (reader, from, to, error);
    for (uint64_t at = from, next; at < to; at = next)
    {
        next = MIN ((at + READ_BYTES) & ~(uint64_t)(READ_BYTES - 1), to);
        if (!start_read (reader, at, (size_t)(next - at), error))
            return false;
    }
    return true;
}

/* The server's answer about a window, in whole blocks: a block is zero only if all of it is. */
static bool
walk_window (struct reader *reader, uint64_t offset, uint64_t length, GArray *status, GError **error)
{
    uint64_t at = offset, from = offset, end = offset + length; /* [from, at) is data so far */
    for (guint i = 0; i < status->len; i++)
    {
        const struct vmf_nbd_status *one = &g_array_index (status, struct vmf_nbd_status, i);
        uint64_t next = at + one->length_bytes;
        uint64_t zero_from = (at + VMF_BLOCK_BYTES - 1) & ~(uint64_t)(VMF_BLOCK_BYTES - 1);
        uint64_t zero_to = next == reader->options->size_bytes ? next : next & ~(uint64_t)(VMF_BLOCK_BYTES - 1);
        if (one->flags & LIBNBD_STATE_ZERO && zero_from < zero_to)
        {
            if (!walk_range (reader, from, zero_from, false, error)
                || !walk_range (reader, zero_from, zero_to, true, error))
                return false;
            from = zero_to;
        }
        at = next;
    }
    return walk_range (reader, from, end, false, error);
}

static bool
read_all (struct reader *reader, GError **error)
{
    const struct vmf_proof_options *options = reader->options;
    bool extents = nbd_can_meta_context (reader->nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) == 1;
    enum
    {
        WINDOW = 64 * 1024 * 1024
    };
    for (uint64_t at = 0, length; at < options->size_bytes; at += length)
    {
        g_autoptr (GArray) status = g_array_new (FALSE, FALSE, sizeof (struct vmf_nbd_status));
        uint64_t told = 0;
        length = MIN (options->size_bytes - at, extents ? (uint64_t)1 << 30 : (uint64_t)WINDOW);
        if (vmf_error_if_cancelled (options->cancellable, error)
            || (extents
                && !vmf_nbd_block_status (reader->nbd, LIBNBD_CONTEXT_BASE_ALLOCATION, at, length, status,
                                          options->name, error)))
            return false;
        for (guint i = 0; i < status->len; i++)
            told += g_array_index (status, struct vmf_nbd_status, i).length_bytes;
        /* Whole blocks, so that what comes next begins with one. */
        if (extents && at + told < options->size_bytes)
            length = MAX (told & ~(uint64_t)(VMF_BLOCK_BYTES - 1),
                          MIN ((uint64_t)VMF_BLOCK_BYTES, options->size_bytes - at));
        if (told < length || !extents)
            g_array_set_size (status, 0); /* less than a block was said: read it */
        if (!walk_window (reader, at, length, status, error))
            return false;
        if (options->tell)
            options->tell (at + length, options->tell_data);
    }
    return drain (reader, error);
}

struct vmf_proof *
vmf_proof_read (const struct vmf_proof_options *options, GError **error)
{
    struct reader reader = { .options = options };
    struct vmf_proof *proof = NULL;
    if (options->size_bytes == 0)
    {
        reader.builder = builder_new (0, true);
        proof = builder_end (&reader.builder);
        return builder_clear (&reader.builder), proof;
    }
    if (options->table && !(reader.known = vmf_digest_table_known (options->table, error)))
        return NULL;
    reader.nbd =
        vmf_nbd_connect (options->uri, options->name, VMF_NBD_EXTENTS | (options->named ? VMF_NBD_NAMED : VMF_NBD_NONE),
                         options->cancellable, error);
    if (!reader.nbd)
        return vmf_extents_free (reader.known), NULL;
    reader.builder = builder_new (options->size_bytes, true);
    if ((uint64_t)nbd_get_size (reader.nbd) < options->size_bytes)
        g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT,
                     "%s has %" G_GINT64_FORMAT " bytes instead of %" G_GUINT64_FORMAT, options->name,
                     (gint64)nbd_get_size (reader.nbd), (guint64)options->size_bytes);
    else if (read_all (&reader, error))
        proof = builder_end (&reader.builder);
    if (proof && options->differences)
        tell_difference (&reader);
    vmf_nbd_close (reader.nbd);
    vmf_extents_free (reader.known);
    for (unsigned i = 0; i < READS; i++)
        g_free (reader.reads[i].buffer);
    builder_clear (&reader.builder);
    return proof;
}

/* ---- JSON ---- */

json_t *
vmf_proof_to_json (const struct vmf_proof *proof)
{
    json_t *ranges = json_array ();
    for (guint i = 0; i < proof->ranges->len; i++)
    {
        const struct vmf_proof_range *range = &g_array_index (proof->ranges, struct vmf_proof_range, i);
        g_autofree char *hex = to_hex (range->digest.bytes, sizeof range->digest.bytes);
        json_array_append_new (ranges, json_pack ("{s:I, s:s}", "offset", (json_int_t)range->offset, "xxh3_128", hex));
    }
    return json_pack ("{s:I, s:I, s:i, s:i, s:o, s:s?}", "size_bytes", (json_int_t)proof->size_bytes, "data_bytes",
                      (json_int_t)proof->data_bytes, "block_bytes", VMF_BLOCK_BYTES, "range_bytes",
                      VMF_PROOF_RANGE_BYTES, "ranges", ranges, "sha256", proof->sha256);
}

static bool
from_hex (const char *text, struct vmf_digest *digest)
{
    bool good = text && strlen (text) == 2 * sizeof digest->bytes;
    for (size_t i = 0; good && i < sizeof digest->bytes; i++)
    {
        good = g_ascii_isxdigit (text[2 * i]) && g_ascii_isxdigit (text[2 * i + 1]);
        digest->bytes[i] = (uint8_t)(16 * g_ascii_xdigit_value (text[2 * i]) + g_ascii_xdigit_value (text[2 * i + 1]));
    }
    return good;
}

static bool
read_range (const json_t *json, struct vmf_proof *proof)
{
    struct vmf_proof_range range = { .offset = (uint64_t)json_integer_value (json_object_get (json, "offset")) };
    bool rising =
        proof->ranges->len == 0
        || range.offset > g_array_index (proof->ranges, struct vmf_proof_range, proof->ranges->len - 1).offset;
    if (!rising || range.offset % VMF_PROOF_RANGE_BYTES || range.offset >= proof->size_bytes
        || !from_hex (json_string_value (json_object_get (json, "xxh3_128")), &range.digest))
        return false;
    g_array_append_val (proof->ranges, range);
    return true;
}

struct vmf_proof *
vmf_proof_from_json (const json_t *json, GError **error)
{
    g_autoptr (vmf_proof) proof = g_new0 (struct vmf_proof, 1);
    const json_t *ranges = json_object_get (json, "ranges"), *size = json_object_get (json, "size_bytes");
    proof->ranges = g_array_new (FALSE, FALSE, sizeof (struct vmf_proof_range));
    proof->size_bytes = (uint64_t)json_integer_value (size);
    proof->data_bytes = (uint64_t)json_integer_value (json_object_get (json, "data_bytes"));
    proof->sha256 = g_strdup (json_string_value (json_object_get (json, "sha256")));
    bool good = json_is_integer (size) && json_integer_value (size) >= 0 && json_is_array (ranges)
                && json_integer_value (json_object_get (json, "range_bytes")) == VMF_PROOF_RANGE_BYTES
                && json_integer_value (json_object_get (json, "block_bytes")) == VMF_BLOCK_BYTES;
    for (size_t i = 0; good && i < json_array_size (ranges); i++)
        good = read_range (json_array_get (ranges, i), proof);
    if (good)
        return g_steal_pointer (&proof);
    g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT, "it has a disk that is not described as a receipt describes one");
    return NULL;
}

/* ---- comparing ---- */

static void
tell_range (GPtrArray *differences, uint64_t offset, const char *words)
{
    if (differences->len < DIFFERENCES_MAX)
        g_ptr_array_add (differences,
                         g_strdup_printf ("the 16 MiB at byte %" G_GUINT64_FORMAT " %s", (guint64)offset, words));
}

void
vmf_proof_compare (const struct vmf_proof *expected, const struct vmf_proof *found, GPtrArray *differences)
{
    guint i = 0, j = 0;
    while (i < expected->ranges->len || j < found->ranges->len)
    {
        const struct vmf_proof_range *want =
            i < expected->ranges->len ? &g_array_index (expected->ranges, struct vmf_proof_range, i) : NULL;
        const struct vmf_proof_range *have =
            j < found->ranges->len ? &g_array_index (found->ranges, struct vmf_proof_range, j) : NULL;
        if (want && (!have || want->offset < have->offset))
            tell_range (differences, want->offset, "are zero, but should hold data");
        else if (have && (!want || have->offset < want->offset))
            tell_range (differences, have->offset, "hold data, but should be zero");
        else if (!vmf_digest_equal (&want->digest, &have->digest))
            tell_range (differences, want->offset, "are not as the receipt has them");
        i += want && (!have || want->offset <= have->offset);
        j += have && (!want || have->offset <= want->offset);
    }
    if (expected->size_bytes != found->size_bytes)
        g_ptr_array_add (differences,
                         g_strdup_printf ("the disk has %" G_GUINT64_FORMAT " bytes, not %" G_GUINT64_FORMAT,
                                          (guint64)found->size_bytes, (guint64)expected->size_bytes));
    if (expected->sha256 && found->sha256 && strcmp (expected->sha256, found->sha256) != 0)
        g_ptr_array_add (differences,
                         g_strdup_printf ("SHA-256 is %s, the receipt has %s", found->sha256, expected->sha256));
}
