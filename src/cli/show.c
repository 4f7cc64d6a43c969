/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `vmferry list` and `vmferry show`: what a source has, read without touching anything. */
#include "base/text.h"
#include "cli/commands.h"
#include "source/source.h"
#include "vm/write.h"

#include <libsmartcols.h>
#include <stdio.h>

static json_t *
entry_json (const struct vmf_source_entry *entry)
{
    return json_pack ("{s:o, s:o, s:I, s:i, s:o}", "name", vmf_text_to_json (entry->name), "os_name",
                      vmf_text_to_json (entry->os_name), "capacity_bytes", (json_int_t)entry->capacity_bytes, "disks",
                      (int)entry->n_disks, "problem", vmf_text_to_json (entry->problem));
}

static void
print_table (const GPtrArray *entries)
{
    struct libscols_table *table = scols_new_table ();
    static const char *const titles[] = { "NAME", "DISKS", "SIZE", "OS", "PROBLEM" };
    for (size_t i = 0; i < G_N_ELEMENTS (titles); i++)
        scols_table_new_column (table, titles[i], 0.1, i == 1 || i == 2 ? SCOLS_FL_RIGHT : 0);
    for (guint i = 0; i < entries->len; i++)
    {
        const struct vmf_source_entry *entry = g_ptr_array_index (entries, i);
        struct libscols_line *line = scols_table_new_line (table, NULL);
        g_autofree char *name = vmf_text_printable (entry->name, 80);
        g_autofree char *disks = g_strdup_printf ("%u", entry->n_disks);
        g_autofree char *size = vmf_text_from_size (entry->capacity_bytes);
        g_autofree char *os = vmf_text_printable (entry->os_name ? entry->os_name : "", 60);
        g_autofree char *problem = vmf_text_printable (entry->problem ? entry->problem : "", 120);
        const char *cells[] = { name, disks, size, os, problem };
        for (size_t column = 0; column < G_N_ELEMENTS (cells); column++)
            scols_line_set_data (line, column, cells[column]);
    }
    scols_print_table (table);
    scols_unref_table (table);
}

int
vmf_cmd_list (int argc, char **argv)
{
    gboolean json = FALSE;
    g_auto (GStrv) words = NULL;
    g_autoptr (vmf_settings) settings = NULL;
    g_autoptr (GError) error = NULL;
    const GOptionEntry entries[] = { { "json", 0, 0, G_OPTION_ARG_NONE, &json, "Print a JSON array", NULL }, { NULL } };
    int status =
        vmf_cli_parse (argc, argv, entries, "SOURCE", "Lists the VMs that SOURCE has.", 1, 1, &words, &settings);
    if (status != VMF_EXIT_OK)
        return status;
    struct vmf_source_options options = { 0 };
    g_autoptr (vmf_source) source = vmf_source_open (words[0], &options, vmf_cli_cancellable (), &error);
    g_autoptr (GPtrArray) found = source ? source->ops->list (source, vmf_cli_cancellable (), &error) : NULL;
    if (!found)
        return vmf_cli_fail (error);
    if (!json)
        return print_table (found), VMF_EXIT_OK;
    json_t *array = json_array ();
    for (guint i = 0; i < found->len; i++)
        json_array_append_new (array, entry_json (g_ptr_array_index (found, i)));
    vmf_cli_print_json (array);
    return VMF_EXIT_OK;
}

int
vmf_cmd_show (int argc, char **argv)
{
    gboolean json = FALSE;
    g_autofree char *vm_name = NULL, *format = NULL;
    g_auto (GStrv) words = NULL;
    g_autoptr (vmf_settings) settings = NULL;
    g_autoptr (GError) error = NULL;
    const GOptionEntry entries[] = {
        { "json", 0, 0, G_OPTION_ARG_NONE, &json, "Print it as JSON (docs/vm.schema.json)", NULL },
        { "vm", 0, 0, G_OPTION_ARG_STRING, &vm_name, "Which VM, where the source has several", "NAME" },
        { "format", 0, 0, G_OPTION_ARG_STRING, &format, "Format of a bare image; by its extension otherwise",
          "FORMAT" },
        { NULL }
    };
    int status = vmf_cli_parse (argc, argv, entries, "SOURCE", "Shows one VM of SOURCE before anything is copied.", 1,
                                1, &words, &settings);
    if (status != VMF_EXIT_OK)
        return status;
    struct vmf_source_options options = { .format = format };
    g_autoptr (vmf_source) source = vmf_source_open (words[0], &options, vmf_cli_cancellable (), &error);
    g_autoptr (vmf_vm) vm = source ? source->ops->describe (source, vm_name, vmf_cli_cancellable (), &error) : NULL;
    if (!vm)
        return vmf_cli_fail (error);
    if (json)
        return vmf_cli_print_json (vmf_vm_write_json (vm)), VMF_EXIT_OK;
    g_autofree char *text = vmf_vm_write_text (vm);
    fputs (text, stdout);
    return VMF_EXIT_OK;
}
