/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What tells one state of a machine that is off from another: lines of text, to be kept and compared.
 *
 * Each is something that the API reference vouches for: a start of a machine is an event, whose key is new; a file has
 * the time of its last modification; a change id stands for one state of a disk; a change of the configuration gives it
 * another version. runtime.bootTime is none of them: powering off clears it. Of what a user may not ask there is no
 * line. Change ids and the configuration's version, which are also new where the disks are not, count only where starts
 * are not known.
 *
 * A backup may take a snapshot of a machine that is off. What was its disk is then a parent, which nobody writes to: as
 * long as it is in the chain the line tells of it.
 */
#include "source/vsphere/internal.h"
#include "base/error.h"
#include "vm/read-vsphere.h"

#include <string.h>

struct reading
{
    struct vmf_vsphere *vsphere;
    const char *what, *vm, *like;
    GCancellable *cancellable;
    const xmlNode *machine; /* its properties */
    GPtrArray *paths;       /* char*: what the lines `disk` tell of */
    GString *text;
};

#define CHAIN_MAX 256
#define EVENTS_MAX 1000 /* the most that a page of a history may have */

/* Is KIND's line wanted, and must it be there? */
static bool
is_asked (const struct reading *reading, const char *kind)
{
    g_autofree char *begin = g_strdup_printf ("\n%s ", kind);
    return !reading->like || strstr (reading->like, begin);
}

/* Of a first state what cannot be had is left out; of a second one it must be what it was. */
static bool
do_without (const struct reading *reading, const char *kind, GError *why, GError **error)
{
    if (reading->like || g_error_matches (why, VMF_ERROR, VMF_ERROR_CANCELLED))
    {
        g_propagate_error (error, why);
        return false;
    }
    g_debug ("%s: no line '%s': %s", reading->what, kind, why->message);
    g_error_free (why);
    return true;
}

/* ---- starts ---- */

/* From when on starts are looked for: from when LIKE did, or from a day ago by the server's clock, which the hosts' may
   differ from. Not from ever: an answer has no more than EVENTS_MAX, and which of more is not said. Caller frees. */
static char *
find_begin (const struct reading *reading, GError **error)
{
    const char *line = reading->like ? strstr (reading->like, "\nstarted ") : NULL;
    if (line)
        return g_strndup (line + strlen ("\nstarted "), strcspn (line + strlen ("\nstarted "), " \n"));
    struct vmf_call call = { .what = reading->what };
    call.request = vmf_request_end (vmf_request_new ("CurrentTime", "ServiceInstance", "ServiceInstance"));
    g_autofree char *text = vmf_call_text (reading->vsphere, &call, reading->cancellable, error);
    g_autoptr (GDateTime) now = text ? g_date_time_new_from_iso8601 (text, NULL) : NULL;
    g_autoptr (GDateTime) utc = now ? g_date_time_to_utc (now) : NULL;
    g_autoptr (GDateTime) begin = utc ? g_date_time_add_days (utc, -1) : NULL;
    if (text && !begin)
        g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT, "%s: %s: its time is none: %s", reading->vsphere->server,
                     reading->what, text);
    return begin ? g_date_time_format (begin, "%Y-%m-%dT%H:%M:%SZ") : NULL;
}

/* DRS and HA have kinds of their own, and a filter takes a kind for itself alone. */
static GString *
make_query (const struct reading *reading, const char *begin)
{
    static const char *const kinds[] = { "VmStartingEvent", "VmPoweredOnEvent", "DrsVmPoweredOnEvent",
                                         "VmRestartedOnAlternateHostEvent" };
    GString *request = vmf_request_new ("QueryEvents", "EventManager", reading->vsphere->event_manager);
    vmf_request_open (request, "filter", NULL);
    vmf_request_open (request, "entity", NULL);
    vmf_request_add_moref (request, "entity", "VirtualMachine", reading->vm);
    vmf_request_add (request, "recursion", "self");
    vmf_request_close (request, "entity");
    vmf_request_open (request, "time", NULL);
    vmf_request_add (request, "beginTime", begin);
    vmf_request_close (request, "time");
    vmf_request_add_bool (request, "disableFullMessage", true);
    for (size_t i = 0; i < G_N_ELEMENTS (kinds); i++)
        vmf_request_add (request, "eventTypeId", kinds[i]);
    vmf_request_add_int (request, "maxCount", EVENTS_MAX);
    vmf_request_close (request, "filter");
    return vmf_request_end (request);
}

/* The answer, or NULL. */
static xmlDoc *
ask_for_starts (const struct reading *reading, const char *begin, GError **error)
{
    struct vmf_call call = { .what = reading->what };
    if (!begin)
        return NULL;
    call.request = make_query (reading, begin);
    return vmf_call_run (reading->vsphere, &call, reading->cancellable, error);
}

