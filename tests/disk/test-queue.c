/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The queue against a plain array of blocks, with a source that answers as it likes. */
#include "disk/queue.h"

#include <libnbd.h>
#include <string.h>

#define GIB ((uint64_t)1 << 30)
#define TIB ((uint64_t)1 << 40)

enum
{
    BLOCK = VMF_BLOCK_BYTES,
    ROUNDS = 60,
    STEPS_MAX = 2000000, /* more, and it hangs */
    ASKED_MAX = 16,
    ENTRIES_MAX = 64,
};

/* A run of the source's bytes. */
struct run
{
    uint64_t end;
    bool zero;
};

/* How the round is played. */
enum
{
    ROUGH = 1,    /* answers shorter than a block, failing ones, lost ones */
    CHANGING = 2, /* drop and add */
    BLIND = 4,    /* the source cannot be asked */
};

struct game
{
    unsigned how;
    uint64_t size_bytes, n_blocks, needed_bytes, handed_bytes, hole_bytes, position;
    GArray *runs;
    bool *must;    /* by block: has to come yet */
    bool *allowed; /* may come */
    struct vmf_queue *queue;
    struct
    {
        unsigned id;
        struct vmf_extent range;
    } asked[ASKED_MAX];
    unsigned n_asked;
};

static uint64_t
any (uint64_t below)
{
    return below ? (((uint64_t)(guint32)g_test_rand_int () << 32) | (guint32)g_test_rand_int ()) % below : 0;
}

static bool
one_in (uint64_t n)
{
    return any (n) == 0;
}

static uint64_t
length_of (const struct game *game, uint64_t block)
{
    return MIN ((uint64_t)BLOCK, game->size_bytes - block * BLOCK);
}

static struct run *
run_at (const struct game *game, uint64_t offset)
{
    guint low = 0, high = game->runs->len - 1;
    while (low < high)
    {
        guint middle = (low + high) / 2;
        if (g_array_index (game->runs, struct run, middle).end > offset)
            high = middle;
        else
            low = middle + 1;
    }
    return &g_array_index (game->runs, struct run, low);
}

static bool
block_is_zero (const struct game *game, uint64_t block)
{
    uint64_t end = block * BLOCK + length_of (game, block);
    for (uint64_t at = block * BLOCK; at < end; at = run_at (game, at)->end)
        if (!run_at (game, at)->zero)
            return false;
    return true;
}

static void
make_source (struct game *game)
{
    game->runs = g_array_new (FALSE, FALSE, sizeof (struct run));
    for (struct run run = { 0, g_test_rand_bit () }; run.end < game->size_bytes;)
    {
        uint64_t length = 512 * (1 + (one_in (2) ? any (800) : any (200000)));
        run.end = MIN (run.end + length, game->size_bytes);
        g_array_append_val (game->runs, run);
        run.zero = one_in (8) ? run.zero : !run.zero; /* sometimes two of a kind follow each other */
    }
}

/* What the pass needs, and of it what is done already. */
static void
make_queue (struct game *game)
{
    g_autoptr (vmf_extents) needed = vmf_extents_new (), done = vmf_extents_new ();
    for (unsigned i = 0; i < 20; i++)
        vmf_extents_add (needed, any (game->size_bytes), 1 + any (game->size_bytes / 8));
    g_autoptr (vmf_extents) whole = vmf_extents_aligned (needed, BLOCK, game->size_bytes);
    for (unsigned i = 0; i < 5; i++)
    {
        uint64_t first = any (game->n_blocks), last = MIN (first + any (game->n_blocks / 16), game->n_blocks - 1);
        vmf_extents_add (done, first * BLOCK, (last - first) * BLOCK + length_of (game, last));
    }
    for (size_t i = 0; i < vmf_extents_count (done); i++)
        vmf_extents_remove (whole, vmf_extents_nth (done, i).offset, vmf_extents_nth (done, i).length);
    game->must = g_new0 (bool, game->n_blocks);
    game->allowed = g_new0 (bool, game->n_blocks);
    for (size_t i = 0; i < vmf_extents_count (whole); i++)
    {
        struct vmf_extent extent = vmf_extents_nth (whole, i);
        for (uint64_t at = extent.offset; at < extent.offset + extent.length; at += BLOCK)
        {
            game->allowed[at / BLOCK] = true;
            game->must[at / BLOCK] = game->how & BLIND || !block_is_zero (game, at / BLOCK);
        }
    }
    game->needed_bytes = vmf_extents_total (whole);
    game->queue = vmf_queue_new (needed, done, game->size_bytes, !(game->how & BLIND), &game->hole_bytes);
}

