/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The directory target: NAME.xml and NAME-sda.qcow2 … in a folder. The smallest complete target: copy it.
 *
 * Everything is written as .FILE.vmferry-partial beside its final name: one file system, so finish only renames. The
 * partial names are the reservation too (B11): a second import of the same name into the same folder fails at create,
 * not after its copy. The XML's, which is made first, is locked as long as its import lives, and says which that is,
 * until the XML itself is written into it. What --replace replaces is moved to .FILE.vmferry-old, and deleted when the
 * new VM stands.
 */
#include "base/error.h"
#include "base/text.h"
#include "disk/in-use.h"
#include "target/targets.h"
#include "target/undo.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define CLAIM_LINE "vmferry import, work directory "

enum
{
    CLAIM_MAX_BYTES = 4096,
};

/* A file that appears at finish. */
struct piece
{
    char *partial, *final;
    int fd;        /* of the partial file, kept open for its fsync */
    bool revealed; /* has its final name already: an import that was killed went so far */
};

struct directory
{
    struct vmf_target base;
    char *path, *work_dir;
    bool replace;
    bool claimed;      /* the name's partial file is ours */
    bool adopted;      /* an import that was killed goes on */
    vmf_undo *undo;    /* from create on */
    GPtrArray *pieces; /* struct piece*, disks, then the XML */
};

static void
piece_free (void *data)
{
    struct piece *piece = data;
    if (piece->fd >= 0)
        close (piece->fd);
    g_free (piece->partial);
    g_free (piece->final);
    g_free (piece);
}

static bool
claims (const char *address)
{
    return *address && !strstr (address, "://");
}

static struct vmf_target *
directory_open (const char *address, const struct vmf_target_options *options, GError **error)
{
    struct directory *dir = g_new0 (struct directory, 1);
    dir->base.ops = &vmf_target_directory_ops;
    dir->base.address = g_strdup (address);
    dir->path = g_canonicalize_filename (address, NULL);
    dir->work_dir = g_strdup (options->work_dir);
    dir->replace = options->replace;
    dir->pieces = g_ptr_array_new_with_free_func (piece_free);
    return &dir->base;
}

static void
directory_close (struct vmf_target *target)
{
    struct directory *dir = (struct directory *)target;
    vmf_undo_free (dir->undo);
    g_ptr_array_unref (dir->pieces);
    g_free (dir->base.address);
    g_free (dir->path);
    g_free (dir->work_dir);
    g_free (dir);
}

static char *
folder_of (const struct directory *dir, const struct vmf_target_disk_wish *wish)
{
    return wish->pool ? g_canonicalize_filename (wish->pool, NULL) : g_strdup (dir->path);
}

/* The folder is there and writable, or can be made. */
static void
check_folder (const char *path, GPtrArray *findings)
{
    struct stat info;
    g_autofree char *parent = g_path_get_dirname (path);
    bool there = stat (path, &info) == 0;
    if (!there && errno != ENOENT)
        vmf_findings_add (findings, VMF_FINDING_BLOCKING, "cannot look into %s: %s", path, g_strerror (errno));
    else if (there && !S_ISDIR (info.st_mode))
        vmf_findings_add (findings, VMF_FINDING_BLOCKING, "%s is not a directory", path);
    else if (there && faccessat (AT_FDCWD, path, W_OK | X_OK, AT_EACCESS) != 0)
        vmf_findings_add (findings, VMF_FINDING_BLOCKING, "cannot write to the directory %s: %s", path,
                          g_strerror (errno));
    else if (!there && (stat (parent, &info) != 0 || !S_ISDIR (info.st_mode)))
        vmf_findings_add (findings, VMF_FINDING_BLOCKING,
                          "%s is not there, nor is the directory %s that it would be made in; make that first", path,
                          parent);
    else if (!there && faccessat (AT_FDCWD, parent, W_OK | X_OK, AT_EACCESS) != 0)
        vmf_findings_add (findings, VMF_FINDING_BLOCKING, "cannot make the directory %s in %s: %s", path, parent,
                          g_strerror (errno));
    else if (!there)
        vmf_findings_add (findings, VMF_FINDING_INFO, "the directory %s will be made", path);
}

