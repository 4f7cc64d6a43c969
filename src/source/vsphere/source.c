/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vCenter and ESXi as a source: vpx://user@vcenter/DC/host and esx://user@host/.
 *
 * The session is kept for the life of the source: a thread asks for the server's time now and then. Whom the connection
 * believes is settled before the password is sent (pins.h); a certificate that is pinned at its first use is said
 * (A18).
 */
#include "source/vsphere/roads.h"
#include "source/vsphere/pins.h"
#include "base/error.h"
#include "base/vddk.h"
#include "base/text.h"

#include <string.h>

enum
{
    ASK_TIMEOUT_MS = 30000,
    KEEP_ALIVE_S = 20, /* also how long the https road may stand still when the server has forgotten the session */
};

static bool
claims (const char *address)
{
    return g_str_has_prefix (address, "vpx://") || g_str_has_prefix (address, "esx://");
}

/* ---- the session ---- */

/* A certificate that is not the pinned one: both are shown, and how to forget it. Where the user named it (the setting
   vddk.thumbprint), WHY says that already. Takes WHY. */
static bool
refuse (struct vsphere_source *source, const char *address, GError *why, GCancellable *cancellable, GError **error)
{
    const char *host = source->address->host;
    bool set = *vmf_settings_get_string (source->settings, "vddk.thumbprint") != '\0';
    g_autofree char *seen = set ? NULL
                                : vmf_tls_ask_thumbprint (host, vmf_vsphere_address_port (source->address),
                                                          ASK_TIMEOUT_MS, cancellable, NULL);
    if (!source->trust.thumbprint || !seen || strcmp (seen, source->trust.thumbprint) == 0)
        return g_propagate_error (error, why), false;
    g_error_free (why);
    return vmf_pins_refuse (host, vmf_vsphere_address_port (source->address), source->trust.thumbprint, seen, address,
                            error);
}

static bool
login (struct vsphere_source *source, const char *address, GCancellable *cancellable, GError **error)
{
    GError *why = NULL;
    const struct vmf_vsphere_address *parts = source->address;
    if (!vmf_trust_decide (source->settings, parts->host, vmf_vsphere_address_port (parts), parts->no_verify,
                           &source->trust, cancellable, error))
        return false;
    struct vmf_vsphere_options options = {
        .host = parts->host,
        .port = parts->port,
        .user = parts->user,
        .password = source->password,
        .trust = source->trust.tls,
        .cancel_ms = (int64_t)vmf_settings_get_uint64 (source->settings, "vsphere.cancel_s") * 1000
    };
    source->vsphere = vmf_vsphere_login (&options, cancellable, &why);
    if (g_error_matches (why, VMF_ERROR, VMF_ERROR_UNSAFE))
        return refuse (source, address, why, cancellable, error);
    if (!source->vsphere)
        return g_propagate_error (error, why), false;
    if (source->trust.first_use)
        source->base.notice = g_strdup_printf (
            "no authority that this host trusts vouches for the certificate of %s; its thumbprint %s is "
            "believed from now on (compare it with the server's own), and a change will be refused",
            parts->host, source->trust.thumbprint);
    else if (source->trust.tls.no_verify)
        source->base.notice = g_strdup_printf ("the certificate of %s is not checked, as no_verify=1 says: anybody in "
                                               "between could read the password; its "
                                               "thumbprint is %s, which the setting vddk.thumbprint would pin",
                                               parts->host, source->trust.thumbprint);
    return true;
}

static void *
keeper_thread (void *data)
{
    struct vsphere_source *source = data;
    g_mutex_lock (&source->lock);
    while (!source->closing)
    {
        int64_t until_us = g_get_monotonic_time () + KEEP_ALIVE_S * G_TIME_SPAN_SECOND;
        if (g_cond_wait_until (&source->wake, &source->lock, until_us))
            continue;
        g_autoptr (GError) error = NULL;
        bool by_https = source->road == &vsphere_road_https;
        g_mutex_unlock (&source->lock);
        if (!vmf_vsphere_keep_alive (source->vsphere, source->stop, &error)
            || (by_https && !vsphere_write_cookie (source, &error)))
            g_debug ("%s", error->message);
        g_mutex_lock (&source->lock);
    }
    g_mutex_unlock (&source->lock);
    return NULL;
}

