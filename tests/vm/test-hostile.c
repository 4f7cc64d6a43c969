/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Descriptions that mean harm: each is refused, with the sentence that a user sees. */
#include "base/error.h"
#include "vm/read.h"

#include <string.h>

typedef struct vmf_vm *(*reader) (const char *text, size_t length, GError **error);

static void
refused_bytes (reader read, const char *text, size_t length, int code, const char *part)
{
    g_autoptr (GError) error = NULL;
    struct vmf_vm *vm = read (text, length, &error);
    g_assert_null (vm);
    g_test_message ("%s", error->message);
    if (!strstr (error->message, part))
        g_error ("expected '%s' in: %s", part, error->message);
    g_assert_error (error, VMF_ERROR, code);
    g_assert_true (g_utf8_validate (error->message, -1, NULL));
}

static void
refused (reader read, const char *text, int code, const char *part)
{
    refused_bytes (read, text, strlen (text), code, part);
}

static void
test_doctype (void)
{
    static const char *const documents[] = {
        /* a billion laughs */
        "<?xml version='1.0'?><!DOCTYPE lolz [<!ENTITY a 'lol'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;'>"
        "<!ENTITY c '&b;&b;&b;&b;&b;&b;&b;&b;'>]><domain type='kvm'><name>&c;</name></domain>",
        /* a file of this host */
        "<!DOCTYPE d [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><domain type='kvm'><name>&x;</name></domain>",
        /* a document from elsewhere */
        "<!DOCTYPE d SYSTEM 'http://192.0.2.1/evil.dtd'><domain type='kvm'/>",
        "<!DOCTYPE d [<!ENTITY % x SYSTEM 'http://192.0.2.1/x'> %x;]><domain/>",
        "<!DOCTYPE domain><domain type='kvm'><name>a</name></domain>",
    };
    for (size_t i = 0; i < G_N_ELEMENTS (documents); i++)
    {
        refused (vmf_vm_read_libvirt, documents[i], VMF_ERROR_UNSAFE,
                 "document type declaration (<!DOCTYPE) on line 1");
        refused (vmf_vm_read_ovf, documents[i], VMF_ERROR_UNSAFE, "the OVF descriptor has a document type declaration");
    }
    refused (vmf_vm_read_libvirt, "<domain type='kvm'><name>&x;</name></domain>", VMF_ERROR_CORRUPT,
             "not well-formed XML: line 1: Entity 'x' not defined");
}

static void
test_size (void)
{
    size_t length = 17u << 20;
    g_autofree char *text = g_malloc (length);
    memset (text, ' ', length);
    refused_bytes (vmf_vm_read_ovf, text, length, VMF_ERROR_UNSAFE, "has 17.0 MiB, more than the 16 MiB");
    refused_bytes (vmf_vm_read_libvirt, text, length, VMF_ERROR_UNSAFE, "has 17.0 MiB, more than the 16 MiB");
    refused_bytes (vmf_vm_read_vmx, text, length, VMF_ERROR_UNSAFE, "has 17.0 MiB, more than the 16 MiB");
    refused (vmf_vm_read_ovf, "", VMF_ERROR_CORRUPT, "is empty");
}

static void
test_depth (void)
{
    GString *deep = g_string_new (NULL);
    for (unsigned i = 0; i < 100000; i++)
        g_string_append (deep, "<backingStore><source file='x'/>");
    refused_bytes (vmf_vm_read_libvirt, deep->str, deep->len, VMF_ERROR_CORRUPT, "Excessive depth");
    g_string_assign (deep, "<domain type='kvm'><devices><disk type='file'><source file='a'/>");
    for (unsigned i = 0; i < 33; i++)
        g_string_append (deep, "<backingStore type='file'><source file='x'/>");
    for (unsigned i = 0; i < 33; i++)
        g_string_append (deep, "</backingStore>");
    g_string_append (deep, "</disk></devices></domain>");
    refused_bytes (vmf_vm_read_libvirt, deep->str, deep->len, VMF_ERROR_UNSAFE,
                   "a chain of more than 32 backing files");
    g_string_free (deep, TRUE);
}