static char *
partial_name (const char *folder, const char *name)
{
    return g_strdup_printf ("%s/.%s.vmferry-partial", folder, name);
}

/* Where what is replaced waits until the new VM stands. */
static char *
old_name (const char *folder, const char *name)
{
    return g_strdup_printf ("%s/.%s.vmferry-old", folder, name);
}

/* Why FILE, which is there, is not to be moved aside and deleted: a sentence, or NULL. */
static char *
why_not_replaced (const char *folder, const char *file)
{
    struct stat info;
    g_autofree char *final = g_build_filename (folder, file, NULL), *old = old_name (folder, file);
    if (lstat (final, &info) != 0)
        return NULL;
    if (!S_ISREG (info.st_mode))
        return g_strdup_printf ("%s is not a plain file, so it is not replaced; move it away or import under another "
                                "name with --name",
                                final);
    if (vmf_in_use (final, VMF_IN_USE_BY_ANYONE))
        return g_strdup_printf ("%s cannot be replaced: a running VM uses it; shut it down first", final);
    if (lstat (old, &info) == 0)
        return g_strdup_printf (
            "%s cannot be replaced: %s is there, the file that an earlier import replaced and could "
            "not delete; run 'vmferry clean', or delete it",
            final, old);
    return NULL;
}

/* The work directory of the import that has claimed the machine's name here; NULL: it does not say. LIVES tells whether
   it runs. Caller frees. */