static void
stop_keeper (struct vsphere_source *source)
{
    if (!source->keeper)
        return;
    g_mutex_lock (&source->lock);
    source->closing = true;
    g_cond_signal (&source->wake);
    g_mutex_unlock (&source->lock);
    g_cancellable_cancel (source->stop);
    g_thread_join (g_steal_pointer (&source->keeper));
}

/* ---- open and close ---- */

static void
close_source (struct vmf_source *base)
{
    struct vsphere_source *source = (struct vsphere_source *)base;
    stop_keeper (source);
    if (source->lease)
        vmf_vsphere_lease_end (source->lease, false);
    vmf_vsphere_machine_free (source->machine);
    g_clear_pointer (&source->held_disks, g_ptr_array_unref);
    vmf_vsphere_inventory_free (source->inventory);
    vmf_vsphere_free (source->vsphere);
    vmf_vsphere_address_free (source->address);
    vmf_vsphere_place_clear (&source->place);
    vmf_settings_free (source->own_settings);
    if (source->password)
        explicit_bzero (source->password, strlen (source->password));
    g_free (source->password);
    g_free (source->work_dir);
    vmf_trust_clear (&source->trust);
    vmf_vddk_free (source->vddk);
    g_free (source->snapshot);
    g_free (source->https_name);
    vmf_relay_free (source->relay);
    g_free (source->off_state);
    g_mutex_clear (&source->lock);
    g_cond_clear (&source->wake);
    g_object_unref (source->stop);
    g_free (source);
}

/* Who logs in. */
static bool
ask_who (struct vsphere_source *source, const struct vmf_source_options *options, const char *address, GError **error)
{
    const char *password = NULL;
    if (!source->address->user)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE,
                     "the address names no user: write it before the server's name, as in %s://USER@%s/",
                     source->address->is_vcenter ? "vpx" : "esx", source->address->host);
        return false;
    }
    if (options->ask_password && !options->ask_password (address, true, &password, error))
        return false;
    source->password = g_strdup (password);
    if (!password)
        g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE, "a password is wanted; give --password-file FILE");
    return password != NULL;
}

static struct vmf_source *
open_source (const char *address, const struct vmf_source_options *options, GCancellable *cancellable, GError **error)
{
    struct vmf_vsphere_address *parsed = vmf_vsphere_address_parse (address, error);
    if (!parsed)
        return NULL;
    struct vsphere_source *source = g_new0 (struct vsphere_source, 1);
    g_mutex_init (&source->lock);
    g_cond_init (&source->wake);
    source->stop = g_cancellable_new ();
    source->address = parsed;
    source->own_settings = options->settings ? NULL : vmf_settings_new ();
    source->settings = options->settings ? options->settings : source->own_settings;
    source->work_dir = g_strdup (options->work_dir);
    source->shut_down = options->shut_down;
    if (ask_who (source, options, address, error) && login (source, address, cancellable, error))
    {
        source->keeper = g_thread_new ("keep-alive", keeper_thread, source);
        return &source->base;
    }
    g_free (source->base.notice);
    close_source (&source->base);
    return NULL;
}

/* ---- list and describe ---- */

static enum vmf_vsphere_power
power_of (const char *word)
{
    return g_strcmp0 (word, "on") == 0          ? VMF_POWER_ON
           : g_strcmp0 (word, "off") == 0       ? VMF_POWER_OFF
           : g_strcmp0 (word, "suspended") == 0 ? VMF_POWER_SUSPENDED
                                                : VMF_POWER_UNKNOWN;
}

static const char *
power_word (const struct vmf_vsphere_row *row)
{
    static const char *const words[] = { NULL, "off", "on", "suspended" };
    return row->is_template ? "template" : words[row->power];
}

