/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests, answers and faults as text: what is sent is escaped, what comes is bounded and understood by its types. */
#include "base/error.h"
#include "source/vsphere/changes.h"
#include "source/vsphere/lease.h"

#include <string.h>

#define HEAD                                                                                                           \
    "<?xml version='1.0'?><s:Envelope xmlns:s='http://schemas.xmlsoap.org/soap/envelope/' "                            \
    "xmlns:xsd='http://www.w3.org/2001/XMLSchema' xmlns:q='http://www.w3.org/2001/XMLSchema-instance'><s:Body>"
#define TAIL "</s:Body></s:Envelope>"

/* Fed in pieces of a few bytes, as a network may. */
static xmlDoc *
parse (const char *text, const char *each, vmf_answer_func on_each, void *data, GError **error)
{
    struct vmf_answer *answer = vmf_answer_new (each, on_each, data);
    size_t length = strlen (text), done = 0;
    while (done < length && vmf_answer_feed (answer, text + done, MIN ((size_t)7, length - done)))
        done += MIN ((size_t)7, length - done);
    xmlDoc *doc = vmf_answer_end (answer, error);
    vmf_answer_free (answer);
    return doc;
}

static xmlDoc *
parse_all (const char *text)
{
    g_autoptr (GError) error = NULL;
    xmlDoc *doc = parse (text, NULL, NULL, NULL, &error);
    g_assert_no_error (error);
    return doc;
}

static void
test_request (void)
{
    GString *request = vmf_request_new ("Login", "SessionManager", "a\"<&>");
    vmf_request_add (request, "password", "p]]>&amp;<x y=\"'\">\001\n€\xff");
    vmf_request_open (request, "spec", "TraversalSpec");
    vmf_request_add_bool (request, "skip", true);
    vmf_request_add_int (request, "n", -5);
    vmf_request_close (request, "spec");
    vmf_request_end (request);
    xmlDoc *doc = parse_all (request->str);
    const xmlNode *login = vmf_answer_response (doc);
    g_autofree char *password = vmf_xml_find_text (login, "password"), *who = vmf_xml_find_text (login, "_this");
    g_assert_cmpstr ((const char *)login->name, ==, "Login");
    g_assert_cmpstr ((const char *)login->ns->href, ==, "urn:vim25");
    g_assert_cmpstr (password, ==, "p]]>&amp;<x y=\"'\">?\n€\xef\xbf\xbd");
    g_assert_cmpstr (who, ==, "a\"<&>");
    g_assert_cmpstr (vmf_node_moref_type (vmf_xml_child (login, "_this")), ==, "SessionManager");
    g_assert_cmpstr (vmf_node_type (vmf_xml_child (login, "spec")), ==, "TraversalSpec");
    g_assert_true (vmf_node_bool (login, "spec/skip"));
    g_assert_cmpint (vmf_node_int (login, "spec/n", 0), ==, -5);
    xmlFreeDoc (doc);
    g_string_free (request, TRUE);
}

static void
count (xmlNode *node, void *data)
{
    GString *all = data;
    g_autofree char *text = vmf_xml_find_text (node, "obj");
    g_string_append_printf (all, "%s,", text);
}

/* Each object is handed on and gone; one within another is that one's. */
static void
test_each (void)
{
    g_autoptr (GString) all = g_string_new (NULL);
    g_autoptr (GError) error = NULL;
    xmlDoc *doc = parse (HEAD "<R><returnval><token>t1</token><objects><obj>a</obj><objects/></objects>"
                              "<objects><obj>b</obj></objects></returnval></R>" TAIL,
                         "objects", count, all, &error);
    g_assert_no_error (error);
    g_assert_cmpstr (all->str, ==, "a,b,");
    const xmlNode *value = vmf_xml_child (vmf_answer_response (doc), "returnval");
    g_assert_null (vmf_xml_child (value, "objects"));
    g_assert_true (vmf_node_child_is (value, "token", "t1"));
    xmlFreeDoc (doc);
}

