/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nbdkit's plugins that vmferry uses, its own among them: found, asked for their version, with the package that has
 * them.
 *
 * A plugin is asked in a child (nbdkit NAME --dump-plugin), since loading one may bring in libraries that this process
 * must never see. What starts a child is for the main thread only (child.h); the rest any thread may call.
 */
#pragma once
#include "base/tools.h"
#include <gio/gio.h>
#include <stdbool.h>

struct vmf_plugin
{
    const char *name; /* as nbdkit has it: "ssh"; of our own ones the name in nbdkit-NAME-plugin.so */
    bool own;
    const char *needed_for;
    const char *package[VMF_FAMILY_SUSE + 1]; /* by enum vmf_family; NULL: comes with vmferry, or is not packaged */
};

const struct vmf_plugin *vmf_plugins_table (void); /* ended by a NULL name */

struct vmf_plugin_found
{
    char *word;    /* what nbdkit's command line names it by: "ssh", or the path of our own file. NULL: not there */
    char *version; /* NULL: it did not say */
    char *dump;    /* what --dump-plugin printed; NULL: it failed, or is not there */
    char *problem; /* why it failed; NULL: it did not, or is not there */
};

/* nbdkit-NAME-plugin.so of vmferry: in VMFERRY_PLUGIN_DIR, beside a program that runs from its build directory, or
   where it was installed. NULL: there is none. Caller frees. */
char *vmf_plugin_find_own (const char *name);

/* The same for nbdkit-NAME-filter.so. nbdkit takes it only if it was built for nbdkit's very version. */
char *vmf_filter_find_own (const char *name);

/* Is nbdkit's own plugin NAME installed? Looks for its file where nbdkit says that plugins are. */
bool vmf_plugin_is_installed (const char *name, GCancellable *cancellable);

/* Asks PLUGIN, with PARAMETER ("libdir=/x") where it is not NULL. Never NULL. */
struct vmf_plugin_found *vmf_plugin_look (const struct vmf_plugin *plugin, const char *parameter,
                                          GCancellable *cancellable);
void vmf_plugin_found_free (struct vmf_plugin_found *found);

/* The value of KEY in what --dump-plugin printed: lines "key=value". NULL: it is not there. Caller frees. */
char *vmf_plugin_get_field (const char *dump, const char *key);
