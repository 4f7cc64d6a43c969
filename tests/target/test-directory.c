/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The directory target (B11, B14, C15): what it leaves at the end, after a failure and after a kill at any step. */
#include "support.h"
#include "base/child.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <glib/gstdio.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct setup
{
    char *folder, *work, *other; /* the target, the work directory, a second place for disks */
    struct vmf_vm *vm;
    struct vmf_target_disk_wish wishes[2];
    bool replace;
    bool took; /* take_the_name() was first */
};

static void
set_up (struct setup *s, const void *data)
{
    s->folder = new_folder ();
    s->work = new_folder ();
    s->other = new_folder ();
    s->vm = sample_vm ();
    s->wishes[0] = (struct vmf_target_disk_wish){ .format = "qcow2", .size_bytes = 8 << 20 };
    s->wishes[1] = (struct vmf_target_disk_wish){ .format = "raw", .size_bytes = 3 << 20, .pool = s->other };
}

static void
tear_down (struct setup *s, const void *data)
{
    char *const folders[] = { s->folder, s->work, s->other };
    for (size_t i = 0; i < G_N_ELEMENTS (folders); i++)
    {
        remove_tree (folders[i]);
        g_free (folders[i]);
    }
    vmf_vm_free (s->vm);
}

static struct vmf_target *
open_target (struct setup *s)
{
    g_autoptr (GError) error = NULL;
    const struct vmf_target_options options = { .work_dir = s->work, .replace = s->replace };
    struct vmf_target *target = vmf_target_open (s->folder, &options, &error);
    g_assert_no_error (error);
    g_assert_cmpstr (target->ops->name, ==, "directory");
    return target;
}

/* Names in the target, a bar, names in the second place, a bar, names in the work directory. */
static char *
all_names (struct setup *s)
{
    g_autofree char *folder = names_in (s->folder), *other = names_in (s->other), *work = names_in (s->work);
    return g_strjoin ("|", folder, other, work, NULL);
}

static void
assert_names (struct setup *s, const char *expected)
{
    g_autofree char *names = all_names (s);
    g_assert_cmpstr (names, ==, expected);
}

/* Create, write, finish; on failure abort. False: it failed. */
static bool
import (struct setup *s)
{
    g_autoptr (vmf_target) target = open_target (s);
    g_autoptr (GPtrArray) disks = target->ops->create (target, s->vm, s->wishes, 2, NULL, NULL);
    if (disks)
        write_start (((struct vmf_target_disk *)g_ptr_array_index (disks, 1))->path, "new");
    g_autofree char *made = disks ? target->ops->finish (target, s->vm, "<new/>", NULL) : NULL;
    if (made)
        return true;
    g_autoptr (GError) error = NULL;
    target->ops->abort (target, &error);
    g_assert_no_error (error);
    return false;
}

static void
import_in_child (void *data)
{
    import (data);
}

static void
assert_content (const char *folder, const char *name, const char *expected)
{
    g_autofree char *path = g_build_filename (folder, name, NULL), *text = NULL;
    g_assert_true (g_file_get_contents (path, &text, NULL, NULL));
    g_assert_cmpstr (text, ==, expected);
}

static void
put (const char *folder, const char *name, const char *text)
{
    g_autofree char *path = g_build_filename (folder, name, NULL);
    g_assert_true (g_file_set_contents (path, text, -1, NULL));
}

static const char finished[] = "web01-sda.qcow2 web01.xml|web01-sdb.raw|";

