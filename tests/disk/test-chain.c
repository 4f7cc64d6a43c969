/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The chain of DESIGN idea 3 with real daemons, a mover and a "conversion" that writes through the overlay's port. */
#include "base/error.h"
#include "disk/chain.h"
#include "disk/mover.h"
#include "disk/nbd.h"
#include "fixture.h"

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
    vmf_mover_run (&options, &error);
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

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_data_func ("/disk/chain/A4-convert-beside-copy/qcow2", "qcow2", test_convert_beside_copy);
    g_test_add_data_func ("/disk/chain/A4-convert-beside-copy/raw", "raw", test_convert_beside_copy);
    g_test_add_func ("/disk/chain/B14-abandon", test_abandon);
    g_test_add_func ("/disk/chain/target-missing", test_target_missing);
    return g_test_run ();
}
