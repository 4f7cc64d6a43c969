/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The mapping is cut into chunks of the largest buffer, and a chunk into units of the smallest; a bit says which are
 * taken. A buffer comes from the fullest chunk that has room for it, so that whole chunks stay for large ones.
 */
#include "disk/mover-budget.h"

#include <sys/eventfd.h>
#include <sys/mman.h>

enum
{
    UNIT = VMF_BUDGET_BUFFER_MIN_BYTES,
    UNITS_PER_CHUNK = VMF_BUDGET_BUFFER_MAX_BYTES / UNIT,
    CHUNKS_MIN = 4,
    OWN_PARTS = 16, /* a member's own part is at most one of so many */
};

struct vmf_budget_member
{
    struct vmf_budget *budget;
    unsigned used; /* units */
    bool waits;
    int wake_fd;
};

struct vmf_budget
{
    GMutex lock;
    char *memory;
    unsigned n_chunks, used; /* used: units */
    uint16_t *taken;         /* for each chunk a bit for each unit */
    GPtrArray *members;      /* borrowed */
};

G_STATIC_ASSERT (UNITS_PER_CHUNK == 16);

struct vmf_budget *
vmf_budget_new (uint64_t bytes)
{
    struct vmf_budget *budget = g_new0 (struct vmf_budget, 1);
    budget->n_chunks = (unsigned)CLAMP (bytes / VMF_BUDGET_BUFFER_MAX_BYTES, CHUNKS_MIN, 1 << 20);
    budget->taken = g_new0 (uint16_t, budget->n_chunks);
    budget->members = g_ptr_array_new ();
    g_mutex_init (&budget->lock);
    return budget;
}

void
vmf_budget_free (struct vmf_budget *budget)
{
    if (!budget)
        return;
    g_assert (budget->members->len == 0);
    if (budget->memory)
        munmap (budget->memory, (size_t)budget->n_chunks * VMF_BUDGET_BUFFER_MAX_BYTES);
    g_ptr_array_unref (budget->members);
    g_mutex_clear (&budget->lock);
    g_free (budget->taken);
    g_free (budget);
}

struct vmf_budget_member *
vmf_budget_join (struct vmf_budget *budget, int wake_fd)
{
    struct vmf_budget_member *member = g_new0 (struct vmf_budget_member, 1);
    g_autoptr (GMutexLocker) hold = g_mutex_locker_new (&budget->lock);
    member->budget = budget;
    member->wake_fd = wake_fd;
    g_ptr_array_add (budget->members, member);
    return member;
}

/* Those that were refused may have more luck now. */
static void
wake_others (const struct vmf_budget_member *member)
{
    const GPtrArray *members = member->budget->members;
    for (guint i = 0; i < members->len; i++)
    {
        const struct vmf_budget_member *one = g_ptr_array_index (members, i);
        if (one != member && one->waits)
            eventfd_write (one->wake_fd, 1);
    }
}

void
vmf_budget_leave (struct vmf_budget_member *member)
{
    struct vmf_budget *budget = member->budget;
    g_mutex_lock (&budget->lock);
    g_assert (member->used == 0);
    g_ptr_array_remove (budget->members, member);
    wake_others (member);
    g_mutex_unlock (&budget->lock);
    g_free (member);
}

/* May MEMBER have so many UNITS more? */
static bool
is_allowed (const struct vmf_budget_member *member, unsigned units)
{
    const struct vmf_budget *budget = member->budget;
    unsigned all = budget->n_chunks * UNITS_PER_CHUNK, n = budget->members->len;
    unsigned own = all / MAX ((unsigned)OWN_PARTS, 2 * n), share = all / n, kept = 0;
    bool others_wait = false;
    for (guint i = 0; i < n; i++)
    {
        const struct vmf_budget_member *one = g_ptr_array_index (budget->members, i);
        if (one == member)
            continue;
        kept += own > one->used ? own - one->used : 0;
        others_wait = others_wait || (one->waits && one->used < share);
    }
    if (member->used + units <= own)
        return true;
    return budget->used + units + kept <= all && (!others_wait || member->used + units <= share);
}

/* The first of UNITS free ones in a row, aligned to as many; -1: none. */
static int
find_in_chunk (uint16_t taken, unsigned units)
{
    unsigned mask = (1u << units) - 1;
    for (unsigned at = 0; at < UNITS_PER_CHUNK; at += units)
        if (!(taken & mask << at))
            return (int)at;
    return -1;
}

static char *
take_units (struct vmf_budget_member *member, unsigned units)
{
    struct vmf_budget *budget = member->budget;
    int best = -1, best_at = -1, best_full = -1;
    for (unsigned i = 0; i < budget->n_chunks && best_full < UNITS_PER_CHUNK - (int)units; i++)
    {
        int full = __builtin_popcount (budget->taken[i]);
        int at = full > best_full ? find_in_chunk (budget->taken[i], units) : -1;
        if (at >= 0)
            best = (int)i, best_at = at, best_full = full;
    }
    if (best < 0)
        return NULL;
    budget->taken[best] = (uint16_t)(budget->taken[best] | ((1u << units) - 1) << best_at);
    budget->used += units;
    member->used += units;
    return budget->memory + (size_t)best * VMF_BUDGET_BUFFER_MAX_BYTES + (size_t)best_at * UNIT;
}

static bool
map_memory (struct vmf_budget *budget)
{
    if (budget->memory)
        return true;
    size_t length = (size_t)budget->n_chunks * VMF_BUDGET_BUFFER_MAX_BYTES;
    void *memory = mmap (NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory != MAP_FAILED) /* all is touched within the first tenth of a second, by the loop itself */
        (void)madvise (memory, length, MADV_HUGEPAGE);
    budget->memory = memory == MAP_FAILED ? NULL : memory;
    return budget->memory != NULL;
}

void *
vmf_budget_take (struct vmf_budget_member *member, size_t *length)
{
    g_autoptr (GMutexLocker) hold = g_mutex_locker_new (&member->budget->lock);
    size_t wanted = MIN (*length, (size_t)VMF_BUDGET_BUFFER_MAX_BYTES);
    unsigned units = 1;
    char *buffer = NULL;
    while (units * (size_t)UNIT < *length && units < UNITS_PER_CHUNK)
        units *= 2;
    if (!map_memory (member->budget))
        return NULL;
    for (; units > 0 && !buffer; units /= 2)
    {
        buffer = is_allowed (member, units) ? take_units (member, units) : NULL;
        *length = units * (size_t)UNIT;
    }
    member->waits = !buffer || *length < wanted;
    return buffer;
}

void
vmf_budget_content (struct vmf_budget_member *member)
{
    g_autoptr (GMutexLocker) hold = g_mutex_locker_new (&member->budget->lock);
    member->waits = false;
}

void
vmf_budget_give (struct vmf_budget_member *member, void *buffer, size_t length)
{
    struct vmf_budget *budget = member->budget;
    size_t at = (size_t)((char *)buffer - budget->memory);
    unsigned units = (unsigned)(length / UNIT), chunk = (unsigned)(at / VMF_BUDGET_BUFFER_MAX_BYTES);
    unsigned bits = ((1u << units) - 1) << at % VMF_BUDGET_BUFFER_MAX_BYTES / UNIT;
    g_autoptr (GMutexLocker) hold = g_mutex_locker_new (&budget->lock);
    g_assert ((budget->taken[chunk] & bits) == bits);
    budget->taken[chunk] = (uint16_t)(budget->taken[chunk] & ~bits);
    budget->used -= units;
    member->used -= units;
    wake_others (member);
}