static void
test_types (void)
{
    xmlDoc *doc = parse_all (HEAD "<R><a q:type='xsd:string' type='Folder'>x</a><b type='VirtualMachine'/></R>" TAIL);
    const xmlNode *response = vmf_answer_response (doc);
    g_assert_cmpstr (vmf_node_type (vmf_xml_child (response, "a")), ==, "string");
    g_assert_cmpstr (vmf_node_moref_type (vmf_xml_child (response, "a")), ==, "Folder");
    g_assert_cmpstr (vmf_node_type (vmf_xml_child (response, "b")), ==, "");
    g_assert_cmpstr (vmf_node_type (NULL), ==, "");
    xmlFreeDoc (doc);
}

static void
test_bad_answers (void)
{
    static const struct
    {
        const char *text;
        int code;
    } bad[] = {
        { "", VMF_ERROR_CORRUPT },
        { "<html><body>503<br></body></html>", VMF_ERROR_CORRUPT },
        { HEAD, VMF_ERROR_CORRUPT },
        { "<!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>", VMF_ERROR_UNSAFE },
        { "<!DOCTYPE x SYSTEM 'http://192.0.2.1/x'><x/>", VMF_ERROR_UNSAFE },
    };
    for (size_t i = 0; i < G_N_ELEMENTS (bad); i++)
    {
        g_autoptr (GError) error = NULL;
        g_assert_null (parse (bad[i].text, NULL, NULL, NULL, &error));
        g_assert_error (error, VMF_ERROR, bad[i].code);
    }
}

/* A million of UNIT, or until no more is taken. */
static void
refused_many (const char *unit, size_t bytes, int code, const char *part)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (GString) block = g_string_new (NULL);
    while (block->len < 1 << 20)
        g_string_append (block, unit);
    struct vmf_answer *answer = vmf_answer_new (NULL, NULL, NULL);
    size_t fed = 0;
    g_assert_true (vmf_answer_feed (answer, "<a>", 3));
    while (fed <= 2 * bytes && vmf_answer_feed (answer, block->str, block->len))
        fed += block->len;
    g_assert_cmpuint (fed, <=, bytes);
    g_assert_null (vmf_answer_end (answer, &error));
    g_assert_error (error, VMF_ERROR, code);
    g_assert_nonnull (strstr (error->message, part));
    vmf_answer_free (answer);
}

static void
test_long_answer (void)
{
    g_autofree char *padding = g_strnfill (1000, 'x');
    g_autofree char *comment = g_strdup_printf ("<b>%s</b>", padding);
    refused_many (comment, VMF_ANSWER_MAX_BYTES, VMF_ERROR_UNSAFE, "longer than");
    refused_many ("<b/>", 5 << 20, VMF_ERROR_UNSAFE, "elements");
    refused_many ("x", 20 << 20, VMF_ERROR_CORRUPT, "not XML"); /* libxml2's own limit of a text */
}

static const struct vmf_fault_place place = { "vc:443", "jane", "doing it" };

static void
check_fault (const char *detail, enum vmf_fault fault, int code, const char *part)
{
    g_autoptr (GError) error = NULL;
    g_autofree char *text = g_strdup_printf (
        HEAD "<s:Fault><faultcode>S</faultcode><faultstring>some \033[2Jwords</faultstring>%s</s:Fault>" TAIL, detail);
    for (char *at = text; (at = strchr (at, '\033'));)
        *at = '^';
    xmlDoc *doc = parse_all (text);
    g_assert_cmpint (vmf_fault_set_soap_error (vmf_answer_response (doc), &place, &error), ==, fault);
    g_assert_error (error, VMF_ERROR, code);
    if (!strstr (error->message, part) || !g_str_has_prefix (error->message, "vc:443: doing it: "))
        g_error ("expected '%s' in: %s", part, error->message);
    xmlFreeDoc (doc);
}

