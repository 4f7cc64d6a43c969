/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The domain that is written: against libvirt's own schema (an independent reader), read back, and rule by rule (B18).
 */
#include "data.h"
#include "vm/write.h"

#include <string.h>
#include <unistd.h>

static const struct vmf_domain_disk two_disks[] = { { "/srv/a & b/web-sda.qcow2", "qcow2", false },
                                                    { "/dev/vg0/web-sdb", "raw", true } };

static struct vmf_domain_plan
plan_of (enum vmf_bus bus, enum vmf_machine machine, unsigned n_disks)
{
    return (struct vmf_domain_plan){
        .domain_type = "kvm",
        .caps = { .virtio_net = bus == VMF_BUS_VIRTIO_BLK || bus == VMF_BUS_VIRTIO_SCSI,
                  .disk_bus = bus,
                  .virtio_rng = true,
                  .virtio_balloon = true,
                  .pvpanic = true,
                  .virtio_1_0 = true,
                  .machine = machine,
                  .osinfo_id = "http://debian.org/debian/12" },
        .disks = two_disks,
        .n_disks = n_disks,
    };
}

/* Against the schema that libvirt is installed with. */
static void
assert_valid (const char *xml)
{
    static const char schema[] = "/usr/share/libvirt/schemas/domain.rng";
    g_autofree char *xmllint = g_find_program_in_path ("xmllint");
    if (!xmllint || !g_file_test (schema, G_FILE_TEST_EXISTS))
    {
        g_test_skip ("xmllint or libvirt's schemas are not installed");
        return;
    }
    g_autofree char *path = NULL;
    g_autoptr (GError) error = NULL;
    int fd = g_file_open_tmp ("vmf-domain-XXXXXX.xml", &path, &error);
    g_assert_no_error (error);
    close (fd);
    g_assert_true (g_file_set_contents (path, xml, -1, NULL));
    char *argv[] = { xmllint, (char *)"--noout", (char *)"--nonet", (char *)"--relaxng", (char *)schema, path, NULL };
    g_autofree char *messages = NULL;
    int status = 0;
    g_assert_true (g_spawn_sync (NULL, argv, NULL, G_SPAWN_DEFAULT, NULL, NULL, NULL, &messages, &status, &error));
    unlink (path);
    if (status != 0)
        g_error ("%s\n%s", messages, xml);
}

static char *
write_valid (const struct vmf_vm *vm, const struct vmf_domain_plan *plan)
{
    char *xml = vmf_vm_write_libvirt (vm, plan);
    assert_valid (xml);
    return xml;
}

static void
assert_has (const char *xml, const char *part)
{
    if (!strstr (xml, part))
        g_error ("missing: %s\nin: %s", part, xml);
}

static void
assert_lacks (const char *xml, const char *part)
{
    if (strstr (xml, part))
        g_error ("should not be there: %s\nin: %s", part, xml);
}

static void
test_every_source_is_valid (void)
{
    static const char *const names[] = { "vmware-efi-secure-tpm.ovf",
                                         "vmware-haproxy-options.ovf",
                                         "vmware-vcloud-ide-sas.ovf",
                                         "virtualbox5-ovf1.ovf",
                                         "virtualbox-ovf2.ovf",
                                         "ovirt-export.ovf",
                                         "esx8-efi.vmx",
                                         "esx67-nvme.vmx",
                                         "fusion-winxp.vmx",
                                         "gsx-ide.vmx",
                                         "xen-hvm.xml",
                                         "xen-pv.xml",
                                         "libvirt-q35-efi.xml" };
    static const enum vmf_bus buses[] = { VMF_BUS_UNKNOWN, VMF_BUS_IDE, VMF_BUS_SATA, VMF_BUS_VIRTIO_BLK,
                                          VMF_BUS_VIRTIO_SCSI };
    for (size_t i = 0; i < G_N_ELEMENTS (names); i++)
        for (size_t j = 0; j < G_N_ELEMENTS (buses); j++)
        {
            g_autoptr (vmf_vm) vm = read_vm (names[i]);
            unsigned n = vmf_vm_get_import_disk (vm, 1) ? 2 : vmf_vm_get_import_disk (vm, 0) ? 1 : 0;
            struct vmf_domain_plan plan = plan_of (buses[j], VMF_MACHINE_UNKNOWN, n);
            g_autofree char *xml = write_valid (vm, &plan);
            plan.domain_type = "qemu";
            plan.caps.virtio_1_0 = false;
            g_autofree char *other = write_valid (vm, &plan);
        }
}

