/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The mover against nbdkit on both sides; results are compared by qemu-img. */
#include "disk/held-up.h"
#include "base/error.h"
#include "disk/mover.h"
#include "disk/nbd.h"
#include "fixture.h"

#include <unistd.h>

#define SIZE_TEXT "41943552"

enum
{
    SIZE = 40 * 1024 * 1024 + 512, /* odd: the last cluster is not whole */
};

struct setting
{
    char *folder, *source, *target, *source_socket, *target_socket, *source_uri, *target_uri;
    struct vmf_mover_progress progress;
};

static void
set_up (struct setting *s)
{
    s->folder = fixture_folder ();
    s->source = g_build_filename (s->folder, "source.raw", NULL);
    s->target = g_build_filename (s->folder, "target.raw", NULL);
    s->source_socket = g_build_filename (s->folder, "s", NULL);
    s->target_socket = g_build_filename (s->folder, "t", NULL);
    s->source_uri = g_strconcat ("nbd+unix:///?socket=", s->source_socket, NULL);
    s->target_uri = g_strconcat ("nbd+unix:///?socket=", s->target_socket, NULL);
    s->progress = (struct vmf_mover_progress){ 0 };
    fixture_image (s->source, SIZE);
    g_autofree char *done = fixture_run ("truncate", "-s", SIZE_TEXT, s->target, NULL);
}

static void
tear_down (struct setting *s)
{
    char *owned[] = { s->source, s->target, s->source_socket, s->target_socket, s->source_uri, s->target_uri };
    for (size_t i = 0; i < G_N_ELEMENTS (owned); i++)
        g_free (owned[i]);
    fixture_remove (s->folder);
}

static bool
move (struct setting *s, const struct vmf_extents *needed, GCancellable *cancellable, GError **error)
{
    struct vmf_mover_options options = { .name = "sda",
                                         .source_uri = s->source_uri,
                                         .target_uri = s->target_uri,
                                         .size_bytes = SIZE,
                                         .needed = needed,
                                         .cancellable = cancellable,
                                         .progress = &s->progress };
    g_autoptr (vmf_mover) mover = vmf_mover_new (&options);
    return vmf_mover_run (mover, error);
}

/* A5: holes do not travel, the rest arrives; every byte is accounted for. */
static void
whole_disk (const char *filter, bool holes_known)
{
    struct setting s;
    GError *error = NULL;
    set_up (&s);
    g_autoptr (vmf_child) source = fixture_nbdkit (s.source_socket, "-r", filter, "file", s.source, NULL);
    g_autoptr (vmf_child) target = fixture_nbdkit (s.target_socket, "file", s.target, NULL);
    g_autoptr (vmf_extents) all = vmf_extents_new ();
    vmf_extents_add (all, 0, SIZE);
    move (&s, all, NULL, &error);
    g_assert_no_error (error);
    g_autofree char *output = fixture_run ("qemu-img", "compare", "-f", "raw", "-F", "raw", s.source, s.target, NULL);
    g_assert_cmpuint (s.progress.needed, ==, SIZE);
    g_assert_cmpuint (s.progress.done, ==, SIZE);
    g_assert_cmpuint (s.progress.read + s.progress.hole, ==, SIZE);
    g_assert_cmpuint (s.progress.read, ==, s.progress.written + s.progress.zero);
    g_assert_cmpuint (s.progress.written, ==, 20 * 1024 * 1024 + 512);
    g_assert_cmpuint (s.progress.hole, ==, holes_known ? 20 * 1024 * 1024 : 0);
    tear_down (&s);
}

static void
test_whole_disk (void)
{
    whole_disk ("--filter=nofilter", true);
}

static void
test_no_extents (void)
{
    whole_disk ("--filter=noextents", false);
}

static void
test_no_multi_conn (void)
{
    whole_disk ("--filter=multi-conn", true); /* its default is to emulate; both ways must work */
}

/* What is not needed is not read: the source errors there. */
static void
test_only_needed (void)
{
    struct setting s;
    GError *error = NULL;
    set_up (&s);
    g_autoptr (vmf_child) source =
        fixture_nbdkit (s.source_socket, "-r", "--filter=stats", "file", s.source, "statsfile=/dev/null", NULL);
    g_autoptr (vmf_child) target = fixture_nbdkit (s.target_socket, "file", s.target, NULL);
    g_autoptr (vmf_extents) some = vmf_extents_new ();
    vmf_extents_add (some, 3 * 1024 * 1024 + 5, 10);
    vmf_extents_add (some, SIZE - 1, 1);
    move (&s, some, NULL, &error);
    g_assert_no_error (error);
    g_assert_cmpuint (s.progress.read, ==, 65536 + 512);
    tear_down (&s);
}

