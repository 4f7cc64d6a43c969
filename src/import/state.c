/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The state of an import in WORK/state.json: what --resume needs beside the journals and the overlay (X1, X2).
 *
 * Written whole and synced at each step that must not be done twice: the target's disks are there, the guest is
 * converted, the overlays are committed, staged disks are moved. What is not in it is found again: the source is
 * described anew, the map read anew, the host's configuration file too. What --set said is in it.
 */
#include "base/error.h"
#include "import/internal.h"

#include <string.h>

/* The user's options that are plain text: member of struct vmf_import_options and key, once for both ways. */
#define TEXT_OPTIONS(X)                                                                                                \
    X (source)                                                                                                         \
    X (vm)                                                                                                             \
    X (format)                                                                                                         \
    X (target) X (pool) X (name) X (cpu_model) X (machine_type) X (os_name) X (firmware) X (disk_format) X (root)
#define LIST_OPTIONS(X) X (networks) X (disks) X (v2v_options)

static const char *const stages[] = { "copy", "convert", "commit", "move",
                                      "finish" }; /* in the order of enum import_resume */

static char *
state_path (const char *work_dir)
{
    return g_build_filename (work_dir, VMF_WORK_STATE_NAME, NULL);
}

/* JSON where it is whole; a string that is not UTF-8 is none to jansson. */
static json_t *
only_if (bool good, json_t *json)
{
    if (!good)
        g_clear_pointer (&json, json_decref);
    return json;
}

/* ---- options ---- */

static json_t *
list_to_json (const char *const *list)
{
    json_t *array = json_array ();
    bool good = true;
    for (size_t i = 0; list && list[i]; i++)
        good = json_array_append_new (array, json_string (list[i])) == 0 && good;
    return only_if (good, array);
}

/* What was made up for this VM (UUID, MACs) is an option the next time. */
static json_t *
macs_to_json (const struct vmf_vm *vm)
{
    json_t *array = json_array ();
    for (guint i = 0; i < vm->nics->len; i++)
    {
        const struct vmf_nic *nic = g_ptr_array_index (vm->nics, i);
        if (nic->mac)
            json_array_append_new (array, json_sprintf ("%u=%s", i + 1, nic->mac));
    }
    return array;
}