#define OVF(files, disks, items)                                                                                       \
    "<Envelope><References>" files "</References><DiskSection>" disks                                                  \
    "</DiskSection><VirtualSystem id='a'><VirtualHardwareSection>" items                                               \
    "</VirtualHardwareSection></VirtualSystem></Envelope>"
#define DISK(attributes)                                                                                               \
    OVF ("<File id='f' href='a.vmdk'/>", "<Disk diskId='d' fileRef='f' " attributes "/>",                              \
         "<Item><ResourceType>17</ResourceType><HostResource>ovf:/disk/d</HostResource></Item>")
#define ITEM(type, quantity, unit)                                                                                     \
    OVF ("", "",                                                                                                       \
         "<Item><ResourceType>" type "</ResourceType><VirtualQuantity>" quantity                                       \
         "</VirtualQuantity><AllocationUnits>" unit "</AllocationUnits></Item>")

static void
test_ovf_numbers (void)
{
    refused (vmf_vm_read_ovf, DISK ("capacity='-1'"), VMF_ERROR_CORRUPT, "disk capacity is '-1', not a whole number");
    refused (vmf_vm_read_ovf, DISK ("capacity='1e9'"), VMF_ERROR_CORRUPT, "not a whole number");
    refused (vmf_vm_read_ovf, DISK ("capacity='99999999999999999999999'"), VMF_ERROR_CORRUPT, "not a whole number");
    refused (vmf_vm_read_ovf, DISK ("capacity='9223372036854775807'"), VMF_ERROR_UNSAFE,
             "is more than the 64.0 PiB that are believed");
    refused (vmf_vm_read_ovf, DISK ("capacity='18446744073709551615' capacityAllocationUnits='byte * 2^30'"),
             VMF_ERROR_UNSAFE, "is more than the 64.0 PiB that are believed");
    refused (vmf_vm_read_ovf, DISK ("capacity='1' capacityAllocationUnits='byte * 2^99'"), VMF_ERROR_CORRUPT,
             "the unit 'byte * 2^99' of the disk capacity is not known");
    refused (vmf_vm_read_ovf, ITEM ("4", "999999999", "byte * 2^40"), VMF_ERROR_UNSAFE, "the memory size of 999999999");
    refused (vmf_vm_read_ovf, ITEM ("3", "1000000", "x"), VMF_ERROR_CORRUPT, "number of processors is '1000000'");
    refused (vmf_vm_read_ovf,
             OVF ("", "",
                  "<Item><ResourceType>3</ResourceType><num_of_sockets>4000</num_of_sockets><cpu_per_socket>4000"
                  "</cpu_per_socket></Item>"),
             VMF_ERROR_UNSAFE, "virtual processors; at most 4096 are believed");
}

static void
test_ovf_references (void)
{
    static const char *const hrefs[] = { "http://192.0.2.1/a.vmdk", "file:///etc/passwd", "nbd+unix:///x", "json:{}",
                                         "C:\\x" };
    for (size_t i = 0; i < G_N_ELEMENTS (hrefs); i++)
    {
        g_autofree char *file = g_strdup_printf ("<Envelope><References><File id='f' href='%s'/></References>"
                                                 "<VirtualSystem id='a'/></Envelope>",
                                                 hrefs[i]);
        refused (vmf_vm_read_ovf, file, VMF_ERROR_UNSAFE, "leads elsewhere; only files of the package itself are read");
    }
    refused (vmf_vm_read_ovf,
             OVF ("", "", "<Item><ResourceType>17</ResourceType><HostResource>ovf:/disk/x</HostResource></Item>"),
             VMF_ERROR_CORRUPT, "the DiskSection has no disk 'ovf:/disk/x'");
    refused (vmf_vm_read_ovf,
             OVF ("", "<Disk diskId='d' fileRef='nowhere'/>",
                  "<Item><ResourceType>17</ResourceType><HostResource>ovf:/disk/d</HostResource></Item>"),
             VMF_ERROR_CORRUPT, "in the file 'nowhere', which the References do not name");
    refused (vmf_vm_read_ovf, "<domain/>", VMF_ERROR_CORRUPT, "describes no machine");
    refused (vmf_vm_read_ovf, "<Envelope><VirtualSystem>", VMF_ERROR_CORRUPT, "not well-formed XML: line 1");
}

