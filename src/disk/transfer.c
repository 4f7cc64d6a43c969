/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A transfer: the mover between a journal and a target that has no name yet. */
#include "disk/transfer.h"
#include "base/error.h"
#include "disk/samples.h"
#include "disk/zero.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct vmf_transfer
{
    struct vmf_transfer_options options;
    struct vmf_mover_progress progress;
    GCancellable *cancellable;
    struct vmf_extents *needed;
    struct vmf_journal *journal;
    struct vmf_writer *writer;    /* NULL: an NBD target, or complete */
    char *partial, *journal_path; /* NULL: no file */
    int lock_fd;                  /* of the growing file or the device; 0: none */
    enum
    {
        GROWING,
        COMPLETE, /* but without its name */
        NAMED,
    } found; /* where a killed run left the file */
};

static void
unlock (struct vmf_transfer *transfer)
{
    if (transfer->lock_fd > 0)
        close (transfer->lock_fd);
    transfer->lock_fd = 0;
}

void
vmf_transfer_free (struct vmf_transfer *transfer)
{
    if (!transfer)
        return;
    vmf_writer_free (transfer->writer);
    vmf_journal_free (transfer->journal);
    vmf_extents_free (transfer->needed);
    g_clear_object (&transfer->cancellable);
    unlock (transfer);
    g_free (transfer->partial);
    g_free (transfer->journal_path);
    g_free (transfer);
}

/* ---- the target ---- */

static bool
is_block_device (const char *path)
{
    struct stat info;
    return stat (path, &info) == 0 && S_ISBLK (info.st_mode);
}

static bool
fail (const char *what, const char *path, GError **error)
{
    g_set_error (error, VMF_ERROR, errno == ENOSPC ? VMF_ERROR_NO_SPACE : VMF_ERROR_FAILED, "cannot %s %s: %s", what,
                 path, g_strerror (errno));
    return false;
}

static bool
is_there (const char *path)
{
    return g_file_test (path, G_FILE_TEST_EXISTS) || g_file_test (path, G_FILE_TEST_IS_SYMLINK);
}

static bool
check_free_name (const struct vmf_transfer *transfer, GError **error)
{
    if (transfer->options.replace || !is_there (transfer->options.target))
        return true;
    g_set_error (error, VMF_ERROR, VMF_ERROR_EXISTS, "%s is there already; it is only replaced with --replace",
                 transfer->options.target);
    return false;
}

