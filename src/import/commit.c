/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pass 2: what the conversion changed goes into the targets, which are then closed; and, where the user wants staging
 * (A21 off), the move of the finished disks from the staging directory to the pool.
 */
#include "base/error.h"
#include "import/internal.h"

#include <glib/gstdio.h>

enum
{
    COMMIT_TICK_MS = 20,
};

static bool
commit_poll (struct vmf_import *import, bool *all_done, GError **error)
{
    uint64_t done_bytes = 0, total_bytes = 0;
    *all_done = true;
    for (unsigned i = 0; i < import->n_disks; i++)
    {
        struct import_disk *disk = &import->disks[i];
        uint64_t written = disk->size_bytes, total = disk->size_bytes;
        bool done = false;
        if (!disk->committed && !vmf_chain_commit_poll (disk->chain, &done, &written, &total, error))
            return false;
        disk->committed = disk->committed || done;
        *all_done = *all_done && disk->committed;
        done_bytes += written;
        total_bytes += total;
    }
    import->commit_done_bytes = done_bytes;
    import->commit_total_bytes = total_bytes;
    return true;
}

static bool
commit_overlays (struct vmf_import *import, GError **error)
{
    bool all_done = false;
    if (!import_note_changes (import, error))
        return false;
    for (unsigned i = 0; i < import->n_disks; i++)
        if (import->disks[i].chain
            && !vmf_chain_commit_start (import->disks[i].chain, &import->disks[i].commit_bytes, error))
            return false;
    for (;;)
    {
        if (!commit_poll (import, &all_done, error))
            return false;
        import_tell_progress (import, "commit");
        if (all_done)
            return true;
        if (!import_wait_for_events (import, COMMIT_TICK_MS, error))
            return false;
    }
}

static bool
close_chains (struct vmf_import *import, GError **error)
{
    for (unsigned i = 0; i < import->n_disks; i++)
    {
        struct import_disk *disk = &import->disks[i];
        if (disk->chain && !vmf_chain_close (disk->chain, import->stop, error))
            return false;
        g_clear_pointer (&disk->chain, vmf_chain_free);
    }
    return true;
}

bool
import_commit (struct vmf_import *import, GError **error)
{
    import_stage_begin (import, "commit");
    if ((import->convert && !commit_overlays (import, error)) || !close_chains (import, error))
        return false;
    if (!import->staged)
        import_give_back_space (import);
    import_stage_end (import, "commit");
    return import_state_save (import, import->staged ? IMPORT_RESUME_MOVE : IMPORT_RESUME_FINISH, error);
}

/* The staged disk as a source, the target's disk as the end of a chain without overlay. */
static bool
start_move (struct import_disk *disk, const struct vmf_target_disk *target, GError **error)
{
    struct vmf_import *import = disk->import;
    g_autofree char *name = g_strdup_printf ("%s-staged", disk->name);
    g_autofree char *socket = g_strdup_printf ("%s/%s.sock", vmf_work_get_dir (import->work), name);
    g_autofree char *folder = g_path_get_dirname (disk->write_path);
    vmf_image_free (disk->image);
    disk->image = vmf_image_new_file (disk->write_path, "qcow2", folder, NULL, error);
    disk->server = disk->image ? vmf_server_start (disk->image, name, socket, import->stop, error) : NULL;
    disk->chain_options = (struct vmf_chain_options){
        .name = disk->name,
        .work_dir = vmf_work_get_dir (import->work),
        .room = import->room,
        .target_path = target->path,
        .target_format = target->format,
        .target_is_block = target->block,
        .preallocate = disk->preallocate,
        .size_bytes = disk->size_bytes,
    };
    disk->chain = disk->server ? vmf_chain_start (&disk->chain_options, import->stop, error) : NULL;
    if (!disk->chain)
        return false;
    g_ptr_array_add (import->move_needed, vmf_extents_new ());
    struct vmf_extents *all = g_ptr_array_index (import->move_needed, import->move_needed->len - 1);
    vmf_extents_add (all, 0, disk->size_bytes);
    disk->needed = all;
    disk->moving = true;
    disk->first_pass = disk->progress;
    disk->progress = (struct vmf_mover_progress){ 0 };
    disk->copied = false;
    return true;
}

/* A21 off: the finished disks are copied from the staging directory into the pool. */
bool
import_move_staged (struct vmf_import *import, GError **error)
{
    bool copied = false;
    if (!import->staged)
        return true;
    import_stage_begin (import, "move");
    for (unsigned i = 0; i < import->n_disks; i++)
        if (!start_move (&import->disks[i], g_ptr_array_index (import->target_disks, i), error))
            return false;
    while (!copied)
    {
        if (!import_passes_step (import, &copied, error))
            return false;
        import_tell_progress (import, "move");
        if (!copied && !import_wait_for_events (import, IMPORT_TICK_MS, error))
            return false;
    }
    if (!close_chains (import, error))
        return false;
    import_give_back_space (import);
    import_stage_end (import, "move");
    return import_state_save (import, IMPORT_RESUME_FINISH, error);
}
