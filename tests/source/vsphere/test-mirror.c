/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The inventory that is kept by updates: each kind of update of the API reference, and what is told of it. No server.
 */
#include "base/error.h"
#include "source/vsphere/mirror.h"

#include <string.h>

#define HEAD                                                                                                           \
    "<?xml version='1.0'?><s:Envelope xmlns:s='http://schemas.xmlsoap.org/soap/envelope/' "                            \
    "xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance'><s:Body><WaitForUpdatesExResponse><returnval>"              \
    "<version>1</version><filterSet><filter type='PropertyFilter'>f</filter>"
#define TAIL "</filterSet></returnval></WaitForUpdatesExResponse></s:Body></s:Envelope>"

#define OBJECT(kind, type, moref, changes)                                                                             \
    "<objectSet><kind>" kind "</kind><obj type='" type "'>" moref "</obj>" changes "</objectSet>"
#define VM(kind, moref, changes) OBJECT (kind, "VirtualMachine", moref, changes)
#define CHANGE(op, name, value) "<changeSet><name>" name "</name><op>" op "</op><val>" value "</val></changeSet>"
#define ASSIGN(name, value) CHANGE ("assign", name, value)
#define UNSET(op, name) "<changeSet><name>" name "</name><op>" op "</op></changeSet>"
#define MISSING(path, fault, fields)                                                                                   \
    "<missingSet><path>" path "</path><fault><fault xsi:type='" fault "'>" fields "</fault></fault></missingSet>"

static const char tree[] = OBJECT ("enter", "Folder", "root", ASSIGN ("name", "Datacenters"))
    OBJECT ("enter", "Datacenter", "dc", ASSIGN ("name", "DC0") ASSIGN ("parent", "root"))
        OBJECT ("enter", "Folder", "vm", ASSIGN ("name", "vm") ASSIGN ("parent", "dc"))
            OBJECT ("enter", "Folder", "prod", ASSIGN ("name", "prod") ASSIGN ("parent", "vm"))
                OBJECT ("enter", "HostSystem", "h1", ASSIGN ("name", "esx1") ASSIGN ("parent", "dc"))
                    OBJECT ("enter", "HostSystem", "h2", ASSIGN ("name", "esx2") ASSIGN ("parent", "dc"));

static const char web[] =
    VM ("enter", "vm-1",
        ASSIGN ("name", "web") ASSIGN ("parent", "prod") ASSIGN ("runtime.host", "h1")
            ASSIGN ("runtime.powerState", "poweredOff") ASSIGN ("summary.config.guestFullName", "Debian")
                ASSIGN ("summary.config.numVirtualDisks", "2") ASSIGN ("summary.storage.committed", "1000")
                    ASSIGN ("summary.storage.uncommitted", "24"));
static const char db[] = VM ("enter", "vm-2",
                             ASSIGN ("name", "db") ASSIGN ("parent", "vm") ASSIGN ("runtime.host", "h1")
                                 ASSIGN ("runtime.powerState", "poweredOn"));

static void
on_object (xmlNode *object, void *data)
{
    vmf_mirror_apply (data, object);
}

/* As they come: in an answer, in small pieces. */
static void
apply (struct vmf_mirror *mirror, const char *objects)
{
    g_autoptr (GError) error = NULL;
    g_autofree char *text = g_strconcat (HEAD, objects, TAIL, NULL);
    struct vmf_answer *answer = vmf_answer_new ("objectSet", on_object, mirror);
    for (size_t done = 0, length = strlen (text); done < length; done += 11)
        g_assert_true (vmf_answer_feed (answer, text + done, MIN ((size_t)11, length - done)));
    xmlDoc *doc = vmf_answer_end (answer, &error);
    g_assert_no_error (error);
    xmlFreeDoc (doc);
    vmf_answer_free (answer);
}

static void
note (const struct vmf_vsphere_row *before, const struct vmf_vsphere_row *after, void *data)
{
    if (!before)
        g_string_append_printf (data, "+%s;", after->name);
    else if (!after)
        g_string_append_printf (data, "-%s;", before->name);
    else
        g_string_append_printf (data, "~%s>%s;", before->name, after->name);
}

/* What is told after OBJECTS. */
static void
check (struct vmf_mirror *mirror, const char *objects, const char *told)
{
    g_autoptr (GString) all = g_string_new (NULL);
    apply (mirror, objects);
    unsigned n = vmf_mirror_settle (mirror, note, all);
    g_assert_cmpstr (all->str, ==, told);
    g_assert_cmpuint (n == 0, ==, all->len == 0);
}

static struct vmf_mirror *
mirror_with (const struct vmf_vsphere_filter *filter)
{
    struct vmf_mirror *mirror = vmf_mirror_new (filter);
    apply (mirror, web); /* before what is above it: the order is the server's */
    apply (mirror, tree);
    apply (mirror, db);
    return mirror;
}

