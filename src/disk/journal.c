/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The journal's file and the table that is made from it. */
#include "disk/journal.h"
#include "base/error.h"
#include "disk/zero.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum
{
    HEADER_BYTES = 4096,
    FORMAT = 1,
    HEAD_BYTES = 40, /* of a record: kind, pass, offset, length, blocks, journal's id, checksum */
    RECORD_MAX_BYTES = HEAD_BYTES + VMF_JOURNAL_BLOCKS_MAX * (int)sizeof (struct vmf_digest),
    TABLE_STEP = 4096, /* digests moved at once */
    PASSES_MAX = 10000,
    AHEAD_BYTES = 256 * 1024, /* of zeroes: a record for each of 900 MiB */
};

struct vmf_journal
{
    char *path;
    int fd;
    enum vmf_journal_state state;
    uint32_t id; /* random: a record of another journal, left by a reused file, is never taken for ours */
    bool ended;
    uint64_t size_bytes, end;
    uint64_t ahead;  /* the file has zeroes from the end to here, of this process' making */
    GPtrArray *done; /* struct vmf_extents*: by pass, as it was when the journal was opened */
};

struct vmf_digest_table
{
    int fd;
    uint64_t size_bytes;
};

/* In the table all zeroes is "not known", so a block of zeroes needs another name. */
static const struct vmf_digest known_zero = { { 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
                                                255, 255 } };

static bool
fail (const struct vmf_journal *journal, const char *what, GError **error)
{
    g_set_error (error, VMF_ERROR, errno == ENOSPC ? VMF_ERROR_NO_SPACE : VMF_ERROR_FAILED,
                 "cannot %s the journal %s: %s", what, journal->path, g_strerror (errno));
    return false;
}

/* ---- numbers ---- */

static void
put (uint8_t *at, uint64_t value, size_t n)
{
    for (size_t i = 0; i < n; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t
get (const uint8_t *at, size_t n)
{
    uint64_t value = 0;
    for (size_t i = 0; i < n; i++)
        value |= (uint64_t)at[i] << (8 * i);
    return value;
}

/* ---- records ---- */

static uint32_t
blocks_of (uint64_t offset, uint64_t length)
{
    uint64_t first = offset / VMF_BLOCK_BYTES, end = (offset + length + VMF_BLOCK_BYTES - 1) / VMF_BLOCK_BYTES;
    return (uint32_t)(end - first);
}

void
vmf_journal_encode (const struct vmf_journal *journal, GByteArray *to, const struct vmf_journal_record *record)
{
    uint8_t head[HEAD_BYTES] = { 0 };
    uint32_t blocks = record->digests ? blocks_of (record->offset, record->length) : 0;
    put (head, record->kind, 4);
    put (head + 4, record->pass, 4);
    put (head + 8, record->offset, 8);
    put (head + 16, record->length, 8);
    put (head + 24, blocks, 4);
    put (head + 28, journal->id, 4);
    guint begin = to->len;
    g_byte_array_append (to, head, sizeof head);
    if (blocks > 0)
        g_byte_array_append (to, record->digests->bytes, blocks * (guint)sizeof (struct vmf_digest));
    struct vmf_digest check = vmf_digest_bytes (to->data + begin, to->len - begin);
    memcpy (to->data + begin + 32, check.bytes, 8);
}

/* Takes the record at the beginning of the N bytes at DATA. Gives its length; 0 where there is no whole, true one. */
static size_t
decode (const struct vmf_journal *journal, uint8_t *data, size_t n, struct vmf_journal_record *record)
{
    uint8_t check[8];
    if (n < HEAD_BYTES)
        return 0;
    uint64_t blocks = get (data + 24, 4);
    size_t length = HEAD_BYTES + (size_t)blocks * sizeof (struct vmf_digest);
    if (blocks > VMF_JOURNAL_BLOCKS_MAX || length > n || get (data + 28, 4) != journal->id)
        return 0;
    memcpy (check, data + 32, sizeof check);
    memset (data + 32, 0, sizeof check);
    struct vmf_digest right = vmf_digest_bytes (data, length);
    memcpy (data + 32, check, sizeof check);
    *record = (struct vmf_journal_record){ .kind = (enum vmf_journal_kind)get (data, 4),
                                           .pass = (uint32_t)get (data + 4, 4),
                                           .offset = get (data + 8, 8),
                                           .length = get (data + 16, 8),
                                           .digests = blocks ? (const void *)(data + HEAD_BYTES) : NULL };
    bool inside = record->offset <= journal->size_bytes && record->length <= journal->size_bytes - record->offset;
    bool counted = blocks == 0 || blocks == blocks_of (record->offset, record->length);
    return memcmp (check, right.bytes, sizeof check) == 0 && inside && counted ? length : 0;
}

/* Calls EACH for every true record. END gets where they end. */
typedef bool (*record_fn) (const struct vmf_journal_record *record, void *data, GError **error);
static bool
walk (const struct vmf_journal *journal, record_fn each, void *data, uint64_t *end, GError **error)
{
    enum
    {
        CHUNK = 1024 * 1024
    };
    g_autofree uint8_t *buffer = g_malloc (CHUNK);
    size_t have = 0, used = 0;
    uint64_t at = HEADER_BYTES; /* of buffer[used] */
    for (bool eof = false; !eof || used < have;)
    {
        struct vmf_journal_record record;
        memmove (buffer, buffer + used, have - used);
        have -= used;
        used = 0;
        ssize_t got = pread (journal->fd, buffer + have, CHUNK - have, (off_t)(at + have));
        if (got < 0)
            return fail (journal, "read", error);
        eof = got == 0;
        have += (size_t)got;
        for (size_t n; have - used >= RECORD_MAX_BYTES || eof; used += n, at += n)
        {
            n = decode (journal, buffer + used, have - used, &record);
            if (n == 0)
                return *end = at, true;
            if (!each (&record, data, error))
                return false;
        }
        if (have - used >= RECORD_MAX_BYTES)
            break;
    }
    *end = at;
    return true;
}

static bool
take_record (const struct vmf_journal_record *record, void *data, GError **error)
{
    struct vmf_journal *journal = data;
    if (record->pass >= PASSES_MAX)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT, "the journal %s speaks of pass %u", journal->path,
                     record->pass);
        return false;
    }
    journal->ended = record->kind == VMF_JOURNAL_END;
    while (journal->done->len <= record->pass)
        g_ptr_array_add (journal->done, vmf_extents_new ());
    struct vmf_extents *done = g_ptr_array_index (journal->done, record->pass);
    if (record->kind == VMF_JOURNAL_AGAIN)
        vmf_extents_remove (done, record->offset, record->length);
    else if (record->kind == VMF_JOURNAL_PIECE || record->kind == VMF_JOURNAL_MARK)
        vmf_extents_add (done, record->offset, record->length);
    return true;
}

