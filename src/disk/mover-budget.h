/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The memory that reads in flight may have: one budget for all disks of an import, from which their movers take buffers
 * and to which they give them back.
 *
 * A disk alone gets all of it. Of several, each has a small part for itself, so that one whose source hangs does not
 * stop the others; beyond that a disk takes what is free, but not more than its share while another that has less
 * waits.
 *
 * Buffers lie in one mapping, made at first use: what was never needed costs nothing, and nothing is fragmented by an
 * allocator. Any thread; a member is one mover's. Order of calls: new, join by each mover, take and give, leave, free.
 */
#pragma once
#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum
{
    VMF_BUDGET_BUFFER_MAX_BYTES = 1024 * 1024,
    VMF_BUDGET_BUFFER_MIN_BYTES = 64 * 1024,
};

typedef struct vmf_budget vmf_budget;
struct vmf_budget_member;

struct vmf_budget *vmf_budget_new (uint64_t bytes); /* at least 4 buffers */
void vmf_budget_free (struct vmf_budget *budget);   /* all members have left */
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_budget, vmf_budget_free)

/* WAKE_FD, an eventfd, is written to when a take that was refused may succeed. */
struct vmf_budget_member *vmf_budget_join (struct vmf_budget *budget, int wake_fd);
void vmf_budget_leave (struct vmf_budget_member *member); /* it has given everything back */

/* A buffer of *LENGTH bytes rounded up to a power of two, or of the largest power of two below for which there is room;
   *LENGTH gets its size. NULL: none now. Whoever got less than he asked for waits for more, until he takes or is
   content; the others then keep to their shares. Page-aligned; what it holds is what somebody left there. */
void *vmf_budget_take (struct vmf_budget_member *member, size_t *length);
void vmf_budget_content (struct vmf_budget_member *member); /* what was refused is not wanted any more */
void vmf_budget_give (struct vmf_budget_member *member, void *buffer, size_t length); /* LENGTH as taken */