static void
begin (struct game *game, uint64_t size_bytes, unsigned how)
{
    *game = (struct game){ .how = how, .size_bytes = size_bytes, .n_blocks = (size_bytes + BLOCK - 1) / BLOCK };
    make_source (game);
    make_queue (game);
    g_assert_cmpuint (vmf_queue_left (game->queue), ==, game->needed_bytes);
}

static void
end (struct game *game)
{
    vmf_queue_free (game->queue);
    g_array_unref (game->runs);
    g_free (game->must);
    g_free (game->allowed);
}

static void
take (struct game *game)
{
    uint64_t most = (uint64_t)256 * 1024 << any (3);
    struct vmf_extent piece, peeked;
    if (!vmf_queue_peek (game->queue, most, &peeked))
    {
        g_assert_false (vmf_queue_next (game->queue, most, &piece));
        return;
    }
    g_assert_true (vmf_queue_next (game->queue, most, &piece));
    g_assert_true (piece.offset == peeked.offset && piece.length == peeked.length);
    g_assert_cmpuint (piece.length, >, 0);
    g_assert_cmpuint (piece.offset % BLOCK, ==, 0);
    g_assert_cmpuint (piece.offset / most, ==, (piece.offset + piece.length - 1) / most);
    uint64_t stop = piece.offset + piece.length;
    g_assert_true (stop % BLOCK == 0 || stop == game->size_bytes);
    if (piece.length > BLOCK && one_in (10))
    {
        uint64_t kept = BLOCK * (1 + any ((piece.length - 1) / BLOCK));
        vmf_queue_put_back (game->queue, piece.offset + kept, piece.length - kept);
        game->position = MIN (game->position, piece.offset + kept);
        stop = piece.offset + kept;
    }
    for (uint64_t at = piece.offset; at < stop; at += BLOCK)
    {
        g_assert_true (game->allowed[at / BLOCK]);
        game->allowed[at / BLOCK] = game->must[at / BLOCK] = false;
    }
    game->handed_bytes += stop - piece.offset;
}

static void
ask (struct game *game)
{
    struct vmf_extent range;
    unsigned id;
    if (!vmf_queue_ask (game->queue, &id, &range))
        return;
    g_assert_false (game->how & BLIND);
    g_assert_cmpuint (game->n_asked, <, ASKED_MAX);
    g_assert_cmpuint (range.length, >, 0);
    g_assert_cmpuint (range.length, <=, GIB);
    g_assert_cmpuint (range.offset + range.length, <=, game->size_bytes);
    game->asked[game->n_asked].id = id;
    game->asked[game->n_asked++].range = range;
}

/* Some runs from the range's beginning; a whole block at least, where the game is not rough. */
static void
answer (struct game *game)
{
    uint32_t entries[ENTRIES_MAX];
    size_t n = 0, most = 2 * (1 + any (ENTRIES_MAX / 2));
    if (game->n_asked == 0)
        return;
    unsigned which = (unsigned)any (game->n_asked), id = game->asked[which].id;
    struct vmf_extent range = game->asked[which].range;
    game->asked[which] = game->asked[--game->n_asked];
    if (game->how & ROUGH && one_in (5))
        return vmf_queue_unanswered (game->queue, id);
    bool good = !(game->how & ROUGH) || !one_in (10);
    uint64_t at = range.offset, stop = range.offset + range.length;
    bool enough = false;
    while (at < stop && n < ENTRIES_MAX && !(enough && n >= most))
    {
        const struct run *run = run_at (game, at);
        uint64_t length = MIN (run->end, stop) - at;
        entries[n++] = (uint32_t)length;
        entries[n++] = run->zero ? LIBNBD_STATE_ZERO | (one_in (2) ? LIBNBD_STATE_HOLE : 0) : 0;
        at += length;
        enough = game->how & ROUGH || at - range.offset >= BLOCK;
    }
    if (n > 0 && !enough && at < stop) /* too many small runs in a block: the last one is said to be longer, and data */
    {
        entries[n - 2] += (uint32_t)MIN (stop - at, (uint64_t)BLOCK);
        entries[n - 1] = 0;
    }
    if (good || one_in (2))
        vmf_queue_answer (game->queue, id, range.offset, entries, n);
    vmf_queue_answered (game->queue, id, good);
}

