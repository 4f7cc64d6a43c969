/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The life of one request: free → reading → read → working → (writing) → free, and back to reading when it failed. */
#include "disk/mover-internal.h"

#include "base/error.h"
#include "base/text.h"
#include "disk/zero.h"

#include <errno.h>

enum
{
    RETRY_FIRST_US = 50 * 1000,
    RETRY_MAX_US = 5 * 1000 * 1000,
    STARVED_US = 20 * 1000, /* how soon a read that has no buffer is tried again */
    SEQUENTIAL_MAX = 12,    /* of nbdkit's 16 threads a connection; questions about extents take up to four */
};

void
slot_drop_buffer (struct slot *slot)
{
    char *buffer = g_steal_pointer (&slot->buffer);
    if (buffer && slot->probe)
        g_free (buffer);
    else if (buffer)
        vmf_budget_give (slot->task.mover->budget, buffer, slot->room);
}

static void
release (struct slot *slot)
{
    slot_drop_buffer (slot);
    if (!slot->probe)
        slot->task.mover->busy_bytes -= slot->length;
    slot->state = SLOT_FREE;
    slot->here = slot->failed = false;
    slot->link = NULL;
    slot->tries = 0;
    slot->failed_us = 0;
}

/* The slot's bytes are on the target. */
static void
complete (struct slot *slot)
{
    struct vmf_mover *mover = slot->task.mover;
    mover_count (&mover->progress->done, slot->length);
    checkpoint_note (mover, slot);
    release (slot);
}

/* ---- reading ---- */

/* Its read failed: it is tried again, unless it failed for too long. */
static void
fail_read (struct slot *slot, int error, const char *words, int64_t now_us)
{
    struct vmf_mover *mover = slot->task.mover;
    g_autofree char *trouble = vmf_text_printable (words, 200);
    slot->state = SLOT_AGAIN;
    if (!slot->probe)
        slot_drop_buffer (slot); /* others may have it meanwhile */
    slot->link = slot->probe ? slot->link : NULL;
    slot->failed_us = slot->failed_us ? slot->failed_us : now_us;
    slot->retry_us = now_us + MIN ((int64_t)RETRY_FIRST_US << MIN (slot->tries, 10u), (int64_t)RETRY_MAX_US);
    slot->tries++;
    if (now_us - slot->failed_us < mover->options->retry_ms * 1000)
    {
        mover_count (&mover->progress->retries, 1);
        return;
    }
    mover_fail (mover, g_error_new (VMF_ERROR, VMF_ERROR_FAILED,
                                    "reading from the source failed at byte %" G_GUINT64_FORMAT " (%u tries): %s",
                                    (guint64)slot->offset, slot->tries, error ? g_strerror (error) : trouble));
}

static int
on_read (void *data, int *error)
{
    struct slot *slot = data;
    struct vmf_mover *mover = slot->task.mover;
    mover->reading--;
    if (*error != 0)
        fail_read (slot, *error, "", g_get_monotonic_time ());
    else
        slot->state = SLOT_READ;
    return 1;
}

static void
submit_read (struct slot *slot, int64_t now_us)
{
    struct vmf_mover *mover = slot->task.mover;
    if (!slot->probe)
        slot->link = slot->here ? mover_least_busy (mover->targets, mover->n_targets) : mover_source (mover);
    slot->started_us = now_us;
    slot->state = SLOT_READING;
    mover->reading++;
    nbd_completion_callback done = { .callback = on_read, .user_data = slot };
    if (slot->link && nbd_aio_pread (slot->link->nbd, slot->buffer, slot->length, slot->offset, done, 0) >= 0)
        return;
    mover->reading--;
    fail_read (slot, nbd_get_errno (), vmf_nbd_words (), now_us);
}

static struct slot *
free_slot (struct vmf_mover *mover)
{
    for (unsigned i = 0; i < mover->n_slots; i++)
        if (mover->slots[i].state == SLOT_FREE && !mover->slots[i].probe)
            return &mover->slots[i];
    return NULL;
}

