/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vddk-params.h: a table of keys. */
#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "vddk-params.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum
{
    REQUEST_MIN = 64 * 1024,
    REQUEST_MAX = 32 << 20,
    IN_FLIGHT_MAX = 1 << 30,
    IDLE_CLOSE_SHARED_S = 5,
    SLOTS_MAX = 48, /* vCenter: 52 connections, and a backup tool wants some */
};

struct vddk_params vddk_params = { .slots_max = SLOTS_MAX,
                                   .options = { .request_bytes = 2 << 20,
                                                .in_flight_bytes = 16 << 20,
                                                .in_flight = 64,
                                                .io_timeout_s = 180,
                                                .patience_s = 600 } };
static bool idle_close_given;
static char own_pid[16]; /* whose slots they are, where nobody says */

const char vddk_params_help[] =
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
    "slots-owner=WORD     whose they are, for messages: the same for all disks of one import\n"
    "slots-wait=SECONDS   how long to wait for a slot that another process has (as long as it takes)\n"
    "waiting=FILE         is there, with a sentence in it, while the disk waits for a slot or for room\n"
    "capacity=BYTES       of the disk, so that it is opened by the first read only\n"
    "patience=SECONDS     how long to wait where the host has no room (600)";

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
    vddk_params.target.flags = is_set ? vddk_params.target.flags | flag : vddk_params.target.flags & ~flag;
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
            vddk_params.target.flags =
                (vddk_params.target.flags & ~(uint32_t)(VDDK_OPEN_ZLIB | VDDK_OPEN_FASTLZ | VDDK_OPEN_SKIPZ))
                | known[i].flag;
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
    free (vddk_params.thumbprint);
    vddk_params.thumbprint = NULL;
    if (!is_hex || (count != 40 && count != 64))
        vddk_params.thumbprint = strdup (value);
    else if ((vddk_params.thumbprint = calloc (1, count / 2 * 3)))
        for (size_t i = 0; i < count; i += 2)
            sprintf (vddk_params.thumbprint + i / 2 * 3, "%.2s%s", digits + i, i + 2 < count ? ":" : "");
    vddk_params.target.thumbprint = vddk_params.thumbprint;
    return vddk_params.thumbprint ? 0 : -1;
}

static int
set_slots (const char *value)
{
    return set_path (&vddk_params.slots_directory, value);
}

static int
set_waiting (const char *value)
{
    return set_path (&vddk_params.mark_path, value);
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
set_capacity (const char *value)
{
    return set_size ("capacity", value, VDDK_SECTOR, INT64_MAX, &vddk_params.options.capacity_bytes);
}

static int
set_request_size (const char *value)
{
    uint64_t size;
    if (set_size ("max-request", value, REQUEST_MIN, REQUEST_MAX, &size) < 0)
        return -1;
    vddk_params.options.request_bytes = (uint32_t)size;
    return 0;
}

static int
set_in_flight_bytes (const char *value)
{
    return set_size ("in-flight-bytes", value, REQUEST_MIN, IN_FLIGHT_MAX, &vddk_params.options.in_flight_bytes);
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
    return set_path (&vddk_params.libdir, value);
}

static int
set_config (const char *value)
{
    return set_path (&vddk_params.config_path, value);
}

static int
ignore (const char *value)
{
    return 0;
}

static int
set_secret_word (const char *value)
{
    free (vddk_params.secret_word);
    vddk_params.secret_word = strdup (value);
    return vddk_params.secret_word ? 0 : -1;
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
    { .key = "file", .text = &vddk_params.target.file },
    { .key = "server", .text = &vddk_params.target.server },
    { .key = "user", .text = &vddk_params.target.user },
    { .key = "password", .set = set_secret_word },
    { .key = "cookie", .text = &vddk_params.target.cookie },
    { .key = "thumbprint", .set = set_thumbprint },
    { .key = "vm", .text = &vddk_params.target.vm },
    { .key = "snapshot", .text = &vddk_params.target.snapshot },
    { .key = "transports", .text = &vddk_params.target.transports },
    { .key = "port", .port = &vddk_params.target.port },
    { .key = "nfchostport", .port = &vddk_params.target.nfc_port },
    { .key = "libdir", .set = set_libdir },
    { .key = "config", .set = set_config },
    { .key = "compression", .set = set_compression },
    { .key = "single-link", .set = set_single_link },
    { .key = "unbuffered", .set = set_unbuffered },
    { .key = "vimapiver", .set = ignore },
    { .key = "max-request", .set = set_request_size },
    { .key = "in-flight", .number = &vddk_params.options.in_flight },
    { .key = "in-flight-bytes", .set = set_in_flight_bytes },
    { .key = "io-timeout", .number = &vddk_params.options.io_timeout_s },
    { .key = "idle-close", .number = &vddk_params.options.idle_close_s },
    { .key = "patience", .number = &vddk_params.options.patience_s },
    { .key = "slots", .set = set_slots },
    { .key = "slots-max", .number = &vddk_params.slots_max },
    { .key = "slots-owner", .text = &vddk_params.slots_owner },
    { .key = "slots-wait", .number = &vddk_params.options.slots_wait_s },
    { .key = "waiting", .set = set_waiting },
    { .key = "capacity", .set = set_capacity },
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
        idle_close_given |= parameter->number == &vddk_params.options.idle_close_s;
        return nbdkit_parse_unsigned (parameter->key, value, parameter->number);
    }
    *parameter->text = nbdkit_strdup_intern (value);
    return *parameter->text ? 0 : -1;
}

