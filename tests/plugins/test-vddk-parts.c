/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The parts of the vmferry-vddk plugin that need neither nbdkit nor a library: map, words, what the log tells, slots,
 * temporary files, queue.
 */
#include "../folder.h"
#include "vddk-job.h"
#include "vddk-library.h"
#include "vddk-log.h"
#include "vddk-map.h"
#include "vddk-mark.h"
#include "vddk-slots.h"
#include "vddk-temp.h"
#include "vddk-words.h"

#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define WINDOW ((uint64_t)VDDK_CHUNK_SECTORS * VDDK_CHUNKS_MAX)

void nbdkit_debug (const char *format, ...) __attribute__ ((format (printf, 1, 2)));
void nbdkit_error (const char *format, ...) __attribute__ ((format (printf, 1, 2)));

static GString *said; /* what went to nbdkit */

static void
say (const char *format, va_list args)
{
    g_string_append_vprintf (said, format, args);
    g_string_append_c (said, '\n');
}

void
nbdkit_debug (const char *format, ...)
{
    va_list args;
    va_start (args, format);
    say (format, args);
    va_end (args);
}

void
nbdkit_error (const char *format, ...)
{
    va_list args;
    va_start (args, format);
    say (format, args);
    va_end (args);
}

static char *
new_folder (void)
{
    char *folder = test_folder_new ("test");
    g_assert_nonnull (folder);
    return folder;
}

static void
remove_folder (const char *folder)
{
    GDir *dir = g_dir_open (folder, 0, NULL);
    for (const char *name; dir && (name = g_dir_read_name (dir));)
    {
        g_autofree char *path = g_build_filename (folder, name, NULL);
        if (g_file_test (path, G_FILE_TEST_IS_DIR))
            remove_folder (path);
        g_remove (path);
    }
    g_clear_pointer (&dir, g_dir_close);
    g_rmdir (folder);
}

/* --- the map --- */

static struct vddk_block_list *
new_list (const struct vddk_block *blocks, uint32_t count)
{
    struct vddk_block_list *list = g_malloc0 (sizeof *list + count * sizeof blocks[0]);
    list->count = count;
    if (count > 0)
        memcpy (list->blocks, blocks, count * sizeof blocks[0]);
    return list;
}

static void
assert_run (const struct vddk_map *map, uint64_t sector, uint64_t sectors, bool data)
{
    uint64_t got;
    bool is_data;
    vddk_map_run (map, sector, &got, &is_data);
    g_assert_cmpuint (got, ==, sectors);
    g_assert_cmpint (is_data, ==, data);
}

/* PITFALLS.md 6: never a question beyond the disk's end, never a part of a chunk. */
static void
test_map_questions (void)
{
    static const struct
    {
        uint64_t capacity, sector, first, count;
    } cases[] = {
        { WINDOW, 0, 0, WINDOW },
        { 3 * WINDOW, WINDOW * 2 - 1, WINDOW, WINDOW },
        { WINDOW + 128 * 5 + 7, WINDOW + 3, WINDOW, 128 * 5 },
        { 128, 127, 0, 128 },
        { WINDOW + 127, WINDOW, WINDOW, 0 },
        { 1, 0, 0, 0 },
    };
    for (size_t i = 0; i < G_N_ELEMENTS (cases); i++)
    {
        uint64_t first, count;
        struct vddk_map *map = vddk_map_new (cases[i].capacity);
        g_assert_false (vddk_map_is_known (map, cases[i].sector));
        g_assert_cmpint (vddk_map_question (map, cases[i].sector, &first, &count), ==, cases[i].count > 0);
        g_assert_cmpuint (first, ==, cases[i].first);
        g_assert_cmpuint (count, ==, cases[i].count);
        g_assert_cmpint (vddk_map_is_known (map, cases[i].sector), ==, cases[i].count == 0);
        vddk_map_free (map);
    }
}

