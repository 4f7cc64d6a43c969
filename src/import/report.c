/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The summary as one JSON object; docs/summary.md says what each member means. */
#include "base/log.h"
#include "base/text.h"
#include "import/internal.h"

char *
vmf_import_show_source (const char *address)
{
    char *shown = vmf_feed_show_url (address, NULL);
    return shown ? shown : g_strdup (address);
}

static json_t *
time_json (int64_t time_us)
{
    g_autofree char *text = time_us ? vmf_text_from_time (time_us) : NULL;
    return text ? json_string (text) : json_null ();
}

static json_t *
seconds_json (int64_t from_us, int64_t to_us)
{
    return to_us > from_us ? json_real ((double)((to_us - from_us) / 1000) / 1000) : json_null ();
}

static json_t *
stages_json (const struct vmf_import *import)
{
    json_t *array = json_array ();
    for (guint i = 0; i < import->stages->len; i++)
    {
        const struct import_stage *stage = &g_array_index (import->stages, struct import_stage, i);
        json_array_append_new (array, json_pack ("{s:s, s:o, s:o, s:o}", "name", stage->name, "started_at",
                                                 time_json (stage->started_us), "ended_at", time_json (stage->ended_us),
                                                 "duration_s", seconds_json (stage->started_us, stage->ended_us)));
    }
    return array;
}

/* Pass 1 from the source: kept aside where the staged disk was moved behind it. */
static const struct vmf_mover_progress *
source_pass (const struct vmf_import *import, const struct import_disk *disk)
{
    return import->staged && disk->first_pass.needed ? &disk->first_pass : &disk->progress;
}

static json_t *
disk_json (const struct vmf_import *import, unsigned n)
{
    const struct import_disk *disk = &import->disks[n];
    const struct vmf_mover_progress *pass = source_pass (import, disk);
    const struct vmf_target_disk *target = import->target_disks ? g_ptr_array_index (import->target_disks, n) : NULL;
    return json_pack ("{s:s, s:o, s:o, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "name", disk->name, "id",
                      vmf_text_to_json (disk->disk->id), "path", vmf_text_to_json (target ? target->final_path : NULL),
                      "format", disk->format, "size_bytes", (json_int_t)disk->size_bytes, "needed_bytes",
                      (json_int_t)pass->needed, "read_bytes", (json_int_t)(pass->read + disk->fetched_bytes),
                      "fetched_by_conversion_bytes", (json_int_t)disk->fetched_bytes, "zero_bytes",
                      (json_int_t)pass->zero, "hole_bytes", (json_int_t)pass->hole, "written_bytes",
                      (json_int_t)(pass->written + disk->fetched_bytes), "committed_bytes",
                      (json_int_t)disk->commit_bytes);
}

static json_t *
volumes_json (const struct vmf_map *map)
{
    json_t *array = json_array ();
    for (guint i = 0; map && i < map->volumes->len; i++)
    {
        const struct vmf_map_volume *volume = g_ptr_array_index (map->volumes, i);
        json_array_append_new (
            array, json_pack ("{s:o, s:o, s:I, s:I, s:s, s:o}", "name", vmf_text_to_json (volume->name), "type",
                              vmf_text_to_json (volume->type), "size_bytes", (json_int_t)volume->size_bytes,
                              "used_bytes", (json_int_t)volume->used_bytes, "copied_by", vmf_map_way_name (volume->way),
                              "why", vmf_text_to_json (volume->why)));
    }
    return array;
}

static json_t *
strings_json (const GPtrArray *strings)
{
    json_t *array = json_array ();
    for (guint i = 0; strings && i < strings->len; i++)
        json_array_append_new (array, vmf_text_to_json (g_ptr_array_index (strings, i)));
    return array;
}

static json_t *
findings_json (const GPtrArray *findings)
{
    static const char *const kinds[] = { "info", "warning", "blocking" };
    json_t *array = json_array ();
    for (guint i = 0; i < findings->len; i++)
    {
        const struct vmf_finding *finding = g_ptr_array_index (findings, i);
        json_array_append_new (
            array, json_pack ("{s:s, s:o}", "kind", kinds[finding->kind], "text", vmf_text_to_json (finding->text)));
    }
    return array;
}

static json_t *
guest_json (const struct vmf_import *import)
{
    const struct vmf_convert_result *guest = import->converted;
    const char *os_name = guest && guest->os_name ? guest->os_name : import->vm ? import->vm->os_name : NULL;
    return json_pack ("{s:b, s:s?, s:o, s:s?, s:o, s:o, s:o, s:b}", "converted", guest != NULL, "why",
                      import->convert_why, "os_name", vmf_text_to_json (os_name), "os_type",
                      guest ? guest->os_type : NULL, "changes", strings_json (guest ? guest->changes : NULL),
                      "messages", strings_json (guest ? guest->messages : NULL), "domain_changes",
                      strings_json (import->changes), "virtio_missing", guest && guest->virtio_missing);
}

static json_t *
bytes_json (const struct vmf_import *import)
{
    uint64_t read = 0, written = 0, for_maps = import->map ? import->map->bytes_read : 0;
    for (unsigned i = 0; i < import->n_disks; i++)
    {
        const struct vmf_mover_progress *pass = source_pass (import, &import->disks[i]);
        read += pass->read + import->disks[i].fetched_bytes;
        written += pass->written + import->disks[i].fetched_bytes + import->disks[i].commit_bytes;
    }
    return json_pack ("{s:I, s:I, s:I, s:I}", "used_in_file_systems",
                      (json_int_t)(import->map ? import->map->used_bytes : 0), "read_from_source",
                      (json_int_t)(read + for_maps), "of_it_for_maps", (json_int_t)for_maps, "written",
                      (json_int_t)written);
}

json_t *
vmf_import_report (const struct vmf_import *import)
{
    json_t *disks = json_array ();
    for (unsigned i = 0; i < import->n_disks; i++)
        json_array_append_new (disks, disk_json (import, i));
    g_autofree char *source = vmf_import_show_source (import->options.source);
    return json_pack (
        "{s:i, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "version", 1, "result",
        import->failure           ? "failed"
        : import->options.dry_run ? "planned"
                                  : "imported",
        "error", vmf_text_to_json (import->failure), "leftovers", vmf_text_to_json (import->leftovers), "source",
        vmf_text_to_json (source), "name", vmf_text_to_json (import->vm ? import->vm->name : NULL), "target",
        vmf_text_to_json (import->options.target), "definition", vmf_text_to_json (import->result), "stages",
        stages_json (import), "disks", disks, "volumes", volumes_json (import->map), "guest", guest_json (import),
        "bytes", bytes_json (import), "source_held_s",
        seconds_json (import->source_opened_us, import->source_released_us), "findings",
        findings_json (import->findings), "log", vmf_text_to_json (vmf_log_get_path ()), "convert_log",
        vmf_text_to_json (import->convert_log));
}
