/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmdk-file.h"
#include "vmdk-pool.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum
{
    TABLES_KEPT = 64,
};

struct table
{
    uint64_t number; /* plus one; 0: none is here */
    uint32_t entries[VMDK_TABLE_ENTRIES_MAX];
};

struct vmdk_file
{
    int fd;
    uint64_t offset, size;
    struct vmdk_header header;
    uint32_t *directory;
    struct vmdk_pool *pool;
    pthread_mutex_t lock;
    struct table tables[TABLES_KEPT]; /* under lock: the table NUMBER is in NUMBER modulo TABLES_KEPT, or nowhere */
};

/* Where a grain lies. */
struct place
{
    uint64_t at;
    size_t room; /* to the next grain, as far as the table tells: a hint */
};

static bool
read_at (const struct vmdk_file *file, uint64_t at, void *buffer, size_t length, const char *what,
         struct vmdk_error *error)
{
    uint8_t *to = buffer;
    if (at > file->size || length > file->size - at)
        return vmdk_fail (error,
                          "the %s should be at byte %" PRIu64 ", but the file ends at byte %" PRIu64
                          ": it is cut off; copy it again",
                          what, at, file->size);
    while (length > 0)
    {
        ssize_t n = pread (file->fd, to, length, (off_t)(file->offset + at));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return vmdk_fail (error, "the %s at byte %" PRIu64 " cannot be read: %s", what, at,
                              n < 0 ? strerror (errno) : "the file ends there now");
        to += n;
        at += (uint64_t)n;
        length -= (size_t)n;
    }
    return true;
}

static bool
byte_of_sector (uint64_t sector, const char *what, uint64_t *at, struct vmdk_error *error)
{
    return !__builtin_mul_overflow (sector, (uint64_t)VMDK_SECTOR, at)
           || vmdk_fail (error, "the %s should be at sector %" PRIu64 ", which is absurd", what, sector);
}

/* The footer's marker, the footer, the end's marker: the last three sectors. */
static bool
read_footer (struct vmdk_file *file, struct vmdk_error *error)
{
    uint8_t sectors[3 * VMDK_SECTOR];
    uint64_t end = file->size & ~(uint64_t)(VMDK_SECTOR - 1);
    if (end < 4 * VMDK_SECTOR)
        return vmdk_fail (error, "the file has %" PRIu64 " bytes, too few for a header and a footer: it is cut off",
                          file->size);
    if (!read_at (file, end - sizeof sectors, sectors, sizeof sectors, "footer", error))
        return false;
    struct vmdk_marker before = vmdk_parse_marker (sectors, VMDK_SECTOR),
                       after = vmdk_parse_marker (sectors + 2 * VMDK_SECTOR, VMDK_SECTOR);
    if (before.size != 0 || before.type != VMDK_MARKER_FOOTER || after.size != 0 || after.type != VMDK_MARKER_END)
        return vmdk_fail (
            error, "no footer is before byte %" PRIu64 ", where the file ends: it is cut off; copy it again", end);
    if (!vmdk_parse_header (sectors + VMDK_SECTOR, "footer", &file->header, error))
        return false;
    return file->header.directory_sector != VMDK_AT_END
           || vmdk_fail (error, "the footer does not say where the grain directory is");
}

static bool
read_header (struct vmdk_file *file, struct vmdk_error *error)
{
    uint8_t sector[VMDK_SECTOR];
    return read_at (file, 0, sector, sizeof sector, "header", error)
           && vmdk_parse_header (sector, "header", &file->header, error)
           && (file->header.directory_sector != VMDK_AT_END || read_footer (file, error));
}

static bool
read_directory (struct vmdk_file *file, struct vmdk_error *error)
{
    uint64_t n = vmdk_count_tables (&file->header), at;
    if (!byte_of_sector (file->header.directory_sector, "grain directory", &at, error))
        return false;
    if (n * 4 > file->size)
        return vmdk_fail (
            error, "a grain directory for so large a disk takes %" PRIu64 " bytes, more than the file has", n * 4);
    file->directory = malloc (n * 4);
    if (!file->directory)
        return vmdk_fail (error, "out of memory");
    if (!read_at (file, at, file->directory, n * 4, "grain directory", error))
        return false;
    for (uint64_t i = 0; i < n; i++)
        file->directory[i] = le32toh (file->directory[i]);
    return true;
}