/* Since when, and the key of the newest start's event since then; 0: there was none. */
static bool
add_starts (struct reading *reading, GError **error)
{
    static const char kind[] = "started";
    int64_t newest = 0;
    GError *why = NULL;
    if (!is_asked (reading, kind) || !reading->vsphere->event_manager)
        return true;
    g_autofree char *begin = find_begin (reading, &why);
    xmlDoc *doc = ask_for_starts (reading, begin, &why);
    if (!doc)
        return do_without (reading, kind, why, error);
    for (const xmlNode *at = vmf_xml_child (vmf_answer_response (doc), "returnval"); at;
         at = vmf_xml_next (at, "returnval"))
        newest = MAX (newest, vmf_node_int (at, "key", 0));
    xmlFreeDoc (doc);
    g_string_append_printf (reading->text, "%s %s %" G_GINT64_FORMAT "\n", kind, begin, newest);
    return true;
}

/* ---- files ---- */

struct search
{
    const char *browser;
    char *folder, *stem; /* "[datastore] dir", "web" of "[datastore] dir/web.vmdk" */
};

static GString *
make_search (const void *data)
{
    static const char *const ends[] = { "-flat", "-delta", "-sesparse" }; /* what is written to; no descriptor is */
    const struct search *search = data;
    GString *request = vmf_request_new ("SearchDatastore_Task", "HostDatastoreBrowser", search->browser);
    vmf_request_add (request, "datastorePath", search->folder);
    vmf_request_open (request, "searchSpec", NULL);
    vmf_request_open (request, "details", NULL);
    vmf_request_add_bool (request, "fileType", false);
    vmf_request_add_bool (request, "fileSize", true);
    vmf_request_add_bool (request, "modification", true);
    vmf_request_add_bool (request, "fileOwner", false);
    vmf_request_close (request, "details");
    for (size_t i = 0; i < G_N_ELEMENTS (ends); i++)
    {
        g_autofree char *name = g_strconcat (search->stem, ends[i], ".vmdk", NULL);
        vmf_request_add (request, "matchPattern", name);
    }
    vmf_request_close (request, "searchSpec");
    return vmf_request_end (request);
}

/* Of the datastore that NAME is, among the machine's. */
static char *
find_browser (const struct reading *reading, const char *name, GError **error)
{
    static const char *const paths[] = { "name", "browser", NULL };
    const xmlNode *at = vmf_xml_child (vmf_property_find (reading->machine, "datastore"), "ManagedObjectReference");
    for (; at; at = vmf_xml_next (at, "ManagedObjectReference"))
    {
        g_autofree char *moref = vmf_xml_text (at);
        xmlDoc *doc = vmf_properties_one (reading->vsphere, reading->what, "Datastore", moref, paths,
                                          reading->cancellable, error);
        if (!doc)
            return NULL;
        g_autofree char *coded = vmf_property_text (xmlDocGetRootElement (doc), "name");
        g_autofree char *decoded = vmf_name_decode (coded ? coded : "");
        g_autofree char *browser = vmf_property_text (xmlDocGetRootElement (doc), "browser");
        xmlFreeDoc (doc);
        if (browser && strcmp (decoded, name) == 0)
            return g_steal_pointer (&browser);
    }
    g_set_error (error, VMF_ERROR, VMF_ERROR_NOT_FOUND, "%s: %s: there is no datastore '%s'", reading->vsphere->server,
                 reading->what, name);
    return NULL;
}

static int
compare_texts (const void *a, const void *b)
{
    return strcmp (*(const char *const *)a, *(const char *const *)b);
}

static void
add_found (const char *folder, const xmlNode *info, GString *lines)
{
    g_autoptr (GPtrArray) found = g_ptr_array_new_with_free_func (g_free);
    for (const xmlNode *at = vmf_xml_child (vmf_xml_child (info, "result"), "file"); at; at = vmf_xml_next (at, "file"))
    {
        g_autofree char *name = vmf_xml_find_text (at, "path"), *modified = vmf_xml_find_text (at, "modification");
        g_ptr_array_add (found, g_strdup_printf ("file %s/%s %" G_GINT64_FORMAT " %s\n", folder, name ? name : "",
                                                 vmf_node_int (at, "fileSize", 0), modified ? modified : "-"));
    }
    g_ptr_array_sort (found, compare_texts);
    for (guint i = 0; i < found->len; i++)
        g_string_append (lines, g_ptr_array_index (found, i));
}

static bool
add_files_of (struct reading *reading, const char *path, GString *lines, GError **error)
{
    const char *end = strchr (path, ']'), *slash = strrchr (path, '/');
    if (*path != '[' || !end || !slash || !g_str_has_suffix (slash, ".vmdk"))
        return true;
    g_autofree char *datastore = g_strndup (path + 1, (gsize)(end - path - 1));
    g_autofree char *browser = find_browser (reading, datastore, error);
    if (!browser)
        return false;
    g_autofree char *folder = g_strndup (path, (gsize)(slash - path));
    g_autofree char *stem = g_strndup (slash + 1, strlen (slash + 1) - strlen (".vmdk"));
    struct search search = { browser, folder, stem };
    xmlDoc *doc =
        vmf_task_run (reading->vsphere, reading->what, make_search, &search, NULL, reading->cancellable, error);
    if (doc)
        add_found (folder, vmf_property_find (xmlDocGetRootElement (doc), "info"), lines);
    xmlFreeDoc (doc);
    return doc != NULL;
}

