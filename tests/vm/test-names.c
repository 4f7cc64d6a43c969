/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Device letters, formats and the words for enums. */
#include "vm/facts.h"

static void
test_letters (void)
{
    static const struct
    {
        unsigned n;
        const char *name;
    } cases[] = { { 0, "sda" },   { 25, "sdz" },   { 26, "sdaa" },  { 51, "sdaz" },
                  { 52, "sdba" }, { 701, "sdzz" }, { 702, "sdaaa" } };
    for (size_t i = 0; i < G_N_ELEMENTS (cases); i++)
    {
        g_autofree char *name = vmf_disk_letter_name (cases[i].n);
        g_assert_cmpstr (name, ==, cases[i].name);
    }
    g_autofree char *last = vmf_disk_letter_name (G_MAXUINT);
    g_assert_true (g_str_has_prefix (last, "sd"));
}

static void
test_formats (void)
{
    g_assert_cmpstr (vmf_format_from_name ("VHD"), ==, "vpc");
    g_assert_cmpstr (vmf_format_from_name ("img"), ==, "raw");
    g_assert_cmpstr (vmf_format_from_name ("COW"), ==, "qcow2");
    g_assert_cmpstr (vmf_format_from_name ("http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"),
                     ==, "vmdk");
    g_assert_cmpstr (vmf_format_from_name ("http://www.gnome.org/~markmc/qcow-image-format.html"), ==, "qcow2");
    g_assert_cmpstr (vmf_format_from_name ("http://en.wikipedia.org/wiki/Byte"), ==, "raw");
    g_assert_null (vmf_format_from_name ("http://example.com/vmdk"));
    g_assert_null (vmf_format_from_name ("ext4"));
    g_assert_cmpstr (vmf_format_from_path ("a.b/Disk.VMDK"), ==, "vmdk");
    g_assert_cmpstr (vmf_format_from_path ("disk.vmdk.gz"), ==, "vmdk");
    g_assert_cmpstr (vmf_format_from_path ("disk.vhdx"), ==, "vhdx");
    g_assert_null (vmf_format_from_path ("folder.vmdk/disk"));
    g_assert_null (vmf_format_from_path ("disk"));
}

static void
test_spellings (void)
{
    g_autofree char *uuid = vmf_uuid_from_text ("42 20 fc a7 11 dd d6 7e-19 cc fc ad 0a 37 c3 42");
    g_assert_cmpstr (uuid, ==, "4220fca7-11dd-d67e-19cc-fcad0a37c342");
    g_autofree char *braces = vmf_uuid_from_text ("{AAF6485A-eba1-4105-b903-68f9d4ed35fc}");
    g_assert_cmpstr (braces, ==, "aaf6485a-eba1-4105-b903-68f9d4ed35fc");
    g_assert_null (vmf_uuid_from_text ("42 20 fc a7"));
    g_assert_null (vmf_uuid_from_text ("4220fca7-11dd-d67e-19cc-fcad0a37c342/../x"));
    g_autofree char *mac = vmf_mac_from_text ("08002718A8F8");
    g_assert_cmpstr (mac, ==, "08:00:27:18:a8:f8");
    g_assert_null (vmf_mac_from_text ("08:00:27:18:a8"));
    g_assert_null (vmf_mac_from_text ("0"));
}

static void
test_words (void)
{
    g_assert_cmpstr (vmf_origin_name (VMF_ORIGIN_XEN_PV), ==, "xen-pv");
    g_assert_cmpstr (vmf_firmware_name (VMF_FIRMWARE_UEFI), ==, "uefi");
    g_assert_cmpstr (vmf_machine_name (VMF_MACHINE_I440FX), ==, "pc");
    g_assert_cmpstr (vmf_bus_name (VMF_BUS_VIRTIO_SCSI), ==, "virtio-scsi");
    g_assert_cmpstr (vmf_device_name (VMF_DEVICE_CDROM), ==, "cdrom");
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/vm/names/letters", test_letters);
    g_test_add_func ("/vm/names/formats", test_formats);
    g_test_add_func ("/vm/names/uuid-and-mac-spellings", test_spellings);
    g_test_add_func ("/vm/names/words", test_words);
    return g_test_run ();
}
