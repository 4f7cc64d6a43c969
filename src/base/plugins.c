/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of nbdkit's plugins, and asking one what it is. */
#include "base/plugins.h"
#include "base/child.h"

#include <string.h>

#ifndef VMF_PLUGIN_DIR
#define VMF_PLUGIN_DIR "/usr/lib/vmferry/plugins"
#endif

enum
{
    ASK_TIMEOUT_MS = 30000,
};

/* Debian has the first two in nbdkit itself. */
static const struct vmf_plugin table[] = {
    { "curl",
      false,
      "disks by HTTPS: of vCenter's and ESXi's datastores, of web servers",
      { "nbdkit", "nbdkit", "nbdkit-curl-plugin", "nbdkit-curl-plugin" } },
    { "ssh", false, "disks by ssh", { "nbdkit", "nbdkit", "nbdkit-ssh-plugin", "nbdkit-ssh-plugin" } },
    { "vmdkstream", true, "stream-optimised VMDKs, on all cores (otherwise on one)", { NULL } },
    { "vmferry-vddk", true, "disks by VMware's VDDK, with the limits of each host kept", { NULL } },
    { "vddk",
      false,
      "disks by VMware's VDDK, where vddk.plugin says nbdkit or our own is not there",
      { "nbdkit-plugin-vddk", "nbdkit-plugin-vddk", "nbdkit-vddk-plugin", NULL } },
    { NULL, false, NULL, { NULL } },
};

const struct vmf_plugin *
vmf_plugins_table (void)
{
    return table;
}

static char *
find_own (const char *name, const char *kind)
{
    const char *dir = g_getenv ("VMFERRY_PLUGIN_DIR");
    g_autofree char *file = g_strdup_printf ("nbdkit-%s-%s.so", name, kind);
    g_autofree char *program = g_file_read_link ("/proc/self/exe", NULL);
    g_autofree char *program_dir = program ? g_path_get_dirname (program) : NULL;
    g_autofree char *built = program_dir ? g_build_filename (program_dir, "plugins", file, NULL) : NULL;
    if (!(dir && *dir) && built && g_file_test (built, G_FILE_TEST_EXISTS))
        return g_steal_pointer (&built);
    g_autofree char *path = g_build_filename (dir && *dir ? dir : VMF_PLUGIN_DIR, file, NULL);
    return !strchr (name, '/') && g_file_test (path, G_FILE_TEST_EXISTS) ? g_canonicalize_filename (path, NULL) : NULL;
}

char *
vmf_plugin_find_own (const char *name)
{
    return find_own (name, "plugin");
}

char *
vmf_filter_find_own (const char *name)
{
    return find_own (name, "filter");
}

static char *
run_nbdkit (const char *const *argv, const char *name, GCancellable *cancellable, GError **error)
{
    const struct vmf_child_options options = { .name = name, .argv = argv };
    return vmf_child_run (&options, ASK_TIMEOUT_MS, cancellable, error);
}

bool
vmf_plugin_is_installed (const char *name, GCancellable *cancellable)
{
    const char *const argv[] = { "nbdkit", "--dump-config", NULL };
    g_autofree char *config = run_nbdkit (argv, "nbdkit", cancellable, NULL);
    g_autofree char *dir = config ? vmf_plugin_get_field (config, "plugindir") : NULL;
    g_autofree char *file = g_strdup_printf ("nbdkit-%s-plugin.so", name);
    g_autofree char *path = dir ? g_build_filename (dir, file, NULL) : NULL;
    return path && g_file_test (path, G_FILE_TEST_EXISTS);
}

struct vmf_plugin_found *
vmf_plugin_look (const struct vmf_plugin *plugin, const char *parameter, GCancellable *cancellable)
{
    struct vmf_plugin_found *found = g_new0 (struct vmf_plugin_found, 1);
    g_autoptr (GError) error = NULL;
    if (plugin->own)
        found->word = vmf_plugin_find_own (plugin->name);
    else if (vmf_plugin_is_installed (plugin->name, cancellable))
        found->word = g_strdup (plugin->name);
    if (!found->word)
        return found;
    g_autofree char *name = g_strdup_printf ("nbdkit's plugin %s", plugin->name);
    const char *const argv[] = { "nbdkit", found->word, "--dump-plugin", parameter, NULL };
    found->dump = run_nbdkit (argv, name, cancellable, &error);
    found->version = found->dump ? vmf_plugin_get_field (found->dump, "version") : NULL;
    found->problem = error ? g_strdup (error->message) : NULL;
    return found;
}

void
vmf_plugin_found_free (struct vmf_plugin_found *found)
{
    if (!found)
        return;
    g_free (found->word);
    g_free (found->version);
    g_free (found->dump);
    g_free (found->problem);
    g_free (found);
}

char *
vmf_plugin_get_field (const char *dump, const char *key)
{
    g_auto (GStrv) lines = g_strsplit (dump, "\n", -1);
    size_t length = strlen (key);
    for (size_t i = 0; lines[i]; i++)
        if (strncmp (lines[i], key, length) == 0 && lines[i][length] == '=')
            return g_strdup (g_strstrip (lines[i] + length + 1));
    return NULL;
}
