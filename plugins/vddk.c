/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nbdkit-vmferry-vddk-plugin: a disk that VMware's VDDK reads, read-only. Its parameters are those of nbdkit's own vddk
 * plugin (nbdkit-vddk-plugin(1)), and some more. This file is nbdkit's side: parameters and requests.
 *
 * Secrets are read in config_complete, not in config: nbdkit is executed again before that (vddk-reexec.h), and
 * standard input can be read once.
 */
#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "vddk-disk.h"
#include "vddk-reexec.h"
#include "vddk-temp.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

enum
{
    RUNS_MAX = 256,        /* pieces of extents that one request looks up */
    PREFERRED = 64 * 1024, /* VDDK's chunks */
    MAXIMUM = 32 << 20,
    IDLE_CLOSE_SHARED_S = 5,
    SLOTS_MAX = 48, /* vCenter: 52 connections, and a backup tool wants some */
};

static struct vddk_target target;
static char *libdir, *config_path, *secret, *secret_word, *thumbprint, *slots_directory;
static bool idle_close_given;
static unsigned slots_max = SLOTS_MAX;
static struct vddk_disk_options options = {
    .request_bytes = 2 << 20, .in_flight_bytes = 16 << 20, .in_flight = 64, .io_timeout_s = 180, .patience_s = 600
};

static struct vddk_library library;
static struct vddk_temp temp;
static struct vddk_disk *disk;
static pid_t owner; /* the process that has initialised the library */

/* --- parameters --- */

static int
fail (const struct vddk_error *error)
{
    nbdkit_error ("%s", error->text);
    nbdkit_set_error (EIO);
    return -1;
}

static int
refuse (const char *key, const char *why)
{
    nbdkit_error ("%s=: %s", key, why);
    return -1;
}

static int
set_path (char **path, const char *value)
{
    free (*path);
    *path = nbdkit_absolute_path (value);
    return *path ? 0 : -1;
}

static int
set_flag (const char *value, uint32_t flag)
{
    int is_set = nbdkit_parse_bool (value);
    if (is_set < 0)
        return -1;
    target.flags = is_set ? target.flags | flag : target.flags & ~flag;
    return 0;
}

static int
set_compression (const char *value)
{
    static const struct
    {
        const char *name;
        uint32_t flag;
    } known[] = {
        { "none", 0 }, { "zlib", VDDK_OPEN_ZLIB }, { "fastlz", VDDK_OPEN_FASTLZ }, { "skipz", VDDK_OPEN_SKIPZ }
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp (value, known[i].name) == 0)
        {
            target.flags =
                (target.flags & ~(uint32_t)(VDDK_OPEN_ZLIB | VDDK_OPEN_FASTLZ | VDDK_OPEN_SKIPZ)) | known[i].flag;
            return 0;
        }
    return refuse ("compression", "one of none, zlib, fastlz and skipz");
}

/* SHA-1 or SHA-256 in hexadecimal digits, with or without colons, becomes VDDK's form; anything else goes as it is: the
   library will say what it thinks of it. */
static int
set_thumbprint (const char *value)
{
    char digits[65];
    size_t count = 0;
    bool is_hex = true;
    for (const char *at = value; *at && is_hex; at++)
        if (isxdigit ((unsigned char)*at) && count < sizeof digits - 1)
            digits[count++] = (char)toupper ((unsigned char)*at);
        else
            is_hex = *at == ':' || *at == ' ';
    free (thumbprint);
    thumbprint = NULL;
    if (!is_hex || (count != 40 && count != 64))
        thumbprint = strdup (value);
    else if ((thumbprint = calloc (1, count / 2 * 3)))
        for (size_t i = 0; i < count; i += 2)
            sprintf (thumbprint + i / 2 * 3, "%.2s%s", digits + i, i + 2 < count ? ":" : "");
    target.thumbprint = thumbprint;
    return thumbprint ? 0 : -1;
}

static int
set_slots (const char *value)
{
    return set_path (&slots_directory, value);
}

static int
set_file (const char *value)
{
    target.file = nbdkit_strdup_intern (value);
    return target.file ? 0 : -1;
}

static int
set_size (const char *key, const char *value, uint64_t least, uint64_t most, uint64_t *size)
{
    int64_t parsed = nbdkit_parse_size (value);
    if (parsed < 0)
        return -1;
    *size = (uint64_t)parsed / VDDK_SECTOR * VDDK_SECTOR;
    if (*size >= least && *size <= most)
        return 0;
    nbdkit_error ("%s=: from %llu to %llu bytes", key, (unsigned long long)least, (unsigned long long)most);
    return -1;
}

