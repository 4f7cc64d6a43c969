/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One import from start to end, and its undo: everything a stage has started is ended here in one place, last first. */
#include "base/error.h"
#include "base/log.h"
#include "disk/zero.h"
#include "import/internal.h"
#include "target/undo.h"

#include <glib/gstdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void
stop_with_user (GCancellable *user, gpointer stop)
{
    g_cancellable_cancel (stop);
}

struct vmf_import *
vmf_import_new (const struct vmf_import_options *options, const struct vmf_settings *settings,
                const struct vmf_import_events *events, GCancellable *cancellable)
{
    struct vmf_import *import = g_new0 (struct vmf_import, 1);
    import->options = *options;
    import->settings = settings;
    import->events = events ? *events : (struct vmf_import_events){ 0 };
    import->cancellable = cancellable ? g_object_ref (cancellable) : g_cancellable_new ();
    import->stop = g_cancellable_new ();
    import->stop_link = g_cancellable_connect (import->cancellable, G_CALLBACK (stop_with_user), import->stop, NULL);
    import->findings = vmf_findings_new ();
    import->option_lists = g_ptr_array_new_with_free_func (g_free);
    import->stages = g_array_new (FALSE, FALSE, sizeof (struct import_stage));
    import->move_needed = g_ptr_array_new_with_free_func ((GDestroyNotify)vmf_extents_free);
    import->pace = vmf_pace_new (NULL);
    import->wake_fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
    return import;
}

void
import_disk_clear (struct import_disk *disk)
{
    vmf_chain_free (disk->chain);
    vmf_journal_free (disk->journal);
    vmf_server_free (disk->server);
    vmf_image_free (disk->image);
    g_free (disk->name);
    g_free (disk->format);
    g_free (disk->pool);
    g_free (disk->write_path);
    g_free (disk->source_uri);
    g_free (disk->held_up);
    vmf_pace_free (disk->pace);
    vmf_extents_free (disk->changed);
}

/* Ends every thread and child. Afterwards nobody writes to the target any more. */
static void
stop_everything (struct vmf_import *import)
{
    g_cancellable_cancel (import->stop);
    g_clear_pointer (&import->conversion, vmf_convert_free);
    import_passes_join (import);
    import_job_join (&import->verify, NULL);
    for (unsigned i = 0; i < import->n_disks; i++)
    {
        g_clear_pointer (&import->disks[i].chain, vmf_chain_free);
        g_clear_pointer (&import->disks[i].server, vmf_server_free);
    }
}

/* With --keep-work the work directory, which knows of them, is not cleared. */
static void
remove_staged (struct vmf_import *import)
{
    for (unsigned i = 0; import->staged && i < import->n_disks; i++)
        if (import->disks[i].write_path)
            g_unlink (import->disks[i].write_path);
}

/* As long as the undo list lies there the work directory stays, and whoever clears it tries again. */
static void
look_for_leftovers (struct vmf_import *import)
{
    if (!import->work || import->leftovers || !vmf_work_has_undo (import->work))
        return;
    import->leftovers = g_strdup (vmf_work_get_dir (import->work));
    import_say (import, VMF_IMPORT_WARNING,
                "not everything could be cleared away on the target; 'vmferry clean --work %s' tries again",
                import->leftovers);
}

static void
undo (struct vmf_import *import)
{
    g_autoptr (GError) error = NULL;
    stop_everything (import);
    import->kept = !import->finished && (import->resumed || (import->options.keep_work && import->created))
                   && vmf_work_is_resumable (vmf_work_get_dir (import->work));
    if (!import->kept)
        remove_staged (import);
    if (import->created && !import->finished && !import->kept)
    {
        vmf_work_forget_state (vmf_work_get_dir (import->work));
        if (!import->target->ops->abort (import->target, &error))
            import_say (import, VMF_IMPORT_WARNING, "%s", error->message);
    }
    import->created = false;
    if (!import->kept)
        look_for_leftovers (import);
    bool holds = import->kept && import->held;
    g_autofree char *held = holds ? vmf_work_get_held (vmf_work_get_dir (import->work)) : NULL;
    if (held)
        import_say (import, VMF_IMPORT_WARNING, "kept for --resume at the source: %s", held);
    if (!holds)
        import_release_now (import);
    import->held = false;
    if (import->work)
        vmf_work_keep (import->work, import->options.keep_work || import->kept);
}

