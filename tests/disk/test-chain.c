/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The chain of DESIGN idea 3 with real daemons, a mover and a "conversion" that writes through the overlay's port. */
#include "base/error.h"
#include "disk/chain.h"
#include "disk/mover-covered.h"
#include "disk/mover.h"
#include "disk/nbd.h"
#include "disk/zero.h"
#include "fixture.h"
#include <jansson.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

enum
{
    SIZE = 24 * 1024 * 1024,
    PORT = 10809,
};

struct setting
{
    char *folder, *source, *source_socket, *source_uri, *target;
    struct vmf_room *room;
    struct vmf_child *server;
    struct vmf_chain_options options;
    struct vmf_mover_progress progress;
};

static void
set_up (struct setting *s, const char *format)
{
    GError *error = NULL;
    *s = (struct setting){ .folder = fixture_folder () };
    s->source = g_build_filename (s->folder, "source.raw", NULL);
    s->target = g_build_filename (s->folder, "target", NULL);
    s->source_socket = g_build_filename (s->folder, "s", NULL);
    s->source_uri = g_strconcat ("nbd+unix:///?socket=", s->source_socket, NULL);
    fixture_image (s->source, SIZE);
    g_autofree char *done = fixture_run ("qemu-img", "create", "-q", "-f", format, s->target, "24M", NULL);
    s->server = fixture_nbdkit (s->source_socket, "-r", "file", s->source, NULL);
    s->room = vmf_room_new (&error);
    g_assert_no_error (error);
    s->options = (struct vmf_chain_options){ .name = "sda",
                                             .work_dir = s->folder,
                                             .room = s->room,
                                             .target_path = s->target,
                                             .target_format = format,
                                             .size_bytes = SIZE,
                                             .source_socket = s->source_socket,
                                             .overlay_port = PORT };
}

static void
tear_down (struct setting *s)
{
    vmf_child_free (s->server);
    vmf_room_free (s->room);
    g_free (s->source);
    g_free (s->target);
    g_free (s->source_socket);
    g_free (s->source_uri);
    fixture_remove (s->folder);
}

static void
copy (struct setting *s, struct vmf_chain *chain)
{
    GError *error = NULL;
    g_autoptr (vmf_extents) all = vmf_extents_new ();
    vmf_extents_add (all, 0, SIZE);
    struct vmf_mover_options options = { .name = "sda",
                                         .source_uri = s->source_uri,
                                         .target_uri = vmf_chain_get_target_uri (chain),
                                         .size_bytes = SIZE,
                                         .needed = all,
                                         .skip_present = true,
                                         .progress = &s->progress };
    g_autoptr (vmf_mover) mover = vmf_mover_new (&options);
    vmf_mover_run (mover, &error);
    g_assert_no_error (error);
}

/* The conversion's part, inside the room where the port is. */
static char *
in_room (struct setting *s, const char *command)
{
    GError *error = NULL;
    const char *argv[] = { "qemu-io", "-f", "raw", "-c", command, "nbd://localhost:10809", NULL };
    struct vmf_child_options options = { .argv = argv, .room = s->room, .flags = VMF_CHILD_CAGE };
    char *output = vmf_child_run (&options, 0, NULL, &error);
    g_assert_no_error (error);
    return output;
}

static void
commit (struct vmf_chain *chain)
{
    GError *error = NULL;
    bool done = false;
    uint64_t overlay, written, total;
    vmf_chain_commit_start (chain, &overlay, &error);
    g_assert_no_error (error);
    while (!done)
    {
        vmf_chain_commit_poll (chain, &done, &written, &total, &error);
        g_assert_no_error (error);
        g_usleep (5000);
    }
    vmf_chain_close (chain, NULL, &error);
    g_assert_no_error (error);
}

/* What QEMU's own program says is in the overlay. */
static uint64_t
mapped_by_qemu (const char *overlay)
{
    g_autofree char *text = fixture_run ("qemu-img", "map", "-U", "--output=json", "-f", "qcow2", overlay, NULL);
    json_t *map = json_loads (text, 0, NULL), *one;
    uint64_t bytes = 0;
    size_t i;
    json_array_foreach (map, i, one)
    {
        bytes +=
            json_is_true (json_object_get (one, "present")) ? json_integer_value (json_object_get (one, "length")) : 0;
    }
    json_decref (map);
    return bytes;
}

static bool
has (const struct vmf_extents *set, uint64_t offset, uint64_t length)
{
    struct vmf_extent found;
    return vmf_extents_next (set, offset, &found) && found.offset == offset && found.length >= length;
}

