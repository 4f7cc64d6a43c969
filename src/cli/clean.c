/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `vmferry clean`: what imports that were killed left on the target and in work directories. */
#include "base/text.h"
#include "cli/commands.h"
#include "import/import.h"

#include <stdio.h>

static void
print_resumable (const struct vmf_settings *settings)
{
    g_autoptr (GPtrArray) dirs = g_ptr_array_new_with_free_func (g_free);
    vmf_import_list_resumable (settings, dirs);
    for (guint i = 0; i < dirs->len; i++)
    {
        const char *dir = g_ptr_array_index (dirs, i);
        g_autofree char *text = vmf_import_describe (dir), *shown = vmf_text_printable (text, 1000);
        g_autofree char *quoted = g_shell_quote (dir);
        printf ("%s: vmferry import --resume %s\n", shown, quoted);
    }
    if (dirs->len == 0)
        puts ("there is no import that ended early and can go on");
}

int
vmf_cmd_clean (int argc, char **argv)
{
    static gboolean list;
    g_autofree char *work_dir = NULL;
    g_auto (GStrv) words = NULL;
    g_autoptr (vmf_settings) settings = NULL;
    g_autoptr (GError) error = NULL;
    g_autoptr (GPtrArray) removed = g_ptr_array_new_with_free_func (g_free);
    const GOptionEntry entries[] = { { "work", 0, 0, G_OPTION_ARG_FILENAME, &work_dir,
                                       "Only this work directory (one that --work of an import named)", "DIR" },
                                     { "list", 0, 0, G_OPTION_ARG_NONE, &list,
                                       "Clear nothing; print the imports that can go on, and how", NULL },
                                     { NULL } };
    int status = vmf_cli_parse (argc, argv, entries, "",
                                "Clears volumes, files and work directories of imports that were killed, also of those "
                                "that could go on. Imports that are running are left alone.",
                                0, 0, &words, &settings);
    if (status != VMF_EXIT_OK)
        return status;
    if (list)
        return print_resumable (settings), VMF_EXIT_OK;
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