static void
test_round_trip (void)
{
    g_autoptr (vmf_vm) vm = read_vm ("esx8-efi.vmx");
    struct vmf_domain_plan plan = plan_of (VMF_BUS_VIRTIO_BLK, VMF_MACHINE_UNKNOWN, 1);
    vm->vcpus = 8;
    vm->sockets = 2;
    vm->cores = 4;
    vm->threads = 1;
    vm->description = g_strdup ("<a> & \"b\"\nsecond line");
    g_autofree char *xml = write_valid (vm, &plan);
    g_autoptr (GError) error = NULL;
    g_autoptr (vmf_vm) back = vmf_vm_read_libvirt (xml, strlen (xml), &error);
    g_assert_no_error (error);
    g_assert_cmpstr (back->name, ==, vm->name);
    g_assert_cmpstr (back->uuid, ==, vm->uuid);
    g_assert_cmpstr (back->description, ==, vm->description);
    g_assert_cmpuint (back->memory_bytes, ==, vm->memory_bytes);
    g_assert_cmpuint (back->vcpus, ==, 8);
    g_assert_cmpuint (back->sockets, ==, 2);
    g_assert_cmpuint (back->cores, ==, 4);
    g_assert_cmpint (back->firmware, ==, VMF_FIRMWARE_UEFI);
    g_assert_true (back->secure_boot);
    g_assert_cmpint (back->machine, ==, VMF_MACHINE_Q35);
    g_assert_cmpstr (back->os_id, ==, "http://debian.org/debian/12");
    g_assert_cmpstr (disk_at (back, 0)->place.path, ==, two_disks[0].path);
    g_assert_cmpint (disk_at (back, 0)->bus, ==, VMF_BUS_VIRTIO_BLK);
    g_assert_cmpint (disk_at (back, 1)->device, ==, VMF_DEVICE_CDROM);
    g_assert_cmpint (disk_at (back, 1)->place.location, ==, VMF_LOCATION_NONE);
    g_assert_cmpstr (nic_at (back, 0)->mac, ==, nic_at (vm, 0)->mac);
    g_assert_cmpstr (nic_at (back, 0)->model, ==, "virtio");
    assert_has (xml, "<smm state=\"on\"/>");
}

/* PITFALLS 29: UEFI needs q35; the conversion's word wins over the source's; the user's over all. */
static void
test_machine_rules (void)
{
    static const struct
    {
        enum vmf_firmware firmware;
        enum vmf_machine source, caps;
        const char *user, *os_name, *expected;
    } cases[] = {
        { VMF_FIRMWARE_BIOS, VMF_MACHINE_UNKNOWN, VMF_MACHINE_UNKNOWN, NULL, NULL, "machine=\"pc\"" },
        { VMF_FIRMWARE_BIOS, VMF_MACHINE_Q35, VMF_MACHINE_UNKNOWN, NULL, NULL, "machine=\"q35\"" },
        { VMF_FIRMWARE_BIOS, VMF_MACHINE_Q35, VMF_MACHINE_I440FX, NULL, NULL, "machine=\"pc\"" },
        { VMF_FIRMWARE_BIOS, VMF_MACHINE_I440FX, VMF_MACHINE_Q35, NULL, NULL, "machine=\"q35\"" },
        { VMF_FIRMWARE_UEFI, VMF_MACHINE_I440FX, VMF_MACHINE_I440FX, NULL, NULL, "machine=\"q35\"" },
        { VMF_FIRMWARE_UEFI, VMF_MACHINE_Q35, VMF_MACHINE_Q35, "pc-i440fx-7.2", NULL, "machine=\"pc-i440fx-7.2\"" },
        { VMF_FIRMWARE_BIOS, VMF_MACHINE_UNKNOWN, VMF_MACHINE_I440FX, NULL, "Microsoft Windows Server 2025 (64-bit)",
          "machine=\"q35\"" },
    };
    for (size_t i = 0; i < G_N_ELEMENTS (cases); i++)
    {
        g_autoptr (vmf_vm) vm = vmf_vm_new ();
        struct vmf_domain_plan plan = plan_of (VMF_BUS_UNKNOWN, cases[i].caps, 0);
        vm->firmware = cases[i].firmware;
        vm->machine = cases[i].source;
        vm->machine_type = g_strdup (cases[i].user);
        vm->os_name = g_strdup (cases[i].os_name);
        vm->os_windows = cases[i].os_name != NULL;
        g_autofree char *xml = write_valid (vm, &plan);
        assert_has (xml, cases[i].expected);
    }
}

