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

#include <string.h>

#define COOKIE_RENEW_S "10"

static char *
unfit (struct vsphere_source *source, const struct vmf_vsphere_machine *machine)
{
    if (!vmf_plugin_is_installed ("curl", NULL))
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
    return NULL;
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

/* nbdkit can be told to believe a file of certificates, or nobody; a pinned certificate is such a file. */
static char *
trust_word (struct vsphere_source *source, GError **error)
{
    const struct vmf_tls_trust *trust = &source->trust.tls;
    if (trust->no_verify)
        return g_strdup ("sslverify=false");
    if (!trust->thumbprint)
        return trust->ca_file ? g_strdup_printf ("cainfo=%s", trust->ca_file) : g_strdup ("sslverify=true");
    g_autofree char *path = path_in_work (source, "vsphere.pem");
    const char *pem = vmf_vsphere_get_certificate_pem (source->vsphere);
    return g_file_set_contents_full (path, pem, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0600, error)
               ? g_strdup_printf ("cainfo=%s", path)
               : NULL;
}

static struct vmf_image *
open_image (struct vsphere_source *source, const struct vmf_vsphere_disk *disk, GCancellable *cancellable,
            GError **error)
{
    g_autofree char *url = vmf_vsphere_flat_url (source->vsphere, source->machine->datacenter, disk->path, error);
    g_autofree char *trust = url && vsphere_write_cookie (source, error) ? trust_word (source, error) : NULL;
    if (!trust)
        return NULL;
    g_autofree char *cookie = path_in_work (source, "vsphere.cookie"), *quoted = g_shell_quote (cookie);
    g_autofree char *url_word = g_strconcat ("url=", url, NULL);
    g_autofree char *script =
        g_strdup_printf ("cookie-script=exec cat %s", quoted); /* nbdkit's own shell; no word is foreign */
    /* A session that ended makes reads fail until another cookie is there: each try opens the disk anew. */
    const char *words[] = { "--filter=retry",
                            "curl",
                            url_word,
                            script,
                            "cookie-script-renew=" COOKIE_RENEW_S,
                            trust,
                            "proxy=", /* none, as for the session: it would see the cookie where nobody verifies */
                            "retries=30",
                            "retry-delay=2",
                            "retry-exponential=no",
                            NULL };
    struct vmf_image_helper helper = { .words = (char **)words, .network = true };
    return vmf_image_new_helper (&helper, disk->capacity_bytes, error);
}

const struct vsphere_road vsphere_road_https = {
    .name = "https",
    .speed = "half as fast as vddk or slower",
    .unfit = unfit,
    .image = open_image,
};
