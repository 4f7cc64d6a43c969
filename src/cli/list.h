/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What list.c (the list once) and list-watch.c (and its changes) share; no other file includes this. */
#pragma once
#include "cli/commands.h"

/* A column of the table; one that is empty in every row is not printed. */
struct list_column
{
    const char *title;
    char *(*text) (const struct vmf_source_entry *entry); /* caller frees; NULL: nothing */
    bool right;
};
extern const struct list_column list_columns[]; /* up to one without a title; the first is the name */

json_t *list_entry_json (const struct vmf_source_entry *entry);
/* ENTRIES: struct vmf_source_entry*. */
void list_print_table (const GPtrArray *entries);

/* Prints the list, then each change, until Ctrl-C or nobody reads it. The exit status. */
int list_watch (struct vmf_source *source, const struct vmf_source_filter *filter, bool json);
