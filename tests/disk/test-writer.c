/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writers: what they leave is what was written, by QEMU's own account, whatever came between.
 *
 * The model is a piece of memory: a window of the disk around the border of two L2 tables (512 MiB), so that the disk
 * may be large and the test small.
 */
#include "base/error.h"
#include "disk/image.h"
#include "disk/writer.h"
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB ((uint64_t)1 << 20)
#define TIB ((uint64_t)1 << 40)

enum
{
    BLOCK = VMF_WRITER_BLOCK_BYTES,
    THREADS = 3,
    STRIPE_BLOCKS = 21, /* a writer's own stretch; odd, so that table borders fall into one */
};

struct model
{
    uint64_t size_bytes, window_offset, window_bytes;
    char *bytes; /* of the window; zeroes elsewhere */
};

static void
model_init (struct model *model, uint64_t size_bytes, uint64_t window_offset)
{
    *model = (struct model){ size_bytes, window_offset, size_bytes - window_offset, NULL };
    g_assert_cmpint (posix_memalign ((void **)&model->bytes, BLOCK, model->window_bytes), ==,
                     0); /* as the mover's are */
    memset (model->bytes, 0, model->window_bytes);
}

static void
fill (char *at, size_t length, guint32 seed)
{
    for (size_t i = 0; i < length; i++)
        at[i] = (char)((seed = seed * 1664525u + 1013904223u) >> 24);
}

static bool
write_at (struct vmf_writer *writer, const struct model *model, uint64_t offset, size_t length, GError **error)
{
    return writer->ops->write (writer, model->bytes + (offset - model->window_offset), offset, length, error);
}

static void
must_write (struct vmf_writer *writer, struct model *model, uint64_t offset, size_t length, guint32 seed)
{
    GError *error = NULL;
    fill (model->bytes + (offset - model->window_offset), length, seed);
    write_at (writer, model, offset, length, &error);
    g_assert_no_error (error);
}

static void
must_zero (struct vmf_writer *writer, struct model *model, uint64_t offset, uint64_t length)
{
    GError *error = NULL;
    memset (model->bytes + (offset - model->window_offset), 0, length);
    writer->ops->zero (writer, offset, length, &error);
    g_assert_no_error (error);
}

static void
must_flush (struct vmf_writer *writer)
{
    GError *error = NULL;
    writer->ops->flush (writer, &error);
    g_assert_no_error (error);
}

static void
assert_reads (struct vmf_writer *writer, const struct model *model)
{
    GError *error = NULL;
    g_autofree char *bytes = g_malloc (model->window_bytes);
    writer->ops->read (writer, bytes, model->window_offset, model->window_bytes, &error);
    g_assert_no_error (error);
    g_assert_true (memcmp (bytes, model->bytes, model->window_bytes) == 0);
}

static void
assert_fails (bool result, GError **error, int code, const char *words)
{
    g_assert_false (result);
    g_assert_error (*error, VMF_ERROR, code);
    if (!strstr ((*error)->message, words))
        g_error ("'%s' is not in: %s", words, (*error)->message);
    g_clear_error (error);
}

static struct vmf_writer *
must_open (const char *path, bool qcow2, uint64_t size_bytes)
{
    GError *error = NULL;
    struct vmf_writer *writer =
        qcow2 ? vmf_writer_open_qcow2 (path, size_bytes, &error) : vmf_writer_open_raw (path, size_bytes, &error);
    g_assert_no_error (error);
    return writer;
}

static struct vmf_writer *
make (const char *path, bool qcow2, uint64_t size_bytes)
{
    GError *error = NULL;
    if (qcow2)
        vmf_writer_create_qcow2 (path, size_bytes, &error);
    else
        g_assert_true (g_file_set_contents (path, "", 0, NULL) && truncate (path, (off_t)size_bytes) == 0);
    g_assert_no_error (error);
    return must_open (path, qcow2, size_bytes);
}

/* Finishes and frees WRITER; nothing is to be found fault with. */
static void
finish (struct vmf_writer *writer, const char *path, bool qcow2)
{
    GError *error = NULL;
    writer->ops->finish (writer, &error);
    g_assert_no_error (error);
    vmf_writer_free (writer);
    if (!qcow2)
        return;
    g_autofree char *check = fixture_run ("qemu-img", "check", "-f", "qcow2", path, NULL); /* leaks: exit code 3 */
    g_autoptr (vmf_image) image = vmf_image_new_file (path, "qcow2", NULL, NULL, &error);
    g_assert_no_error (error);
}

