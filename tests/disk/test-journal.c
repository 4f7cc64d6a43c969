/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Journals: what was appended is there when one is opened again, up to the first byte that is missing or wrong. */
#include "base/error.h"
#include "disk/journal.h"
#include "fixture.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum
{
    BLOCK = VMF_BLOCK_BYTES,
    HEADER = 4096,
    SIZE = 100 * BLOCK + 512, /* the last block is not whole */
    RECORDS_MAX = 8,
};

static const struct vmf_journal_subject subject = { "/images/a.vmdk", "/pool/a.qcow2", "qcow2", SIZE };

struct setting
{
    char *folder, *path;
};

static void
set_up (struct setting *s)
{
    s->folder = fixture_folder ();
    s->path = g_build_filename (s->folder, "sda.journal", NULL);
}

static void
tear_down (struct setting *s)
{
    fixture_remove (s->folder);
    g_free (s->path);
}

static struct vmf_journal *
must_open (const struct setting *s, enum vmf_journal_state state)
{
    GError *error = NULL;
    struct vmf_journal *journal = vmf_journal_open (s->path, &subject, &error);
    g_assert_no_error (error);
    g_assert_cmpint (vmf_journal_get_state (journal), ==, state);
    return journal;
}

static void
assert_refused (const struct setting *s, const struct vmf_journal_subject *other, int code, const char *words)
{
    GError *error = NULL;
    g_assert_null (vmf_journal_open (s->path, other, &error));
    g_assert_error (error, VMF_ERROR, code);
    g_assert_nonnull (strstr (error->message, words));
    g_clear_error (&error);
}

static void
must_append (struct vmf_journal *journal, const struct vmf_journal_record *records, size_t n)
{
    GError *error = NULL;
    g_autoptr (GByteArray) bytes = g_byte_array_new ();
    for (size_t i = 0; i < n; i++)
        vmf_journal_encode (journal, bytes, &records[i]);
    vmf_journal_append (journal, bytes, &error);
    g_assert_no_error (error);
}

static struct vmf_journal *
must_begin (const struct setting *s)
{
    GError *error = NULL;
    struct vmf_journal *journal = must_open (s, VMF_JOURNAL_NEW);
    vmf_journal_begin (journal, &subject, &error);
    g_assert_no_error (error);
    return journal;
}

static off_t
length_of (const char *path)
{
    struct stat info;
    g_assert_cmpint (stat (path, &info), ==, 0);
    return info.st_size;
}

static void
assert_done (const struct vmf_journal *journal, uint32_t pass, const struct vmf_extents *expected)
{
    g_autoptr (vmf_extents) done = vmf_journal_done (journal, pass);
    g_assert_cmpuint (vmf_extents_count (done), ==, vmf_extents_count (expected));
    for (size_t i = 0; i < vmf_extents_count (done); i++)
    {
        g_assert_cmpuint (vmf_extents_nth (done, i).offset, ==, vmf_extents_nth (expected, i).offset);
        g_assert_cmpuint (vmf_extents_nth (done, i).length, ==, vmf_extents_nth (expected, i).length);
    }
}

/* Digests that can be told apart: the Nth is of the byte N. */
static const struct vmf_digest *
digests (unsigned first, unsigned n)
{
    static struct vmf_digest some[VMF_JOURNAL_BLOCKS_MAX];
    for (unsigned i = 0; i < n; i++)
        some[i] = (struct vmf_digest){ { (uint8_t)(first + i), 7 } };
    return some;
}

