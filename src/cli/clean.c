/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `vmferry clean`: what imports that were killed left on the target and in work directories. */
#include "base/text.h"
#include "cli/commands.h"
#include "import/import.h"

#include <stdio.h>

int
vmf_cmd_clean (int argc, char **argv)
{
    g_autofree char *work_dir = NULL;
    g_auto (GStrv) words = NULL;
    g_autoptr (vmf_settings) settings = NULL;
    g_autoptr (GError) error = NULL;
    g_autoptr (GPtrArray) removed = g_ptr_array_new_with_free_func (g_free);
    const GOptionEntry entries[] = { { "work", 0, 0, G_OPTION_ARG_FILENAME, &work_dir,
                                       "Only this work directory (one that --work of an import named)", "DIR" },
                                     { NULL } };
    int status = vmf_cli_parse (argc, argv, entries, "",
                                "Clears volumes, files and work directories of imports that were killed. Imports that "
                                "are running are left alone.",
                                0, 0, &words, &settings);
    if (status != VMF_EXIT_OK)
        return status;
    bool good = vmf_import_clean (settings, work_dir, removed, &error);
    for (guint i = 0; i < removed->len; i++)
    {
        g_autofree char *line = vmf_text_printable (g_ptr_array_index (removed, i), 4000);
        puts (line);
    }
    if (good && removed->len == 0)
        puts ("there was nothing to clear");
    return good ? VMF_EXIT_OK : vmf_cli_fail (error);
}
