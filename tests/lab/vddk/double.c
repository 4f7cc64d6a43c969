/* SPDX-License-Identifier: GPL-2.0-or-later */
/* double.h */
#include "double.h"

#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

enum
{
    LINES_MAX = 256,
    NAMES_MAX = 32,
    SESSIONS_MAX = 64,
};

struct line
{
    char *key, *value;
    atomic_ulong calls;
};

static struct line lines[LINES_MAX];
static int line_count;

static struct
{
    const char *name;
    unsigned long calls;
} counts[NAMES_MAX];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic int64_t *memory; /* shared by all processes */
static int session_fds[SESSIONS_MAX];
static const char *last_logged;
static int64_t line_free_ns; /* when what was read before is through the line */

void
double_broken (const char *format, ...)
{
    va_list args;
    va_start (args, format);
    fputs ("VDDK double: rule broken: ", stderr);
    vfprintf (stderr, format, args);
    fputc ('\n', stderr);
    va_end (args);
    abort ();
}

static void
read_lines (const char *path)
{
    char text[2048];
    FILE *file = fopen (path, "r");
    if (!file)
        double_broken ("cannot open the configuration %s", path);
    while (line_count < LINES_MAX && fgets (text, sizeof text, file))
    {
        text[strcspn (text, "\n")] = '\0';
        char *space = strchr (text, ' ');
        if (text[0] == '#' || text[0] == '\0')
            continue;
        if (space)
            *space = '\0';
        lines[line_count].key = strdup (text);
        lines[line_count++].value = strdup (space ? space + 1 : "1");
    }
    fclose (file);
}

