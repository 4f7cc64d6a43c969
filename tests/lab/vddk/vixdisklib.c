/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A double of VMware's libvixDiskLib for tests: its symbols, raw files instead of a datastore, and no mercy.
 *
 * It declares what it needs of the interface by itself, so that a mistake in plugins/vddk-abi.h is found here. The file
 * that VMF_VDDK_DOUBLE_CONFIG names holds lines `key value` (README.md lists them). Breaking a rule of the library
 * ends the process by abort() with a sentence. With -DBEFORE_6_5 what came later than that is missing.
 *
 * double.h: configuration, limits that hold across processes, the log of calls; this file: the library's functions.
 */
#include "double.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

typedef uint64_t error_t64;
typedef void log_fn (const char *format, va_list args);
typedef void completion_fn (void *data, error_t64 result);

#define EXPORT __attribute__ ((visibility ("default")))

enum
{
    OK = 0,
    FAIL = 1,
    OUT_OF_MEMORY = 2,
    INVALID_ARGUMENT = 3,
    FILE_NOT_FOUND = 4,
    HOST_PERMISSIONS = 3014,
    CONNECTION_REFUSED = 14009,
    CONNECTION_LOST = 14011,
    OUT_OF_RANGE = 16007,
    ASYNC = 25000,
    SECTOR = 512,
    CHUNKS_MAX = 512 * 1024,
    CHUNK_MIN = 128,
};

/* VixDiskLibConnectParams */
typedef struct
{
    char *vmxSpec;
    char *serverName;
    char *thumbPrint;
    long privateUse;
    int credType; /* 1 user and password, 2 session */
    union
    {
        struct
        {
            char *userName;
            char *password;
        } uid;
        struct
        {
            char *cookie;
            char *userName;
            char *key;
        } sessionId;
    } creds;
    uint32_t port;
    uint32_t nfcHostPort;
    char *vimApiVer;
    char reserved[8];
    void *state;
    char *spec[3];
    int specType;
} ConnectParams;

typedef struct
{
    uint32_t biosGeo[3];
    uint32_t physGeo[3];
    uint64_t capacity;
    int adapterType;
    int numLinks;
    char *parentFileNameHint;
    char *uuid;
} Info;

typedef struct
{
    uint32_t numBlocks;
    struct
    {
        uint64_t offset;
        uint64_t length;
    } blocks[1];
} BlockList;

typedef struct
{
    char vm[128], snapshot[128], transports[128];
} Connection;

typedef struct operation
{
    struct operation *next;
    struct handle *handle;
    uint64_t offset, length;
    uint8_t *buffer;
    completion_fn *done;
    void *data;
    int64_t due_ns;
    error_t64 result;
} operation;

typedef struct handle
{
    int fd;
    uint64_t capacity; /* sectors */
    pthread_t io_thread;
    int io_thread_known, waited;
    atomic_int pending;
    int session; /* its slot among those of the host */
    Connection *connection;
} Handle;

static log_fn *say_log, *say_warn, *say_panic;
static pid_t initialised_in;
static atomic_int opening, connections, handles, params_out;
static atomic_ulong reads;
static char temporary_directory[512];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static operation *first, *last;
static pthread_t workers[16];
static int worker_count;

/* --- saying --- */

static void
pass_on (log_fn *fn, const char *format, ...)
{
    va_list args;
    va_start (args, format);
    fn (format, args);
    va_end (args);
}

#define LOG(...) pass_on (say_log, __VA_ARGS__)
#define WARN(...) pass_on (say_warn, __VA_ARGS__)

static void
must_be_initialised (const char *name)
{
    if (initialised_in == 0)
        double_broken ("%s before VixDiskLib_InitEx", name);
    if (initialised_in != getpid ())
        double_broken ("%s in a process that was forked after VixDiskLib_InitEx", name);
}

static void
enter (const char *name)
{
    must_be_initialised (name);
    double_count (name);
}

/* --- life --- */

