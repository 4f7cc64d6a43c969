/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Addresses as libvirt has them (A2), and URLs of files on datastores. */
#include "base/error.h"
#include "source/vsphere/internal.h"

#include <string.h>

static void
test_vcenter (void)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (vmf_vsphere_address) address = vmf_vsphere_address_parse (
        "vpx://DOM%5cj%40doe%3a@vc.example:8443/a%2Fb%20c/Folder/Cl%C3%BCster/esx1.example/?no_verify=1&x=%26", &error);
    g_assert_no_error (error);
    g_assert_true (address->is_vcenter);
    g_assert_cmpstr (address->user, ==, "DOM\\j@doe:");
    g_assert_cmpstr (address->host, ==, "vc.example");
    g_assert_cmpuint (address->port, ==, 8443);
    g_assert_cmpuint (g_strv_length (address->words), ==, 4);
    g_assert_cmpstr (address->words[0], ==, "a/b c");
    g_assert_cmpstr (address->words[2], ==, "Clüster");
    g_assert_true (address->no_verify);
    g_assert_cmpstr (g_hash_table_lookup (address->query, "x"), ==, "&");
}

static void
test_short (void)
{
    g_autoptr (vmf_vsphere_address) dc = vmf_vsphere_address_parse ("vpx://a@b.c@vc/DC0", NULL);
    g_assert_cmpstr (dc->user, ==, "a@b.c");
    g_assert_cmpstr (dc->words[0], ==, "DC0");
    g_assert_cmpuint (dc->port, ==, 0);
    g_assert_false (dc->no_verify);
    g_autoptr (vmf_vsphere_address) host = vmf_vsphere_address_parse ("vpx://vc/DC0/esx1", NULL);
    g_assert_null (host->user);
    g_assert_cmpstr (host->words[1], ==, "esx1");
    g_autoptr (vmf_vsphere_address) bare = vmf_vsphere_address_parse ("vpx://vc", NULL);
    g_assert_cmpuint (g_strv_length (bare->words), ==, 0);
}

static void
test_esxi (void)
{
    g_autoptr (vmf_vsphere_address) address = vmf_vsphere_address_parse ("esx://root@[2001:db8::1]:444/", NULL);
    g_assert_false (address->is_vcenter);
    g_assert_cmpstr (address->host, ==, "2001:db8::1");
    g_assert_cmpuint (address->port, ==, 444);
}

static void
test_refused (void)
{
    static const char *const bad[] = {
        "http://vc/",
        "vpx:/vc",
        "vpx://",
        "vpx://@vc/",
        "vpx://u@/DC",
        "vpx://u:secret@vc/DC",
        "vpx://u@vc:0/",
        "vpx://u@vc:70000/",
        "vpx://u@vc:4x/",
        "vpx://u@vc/%00",
        "vpx://u@vc/%zz",
        "vpx://u@vc/%ff",
        "vpx://u@v c/",
        "vpx://u@vc$(id)/",
        "vpx://u@vc;id/",
        "vpx://u@[::1/",
        "vpx://u@[vc]/",
        "vpx://u@[::1]x/",
        "vpx://u@vc/#x",
        "vpx://u@vc/?no_verify=yes",
        "esx://u@vc/?transport=http",
        "vpx://u@vc%00.evil/",
        "vpx://u@-oProxy%0a/",
    };
    for (size_t i = 0; i < G_N_ELEMENTS (bad); i++)
    {
        g_autoptr (GError) error = NULL;
        g_autoptr (vmf_vsphere_address) address = vmf_vsphere_address_parse (bad[i], &error);
        if (address)
            g_error ("%s was taken", bad[i]);
        g_assert_error (error, VMF_ERROR, VMF_ERROR_USAGE);
        g_assert_null (strstr (error->message, "secret"));
    }
}

static char *
flat_url (const char *host, const char *datacenter, const char *path, GError **error)
{
    struct vmf_vsphere vsphere = { .host = (char *)host, .port = 443 };
    return vmf_vsphere_flat_url (&vsphere, datacenter, path, error);
}

static void
test_flat_url (void)
{
    g_autofree char *plain = flat_url ("vc", "DC0", "[ds1] web/web.vmdk", NULL);
    g_assert_cmpstr (plain, ==, "https://vc:443/folder/web/web-flat.vmdk?dcPath=DC0&dsName=ds1");
    g_autofree char *odd = flat_url ("::1", "f/D C%2f", "[d&s?] a b/ü#+%.vmdk", NULL);
    g_assert_cmpstr (odd, ==,
                     "https://[::1]:443/folder/a%20b/%C3%BC%23%2B%25-flat.vmdk?dcPath=f%2FD%20C%252f&dsName=d%26s%3F");
    static const char *const bad[] = { "web/web.vmdk", "[ds1]",           "[] a.vmdk",        "[ds1] /etc/a.vmdk",
                                       "[ds1] a.vmx",  "[ds1 web/a.vmdk", "[ds1] a/../b.vmdk" };
    for (size_t i = 0; i < G_N_ELEMENTS (bad); i++)
    {
        g_autoptr (GError) error = NULL;
        g_assert_null (flat_url ("vc", "DC0", bad[i], &error));
        g_assert_error (error, VMF_ERROR, VMF_ERROR_CORRUPT);
    }
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/vsphere-address/vcenter", test_vcenter);
    g_test_add_func ("/vsphere-address/short", test_short);
    g_test_add_func ("/vsphere-address/esxi", test_esxi);
    g_test_add_func ("/vsphere-address/refused", test_refused);
    g_test_add_func ("/vsphere-address/flat-url", test_flat_url);
    return g_test_run ();
}