/* ---- the file ---- */

static char *
header_text (const struct vmf_journal *journal, const struct vmf_journal_subject *subject)
{
    json_t *header = json_pack ("{s:s, s:i, s:s, s:s, s:s, s:I, s:I}", "kind", "vmferry journal", "version", FORMAT,
                                "source", subject->source, "target", subject->target, "format", subject->format,
                                "size_bytes", (json_int_t)subject->size_bytes, "id", (json_int_t)journal->id);
    g_autofree char *text = header ? json_dumps (header, JSON_COMPACT) : NULL;
    json_decref (header);
    return g_steal_pointer (&text);
}

bool
vmf_journal_begin (struct vmf_journal *journal, const struct vmf_journal_subject *subject, GError **error)
{
    uint8_t header[HEADER_BYTES];
    journal->id = g_random_int ();
    g_autofree char *text = header_text (journal, subject);
    if (!text || strlen (text) > HEADER_BYTES - 9)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE,
                     "the names of the source and the target are too long for a journal");
        return false;
    }
    memset (header, ' ', sizeof header);
    memcpy (header, text, strlen (text));
    header[HEADER_BYTES - 9] = '\n';
    memcpy (header + HEADER_BYTES - 8, vmf_digest_bytes (header, HEADER_BYTES - 8).bytes, 8);
    if (ftruncate (journal->fd, 0) != 0 || pwrite (journal->fd, header, sizeof header, 0) != (ssize_t)sizeof header
        || fsync (journal->fd) != 0)
        return fail (journal, "write", error);
    journal->end = HEADER_BYTES;
    return true;
}

static bool
refuse (const struct vmf_journal *journal, GError **error, const char *key, const char *was, const char *is)
{
    g_set_error (
        error, VMF_ERROR, VMF_ERROR_CORRUPT,
        "the journal %s is of another transfer: its %s is %s, not %s; give the one it was made for, or another "
        "work directory to begin anew",
        journal->path, key, was, is);
    return false;
}

static bool
check_subject (struct vmf_journal *journal, json_t *header, const struct vmf_journal_subject *subject, GError **error)
{
    const struct
    {
        const char *key, *is;
    } names[] = { { "source", subject->source }, { "target", subject->target }, { "format", subject->format } };
    g_autofree char *size = g_strdup_printf ("%" G_GUINT64_FORMAT, (guint64)subject->size_bytes);
    g_autofree char *had =
        g_strdup_printf ("%" JSON_INTEGER_FORMAT, json_integer_value (json_object_get (header, "size_bytes")));
    for (size_t i = 0; i < G_N_ELEMENTS (names); i++)
    {
        const char *was = json_string_value (json_object_get (header, names[i].key));
        if (g_strcmp0 (was, names[i].is) != 0)
            return refuse (journal, error, names[i].key, was ? was : "not said", names[i].is);
    }
    journal->id = (uint32_t)json_integer_value (json_object_get (header, "id"));
    return strcmp (size, had) == 0 || refuse (journal, error, "size in bytes", had, size);
}