static void
change (struct game *game)
{
    uint64_t offset = any (game->size_bytes), length = 1 + any (one_in (2) ? 4 * BLOCK : game->size_bytes / 50);
    length = MIN (length, game->size_bytes - offset);
    bool add = one_in (2);
    uint64_t first = add ? offset / BLOCK : (offset + BLOCK - 1) / BLOCK;
    uint64_t stop =
        add || offset + length == game->size_bytes ? (offset + length + BLOCK - 1) / BLOCK : (offset + length) / BLOCK;
    for (uint64_t block = first; block < stop; block++)
        game->must[block] = game->allowed[block] = add;
    if (!add)
        game->needed_bytes -= vmf_queue_drop (game->queue, offset, length);
    else
        game->needed_bytes += vmf_queue_add (game->queue, offset, length);
    if (add)
        game->position = MIN (game->position, first * BLOCK);
}

static void
check (struct game *game)
{
    uint64_t position = vmf_queue_position (game->queue);
    g_assert_cmpuint (position, >=, game->position);
    for (uint64_t block = game->position / BLOCK; block < position / BLOCK; block++)
        g_assert_false (game->must[block]);
    game->position = position;
    g_assert_cmpuint (game->needed_bytes, ==, game->handed_bytes + game->hole_bytes + vmf_queue_left (game->queue));
}

static void
play (struct game *game)
{
    unsigned steps = 0, changes = game->how & CHANGING ? 60 : 0;
    while (!vmf_queue_is_empty (game->queue) || changes > 0)
    {
        switch (any (5))
        {
        case 0:
            if (changes == 0 || one_in (3)) /* so that what changes was not all asked about */
                ask (game);
            break;
        case 1:
            answer (game);
            break;
        case 2:
            for (uint64_t n = any (2000); n > 0; n--)
                take (game);
            break;
        case 3:
            if (changes > 0 && one_in (4))
                change (game), changes--;
            break;
        default:
            check (game);
        }
        g_assert_cmpuint (steps++, <, STEPS_MAX);
    }
    check (game);
    g_assert_cmpuint (vmf_queue_left (game->queue), ==, 0);
    for (uint64_t block = 0; block < game->n_blocks; block++)
        g_assert_false (game->must[block]);
}

static uint64_t
zero_bytes_allowed (const struct game *game)
{
    uint64_t bytes = 0;
    for (uint64_t block = 0; block < game->n_blocks; block++)
        bytes += game->allowed[block] ? length_of (game, block) : 0;
    return bytes;
}

/* HOW, on disks of several sizes. Exactly the blocks that are not zero come, but from a rough source, or when added. */
static void
test_random (gconstpointer data)
{
    for (unsigned round = 0; round < ROUNDS; round++)
    {
        uint64_t size_bytes = 512 * (1 + (one_in (3) ? any (1000) : any (5 * GIB / 512)));
        struct game game;
        begin (&game, size_bytes, GPOINTER_TO_UINT (data));
        play (&game);
        if (game.how == 0)
            g_assert_cmpuint (game.hole_bytes, ==, zero_bytes_allowed (&game)); /* what never came is a hole */
        end (&game);
    }
}