/* What was appended is done, in its own pass and in those before, and it can be appended to again. */
static void
test_again (void)
{
    struct setting s;
    set_up (&s);
    const struct vmf_journal_record first = { VMF_JOURNAL_PIECE, 0, 3 * BLOCK, 2 * BLOCK, digests (1, 2) };
    const struct vmf_journal_record second = { VMF_JOURNAL_MARK, 0, 0, BLOCK, NULL };
    g_autoptr (vmf_extents) expected = vmf_extents_new ();
    struct vmf_journal *journal = must_begin (&s);
    must_append (journal, &first, 1);
    vmf_journal_free (journal);
    journal = must_open (&s, VMF_JOURNAL_BEGUN);
    vmf_extents_add (expected, 3 * BLOCK, 2 * BLOCK);
    assert_done (journal, 0, expected);
    must_append (journal, &second, 1);
    assert_done (journal, 0, expected); /* as it was when opened */
    vmf_journal_free (journal);
    journal = must_open (&s, VMF_JOURNAL_BEGUN);
    vmf_extents_add (expected, 0, BLOCK);
    assert_done (journal, 0, expected);
    g_assert_false (vmf_journal_has_ended (journal));
    vmf_journal_free (journal);
    tear_down (&s);
}

/* A journal of some records. Gives where each ends, and what is done then. */
static size_t
make_records (const struct setting *s, off_t ends[RECORDS_MAX], struct vmf_extents *done[RECORDS_MAX])
{
    const struct vmf_journal_record records[] = {
        { VMF_JOURNAL_PIECE, 0, 0, BLOCK, digests (1, 1) },
        { VMF_JOURNAL_PIECE, 0, 8 * BLOCK, 4 * BLOCK, digests (2, 4) },
        { VMF_JOURNAL_MARK, 0, 0, 6 * BLOCK, NULL },
        { VMF_JOURNAL_PIECE, 0, 99 * BLOCK, BLOCK + 512, digests (6, 2) },
        { VMF_JOURNAL_MARK, 0, 0, 20 * BLOCK, NULL },
    };
    for (size_t i = 0; i < G_N_ELEMENTS (records); i++)
    {
        struct vmf_journal *journal = i == 0 ? must_begin (s) : must_open (s, VMF_JOURNAL_BEGUN);
        must_append (journal, &records[i], 1);
        vmf_journal_free (journal);
        ends[i] = length_of (s->path);
        done[i] = vmf_extents_new ();
        if (i > 0)
            vmf_extents_add_all (done[i], done[i - 1]);
        vmf_extents_add (done[i], records[i].offset, records[i].length);
    }
    return G_N_ELEMENTS (records);
}

static void
assert_records (const struct setting *s, size_t n, const off_t *ends, struct vmf_extents *const *done)
{
    g_autoptr (vmf_extents) nothing = vmf_extents_new ();
    const struct vmf_journal_record more = { VMF_JOURNAL_PIECE, 0, 50 * BLOCK, BLOCK, digests (9, 1) };
    struct vmf_journal *journal = must_open (s, VMF_JOURNAL_BEGUN);
    assert_done (journal, 0, n ? done[n - 1] : nothing);
    g_assert_cmpint (length_of (s->path), ==, n ? ends[n - 1] : HEADER); /* the rest is cut off */
    must_append (journal, &more, 1);
    vmf_journal_free (journal);
    g_autoptr (vmf_extents) expected = vmf_extents_new ();
    vmf_extents_add_all (expected, n ? done[n - 1] : nothing);
    vmf_extents_add (expected, more.offset, more.length);
    journal = must_open (s, VMF_JOURNAL_BEGUN);
    assert_done (journal, 0, expected);
    vmf_journal_free (journal);
}

static void
put_back (const struct setting *s, const char *bytes, gsize length)
{
    g_autoptr (GError) error = NULL;
    g_file_set_contents (s->path, bytes, (gssize)length, &error);
    g_assert_no_error (error);
}

/* Cut anywhere: the whole records count. Without a whole header it was never begun. */
static void
test_torn (void)
{
    struct setting s;
    off_t ends[RECORDS_MAX];
    struct vmf_extents *done[RECORDS_MAX];
    g_autofree char *bytes = NULL;
    gsize length;
    set_up (&s);
    size_t n = make_records (&s, ends, done);
    g_assert_true (g_file_get_contents (s.path, &bytes, &length, NULL));
    for (gsize cut = HEADER; cut <= length; cut++)
    {
        size_t whole = 0;
        while (whole < n && ends[whole] <= (off_t)cut)
            whole++;
        put_back (&s, bytes, cut);
        assert_records (&s, whole, ends, done);
    }
    for (gsize cut = 0; cut < HEADER; cut += 273)
    {
        put_back (&s, bytes, cut);
        vmf_journal_free (must_open (&s, VMF_JOURNAL_EMPTY));
    }
    for (size_t i = 0; i < n; i++)
        vmf_extents_free (done[i]);
    tear_down (&s);
}