static bool
read_header (struct vmf_journal *journal, const struct vmf_journal_subject *subject, GError **error)
{
    char header[HEADER_BYTES];
    ssize_t got = pread (journal->fd, header, sizeof header, 0);
    if (got < 0)
        return fail (journal, "read", error);
    bool whole = got == (ssize_t)sizeof header
                 && memcmp (header + HEADER_BYTES - 8, vmf_digest_bytes (header, HEADER_BYTES - 8).bytes, 8) == 0;
    json_t *json = whole ? json_loadb (header, HEADER_BYTES - 8, 0, NULL) : NULL;
    bool ours = g_strcmp0 (json_string_value (json_object_get (json, "kind")), "vmferry journal") == 0
                && json_integer_value (json_object_get (json, "version")) == FORMAT;
    if (!ours)
        g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT,
                     "%s is not a journal of this vmferry; remove it to begin anew", journal->path);
    bool good = ours && check_subject (journal, json, subject, error);
    json_decref (json);
    return good;
}

static bool
lock (struct vmf_journal *journal, GError **error)
{
    if (flock (journal->fd, LOCK_EX | LOCK_NB) == 0)
        return true;
    g_set_error (
        error, VMF_ERROR, VMF_ERROR_EXISTS,
        "the journal %s is in use: another vmferry copies this disk; wait for it, or use another work directory",
        journal->path);
    return false;
}