static void
test_map_answers (void)
{
    const struct vddk_block blocks[] = { { 128 * 3, 128 * 2 }, { 128 * 9 + 1, 1 }, { 128 * 20, UINT64_MAX } };
    uint64_t capacity = 128 * 21 + 5;
    struct vddk_map *map = vddk_map_new (capacity);
    g_autofree struct vddk_block_list *list = new_list (blocks, G_N_ELEMENTS (blocks));
    g_assert_true (vddk_map_answer (map, 7, list));
    assert_run (map, 0, 128 * 3, false);
    assert_run (map, 100, 128 * 3 - 100, false);
    assert_run (map, 128 * 3 + 1, 128 * 2 - 1, true);
    assert_run (map, 128 * 5, 128 * 4, false);
    assert_run (map, 128 * 9, 128, true);
    assert_run (map, 128 * 20, 128 + 5, true);
    vddk_map_free (map);

    /* Without an answer all is data; without a block all is a hole but the part of a chunk at the end. */
    map = vddk_map_new (capacity);
    g_assert_true (vddk_map_answer (map, 0, NULL));
    assert_run (map, 0, capacity, true);
    vddk_map_free (map);
    map = vddk_map_new (capacity);
    g_autofree struct vddk_block_list *none = new_list (NULL, 0);
    g_assert_true (vddk_map_answer (map, 0, none));
    assert_run (map, 0, 128 * 21, false);
    assert_run (map, capacity - 1, 1, true);
    vddk_map_free (map);
}

/* Against the plainest map there is: an array of bytes. */
static void
test_map_random (void)
{
    for (int round = 0; round < 50; round++)
    {
        uint64_t capacity = (uint64_t)g_test_rand_int_range (1, 128 * 100);
        struct vddk_block blocks[20];
        g_autofree uint8_t *plain = g_malloc0 (128 * 101);
        for (size_t i = 0; i < G_N_ELEMENTS (blocks); i++)
        {
            blocks[i].offset = (uint64_t)g_test_rand_int_range (0, 100) * 128;
            blocks[i].length = (uint64_t)g_test_rand_int_range (0, 4) * 128;
            for (uint64_t at = blocks[i].offset; at < blocks[i].offset + blocks[i].length && at < capacity; at++)
                plain[at] = 1;
        }
        for (uint64_t at = capacity / 128 * 128; at < capacity; at++)
            plain[at] = 1;
        g_autofree struct vddk_block_list *list = new_list (blocks, G_N_ELEMENTS (blocks));
        struct vddk_map *map = vddk_map_new (capacity);
        g_assert_true (vddk_map_answer (map, 0, list));
        for (uint64_t at = 0; at < capacity; at++)
        {
            uint64_t length = 1;
            while (at + length < capacity && plain[at + length] == plain[at])
                length++;
            assert_run (map, at, length, plain[at]);
        }
        vddk_map_free (map);
    }
}

/* --- words --- */

static const struct vddk_target target = {
    .file = "[ds] web/web.vmdk", .server = "vc.example.com", .user = "admin", .thumbprint = "AA:BB", .vm = "moref=vm-21"
};

static void
assert_words (const char *call, uint64_t code, const char *line, bool is_first_read, const char *words)
{
    struct vddk_error error;
    struct vddk_failure failure = {
        .call = call, .code = code, .description = "the library's words", .version = 9, .is_first_read = is_first_read
    };
    if (line)
        vddk_log_learn (&failure.facts, line);
    g_assert_false (vddk_words_explain (&target, &failure, &error));
    if (!strstr (error.text, words) || !strstr (error.text, "the library's words"))
        g_error ("'%s' is not said in: %s", words, error.text);
}

static void
test_words (void)
{
    assert_words ("Open", 14009, NULL, false, "port 902 of the ESXi host");
    assert_words ("Open", 14009,
                  "CnxOpenTCPSocket: Timed out connecting to server esx7.lan:902: Operation now in progress", false,
                  "esx7.lan:902 cannot be reached");
    assert_words ("Open", 1, "VixDiskLibVim: Failed to verify SSL certificate: actual thumbprint=CC:DD expected=AA:BB",
                  false, "has the thumbprint CC:DD, thumbprint= says AA:BB");
    assert_words ("ConnectEx", 1, NULL, false, "a thumbprint that is not that of vc.example.com");
    assert_words ("Open", 3014, NULL, false, "user admin or the password is not right");
    assert_words ("Open", 13, NULL, false, "through a snapshot");
    assert_words ("Open", 16064, NULL, false, "free ESXi");
    assert_words ("ReadAsync", 1, NULL, true, "VDDK 9 does not read from every ESXi version");
    /* Other bits of a 64-bit code do not matter. */
    assert_words ("Open", UINT64_C (0x700000000) | 14009, NULL, false, "(14009)");
}

