/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Steps on files: create, make a folder, rename; and how each is taken back.
 *
 * A file is known by inode and birth time, not by device: device numbers change from boot to boot. A file that was
 * about to be created when we died is known by being empty, and an empty file is no loss.
 */
#include "base/error.h"
#include "target/undo-kinds.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool
vmf_undo_identify (const char *path, struct vmf_undo_id *id)
{
    struct statx info;
    *id = (struct vmf_undo_id){ 0 };
    if (statx (AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_INO | STATX_BTIME, &info) != 0)
        return false;
    id->ino = info.stx_ino;
    if (info.stx_mask & STATX_BTIME)
        id->born_ns = (uint64_t)info.stx_btime.tv_sec * 1000000000 + info.stx_btime.tv_nsec;
    return true;
}

static bool
same_id (const struct vmf_undo_id *a, const struct vmf_undo_id *b)
{
    return a->ino == b->ino && a->ino != 0 && a->born_ns == b->born_ns;
}

/* Nothing that could be missed: a file without bytes; for images, only holes, or a qcow2 of no more than its tables. */
static bool
is_empty_file (const char *path, const char *format)
{
    struct stat info;
    char magic[4];
    if (lstat (path, &info) != 0 || !S_ISREG (info.st_mode))
        return false;
    if (g_strcmp0 (format, "raw") == 0)
        return info.st_blocks == 0;
    if (g_strcmp0 (format, "qcow2") != 0 || info.st_size == 0)
        return info.st_size == 0;
    int fd = open (path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    bool qcow = fd >= 0 && read (fd, magic, sizeof magic) == sizeof magic && memcmp (magic, "QFI\xfb", 4) == 0;
    if (fd >= 0)
        close (fd);
    return qcow && info.st_size <= 512 * 1024;
}

static bool
is_since (const struct vmf_undo_step *step, const struct vmf_undo_id *id)
{
    return id->born_ns == 0 || id->born_ns >= (uint64_t)json_integer_value (json_object_get (step->line, "since_ns"));
}

bool
vmf_undo_is_ours (const struct vmf_undo_step *step, const char *path)
{
    struct vmf_undo_id id;
    if (!vmf_undo_identify (path, &id))
        return false;
    if (step->did)
        return same_id (&id, &step->id);
    return is_since (step, &id) && is_empty_file (path, json_string_value (json_object_get (step->line, "format")));
}

bool
vmf_undo_sync_parent (const char *path, GError **error)
{
    g_autofree char *parent = g_path_get_dirname (path);
    int fd = open (parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool good = fd >= 0 && (fsync (fd) == 0 || errno == EINVAL); /* EINVAL: a file system that has no need */
    if (!good)
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "cannot bring %s to disk: %s", parent, g_strerror (errno));
    if (fd >= 0)
        close (fd);
    return good;
}

/* A second early: the kernel stamps files with its last tick's time, which lies before the clock's. */
int64_t
vmf_undo_since_ns (void)
{
    return (g_get_real_time () - G_USEC_PER_SEC) * 1000;
}

static bool
add_do (struct vmf_undo *undo, const char *kind, const char *path, GError **error)
{
    json_t *line = json_pack ("{s:s, s:o, s:I}", "do", kind, "path", vmf_undo_path_to_json (path), "since_ns",
                              (json_int_t)vmf_undo_since_ns ());
    return vmf_undo_add (undo, line, error);
}

static bool
add_did (struct vmf_undo *undo, const char *kind, const char *path, GError **error)
{
    struct vmf_undo_id id;
    vmf_undo_identify (path, &id);
    json_t *line = json_pack ("{s:s}", "did", kind);
    vmf_undo_id_to_json (&id, line);
    return vmf_undo_add (undo, line, error);
}

/* Behind a "do" that somebody else was quicker with: what has the name now was never ours. */
static bool
add_never_did (struct vmf_undo *undo, const char *kind, GError **error)
{
    json_t *line = json_pack ("{s:s}", "did", kind);
    vmf_undo_id_to_json (&(struct vmf_undo_id){ 0 }, line);
    return vmf_undo_add (undo, line, error);
}

static void
set_errno_error (GError **error, const char *what, const char *path)
{
    int code = errno == EEXIST ? VMF_ERROR_EXISTS : errno == ENOSPC ? VMF_ERROR_NO_SPACE : VMF_ERROR_FAILED;
    /* The preflight saw the name free. */
    const char *taken = ": somebody else has made it in the meantime; move it away, or import under another --name";
    g_set_error (error, VMF_ERROR, code, "cannot %s %s: %s%s", what, path, g_strerror (errno),
                 errno == EEXIST ? taken : "");
}

int
vmf_undo_create_file (struct vmf_undo *undo, const char *path, mode_t mode, GError **error)
{
    /* Looked at before: the line below must not name what is there already. O_EXCL has the last word. */
    struct stat info;
    if (lstat (path, &info) == 0)
    {
        errno = EEXIST;
        return set_errno_error (error, "create", path), -1;
    }
    if (!add_do (undo, "file", path, error))
        return -1;
    int fd = open (path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    bool taken = fd < 0 && errno == EEXIST;
    if (fd < 0)
        set_errno_error (error, "create", path);
    if (taken)
        add_never_did (undo, "file", NULL);
    if (fd < 0)
        return -1;
    if (add_did (undo, "file", path, error) && vmf_undo_sync_parent (path, error))
        return fd;
    close (fd);
    return -1;
}

bool
vmf_undo_create_dir (struct vmf_undo *undo, const char *path, GError **error)
{
    if (!add_do (undo, "dir", path, error))
        return false;
    if (mkdir (path, 0777) != 0)
        return errno == EEXIST ? add_never_did (undo, "dir", error)
                               : (set_errno_error (error, "make the directory", path), false);
    return add_did (undo, "dir", path, error) && vmf_undo_sync_parent (path, error);
}

/* rename() that replaces nothing, on file systems without RENAME_NOREPLACE (NFS, old FUSE) too. */
static bool
rename_noreplace (const char *from, const char *to)
{
    if (renameat2 (AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
        return true;
    if (errno != EINVAL && errno != ENOSYS)
        return false;
    if (link (from, to) == 0)
        return unlink (from) == 0;
    struct stat info;
    if (errno == EEXIST)
        return false;
    if (lstat (to, &info) != 0)
        return rename (from, to) == 0;
    errno = EEXIST;
    return false;
}

bool
vmf_undo_rename (struct vmf_undo *undo, const char *from, const char *to, GError **error)
{
    struct vmf_undo_id id;
    struct stat info;
    if (!vmf_undo_identify (from, &id))
        return set_errno_error (error, "rename", from), false;
    json_t *line = json_pack ("{s:s, s:o, s:o}", "do", "rename", "from", vmf_undo_path_to_json (from), "path",
                              vmf_undo_path_to_json (to));
    vmf_undo_id_to_json (&id, line);
    if (lstat (to, &info) == 0)
    {
        json_decref (line);
        errno = EEXIST;
        return set_errno_error (error, "make", to), false;
    }
    if (!vmf_undo_add (undo, line, error))
        return false;
    return rename_noreplace (from, to) || (set_errno_error (error, "make", to), false);
}

bool
vmf_undo_trash_file (struct vmf_undo *undo, const char *path, GError **error)
{
    struct vmf_undo_id id;
    if (!vmf_undo_identify (path, &id))
        return true;
    json_t *line = json_pack ("{s:s, s:o}", "trash", "file", "path", vmf_undo_path_to_json (path));
    vmf_undo_id_to_json (&id, line);
    return vmf_undo_add (undo, line, error);
}

bool
vmf_undo_file (const struct vmf_undo_step *step, GPtrArray *removed, GError **error)
{
    g_autofree char *path = vmf_undo_path_from_json (step->line, "path");
    struct stat info;
    if (!path || lstat (path, &info) != 0)
        return true;
    if (!vmf_undo_is_ours (step, path))
        return vmf_undo_say (removed, "%s was left alone: it is not the file that this import made", path), true;
    if (unlink (path) != 0)
        return set_errno_error (error, "remove", path), false;
    vmf_undo_say (removed, "removed the file %s", path);
    return true;
}

bool
vmf_undo_dir (const struct vmf_undo_step *step, GPtrArray *removed, GError **error)
{
    g_autofree char *path = vmf_undo_path_from_json (step->line, "path");
    struct vmf_undo_id id;
    if (!path || !vmf_undo_identify (path, &id) || !(step->did ? same_id (&id, &step->id) : is_since (step, &id)))
        return true;
    if (rmdir (path) == 0)
        vmf_undo_say (removed, "removed the empty directory %s", path);
    else if (errno != ENOTEMPTY && errno != EEXIST)
        return set_errno_error (error, "remove the directory", path), false;
    return true;
}

/* Moves back what stands at "path" and came from "from". */
bool
vmf_undo_renamed (const struct vmf_undo_step *step, GPtrArray *removed, GError **error)
{
    g_autofree char *from = vmf_undo_path_from_json (step->line, "from");
    g_autofree char *to = vmf_undo_path_from_json (step->line, "path");
    struct vmf_undo_id at_from, at_to;
    if (!from || !to || !vmf_undo_identify (to, &at_to) || !same_id (&at_to, &step->id))
        return true;
    /* rename_noreplace() by link died half-way. */
    bool both = vmf_undo_identify (from, &at_from) && same_id (&at_from, &step->id);
    if (both ? unlink (to) != 0 : !rename_noreplace (to, from))
        return set_errno_error (error, "move back to its name", from), false;
    return true;
}
