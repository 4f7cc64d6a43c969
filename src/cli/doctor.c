/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `vmferry doctor [SOURCE]`: programs, libraries and plugins with versions and what needs them, the host's abilities,
 * known-bad pairs of versions, one command that installs what is missing; and whether SOURCE can be reached and
 * trusted. Nothing on the host is changed without --fix, and then only folders of vmferry's own are made.
 */
#include "base/error.h"
#include "base/text.h"
#include "base/tools.h"
#include "cli/commands.h"
#include "cli/doctor-host.h"
#include "cli/doctor-source.h"

#include <archive.h>
#include <jansson.h>
#include <libnbd.h>
#include <libsmartcols.h>
#include <libvirt/libvirt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const state_names[] = { [ROW_GOOD] = "ok", [ROW_WARNING] = "warning", [ROW_MISSING] = "missing" };

struct doctor
{
    GPtrArray *programs; /* struct row* */
    GPtrArray *libraries;
    GPtrArray *plugins; /* of nbdkit; and VDDK */
    GPtrArray *host;
    GPtrArray *pairs;  /* versions that do not go together */
    GPtrArray *source; /* what was found at SOURCE */
    GPtrArray *fixed;  /* what --fix did */
    char *install;     /* NULL: nothing to install */
    bool good;
};

static void
look_at_programs (struct doctor *doctor, enum vmf_family family)
{
    for (const struct vmf_tool *tool = vmf_tools_table (); tool->name; tool++)
    {
        struct vmf_tool_found *found = vmf_tool_look (tool);
        bool usable = found->state == VMF_TOOL_PRESENT || found->state == VMF_TOOL_SILENT;
        enum row_state state = usable ? ROW_GOOD : tool->required ? ROW_MISSING : ROW_WARNING;
        struct row *row = row_add (doctor->programs, tool->name, state, "%s%s%s%s", tool->needed_for,
                                   found->state == VMF_TOOL_OLD ? "; needs version " : "",
                                   found->state == VMF_TOOL_OLD ? tool->min_version : "",
                                   found->state == VMF_TOOL_OLD ? " or newer" : "");
        row->version = g_strdup (found->version);
        if (!usable)
            row->package = g_strdup (tool->package[family]);
        vmf_tool_found_free (found);
    }
}

static void
add_library (struct doctor *doctor, const char *name, const char *version, const char *needed_for)
{
    row_add (doctor->libraries, name, ROW_GOOD, "%s", needed_for)->version = g_strdup (version);
}

/* Those that vmferry is linked with are there, or it would not run; their versions help in a bug report. */
static void
look_at_libraries (struct doctor *doctor, enum vmf_family family)
{
    static const char *const packages[] = { "libguestfs0", "libguestfs0", "libguestfs", "libguestfs0" };
    g_autofree char *glib = g_strdup_printf ("%u.%u.%u", glib_major_version, glib_minor_version, glib_micro_version);
    g_autofree char *archive =
        g_strdup_printf ("%d.%d.%d", archive_version_number () / 1000000, archive_version_number () / 1000 % 1000,
                         archive_version_number () % 1000);
    unsigned long libvirt_number = 0;
    virGetVersion (&libvirt_number, NULL, NULL);
    g_autofree char *libvirt =
        g_strdup_printf ("%lu.%lu.%lu", libvirt_number / 1000000, libvirt_number / 1000 % 1000, libvirt_number % 1000);
    struct nbd_handle *nbd = nbd_create ();
    add_library (doctor, "glib", glib, "everything");
    add_library (doctor, "libnbd", nbd ? nbd_get_version (nbd) : NULL, "reading and writing disks");
    add_library (doctor, "libvirt", libvirt, "defining VMs on KVM hosts");
    add_library (doctor, "libarchive", archive, "reading OVA files");
    add_library (doctor, "jansson", jansson_version_str (), "JSON");
    nbd_close (nbd);
    g_autofree char *guestfs = doctor_libguestfs_version ();
    struct row *row = row_add (doctor->libraries, "libguestfs", guestfs ? ROW_GOOD : ROW_MISSING, "converting guests");
    row->version = g_strdup (guestfs);
    row->package = guestfs ? NULL : g_strdup (packages[family]);
}

static const char *
version_of (const struct doctor *doctor, const char *name)
{
    GPtrArray *const lists[] = { doctor->programs, doctor->libraries, doctor->plugins };
    for (size_t k = 0; k < G_N_ELEMENTS (lists); k++)
        for (unsigned i = 0; i < lists[k]->len; i++)
        {
            const struct row *row = g_ptr_array_index (lists[k], i);
            if (name && g_str_equal (row->name, name))
                return row->version;
        }
    return NULL;
}

