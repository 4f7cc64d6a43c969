/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The record of stages, and what is said to the user meanwhile. */
#include "disk/held-up.h"
#include "import/internal.h"

void
import_stage_begin (struct vmf_import *import, const char *name)
{
    struct import_stage stage = { .name = name, .started_us = g_get_real_time () };
    g_array_append_val (import->stages, stage);
    g_info ("stage %s begins", name);
    if (import->events.stage)
        import->events.stage (name, true, import->events.data);
}

void
import_stage_end (struct vmf_import *import, const char *name)
{
    for (guint i = import->stages->len; i > 0; i--)
    {
        struct import_stage *stage = &g_array_index (import->stages, struct import_stage, i - 1);
        if (!g_str_equal (stage->name, name) || stage->ended_us != 0)
            continue;
        stage->ended_us = g_get_real_time ();
        g_info ("stage %s ended", name);
        if (import->events.stage)
            import->events.stage (name, false, import->events.data);
        return;
    }
}

void
import_tell_held_up (const char *why, void *data)
{
    struct import_disk *disk = data;
    if (vmf_held_up_is_news (&disk->held_up, why))
        import_say (disk->import, VMF_IMPORT_NOTE, "%s: %s", disk->name, why);
}

void
import_say (struct vmf_import *import, enum vmf_import_message kind, const char *format, ...)
{
    va_list args;
    va_start (args, format);
    g_autofree char *text = g_strdup_vprintf (format, args);
    va_end (args);
    g_info ("%s", text);
    if (import->events.message)
        import->events.message (kind, text, import->events.data);
}