/* One wrong bit: its record and what follows do not count. In the header: refused. */
static void
test_flipped (void)
{
    struct setting s;
    off_t ends[RECORDS_MAX];
    struct vmf_extents *done[RECORDS_MAX];
    g_autofree char *bytes = NULL;
    gsize length;
    set_up (&s);
    size_t n = make_records (&s, ends, done);
    g_assert_true (g_file_get_contents (s.path, &bytes, &length, NULL));
    for (gsize at = HEADER; at < length; at++)
    {
        size_t whole = 0;
        while (ends[whole] <= (off_t)at)
            whole++;
        bytes[at] = (char)(bytes[at] ^ (1 << at % 8));
        put_back (&s, bytes, length);
        assert_records (&s, whole, ends, done);
        bytes[at] = (char)(bytes[at] ^ (1 << at % 8));
    }
    for (gsize at = 0; at < HEADER; at += 39)
    {
        bytes[at] = (char)(bytes[at] ^ 1);
        put_back (&s, bytes, length);
        assert_refused (&s, &subject, VMF_ERROR_CORRUPT, "is not a journal");
        g_assert_cmpint (length_of (s.path), ==, (off_t)length);
        bytes[at] = (char)(bytes[at] ^ 1);
    }
    for (size_t i = 0; i < n; i++)
        vmf_extents_free (done[i]);
    tear_down (&s);
}

/* A kill leaves room for records behind the last one: it is no record, and the next one stands where it should. */
static void
test_killed (void)
{
    struct setting s;
    set_up (&s);
    GError *error = NULL;
    g_autofree char *left = NULL;
    gsize length;
    const struct vmf_journal_record first = { VMF_JOURNAL_PIECE, 1, 0, 2 * BLOCK, digests (1, 2) },
                                    second = { VMF_JOURNAL_MARK, 1, 4 * BLOCK, BLOCK, NULL };
    g_autoptr (vmf_extents) expected = vmf_extents_new ();
    struct vmf_journal *journal = must_begin (&s);
    must_append (journal, &first, 1);
    g_assert_true (g_file_get_contents (s.path, &left, &length, NULL));
    vmf_journal_free (journal);
    off_t end = length_of (s.path);
    g_assert_cmpint (end, ==, HEADER + 40 + 2 * 16);
    g_assert_cmpint (end, <, length);
    g_file_set_contents (s.path, left, (gssize)length, &error);
    g_assert_no_error (error);
    journal = must_open (&s, VMF_JOURNAL_BEGUN);
    vmf_extents_add (expected, 0, 2 * BLOCK);
    assert_done (journal, 1, expected);
    must_append (journal, &second, 1);
    vmf_journal_free (journal);
    g_assert_cmpint (length_of (s.path), ==, end + 40);
    journal = must_open (&s, VMF_JOURNAL_BEGUN);
    vmf_extents_add (expected, 4 * BLOCK, BLOCK);
    assert_done (journal, 1, expected);
    vmf_journal_free (journal);
    tear_down (&s);
}

/* Behind a journal that was begun anew in the same file may lie records of the old one. */
static void
test_other_journals_records (void)
{
    struct setting s, other;
    off_t ends[RECORDS_MAX];
    struct vmf_extents *done[RECORDS_MAX];
    g_autofree char *old = NULL, *fresh = NULL;
    gsize old_length, fresh_length;
    set_up (&s);
    set_up (&other);
    size_t n = make_records (&other, ends, done);
    g_assert_true (g_file_get_contents (other.path, &old, &old_length, NULL));
    vmf_journal_free (must_begin (&s));
    g_assert_true (g_file_get_contents (s.path, &fresh, &fresh_length, NULL));
    g_assert_cmpuint (fresh_length, ==, HEADER);
    memcpy (old, fresh, HEADER);
    put_back (&s, old, old_length);
    assert_records (&s, 0, ends, done);
    for (size_t i = 0; i < n; i++)
        vmf_extents_free (done[i]);
    tear_down (&s);
    tear_down (&other);
}