static void
look_at_pairs (struct doctor *doctor)
{
    for (const struct vmf_bad_pair *pair = vmf_bad_pairs (); pair->a; pair++)
    {
        const char *a = version_of (doctor, pair->a), *b = version_of (doctor, pair->b);
        if (!vmf_bad_pair_applies (pair, a, b))
            continue;
        g_autofree char *name = pair->b ? g_strdup_printf ("%s %s with %s %s", pair->a, a, pair->b, b)
                                        : g_strdup_printf ("%s %s", pair->a, a);
        row_add (doctor->pairs, name, ROW_WARNING, "%s", pair->what);
    }
}

/* How many there are, so that each is made, counted and freed. */
enum
{
    N_LISTS = 7,
};

static void
lists_of (struct doctor *doctor, GPtrArray **lists[N_LISTS])
{
    GPtrArray **const all[N_LISTS] = { &doctor->programs, &doctor->libraries, &doctor->plugins, &doctor->host,
                                       &doctor->pairs,    &doctor->source,    &doctor->fixed };
    memcpy (lists, all, sizeof all);
}

static struct doctor *
doctor_new (void)
{
    struct doctor *doctor = g_new0 (struct doctor, 1);
    GPtrArray **lists[N_LISTS];
    lists_of (doctor, lists);
    for (size_t k = 0; k < N_LISTS; k++)
        *lists[k] = row_list_new ();
    return doctor;
}

static void
doctor_free (struct doctor *doctor)
{
    GPtrArray **lists[N_LISTS];
    lists_of (doctor, lists);
    for (size_t k = 0; k < N_LISTS; k++)
        g_ptr_array_unref (*lists[k]);
    g_free (doctor->install);
    g_free (doctor);
}

static void
look_at_host (struct doctor *doctor, const struct vmf_settings *settings)
{
    enum vmf_family family = vmf_family_of (NULL);
    look_at_programs (doctor, family);
    look_at_libraries (doctor, family);
    doctor_look_at_vmware (doctor->plugins, settings, vmf_cli_cancellable ());
    doctor_look_at_host (doctor->host, settings);
    look_at_pairs (doctor);
}

/* Is anything missing, and what would install it? */
static void
sum_up (struct doctor *doctor)
{
    g_autoptr (GPtrArray) packages = g_ptr_array_new ();
    GPtrArray **lists[N_LISTS];
    lists_of (doctor, lists);
    doctor->good = true;
    for (size_t k = 0; k < N_LISTS; k++)
        for (unsigned i = 0; i < (*lists[k])->len; i++)
        {
            const struct row *row = g_ptr_array_index (*lists[k], i);
            doctor->good = doctor->good && row->state != ROW_MISSING;
            if (row->package)
                g_ptr_array_add (packages, row->package);
        }
    doctor->install = vmf_family_install_command (vmf_family_of (NULL), packages);
}

static json_t *
rows_to_json (GPtrArray *list)
{
    json_t *array = json_array ();
    for (unsigned i = 0; i < list->len; i++)
    {
        const struct row *row = g_ptr_array_index (list, i);
        json_array_append_new (array, json_pack ("{s:s, s:s?, s:s, s:o, s:s?}", "name", row->name, "version",
                                                 row->version, "state", state_names[row->state], "text",
                                                 vmf_text_to_json (row->text), "package", row->package));
    }
    return array;
}

static void
print_json (const struct doctor *doctor)
{
    json_t *all = json_pack ("{s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:s?}", "ready", doctor->good, "programs",
                             rows_to_json (doctor->programs), "libraries", rows_to_json (doctor->libraries), "plugins",
                             rows_to_json (doctor->plugins), "host", rows_to_json (doctor->host), "known_bad",
                             rows_to_json (doctor->pairs), "source", rows_to_json (doctor->source), "fixed",
                             rows_to_json (doctor->fixed), "install", doctor->install);
    vmf_cli_print_json (all);
}

