/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The vSphere client's calls on a command line, for end-to-end tests; what they give is printed as JSON.
 *
 * usage: vsphere-probe [options] ADDRESS COMMAND [ARGUMENT…]
 * Exit code 1, and {"error": …, "code": …} on standard output: the call failed.
 */
#include "base/error.h"
#include "base/text.h"
#include "source/vsphere/vsphere.h"
#include "vm/write.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

static char *password_file, *ca_file, *thumbprint;
static char *name, *host, *cluster, *datacenter, *folder, *os, *tag, *power;
static char *description;
static gboolean quiesce, force, quiet;
static int timeout_ms = 60000, cancel_after_ms, hold_ms, percent = 50;

static const GOptionEntry options[] = {
    { "password-file", 0, 0, G_OPTION_ARG_FILENAME, &password_file, "first line", "FILE" },
    { "ca-file", 0, 0, G_OPTION_ARG_FILENAME, &ca_file, "PEM", "FILE" },
    { "thumbprint", 0, 0, G_OPTION_ARG_STRING, &thumbprint, "pinned", "SHA1" },
    { "name", 0, 0, G_OPTION_ARG_STRING, &name, "filter", "PATTERN" },
    { "host", 0, 0, G_OPTION_ARG_STRING, &host, "filter", "PATTERN" },
    { "cluster", 0, 0, G_OPTION_ARG_STRING, &cluster, "filter", "NAME" },
    { "datacenter", 0, 0, G_OPTION_ARG_STRING, &datacenter, "filter", "NAME" },
    { "folder", 0, 0, G_OPTION_ARG_STRING, &folder, "filter", "PATTERN" },
    { "os", 0, 0, G_OPTION_ARG_STRING, &os, "filter", "PATTERN" },
    { "tag", 0, 0, G_OPTION_ARG_STRING, &tag, "filter", "NAME" },
    { "power", 0, 0, G_OPTION_ARG_STRING, &power, "filter", "on|off|suspended" },
    { "description", 0, 0, G_OPTION_ARG_STRING, &description, "snapshot", "TEXT" },
    { "quiesce", 0, 0, G_OPTION_ARG_NONE, &quiesce, "snapshot", NULL },
    { "force", 0, 0, G_OPTION_ARG_NONE, &force, "shutdown", NULL },
    { "quiet", 0, 0, G_OPTION_ARG_NONE, &quiet, "list: only a count", NULL },
    { "timeout", 0, 0, G_OPTION_ARG_INT, &timeout_ms, "of an answer, or of a shutdown", "MS" },
    { "cancel-after", 0, 0, G_OPTION_ARG_INT, &cancel_after_ms, "cancels the call", "MS" },
    { "hold", 0, 0, G_OPTION_ARG_INT, &hold_ms, "export, keep-alive: waits; watch: at most, for changes", "MS" },
    { "percent", 0, 0, G_OPTION_ARG_INT, &percent, "export: is reported", "N" },
    { NULL },
};

static const char *const powers[] = { "unknown", "off", "on", "suspended" };
static GCancellable *cancellable;

static void
print (json_t *json)
{
    g_autofree char *text = json_dumps (json, JSON_COMPACT);
    puts (text);
    fflush (stdout);
    json_decref (json);
}

static json_t *
text_of (const char *text)
{
    return vmf_text_to_json (text);
}

static struct vmf_vsphere_filter
make_filter (void)
{
    struct vmf_vsphere_filter filter = {
        .datacenter = datacenter, .cluster = cluster, .host = host, .folder = folder, .name = name, .os = os, .tag = tag
    };
    for (size_t i = 0; power && i < G_N_ELEMENTS (powers); i++)
        if (strcmp (power, powers[i]) == 0)
            filter.power = (enum vmf_vsphere_power)i;
    return filter;
}