/* A pass over what is left when the conversion has written 128 KiB at 1 MiB and freed 512 KiB at 3 MiB. */
static void
copy_rest (struct setting *s, struct vmf_chain *chain, struct vmf_journal *journal)
{
    GError *error = NULL;
    const char *overlay = vmf_chain_get_overlay_path (chain);
    g_autoptr (vmf_extents) all = vmf_extents_new (), dropped = vmf_extents_new ();
    vmf_extents_add (all, 0, SIZE);
    struct vmf_mover_options options = { .name = "sda",
                                         .source_uri = s->source_uri,
                                         .target_uri = vmf_chain_get_target_uri (chain),
                                         .size_bytes = SIZE,
                                         .needed = all,
                                         .skip_present = true,
                                         .journal = journal,
                                         .pass = 1,
                                         .progress = &s->progress };
    g_autoptr (vmf_mover) mover = vmf_mover_new (&options);
    vmf_covered_drop (mover, overlay, SIZE, dropped, &error);
    g_assert_no_error (error);
    g_assert_cmpuint (vmf_extents_total (dropped), ==, 640 * 1024);
    g_assert_cmpuint (vmf_extents_total (dropped), ==, mapped_by_qemu (overlay));
    g_assert_true (has (dropped, 1 << 20, 128 * 1024) && has (dropped, 3 << 20, 512 * 1024));
    vmf_mover_run (mover, &error);
    g_assert_no_error (error);
}

/* X1: what the conversion has written or freed before it was read is not read; the overlay covers it at the end, and
   the journal does not call it done, for a new overlay would not cover it. */
static void
test_covered_is_not_read (const void *format)
{
    struct setting s;
    GError *error = NULL;
    set_up (&s, format);
    g_autofree char *path = g_build_filename (s.folder, "sda.journal", NULL);
    struct vmf_journal_subject subject = { "source", "target", format, SIZE };
    struct vmf_journal *journal = vmf_journal_open (path, &subject, &error);
    vmf_journal_begin (journal, &subject, &error);
    g_autoptr (vmf_chain) chain = vmf_chain_start (&s.options, NULL, &error);
    g_assert_no_error (error);
    g_autofree char *first = in_room (&s, "write -P 0x5a 1M 128k");
    g_autofree char *second = in_room (&s, "discard 3M 512k");
    g_autofree char *third = in_room (&s, "flush");
    copy_rest (&s, chain, journal);
    g_assert_cmpuint (s.progress.read, ==, SIZE / 2 - 640 * 1024);
    g_assert_cmpuint (s.progress.needed, ==, SIZE - 640 * 1024);
    g_assert_cmpuint (s.progress.done, ==, s.progress.needed);
    vmf_journal_free (journal);
    g_autoptr (vmf_journal) again = vmf_journal_open (path, &subject, &error);
    g_assert_no_error (error);
    g_autoptr (vmf_extents) done = vmf_journal_done (again, 1);
    g_assert_true (has (done, 0, 1 << 20) && has (done, (1 << 20) + 128 * 1024, 512 * 1024));
    g_assert_false (has (done, 1 << 20, 1) || has (done, (1 << 20) + 64 * 1024, 1) || has (done, 3 << 20, 1)
                    || has (done, (3 << 20) + 448 * 1024, 1));
    vmf_chain_release_source (chain, &s.options, &error);
    g_assert_no_error (error);
    commit (chain);
    g_autofree char *expected =
        fixture_run ("qemu-io", "-f", "raw", "-c", "write -P 0x5a 1M 128k", "-c", "write -z 3M 512k", s.source, NULL);
    g_autofree char *same = fixture_run ("qemu-img", "compare", "-f", "raw", "-F", format, s.source, s.target, NULL);
    g_clear_pointer (&chain, vmf_chain_free);
    tear_down (&s);
}

/* A file that is no overlay of this disk drops nothing. */
static void
test_not_an_overlay (void)
{
    char *folder = fixture_folder ();
    g_autofree char *path = g_build_filename (folder, "o", NULL);
    g_autoptr (vmf_extents) covered = vmf_extents_new ();
    const char *const makes[][2] = { { "cluster_size=4k", "24M" },
                                     { "extended_l2=on,cluster_size=64k", "24M" },
                                     { "cluster_size=64k", "23M" } };
    for (size_t i = 0; i < G_N_ELEMENTS (makes); i++)
    {
        GError *error = NULL;
        g_autofree char *made =
            fixture_run ("qemu-img", "create", "-q", "-f", "qcow2", "-o", makes[i][0], path, makes[i][1], NULL);
        g_assert_false (vmf_covered_read (path, SIZE, covered, &error));
        g_assert_error (error, VMF_ERROR, VMF_ERROR_CORRUPT);
        g_clear_error (&error);
    }
    g_assert_cmpuint (vmf_extents_count (covered), ==, 0);
    fixture_remove (folder);
}

