/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pass 1 of every disk: movers in threads of their own, the main thread watching.
 *
 * A thread shares with the main thread its progress counters, its error and, as its last act, `thread_ended`. Children
 * are started by the main thread only (base/child.h), so all that the movers need is up before they begin.
 */
#include "base/error.h"
#include "disk/mover-covered.h"
#include "import/internal.h"

#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum
{
    COVERED_EVERY_US = 1000 * 1000,
    COVERED_REST = 50, /* looking takes at most one part of so many */
};

char *
import_journal_path (const struct import_disk *disk)
{
    return g_strdup_printf ("%s/%s.journal", vmf_work_get_dir (disk->import->work), disk->name);
}

bool
import_journal_open (struct import_disk *disk, GError **error)
{
    struct vmf_import *import = disk->import;
    const struct vmf_target_disk *target = g_ptr_array_index (import->target_disks, disk - import->disks);
    g_autofree char *path = import_journal_path (disk);
    g_autofree char *source = g_strdup_printf ("%s, disk %s", import->options.source, disk->name);
    struct vmf_journal_subject subject = { source, disk->write_path, target->format, disk->size_bytes };
    disk->journal = vmf_journal_open (path, &subject, error);
    return disk->journal
           && (vmf_journal_get_state (disk->journal) == VMF_JOURNAL_BEGUN
               || vmf_journal_begin (disk->journal, &subject, error));
}

/* How many disks are copied at once. */
static unsigned
parallel (const struct vmf_import *import)
{
    return (unsigned)MIN (vmf_settings_get_uint64 (import->settings, "copy.parallel_disks"),
                          (uint64_t)import->n_disks); /* B6 */
}

static void *
mover_thread (void *data)
{
    struct import_disk *disk = data;
    vmf_mover_run (disk->mover, &disk->thread_error);
    __atomic_store_n (&disk->thread_ended, true, __ATOMIC_RELEASE);
    eventfd_write (disk->import->wake_fd, 1);
    return NULL;
}

static void
start_mover (struct import_disk *disk)
{
    struct vmf_import *import = disk->import;
    bool journal = !disk->moving && vmf_settings_get_bool (import->settings, "copy.journal");
    g_free (disk->source_uri);
    disk->source_uri = g_strdup (vmf_server_get_uri (disk->server));
    disk->mover_options = (struct vmf_mover_options){
        .name = disk->name,
        .source_uri = disk->source_uri,
        .target_uri = vmf_chain_get_target_uri (disk->chain),
        .size_bytes = disk->size_bytes,
        .needed = disk->needed,
        .connections = (unsigned)vmf_settings_get_uint64 (import->settings, "copy.connections"),
        .budget = import->budget,
        .sequential = import->sequential,
        .skip_present = disk->chain_options.source_socket != NULL && !import->resumed,
        .journal = journal ? disk->journal : NULL,
        .pass = 1,
        .pace = disk->pace,
        .io_timeout_ms = (int64_t)vmf_settings_get_uint64 (import->settings, "copy.io_timeout_s") * 1000,
        .retry_ms = (int64_t)vmf_settings_get_uint64 (import->settings, "copy.retry_s") * 1000,
        .cancellable = import->stop,
        .progress = &disk->progress,
    };
    disk->thread_ended = false;
    disk->mover = vmf_mover_new (&disk->mover_options);
    disk->thread = g_thread_new ("mover", mover_thread, disk);
}

static void
end_mover (struct import_disk *disk)
{
    g_thread_join (g_steal_pointer (&disk->thread));
    g_clear_pointer (&disk->mover, vmf_mover_free);
    disk->left_out = disk->left_out || (disk->dropped && vmf_extents_total (disk->dropped) > 0);
    g_clear_pointer (&disk->dropped, vmf_extents_free);
}

/* It only saves reading: what cannot be seen is read. */
static void
drop_covered (struct import_disk *disk)
{
    const char *path = disk->chain ? vmf_chain_get_overlay_path (disk->chain) : NULL;
    g_autoptr (GError) error = NULL;
    if (!path || !disk->thread)
        return;
    disk->dropped = disk->dropped ? disk->dropped : vmf_extents_new ();
    if (!vmf_covered_drop (disk->mover, path, disk->size_bytes, disk->dropped, &error))
        g_debug ("%s: what the conversion covers is not known: %s", disk->name, error->message);
}

void
import_passes_drop_covered (struct vmf_import *import)
{
    int64_t begin_us = g_get_monotonic_time ();
    if (begin_us < import->covered_us || import->held) /* what is held is let go of as soon as all is copied */
        return;
    for (unsigned i = 0; i < import->n_disks; i++)
        drop_covered (&import->disks[i]);
    int64_t took_us = g_get_monotonic_time () - begin_us;
    import->covered_us = begin_us + MAX (COVERED_EVERY_US, COVERED_REST * took_us);
}