static bool
read_table (const struct vmdk_file *file, uint64_t number, uint32_t *entries, struct vmdk_error *error)
{
    uint64_t at = (uint64_t)file->directory[number] * VMDK_SECTOR;
    if (!read_at (file, at, entries, file->header.table_entries * sizeof *entries, "grain table", error))
        return false;
    for (uint32_t i = 0; i < file->header.table_entries; i++)
        entries[i] = le32toh (entries[i]);
    return true;
}

static uint64_t
first_grain (const struct vmdk_file *file, uint64_t table)
{
    return table * file->header.table_entries;
}

/* How many entries of this table are the disk's: fewer in the last one. */
static uint32_t
count_entries (const struct vmdk_file *file, uint64_t table)
{
    uint64_t left = vmdk_count_grains (&file->header) - first_grain (file, table);
    return left < file->header.table_entries ? (uint32_t)left : file->header.table_entries;
}

static bool
check_table (const struct vmdk_file *file, uint64_t number, struct vmdk_error *error)
{
    uint32_t entries[VMDK_TABLE_ENTRIES_MAX];
    if (!read_table (file, number, entries, error))
        return false;
    for (uint32_t i = 0; i < count_entries (file, number); i++)
        if (vmdk_entry_is_data (&file->header, entries[i])
            && (uint64_t)entries[i] * VMDK_SECTOR + VMDK_MARKER_BYTES >= file->size)
            return vmdk_fail (error,
                              "grain %" PRIu64 " should be at byte %" PRIu64 ", but the file ends at byte %" PRIu64
                              ": it is cut off; copy it again",
                              first_grain (file, number) + i, (uint64_t)entries[i] * VMDK_SECTOR, file->size);
    return true;
}

/* Tables do not overlap, so together they are never longer than the file: a directory that says otherwise would keep us
   reading the same ones again and again. */
static bool
check_tables (const struct vmdk_file *file, struct vmdk_error *error)
{
    uint64_t n = vmdk_count_tables (&file->header), table_bytes = file->header.table_entries * 4;
    uint64_t room = file->size / table_bytes;
    for (uint64_t i = 0; i < n; i++)
    {
        if (file->directory[i] == 0)
            continue;
        if (room-- == 0)
            return vmdk_fail (error, "the grain directory has more tables than the file can hold");
        if (!check_table (file, i, error))
            return false;
    }
    return true;
}

static bool
check_part (struct vmdk_file *file, struct vmdk_error *error)
{
    struct stat info;
    off_t end = fstat (file->fd, &info) == 0 && (S_ISREG (info.st_mode) || S_ISBLK (info.st_mode))
                    ? lseek (file->fd, 0, SEEK_END)
                    : -1;
    if (end < 0)
        return vmdk_fail (error, "it is neither a file nor a disk; what only arrives is read with stream=");
    if (file->offset > (uint64_t)end || file->size > (uint64_t)end - file->offset)
        return vmdk_fail (error, "bytes %" PRIu64 " to %" PRIu64 " should be the image, but the file ends at %" PRIu64,
                          file->offset, file->offset + file->size, (uint64_t)end);
    if (file->size == 0)
        file->size = (uint64_t)end - file->offset;
    return true;
}

struct vmdk_file *
vmdk_file_open (int fd, uint64_t offset, uint64_t size, struct vmdk_error *error)
{
    struct vmdk_file *file = calloc (1, sizeof *file);
    if (!file)
    {
        vmdk_fail (error, "out of memory");
        return NULL;
    }
    *file = (struct vmdk_file){ .fd = fd, .offset = offset, .size = size };
    pthread_mutex_init (&file->lock, NULL);
    bool good = check_part (file, error) && read_header (file, error) && read_directory (file, error)
                && check_tables (file, error);
    file->pool = good ? vmdk_pool_new (&file->header) : NULL;
    if (file->pool)
        return file;
    if (good)
        vmdk_fail (error, "out of memory");
    vmdk_file_free (file);
    return NULL;
}

void
vmdk_file_free (struct vmdk_file *file)
{
    if (!file)
        return;
    vmdk_pool_free (file->pool);
    pthread_mutex_destroy (&file->lock);
    free (file->directory);
    free (file);
}

const struct vmdk_header *
vmdk_file_get_header (const struct vmdk_file *file)
{
    return &file->header;
}

/* Under the lock. NULL with ERROR. */
static const uint32_t *
get_table (struct vmdk_file *file, uint64_t number, struct vmdk_error *error)
{
    struct table *table = &file->tables[number % TABLES_KEPT];
    if (table->number == number + 1)
        return table->entries;
    table->number = 0;
    if (!read_table (file, number, table->entries, error))
        return NULL;
    table->number = number + 1;
    return table->entries;
}