/* A4 and PITFALLS 47: the guest is written and trimmed while it is copied; what counts at the end is the conversion's.
 */
static void
test_convert_beside_copy (const void *format)
{
    struct setting s;
    GError *error = NULL;
    set_up (&s, format);
    g_autoptr (vmf_chain) chain = vmf_chain_start (&s.options, NULL, &error);
    g_assert_no_error (error);
    g_autofree char *first = in_room (&s, "read 0 64k");
    g_autofree char *second = in_room (&s, "write -P 0x5a 1M 128k");
    copy (&s, chain);
    g_assert_cmpuint (s.progress.here, >=, 64 * 1024); /* what was read through the overlay did not cross twice */
    vmf_chain_release_source (chain, &s.options, &error);
    g_assert_no_error (error);
    g_clear_pointer (&s.server, vmf_child_free); /* the source is gone; the conversion goes on */
    g_autofree char *third = in_room (&s, "write -P 0x77 2M 64k");
    g_autofree char *fourth = in_room (&s, "discard 3M 512k");
    g_autofree char *fifth = in_room (&s, "write -z 4M 256k");
    commit (chain);
    /* The same done to a copy of the source by QEMU alone. */
    g_autofree char *expected =
        fixture_run ("qemu-io", "-f", "raw", "-c", "write -P 0x5a 1M 128k", "-c", "write -P 0x77 2M 64k", "-c",
                     "write -z 3M 512k", "-c", "write -z 4M 256k", s.source, NULL);
    g_autofree char *same = fixture_run ("qemu-img", "compare", "-f", "raw", "-F", format, s.source, s.target, NULL);
    g_autofree char *left = fixture_run ("find", s.folder, "-name", "sda-*", NULL);
    g_clear_pointer (&chain, vmf_chain_free);
    tear_down (&s);
}

/* B14: freed in the middle, it leaves no process and no temporary file. */
static void
test_abandon (void)
{
    struct setting s;
    GError *error = NULL;
    set_up (&s, "raw");
    struct vmf_chain *chain = vmf_chain_start (&s.options, NULL, &error);
    g_assert_no_error (error);
    vmf_chain_free (chain);
    g_autofree char *left = fixture_run ("find", s.folder, "-name", "sda-*", NULL);
    g_assert_cmpstr (left, ==, "");
    tear_down (&s);
}

static void
test_target_missing (void)
{
    struct setting s;
    GError *error = NULL;
    set_up (&s, "qcow2");
    s.options.target_path = "/nonexistent/target";
    g_assert_null (vmf_chain_start (&s.options, NULL, &error));
    g_assert_nonnull (strstr (error->message, "cannot set up sda at /nonexistent/target"));
    g_clear_error (&error);
    tear_down (&s);
}

/* A commit that fails is an error, and never taken for one that has ended: the target is smaller than what comes. */
static void
test_commit_fails (const void *format)
{
    struct setting s;
    GError *error = NULL;
    struct rlimit before, small;
    bool done = false;
    uint64_t overlay, written, total;
    g_assert_cmpint (getrlimit (RLIMIT_FSIZE, &before), ==, 0);
    small = (struct rlimit){ 16 * 1024 * 1024, before.rlim_max };
    set_up (&s, format);
    signal (SIGXFSZ, SIG_IGN); /* the daemon inherits both */
    g_assert_cmpint (setrlimit (RLIMIT_FSIZE, &small), ==, 0);
    g_autoptr (vmf_chain) chain = vmf_chain_start (&s.options, NULL, &error);
    g_assert_no_error (error);
    setrlimit (RLIMIT_FSIZE, &before);
    signal (SIGXFSZ, SIG_DFL);
    g_autofree char *copied = in_room (&s, "read 0 24M");           /* 12 MiB of data come to the target */
    g_autofree char *changed = in_room (&s, "write -P 0x5a 0 12M"); /* 6 MiB of it where the target has nothing */
    g_assert_true (vmf_chain_release_source (chain, &s.options, &error));
    g_assert_true (vmf_chain_commit_start (chain, &overlay, &error));
    while (!done && vmf_chain_commit_poll (chain, &done, &written, &total, &error))
        g_usleep (5000);
    g_assert_false (done);
    g_assert_error (error, VMF_ERROR, VMF_ERROR_FAILED);
    g_assert_nonnull (strstr (error->message, "committing the conversion of sda"));
    g_clear_error (&error);
    g_clear_pointer (&chain, vmf_chain_free);
    tear_down (&s);
}