/* Takes the result of a mover that has ended. */
static bool
collect (struct import_disk *disk, GError **error)
{
    end_mover (disk);
    disk->copied = disk->thread_error == NULL;
    if (disk->thread_error)
        g_propagate_error (error, g_steal_pointer (&disk->thread_error));
    return disk->copied;
}

bool
import_passes_step (struct vmf_import *import, bool *all_ended, GError **error)
{
    unsigned running = 0, copied = 0;
    unsigned at_once = parallel (import);
    if (!import->budget)
        import->budget = vmf_budget_new (vmf_settings_get_uint64 (import->settings, "copy.memory_mib") << 20);
    for (unsigned i = 0; i < import->n_disks; i++)
    {
        struct import_disk *disk = &import->disks[i];
        if (disk->thread && __atomic_load_n (&disk->thread_ended, __ATOMIC_ACQUIRE) && !collect (disk, error))
            return false;
        copied += disk->copied;
        running += disk->thread != NULL;
    }
    for (unsigned i = 0; i < import->n_disks && running < at_once; i++)
    {
        struct import_disk *disk = &import->disks[i];
        if (disk->thread || disk->copied || !disk->server) /* without: its helper is being started again */
            continue;
        start_mover (disk);
        running++;
    }
    *all_ended = copied == import->n_disks;
    return true;
}

void
import_passes_join (struct vmf_import *import)
{
    for (unsigned i = 0; i < import->n_disks; i++)
    {
        struct import_disk *disk = &import->disks[i];
        if (disk->thread)
            end_mover (disk);
        g_clear_error (&disk->thread_error);
    }
}

bool
import_wait_for_events (struct vmf_import *import, int timeout_ms, GError **error)
{
    GPollFD cancel = { -1, 0, 0 };
    bool has_cancel = g_cancellable_make_pollfd (import->stop, &cancel);
    struct vmf_child *child = import->conversion ? vmf_convert_get_child (import->conversion) : NULL;
    struct pollfd fds[] = { { import->wake_fd, POLLIN, 0 },
                            { has_cancel ? cancel.fd : -1, POLLIN, 0 },
                            { child ? vmf_child_get_fd (child) : -1, POLLIN, 0 },
                            { import->control ? vmf_control_get_fd (import->control) : -1, POLLIN, 0 } };
    eventfd_t ignored;
    if (poll (fds, G_N_ELEMENTS (fds), timeout_ms) > 0 && fds[0].revents)
        eventfd_read (import->wake_fd, &ignored);
    if (has_cancel)
        g_cancellable_release_fd (import->stop);
    if (import->control)
        vmf_control_step (import->control);
    return !vmf_error_if_cancelled (import->stop, error);
}

const char *
import_bottleneck (struct import_disk *disk)
{
    return disk->copied ? NULL : vmf_mover_waits_for (&disk->waits, &disk->progress);
}

static struct vmf_import_disk_progress
disk_progress (struct import_disk *disk, bool verifying)
{
    const struct vmf_mover_progress *from = &disk->progress;
    if (verifying)
        return (struct vmf_import_disk_progress){ .name = disk->name,
                                                  .needed_bytes = disk->size_bytes,
                                                  .done_bytes = disk->verified_bytes,
                                                  .copied = disk->verified };
    return (struct vmf_import_disk_progress){ .name = disk->name,
                                              .needed_bytes = __atomic_load_n (&from->needed, __ATOMIC_RELAXED),
                                              .done_bytes = __atomic_load_n (&from->done, __ATOMIC_RELAXED),
                                              .read_bytes = __atomic_load_n (&from->read, __ATOMIC_RELAXED),
                                              .copied = disk->copied,
                                              .bottleneck = import_bottleneck (disk) };
}

void
import_tell_progress (struct vmf_import *import, const char *stage)
{
    g_autofree struct vmf_import_disk_progress *disks = g_new0 (struct vmf_import_disk_progress, import->n_disks);
    g_autofree char *convert_stage = import->conversion ? vmf_convert_get_stage (import->conversion) : NULL;
    struct vmf_import_progress progress = {
        .stage = stage,
        .disks = disks,
        .n_disks = import->n_disks,
        .converting = import->conversion != NULL,
        .convert_stage = convert_stage,
        .convert_started_us = import->convert_started_us,
        .now_us = g_get_monotonic_time (),
        .commit_done_bytes = import->commit_done_bytes,
        .commit_total_bytes = import->commit_total_bytes,
    };
    if (!import->events.progress)
        return;
    for (unsigned i = 0; i < import->n_disks; i++)
        disks[i] = disk_progress (&import->disks[i], strcmp (stage, "verify") == 0);
    import->events.progress (&progress, import->events.data);
}
