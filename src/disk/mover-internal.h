/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What mover.c (the loop), mover-slot.c (one request's life), mover-tune.c and mover-checkpoint.c share. */
#pragma once
#include "disk/link.h"
#include "disk/mover-budget.h"
#include "disk/mover.h"
#include "disk/queue.h"

enum
{
    LINKS_MAX = 16,
    LINKS_START = 4, /* and what a target gets */
    REQUEST_MAX_BYTES = 1024 * 1024,
    REQUEST_MIN_BYTES = 256 * 1024,
    BLOCKS_MAX = REQUEST_MAX_BYTES / VMF_BLOCK_BYTES,
    SLOTS_MAX = 256,
    ASKS_MAX = 16,
    SAMPLES_MAX = 8,
};

/* Something a worker does for the loop. */
struct task
{
    struct vmf_mover *mover;
    void (*work) (struct task *task);  /* in a worker */
    void (*ended) (struct task *task); /* in the loop, afterwards */
};

enum slot_state
{
    SLOT_FREE,
    SLOT_AGAIN, /* to be read (again) at retry_us */
    SLOT_READING,
    SLOT_READ,
    SLOT_WORKING, /* a worker's */
    SLOT_WRITING, /* to an NBD target */
};

struct slot
{
    struct task task;
    enum slot_state state;
    char *buffer; /* of the budget, while it is in use; a probe's own */
    size_t room, length;
    uint64_t offset;
    struct vmf_link *link; /* reading */
    bool here;             /* read from the target, where it stands already */
    bool probe;            /* kept for reading a block again that was read before, to see that the source is the same */
    bool failed;           /* one of its writes */
    unsigned writes, tries;
    int64_t started_us, failed_us, retry_us; /* failed_us: first failure; 0: none */
    int failed_errno;
    struct vmf_digest digests[BLOCKS_MAX], expected; /* expected: of a probe */
    uint32_t zero;                                   /* bit per block */
    GError *error;                                   /* the worker's */
};

struct ask
{
    struct vmf_mover *mover;
    struct vmf_link *link; /* NULL: free */
    unsigned id;
    int64_t started_us;
};

struct checkpoint
{
    struct task task;
    bool running, flushed; /* flushed: an NBD target's flush has come back */
    GByteArray *records;
    uint64_t bytes, mark;
    GError *error;
};

/* A round of reads, for tuning. */
struct vmf_mover_tuning
{
    bool growing; /* this round has more reads than the one before */
    bool full;    /* in this round as many reads were in flight as may be */
    uint64_t bytes;
    unsigned reads;
    int64_t since_us, took_us; /* took: the sum of all answers' times */
    int64_t again_us;
    double before_rate; /* of the round before; bytes a microsecond */
    int64_t before_us;  /* mean time of an answer there; 0: it was the first */
};

struct vmf_mover
{
    const struct vmf_mover_options *options;
    struct vmf_mover_progress *progress;
    struct vmf_queue *queue;
    struct vmf_link sources[LINKS_MAX], targets[LINKS_MAX];
    unsigned n_sources, n_targets, n_slots;
    unsigned links_wanted, links_max;         /* to the source; those wanted are used, more come and go by tuning */
    struct slot slots[SLOTS_MAX + LINKS_MAX]; /* the last of them are probes, one for each connection to the source */
    struct ask asks[ASKS_MAX];
    struct checkpoint checkpoint;
    GByteArray *pending; /* encoded records of what was written since the checkpoint began */
    uint64_t pending_bytes, busy_bytes;
    struct vmf_extents *dropped; /* not behind the last mark: never done by the journal's account */
    uint64_t marked;             /* what marks have said so far reaches to here */
    int64_t checkpoint_us;       /* when the last began */
    bool dirty;                  /* written since the last flush */

    GThreadPool *workers;
    GAsyncQueue *worked; /* struct task* */
    GAsyncQueue *inbox;  /* struct change* of other threads */
    int wake_fd;

    unsigned reading, working, writing, limit;
    bool queueing, starved;        /* starved: no memory for another read */
    struct vmf_budget *own_budget; /* where the options have none */
    struct vmf_budget_member *budget;
    struct vmf_mover_tuning tuning;
    uint64_t request_bytes;
    int64_t shortest_us, paced_us, lost_us, looked_us;
    uint64_t digest_us, write_us; /* of the workers; atomic */
    struct
    {
        uint64_t offset;
        size_t length;
        struct vmf_digest digest;
    } samples[SAMPLES_MAX]; /* blocks that were read */
    unsigned n_samples, n_probes;
    GError *failure; /* the first thing that ends the pass */
};

static inline void
mover_count (uint64_t *counter, uint64_t n)
{
    __atomic_add_fetch (counter, n, __ATOMIC_RELAXED);
}

/* mover.c */
void mover_fail (struct vmf_mover *mover, GError *failure); /* takes FAILURE; the first one counts */
void mover_hand_over (struct task *task);
struct vmf_link *mover_least_busy (struct vmf_link *links, unsigned n);
struct vmf_link *mover_source (struct vmf_mover *mover); /* the connection to read from; NULL: none is up */

/* mover-slot.c */
void slot_send_due (struct vmf_mover *mover, int64_t now_us); /* new reads and those to be tried again */
void slot_pass_on (struct vmf_mover *mover, int64_t now_us);  /* what was read goes to the workers */
void slot_drop_link (struct vmf_mover *mover, struct vmf_link *link, const char *why, int64_t now_us);
void slot_probe (struct vmf_mover *mover, struct vmf_link *link); /* LINK is on trial */
void slot_drop_buffer (struct slot *slot);                        /* gives it back, if it has one */
int64_t slot_next_us (const struct vmf_mover *mover);             /* when the next retry is due; INT64_MAX: none */

/* mover-tune.c */
void tune_note (struct vmf_mover *mover, const struct slot *slot, int64_t now_us); /* SLOT's read was answered */

uint64_t tune_busy_bytes (const struct vmf_mover *mover); /* what may be read and worked at, at most */

/* mover-checkpoint.c */
void checkpoint_note (struct vmf_mover *mover, const struct slot *slot);   /* SLOT's data stands on the target */
bool checkpoint_step (struct vmf_mover *mover, int64_t now_us, bool last); /* true: nothing is left to prove */
uint64_t checkpoint_unproven (const struct vmf_mover *mover);
enum
{
    UNPROVEN_MAX_BYTES = 58 * 1024 * 1024, /* a kill costs no more than this to read again */
};
