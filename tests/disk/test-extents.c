/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sets of ranges, against a plain array of bytes that does the same. */
#include "disk/extents.h"

#include <string.h>

enum
{
    BYTES = 512,
    ROUNDS = 2000,
};

static void
assert_same (const struct vmf_extents *set, const bool *model)
{
    uint64_t total = 0, previous_end = 0;
    for (size_t i = 0; i < vmf_extents_count (set); i++)
    {
        struct vmf_extent extent = vmf_extents_nth (set, i);
        g_assert_true (i == 0 || extent.offset > previous_end); /* sorted, disjoint, not touching */
        previous_end = extent.offset + extent.length;
        for (uint64_t at = extent.offset; at < previous_end; at++)
            g_assert_true (model[at]);
        total += extent.length;
    }
    uint64_t wanted = 0;
    for (size_t i = 0; i < BYTES; i++)
        wanted += model[i];
    g_assert_cmpuint (total, ==, wanted);
    g_assert_cmpuint (vmf_extents_total (set), ==, wanted);
}

static void
test_random (void)
{
    g_autoptr (vmf_extents) set = vmf_extents_new ();
    bool model[BYTES] = { false };
    for (int round = 0; round < ROUNDS; round++)
    {
        uint64_t offset = (uint64_t)g_test_rand_int_range (0, BYTES);
        uint64_t length = (uint64_t)g_test_rand_int_range (0, 40);
        length = MIN (length, BYTES - offset);
        bool add = g_test_rand_bit ();
        memset (model + offset, add, length);
        if (add)
            vmf_extents_add (set, offset, length);
        else
            vmf_extents_remove (set, offset, length);
        assert_same (set, model);
    }
}

static void
test_next (void)
{
    g_autoptr (vmf_extents) set = vmf_extents_new ();
    struct vmf_extent extent;
    g_assert_false (vmf_extents_next (set, 0, &extent));
    vmf_extents_add (set, 100, 50);
    g_assert_true (vmf_extents_next (set, 120, &extent));
    g_assert_cmpuint (extent.offset, ==, 120);
    g_assert_cmpuint (extent.length, ==, 30);
    g_assert_false (vmf_extents_next (set, 150, &extent));
}

static void
test_aligned (void)
{
    g_autoptr (vmf_extents) set = vmf_extents_new ();
    vmf_extents_add (set, 4096, 1);
    vmf_extents_add (set, 65536, 4096);
    vmf_extents_add (set, 1000000, 10);
    g_autoptr (vmf_extents) aligned = vmf_extents_aligned (set, 65536, 1000005);
    g_assert_cmpuint (vmf_extents_count (aligned), ==, 2);
    g_assert_cmpuint (vmf_extents_nth (aligned, 0).length, ==, 131072);
    g_assert_cmpuint (vmf_extents_nth (aligned, 1).offset, ==, 983040);
    g_assert_cmpuint (vmf_extents_nth (aligned, 1).length, ==, 1000005 - 983040);
}

static void
test_end_of_range (void)
{
    g_autoptr (vmf_extents) set = vmf_extents_new ();
    vmf_extents_add (set, UINT64_MAX - 10, 100);
    g_assert_cmpuint (vmf_extents_total (set), ==, 10);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/disk/extents/like-an-array-of-bytes", test_random);
    g_test_add_func ("/disk/extents/next", test_next);
    g_test_add_func ("/disk/extents/aligned", test_aligned);
    g_test_add_func ("/disk/extents/end-beyond-2^64", test_end_of_range);
    return g_test_run ();
}
