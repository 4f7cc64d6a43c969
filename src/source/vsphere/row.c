/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rows of the inventory: few and small properties of each VM; what cannot be read of one is said in its row. */
#include "source/vsphere/row.h"
#include "base/text.h"
#include "source/vsphere/updates.h"

#include <string.h>

/* What a row is made of, and where its value goes. */
enum path
{
    PATH_NAME,
    PATH_PARENT,
    PATH_HOST,
    PATH_POWER,
    PATH_CONNECTION,
    PATH_GUEST_ID,
    PATH_GUEST_NAME,
    PATH_TEMPLATE,
    PATH_DISKS,
    PATH_COMMITTED,
    PATH_UNCOMMITTED,
    N_PATHS,
};

const char *const vmf_row_paths[N_PATHS + 1] = {
    [PATH_NAME] = "name",
    [PATH_PARENT] = "parent",
    [PATH_HOST] = "runtime.host",
    [PATH_POWER] = "runtime.powerState",
    [PATH_CONNECTION] = "runtime.connectionState",
    [PATH_GUEST_ID] = "summary.config.guestId",
    [PATH_GUEST_NAME] = "summary.config.guestFullName",
    [PATH_TEMPLATE] = "summary.config.template",
    [PATH_DISKS] = "summary.config.numVirtualDisks",
    [PATH_COMMITTED] = "summary.storage.committed",
    [PATH_UNCOMMITTED] = "summary.storage.uncommitted",
};

G_STATIC_ASSERT ((int)N_PATHS == VMF_ROW_N_PATHS);

enum vmf_vsphere_power
vmf_power_from_text (const char *text)
{
    return !text                              ? VMF_POWER_UNKNOWN
           : strcmp (text, "poweredOn") == 0  ? VMF_POWER_ON
           : strcmp (text, "poweredOff") == 0 ? VMF_POWER_OFF
           : strcmp (text, "suspended") == 0  ? VMF_POWER_SUSPENDED
                                              : VMF_POWER_UNKNOWN;
}

/* ---- what the server said ---- */

static void
set (struct vmf_row_facts *facts, unsigned i, char *value, char *refusal)
{
    g_free (facts->values[i]);
    g_free (facts->refusals[i]);
    facts->values[i] = value;
    facts->refusals[i] = refusal;
}

/* Is PATH the property NAME, or what that is a part of? */
static bool
covers (const char *path, const char *name)
{
    size_t length = strlen (path);
    return strncmp (path, name, length) == 0 && (name[length] == '\0' || name[length] == '.');
}

static void
set_value (const char *path, const xmlNode *value, void *data)
{
    for (unsigned i = 0; i < N_PATHS; i++)
        if (value ? strcmp (path, vmf_row_paths[i]) == 0 : covers (path, vmf_row_paths[i]))
            set (data, i, vmf_xml_text (value), NULL);
}

/* A property that the server has none of is no fault; one that it refuses is. NULL: no fault. */
static char *
refusal_of (const xmlNode *missing, const char *path)
{
    const xmlNode *fault = vmf_xml_find (missing, "fault/fault");
    g_autofree char *type = vmf_fault_type (fault);
    if (strcmp (type, "InvalidProperty") == 0)
        return NULL;
    g_autofree char *privilege = vmf_xml_find_text (fault, "privilegeId");
    g_autofree char *problem = privilege
                                   ? g_strdup_printf ("no permission to read it: privilege %s is missing", privilege)
                                   : g_strdup_printf ("%s cannot be read: %s", path, type);
    return vmf_text_printable (problem, 200);
}

void
vmf_row_facts_apply (struct vmf_row_facts *facts, const xmlNode *object)
{
    vmf_update_each (object, set_value, facts);
    for (const xmlNode *at = vmf_xml_child (object, "missingSet"); at; at = vmf_xml_next (at, "missingSet"))
    {
        g_autofree char *path = vmf_xml_find_text (at, "path");
        for (unsigned i = 0; path && i < N_PATHS; i++)
            if (covers (path, vmf_row_paths[i]))
                set (facts, i, NULL, refusal_of (at, path));
    }
}

void
vmf_row_facts_clear (struct vmf_row_facts *facts)
{
    for (unsigned i = 0; i < N_PATHS; i++)
        set (facts, i, NULL, NULL);
}

/* ---- rows ---- */

static char **
texts_of (struct vmf_vsphere_row *row, size_t i)
{
    char **texts[] = { &row->moref,  &row->name,  &row->host,    &row->cluster, &row->datacenter,
                       &row->folder, &row->os_id, &row->os_name, &row->problem };
    return i < G_N_ELEMENTS (texts) ? texts[i] : NULL;
}

void
vmf_row_free (void *data)
{
    struct vmf_vsphere_row *row = data;
    for (size_t i = 0; row && texts_of (row, i); i++)
        g_free (*texts_of (row, i));
    g_free (row);
}

