/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The middle of an import: the source's helpers and the chains go up, the conversion begins, the map is read, pass 1
 * runs, and the source is let go of disk by disk while the conversion may still be running.
 */
#include "base/error.h"
#include "disk/held-up.h"
#include "disk/samples.h"
#include "disk/zero.h"
#include "import/internal.h"

#include <string.h>

enum
{
    FIRST_PORT = 10809, /* in the room, where nobody else listens */
    RESTART_PAUSE_US = 2 * G_USEC_PER_SEC,
};

static bool
is_copied (const struct vmf_import *import)
{
    return import->resumed && import->resume == IMPORT_RESUME_CONVERT;
}

/* Does the conversion read from the source what is not here yet? */
static bool
has_source_beneath (const struct vmf_import *import)
{
    return import->convert && !import->sequential && !is_copied (import);
}

/* The journal of DISK; what an earlier import wrote there is looked at before it is believed. */
static bool
open_journal (struct import_disk *disk, GError **error)
{
    struct vmf_import *import = disk->import;
    const struct vmf_sample_place places[] = {
        { "target", vmf_chain_get_target_uri (disk->chain), NULL, false },
        { "source", disk->server ? vmf_server_get_uri (disk->server) : NULL, NULL, import->sequential },
    };
    size_t n_places = is_copied (import) ? 1 : G_N_ELEMENTS (places);
    return import_journal_open (disk, error)
           && (vmf_journal_get_state (disk->journal) != VMF_JOURNAL_BEGUN
               || vmf_samples_check (disk->journal, disk->name, places, n_places, import->stop, error));
}

/* With a conversion the target may hold blocks that copy-on-read brought and that nobody proved: a resumed import reads
   them again, a new one takes them as they are. */
static bool
start_chains (struct vmf_import *import, GError **error)
{
    for (unsigned i = 0; i < import->n_disks; i++)
    {
        struct import_disk *disk = &import->disks[i];
        const struct vmf_target_disk *target = g_ptr_array_index (import->target_disks, i);
        disk->chain_options = (struct vmf_chain_options){
            .name = disk->name,
            .work_dir = vmf_work_get_dir (import->work),
            .room = import->room,
            .target_path = disk->write_path,
            .target_format = import->staged ? "qcow2" : target->format,
            .target_is_block = !import->staged && target->block,
            .preallocate = !import->staged && disk->preallocate,
            .size_bytes = disk->size_bytes,
            .source_socket = has_source_beneath (import) ? vmf_server_get_socket (disk->server) : NULL,
            .keep_map = import->resumed,
            .overlay_port = import->convert ? FIRST_PORT + i : 0,
        };
        disk->chain = vmf_chain_start (&disk->chain_options, import->stop, error);
        if (!disk->chain || !open_journal (disk, error))
            return false;
    }
    return true;
}

static bool
start_conversion (struct vmf_import *import, GError **error)
{
    g_autofree unsigned *ports = g_new (unsigned, import->n_disks);
    for (unsigned i = 0; i < import->n_disks; i++)
        ports[i] = import->disks[i].chain_options.overlay_port;
    g_auto (GStrv) env =
        vmf_accel_libguestfs_env (import->accel, vmf_settings_get_string (import->settings, "libguestfs.backend"),
                                  vmf_settings_get_string (import->settings, "libguestfs.backend_settings"));
    const char *virtio_win = vmf_settings_get_string (import->settings, "virtio_win");
    struct vmf_convert_options options = {
        .vm = import->vm,
        .ports = ports,
        .n_ports = import->n_disks,
        .room = import->room,
        .work_dir = vmf_work_get_dir (import->work),
        .log_path = import->convert_log,
        .libguestfs_env = (const char *const *)env,
        .virtio_win = *virtio_win ? virtio_win : NULL,
        .extra_args = import->options.v2v_options,
        .root = import->options.root,
    };
    import_stage_begin (import, "convert");
    import->convert_started_us = g_get_monotonic_time ();
    import->conversion = vmf_convert_start (&options, error);
    return import->conversion != NULL;
}

static bool
verify (struct vmf_import *import, GError **error)
{
    return import->source->ops->verify (import->source, import->vm, import->stop, error);
}

static bool
read_map (struct vmf_import *import, GError **error)
{
    g_autofree struct vmf_map_disk *disks = g_new0 (struct vmf_map_disk, import->n_disks);
    for (unsigned i = 0; i < import->n_disks; i++)
        disks[i] = (struct vmf_map_disk){ .name = import->disks[i].name,
                                          .uri = vmf_server_get_uri (import->disks[i].server),
                                          .size_bytes = import->disks[i].size_bytes,
                                          .whole_why = import->sequential ? "it arrives as a stream" : NULL };
    import_stage_begin (import, "map");
    import->map =
        vmf_map_read (disks, import->n_disks, import->room, vmf_work_get_dir (import->work), import->stop, error);
    if (!import->map)
        return false;
    for (unsigned i = 0; i < import->n_disks; i++)
        import->disks[i].needed = g_ptr_array_index (import->map->needed, i);
    import_stage_end (import, "map");
    return true;
}

