/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What describing one machine needs of the list: the tree once, and the rows by it. */
#pragma once
#include "source/vsphere/tree.h"

enum vmf_vsphere_power vmf_power_from_text (const char *text);
GPtrArray *vmf_inventory_list (struct vmf_vsphere *vsphere, struct vmf_tree *tree,
                               const struct vmf_vsphere_filter *filter, GCancellable *cancellable, GError **error);