static void
test_source_error (void)
{
    struct setting s;
    GError *error = NULL;
    set_up (&s);
    g_autoptr (vmf_child) source = fixture_nbdkit (s.source_socket, "-r", "--filter=error", "file", s.source,
                                                   "error-pread=EIO", "error-pread-rate=100%", NULL);
    g_autoptr (vmf_child) target = fixture_nbdkit (s.target_socket, "file", s.target, NULL);
    g_autoptr (vmf_extents) all = vmf_extents_new ();
    vmf_extents_add (all, 0, SIZE);
    g_assert_false (move (&s, all, NULL, &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_FAILED);
    g_assert_nonnull (strstr (error->message, "copying sda: reading from the source failed"));
    g_clear_error (&error);
    tear_down (&s);
}

/* A full target is its own error code: the user can make room (PITFALLS 40). */
static void
test_target_full (void)
{
    struct setting s;
    GError *error = NULL;
    set_up (&s);
    g_autoptr (vmf_child) source = fixture_nbdkit (s.source_socket, "-r", "file", s.source, NULL);
    g_autoptr (vmf_child) target = fixture_nbdkit (s.target_socket, "full", "size=" SIZE_TEXT, NULL);
    g_autoptr (vmf_extents) all = vmf_extents_new ();
    vmf_extents_add (all, 0, SIZE);
    g_assert_false (move (&s, all, NULL, &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_NO_SPACE);
    g_clear_error (&error);
    tear_down (&s);
}

static void *
cancel_when_reading (void *data)
{
    void **both = data;
    struct setting *s = both[0];
    while (__atomic_load_n (&s->progress.written, __ATOMIC_RELAXED) == 0)
        g_usleep (1000);
    g_cancellable_cancel (both[1]);
    return NULL;
}

/* A source that answers for ever slowly can be left at any time (PITFALLS 35). */
static void
test_cancel (void)
{
    struct setting s;
    GError *error = NULL;
    set_up (&s);
    g_autoptr (vmf_child) source =
        fixture_nbdkit (s.source_socket, "-r", "--filter=rate", "file", s.source, "rate=4M", NULL);
    g_autoptr (vmf_child) target = fixture_nbdkit (s.target_socket, "file", s.target, NULL);
    g_autoptr (GCancellable) cancellable = g_cancellable_new ();
    g_autoptr (vmf_extents) all = vmf_extents_new ();
    vmf_extents_add (all, 0, SIZE);
    void *both[] = { &s, cancellable };
    GThread *thread = g_thread_new ("cancel", cancel_when_reading, both);
    g_assert_false (move (&s, all, cancellable, &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_CANCELLED);
    g_thread_join (thread);
    g_clear_error (&error);
    tear_down (&s);
}

/* A distant disk with much to ask for: 64 KiB of data in every 256 KiB of 200 MiB. */
static void
make_scattered (const char *path)
{
    g_autofree char *block = g_malloc (65536);
    FILE *file = fopen (path, "wb");
    for (unsigned i = 0; i < 800; i++)
    {
        memset (block, (int)(i % 255) + 1, 65536);
        g_assert_cmpint (fseek (file, (long)i * 262144, SEEK_SET), ==, 0);
        g_assert_cmpuint (fwrite (block, 1, 65536, file), ==, 65536);
    }
    g_assert_cmpint (fclose (file), ==, 0);
    g_assert_cmpint (truncate (path, (off_t)800 * 262144), ==, 0);
}

/* How many connections the server saw that took at most LIMIT, while the mover might have WANTED. All must arrive. */
static unsigned
connections_of (unsigned wanted, unsigned limit)
{
    struct setting s;
    GError *error = NULL;
    set_up (&s);
    make_scattered (s.source);
    g_autofree char *size = fixture_run ("truncate", "-r", s.source, s.target, NULL);
    g_autofree char *log = g_build_filename (s.folder, "log", NULL), *logfile = g_strconcat ("logfile=", log, NULL);
    g_autofree char *limit_text = g_strdup_printf ("limit=%u", limit), *text = NULL;
    g_autoptr (vmf_child) source =
        fixture_nbdkit (s.source_socket, "-r", "--filter=log", "--filter=limit", "--filter=delay", "file", s.source,
                        logfile, limit_text, "rdelay=20ms", NULL);
    g_autoptr (vmf_child) target = fixture_nbdkit (s.target_socket, "file", s.target, NULL);
    g_autoptr (vmf_extents) all = vmf_extents_new ();
    vmf_extents_add (all, 0, (uint64_t)800 * 262144);
    struct vmf_mover_options options = { .name = "sda",
                                         .source_uri = s.source_uri,
                                         .target_uri = s.target_uri,
                                         .size_bytes = (uint64_t)800 * 262144,
                                         .needed = all,
                                         .connections = wanted,
                                         .progress = &s.progress };
    g_autoptr (vmf_mover) mover = vmf_mover_new (&options);
    vmf_mover_run (mover, &error);
    g_assert_no_error (error);
    g_autofree char *output = fixture_run ("qemu-img", "compare", "-f", "raw", "-F", "raw", s.source, s.target, NULL);
    g_assert_cmpuint (s.progress.read, ==, 800 * 65536);
    g_assert_cmpuint (s.progress.retries + s.progress.reconnects, ==, 0);
    g_assert_true (g_file_get_contents (log, &text, NULL, NULL));
    g_auto (GStrv) lines = g_strsplit (text, " Connect ", -1);
    unsigned n = g_strv_length (lines) - 1;
    tear_down (&s);
    return n;
}

/* Each connection lets a distant server do more at a time. */
static void
test_more_connections (void)
{
    g_assert_cmpuint (connections_of (16, 100), >, 4);
}

static void
test_connections_are_capped (void)
{
    g_assert_cmpuint (connections_of (3, 100), ==, 3);
    g_assert_cmpuint (connections_of (6, 100), <=, 6);
}

/* A server that takes no more: those that it has taken do. */
static void
test_connections_refused (void)
{
    connections_of (16, 5);
}

/* Two disks from one budget that one of them would need for itself. */
static void *
run_mover (void *mover)
{
    GError *error = NULL;
    vmf_mover_run (mover, &error);
    g_assert_no_error (error);
    return NULL;
}

static void
test_shared_budget (void)
{
    struct setting s[2];
    struct vmf_child *servers[4];
    GThread *threads[2];
    struct vmf_mover *movers[2];
    struct vmf_mover_options options[2];
    g_autoptr (vmf_budget) budget = vmf_budget_new (4 * 1024 * 1024);
    g_autoptr (vmf_extents) all = vmf_extents_new ();
    vmf_extents_add (all, 0, SIZE);
    for (unsigned i = 0; i < 2; i++)
    {
        set_up (&s[i]);
        servers[2 * i] =
            fixture_nbdkit (s[i].source_socket, "-r", "--filter=delay", "file", s[i].source, "rdelay=2ms", NULL);
        servers[2 * i + 1] = fixture_nbdkit (s[i].target_socket, "file", s[i].target, NULL);
        options[i] = (struct vmf_mover_options){ .name = "sda",
                                                 .source_uri = s[i].source_uri,
                                                 .target_uri = s[i].target_uri,
                                                 .size_bytes = SIZE,
                                                 .needed = all,
                                                 .budget = budget,
                                                 .progress = &s[i].progress };
        movers[i] = vmf_mover_new (&options[i]);
    }
    for (unsigned i = 0; i < 2; i++)
        threads[i] = g_thread_new ("mover", run_mover, movers[i]);
    for (unsigned i = 0; i < 2; i++)
        g_thread_join (threads[i]);
    for (unsigned i = 0; i < 2; i++)
    {
        g_autofree char *output =
            fixture_run ("qemu-img", "compare", "-f", "raw", "-F", "raw", s[i].source, s[i].target, NULL);
        vmf_mover_free (movers[i]);
        vmf_child_free (servers[2 * i]);
        vmf_child_free (servers[2 * i + 1]);
        tear_down (&s[i]);
    }
}

static void
test_source_shrank (void)
{
    struct setting s;
    GError *error = NULL;
    set_up (&s);
    g_assert_cmpint (truncate (s.source, SIZE - 512), ==, 0);
    g_autoptr (vmf_child) source = fixture_nbdkit (s.source_socket, "-r", "file", s.source, NULL);
    g_autoptr (vmf_child) target = fixture_nbdkit (s.target_socket, "file", s.target, NULL);
    g_autoptr (vmf_extents) all = vmf_extents_new ();
    vmf_extents_add (all, 0, SIZE);
    g_assert_false (move (&s, all, NULL, &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_CORRUPT);
    g_clear_error (&error);
    tear_down (&s);
}

/* Every read in nbdkit's log: the largest step back in bytes. One connection has read them all. */
static uint64_t
largest_step_back (const char *log)
{
    g_autofree char *text = NULL;
    uint64_t highest = 0, largest = 0;
    unsigned reads = 0;
    g_assert_true (g_file_get_contents (log, &text, NULL, NULL));
    g_auto (GStrv) lines = g_strsplit (text, "\n", -1);
    const char *reader = NULL;
    for (size_t i = 0; lines[i]; i++)
    {
        const char *offset = strstr (lines[i], " Read id="), *connection = strstr (lines[i], "connection=");
        offset = offset ? strstr (offset, "offset=") : NULL;
        if (!offset || !connection)
            continue;
        uint64_t at = g_ascii_strtoull (offset + strlen ("offset="), NULL, 16);
        reader = reader ? reader : connection;
        g_assert_true (strncmp (reader, connection, strlen ("connection=1 ")) == 0);
        highest = MAX (highest, at);
        largest = MAX (largest, highest - at);
        reads++;
    }
    g_assert_cmpuint (reads, >, 20);
    return largest;
}

/* A stream's bytes must be asked for as they come, also when reads fail: never far behind what was asked for before. */
static void
test_sequential (void)
{
    struct setting s;
    GError *error = NULL;
    set_up (&s);
    g_autofree char *log = g_build_filename (s.folder, "log", NULL), *logfile = g_strconcat ("logfile=", log, NULL);
    g_autoptr (vmf_child) source = fixture_nbdkit (s.source_socket, "-r", "--filter=log", "--filter=error", "file",
                                                   s.source, "error-pread-rate=20%", logfile, NULL);
    g_autoptr (vmf_child) target = fixture_nbdkit (s.target_socket, "file", s.target, NULL);
    g_autoptr (vmf_extents) all = vmf_extents_new ();
    vmf_extents_add (all, 0, SIZE);
    struct vmf_mover_options options = { .name = "sda",
                                         .source_uri = s.source_uri,
                                         .target_uri = s.target_uri,
                                         .size_bytes = SIZE,
                                         .needed = all,
                                         .sequential = true,
                                         .retry_ms = 60 * 1000,
                                         .progress = &s.progress };
    g_autoptr (vmf_mover) mover = vmf_mover_new (&options);
    vmf_mover_run (mover, &error);
    g_assert_no_error (error);
    g_assert_cmpuint (s.progress.retries, >, 0);
    g_assert_cmpuint (largest_step_back (log), <, 32 << 20); /* what vmdkstream keeps */
    g_autofree char *output = fixture_run ("qemu-img", "compare", "-f", "raw", "-F", "raw", s.source, s.target, NULL);
    tear_down (&s);
}

/* Answers that come later than io_timeout_ms are an error, but where the server says that it waits for its turn. */
static void
test_held_up (void)
{
    for (int held_up = 0; held_up < 2; held_up++)
    {
        struct setting s;
        GError *error = NULL;
        set_up (&s);
        g_autofree char *mark = vmf_held_up_path (s.source_socket);
        g_autoptr (vmf_child) source =
            fixture_nbdkit (s.source_socket, "-r", "--filter=delay", "file", s.source, "rdelay=3", NULL);
        g_autoptr (vmf_child) target = fixture_nbdkit (s.target_socket, "file", s.target, NULL);
        g_autoptr (vmf_extents) some = vmf_extents_new ();
        vmf_extents_add (some, SIZE - 1, 1);
        struct vmf_mover_options options = { .name = "sda",
                                             .source_uri = s.source_uri,
                                             .target_uri = s.target_uri,
                                             .size_bytes = SIZE,
                                             .needed = some,
                                             .io_timeout_ms = 500,
                                             .progress = &s.progress };
        if (held_up)
            g_assert_true (g_file_set_contents (mark, "waiting", -1, NULL));
        g_autoptr (vmf_mover) mover = vmf_mover_new (&options);
        g_assert_cmpint (vmf_mover_run (mover, &error), ==, held_up);
        g_assert_cmpuint (s.progress.reconnects, ==, 0);
        g_clear_error (&error);
        tear_down (&s);
    }
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/disk/mover/A5-whole-disk", test_whole_disk);
    g_test_add_func ("/disk/mover/source-without-extents", test_no_extents);
    g_test_add_func ("/disk/mover/source-with-multi-conn-filter", test_no_multi_conn);
    g_test_add_func ("/disk/mover/only-what-is-needed", test_only_needed);
    g_test_add_func ("/disk/mover/source-error", test_source_error);
    g_test_add_func ("/disk/mover/target-full", test_target_full);
    g_test_add_func ("/disk/mover/cancel", test_cancel);
    g_test_add_func ("/disk/mover/source-became-smaller", test_source_shrank);
    g_test_add_func ("/disk/mover/more-connections-to-a-distant-source", test_more_connections);
    g_test_add_func ("/disk/mover/connections-are-capped", test_connections_are_capped);
    g_test_add_func ("/disk/mover/connections-refused", test_connections_refused);
    g_test_add_func ("/disk/mover/shared-budget", test_shared_budget);
    g_test_add_func ("/disk/mover/sequential-source", test_sequential);
    g_test_add_func ("/disk/mover/held-up", test_held_up);
    return g_test_run ();
}
