/* SPDX-License-Identifier: GPL-2.0-or-later */
/* doctor's findings about the host itself, and the rows that all of doctor's findings become. */
#pragma once
#include "base/settings.h"
#include <gio/gio.h>
#include <stdbool.h>

enum row_state
{
    ROW_GOOD,
    ROW_WARNING, /* vmferry works, with a limit that `text` names */
    ROW_MISSING, /* nothing goes without it */
};

struct row
{
    char *name;
    char *version; /* NULL: has none */
    enum row_state state;
    char *text;    /* needed for, or what was found: a sentence */
    char *package; /* would help; NULL: none */
};

GPtrArray *row_list_new (void);
struct row *row_add (GPtrArray *list, const char *name, enum row_state state, const char *format, ...)
    G_GNUC_PRINTF (4, 5);

/* KVM, namespaces, libguestfs' kernel, virtio-win, the work directory. */
void doctor_look_at_host (GPtrArray *list, const struct vmf_settings *settings);

/* nbdkit's plugins and VDDK. */
void doctor_look_at_vmware (GPtrArray *list, const struct vmf_settings *settings, GCancellable *cancellable);

/* Makes the folders that the settings name, and an alias of VDDK where one is wanted; a row for each that was made or
 * could not be. */
void doctor_fix (GPtrArray *list, const struct vmf_settings *settings, GCancellable *cancellable);

/* libguestfs' version, by asking the library. NULL: it is not there. Caller frees. */
char *doctor_libguestfs_version (void);
