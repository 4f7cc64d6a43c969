/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the VMware roads need of this host: nbdkit's plugins, and VDDK (A10, A12, A14). None of it is needed for files.
 */
#include "base/plugins.h"
#include "base/text.h"
#include "base/vddk.h"
#include "cli/doctor-host.h"

#include <string.h>

static void
add_plugin (GPtrArray *list, const struct vmf_plugin *plugin, enum vmf_family family, GCancellable *cancellable)
{
    struct vmf_plugin_found *found = vmf_plugin_look (plugin, NULL, cancellable);
    g_autofree char *name = g_strdup_printf ("nbdkit %s", plugin->name);
    struct row *row;
    if (found->problem)
    {
        g_autofree char *shown = vmf_text_printable (found->problem, 400);
        row = row_add (list, name, ROW_WARNING, "%s; it does not start: %s", plugin->needed_for, shown);
    }
    else
        row = row_add (list, name, found->word ? ROW_GOOD : ROW_WARNING, "%s%s", plugin->needed_for,
                       found->word   ? ""
                       : plugin->own ? "; vmferry was built or installed without it"
                                     : "");
    row->version = g_strdup (found->version);
    row->package = found->word || found->problem ? NULL : g_strdup (plugin->package[family]);
    vmf_plugin_found_free (found);
}

/* VDDK's own two plugins need VDDK before they say anything: they are looked at with it. */
static void
look_at_vddk (GPtrArray *list, const struct vmf_settings *settings, GCancellable *cancellable)
{
    g_autoptr (vmf_vddk) vddk = vmf_vddk_look (settings, cancellable);
    struct row *row;
    if (vddk->problem)
    {
        g_autofree char *shown = vmf_text_printable (vddk->problem, 1500);
        row = row_add (list, "VDDK", ROW_WARNING, "the road vddk, the fastest from vCenter and ESXi; %s", shown);
    }
    else
        row = row_add (list, "VDDK", ROW_GOOD, "the road vddk: %s, used by %s", vddk->chosen->dir, vddk->why);
    if (vddk->chosen)
        row->version =
            vddk->chosen->version ? g_strdup (vddk->chosen->version) : g_strdup_printf ("%u", vddk->chosen->number);
}

void
doctor_look_at_vmware (GPtrArray *list, const struct vmf_settings *settings, GCancellable *cancellable)
{
    enum vmf_family family = vmf_family_of (NULL);
    for (const struct vmf_plugin *plugin = vmf_plugins_table (); plugin->name; plugin++)
        if (!strstr (plugin->name, "vddk"))
            add_plugin (list, plugin, family, cancellable);
    look_at_vddk (list, settings, cancellable);
}