/* Paths that climb are handed on as written: who opens them refuses them with the package's folder in hand. */
static void
test_climbing_paths_are_not_resolved (void)
{
    static const char text[] = OVF ("<File id='f' href='../../etc/passwd'/>", "<Disk diskId='d' fileRef='f'/>",
                                    "<Item><ResourceType>17</ResourceType><HostResource>/disk/d</HostResource></Item>");
    g_autoptr (GError) error = NULL;
    g_autoptr (vmf_vm) vm = vmf_vm_read_ovf (text, strlen (text), &error);
    g_assert_no_error (error);
    g_assert_cmpstr (vmf_vm_get_import_disk (vm, 0)->place.path, ==, "../../etc/passwd");
}

static void
test_many_devices (void)
{
    GString *text = g_string_new ("<domain type='kvm'><devices>");
    for (unsigned i = 0; i < 5000; i++)
        g_string_append (text, "<interface type='network'><source network='a'/></interface>");
    g_string_append (text, "</devices></domain>");
    refused (vmf_vm_read_libvirt, text->str, VMF_ERROR_UNSAFE,
             "has 5000 disks, drives and network cards; at most 4096 are read");
    g_string_assign (text, "<Envelope><VirtualSystem id='a'><VirtualHardwareSection>");
    for (unsigned i = 0; i < 5000; i++)
        g_string_append (text, "<Item><ResourceType>10</ResourceType></Item>");
    g_string_append (text, "</VirtualHardwareSection></VirtualSystem></Envelope>");
    refused (vmf_vm_read_ovf, text->str, VMF_ERROR_UNSAFE, "at most 4096 are read");
    g_string_assign (text, "<domain type='kvm'><devices>");
    for (unsigned i = 0; i < 5000; i++)
        g_string_append (text, "<disk type='file'><source file='a'/></disk>");
    g_string_append (text, "</devices></domain>");
    refused (vmf_vm_read_libvirt, text->str, VMF_ERROR_UNSAFE, "more than 4096 disks");
    g_string_assign (text, "config.version = \"8\"\n");
    for (unsigned i = 0; i < 5000; i++)
        g_string_append_printf (text, "ethernet%u.present = \"TRUE\"\n", i);
    refused (vmf_vm_read_vmx, text->str, VMF_ERROR_UNSAFE, "at most 4096 are read");
    g_string_free (text, TRUE);
}

static void
test_control_bytes (void)
{
    static const char nul[] = "<domain type='kvm'><name>a\0b</name></domain>";
    refused_bytes (vmf_vm_read_libvirt, nul, sizeof nul - 1, VMF_ERROR_CORRUPT, "has a NUL byte");
    refused (vmf_vm_read_libvirt, "<domain type='kvm'><name>a\nb</name></domain>", VMF_ERROR_UNSAFE,
             "the name of the machine 'a?b' has a control character (0x0a)");
    refused (vmf_vm_read_libvirt, "<domain type='kvm'><name>a&#x1b;[2J</name></domain>", VMF_ERROR_CORRUPT,
             "not well-formed XML");
    refused (vmf_vm_read_libvirt, "<domain type='kvm'><name>a\033[2J</name></domain>", VMF_ERROR_CORRUPT,
             "not well-formed XML");
    refused (vmf_vm_read_ovf, "<Envelope><VirtualSystem><Name>a&#10;b</Name></VirtualSystem></Envelope>",
             VMF_ERROR_UNSAFE, "has a control character (0x0a)");
    refused (vmf_vm_read_vmx, "config.version = \"8\"\ndisplayName = \"a|1B[2J\"\n", VMF_ERROR_UNSAFE,
             "the name of the machine 'a?[2J' has a control character (0x1b)");
    refused (vmf_vm_read_vmx, "config.version = \"8\"\ndisplayName = \"a|00b\"\n", VMF_ERROR_UNSAFE,
             "line 2: the value has a NUL byte");
    static const char vmx_nul[] = "config.version = \"8\"\0\n";
    refused_bytes (vmf_vm_read_vmx, vmx_nul, sizeof vmx_nul - 1, VMF_ERROR_CORRUPT, "has a NUL byte");
}