static const struct vmf_vsphere_row *
row_of (struct vmf_mirror *mirror, const char *moref)
{
    g_autoptr (GPtrArray) rows = vmf_mirror_get_rows (mirror);
    for (unsigned i = 0; i < rows->len; i++)
        if (strcmp (((const struct vmf_vsphere_row *)rows->pdata[i])->moref, moref) == 0)
            return rows->pdata[i];
    return NULL;
}

static void
test_enter (void)
{
    g_autoptr (vmf_mirror) mirror = mirror_with (NULL);
    check (mirror, "", "+db;+web;");
    const struct vmf_vsphere_row *row = row_of (mirror, "vm-1");
    g_assert_cmpstr (row->host, ==, "esx1");
    g_assert_cmpstr (row->folder, ==, "prod");
    g_assert_cmpstr (row->datacenter, ==, "DC0");
    g_assert_cmpstr (row->os_name, ==, "Debian");
    g_assert_cmpint (row->power, ==, VMF_POWER_OFF);
    g_assert_cmpuint (row->n_disks, ==, 2);
    g_assert_cmpuint (row->capacity_bytes, ==, 1024);
    /* Told twice, as where an answer broke off. */
    check (mirror, web, "");
}

static void
test_modify (void)
{
    g_autoptr (vmf_mirror) mirror = mirror_with (NULL);
    check (mirror, "", "+db;+web;");
    check (mirror, VM ("modify", "vm-1", ASSIGN ("runtime.powerState", "poweredOn") ASSIGN ("name", "w%2fb")),
           "~web>w/b;");
    g_assert_cmpint (row_of (mirror, "vm-1")->power, ==, VMF_POWER_ON);
    g_assert_cmpstr (row_of (mirror, "vm-1")->os_name, ==, "Debian");
    check (mirror, VM ("modify", "vm-1", ASSIGN ("runtime.host", "h2")), "~w/b>w/b;");
    g_assert_cmpstr (row_of (mirror, "vm-1")->host, ==, "esx2");
    check (mirror, VM ("modify", "vm-1", CHANGE ("add", "summary.config.numVirtualDisks", "3")), "~w/b>w/b;");
    g_assert_cmpuint (row_of (mirror, "vm-1")->n_disks, ==, 3);
    /* One property of ours that changes nothing that is told, and one that is not ours. */
    check (mirror, VM ("modify", "vm-1", ASSIGN ("runtime.connectionState", "connected") ASSIGN ("alien", "1")), "");
}

static void
test_remove (void)
{
    g_autoptr (vmf_mirror) mirror = mirror_with (NULL);
    check (mirror, "", "+db;+web;");
    check (mirror, VM ("modify", "vm-1", UNSET ("remove", "summary.config.guestFullName")), "~web>web;");
    g_assert_null (row_of (mirror, "vm-1")->os_name);
    g_assert_cmpuint (row_of (mirror, "vm-1")->capacity_bytes, ==, 1024);
    check (mirror, VM ("modify", "vm-1", UNSET ("indirectRemove", "summary.storage.committed")), "~web>web;");
    g_assert_cmpuint (row_of (mirror, "vm-1")->capacity_bytes, ==, 24);
    /* Whatever else is said of what was removed. */
    check (mirror, VM ("modify", "vm-1", CHANGE ("remove", "summary.storage.uncommitted", "24")), "~web>web;");
    g_assert_cmpuint (row_of (mirror, "vm-1")->capacity_bytes, ==, 0);
    /* What they are parts of, all at once. */
    check (mirror, VM ("modify", "vm-1", UNSET ("indirectRemove", "summary")), "~web>web;");
    g_assert_cmpuint (row_of (mirror, "vm-1")->n_disks, ==, 0);
    check (mirror, VM ("modify", "vm-1", UNSET ("remove", "runtime.host")), "~web>web;");
    g_assert_cmpstr (row_of (mirror, "vm-1")->host, ==, "");
}

static void
test_leave (void)
{
    g_autoptr (vmf_mirror) mirror = mirror_with (NULL);
    check (mirror, VM ("leave", "vm-9", ""), "+db;+web;");
    check (mirror, VM ("leave", "vm-1", ""), "-web;");
    g_assert_null (row_of (mirror, "vm-1"));
    check (mirror, VM ("modify", "vm-2", ASSIGN ("name", "x")), "~db>x;");
    /* Gone and here again between two answers, with another name: nothing of the old one is left. */
    check (mirror, VM ("leave", "vm-2", "") VM ("enter", "vm-2", ASSIGN ("name", "again")), "~x>again;");
    g_assert_cmpint (row_of (mirror, "vm-2")->power, ==, VMF_POWER_UNKNOWN);
    check (mirror, VM ("enter", "vm-3", ASSIGN ("name", "short")) VM ("leave", "vm-3", ""), "");
}