/* A buffer for SLOT, of LENGTH bytes or less. */
static bool
take_buffer (struct slot *slot, size_t length)
{
    struct vmf_mover *mover = slot->task.mover;
    slot->room = length;
    slot->buffer = vmf_budget_take (mover->budget, &slot->room);
    mover->starved = mover->starved || !slot->buffer || slot->room < length;
    return slot->buffer != NULL;
}

/* The first by offset of those that wait to be read again. NULL: none. */
static struct slot *
lowest_again (const struct vmf_mover *mover)
{
    const struct slot *lowest = NULL;
    for (unsigned i = 0; i < mover->n_slots; i++)
    {
        const struct slot *slot = &mover->slots[i];
        if (slot->state == SLOT_AGAIN && !slot->probe && (!lowest || slot->offset < lowest->offset))
            lowest = slot;
    }
    return (struct slot *)lowest;
}

/* How much of PIECE stands on the target already (from its beginning); else how much does not. */
static bool
is_here (struct vmf_mover *mover, struct vmf_extent *piece, bool *here)
{
    g_autoptr (GArray) status = g_array_new (FALSE, FALSE, sizeof (struct vmf_nbd_status));
    g_autoptr (GError) error = NULL;
    uint64_t length = 0;
    if (!vmf_nbd_block_status (mover->targets[0].nbd, "qemu:allocation-depth", piece->offset, piece->length, status,
                               mover->options->name, &error))
        return mover_fail (mover, g_steal_pointer (&error)), false;
    *here = g_array_index (status, struct vmf_nbd_status, 0).flags == 1;
    for (guint i = 0; i < status->len; i++)
    {
        const struct vmf_nbd_status *one = &g_array_index (status, struct vmf_nbd_status, i);
        if ((one->flags == 1) != *here)
            break;
        length += one->length_bytes;
    }
    /* Whole blocks: QEMU's clusters are ours, so a part of one is not seen; the rest of the piece is asked for again.
     */
    uint64_t rest = piece->length - length;
    if (rest > 0)
        vmf_queue_put_back (mover->queue, piece->offset + length, rest);
    piece->length = length;
    return true;
}

/* The next piece is read into SLOT, which has a buffer. False: nothing to send now. */
static bool
take_piece (struct slot *slot, int64_t now_us)
{
    struct vmf_mover *mover = slot->task.mover;
    struct vmf_extent piece;
    bool here = false;
    if (!vmf_queue_next (mover->queue, MIN (slot->room, mover->request_bytes), &piece)
        || (mover->options->skip_present && !is_here (mover, &piece, &here)))
        return slot_drop_buffer (slot), false;
    if (here)
        mover_count (&mover->progress->here, piece.length);
    if (here && !mover->options->journal)
    {
        mover_count (&mover->progress->done, piece.length);
        slot_drop_buffer (slot);
        return true;
    }
    slot->offset = piece.offset;
    slot->length = piece.length;
    slot->here = here;
    mover->busy_bytes += piece.length;
    submit_read (slot, now_us);
    return true;
}

/* Of a stream no more is under way than nbdkit handles at once, and nothing new while what failed was not read, or a
   request could come after what it wants has gone by. */
static bool
keeps_order (const struct vmf_mover *mover)
{
    if (!mover->options->sequential)
        return true;
    for (unsigned i = 0; i < mover->n_slots; i++)
    {
        const struct slot *slot = &mover->slots[i];
        if (slot->tries > 0 && !slot->probe && (slot->state == SLOT_AGAIN || slot->state == SLOT_READING))
            return false;
    }
    return mover->reading < SEQUENTIAL_MAX;
}