static void
makes_images (struct setup *s, const void *data)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (GPtrArray) findings = vmf_findings_new ();
    g_autoptr (vmf_target) target = open_target (s);
    g_assert_true (target->ops->check (target, s->vm, s->wishes, 2, findings, &error));
    assert_not_blocked (findings);
    assert_names (s, "||");
    g_autoptr (GPtrArray) disks = target->ops->create (target, s->vm, s->wishes, 2, NULL, &error);
    g_assert_no_error (error);
    const struct vmf_target_disk *first = g_ptr_array_index (disks, 0), *second = g_ptr_array_index (disks, 1);
    assert_names (s, ".web01-sda.qcow2.vmferry-partial .web01.xml.vmferry-partial|.web01-sdb.raw.vmferry-partial|undo");
    struct stat raw;
    g_assert_cmpint (stat (second->path, &raw), ==, 0);
    g_assert_cmpint (raw.st_size, ==, 3 << 20);
    g_assert_cmpint (raw.st_blocks, ==, 0);
    g_assert_cmpint (raw.st_mode & 0777, ==, 0600);
    g_assert_true (first->fresh && second->fresh);
    g_autofree char *info = output_of ("qemu-img", "info", "--output=json", "-f", "qcow2", first->path, NULL);
    const char *const facts[] = { "\"virtual-size\": 8388608", "\"compat\": \"1.1\"", "\"lazy-refcounts\": false",
                                  "\"cluster-size\": 65536" };
    for (size_t i = 0; i < G_N_ELEMENTS (facts); i++)
        g_assert_nonnull (strstr (info, facts[i]));
    write_start (second->path, "bytes");
    g_autofree char *made = target->ops->finish (target, s->vm, "<domain/>", &error);
    g_assert_no_error (error);
    assert_names (s, finished);
    assert_content (s->folder, "web01.xml", "<domain/>");
    g_assert_true (g_str_has_prefix (made, s->folder) && g_str_has_suffix (made, "/web01.xml"));
    g_assert_true (g_file_test (first->final_path, G_FILE_TEST_IS_REGULAR));
    g_assert_true (g_file_test (second->final_path, G_FILE_TEST_IS_REGULAR));
    g_assert_true (target->ops->abort (target, &error)); /* nothing to abort */
    assert_names (s, finished);
}

static void
preallocates (struct setup *s, const void *data)
{
    s->wishes[0].preallocate = s->wishes[1].preallocate = true;
    g_autoptr (vmf_target) target = open_target (s);
    g_autoptr (GPtrArray) disks = target->ops->create (target, s->vm, s->wishes, 2, NULL, NULL);
    g_assert_nonnull (disks);
    for (guint i = 0; i < 2; i++)
    {
        struct stat info;
        g_assert_cmpint (stat (((struct vmf_target_disk *)g_ptr_array_index (disks, i))->path, &info), ==, 0);
        g_assert_cmpint (info.st_blocks * 512, >=, (int64_t)s->wishes[i].size_bytes);
    }
    g_assert_true (target->ops->abort (target, NULL));
    assert_names (s, "||");
}

static void
makes_the_directory (struct setup *s, const void *data)
{
    g_autofree char *deep = g_build_filename (s->folder, "a", "b", NULL), *a = g_build_filename (s->folder, "a", NULL);
    g_autofree char *was = g_steal_pointer (&s->folder);
    g_autoptr (GPtrArray) findings = vmf_findings_new ();
    s->folder = g_strdup (deep);
    g_autoptr (vmf_target) too_deep = open_target (s);
    g_assert_true (too_deep->ops->check (too_deep, s->vm, s->wishes, 2, findings, NULL));
    assert_finding (findings, VMF_FINDING_BLOCKING, a, "not there", NULL);
    g_free (s->folder);
    s->folder = g_strdup (a);
    g_ptr_array_set_size (findings, 0);
    g_autoptr (vmf_target) target = open_target (s);
    g_assert_true (target->ops->check (target, s->vm, s->wishes, 2, findings, NULL));
    assert_finding (findings, VMF_FINDING_INFO, a, "will be made", NULL);
    assert_not_blocked (findings);
    g_autoptr (GPtrArray) disks = target->ops->create (target, s->vm, s->wishes, 2, NULL, NULL);
    g_assert_true (disks && g_file_test (a, G_FILE_TEST_IS_DIR));
    g_assert_true (target->ops->abort (target, NULL));
    g_assert_false (g_file_test (a, G_FILE_TEST_EXISTS));
    g_free (s->folder);
    s->folder = g_steal_pointer (&was);
}

