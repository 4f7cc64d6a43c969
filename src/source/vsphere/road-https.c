/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The road `https`: the datastore's -flat.vmdk through nbdkit's curl plugin.
 *
 * The session's cookie stands in a file of the work directory that only its owner can read, and nbdkit reads it there
 * again and again (cookie-script), so a session that was renewed goes on. Only a disk that is one flat file can be read
 * like this: not what a snapshot left to deltas.
 */
#include "source/vsphere/roads.h"
#include "base/error.h"
#include "base/plugins.h"
#include "base/text.h"
#include "base/tls-name.h"

#include <string.h>

#define COOKIE_RENEW_S "10"

enum
{
    TRY_TIMEOUT_MS = 30000,
};

/* nbdkit's curl plugin can be told to believe a file of certificates, but not one certificate whatever its name. So a
   pinned one is tried as the plugin will, first by the server's name, then by the certificate's own, with which the
   server is reached through a relay. It is verified either way. */
static char *
unfit_certificate (struct vsphere_source *source, GCancellable *cancellable)
{
    const char *host = source->address->host, *pem = vmf_vsphere_get_certificate_pem (source->vsphere);
    uint16_t port = vmf_vsphere_address_port (source->address);
    g_clear_pointer (&source->https_name, g_free);
    if (!source->trust.tls.thumbprint)
        return NULL;
    g_autofree char *why = vmf_tls_try_name (host, port, host, pem, TRY_TIMEOUT_MS, cancellable);
    g_autofree char *name = why ? vmf_tls_get_own_name (pem) : NULL;
    g_autofree char *why_own = name ? vmf_tls_try_name (host, port, name, pem, TRY_TIMEOUT_MS, cancellable) : NULL;
    if (name && !why_own)
        source->https_name = g_steal_pointer (&name);
    if (!why || source->https_name)
        return NULL;
    return g_strdup_printf (
        "nbdkit's curl plugin would refuse the pinned certificate of %s (%s); give the server a certificate that is "
        "valid, or use the road export or vddk, which go by the thumbprint alone",
        host, why_own ? why_own : why);
}

static char *
unfit (struct vsphere_source *source, const struct vmf_vsphere_machine *machine, GCancellable *cancellable)
{
    if (!vmf_plugin_is_installed ("curl", cancellable))
        return g_strdup ("nbdkit's curl plugin is not installed; install the package nbdkit");
    g_autofree char *held = vsphere_held_name (source);
    bool over_flat = held && machine->snapshots->len == 1; /* below a snapshot of our own is the flat file */
    for (guint i = 0; i < machine->disks->len && !over_flat; i++)
    {
        const struct vmf_vsphere_disk *disk = g_ptr_array_index (machine->disks, i);
        if (disk->is_delta)
            return g_strdup_printf ("disk %s has snapshots, and a delta cannot be read like this; remove the snapshots "
                                    "first, or use the road vddk or export",
                                    disk->id);
    }
    return unfit_certificate (source, cancellable);
}

static char *
path_in_work (struct vsphere_source *source, const char *name)
{
    return g_build_filename (source->work_dir, name, NULL);
}

bool
vsphere_write_cookie (struct vsphere_source *source, GError **error)
{
    g_autofree char *path = path_in_work (source, "vsphere.cookie"), *cookie = vmf_vsphere_get_cookie (source->vsphere);
    return g_file_set_contents_full (path, cookie ? cookie : "", -1, G_FILE_SET_CONTENTS_CONSISTENT, 0600, error);
}

static void
add (GPtrArray *words, const char *key, const char *value)
{
    g_ptr_array_add (words, g_strconcat (key, value, NULL));
}

/* nbdkit can be told to believe a file of certificates, or nobody; a pinned certificate is such a file. Without a
   folder of its own for others (there are none in the work directory) it would believe the system's authorities, too.
 */
static bool
add_trust (struct vsphere_source *source, GPtrArray *words, GError **error)
{
    const struct vmf_tls_trust *trust = &source->trust.tls;
    g_autofree char *path = path_in_work (source, "vsphere.pem");
    const char *pem = vmf_vsphere_get_certificate_pem (source->vsphere);
    if (trust->thumbprint && !g_file_set_contents_full (path, pem, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0600, error))
        return false;
    if (!trust->no_verify && (trust->thumbprint || trust->ca_file))
    {
        add (words, "cainfo=", trust->thumbprint ? path : trust->ca_file);
        add (words, "capath=", source->work_dir);
    }
    add (words, "sslverify=", trust->no_verify ? "false" : "true");
    return true;
}

/* URL under the certificate's own name, through a relay to the host. */
static bool
add_relay (struct vsphere_source *source, const char *url, GPtrArray *words, GError **error)
{
    const char *host = source->address->host, *name = source->https_name;
    uint16_t port = vmf_vsphere_address_port (source->address);
    g_autofree char *path = path_in_work (source, "https.sock");
    g_autofree char *there = vmf_text_host_port (name, port), *own = vmf_text_host_port (host, port);
    const char *rest = strchr (url + strlen ("https://"), '/');
    if (!source->relay && !(source->relay = vmf_relay_start (path, host, port, error)))
        return false;
    g_ptr_array_add (words, g_strconcat ("url=https://", there, rest, NULL));
    add (words, "unix-socket-path=", path);
    add (words, "header=Host: ", own);
    return true;
}

static bool
add_address (struct vsphere_source *source, const char *url, GPtrArray *words, GError **error)
{
    if (source->https_name)
        return add_relay (source, url, words, error);
    add (words, "url=", url);
    return true;
}

static struct vmf_image *
open_image (struct vsphere_source *source, const struct vmf_vsphere_disk *disk, GCancellable *cancellable,
            GError **error)
{
    g_autofree char *url = vmf_vsphere_flat_url (source->vsphere, source->machine->datacenter, disk->path, error);
    if (!url || !vsphere_write_cookie (source, error))
        return NULL;
    g_autofree char *cookie = path_in_work (source, "vsphere.cookie"), *quoted = g_shell_quote (cookie);
    g_autoptr (GPtrArray) words = g_ptr_array_new_with_free_func (g_free);
    add (words, "--filter=", "retry");
    add (words, "curl", "");
    if (!add_address (source, url, words, error) || !add_trust (source, words, error))
        return NULL;
    add (words, "cookie-script=exec cat ", quoted); /* nbdkit's own shell; no word is foreign */
    add (words, "cookie-script-renew=", COOKIE_RENEW_S);
    add (words, "followlocation=", "false"); /* the cookie is for this server alone */
    add (words, "protocols=", "https");
    add (words, "proxy=", ""); /* none, as for the session: it would see the cookie where nobody verifies */
    /* A session that ended makes reads fail until another cookie is there: each try opens the disk anew. */
    add (words, "retries=", "30");
    add (words, "retry-delay=", "2");
    add (words, "retry-exponential=", "no");
    g_ptr_array_add (words, NULL);
    struct vmf_image_helper helper = { .words = (char **)words->pdata, .network = true };
    return vmf_image_new_helper (&helper, disk->capacity_bytes, error);
}

const struct vsphere_road vsphere_road_https = {
    .name = "https",
    .speed = "half as fast as vddk or slower",
    .unfit = unfit,
    .image = open_image,
};
