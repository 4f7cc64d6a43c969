/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Work directories: whose they are, who may clear them, and that nothing of anybody else's ever goes with them. */
#include "../folder.h"
#include "base/error.h"
#include "import/import.h"
#include "import/work.h"

#include <glib/gstdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char *top; /* of all tests; TMPDIR too */
static struct vmf_settings *settings;

static char *
path_of (const char *dir, const char *name)
{
    return g_build_filename (dir, name, NULL);
}

static void
put (const char *dir, const char *name, const char *text)
{
    g_autofree char *path = path_of (dir, name);
    g_assert_true (g_file_set_contents (path, text, -1, NULL));
}

static bool
has (const char *dir, const char *name)
{
    g_autofree char *path = path_of (dir, name);
    return g_file_test (path, G_FILE_TEST_EXISTS);
}

/* A directory as an import that was killed leaves it. */
static char *
dead_dir (const char *name)
{
    char *dir = path_of (top, name);
    pid_t pid = fork ();
    if (pid == 0)
        _exit (vmf_work_new (settings, dir, name, NULL) ? 0 : 1);
    int status = -1;
    g_assert_cmpint (waitpid (pid, &status, 0), ==, pid);
    g_assert_cmpint (status, ==, 0);
    put (dir, "overlay", "data");
    return dir;
}

static void
test_dead (void)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (GPtrArray) removed = g_ptr_array_new_with_free_func (g_free);
    g_autofree char *dir = dead_dir ("dead");
    g_assert_true (vmf_work_clear_dead (dir, removed, &error));
    g_assert_no_error (error);
    g_assert_false (g_file_test (dir, G_FILE_TEST_EXISTS));
    g_assert_cmpuint (removed->len, ==, 1);
}