static void
print_table (GPtrArray *list, const char *title, const char *text_title, bool versions)
{
    if (list->len == 0)
        return;
    struct libscols_table *table = scols_new_table ();
    scols_table_enable_colors (table, isatty (STDOUT_FILENO));
    scols_table_new_column (table, title, 0.2, 0);
    if (versions)
        scols_table_new_column (table, "VERSION", 0.1, 0);
    scols_table_new_column (table, "STATE", 0.1, 0);
    scols_table_new_column (table, text_title, 0.6, SCOLS_FL_WRAP);
    for (unsigned i = 0; i < list->len; i++)
    {
        const struct row *row = g_ptr_array_index (list, i);
        struct libscols_line *line = scols_table_new_line (table, NULL);
        size_t column = 0;
        scols_line_set_data (line, column++, row->name);
        if (versions)
            scols_line_set_data (line, column++, row->version ? row->version : "-");
        scols_line_set_data (line, column++, state_names[row->state]);
        scols_line_set_data (line, column++, row->text);
        if (row->state != ROW_GOOD)
            scols_line_set_color (line, row->state == ROW_MISSING ? "red" : "yellow");
    }
    scols_print_table (table);
    scols_unref_table (table);
    putchar ('\n');
}

static void
print_text (const struct doctor *doctor)
{
    scols_init_debug (0);
    print_table (doctor->programs, "PROGRAM", "NEEDED FOR", true);
    print_table (doctor->libraries, "LIBRARY", "NEEDED FOR", true);
    print_table (doctor->plugins, "PLUGIN", "NEEDED FOR", true);
    print_table (doctor->host, "HOST", "FOUND", false);
    print_table (doctor->pairs, "KNOWN TROUBLE", "WHAT", false);
    print_table (doctor->fixed, "SETTING", "DONE", false);
    print_table (doctor->source, "SOURCE", "FOUND", false);
    if (doctor->install)
        printf ("To install what is missing:\n  %s\n", doctor->install);
    if (doctor->programs->len > 0)
        puts (doctor->good ? "This host has all that imports need." : "Imports need what is marked as missing above.");
}

/* The options that want a SOURCE. */
static bool
check_words (const struct doctor_source *source, GError **error)
{
    if (source->address || !(source->forget_thumbprint || source->remove_snapshot))
        return true;
    g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE, "%s wants a SOURCE",
                 source->forget_thumbprint ? "--forget-thumbprint" : "--remove-snapshot");
    return false;
}

/* What is asked of a source alone does not need the host looked at. */
static bool
examine (struct doctor *doctor, const struct doctor_source *source, bool fix, const struct vmf_settings *settings,
         GError **error)
{
    if (!check_words (source, error))
        return false;
    if (fix) /* first, so that what it mended is found whole */
        doctor_fix (doctor->fixed, settings, vmf_cli_cancellable ());
    if (!source->forget_thumbprint && !source->remove_snapshot)
        look_at_host (doctor, settings);
    if (source->address && !doctor_look_at_source (doctor->source, source, settings, vmf_cli_cancellable (), error))
        return false;
    sum_up (doctor);
    return true;
}

int
vmf_cmd_doctor (int argc, char **argv)
{
    gboolean json = FALSE, fix = FALSE, forget = FALSE;
    g_autofree char *snapshot = NULL;
    g_auto (GStrv) words = NULL;
    g_autoptr (vmf_settings) settings = NULL;
    g_autoptr (GError) error = NULL;
    const GOptionEntry entries[] = {
        { "json", 0, 0, G_OPTION_ARG_NONE, &json, "Print one JSON object", NULL },
        { "fix", 0, 0, G_OPTION_ARG_NONE, &fix,
          "Make the folders that the settings name, and VDDK's older name where it is wanted", NULL },
        { "forget-thumbprint", 0, 0, G_OPTION_ARG_NONE, &forget, "Forget the pinned certificate of SOURCE", NULL },
        { "remove-snapshot", 0, 0, G_OPTION_ARG_STRING, &snapshot,
          "Remove a snapshot that a killed import left at SOURCE", "VM/SNAPSHOT" },
        VMF_CLI_PASSWORD_OPTION,
        { NULL }
    };
    int status = vmf_cli_parse (argc, argv, entries, "[SOURCE]",
                                "Says what this host has and lacks for imports, and whether SOURCE can be reached.", 0,
                                1, &words, &settings);
    if (status != VMF_EXIT_OK)
        return status;
    const struct doctor_source source = { words[0], forget, snapshot };
    struct doctor *doctor = doctor_new ();
    if (examine (doctor, &source, fix, settings, &error))
    {
        json ? print_json (doctor) : print_text (doctor);
        status = doctor->good ? VMF_EXIT_OK : VMF_EXIT_FAILED;
    }
    else
        status = vmf_cli_fail (error);
    doctor_free (doctor);
    return status;
}