static void
test_missing (void)
{
    g_autoptr (vmf_mirror) mirror = mirror_with (NULL);
    check (mirror, "", "+db;+web;");
    check (mirror,
           VM ("modify", "vm-1",
               MISSING ("summary.config.guestFullName", "NoPermission", "<privilegeId>System.Read</privilegeId>")),
           "~web>web;");
    g_assert_nonnull (strstr (row_of (mirror, "vm-1")->problem, "System.Read"));
    g_assert_null (row_of (mirror, "vm-1")->os_name);
    check (mirror, VM ("modify", "vm-1", ASSIGN ("summary.config.guestFullName", "BSD")), "~web>web;");
    g_assert_null (row_of (mirror, "vm-1")->problem);
    g_assert_cmpstr (row_of (mirror, "vm-1")->os_name, ==, "BSD");
    /* The server has no such property: no problem. */
    check (mirror, VM ("modify", "vm-1", MISSING ("runtime.connectionState", "InvalidProperty", "")), "");
    check (mirror, VM ("modify", "vm-1", ASSIGN ("runtime.connectionState", "orphaned")), "~web>web;");
    g_assert_nonnull (strstr (row_of (mirror, "vm-1")->problem, "orphaned"));
}

/* Folders and hosts stand in many rows. */
static void
test_tree (void)
{
    g_autoptr (vmf_mirror) mirror = mirror_with (NULL);
    check (mirror, "", "+db;+web;");
    check (mirror, OBJECT ("modify", "Folder", "prod", ASSIGN ("name", "live")), "~web>web;");
    g_assert_cmpstr (row_of (mirror, "vm-1")->folder, ==, "live");
    check (mirror, OBJECT ("modify", "Datacenter", "dc", ASSIGN ("name", "DC1")), "~db>db;~web>web;");
    g_assert_cmpstr (row_of (mirror, "vm-1")->datacenter, ==, "DC1");
    check (mirror, OBJECT ("modify", "HostSystem", "h1", ASSIGN ("runtime.connectionState", "notResponding")),
           "~db>db;~web>web;");
    g_assert_nonnull (strstr (row_of (mirror, "vm-2")->problem, "respond"));
    check (mirror,
           OBJECT ("enter", "Folder", "shop", ASSIGN ("name", "shop") ASSIGN ("parent", "prod"))
               VM ("modify", "vm-1", ASSIGN ("parent", "shop")),
           "~web>web;");
    g_assert_cmpstr (row_of (mirror, "vm-1")->folder, ==, "live/shop");
    check (mirror, OBJECT ("modify", "HostSystem", "h2", ASSIGN ("name", "esx9")), "");
    check (mirror, OBJECT ("leave", "HostSystem", "h1", ""), "~db>db;~web>web;");
    g_assert_cmpstr (row_of (mirror, "vm-2")->host, ==, "");
}

/* Who comes to match is new, who ceases to is gone. */
static void
test_filter (void)
{
    struct vmf_vsphere_filter filter = { .power = VMF_POWER_ON, .host = "ESX1", .tag = "prod" };
    g_autoptr (vmf_mirror) mirror = mirror_with (&filter);
    g_assert_cmpstr (vmf_mirror_get_tag (mirror), ==, "prod");
    check (mirror, "", "+db;");
    check (mirror, VM ("modify", "vm-1", ASSIGN ("runtime.powerState", "poweredOn")), "+web;");
    check (mirror, VM ("modify", "vm-1", ASSIGN ("runtime.host", "h2")), "-web;");
    check (mirror, VM ("modify", "vm-1", ASSIGN ("name", "other")), "");
    check (mirror, OBJECT ("modify", "HostSystem", "h2", ASSIGN ("name", "esx1")), "+other;");
    GHashTable *tagged = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
    g_hash_table_add (tagged, g_strdup ("vm-1"));
    vmf_mirror_take_tagged (mirror, tagged);
    check (mirror, "", "-db;");
}

/* The session was lost: all is told anew, and what is not there any more has gone. */
static void
test_restart (void)
{
    g_autoptr (vmf_mirror) mirror = mirror_with (NULL);
    check (mirror, "", "+db;+web;");
    vmf_mirror_restart (mirror);
    apply (mirror, tree);
    check (mirror, web, "-db;");
    vmf_mirror_restart (mirror);
    apply (mirror, tree);
    apply (mirror, VM ("enter", "vm-1", ASSIGN ("name", "web")));
    check (mirror, db, "+db;~web>web;");
    g_assert_cmpuint (row_of (mirror, "vm-1")->n_disks, ==, 0);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/vsphere/mirror/enter", test_enter);
    g_test_add_func ("/vsphere/mirror/modify", test_modify);
    g_test_add_func ("/vsphere/mirror/remove", test_remove);
    g_test_add_func ("/vsphere/mirror/leave", test_leave);
    g_test_add_func ("/vsphere/mirror/missing", test_missing);
    g_test_add_func ("/vsphere/mirror/tree", test_tree);
    g_test_add_func ("/vsphere/mirror/filter", test_filter);
    g_test_add_func ("/vsphere/mirror/restart", test_restart);
    return g_test_run ();
}
