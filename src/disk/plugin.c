/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Looking for our own nbdkit plugins. */
#include "disk/plugin.h"
#include "base/error.h"

#include <string.h>

#ifndef VMF_PLUGIN_DIR
#define VMF_PLUGIN_DIR "/usr/lib/vmferry/plugins"
#endif

char *
vmf_plugin_find (const char *name, GError **error)
{
    const char *dir = g_getenv ("VMFERRY_PLUGIN_DIR");
    g_autofree char *file = g_strdup_printf ("nbdkit-%s-plugin.so", name);
    g_autofree char *program = g_file_read_link ("/proc/self/exe", NULL);
    g_autofree char *program_dir = program ? g_path_get_dirname (program) : NULL;
    g_autofree char *built = program_dir ? g_build_filename (program_dir, "plugins", file, NULL) : NULL;
    if (!(dir && *dir) && built && g_file_test (built, G_FILE_TEST_EXISTS))
        return g_steal_pointer (&built);
    g_autofree char *path = g_build_filename (dir && *dir ? dir : VMF_PLUGIN_DIR, file, NULL);
    if (!strchr (name, '/') && g_file_test (path, G_FILE_TEST_EXISTS))
        return g_canonicalize_filename (path, NULL);
    g_set_error (error, VMF_ERROR, VMF_ERROR_MISSING,
                 "vmferry's own nbdkit plugin is not at %s; reinstall vmferry, or set VMFERRY_PLUGIN_DIR", path);
    return NULL;
}