bool
vmf_row_equal (const struct vmf_vsphere_row *row, const struct vmf_vsphere_row *other)
{
    struct vmf_vsphere_row a = *row, b = *other;
    for (size_t i = 0; texts_of (&a, i); i++)
        if (g_strcmp0 (*texts_of (&a, i), *texts_of (&b, i)) != 0)
            return false;
    return row->power == other->power && row->is_template == other->is_template
           && row->capacity_bytes == other->capacity_bytes && row->n_disks == other->n_disks;
}

int
vmf_row_compare (gconstpointer left, gconstpointer right)
{
    const struct vmf_vsphere_row *a = *(struct vmf_vsphere_row *const *)left,
                                 *b = *(struct vmf_vsphere_row *const *)right;
    int order = strcmp (a->name, b->name);
    return order ? order : strcmp (a->moref, b->moref);
}

static uint64_t
number_of (const char *text)
{
    uint64_t number = 0;
    return text && vmf_text_to_uint64 (text, "number", 0, G_MAXINT64, &number, NULL) ? number : 0;
}

static char *
find_problem (const struct vmf_row_facts *facts, const char *host_state)
{
    static const char *const states[][2] = {
        { "disconnected", "its ESXi host is disconnected from the vCenter" },
        { "inaccessible", "its files cannot be reached: a datastore is gone" },
        { "invalid", "its configuration file is damaged" },
        { "orphaned", "its ESXi host knows nothing of it (orphaned)" },
    };
    const char *connection = facts->values[PATH_CONNECTION];
    for (size_t i = 0; i < N_PATHS; i++)
        if (facts->refusals[i])
            return g_strdup (facts->refusals[i]);
    for (size_t i = 0; connection && i < G_N_ELEMENTS (states); i++)
        if (strcmp (connection, states[i][0]) == 0)
            return g_strdup (states[i][1]);
    if (strcmp (host_state, "notResponding") == 0)
        return g_strdup ("its ESXi host does not respond");
    return NULL;
}

static struct vmf_tree_place
place_of (const struct vmf_row_facts *facts, struct vmf_tree *tree)
{
    return vmf_tree_find (tree, facts->values[PATH_HOST], facts->values[PATH_PARENT]);
}

struct vmf_vsphere_row *
vmf_row_new (const char *moref, const struct vmf_row_facts *facts, struct vmf_tree *tree)
{
    char *const *values = facts->values;
    struct vmf_vsphere_row *row = g_new0 (struct vmf_vsphere_row, 1);
    struct vmf_tree_place place = place_of (facts, tree);
    row->moref = g_strdup (moref);
    row->name = vmf_name_decode (values[PATH_NAME] ? values[PATH_NAME] : moref);
    row->host = g_strdup (place.host);
    row->cluster = g_strdup (place.cluster);
    row->datacenter = g_strdup (place.datacenter);
    row->folder = g_strdup (place.folder);
    row->os_id = g_strdup (values[PATH_GUEST_ID]);
    row->os_name = g_strdup (values[PATH_GUEST_NAME]);
    row->power = vmf_power_from_text (values[PATH_POWER]);
    row->is_template = g_strcmp0 (values[PATH_TEMPLATE], "true") == 0;
    row->n_disks = (unsigned)number_of (values[PATH_DISKS]);
    row->capacity_bytes = number_of (values[PATH_COMMITTED]) + number_of (values[PATH_UNCOMMITTED]);
    row->problem = find_problem (facts, place.host_state);
    return row;
}

/* ---- which are wanted ---- */

/* A folder's pattern takes what is below it too; "DC0/prod" is one as well, for it is listed like that. */
static bool
matches_folder (const char *pattern, const struct vmf_vsphere_row *row)
{
    if (!pattern || vmf_text_matches (pattern, row->folder))
        return true;
    g_autofree char *below = g_strconcat (pattern, "/*", NULL);
    g_autofree char *listed = g_strjoin ("/", row->datacenter, row->folder, NULL);
    return vmf_text_matches (below, row->folder) || vmf_text_matches (pattern, listed)
           || vmf_text_matches (below, listed);
}

bool
vmf_row_is_wanted (const struct vmf_vsphere_row *row, const struct vmf_row_facts *facts, struct vmf_tree *tree,
                   const struct vmf_vsphere_filter *filter, GHashTable *tagged)
{
    if (!filter)
        return true;
    return vmf_text_matches (filter->name, row->name) && vmf_text_matches (filter->host, row->host)
           && vmf_text_matches (filter->cluster, row->cluster)
           && (vmf_text_matches (filter->datacenter, row->datacenter)
               || vmf_text_matches (filter->datacenter, place_of (facts, tree).datacenter_path))
           && matches_folder (filter->folder, row)
           && (vmf_text_matches (filter->os, row->os_id) || vmf_text_matches (filter->os, row->os_name))
           && (filter->power == VMF_POWER_UNKNOWN || filter->power == row->power)
           && (!tagged || g_hash_table_contains (tagged, row->moref));
}