static void
assert_same (const char *path, bool qcow2, const struct model *model, const char *folder)
{
    g_autofree char *expected = g_build_filename (folder, "expected", NULL);
    int fd = open (expected, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    g_assert_true (ftruncate (fd, (off_t)model->size_bytes) == 0);
    g_assert_cmpint (pwrite (fd, model->bytes, model->window_bytes, (off_t)model->window_offset), ==,
                     model->window_bytes);
    close (fd);
    g_autofree char *same =
        fixture_run ("qemu-img", "compare", "-f", "raw", "-F", qcow2 ? "qcow2" : "raw", expected, path, NULL);
}

static uint64_t
length_of (const char *path)
{
    struct stat info;
    g_assert_cmpint (stat (path, &info), ==, 0);
    return (uint64_t)info.st_size;
}

static uint64_t
room_of (const char *path)
{
    struct stat info;
    g_assert_cmpint (stat (path, &info), ==, 0);
    return (uint64_t)info.st_blocks * 512;
}

/* The file's own numbers, big-endian. */
static void
poke (const char *path, uint64_t at, uint64_t value)
{
    int fd = open (path, O_RDWR);
    guint64 be = GUINT64_TO_BE (value);
    g_assert_cmpint (pwrite (fd, &be, 8, (off_t)at), ==, 8);
    close (fd);
}

static guint64
peek (const char *path, uint64_t at)
{
    int fd = open (path, O_RDONLY);
    guint64 be = 0;
    g_assert_cmpint (pread (fd, &be, 8, (off_t)at), ==, 8);
    close (fd);
    return GUINT64_FROM_BE (be);
}

static uint64_t
first_l2 (const char *path)
{
    return peek (path, BLOCK) & 0x00ffffffffffff00;
}

/* ---- many threads, many patterns ---- */

struct worker
{
    struct vmf_writer *writer;
    struct model *model;
    guint32 seed;
    unsigned number, rounds;
};

/* Some stretch of a stripe that is this worker's. */
static bool
choose (const struct worker *worker, GRand *rand, uint64_t *offset, uint64_t *length)
{
    const struct model *model = worker->model;
    uint64_t blocks = (model->window_bytes + BLOCK - 1) / BLOCK, stripes = (blocks + STRIPE_BLOCKS - 1) / STRIPE_BLOCKS;
    uint64_t mine = (stripes + THREADS - 1 - worker->number) / THREADS;
    if (mine == 0)
        return false;
    uint64_t stripe = (uint64_t)g_rand_int_range (rand, 0, (int)mine) * THREADS + worker->number;
    uint64_t begin = (uint64_t)g_rand_int_range (rand, 0, STRIPE_BLOCKS);
    uint64_t end = (uint64_t)g_rand_int_range (rand, (int)begin, STRIPE_BLOCKS) + 1;
    uint64_t from = MIN ((stripe * STRIPE_BLOCKS + begin) * BLOCK, model->window_bytes);
    *offset = model->window_offset + from;
    *length = MIN ((end - begin) * BLOCK, model->window_bytes - from);
    return *length > 0;
}

static void *
work (void *data)
{
    struct worker *worker = data;
    g_autoptr (GRand) rand = g_rand_new_with_seed (worker->seed);
    for (unsigned i = 0; i < worker->rounds; i++)
    {
        uint64_t offset, length;
        if (!choose (worker, rand, &offset, &length))
            continue;
        if (g_rand_int_range (rand, 0, 4) == 0)
            must_zero (worker->writer, worker->model, offset, length);
        else
            must_write (worker->writer, worker->model, offset, length, g_rand_int (rand));
        if (g_rand_int_range (rand, 0, 40) == 0)
            must_flush (worker->writer);
    }
    return NULL;
}

static void
scribble (struct vmf_writer *writer, struct model *model, unsigned rounds, guint32 seed)
{
    struct worker workers[THREADS];
    GThread *threads[THREADS];
    for (unsigned i = 0; i < THREADS; i++)
    {
        workers[i] = (struct worker){ writer, model, seed * THREADS + i, i, rounds };
        threads[i] = g_thread_new ("writer", work, &workers[i]);
    }
    for (unsigned i = 0; i < THREADS; i++)
        g_thread_join (threads[i]);
}

static void
scribble_on (const char *folder, bool qcow2, uint64_t size_bytes, uint64_t window_offset, unsigned rounds)
{
    struct model model;
    g_autofree char *path = g_build_filename (folder, qcow2 ? "target.qcow2" : "target.raw", NULL);
    model_init (&model, size_bytes, window_offset);
    struct vmf_writer *writer = make (path, qcow2, size_bytes);
    scribble (writer, &model, rounds, (guint32)size_bytes);
    assert_reads (writer, &model);
    finish (writer, path, qcow2);
    assert_same (path, qcow2, &model, folder);
    g_free (model.bytes);
    unlink (path);
}

static void
test_scribble (const void *data)
{
    bool qcow2 = data != NULL;
    char *folder = fixture_folder ();
    scribble_on (folder, qcow2, 512, 0, 5);
    scribble_on (folder, qcow2, BLOCK, 0, 5);
    scribble_on (folder, qcow2, BLOCK + 512, 0, 20);
    scribble_on (folder, qcow2, 1000003, 0, 20);
    scribble_on (folder, qcow2, 512 * MIB + 20 * MIB + 1536, 512 * MIB - 20 * MIB, 300);
    fixture_remove (folder);
}

/* ---- past the page cache ---- */

static size_t
pages_in_cache (const char *path, uint64_t offset, size_t length)
{
    int fd = open (path, O_RDONLY | O_CLOEXEC);
    void *map = mmap (NULL, length, PROT_READ, MAP_SHARED, fd, (off_t)offset);
    g_autofree unsigned char *resident = g_malloc0 (length / 4096);
    size_t n = 0;
    g_assert_true (map != MAP_FAILED && mincore (map, length, resident) == 0);
    for (size_t i = 0; i < length / 4096; i++)
        n += resident[i] & 1;
    munmap (map, length);
    close (fd);
    return n;
}

/* What a copy brings must not push out what the host has in its page cache. */
static void
test_past_page_cache (void)
{
    char *folder = fixture_folder ();
    struct model model;
    g_autofree char *path = g_build_filename (folder, "target", NULL);
    model_init (&model, 8 * MIB, 0);
    struct vmf_writer *writer = make (path, false, model.size_bytes);
    int direct = open (path, O_RDWR | O_DIRECT | O_CLOEXEC);
    must_write (writer, &model, MIB, 4 * MIB, 1);
    if (direct < 0)
        g_test_skip ("this file system has nothing but a page cache");
    else
        g_assert_cmpuint (pages_in_cache (path, MIB, 4 * MIB), ==, 0);
    close (direct);
    assert_reads (writer, &model);
    /* In memory as it comes, over what was just read into the page cache. */
    g_autofree char *bytes = g_malloc (2 * MIB + 1);
    fill (model.bytes + 2 * MIB, 2 * MIB, 2);
    memcpy (bytes + 1, model.bytes + 2 * MIB, 2 * MIB);
    g_assert_true (writer->ops->write (writer, bytes + 1, 2 * MIB, 2 * MIB, NULL));
    must_write (writer, &model, 3 * MIB, 4 * MIB, 3);
    assert_reads (writer, &model);
    finish (writer, path, false);
    assert_same (path, false, &model, folder);
    g_free (model.bytes);
    fixture_remove (folder);
}

/* All threads at once want a table that is not there yet, and clusters. */
enum
{
    TABLES = 200,
};
#define TABLE_BYTES ((uint64_t)BLOCK / 8 * BLOCK)

struct racer
{
    struct vmf_writer *writer;
    pthread_barrier_t *barrier;
    unsigned number;
};

static void
fill_raced (char *block, unsigned table, unsigned number)
{
    fill (block, BLOCK, table * THREADS + number + 1);
}

static void *
race (void *data)
{
    struct racer *racer = data;
    GError *error = NULL;
    g_autofree char *block = g_malloc (BLOCK);
    for (unsigned i = 0; i < TABLES; i++)
    {
        fill_raced (block, i, racer->number);
        pthread_barrier_wait (racer->barrier);
        racer->writer->ops->write (racer->writer, block, i * TABLE_BYTES + racer->number * (uint64_t)BLOCK, BLOCK,
                                   &error);
        g_assert_no_error (error);
    }
    return NULL;
}

static void
test_race_for_tables (void)
{
    char *folder = fixture_folder ();
    GError *error = NULL;
    pthread_barrier_t barrier;
    struct racer racers[THREADS];
    GThread *threads[THREADS];
    g_autofree char *path = g_build_filename (folder, "target", NULL);
    g_autofree char *block = g_malloc (BLOCK), *wanted = g_malloc (BLOCK);
    struct vmf_writer *writer = make (path, true, TABLES * TABLE_BYTES);
    pthread_barrier_init (&barrier, NULL, THREADS);
    for (unsigned i = 0; i < THREADS; i++)
    {
        racers[i] = (struct racer){ writer, &barrier, i };
        threads[i] = g_thread_new ("racer", race, &racers[i]);
    }
    for (unsigned i = 0; i < THREADS; i++)
        g_thread_join (threads[i]);
    for (unsigned i = 0; i < TABLES * THREADS; i++)
    {
        fill_raced (wanted, i / THREADS, i % THREADS);
        writer->ops->read (writer, block, i / THREADS * TABLE_BYTES + i % THREADS * (uint64_t)BLOCK, BLOCK, &error);
        g_assert_no_error (error);
        g_assert_true (memcmp (block, wanted, BLOCK) == 0);
    }
    finish (writer, path, true);
    pthread_barrier_destroy (&barrier);
    fixture_remove (folder);
}

/* ---- very large ---- */

static void
test_64_tib (void)
{
    char *folder = fixture_folder ();
    struct model model;
    g_autofree char *path = g_build_filename (folder, "target.qcow2", NULL);
    model_init (&model, 64 * TIB, 64 * TIB - 2 * MIB);
    struct mallinfo2 before = mallinfo2 ();
    struct vmf_writer *writer = make (path, true, 64 * TIB);
    must_write (writer, &model, 64 * TIB - BLOCK, BLOCK, 1);
    must_write (writer, &model, 64 * TIB - 2 * MIB, MIB, 2);
    struct mallinfo2 after = mallinfo2 ();
    g_assert_cmpuint (after.uordblks + after.hblkhd, <=, before.uordblks + before.hblkhd + 2 * MIB);
    assert_reads (writer, &model);
    GError *error = NULL;
    writer->ops->zero (writer, 0, 64 * TIB - 2 * MIB, &error); /* all that is zero already: at once */
    g_assert_no_error (error);
    finish (writer, path, true);
    g_assert_cmpuint (room_of (path), <=, 4 * MIB);
    g_autofree char *tail = g_build_filename (folder, "tail", NULL);
    g_autofree char *input = g_strdup_printf ("if=%s", path), *output = g_strdup_printf ("of=%s", tail);
    g_autofree char *skip = g_strdup_printf ("skip=%" G_GUINT64_FORMAT, (guint64)(64 * TIB / MIB - 2)), *bytes = NULL;
    g_autofree char *said =
        fixture_run ("qemu-img", "dd", "-f", "qcow2", "-O", "raw", "bs=1M", skip, input, output, NULL);
    gsize length;
    g_assert_true (g_file_get_contents (tail, &bytes, &length, NULL));
    g_assert_cmpuint (length, ==, model.window_bytes);
    g_assert_true (memcmp (bytes, model.bytes, length) == 0);
    g_free (model.bytes);
    fixture_remove (folder);
}

static void
test_too_large (void)
{
    GError *error = NULL;
    bool made = vmf_writer_create_qcow2 ("/nonexistent/x", 64 * TIB + 512, &error);
    assert_fails (made, &error, VMF_ERROR_USAGE, "64 TiB");
}

/* ---- zeroes ---- */

static void
test_zero_gives_room_back (const void *data)
{
    bool qcow2 = data != NULL;
    char *folder = fixture_folder ();
    struct model model;
    g_autofree char *path = g_build_filename (folder, "target", NULL);
    model_init (&model, 32 * MIB, 0);
    struct vmf_writer *writer = make (path, qcow2, 32 * MIB);
    must_write (writer, &model, 0, 32 * MIB, 7);
    must_flush (writer);
    g_assert_cmpuint (room_of (path), >=, 32 * MIB);
    must_zero (writer, &model, MIB, 30 * MIB);
    must_flush (writer);
    g_assert_cmpuint (room_of (path), <=, 3 * MIB);
    if (qcow2) /* zero where a file system takes nothing back, too */
        g_assert_cmpuint (peek (path, first_l2 (path) + 5 * MIB / BLOCK * 8) & 1, ==, 1);
    must_write (writer, &model, 3 * MIB, MIB, 8);
    assert_reads (writer, &model);
    finish (writer, path, qcow2);
    assert_same (path, qcow2, &model, folder);
    g_free (model.bytes);
    fixture_remove (folder);
}

/* A loop device that goes when the last who has it open goes. */
static char *
loop_device (const char *file)
{
    g_autofree char *output = NULL;
    const char *argv[] = { "losetup", "-f", "--show", file, NULL };
    struct vmf_child_options options = { .argv = argv };
    output = geteuid () == 0 ? vmf_child_run (&options, 0, NULL, NULL) : NULL;
    return output ? g_strdup (g_strchomp (output)) : NULL;
}

static void
test_block_device (void)
{
    char *folder = fixture_folder ();
    struct model model;
    GError *error = NULL;
    g_autofree char *file = g_build_filename (folder, "file", NULL), *link = g_build_filename (folder, "link", NULL);
    model_init (&model, 16 * MIB - 512, 0);
    g_assert_true (g_file_set_contents (file, "", 0, NULL) && truncate (file, 16 * MIB) == 0);
    g_autofree char *device = loop_device (file);
    if (!device)
    {
        g_test_skip ("no loop device can be made here");
        fixture_remove (folder);
        return;
    }
    g_assert_cmpint (symlink (device, link), ==, 0);
    struct vmf_writer *writer = must_open (link, false, model.size_bytes);
    g_autofree char *detached = fixture_run ("losetup", "-d", device, NULL);
    scribble (writer, &model, 100, 3);
    must_zero (writer, &model, 0, model.size_bytes);
    must_write (writer, &model, 5 * MIB, MIB, 4);
    assert_reads (writer, &model);
    g_assert_null (vmf_writer_open_raw (device, 16 * MIB + 512, &error));
    assert_fails (false, &error, VMF_ERROR_CORRUPT, device);
    g_assert_null (vmf_writer_open_qcow2 (device, 16 * MIB, &error));
    assert_fails (false, &error, VMF_ERROR_CORRUPT, device);
    finish (writer, device, false);
    model.size_bytes = 16 * MIB;
    assert_same (file, false, &model, folder);
    g_free (model.bytes);
    fixture_remove (folder);
}

/* ---- taken up again ---- */

/* Killed: all that was written is there, flushed or not. */
static void
test_resume_after_kill (void)
{
    char *folder = fixture_folder ();
    struct model model;
    g_autofree char *path = g_build_filename (folder, "target", NULL);
    model_init (&model, 512 * MIB + 9 * MIB + 512, 512 * MIB - 9 * MIB);
    struct vmf_writer *writer = make (path, true, model.size_bytes);
    for (guint32 i = 0; i < 6; i++)
    {
        scribble (writer, &model, 10, i);
        vmf_writer_free (writer);
        writer = must_open (path, true, model.size_bytes);
        assert_reads (writer, &model);
    }
    finish (writer, path, true);
    assert_same (path, true, &model, folder);
    g_free (model.bytes);
    fixture_remove (folder);
}

/* A power loss: the file may end anywhere behind what was flushed, in the middle of data or of a table. */
static void
lose_tail (const char *folder, GRand *rand)
{
    struct model model;
    g_autofree char *path = g_build_filename (folder, "target", NULL);
    model_init (&model, 512 * MIB + 9 * MIB + 512, 512 * MIB - 9 * MIB);
    struct vmf_writer *writer = make (path, true, model.size_bytes);
    must_write (writer, &model, model.window_offset, 2 * MIB, 1);
    must_flush (writer);
    uint64_t flushed = length_of (path);
    g_autofree char *kept = g_memdup2 (model.bytes, model.window_bytes);
    must_write (writer, &model, model.window_offset + 2 * MIB, model.window_bytes - 2 * MIB, 2);
    vmf_writer_free (writer);
    uint64_t cut = flushed + (uint64_t)g_rand_double_range (rand, 0, (double)(length_of (path) - flushed));
    g_assert_cmpint (truncate (path, (off_t)cut), ==, 0);

    writer = must_open (path, true, model.size_bytes);
    g_autofree char *bytes = g_malloc (2 * MIB);
    GError *error = NULL;
    writer->ops->read (writer, bytes, model.window_offset, 2 * MIB, &error);
    g_assert_no_error (error);
    g_assert_true (memcmp (bytes, kept, 2 * MIB) == 0);
    /* The import copies again what it had not flushed; in another order. */
    for (uint64_t at = model.window_offset + model.window_bytes - MIB - 512; at >= model.window_offset + 2 * MIB;
         at -= MIB)
        must_write (writer, &model, at, at + MIB + 512 == model.size_bytes ? MIB + 512 : MIB, (guint32)at);
    assert_reads (writer, &model);
    finish (writer, path, true);
    assert_same (path, true, &model, folder);
    g_free (model.bytes);
    unlink (path);
}

static void
test_resume_after_power_loss (void)
{
    char *folder = fixture_folder ();
    g_autoptr (GRand) rand = g_rand_new_with_seed (11);
    for (int i = 0; i < 12; i++)
        lose_tail (folder, rand);
    fixture_remove (folder);
}

static void
limit_file_size (uint64_t bytes)
{
    struct rlimit limit;
    getrlimit (RLIMIT_FSIZE, &limit);
    limit.rlim_cur = bytes ? (rlim_t)bytes : limit.rlim_max;
    g_assert_cmpint (setrlimit (RLIMIT_FSIZE, &limit), ==, 0);
}

/* Whatever finish() had begun is no part of the file that is taken up. */
static void
test_resume_after_failed_finish (void)
{
    char *folder = fixture_folder ();
    struct model model;
    GError *error = NULL;
    g_autofree char *path = g_build_filename (folder, "target", NULL);
    model_init (&model, 8 * MIB + 700, 0); /* not even whole sectors: what lies behind must be zeroes */
    struct vmf_writer *writer = make (path, true, model.size_bytes);
    must_write (writer, &model, 0, 4 * MIB, 1);
    limit_file_size (length_of (path));
    bool finished = writer->ops->finish (writer, &error);
    limit_file_size (0);
    assert_fails (finished, &error, VMF_ERROR_FAILED, path);
    vmf_writer_free (writer);
    /* Killed behind its refcount blocks, or behind data that no table names yet. */
    g_autofree char *litter = g_malloc (2 * MIB);
    memset (litter, 0x55, 2 * MIB);
    int fd = open (path, O_RDWR);
    g_assert_cmpint (pwrite (fd, litter, 2 * MIB, (off_t)length_of (path)), ==, 2 * MIB);
    close (fd);
    writer = must_open (path, true, model.size_bytes);
    must_write (writer, &model, 8 * MIB, 700, 3);
    must_write (writer, &model, 6 * MIB, MIB, 2);
    finish (writer, path, true);
    assert_same (path, true, &model, folder);
    g_free (model.bytes);
    fixture_remove (folder);
}

/* ---- what is refused ---- */

static void
assert_refused (const char *path, uint64_t size_bytes, int code, const char *words)
{
    GError *error = NULL;
    struct vmf_writer *writer = vmf_writer_open_qcow2 (path, size_bytes, &error);
    assert_fails (writer != NULL, &error, code, words);
}

/* An unfinished file of 8 MiB with its first two MiB written and flushed. */
static char *
unfinished (const char *folder, const char *name)
{
    struct model model;
    char *path = g_build_filename (folder, name, NULL);
    model_init (&model, 8 * MIB, 0);
    struct vmf_writer *writer = make (path, true, model.size_bytes);
    must_write (writer, &model, 0, 2 * MIB, 1);
    must_flush (writer);
    vmf_writer_free (writer);
    g_free (model.bytes);
    return path;
}

static void
test_refuse_foreign (void)
{
    char *folder = fixture_folder ();
    g_autofree char *qemu = g_build_filename (folder, "qemu", NULL), *raw = g_build_filename (folder, "raw", NULL);
    g_autofree char *empty = g_build_filename (folder, "empty", NULL), *link = g_build_filename (folder, "link", NULL);
    g_autofree char *made =
        fixture_run ("qemu-img", "create", "-q", "-f", "qcow2", "-o", "lazy_refcounts=on", qemu, "8M", NULL);
    g_autofree char *ours = unfinished (folder, "ours"), *done = unfinished (folder, "done");
    g_autofree char *repaired = unfinished (folder, "repaired");
    g_assert_true (g_file_set_contents (empty, "", 0, NULL));
    fixture_image (raw, MIB);
    g_assert_cmpint (symlink (ours, link), ==, 0);
    finish (must_open (done, true, 8 * MIB), done, true);
    assert_refused (qemu, 8 * MIB, VMF_ERROR_CORRUPT, "not an unfinished qcow2 file");
    poke (qemu, 72, 1); /* dirty, as QEMU's own may be */
    assert_refused (qemu, 8 * MIB, VMF_ERROR_CORRUPT, "not an unfinished qcow2 file");
    assert_refused (raw, 8 * MIB, VMF_ERROR_CORRUPT, raw);
    assert_refused (empty, 8 * MIB, VMF_ERROR_CORRUPT, empty);
    assert_refused (done, 8 * MIB, VMF_ERROR_CORRUPT, "finished already");
    assert_refused (ours, 9 * MIB, VMF_ERROR_CORRUPT, "another size");
    assert_refused (link, 8 * MIB, VMF_ERROR_UNSAFE, "is a link");
    assert_refused ("/dev/full", 8 * MIB, VMF_ERROR_UNSAFE, "neither a regular file nor a block device");
    assert_refused ("/nonexistent/x", 8 * MIB, VMF_ERROR_NOT_FOUND, "/nonexistent/x");
    g_autofree char *info = fixture_run ("qemu-img", "info", "--output=json", ours, NULL);
    g_assert_nonnull (strstr (info, "\"dirty-flag\": true")); /* who needs refcounts does not believe ours */
    /* QEMU itself can read and repair what we left; then it is no longer ours. */
    g_autofree char *repair = fixture_run ("qemu-img", "check", "-q", "-r", "all", repaired, NULL);
    g_autofree char *same = fixture_run ("qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", done, repaired, NULL);
    assert_refused (repaired, 8 * MIB, VMF_ERROR_CORRUPT, "cannot be continued");
    vmf_writer_free (must_open (ours, true, 8 * MIB));
    fixture_remove (folder);
}

static void
test_refuse_damaged (void)
{
    char *folder = fixture_folder ();
    GError *error = NULL;
    const uint64_t l1 = BLOCK;
    g_autofree char *cut = unfinished (folder, "cut"), *flags = unfinished (folder, "flags");
    g_autofree char *front = unfinished (folder, "front"), *twice = unfinished (folder, "twice");
    g_assert_cmpint (truncate (cut, (off_t)length_of (cut) - 1), ==, 0);
    assert_refused (cut, 8 * MIB, VMF_ERROR_CORRUPT, "cut off");
    poke (flags, l1, peek (flags, l1) | 0x200);
    assert_refused (flags, 8 * MIB, VMF_ERROR_CORRUPT, "damaged");
    uint64_t l2 = first_l2 (front);
    poke (front, l2, (uint64_t)1 << 63 | l1); /* writing there would overwrite the tables */
    assert_refused (front, 8 * MIB, VMF_ERROR_CORRUPT, "damaged");
    poke (twice, l2, peek (twice, l2 + 8));
    struct vmf_writer *writer = must_open (twice, true, 8 * MIB);
    assert_fails (writer->ops->finish (writer, &error), &error, VMF_ERROR_CORRUPT, "two of its tables' entries");
    vmf_writer_free (writer);
    fixture_remove (folder);
}

static void
test_refuse_to_overwrite (void)
{
    char *folder = fixture_folder ();
    GError *error = NULL;
    struct model model;
    g_autofree char *path = g_build_filename (folder, "x", NULL), *link = g_build_filename (folder, "link", NULL);
    g_assert_true (g_file_set_contents (path, "somebody's", -1, NULL));
    g_assert_cmpint (symlink (path, link), ==, 0);
    assert_fails (vmf_writer_create_qcow2 (path, MIB, &error), &error, VMF_ERROR_EXISTS, path);
    assert_fails (vmf_writer_create_qcow2 (link, MIB, &error), &error, VMF_ERROR_FAILED, link);
    assert_fails (vmf_writer_open_raw (link, 4, &error) != NULL, &error, VMF_ERROR_UNSAFE, "is a link");
    assert_fails (vmf_writer_open_raw (path, MIB, &error) != NULL, &error, VMF_ERROR_CORRUPT, "1048576");
    g_assert_cmpint (truncate (path, 0), ==, 0);
    model_init (&model, 4 * BLOCK, 0);
    struct vmf_writer *writer = make (path, true, 4 * BLOCK);
    assert_fails (write_at (writer, &model, BLOCK / 2, BLOCK, &error), &error, VMF_ERROR_USAGE, "whole blocks");
    assert_fails (write_at (writer, &model, 3 * BLOCK, 2 * BLOCK, &error), &error, VMF_ERROR_USAGE, "whole blocks");
    assert_fails (writer->ops->zero (writer, BLOCK, UINT64_MAX, &error), &error, VMF_ERROR_USAGE, "whole blocks");
    vmf_writer_free (writer);
    g_free (model.bytes);
    fixture_remove (folder);
}

/* ---- no room ---- */

static void
test_file_too_large (const void *data)
{
    bool qcow2 = data != NULL;
    char *folder = fixture_folder ();
    struct model model;
    GError *error = NULL;
    g_autofree char *path = g_build_filename (folder, "target", NULL);
    model_init (&model, 8 * MIB, 0);
    struct vmf_writer *writer = make (path, qcow2, 8 * MIB);
    limit_file_size (2 * MIB);
    bool written = write_at (writer, &model, MIB, 4 * MIB, &error);
    limit_file_size (0);
    assert_fails (written, &error, VMF_ERROR_FAILED, "ulimit -f");
    limit_file_size (2 * MIB);
    written = write_at (writer, &model, 6 * MIB, MIB, &error);
    limit_file_size (0);
    assert_fails (written, &error, VMF_ERROR_FAILED, qcow2 ? path : "at byte 6291456");
    vmf_writer_free (writer);
    g_free (model.bytes);
    fixture_remove (folder);
}

/* A small file system that only this thread sees and that goes with the process. */
static bool
mount_small (const char *folder, const char *options)
{
    return unshare (CLONE_NEWNS) == 0 && mount ("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0
           && mount ("tmpfs", folder, "tmpfs", 0, options) == 0;
}

/* The file system was full; room is made; the same file goes on. */
static void
test_no_space (const void *data)
{
    bool qcow2 = data != NULL;
    char *folder = fixture_folder ();
    struct model model;
    GError *error = NULL;
    g_autofree char *small = g_build_filename (folder, "small", NULL), *path = g_build_filename (small, "target", NULL);
    g_assert_cmpint (g_mkdir (small, 0700), ==, 0);
    if (!mount_small (small, "size=8m"))
    {
        g_test_skip ("nothing can be mounted here");
        fixture_remove (folder);
        return;
    }
    model_init (&model, 32 * MIB, 0);
    struct vmf_writer *writer = make (path, qcow2, model.size_bytes);
    must_write (writer, &model, 0, 5 * MIB, 1);
    must_flush (writer);
    fill (model.bytes + 5 * MIB, 27 * MIB, 2);
    g_assert_false (write_at (writer, &model, 5 * MIB, 27 * MIB, &error));
    g_assert_nonnull (strstr (error->message, path));
    assert_fails (false, &error, VMF_ERROR_NO_SPACE, "make room");
    vmf_writer_free (writer);
    g_assert_cmpint (mount ("none", small, NULL, MS_REMOUNT, "size=80m"), ==, 0);
    writer = must_open (path, qcow2, model.size_bytes);
    must_write (writer, &model, 5 * MIB, 27 * MIB, 2);
    finish (writer, path, qcow2);
    assert_same (path, qcow2, &model, folder);
    g_assert_cmpint (umount2 (small, MNT_DETACH), ==, 0);
    g_free (model.bytes);
    fixture_remove (folder);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    signal (SIGXFSZ, SIG_IGN); /* a limit then is an errno */
    g_test_add_data_func ("/disk/writer/scribble/raw", NULL, test_scribble);
    g_test_add_data_func ("/disk/writer/scribble/qcow2", "qcow2", test_scribble);
    g_test_add_func ("/disk/writer/past-page-cache", test_past_page_cache);
    g_test_add_func ("/disk/writer/race-for-tables", test_race_for_tables);
    g_test_add_func ("/disk/writer/64-tib", test_64_tib);
    g_test_add_func ("/disk/writer/too-large", test_too_large);
    g_test_add_data_func ("/disk/writer/zero-gives-room-back/raw", NULL, test_zero_gives_room_back);
    g_test_add_data_func ("/disk/writer/zero-gives-room-back/qcow2", "qcow2", test_zero_gives_room_back);
    g_test_add_func ("/disk/writer/block-device", test_block_device);
    g_test_add_func ("/disk/writer/resume-after-kill", test_resume_after_kill);
    g_test_add_func ("/disk/writer/resume-after-power-loss", test_resume_after_power_loss);
    g_test_add_func ("/disk/writer/resume-after-failed-finish", test_resume_after_failed_finish);
    g_test_add_func ("/disk/writer/refuse-foreign", test_refuse_foreign);
    g_test_add_func ("/disk/writer/refuse-damaged", test_refuse_damaged);
    g_test_add_func ("/disk/writer/refuse-to-overwrite", test_refuse_to_overwrite);
    g_test_add_data_func ("/disk/writer/file-too-large/raw", NULL, test_file_too_large);
    g_test_add_data_func ("/disk/writer/file-too-large/qcow2", "qcow2", test_file_too_large);
    g_test_add_data_func ("/disk/writer/no-space/raw", NULL, test_no_space);
    g_test_add_data_func ("/disk/writer/no-space/qcow2", "qcow2", test_no_space);
    return g_test_run ();
}