static bool
create_partial (const struct vmf_transfer *transfer, GError **error)
{
    const struct vmf_transfer_options *options = &transfer->options;
    if (strcmp (options->format, "qcow2") == 0)
        return vmf_writer_create_qcow2 (transfer->partial, options->size_bytes, error);
    int fd = open (transfer->partial, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool good = fd >= 0 && ftruncate (fd, (off_t)options->size_bytes) == 0;
    if (!good)
        fail ("make", transfer->partial, error);
    if (fd >= 0)
        close (fd);
    return good;
}

/* Another vmferry, with another work directory, may be writing there. */
static bool
lock_partial (struct vmf_transfer *transfer, GError **error)
{
    unlock (transfer);
    int fd = open (transfer->partial, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return fail ("open", transfer->partial, error);
    transfer->lock_fd = fd;
    if (flock (fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK)
        return true;
    g_set_error (error, VMF_ERROR, VMF_ERROR_EXISTS, "%s is in use: another vmferry copies to this target",
                 transfer->partial);
    return false;
}

/* Before there is a journal, so that a refusal leaves none: an empty one means that the growing file is ours. */
static bool
check_names (const struct vmf_transfer *transfer, GError **error)
{
    if (!transfer->partial || (transfer->journal_path && is_there (transfer->journal_path)))
        return true;
    if (!check_free_name (transfer, error))
        return false;
    if (!is_there (transfer->partial))
        return true;
    g_set_error (
        error, VMF_ERROR, VMF_ERROR_EXISTS,
        "%s is left of a copy that another work directory has the journal of: go on with that (--work), or remove "
        "the file to begin anew",
        transfer->partial);
    return false;
}

/* Makes the file anew, or sees that it is the one which the journal speaks of. */
static bool
make_partial (struct vmf_transfer *transfer, enum vmf_journal_state state, GError **error)
{
    bool there = is_there (transfer->partial);
    if (there && !lock_partial (transfer, error))
        return false;
    if (state != VMF_JOURNAL_BEGUN && there
        && g_unlink (transfer->partial) != 0) /* a kill came before the journal began */
        return fail ("remove", transfer->partial, error);
    if (state != VMF_JOURNAL_BEGUN)
        return create_partial (transfer, error) && lock_partial (transfer, error);
    if (!there)
        g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT,
                     "%s is gone, which the journal in %s speaks of; remove that directory to begin anew",
                     transfer->partial, transfer->options.work_dir);
    return there;
}

/* Where did a killed run leave the file? */
static bool
find_file (struct vmf_transfer *transfer, GError **error)
{
    const struct vmf_transfer_options *options = &transfer->options;
    bool there = is_there (transfer->partial), complete = false;
    if (vmf_journal_has_ended (transfer->journal) && !there && is_there (options->target))
        transfer->found = NAMED;
    else if (there && strcmp (options->format, "qcow2") == 0)
    {
        if (!vmf_writer_is_finished_qcow2 (transfer->partial, options->size_bytes, &complete, error))
            return false;
        transfer->found = complete ? COMPLETE : GROWING;
    }
    return true;
}

static bool
open_file (struct vmf_transfer *transfer, enum vmf_journal_state state, GError **error)
{
    const struct vmf_transfer_options *options = &transfer->options;
    if (state == VMF_JOURNAL_BEGUN && !find_file (transfer, error))
        return false;
    if (transfer->found == NAMED)
        return true;
    if (!check_free_name (transfer, error) || !make_partial (transfer, state, error))
        return false;
    if (transfer->found == COMPLETE)
        return true;
    transfer->writer = strcmp (options->format, "qcow2") == 0
                           ? vmf_writer_open_qcow2 (transfer->partial, options->size_bytes, error)
                           : vmf_writer_open_raw (transfer->partial, options->size_bytes, error);
    return transfer->writer != NULL;
}

/* The kernel gives it to one holder at a time: not while it is mounted, or part of an array or volume group. */
static bool
lock_device (struct vmf_transfer *transfer, GError **error)
{
    int fd = open (transfer->options.target, O_RDONLY | O_EXCL | O_CLOEXEC);
    if (fd >= 0)
        return transfer->lock_fd = fd, true;
    if (errno != EBUSY)
        return fail ("open", transfer->options.target, error);
    g_set_error (error, VMF_ERROR, VMF_ERROR_EXISTS,
                 "%s is in use: it is mounted, or another program, perhaps another vmferry, holds it",
                 transfer->options.target);
    return false;
}

/* A device that was used before has other people's bytes where nothing is written (PITFALLS 47). */
static bool
open_device (struct vmf_transfer *transfer, enum vmf_journal_state state, GError **error)
{
    const struct vmf_transfer_options *options = &transfer->options;
    if (strcmp (options->format, "raw") != 0)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE, "%s is a block device; its format is raw", options->target);
        return false;
    }
    if (!lock_device (transfer, error))
        return false;
    transfer->writer = vmf_writer_open_raw (options->target, options->size_bytes, error);
    return transfer->writer
           && (state == VMF_JOURNAL_BEGUN
               || vmf_zero_punch (options->target, transfer->needed, transfer->cancellable, error));
}

static bool
open_target (struct vmf_transfer *transfer, enum vmf_journal_state state, GError **error)
{
    if (strstr (transfer->options.target, "://"))
        return true;
    return is_block_device (transfer->options.target) ? open_device (transfer, state, error)
                                                      : open_file (transfer, state, error);
}

/* ---- going on ---- */

/* Source and target must be those that the journal speaks of. */
static bool
check_samples (struct vmf_transfer *transfer, GError **error)
{
    const struct vmf_transfer_options *options = &transfer->options;
    const struct vmf_sample_place places[] = {
        { "source", options->source_uri, NULL, options->mover.sequential },
        { "target", transfer->writer ? NULL : options->target, transfer->writer },
    };
    return vmf_samples_check (transfer->journal, options->name, places, transfer->found == GROWING ? 2 : 1,
                              transfer->cancellable, error);
}

/* ---- the calls ---- */

static void
name_files (struct vmf_transfer *transfer)
{
    const struct vmf_transfer_options *options = &transfer->options;
    g_autofree char *folder = g_path_get_dirname (options->target), *leaf = g_path_get_basename (options->target);
    if (options->work_dir)
        transfer->journal_path = g_strdup_printf ("%s/%s.journal", options->work_dir, options->name);
    if (!strstr (options->target, "://") && !is_block_device (options->target))
        transfer->partial = g_strdup_printf ("%s/.%s.vmferry-partial", folder, leaf);
}

