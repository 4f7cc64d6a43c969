/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `vmferry list --watch`: the list, then a line for each change, as it comes. */
#include "base/error.h"
#include "cli/list.h"

#include <errno.h>
#include <stdio.h>

enum
{
    POLL_MS = 60000, /* nothing hangs on it: a change and Ctrl-C end the wait */
};

/* ---- JSON ---- */

static void
print_json (const char *event, const struct vmf_source_entry *entry)
{
    json_t *line = json_pack ("{s:s, s:o}", "event", event, "vm", list_entry_json (entry));
    json_dumpf (line, stdout, JSON_COMPACT);
    putchar ('\n');
    json_decref (line);
}

/* Is there anything that is told? */
static bool
differ (const struct vmf_source_entry *before, const struct vmf_source_entry *after)
{
    json_t *a = list_entry_json (before), *b = list_entry_json (after);
    bool equal = json_equal (a, b);
    json_decref (a);
    json_decref (b);
    return !equal;
}

/* ---- text ---- */

static char *
field_name (const struct list_column *column)
{
    return g_ascii_strdown (column->title, -1);
}

static char *
name_of (const struct vmf_source_entry *entry)
{
    return list_columns[0].text (entry);
}

/* "+ web1 power: on, disks: 1, …" */
static void
print_added (const struct vmf_source_entry *entry)
{
    g_autofree char *name = name_of (entry);
    printf ("+ %s", name ? name : "");
    for (size_t i = 1, n = 0; list_columns[i].title; i++)
    {
        g_autofree char *text = list_columns[i].text (entry), *field = field_name (&list_columns[i]);
        if (text)
            printf ("%s %s: %s", n++ ? "," : "", field, text);
    }
    putchar ('\n');
}

/* A line for each column that reads otherwise than before. */
static void
print_changed (const struct vmf_source_entry *before, const struct vmf_source_entry *after)
{
    g_autofree char *name = name_of (before);
    for (size_t i = 0; list_columns[i].title; i++)
    {
        g_autofree char *was = list_columns[i].text (before), *is = list_columns[i].text (after);
        g_autofree char *field = field_name (&list_columns[i]);
        if (g_strcmp0 (was, is) != 0)
            printf ("~ %s %s: %s -> %s\n", name ? name : "", field, was ? was : "none", is ? is : "none");
    }
}

static void
print_removed (const struct vmf_source_entry *entry)
{
    g_autofree char *name = name_of (entry);
    printf ("- %s\n", name ? name : "");
}

/* ---- both ---- */

static void
on_json_change (const struct vmf_source_entry *before, const struct vmf_source_entry *after, void *data)
{
    if (!before)
        print_json ("added", after);
    else if (!after)
        print_json ("removed", before);
    else if (differ (before, after))
        print_json ("changed", after);
}

static void
on_text_change (const struct vmf_source_entry *before, const struct vmf_source_entry *after, void *data)
{
    if (!before)
        print_added (after);
    else if (!after)
        print_removed (before);
    else
        print_changed (before, after);
}

static void
free_entry (void *entry)
{
    vmf_source_entry_free (entry);
}

static void
on_first (const struct vmf_source_entry *before, const struct vmf_source_entry *after, void *data)
{
    if (after)
        g_ptr_array_add (data, vmf_source_entry_copy (after));
}

static bool
watch_first (struct vmf_source *source, const struct vmf_source_filter *filter, bool json, GError **error)
{
    g_autoptr (GPtrArray) entries = g_ptr_array_new_with_free_func (free_entry);
    if (!vmf_source_watch (source, filter, 0, json ? on_json_change : on_first, entries, vmf_cli_cancellable (), error))
        return false;
    if (!json)
        list_print_table (entries);
    return true;
}

/* False: nobody reads it any more. */
static bool
flush (GError **error)
{
    if (fflush (stdout) == 0 && !ferror (stdout))
        return true;
    g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "cannot write the changes: %s", g_strerror (errno));
    return false;
}

int
list_watch (struct vmf_source *source, const struct vmf_source_filter *filter, bool json)
{
    g_autoptr (GError) error = NULL;
    bool good = watch_first (source, filter, json, &error) && flush (&error);
    while (good)
        good = vmf_source_watch (source, filter, POLL_MS, json ? on_json_change : on_text_change, NULL,
                                 vmf_cli_cancellable (), &error)
               && flush (&error);
    /* Ctrl-C is how it ends: nothing went wrong, and nothing is to be said. */
    if (g_error_matches (error, VMF_ERROR, VMF_ERROR_CANCELLED))
        return VMF_EXIT_CANCELLED;
    return vmf_cli_fail (error);
}
