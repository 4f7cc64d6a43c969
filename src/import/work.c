/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Work directories. A directory is only ever removed by who holds its lock, and the lock file goes last. */
#include "import/work.h"
#include "source/source.h"
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

#define LOCK_NAME "vmferry.lock"
#define LOCK_LINE "vmferry work directory 1\n"
#define PASSING_PREFIX "vmferry-dry-"
#define NOTE_SUFFIX ".outside" /* a link to a file that belongs to the directory but lies elsewhere */

struct vmf_work
{
    char *dir;
    int lock_fd;
    bool keep;
};

static char *
lock_path (const char *dir)
{
    return g_build_filename (dir, LOCK_NAME, NULL);
}

static int
remove_one (const char *path, const struct stat *info, int type, struct FTW *where)
{
    if (where->level == 0 || (where->level == 1 && strcmp (path + where->base, LOCK_NAME) == 0))
        return 0;
    return remove (path) == 0 || errno == ENOENT ? 0 : -1; /* the draft of another's lock comes and goes */
}

/* Everything below and DIR itself; links are removed, not followed, and mounts not entered. The lock is the last to go,
   or what is left after a failure would be nobody's. Once it is gone another import may have DIR, or have had it:
   that is no failure. */
static bool
remove_tree (const char *dir, GError **error)
{
    g_autofree char *lock = lock_path (dir);
    if (nftw (dir, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) == 0 && unlink (lock) == 0
        && (rmdir (dir) == 0 || errno == ENOTEMPTY || errno == EEXIST || errno == ENOENT))
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

/* USAGE where another user could have put into DIR what is there. */
static bool
check_owner (const char *dir, GError **error)
{
    struct stat info;
    if (lstat (dir, &info) == 0 && S_ISDIR (info.st_mode) && info.st_uid == geteuid () && !(info.st_mode & 022))
        return true;
    g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE,
                 "%s cannot be a work directory: it must be a directory of your own that nobody else may write to "
                 "(chmod go-w)",
                 dir);
    return false;
}

static bool
has_our_line (int fd)
{
    char line[sizeof LOCK_LINE - 1];
    return pread (fd, line, sizeof line, 0) == sizeof line && memcmp (line, LOCK_LINE, sizeof line) == 0;
}

/* Is what PATH names now still the file that FD has open? */
static bool
is_same_file (int fd, const char *path)
{
    struct stat open, named;
    return fstat (fd, &open) == 0 && stat (path, &named) == 0 && open.st_dev == named.st_dev
           && open.st_ino == named.st_ino;
}

/* The locked descriptor of DIR's lock file; -1 with EWOULDBLOCK in errno where a living import has it. */
static int
take_lock (const char *dir)
{
    g_autofree char *path = lock_path (dir);
    for (;;)
    {
        int fd = open (path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd < 0)
            return -1;
        int failed = !has_our_line (fd) ? EINVAL : flock (fd, LOCK_EX | LOCK_NB) != 0 ? errno : 0;
        bool current = is_same_file (fd, path);
        if (current && failed == 0)
            return fd;
        close (fd);
        errno = failed;
        if (current)
            return -1;
        /* Who had it removed it between our open and our lock: what has its name now is another. */
    }
}

/* A new lock file, which is locked and whole from the moment it has its name. EEXIST where another was first. */
static int
make_lock (const char *dir)
{
    g_autofree char *path = lock_path (dir), *draft = g_strconcat (path, ".XXXXXX", NULL);
    size_t length = strlen (LOCK_LINE);
    int fd = g_mkstemp_full (draft, O_RDWR | O_CLOEXEC, 0600);
    bool good = fd >= 0 && flock (fd, LOCK_EX | LOCK_NB) == 0 && write (fd, LOCK_LINE, length) == (ssize_t)length
                && link (draft, path) == 0;
    int failed = errno;
    if (fd >= 0)
        g_unlink (draft);
    if (fd >= 0 && !good)
        close (fd);
    errno = failed;
    return good ? fd : -1;
}

static bool
fail_living (const char *dir, GError **error)
{
    g_set_error (error, VMF_ERROR, VMF_ERROR_EXISTS,
                 "the work directory %s belongs to an import that is running; wait for it or use another --work", dir);
    return false;
}

char *
vmf_work_get_held (const char *dir)
{
    g_autofree char *path = g_build_filename (dir, VMF_SOURCE_HOLDS_NAME, NULL), *text = NULL;
    if (!g_file_get_contents (path, &text, NULL, NULL))
        return NULL;
    g_auto (GStrv) lines = g_strsplit (text, "\n", 3);
    return lines[0] && lines[1] && *lines[1] ? g_strdup (lines[1]) : NULL;
}

