/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A copy of the server's inventory, kept by its updates, and what was told of it last. No server is asked here.
 *
 * Order of calls: apply for each <objectSet> of an answer, then, when the answers are complete, settle, which tells
 * what is different from the last time. After restart everything is applied anew, and settle finds what is gone. One
 * thread at a time.
 */
#pragma once
#include "source/vsphere/row.h"

typedef struct vmf_mirror vmf_mirror;
/* FILTER is copied; NULL: all. */
struct vmf_mirror *vmf_mirror_new (const struct vmf_vsphere_filter *filter);
void vmf_mirror_free (struct vmf_mirror *mirror);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_mirror, vmf_mirror_free)

void vmf_mirror_restart (struct vmf_mirror *mirror);
void vmf_mirror_apply (struct vmf_mirror *mirror, const xmlNode *object);
/* The filter's tag, or NULL; and the morefs of those that have it, which are taken over. */
const char *vmf_mirror_get_tag (const struct vmf_mirror *mirror);
void vmf_mirror_take_tagged (struct vmf_mirror *mirror, GHashTable *tagged);
/* By name; those that are gone first. Gives how many. */
unsigned vmf_mirror_settle (struct vmf_mirror *mirror, vmf_vsphere_on_change on_change, void *data);
/* As vmf_vsphere_inventory_get_rows(). */
GPtrArray *vmf_mirror_get_rows (const struct vmf_mirror *mirror);