/* The type decides: by xsi:type, whatever its prefix, or by the element's name; never the words. */
static void
test_faults (void)
{
    check_fault ("<detail><InvalidLoginFault q:type='InvalidLogin'/></detail>", VMF_FAULT_INVALID_LOGIN, VMF_ERROR_AUTH,
                 "password is wrong (user jane)");
    check_fault ("<detail><Fault q:type='vim25:NotAuthenticated'><object type='Folder'>x</object></Fault></detail>",
                 VMF_FAULT_NOT_AUTHENTICATED, VMF_ERROR_AUTH, "no login");
    check_fault ("<detail><NoPermissionFault q:type='NoPermission'><object type='VirtualMachine'>vm-7</object>"
                 "<privilegeId>VApp.Export</privilegeId></NoPermissionFault></detail>",
                 VMF_FAULT_NO_PERMISSION, VMF_ERROR_AUTH,
                 "jane lacks the privilege VApp.Export on VirtualMachine vm-7");
    check_fault ("<detail><ManagedObjectNotFoundFault><obj>vm-9</obj></ManagedObjectNotFoundFault></detail>",
                 VMF_FAULT_NOT_FOUND, VMF_ERROR_NOT_FOUND, "vm-9");
    check_fault (
        "<detail><TaskInProgressFault q:type='TaskInProgress'><task>task-1</task></TaskInProgressFault></detail>",
        VMF_FAULT_TASK_IN_PROGRESS, VMF_ERROR_FAILED, "task-1");
    check_fault ("<detail><SnapshotFaultFault/></detail>", VMF_FAULT_SNAPSHOT, VMF_ERROR_FAILED, "snapshot failed");
    check_fault ("<detail><RestrictedVersionFault q:type='RestrictedVersion'/></detail>", VMF_FAULT_LICENCE,
                 VMF_ERROR_FAILED, "licence");
    check_fault ("<detail><a q:type='SomethingNew'/></detail>", VMF_FAULT_OTHER, VMF_ERROR_FAILED,
                 "SomethingNew: some ");
    check_fault ("", VMF_FAULT_OTHER, VMF_ERROR_FAILED, "some ");
}

static xmlDoc *
window (const char *start, const char *length, const char *areas)
{
    g_autofree char *text =
        g_strdup_printf (HEAD "<R><returnval><startOffset>%s</startOffset><length>%s</length>%s</returnval></R>" TAIL,
                         start, length, areas);
    return parse_all (text);
}

static bool
read_window (uint64_t *start, uint64_t capacity, struct vmf_extents *changed, const char *begin, const char *length,
             const char *areas)
{
    xmlDoc *doc = window (begin, length, areas);
    bool ok = vmf_changes_read_window (vmf_xml_child (vmf_answer_response (doc), "returnval"), capacity, start, changed,
                                       NULL);
    xmlFreeDoc (doc);
    return ok;
}

#define AREA(start, length) "<changedArea><start>" start "</start><length>" length "</length></changedArea>"

/* PITFALLS 6 and 7: by what was answered; clamped; neither stuck nor past a gap. */
static void
test_windows (void)
{
    g_autoptr (vmf_extents) changed = vmf_extents_new ();
    uint64_t start = 0;
    g_assert_true (read_window (&start, 1000, changed, "0", "600", AREA ("10", "5") AREA ("500", "100")));
    g_assert_cmpuint (start, ==, 600);
    g_assert_true (read_window (&start, 1000, changed, "600", "100", "")); /* nothing changed there: it goes on */
    g_assert_cmpuint (start, ==, 700);
    g_assert_true (read_window (&start, 1000, changed, "512", "700", AREA ("990", "100") AREA ("2000", "5")));
    g_assert_cmpuint (start, ==, 1212);
    g_assert_cmpuint (vmf_extents_total (changed), ==, 5 + 100 + 10);
    start = 100;
    g_assert_false (read_window (&start, 1000, changed, "100", "0", ""));
    g_assert_false (read_window (&start, 1000, changed, "0", "100", ""));
    g_assert_false (read_window (&start, 1000, changed, "200", "100", ""));
    g_assert_false (read_window (&start, 1000, changed, "-1", "100", ""));
    g_assert_false (read_window (&start, 1000, changed, "100", "100", AREA ("-5", "10")));
    g_assert_false (read_window (&start, 1000, changed, "", "", ""));
    g_assert_cmpuint (start, ==, 100);
}