static void
test_living (void)
{
    g_autoptr (GError) error = NULL;
    g_autofree char *dir = path_of (top, "living");
    g_autoptr (vmf_work) work = vmf_work_new (settings, dir, "living", &error);
    g_assert_no_error (error);
    g_assert_null (vmf_work_new (settings, dir, "second", &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_EXISTS);
    g_clear_error (&error);
    g_assert_false (vmf_work_clear_dead (dir, NULL, &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_EXISTS);
    g_assert_true (has (dir, "vmferry.lock"));
}

/* A folder of somebody else's that has a lock file: dpkg's, or one that is merely named like ours. */
static void
test_foreign_lock (const void *name)
{
    g_autoptr (GError) error = NULL;
    g_autofree char *dir = path_of (top, "foreign");
    g_assert_cmpint (g_mkdir (dir, 0700), ==, 0);
    put (dir, name, "");
    put (dir, "status", "mine");
    g_assert_true (vmf_work_clear_dead (dir, NULL, &error));
    g_assert_null (vmf_work_new (settings, dir, "foreign", &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_EXISTS);
    g_assert_true (has (dir, "status") && has (dir, name));
    g_autofree char *lock = path_of (dir, name), *status = path_of (dir, "status");
    g_unlink (lock);
    g_unlink (status);
    g_rmdir (dir);
}

/* Another user could have put there a lock file, and links that lead to what we then delete. */
static void
test_others_may_write (void)
{
    g_autoptr (GError) error = NULL;
    g_autofree char *dir = dead_dir ("shared");
    g_assert_cmpint (g_chmod (dir, 0770), ==, 0);
    g_assert_false (vmf_work_clear_dead (dir, NULL, &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_USAGE);
    g_clear_error (&error);
    g_assert_null (vmf_work_new (settings, dir, "shared", &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_USAGE);
    g_assert_true (has (dir, "overlay"));
}

static void
test_others_own (void)
{
    g_autoptr (GError) error = NULL;
    if (geteuid () != 0)
        return g_test_skip ("only root can give a directory away");
    g_autofree char *dir = dead_dir ("given-away");
    g_assert_cmpint (chown (dir, 12345, 12345), ==, 0);
    g_assert_false (vmf_work_clear_dead (dir, NULL, &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_USAGE);
    g_assert_true (has (dir, "overlay"));
}

/* What is held at the source is told before the directory goes; of a machine that was off there is nothing to tell. */
static void
test_held (void)
{
    static const char *const texts[][2] = { { "vmferry-1\nthe snapshot 'vmferry-1' of web1\n",
                                              "the snapshot 'vmferry-1' of web1" },
                                            { "\n\nit was off\n", NULL } };
    for (size_t i = 0; i < G_N_ELEMENTS (texts); i++)
    {
        g_autoptr (GError) error = NULL;
        g_autoptr (GPtrArray) removed = g_ptr_array_new_with_free_func (g_free);
        g_autofree char *dir = dead_dir ("holds"), *none = vmf_work_get_held (dir);
        g_assert_null (none);
        put (dir, "source-holds", texts[i][0]);
        g_autofree char *held = vmf_work_get_held (dir);
        g_assert_cmpstr (held, ==, texts[i][1]);
        g_assert_true (vmf_work_clear_dead (dir, removed, &error));
        g_assert_no_error (error);
        bool told = texts[i][1] && g_ptr_array_find_with_equal_func (removed, texts[i][1], g_str_equal, NULL);
        g_assert_true (told == (texts[i][1] != NULL));
    }
}

/* What an import may still hold at its source stays findable, too; that a machine was off is nothing to find. */
static void
test_note_stays (const void *kept)
{
    for (int held = 0; held < 2; held++)
    {
        g_autoptr (GError) error = NULL;
        g_autofree char *name = g_strdup_printf ("noted-%d-%d", held, kept != NULL), *dir = path_of (top, name);
        struct vmf_work *work = vmf_work_new (settings, dir, "noted", &error);
        g_assert_no_error (error);
        put (dir, "source-holds", held ? "vmferry-1\nthe snapshot 'vmferry-1'\n" : "\n\nit was off\npower off\n");
        if (kept)
            vmf_work_keep (work, true);
        vmf_work_free (work);
        g_assert_true (g_file_test (dir, G_FILE_TEST_EXISTS) == (held || kept));
        g_assert_true (has (dir, "vmferry.lock") == held);
        g_assert_true (!held || vmf_work_clear_dead (dir, NULL, &error));
        g_assert_no_error (error);
        g_assert_true (g_file_test (dir, G_FILE_TEST_EXISTS) == (!held && kept));
    }
}

/* What could not be undone stays findable: the list, and the lock by which it is found. */
static void
test_undo_list_stays (const void *kept)
{
    g_autoptr (GError) error = NULL;
    g_autofree char *dir = path_of (top, "undone");
    struct vmf_work *work = vmf_work_new (settings, dir, "undone", &error);
    g_assert_no_error (error);
    put (dir, "undo", "damaged\n");
    g_assert_true (vmf_work_has_undo (work));
    if (kept)
        vmf_work_keep (work, true);
    vmf_work_free (work);
    g_assert_true (has (dir, "undo") && has (dir, "vmferry.lock"));
    g_assert_false (vmf_work_clear_dead (dir, NULL, &error));
    g_clear_error (&error);
    g_assert_true (has (dir, "undo") && has (dir, "vmferry.lock"));
    put (dir, "undo", "");
    g_assert_true (vmf_work_clear_dead (dir, NULL, &error));
    g_assert_false (g_file_test (dir, G_FILE_TEST_EXISTS));
}

/* One that cannot be undone does not keep the others from being cleared. */
static void
test_clean_goes_on (void)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (GPtrArray) removed = g_ptr_array_new_with_free_func (g_free);
    char *dirs[5];
    for (unsigned i = 0; i < G_N_ELEMENTS (dirs); i++)
    {
        g_autofree char *name = g_strdup_printf ("work/%u", i);
        dirs[i] = dead_dir (name);
        if (i % 2 == 0)
            put (dirs[i], "undo", "damaged\n");
    }
    g_assert_false (vmf_import_clean (settings, NULL, removed, &error));
    g_assert_nonnull (error);
    g_assert_cmpuint (removed->len, ==, 2);
    for (unsigned i = 0; i < G_N_ELEMENTS (dirs); i++)
    {
        g_assert_cmpint (g_file_test (dirs[i], G_FILE_TEST_EXISTS), ==, i % 2 == 0);
        g_free (dirs[i]);
    }
}

/* A dry run that was killed: its directory is not below work.dir. */
static void
test_clean_finds_dry_runs (void)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (GPtrArray) removed = g_ptr_array_new_with_free_func (g_free);
    pid_t pid = fork ();
    if (pid == 0)
        _exit (vmf_work_new_passing (NULL) ? 0 : 1);
    g_assert_cmpint (waitpid (pid, NULL, 0), ==, pid);
    g_autoptr (vmf_work) living = vmf_work_new_passing (&error);
    g_assert_no_error (error);
    vmf_import_clean (settings, NULL, removed, NULL);
    g_assert_cmpuint (removed->len, ==, 1);
    g_assert_nonnull (strstr (g_ptr_array_index (removed, 0), "/vmferry-dry-"));
    g_assert_true (g_file_test (vmf_work_get_dir (living), G_FILE_TEST_EXISTS));
}

static int
fight (const char *dir)
{
    for (unsigned i = 0; i < 300; i++)
    {
        struct vmf_work *work = vmf_work_new (settings, dir, "fight", NULL);
        g_autofree char *mine = path_of (dir, "mine");
        if (work && (g_file_test (mine, G_FILE_TEST_EXISTS) || !g_file_set_contents (mine, "", 0, NULL)))
            return 1;
        g_usleep (work ? 100 : 10);
        if (work && g_unlink (mine) != 0)
            return 2;
        vmf_work_free (work);
    }
    return 0;
}

/* Several imports want the same directory over and over: at no moment have two of them it. */
static void
test_one_at_a_time (void)
{
    g_autofree char *dir = path_of (top, "fight");
    pid_t pids[4];
    for (unsigned i = 0; i < G_N_ELEMENTS (pids); i++)
        if ((pids[i] = fork ()) == 0)
            _exit (fight (dir));
    for (unsigned i = 0; i < G_N_ELEMENTS (pids); i++)
    {
        int status = -1;
        g_assert_cmpint (waitpid (pids[i], &status, 0), ==, pids[i]);
        g_assert_cmpint (status, ==, 0);
    }
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    top = test_folder_new ("work");
    g_assert_nonnull (top);
    g_autofree char *tmp = path_of (top, "tmp"), *root = path_of (top, "work");
    g_autofree char *pair = g_strconcat ("work.dir=", root, NULL);
    const char *const clear[] = { "rm", "-rf", "--", top, NULL };
    g_mkdir (tmp, 0700);
    g_setenv ("TMPDIR", tmp, TRUE); /* before anything asks GLib, which keeps its first answer */
    settings = vmf_settings_new ();
    g_assert_true (vmf_settings_set (settings, pair, NULL));
    g_test_add_func ("/import/work/B14-dead", test_dead);
    g_test_add_func ("/import/work/living", test_living);
    g_test_add_data_func ("/import/work/foreign-lock/lock", "lock", test_foreign_lock);
    g_test_add_data_func ("/import/work/foreign-lock/vmferry.lock", "vmferry.lock", test_foreign_lock);
    g_test_add_func ("/import/work/held", test_held);
    g_test_add_func ("/import/work/others-may-write", test_others_may_write);
    g_test_add_func ("/import/work/others-own", test_others_own);
    g_test_add_data_func ("/import/work/note-stays", NULL, test_note_stays);
    g_test_add_data_func ("/import/work/note-stays-kept", "keep", test_note_stays);
    g_test_add_data_func ("/import/work/undo-list-stays", NULL, test_undo_list_stays);
    g_test_add_data_func ("/import/work/undo-list-stays-kept", "keep", test_undo_list_stays);
    g_test_add_func ("/import/work/clean-goes-on", test_clean_goes_on);
    g_test_add_func ("/import/work/clean-finds-dry-runs", test_clean_finds_dry_runs);
    g_test_add_func ("/import/work/one-at-a-time", test_one_at_a_time);
    int failed = g_test_run ();
    g_spawn_sync (NULL, (char **)clear, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL);
    vmf_settings_free (settings);
    g_free (top);
    return failed;
}
