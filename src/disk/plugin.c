/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Looking for our own nbdkit plugins. */
#include "disk/plugin.h"
#include "base/plugins.h"
#include "base/error.h"

char *
vmf_plugin_find (const char *name, GError **error)
{
    char *path = vmf_plugin_find_own (name);
    if (!path)
        g_set_error (error, VMF_ERROR, VMF_ERROR_MISSING,
                     "vmferry's own nbdkit plugin '%s' is not there; reinstall vmferry, or set VMFERRY_PLUGIN_DIR",
                     name);
    return path;
}