/* Pass 1 of DISK is complete: nobody needs its source any more. */
static bool
release (struct import_disk *disk, GError **error)
{
    struct vmf_import *import = disk->import;
    uint64_t present = 0;
    if (has_source_beneath (import)
        && (!vmf_chain_present_bytes (disk->chain, &present, error)
            || !vmf_chain_release_source (disk->chain, &disk->chain_options, error)))
        return false;
    disk->fetched_bytes = !import->resumed && present > disk->progress.written ? present - disk->progress.written : 0;
    g_clear_pointer (&disk->server, vmf_server_free);
    disk->released = true;
    import->source_released_us = g_get_real_time ();
    return true;
}

static bool
watch_conversion (struct vmf_import *import, GError **error)
{
    uint64_t limit_s = vmf_settings_get_uint64 (import->settings, "convert.timeout_s"); /* B7 */
    uint64_t took_s = (uint64_t)(g_get_monotonic_time () - import->convert_started_us) / G_USEC_PER_SEC;
    if (!import->conversion)
        return true;
    if (!vmf_child_running (vmf_convert_get_child (import->conversion)))
    {
        import->converted = vmf_convert_finish (import->conversion, import->stop, error);
        g_clear_pointer (&import->conversion, vmf_convert_free);
        if (import->converted)
            import_stage_end (import, "convert");
        return import->converted != NULL;
    }
    if (limit_s == 0 || took_s < limit_s)
        return true;
    g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED,
                 "the conversion was not done after %" G_GUINT64_FORMAT
                 " s, the limit that convert.timeout_s sets; raise it "
                 "for guests that need longer. Its log: %s",
                 (guint64)limit_s, import->convert_log);
    return false;
}

/* Where a disk is to be found may have changed (an export's address): the source is asked again. */
static bool
renew_image (struct vmf_import *import, struct import_disk *disk, GError **error)
{
    if (!disk->image->helper)
        return true;
    struct vmf_image *image = import->source->ops->image (import->source, import->vm, disk->disk, import->stop, error);
    if (!image)
        return false;
    vmf_image_free (disk->image);
    disk->image = image;
    return true;
}

/* Did DISK, whose helper cannot be started for WHY (taken), wait long enough? A mover that is there decides itself. */
static bool
keep_trying (struct vmf_import *import, const struct import_disk *disk, GError *why, GError **error)
{
    int64_t retry_us = (int64_t)vmf_settings_get_uint64 (import->settings, "copy.retry_s") * G_USEC_PER_SEC;
    bool on = disk->thread || g_get_monotonic_time () - disk->gone_us < retry_us;
    if (on)
    {
        import_say (import, VMF_IMPORT_WARNING, "%s", why->message);
        g_error_free (why);
    }
    else
        g_propagate_error (error, why);
    return on;
}

/* A source's helper that died is started again, as often as needed: mover and conversion connect to it by themselves,
   and the mover gives up in the end (copy.retry_s). A disk whose turn has not come has no mover yet. */
static bool
tend_server (struct vmf_import *import, struct import_disk *disk, GError **error)
{
    int64_t now_us = g_get_monotonic_time ();
    GError *why = NULL;
    if (disk->released || (disk->server && vmf_server_is_running (disk->server)) || now_us < disk->restart_us)
        return true;
    if (disk->server)
    {
        g_autoptr (GError) ended = g_error_new_literal (VMF_ERROR, VMF_ERROR_FAILED, "it has ended");
        vmf_server_explain (disk->server, &ended);
        import_say (import, VMF_IMPORT_WARNING, "the helper that reads %s is started again: %s", disk->name,
                    ended->message);
        disk->gone_us = now_us;
    }
    g_clear_pointer (&disk->server, vmf_server_free);
    if (renew_image (import, disk, &why))
    {
        g_autofree char *socket = import_source_socket (disk);
        disk->server = vmf_server_start (disk->image, disk->name, socket, import->stop, &why);
    }
    disk->restart_us = now_us + RESTART_PAUSE_US;
    return disk->server || keep_trying (import, disk, why, error);
}

static void
look_held_up (struct import_disk *disk)
{
    g_autofree char *why =
        disk->server && !disk->released ? vmf_held_up_look (vmf_server_get_uri (disk->server)) : NULL;
    import_tell_held_up (why, disk);
}

/* How far the copy is, for a source whose other end waits for it. */
static void
tell_source (struct vmf_import *import)
{
    uint64_t needed = 0, done = 0;
    if (!import->source->ops->tell)
        return;
    for (unsigned i = 0; i < import->n_disks; i++)
    {
        needed += __atomic_load_n (&import->disks[i].progress.needed, __ATOMIC_RELAXED);
        done += __atomic_load_n (&import->disks[i].progress.done, __ATOMIC_RELAXED);
    }
    import->source->ops->tell (import->source, (unsigned)MIN (done / MAX (needed / 100, (uint64_t)1), (uint64_t)100));
}