static void
never_overwrites (struct setup *s, const void *data)
{
    const char *const names[] = { "web01.xml", "web01-sda.qcow2" };
    for (size_t i = 0; i < G_N_ELEMENTS (names); i++)
    {
        g_autoptr (GPtrArray) findings = vmf_findings_new ();
        g_autoptr (GError) error = NULL;
        g_autoptr (vmf_target) target = open_target (s);
        g_autofree char *path = g_build_filename (s->folder, names[i], NULL);
        put (s->folder, names[i], "mine");
        g_assert_true (target->ops->check (target, s->vm, s->wishes, 2, findings, NULL));
        assert_finding (findings, VMF_FINDING_BLOCKING, names[i], "--name", "--replace", NULL);
        g_assert_null (target->ops->create (target, s->vm, s->wishes, 2, NULL, &error));
        g_assert_error (error, VMF_ERROR, VMF_ERROR_EXISTS);
        assert_content (s->folder, names[i], "mine");
        unlink (path);
        assert_names (s, "||");
    }
}

static void
empty_folders (struct setup *s)
{
    char *const folders[] = { s->folder, s->other };
    for (size_t i = 0; i < G_N_ELEMENTS (folders); i++)
    {
        remove_tree (folders[i]);
        g_assert_cmpint (mkdir (folders[i], 0700), ==, 0);
    }
}

/* Somebody else takes the name while the disks are copied. */
static void
loses_the_race_at_finish (struct setup *s, const void *data)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (vmf_target) target = open_target (s);
    g_autoptr (GPtrArray) disks = target->ops->create (target, s->vm, s->wishes, 2, NULL, NULL);
    put (s->folder, "web01.xml", "mine");
    g_assert_null (target->ops->finish (target, s->vm, "<domain/>", &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_EXISTS);
    g_assert_nonnull (strstr (error->message, "somebody else has made it")); /* and what to do */
    g_assert_nonnull (strstr (error->message, "--name"));
    g_assert_true (target->ops->abort (target, NULL));
    assert_names (s, "web01.xml||");
    assert_content (s->folder, "web01.xml", "mine");
}

