/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where an address leads: libvirt's [FOLDER/…]DATACENTER[/FOLDER/…][/CLUSTER][/HOST] (its ESX driver's documentation,
 * "Connection URI"), looked up at the server, so that a name that is not there is told from a place without machines.
 */
#include "base/error.h"
#include "base/text.h"
#include "source/vsphere/inventory.h"

#include <string.h>

enum
{
    NAMES_MAX = 10, /* that a message lists */
};

static const char what[] = "looking for the place that the address names";

/* N of WORDS as the server spells a path. */
static char *
path_of (char *const *words, unsigned n)
{
    g_autoptr (GString) path = g_string_new (NULL);
    for (unsigned i = 0; i < n; i++)
    {
        g_autoptr (GString) word = g_string_new (words[i]);
        g_string_replace (word, "%", "%25", 0);
        g_string_replace (word, "/", "%2f", 0);
        g_string_replace (word, "\\", "%5c", 0);
        g_string_append_printf (path, "%s%s", i ? "/" : "", word->str);
    }
    return g_string_free (g_steal_pointer (&path), FALSE);
}

struct names
{
    GString *text;
    unsigned n;
};

static void
on_name (xmlNode *object, void *data)
{
    struct names *names = data;
    g_autofree char *raw = vmf_property_text (object, "name"), *name = vmf_name_decode (raw ? raw : "");
    g_autofree char *shown = vmf_text_printable (name, 60);
    if (*name && names->n++ < NAMES_MAX)
        g_string_append_printf (names->text, "%s%s", names->n > 1 ? ", " : "", shown);
}

/* The names of all objects of TYPES, for a message; NULL: they could not be read. Caller frees. */
static char *
list_names (struct vmf_vsphere *vsphere, const char *const *types, GCancellable *cancellable)
{
    static const char *const paths[] = { "name", NULL };
    g_autofree char *view = vmf_vsphere_view_new (vsphere, what, types, cancellable, NULL);
    struct names names = { g_string_new (NULL), 0 };
    GString *spec = g_string_new (NULL);
    for (unsigned i = 0; types[i]; i++)
        vmf_spec_add_paths (spec, types[i], paths);
    vmf_spec_add_view (spec, view ? view : "");
    if (!view)
        g_string_free (spec, TRUE);
    else
        vmf_properties_each (vsphere, what, spec, on_name, &names, cancellable, NULL);
    if (view)
        vmf_view_end (vsphere, view);
    if (names.n > NAMES_MAX)
        g_string_append_printf (names.text, " and %u more", names.n - NAMES_MAX);
    return g_string_free (names.text, names.n == 0);
}

static bool
not_there (struct vmf_vsphere *vsphere, const char *name, const char *kind, const char *const *types,
           GCancellable *cancellable, GError **error)
{
    g_autofree char *shown = vmf_text_printable (name, 100), *names = list_names (vsphere, types, cancellable);
    if (vmf_error_if_cancelled (cancellable, error))
        return false;
    g_set_error (error, VMF_ERROR, VMF_ERROR_NOT_FOUND,
                 "%s: there is no %s '%s'%s%s (an address is vpx://USER@VCENTER/DATACENTER[/CLUSTER][/HOST]; VMs are "
                 "named with --vm)",
                 vsphere->server, kind, shown, names ? "; there are: " : "", names ? names : "");
    return false;
}

/* How many of WORDS lead to a datacenter; 0: with ERROR, or *REFUSED, where this user may not look. */
static unsigned
find_datacenter (struct vmf_vsphere *vsphere, char *const *words, bool *refused, GCancellable *cancellable,
                 GError **error)
{
    static const char *const types[] = { "Datacenter", NULL };
    unsigned n = g_strv_length ((char **)words);
    for (unsigned i = 1; i <= n; i++)
    {
        g_autofree char *path = path_of (words, i), *type = NULL;
        if (!vmf_inventory_look_up (vsphere, path, &type, NULL, refused, cancellable, error) || *refused)
            return 0;
        if (g_strcmp0 (type, "Datacenter") == 0)
            return i;
        if (g_strcmp0 (type, "Folder") != 0 || i == n)
            return not_there (vsphere, words[i - 1], "datacenter", types, cancellable, error), 0;
    }
    return 0;
}

/* What is behind the datacenter: a folder of hosts, a cluster, a host. */
static bool
find_rest (struct vmf_vsphere *vsphere, struct vmf_vsphere_place *place, char *const *rest, GCancellable *cancellable,
           GError **error)
{
    static const char *const types[] = { "HostSystem", "ClusterComputeResource", NULL };
    unsigned n = g_strv_length ((char **)rest);
    bool refused = false, refused_above = false;
    g_autofree char *tail = path_of (rest, n), *above = path_of (rest, n - 1), *type = NULL, *type_above = NULL;
    g_autofree char *path = g_strjoin ("/", place->datacenter, "host", tail, NULL);
    g_autofree char *path_above = g_strjoin ("/", place->datacenter, "host", above, NULL);
    if (!vmf_inventory_look_up (vsphere, path, &type, NULL, &refused, cancellable, error)
        || (n > 1
            && !vmf_inventory_look_up (vsphere, path_above, &type_above, NULL, &refused_above, cancellable, error)))
        return false;
    const char *last = rest[n - 1];
    if (!type && !refused)
        return not_there (vsphere, last, "cluster or host", types, cancellable, error);
    if (g_strcmp0 (type, "ClusterComputeResource") == 0)
        place->cluster = g_strdup (last);
    else if (g_strcmp0 (type, "Folder") != 0)
        place->host = g_strdup (last);
    if (n > 1 && g_strcmp0 (type_above, "ClusterComputeResource") == 0)
        place->cluster = g_strdup (rest[n - 2]);
    return true;
}

void
vmf_vsphere_place_clear (struct vmf_vsphere_place *place)
{
    g_clear_pointer (&place->datacenter, g_free);
    g_clear_pointer (&place->cluster, g_free);
    g_clear_pointer (&place->host, g_free);
}

struct vmf_vsphere_filter
vmf_vsphere_place_filter (const struct vmf_vsphere_place *place)
{
    return (
        struct vmf_vsphere_filter){ .datacenter = place->datacenter, .cluster = place->cluster, .host = place->host };
}

bool
vmf_vsphere_find_place (struct vmf_vsphere *vsphere, char *const *words, struct vmf_vsphere_place *place,
                        GCancellable *cancellable, GError **error)
{
    bool refused = !vsphere->search_index;
    vmf_vsphere_place_clear (place);
    if (!words || !words[0])
        return true;
    unsigned n = refused ? 0 : find_datacenter (vsphere, words, &refused, cancellable, error);
    if (n == 0 && !refused)
        return false;
    if (refused) /* then the words are taken for what they mostly are */
    {
        unsigned last = g_strv_length ((char **)words) - 1;
        place->datacenter = last < 2 ? path_of (words, 1) : NULL;
        place->host = last > 0 ? g_strdup (words[last]) : NULL;
        return true;
    }
    place->datacenter = path_of (words, n);
    return !words[n] || find_rest (vsphere, place, words + n, cancellable, error);
}
