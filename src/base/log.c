/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The log file, and GLib's writer that feeds it. One of the two globals of the program (STYLE). */
#include "base/log.h"
#include "base/error.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum
{
    LINE_MAX_BYTES = 8192,
    FILE_MAX_BYTES = 64 * 1024 * 1024,
};

static struct
{
    char *path;
    int fd;
    gsize written; /* atomic */
} file = { NULL, -1, 0 };

static const char *
level_name (GLogLevelFlags level)
{
    return level & G_LOG_LEVEL_ERROR      ? "error"
           : level & G_LOG_LEVEL_CRITICAL ? "critical"
           : level & G_LOG_LEVEL_WARNING  ? "warning"
           : level & G_LOG_LEVEL_DEBUG    ? "debug"
                                          : "info";
}

static GLogWriterOutput
write_line (GLogLevelFlags level, const GLogField *fields, gsize n_fields, gpointer data)
{
    const char *message = "";
    for (gsize i = 0; i < n_fields; i++)
        if (g_str_equal (fields[i].key, "MESSAGE"))
            message = fields[i].value;
    g_autofree char *time = vmf_text_from_time (g_get_real_time ());
    g_autofree char *line = g_strdup_printf ("%s %s %.*s\n", time, level_name (level), LINE_MAX_BYTES, message);
    gsize length = strlen (line);
    if (__atomic_add_fetch (&file.written, length, __ATOMIC_RELAXED) < FILE_MAX_BYTES
        && write (file.fd, line, length) < 0)
        return G_LOG_WRITER_UNHANDLED;
    return G_LOG_WRITER_HANDLED;
}

char *
vmf_log_default_dir (const char *dir)
{
    if (dir && *dir)
        return g_strdup (dir);
    if (geteuid () == 0)
        return g_strdup ("/var/log/vmferry");
    return g_build_filename (g_get_user_state_dir (), "vmferry", "log", NULL);
}

bool
vmf_log_open (const char *dir, const char *name, GError **error)
{
    g_autoptr (GDateTime) now = g_date_time_new_now_utc ();
    g_autofree char *time = g_date_time_format (now, "%Y%m%dT%H%M%SZ");
    g_autofree char *safe = g_strdup_printf ("%.64s", name);
    g_strcanon (safe, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.", '_');
    g_autofree char *leaf = g_strdup_printf ("%s-%s-%d.log", safe, time, (int)getpid ());
    g_autofree char *path = g_build_filename (dir, leaf, NULL);
    int fd = g_mkdir_with_parents (dir, 0755) == 0
                 ? open (path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600)
                 : -1;
    if (fd < 0)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED,
                     "cannot write the log %s: %s; the setting log.dir names another "
                     "directory",
                     path, g_strerror (errno));
        return false;
    }
    file.fd = fd;
    file.path = g_steal_pointer (&path);
    g_log_set_writer_func (write_line, NULL, NULL);
    return true;
}

const char *
vmf_log_get_path (void)
{
    return file.path;
}