int
vddk_params_set (const char *key, const char *value)
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
    bool is_remote = vddk_params.target.server || vddk_params.target.user || vddk_params.secret_word
                     || vddk_params.target.cookie || vddk_params.target.thumbprint || vddk_params.target.vm
                     || vddk_params.target.port || vddk_params.target.nfc_port || vddk_params.target.snapshot;
    if (!is_remote && vddk_params.target.file[0] != '/')
    {
        nbdkit_error ("file=%s: without server= this is a file of this host, with an absolute path",
                      vddk_params.target.file);
        return -1;
    }
    if (!is_remote)
        return 0;
    bool good = has_wanted (vddk_params.target.server, "server", "the name or address of the vCenter or ESXi host")
                && has_wanted (vddk_params.target.user, "user", "who logs in there")
                && has_wanted (vddk_params.target.cookie ? vddk_params.target.cookie : vddk_params.secret_word,
                               "password", "best as password=+FILE or password=-FD, which nobody else sees")
                && has_wanted (vddk_params.target.vm, "vm", "the VM as moref=vm-21, as its server numbers it")
                && has_wanted (vddk_params.target.thumbprint, "thumbprint",
                               "the SHA-1 fingerprint of the server's certificate, 20 pairs of digits with colons");
    if (good && strncasecmp (vddk_params.target.vm, "moref=", strlen ("moref=")) != 0)
        return refuse ("vm", "it begins with moref=");
    return good ? 0 : -1;
}

static int
check_numbers (void)
{
    if (vddk_params.options.in_flight == 0)
        return refuse ("in-flight", "at least 1");
    if (vddk_params.options.io_timeout_s == 0)
        return refuse ("io-timeout", "at least 1 second");
    if (vddk_params.slots_max == 0 || vddk_params.slots_max > 1024)
        return refuse ("slots-max", "from 1 to 1024");
    if (vddk_params.options.request_bytes > vddk_params.options.in_flight_bytes)
        vddk_params.options.in_flight_bytes = vddk_params.options.request_bytes;
    snprintf (own_pid, sizeof own_pid, "%d", (int)getpid ());
    if (!vddk_params.slots_owner)
        vddk_params.slots_owner = own_pid;
    vddk_params.options.mark_path = vddk_params.mark_path;
    if (vddk_params.slots_directory && !idle_close_given)
        vddk_params.options.idle_close_s = IDLE_CLOSE_SHARED_S;
    return 0;
}

int
vddk_params_check (void)
{
    if (!vddk_params.target.file)
    {
        nbdkit_error ("file= is needed: \"[datastore] vm/disk.vmdk\" on a server, or an absolute path");
        return -1;
    }
    vddk_params.target.flags |= VDDK_OPEN_READ_ONLY;
    return check_server () < 0 || check_numbers () < 0 ? -1 : 0;
}

/* Standard input and descriptors can be read once. */
int
vddk_params_read_secret (void)
{
    if (vddk_params.secret_word && nbdkit_read_password (vddk_params.secret_word, &vddk_params.secret) < 0)
        return -1;
    vddk_params.target.password = vddk_params.secret;
    return 0;
}

void
vddk_params_free (void)
{
    if (vddk_params.secret)
        explicit_bzero (vddk_params.secret, strlen (vddk_params.secret));
    free (vddk_params.secret);
    free (vddk_params.secret_word);
    free (vddk_params.libdir);
    free (vddk_params.config_path);
    free (vddk_params.thumbprint);
    free (vddk_params.slots_directory);
    free (vddk_params.mark_path);
}