/* A slot with a buffer for the next piece, if that may be read now. NULL: not now. */
static struct slot *
next_slot (struct vmf_mover *mover)
{
    struct slot *slot = free_slot (mover);
    struct vmf_extent next;
    mover->tuning.full = mover->tuning.full || mover->reading >= mover->limit;
    if (!slot || mover->reading >= mover->limit || !keeps_order (mover) || !mover_source (mover)
        || !vmf_queue_peek (mover->queue, mover->request_bytes, &next)
        || mover->busy_bytes + next.length > tune_busy_bytes (mover)
        || checkpoint_unproven (mover) + next.length > UNPROVEN_MAX_BYTES || !take_buffer (slot, next.length))
        return NULL;
    mover->paced_us = vmf_pace_take (mover->options->pace, MIN (next.length, slot->room));
    if (mover->paced_us == 0)
        return slot;
    slot_drop_buffer (slot);
    return NULL;
}

static void
send_again (struct slot *slot, int64_t now_us)
{
    if (slot->probe || take_buffer (slot, slot->length))
    {
        if (slot->probe || slot->room >= slot->length)
            return submit_read (slot, now_us);
        slot_drop_buffer (slot);
    }
    slot->retry_us = now_us + STARVED_US;
}

/* Of a stream: all, once one is due. */
static void
send_again_in_order (struct vmf_mover *mover, int64_t now_us)
{
    struct slot *slot;
    bool due = slot_next_us (mover) <= now_us;
    while (due && !mover->failure && mover_source (mover) && (slot = lowest_again (mover)))
    {
        send_again (slot, now_us);
        due = slot->state != SLOT_AGAIN;
    }
}

void
slot_send_due (struct vmf_mover *mover, int64_t now_us)
{
    bool was_starved = mover->starved;
    struct slot *next;
    mover->starved = false;
    for (unsigned i = 0; i < mover->n_slots && !mover->failure; i++)
    {
        struct slot *slot = &mover->slots[i];
        if (slot->state == SLOT_AGAIN && slot->retry_us <= now_us
            && (slot->probe || (!mover->options->sequential && mover_source (mover))))
            send_again (slot, now_us);
    }
    if (mover->options->sequential)
        send_again_in_order (mover, now_us);
    mover->paced_us = 0;
    while (!mover->failure && (next = next_slot (mover)) && take_piece (next, now_us))
        ;
    if (was_starved && !mover->starved)
        vmf_budget_content (mover->budget);
}

/* The connection that PROBE was for is gone. */
static void
end_trial (struct slot *probe)
{
    if (probe->state == SLOT_WORKING)
        probe->link = NULL; /* released when the worker gives it back */
    else
        release (probe);
}

void
slot_drop_link (struct vmf_mover *mover, struct vmf_link *link, const char *why, int64_t now_us)
{
    vmf_link_drop (link, why);
    for (unsigned i = 0; i < mover->n_slots; i++)
    {
        struct slot *slot = &mover->slots[i];
        bool reading = slot->state == SLOT_READING && slot->link == link;
        mover->reading -= reading;
        if (slot->probe && slot->link == link)
            end_trial (slot);
        else if (reading)
            fail_read (slot, 0, why, now_us);
    }
    for (unsigned i = 0; i < ASKS_MAX; i++)
        if (mover->asks[i].link == link)
        {
            vmf_queue_unanswered (mover->queue, mover->asks[i].id);
            mover->asks[i].link = NULL;
        }
}

int64_t
slot_next_us (const struct vmf_mover *mover)
{
    int64_t next_us = INT64_MAX;
    for (unsigned i = 0; i < mover->n_slots; i++)
        if (mover->slots[i].state == SLOT_AGAIN)
            next_us = MIN (next_us, mover->slots[i].retry_us);
    return next_us;
}

static struct slot *
free_probe (struct vmf_mover *mover)
{
    for (unsigned i = 0; i < mover->n_slots; i++)
        if (mover->slots[i].probe && mover->slots[i].state == SLOT_FREE)
            return &mover->slots[i];
    return NULL;
}

static unsigned
lowest_sample (const struct vmf_mover *mover)
{
    unsigned lowest = 0;
    for (unsigned i = 1; i < mover->n_samples; i++)
        lowest = mover->samples[i].offset < mover->samples[lowest].offset ? i : lowest;
    return lowest;
}

/* The source came back: a block that was read before must be as it was. Until then nothing else is read there, so what
   is on the target and in the journal is of one source. */
