/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What `vmferry control` may ask of a running import (X10): status, rate, pause, resume, nice; for one disk or for all.
 */
#include "base/error.h"
#include "import/internal.h"

#include <string.h>

static struct import_disk *
find_disk (struct vmf_import *import, const char *name, GError **error)
{
    for (unsigned i = 0; i < import->n_disks; i++)
        if (strcmp (import->disks[i].name, name) == 0)
            return &import->disks[i];
    g_set_error (error, VMF_ERROR, VMF_ERROR_NOT_FOUND, "this import has no disk '%s'", name);
    return NULL;
}

static json_t *
disk_json (struct import_disk *disk)
{
    const struct vmf_mover_progress *progress = &disk->progress;
    return json_pack ("{s:s, s:I, s:I, s:I, s:I, s:I, s:b, s:s?}", "name", disk->name, "needed_bytes",
                      (json_int_t)progress->needed, "done_bytes", (json_int_t)progress->done, "proven_bytes",
                      (json_int_t)progress->proven, "retries", (json_int_t)progress->retries, "rate_bytes_per_s",
                      (json_int_t)vmf_pace_get_rate (disk->pace), "paused", vmf_pace_is_paused (disk->pace),
                      "bottleneck", import_bottleneck (disk));
}

static json_t *
status_json (struct vmf_import *import)
{
    json_t *disks = json_array ();
    for (unsigned i = 0; i < import->n_disks; i++)
        json_array_append_new (disks, disk_json (&import->disks[i]));
    return json_pack ("{s:s, s:I, s:b, s:o}", "name", import->vm->name, "rate_bytes_per_s",
                      (json_int_t)vmf_pace_get_rate (import->pace), "paused", vmf_pace_is_paused (import->pace),
                      "disks", disks);
}

static json_t *
handle (const char *command, const char *disk_name, const char *value, void *data, GError **error)
{
    struct vmf_import *import = data;
    struct import_disk *disk = disk_name ? find_disk (import, disk_name, error) : NULL;
    if (disk_name && !disk)
        return NULL;
    if (strcmp (command, "status") == 0)
        return disk ? disk_json (disk) : status_json (import);
    return vmf_control_pace (disk ? disk->pace : import->pace, command, value, error);
}

/* Without one the import goes on: its work directory may be too deep for a socket. */
void
import_control_open (struct vmf_import *import)
{
    g_autoptr (GError) error = NULL;
    import->control = vmf_control_new (vmf_work_get_dir (import->work), handle, import, &error);
    if (!import->control)
        import_say (import, VMF_IMPORT_NOTE, "'vmferry control' cannot reach this import: %s", error->message);
}