static bool
is_refusal (const char *call, uint64_t code, const char *line, bool was_open)
{
    struct vddk_failure failure = { .call = call, .code = code, .description = "", .was_open = was_open };
    if (line)
        vddk_log_learn (&failure.facts, line);
    return vddk_words_is_refusal (&failure);
}

static void
test_refusals (void)
{
    const char *memory =
                   "[NFC ERROR] NfcFssrvrProcessErrorMsg: received NFC error 5 from server: Failed to allocate the "
                   "requested 24117272 bytes",
               *crowd =
                   "[NFC ERROR]NfcNewAuthdConnectionEx: Failed to connect: Error reading from vmware-authd socket. "
                   "Reason: Resource temporarily unavailable";
    g_assert_true (is_refusal ("ReadAsync", 2, NULL, true));
    g_assert_true (is_refusal ("ReadAsync", 1, memory, true));
    g_assert_true (is_refusal ("Open", 14009, crowd, false));
    g_assert_true (is_refusal ("Open", 14009, NULL, true));
    g_assert_false (is_refusal ("Open", 14009, NULL, false));
    g_assert_false (is_refusal ("ReadAsync", 14009, NULL, true));
    g_assert_false (is_refusal ("Open", 1, NULL, true));
}

G_GNUC_PRINTF (1, 2)
static void
log_warning (const char *format, ...)
{
    va_list args;
    va_start (args, format);
    vddk_log_warning (format, args);
    va_end (args);
}

static void
test_log_hides_secrets (void)
{
    struct vddk_log_facts facts;
    g_string_truncate (said, 0);
    vddk_log_forget ();
    vddk_log_hide ("horse");
    vddk_log_hide ("");
    vddk_log_hide (NULL);
    log_warning ("login %s/%s and %s again\n", "admin", "horse", "horsehorse");
    vddk_log_recall (&facts);
    g_assert_cmpstr (facts.warning, ==, "login admin/***** and ********** again");
    g_assert_null (strstr (said->str, "horse"));
    vddk_log_forget ();
    vddk_log_recall (&facts);
    g_assert_cmpstr (facts.warning, ==, "");
}

/* --- slots --- */

static void
make_old (const char *path, int minutes)
{
    const struct timespec then = { .tv_sec = time (NULL) - minutes * 60 }, both[2] = { then, then };
    g_assert_cmpint (utimensat (AT_FDCWD, path, both, 0), ==, 0);
}

static void
test_slots (void)
{
    struct vddk_error error;
    struct vddk_slots_taken taken;
    g_autofree char *folder = new_folder (), *limit = g_build_filename (folder, "limit", NULL);
    struct vddk_slots *many[4];
    for (int i = 0; i < 4; i++)
    {
        many[i] = vddk_slots_new (folder, 3, "an-import", &error);
        g_assert_nonnull (many[i]);
        g_assert_cmpint (vddk_slots_take (many[i], &taken, &error), ==, i < 3);
        g_assert_cmpstr (error.text, ==, "");
    }
    /* Refused with three taken: two will do, and ours is given back. */
    vddk_slots_lower (many[0]);
    g_assert_cmpuint (vddk_slots_get_limit (many[1]), ==, 2);
    g_assert_false (vddk_slots_take (many[3], &taken, &error));
    /* Another refusal at once is the same lesson; later it is a new one. */
    vddk_slots_lower (many[1]);
    g_assert_cmpuint (vddk_slots_get_limit (many[2]), ==, 2);
    g_assert_true (vddk_slots_take (many[3], &taken, &error));
    make_old (limit, 1);
    vddk_slots_lower (many[3]);
    g_assert_cmpuint (vddk_slots_get_limit (many[2]), ==, 1);
    /* One is always left. */
    make_old (limit, 1);
    vddk_slots_lower (many[2]);
    g_assert_cmpuint (vddk_slots_get_limit (many[2]), ==, 1);
    g_assert_true (vddk_slots_take (many[0], &taken, &error));
    g_assert_false (vddk_slots_take (many[1], &taken, &error));
    /* What the host could not bear then, it may bear now. */
    make_old (limit, 20);
    g_assert_cmpuint (vddk_slots_get_limit (many[2]), ==, 3);
    g_assert_true (vddk_slots_take (many[1], &taken, &error));
    for (int i = 0; i < 4; i++)
        vddk_slots_free (many[i]);
    g_assert_true (g_file_set_contents (limit, "nonsense\n", -1, NULL));
    many[0] = vddk_slots_new (folder, 3, "an-import", &error);
    g_assert_cmpuint (vddk_slots_get_limit (many[0]), ==, 3);
    vddk_slots_free (many[0]);
    remove_folder (folder);
    g_assert_null (vddk_slots_new (folder, 3, "an-import", &error));
    g_assert_nonnull (strstr (error.text, folder));
}