static json_t *
row_to_json (const struct vmf_vsphere_row *row)
{
    return json_pack ("{s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:s,s:b,s:I,s:i,s:o}", "moref", text_of (row->moref), "name",
                      text_of (row->name), "host", text_of (row->host), "cluster", text_of (row->cluster), "datacenter",
                      text_of (row->datacenter), "folder", text_of (row->folder), "os_id", text_of (row->os_id),
                      "os_name", text_of (row->os_name), "power", powers[row->power], "template", row->is_template,
                      "capacity_bytes", (json_int_t)row->capacity_bytes, "n_disks", (int)row->n_disks, "problem",
                      text_of (row->problem));
}

static bool
do_list (struct vmf_vsphere *vsphere, char **words, GError **error)
{
    struct vmf_vsphere_filter filter = make_filter ();
    g_autoptr (GPtrArray) rows = vmf_vsphere_list (vsphere, &filter, cancellable, error);
    if (!rows)
        return false;
    struct rusage usage;
    getrusage (RUSAGE_SELF, &usage);
    json_t *all = json_array ();
    for (unsigned i = 0; i < rows->len && !quiet; i++)
        json_array_append_new (all, row_to_json (rows->pdata[i]));
    print (json_pack ("{s:i,s:I,s:o}", "count", (int)rows->len, "max_rss_bytes", (json_int_t)usage.ru_maxrss * 1024,
                      "vms", all));
    return true;
}

static void
print_change (const struct vmf_vsphere_row *before, const struct vmf_vsphere_row *after, void *data)
{
    unsigned *n = data;
    (*n)++;
    print (json_pack ("{s:o,s:o}", "before", before ? row_to_json (before) : json_null (), "after",
                      after ? row_to_json (after) : json_null ()));
}

/* Polls once for each line of input, and at the end of it ends; after the changes a line with how many there were, and
   the names of what is there now. */
static bool
do_watch (struct vmf_vsphere *vsphere, char **words, GError **error)
{
    struct vmf_vsphere_filter filter = make_filter ();
    g_autoptr (vmf_vsphere_inventory) inventory = vmf_vsphere_inventory_new (vsphere, &filter);
    do
    {
        unsigned n = 0;
        if (!vmf_vsphere_inventory_poll (inventory, hold_ms, quiet ? NULL : print_change, &n, cancellable, error))
            return false;
        g_autoptr (GPtrArray) rows = vmf_vsphere_inventory_get_rows (inventory);
        json_t *names = json_array ();
        for (unsigned i = 0; i < rows->len; i++)
            json_array_append_new (names, text_of (((const struct vmf_vsphere_row *)rows->pdata[i])->name));
        struct rusage usage;
        getrusage (RUSAGE_SELF, &usage);
        print (json_pack ("{s:i,s:o,s:I}", "changes", (int)n, "names", names, "max_rss_bytes",
                          (json_int_t)usage.ru_maxrss * 1024));
    } while (getchar () != EOF);
    return true;
}

static json_t *
disks_to_json (const GPtrArray *disks)
{
    json_t *all = json_array ();
    for (unsigned i = 0; i < disks->len; i++)
    {
        const struct vmf_vsphere_disk *disk = disks->pdata[i];
        json_array_append_new (
            all, json_pack ("{s:i,s:o,s:o,s:o,s:o,s:o,s:I,s:b,s:b,s:b,s:b,s:b}", "key", (int)disk->key, "id",
                            text_of (disk->id), "path", text_of (disk->path), "base_path", text_of (disk->base_path),
                            "datastore", text_of (disk->datastore), "change_id", text_of (disk->change_id),
                            "capacity_bytes", (json_int_t)disk->capacity_bytes, "independent", disk->independent, "rdm",
                            disk->rdm, "shared", disk->shared, "encrypted", disk->encrypted, "delta", disk->is_delta));
    }
    return all;
}

static json_t *
snapshots_to_json (const GPtrArray *snapshots)
{
    json_t *all = json_array ();
    for (unsigned i = 0; i < snapshots->len; i++)
    {
        const struct vmf_vsphere_snapshot *snapshot = snapshots->pdata[i];
        json_array_append_new (all, json_pack ("{s:o,s:o,s:o,s:o,s:i,s:b}", "moref", text_of (snapshot->moref), "name",
                                               text_of (snapshot->name), "description", text_of (snapshot->description),
                                               "created_at", text_of (snapshot->created_at), "depth",
                                               (int)snapshot->depth, "current", snapshot->current));
    }
    return all;
}

