/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A row of the inventory: which properties it is made of, how it is made of them and of the tree, and which rows a
 * filter wants. Pure; one thread at a time.
 */
#pragma once
#include "source/vsphere/tree.h"

#define VMF_ROW_N_PATHS 11
/* For a VirtualMachine's <propSet>; NULL-terminated. */
extern const char *const vmf_row_paths[VMF_ROW_N_PATHS + 1];

/* What the server said of a VM, by the table of paths. Zeroed: nothing yet. */
struct vmf_row_facts
{
    char *values[VMF_ROW_N_PATHS];
    char *refusals[VMF_ROW_N_PATHS]; /* why there is no value; a property that the server has none of is no refusal */
};
/* OBJECT: an <objects>, or an <objectSet>, which tells what has changed. */
void vmf_row_facts_apply (struct vmf_row_facts *facts, const xmlNode *object);
void vmf_row_facts_clear (struct vmf_row_facts *facts);

struct vmf_vsphere_row *vmf_row_new (const char *moref, const struct vmf_row_facts *facts, struct vmf_tree *tree);
void vmf_row_free (void *row);
bool vmf_row_equal (const struct vmf_vsphere_row *row, const struct vmf_vsphere_row *other);
/* By name, for GPtrArrays. */
int vmf_row_compare (gconstpointer left, gconstpointer right);

/* TAGGED: morefs that have the filter's tag; NULL: any. Both may be NULL. */
bool vmf_row_is_wanted (const struct vmf_vsphere_row *row, const struct vmf_row_facts *facts, struct vmf_tree *tree,
                        const struct vmf_vsphere_filter *filter, GHashTable *tagged);

enum vmf_vsphere_power vmf_power_from_text (const char *text);