/* What the address itself names. */
static bool
look_for_place (struct vsphere_source *source, struct vmf_vsphere_filter *filter, GCancellable *cancellable,
                GError **error)
{
    char *const *words = source->address->is_vcenter ? source->address->words : NULL;
    if (!source->has_place && !vmf_vsphere_find_place (source->vsphere, words, &source->place, cancellable, error))
        return false;
    source->has_place = true;
    *filter = vmf_vsphere_place_filter (&source->place);
    return true;
}

static struct vmf_source_entry *
entry_of (const struct vmf_vsphere_row *row)
{
    struct vmf_source_entry *entry = g_new0 (struct vmf_source_entry, 1);
    entry->name = g_strdup (row->name);
    entry->os_name = g_strdup (row->os_name);
    entry->capacity_bytes = row->capacity_bytes;
    entry->n_disks = row->n_disks;
    entry->id = g_strdup (row->moref);
    entry->datacenter = g_strdup (row->datacenter);
    entry->cluster = g_strdup (row->cluster);
    entry->host = g_strdup (row->host);
    entry->folder = g_strdup (row->folder);
    entry->power = power_word (row);
    entry->problem = g_strdup (row->problem);
    return entry;
}

static void
entry_free (void *entry)
{
    vmf_source_entry_free (entry);
}

static bool
narrow (struct vsphere_source *source, const struct vmf_source_filter *filter, struct vmf_vsphere_filter *narrowed,
        GCancellable *cancellable, GError **error)
{
    if (!look_for_place (source, narrowed, cancellable, error))
        return false;
    narrowed->name = filter->name;
    narrowed->os = filter->os;
    narrowed->folder = filter->folder;
    narrowed->tag = filter->tag;
    narrowed->power = power_of (filter->power);
    return true;
}

struct watching
{
    vmf_source_on_change on_change;
    void *data;
};

static void
tell_change (const struct vmf_vsphere_row *before, const struct vmf_vsphere_row *after, void *data)
{
    const struct watching *watching = data;
    struct vmf_source_entry *was = before ? entry_of (before) : NULL, *is = after ? entry_of (after) : NULL;
    watching->on_change (was, is, watching->data);
    vmf_source_entry_free (was);
    vmf_source_entry_free (is);
}

static bool
watch (struct vmf_source *base, const struct vmf_source_filter *filter, int64_t timeout_ms,
       vmf_source_on_change on_change, void *data, GCancellable *cancellable, GError **error)
{
    struct vsphere_source *source = (struct vsphere_source *)base;
    struct vmf_vsphere_filter narrowed;
    struct watching watching = { on_change, data };
    if (!narrow (source, filter, &narrowed, cancellable, error))
        return false;
    if (!source->inventory)
        source->inventory = vmf_vsphere_inventory_new (source->vsphere, &narrowed);
    return vmf_vsphere_inventory_poll (source->inventory, timeout_ms, tell_change, &watching, cancellable, error);
}

static GPtrArray *
list (struct vmf_source *base, const struct vmf_source_filter *filter, GCancellable *cancellable, GError **error)
{
    struct vsphere_source *source = (struct vsphere_source *)base;
    struct vmf_vsphere_filter narrowed;
    if (!narrow (source, filter, &narrowed, cancellable, error))
        return NULL;
    g_autoptr (GPtrArray) rows = vmf_vsphere_list (source->vsphere, &narrowed, cancellable, error);
    if (!rows)
        return NULL;
    GPtrArray *entries = g_ptr_array_new_with_free_func (entry_free);
    for (guint i = 0; i < rows->len; i++)
        g_ptr_array_add (entries, entry_of (g_ptr_array_index (rows, i)));
    return entries;
}

/* The machine's own description is kept; the caller's is a copy that it may change. */
static struct vmf_vm *
describe (struct vmf_source *base, const char *name, GCancellable *cancellable, GError **error)
{
    struct vsphere_source *source = (struct vsphere_source *)base;
    struct vmf_vsphere_filter filter;
    struct vmf_vsphere_machine *machine =
        look_for_place (source, &filter, cancellable, error)
            ? vmf_vsphere_describe (source->vsphere, &filter, name, cancellable, error)
            : NULL;
    if (!machine)
        return NULL;
    vmf_vsphere_machine_free (source->machine);
    source->machine = machine;
    struct vmf_vm *vm = g_steal_pointer (&machine->vm);
    vm->running = machine->power == VMF_POWER_ON;
    return vm;
}