void
vmf_import_free (struct vmf_import *import)
{
    if (!import)
        return;
    undo (import);
    for (unsigned i = 0; i < import->n_disks; i++)
        import_disk_clear (&import->disks[i]);
    g_free (import->disks);
    g_clear_pointer (&import->target_disks, g_ptr_array_unref);
    g_clear_pointer (&import->changes, g_ptr_array_unref);
    vmf_convert_result_free (import->converted);
    vmf_map_free (import->map);
    vmf_target_close (import->target);
    vmf_source_close (import->source);
    vmf_vm_free (import->vm);
    vmf_room_free (import->room);
    vmf_control_free (import->control);
    vmf_pace_free (import->pace);
    vmf_budget_free (import->budget);
    vmf_settings_free (import->own_settings);
    vmf_work_free (import->work);
    g_ptr_array_unref (import->findings);
    g_ptr_array_unref (import->move_needed);
    g_array_unref (import->stages);
    g_cancellable_disconnect (import->cancellable, import->stop_link);
    g_object_unref (import->cancellable);
    g_object_unref (import->stop);
    close (import->wake_fd);
    g_free (import->accel_why);
    g_free (import->convert_log);
    g_free (import->result);
    g_free (import->failure);
    g_free (import->leftovers);
    json_decref (import->state);
    g_ptr_array_unref (import->option_lists);
    g_free (import);
}

/* What an earlier import that was killed left is cleared before this one begins, unless it can go on; that it fails
   stops nobody. */
static void
clear_the_dead (struct vmf_import *import)
{
    g_autoptr (GPtrArray) removed = g_ptr_array_new_with_free_func (g_free);
    g_autoptr (GPtrArray) resumable = g_ptr_array_new_with_free_func (g_free);
    g_autoptr (GError) error = NULL;
    if (!vmf_work_clear_all (import->settings, resumable, removed, &error))
        import_say (import, VMF_IMPORT_WARNING, "%s", error->message);
    for (guint i = 0; i < removed->len; i++)
        import_say (import, VMF_IMPORT_NOTE, "cleared what an import that died had left: %s",
                    (const char *)g_ptr_array_index (removed, i));
    for (guint i = 0; i < resumable->len; i++)
        import_say (import, VMF_IMPORT_NOTE, "an import that ended early can go on: vmferry import --resume %s",
                    (const char *)g_ptr_array_index (resumable, i));
}

static struct vmf_work *
new_work (struct vmf_import *import, GError **error)
{
    g_autofree char *source = vmf_import_show_source (import->options.source), *base = g_path_get_basename (source);
    if (import->options.dry_run)
        return vmf_work_new_passing (error);
    clear_the_dead (import);
    const char *name = import->options.vm ? import->options.vm : base;
    return vmf_work_new (import->settings, import->options.work_dir, name, error);
}

static bool
open_work (struct vmf_import *import, GError **error)
{
    import->work = import->options.resume ? vmf_work_resume (import->options.resume, error) : new_work (import, error);
    if (!import->work
        || (import->options.resume && !import_state_load (import, vmf_work_get_dir (import->work), error)))
        return false;
    import->convert_log = vmf_log_get_path ()
                              ? g_strconcat (vmf_log_get_path (), ".virt-v2v", NULL)
                              : g_build_filename (vmf_work_get_dir (import->work), "virt-v2v.log", NULL);
    return true;
}

/* A21 off: the chain writes into a qcow2 of ours, which the move brings to the target. */
static bool
stage_disk (struct import_disk *disk, GError **error)
{
    struct vmf_import *import = disk->import;
    const char *set = vmf_settings_get_string (import->settings, "staging.dir");
    const char *dir = *set ? set : vmf_work_get_dir (import->work);
    g_autofree char *size = g_strdup_printf ("%" G_GUINT64_FORMAT, (guint64)disk->size_bytes);
    g_autofree char *leaf = g_path_get_basename (vmf_work_get_dir (import->work));
    g_autofree char *file = g_strdup_printf ("%s-%s.staged.qcow2", leaf, disk->name);
    g_autofree char *path = g_build_filename (dir, file, NULL);
    const char *argv[] = { "qemu-img", "create", "-q", "-f", "qcow2", path, size, NULL };
    struct vmf_child_options run = { .name = "qemu-img create", .argv = argv };
    if (!vmf_work_note_file (import->work, disk->name, path, error)) /* what is there is another's, and stays */
        return false;
    disk->write_path = g_steal_pointer (&path);
    g_autofree char *output = vmf_child_run (&run, 0, import->stop, error);
    return output != NULL;
}

/* A target that was used before (an LVM volume) has other people's bytes where nothing is written (PITFALLS 47). */
static bool
clear_target (const char *path, uint64_t size_bytes, GCancellable *cancellable, GError **error)
{
    g_autoptr (vmf_extents) all = vmf_extents_new ();
    vmf_extents_add (all, 0, size_bytes);
    return vmf_zero_punch (path, all, cancellable, error);
}

/* The target's disks as they are, made by the import that ended early. */
static bool
adopt_target (struct vmf_import *import, GError **error)
{
    import->target_disks = import_state_disks (import);
    if (import->target_disks->len != import->n_disks || !import->target->ops->adopt)
    {
        g_set_error (
            error, VMF_ERROR, VMF_ERROR_CORRUPT,
            "the source has %u disks now, and %u when the import began; clear it with 'vmferry clean' and begin anew",
            import->n_disks, import->target_disks->len);
        return false;
    }
    if (!import->target->ops->adopt (import->target, import->vm, import->target_disks, error))
        return false;
    import->created = import->touched = true;
    for (unsigned i = 0; i < import->n_disks; i++)
    {
        const struct vmf_target_disk *target = g_ptr_array_index (import->target_disks, i);
        char *staged = import_state_staged (import, i);
        import->staged |= staged != NULL;
        import->disks[i].write_path = staged ? staged : g_strdup (target->path);
        if (import->disks[i].size_bytes == 0)
            import->disks[i].size_bytes = import_state_size (import, i);
        import->disks[i].progress.needed = import_state_needed (import, i);
    }
    return true;
}