static struct vmf_queue *
whole_disk (uint64_t size_bytes, uint64_t *hole_bytes)
{
    g_autoptr (vmf_extents) all = vmf_extents_new ();
    vmf_extents_add (all, 0, size_bytes);
    return vmf_queue_new (all, NULL, size_bytes, true, hole_bytes);
}

static void
answer_all (struct vmf_queue *queue, unsigned id, struct vmf_extent range, uint32_t flags)
{
    const uint32_t entries[] = { (uint32_t)range.length, flags };
    vmf_queue_answer (queue, id, range.offset, entries, G_N_ELEMENTS (entries));
    vmf_queue_answered (queue, id, true);
}

/* However large the disk, it asks only a little ahead of what is taken. */
static void
test_ahead (void)
{
    uint64_t holes = 0, asked_bytes = 0;
    g_autoptr (vmf_queue) queue = whole_disk (64 * TIB, &holes);
    struct vmf_extent range, piece;
    unsigned id, asks = 0;
    while (vmf_queue_ask (queue, &id, &range))
    {
        answer_all (queue, id, range, 0);
        asked_bytes += range.length;
    }
    g_assert_cmpuint (asked_bytes, <=, 8 * GIB);
    for (uint64_t taken = 0; taken < asked_bytes; taken += piece.length)
        g_assert_true (vmf_queue_next (queue, 1024 * 1024, &piece));
    g_assert_false (vmf_queue_next (queue, 1024 * 1024, &piece));
    for (; vmf_queue_ask (queue, &id, &range); asks++)
        g_assert_cmpuint (asks, <, 17); /* none of them is answered */
    g_assert_cmpuint (asks, >, 1);
}

/* A disk that is one hole is asked about to its end without anything to take. */
static void
test_empty_disk (void)
{
    uint64_t holes = 0;
    g_autoptr (vmf_queue) queue = whole_disk (64 * TIB, &holes);
    struct vmf_extent range, piece;
    unsigned id;
    while (vmf_queue_ask (queue, &id, &range))
        answer_all (queue, id, range, LIBNBD_STATE_ZERO | LIBNBD_STATE_HOLE);
    g_assert_false (vmf_queue_next (queue, 1024 * 1024, &piece));
    g_assert_true (vmf_queue_is_empty (queue));
    g_assert_cmpuint (holes, ==, 64 * TIB);
    g_assert_cmpuint (vmf_queue_position (queue), ==, 64 * TIB);
}

/* A question that got lost is asked again, the same; one that failed is data, and the others are asked all the same. */
static void
test_lost_and_failed (void)
{
    uint64_t holes = 0;
    g_autoptr (vmf_queue) queue = whole_disk (4 * GIB, &holes);
    struct vmf_extent first, again, second, range, piece;
    unsigned id, other;
    g_assert_true (vmf_queue_ask (queue, &id, &first));
    g_assert_true (vmf_queue_ask (queue, &other, &second));
    vmf_queue_unanswered (queue, id);
    vmf_queue_answered (queue, other, false);
    g_assert_true (vmf_queue_ask (queue, &id, &again));
    g_assert_true (again.offset == first.offset && again.length == first.length);
    g_assert_false (vmf_queue_next (queue, 1024 * 1024, &piece)); /* in rising order */
    answer_all (queue, id, again, LIBNBD_STATE_ZERO);
    uint64_t taken = 0;
    do
    {
        while (vmf_queue_next (queue, 1024 * 1024, &piece))
            taken += piece.length;
        if (vmf_queue_ask (queue, &id, &range))
            answer_all (queue, id, range, LIBNBD_STATE_ZERO);
    } while (!vmf_queue_is_empty (queue));
    g_assert_cmpuint (taken, ==, second.length);
    g_assert_cmpuint (holes, ==, 4 * GIB - second.length);
}

