/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading the finished disks back, and the receipt (X3). What the conversion changed is known from its overlay, before
 * that is committed; everything else must be what the journal says was read from the source.
 */
#include "base/error.h"
#include "disk/receipt.h"
#include "import/internal.h"

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
        if (!disk->chain || !(import->options.verify || import->options.receipt))
            continue;
        if (!vmf_nbd_walk (vmf_chain_get_overlay_uri (disk->chain), disk->name, VMF_NBD_DEPTH, "qemu:allocation-depth",
                           add_if_changed, changed, import->stop, error))
            return false;
        disk->changed = vmf_extents_aligned (changed, VMF_BLOCK_BYTES, disk->size_bytes);
    }
    return true;
}

/* Without a journal, or the list of what was changed (it was killed between commit and here), nothing can be compared.
 */
static json_t *
verify_disk (struct import_disk *disk, GError **error)
{
    struct vmf_import *import = disk->import;
    const struct vmf_target_disk *target = g_ptr_array_index (import->target_disks, disk - import->disks);
    bool comparable = disk->journal && (disk->changed || !import->convert);
    g_autoptr (vmf_digest_table) table = comparable ? vmf_journal_table (disk->journal, error) : NULL;
    if (comparable && !table)
        return NULL;
    g_autoptr (vmf_proof) read = table ? vmf_proof_from_table (table, error) : NULL;
    if (table && !read)
        return NULL;
    struct vmf_receipt_target place = { target->path, target->format, vmf_work_get_dir (import->work) };
    struct vmf_proof_options options = { .name = disk->name,
                                         .size_bytes = disk->size_bytes,
                                         .table = table,
                                         .except = disk->changed,
                                         .cancellable = import->stop };
    g_autoptr (vmf_proof) proof = vmf_receipt_read_target (&place, &options, error);
    if (!proof)
        return NULL;
    json_t *json = vmf_receipt_disk (disk->name, import->options.source, target->final_path, target->format,
                                     &disk->progress, read, proof, comparable);
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
