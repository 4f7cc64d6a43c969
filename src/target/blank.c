/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Empty images, and the small things both targets need of this host.
 *
 * The file exists before (the undo list knows its inode by then); qemu-img writes into it and keeps it. Preallocated
 * means reserved by fallocate: writing zeroes for hours helps nobody (PITFALLS 3).
 */
#include "base/child.h"
#include "base/error.h"
#include "base/text.h"
#include "target/targets.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

void
vmf_target_disk_free (void *data)
{
    struct vmf_target_disk *disk = data;
    g_free (disk->path);
    g_free (disk->final_path);
    g_free (disk->format);
    g_free (disk);
}

static bool
make_raw (const char *path, uint64_t size_bytes, bool preallocate, GError **error)
{
    int fd = open (path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    int failed = fd < 0 || size_bytes > INT64_MAX ? (fd < 0 ? errno : EFBIG) : 0;
    if (!failed && ftruncate (fd, (off_t)size_bytes) != 0)
        failed = errno;
    if (!failed && preallocate && size_bytes > 0)
        failed = posix_fallocate (fd, 0, (off_t)size_bytes);
    if (fd >= 0)
        close (fd);
    if (!failed)
        return true;
    g_autofree char *size = vmf_text_from_size (size_bytes);
    g_set_error (error, VMF_ERROR, failed == ENOSPC ? VMF_ERROR_NO_SPACE : VMF_ERROR_FAILED,
                 "cannot make a raw image of %s at %s: %s", size, path, g_strerror (failed));
    return false;
}

static bool
make_qcow2 (const char *path, uint64_t size_bytes, bool preallocate, GCancellable *cancellable, GError **error)
{
    g_autofree char *size = g_strdup_printf ("%" G_GUINT64_FORMAT, (guint64)size_bytes);
    g_autofree char *options = g_strdup_printf ("compat=1.1,cluster_size=65536,lazy_refcounts=off,preallocation=%s",
                                                preallocate ? "falloc" : "off");
    const char *argv[] = { "qemu-img", "create", "-q", "-f", "qcow2", "-o", options, path, size, NULL };
    const struct vmf_child_options child = { .name = "qemu-img create", .argv = argv };
    g_autofree char *output = vmf_child_run (&child, 0, cancellable, error);
    if (output)
        return true;
    if (error && *error && strstr ((*error)->message, g_strerror (ENOSPC)))
        (*error)->code = VMF_ERROR_NO_SPACE;
    g_prefix_error (error, "cannot make a qcow2 image at %s: ", path);
    return false;
}

bool
vmf_blank_make (const char *path, const char *format, uint64_t size_bytes, bool preallocate, GCancellable *cancellable,
                GError **error)
{
    if (strcmp (format, "qcow2") == 0)
        return make_qcow2 (path, size_bytes, preallocate, cancellable, error);
    if (strcmp (format, "raw") == 0)
        return make_raw (path, size_bytes, preallocate, error);
    g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE, "a target disk is qcow2 or raw, not '%s'", format);
    return false;
}

bool
vmf_bridge_exists (const char *name, bool openvswitch)
{
    if (!*name || strchr (name, '/') || *name == '.')
        return false;
    g_autofree char *path = g_strdup_printf ("/sys/class/net/%s%s", name, openvswitch ? "" : "/bridge");
    return access (path, F_OK) == 0;
}