/* Who waits is told who has them; who has one sees that it is wanted; each until the wait is over, however it ends. */
static void
test_slots_are_waited_for (void)
{
    struct vddk_error error;
    struct vddk_slots_taken taken;
    g_autofree char *folder = new_folder (), *host = g_path_get_basename (folder);
    static const char *const owners[] = { "one", "two", "two", "three" };
    struct vddk_slots *have[4], *waits = vddk_slots_new (folder, 4, "one", &error),
                                *also = vddk_slots_new (folder, 4, "four", &error);
    for (size_t i = 0; i < G_N_ELEMENTS (have); i++)
    {
        have[i] = vddk_slots_new (folder, 4, owners[i], &error);
        g_assert_true (vddk_slots_take (have[i], &taken, &error));
        g_assert_false (vddk_slots_is_wanted (have[0]));
    }
    g_assert_cmpstr (vddk_slots_get_host (waits), ==, host);
    g_assert_false (vddk_slots_take (waits, &taken, &error));
    g_assert_cmpuint (taken.limit, ==, 4);
    g_assert_cmpuint (taken.ours, ==, 1);
    g_assert_cmpuint (taken.theirs, ==, 3);
    g_assert_cmpuint (taken.owners, ==, 2);
    g_assert_true (vddk_slots_is_wanted (have[0]));
    g_assert_false (vddk_slots_take (also, &taken, &error));
    vddk_slots_stop_waiting (waits);
    g_assert_true (vddk_slots_is_wanted (have[0]));
    vddk_slots_free (also);
    g_assert_false (vddk_slots_is_wanted (have[0]));
    g_assert_false (vddk_slots_take (waits, &taken, &error));
    vddk_slots_give_back (have[3]);
    g_assert_true (vddk_slots_take (waits, &taken, &error));
    g_assert_false (vddk_slots_is_wanted (have[0]));
    for (size_t i = 0; i < G_N_ELEMENTS (have); i++)
        vddk_slots_free (have[i]);
    vddk_slots_free (waits);
    remove_folder (folder);
}

/* --- what it waits for, in a file --- */

static void
test_mark (void)
{
    g_autofree char *folder = new_folder (), *path = g_build_filename (folder, "waiting", NULL), *text = NULL;
    struct vddk_mark mark = { .path = path };
    g_assert_true (vddk_mark_set (&mark, "waiting for one thing"));
    g_assert_false (vddk_mark_set (&mark, "waiting for one thing"));
    g_assert_true (vddk_mark_set (&mark, "waiting for another"));
    g_assert_true (g_file_get_contents (path, &text, NULL, NULL));
    g_assert_cmpstr (text, ==, "waiting for another");
    vddk_mark_clear (&mark);
    g_assert_false (g_file_test (path, G_FILE_TEST_EXISTS));
    vddk_mark_clear (&mark);
    mark.path = NULL;
    g_assert_true (vddk_mark_set (&mark, "nobody looks"));
    vddk_mark_clear (&mark);
    remove_folder (folder);
}

/* --- temporary files --- */

static char *
make_left_over (const char *folder, const char *name, bool with_lock)
{
    char *path = g_build_filename (folder, name, NULL);
    g_autofree char *lock = g_build_filename (path, "lock", NULL), *deep = g_build_filename (path, "tmp", "a", NULL);
    g_assert_cmpint (g_mkdir_with_parents (deep, 0700), ==, 0);
    if (with_lock)
        g_assert_true (g_file_set_contents (lock, "", -1, NULL));
    return path;
}