/* In a stream grains lie in the order of the disk, so the next entry tells how long this grain may be. */
static size_t
guess_room (const struct vmdk_file *file, const uint32_t *entries, uint32_t entry)
{
    uint32_t next = entry + 1;
    while (next < file->header.table_entries && !vmdk_entry_is_data (&file->header, entries[next]))
        next++;
    if (next < file->header.table_entries && entries[next] > entries[entry])
        return (size_t)(entries[next] - entries[entry]) * VMDK_SECTOR;
    return file->header.grain_bytes / 2;
}

static bool
find_grain (struct vmdk_file *file, uint64_t index, struct place *place, struct vmdk_error *error)
{
    uint64_t number = index / file->header.table_entries;
    uint32_t entry = (uint32_t)(index % file->header.table_entries);
    *place = (struct place){ 0 };
    if (file->directory[number] == 0)
        return true;
    pthread_mutex_lock (&file->lock);
    const uint32_t *entries = get_table (file, number, error);
    if (entries && vmdk_entry_is_data (&file->header, entries[entry]))
        *place = (struct place){ (uint64_t)entries[entry] * VMDK_SECTOR, guess_room (file, entries, entry) };
    pthread_mutex_unlock (&file->lock);
    return entries != NULL;
}

struct fetching
{
    struct vmdk_file *file;
    struct place place;
};

static size_t
smaller (uint64_t a, uint64_t b)
{
    return (size_t)(a < b ? a : b);
}

/* vmdk_fetch_fn: one read where the guess was good, two where it was too small. */
static bool
fetch_grain (void *data, uint64_t index, struct vmdk_worker *worker, const uint8_t **bytes, size_t *size,
             struct vmdk_error *error)
{
    const struct fetching *fetching = data;
    struct vmdk_file *file = fetching->file;
    uint64_t at = fetching->place.at, left = file->size > at ? file->size - at : 0;
    size_t most = smaller (left, VMDK_MARKER_BYTES + (size_t)vmdk_deflated_max (&file->header)),
           first = smaller (most, fetching->place.room);
    uint8_t *room = vmdk_worker_room (worker, first > VMDK_SECTOR ? first : VMDK_SECTOR);
    if (first < VMDK_MARKER_BYTES)
        first = VMDK_MARKER_BYTES; /* too short a file: read_at() says so */
    if (!room)
        return vmdk_fail (error, "out of memory");
    if (!read_at (file, at, room, first, "grain", error))
        return false;
    struct vmdk_marker marker = vmdk_parse_marker (room, first);
    size_t length = VMDK_MARKER_BYTES + (size_t)marker.size;
    if (!vmdk_check_grain (&file->header, &marker, at, error))
        return false;
    if (marker.value != index * (file->header.grain_bytes / VMDK_SECTOR))
        return vmdk_fail (
            error, "the grain at byte %" PRIu64 " is for sector %" PRIu64 ", but its table has it for sector %" PRIu64,
            at, marker.value, index * (file->header.grain_bytes / VMDK_SECTOR));
    room = vmdk_worker_room (worker, length);
    if (!room)
        return vmdk_fail (error, "out of memory");
    if (length > first && !read_at (file, at + first, room + first, length - first, "rest of a grain", error))
        return false;
    *bytes = room + VMDK_MARKER_BYTES;
    *size = marker.size;
    return true;
}

bool
vmdk_file_read (struct vmdk_file *file, uint64_t index, uint32_t within, uint32_t length, uint8_t *out,
                struct vmdk_error *error)
{
    struct fetching fetching = { .file = file };
    if (!find_grain (file, index, &fetching.place, error))
        return false;
    if (fetching.place.at != 0)
        return vmdk_pool_read (file->pool, index, within, length, out, fetch_grain, &fetching, error);
    memset (out, 0, length);
    return true;
}

bool
vmdk_file_run (struct vmdk_file *file, uint64_t index, uint64_t *grains, bool *data, struct vmdk_error *error)
{
    uint64_t number = index / file->header.table_entries;
    uint32_t first = (uint32_t)(index % file->header.table_entries), end = count_entries (file, number), i = end;
    *data = false;
    if (file->directory[number] != 0)
    {
        pthread_mutex_lock (&file->lock);
        const uint32_t *entries = get_table (file, number, error);
        *data = entries && vmdk_entry_is_data (&file->header, entries[first]);
        for (i = first + 1; entries && i < end && vmdk_entry_is_data (&file->header, entries[i]) == *data; i++)
            ;
        pthread_mutex_unlock (&file->lock);
        if (!entries)
            return false;
    }
    *grains = i - first;
    return true;
}