static bool
lock_target (struct vmf_import *import, GError **error)
{
    g_autofree struct vmf_target_disk_wish *wishes = import_wishes (import);
    import_stage_begin (import, "lock");
    import->created = import->touched =
        true; /* from here on abort has something to look at, a failed create included */
    import->target_disks =
        import->target->ops->create (import->target, import->vm, wishes, import->n_disks, import->stop, error);
    if (!import->target_disks)
        return false;
    import->staged = !vmf_settings_get_bool (import->settings, "import.direct");
    for (unsigned i = 0; i < import->n_disks; i++)
    {
        struct import_disk *disk = &import->disks[i];
        const struct vmf_target_disk *target = g_ptr_array_index (import->target_disks, i);
        if (import->staged && !stage_disk (disk, error))
            return false;
        if (!import->staged)
            disk->write_path = g_strdup (target->path);
        if (!target->fresh && !clear_target (target->path, disk->size_bytes, import->stop, error))
            return false;
    }
    import_stage_end (import, "lock");
    return import_state_save (import, IMPORT_RESUME_COPY, error);
}

/* It was killed when the VM stood already: only the work directory is left to clear. */
static bool
end_finished (struct vmf_import *import, GError **error)
{
    import->finished = true;
    import->result = g_strdup (import->vm->name);
    import_say (import, VMF_IMPORT_NOTE, "this import had finished; only its work directory was left");
    if (import->options.verify || import->options.receipt)
        import_say (
            import, VMF_IMPORT_WARNING,
            "its disks were not read back: the VM stands, and may have run since; give --verify from the start");
    return vmf_target_undo_leftovers (vmf_work_get_dir (import->work), NULL, error);
}

/* Goes on where an import ended early. What was done is not done again. */
static bool
go_on (struct vmf_import *import, GError **error)
{
    bool committed = vmf_undo_is_committed (vmf_work_get_dir (import->work));
    if (committed || (import->resume == IMPORT_RESUME_FINISH && !vmf_work_has_undo (import->work)))
        return end_finished (import, error);
    if (!adopt_target (import, error))
        return false;
    if (import->resume != IMPORT_RESUME_COPY)
        import_release_now (import);
    if (import->resume == IMPORT_RESUME_COPY && !import_copy_and_convert (import, error))
        return false;
    if (import->resume == IMPORT_RESUME_CONVERT && !import_convert_again (import, error))
        return false;
    if (import->resume == IMPORT_RESUME_COMMIT && !import_open_converted (import, error))
        return false;
    return (import->resume >= IMPORT_RESUME_MOVE || import_commit (import, error))
           && (import->resume == IMPORT_RESUME_FINISH || import_move_staged (import, error))
           && import_verify (import, error) && import_finish (import, error);
}

static bool
run (struct vmf_import *import, GError **error)
{
    if (!open_work (import, error) || !import_describe (import, error) || !import_preflight (import, error))
        return false;
    if (import->options.dry_run)
        return true;
    if (import->resumed)
        return go_on (import, error);
    return lock_target (import, error) && import_copy_and_convert (import, error) && import_commit (import, error)
           && import_move_staged (import, error) && import_verify (import, error) && import_finish (import, error);
}

bool
vmf_import_run (struct vmf_import *import, GError **error)
{
    g_autoptr (GError) local = NULL;
    bool good = run (import, &local);
    /* Whichever part saw the cancel first, the user's own word is the cause. */
    if (!good && g_cancellable_is_cancelled (import->cancellable))
    {
        g_clear_error (&local);
        vmf_error_if_cancelled (import->cancellable, &local);
    }
    if (!good)
    {
        import->failure = g_strdup (local->message);
        undo (import);
        g_propagate_error (error, g_steal_pointer (&local));
    }
    else
    {
        stop_everything (import);
        remove_staged (import);
        import_release_now (import);
        look_for_leftovers (import); /* what the new VM replaced */
    }
    return good;
}

const char *
vmf_import_get_source_change (const struct vmf_import *import)
{
    return import->source ? import->source->done : NULL;
}

bool
vmf_import_was_refused (const struct vmf_import *import)
{
    return import->refused;
}

bool
vmf_import_has_touched (const struct vmf_import *import)
{
    return import->touched;
}

const char *
vmf_import_get_kept (const struct vmf_import *import)
{
    return import->kept ? vmf_work_get_dir (import->work) : NULL;
}

const char *
vmf_import_get_leftovers (const struct vmf_import *import)
{
    return import->leftovers;
}
