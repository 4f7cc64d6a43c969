/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Findings of a preflight. */
#include "vm/findings.h"

static void
finding_free (void *data)
{
    struct vmf_finding *finding = data;
    g_free (finding->text);
    g_free (finding);
}

GPtrArray *
vmf_findings_new (void)
{
    return g_ptr_array_new_with_free_func (finding_free);
}

void
vmf_findings_add (GPtrArray *findings, enum vmf_finding_kind kind, const char *format, ...)
{
    struct vmf_finding *finding = g_new0 (struct vmf_finding, 1);
    va_list args;
    va_start (args, format);
    finding->kind = kind;
    finding->text = g_strdup_vprintf (format, args);
    va_end (args);
    g_ptr_array_add (findings, finding);
}

bool
vmf_findings_blocking (const GPtrArray *findings)
{
    for (guint i = 0; i < findings->len; i++)
        if (((const struct vmf_finding *)g_ptr_array_index (findings, i))->kind == VMF_FINDING_BLOCKING)
            return true;
    return false;
}
