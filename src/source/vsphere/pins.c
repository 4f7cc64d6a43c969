/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The file of pinned thumbprints. Lines that are not understood stop everything: a pin that was there must not be lost
 * because a line before it was broken.
 */
#include "source/vsphere/pins.h"
#include "base/error.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum
{
    FILE_MAX_BYTES = 1 << 20,
    THUMBPRINT_CHARS = 59, /* twenty pairs with colons */
};

char *
vmf_pins_path (const struct vmf_settings *settings)
{
    const char *set = vmf_settings_get_string (settings, "vsphere.known_hosts");
    if (*set)
        return g_strdup (set);
    if (geteuid () == 0)
        return g_strdup ("/var/lib/vmferry/thumbprints");
    return g_build_filename (g_get_user_state_dir (), "vmferry", "thumbprints", NULL);
}

/* "vcenter.example.org:443", "[::1]:443". Names are the same in any case. */
static char *
key_of (const char *host, uint16_t port)
{
    g_autofree char *lower = g_ascii_strdown (host, -1);
    return vmf_text_host_port (lower, port);
}

static bool
is_thumbprint (const char *text)
{
    if (strlen (text) != THUMBPRINT_CHARS)
        return false;
    for (size_t i = 0; i < THUMBPRINT_CHARS; i++)
        if (i % 3 == 2 ? text[i] != ':' : !g_ascii_isxdigit (text[i]))
            return false;
    return true;
}

static bool
is_pin (const char *text)
{
    return is_thumbprint (text) || strcmp (text, VMF_PINS_AUTHORITIES) == 0;
}

static bool
fail (const char *path, const char *what, GError **error)
{
    g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "cannot %s '%s', where thumbprints are pinned: %s", what, path,
                 g_strerror (errno));
    return false;
}

/* The lines of PATH; none where there is no file. Whoever can write to it can name a server of theirs. */
static GStrv
read_lines (const char *path, GError **error)
{
    struct stat info;
    int fd = open (path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return g_new0 (char *, 1);
    if (fd < 0 || fstat (fd, &info) != 0)
        return fail (path, "read", error), NULL;
    bool ours = S_ISREG (info.st_mode) && (info.st_uid == geteuid () || info.st_uid == 0) && !(info.st_mode & 022)
                && info.st_size <= FILE_MAX_BYTES;
    g_autofree char *text = g_malloc0 ((size_t)FILE_MAX_BYTES + 1);
    ssize_t n = ours ? read (fd, text, FILE_MAX_BYTES) : 0;
    int saved = errno;
    close (fd);
    errno = saved;
    if (!ours)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_UNSAFE,
                     "'%s', where thumbprints are pinned, is not believed: it must be a file of your own (or root's) "
                     "that nobody else may write to",
                     path);
        return NULL;
    }
    return n < 0 ? (fail (path, "read", error), NULL) : g_strsplit (g_strchomp (text), "\n", -1);
}

/* The thumbprint in LINE, if it is KEY's; borrowed. *GOOD: whether the line was understood. */
static const char *
match (const char *line, const char *key, bool *good)
{
    size_t length = strcspn (line, " ");
    *good = *line == '\0' || *line == '#' || (line[length] == ' ' && is_pin (line + length + 1));
    bool ours = *good && strlen (key) == length && strncmp (line, key, length) == 0;
    return ours ? line + length + 1 : NULL;
}

/* *AT: where KEY is among LINES; -1: nowhere. */
static bool
find (GStrv lines, const char *path, const char *key, gssize *at, GError **error)
{
    *at = -1;
    for (size_t i = 0; lines[i]; i++)
    {
        bool good;
        if (match (lines[i], key, &good))
            *at = (gssize)i;
        if (good)
            continue;
        g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT,
                     "'%s', line %zu: it is not 'HOST:PORT THUMBPRINT'; repair it or take it out", path, i + 1);
        return false;
    }
    return true;
}

