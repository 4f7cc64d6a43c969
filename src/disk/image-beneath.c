/* SPDX-License-Identifier: GPL-2.0-or-later */
/* openat2, with O_PATH first: what a name leads to is looked at before it is opened, so a FIFO or a device is never
 * touched.
 */
#include "disk/image-beneath.h"
#include "base/error.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/ioctl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum
{
    NAME_MAX_BYTES = 4095,
};

/* "nbd:", "json:", "C:": letters, digits, "+", "-" or "." up to a colon, before any slash. */
static bool
has_scheme (const char *name)
{
    size_t n = strspn (name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.");
    return n > 0 && name[n] == ':';
}

static bool
has_parent_step (const char *name)
{
    g_auto (GStrv) parts = g_strsplit_set (name, "/\\", -1);
    return g_strv_contains ((const char *const *)parts, "..");
}

static bool
has_control (const char *name)
{
    for (; *name; name++)
        if ((unsigned char)*name < 0x20 || *name == 0x7f)
            return true;
    return false;
}

bool
vmf_beneath_check_name (const char *name, const char *what, GError **error)
{
    const char *why = NULL;
    if (*name == '\0' || strlen (name) > NAME_MAX_BYTES)
        why = "is empty or too long";
    else if (*name == '/' || *name == '\\')
        why = "is an absolute path; a name inside an image or a description may only lead to its own folder or below";
    else if (has_parent_step (name))
        why = "leads out of its own folder with '..'";
    else if (has_scheme (name))
        why = "names a protocol or a drive, not a file in its own folder";
    else if (has_control (name))
        why = "has control characters in it";
    if (!why)
        return true;
    g_autofree char *shown = vmf_text_printable (name, 120);
    g_set_error (error, VMF_ERROR, VMF_ERROR_UNSAFE, "refused: the %s '%s' %s", what, shown, why);
    return false;
}

/* From an O_PATH descriptor, which is closed, to one that reads. */
static int
reopen (int path_fd)
{
    g_autofree char *link = g_strdup_printf ("/proc/self/fd/%d", path_fd);
    int fd = open (link, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    int saved = errno;
    close (path_fd);
    errno = saved;
    return fd;
}

static char *
path_of (int fd)
{
    g_autofree char *link = g_strdup_printf ("/proc/self/fd/%d", fd);
    return g_file_read_link (link, NULL);
}

/* The errno values are openat2's own words for "it leaves". */
static void
set_open_error (const char *what, const char *name, GError **error)
{
    g_autofree char *shown = vmf_text_printable (name, 120);
    if (errno == EXDEV || errno == ELOOP)
        g_set_error (error, VMF_ERROR, VMF_ERROR_UNSAFE, "refused: the %s '%s' leads out of its own folder by a link",
                     what, shown);
    else
        g_set_error (error, VMF_ERROR, errno == ENOENT || errno == ENOTDIR ? VMF_ERROR_NOT_FOUND : VMF_ERROR_FAILED,
                     "cannot open the %s '%s': %s", what, shown, g_strerror (errno));
}

int
vmf_beneath_open (const char *root, const char *name, const char *what, char **path, GError **error)
{
    if (!vmf_beneath_check_name (name, what, error))
        return -1;
    int root_fd = open (root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS };
    int fd = root_fd < 0 ? -1 : (int)syscall (SYS_openat2, root_fd, name, &how, sizeof how);
    int saved = errno;
    if (root_fd >= 0)
        close (root_fd);
    errno = saved;
    struct stat info;
    if (fd < 0 || fstat (fd, &info) != 0)
        return set_open_error (what, name, error), -1;
    if (!S_ISREG (info.st_mode))
    {
        close (fd);
        g_autofree char *shown = vmf_text_printable (name, 120);
        g_set_error (error, VMF_ERROR, VMF_ERROR_UNSAFE, "refused: the %s '%s' is not a regular file", what, shown);
        return -1;
    }
    fd = reopen (fd);
    if (fd < 0)
        set_open_error (what, name, error);
    else if (path)
        *path = path_of (fd);
    return fd;
}

static bool
size_of (int fd, const struct stat *info, uint64_t *size_bytes)
{
    *size_bytes = (uint64_t)info->st_size;
    return S_ISREG (info->st_mode) || ioctl (fd, BLKGETSIZE64, size_bytes) == 0;
}

int
vmf_beneath_open_own (const char *path, char **real_path, uint64_t *size_bytes, GError **error)
{
    struct stat info;
    int fd = open (path, O_PATH | O_CLOEXEC);
    bool good = fd >= 0 && fstat (fd, &info) == 0;
    if (good && !S_ISREG (info.st_mode) && !S_ISBLK (info.st_mode))
    {
        close (fd);
        g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE, "cannot open '%s': it is neither a file nor a block device",
                     path);
        return -1;
    }
    if (good)
        fd = reopen (fd);
    if (fd >= 0 && size_of (fd, &info, size_bytes))
        return *real_path = path_of (fd), fd;
    g_set_error (error, VMF_ERROR, errno == ENOENT ? VMF_ERROR_NOT_FOUND : VMF_ERROR_FAILED, "cannot open '%s': %s",
                 path, g_strerror (errno));
    if (fd >= 0)
        close (fd);
    return -1;
}