static void
test_no_virtio_has_devices_that_boot (void)
{
    g_autoptr (vmf_vm) vm = read_vm ("vmware-vcloud-ide-sas.ovf");
    struct vmf_domain_plan plan = { .domain_type = "kvm", .disks = two_disks, .n_disks = 2 };
    g_autofree char *xml = write_valid (vm, &plan);
    assert_has (xml, "<target dev=\"hda\" bus=\"ide\"/>");
    assert_has (xml, "<target dev=\"hdb\" bus=\"ide\"/>");
    assert_has (xml, "<target dev=\"hdc\" bus=\"ide\"/>"); /* the CD-ROM */
    assert_has (xml, "<model type=\"e1000\"/>");
    assert_has (xml, "<memballoon model=\"none\"/>");
    assert_lacks (xml, "virtio");
    vm->firmware = VMF_FIRMWARE_UEFI;
    g_autofree char *q35 = write_valid (vm, &plan);
    assert_has (q35, "<target dev=\"sdb\" bus=\"sata\"/>");
    assert_lacks (q35, "bus=\"ide\"");
}

static void
test_more_disks_than_ide_has (void)
{
    g_autoptr (vmf_vm) vm = vmf_vm_new ();
    struct vmf_domain_disk disks[30];
    for (unsigned i = 0; i < G_N_ELEMENTS (disks); i++)
    {
        struct vmf_disk *disk = vmf_vm_add_disk (vm);
        disk->device = VMF_DEVICE_DISK;
        disks[i] = (struct vmf_domain_disk){ "/x", "raw", false };
    }
    struct vmf_domain_plan plan = plan_of (VMF_BUS_IDE, VMF_MACHINE_I440FX, G_N_ELEMENTS (disks));
    plan.disks = disks;
    g_autofree char *xml = write_valid (vm, &plan);
    assert_has (xml, "<target dev=\"hdd\" bus=\"ide\"/>");
    assert_has (xml, "<target dev=\"sda\" bus=\"sata\"/>");
    assert_lacks (xml, "hde");
    plan.caps.disk_bus = VMF_BUS_VIRTIO_BLK;
    g_autofree char *virtio = write_valid (vm, &plan);
    assert_has (virtio, "<target dev=\"vdad\" bus=\"virtio\"/>");
    plan.caps.disk_bus = VMF_BUS_VIRTIO_SCSI;
    g_autofree char *scsi = write_valid (vm, &plan);
    assert_has (scsi, "<address type=\"drive\" controller=\"0\" bus=\"0\" target=\"0\" unit=\"6\"/>");
    assert_has (scsi, "<address type=\"drive\" controller=\"4\" bus=\"0\" target=\"0\" unit=\"1\"/>");
    assert_has (scsi, "<controller type=\"scsi\" index=\"4\" model=\"virtio-scsi\"/>");
    assert_lacks (scsi, "index=\"5\"");
}

static void
test_boot_order (void)
{
    g_autoptr (vmf_vm) vm = read_vm ("libvirt-q35-efi.xml");
    vmf_vm_get_import_disk (vm, 0)->keep_out = true; /* had order 1 */
    vmf_vm_get_import_disk (vm, 1)->boot_order = 7;
    struct vmf_domain_plan plan = plan_of (VMF_BUS_VIRTIO_BLK, VMF_MACHINE_Q35, 2);
    g_autofree char *xml = write_valid (vm, &plan);
    assert_has (xml, "<boot order=\"1\"/>"); /* the card, was 2 */
    assert_has (xml, "<boot order=\"2\"/>"); /* the disk, was 7 */
    assert_lacks (xml, "<boot order=\"7\"/>");
    assert_lacks (xml, "<boot dev=");
    for (unsigned i = 0; i < vm->nics->len; i++)
        nic_at (vm, i)->boot_order = 1;
    vmf_vm_get_import_disk (vm, 1)->boot_order = 1;
    g_autofree char *twins = write_valid (vm, &plan);
    assert_has (twins, "<boot order=\"4\"/>");
    g_autoptr (vmf_vm) words = read_vm ("virtualbox5-ovf1.ovf");
    plan.n_disks = 1;
    g_autofree char *named = write_valid (words, &plan);
    const char *hd = strstr (named, "<boot dev=\"hd\"/>"), *cdrom = strstr (named, "<boot dev=\"cdrom\"/>");
    g_assert_true (hd && cdrom && hd < cdrom);
}