static void
test_other_subject (void)
{
    struct setting s;
    off_t ends[RECORDS_MAX];
    struct vmf_extents *done[RECORDS_MAX];
    const struct vmf_journal_subject others[] = { { "/images/b.vmdk", subject.target, subject.format, SIZE },
                                                  { subject.source, "/pool/b.qcow2", subject.format, SIZE },
                                                  { subject.source, subject.target, "raw", SIZE },
                                                  { subject.source, subject.target, subject.format, SIZE + 512 } };
    const char *words[] = { "/images/b.vmdk", "/pool/b.qcow2", "format is qcow2, not raw", "size in bytes" };
    set_up (&s);
    size_t n = make_records (&s, ends, done);
    for (size_t i = 0; i < G_N_ELEMENTS (others); i++)
        assert_refused (&s, &others[i], VMF_ERROR_CORRUPT, words[i]);
    assert_records (&s, n, ends, done); /* nothing was cut off */
    for (size_t i = 0; i < n; i++)
        vmf_extents_free (done[i]);
    tear_down (&s);
}

static void
test_second_opener (void)
{
    struct setting s;
    set_up (&s);
    struct vmf_journal *journal = must_open (&s, VMF_JOURNAL_NEW);
    assert_refused (&s, &subject, VMF_ERROR_EXISTS, "another vmferry");
    vmf_journal_free (journal);
    journal = must_open (&s, VMF_JOURNAL_EMPTY);
    g_assert_true (vmf_journal_begin (journal, &subject, NULL));
    assert_refused (&s, &subject, VMF_ERROR_EXISTS, "another vmferry");
    vmf_journal_free (journal);
    vmf_journal_free (must_open (&s, VMF_JOURNAL_BEGUN));
    tear_down (&s);
}

/* A later pass's work is done for the earlier ones too; "again" takes back only what its own pass did. */
static void
test_passes (void)
{
    struct setting s;
    const struct vmf_journal_record records[] = {
        { VMF_JOURNAL_MARK, 0, 0, 50 * BLOCK, NULL },
        { VMF_JOURNAL_PIECE, 1, 10 * BLOCK, 4 * BLOCK, digests (1, 4) },
        { VMF_JOURNAL_PIECE, 2, 60 * BLOCK, BLOCK, digests (5, 1) },
        { VMF_JOURNAL_AGAIN, 1, 12 * BLOCK, BLOCK, NULL },
        { VMF_JOURNAL_AGAIN, 0, 12 * BLOCK, 5 * BLOCK, NULL },
        { VMF_JOURNAL_PIECE, 0, 16 * BLOCK, BLOCK, digests (6, 1) },
    };
    set_up (&s);
    struct vmf_journal *journal = must_begin (&s);
    must_append (journal, records, G_N_ELEMENTS (records));
    vmf_journal_free (journal);
    journal = must_open (&s, VMF_JOURNAL_BEGUN);
    g_autoptr (vmf_extents) expected = vmf_extents_new ();
    assert_done (journal, 3, expected);
    vmf_extents_add (expected, 60 * BLOCK, BLOCK);
    assert_done (journal, 2, expected);
    vmf_extents_add (expected, 10 * BLOCK, 2 * BLOCK);
    vmf_extents_add (expected, 13 * BLOCK, BLOCK);
    assert_done (journal, 1, expected);
    vmf_extents_add (expected, 0, 12 * BLOCK);
    vmf_extents_add (expected, 16 * BLOCK, 34 * BLOCK);
    assert_done (journal, 0, expected);
    vmf_journal_free (journal);
    tear_down (&s);
}

