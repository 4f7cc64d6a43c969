/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One import from start to end, and its undo: everything a stage has started is ended here in one place, last first. */
#include "base/error.h"
#include "base/log.h"
#include "disk/zero.h"
#include "import/internal.h"

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
    import->stages = g_array_new (FALSE, FALSE, sizeof (struct import_stage));
    import->move_needed = g_ptr_array_new_with_free_func ((GDestroyNotify)vmf_extents_free);
    import->wake_fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
    return import;
}

void
import_disk_clear (struct import_disk *disk)
{
    vmf_chain_free (disk->chain);
    vmf_server_free (disk->server);
    vmf_image_free (disk->image);
    g_free (disk->name);
    g_free (disk->format);
    g_free (disk->pool);
    g_free (disk->write_path);
}

/* Ends every thread and child. Afterwards nobody writes to the target any more. */
static void
stop_everything (struct vmf_import *import)
{
    g_cancellable_cancel (import->stop);
    g_clear_pointer (&import->conversion, vmf_convert_free);
    import_passes_join (import);
    if (import->verify_thread)
        g_thread_join (g_steal_pointer (&import->verify_thread));
    for (unsigned i = 0; i < import->n_disks; i++)
    {
        g_clear_pointer (&import->disks[i].chain, vmf_chain_free);
        g_clear_pointer (&import->disks[i].server, vmf_server_free);
        if (import->staged && import->disks[i].write_path)
            g_unlink (import->disks[i].write_path);
    }
}

static void
undo (struct vmf_import *import)
{
    g_autoptr (GError) error = NULL;
    stop_everything (import);
    if (import->created && !import->finished && !import->target->ops->abort (import->target, &error))
        import_say (import, VMF_IMPORT_WARNING, "%s", error->message);
    import->created = false;
    if (import->work && import->options.keep_work)
        vmf_work_keep (import->work);
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
    g_clear_error (&import->verify_error);
    g_clear_pointer (&import->target_disks, g_ptr_array_unref);
    g_clear_pointer (&import->changes, g_ptr_array_unref);
    vmf_convert_result_free (import->converted);
    vmf_map_free (import->map);
    vmf_target_close (import->target);
    vmf_source_close (import->source);
    vmf_vm_free (import->vm);
    vmf_room_free (import->room);
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
    g_free (import);
}

/* What an earlier import that was killed left is cleared before this one begins; that it fails stops nobody. */
static void
clear_the_dead (struct vmf_import *import)
{
    g_autoptr (GPtrArray) removed = g_ptr_array_new_with_free_func (g_free);
    g_autoptr (GError) error = NULL;
    if (!vmf_import_clean (import->settings, NULL, removed, &error))
        import_say (import, VMF_IMPORT_WARNING, "%s", error->message);
    for (guint i = 0; i < removed->len; i++)
        import_say (import, VMF_IMPORT_NOTE, "cleared what an import that died had left: %s",
                    (const char *)g_ptr_array_index (removed, i));
}

static bool
open_work (struct vmf_import *import, GError **error)
{
    g_autofree char *base = g_path_get_basename (import->options.source);
    /* A dry run must not even make the folder of work directories. */
    g_autofree char *passing = import->options.dry_run ? g_dir_make_tmp ("vmferry-dry-XXXXXX", error) : NULL;
    if (import->options.dry_run && !passing)
        return false;
    if (!import->options.dry_run)
        clear_the_dead (import);
    import->work = vmf_work_new (import->settings, passing ? passing : import->options.work_dir, base, error);
    if (!import->work)
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
    disk->write_path = g_build_filename (dir, file, NULL);
    const char *argv[] = { "qemu-img", "create", "-q", "-f", "qcow2", disk->write_path, size, NULL };
    struct vmf_child_options run = { .name = "qemu-img create", .argv = argv };
    g_autofree char *output = vmf_work_note_file (import->work, disk->name, disk->write_path, error)
                                  ? vmf_child_run (&run, 0, import->stop, error)
                                  : NULL;
    return output != NULL;
}

/* A target that was used before (an LVM volume) has other people's bytes where nothing is written (PITFALLS 47). */
static bool
clear_target (const char *path, uint64_t size_bytes, GError **error)
{
    g_autoptr (vmf_extents) all = vmf_extents_new ();
    vmf_extents_add (all, 0, size_bytes);
    return vmf_zero_punch (path, all, error);
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
        disk->import = import;
        if (import->staged && !stage_disk (disk, error))
            return false;
        if (!import->staged)
            disk->write_path = g_strdup (target->path);
        if (!target->fresh && !clear_target (target->path, disk->size_bytes, error))
            return false;
    }
    import_stage_end (import, "lock");
    return true;
}

static bool
run (struct vmf_import *import, GError **error)
{
    if (!open_work (import, error) || !import_describe (import, error) || !import_preflight (import, error))
        return false;
    if (import->options.dry_run)
        return true;
    return lock_target (import, error) && import_copy_and_convert (import, error) && import_commit (import, error)
           && import_move_staged (import, error) && import_finish (import, error);
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
        stop_everything (import);
    return good;
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
