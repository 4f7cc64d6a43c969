/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The inventory's skeleton: names and parents of datacenters, folders, clusters and hosts, read once by one call or
 * kept by updates, so that no VM is asked for them. One thread at a time.
 */
#pragma once
#include "source/vsphere/internal.h"

typedef struct vmf_tree vmf_tree;
struct vmf_tree *vmf_tree_read (struct vmf_vsphere *vsphere, GCancellable *cancellable, GError **error);
void vmf_tree_free (struct vmf_tree *tree);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_tree, vmf_tree_free)

/* By hand: an empty one, the <propSet>s for what it is made of, and one object of a retrieval or of an update. */
struct vmf_tree *vmf_tree_new (void);
extern const char *const vmf_tree_types[]; /* for a view */
void vmf_tree_add_paths (GString *spec);
bool vmf_tree_has_type (const xmlNode *object);
void vmf_tree_apply (struct vmf_tree *tree, const xmlNode *object);

/* Where something stands; all strings are the tree's, "" where there is none. */
struct vmf_tree_place
{
    const char *host, *cluster, *datacenter;
    const char *datacenter_path; /* "folder/DC0", names as the server spells them (%2f): what dcPath takes */
    const char *folder;          /* "a/b" below the datacenter's VM folder */
    const char *host_state;      /* "connected", "disconnected", "notResponding" */
};
/* HOST and FOLDER are morefs of a VM's host and parent, either may be NULL. */
struct vmf_tree_place vmf_tree_find (struct vmf_tree *tree, const char *host, const char *folder);
