/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A VMware machine as it lies in a folder: NAME.vmx and its VMDKs, snapshots' deltas included (C12).
 *
 * The .vmx names its disks; names that leave the folder are refused, since a .vmx travels with its images and is as
 * little trusted as they are.
 */
#include "source/bundle.h"
#include "source/sources.h"
#include "disk/image-beneath.h"
#include "vm/read.h"
#include "base/error.h"

#include <unistd.h>

struct vmx_source
{
    struct vmf_source base;
    char *path, *folder;
    struct vmf_bundle *bundle;
};

static const char *const extensions[] = { ".vmx", ".vmtx", NULL };

static bool
claims (const char *address)
{
    if (!g_file_test (address, G_FILE_TEST_IS_DIR))
        return vmf_source_has_extension (address, extensions);
    g_autoptr (GPtrArray) names = vmf_source_names_in (address, ".vmx");
    return names->len > 0;
}

/* The .vmx that ADDRESS means. */
static char *
find_vmx (const char *address, GError **error)
{
    if (!g_file_test (address, G_FILE_TEST_IS_DIR))
        return g_canonicalize_filename (address, NULL);
    g_autoptr (GPtrArray) names = vmf_source_names_in (address, ".vmx");
    if (names->len == 1)
    {
        g_autofree char *path = g_build_filename (address, g_ptr_array_index (names, 0), NULL);
        return g_canonicalize_filename (path, NULL);
    }
    g_ptr_array_add (names, NULL);
    g_autofree char *list = g_strjoinv (", ", (char **)names->pdata);
    g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE, "the folder has several machines; name one of them: %s", list);
    return NULL;
}

static struct vmf_source *
open_source (const char *address, const struct vmf_source_options *options, GCancellable *cancellable, GError **error)
{
    g_autofree char *path = find_vmx (address, error);
    g_autofree char *folder = path ? g_path_get_dirname (path) : NULL;
    struct vmf_bundle *bundle = folder ? vmf_bundle_open_folder (folder, error) : NULL;
    if (!bundle)
        return NULL;
    struct vmx_source *source = g_new0 (struct vmx_source, 1);
    source->path = g_steal_pointer (&path);
    source->folder = g_strdup (bundle->path);
    source->bundle = bundle;
    return &source->base;
}

static void
close_source (struct vmf_source *base)
{
    struct vmx_source *source = (struct vmx_source *)base;
    vmf_bundle_free (source->bundle);
    g_free (source->path);
    g_free (source->folder);
    g_free (source);
}

static struct vmf_vm *
describe (struct vmf_source *base, const char *name, GCancellable *cancellable, GError **error)
{
    struct vmx_source *source = (struct vmx_source *)base;
    size_t length;
    g_autofree char *text = vmf_source_read_text (source->path, &length, error);
    struct vmf_vm *vm = text ? vmf_vm_read_vmx (text, length, error) : NULL;
    if (text && !vm)
        g_prefix_error (error, "'%s': ", source->path);
    return vmf_source_check_only (vm, source->path, name, error);
}

static struct vmf_image *
open_image (struct vmf_source *base, const struct vmf_vm *vm, const struct vmf_disk *disk, GCancellable *cancellable,
            GError **error)
{
    struct vmx_source *source = (struct vmx_source *)base;
    const char *name = vmf_source_get_file (disk, error);
    g_autofree char *path = NULL;
    const struct vmf_bundle_member *member = name ? vmf_bundle_find (source->bundle, "", name, error) : NULL;
    int fd = member ? vmf_beneath_open (source->folder, member->name, "disk", &path, error) : -1;
    if (fd < 0)
        return g_prefix_error (error, "disk %s: ", disk->id ? disk->id : ""), NULL;
    close (fd);
    const char *format = disk->place.format ? disk->place.format : "vmdk";
    return vmf_image_new_file (path, format, source->folder, NULL, error);
}

const struct vmf_source_ops vmf_source_vmx = {
    .name = "vmx",
    .claims = claims,
    .open = open_source,
    .close = close_source,
    .list = vmf_source_list_one,
    .describe = describe,
    .image = open_image,
};
