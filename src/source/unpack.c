/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Unpacking. A gzip file may be several streams one behind the other; it ends where its last one does. */
#include "source/unpack.h"
#include "base/error.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum
{
    BUFFER_BYTES = 256 * 1024,
    RESERVE_BYTES = 256 * 1024 * 1024, /* stays free for others */
    SPACE_CHECK_BYTES = 64 * 1024 * 1024,
};

struct unpack
{
    int fd;
    const char *work_dir;
    uint64_t done, max, next_check;
    GConverter *gzip; /* NULL: bytes as they are */
    bool in_stream;   /* gzip: the current stream has not ended */
    char *buffer;
};

static bool
check_space (struct unpack *unpack, GError **error)
{
    struct statvfs info;
    if (unpack->done < unpack->next_check)
        return true;
    unpack->next_check = unpack->done + SPACE_CHECK_BYTES;
    if (fstatvfs (unpack->fd, &info) != 0
        || (uint64_t)info.f_bavail * info.f_frsize > (uint64_t)RESERVE_BYTES + SPACE_CHECK_BYTES)
        return true;
    g_set_error (error, VMF_ERROR, VMF_ERROR_NO_SPACE,
                 "the work directory %s is nearly full; unpack the disk beforehand, or name another one with --work",
                 unpack->work_dir);
    return false;
}

static bool
is_zero (const char *bytes, size_t length)
{
    return length == 0 || (bytes[0] == 0 && memcmp (bytes, bytes + 1, length - 1) == 0);
}

static bool
put (struct unpack *unpack, const char *bytes, size_t length, GError **error)
{
    if (unpack->done + length > unpack->max)
    {
        g_autofree char *size = vmf_text_from_size (unpack->max);
        g_set_error (error, VMF_ERROR, VMF_ERROR_UNSAFE,
                     "refused: more comes out of it than the description allows (%s)", size);
        return false;
    }
    if (!check_space (unpack, error))
        return false;
    for (size_t done = is_zero (bytes, length) ? length : 0; done < length;)
    {
        ssize_t n = pwrite (unpack->fd, bytes + done, length - done, (off_t)(unpack->done + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
        {
            g_set_error (error, VMF_ERROR, errno == ENOSPC ? VMF_ERROR_NO_SPACE : VMF_ERROR_FAILED,
                         "cannot write to the work directory %s: %s", unpack->work_dir, g_strerror (errno));
            return false;
        }
        done += (size_t)n;
    }
    unpack->done += length;
    return true;
}

static bool
inflate_chunk (struct unpack *unpack, const char *bytes, size_t length, GError **error)
{
    while (length > 0)
    {
        gsize used = 0, made = 0;
        GError *why = NULL;
        if (!unpack->in_stream)
            g_converter_reset (unpack->gzip);
        unpack->in_stream = true;
        GConverterResult result = g_converter_convert (unpack->gzip, bytes, length, unpack->buffer, BUFFER_BYTES,
                                                       G_CONVERTER_NO_FLAGS, &used, &made, &why);
        if (result == G_CONVERTER_ERROR)
        {
            bool partial = g_error_matches (why, G_IO_ERROR, G_IO_ERROR_PARTIAL_INPUT);
            if (!partial)
                g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT, "its gzip stream is damaged: %s", why->message);
            g_clear_error (&why);
            return partial;
        }
        if (!put (unpack, unpack->buffer, made, error))
            return false;
        unpack->in_stream = result != G_CONVERTER_FINISHED;
        bytes += used;
        length -= used;
    }
    return true;
}

static bool
on_chunk (const void *bytes, size_t length, void *data, GError **error)
{
    struct unpack *unpack = data;
    if (unpack->gzip)
        return inflate_chunk (unpack, bytes, length, error);
    for (size_t at = 0; at < length; at += BUFFER_BYTES)
        if (!put (unpack, (const char *)bytes + at, MIN (length - at, (size_t)BUFFER_BYTES), error))
            return false;
    return true;
}

static bool
unpack_all (struct unpack *unpack, const struct vmf_bundle *bundle, const struct vmf_bundle_member *member,
            GCancellable *cancellable, GError **error)
{
    if (!vmf_bundle_stream (bundle, member, on_chunk, unpack, cancellable, error))
        return false;
    if (unpack->gzip && unpack->in_stream)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT, "its gzip stream is cut off; copy it again");
        return false;
    }
    /* The tail may have been a hole. */
    if (ftruncate (unpack->fd, (off_t)unpack->done) == 0)
        return true;
    g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "cannot write to the work directory %s: %s", unpack->work_dir,
                 g_strerror (errno));
    return false;
}

char *
vmf_unpack (const struct vmf_bundle *bundle, const struct vmf_bundle_member *member,
            const struct vmf_unpack_options *options, GCancellable *cancellable, GError **error)
{
    g_autofree char *shown = vmf_text_printable (member->name, 120);
    if (!options->work_dir)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE,
                     "the disk '%s' is compressed and would have to be unpacked, for which there is no work directory",
                     shown);
        return NULL;
    }
    g_autofree char *path = g_strdup_printf ("%s/unpacked-%u", options->work_dir, options->number);
    g_autofree char *buffer = g_malloc (BUFFER_BYTES);
    struct unpack unpack = { .work_dir = options->work_dir, .max = options->max_bytes, .buffer = buffer };
    unpack.fd = open (path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (unpack.fd < 0)
    {
        g_set_error (error, VMF_ERROR, errno == EEXIST ? VMF_ERROR_EXISTS : VMF_ERROR_FAILED, "cannot make %s: %s",
                     path, g_strerror (errno));
        return NULL;
    }
    g_autoptr (GConverter) gzip =
        options->gzip ? G_CONVERTER (g_zlib_decompressor_new (G_ZLIB_COMPRESSOR_FORMAT_GZIP)) : NULL;
    unpack.gzip = gzip;
    bool good = unpack_all (&unpack, bundle, member, cancellable, error);
    close (unpack.fd);
    if (good)
        return g_steal_pointer (&path);
    unlink (path);
    g_prefix_error (error, "cannot unpack '%s': ", shown);
    return NULL;
}
