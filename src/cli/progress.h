/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How an import's events are shown: lines that are redrawn on a terminal, a line per 10 % elsewhere, or JSON lines.
 * Main thread only.
 */
#pragma once
#include "import/import.h"
#include <stdio.h>

enum vmf_progress_style
{
    VMF_PROGRESS_AUTO, /* TERMINAL where standard error is one, else LINES */
    VMF_PROGRESS_NONE,
    VMF_PROGRESS_LINES,
    VMF_PROGRESS_TERMINAL,
    VMF_PROGRESS_JSON, /* on standard output; docs/progress.md */
};

/* "auto", "lines" … as users write it; NULL: AUTO. VMF_ERROR_USAGE. */
bool vmf_progress_style_from_text (const char *text, enum vmf_progress_style *style, GError **error);

typedef struct vmf_progress vmf_progress;
struct vmf_progress *vmf_progress_new (enum vmf_progress_style style);
void vmf_progress_free (struct vmf_progress *progress);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_progress, vmf_progress_free)

/* Borrowed; to be given to vmf_import_new(). */
const struct vmf_import_events *vmf_progress_get_events (struct vmf_progress *progress);

/* Which of several VMs comes next. PLACE: "2 of 5". */
void vmf_progress_tell_vm (struct vmf_progress *progress, const char *name, const char *place);

/* Ends the redrawn block, so that what is printed next stands below it. */
void vmf_progress_settle (struct vmf_progress *progress);