static json_t *
options_to_json (const struct vmf_import *import)
{
    const struct vmf_import_options *options = &import->options;
    json_t *json = json_pack ("{s:s?, s:I, s:I, s:i, s:b, s:b, s:o}", "uuid", import->vm->uuid, "memory_bytes",
                              (json_int_t)options->memory_bytes, "vcpus", (json_int_t)options->vcpus, "convert",
                              (int)options->convert, "preallocate", options->preallocate, "replace", options->replace,
                              "macs", macs_to_json (import->vm));
    bool good = json != NULL;
#define PUT_TEXT(key)                                                                                                  \
    if (options->key)                                                                                                  \
        good = good && json_object_set_new (json, #key, json_string (options->key)) == 0;
#define PUT_LIST(key) good = good && json_object_set_new (json, #key, list_to_json (options->key)) == 0;
    TEXT_OPTIONS (PUT_TEXT)
    LIST_OPTIONS (PUT_LIST)
    return only_if (good, json);
}

static const char *const *
list_from_json (const json_t *array)
{
    GPtrArray *list = g_ptr_array_new ();
    for (size_t i = 0; i < json_array_size (array); i++)
        g_ptr_array_add (list, (char *)json_string_value (json_array_get (array, i)));
    g_ptr_array_add (list, NULL);
    return (const char *const *)g_ptr_array_free (list, FALSE);
}

/* The strings stay the state's. */
static void
options_from_json (struct vmf_import *import, const json_t *json)
{
    struct vmf_import_options *options = &import->options;
#define GET_TEXT(key) options->key = json_string_value (json_object_get (json, #key));
#define GET_LIST(key)                                                                                                  \
    g_ptr_array_add (import->option_lists, (void *)(options->key = list_from_json (json_object_get (json, #key))));
    TEXT_OPTIONS (GET_TEXT)
    LIST_OPTIONS (GET_LIST)
    GET_LIST (macs)
    options->uuid = json_string_value (json_object_get (json, "uuid"));
    options->memory_bytes = (uint64_t)json_integer_value (json_object_get (json, "memory_bytes"));
    options->vcpus = (uint64_t)json_integer_value (json_object_get (json, "vcpus"));
    options->convert = (enum vmf_import_convert)json_integer_value (json_object_get (json, "convert"));
    options->preallocate = json_is_true (json_object_get (json, "preallocate"));
    options->replace = json_is_true (json_object_get (json, "replace"));
}

/* ---- settings ---- */

/* What the user set for this import, but not where its own files are, which the work directory decides. No setting
   holds a secret, and one that does must not begin like this. */
static bool
is_of_the_import (const char *key)
{
    static const char *const begins[] = { "copy.",    "convert.", "domain.", "libguestfs.", "virtio_win",
                                          "vsphere.", "vddk.",    "ssh.",    "http." };
    for (size_t i = 0; i < G_N_ELEMENTS (begins); i++)
        if (g_str_has_prefix (key, begins[i]))
            return true;
    return false;
}

static json_t *
settings_to_json (const struct vmf_settings *settings)
{
    json_t *json = json_object ();
    for (const struct vmf_setting *setting = vmf_settings_table (); setting->key; setting++)
    {
        const char *value = vmf_settings_get_set (settings, setting->key);
        if (value && is_of_the_import (setting->key))
            json_object_set_new (json, setting->key, json_string (value));
    }
    return json;
}

/* What --set says now goes before. */
static void
settings_from_json (struct vmf_import *import, json_t *json)
{
    const char *key;
    json_t *value;
    import->own_settings = vmf_settings_copy (import->settings);
    json_object_foreach (json, key, value)
    {
        g_autoptr (GError) error = NULL;
        g_autofree char *pair = g_strdup_printf ("%s=%s", key, json_string_value (value));
        if (!vmf_settings_get_set (import->settings, key) && json_is_string (value) && is_of_the_import (key)
            && !vmf_settings_set (import->own_settings, pair, &error))
            import_say (import, VMF_IMPORT_WARNING, "a setting of the import's start is not used: %s", error->message);
    }
    import->settings = import->own_settings;
}

/* ---- what the conversion found ---- */

static json_t *
strings_to_json (const GPtrArray *strings)
{
    json_t *array = json_array ();
    for (guint i = 0; strings && i < strings->len; i++)
        json_array_append_new (array, json_string (g_ptr_array_index (strings, i)));
    return array;
}

static GPtrArray *
strings_from_json (const json_t *array)
{
    GPtrArray *strings = g_ptr_array_new_with_free_func (g_free);
    for (size_t i = 0; i < json_array_size (array); i++)
        g_ptr_array_add (strings, g_strdup (json_string_value (json_array_get (array, i))));
    return strings;
}

#define CAPS_FLAGS(X) X (virtio_net) X (virtio_rng) X (virtio_balloon) X (pvpanic) X (virtio_1_0) X (rtc_utc)
#define CAPS_TEXTS(X) X (nic_model) X (arch) X (osinfo_id)
#define RESULT_TEXTS(X) X (os_name) X (os_type) X (os_distro)

static json_t *
converted_to_json (const struct vmf_convert_result *result)
{
    json_t *json = json_pack ("{s:i, s:i, s:b, s:o, s:o}", "disk_bus", (int)result->caps.disk_bus, "machine",
                              (int)result->caps.machine, "virtio_missing", result->virtio_missing, "messages",
                              strings_to_json (result->messages), "changes", strings_to_json (result->changes));
#define PUT_FLAG(key) json_object_set_new (json, #key, json_boolean (result->caps.key));
#define PUT_CAPS_TEXT(key)                                                                                             \
    if (result->caps.key)                                                                                              \
        json_object_set_new (json, #key, json_string (result->caps.key));
#define PUT_RESULT_TEXT(key)                                                                                           \
    if (result->key)                                                                                                   \
        json_object_set_new (json, #key, json_string (result->key));
    CAPS_FLAGS (PUT_FLAG)
    CAPS_TEXTS (PUT_CAPS_TEXT)
    RESULT_TEXTS (PUT_RESULT_TEXT)
    return json;
}

static struct vmf_convert_result *
converted_from_json (const json_t *json)
{
    struct vmf_convert_result *result = g_new0 (struct vmf_convert_result, 1);
    result->caps.disk_bus = (enum vmf_bus)json_integer_value (json_object_get (json, "disk_bus"));
    result->caps.machine = (enum vmf_machine)json_integer_value (json_object_get (json, "machine"));
    result->virtio_missing = json_is_true (json_object_get (json, "virtio_missing"));
    result->messages = strings_from_json (json_object_get (json, "messages"));
    result->changes = strings_from_json (json_object_get (json, "changes"));
#define GET_FLAG(key) result->caps.key = json_is_true (json_object_get (json, #key));
#define GET_CAPS_TEXT(key) result->caps.key = g_strdup (json_string_value (json_object_get (json, #key)));
#define GET_RESULT_TEXT(key) result->key = g_strdup (json_string_value (json_object_get (json, #key)));
    CAPS_FLAGS (GET_FLAG)
    CAPS_TEXTS (GET_CAPS_TEXT)
    RESULT_TEXTS (GET_RESULT_TEXT)
    return result;
}

/* ---- disks ---- */

static json_t *
disks_to_json (const struct vmf_import *import)
{
    json_t *array = json_array ();
    bool good = true;
    for (unsigned i = 0; i < import->n_disks; i++)
    {
        const struct vmf_target_disk *disk = g_ptr_array_index (import->target_disks, i);
        const char *staged = import->staged ? import->disks[i].write_path : NULL;
        json_t *json = json_pack ("{s:s?, s:s, s:s, s:s, s:b, s:I, s:I}", "staged", staged, "path", disk->path,
                                  "final_path", disk->final_path, "format", disk->format, "block", disk->block,
                                  "size_bytes", (json_int_t)import->disks[i].size_bytes, "needed_bytes",
                                  (json_int_t)import->disks[i].progress.needed);
        good = json_array_append_new (array, json) == 0 && good;
    }
    return only_if (good, array);
}

static struct vmf_target_disk *
disk_from_json (const json_t *json)
{
    struct vmf_target_disk *disk = g_new0 (struct vmf_target_disk, 1);
    disk->path = g_strdup (json_string_value (json_object_get (json, "path")));
    disk->final_path = g_strdup (json_string_value (json_object_get (json, "final_path")));
    disk->format = g_strdup (json_string_value (json_object_get (json, "format")));
    disk->block = json_is_true (json_object_get (json, "block"));
    disk->fresh = true; /* cleared before the state was written */
    return disk;
}

GPtrArray *
import_state_disks (const struct vmf_import *import)
{
    const json_t *array = json_object_get (import->state, "disks");
    GPtrArray *disks = g_ptr_array_new_with_free_func (vmf_target_disk_free);
    for (size_t i = 0; i < json_array_size (array); i++)
        g_ptr_array_add (disks, disk_from_json (json_array_get (array, i)));
    return disks;
}

uint64_t
import_state_size (const struct vmf_import *import, unsigned disk)
{
    const json_t *json = json_array_get (json_object_get (import->state, "disks"), disk);
    return (uint64_t)json_integer_value (json_object_get (json, "size_bytes"));
}

uint64_t
import_state_needed (const struct vmf_import *import, unsigned disk)
{
    const json_t *json = json_array_get (json_object_get (import->state, "disks"), disk);
    return import->resume == IMPORT_RESUME_COPY ? 0
                                                : (uint64_t)json_integer_value (json_object_get (json, "needed_bytes"));
}

char *
import_state_staged (const struct vmf_import *import, unsigned disk)
{
    const json_t *json = json_array_get (json_object_get (import->state, "disks"), disk);
    return g_strdup (json_string_value (json_object_get (json, "staged")));
}

/* ---- the file ---- */

bool
import_state_save (struct vmf_import *import, enum import_resume stage, GError **error)
{
    g_autofree char *path = state_path (vmf_work_get_dir (import->work));
    json_t *state = json_pack ("{s:s, s:i, s:s, s:o, s:o, s:o}", "kind", "vmferry import", "version", 1, "stage",
                               stages[stage], "options", options_to_json (import), "set",
                               settings_to_json (import->settings), "disks", disks_to_json (import));
    if (state && import->converted)
        json_object_set_new (state, "converted", converted_to_json (import->converted));
    char *text = state ? json_dumps (state, JSON_INDENT (1)) : NULL;
    bool good = text
                && g_file_set_contents_full (path, text, -1,
                                             G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE, 0600, error);
    if (!text) /* a path that is not UTF-8: the import goes on, but cannot be resumed */
        import_say (import, VMF_IMPORT_WARNING,
                    "a name is not UTF-8, so this import cannot be resumed if it is killed");
    free (text);
    json_decref (state);
    return good || !text;
}

char *
vmf_import_describe (const char *work_dir)
{
    g_autofree char *path = state_path (work_dir);
    json_t *state = json_load_file (path, 0, NULL), *options = json_object_get (state, "options");
    const char *vm = json_string_value (json_object_get (options, "vm"));
    const char *given = json_string_value (json_object_get (options, "name")), *name = given ? given : vm;
    const char *source = json_string_value (json_object_get (options, "source"));
    const char *target = json_string_value (json_object_get (options, "target"));
    g_autofree char *shown = source ? vmf_import_show_source (source) : g_strdup ("an unknown source");
    char *text = g_strdup_printf ("%s%sfrom %s to %s", name ? name : "", name ? " " : "", shown,
                                  target ? target : "an unknown target");
    json_decref (state);
    return text;
}

bool
import_state_load (struct vmf_import *import, const char *work_dir, GError **error)
{
    g_autofree char *path = state_path (work_dir);
    import->state = json_load_file (path, 0, NULL);
    const char *stage = json_string_value (json_object_get (import->state, "stage"));
    bool good = g_strcmp0 (json_string_value (json_object_get (import->state, "kind")), "vmferry import") == 0
                && json_integer_value (json_object_get (import->state, "version")) == 1 && stage
                && json_string_value (json_object_get (json_object_get (import->state, "options"), "source"));
    if (!good)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_NOT_FOUND,
                     "there is nothing to go on with in %s: no import had begun to copy there; begin it anew",
                     work_dir);
        return false;
    }
    for (size_t i = 0; i < G_N_ELEMENTS (stages); i++)
        if (strcmp (stage, stages[i]) == 0)
            import->resume = (enum import_resume)i;
    import->resumed = true;
    options_from_json (import, json_object_get (import->state, "options"));
    settings_from_json (import, json_object_get (import->state, "set"));
    const json_t *converted = json_object_get (import->state, "converted");
    if (converted && import->resume >= IMPORT_RESUME_COMMIT)
        import->converted = converted_from_json (converted);
    return true;
}
