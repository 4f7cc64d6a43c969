/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading the finished disks back, and the receipt (X3). What the conversion changed is known from its overlay, before
 * that is committed; everything else must be what the journal says was read from the source.
 */
#include "base/error.h"
#include "disk/receipt.h"
#include "import/internal.h"

#include <jansson.h>

/* ---- what the conversion changed ---- */

static char *
changes_path (const struct import_disk *disk)
{
    return g_strdup_printf ("%s/%s.changed", vmf_work_get_dir (disk->import->work), disk->name);
}

/* For an import that is killed between commit and here: then the overlay is gone. */
static bool
save_changes (const struct import_disk *disk, GError **error)
{
    g_autofree char *path = changes_path (disk);
    json_t *ranges = json_array ();
    for (size_t i = 0; i < vmf_extents_count (disk->changed); i++)
    {
        struct vmf_extent one = vmf_extents_nth (disk->changed, i);
        json_array_append_new (ranges, json_pack ("[I, I]", (json_int_t)one.offset, (json_int_t)one.length));
    }
    char *text = json_dumps (ranges, JSON_COMPACT);
    bool good = g_file_set_contents_full (path, text, -1, G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE,
                                          0600, error);
    free (text);
    json_decref (ranges);
    return good;
}

/* NULL: the file is not there, or says nothing that could be true of DISK. */
static struct vmf_extents *
load_changes (const struct import_disk *disk)
{
    g_autofree char *path = changes_path (disk);
    g_autoptr (vmf_extents) changed = vmf_extents_new ();
    json_t *ranges = json_load_file (path, 0, NULL);
    bool good = json_is_array (ranges);
    for (size_t i = 0; good && i < json_array_size (ranges); i++)
    {
        json_int_t offset = -1, length = -1;
        good = json_unpack (json_array_get (ranges, i), "[I, I]", &offset, &length) == 0 && offset >= 0 && length > 0
               && (uint64_t)offset < disk->size_bytes && (uint64_t)length <= disk->size_bytes - (uint64_t)offset;
        if (good)
            vmf_extents_add (changed, (uint64_t)offset, (uint64_t)length);
    }
    json_decref (ranges);
    return good ? g_steal_pointer (&changed) : NULL;
}

static void
add_if_changed (uint64_t offset, const struct vmf_nbd_status *status, void *data)
{
    if (status->flags == 1) /* in the overlay itself */
        vmf_extents_add (data, offset, status->length_bytes);
}

bool
import_note_changes (struct vmf_import *import, GError **error)
{
    for (unsigned i = 0; i < import->n_disks; i++)
    {
        struct import_disk *disk = &import->disks[i];
        g_autoptr (vmf_extents) changed = vmf_extents_new ();
        if (!disk->chain)
            continue;
        if (!vmf_nbd_walk (vmf_chain_get_overlay_uri (disk->chain), disk->name, VMF_NBD_DEPTH, "qemu:allocation-depth",
                           add_if_changed, changed, import->stop, error))
            return false;
        vmf_extents_free (disk->changed);
        disk->changed = vmf_extents_aligned (changed, VMF_BLOCK_BYTES, disk->size_bytes);
        if (!save_changes (disk, error))
            return false;
    }
    return true;
}

/* ---- reading back ---- */

/* What each block of DISK must be; NULL without ERROR: nobody knows. */
static struct vmf_digest_table *
expected (struct import_disk *disk, GError **error)
{
    struct vmf_import *import = disk->import;
    g_autofree char *path = import_journal_path (disk);
    if (!vmf_settings_get_bool (import->settings, "copy.journal"))
        return NULL;
    if (import->resumed && !disk->journal
        && (!g_file_test (path, G_FILE_TEST_EXISTS) || !import_journal_open (disk, error)))
        return NULL;
    if (import->convert && !disk->changed)
        disk->changed = load_changes (disk);
    return import->convert && !disk->changed ? NULL : vmf_journal_table (disk->journal, error);
}

static void
tell (uint64_t done_bytes, void *data)
{
    struct import_disk *disk = data;
    struct vmf_import *import = disk->import;
    int64_t now_us = g_get_monotonic_time ();
    disk->verified_bytes = done_bytes;
    if (now_us - import->verify_told_us < IMPORT_TICK_MS * 1000)
        return;
    import->verify_told_us = now_us;
    if (import->control)
        vmf_control_step (import->control);
    import_tell_progress (import, "verify");
}

static json_t *
verify_disk (struct import_disk *disk, GError **error)
{
    struct vmf_import *import = disk->import;
    const struct vmf_target_disk *target = g_ptr_array_index (import->target_disks, disk - import->disks);
    g_autoptr (GError) why = NULL;
    g_autoptr (vmf_digest_table) table = expected (disk, &why);
    g_autoptr (vmf_proof) read = table ? vmf_proof_from_table (table, &why) : NULL;
    if (why)
        return g_propagate_error (error, g_steal_pointer (&why)), NULL;
    if (!read)
        import_say (import, VMF_IMPORT_WARNING,
                    "%s is read back, but with nothing to compare it with: the journal, or the list of what "
                    "the conversion changed, is not there",
                    disk->name);
    /* Of one that was killed when the disk had its name already. */
    bool named = import->resumed && !g_file_test (target->path, G_FILE_TEST_EXISTS);
    struct vmf_receipt_target place = { named ? target->final_path : target->path, target->format,
                                        vmf_work_get_dir (import->work) };
    struct vmf_proof_options options = { .name = disk->name,
                                         .size_bytes = disk->size_bytes,
                                         .table = table,
                                         .except = disk->changed,
                                         .tell = tell,
                                         .tell_data = disk,
                                         .cancellable = import->stop };
    g_autoptr (vmf_proof) proof = vmf_receipt_read_target (&place, &options, error);
    if (!proof)
        return NULL;
    disk->verified = true;
    g_autofree char *source = vmf_import_show_source (import->options.source);
    json_t *json = vmf_receipt_disk (disk->name, source, target->final_path, target->format,
                                     disk->moving ? &disk->first_pass : &disk->progress, read, proof, read != NULL);
    json_object_set_new (json, "changed_bytes",
                         json_integer (disk->changed ? (json_int_t)vmf_extents_total (disk->changed) : 0));
    return json;
}

bool
import_verify (struct vmf_import *import, GError **error)
{
    if (!import->options.verify && !import->options.receipt)
        return true;
    json_t *disks = json_array ();
    bool good = true;
    import_stage_begin (import, "verify");
    for (unsigned i = 0; good && i < import->n_disks; i++)
    {
        json_t *disk = verify_disk (&import->disks[i], error);
        good = disk && json_array_append_new (disks, disk) == 0;
        import_tell_progress (import, "verify");
    }
    if (!good)
        g_prefix_error (error, "what was written could not be verified: ");
    if (!good || !import->options.receipt)
        json_decref (disks);
    else
        good = vmf_receipt_write (import->options.receipt, disks, error);
    if (good)
        import_stage_end (import, "verify");
    return good;
}