/* What VDDK writes in its temporary directory. */
static void
leave_litter (const char *config_file)
{
    char line[1024], path[600];
    FILE *file = config_file ? fopen (config_file, "r") : NULL;
    strcpy (temporary_directory, "/tmp/vmware-double");
    while (file && fgets (line, sizeof line, file))
        if (sscanf (line, "tmpDirectory=\"%511[^\"]\"", temporary_directory) != 1)
            continue;
    if (file)
        fclose (file);
    mkdir (temporary_directory, 0700);
    snprintf (path, sizeof path, "%s/vixDiskLib-%d.log", temporary_directory, (int)getpid ());
    file = fopen (path, "w");
    if (file)
        fclose (file);
}

static int64_t
now_ns (void)
{
    struct timespec now;
    clock_gettime (CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000ll + now.tv_nsec;
}

static void
finish_read (operation *op)
{
    if (op->result == OK && pread (op->handle->fd, op->buffer, op->length, (off_t)op->offset) != (ssize_t)op->length)
        op->result = FAIL;
    double_memory (-(int64_t)op->length);
    op->done (op->data, op->result);
    pthread_mutex_lock (&lock);
    atomic_fetch_sub (&op->handle->pending, 1);
    pthread_cond_broadcast (&changed);
    pthread_mutex_unlock (&lock);
    free (op);
}

/* The library's own threads: reads end in the order in which they came, each after the delay. */
static void *
answer (void *data)
{
    pthread_mutex_lock (&lock);
    for (;;)
    {
        if (!first)
        {
            pthread_cond_wait (&changed, &lock);
            continue;
        }
        operation *op = first;
        first = op->next;
        if (!first)
            last = NULL;
        pthread_mutex_unlock (&lock);
        int64_t wait = op->due_ns - now_ns ();
        if (wait > 0)
            nanosleep (&(struct timespec){ wait / 1000000000, wait % 1000000000 }, NULL);
        finish_read (op);
        pthread_mutex_lock (&lock);
    }
    return data;
}

EXPORT error_t64
VixDiskLib_InitEx (uint32_t major, uint32_t minor, log_fn *log, log_fn *warn, log_fn *panic, const char *library_root,
                   const char *config_file)
{
    double_start ();
    double_count ("InitEx");
    if (initialised_in != 0)
        double_broken ("VixDiskLib_InitEx twice in one process");
    if (!log || !warn || !panic)
        double_broken ("VixDiskLib_InitEx without log functions: the library's own are not safe with threads");
    if (major < 6 || (major == 6 && minor < 5))
        return INVALID_ARGUMENT;
    say_log = log;
    say_warn = warn;
    say_panic = panic;
    /* The real one loads its transports by name only, so by LD_LIBRARY_PATH. */
    if (!dlopen ("libvixDoubleTransport.so.1", RTLD_NOW))
        return FILE_NOT_FOUND;
    char plugin[1024];
    snprintf (plugin, sizeof plugin, "%s/lib64/libdiskLibPlugin.so", library_root ? library_root : "");
    if (access (plugin, F_OK) != 0)
        LOG ("VixDiskLib: no %s: advanced transports not available.\n", plugin);
    initialised_in = getpid ();
    leave_litter (config_file);
    worker_count = (int)double_number ("threads", 2);
    for (int i = 0; i < worker_count; i++)
        pthread_create (&workers[i], NULL, answer, NULL);
    return OK;
}

EXPORT void
VixDiskLib_Exit (void)
{
    enter ("Exit");
    if (atomic_load (&handles) != 0 || atomic_load (&connections) != 0)
        double_broken ("VixDiskLib_Exit with %d disks and %d connections open", atomic_load (&handles),
                       atomic_load (&connections));
    if (atomic_load (&params_out) != 0)
        double_broken ("VixDiskLib_Exit with connection parameters that were not freed");
    double_write_counts ();
}

EXPORT char *
VixDiskLib_GetErrorText (error_t64 code, const char *locale)
{
    static const struct
    {
        int code;
        const char *text;
    } texts[] = { { FAIL, "Unknown error" },
                  { OUT_OF_MEMORY, "Memory allocation failed. Out of memory" },
                  { INVALID_ARGUMENT, "One of the parameters was invalid" },
                  { FILE_NOT_FOUND, "A file was not found" },
                  { HOST_PERMISSIONS, "Insufficient permissions in the host operating system" },
                  { CONNECTION_REFUSED, "The server refused connection" },
                  { CONNECTION_LOST, "The connection to the server was lost" },
                  { OUT_OF_RANGE, "You have requested access to an area of the virtual disk that is out of bounds" } };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (texts[i].code == (int)(code & 0xffff))
            return strdup (texts[i].text);
    return strdup ("Unknown error");
}

EXPORT void
VixDiskLib_FreeErrorText (char *text)
{
    free (text);
}

/* --- connections --- */

#ifndef BEFORE_6_5
EXPORT ConnectParams *
VixDiskLib_AllocateConnectParams (void)
{
    enter ("AllocateConnectParams");
    atomic_fetch_add (&params_out, 1);
    return calloc (1, sizeof (ConnectParams));
}
#endif

EXPORT void
VixDiskLib_FreeConnectParams (ConnectParams *params)
{
    enter ("FreeConnectParams");
    if (atomic_fetch_sub (&params_out, 1) <= 0)
        double_broken ("VixDiskLib_FreeConnectParams of what was not allocated here");
    free (params->vmxSpec);
    free (params->serverName);
    free (params->thumbPrint);
    free (params);
}

static int
is_set_otherwise (const char *key, const char *given)
{
    const char *wanted = double_text (key);
    return wanted && (!given || strcmp (wanted, given) != 0);
}

/* As the real one, a connection is made without a word to the server where that can wait for Open. */
EXPORT error_t64
VixDiskLib_ConnectEx (const ConnectParams *params, char read_only, const char *snapshot, const char *transports,
                      Connection **connection)
{
    enter ("ConnectEx");
    if (!read_only)
        double_broken ("VixDiskLib_ConnectEx for writing");
    if (params->specType != 0)
        return INVALID_ARGUMENT;
    LOG ("VixDiskLib: ConnectEx user %s key %s\n", params->creds.uid.userName ? params->creds.uid.userName : "none",
         params->creds.uid.password ? params->creds.uid.password : "none");
    if (is_set_otherwise ("server", params->serverName) || is_set_otherwise ("transports", transports))
        return INVALID_ARGUMENT;
    if (params->credType == 2 ? is_set_otherwise ("cookie", params->creds.sessionId.cookie)
                              : (is_set_otherwise ("user", params->creds.uid.userName)
                                 || is_set_otherwise ("password", params->creds.uid.password)))
        return HOST_PERMISSIONS;
    if (is_set_otherwise ("thumbprint", params->thumbPrint))
    {
        if (double_text ("thumbprint-silent") == NULL)
            WARN ("VixDiskLibVim: Failed to verify SSL certificate: actual thumbprint=%s expected=%s\n",
                  double_text ("thumbprint"), params->thumbPrint ? params->thumbPrint : "");
        return FAIL;
    }
    Connection *made = calloc (1, sizeof *made);
    snprintf (made->vm, sizeof made->vm, "%s", params->vmxSpec ? params->vmxSpec : "");
    snprintf (made->snapshot, sizeof made->snapshot, "%s", snapshot ? snapshot : "");
    atomic_fetch_add (&connections, 1);
    *connection = made;
    return OK;
}

EXPORT error_t64
VixDiskLib_Disconnect (Connection *connection)
{
    enter ("Disconnect");
    atomic_fetch_sub (&connections, 1);
    free (connection);
    return OK;
}

/* --- disks --- */

static void
begin_opening (const char *name)
{
    enter (name);
    if (atomic_exchange (&opening, 1) != 0)
        double_broken ("%s while another VixDiskLib_Open or Close is under way", name);
}

static error_t64
open_fault (void)
{
    if (double_trips ("open-hangs"))
        for (;;)
            pause ();
    if (double_trips ("open-refused"))
    {
        WARN ("[NFC ERROR]NfcNewAuthdConnectionEx: Failed to connect: Failed to connect to server "
              "esx1.example.com:902\n");
        return CONNECTION_REFUSED;
    }
    if (double_trips ("open-fails"))
        return FAIL;
    return OK;
}

static error_t64
open_disk (Connection *connection, const char *path, uint32_t flags, Handle **handle)
{
    char file[1024];
    error_t64 fault = open_fault ();
    struct stat status;
    if (fault != OK)
        return fault;
    if (!(flags & 4))
        double_broken ("VixDiskLib_Open for writing");
    if (!double_find_disk (connection->vm, connection->snapshot, path, file, sizeof file))
        return FILE_NOT_FOUND;
    int session = double_take_session (), fd;
    if (session < 0)
    {
        WARN ("[NFC ERROR]NfcNewAuthdConnectionEx: Failed to connect to peer. Error: Error reading from vmware-authd "
              "socket. Reason: Resource temporarily unavailable\n");
        return CONNECTION_REFUSED;
    }
    fd = open (file, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat (fd, &status) != 0)
    {
        double_give_session (session);
        return FILE_NOT_FOUND;
    }
    *handle = calloc (1, sizeof **handle);
    **handle = (Handle){ .fd = fd,
                         .capacity = (uint64_t)status.st_size / SECTOR,
                         .session = session,
                         .connection = connection,
                         .waited = 1 };
    atomic_fetch_add (&handles, 1);
    double_say_flags (flags);
    return OK;
}

EXPORT error_t64
VixDiskLib_Open (Connection *connection, const char *path, uint32_t flags, Handle **handle)
{
    begin_opening ("Open");
    *handle = NULL;
    error_t64 result = open_disk (connection, path, flags, handle);
    atomic_store (&opening, 0);
    return result;
}

EXPORT error_t64
VixDiskLib_Close (Handle *handle)
{
    begin_opening ("Close");
    if (atomic_load (&handle->pending) != 0 || !handle->waited)
        double_broken ("VixDiskLib_Close without VixDiskLib_Wait after the last read");
    close (handle->fd);
    double_give_session (handle->session);
    free (handle);
    atomic_fetch_sub (&handles, 1);
    atomic_store (&opening, 0);
    return OK;
}

EXPORT error_t64
VixDiskLib_GetInfo (Handle *handle, Info **info)
{
    enter ("GetInfo");
    *info = calloc (1, sizeof **info);
    (*info)->capacity = handle->capacity;
    (*info)->numLinks = 1;
    return OK;
}

EXPORT void
VixDiskLib_FreeInfo (Info *info)
{
    free (info);
}

EXPORT const char *
VixDiskLib_GetTransportMode (Handle *handle)
{
    return "nbdssl";
}

EXPORT const char *
VixDiskLib_ListTransportModes (void)
{
    return "file:nbdssl:nbd";
}

/* --- reading --- */

static void
check_thread (Handle *handle, const char *name)
{
    enter (name);
    if (handle->io_thread_known && !pthread_equal (handle->io_thread, pthread_self ()))
        double_broken ("%s by another thread than the one that has read from this disk before", name);
    handle->io_thread = pthread_self ();
    handle->io_thread_known = 1;
}

/* What this read will end with. */
static error_t64
read_fault (Handle *handle, uint64_t sector, uint64_t count)
{
    unsigned long number = atomic_fetch_add (&reads, 1) + 1, each = (unsigned long)double_number ("read-fails-each", 0);
    if (sector > handle->capacity || count > handle->capacity - sector)
        return OUT_OF_RANGE;
    if (count * SECTOR > double_number ("request-max", UINT64_MAX) || !double_memory ((int64_t)(count * SECTOR)))
    {
        WARN (
            "[NFC ERROR] NfcFssrvrProcessErrorMsg: received NFC error 5 from server: Failed to allocate the requested "
            "%llu bytes\n",
            (unsigned long long)(count * SECTOR + 24));
        return OUT_OF_MEMORY;
    }
    if (double_number ("read-fails-always", 0) || (each && number % each == 0))
        return FAIL;
    if (double_trips ("connection-lost"))
        return CONNECTION_LOST;
    return OK;
}

EXPORT error_t64
VixDiskLib_Read (Handle *handle, uint64_t sector, uint64_t count, uint8_t *buffer)
{
    check_thread (handle, "Read");
    error_t64 fault = read_fault (handle, sector, count);
    if (fault == OK
        && pread (handle->fd, buffer, count * SECTOR, (off_t)(sector * SECTOR)) != (ssize_t)(count * SECTOR))
        fault = FAIL;
    if (fault != OUT_OF_MEMORY && fault != OUT_OF_RANGE)
        double_memory (-(int64_t)(count * SECTOR));
    return fault;
}

#ifndef BEFORE_6_5
EXPORT error_t64
VixDiskLib_ReadAsync (Handle *handle, uint64_t sector, uint64_t count, uint8_t *buffer, completion_fn *done, void *data)
{
    check_thread (handle, "ReadAsync");
    handle->waited = 0;
    error_t64 fault = read_fault (handle, sector, count);
    if (fault == OUT_OF_RANGE)
        return fault;
    operation *op = calloc (1, sizeof *op);
    *op = (operation){ .handle = handle,
                       .offset = sector * SECTOR,
                       .length = count * SECTOR,
                       .buffer = buffer,
                       .done = done,
                       .data = data,
                       .result = fault };
    if (fault == OUT_OF_MEMORY)
        double_memory ((int64_t)op->length + DOUBLE_MEMORY_UNCHECKED);
    op->due_ns = double_due_ns (now_ns (), op->length);
    atomic_fetch_add (&handle->pending, 1);
    if (double_trips ("read-hangs"))
        return ASYNC;
    pthread_mutex_lock (&lock);
    if (last)
        last->next = op;
    else
        first = op;
    last = op;
    pthread_cond_broadcast (&changed);
    pthread_mutex_unlock (&lock);
    return ASYNC;
}

EXPORT error_t64
VixDiskLib_Wait (Handle *handle)
{
    check_thread (handle, "Wait");
    pthread_mutex_lock (&lock);
    while (atomic_load (&handle->pending) > 0)
        pthread_cond_wait (&changed, &lock);
    pthread_mutex_unlock (&lock);
    handle->waited = 1;
    return OK;
}

/* --- extents --- */

static void
add_block (BlockList **list, uint64_t offset, uint64_t length)
{
    uint32_t count = (*list)->numBlocks;
    *list = realloc (*list, sizeof **list + count * sizeof (*list)->blocks[0]);
    (*list)->blocks[count].offset = offset;
    (*list)->blocks[count].length = length;
    (*list)->numBlocks = count + 1;
}

EXPORT error_t64
VixDiskLib_QueryAllocatedBlocks (Handle *handle, uint64_t sector, uint64_t count, uint64_t chunk, BlockList **list)
{
    check_thread (handle, "QueryAllocatedBlocks");
    *list = NULL;
    if (chunk < CHUNK_MIN || sector % chunk != 0 || count == 0 || count % chunk != 0 || count / chunk > CHUNKS_MAX
        || sector > handle->capacity || count > handle->capacity - sector)
        return INVALID_ARGUMENT;
    if (double_trips ("query-fails")
        || (double_number ("query-fails-last", 0) && sector + count + chunk > handle->capacity))
        return INVALID_ARGUMENT;
    *list = calloc (1, sizeof **list);
    uint64_t end = sector + count, step = chunk * SECTOR, at = sector * SECTOR, limit = end * SECTOR;
    while (at < limit)
    {
        off_t data = lseek (handle->fd, (off_t)at, SEEK_DATA);
        if (data < 0 || (uint64_t)data >= limit)
            break;
        off_t hole = lseek (handle->fd, data, SEEK_HOLE);
        uint64_t from = (uint64_t)data / step * step, to = ((uint64_t)hole + step - 1) / step * step;
        from = from < at ? at : from;
        to = to > limit ? limit : to;
        if (from < to)
            add_block (list, from / SECTOR, (to - from) / SECTOR);
        at = to;
    }
    return OK;
}

EXPORT error_t64
VixDiskLib_FreeBlockList (BlockList *list)
{
    free (list);
    return OK;
}
#endif