/* From here on a conversion that fails costs a conversion and nothing else (X2), whatever becomes of the source. Where
   that is over, or none is wanted, nothing is left to do but what comes after it: letting go of a source may take
   hours. */
static bool
save_copied (struct vmf_import *import, GError **error)
{
    bool whole = import->convert && !import->converted;
    if (!whole && !import->verify.thread)
        return import_state_save (import, IMPORT_RESUME_COMMIT, error);
    for (unsigned i = 0; i < import->n_disks; i++)
        whole = whole && !import->disks[i].left_out;
    return !whole || import_state_save (import, IMPORT_RESUME_CONVERT, error);
}

/* The last disk is here. */
static bool
end_copy (struct vmf_import *import, GError **error)
{
    import_stage_end (import, "copy");
    if (import->held && import->source->ops->still && !import->source->ops->still (import->source, import->stop, error))
        return false;
    if (!save_copied (import, error))
        return false;
    import_release_begin (import);
    return !import->convert || !import->sequential || start_conversion (import, error);
}

static bool
watch_step (struct vmf_import *import, bool *copied, GError **error)
{
    bool was_copied = *copied;
    if (!import_passes_step (import, copied, error) || !watch_conversion (import, error)
        || !import_job_poll (&import->verify, error))
        return false;
    import_release_poll (import);
    for (unsigned i = 0; i < import->n_disks; i++)
        if (import->disks[i].copied && !import->disks[i].released && !release (&import->disks[i], error))
            return false;
    for (unsigned i = 0; i < import->n_disks; i++)
    {
        if (!tend_server (import, &import->disks[i], error))
            return false;
        look_held_up (&import->disks[i]);
    }
    import_passes_drop_covered (import);
    tell_source (import);
    return was_copied || !*copied || end_copy (import, error);
}

/* Copy and conversion beside each other, until both have ended well. */
static bool
watch (struct vmf_import *import, GError **error)
{
    bool copied = false;
    import_stage_begin (import, "copy");
    for (;;)
    {
        if (!watch_step (import, &copied, error))
            return false;
        import_tell_progress (import, copied ? "convert" : "copy");
        if (copied && !import->conversion && !import->verify.thread && !import->release.thread)
            return true;
        if (!import_wait_for_events (import, IMPORT_TICK_MS, error))
            return false;
    }
}

bool
import_copy_and_convert (struct vmf_import *import, GError **error)
{
    import->room = vmf_room_new (error);
    if (!import->room || !start_chains (import, error)
        || (import->convert && !import->sequential && !start_conversion (import, error)))
        return false;
    import_control_open (import);
    if (import->source->ops->verify)
        import_job_start (import, &import->verify, verify);
    return read_map (import, error) && import_reserve_space (import, error) && watch (import, error)
           && import_state_save (import, IMPORT_RESUME_COMMIT, error);
}

bool
import_convert_again (struct vmf_import *import, GError **error)
{
    import->room = vmf_room_new (error);
    if (!import->room || !start_chains (import, error))
        return false;
    for (unsigned i = 0; i < import->n_disks; i++)
        import->disks[i].copied = import->disks[i].released = true;
    import_control_open (import);
    if (!start_conversion (import, error))
        return false;
    while (import->conversion)
    {
        import_tell_progress (import, "convert");
        if (!import_wait_for_events (import, IMPORT_TICK_MS, error) || !watch_conversion (import, error))
            return false;
    }
    return import_state_save (import, IMPORT_RESUME_COMMIT, error);
}

/* The chains again over what was copied and converted; a disk without an overlay is committed already. */
bool
import_open_converted (struct vmf_import *import, GError **error)
{
    import->room = import->convert ? vmf_room_new (error) : NULL;
    if (import->convert && !import->room)
        return false;
    for (unsigned i = 0; i < import->n_disks; i++)
    {
        struct import_disk *disk = &import->disks[i];
        const struct vmf_target_disk *target = g_ptr_array_index (import->target_disks, i);
        disk->committed = !import->convert || !vmf_chain_has_overlay (vmf_work_get_dir (import->work), disk->name);
        disk->chain_options = (struct vmf_chain_options){
            .name = disk->name,
            .work_dir = vmf_work_get_dir (import->work),
            .room = import->room,
            .target_path = disk->write_path,
            .target_format = import->staged ? "qcow2" : target->format,
            .target_is_block = !import->staged && target->block,
            .preallocate = !import->staged && disk->preallocate,
            .size_bytes = disk->size_bytes,
            .keep_map = true,
            .keep_overlay = true,
            .overlay_port = FIRST_PORT + i,
        };
        disk->chain = disk->committed ? NULL : vmf_chain_start (&disk->chain_options, import->stop, error);
        if (!disk->chain && (!disk->committed || !vmf_zero_sync (disk->write_path, error)))
            return false;
    }
    return true;
}