/* ---- an import ---- */

static bool
check (struct vmf_source *base, const struct vmf_vm *vm, GPtrArray *findings, GCancellable *cancellable, GError **error)
{
    struct vsphere_source *source = (struct vsphere_source *)base;
    g_autofree char *why = NULL;
    g_autoptr (GError) none = NULL;
    vsphere_check_machine (source, vm, findings);
    const struct vsphere_road *road = vsphere_choose_road (source, &why, cancellable, &none);
    g_mutex_lock (&source->lock);
    source->road = road;
    g_mutex_unlock (&source->lock);
    if (road)
        vmf_findings_add (findings, VMF_FINDING_INFO, "%s", why);
    else
        vmf_findings_add (findings, VMF_FINDING_BLOCKING, "%s", none->message);
    return !vmf_error_if_cancelled (cancellable, error);
}

static bool
hold (struct vmf_source *base, const struct vmf_vm *vm, GCancellable *cancellable, GError **error)
{
    return vsphere_hold ((struct vsphere_source *)base, vm, cancellable, error);
}

static bool
release (struct vmf_source *base, GError **error)
{
    return vsphere_release ((struct vsphere_source *)base, error);
}

static bool
still (struct vmf_source *base, GCancellable *cancellable, GError **error)
{
    return vsphere_still ((struct vsphere_source *)base, cancellable, error);
}

static void
tell (struct vmf_source *base, unsigned percent)
{
    struct vsphere_source *source = (struct vsphere_source *)base;
    g_mutex_lock (&source->lock); /* another thread may be releasing it */
    if (source->lease)
        vmf_vsphere_lease_set_percent (source->lease, percent);
    g_mutex_unlock (&source->lock);
}

const struct vmf_vsphere_disk *
vsphere_find_disk (const struct vsphere_source *source, const struct vmf_disk *disk, GError **error)
{
    const GPtrArray *now = source->machine->disks;
    int32_t key = -1;
    for (guint i = 0; i < now->len; i++)
    {
        const struct vmf_vsphere_disk *one = g_ptr_array_index (now, i);
        if (g_strcmp0 (one->id, disk->id) == 0)
            key = one->key;
        if (g_strcmp0 (one->id, disk->id) == 0 && !source->held_disks)
            return one;
    }
    for (guint i = 0; source->held_disks && i < source->held_disks->len; i++)
        if (((const struct vmf_vsphere_disk *)g_ptr_array_index (source->held_disks, i))->key == key)
            return g_ptr_array_index (source->held_disks, i);
    g_set_error (error, VMF_ERROR, VMF_ERROR_NOT_FOUND,
                 "the snapshot of %s has no disk %s: it is independent of snapshots, or was added since",
                 source->machine->name, disk->id);
    return NULL;
}

static struct vmf_image *
open_image (struct vmf_source *base, const struct vmf_vm *vm, const struct vmf_disk *disk, GCancellable *cancellable,
            GError **error)
{
    struct vsphere_source *source = (struct vsphere_source *)base;
    if (!source->road) /* a dry run goes on to find out more */
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_MISSING, "no road leads to it");
        return NULL;
    }
    const struct vmf_vsphere_disk *found = vsphere_find_disk (source, disk, error);
    struct vmf_image *image = found ? source->road->image (source, found, cancellable, error) : NULL;
    if (found && !image)
        g_prefix_error (error, "by the road %s: ", source->road->name);
    return image;
}

const struct vmf_source_ops vmf_source_vsphere = {
    .name = "vsphere",
    .claims = claims,
    .open = open_source,
    .close = close_source,
    .filters = true,
    .list = list,
    .watch = watch,
    .describe = describe,
    .check = check,
    .hold = hold,
    .release = release,
    .still = still,
    .tell = tell,
    .image = open_image,
};
