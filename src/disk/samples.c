/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "disk/samples.h"
#include "base/error.h"
#include "disk/nbd.h"

enum
{
    SAMPLES = 32,
    SEQUENTIAL_SAMPLES = 4,
    SEQUENTIAL_STEP_BYTES = 1 << 20,
    TRIES = 20,
    PAUSE_US = 100 * 1000,
};

/* A server that fails a read may do better the next time, and one that died may come back. */
static bool
read_sample (const struct vmf_sample_place *place, struct nbd_handle **nbd, void *data, size_t length, uint64_t offset,
             GCancellable *cancellable, GError **error)
{
    for (unsigned tries = 1;; tries++)
    {
        g_autoptr (GError) why = NULL;
        if (!*nbd && !(*nbd = vmf_nbd_connect (place->uri, place->which, VMF_NBD_NONE, cancellable, error)))
            return false;
        if (vmf_nbd_read (*nbd, place->which, data, length, offset, cancellable, &why))
            return true;
        g_clear_pointer (nbd, vmf_nbd_close);
        if (tries == TRIES || g_error_matches (why, VMF_ERROR, VMF_ERROR_CANCELLED))
            return g_propagate_error (error, g_steal_pointer (&why)), false;
        g_usleep (PAUSE_US);
    }
}

static bool
check_block (const struct vmf_sample_place *place, struct nbd_handle **nbd, const struct vmf_digest_table *table,
             uint64_t block, GCancellable *cancellable, GError **error)
{
    struct vmf_digest expected, found;
    bool known;
    char data[VMF_BLOCK_BYTES];
    uint64_t offset = block * VMF_BLOCK_BYTES;
    size_t length = (size_t)MIN (vmf_digest_table_size (table) - offset, sizeof data);
    if (!vmf_digest_table_get (table, block, 1, &expected, &known, error))
        return false;
    if (!known)
        return true;
    if (place->writer ? !place->writer->ops->read (place->writer, data, offset, length, error)
                      : !read_sample (place, nbd, data, length, offset, cancellable, error))
        return false;
    found = vmf_digest_block (data, length);
    if (vmf_digest_equal (&found, &expected))
        return true;
    g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT,
                 "the %s is not the one that the journal speaks of: byte %" G_GUINT64_FORMAT
                 " and what follows has changed; what was copied is of no use, begin anew",
                 place->which, (guint64)offset);
    return false;
}

/* Some blocks, spread evenly over what is known, and the last. */
static bool
check_place (const struct vmf_sample_place *place, const struct vmf_digest_table *table,
             const struct vmf_extents *known, GCancellable *cancellable, GError **error)
{
    g_autoptr (nbd_handle) nbd = NULL;
    uint64_t step = MAX (vmf_extents_total (known) / SAMPLES, (uint64_t)VMF_BLOCK_BYTES), passed = 0, next = 0,
             last = 0;
    for (size_t i = 0; i < vmf_extents_count (known); i++)
    {
        struct vmf_extent extent = vmf_extents_nth (known, i);
        for (; next < passed + extent.length; next += step)
            if (!check_block (place, &nbd, table, (extent.offset + next - passed) / VMF_BLOCK_BYTES, cancellable,
                              error))
                return false;
        passed += extent.length;
        last = extent.offset + extent.length - 1;
    }
    return check_block (place, &nbd, table, last / VMF_BLOCK_BYTES, cancellable, error);
}

/* Of a stream, which goes on from here: nothing behind the first block that may still be wanted of it. */
static bool
check_beginning (const struct vmf_sample_place *place, const struct vmf_digest_table *table,
                 const struct vmf_extents *known, GCancellable *cancellable, GError **error)
{
    g_autoptr (nbd_handle) nbd = NULL;
    struct vmf_extent first = vmf_extents_nth (known, 0);
    bool good = true;
    for (uint64_t i = 0; good && i < SEQUENTIAL_SAMPLES && i * SEQUENTIAL_STEP_BYTES < first.length; i++)
        good = check_block (place, &nbd, table, (first.offset + i * SEQUENTIAL_STEP_BYTES) / VMF_BLOCK_BYTES,
                            cancellable, error);
    return good;
}

bool
vmf_samples_check (struct vmf_journal *journal, const char *name, const struct vmf_sample_place *places, size_t n,
                   GCancellable *cancellable, GError **error)
{
    g_autoptr (vmf_digest_table) table = vmf_journal_table (journal, error);
    g_autoptr (vmf_extents) known = table ? vmf_digest_table_known (table, error) : NULL;
    bool good = known != NULL;
    for (size_t i = 0; good && i < n && vmf_extents_count (known) > 0; i++)
        good = places[i].sequential ? check_beginning (&places[i], table, known, cancellable, error)
                                    : check_place (&places[i], table, known, cancellable, error);
    if (!good)
        g_prefix_error (error, "%s: ", name);
    return good;
}