struct vmf_journal *
vmf_journal_open (const char *path, const struct vmf_journal_subject *subject, GError **error)
{
    g_autoptr (vmf_journal) journal = g_new0 (struct vmf_journal, 1);
    journal->path = g_strdup (path);
    journal->size_bytes = subject->size_bytes;
    journal->done = g_ptr_array_new_with_free_func ((GDestroyNotify)vmf_extents_free);
    journal->fd = open (path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (journal->fd >= 0)
        journal->state = VMF_JOURNAL_EMPTY;
    else if (errno == ENOENT)
        journal->fd = open (path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (journal->fd < 0)
        return fail (journal, "open", error), NULL;
    if (!lock (journal, error))
        return NULL;
    if (lseek (journal->fd, 0, SEEK_END) < HEADER_BYTES)
        return g_steal_pointer (&journal);
    journal->state = VMF_JOURNAL_BEGUN;
    if (!read_header (journal, subject, error) || !walk (journal, take_record, journal, &journal->end, error))
        return NULL;
    if (ftruncate (journal->fd, (off_t)journal->end) != 0)
        return fail (journal, "cut", error), NULL;
    return g_steal_pointer (&journal);
}

enum vmf_journal_state
vmf_journal_get_state (const struct vmf_journal *journal)
{
    return journal->state;
}

bool
vmf_journal_has_ended (const struct vmf_journal *journal)
{
    return journal->ended;
}

void
vmf_journal_free (struct vmf_journal *journal)
{
    if (!journal)
        return;
    if (journal->ahead > journal->end)
        (void)!ftruncate (journal->fd, (off_t)journal->end); /* what a kill leaves there is cut off by the next open */
    if (journal->fd >= 0)
        close (journal->fd);
    g_ptr_array_unref (journal->done);
    g_free (journal->path);
    g_free (journal);
}

struct vmf_extents *
vmf_journal_done (const struct vmf_journal *journal, uint32_t pass)
{
    struct vmf_extents *copy = vmf_extents_new ();
    for (guint i = pass; i < journal->done->len; i++)
        vmf_extents_add_all (copy, g_ptr_array_index (journal->done, i));
    return copy;
}

/* Zeroes where records will be. To sync a file that grows, the file system commits its own journal, and whoever writes
   to the target waits for that; to sync blocks that are there is one write. Zeroes are no record (their check is
   wrong). */
static void
write_ahead (struct vmf_journal *journal, uint64_t end)
{
    static const uint8_t zeroes[AHEAD_BYTES];
    if (end > journal->ahead && pwrite (journal->fd, zeroes, sizeof zeroes, (off_t)end) == (ssize_t)sizeof zeroes)
        journal->ahead = end + sizeof zeroes; /* else there is no room: then the records themselves say so */
}

bool
vmf_journal_append (struct vmf_journal *journal, const GByteArray *records, GError **error)
{
    for (guint written = 0; written < records->len;)
    {
        ssize_t n =
            pwrite (journal->fd, records->data + written, records->len - written, (off_t)(journal->end + written));
        if (n < 0 && errno != EINTR)
            return fail (journal, "write", error);
        written += n > 0 ? (guint)n : 0;
    }
    write_ahead (journal, journal->end + records->len);
    if (fdatasync (journal->fd) != 0)
        return fail (journal, "sync", error);
    journal->end += records->len;
    return true;
}

/* ---- the table ---- */

static bool
put_record (const struct vmf_journal_record *record, void *data, GError **error)
{
    struct vmf_digest digests[VMF_JOURNAL_BLOCKS_MAX];
    uint32_t blocks =
        record->kind == VMF_JOURNAL_AGAIN || record->digests ? blocks_of (record->offset, record->length) : 0;
    uint64_t at = record->offset / VMF_BLOCK_BYTES * sizeof digests[0], length = blocks * sizeof digests[0];
    int fd = *(int *)data;
    for (uint32_t i = 0; record->digests && i < blocks; i++)
        digests[i] = vmf_digest_is_zero (&record->digests[i]) ? known_zero : record->digests[i];
    if (record->digests ? pwrite (fd, digests, length, (off_t)at) == (ssize_t)length : vmf_zero_range (fd, at, length))
        return true;
    g_set_error (error, VMF_ERROR, errno == ENOSPC ? VMF_ERROR_NO_SPACE : VMF_ERROR_FAILED,
                 "cannot write the table of digests: %s", g_strerror (errno));
    return false;
}

struct vmf_digest_table *
vmf_journal_table (struct vmf_journal *journal, GError **error)
{
    g_autoptr (vmf_digest_table) table = g_new0 (struct vmf_digest_table, 1);
    g_autofree char *folder = g_path_get_dirname (journal->path);
    uint64_t end;
    table->size_bytes = journal->size_bytes;
    table->fd = open (folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (table->fd < 0)
        return fail (journal, "make a table beside", error), NULL;
    uint64_t blocks = blocks_of (0, journal->size_bytes);
    if (ftruncate (table->fd, (off_t)(blocks * sizeof (struct vmf_digest))) != 0)
        return fail (journal, "make a table beside", error), NULL;
    return walk (journal, put_record, &table->fd, &end, error) ? g_steal_pointer (&table) : NULL;
}

void
vmf_digest_table_free (struct vmf_digest_table *table)
{
    if (table && table->fd >= 0)
        close (table->fd);
    g_free (table);
}

uint64_t
vmf_digest_table_size (const struct vmf_digest_table *table)
{
    return table->size_bytes;
}

bool
vmf_digest_table_get (const struct vmf_digest_table *table, uint64_t block, size_t n, struct vmf_digest *digests,
                      bool *known, GError **error)
{
    size_t length = n * sizeof *digests;
    if (pread (table->fd, digests, length, (off_t)(block * sizeof *digests)) != (ssize_t)length)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "cannot read the table of digests: %s", g_strerror (errno));
        return false;
    }
    for (size_t i = 0; i < n; i++)
    {
        known[i] = !vmf_digest_is_zero (&digests[i]);
        if (vmf_digest_equal (&digests[i], &known_zero))
            digests[i] = (struct vmf_digest){ 0 };
    }
    return true;
}

/* The table is sparse where nothing is known, so its data is looked for with SEEK_DATA. */
struct vmf_extents *
vmf_digest_table_known (const struct vmf_digest_table *table, GError **error)
{
    g_autoptr (vmf_extents) known = vmf_extents_new ();
    uint64_t blocks = blocks_of (0, table->size_bytes);
    g_autofree struct vmf_digest *digests = g_new (struct vmf_digest, TABLE_STEP);
    bool is_known[TABLE_STEP];
    for (uint64_t at = 0; at < blocks;)
    {
        off_t data = lseek (table->fd, (off_t)(at * sizeof *digests), SEEK_DATA);
        if (data < 0)
            break;
        at = MAX (at, (uint64_t)data / sizeof *digests);
        size_t n = (size_t)MIN (blocks - at, (uint64_t)TABLE_STEP);
        if (!vmf_digest_table_get (table, at, n, digests, is_known, error))
            return NULL;
        for (size_t i = 0; i < n; i++)
            if (is_known[i])
                vmf_extents_add (known, (at + i) * VMF_BLOCK_BYTES,
                                 MIN ((uint64_t)VMF_BLOCK_BYTES, table->size_bytes - (at + i) * VMF_BLOCK_BYTES));
        at += n;
    }
    return g_steal_pointer (&known);
}