static void
take_the_name (void *data)
{
    struct setup *s = data;
    g_autofree char *path = g_build_filename (s->folder, "web01-sda.qcow2", NULL);
    int fd = open (path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    s->took = fd >= 0;
    if (fd >= 0)
        close (fd);
}

/* The same at every step, between our look and our rename too: what somebody else made is never renamed over. */
static void
loses_the_race_at_each_step (struct setup *s, const void *data)
{
    unsigned steps = 0, lost = 0;
    for (bool seen = true; seen;)
    {
        g_autofree char *path = g_build_filename (s->folder, "web01-sda.qcow2", NULL);
        struct stat info;
        empty_folders (s);
        s->took = false;
        faults = (struct faults){ .hook_at = ++steps, .hook = take_the_name, .hook_data = s };
        bool good = import (s);
        seen = faults.calls >= steps;
        faults = (struct faults){ 0 };
        g_assert_cmpint (stat (path, &info), ==, 0);
        g_assert_true ((info.st_size > 0) == !s->took);
        g_assert_true (good == !s->took);
        lost += !good;
    }
    g_assert_cmpuint (lost, >, 5);
}

static void
two_imports_of_one_name (struct setup *s, const void *data)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (vmf_target) first = open_target (s);
    g_autoptr (GPtrArray) disks = first->ops->create (first, s->vm, s->wishes, 2, NULL, NULL);
    g_autofree char *first_work = g_steal_pointer (&s->work);
    s->work = new_folder ();
    s->wishes[0].format = "raw"; /* other file names, but the same XML */
    s->wishes[1].pool = NULL;
    s->replace = true;
    g_autoptr (vmf_target) second = open_target (s);
    g_assert_null (second->ops->create (second, s->vm, s->wishes, 2, NULL, &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_EXISTS);
    g_assert_nonnull (strstr (error->message, "another import is making web01.xml"));
    g_assert_nonnull (strstr (error->message, first_work));
    g_autoptr (GPtrArray) findings = vmf_findings_new ();
    g_assert_true (second->ops->check (second, s->vm, s->wishes, 2, findings, NULL));
    assert_finding (findings, VMF_FINDING_BLOCKING, first_work, "just now", NULL);
    g_assert_true (second->ops->abort (second, NULL));
    g_autofree char *made = first->ops->finish (first, s->vm, "<domain/>", NULL);
    g_assert_nonnull (made);
    assert_names (s, finished);
    remove_tree (first_work);
}

static void
put_old (struct setup *s)
{
    put (s->folder, "web01.xml", "old xml");
    put (s->folder, "web01-sda.qcow2", "old sda");
    put (s->other, "web01-sdb.raw", "old sdb");
    s->replace = true;
}

/* As a running VM has its disk open; READ_ONLY: as one has its overlay's backing file. */
static struct vmf_child *
open_as_vm (struct setup *s, const char *path, bool read_only)
{
    g_autofree char *node = g_strdup_printf ("driver=file,node-name=f,filename=%s", path);
    g_autofree char *pid = g_build_filename (s->work, "pid", NULL), *socket = g_build_filename (s->work, "s", NULL);
    g_autofree char *server = g_strdup_printf ("addr.type=unix,addr.path=%s", socket);
    g_autofree char *export = g_strdup_printf ("type=nbd,id=e,node-name=f,writable=%s", read_only ? "off" : "on");
    const char *argv[] = { "qemu-storage-daemon", "--blockdev", node, "--nbd-server", server, "--export", export,
                           "--pidfile",           pid,          NULL };
    struct vmf_child_options options = { .argv = argv };
    struct vmf_child *child = vmf_child_start (&options, NULL);
    g_assert_nonnull (child);
    g_assert_true (vmf_child_wait_for_path (child, pid, NULL, NULL));
    unlink (pid);
    unlink (socket);
    return child;
}

/* A disk that a VM has open would be deleted beneath it. */
static void
never_replaces_what_is_in_use (struct setup *s, const void *data)
{
    for (int read_only = 0; read_only < 2; read_only++)
    {
        g_autoptr (GError) error = NULL;
        g_autoptr (GPtrArray) findings = vmf_findings_new ();
        g_autofree char *path = g_build_filename (s->other, "web01-sdb.raw", NULL);
        put_old (s);
        g_autoptr (vmf_target) target = open_target (s);
        g_assert_cmpint (truncate (path, 1 << 20), ==, 0);
        g_autoptr (vmf_target) late = open_target (s);
        g_autoptr (GPtrArray) disks = late->ops->create (late, s->vm, s->wishes, 2, NULL, &error);
        g_assert_no_error (error);
        g_autoptr (vmf_child) vm = open_as_vm (s, path, read_only != 0);
        g_assert_null (late->ops->finish (late, s->vm, "<new/>", &error));
        g_assert_nonnull (strstr (error->message, "a running VM uses it"));
        g_assert_true (late->ops->abort (late, NULL));
        g_assert_true (target->ops->check (target, s->vm, s->wishes, 2, findings, NULL));
        assert_finding (findings, VMF_FINDING_BLOCKING, "web01-sdb.raw", "a running VM uses it", NULL);
        assert_content (s->folder, "web01.xml", "old xml");
        assert_names (s, finished);
    }
}

/* What an earlier --replace could not delete is in the way at the end, so it is said at the start. */
static void
says_that_an_old_file_is_left (struct setup *s, const void *data)
{
    g_autoptr (GPtrArray) findings = vmf_findings_new ();
    put_old (s);
    put (s->folder, ".web01.xml.vmferry-old", "older xml");
    g_autoptr (vmf_target) target = open_target (s);
    g_assert_true (target->ops->check (target, s->vm, s->wishes, 2, findings, NULL));
    assert_finding (findings, VMF_FINDING_BLOCKING, ".web01.xml.vmferry-old", "vmferry clean", NULL);
}

static void
mount_over_old (void *data)
{
    struct setup *s = data;
    g_autofree char *old = g_build_filename (s->folder, ".web01.xml.vmferry-old", NULL);
    g_assert_cmpint (mount (old, old, NULL, MS_BIND, NULL), ==, 0); /* unlink() is EBUSY then */
}

static void
says_what_it_could_not_delete (struct setup *s, const void *data)
{
    if (geteuid () != 0 || unshare (CLONE_NEWNS) != 0)
        return g_test_skip ("this mounts something, which needs root");
    g_assert_cmpint (mount ("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), ==, 0);
    g_autofree char *old = g_build_filename (s->folder, ".web01.xml.vmferry-old", NULL);
    put_old (s);
    faults = (struct faults){ 0 };
    g_assert_true (import (s));
    unsigned all = faults.calls;
    put_old (s);
    faults = (struct faults){ .hook_at = all, .hook = mount_over_old, .hook_data = s };
    g_autoptr (vmf_target) target = open_target (s);
    g_autoptr (GPtrArray) disks = target->ops->create (target, s->vm, s->wishes, 2, NULL, NULL);
    write_start (((struct vmf_target_disk *)g_ptr_array_index (disks, 1))->path, "new");
    g_autofree char *made = target->ops->finish (target, s->vm, "<new/>", NULL);
    faults = (struct faults){ 0 };
    g_assert_nonnull (made);
    g_assert_nonnull (target->remains);
    g_assert_nonnull (strstr (target->remains, old));
    g_assert_cmpint (umount2 (old, MNT_DETACH), ==, 0);
    g_assert_true (vmf_target_undo_leftovers (s->work, NULL, NULL));
    assert_names (s, finished);
}

/* Everything as before, or all of the new; nothing besides. True: the new. */
static bool
assert_old_or_new (struct setup *s)
{
    g_autofree char *names = all_names (s), *xml_path = g_build_filename (s->folder, "web01.xml", NULL), *xml = NULL;
    if (!s->replace && strcmp (names, "||") == 0)
        return false;
    g_assert_cmpstr (names, ==, finished);
    g_assert_true (g_file_get_contents (xml_path, &xml, NULL, NULL));
    if (s->replace && strcmp (xml, "old xml") == 0)
    {
        assert_content (s->folder, "web01-sda.qcow2", "old sda");
        assert_content (s->other, "web01-sdb.raw", "old sdb");
        return false;
    }
    g_assert_cmpstr (xml, ==, "<new/>");
    g_autofree char *raw = g_build_filename (s->other, "web01-sdb.raw", NULL);
    g_autofree char *qcow = g_build_filename (s->folder, "web01-sda.qcow2", NULL), *bytes = NULL, *magic = NULL;
    gsize length;
    g_assert_true (g_file_get_contents (raw, &bytes, &length, NULL) && g_file_get_contents (qcow, &magic, NULL, NULL));
    g_assert_cmpuint (length, ==, 3 << 20);
    g_assert_cmpmem (bytes, 3, "new", 3);
    g_assert_cmpmem (magic, 4, "QFI\xfb", 4);
    return true;
}

/* B14, and row 5 of the shown-by list: SIGKILL before and behind every step, then what the next start does. */
static void
killed_at_each_step (struct setup *s, const void *data)
{
    bool replace = data != NULL, killed = true;
    unsigned steps = 0, with_old = 0, with_new = 0;
    while (killed)
    {
        g_autoptr (GError) error = NULL;
        empty_folders (s);
        if (replace)
            put_old (s);
        killed = dies_at (++steps, import_in_child, s);
        vmf_target_undo_leftovers (s->work, NULL, &error);
        g_assert_no_error (error);
        bool is_new = assert_old_or_new (s);
        with_old += killed && !is_new;
        with_new += killed && is_new;
    }
    g_test_message ("%u steps; the old stood after %u kills, the new after %u", steps, with_old, with_new);
    g_assert_cmpuint (with_old, >, 10);
    g_assert_cmpuint (with_new, >, 0);
}

static void
fails_at_each_step (struct setup *s, const void *data)
{
    bool good = false;
    unsigned steps = 0;
    while (!good)
    {
        empty_folders (s);
        if (data)
            put_old (s);
        faults = (struct faults){ .fail_at = ++steps, .fail_errno = EIO };
        good = import (s);
        bool seen = faults.calls >= steps;
        faults = (struct faults){ 0 };
        g_assert_true (assert_old_or_new (s) == good);
        g_assert_true (good == !seen);
    }
    g_assert_cmpuint (steps, >, 10);
}

/* What lies under our name but is not what we made stays, and is named. */
static void
leaves_what_is_not_ours (struct setup *s, const void *data)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (GPtrArray) removed = g_ptr_array_new_with_free_func (g_free);
    g_autoptr (vmf_target) target = open_target (s);
    g_autoptr (GPtrArray) disks = target->ops->create (target, s->vm, s->wishes, 2, NULL, NULL);
    const struct vmf_target_disk *disk = g_ptr_array_index (disks, 0);
    unlink (disk->path);
    g_assert_true (g_file_set_contents (disk->path, "somebody's", -1, NULL));
    g_assert_true (vmf_target_undo_leftovers (s->work, removed, &error));
    assert_names (s, ".web01-sda.qcow2.vmferry-partial||");
    bool named = false;
    for (guint i = 0; i < removed->len; i++)
    {
        const char *line = g_ptr_array_index (removed, i);
        named = named || (strstr (line, disk->path) && strstr (line, "left alone"));
    }
    g_assert_true (named);
}

/* Killed between the line and the file, then somebody makes a file of that name: only an empty one may go. */
static void
leaves_what_came_after (struct setup *s, const void *data)
{
    unsigned n = 0;
    for (bool hit = false; !hit; n++)
    {
        g_autofree char *list = g_build_filename (s->work, "undo", NULL), *text = NULL;
        empty_folders (s);
        g_assert_true (dies_at (n + 1, import_in_child, s));
        const char *line = g_file_get_contents (list, &text, NULL, NULL) ? strstr (text, "sda.qcow2") : NULL;
        hit = line && !strstr (line, "did");
        if (!hit)
            g_assert_true (vmf_target_undo_leftovers (s->work, NULL, NULL));
    }
    g_autofree char *before = names_in (s->folder);
    put (s->folder, ".web01-sda.qcow2.vmferry-partial", "somebody's");
    g_assert_true (vmf_target_undo_leftovers (s->work, NULL, NULL));
    g_assert_cmpstr (before, ==, ".web01.xml.vmferry-partial");
    assert_names (s, ".web01-sda.qcow2.vmferry-partial||");
}

static void
claim_the_name (void *data)
{
    struct setup *s = data;
    g_autofree char *path = g_build_filename (s->folder, ".web01.xml.vmferry-partial", NULL);
    int fd = open (path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    s->took = fd >= 0;
    if (fd >= 0)
        close (fd);
}

/* Another import was quicker with the name, at any step: its file is not taken away, empty as it is at first. */
static void
loses_the_name_at_each_step (struct setup *s, const void *data)
{
    unsigned lost = 0, step = 0;
    for (bool seen = true; seen;)
    {
        empty_folders (s);
        s->took = false;
        faults = (struct faults){ .hook_at = ++step, .hook = claim_the_name, .hook_data = s };
        bool good = import (s);
        seen = faults.calls >= step;
        faults = (struct faults){ 0 };
        g_autofree char *partial = g_build_filename (s->folder, ".web01.xml.vmferry-partial", NULL);
        g_assert_true (g_file_test (partial, G_FILE_TEST_EXISTS) == s->took);
        lost += !good;
    }
    g_assert_cmpuint (lost, >, 0);
}

/* Another import of the name ends between our look and our claim: that is found now, not at the end of the copy. */
static void
finds_what_came_before_its_claim (struct setup *s, const void *data)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (vmf_target) target = open_target (s);
    faults = (struct faults){ .hook_at = 1, .hook = take_the_name, .hook_data = s };
    GPtrArray *disks = target->ops->create (target, s->vm, s->wishes, 2, NULL, &error);
    faults = (struct faults){ 0 };
    g_assert_true (s->took);
    g_assert_null (disks);
    g_assert_error (error, VMF_ERROR, VMF_ERROR_EXISTS);
    g_assert_true (target->ops->abort (target, NULL));
    assert_names (s, "web01-sda.qcow2||");
}

/* The claim of an import that was killed: a new one is told whose it is, and that one can be cleared or go on. */
static void
says_whose_dead_claim_it_is (struct setup *s, const void *data)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (GPtrArray) findings = vmf_findings_new ();
    unsigned n = 1;
    g_autofree char *dead_work = g_strdup (s->work), *names = NULL;
    while (!names || !strstr (names, "sdb.raw"))
    {
        g_free (names);
        g_assert_true (vmf_target_undo_leftovers (s->work, NULL, &error));
        g_assert_true (dies_at (n++, import_in_child, s));
        names = all_names (s);
    }
    s->work = (g_free (s->work), new_folder ());
    g_autoptr (vmf_target) target = open_target (s);
    g_assert_true (target->ops->check (target, s->vm, s->wishes, 2, findings, NULL));
    g_autofree char *go_on = g_strdup_printf ("vmferry import --resume %s'", dead_work);
    g_autofree char *clear = g_strdup_printf ("vmferry clean --work %s'", dead_work);
    assert_finding (findings, VMF_FINDING_BLOCKING, go_on, clear, NULL);
    g_assert_true (vmf_target_undo_leftovers (dead_work, NULL, &error));
    g_assert_true (import (s));
    assert_names (s, finished);
    remove_tree (dead_work);
}

enum
{
    RIVALS = 4,
    RACES = 25,
};

/* One of several that start at once: 0 where it won, 1 where it was told who did. */
static int
race (struct setup *s, unsigned number, int start_fd)
{
    g_autoptr (GError) error = NULL;
    char byte;
    g_autofree char *works = g_steal_pointer (&s->work);
    s->work = g_strdup_printf ("%s/%u", works, number);
    g_mkdir (s->work, 0700);
    g_autoptr (vmf_target) target = open_target (s);
    if (read (start_fd, &byte, 1) != 0) /* ends when the parent closes it */
        return 2;
    g_autoptr (GPtrArray) disks = target->ops->create (target, s->vm, s->wishes, 2, NULL, &error);
    if (disks)
        return target->ops->finish (target, s->vm, "<new/>", NULL) ? 0 : 2;
    bool told = g_error_matches (error, VMF_ERROR, VMF_ERROR_EXISTS);
    return target->ops->abort (target, NULL) && told ? 1 : 2;
}

static void
one_of_several_wins (struct setup *s, const void *data)
{
    for (unsigned n = 0; n < RACES; n++)
    {
        int start[2], won = 0, status;
        pid_t rivals[RIVALS];
        empty_folders (s);
        g_assert_true (g_unix_open_pipe (start, FD_CLOEXEC, NULL));
        for (unsigned i = 0; i < RIVALS; i++)
            if ((rivals[i] = fork ()) == 0)
            {
                close (start[1]);
                _exit (race (s, i, start[0]));
            }
        close (start[0]);
        close (start[1]);
        for (unsigned i = 0; i < RIVALS; i++)
        {
            g_assert_cmpint (waitpid (rivals[i], &status, 0), ==, rivals[i]);
            g_assert_true (WIFEXITED (status) && WEXITSTATUS (status) < 2);
            won += WEXITSTATUS (status) == 0;
        }
        g_assert_cmpint (won, ==, 1);
        g_autofree char *folder = names_in (s->folder), *other = names_in (s->other);
        g_assert_cmpstr (folder, ==, "web01-sda.qcow2 web01.xml");
        g_assert_cmpstr (other, ==, "web01-sdb.raw");
        remove_tree (s->work);
        g_mkdir (s->work, 0700);
    }
}

static void
cancelled (struct setup *s, const void *data)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (GCancellable) cancellable = g_cancellable_new ();
    g_autoptr (vmf_target) target = open_target (s);
    g_cancellable_cancel (cancellable);
    g_assert_null (target->ops->create (target, s->vm, s->wishes, 2, cancellable, &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_CANCELLED);
    g_assert_true (target->ops->abort (target, NULL));
    assert_names (s, "||");
}

static void
damaged_list_is_said (struct setup *s, const void *data)
{
    g_autoptr (GError) error = NULL;
    put (s->work, "undo", "{\"do\":\"file\",\"path\":\"/x\"}\nnonsense\n");
    g_assert_false (vmf_target_undo_leftovers (s->work, NULL, &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_CORRUPT);
    g_assert_nonnull (strstr (error->message, "line 2"));
}

/* PITFALLS 40: a small file system, and two disks that only together are too large for it. */
static void
space (struct setup *s, const void *data)
{
    if (unshare (CLONE_NEWNS) != 0 || mount ("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0
        || mount ("tmpfs", s->folder, "tmpfs", 0, "size=8m") != 0)
        return g_test_skip ("a small file system can be mounted by root only");
    g_autofree char *sub = g_build_filename (s->folder, "sub", NULL);
    g_autoptr (GPtrArray) findings = vmf_findings_new ();
    g_autoptr (GError) error = NULL;
    g_autoptr (vmf_target) target = open_target (s);
    s->wishes[0] = (struct vmf_target_disk_wish){ .format = "raw", .size_bytes = 5 << 20 };
    s->wishes[1] = (struct vmf_target_disk_wish){ .format = "raw", .size_bytes = 5 << 20, .pool = sub };
    g_assert_true (target->ops->check (target, s->vm, s->wishes, 2, findings, NULL));
    assert_finding (findings, VMF_FINDING_BLOCKING, "8.0 MiB free", "10.0 MiB", NULL);
    g_ptr_array_set_size (findings, 0);
    s->wishes[1].expected_bytes = 1 << 20;
    g_assert_true (target->ops->check (target, s->vm, s->wishes, 2, findings, NULL));
    assert_not_blocked (findings);
    s->wishes[0].preallocate = s->wishes[1].preallocate = true;
    g_assert_null (target->ops->create (target, s->vm, s->wishes, 2, NULL, &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_NO_SPACE);
    g_assert_true (target->ops->abort (target, NULL));
    assert_names (s, "||");
    umount2 (s->folder, MNT_DETACH);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
#define ADD(path, data, function) g_test_add (path, struct setup, data, set_up, function, tear_down)
    ADD ("/target/directory/makes-images", NULL, makes_images);
    ADD ("/target/directory/preallocates", NULL, preallocates);
    ADD ("/target/directory/makes-the-directory", NULL, makes_the_directory);
    ADD ("/target/directory/never-overwrites", NULL, never_overwrites);
    ADD ("/target/directory/loses-the-race-at-finish", NULL, loses_the_race_at_finish);
    ADD ("/target/directory/loses-the-race-at-each-step", NULL, loses_the_race_at_each_step);
    ADD ("/target/directory/two-imports-of-one-name", NULL, two_imports_of_one_name);
    ADD ("/target/directory/loses-the-name-at-each-step", NULL, loses_the_name_at_each_step);
    ADD ("/target/directory/finds-what-came-before-its-claim", NULL, finds_what_came_before_its_claim);
    ADD ("/target/directory/says-whose-dead-claim-it-is", NULL, says_whose_dead_claim_it_is);
    ADD ("/target/directory/one-of-several-wins", NULL, one_of_several_wins);
    ADD ("/target/directory/never-replaces-what-is-in-use", NULL, never_replaces_what_is_in_use);
    ADD ("/target/directory/says-that-an-old-file-is-left", NULL, says_that_an_old_file_is_left);
    ADD ("/target/directory/says-what-it-could-not-delete", NULL, says_what_it_could_not_delete);
    ADD ("/target/directory/killed-at-each-step", NULL, killed_at_each_step);
    ADD ("/target/directory/killed-at-each-step-of-a-replace", "replace", killed_at_each_step);
    ADD ("/target/directory/fails-at-each-step", NULL, fails_at_each_step);
    ADD ("/target/directory/fails-at-each-step-of-a-replace", "replace", fails_at_each_step);
    ADD ("/target/directory/leaves-what-is-not-ours", NULL, leaves_what_is_not_ours);
    ADD ("/target/directory/leaves-what-came-after", NULL, leaves_what_came_after);
    ADD ("/target/directory/cancelled", NULL, cancelled);
    ADD ("/target/directory/damaged-list-is-said", NULL, damaged_list_is_said);
    ADD ("/target/directory/space", NULL, space);
    return g_test_run ();
}