static int
open_state (const char *name)
{
    char path[1024];
    const char *state = double_text ("state");
    if (!state)
        return -1;
    snprintf (path, sizeof path, "%s/%s", state, name);
    return open (path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
}

void
double_start (void)
{
    const char *path = getenv ("VMF_VDDK_DOUBLE_CONFIG");
    if (path)
        read_lines (path);
    int fd = open_state ("nfc");
    if (fd < 0)
        return;
    if (ftruncate (fd, sizeof *memory) == 0)
        memory = mmap (NULL, sizeof *memory, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        memory = NULL;
    close (fd);
}

static struct line *
find (const char *key)
{
    for (int i = 0; i < line_count; i++)
        if (strcmp (lines[i].key, key) == 0)
            return &lines[i];
    return NULL;
}

const char *
double_text (const char *key)
{
    struct line *line = find (key);
    return line ? line->value : NULL;
}

uint64_t
double_number (const char *key, uint64_t otherwise)
{
    const char *text = double_text (key);
    return text ? strtoull (text, NULL, 0) : otherwise;
}

bool
double_trips (const char *key)
{
    struct line *line = find (key);
    if (!line)
        return false;
    unsigned long call = atomic_fetch_add (&line->calls, 1) + 1;
    if (line->value[0] == '-')
        return call <= strtoul (line->value + 1, NULL, 10);
    char *end;
    unsigned long number = strtoul (line->value, &end, 10);
    return *end == '-' ? call >= number : call == number;
}

static void
append (const char *text)
{
    const char *path = double_text ("log");
    int fd = path ? open (path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    if (fd < 0)
        return;
    if (write (fd, text, strlen (text)) < 0)
        perror ("VDDK double");
    close (fd);
}

void
double_count (const char *name)
{
    char text[64];
    pthread_mutex_lock (&lock);
    int i = 0;
    while (i < NAMES_MAX - 1 && counts[i].name && strcmp (counts[i].name, name) != 0)
        i++;
    counts[i].name = name;
    counts[i].calls++;
    if (!last_logged || strcmp (last_logged, name) != 0)
    {
        snprintf (text, sizeof text, "%s\n", name);
        append (text);
    }
    last_logged = name;
    pthread_mutex_unlock (&lock);
}

void
double_write_counts (void)
{
    const char *path = double_text ("counts");
    FILE *file = path ? fopen (path, "w") : NULL;
    if (!file)
        return;
    for (int i = 0; i < NAMES_MAX && counts[i].name; i++)
        fprintf (file, "%s %lu\n", counts[i].name, counts[i].calls);
    fclose (file);
}

void
double_say_flags (uint32_t flags)
{
    char text[64];
    snprintf (text, sizeof text, "flags %u\n", flags);
    if (double_text ("log-flags"))
        append (text);
}

/* `disk VM SNAPSHOT FILE PATH`: "-" is none, "*" any; PATH goes to the line's end. */
static bool
find_in_lines (const char *vm, const char *snapshot, const char *path, char *file, size_t size)
{
    for (int i = 0; i < line_count; i++)
    {
        char wanted_vm[128], wanted_snapshot[128], wanted_file[1024];
        int at = 0;
        if (strcmp (lines[i].key, "disk") != 0
            || sscanf (lines[i].value, "%127s %127s %1023s %n", wanted_vm, wanted_snapshot, wanted_file, &at) < 3)
            continue;
        bool vm_fits = strcmp (wanted_vm, "*") == 0 || strcmp (wanted_vm, *vm ? vm : "-") == 0;
        bool snapshot_fits =
            strcmp (wanted_snapshot, "*") == 0 || strcmp (wanted_snapshot, *snapshot ? snapshot : "-") == 0;
        if (!vm_fits || !snapshot_fits || strcmp (lines[i].value + at, path) != 0)
            continue;
        snprintf (file, size, "%s", wanted_file);
        return true;
    }
    return false;
}

/* `map FILE`: the vCenter simulator's datastore-map.json, which changes: read at each opening. */
static bool
find_in_map (const char *vm, const char *snapshot, const char *path, char *file, size_t size)
{
    json_t *map = double_text ("map") ? json_load_file (double_text ("map"), 0, NULL) : NULL, *disk;
    size_t index;
    bool found = false;
    vm += strncmp (vm, "moref=", 6) == 0 ? 6 : 0;
    json_array_foreach (json_object_get (map, "disks"), index, disk)
    {
        const char *of_vm, *of_snapshot, *of_path, *of_file;
        if (json_unpack (disk, "{s:s, s:s, s:s, s:s}", "vm", &of_vm, "snapshot", &of_snapshot, "path", &of_path, "file",
                         &of_file)
            != 0)
            continue;
        found = strcmp (vm, of_vm) == 0 && strcmp (snapshot, of_snapshot) == 0 && strcmp (path, of_path) == 0;
        if (!found)
            continue;
        snprintf (file, size, "%s", of_file);
        break;
    }
    json_decref (map);
    return found;
}

bool
double_find_disk (const char *vm, const char *snapshot, const char *path, char *file, size_t size)
{
    if (find_in_lines (vm, snapshot, path, file, size) || find_in_map (vm, snapshot, path, file, size))
        return true;
    /* Without a server, a path is a path. */
    if (*vm || path[0] != '/')
        return false;
    snprintf (file, size, "%s", path);
    return true;
}

int
double_take_session (void)
{
    uint64_t most = double_number ("sessions-max", SESSIONS_MAX);
    for (int i = 0; i < SESSIONS_MAX && (uint64_t)i < most; i++)
    {
        char name[32];
        snprintf (name, sizeof name, "session.%d", i);
        int fd = open_state (name);
        if (fd < 0)
            return 0;
        if (flock (fd, LOCK_EX | LOCK_NB) == 0)
        {
            session_fds[i] = fd;
            return i;
        }
        close (fd);
    }
    return -1;
}

void
double_give_session (int session)
{
    if (session_fds[session] > 0)
        close (session_fds[session]);
    session_fds[session] = 0;
}

bool
double_memory (int64_t bytes)
{
    bool unchecked = bytes >= DOUBLE_MEMORY_UNCHECKED;
    int64_t most = (int64_t)double_number ("nfc-bytes", INT64_MAX);
    if (!memory)
        return bytes <= most || unchecked;
    bytes -= unchecked ? DOUBLE_MEMORY_UNCHECKED : 0;
    int64_t now = atomic_fetch_add (memory, bytes) + bytes;
    if (bytes < 0 || unchecked || now <= most)
        return true;
    atomic_fetch_sub (memory, bytes);
    return false;
}

int64_t
double_due_ns (int64_t now_ns, uint64_t length)
{
    uint64_t rate = double_number ("mb-per-s", 0);
    int64_t due = now_ns + (int64_t)double_number ("read-ms", 0) * 1000000;
    if (rate == 0)
        return due;
    pthread_mutex_lock (&lock);
    line_free_ns = (line_free_ns > now_ns ? line_free_ns : now_ns) + (int64_t)(length * 1000 / rate);
    due = due > line_free_ns ? due : line_free_ns;
    pthread_mutex_unlock (&lock);
    return due;
}