static bool
open_journal (struct vmf_transfer *transfer, const struct vmf_journal_subject *subject, GError **error)
{
    if (!transfer->options.work_dir)
        return true;
    transfer->journal = vmf_journal_open (transfer->journal_path, subject, error);
    return transfer->journal != NULL;
}

struct vmf_transfer *
vmf_transfer_open (const struct vmf_transfer_options *options, GCancellable *cancellable, GError **error)
{
    g_autoptr (vmf_transfer) transfer = g_new0 (struct vmf_transfer, 1);
    struct vmf_journal_subject subject = { options->source, options->target, options->format, options->size_bytes };
    transfer->options = *options;
    transfer->cancellable = cancellable ? g_object_ref (cancellable) : NULL;
    transfer->needed = vmf_extents_new ();
    vmf_extents_add (transfer->needed, 0, options->size_bytes);
    name_files (transfer);
    if (!check_names (transfer, error) || !open_journal (transfer, &subject, error))
        return NULL;
    enum vmf_journal_state state = transfer->journal ? vmf_journal_get_state (transfer->journal) : VMF_JOURNAL_NEW;
    if (!open_target (transfer, state, error))
        return NULL;
    bool good = !transfer->journal
                || (state == VMF_JOURNAL_BEGUN ? check_samples (transfer, error)
                                               : vmf_journal_begin (transfer->journal, &subject, error));
    return good ? g_steal_pointer (&transfer) : NULL;
}

bool
vmf_transfer_run (struct vmf_transfer *transfer, GError **error)
{
    struct vmf_mover_options options = transfer->options.mover;
    struct vmf_mover_progress *progress = &transfer->progress;
    if (transfer->found != GROWING)
    {
        progress->needed = progress->done = progress->resumed = transfer->options.size_bytes;
        return true;
    }
    options.name = transfer->options.name;
    options.source_uri = transfer->options.source_uri;
    options.target_uri = transfer->writer ? NULL : transfer->options.target;
    options.writer = transfer->writer;
    options.size_bytes = transfer->options.size_bytes;
    options.needed = transfer->needed;
    options.journal = transfer->journal;
    options.cancellable = transfer->cancellable;
    options.progress = &transfer->progress;
    g_autoptr (vmf_mover) mover = vmf_mover_new (&options);
    return vmf_mover_run (mover, error);
}

static bool
sync_folder (const char *path, GError **error)
{
    g_autofree char *folder = g_path_get_dirname (path);
    int fd = open (folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool good = fd >= 0 && fsync (fd) == 0;
    if (!good)
        fail ("sync the folder", folder, error);
    if (fd >= 0)
        close (fd);
    return good;
}

/* From here on a target that has its name is ours. */
static bool
end_journal (struct vmf_transfer *transfer, GError **error)
{
    g_autoptr (GByteArray) bytes = g_byte_array_new ();
    const struct vmf_journal_record record = { .kind = VMF_JOURNAL_END };
    if (!transfer->journal)
        return true;
    vmf_journal_encode (transfer->journal, bytes, &record);
    return vmf_journal_append (transfer->journal, bytes, error);
}

bool
vmf_transfer_finish (struct vmf_transfer *transfer, GError **error)
{
    if (transfer->writer && !transfer->writer->ops->finish (transfer->writer, error))
        return false;
    g_clear_pointer (&transfer->writer, vmf_writer_free);
    if (!transfer->partial || transfer->found == NAMED)
        return unlock (transfer), true;
    if (!check_free_name (transfer, error) || !end_journal (transfer, error))
        return false;
    unlock (transfer);
    if (g_rename (transfer->partial, transfer->options.target) != 0)
        return fail ("rename to", transfer->options.target, error);
    return sync_folder (transfer->options.target, error);
}

void
vmf_transfer_forget (struct vmf_transfer *transfer)
{
    if (transfer->journal)
        g_unlink (transfer->journal_path);
}

const struct vmf_mover_progress *
vmf_transfer_get_progress (const struct vmf_transfer *transfer)
{
    return &transfer->progress;
}

struct vmf_journal *
vmf_transfer_get_journal (struct vmf_transfer *transfer)
{
    return transfer->journal;
}