static int
set_request_size (const char *value)
{
    uint64_t size;
    if (set_size ("max-request", value, PREFERRED, MAXIMUM, &size) < 0)
        return -1;
    options.request_bytes = (uint32_t)size;
    return 0;
}

static int
set_in_flight_bytes (const char *value)
{
    return set_size ("in-flight-bytes", value, PREFERRED, UINT64_C (1) << 30, &options.in_flight_bytes);
}

static int
set_unbuffered (const char *value)
{
    return set_flag (value, VDDK_OPEN_UNBUFFERED);
}

static int
set_single_link (const char *value)
{
    return set_flag (value, VDDK_OPEN_SINGLE_LINK);
}

static int
set_libdir (const char *value)
{
    return set_path (&libdir, value);
}

static int
set_config (const char *value)
{
    return set_path (&config_path, value);
}

static int
ignore (const char *value)
{
    return 0;
}

static int
set_secret_word (const char *value)
{
    free (secret_word);
    secret_word = strdup (value);
    return secret_word ? 0 : -1;
}

/* A key sets a text as it is, a port, a number, or calls a function. */
static const struct parameter
{
    const char *key;
    const char **text;
    uint16_t *port;
    unsigned *number;
    int (*set) (const char *value);
} parameters[] = {
    { .key = "file", .set = set_file },
    { .key = "server", .text = &target.server },
    { .key = "user", .text = &target.user },
    { .key = "password", .set = set_secret_word },
    { .key = "cookie", .text = &target.cookie },
    { .key = "thumbprint", .set = set_thumbprint },
    { .key = "vm", .text = &target.vm },
    { .key = "snapshot", .text = &target.snapshot },
    { .key = "transports", .text = &target.transports },
    { .key = "port", .port = &target.port },
    { .key = "nfchostport", .port = &target.nfc_port },
    { .key = "libdir", .set = set_libdir },
    { .key = "config", .set = set_config },
    { .key = "compression", .set = set_compression },
    { .key = "single-link", .set = set_single_link },
    { .key = "unbuffered", .set = set_unbuffered },
    { .key = "vimapiver", .set = ignore },
    { .key = "max-request", .set = set_request_size },
    { .key = "in-flight", .number = &options.in_flight },
    { .key = "in-flight-bytes", .set = set_in_flight_bytes },
    { .key = "io-timeout", .number = &options.io_timeout_s },
    { .key = "idle-close", .number = &options.idle_close_s },
    { .key = "patience", .number = &options.patience_s },
    { .key = "slots", .set = set_slots },
    { .key = "slots-max", .number = &slots_max },
};

static int
set_parameter (const struct parameter *parameter, const char *value)
{
    if (parameter->set)
        return parameter->set (value);
    if (parameter->port)
        return nbdkit_parse_uint16_t (parameter->key, value, parameter->port);
    if (parameter->number)
    {
        idle_close_given |= parameter->number == &options.idle_close_s;
        return nbdkit_parse_unsigned (parameter->key, value, parameter->number);
    }
    *parameter->text = nbdkit_strdup_intern (value);
    return *parameter->text ? 0 : -1;
}

static int
vddk_config (const char *key, const char *value)
{
    for (size_t i = 0; i < sizeof parameters / sizeof parameters[0]; i++)
        if (strcmp (key, parameters[i].key) == 0)
            return set_parameter (&parameters[i], value);
    if (strncmp (key, "create", strlen ("create")) == 0)
        return refuse (key, "this plugin only reads: it makes no disks (nbdkit's own vddk plugin does)");
    if (strcmp (key, "export") == 0)
        return refuse (key, "one disk per process here: name it with file=");
    nbdkit_error ("unknown parameter '%s'", key);
    return -1;
}

static bool
has_wanted (const char *value, const char *key, const char *what)
{
    if (value)
        return true;
    nbdkit_error ("%s= is needed to read from a server: %s", key, what);
    return false;
}

static int
check_server (void)
{
    bool is_remote = target.server || target.user || secret_word || target.cookie || target.thumbprint || target.vm
                     || target.port || target.nfc_port || target.snapshot;
    if (!is_remote && target.file[0] != '/')
    {
        nbdkit_error ("file=%s: without server= this is a file of this host, with an absolute path", target.file);
        return -1;
    }
    if (!is_remote)
        return 0;
    bool good = has_wanted (target.server, "server", "the name or address of the vCenter or ESXi host")
                && has_wanted (target.user, "user", "who logs in there")
                && has_wanted (target.cookie ? target.cookie : secret_word, "password",
                               "best as password=+FILE or password=-FD, which nobody else sees")
                && has_wanted (target.vm, "vm", "the VM as moref=vm-21, as its server numbers it")
                && has_wanted (target.thumbprint, "thumbprint",
                               "the SHA-1 fingerprint of the server's certificate, 20 pairs of digits with colons");
    if (good && strncasecmp (target.vm, "moref=", strlen ("moref=")) != 0)
        return refuse ("vm", "it begins with moref=");
    return good ? 0 : -1;
}

