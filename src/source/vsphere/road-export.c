/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The road `export`: an export lease (HttpNfcLease) of the machine or of its snapshot, whose stream-optimised disks are
 * decoded while they arrive, nothing staged (X11, A8).
 *
 * One lease serves all disks. A stream comes once and in order, so a resumed import reads it again from its beginning
 * and writes only what its journal has not.
 */
#include "source/vsphere/roads.h"
#include "base/error.h"
#include "base/plugins.h"
#include "base/text.h"

enum
{
    WINDOW_MIB = 128, /* more than the mover has in flight */
};

static char *
unfit (struct vsphere_source *source, const struct vmf_vsphere_machine *machine, GCancellable *cancellable)
{
    g_autofree char *plugin = vmf_plugin_find_own ("vmdkstream");
    return plugin ? NULL
                  : g_strdup ("this build has no vmdkstream plugin; it needs libdeflate's development files when it is "
                              "built");
}

static bool
open_lease (struct vsphere_source *source, GCancellable *cancellable, GError **error)
{
    if (source->lease && !vmf_vsphere_lease_lives (source->lease))
        vmf_vsphere_lease_end (g_steal_pointer (&source->lease), false);
    if (!source->lease)
        source->lease =
            vmf_vsphere_export (source->vsphere, source->machine->moref, source->snapshot, cancellable, error);
    return source->lease != NULL;
}

static const struct vmf_vsphere_lease_file *
find_file (struct vsphere_source *source, const struct vmf_vsphere_disk *disk, GError **error)
{
    const GPtrArray *files = vmf_vsphere_lease_get_files (source->lease);
    for (guint i = 0; i < files->len; i++)
    {
        const struct vmf_vsphere_lease_file *file = g_ptr_array_index (files, i);
        if (file->disk_key == disk->key && file->url)
            return file;
    }
    g_set_error (error, VMF_ERROR, VMF_ERROR_NOT_FOUND, "the export of %s has no disk %s", source->machine->name,
                 disk->id);
    return NULL;
}

/* The session is the server's that we logged in to: another host that serves the file gets no cookie of it, and wants
   none, since the file's address is a ticket. */
static bool
is_own_host (const struct vsphere_source *source, const char *url)
{
    g_autoptr (GUri) uri = g_uri_parse (url, G_URI_FLAGS_ENCODED, NULL);
    const char *host = uri ? g_uri_get_host (uri) : NULL;
    int port = uri && g_uri_get_port (uri) > 0 ? g_uri_get_port (uri) : VMF_VSPHERE_PORT;
    return host && g_ascii_strcasecmp (host, source->address->host) == 0
           && port == vmf_vsphere_address_port (source->address);
}

/* Else a lease's answer alone would be enough to bring a disk here, and the session away, in clear. */
static bool
is_https (const struct vmf_vsphere_lease_file *file, const struct vmf_vsphere_disk *disk, GError **error)
{
    if (g_ascii_strncasecmp (file->url, "https://", 8) == 0)
        return true;
    g_autofree char *shown = vmf_text_printable (file->url, 200);
    g_set_error (error, VMF_ERROR, VMF_ERROR_UNSAFE,
                 "the server wants the export of disk %s to be fetched from %s, which is not https; nothing was sent",
                 disk->id, shown);
    return false;
}

static char *
get_cookie (void *data)
{
    return vmf_vsphere_get_cookie (data);
}

static struct vmf_image *
open_image (struct vsphere_source *source, const struct vmf_vsphere_disk *disk, GCancellable *cancellable,
            GError **error)
{
    if (!open_lease (source, cancellable, error))
        return NULL;
    const struct vmf_vsphere_lease_file *file = find_file (source, disk, error);
    if (!file || !is_https (file, disk, error))
        return NULL;
    struct vmf_feed_options feed = {
        .url = file->url,
        .get_cookie = is_own_host (source, file->url) ? get_cookie : NULL,
        .data = source->vsphere,
        .trust = source->trust.tls,
        .direct = true,
    };
    g_autofree char *window = g_strdup_printf ("window=%uM", WINDOW_MIB);
    if (file->thumbprint) /* of the ESXi host that serves it, as the server vouches for it */
        feed.trust = (struct vmf_tls_trust){ .thumbprint = file->thumbprint };
    const char *words[] = { "vmdkstream", "stream=fd:4", "forward=true", window, NULL }; /* VMF_IMAGE_FEED_FD */
    struct vmf_image_helper helper = { .words = (char **)words, .feed = &feed, .sequential = true };
    return vmf_image_new_helper (&helper, disk->capacity_bytes, error);
}

const struct vsphere_road vsphere_road_export = {
    .name = "export",
    .speed = "a stream of everything allocated; one connection for a disk",
    .unfit = unfit,
    .image = open_image,
};