/* --preallocate: what is asked of the target while it is filled is not hidden by its being allocated, and at the end
   its file has all the space that it can ever need. */
static void
test_preallocate (const void *format)
{
    struct setting s;
    GError *error = NULL;
    struct stat info;
    set_up (&s, format);
    s.options.preallocate = true;
    g_autoptr (vmf_chain) chain = vmf_chain_start (&s.options, NULL, &error);
    g_assert_no_error (error);
    copy (&s, chain);
    vmf_chain_release_source (chain, &s.options, &error);
    g_assert_no_error (error);
    g_autofree char *discarded = in_room (&s, "discard 3M 512k");
    commit (chain);
    g_autofree char *same_done = fixture_run ("qemu-io", "-f", "raw", "-c", "write -z 3M 512k", s.source, NULL);
    g_autofree char *same = fixture_run ("qemu-img", "compare", "-f", "raw", "-F", format, s.source, s.target, NULL);
    g_autofree char *checked = strcmp (format, "qcow2") == 0 ? fixture_run ("qemu-img", "check", s.target, NULL) : NULL;
    g_assert_cmpint (stat (s.target, &info), ==, 0);
    g_assert_cmpint ((int64_t)info.st_blocks * 512, >=, SIZE);
    g_clear_pointer (&chain, vmf_chain_free);
    tear_down (&s);
}

/* A VM's name with what QEMU takes for another option. */
static void
test_comma_in_name (void)
{
    struct setting s;
    GError *error = NULL;
    set_up (&s, "raw");
    g_autofree char *odd = g_build_filename (s.folder, "web,backing_file=x,data_file_raw=on.raw", NULL);
    g_assert_cmpint (g_rename (s.target, odd), ==, 0);
    s.options.target_path = odd;
    g_autoptr (vmf_chain) chain = vmf_chain_start (&s.options, NULL, &error);
    g_assert_no_error (error);
    copy (&s, chain);
    commit (chain);
    g_autofree char *same = fixture_run ("qemu-img", "compare", "-f", "raw", "-F", "raw", s.source, odd, NULL);
    g_clear_pointer (&chain, vmf_chain_free);
    tear_down (&s);
}

/* Clearing a used volume may take an hour; Ctrl-C ends it. */
static void
test_zero_cancel (void)
{
    g_autofree char *folder = fixture_folder (), *path = g_build_filename (folder, "used.raw", NULL);
    g_autoptr (GError) error = NULL;
    g_autoptr (GCancellable) cancellable = g_cancellable_new ();
    g_autoptr (vmf_extents) all = vmf_extents_new ();
    vmf_extents_add (all, 0, SIZE);
    fixture_image (path, SIZE);
    g_cancellable_cancel (cancellable);
    g_assert_false (vmf_zero_punch (path, all, cancellable, &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_CANCELLED);
    g_clear_error (&error);
    g_assert_true (vmf_zero_punch (path, all, NULL, &error));
    g_autofree char *bytes = NULL;
    gsize length;
    g_assert_true (g_file_get_contents (path, &bytes, &length, NULL));
    g_assert_cmpuint (length, ==, SIZE);
    g_assert_true (vmf_zero_is (bytes, length));
    fixture_remove (g_steal_pointer (&folder));
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_data_func ("/disk/chain/A4-convert-beside-copy/qcow2", "qcow2", test_convert_beside_copy);
    g_test_add_data_func ("/disk/chain/A4-convert-beside-copy/raw", "raw", test_convert_beside_copy);
    g_test_add_data_func ("/disk/chain/X1-covered-is-not-read/qcow2", "qcow2", test_covered_is_not_read);
    g_test_add_data_func ("/disk/chain/X1-covered-is-not-read/raw", "raw", test_covered_is_not_read);
    g_test_add_func ("/disk/chain/not-an-overlay", test_not_an_overlay);
    g_test_add_data_func ("/disk/chain/commit-fails/qcow2", "qcow2", test_commit_fails);
    g_test_add_data_func ("/disk/chain/C15-preallocate/qcow2", "qcow2", test_preallocate);
    g_test_add_data_func ("/disk/chain/C15-preallocate/raw", "raw", test_preallocate);
    g_test_add_func ("/disk/chain/comma-in-name", test_comma_in_name);
    g_test_add_func ("/disk/chain/B14-abandon", test_abandon);
    g_test_add_func ("/disk/zero/cancel", test_zero_cancel);
    g_test_add_func ("/disk/chain/target-missing", test_target_missing);
    return g_test_run ();
}