static void
test_vmx (void)
{
    static const char head[] = "config.version = \"8\"\n";
    static const struct
    {
        const char *line, *part;
        int code;
    } cases[] = {
        { "memsize = \"-1\"", "memsize is '-1', not a whole number", VMF_ERROR_CORRUPT },
        { "memsize = \"99999999999999\"", "memsize is '99999999999999'", VMF_ERROR_CORRUPT },
        { "numvcpus = \"0\"", "numvcpus is '0'", VMF_ERROR_CORRUPT },
        { "numvcpus = \"5000\"", "not a whole number from 1 to 4096", VMF_ERROR_CORRUPT },
        { "displayName = \"x", "line 2: the closing quotation mark is missing", VMF_ERROR_CORRUPT },
        { ".encoding = \"no-such\"\ndisplayName = \"\xff\"", "not in the encoding that it names, no-such",
          VMF_ERROR_CORRUPT },
    };
    for (size_t i = 0; i < G_N_ELEMENTS (cases); i++)
    {
        g_autofree char *text = g_strconcat (head, cases[i].line, "\n", NULL);
        refused (vmf_vm_read_vmx, text, cases[i].code, cases[i].part);
    }
    refused (vmf_vm_read_vmx,
             "\x7f"
             "ELF",
             VMF_ERROR_CORRUPT, "neither config.version nor virtualHW.version");
    refused (vmf_vm_read_vmx, "", VMF_ERROR_CORRUPT, "is empty");
}

static void
test_libvirt (void)
{
    refused (vmf_vm_read_libvirt, "<domain type='lxc'><name>a</name></domain>", VMF_ERROR_FAILED,
             "domains of type 'lxc' cannot be imported");
    refused (vmf_vm_read_libvirt, "<domain type='kvm'><memory unit='TiB'>18446744073709551615</memory></domain>",
             VMF_ERROR_UNSAFE, "at most 1 PiB is believed");
    refused (vmf_vm_read_libvirt, "<domain type='kvm'><memory>-5</memory></domain>", VMF_ERROR_CORRUPT,
             "line 1: memory size is '-5'");
    refused (vmf_vm_read_libvirt, "<domain type='kvm'><vcpu>4294967297</vcpu></domain>", VMF_ERROR_CORRUPT,
             "number of processors is '4294967297'");
    refused (vmf_vm_read_libvirt, "<network/>", VMF_ERROR_CORRUPT, "begins with <network>, not <domain>");
    refused (vmf_vm_read_libvirt, "not xml", VMF_ERROR_CORRUPT, "not well-formed XML");
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/vm/hostile/doctype-and-entities", test_doctype);
    g_test_add_func ("/vm/hostile/17-mib", test_size);
    g_test_add_func ("/vm/hostile/depth-and-long-chains", test_depth);
    g_test_add_func ("/vm/hostile/ovf-numbers", test_ovf_numbers);
    g_test_add_func ("/vm/hostile/ovf-references", test_ovf_references);
    g_test_add_func ("/vm/hostile/climbing-paths-are-not-resolved", test_climbing_paths_are_not_resolved);
    g_test_add_func ("/vm/hostile/5000-devices", test_many_devices);
    g_test_add_func ("/vm/hostile/control-bytes", test_control_bytes);
    g_test_add_func ("/vm/hostile/vmx", test_vmx);
    g_test_add_func ("/vm/hostile/libvirt", test_libvirt);
    return g_test_run ();
}
