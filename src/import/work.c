/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Work directories. A directory is only ever removed by who holds its lock, and only if it has our lock file. */
#include "import/work.h"
#include "base/error.h"
#include "base/text.h"
#include "import/import.h"
#include "target/target.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define LOCK_NAME "lock"
#define NOTE_SUFFIX ".outside" /* a link to a file that belongs to the directory but lies elsewhere */

struct vmf_work
{
    char *dir;
    int lock_fd;
    bool keep;
};

static int
remove_one (const char *path, const struct stat *info, int type, struct FTW *where)
{
    return remove (path);
}

/* Everything below and DIR itself; links are removed, not followed, and mounts not entered. */
static bool
remove_tree (const char *dir, GError **error)
{
    if (nftw (dir, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) == 0)
        return true;
    g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "cannot remove the work directory %s: %s", dir,
                 g_strerror (errno));
    return false;
}

/* The files that vmf_work_note_file remembered. */
static void
remove_noted (const char *dir)
{
    g_autoptr (GDir) open = g_dir_open (dir, 0, NULL);
    const char *name;
    while (open && (name = g_dir_read_name (open)))
    {
        g_autofree char *link = g_build_filename (dir, name, NULL);
        g_autofree char *path = g_str_has_suffix (name, NOTE_SUFFIX) ? g_file_read_link (link, NULL) : NULL;
        if (path)
            g_unlink (path);
    }
}

bool
vmf_work_note_file (struct vmf_work *work, const char *name, const char *path, GError **error)
{
    g_autofree char *leaf = g_strconcat (name, NOTE_SUFFIX, NULL);
    g_autofree char *link = g_build_filename (work->dir, leaf, NULL);
    if (g_file_test (path, G_FILE_TEST_EXISTS) || symlink (path, link) != 0)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "cannot make %s: %s", path,
                     g_strerror (errno ? errno : EEXIST));
        return false;
    }
    return true;
}

/* The locked descriptor of DIR/lock; -1 with EWOULDBLOCK in errno where a living import has it. */
static int
take_lock (const char *dir, int flags)
{
    g_autofree char *path = g_build_filename (dir, LOCK_NAME, NULL);
    int fd = open (path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
    if (fd >= 0 && flock (fd, LOCK_EX | LOCK_NB) != 0)
    {
        int failed = errno;
        close (fd);
        errno = failed;
        return -1;
    }
    return fd;
}

bool
vmf_work_clear_dead (const char *dir, GPtrArray *removed, GError **error)
{
    int fd = take_lock (dir, 0);
    if (fd < 0 && errno == EWOULDBLOCK)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_EXISTS,
                     "the work directory %s belongs to an import that is running; wait for it or use another --work",
                     dir);
        return false;
    }
    if (fd < 0)
        return true; /* not ours */
    remove_noted (dir);
    bool good = vmf_target_undo_leftovers (dir, removed, error) && remove_tree (dir, error);
    if (good && removed)
        g_ptr_array_add (removed, g_strdup_printf ("removed the work directory %s", dir));
    close (fd);
    return good;
}

char *
vmf_work_root (const struct vmf_settings *settings)
{
    const char *set = vmf_settings_get_string (settings, "work.dir");
    if (*set)
        return g_strdup (set);
    if (geteuid () == 0)
        return g_strdup ("/var/lib/vmferry/work");
    return g_build_filename (g_get_user_state_dir (), "vmferry", "work", NULL);
}

/* A name that no other import has. */
static char *
new_dir_name (const struct vmf_settings *settings, const char *name)
{
    g_autofree char *root = vmf_work_root (settings);
    g_autoptr (GDateTime) now = g_date_time_new_now_utc ();
    g_autofree char *time = g_date_time_format (now, "%Y%m%d-%H%M%S");
    g_autofree char *safe = g_strdup_printf ("%.24s", name);
    g_strcanon (safe, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", '_');
    g_autofree char *leaf = g_strdup_printf ("%s-%s-%04x", safe, time, g_random_int () & 0xffff);
    return g_build_filename (root, leaf, NULL);
}

static bool
is_empty (const char *dir)
{
    g_autoptr (GDir) open = g_dir_open (dir, 0, NULL);
    return !open || g_dir_read_name (open) == NULL;
}

struct vmf_work *
vmf_work_new (const struct vmf_settings *settings, const char *dir, const char *name, GError **error)
{
    g_autofree char *chosen = dir ? g_canonicalize_filename (dir, NULL) : new_dir_name (settings, name);
    if (dir && !vmf_work_clear_dead (chosen, NULL, error))
        return NULL;
    if (!is_empty (chosen))
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_EXISTS,
                     "the work directory %s has files in it that are not vmferry's; name an empty or new one", chosen);
        return NULL;
    }
    int fd = g_mkdir_with_parents (chosen, 0700) == 0 ? take_lock (chosen, O_CREAT) : -1;
    if (fd < 0)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED,
                     "cannot make the work directory %s: %s; choose another with --work or the setting work.dir",
                     chosen, g_strerror (errno));
        return NULL;
    }
    struct vmf_work *work = g_new0 (struct vmf_work, 1);
    work->dir = g_steal_pointer (&chosen);
    work->lock_fd = fd;
    return work;
}

void
vmf_work_free (struct vmf_work *work)
{
    if (!work)
        return;
    g_autoptr (GError) error = NULL;
    g_autofree char *lock = g_build_filename (work->dir, LOCK_NAME, NULL);
    if (work->keep)
        g_unlink (lock); /* kept for its user: no import's any more, so nobody clears it */
    else
        remove_noted (work->dir);
    if (!work->keep && !remove_tree (work->dir, &error))
        g_warning ("%s", error->message);
    close (work->lock_fd);
    g_free (work->dir);
    g_free (work);
}

const char *
vmf_work_get_dir (const struct vmf_work *work)
{
    return work->dir;
}

void
vmf_work_keep (struct vmf_work *work)
{
    work->keep = true;
}

bool
vmf_import_clean (const struct vmf_settings *settings, const char *work_dir, GPtrArray *removed, GError **error)
{
    if (work_dir)
        return vmf_work_clear_dead (work_dir, removed, error);
    g_autofree char *root = vmf_work_root (settings);
    g_autoptr (GDir) open = g_dir_open (root, 0, NULL);
    const char *name;
    while (open && (name = g_dir_read_name (open)))
    {
        g_autofree char *dir = g_build_filename (root, name, NULL);
        g_autoptr (GError) local = NULL;
        if (!vmf_work_clear_dead (dir, removed, &local) && !g_error_matches (local, VMF_ERROR, VMF_ERROR_EXISTS))
        {
            g_propagate_error (error, g_steal_pointer (&local));
            return false;
        }
    }
    return true;
}
