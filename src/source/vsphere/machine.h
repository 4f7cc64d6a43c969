/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What describing one machine is split into. */
#pragma once
#include "source/vsphere/internal.h"

/* Gives the cards of VM their networks' names. NETWORKS: the VM's property `network`, or NULL. false: cancelled. */
bool vmf_networks_name (struct vmf_vsphere *vsphere, const xmlNode *networks, struct vmf_vm *vm,
                        GCancellable *cancellable, GError **error);

/* struct vmf_vsphere_snapshot* from a VM's property `snapshot` (NULL: none), parents before their children. */
GPtrArray *vmf_snapshots_read (const xmlNode *info);