void
slot_probe (struct vmf_mover *mover, struct vmf_link *link)
{
    struct slot *slot = free_probe (mover);
    if (mover->n_samples == 0)
        vmf_link_trust (link);
    else if (!slot) /* those of connections that died meanwhile: a worker still has them */
        slot_drop_link (mover, link, "too many connections died", g_get_monotonic_time ());
    else
    {
        unsigned sample = mover->options->sequential ? lowest_sample (mover) : mover->n_probes++ % mover->n_samples;
        slot->buffer = slot->buffer ? slot->buffer : g_malloc (VMF_BLOCK_BYTES);
        slot->offset = mover->samples[sample].offset;
        slot->length = mover->samples[sample].length;
        slot->expected = mover->samples[sample].digest;
        slot->link = link;
        submit_read (slot, g_get_monotonic_time ());
    }
}

/* ---- digest and zero detection; direct writes ---- */

static size_t
block_length (const struct slot *slot, unsigned block)
{
    return MIN (slot->length - (size_t)block * VMF_BLOCK_BYTES, (size_t)VMF_BLOCK_BYTES);
}

static unsigned
n_blocks (const struct slot *slot)
{
    return (unsigned)((slot->length + VMF_BLOCK_BYTES - 1) / VMF_BLOCK_BYTES);
}

/* Finds zeroes and digests block by block; with a block in the cache both cost little more than one. */
static void
take_digests (struct slot *slot, bool no_digests)
{
    slot->zero = 0;
    for (unsigned i = 0; i < n_blocks (slot); i++)
    {
        const char *block = slot->buffer + (size_t)i * VMF_BLOCK_BYTES;
        slot->digests[i] = no_digests ? (struct vmf_digest){ { !vmf_zero_is (block, block_length (slot, i)) } }
                                      : vmf_digest_block (block, block_length (slot, i));
        if (vmf_digest_is_zero (&slot->digests[i]))
            slot->zero |= 1u << i;
    }
}

/* The run of blocks from *FIRST on that are not zero; false: there is none. LENGTH in bytes. */
static bool
next_run (const struct slot *slot, unsigned *first, size_t *length)
{
    unsigned n = n_blocks (slot), end;
    while (*first < n && slot->zero & 1u << *first)
        (*first)++;
    for (end = *first; end < n && !(slot->zero & 1u << end); end++)
        ;
    *length = MIN (slot->length, (size_t)end * VMF_BLOCK_BYTES) - MIN (slot->length, (size_t)*first * VMF_BLOCK_BYTES);
    return *length > 0;
}

static bool
is_written (const struct slot *slot)
{
    return !slot->here && !slot->probe;
}

static void
work (struct task *task)
{
    struct slot *slot = (struct slot *)task;
    struct vmf_writer *writer = task->mover->options->writer;
    int64_t begin_us = g_get_monotonic_time ();
    take_digests (slot, task->mover->options->no_digests);
    int64_t digested_us = g_get_monotonic_time ();
    mover_count (&task->mover->digest_us, (uint64_t)(digested_us - begin_us));
    size_t length;
    for (unsigned i = 0; writer && is_written (slot) && next_run (slot, &i, &length);
         i += (unsigned)((length + VMF_BLOCK_BYTES - 1) / VMF_BLOCK_BYTES))
    {
        uint64_t at = (uint64_t)i * VMF_BLOCK_BYTES;
        if (!writer->ops->write (writer, slot->buffer + at, slot->offset + at, length, &slot->error))
            return;
        mover_count (&task->mover->progress->written, length);
    }
    mover_count (&task->mover->write_us, (uint64_t)(g_get_monotonic_time () - digested_us));
}

static int
on_written (void *data, int *error)
{
    struct slot *slot = data;
    if (*error != 0)
        mover_fail (slot->task.mover,
                    g_error_new (VMF_ERROR, *error == ENOSPC ? VMF_ERROR_NO_SPACE : VMF_ERROR_FAILED,
                                 "writing to the target failed at byte %" G_GUINT64_FORMAT ": %s%s",
                                 (guint64)slot->offset, g_strerror (*error),
                                 *error == ENOSPC ? "; make room there or choose another target" : ""));
    slot->failed = slot->failed || *error != 0;
    if (--slot->writes > 0)
        return 1;
    slot->task.mover->writing--;
    if (!slot->failed)
        complete (slot);
    return 1;
}