/* Dropping counts what falls away, once, wherever the range stands. */
static void
test_drop (void)
{
    uint64_t holes = 0;
    g_autoptr (vmf_queue) queue = whole_disk (2 * GIB, &holes);
    struct vmf_extent range, piece;
    unsigned id;
    g_assert_cmpuint (vmf_queue_drop (queue, GIB + 1, 2 * BLOCK), ==, BLOCK); /* not asked about yet */
    g_assert_true (vmf_queue_ask (queue, &id, &range));
    g_assert_cmpuint (vmf_queue_drop (queue, 10 * BLOCK, BLOCK), ==, BLOCK); /* asked */
    const uint32_t entries[] = { 64 * BLOCK, 0, (uint32_t)range.length - 64 * BLOCK, LIBNBD_STATE_ZERO };
    vmf_queue_answer (queue, id, range.offset, entries, G_N_ELEMENTS (entries));
    vmf_queue_answered (queue, id, true);
    g_assert_true (vmf_queue_next (queue, 4 * BLOCK, &piece));
    g_assert_cmpuint (vmf_queue_drop (queue, 0, 8 * BLOCK), ==, 4 * BLOCK);        /* half of it was handed out */
    g_assert_cmpuint (vmf_queue_drop (queue, 100 * BLOCK, 8 * BLOCK), ==, 0);      /* a hole */
    g_assert_cmpuint (vmf_queue_drop (queue, 10 * BLOCK, BLOCK), ==, 0);           /* dropped before */
    g_assert_cmpuint (vmf_queue_drop (queue, 20 * BLOCK + 1, BLOCK), ==, 0);       /* no whole block */
    g_assert_cmpuint (vmf_queue_add (queue, 2 * BLOCK + 5, BLOCK), ==, 2 * BLOCK); /* handed out: once more */
    g_assert_cmpuint (vmf_queue_add (queue, 2 * BLOCK, 2 * BLOCK), ==, 0);         /* comes already */
    g_assert_true (vmf_queue_next (queue, 4 * BLOCK, &piece));
    g_assert_cmpuint (piece.offset, ==, 2 * BLOCK);
}

/* What is added while the answer about it is under way comes, once, whatever the answer says. */
static void
test_add_early (void)
{
    uint64_t holes = 0, taken = 0;
    g_autoptr (vmf_queue) queue = whole_disk (GIB, &holes);
    struct vmf_extent range, piece;
    unsigned id;
    g_assert_true (vmf_queue_ask (queue, &id, &range));
    g_assert_cmpuint (vmf_queue_add (queue, 4 * BLOCK, 2 * BLOCK), ==, 0); /* needed anyway */
    g_assert_false (vmf_queue_next (queue, 1024 * 1024, &piece));
    const uint32_t entries[] = { 5 * BLOCK, 0, (uint32_t)range.length - 5 * BLOCK, LIBNBD_STATE_ZERO };
    vmf_queue_answer (queue, id, range.offset, entries, G_N_ELEMENTS (entries));
    vmf_queue_answered (queue, id, true);
    while (vmf_queue_next (queue, 1024 * 1024, &piece))
        taken += piece.length;
    g_assert_cmpuint (taken, ==, 6 * BLOCK);
    g_assert_cmpuint (holes, ==, GIB - 6 * BLOCK);
    g_assert_true (vmf_queue_is_empty (queue));
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_data_func ("/disk/queue/exactly-what-is-not-zero", GUINT_TO_POINTER (0), test_random);
    g_test_add_data_func ("/disk/queue/rough-source", GUINT_TO_POINTER (ROUGH), test_random);
    g_test_add_data_func ("/disk/queue/drop-and-add", GUINT_TO_POINTER (CHANGING), test_random);
    g_test_add_data_func ("/disk/queue/drop-and-add-with-a-rough-source", GUINT_TO_POINTER (ROUGH | CHANGING),
                          test_random);
    g_test_add_data_func ("/disk/queue/source-that-cannot-be-asked", GUINT_TO_POINTER (BLIND), test_random);
    g_test_add_func ("/disk/queue/asks-a-little-ahead", test_ahead);
    g_test_add_func ("/disk/queue/empty-disk-of-64-tib", test_empty_disk);
    g_test_add_func ("/disk/queue/lost-and-failed-questions", test_lost_and_failed);
    g_test_add_func ("/disk/queue/drop-counts-once", test_drop);
    g_test_add_func ("/disk/queue/added-while-asked", test_add_early);
    return g_test_run ();
}