static void
test_networks (void)
{
    g_autoptr (vmf_vm) vm = read_vm ("libvirt-q35-efi.xml");
    nic_at (vm, 0)->map_network = g_strdup ("lan");
    nic_at (vm, 1)->map_bridge = g_strdup ("br-ovs");
    nic_at (vm, 2)->keep_out = true;
    struct vmf_domain_plan plan = plan_of (VMF_BUS_VIRTIO_SCSI, VMF_MACHINE_Q35, 0);
    g_autofree char *xml = write_valid (vm, &plan);
    assert_has (xml, "<source network=\"lan\"/>");
    assert_has (xml, "<source bridge=\"br-ovs\"/>");
    assert_has (xml, "<virtualport type=\"openvswitch\"/>");
    assert_has (xml, "<link state=\"down\"/>");
    assert_lacks (xml, "52:54:00:12:34:58");
    assert_has (xml, "model=\"virtio-scsi\"");
}

static void
test_cpu_and_clock (void)
{
    static const struct
    {
        const char *type, *model, *expected;
    } cases[] = {
        { "kvm", NULL, "<cpu mode=\"host-model\"/>" },
        { "kvm", "host-passthrough", "<cpu mode=\"host-passthrough\"/>" },
        { "kvm", "Westmere", ">Westmere</model>" },
        { "qemu", NULL, ">Nehalem</model>" },
        { "qemu", "host-passthrough", ">Nehalem</model>" },
        { "qemu", "EPYC", ">EPYC</model>" },
    };
    for (size_t i = 0; i < G_N_ELEMENTS (cases); i++)
    {
        g_autoptr (vmf_vm) vm = vmf_vm_new ();
        struct vmf_domain_plan plan = plan_of (VMF_BUS_VIRTIO_BLK, VMF_MACHINE_Q35, 0);
        plan.domain_type = cases[i].type;
        vm->cpu_model = g_strdup (cases[i].model);
        g_autofree char *xml = write_valid (vm, &plan);
        assert_has (xml, cases[i].expected);
        assert_has (xml, "<clock offset=\"utc\">");
        vm->os_windows = true;
        g_autofree char *windows = write_valid (vm, &plan);
        assert_has (windows, "<clock offset=\"localtime\">");
    }
}

static void
test_firmware_and_tpm (void)
{
    g_autoptr (vmf_vm) vm = read_vm ("vmware-efi-secure-tpm.ovf");
    struct vmf_domain_plan plan = plan_of (VMF_BUS_VIRTIO_BLK, VMF_MACHINE_UNKNOWN, 1);
    g_autofree char *secure = write_valid (vm, &plan);
    assert_has (secure, "<feature enabled=\"yes\" name=\"secure-boot\"/>");
    assert_has (secure, "<tpm model=\"tpm-crb\">");
    vm->secure_boot = false;
    g_autofree char *plain = write_valid (vm, &plan);
    assert_has (plain, "<feature enabled=\"no\" name=\"secure-boot\"/>");
    assert_lacks (plain, "<smm");
    plan.caps.virtio_1_0 = false;
    g_autofree char *old = write_valid (vm, &plan);
    assert_has (old, "virtio-transitional");
}

static void
test_arm (void)
{
    g_autoptr (vmf_vm) vm = read_vm ("virtualbox-ovf2.ovf");
    g_free (vm->arch);
    vm->arch = g_strdup ("aarch64");
    vm->firmware = VMF_FIRMWARE_UEFI;
    struct vmf_domain_plan plan = plan_of (VMF_BUS_UNKNOWN, VMF_MACHINE_UNKNOWN, 1);
    g_autofree char *xml = write_valid (vm, &plan);
    assert_has (xml, "arch=\"aarch64\" machine=\"virt\"");
    assert_lacks (xml, "<apic");
}