static void
assert_known (const struct vmf_digest_table *table, uint64_t block, bool expected, uint8_t digest)
{
    struct vmf_digest found;
    bool known;
    g_assert_true (vmf_digest_table_get (table, block, 1, &found, &known, NULL));
    g_assert_cmpint (known, ==, expected);
    if (known)
        g_assert_cmpint (found.bytes[0], ==, digest);
}

/* The table has what was said last of each block; zeroes are known, holes and what is needed again are not. */
static void
test_table (void)
{
    struct setting s;
    GError *error = NULL;
    const struct vmf_digest zero = { { 0 } };
    struct vmf_digest first[4], last[2], anew[1];
    memcpy (first, digests (1, 4), sizeof first);
    memcpy (last, digests (11, 2), sizeof last);
    memcpy (anew, digests (21, 1), sizeof anew);
    const struct vmf_journal_record records[] = {
        { VMF_JOURNAL_MARK, 0, 0, 10 * BLOCK, NULL },
        { VMF_JOURNAL_PIECE, 0, 10 * BLOCK, 4 * BLOCK, first },
        { VMF_JOURNAL_PIECE, 0, 30 * BLOCK, BLOCK, &zero },
        { VMF_JOURNAL_PIECE, 0, 40 * BLOCK, BLOCK, NULL }, /* without digests */
        { VMF_JOURNAL_PIECE, 0, 99 * BLOCK, BLOCK + 512, last },
        { VMF_JOURNAL_AGAIN, 0, 11 * BLOCK, 2 * BLOCK, NULL },
        { VMF_JOURNAL_PIECE, 1, 12 * BLOCK, BLOCK, anew },
    };
    set_up (&s);
    struct vmf_journal *journal = must_begin (&s);
    must_append (journal, records, G_N_ELEMENTS (records));
    g_autoptr (vmf_digest_table) table = vmf_journal_table (journal, &error);
    g_assert_no_error (error);
    g_assert_cmpuint (vmf_digest_table_size (table), ==, SIZE);
    assert_known (table, 0, false, 0);
    assert_known (table, 10, true, 1);
    assert_known (table, 11, false, 0);
    assert_known (table, 12, true, 21);
    assert_known (table, 13, true, 4);
    assert_known (table, 30, true, 0);
    assert_known (table, 40, false, 0);
    assert_known (table, 99, true, 11);
    assert_known (table, 100, true, 12);
    g_autoptr (vmf_extents) known = vmf_digest_table_known (table, &error);
    g_assert_no_error (error);
    const struct vmf_extent expected[] = {
        { 10 * BLOCK, BLOCK }, { 12 * BLOCK, 2 * BLOCK }, { 30 * BLOCK, BLOCK }, { 99 * BLOCK, BLOCK + 512 }
    };
    g_assert_cmpuint (vmf_extents_count (known), ==, G_N_ELEMENTS (expected));
    for (size_t i = 0; i < G_N_ELEMENTS (expected); i++)
    {
        g_assert_cmpuint (vmf_extents_nth (known, i).offset, ==, expected[i].offset);
        g_assert_cmpuint (vmf_extents_nth (known, i).length, ==, expected[i].length);
    }
    vmf_journal_free (journal);
    tear_down (&s);
}

