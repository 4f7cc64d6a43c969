/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The memory that movers share. */
#include "disk/mover-budget.h"

#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum
{
    MIB = 1024 * 1024,
    CHUNKS = 16,
};

struct taker
{
    struct vmf_budget_member *member;
    int wake_fd;
    char *buffers[CHUNKS * 16];
    size_t lengths[CHUNKS * 16];
    unsigned n;
    size_t bytes;
};

static struct taker
join (struct vmf_budget *budget)
{
    struct taker taker = { .wake_fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK) };
    taker.member = vmf_budget_join (budget, taker.wake_fd);
    return taker;
}

/* Gives what it got. */
static size_t
take (struct taker *taker, size_t length)
{
    char *buffer = vmf_budget_take (taker->member, &length);
    if (!buffer)
        return 0;
    memset (buffer, (int)taker->n, length);
    taker->buffers[taker->n] = buffer;
    taker->lengths[taker->n++] = length;
    taker->bytes += length;
    return length;
}

static void
give_last (struct taker *taker)
{
    taker->n--;
    taker->bytes -= taker->lengths[taker->n];
    vmf_budget_give (taker->member, taker->buffers[taker->n], taker->lengths[taker->n]);
}

static void
take_all (struct taker *taker, size_t length)
{
    while (take (taker, length) > 0)
        ;
}

static void
leave (struct taker *taker)
{
    while (taker->n > 0)
        give_last (taker);
    vmf_budget_leave (taker->member);
    close (taker->wake_fd);
}

static bool
is_woken (const struct taker *taker)
{
    eventfd_t count;
    return eventfd_read (taker->wake_fd, &count) == 0;
}

static void
test_alone_has_all (void)
{
    g_autoptr (vmf_budget) budget = vmf_budget_new (CHUNKS * MIB);
    struct taker one = join (budget);
    take_all (&one, MIB);
    g_assert_cmpuint (one.bytes, ==, CHUNKS * MIB);
    leave (&one);
}

/* Buffers of all sizes do not overlap, and small ones leave whole chunks for large ones. */
static void
test_sizes (void)
{
    g_autoptr (vmf_budget) budget = vmf_budget_new (CHUNKS * MIB);
    struct taker one = join (budget);
    for (size_t length = 1; length < MIB; length = length * 2 + 1000)
        g_assert_cmpuint (take (&one, length), >=, length);
    for (unsigned i = 0; i < CHUNKS - 3; i++)
        g_assert_cmpuint (take (&one, MIB), ==, MIB);
    take_all (&one, 1);
    g_assert_cmpuint (one.bytes, ==, CHUNKS * MIB);
    for (unsigned i = 0; i < one.n; i++)
        for (size_t at = 0; at < one.lengths[i]; at += 4096)
            g_assert_cmpint (one.buffers[i][at], ==, (char)i);
    leave (&one);
}

/* Where there is no room for the whole, there is for a part. */
static void
test_less_than_wanted (void)
{
    g_autoptr (vmf_budget) budget = vmf_budget_new (CHUNKS * MIB);
    struct taker one = join (budget);
    for (unsigned i = 0; i < CHUNKS - 1; i++)
        take (&one, MIB);
    take (&one, 64 * 1024);
    g_assert_cmpuint (take (&one, MIB), ==, MIB / 2);
    leave (&one);
}

/* One that holds all it can get leaves the others their own part. */
static void
test_own_part (void)
{
    g_autoptr (vmf_budget) budget = vmf_budget_new (CHUNKS * MIB);
    struct taker greedy = join (budget), late = join (budget);
    take_all (&greedy, MIB);
    g_assert_cmpuint (greedy.bytes, ==, (CHUNKS - 1) * MIB);
    g_assert_cmpuint (take (&late, MIB), ==, MIB);
    g_assert_cmpuint (take (&late, MIB), ==, 0);
    leave (&late);
    leave (&greedy);
}

/* While one that has less waits, what is given back is not taken again by the one that has more than its share. */
static void
test_shares (void)
{
    g_autoptr (vmf_budget) budget = vmf_budget_new (CHUNKS * MIB);
    struct taker greedy = join (budget), late = join (budget);
    take_all (&greedy, MIB);
    take_all (&late, MIB);
    g_assert_false (is_woken (&late));
    while (late.bytes < CHUNKS * MIB / 2)
    {
        give_last (&greedy);
        g_assert_cmpuint (take (&greedy, MIB), ==, 0);
        g_assert_true (is_woken (&late));
        take_all (&late, MIB);
    }
    g_assert_cmpuint (late.bytes, ==, CHUNKS * MIB / 2);
    vmf_budget_content (late.member); /* it has what it needs */
    give_last (&late);
    g_assert_cmpuint (take (&greedy, MIB), ==, MIB);
    leave (&late);
    leave (&greedy);
}

/* Whoever does not want what he was refused stands in nobody's way; nor does one that has left. */
static void
test_content (void)
{
    g_autoptr (vmf_budget) budget = vmf_budget_new (CHUNKS * MIB);
    struct taker greedy = join (budget), late = join (budget);
    take_all (&greedy, MIB);
    take_all (&late, MIB);
    vmf_budget_content (late.member);
    give_last (&greedy);
    g_assert_false (is_woken (&late));
    g_assert_cmpuint (take (&greedy, MIB), ==, MIB);
    g_assert_cmpuint (take (&greedy, MIB), ==, 0);
    leave (&late);
    g_assert_true (is_woken (&greedy));
    g_assert_cmpuint (take (&greedy, MIB), ==, MIB);
    leave (&greedy);
}

/* However many there are, each gets something. */
static void
test_many (void)
{
    g_autoptr (vmf_budget) budget = vmf_budget_new (CHUNKS * MIB);
    struct taker takers[64];
    for (unsigned i = 0; i < G_N_ELEMENTS (takers); i++)
        takers[i] = join (budget);
    size_t sum = 0;
    for (unsigned i = 0; i < G_N_ELEMENTS (takers); i++)
    {
        take_all (&takers[i], MIB);
        g_assert_cmpuint (takers[i].bytes, >=, VMF_BUDGET_BUFFER_MIN_BYTES);
        sum += takers[i].bytes;
    }
    g_assert_cmpuint (sum, <=, CHUNKS * MIB);
    for (unsigned i = 0; i < G_N_ELEMENTS (takers); i++)
        leave (&takers[i]);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/disk/budget/alone-has-all", test_alone_has_all);
    g_test_add_func ("/disk/budget/sizes", test_sizes);
    g_test_add_func ("/disk/budget/less-than-wanted", test_less_than_wanted);
    g_test_add_func ("/disk/budget/own-part", test_own_part);
    g_test_add_func ("/disk/budget/shares", test_shares);
    g_test_add_func ("/disk/budget/content", test_content);
    g_test_add_func ("/disk/budget/many", test_many);
    return g_test_run ();
}
