/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The road `vddk`: VMware's own library behind our nbdkit plugin (or the distribution's): only what is asked for
 * travels, with many reads in flight (A1, A3).
 *
 * NFC's limits per ESXi host (PITFALLS 25, 26) are kept by slots: files that our plugins lock before they open a disk,
 * in a folder for the host. A disk that finds none free waits, which is no failure. With the distribution's plugin they
 * are not kept.
 */
#include "source/vsphere/roads.h"
#include "base/error.h"
#include "base/reach.h"
#include "base/text.h"
#include "base/vddk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum
{
    SLOTS_ESX5 = 8,  /* 32 MB of NFC buffers, 4 MB for a disk whose reads are 2 MB with two in flight */
    SLOTS_ESX6 = 12, /* 48 MB */
    REACH_TIMEOUT_MS = 3000,
};

/* To look loads the library in a child, so it is done once. */
static const struct vmf_vddk *
look (struct vsphere_source *source, GCancellable *cancellable)
{
    if (!source->vddk)
        source->vddk = vmf_vddk_look (source->settings, cancellable);
    return source->vddk;
}

static char *
unfit (struct vsphere_source *source, const struct vmf_vsphere_machine *machine, GCancellable *cancellable)
{
    return g_strdup (look (source, cancellable)->problem);
}

/* Where disks come by NFC alone. One that has no name here is not asked: VDDK will say so. */
static char *
closed (struct vsphere_source *source, const struct vmf_vsphere_machine *machine, GCancellable *cancellable)
{
    bool by_vcenter = source->address->is_vcenter && machine->host_name;
    struct vmf_reach reach = { .host = by_vcenter ? machine->host_name : source->address->host,
                               .port = VMF_VDDK_NFC_PORT };
    const char *transports = vmf_settings_get_string (source->settings, "vddk.transports");
    if (strstr (transports, "san") || strstr (transports, "hotadd")
        || !vmf_reach_check (&reach, 1, REACH_TIMEOUT_MS, cancellable, NULL))
        return NULL;
    bool shut = reach.state == VMF_REACH_REFUSED || reach.state == VMF_REACH_TIMED_OUT;
    char *why = shut ? g_strdup_printf ("TCP port %u of the ESXi host %s, by which VDDK reads, cannot be reached from "
                                        "here (%s); open it in the firewalls between",
                                        VMF_VDDK_NFC_PORT, reach.host, reach.text)
                     : NULL;
    vmf_reach_clear (&reach);
    return why;
}

/* How many disks of one ESXi host may be open at once. */
static unsigned
slots (const struct vsphere_source *source)
{
    uint64_t set = vmf_settings_get_uint64 (source->settings, "vsphere.nfc_slots");
    const char *version = source->machine->host_version;
    return set ? (unsigned)set : version && atoi (version) > 0 && atoi (version) < 6 ? SLOTS_ESX5 : SLOTS_ESX6;
}

/* Shared by the imports of this user on this host. */
static char *
slots_dir (const struct vsphere_source *source, GError **error)
{
    const char *host = source->machine->host_name ? source->machine->host_name : source->address->host;
    g_autofree char *name = g_strdup (host);
    g_strcanon (name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._", '_');
    char *dir = g_strdup_printf ("%s/vmferry/nfc/%s", getuid () == 0 ? "/run" : g_get_user_runtime_dir (), name);
    if (g_mkdir_with_parents (dir, 0700) == 0)
        return dir;
    g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "cannot make %s: %s", dir, g_strerror (errno));
    g_free (dir);
    return NULL;
}

static void
add (GPtrArray *words, const char *key, const char *value)
{
    if (value && *value)
        g_ptr_array_add (words, g_strdup_printf ("%s=%s", key, value));
}

/* With its capacity told the plugin is there at once, also while the disk waits for its turn. */
static bool
add_own_words (struct vsphere_source *source, const struct vmf_vsphere_disk *disk, GPtrArray *words, GError **error)
{
    g_autofree char *dir = slots_dir (source, error), *number = g_strdup_printf ("%u", slots (source));
    g_autofree char *owner = g_strdup_printf ("%d", (int)getpid ());
    g_autofree char *capacity =
        disk->capacity_bytes ? g_strdup_printf ("%" G_GUINT64_FORMAT, (guint64)disk->capacity_bytes) : NULL;
    add (words, "slots", dir);
    add (words, "slots-max", number);
    add (words, "slots-owner", owner);
    add (words, "slots-wait", vmf_settings_get_string (source->settings, "vsphere.nfc_wait_s"));
    add (words, "patience", vmf_settings_get_string (source->settings, "vddk.patience_s"));
    add (words, "capacity", capacity);
    return dir != NULL;
}

static struct vmf_image *
open_image (struct vsphere_source *source, const struct vmf_vsphere_disk *disk, GCancellable *cancellable,
            GError **error)
{
    const struct vmf_vddk *vddk = look (source, cancellable);
    g_autoptr (GPtrArray) words = g_ptr_array_new_with_free_func (g_free);
    g_autofree char *vm = g_strconcat ("moref=", source->machine->moref, NULL);
    g_autofree char *port = source->address->port ? g_strdup_printf ("%u", source->address->port) : NULL;
    if (vddk->problem)
    {
        g_set_error_literal (error, VMF_ERROR, VMF_ERROR_MISSING, vddk->problem);
        return NULL;
    }
    g_ptr_array_add (words, g_strdup (vddk->plugin));
    add (words, "file", disk->path);
    add (words, "server", source->address->host);
    add (words, "port", port);
    add (words, "user", source->address->user);
    add (words, "password", "-3"); /* VMF_CHILD_SECRET_FD */
    add (words, "thumbprint", vmf_vsphere_get_thumbprint (source->vsphere));
    add (words, "vm", vm);
    add (words, "snapshot", source->snapshot);
    add (words, "libdir", vddk->libdir);
    add (words, "transports", vmf_settings_get_string (source->settings, "vddk.transports"));
    add (words, "compression", vmf_settings_get_string (source->settings, "vddk.compression"));
    if (vddk->plugin_is_own && !add_own_words (source, disk, words, error))
        return NULL;
    g_ptr_array_add (words, NULL);
    /* nbdkit's own plugin runs itself anew where VDDK's folder is not named there, and keeps the password in a file
       meanwhile. */
    g_autofree char *path = g_strdup_printf ("LD_LIBRARY_PATH=%s/lib64", vddk->libdir);
    const char *env[] = { path, NULL };
    struct vmf_image_helper helper = { .words = (char **)words->pdata,
                                       .env = vddk->plugin_is_own ? NULL : (char **)env,
                                       .secret = source->password,
                                       .network = true,
                                       .may_wait = vddk->plugin_is_own };
    return vmf_image_new_helper (&helper, disk->capacity_bytes, error);
}

const struct vsphere_road vsphere_road_vddk = {
    .name = "vddk",
    .speed = "the fastest",
    .unfit = unfit,
    .closed = closed,
    .image = open_image,
};