static void
send_writes (struct slot *slot)
{
    struct vmf_mover *mover = slot->task.mover;
    int good = 0;
    size_t length;
    slot->state = SLOT_WRITING;
    mover->writing++;
    slot->writes = 1; /* held while sending: a write may end at once */
    for (unsigned i = 0; next_run (slot, &i, &length);
         i += (unsigned)((length + VMF_BLOCK_BYTES - 1) / VMF_BLOCK_BYTES))
    {
        uint64_t at = (uint64_t)i * VMF_BLOCK_BYTES;
        struct vmf_link *link = mover_least_busy (mover->targets, mover->n_targets);
        nbd_completion_callback done = { .callback = on_written, .user_data = slot };
        slot->writes++;
        if (!link || nbd_aio_pwrite (link->nbd, slot->buffer + at, length, slot->offset + at, done, 0) < 0)
        {
            mover_fail (mover, g_error_new (VMF_ERROR, VMF_ERROR_FAILED, "the target: %s", vmf_nbd_words ()));
            return;
        }
        mover_count (&mover->progress->written, length);
    }
    on_written (slot, &good);
}

static void
check_probe (struct slot *slot)
{
    struct vmf_mover *mover = slot->task.mover;
    if (slot->link && vmf_digest_equal (&slot->digests[0], &slot->expected))
        vmf_link_trust (slot->link);
    else if (slot->link)
        mover_fail (mover,
                    g_error_new (VMF_ERROR, VMF_ERROR_CORRUPT,
                                 "the source came back with other content: byte %" G_GUINT64_FORMAT
                                 " and what follows is not what was read before; the copy is of no use, begin anew",
                                 (guint64)slot->offset));
    release (slot);
}

/* Keeps a few blocks of what was read, now and then another one. Zeroes are on every disk. */
static void
keep_sample (struct slot *slot)
{
    struct vmf_mover *mover = slot->task.mover;
    bool full = mover->n_samples == SAMPLES_MAX;
    if (slot->zero & 1 || mover->options->no_digests || (full && g_random_int_range (0, SAMPLES_MAX) != 0))
        return;
    unsigned i = full ? (unsigned)g_random_int_range (0, SAMPLES_MAX) : mover->n_samples++;
    mover->samples[i].offset = slot->offset;
    mover->samples[i].length = block_length (slot, 0);
    mover->samples[i].digest = slot->digests[0];
}

static void
worked (struct task *task)
{
    struct slot *slot = (struct slot *)task;
    struct vmf_mover *mover = task->mover;
    mover->working--;
    if (slot->error)
    {
        mover_fail (mover, g_steal_pointer (&slot->error));
        release (slot);
        return;
    }
    if (slot->probe)
    {
        check_probe (slot);
        return;
    }
    uint64_t zero = 0;
    for (unsigned i = 0; i < n_blocks (slot); i++)
        zero += slot->zero & 1u << i ? block_length (slot, i) : 0;
    if (!slot->here)
    {
        mover_count (&mover->progress->read, slot->length);
        mover_count (&mover->progress->zero, zero);
        keep_sample (slot);
    }
    if (mover->options->writer || slot->here)
        complete (slot);
    else
        send_writes (slot);
}

void
slot_pass_on (struct vmf_mover *mover, int64_t now_us)
{
    for (unsigned i = 0; i < mover->n_slots; i++)
    {
        struct slot *slot = &mover->slots[i];
        if (slot->state != SLOT_READ)
            continue;
        if (!slot->here && !slot->probe && slot->tries == 0)
            tune_note (mover, slot, now_us);
        slot->state = SLOT_WORKING;
        slot->task.work = work;
        slot->task.ended = worked;
        mover->working++;
        mover_hand_over (&slot->task);
    }
}
