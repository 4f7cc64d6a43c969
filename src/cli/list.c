/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `vmferry list`: the machines that a source has, all or those that a filter lets through. */
#include "base/error.h"
#include "base/text.h"
#include "cli/list.h"

#include <libsmartcols.h>
#include <stdio.h>

static struct vmf_source_filter filter;
static gboolean json, watch;

static const GOptionEntry options[] = {
    { "name", 0, 0, G_OPTION_ARG_STRING, &filter.name, "Only VMs with such a name; * and ? stand for others",
      "PATTERN" },
    { "os", 0, 0, G_OPTION_ARG_STRING, &filter.os, "Only those with such an operating system", "PATTERN" },
    { "power", 0, 0, G_OPTION_ARG_STRING, &filter.power, "Only those that are on, off, suspended, or a template",
      "STATE" },
    { "datacenter", 0, 0, G_OPTION_ARG_STRING, &filter.datacenter, "Only those in such a datacenter", "PATTERN" },
    { "cluster", 0, 0, G_OPTION_ARG_STRING, &filter.cluster, "Only those in such a cluster", "PATTERN" },
    { "host", 0, 0, G_OPTION_ARG_STRING, &filter.host, "Only those on such a host", "PATTERN" },
    { "folder", 0, 0, G_OPTION_ARG_STRING, &filter.folder, "Only those in such a folder, such as 'prod/*'", "PATTERN" },
    { "tag", 0, 0, G_OPTION_ARG_STRING, &filter.tag, "Only those with such a tag of vCenter", "NAME" },
    { "watch", 0, 0, G_OPTION_ARG_NONE, &watch, "Go on and print each change, until Ctrl-C", NULL },
    { "json", 0, 0, G_OPTION_ARG_NONE, &json, "Print a JSON array; with --watch a line for each change", NULL },
    VMF_CLI_PASSWORD_OPTION,
    { NULL }
};

json_t *
list_entry_json (const struct vmf_source_entry *entry)
{
    return json_pack (
        "{s:o, s:o, s:I, s:i, s:o, s:o, s:o, s:o, s:o, s:s?, s:o}", "name", vmf_text_to_json (entry->name), "os_name",
        vmf_text_to_json (entry->os_name), "capacity_bytes", (json_int_t)entry->capacity_bytes, "disks",
        (int)entry->n_disks, "id", vmf_text_to_json (entry->id), "datacenter", vmf_text_to_json (entry->datacenter),
        "cluster", vmf_text_to_json (entry->cluster), "host", vmf_text_to_json (entry->host), "folder",
        vmf_text_to_json (entry->folder), "power", entry->power, "problem", vmf_text_to_json (entry->problem));
}

static char *
shown (const char *text, size_t most)
{
    return text && *text ? vmf_text_printable (text, most) : NULL;
}

static char *
name_text (const struct vmf_source_entry *entry)
{
    return shown (entry->name, 80);
}

static char *
power_text (const struct vmf_source_entry *entry)
{
    return g_strdup (entry->power);
}

static char *
disks_text (const struct vmf_source_entry *entry)
{
    return g_strdup_printf ("%u", entry->n_disks);
}

static char *
size_text (const struct vmf_source_entry *entry)
{
    return vmf_text_from_size (entry->capacity_bytes);
}

static char *
host_text (const struct vmf_source_entry *entry)
{
    return shown (entry->host, 60);
}

static char *
folder_text (const struct vmf_source_entry *entry)
{
    if (!entry->datacenter)
        return NULL;
    g_autofree char *path =
        g_strjoin ("/", entry->datacenter, entry->folder && *entry->folder ? entry->folder : NULL, NULL);
    return shown (path, 80);
}

static char *
os_text (const struct vmf_source_entry *entry)
{
    return shown (entry->os_name, 60);
}

static char *
problem_text (const struct vmf_source_entry *entry)
{
    return shown (entry->problem, 120);
}

const struct list_column list_columns[] = {
    { "NAME", name_text, false }, { "POWER", power_text, false },     { "DISKS", disks_text, true },
    { "SIZE", size_text, true },  { "HOST", host_text, false },       { "FOLDER", folder_text, false },
    { "OS", os_text, false },     { "PROBLEM", problem_text, false }, { NULL, NULL, false },
};

static bool
is_empty (const struct list_column *column, const GPtrArray *entries)
{
    bool empty = entries->len > 0;
    for (guint i = 0; i < entries->len && empty; i++)
    {
        g_autofree char *text = column->text (g_ptr_array_index (entries, i));
        empty = text == NULL;
    }
    return empty;
}

void
list_print_table (const GPtrArray *entries)
{
    struct libscols_table *table = scols_new_table ();
    for (size_t i = 0; list_columns[i].title; i++)
        scols_table_new_column (table, list_columns[i].title, 0.1,
                                (list_columns[i].right ? SCOLS_FL_RIGHT : 0)
                                    | (is_empty (&list_columns[i], entries) ? SCOLS_FL_HIDDEN : 0));
    for (guint i = 0; i < entries->len; i++)
    {
        struct libscols_line *line = scols_table_new_line (table, NULL);
        for (size_t column = 0; list_columns[column].title; column++)
        {
            g_autofree char *text = list_columns[column].text (g_ptr_array_index (entries, i));
            scols_line_set_data (line, column, text ? text : "");
        }
    }
    scols_print_table (table);
    scols_unref_table (table);
}

static bool
check_filter (GError **error)
{
    static const char *const states[] = { "on", "off", "suspended", "template", NULL };
    if (!filter.power || g_strv_contains (states, filter.power))
        return true;
    g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE, "--power is on, off, suspended or template");
    return false;
}

int
vmf_cmd_list (int argc, char **argv)
{
    g_auto (GStrv) words = NULL;
    g_autoptr (vmf_settings) settings = NULL;
    g_autoptr (GError) error = NULL;
    int status =
        vmf_cli_parse (argc, argv, options, "SOURCE", "Lists the VMs that SOURCE has.", 1, 1, &words, &settings);
    if (status != VMF_EXIT_OK)
        return status;
    struct vmf_source_options source_options = { .settings = settings, .ask_password = vmf_cli_ask_password };
    g_autoptr (vmf_source) source =
        check_filter (&error) ? vmf_source_open (words[0], &source_options, vmf_cli_cancellable (), &error) : NULL;
    vmf_cli_say_notice (source);
    if (source && watch)
        return list_watch (source, &filter, json);
    g_autoptr (GPtrArray) found = source ? vmf_source_list (source, &filter, vmf_cli_cancellable (), &error) : NULL;
    if (!found)
        return vmf_cli_fail (error);
    if (!json && found->len == 0)
        fputs ("vmferry: there is no such VM\n", stderr);
    if (!json)
        return list_print_table (found), VMF_EXIT_OK;
    json_t *array = json_array ();
    for (guint i = 0; i < found->len; i++)
        json_array_append_new (array, list_entry_json (g_ptr_array_index (found, i)));
    vmf_cli_print_json (array);
    return VMF_EXIT_OK;
}
