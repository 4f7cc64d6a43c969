/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A VMware machine in a folder of another host, by ssh: ssh://user@host/vmfs/volumes/datastore/name/name.vmx (C12).
 *
 * The .vmx is read once, when the source is opened. A machine that is running cannot be had this way: ESXi locks its
 * disks.
 */
#include "source/ssh-host.h"
#include "source/sources.h"
#include "vm/read.h"
#include "base/error.h"
#include "base/text.h"

#include <string.h>

struct ssh_source
{
    struct vmf_source base;
    struct vmf_ssh_login *login;
    char *path, *text;
    size_t length;
};

static bool
claims (const char *address)
{
    return g_str_has_prefix (address, "ssh://");
}

static void
close_source (struct vmf_source *base)
{
    struct ssh_source *source = (struct ssh_source *)base;
    vmf_ssh_login_free (source->login);
    g_free (source->path);
    g_free (source->text);
    g_free (source);
}

/* A path of the host that means one file and no option, line or way up. */
static bool
is_path_of_vmx (const char *path)
{
    static const char *const extensions[] = { ".vmx", ".vmtx", NULL };
    g_auto (GStrv) parts = g_strsplit (path, "/", -1);
    for (const char *c = path; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return false;
    return *path == '/' && !g_strv_contains ((const char *const *)parts, "..")
           && vmf_source_has_extension (path, extensions);
}

bool
vmf_ssh_parse (const char *address, char **user, char **host, uint16_t *port, char **path, GError **error)
{
    g_autoptr (GError) why = NULL;
    g_autoptr (GUri) uri = g_uri_parse (address, G_URI_FLAGS_HAS_PASSWORD, &why);
    const char *problem = NULL;
    if (!uri)
        problem = why->message;
    else if (g_uri_get_password (uri))
        problem = "a password does not belong into an address, where others see it; use --password-file, or a key";
    else if (!g_uri_get_host (uri) || *g_uri_get_host (uri) == '\0')
        problem = "it names no host";
    else if (g_uri_get_query (uri) || g_uri_get_fragment (uri))
        problem = "'?' and '#' in a path are written %3F and %23";
    else if (!is_path_of_vmx (g_uri_get_path (uri)))
        problem = "it does not lead to a machine's .vmx: ssh://user@host/vmfs/volumes/DATASTORE/NAME/NAME.vmx";
    if (problem)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE, "%s", problem);
        return false;
    }
    *user = g_strdup (g_uri_get_user (uri));
    *host = g_strdup (g_uri_get_host (uri));
    *port = g_uri_get_port (uri) > 0 ? (uint16_t)g_uri_get_port (uri) : 22;
    *path = g_strdup (g_uri_get_path (uri));
    return true;
}

static struct vmf_source *
open_source (const char *address, const struct vmf_source_options *options, GCancellable *cancellable, GError **error)
{
    g_autofree char *user = NULL, *host = NULL;
    const char *password = NULL;
    uint16_t port;
    struct ssh_source *source = g_new0 (struct ssh_source, 1);
    if (vmf_ssh_parse (address, &user, &host, &port, &source->path, error)
        && (!options->ask_password || options->ask_password (address, false, &password, error)))
    {
        source->login = vmf_ssh_login_new (user, host, port, password, options->settings);
        source->text = vmf_ssh_read_text (source->login, source->path, &source->length, cancellable, error);
    }
    if (source->text)
        return &source->base;
    close_source (&source->base);
    return NULL;
}

static struct vmf_vm *
describe (struct vmf_source *base, const char *name, GCancellable *cancellable, GError **error)
{
    struct ssh_source *source = (struct ssh_source *)base;
    struct vmf_vm *vm = vmf_vm_read_vmx (source->text, source->length, error);
    if (!vm)
        g_prefix_error (error, "'%s': ", source->path);
    return vmf_source_check_only (vm, source->path, name, error);
}

static struct vmf_image *
open_image (struct vmf_source *base, const struct vmf_vm *vm, const struct vmf_disk *disk, GCancellable *cancellable,
            GError **error)
{
    struct ssh_source *source = (struct ssh_source *)base;
    const char *name = vmf_source_get_file (disk, error);
    g_autofree char *folder = g_path_get_dirname (source->path);
    struct vmf_image *image = name ? vmf_ssh_open_disk (source->login, folder, name, cancellable, error) : NULL;
    if (!image)
        g_prefix_error (error, "disk %s: ", disk->id ? disk->id : "");
    return image;
}

const struct vmf_source_ops vmf_source_ssh = {
    .name = "ssh",
    .claims = claims,
    .open = open_source,
    .close = close_source,
    .list = vmf_source_list_one,
    .describe = describe,
    .image = open_image,
};