static void
say_held (const char *dir, GPtrArray *removed)
{
    char *held = removed ? vmf_work_get_held (dir) : NULL;
    if (held)
        g_ptr_array_add (removed, held);
}

/* LOCKED says whether DIR was found to be a dead import's, so that an error is about clearing it. */
static bool
clear_dead (const char *dir, GPtrArray *removed, bool *locked, GError **error)
{
    g_autofree char *lock = lock_path (dir);
    *locked = false;
    if (!g_file_test (lock, G_FILE_TEST_EXISTS))
        return true; /* not ours */
    if (!check_owner (dir, error))
        return false;
    int fd = take_lock (dir);
    if (fd < 0)
        return errno != EWOULDBLOCK || fail_living (dir, error);
    *locked = true;
    vmf_work_forget_state (dir);
    remove_noted (dir);
    say_held (dir, removed);
    bool good = vmf_target_undo_leftovers (dir, removed, error) && remove_tree (dir, error);
    if (good && removed)
        g_ptr_array_add (removed, g_strdup_printf ("removed the work directory %s", dir));
    close (fd);
    return good;
}

bool
vmf_work_clear_dead (const char *dir, GPtrArray *removed, GError **error)
{
    bool locked;
    return clear_dead (dir, removed, &locked, error);
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

static struct vmf_work *
take_dir (const char *dir, GError **error)
{
    bool there = g_mkdir_with_parents (dir, 0700) == 0;
    if (there && !check_owner (dir, error))
        return NULL;
    if (there && !is_empty (dir))
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_EXISTS,
                     "the work directory %s has files in it that are not vmferry's; name an empty or new one", dir);
        return NULL;
    }
    /* The guest's data will lie in it, also where the user made it for all to read. */
    int fd = there && chmod (dir, 0700) == 0 ? make_lock (dir) : -1;
    if (fd < 0 && errno == EEXIST)
        return fail_living (dir, error), NULL;
    if (fd < 0)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED,
                     "cannot make the work directory %s: %s; choose another with --work or the setting work.dir", dir,
                     g_strerror (errno));
        return NULL;
    }
    struct vmf_work *work = g_new0 (struct vmf_work, 1);
    work->dir = g_strdup (dir);
    work->lock_fd = fd;
    return work;
}

void
vmf_work_forget_state (const char *dir)
{
    g_autofree char *state = g_build_filename (dir, VMF_WORK_STATE_NAME, NULL);
    g_unlink (state);
}

bool
vmf_work_is_resumable (const char *dir)
{
    g_autofree char *state = g_build_filename (dir, VMF_WORK_STATE_NAME, NULL), *lock = lock_path (dir);
    return g_file_test (state, G_FILE_TEST_EXISTS) && g_file_test (lock, G_FILE_TEST_EXISTS);
}

static bool
is_living (const char *dir)
{
    int fd = take_lock (dir);
    if (fd >= 0)
        close (fd);
    return fd < 0 && errno == EWOULDBLOCK;
}

/* A dead import's, which --resume goes on with. */
static bool
can_go_on (const char *dir)
{
    return vmf_work_is_resumable (dir) && !is_living (dir);
}

static bool
refuse_resumable (const char *dir, GError **error)
{
    if (!can_go_on (dir))
        return false;
    g_set_error (
        error, VMF_ERROR, VMF_ERROR_EXISTS,
        "%s has an import that ended early and can go on: 'vmferry import --resume %s'; or clear it with 'vmferry "
        "clean --work %s'",
        dir, dir, dir);
    return true;
}

static int
remove_passing (const char *path, const struct stat *info, int type, struct FTW *where)
{
    static const char *const kept[] = { VMF_WORK_STATE_NAME, LOCK_NAME, NOTE_SUFFIX, VMF_SOURCE_HOLDS_NAME, "undo",
                                        ".journal",          ".qcow2",  ".changed" };
    bool keep = where->level == 0;
    for (size_t i = 0; where->level == 1 && i < G_N_ELEMENTS (kept); i++)
        keep = keep || g_str_has_suffix (path, kept[i]);
    return keep ? 0 : remove (path);
}

/* Sockets, pid files and folders of helpers that are gone; they would be in the way of new ones. */
static bool
clear_passing (const char *dir, GError **error)
{
    if (nftw (dir, remove_passing, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) == 0)
        return true;
    g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "cannot clear the work directory %s for going on: %s", dir,
                 g_strerror (errno));
    return false;
}

