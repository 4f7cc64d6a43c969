/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opens a source, describes it, opens and reads every disk, verifies: what an import does before it writes, for the
 * hostile set. usage: open-source ADDRESS [FORMAT]. Prints a line for each disk (name, size, SHA-256 of what was read);
 * on error the message, and exits with 10 + the error's code.
 */
#include "../folder.h"
#include "source/source.h"
#include "disk/nbd.h"
#include "base/error.h"

#include <glib/gstdio.h>
#include <stdio.h>
#include <unistd.h>

enum
{
    CHUNK_BYTES = 1 << 20,
};

static bool
read_disk (struct vmf_server *server, const char *name, GError **error)
{
    g_autoptr (nbd_handle) nbd = vmf_nbd_connect (vmf_server_get_uri (server), name, VMF_NBD_NONE, NULL, error);
    g_autoptr (GChecksum) sum = g_checksum_new (G_CHECKSUM_SHA256);
    g_autofree guchar *chunk = g_malloc (CHUNK_BYTES);
    uint64_t size = vmf_server_get_size (server);
    for (uint64_t at = 0; nbd && at < size; at += CHUNK_BYTES)
    {
        size_t length = (size_t)MIN (size - at, (uint64_t)CHUNK_BYTES);
        if (nbd_pread (nbd, chunk, length, at, 0) != 0)
            return vmf_nbd_fail (name, error);
        g_checksum_update (sum, chunk, (gssize)length);
    }
    if (nbd)
        printf ("%s %" G_GUINT64_FORMAT " %s\n", name, (guint64)size, g_checksum_get_string (sum));
    return nbd != NULL;
}

static bool
read_all (struct vmf_source *source, const char *folder, GError **error)
{
    g_autoptr (vmf_vm) vm = source->ops->describe (source, NULL, NULL, error);
    const struct vmf_disk *disk;
    for (unsigned n = 0; vm && (disk = vmf_vm_get_import_disk (vm, n)); n++)
    {
        g_autofree char *name = vmf_disk_letter_name (n), *socket = g_build_filename (folder, name, NULL);
        g_autoptr (vmf_image) image = source->ops->image (source, vm, disk, NULL, error);
        g_autoptr (vmf_server) server = image ? vmf_server_start (image, name, socket, NULL, error) : NULL;
        if (!server || !read_disk (server, name, error))
            return false;
    }
    return vm && (!source->ops->verify || source->ops->verify (source, vm, NULL, error));
}

int
main (int argc, char **argv)
{
    GError *error = NULL;
    g_autofree char *folder = test_folder_new ("open-source");
    struct vmf_source_options options = { .format = argc > 2 ? argv[2] : NULL, .work_dir = folder };
    struct vmf_source *source = argc > 1 ? vmf_source_open (argv[1], &options, NULL, &error) : NULL;
    bool good = source && read_all (source, folder, &error);
    vmf_source_close (source);
    if (g_rmdir (folder) != 0)
        return fprintf (stderr, "something was left in the work directory\n"), 3;
    if (!good)
        fprintf (stderr, "%s\n", error ? error->message : "usage: open-source ADDRESS [FORMAT]");
    int result = good ? 0 : error && error->domain == VMF_ERROR ? 10 + error->code : 2;
    g_clear_error (&error);
    return result;
}