/* Held by one who changes the file. -1 with ERROR. */
static int
lock (const char *path, GError **error)
{
    g_autofree char *folder = g_path_get_dirname (path), *lock_path = g_strconcat (path, ".lock", NULL);
    int fd = g_mkdir_with_parents (folder, 0700) == 0 ? open (lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (fd >= 0 && flock (fd, LOCK_EX) == 0)
        return fd;
    fail (path, "change", error);
    if (fd >= 0)
        close (fd);
    return -1;
}

/* LINES without the one at SKIP (-1: with all), and LAST behind them (NULL: nothing). */
static bool
write_lines (const char *path, GStrv lines, gssize skip, const char *last, GError **error)
{
    g_autoptr (GString) text = g_string_new (NULL);
    for (gssize i = 0; lines[i]; i++)
        if (i != skip && *lines[i])
            g_string_append_printf (text, "%s\n", lines[i]);
    if (last)
        g_string_append_printf (text, "%s\n", last);
    if (g_file_set_contents_full (path, text->str, (gssize)text->len,
                                  G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE, 0600, error))
        return true;
    g_prefix_error (error, "cannot pin a thumbprint: ");
    return false;
}

bool
vmf_pins_look (const char *path, const char *host, uint16_t port, char **thumbprint, GError **error)
{
    bool good;
    gssize at = -1;
    g_autofree char *key = key_of (host, port);
    g_auto (GStrv) lines = read_lines (path, error);
    *thumbprint = NULL;
    if (!lines || !find (lines, path, key, &at, error))
        return false;
    const char *pin = at >= 0 ? match (lines[at], key, &good) : NULL;
    *thumbprint = pin && is_thumbprint (pin) ? g_ascii_strup (pin, -1) : g_strdup (pin);
    return true;
}

static bool
add_locked (const char *path, const char *host, uint16_t port, const char *thumbprint, GError **error)
{
    g_autofree char *pinned = NULL, *key = key_of (host, port);
    g_autofree char *line = g_strdup_printf ("%s %s", key, thumbprint);
    if (!vmf_pins_look (path, host, port, &pinned, error))
        return false;
    if (pinned && strcmp (pinned, thumbprint) != 0)
        return vmf_pins_refuse (host, port, pinned, thumbprint, NULL, error);
    g_auto (GStrv) lines = pinned ? NULL : read_lines (path, error);
    return pinned || (lines && write_lines (path, lines, -1, line, error));
}

bool
vmf_pins_add (const char *path, const char *host, uint16_t port, const char *thumbprint, GError **error)
{
    if (!is_pin (thumbprint) || strpbrk (host, " \n\r\t"))
    {
        g_autofree char *shown = vmf_text_printable (thumbprint, 80);
        g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE, "'%s' is no thumbprint (twenty hexadecimal pairs)", shown);
        return false;
    }
    int fd = lock (path, error);
    bool good = fd >= 0 && add_locked (path, host, port, thumbprint, error);
    if (fd >= 0)
        close (fd);
    return good;
}

bool
vmf_pins_forget (const char *path, const char *host, uint16_t port, bool *was_there, GError **error)
{
    gssize at = -1;
    g_autofree char *key = key_of (host, port);
    int fd = lock (path, error);
    g_auto (GStrv) lines = fd >= 0 ? read_lines (path, error) : NULL;
    bool good = lines && find (lines, path, key, &at, error) && (at < 0 || write_lines (path, lines, at, NULL, error));
    *was_there = good && at >= 0;
    if (fd >= 0)
        close (fd);
    return good;
}

bool
vmf_pins_refuse (const char *host, uint16_t port, const char *pinned, const char *seen, const char *address,
                 GError **error)
{
    g_autofree char *made = g_strdup_printf ("vpx://%s:%u/", host, port);
    g_autofree char *quoted = g_shell_quote (address ? address : made);
    bool by_authority = strcmp (pinned, VMF_PINS_AUTHORITIES) == 0;
    g_autofree char *before = by_authority
                                  ? g_strdup ("an authority that this host trusts vouched for it, and none does")
                                  : g_strdup_printf ("pinned is %s", pinned);
    g_set_error (error, VMF_ERROR, VMF_ERROR_UNSAFE,
                 "the certificate of %s:%u has changed: %s, now it shows %s. Nothing was sent to it. If the "
                 "certificate was renewed, compare the new value on the server's console and then run: vmferry doctor "
                 "%s --forget-thumbprint",
                 host, port, before, seen, quoted);
    return false;
}