struct vmf_work *
vmf_work_resume (const char *dir, GError **error)
{
    g_autofree char *chosen = g_canonicalize_filename (dir, NULL);
    if (!vmf_work_is_resumable (chosen))
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_NOT_FOUND,
                     "there is nothing to go on with in %s: no import had begun to copy there", chosen);
        return NULL;
    }
    if (!check_owner (chosen, error))
        return NULL;
    int fd = take_lock (chosen);
    if (fd < 0)
        return fail_living (chosen, error), NULL;
    struct vmf_work *work = g_new0 (struct vmf_work, 1);
    work->dir = g_steal_pointer (&chosen);
    work->lock_fd = fd;
    work->keep = true; /* until the import has taken it over, its end changes nothing */
    if (clear_passing (work->dir, error))
        return work;
    vmf_work_free (work);
    return NULL;
}

struct vmf_work *
vmf_work_new (const struct vmf_settings *settings, const char *dir, const char *name, GError **error)
{
    g_autofree char *chosen = dir ? g_canonicalize_filename (dir, NULL) : new_dir_name (settings, name);
    if (dir && (refuse_resumable (chosen, error) || !vmf_work_clear_dead (chosen, NULL, error)))
        return NULL;
    return take_dir (chosen, error);
}

struct vmf_work *
vmf_work_new_passing (GError **error)
{
    g_autofree char *dir = g_dir_make_tmp (PASSING_PREFIX "XXXXXX", error);
    struct vmf_work *work = dir ? take_dir (dir, error) : NULL;
    if (dir && !work)
        g_rmdir (dir);
    return work;
}

void
vmf_work_free (struct vmf_work *work)
{
    if (!work)
        return;
    g_autoptr (GError) error = NULL;
    g_autofree char *lock = lock_path (work->dir);
    g_autofree char *held = vmf_work_get_held (work->dir);
    bool leftovers = vmf_work_has_undo (work) || held, clear = !work->keep && !leftovers;
    if (work->keep && !leftovers)
        g_unlink (lock); /* kept for its user: no import's any more, so nobody clears it */
    if (clear)
        remove_noted (work->dir);
    if (clear && !remove_tree (work->dir, &error))
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
vmf_work_keep (struct vmf_work *work, bool keep)
{
    work->keep = keep;
}

bool
vmf_work_has_undo (const struct vmf_work *work)
{
    g_autofree char *list = g_build_filename (work->dir, "undo", NULL); /* target/undo.h */
    return g_file_test (list, G_FILE_TEST_EXISTS);
}

/* Clears all dead directories in FOLDER, but with RESUMABLE (which gets them) those that can go on, whose names begin
   with PREFIX. One that cannot be cleared stops none of the others; FIRST gets the first error. Those that live or are
   another user's are no error. */
static void
clear_folder (const char *folder, const char *prefix, GPtrArray *resumable, GPtrArray *removed, GError **first)
{
    g_autoptr (GDir) open = g_dir_open (folder, 0, NULL);
    const char *name;
    while (open && (name = g_dir_read_name (open)))
    {
        g_autofree char *dir = g_build_filename (folder, name, NULL);
        g_autoptr (GError) local = NULL;
        bool locked;
        if (resumable && can_go_on (dir))
            g_ptr_array_add (resumable, g_steal_pointer (&dir));
        else if (g_str_has_prefix (name, prefix) && !clear_dead (dir, removed, &locked, &local) && locked && !*first)
            *first = g_steal_pointer (&local);
    }
}

void
vmf_import_list_resumable (const struct vmf_settings *settings, GPtrArray *dirs)
{
    g_autofree char *root = vmf_work_root (settings);
    g_autoptr (GDir) open = g_dir_open (root, 0, NULL);
    const char *name;
    while (open && (name = g_dir_read_name (open)))
    {
        g_autofree char *dir = g_build_filename (root, name, NULL);
        if (can_go_on (dir))
            g_ptr_array_add (dirs, g_steal_pointer (&dir));
    }
}

bool
vmf_import_clean (const struct vmf_settings *settings, const char *work_dir, GPtrArray *removed, GError **error)
{
    return work_dir ? vmf_work_clear_dead (work_dir, removed, error)
                    : vmf_work_clear_all (settings, NULL, removed, error);
}

bool
vmf_work_clear_all (const struct vmf_settings *settings, GPtrArray *resumable, GPtrArray *removed, GError **error)
{
    g_autoptr (GError) first = NULL;
    g_autofree char *root = vmf_work_root (settings);
    clear_folder (root, "", resumable, removed, &first);
    clear_folder (g_get_tmp_dir (), PASSING_PREFIX, NULL, removed, &first);
    if (!first)
        return true;
    g_propagate_error (error, g_steal_pointer (&first));
    return false;
}