static char *
read_claim (const struct directory *dir, const char *xml, bool *lives)
{
    char text[CLAIM_MAX_BYTES] = "";
    g_autofree char *partial = partial_name (dir->path, xml);
    int fd = open (partial, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    *lives = fd >= 0 && flock (fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    ssize_t n = fd >= 0 ? pread (fd, text, sizeof text - 1, 0) : -1;
    if (fd >= 0)
        close (fd);
    char *end = n > 0 ? strchr (text, '\n') : NULL;
    if (!end || !g_str_has_prefix (text, CLAIM_LINE))
        return NULL;
    *end = '\0';
    return vmf_text_printable (text + strlen (CLAIM_LINE), CLAIM_MAX_BYTES);
}

/* Who has PARTIAL, and what is to be done about it. */
static char *
claimed_sentence (const struct directory *dir, const char *partial, const char *file, const char *xml)
{
    bool lives;
    g_autofree char *work = read_claim (dir, xml, &lives);
    if (lives)
        return g_strdup_printf (
            "another import is making %s in %s just now (its work directory: %s); wait for its end, "
            "or import under another name with --name",
            file, dir->path, work ? work : "not known");
    if (work)
        return g_strdup_printf ("%s is there, of an import that ended early: go on with 'vmferry import --resume %s', "
                                "clear it with 'vmferry clean --work %s', or import under another name with --name",
                                partial, work, work);
    return g_strdup_printf ("%s is there: another import is making %s just now, or one that was killed left it; run "
                            "that one again or clear its work directory, or import under another name with --name",
                            partial, file);
}

/* NULL: nothing has the names of FILE in FOLDER. Otherwise a sentence. */
static char *
taken_sentence (const struct directory *dir, const char *folder, const char *file, const char *xml)
{
    struct stat info;
    g_autofree char *final = g_build_filename (folder, file, NULL);
    g_autofree char *partial = partial_name (folder, file);
    bool ours = dir->claimed && g_str_equal (file, xml);
    if (!ours && lstat (partial, &info) == 0)
        return claimed_sentence (dir, partial, file, xml);
    if (lstat (final, &info) != 0)
        return NULL;
    if (!dir->replace)
        return g_strdup_printf ("%s is there already; import under another name with --name, or replace it with "
                                "--replace",
                                final);
    return why_not_replaced (folder, file);
}

/* Calls LOOK with why each file that this import makes cannot be made, until it gives false. */
static bool
each_taken (struct directory *dir, const struct vmf_vm *vm, const struct vmf_target_disk_wish *wishes, unsigned n_disks,
            bool (*look) (const char *taken, void *data), void *data)
{
    g_autofree char *xml = g_strconcat (vm->name, ".xml", NULL);
    for (unsigned i = 0; i <= n_disks; i++)
    {
        g_autofree char *folder = i < n_disks ? folder_of (dir, &wishes[i]) : g_strdup (dir->path);
        g_autofree char *file = i < n_disks ? vmf_target_disk_name (vm->name, i, wishes[i].format) : g_strdup (xml);
        g_autofree char *taken = taken_sentence (dir, folder, file, xml);
        if (taken && !look (taken, data))
            return false;
    }
    return true;
}

static bool
add_taken (const char *taken, void *findings)
{
    vmf_findings_add (findings, VMF_FINDING_BLOCKING, "%s", taken);
    return true;
}

static bool
check (struct vmf_target *target, const struct vmf_vm *vm, const struct vmf_target_disk_wish *wishes, unsigned n_disks,
       GPtrArray *findings, GError **error)
{
    struct directory *dir = (struct directory *)target;
    g_autofree char *problem = vmf_target_name_problem (vm->name);
    if (problem)
        vmf_findings_add (findings, VMF_FINDING_BLOCKING, "%s", problem);
    vmf_target_check_arch (vm, findings);
    check_folder (dir->path, findings);
    g_autoptr (vmf_space) space = vmf_space_new ();
    for (unsigned i = 0; i < n_disks; i++)
    {
        g_autofree char *folder = folder_of (dir, &wishes[i]);
        if (wishes[i].pool && strcmp (folder, dir->path) != 0)
            check_folder (folder, findings);
        vmf_space_need (space, folder, folder, 0, &wishes[i]);
    }
    vmf_space_report (space, findings);
    if (!problem)
        each_taken (dir, vm, wishes, n_disks, add_taken, findings);
    return true;
}

static bool
fail_taken (const char *taken, void *error)
{
    g_set_error (error, VMF_ERROR, VMF_ERROR_EXISTS, "%s", taken);
    return false;
}

static bool
make_folder (struct directory *dir, const char *path, GError **error)
{
    return access (path, F_OK) == 0 || vmf_undo_create_dir (dir->undo, path, error);
}

static struct piece *
add_piece (struct directory *dir, const char *folder, const char *file, mode_t mode, GError **error)
{
    struct piece *piece = g_new0 (struct piece, 1);
    piece->partial = partial_name (folder, file);
    piece->final = g_build_filename (folder, file, NULL);
    g_ptr_array_add (dir->pieces, piece);
    piece->fd = vmf_undo_create_file (dir->undo, piece->partial, mode, error);
    return piece->fd >= 0 ? piece : NULL;
}

static struct vmf_target_disk *
create_disk (struct directory *dir, const char *name, const struct vmf_target_disk_wish *wish,
             GCancellable *cancellable, GError **error)
{
    g_autofree char *folder = folder_of (dir, wish);
    if (!make_folder (dir, folder, error))
        return NULL;
    /* 0600: a disk holds its owner's secrets. libvirt hands it to QEMU's user when the domain starts. */
    struct piece *piece = add_piece (dir, folder, name, 0600, error);
    if (!piece
        || !vmf_blank_make (piece->partial, wish->format, wish->size_bytes, wish->preallocate, cancellable, error))
        return NULL;
    struct vmf_target_disk *disk = g_new0 (struct vmf_target_disk, 1);
    disk->path = g_strdup (piece->partial);
    disk->final_path = g_strdup (piece->final);
    disk->format = g_strdup (wish->format);
    disk->fresh = true;
    return disk;
}

static bool
write_text (int fd, const char *path, const char *text, GError **error)
{
    size_t length = strlen (text);
    ssize_t n = ftruncate (fd, 0) == 0 && lseek (fd, 0, SEEK_SET) == 0 ? 0 : -1;
    for (size_t at = 0; at < length && n >= 0; at += (size_t)n)
        n = write (fd, text + at, length - at);
    if (n < 0)
        g_set_error (error, VMF_ERROR, errno == ENOSPC ? VMF_ERROR_NO_SPACE : VMF_ERROR_FAILED, "cannot write %s: %s",
                     path, g_strerror (errno));
    return n >= 0;
}

/* The XML's piece, made before the others: from here on the machine's name is this import's. Where two begin at once,
   one of them makes it. */
static bool
claim_name (struct directory *dir, const struct vmf_vm *vm, GError **error)
{
    g_autofree char *xml = g_strconcat (vm->name, ".xml", NULL);
    g_autoptr (GError) why = NULL;
    const struct piece *piece = add_piece (dir, dir->path, xml, 0644, &why);
    g_autofree char *line = g_strconcat (CLAIM_LINE, dir->work_dir, "\n", NULL);
    if (g_error_matches (why, VMF_ERROR, VMF_ERROR_EXISTS))
    {
        g_autofree char *partial = partial_name (dir->path, xml), *taken = claimed_sentence (dir, partial, xml, xml);
        g_set_error (error, VMF_ERROR, VMF_ERROR_EXISTS, "%s", taken);
        return false;
    }
    if (!piece)
        return g_propagate_error (error, g_steal_pointer (&why)), false;
    dir->claimed = true;
    flock (piece->fd, LOCK_EX | LOCK_NB); /* where there are no locks, it looks like a dead import's to others */
    return write_text (piece->fd, piece->partial, line, error);
}

static GPtrArray *
create (struct vmf_target *target, const struct vmf_vm *vm, const struct vmf_target_disk_wish *wishes, unsigned n_disks,
        GCancellable *cancellable, GError **error)
{
    struct directory *dir = (struct directory *)target;
    g_autoptr (GPtrArray) disks = g_ptr_array_new_with_free_func (vmf_target_disk_free);
    g_autofree char *problem = vmf_target_name_problem (vm->name);
    if (problem)
        return g_set_error (error, VMF_ERROR, VMF_ERROR_UNSAFE, "%s", problem), NULL;
    if (!each_taken (dir, vm, wishes, n_disks, fail_taken, error) || !(dir->undo = vmf_undo_open (dir->work_dir, error))
        || !make_folder (dir, dir->path, error)
        || !claim_name (dir, vm, error)
        /* Again: the one that had the name may have come to its end between our look and our claim. */
        || !each_taken (dir, vm, wishes, n_disks, fail_taken, error))
        return NULL;
    for (unsigned i = 0; i < n_disks; i++)
    {
        g_autofree char *name = vmf_target_disk_name (vm->name, i, wishes[i].format);
        struct vmf_target_disk *disk = NULL;
        if (g_cancellable_is_cancelled (cancellable))
            g_set_error (error, VMF_ERROR, VMF_ERROR_CANCELLED, "making the disks was stopped");
        else
            disk = create_disk (dir, name, &wishes[i], cancellable, error);
        if (!disk)
            return NULL;
        g_ptr_array_add (disks, disk);
    }
    g_ptr_array_add (dir->pieces, g_ptr_array_steal_index (dir->pieces, 0)); /* the XML is the last to appear */
    return g_steal_pointer (&disks);
}

/* A piece that an import made before it was killed. */
static bool
adopt_piece (struct directory *dir, char *partial, char *final, GError **error)
{
    struct piece *piece = g_new0 (struct piece, 1);
    piece->partial = partial;
    piece->final = final;
    g_ptr_array_add (dir->pieces, piece);
    piece->fd = open (partial, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    piece->revealed = piece->fd < 0 && errno == ENOENT;
    if (piece->revealed)
        piece->fd = open (final, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (piece->fd < 0)
        g_set_error (error, VMF_ERROR, VMF_ERROR_NOT_FOUND, "%s, which the import had made, is gone: %s; begin it anew",
                     partial, g_strerror (errno));
    return piece->fd >= 0;
}

static bool
adopt (struct vmf_target *target, const struct vmf_vm *vm, const GPtrArray *disks, GError **error)
{
    struct directory *dir = (struct directory *)target;
    g_autofree char *xml = g_strconcat (vm->name, ".xml", NULL);
    dir->undo = vmf_undo_reopen (dir->work_dir, error);
    dir->adopted = true;
    for (guint i = 0; dir->undo && i < disks->len; i++)
    {
        const struct vmf_target_disk *disk = g_ptr_array_index (disks, i);
        if (!adopt_piece (dir, g_strdup (disk->path), g_strdup (disk->final_path), error))
            return false;
    }
    if (!dir->undo || !adopt_piece (dir, partial_name (dir->path, xml), g_build_filename (dir->path, xml, NULL), error))
        return false;
    flock (((struct piece *)g_ptr_array_index (dir->pieces, dir->pieces->len - 1))->fd, LOCK_EX | LOCK_NB);
    return true;
}

/* Gives a piece its final name. What had it before is moved aside, and is trash once all is done. */
static bool
reveal (struct directory *dir, const struct piece *piece, GError **error)
{
    struct stat info;
    g_autofree char *folder = g_path_get_dirname (piece->final);
    g_autofree char *name = g_path_get_basename (piece->final);
    g_autofree char *old = old_name (folder, name);
    if (piece->revealed)
        return true;
    /* An import that was killed had moved the old file aside, and may not have said that it is trash. */
    if (dir->adopted && lstat (piece->final, &info) != 0 && lstat (old, &info) == 0
        && !vmf_undo_trash_file (dir->undo, old, error))
        return false;
    /* Again: a VM may have been started since the preflight. */
    g_autofree char *why = dir->replace ? why_not_replaced (folder, name) : NULL;
    if (why)
        return g_set_error (error, VMF_ERROR, VMF_ERROR_EXISTS, "%s", why), false;
    if (dir->replace && lstat (piece->final, &info) == 0
        && (!vmf_undo_rename (dir->undo, piece->final, old, error) || !vmf_undo_trash_file (dir->undo, old, error)))
        return false;
    return vmf_undo_rename (dir->undo, piece->partial, piece->final, error);
}

static char *
finish (struct vmf_target *target, const struct vmf_vm *vm, const char *xml, GError **error)
{
    struct directory *dir = (struct directory *)target;
    const struct piece *last = g_ptr_array_index (dir->pieces, dir->pieces->len - 1);
    if (!write_text (last->fd, last->partial, xml, error))
        return NULL;
    for (guint i = 0; i < dir->pieces->len; i++)
    {
        const struct piece *piece = g_ptr_array_index (dir->pieces, i);
        if (fsync (piece->fd) == 0)
            continue;
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "cannot bring %s to disk: %s", piece->partial,
                     g_strerror (errno));
        return NULL;
    }
    for (guint i = 0; i < dir->pieces->len; i++)
    {
        const struct piece *piece = g_ptr_array_index (dir->pieces, i);
        if (!reveal (dir, piece, error) || !vmf_undo_sync_parent (piece->final, error))
            return NULL;
    }
    if (!vmf_undo_commit (dir->undo, error))
        return NULL;
    target->remains = vmf_undo_take_out_trash (dir->work_dir);
    return g_strdup (last->final);
}

static bool
abort_import (struct vmf_target *target, GError **error)
{
    struct directory *dir = (struct directory *)target;
    if (!dir->undo) /* never created anything; a list that lies there is somebody else's */
        return true;
    g_clear_pointer (&dir->undo, vmf_undo_free);
    g_ptr_array_set_size (dir->pieces, 0);
    return vmf_undo_run (dir->work_dir, NULL, error);
}

const struct vmf_target_ops vmf_target_directory_ops = {
    .name = "directory",
    .claims = claims,
    .open = directory_open,
    .close = directory_close,
    .check = check,
    .create = create,
    .adopt = adopt,
    .finish = finish,
    .abort = abort_import,
};