static bool
do_describe (struct vmf_vsphere *vsphere, char **words, GError **error)
{
    struct vmf_vsphere_filter filter = make_filter ();
    g_autoptr (vmf_vsphere_machine) machine = vmf_vsphere_describe (vsphere, &filter, words[0], cancellable, error);
    if (!machine)
        return false;
    print (json_pack (
        "{s:o,s:o,s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:b,s:b,s:b,s:b,s:b,s:o}", "moref", text_of (machine->moref), "name",
        text_of (machine->name), "power", powers[machine->power], "host_moref", text_of (machine->host_moref),
        "host_name", text_of (machine->host_name), "host_version", text_of (machine->host_version), "datacenter",
        text_of (machine->datacenter), "vmx_path", text_of (machine->vmx_path), "disks", disks_to_json (machine->disks),
        "snapshots", snapshots_to_json (machine->snapshots), "tools_running", machine->tools_running, "encrypted",
        machine->encrypted, "vtpm", machine->has_vtpm, "change_tracking", machine->change_tracking,
        "change_tracking_supported", machine->change_tracking_supported, "vm", vmf_vm_write_json (machine->vm)));
    return true;
}

static bool
do_leftovers (struct vmf_vsphere *vsphere, char **words, GError **error)
{
    struct vmf_vsphere_filter filter = make_filter ();
    unsigned n_unread;
    g_autoptr (GPtrArray) rows = vmf_vsphere_list (vsphere, &filter, cancellable, error);
    g_autoptr (GPtrArray) leftovers =
        rows ? vmf_vsphere_find_leftovers (vsphere, rows, &n_unread, cancellable, error) : NULL;
    if (!leftovers)
        return false;
    json_t *all = json_array ();
    for (unsigned i = 0; i < leftovers->len; i++)
    {
        const struct vmf_vsphere_leftover *leftover = leftovers->pdata[i];
        json_array_append_new (all, json_pack ("{s:o,s:o,s:o}", "vm", text_of (leftover->vm_moref), "name",
                                               text_of (leftover->vm_name), "snapshot",
                                               text_of (leftover->snapshot->moref)));
    }
    print (json_pack ("{s:o,s:i}", "leftovers", all, "unread", (int)n_unread));
    return true;
}

static bool
do_about (struct vmf_vsphere *vsphere, char **words, GError **error)
{
    const struct vmf_vsphere_about *about = vmf_vsphere_get_about (vsphere);
    g_autofree char *cookie = vmf_vsphere_get_cookie (vsphere);
    print (json_pack ("{s:s,s:s,s:s,s:b,s:s,s:s,s:s}", "product", about->product, "version", about->version, "build",
                      about->build, "vcenter", about->is_vcenter, "thumbprint", vmf_vsphere_get_thumbprint (vsphere),
                      "pem", vmf_vsphere_get_certificate_pem (vsphere), "cookie", cookie ? cookie : ""));
    return true;
}

/* Asks, waits, and asks again: for tests that end the session, or change the certificate, in between. */
static bool
do_keep_alive (struct vmf_vsphere *vsphere, char **words, GError **error)
{
    if (!vmf_vsphere_keep_alive (vsphere, cancellable, error))
        return false;
    print (json_pack ("{s:b}", "alive", 1));
    g_usleep ((gulong)hold_ms * 1000);
    bool alive = vmf_vsphere_keep_alive (vsphere, cancellable, error);
    return do_about (vsphere, words, NULL) && alive;
}

static bool
do_snapshot (struct vmf_vsphere *vsphere, char **words, GError **error)
{
    g_autofree char *moref = vmf_vsphere_create_snapshot (
        vsphere, words[0], words[1], description ? description : "made by a test", quiesce, NULL, cancellable, error);
    if (!moref)
        return false;
    print (json_pack ("{s:s}", "snapshot", moref));
    return true;
}

