/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A bare image, or one disk of an NBD or web server: the smallest source; copy it for a new one.
 *
 * From a web server a raw disk is read as wanted (nbdkit's curl plugin); a stream-optimised VMDK is decoded while it
 * arrives, once and in order.
 *
 * Its machine has a name (the file's), one disk and one network card, of which nothing is known. The format is what
 * --format says or what the name ends with, never what the bytes look like.
 */
#include "source/sources.h"
#include "disk/nbd.h"
#include "base/error.h"
#include "base/text.h"

#include <string.h>

struct image_source
{
    struct vmf_source base;
    char *path; /* or address */
    char *format;
    char *ca_file, *shown; /* of a web server: whom to believe; its address without secrets. Else NULL */
    bool nbd;
};

static bool
is_web (const char *address)
{
    return g_str_has_prefix (address, "https://") || g_str_has_prefix (address, "http://");
}

/* By its name, which of an address is the end of its path. */
static const char *
format_by_name (const char *address)
{
    g_autoptr (GUri) uri = is_web (address) ? g_uri_parse (address, G_URI_FLAGS_NONE, NULL) : NULL;
    return vmf_nbd_is_uri (address) ? "raw" : vmf_format_from_path (uri ? g_uri_get_path (uri) : address);
}

static bool
claims (const char *address)
{
    if (is_web (address))
        return format_by_name (address) != NULL;
    return vmf_nbd_is_uri (address)
           || (!g_file_test (address, G_FILE_TEST_IS_DIR) && vmf_format_from_path (address) != NULL);
}

/* Only what can be read from a web server. */
static bool
check_web (const char *format, GError **error)
{
    if (strcmp (format, "raw") == 0 || strcmp (format, "vmdk") == 0)
        return true;
    g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE,
                 "of a web server, only raw disks and stream-optimised VMDKs can be read, not %s", format);
    return false;
}

static struct vmf_source *
open_source (const char *address, const struct vmf_source_options *options, GCancellable *cancellable, GError **error)
{
    const char *format = options->format ? vmf_format_from_name (options->format) : format_by_name (address);
    g_autofree char *shown = is_web (address) ? vmf_feed_show_url (address, error) : NULL;
    if (is_web (address) && (!shown || (format && !check_web (format, error))))
        return NULL;
    if (!vmf_nbd_is_uri (address) && !vmf_source_check_not_gzip (address, error))
        return NULL;
    if (!format)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE,
                     "the image format '%s' is not known; known are raw, qcow2, vmdk, vpc (VHD), vhdx, vdi",
                     options->format ? options->format : "");
        return NULL;
    }
    struct image_source *source = g_new0 (struct image_source, 1);
    source->nbd = vmf_nbd_is_uri (address);
    source->path = source->nbd || shown ? g_strdup (address) : g_canonicalize_filename (address, NULL);
    source->ca_file = shown ? g_strdup (options->ca_file) : NULL;
    source->shown = g_steal_pointer (&shown);
    source->format = g_strdup (format);
    return &source->base;
}

static void
close_source (struct vmf_source *base)
{
    struct image_source *source = (struct image_source *)base;
    g_free (source->path);
    g_free (source->format);
    g_free (source->ca_file);
    g_free (source->shown);
    g_free (source);
}

static struct vmf_image *
open_web (const struct image_source *source, GError **error)
{
    g_autofree char *url = g_strconcat ("url=", source->path, NULL);
    g_autofree char *cainfo = source->ca_file ? g_strconcat ("cainfo=", source->ca_file, NULL) : NULL;
    /* As for a stream: no redirect to somewhere else. */
    const char *raw[] = { "curl", url, "protocols=http,https", "followlocation=false", cainfo, NULL };
    const char *vmdk[] = { "vmdkstream", "stream=fd:4", "forward=true", NULL };
    struct vmf_feed_options feed = { .url = source->path, .trust.ca_file = source->ca_file };
    bool stream = strcmp (source->format, "vmdk") == 0;
    struct vmf_image_helper helper = {
        .words = (GStrv)(stream ? vmdk : raw), .network = !stream, .sequential = stream, .feed = stream ? &feed : NULL
    };
    return vmf_image_new_helper (&helper, 0, error);
}

static struct vmf_image *
open_image (struct vmf_source *base, const struct vmf_vm *vm, const struct vmf_disk *disk, GCancellable *cancellable,
            GError **error)
{
    struct image_source *source = (struct image_source *)base;
    if (source->nbd)
        return vmf_image_new_nbd (source->path, source->format, NULL, error);
    if (source->shown)
        return open_web (source, error);
    g_autofree char *folder = g_path_get_dirname (source->path);
    struct vmf_image *image = vmf_image_new_file (source->path, source->format, folder, NULL, error);
    vmf_image_narrow (image);
    return image;
}

/* "web01" of /x/web01.vmdk, "disk" of nbd://host/disk. */
static char *
machine_name (const char *path)
{
    g_autofree char *file = g_path_get_basename (path);
    char *dot = strrchr (file, '.');
    if (dot && dot != file)
        *dot = '\0';
    file[strcspn (file, "?")] = '\0';
    return *file ? g_steal_pointer (&file) : g_strdup ("disk");
}

/* nbd://host:port/export, nbd+unix:///export?socket=path */
static void
set_nbd_place (struct vmf_place *place, const char *address)
{
    g_autoptr (GUri) uri = g_uri_parse (address, G_URI_FLAGS_NON_DNS | G_URI_FLAGS_ENCODED_QUERY, NULL);
    const char *query = uri ? g_uri_get_query (uri) : NULL, *path = uri ? g_uri_get_path (uri) : "";
    g_autoptr (GHashTable) words = query ? g_uri_parse_params (query, -1, "&", G_URI_PARAMS_NONE, NULL) : NULL;
    place->location = VMF_LOCATION_NBD;
    place->tls = g_str_has_prefix (address, "nbds");
    place->export_name = path[0] == '/' && path[1] ? g_strdup (path + 1) : NULL;
    place->socket = words ? g_strdup (g_hash_table_lookup (words, "socket")) : NULL;
    if (!uri || place->socket)
        return;
    place->host = g_strdup (g_uri_get_host (uri));
    place->port = g_uri_get_port (uri) > 0 ? (uint16_t)g_uri_get_port (uri) : 0;
}

static struct vmf_vm *
describe (struct vmf_source *base, const char *name, GCancellable *cancellable, GError **error)
{
    struct image_source *source = (struct image_source *)base;
    g_autoptr (vmf_image) image = open_image (base, NULL, NULL, cancellable, error);
    if (!image)
        return NULL;
    struct vmf_vm *vm = vmf_vm_new ();
    struct vmf_disk *disk = vmf_vm_add_disk (vm);
    vm->name = machine_name (source->shown ? source->shown : source->path);
    vm->origin = VMF_ORIGIN_IMAGE;
    disk->id = g_strdup ("disk");
    disk->device = VMF_DEVICE_DISK;
    disk->place.path = g_strdup (source->shown ? source->shown : source->path);
    disk->place.location = source->shown ? VMF_LOCATION_OTHER : VMF_LOCATION_FILE;
    if (source->nbd)
        set_nbd_place (&disk->place, source->path);
    disk->place.format = g_strdup (source->format);
    disk->capacity_bytes = image->size_bytes;
    vmf_vm_add_nic (vm)->added = true;
    return vmf_source_check_only (vm, source->path, name, error);
}

const struct vmf_source_ops vmf_source_image = {
    .name = "image",
    .claims = claims,
    .open = open_source,
    .close = close_source,
    .list = vmf_source_list_one,
    .describe = describe,
    .image = open_image,
};
