/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vCenter's tags. */
#include "source/vsphere/tags.h"
#include "base/error.h"

GHashTable *
vmf_tags_find (struct vmf_vsphere *vsphere, const char *tag, GCancellable *cancellable, GError **error)
{
    g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE, "%s: VMs cannot be chosen by a tag ('%s') here", vsphere->server,
                 tag);
    return NULL;
}
