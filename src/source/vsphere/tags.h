/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vCenter's tags, which only its REST API knows. */
#pragma once
#include "source/vsphere/internal.h"

/* The morefs (a set of strings) of VMs that carry the tag named TAG. VMF_ERROR_NOT_FOUND: there is no such tag. */
GHashTable *vmf_tags_find (struct vmf_vsphere *vsphere, const char *tag, GCancellable *cancellable, GError **error);
