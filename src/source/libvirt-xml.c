/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A libvirt domain XML in a file, of KVM or Xen, with its disks where it says (C5).
 *
 * The XML is the administrator's own words: its paths may be absolute and lead anywhere, and the chain that it names as
 * <backingStore> is followed. So only its name makes a file one, never its content, which may be a guest's. What an
 * image's header names is not, unless it stays in the image's folder. Where the XML was carried here with its disks, a
 * path that does not exist is looked for beside the XML.
 */
#include "source/sources.h"
#include "disk/image-beneath.h"
#include "vm/read.h"
#include "base/error.h"
#include "base/text.h"

#include <string.h>
#include <unistd.h>

struct xml_source
{
    struct vmf_source base;
    char *path, *folder;
};

static const char *const extensions[] = { ".xml", NULL };

static bool
claims (const char *address)
{
    return vmf_source_has_extension (address, extensions) && !g_file_test (address, G_FILE_TEST_IS_DIR);
}

static struct vmf_source *
open_source (const char *address, const struct vmf_source_options *options, GCancellable *cancellable, GError **error)
{
    struct xml_source *source = g_new0 (struct xml_source, 1);
    source->path = g_canonicalize_filename (address, NULL);
    source->folder = g_path_get_dirname (source->path);
    return &source->base;
}

static void
close_source (struct vmf_source *base)
{
    struct xml_source *source = (struct xml_source *)base;
    g_free (source->path);
    g_free (source->folder);
    g_free (source);
}

static struct vmf_vm *
describe (struct vmf_source *base, const char *name, GCancellable *cancellable, GError **error)
{
    struct xml_source *source = (struct xml_source *)base;
    size_t length;
    g_autofree char *text = vmf_source_read_text (source->path, &length, error);
    struct vmf_vm *vm = text ? vmf_vm_read_libvirt (text, length, error) : NULL;
    if (text && !vm)
        g_prefix_error (error, "'%s': ", source->path);
    return vmf_source_check_only (vm, source->path, name, error);
}

/* What PLACE's format is. libvirt takes an image without <driver type> as raw; a name that says otherwise is a mistake
   that would cost a whole import. */
static const char *
format_of (const struct vmf_place *place, GError **error)
{
    if (place->path && !vmf_source_check_not_gzip (place->path, error))
        return NULL;
    if (place->format)
        return place->format;
    const char *by_name = place->path ? vmf_format_from_path (place->path) : NULL;
    if (!by_name || strcmp (by_name, "raw") == 0)
        return "raw";
    g_set_error (
        error, VMF_ERROR, VMF_ERROR_USAGE,
        "the XML does not say the format of '%s', which libvirt would take as raw, but its name says %s; write "
        "<driver type='%s'/> into the disk's XML",
        place->path, by_name, by_name);
    return NULL;
}

/* Where the file that the XML calls PATH is: there, or beside the XML. */
static char *
find_file (const struct xml_source *source, const char *path, GError **error)
{
    if (g_path_is_absolute (path) && g_file_test (path, G_FILE_TEST_EXISTS))
        return g_strdup (path);
    g_autofree char *last = g_path_get_basename (path);
    const char *name = g_path_is_absolute (path) ? last : path;
    char *found = NULL;
    GError *why = NULL;
    int fd = vmf_beneath_open (source->folder, name, "disk", &found, &why);
    if (fd >= 0)
        close (fd);
    else if (g_path_is_absolute (path) && g_error_matches (why, VMF_ERROR, VMF_ERROR_NOT_FOUND))
        g_set_error (error, VMF_ERROR, VMF_ERROR_NOT_FOUND,
                     "the disk '%s' is not there, and there is no '%s' beside the XML either", path, last);
    else
        g_propagate_error (error, g_steal_pointer (&why));
    g_clear_error (&why);
    return found;
}

/* nbd://host:port/export or nbd+unix:///export?socket=… */
static char *
nbd_uri (const struct vmf_place *place)
{
    g_autofree char *name = g_uri_escape_string (place->export_name ? place->export_name : "", NULL, FALSE);
    const char *scheme = place->tls ? "nbds" : "nbd";
    if (place->socket)
    {
        g_autofree char *socket = g_uri_escape_string (place->socket, "/", FALSE);
        return g_strdup_printf ("%s+unix:///%s?socket=%s", scheme, name, socket);
    }
    const char *host = place->host ? place->host : "localhost";
    bool bare_v6 = strchr (host, ':') && host[0] != '[';
    return g_strdup_printf ("%s://%s%s%s:%u/%s", scheme, bare_v6 ? "[" : "", host, bare_v6 ? "]" : "",
                            place->port ? place->port : 10809, name);
}

static struct vmf_image *
open_file (const struct xml_source *source, const struct vmf_place *place, const char *format,
           struct vmf_image *backing, GError **error)
{
    g_autofree char *path = find_file (source, place->path, error);
    if (!path)
        return vmf_image_free (backing), NULL;
    g_autofree char *folder = g_path_get_dirname (path);
    struct vmf_image *image = vmf_image_new_file (path, format, folder, backing, error);
    vmf_image_narrow (image);
    return image;
}

/* As deep as the chain is, which its reader bounds (VMF_CHAIN_MAX). */
static struct vmf_image *
open_place (const struct xml_source *source, const struct vmf_place *place, GError **error)
{
    struct vmf_image *backing = NULL;
    const char *format = format_of (place, error);
    if (!format)
        return NULL;
    if (place->backing)
        backing = open_place (source, place->backing, error);
    if (place->backing && !backing)
        return g_prefix_error (error, "in its <backingStore>: "), NULL;
    if ((place->location == VMF_LOCATION_FILE || place->location == VMF_LOCATION_BLOCK) && place->path)
        return open_file (source, place, format, backing, error);
    if (place->location == VMF_LOCATION_NBD)
    {
        g_autofree char *uri = nbd_uri (place);
        return vmf_image_new_nbd (uri, format, backing, error);
    }
    vmf_image_free (backing);
    if (place->location == VMF_LOCATION_VOLUME)
        g_set_error (
            error, VMF_ERROR, VMF_ERROR_USAGE,
            "it is the volume '%s' of the libvirt pool '%s', which an XML in a file does not lead to; write its "
            "path into the XML ('virsh vol-path --pool %s %s')",
            place->volume, place->pool, place->pool, place->volume);
    else
        g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE,
                     "'%s' is not a file, a block device or an NBD disk, and can't be imported from here",
                     place->path ? place->path : "");
    return NULL;
}

static struct vmf_image *
open_image (struct vmf_source *base, const struct vmf_vm *vm, const struct vmf_disk *disk, GCancellable *cancellable,
            GError **error)
{
    struct vmf_image *image = open_place ((struct xml_source *)base, &disk->place, error);
    if (!image)
        g_prefix_error (error, "disk %s: ", disk->id ? disk->id : "");
    return image;
}

const struct vmf_source_ops vmf_source_libvirt_xml = {
    .name = "libvirt-xml",
    .claims = claims,
    .open = open_source,
    .close = close_source,
    .list = vmf_source_list_one,
    .describe = describe,
    .image = open_image,
};