static bool
do_disks (struct vmf_vsphere *vsphere, char **words, GError **error)
{
    g_autoptr (GPtrArray) disks = vmf_vsphere_snapshot_disks (vsphere, words[0], cancellable, error);
    if (!disks)
        return false;
    print (disks_to_json (disks));
    return true;
}

static bool
say_done (bool done)
{
    if (done)
        print (json_pack ("{s:b}", "done", 1));
    return done;
}

static bool
do_remove (struct vmf_vsphere *vsphere, char **words, GError **error)
{
    return say_done (vmf_vsphere_remove_snapshot (vsphere, words[0], words[1], cancellable, error));
}

static bool
do_cbt (struct vmf_vsphere *vsphere, char **words, GError **error)
{
    return say_done (vmf_vsphere_enable_change_tracking (vsphere, words[0], cancellable, error));
}

static bool
do_changed (struct vmf_vsphere *vsphere, char **words, GError **error)
{
    g_autoptr (vmf_extents) changed = vmf_extents_new ();
    if (!vmf_vsphere_query_changed (vsphere, words[0], words[1], (int32_t)g_ascii_strtoll (words[2], NULL, 10),
                                    words[3], g_ascii_strtoull (words[4], NULL, 10), changed, cancellable, error))
        return false;
    json_t *all = json_array ();
    for (size_t i = 0; i < vmf_extents_count (changed); i++)
    {
        struct vmf_extent extent = vmf_extents_nth (changed, i);
        json_array_append_new (all, json_pack ("[I,I]", (json_int_t)extent.offset, (json_int_t)extent.length));
    }
    print (all);
    return true;
}

static bool
do_shutdown (struct vmf_vsphere *vsphere, char **words, GError **error)
{
    bool asked;
    return say_done (vmf_vsphere_shut_down (vsphere, words[0], timeout_ms, force, &asked, cancellable, error));
}

static bool
do_power_on (struct vmf_vsphere *vsphere, char **words, GError **error)
{
    return say_done (vmf_vsphere_power_on (vsphere, words[0], cancellable, error));
}

static bool
do_state (struct vmf_vsphere *vsphere, char **words, GError **error)
{
    g_autofree char *state = vmf_vsphere_read_state (vsphere, words[0], words[1], cancellable, error);
    if (state)
        print (json_pack ("{s:s}", "state", state));
    return state != NULL;
}

static void *
wait_for_guest (void *data)
{
    void **arguments = data;
    bool asked, done = vmf_vsphere_shut_down (arguments[0], arguments[1], timeout_ms, false, &asked, cancellable, NULL);
    print (json_pack ("{s:b}", "waited", done));
    return NULL;
}

/* One thread waits for a guest; when a line comes in, the other asks something eight times. */
static bool
do_while_waiting (struct vmf_vsphere *vsphere, char **words, GError **error)
{
    void *arguments[] = { vsphere, words[0] };
    GThread *thread = g_thread_new ("wait", wait_for_guest, arguments);
    getchar ();
    bool asked = true;
    for (unsigned i = 0; i < 8 && asked; i++)
        asked = vmf_vsphere_keep_alive (vsphere, cancellable, error);
    print (json_pack ("{s:b}", "asked", asked));
    g_thread_join (thread);
    return asked;
}

/* Prints the files, holds the lease for a while, and completes it. */
static bool
do_export (struct vmf_vsphere *vsphere, char **words, GError **error)
{
    struct vmf_vsphere_lease *lease = vmf_vsphere_export (vsphere, words[0], words[1], cancellable, error);
    if (!lease)
        return false;
    json_t *all = json_array ();
    const GPtrArray *files = vmf_vsphere_lease_get_files (lease);
    for (unsigned i = 0; i < files->len; i++)
    {
        const struct vmf_vsphere_lease_file *file = files->pdata[i];
        json_array_append_new (all, json_pack ("{s:i,s:o,s:o,s:I,s:I}", "key", (int)file->disk_key, "url",
                                               text_of (file->url), "thumbprint", text_of (file->thumbprint),
                                               "size_bytes", (json_int_t)file->size_bytes, "capacity_bytes",
                                               (json_int_t)file->capacity_bytes));
    }
    vmf_vsphere_lease_set_percent (lease, (unsigned)percent);
    print (all);
    g_usleep ((gulong)hold_ms * 1000);
    if (!force) /* otherwise the session's end must end it */
        vmf_vsphere_lease_end (lease, true);
    return true;
}