/* B18: what is otherwise than on the source is said. */
static void
test_changes (void)
{
    g_autoptr (vmf_vm) vm = read_vm ("vmware-efi-secure-tpm.ovf");
    vm->machine = VMF_MACHINE_I440FX;
    struct vmf_domain_plan plan = plan_of (VMF_BUS_VIRTIO_BLK, VMF_MACHINE_UNKNOWN, 1);
    g_autoptr (GPtrArray) changes = vmf_vm_list_changes (vm, &plan);
    g_ptr_array_add (changes, NULL);
    g_autofree char *all = g_strjoinv ("\n", (char **)changes->pdata);
    assert_has (all, "the machine type is q35; on the source it was pc");
    assert_has (all, "disk sda is on virtio-blk as vda; on the source it was on scsi VirtualSCSI");
    assert_has (all, "network card Network adapter 1 is a virtio; on the source it was rtl8139");
    assert_has (all, "TPM is new and empty");
    assert_has (all, "Secure Boot has the default keys");
}

/* A bare image's machine gets a card, with the model that its guest drives, and that is said. */
static void
test_added_nic (void)
{
    g_autoptr (vmf_vm) vm = vmf_vm_new ();
    vm->name = g_strdup ("bare");
    vmf_vm_add_disk (vm);
    struct vmf_nic *nic = vmf_vm_add_nic (vm);
    nic->added = true;
    nic->map_network = g_strdup ("lab");
    static const struct vmf_domain_disk disk = { "/srv/x.qcow2", "qcow2", false };
    for (int virtio = 0; virtio < 2; virtio++)
    {
        struct vmf_domain_plan plan = plan_of (VMF_BUS_VIRTIO_BLK, VMF_MACHINE_Q35, 1);
        plan.disks = &disk;
        plan.caps.virtio_net = virtio;
        g_autofree char *xml = vmf_vm_write_libvirt (vm, &plan);
        assert_has (xml, "<source network=\"lab\"/>");
        assert_has (xml, virtio ? "<model type=\"virtio\"/>" : "<model type=\"e1000\"/>");
        g_autoptr (GPtrArray) changes = vmf_vm_list_changes (vm, &plan);
        const char *last = g_ptr_array_index (changes, changes->len - 1);
        assert_has (last, virtio ? "a network card was added, a virtio" : "a network card was added, a e1000");
    }
}

/* Whatever a name holds, it stays text. */
static void
test_hostile_names (void)
{
    g_autoptr (vmf_vm) vm = vmf_vm_new ();
    vm->name = g_strdup ("a</name><devices>&\x01\xff\"'");
    struct vmf_disk *disk = vmf_vm_add_disk (vm);
    disk->serial = g_strdup ("S1");
    static const struct vmf_domain_disk odd = { "/srv/'\"<&>/x.qcow2", "qcow2", false };
    struct vmf_domain_plan plan = plan_of (VMF_BUS_VIRTIO_BLK, VMF_MACHINE_Q35, 1);
    plan.disks = &odd;
    g_autofree char *xml = vmf_vm_write_libvirt (vm, &plan);
    g_autoptr (GError) error = NULL;
    g_autoptr (vmf_vm) back = vmf_vm_read_libvirt (xml, strlen (xml), &error);
    g_assert_no_error (error);
    g_assert_true (g_str_has_prefix (back->name, "a</name><devices>&?"));
    g_assert_cmpstr (disk_at (back, 0)->place.path, ==, odd.path);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/vm/domain/every-source-is-valid-for-libvirt", test_every_source_is_valid);
    g_test_add_func ("/vm/domain/round-trip", test_round_trip);
    g_test_add_func ("/vm/domain/machine-rules-pitfall-29", test_machine_rules);
    g_test_add_func ("/vm/domain/without-virtio-it-still-boots", test_no_virtio_has_devices_that_boot);
    g_test_add_func ("/vm/domain/more-disks-than-ide-has", test_more_disks_than_ide_has);
    g_test_add_func ("/vm/domain/boot-order", test_boot_order);
    g_test_add_func ("/vm/domain/networks", test_networks);
    g_test_add_func ("/vm/domain/cpu-and-clock", test_cpu_and_clock);
    g_test_add_func ("/vm/domain/firmware-and-tpm", test_firmware_and_tpm);
    g_test_add_func ("/vm/domain/aarch64", test_arm);
    g_test_add_func ("/vm/domain/changes-are-said-b18", test_changes);
    g_test_add_func ("/vm/domain/added-nic-are-said-b18", test_added_nic);
    g_test_add_func ("/vm/domain/hostile-names-stay-text", test_hostile_names);
    return g_test_run ();
}
