/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A bucket that holds a tenth of a second's worth: `full_us` is when the bytes taken so far will all have been due. */
#include "disk/pace.h"

enum
{
    BURST_US = 100 * 1000,
    PAUSED_US = 100 * 1000, /* how often a paused transfer asks again */
};

struct vmf_pace
{
    GMutex lock;
    struct vmf_pace *parent;
    uint64_t rate_bytes_per_s;
    bool paused;
    int64_t full_us; /* monotonic */
};

struct vmf_pace *
vmf_pace_new (struct vmf_pace *parent)
{
    struct vmf_pace *pace = g_new0 (struct vmf_pace, 1);
    g_mutex_init (&pace->lock);
    pace->parent = parent;
    return pace;
}

void
vmf_pace_free (struct vmf_pace *pace)
{
    if (!pace)
        return;
    g_mutex_clear (&pace->lock);
    g_free (pace);
}

void
vmf_pace_set_rate (struct vmf_pace *pace, uint64_t rate_bytes_per_s)
{
    g_autoptr (GMutexLocker) hold = g_mutex_locker_new (&pace->lock);
    pace->rate_bytes_per_s = rate_bytes_per_s;
    pace->full_us = 0; /* what was owed at the old rate is forgiven */
}

uint64_t
vmf_pace_get_rate (struct vmf_pace *pace)
{
    g_autoptr (GMutexLocker) hold = g_mutex_locker_new (&pace->lock);
    return pace->rate_bytes_per_s;
}

void
vmf_pace_set_paused (struct vmf_pace *pace, bool paused)
{
    g_autoptr (GMutexLocker) hold = g_mutex_locker_new (&pace->lock);
    pace->paused = paused;
}

bool
vmf_pace_is_paused (struct vmf_pace *pace)
{
    for (; pace; pace = pace->parent)
    {
        g_autoptr (GMutexLocker) hold = g_mutex_locker_new (&pace->lock);
        if (pace->paused)
            return true;
    }
    return false;
}

/* How long until BYTES may go; with TAKE they are counted. */
static int64_t
look (struct vmf_pace *pace, uint64_t bytes, int64_t now_us, bool take)
{
    g_autoptr (GMutexLocker) hold = g_mutex_locker_new (&pace->lock);
    if (pace->paused)
        return PAUSED_US;
    if (pace->rate_bytes_per_s == 0)
        return 0;
    int64_t full_us = MAX (pace->full_us, now_us - BURST_US);
    if (full_us > now_us)
        return full_us - now_us;
    if (take)
        pace->full_us = full_us + (int64_t)((double)bytes * 1e6 / (double)pace->rate_bytes_per_s);
    return 0;
}

int64_t
vmf_pace_take (struct vmf_pace *pace, uint64_t bytes)
{
    int64_t now_us = g_get_monotonic_time (), wait_us = 0;
    for (struct vmf_pace *one = pace; one; one = one->parent)
        wait_us = MAX (wait_us, look (one, bytes, now_us, false));
    for (struct vmf_pace *one = pace; one && wait_us == 0; one = one->parent)
        look (one, bytes, now_us, true);
    return wait_us;
}