static void
test_histories (void)
{
    g_assert_true (vmf_vsphere_same_history ("52 de c0/81", "52 DE c0/9"));
    g_assert_false (vmf_vsphere_same_history ("52 de c0/81", "52 de c1/81"));
    g_assert_false (vmf_vsphere_same_history ("52 de c0/81", "52 de c/81"));
    g_assert_false (vmf_vsphere_same_history ("*", "*"));
    g_assert_false (vmf_vsphere_same_history ("/1", "/1"));
    g_assert_false (vmf_vsphere_same_history (NULL, "52/1"));
}

#define DEVICE_URL(key, url, disk)                                                                                     \
    "<deviceUrl><key>" key "</key><importKey>/x/none</importKey><url>" url                                             \
    "</url><sslThumbprint>AA:BB</sslThumbprint>"                                                                       \
    "<disk>" disk "</disk><fileSize>9</fileSize></deviceUrl>"
#define DISK(key, controller, unit)                                                                                    \
    "<device q:type='VirtualDisk'><key>" key "</key><controllerKey>" controller "</controllerKey><unitNumber>" unit    \
    "</unitNumber><capacityInKB>2</capacityInKB></device>"

static const char lease[] =
    HEAD "<R><info>" DEVICE_URL ("/vm-7/ParaVirtualSCSIController0:1", "https://*/nfc/52/disk-0.vmdk", "true")
        DEVICE_URL ("/vm-7/VirtualAHCIController0:0", "https://esx1/nfc/52/disk-1.vmdk", "true") DEVICE_URL (
            "/vm-7/nvram", "https://*:444/nfc/52/x.nvram",
            "false") "</info><config><hardware>"
                     "<device q:type='ParaVirtualSCSIController'><key>1000</key><busNumber>0</busNumber></device>"
                     "<device q:type='VirtualAHCIController'><key>15000</key><busNumber>0</busNumber></device>" DISK (
                         "2000", "1000", "0") DISK ("16000", "15000", "0")
                         DISK ("2001", "1000", "1") "</hardware></config></R>" TAIL;

/* Files and disks belong together by where the disk is plugged in, not by their order (PITFALLS 17). */
static void
test_lease_files (void)
{
    xmlDoc *doc = parse_all (lease);
    const xmlNode *response = vmf_answer_response (doc);
    g_autoptr (GPtrArray) files =
        vmf_lease_files_read (vmf_xml_child (response, "info"), vmf_xml_child (response, "config"), "esx9:8443");
    xmlFreeDoc (doc);
    static const struct
    {
        int32_t key;
        const char *url;
        uint64_t capacity;
    } wanted[] = { { 2001, "https://esx9:8443/nfc/52/disk-0.vmdk", 2048 },
                   { 16000, "https://esx1/nfc/52/disk-1.vmdk", 2048 },
                   { 0, "https://esx9:444/nfc/52/x.nvram", 0 } };
    g_assert_cmpuint (files->len, ==, G_N_ELEMENTS (wanted));
    for (unsigned i = 0; i < files->len; i++)
    {
        const struct vmf_vsphere_lease_file *file = files->pdata[i];
        g_assert_cmpint (file->disk_key, ==, wanted[i].key);
        g_assert_cmpstr (file->url, ==, wanted[i].url);
        g_assert_cmpuint (file->capacity_bytes, ==, wanted[i].capacity);
        g_assert_cmpuint (file->size_bytes, ==, 9);
        g_assert_cmpstr (file->thumbprint, ==, "AA:BB");
    }
}