static int
check_numbers (void)
{
    if (options.in_flight == 0)
        return refuse ("in-flight", "at least 1");
    if (options.io_timeout_s == 0)
        return refuse ("io-timeout", "at least 1 second");
    if (slots_max == 0 || slots_max > 1024)
        return refuse ("slots-max", "from 1 to 1024");
    if (options.request_bytes > options.in_flight_bytes)
        options.in_flight_bytes = options.request_bytes;
    if (slots_directory && !idle_close_given)
        options.idle_close_s = IDLE_CLOSE_SHARED_S;
    return 0;
}

static bool
load (struct vddk_error *error)
{
    return vddk_library_find (&library, libdir, error) && vddk_reexec_with (library.directory, error)
           && vddk_library_load (&library, error);
}

static int
vddk_config_complete (void)
{
    struct vddk_error error;
    if (!target.file)
    {
        nbdkit_error ("file= is needed: \"[datastore] vm/disk.vmdk\" on a server, or an absolute path");
        return -1;
    }
    if (check_server () < 0 || check_numbers () < 0)
        return -1;
    if (!load (&error))
        return fail (&error);
    if (secret_word && nbdkit_read_password (secret_word, &secret) < 0)
        return -1;
    target.password = secret;
    target.flags |= VDDK_OPEN_READ_ONLY;
    vddk_log_hide (secret);
    vddk_log_hide (target.cookie);
    return 0;
}

static void
vddk_dump_plugin (void)
{
    struct vddk_error error;
    printf ("vddk_default_libdir=%s\nvddk_has_nfchostport=1\n", VDDK_DEFAULT_DIRECTORY);
    if (!load (&error))
    {
        fail (&error);
        exit (EXIT_FAILURE);
    }
    printf ("vddk_library_version=%d\nvddk_dll=%s\n", library.version, library.path);
    printf ("vddk_has_read_async=%d\nvddk_has_extents=%d\n", library.api.ReadAsync && library.api.Wait,
            library.api.QueryAllocatedBlocks != NULL);
}

/* --- the library's life --- */

static bool
give_up (void)
{
    /* nbdkit's own sleep is the one that notices its end, and the client's. */
    return nbdkit_nanosleep (0, 1) < 0;
}

static bool
initialise (struct vddk_error *error)
{
    char words[256];
    vddk_code code = library.api.InitEx (VDDK_MAJOR, VDDK_MINOR, vddk_log_message, vddk_log_warning, vddk_log_panic,
                                         library.root, temp.config);
    if (code == VDDK_OK)
        return true;
    vddk_library_describe (&library, code, words, sizeof words);
    return vddk_fail (error, "VDDK in '%s' cannot be initialised: %s (%u): the distribution may not be complete",
                      library.root, words, (unsigned)(code & VDDK_CODE_MASK));
}

/* It starts threads, which do not live through a fork. */
static int
vddk_after_fork (void)
{
    struct vddk_error error;
    if (slots_directory && !(options.slots = vddk_slots_new (slots_directory, slots_max, &error)))
        return fail (&error);
    options.give_up = give_up;
    owner = getpid ();
    if (!vddk_temp_make (&temp, config_path, &error))
        return fail (&error);
    if (!initialise (&error))
    {
        vddk_temp_remove (&temp);
        return fail (&error);
    }
    disk = vddk_disk_start (&library, &target, &options, &error);
    return disk ? 0 : fail (&error);
}

static void
vddk_cleanup (void)
{
    if (owner != getpid ())
        return;
    if (disk && vddk_disk_stop (disk))
        library.api.Exit ();
    disk = NULL;
    vddk_temp_remove (&temp);
}

static void
vddk_unload (void)
{
    if (secret)
        explicit_bzero (secret, strlen (secret));
    free (secret);
    free (secret_word);
    free (libdir);
    free (config_path);
    free (thumbprint);
    free (slots_directory);
    vddk_library_free (&library);
}

/* --- requests --- */

static void *
vddk_open (int readonly)
{
    uint64_t size;
    struct vddk_error error;
    if (vddk_disk_get_size (disk, &size, &error))
        return NBDKIT_HANDLE_NOT_NEEDED;
    fail (&error);
    return NULL;
}

static int64_t
vddk_get_size (void *handle)
{
    uint64_t size;
    struct vddk_error error;
    return vddk_disk_get_size (disk, &size, &error) ? (int64_t)size : fail (&error);
}

static int
vddk_block_size (void *handle, uint32_t *minimum, uint32_t *preferred, uint32_t *maximum)
{
    *minimum = 1;
    *preferred = PREFERRED;
    *maximum = MAXIMUM;
    return 0;
}