/* A journal of some megabytes, read in chunks: every record of it. */
static void
test_long (void)
{
    enum
    {
        PIECES = 20000,
    };
    struct setting s;
    struct vmf_journal_subject large = subject;
    g_autoptr (GByteArray) bytes = g_byte_array_new ();
    GError *error = NULL;
    set_up (&s);
    large.size_bytes = (uint64_t)PIECES * VMF_JOURNAL_BLOCKS_MAX * BLOCK;
    struct vmf_journal *journal = vmf_journal_open (s.path, &large, &error);
    g_assert_true (vmf_journal_begin (journal, &large, NULL));
    uint64_t offset = 0;
    for (unsigned i = 0; i < PIECES; i++)
    {
        unsigned blocks = 1 + i % VMF_JOURNAL_BLOCKS_MAX;
        struct vmf_journal_record record = { VMF_JOURNAL_PIECE, 0, offset, blocks * (uint64_t)BLOCK,
                                             digests (i, blocks) };
        vmf_journal_encode (journal, bytes, &record);
        offset += record.length;
    }
    g_assert_true (vmf_journal_append (journal, bytes, NULL));
    vmf_journal_free (journal);
    journal = vmf_journal_open (s.path, &large, &error);
    g_assert_no_error (error);
    g_autoptr (vmf_extents) done = vmf_journal_done (journal, 0);
    g_assert_cmpuint (vmf_extents_count (done), ==, 1);
    g_assert_cmpuint (vmf_extents_total (done), ==, offset);
    g_autoptr (vmf_digest_table) table = vmf_journal_table (journal, &error);
    g_assert_no_error (error);
    g_autoptr (vmf_extents) known = vmf_digest_table_known (table, &error);
    g_assert_cmpuint (vmf_extents_total (known), ==, offset);
    vmf_journal_free (journal);
    tear_down (&s);
}

/* The end is the end only while nothing follows. */
static void
test_end (void)
{
    struct setting s;
    const struct vmf_journal_record records[] = { { .kind = VMF_JOURNAL_END },
                                                  { VMF_JOURNAL_MARK, 0, 0, BLOCK, NULL } };
    set_up (&s);
    for (size_t n = 1; n <= 2; n++)
    {
        struct vmf_journal *journal = must_begin (&s);
        must_append (journal, records, n);
        vmf_journal_free (journal);
        journal = must_open (&s, VMF_JOURNAL_BEGUN);
        g_assert_cmpint (vmf_journal_has_ended (journal), ==, n == 1);
        vmf_journal_free (journal);
        g_unlink (s.path);
    }
    tear_down (&s);
}

/* Nothing outside the disk is ever believed, nor a file that is none of ours, nor a link. */
static void
test_not_ours (void)
{
    struct setting s;
    set_up (&s);
    g_autofree char *noise = g_strnfill (3 * HEADER, 'x'), *link = g_build_filename (s.folder, "link", NULL);
    put_back (&s, noise, 3 * HEADER);
    assert_refused (&s, &subject, VMF_ERROR_CORRUPT, "is not a journal");
    g_assert_cmpint (symlink (s.path, link), ==, 0);
    g_autoptr (GError) error = NULL;
    g_assert_null (vmf_journal_open (link, &subject, &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_FAILED);
    g_unlink (s.path);
    struct vmf_journal *journal = must_begin (&s);
    const struct vmf_journal_record beyond = { VMF_JOURNAL_MARK, 0, SIZE, BLOCK, NULL };
    must_append (journal, &beyond, 1);
    vmf_journal_free (journal);
    g_autoptr (vmf_extents) nothing = vmf_extents_new ();
    journal = must_open (&s, VMF_JOURNAL_BEGUN);
    assert_done (journal, 0, nothing);
    vmf_journal_free (journal);
    tear_down (&s);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/disk/journal/open-again", test_again);
    g_test_add_func ("/disk/journal/cut-at-every-byte", test_torn);
    g_test_add_func ("/disk/journal/room-left-by-a-kill", test_killed);
    g_test_add_func ("/disk/journal/bit-flipped-in-every-byte", test_flipped);
    g_test_add_func ("/disk/journal/records-of-another-journal", test_other_journals_records);
    g_test_add_func ("/disk/journal/other-subject-refused", test_other_subject);
    g_test_add_func ("/disk/journal/second-opener-refused", test_second_opener);
    g_test_add_func ("/disk/journal/passes", test_passes);
    g_test_add_func ("/disk/journal/table", test_table);
    g_test_add_func ("/disk/journal/longer-than-a-chunk", test_long);
    g_test_add_func ("/disk/journal/end", test_end);
    g_test_add_func ("/disk/journal/not-ours", test_not_ours);
    return g_test_run ();
}