static void
test_temp (void)
{
    struct vddk_error error;
    struct vddk_temp temp, other;
    g_autofree char *folder = new_folder (), *user = g_build_filename (folder, "user.conf", NULL), *text = NULL;
    g_autofree char *dead = make_left_over (folder, "vmferry-vddk.dead00", true),
                    *young = make_left_over (folder, "vmferry-vddk.young0", false),
                    *old = make_left_over (folder, "vmferry-vddk.old000", false),
                    *foreign = make_left_over (folder, "somebody-else", true);
    make_old (old, 60 * 24 * 365);
    g_setenv ("TMPDIR", folder, TRUE);
    g_assert_true (g_file_set_contents (user, "vixDiskLib.nfc.LogLevel=4", -1, NULL));
    g_assert_true (vddk_temp_make (&temp, user, &error));
    g_assert_true (vddk_temp_make (&other, NULL, &error));
    g_assert_true (g_str_has_prefix (temp.directory, folder));
    g_assert_true (g_file_test (temp.directory, G_FILE_TEST_IS_DIR)); /* the other has not swept it */
    g_assert_false (g_file_test (dead, G_FILE_TEST_EXISTS));
    g_assert_false (g_file_test (old, G_FILE_TEST_EXISTS));
    g_assert_true (g_file_test (young, G_FILE_TEST_EXISTS));
    g_assert_true (g_file_test (foreign, G_FILE_TEST_EXISTS));
    g_assert_true (g_file_get_contents (temp.config, &text, NULL, NULL));
    g_autofree char *expected =
        g_strdup_printf ("vixDiskLib.nfc.LogLevel=4\ntmpDirectory=\"%s/tmp\"\n", temp.directory);
    g_assert_cmpstr (text, ==, expected);
    vddk_temp_remove (&temp);
    vddk_temp_remove (&other);
    vddk_temp_remove (&other);
    g_assert_false (vddk_temp_make (&temp, "/nonexistent/file", &error));
    g_assert_nonnull (strstr (error.text, "config=/nonexistent/file"));
    g_assert_null (temp.directory);
    g_unsetenv ("TMPDIR");
    remove_folder (folder);
}

/* --- jobs --- */

static void
test_jobs (void)
{
    struct vddk_job_queue queue = { 0 };
    struct vddk_job_pool pool = { .bytes_max = 8192 };
    struct vddk_job *a = vddk_job_new (&pool, 4096), *b = vddk_job_new (&pool, 4096), *c = vddk_job_new (&pool, 0);
    vddk_job_push (&queue, a);
    vddk_job_push (&queue, b);
    vddk_job_push_front (&queue, c);
    vddk_job_remove (&queue, b);
    vddk_job_push (&queue, b);
    vddk_job_remove (&queue, c);
    g_assert_true (vddk_job_pop (&queue) == a);
    g_assert_true (vddk_job_pop (&queue) == b);
    g_assert_null (vddk_job_pop (&queue));
    vddk_job_push_front (&queue, c);
    vddk_job_push (&queue, a);
    g_assert_true (vddk_job_pop (&queue) == c && vddk_job_pop (&queue) == a && !queue.first && !queue.last);
    vddk_job_recycle (&pool, c);
    vddk_job_recycle (&pool, a);
    g_assert_cmpuint (pool.bytes, ==, 4096);
    g_assert_true (vddk_job_new (&pool, 100) == a);
    g_assert_cmpuint (pool.bytes, ==, 0);
    vddk_job_recycle (&pool, a);
    vddk_job_recycle (&pool, b);
    struct vddk_job *large = vddk_job_new (&pool, 65536);
    g_assert_cmpuint (large->room, ==, 65536);
    vddk_job_recycle (&pool, large); /* does not fit, is freed */
    g_assert_cmpuint (pool.bytes, ==, 8192);
    vddk_job_free_all (&pool);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    said = g_string_new (NULL);
    g_test_add_func ("/vddk/map/questions", test_map_questions);
    g_test_add_func ("/vddk/map/answers", test_map_answers);
    g_test_add_func ("/vddk/map/random", test_map_random);
    g_test_add_func ("/vddk/words", test_words);
    g_test_add_func ("/vddk/refusals", test_refusals);
    g_test_add_func ("/vddk/log/secrets", test_log_hides_secrets);
    g_test_add_func ("/vddk/slots", test_slots);
    g_test_add_func ("/vddk/slots-are-waited-for", test_slots_are_waited_for);
    g_test_add_func ("/vddk/mark", test_mark);
    g_test_add_func ("/vddk/temp", test_temp);
    g_test_add_func ("/vddk/jobs", test_jobs);
    int failed = g_test_run ();
    g_string_free (said, TRUE);
    return failed;
}
