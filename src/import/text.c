/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The plan and the summary for people. Names that a source gave pass vmf_text_printable() in vmf_vm_write_text(). */
#include "base/log.h"
#include "base/text.h"
#include "import/internal.h"

static void
add_plan_disks (const struct vmf_import *import, GString *text)
{
    for (unsigned i = 0; i < import->n_disks; i++)
    {
        const struct import_disk *disk = &import->disks[i];
        g_autofree char *size = vmf_text_from_size (disk->size_bytes);
        g_string_append_printf (text, "  %s  %s as %s%s%s%s\n", disk->name, size, disk->format,
                                disk->pool ? " in " : "", disk->pool ? disk->pool : "",
                                disk->preallocate ? ", fully allocated" : "");
    }
}

char *
vmf_import_plan_text (const struct vmf_import *import)
{
    GString *text = g_string_new (NULL);
    g_autofree char *vm = vmf_vm_write_text (import->vm);
    g_string_append_printf (text, "%s\nTo %s:\n", vm, import->options.target);
    add_plan_disks (import, text);
    g_string_append_printf (text, "The guest is %sconverted: %s.\n", import->convert ? "" : "not ",
                            import->convert_why);
    return g_string_free (text, FALSE);
}

static void
add_stages (const struct vmf_import *import, GString *text)
{
    g_string_append (text, "Stages (UTC):\n");
    for (guint i = 0; i < import->stages->len; i++)
    {
        const struct import_stage *stage = &g_array_index (import->stages, struct import_stage, i);
        g_autofree char *from = vmf_text_from_time (stage->started_us), *to = vmf_text_from_time (stage->ended_us);
        g_autofree char *took = vmf_text_from_duration (stage->ended_us - stage->started_us);
        if (stage->ended_us)
            g_string_append_printf (text, "  %-10s %.12s to %.12s  %10s\n", stage->name, from + 11, to + 11, took);
    }
}

static void
add_volumes (const struct vmf_import *import, GString *text)
{
    g_string_append (text, "What was copied:\n");
    for (guint i = 0; import->map && i < import->map->volumes->len; i++)
    {
        const struct vmf_map_volume *volume = g_ptr_array_index (import->map->volumes, i);
        g_autofree char *size = vmf_text_from_size (volume->size_bytes),
                        *used = vmf_text_from_size (volume->used_bytes);
        g_autofree char *name = vmf_text_printable (volume->name, 40), *type = vmf_text_printable (volume->type, 20);
        g_autofree char *why = vmf_text_printable (volume->why ? volume->why : "", 400);
        g_string_append_printf (text, "  %-12s %-10s %s of %s by %s: %s\n", name, type, used, size,
                                vmf_map_way_name (volume->way), why);
    }
}

static void
add_list (GString *text, const char *title, const GPtrArray *lines)
{
    if (!lines || lines->len == 0)
        return;
    g_string_append_printf (text, "%s\n", title);
    for (guint i = 0; i < lines->len; i++)
    {
        g_autofree char *line = vmf_text_printable (g_ptr_array_index (lines, i), 400);
        g_string_append_printf (text, "  %s\n", line);
    }
}

static void
add_bytes (const struct vmf_import *import, GString *text)
{
    json_t *report = vmf_import_report (import), *bytes = json_object_get (report, "bytes");
    static const char *const keys[] = { "used_in_file_systems", "read_from_source", "of_it_for_maps", "written" };
    static const char *const words[] = { "used in the guest's file systems", "read from the source",
                                         "of it for the maps", "written to the target" };
    for (size_t i = 0; i < G_N_ELEMENTS (keys); i++)
    {
        g_autofree char *size = vmf_text_from_size ((uint64_t)json_integer_value (json_object_get (bytes, keys[i])));
        g_string_append_printf (text, "%10s %s\n", size, words[i]);
    }
    g_string_append_printf (text, "%8.1f s the source was held\n",
                            json_number_value (json_object_get (report, "source_held_s")));
    json_decref (report);
}

char *
vmf_import_summary_text (const struct vmf_import *import)
{
    GString *text = g_string_new (NULL);
    const struct vmf_convert_result *guest = import->converted;
    g_autofree char *name = vmf_text_printable (import->vm->name, 80);
    g_autofree char *result = vmf_text_printable (import->result, 4000); /* the VM's name is in it */
    g_string_append_printf (text, "%s is imported: %s\n", name, result);
    g_autofree char *os_name = guest && guest->os_name ? vmf_text_printable (guest->os_name, 120) : NULL;
    if (os_name)
        g_string_append_printf (text, "Guest: %s\n", os_name);
    add_stages (import, text);
    add_bytes (import, text);
    add_volumes (import, text);
    add_list (text, "Changed in the guest:", guest ? guest->changes : NULL);
    add_list (text, "The new VM's devices:", import->changes);
    add_list (text, "virt-v2v said:", guest ? guest->messages : NULL);
    if (vmf_log_get_path ())
        g_string_append_printf (text, "Log: %s\n", vmf_log_get_path ());
    return g_string_free (text, FALSE);
}
