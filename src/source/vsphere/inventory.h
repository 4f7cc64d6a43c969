/* SPDX-License-Identifier: GPL-2.0-or-later */
/* All VMs at once, and those that a name may mean. */
#pragma once
#include "source/vsphere/row.h"

/* Calls ON_VM with the <objects> of each VM that the user can see, page by page; asked for PATHS only. */
bool vmf_inventory_each (struct vmf_vsphere *vsphere, const char *doing, const char *const *paths,
                         vmf_answer_func on_vm, void *data, GCancellable *cancellable, GError **error);

/* What the inventory has under PATH, spelled as the server does: *TYPE and *MOREF (may be NULL) are the caller's, and
   NULL where nothing is there. *REFUSED: this user may not ask. False: it could not be asked. */
bool vmf_inventory_look_up (struct vmf_vsphere *vsphere, const char *path, char **type, char **moref, bool *refused,
                            GCancellable *cancellable, GError **error);

/* Rows (as vmf_vsphere_list gives them) of the VMs that NAME may mean, by name, reference or path, and
   WITHIN lets through; *TREE gets what is above them, for the caller to free. *N_SEEN: among how many VMs it looked;
   not set where a path led to it. Caller unrefs. */
GPtrArray *vmf_inventory_find (struct vmf_vsphere *vsphere, const struct vmf_vsphere_filter *within, const char *name,
                               struct vmf_tree **tree, unsigned *n_seen, GCancellable *cancellable, GError **error);
/* The same for a reference, which is no name. */
GPtrArray *vmf_inventory_find_reference (struct vmf_vsphere *vsphere, const char *moref, struct vmf_tree **tree,
                                         GCancellable *cancellable, GError **error);