/* Whoever writes to a disk, this machine or another that has it too, modifies its file. */
static bool
add_files (struct reading *reading, GError **error)
{
    static const char kind[] = "file";
    g_autoptr (GString) lines = g_string_new (NULL);
    if (!is_asked (reading, kind))
        return true;
    for (guint i = 0; i < reading->paths->len; i++)
    {
        GError *why = NULL;
        if (!add_files_of (reading, g_ptr_array_index (reading->paths, i), lines, &why))
            return do_without (reading, kind, why, error);
    }
    g_string_append_len (reading->text, lines->str, (gssize)lines->len);
    return true;
}

/* ---- all of it ---- */

/* The file that the line BEGIN of LIKE tells of, if the chain of BACKING has it (and starts are known, since a start
   would write to another one); otherwise that which is written to. */
static char *
find_file (const char *like, const char *begin, const xmlNode *backing)
{
    const char *line = like && strstr (like, "\nstarted ") ? strstr (like, begin) : NULL;
    g_autofree char *told = line ? g_strndup (line + strlen (begin), strcspn (line + strlen (begin), "\n")) : NULL;
    const xmlNode *at = backing;
    for (unsigned i = 0; told && at && i < CHAIN_MAX; i++, at = vmf_xml_child (at, "parent"))
    {
        g_autofree char *file = vmf_vsphere_backing_file (at);
        if (g_strcmp0 (file, told) == 0)
            return g_steal_pointer (&told);
    }
    return vmf_vsphere_backing_file (backing);
}

static void
add_disk (struct reading *reading, const xmlNode *device)
{
    const xmlNode *backing = vmf_xml_child (device, "backing");
    g_autofree char *begin =
        g_strdup_printf ("\ndisk %" G_GINT64_FORMAT " %" G_GUINT64_FORMAT " ", vmf_node_int (device, "key", 0),
                         (guint64)vmf_vsphere_disk_capacity (device));
    char *path = find_file (reading->like, begin, backing);
    g_ptr_array_add (reading->paths, path ? path : g_strdup ("-"));
    g_string_append_printf (reading->text, "%s%s\n", begin + 1, path ? path : "-");
}

/* The disks; or, with CHANGES, their change ids. */
static void
add_disks (struct reading *reading, const xmlNode *config, bool changes)
{
    const xmlNode *hardware = vmf_xml_child (config, "hardware");
    for (const xmlNode *at = vmf_xml_child (hardware, "device"); at; at = vmf_xml_next (at, "device"))
    {
        g_autofree char *type = vmf_vsphere_device_type (at);
        g_autofree char *id = changes ? vmf_xml_find_text (at, "backing/changeId") : NULL;
        if (strcmp (type, "VirtualDisk") != 0)
            continue;
        if (!changes)
            add_disk (reading, at);
        else if (id)
            g_string_append_printf (reading->text, "change %" G_GINT64_FORMAT " %s\n", vmf_node_int (at, "key", 0), id);
    }
}

static void
add_configuration (struct reading *reading, const xmlNode *config)
{
    g_autofree char *version = vmf_xml_find_text (config, "changeVersion");
    g_string_append_printf (reading->text, "configuration %s\n", version ? version : "-");
}

static bool
add_all (struct reading *reading, GError **error)
{
    const xmlNode *config = vmf_property_find (reading->machine, "config");
    g_autofree char *power = vmf_property_text (reading->machine, "runtime.powerState");
    g_string_append_printf (reading->text, "power %s\n", power ? power : "-");
    add_disks (reading, config, false);
    if (!add_starts (reading, error) || !add_files (reading, error))
        return false;
    if (strstr (reading->text->str, "\nstarted "))
        return true;
    add_disks (reading, config, true);
    add_configuration (reading, config);
    return true;
}

char *
vmf_vsphere_read_state (struct vmf_vsphere *vsphere, const char *vm_moref, const char *like, GCancellable *cancellable,
                        GError **error)
{
    static const char *const wanted[] = { "config", "runtime.powerState", "datastore", NULL };
    g_autofree char *what = g_strdup_printf ("asking for the state of %s", vm_moref);
    xmlDoc *doc = vmf_properties_one (vsphere, what, "VirtualMachine", vm_moref, wanted, cancellable, error);
    if (!doc)
        return NULL;
    g_autoptr (GString) text = g_string_new (NULL);
    g_autoptr (GPtrArray) paths = g_ptr_array_new_with_free_func (g_free);
    struct reading reading = { vsphere, what, vm_moref, like, cancellable, xmlDocGetRootElement (doc), paths, text };
    bool good = add_all (&reading, error);
    xmlFreeDoc (doc);
    return good ? g_string_free (g_steal_pointer (&text), FALSE) : NULL;
}
