/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How many reads are in flight, how large they are and over how many connections: by measurement, while running.
 *
 * A round is as many answers as reads may be in flight. What a round brought is compared with the one before: in bytes,
 * and in how long an answer took. Pieces differ in size, so bytes alone tell little from one round to the next; answers
 * that take no longer though twice as many are asked for say that latency is what is waited for.
 */
#include "disk/mover-internal.h"

enum
{
    QUEUE_SLACK_US = 100 * 1000, /* how much longer than the shortest a request may take before it counts as queueing */
    FAST_US = 20 * 1000,         /* requests shorter than this may grow */
    ROUND_MIN_US = 5 * 1000,     /* a shorter round says nothing of throughput */
    AGAIN_US = 1000 * 1000,      /* more reads are tried again so often: lines change */
    LATENCY_US = 5 * 1000,       /* from this on more connections are worth their while */
    NEAR_BYTES = 32 * 1024 * 1024, /* in flight and in work from a source that is near: more brings nothing */
    READS_PER_LINK = 8,            /* servers take a number of requests at a time for a connection: nbdkit 16 */
    LIMIT_MIN = 2,
};

/* The round that ended had more reads than the one before: did that bring more? */
static bool
has_gained (const struct vmf_mover_tuning *tuning, double rate, int64_t took_us)
{
    return tuning->before_us == 0 || rate > tuning->before_rate * 1.1 || took_us < tuning->before_us * 5 / 4;
}

/* Answers that take as long as one by itself: it is latency alone that is waited for. */
static bool
is_distant (const struct vmf_mover *mover, int64_t took_us)
{
    return mover->shortest_us >= LATENCY_US && took_us < mover->shortest_us * 3 / 2;
}

uint64_t
tune_busy_bytes (const struct vmf_mover *mover)
{
    return mover->shortest_us < LATENCY_US ? NEAR_BYTES : UNPROVEN_MAX_BYTES;
}

static void
raise_limit (struct vmf_mover *mover, int64_t took_us)
{
    mover->tuning.growing = mover->limit < SLOTS_MAX;
    mover->limit = MIN (mover->limit * (is_distant (mover, took_us) ? 4 : 2), SLOTS_MAX);
}

/* Raised while that brings more, back to where it no longer did, fewer when requests only queue. */
static void
tune_limit (struct vmf_mover *mover, double rate, int64_t took_us, int64_t now_us)
{
    struct vmf_mover_tuning *tuning = &mover->tuning;
    bool gained = has_gained (tuning, rate, took_us);
    bool over = mover->queueing || (tuning->growing && tuning->full && !gained);
    if (mover->queueing)
        mover->limit = MAX (mover->limit - mover->limit / 4 - 1, (unsigned)LIMIT_MIN);
    else if (over)
        mover->limit = MAX (mover->limit / 2, (unsigned)LIMIT_MIN); /* where it was, or between */
    else if (tuning->full && (tuning->growing || now_us >= tuning->again_us))
        raise_limit (mover, took_us);
    if (over)
    {
        tuning->growing = false;
        tuning->again_us = now_us + AGAIN_US;
    }
}

/* A distant source answers as many requests at a time as it has been given connections for. */
static void
tune_links (struct vmf_mover *mover)
{
    unsigned wanted = mover->shortest_us >= LATENCY_US ? mover->limit / READS_PER_LINK : 0;
    mover->links_wanted = CLAMP (wanted, MIN ((unsigned)LINKS_START, mover->links_max), mover->links_max);
}

void
tune_note (struct vmf_mover *mover, const struct slot *slot, int64_t now_us)
{
    struct vmf_mover_tuning *tuning = &mover->tuning;
    int64_t took_us = now_us - slot->started_us;
    if (mover->shortest_us == 0 || took_us < mover->shortest_us)
        mover->shortest_us = took_us;
    tuning->bytes += slot->length;
    tuning->took_us += took_us;
    if (++tuning->reads < mover->limit || now_us - tuning->since_us < ROUND_MIN_US)
        return;
    double rate = (double)tuning->bytes / (double)(now_us - tuning->since_us);
    int64_t mean_us = tuning->took_us / tuning->reads;
    mover->queueing = took_us > mover->shortest_us + QUEUE_SLACK_US;
    tune_limit (mover, rate, mean_us, now_us);
    tune_links (mover);
    if (took_us < FAST_US || took_us < 2 * mover->shortest_us)
        mover->request_bytes = MIN (mover->request_bytes * (is_distant (mover, mean_us) ? 4 : 2), REQUEST_MAX_BYTES);
    else if (mover->queueing)
        mover->request_bytes = MAX (mover->request_bytes / 2, REQUEST_MIN_BYTES);
    tuning->before_rate = rate;
    tuning->before_us = mean_us;
    tuning->bytes = 0;
    tuning->took_us = 0;
    tuning->reads = 0;
    tuning->full = false;
    tuning->since_us = now_us;
}
