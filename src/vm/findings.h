/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a preflight found out: by the source of a machine, by its target, by the import itself. All of it is told at once.
 *
 * A list of findings is a GPtrArray that owns them. One thread at a time.
 */
#pragma once
#include <glib.h>
#include <stdbool.h>

enum vmf_finding_kind
{
    VMF_FINDING_INFO,
    VMF_FINDING_WARNING,
    VMF_FINDING_BLOCKING,
};

/* One line of the preflight: cause, place and remedy in `text`. */
struct vmf_finding
{
    enum vmf_finding_kind kind;
    char *text;
};

GPtrArray *vmf_findings_new (void); /* of struct vmf_finding* */
bool vmf_findings_blocking (const GPtrArray *findings);
void vmf_findings_add (GPtrArray *findings, enum vmf_finding_kind kind, const char *format, ...) G_GNUC_PRINTF (3, 4);
