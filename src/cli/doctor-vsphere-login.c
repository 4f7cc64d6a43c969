/* SPDX-License-Identifier: GPL-2.0-or-later */
/* doctor behind the login of a vCenter or ESXi host: its version, the hosts that have the disks (port 902 is theirs,
 * not vCenter's), whether VDDK and they fit, and the snapshots that killed imports left.
 */
#include "cli/doctor-vsphere.h"
#include "base/error.h"
#include "base/text.h"
#include "base/vddk.h"
#include "cli/commands.h"
#include "source/vsphere/pins.h"

#include <string.h>

enum
{
    HOSTS_MAX = 64,
};

/* PITFALLS 21. */
static void
look_at_vddk (struct doctor_vsphere *looking, const struct vmf_vsphere_about *about)
{
    g_autoptr (vmf_vddk) vddk = vmf_vddk_look (looking->settings, looking->cancellable);
    const char *version = vddk->chosen ? vddk->chosen->version : NULL;
    if (vddk->problem || !version)
        return;
    if (vmf_vddk_supports (version, about->version))
        row_add (looking->list, "VDDK", ROW_GOOD, "VDDK %s is made for %s %s", version, about->product, about->version);
    else
        row_add (looking->list, "VDDK", ROW_WARNING,
                 "VDDK %s is not made for %s %s (two releases back and one ahead are supported): disks may open and "
                 "then fail to be read; install a VDDK of its release, or use another road",
                 version, about->product, about->version);
}

/* Names of the hosts that have machines in reach of the address, each once. Caller unrefs. */
static GPtrArray *
hosts_of (const GPtrArray *rows)
{
    GPtrArray *hosts = g_ptr_array_new ();
    for (guint i = 0; i < rows->len; i++)
    {
        const struct vmf_vsphere_row *row = g_ptr_array_index (rows, i);
        if (row->host && !g_ptr_array_find_with_equal_func (hosts, row->host, g_str_equal, NULL))
            g_ptr_array_add (hosts, row->host);
    }
    return hosts;
}

/* A15: 443 and 902 of each host, separately. */
static bool
look_at_hosts (struct doctor_vsphere *looking, const GPtrArray *rows, GError **error)
{
    g_autoptr (GPtrArray) hosts = hosts_of (rows);
    guint n = MIN (hosts->len, HOSTS_MAX);
    g_autofree struct doctor_port *ports = g_new0 (struct doctor_port, 2 * (size_t)n);
    for (guint i = 0; i < n; i++)
    {
        const char *host = g_ptr_array_index (hosts, i);
        ports[2 * i] = (struct doctor_port){ host, VMF_VSPHERE_PORT, "the roads export and https fetch disks here",
                                             ROW_WARNING, false };
        ports[2 * i + 1] = (struct doctor_port){ host, VMF_VDDK_NFC_PORT, DOCTOR_FOR_VDDK, ROW_WARNING, true };
    }
    if (hosts->len > n)
        row_add (looking->list, "hosts", ROW_WARNING,
                 "%u hosts have machines; these are the first %u: name one in the address to look at it", hosts->len,
                 n);
    return doctor_look_at_ports (looking->list, ports, 2 * (size_t)n, NULL, looking->cancellable, error);
}

static void
add_leftover (struct doctor_vsphere *looking, const struct vmf_vsphere_leftover *leftover)
{
    const struct vmf_vsphere_snapshot *snapshot = leftover->snapshot;
    g_autofree char *quoted = g_shell_quote (looking->source->address);
    g_autofree char *name = vmf_text_printable (leftover->vm_name, 80);
    g_autofree char *about = vmf_text_printable (snapshot->description, 200);
    row_add (looking->list, "leftover", ROW_WARNING,
             "%s has a snapshot of vmferry's, made at %s (%s); unless that import still runs or is to be resumed, "
             "remove it: vmferry doctor %s --remove-snapshot=%s/%s",
             name, snapshot->created_at ? snapshot->created_at : "a time that is not known", about, quoted,
             leftover->vm_moref, snapshot->moref);
}

/* A machine that cannot be read has its own trouble, and `vmferry list` tells it. */
static bool
look_at_leftovers (struct doctor_vsphere *looking, struct vmf_vsphere *vsphere, const GPtrArray *rows, GError **error)
{
    unsigned n_unread = 0;
    g_autoptr (GPtrArray) leftovers =
        vmf_vsphere_find_leftovers (vsphere, rows, &n_unread, looking->cancellable, error);
    if (!leftovers)
        return false;
    for (guint i = 0; i < leftovers->len; i++)
        add_leftover (looking, g_ptr_array_index (leftovers, i));
    if (n_unread > 0)
        row_add (looking->list, "leftovers", ROW_WARNING,
                 "the snapshots of %u of %u machines cannot be read; 'vmferry list' says what is wrong with them",
                 n_unread, rows->len);
    else if (leftovers->len == 0)
        row_add (looking->list, "leftovers", ROW_GOOD, "no machine has a snapshot of a killed import");
    return true;
}

