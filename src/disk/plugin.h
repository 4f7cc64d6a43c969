/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where our own nbdkit plugins (plugins/) are. Any thread. */
#pragma once
#include <gio/gio.h>

/* The absolute path of the plugin NAME ("vmdkstream"): in VMFERRY_PLUGIN_DIR, or beside a program that runs from its
   build directory, or where it was installed. NULL, MISSING: it is not there (a build may lack its library), or NAME is
   none of ours. Caller frees. */
char *vmf_plugin_find (const char *name, GError **error);