static int
vddk_can_write (void *handle)
{
    return 0;
}

static int
vddk_can_multi_conn (void *handle)
{
    return 1;
}

static int
vddk_can_extents (void *handle)
{
    return library.api.QueryAllocatedBlocks != NULL && library.api.FreeBlockList != NULL;
}

static int
vddk_pread (void *handle, void *buffer, uint32_t count, uint64_t offset, uint32_t flags)
{
    struct vddk_error error;
    return vddk_disk_read (disk, buffer, offset, count, &error) ? 0 : fail (&error);
}

static int
vddk_extents (void *handle, uint32_t count, uint64_t offset, uint32_t flags, struct nbdkit_extents *extents)
{
    uint64_t end = offset + count;
    /* What is not allocated in the disk of a snapshot alone is in its parent, not zero. */
    uint32_t hole = target.flags & VDDK_OPEN_SINGLE_LINK ? NBDKIT_EXTENT_HOLE : NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO;
    bool first_is_data = false;
    for (unsigned runs = 0; offset < end && runs < RUNS_MAX; runs++)
    {
        uint64_t length;
        bool data;
        struct vddk_error error;
        if (!vddk_disk_run (disk, offset, &length, &data, &error))
            return runs > 0 ? 0 : fail (&error);
        /* nbdkit 1.32 ends by an assertion when it is told of more than 4 GiB. */
        length = length < end - offset ? length : end - offset;
        if (runs == 0)
            first_is_data = data;
        if ((flags & NBDKIT_FLAG_REQ_ONE) && data != first_is_data)
            break;
        if (nbdkit_add_extent (extents, offset, length, data ? 0 : hole) < 0)
            return -1;
        offset += length;
    }
    return 0;
}

static struct nbdkit_plugin plugin = {
    .name = "vmferry-vddk",
    .longname = "a VMware disk, read by VMware's VDDK",
    .description = "Reads a disk of a vCenter or ESXi host through VDDK, which must be installed. Takes the parameters "
                   "of nbdkit's vddk plugin. See nbdkit-vmferry-vddk-plugin(1).",
    .version = VMF_VERSION,
    .config_help =
        "[file=]FILE          \"[datastore] vm/disk.vmdk\", or an absolute path where there is no server (required)\n"
        "server=HOST          vCenter or ESXi host; with user=, password=, thumbprint= and vm=\n"
        "user=NAME\n"
        "password=+FILE|-FD|-|WORD\n"
        "cookie=COOKIE        of a session that exists, instead of the password\n"
        "thumbprint=XX:XX:…   of the server's certificate, SHA-1\n"
        "vm=moref=ID          the VM\n"
        "snapshot=MOREF       its snapshot\n"
        "transports=A:B:…     nbd, nbdssl, san, hotadd; default: what VDDK chooses\n"
        "libdir=DIR           where VDDK was unpacked (default " VDDK_DEFAULT_DIRECTORY ", then the usual places)\n"
        "config=FILE          VDDK's configuration\n"
        "port=N               of the server (443)\n"
        "nfchostport=N        of the ESXi host (902)\n"
        "compression=none|zlib|fastlz|skipz\n"
        "single-link=BOOL     the snapshot's own disk, not its chain\n"
        "unbuffered=BOOL\n"
        "max-request=SIZE     of one read by VDDK (2M: what a vCenter permits; ESXi up to 23M)\n"
        "in-flight=N          reads at a time (64)\n"
        "in-flight-bytes=SIZE in sum (16M); shrinks when the host refuses\n"
        "io-timeout=SECONDS   until a read that VDDK does not answer fails (180)\n"
        "idle-close=SECONDS   close the disk when nothing was read for so long (never; 5 with slots=)\n"
        "slots=DIR            directory shared by all who read from one host: a bound on open disks\n"
        "slots-max=N          the bound to begin with (48)\n"
        "patience=SECONDS     how long to wait where the host has no room (600)",
    .magic_config_key = "file",
    .load = vddk_reexec_restore,
    .unload = vddk_unload,
    .config = vddk_config,
    .config_complete = vddk_config_complete,
    .dump_plugin = vddk_dump_plugin,
    .after_fork = vddk_after_fork,
    .cleanup = vddk_cleanup,
    .open = vddk_open,
    .get_size = vddk_get_size,
    .block_size = vddk_block_size,
    .can_write = vddk_can_write,
    .can_multi_conn = vddk_can_multi_conn,
    .can_extents = vddk_can_extents,
    .extents = vddk_extents,
    .pread = vddk_pread,
    .errno_is_preserved = 0,
};

NBDKIT_REGISTER_PLUGIN (plugin)