static bool
do_flat_url (struct vmf_vsphere *vsphere, char **words, GError **error)
{
    g_autofree char *url = vmf_vsphere_flat_url (vsphere, words[0], words[1], error);
    if (!url)
        return false;
    print (json_pack ("{s:s}", "url", url));
    return true;
}

static const struct
{
    const char *command;
    int min, max;
    bool (*run) (struct vmf_vsphere *vsphere, char **words, GError **error);
} commands[] = {
    { "about", 0, 0, do_about },
    { "keep-alive", 0, 0, do_keep_alive },
    { "list", 0, 0, do_list },
    { "watch", 0, 0, do_watch },
    { "leftovers", 0, 0, do_leftovers },
    { "describe", 0, 1, do_describe },
    { "snapshot", 2, 2, do_snapshot },
    { "snapshot-disks", 1, 1, do_disks },
    { "remove-snapshot", 2, 2, do_remove },
    { "cbt", 1, 1, do_cbt },
    { "changed", 5, 5, do_changed }, /* VM SNAPSHOT KEY CHANGE-ID CAPACITY */
    { "shutdown", 1, 1, do_shutdown },
    { "while-waiting", 1, 1, do_while_waiting },
    { "power-on", 1, 1, do_power_on },
    { "state", 1, 2, do_state }, /* VM [LIKE] */
    { "export", 1, 2, do_export },
    { "flat-url", 2, 2, do_flat_url },
};

static void *
cancel_later (void *data)
{
    g_usleep ((gulong)cancel_after_ms * 1000);
    g_cancellable_cancel (cancellable);
    return NULL;
}

static bool
run (char **words, GError **error)
{
    g_autofree char *password = NULL;
    if (password_file && !g_file_get_contents (password_file, &password, NULL, error))
        return false;
    g_autoptr (vmf_vsphere_address) address = vmf_vsphere_address_parse (words[0], error);
    if (!address)
        return false;
    struct vmf_vsphere_options login = { .host = address->host,
                                         .port = address->port,
                                         .user = address->user,
                                         .password = password ? g_strchomp (password) : NULL,
                                         .timeout_ms = timeout_ms };
    login.trust = (struct vmf_tls_trust){ ca_file, thumbprint, address->no_verify };
    g_autoptr (vmf_vsphere) vsphere = vmf_vsphere_login (&login, cancellable, error);
    if (!vsphere)
        return false;
    if (cancel_after_ms > 0)
        g_thread_unref (g_thread_new ("cancel", cancel_later, NULL));
    int n = (int)g_strv_length (words + 2);
    for (size_t i = 0; i < G_N_ELEMENTS (commands); i++)
        if (strcmp (words[1], commands[i].command) == 0 && n >= commands[i].min && n <= commands[i].max)
            return commands[i].run (vsphere, words + 2, error);
    g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE, "no command '%s' with %d arguments", words[1], n);
    return false;
}

int
main (int argc, char **argv)
{
    static const char *const codes[] = { "failed",  "usage",    "not-found", "exists",    "unsafe",
                                         "corrupt", "no-space", "missing",   "cancelled", "auth" };
    g_autoptr (GError) error = NULL;
    g_autoptr (GOptionContext) context = g_option_context_new ("ADDRESS COMMAND [ARGUMENT…]");
    g_option_context_add_main_entries (context, options, NULL);
    cancellable = g_cancellable_new ();
    if (!g_option_context_parse (context, &argc, &argv, &error) || argc < 3)
    {
        fprintf (stderr, "%s\n", error ? error->message : "ADDRESS and COMMAND are missing");
        return 2;
    }
    bool ok = run (argv + 1, &error);
    if (!ok)
        print (json_pack ("{s:o,s:s}", "error", text_of (error->message), "code",
                          error->domain == VMF_ERROR ? codes[error->code] : "other"));
    g_object_unref (cancellable);
    return ok ? 0 : 1;
}