/* An ESXi host that is called by its IPv6 address. */
static void
test_lease_at_ipv6 (void)
{
    xmlDoc *doc = parse_all (lease);
    const xmlNode *info = vmf_xml_child (vmf_answer_response (doc), "info");
    g_autoptr (GPtrArray) files = vmf_lease_files_read (info, NULL, "[fe80::1]:8443");
    xmlFreeDoc (doc);
    const struct vmf_vsphere_lease_file *first = files->pdata[0], *last = files->pdata[2];
    g_assert_cmpstr (first->url, ==, "https://[fe80::1]:8443/nfc/52/disk-0.vmdk");
    g_assert_cmpstr (last->url, ==, "https://[fe80::1]:444/nfc/52/x.nvram");
}

static void
test_names (void)
{
    g_autofree char *name = vmf_name_decode ("a%2fb%5Cc%25d%41%");
    g_assert_cmpstr (name, ==, "a/b\\c%d%41%");
}

/* The chain's oldest file, and what keeps a disk out of snapshots. */
static void
test_disks (void)
{
    g_autofree char *path = g_test_build_filename (G_TEST_DIST, "vm", "data", "vsphere8-efi.vim", NULL);
    g_autofree char *text = NULL;
    g_assert_true (g_file_get_contents (path, &text, NULL, NULL));
    xmlDoc *doc = parse_all (text);
    g_autoptr (GPtrArray) disks = vmf_disks_read (xmlDocGetRootElement (doc), NULL);
    xmlFreeDoc (doc);
    g_assert_cmpuint (disks->len, ==, 4);
    const struct vmf_vsphere_disk *cache = disks->pdata[0], *mapped = disks->pdata[1], *system = disks->pdata[2],
                                  *raw = disks->pdata[3];
    g_assert_cmpint (system->key, ==, 2000);
    g_assert_cmpstr (system->id, ==, "scsi0:0");
    g_assert_cmpstr (system->path, ==, "[ds1] web/web-000002.vmdk");
    g_assert_cmpstr (system->base_path, ==, "[ds1] web/web.vmdk");
    g_assert_cmpstr (system->change_id, ==, "52 de c0 d9 b9 43 9d 10-61 d5 4c 1b e9 7b 65 63/81");
    g_assert_true (system->is_delta && !system->independent && !system->rdm && !system->shared);
    g_assert_true (cache->independent && !cache->is_delta);
    g_assert_cmpstr (cache->datastore, ==, "ds 2");
    g_assert_true (mapped->rdm && mapped->independent);
    g_assert_true (raw->rdm && raw->shared);
    g_assert_cmpstr (raw->path, ==, "[ds1] web/raw.vmdk");
    g_assert_cmpstr (raw->change_id, ==, "52 00/7");
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/vsphere-soap/request", test_request);
    g_test_add_func ("/vsphere-soap/each", test_each);
    g_test_add_func ("/vsphere-soap/types", test_types);
    g_test_add_func ("/vsphere-soap/bad-answers", test_bad_answers);
    g_test_add_func ("/vsphere-soap/long-answer", test_long_answer);
    g_test_add_func ("/vsphere-soap/faults", test_faults);
    g_test_add_func ("/vsphere-soap/windows", test_windows);
    g_test_add_func ("/vsphere-soap/histories", test_histories);
    g_test_add_func ("/vsphere-soap/lease-files", test_lease_files);
    g_test_add_func ("/vsphere-soap/lease-at-ipv6", test_lease_at_ipv6);
    g_test_add_func ("/vsphere-soap/names", test_names);
    g_test_add_func ("/vsphere-soap/disks", test_disks);
    return g_test_run ();
}