/* VM/SNAPSHOT, as the row above prints it; nothing that does not carry our mark. */
static bool
remove_snapshot (struct doctor_vsphere *looking, struct vmf_vsphere *vsphere, GError **error)
{
    g_auto (GStrv) parts = g_strsplit (looking->source->remove_snapshot, "/", 2);
    struct vmf_vsphere_machine *machine = NULL;
    bool ours = false;
    if (g_strv_length (parts) == 2
        && !(machine = vmf_vsphere_describe_reference (vsphere, parts[0], looking->cancellable, error)))
        return false;
    for (guint i = 0; machine && i < machine->snapshots->len; i++)
    {
        const struct vmf_vsphere_snapshot *snapshot = g_ptr_array_index (machine->snapshots, i);
        ours = ours || (vmf_vsphere_snapshot_is_ours (snapshot) && strcmp (snapshot->moref, parts[1]) == 0);
    }
    vmf_vsphere_machine_free (machine);
    if (!ours)
    {
        g_autofree char *shown = vmf_text_printable (looking->source->remove_snapshot, 100);
        g_set_error (error, VMF_ERROR, VMF_ERROR_NOT_FOUND,
                     "'%s' is no snapshot of vmferry's; 'vmferry doctor SOURCE' lists those that there are", shown);
        return false;
    }
    if (!vmf_vsphere_remove_snapshot (vsphere, parts[0], parts[1], looking->cancellable, error))
        return false;
    row_add (looking->list, "leftover", ROW_GOOD, "the snapshot %s of %s is removed", parts[1], parts[0]);
    return true;
}

static bool
look_at_inventory (struct doctor_vsphere *looking, struct vmf_vsphere *vsphere, GError **error)
{
    const struct vmf_vsphere_address *address = looking->address;
    char *const *words = address->is_vcenter ? address->words : NULL;
    g_autoptr (GError) why = NULL;
    struct vmf_vsphere_place place = { 0 };
    if (!vmf_vsphere_find_place (vsphere, words, &place, looking->cancellable, &why))
        return g_error_matches (why, VMF_ERROR, VMF_ERROR_NOT_FOUND)
                   ? (row_add (looking->list, "machines", ROW_MISSING, "%s", why->message), true)
                   : (g_propagate_error (error, g_steal_pointer (&why)), false);
    const struct vmf_vsphere_filter filter = vmf_vsphere_place_filter (&place);
    g_autoptr (GPtrArray) rows = vmf_vsphere_list (vsphere, &filter, looking->cancellable, error);
    vmf_vsphere_place_clear (&place);
    if (!rows)
        return false;
    row_add (looking->list, "machines", rows->len > 0 ? ROW_GOOD : ROW_WARNING,
             rows->len > 0 ? "seen with this user at this address: %u" : "none is seen with this user at this address",
             rows->len);
    return (!address->is_vcenter || look_at_hosts (looking, rows, error))
           && look_at_leftovers (looking, vsphere, rows, error);
}

static struct vmf_vsphere *
login (struct doctor_vsphere *looking, struct vmf_trust *trust, const char *password, GError **error)
{
    const struct vmf_vsphere_address *address = looking->address;
    if (!vmf_trust_decide (looking->settings, address->host, looking->port, address->no_verify, trust,
                           looking->cancellable, error))
        return NULL;
    const struct vmf_vsphere_options options = {
        .host = address->host, .port = looking->port, .user = address->user, .password = password, .trust = trust->tls
    };
    return vmf_vsphere_login (&options, looking->cancellable, error);
}

static bool
look_inside (struct doctor_vsphere *looking, struct vmf_vsphere *vsphere, GError **error)
{
    const struct vmf_vsphere_about *about = vmf_vsphere_get_about (vsphere);
    row_add (looking->list, "login", ROW_GOOD, "%s %s, build %s", about->product, about->version, about->build);
    if (about->is_vcenter != looking->address->is_vcenter)
        row_add (looking->list, "address", ROW_WARNING, "this is %s; its address is %s://",
                 about->is_vcenter ? "a vCenter" : "an ESXi host", about->is_vcenter ? "vpx" : "esx");
    look_at_vddk (looking, about);
    return looking->source->remove_snapshot ? remove_snapshot (looking, vsphere, error)
                                            : look_at_inventory (looking, vsphere, error);
}

bool
doctor_look_behind_login (struct doctor_vsphere *looking, GError **error)
{
    const char *password = NULL;
    g_autoptr (GError) why = NULL;
    struct vmf_trust trust = { 0 };
    if (!vmf_cli_ask_password (looking->source->address, true, &password, &why))
    {
        if (vmf_cli_password_file || vmf_error_if_cancelled (looking->cancellable, NULL))
            return g_propagate_error (error, g_steal_pointer (&why)), false;
        row_add (looking->list, "login", ROW_WARNING, "not looked at: %s", why->message);
        return true;
    }
    g_autoptr (vmf_vsphere) vsphere = login (looking, &trust, password, &why);
    if (trust.first_use)
        row_add (looking->list, "certificate", ROW_GOOD, "pinned now: %s", trust.thumbprint);
    bool good = vsphere ? look_inside (looking, vsphere, error) : !vmf_error_if_cancelled (looking->cancellable, error);
    if (!vsphere && good)
        row_add (looking->list, "login", ROW_MISSING, "%s", why->message);
    vmf_trust_clear (&trust);
    return good;
}
