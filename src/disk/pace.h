/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How fast a transfer may go: a rate limit and a pause, changed while it runs.
 *
 * A pace has a parent: what a disk may do is bounded by its own pace and by the import's. Any thread.
 */
#pragma once
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct vmf_pace vmf_pace;

/* PARENT is borrowed and may be NULL. No limit, not paused. */
struct vmf_pace *vmf_pace_new (struct vmf_pace *parent);
void vmf_pace_free (struct vmf_pace *pace);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_pace, vmf_pace_free)

void vmf_pace_set_rate (struct vmf_pace *pace, uint64_t rate_bytes_per_s); /* 0: no limit */
uint64_t vmf_pace_get_rate (struct vmf_pace *pace);
void vmf_pace_set_paused (struct vmf_pace *pace, bool paused);
bool vmf_pace_is_paused (struct vmf_pace *pace); /* itself or a parent */

/* May BYTES be read now? 0: yes, and they count; else the microseconds after which to ask again. NULL: always. */
int64_t vmf_pace_take (struct vmf_pace *pace, uint64_t bytes);
