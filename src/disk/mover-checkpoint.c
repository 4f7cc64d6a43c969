/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checkpoints: data, flush, then the journal's records (DESIGN idea 6), beside the copy that goes on.
 *
 * Records of what was written gather in `pending`. A checkpoint takes them, has the target flushed, appends them and a
 * mark, and syncs the journal. The mark is the lowest offset that was not behind us when it began.
 */
#include "disk/mover-internal.h"

#include "base/error.h"

enum
{
    CHECKPOINT_BYTES = 8 * 1024 * 1024,
    CHECKPOINT_US = 1000 * 1000,
};

void
checkpoint_note (struct vmf_mover *mover, const struct slot *slot)
{
    const struct vmf_mover_options *options = mover->options;
    mover->dirty = true;
    if (!options->journal)
        return;
    struct vmf_journal_record record = { VMF_JOURNAL_PIECE, options->pass, slot->offset, slot->length,
                                         options->no_digests ? NULL : slot->digests };
    vmf_journal_encode (options->journal, mover->pending, &record);
    mover->pending_bytes += slot->length;
}

uint64_t
checkpoint_unproven (const struct vmf_mover *mover)
{
    return mover->options->journal ? mover->busy_bytes + mover->pending_bytes + mover->checkpoint.bytes : 0;
}

/* Everything needed below it is on the target or in the records of this checkpoint. */
static uint64_t
mark (const struct vmf_mover *mover)
{
    uint64_t lowest = vmf_queue_position (mover->queue);
    for (unsigned i = 0; i < mover->n_slots; i++)
        if (mover->slots[i].state != SLOT_FREE && !mover->slots[i].probe)
            lowest = MIN (lowest, mover->slots[i].offset);
    return lowest;
}

/* In a worker: what may wait for a disk. */
static void
work (struct task *task)
{
    struct checkpoint *checkpoint = (struct checkpoint *)task;
    const struct vmf_mover_options *options = task->mover->options;
    int64_t begin_us = g_get_monotonic_time ();
    bool good = !options->writer || options->writer->ops->flush (options->writer, &checkpoint->error);
    if (good && options->journal)
        vmf_journal_append (options->journal, checkpoint->records, &checkpoint->error);
    mover_count (&task->mover->write_us, (uint64_t)(g_get_monotonic_time () - begin_us));
}

static void
ended (struct task *task)
{
    struct checkpoint *checkpoint = (struct checkpoint *)task;
    checkpoint->running = false;
    if (checkpoint->error)
    {
        mover_fail (task->mover, g_steal_pointer (&checkpoint->error));
        return;
    }
    mover_count (&task->mover->progress->proven, checkpoint->bytes);
    checkpoint->bytes = 0;
    g_byte_array_set_size (checkpoint->records, 0);
}

static int
on_flushed (void *data, int *error)
{
    struct checkpoint *checkpoint = data;
    if (*error != 0)
        mover_fail (checkpoint->task.mover,
                    g_error_new (VMF_ERROR, *error == ENOSPC ? VMF_ERROR_NO_SPACE : VMF_ERROR_FAILED,
                                 "writing the target's caches back failed: %s", g_strerror (*error)));
    checkpoint->flushed = true;
    return 1;
}

static void
flush_then_journal (struct vmf_mover *mover)
{
    struct checkpoint *checkpoint = &mover->checkpoint;
    nbd_completion_callback done = { .callback = on_flushed, .user_data = checkpoint };
    checkpoint->flushed = mover->n_targets == 0 || nbd_can_flush (mover->targets[0].nbd) != 1;
    if (!checkpoint->flushed && nbd_aio_flush (mover->targets[0].nbd, done, 0) < 0)
        mover_fail (mover, g_error_new (VMF_ERROR, VMF_ERROR_FAILED, "the target: %s", vmf_nbd_words ()));
}

/* What the pass has passed since the last mark is done, but for what was dropped there. */
static void
encode_mark (struct vmf_mover *mover, GByteArray *records)
{
    uint64_t from = mover->marked, to = mark (mover);
    struct vmf_journal_record record = { VMF_JOURNAL_MARK, mover->options->pass, from, to - from, NULL };
    struct vmf_extent one;
    if (to <= from)
        return;
    vmf_journal_encode (mover->options->journal, records, &record);
    for (uint64_t at = from; vmf_extents_next (mover->dropped, at, &one) && one.offset < to;
         at = one.offset + one.length)
    {
        record = (struct vmf_journal_record){ VMF_JOURNAL_AGAIN, mover->options->pass, one.offset,
                                              MIN (one.length, to - one.offset), NULL };
        vmf_journal_encode (mover->options->journal, records, &record);
    }
    vmf_extents_remove (mover->dropped, 0, to);
    mover->marked = to;
}

static void
begin (struct vmf_mover *mover, int64_t now_us)
{
    struct checkpoint *checkpoint = &mover->checkpoint;
    GByteArray *empty = checkpoint->records;
    checkpoint->task = (struct task){ mover, work, ended };
    checkpoint->records = g_steal_pointer (&mover->pending);
    checkpoint->bytes = mover->pending_bytes;
    mover->pending = empty;
    mover->pending_bytes = 0;
    mover->checkpoint_us = now_us;
    mover->dirty = false;
    checkpoint->running = true;
    if (mover->options->journal)
        encode_mark (mover, checkpoint->records);
    flush_then_journal (mover);
}

bool
checkpoint_step (struct vmf_mover *mover, int64_t now_us, bool last)
{
    struct checkpoint *checkpoint = &mover->checkpoint;
    bool due = mover->pending_bytes >= CHECKPOINT_BYTES
               || (mover->pending_bytes > 0 && now_us - mover->checkpoint_us >= CHECKPOINT_US);
    if (!checkpoint->running && (due || (last && mover->dirty)))
        begin (mover, now_us);
    if (checkpoint->flushed && !mover->failure) /* what a failed flush was for is not journalled */
    {
        checkpoint->flushed = false; /* handed over once */
        mover_hand_over (&checkpoint->task);
        g_thread_pool_move_to_front (mover->workers, &checkpoint->task); /* reading may wait for it */
    }
    return !checkpoint->running;
}
