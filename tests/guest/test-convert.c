/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The conversion: guest.xml, what is read from virt-v2v's log, errors, and the child's life. virt-v2v's logs are real
 * ones (data/README.md); for the child's life a script stands in for the program.
 */
#include "../folder.h"
#include "base/error.h"
#include "guest/convert-parts.h"

#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *
data_file (const char *name)
{
    return g_test_build_filename (G_TEST_DIST, "guest", "data", name, NULL);
}

static struct vmf_vm *
some_vm (void)
{
    struct vmf_vm *vm = vmf_vm_new ();
    vm->name = g_strdup ("web <&'> 01");
    vm->origin = VMF_ORIGIN_VMWARE;
    vm->firmware = VMF_FIRMWARE_UEFI;
    vm->memory_bytes = (uint64_t)3 << 30;
    vm->vcpus = 4;
    vmf_vm_add_disk (vm)->bus = VMF_BUS_SCSI;
    struct vmf_disk *cdrom = vmf_vm_add_disk (vm);
    cdrom->device = VMF_DEVICE_CDROM;
    vmf_vm_add_disk (vm)->bus = VMF_BUS_SATA;
    struct vmf_nic *nic = vmf_vm_add_nic (vm);
    nic->mac = g_strdup ("00:50:56:01:02:03");
    nic->network = g_strdup ("VM Network");
    nic->model = g_strdup ("vmxnet3");
    vmf_vm_add_nic (vm)->keep_out = true;
    return vm;
}

/* What virt-v2v itself understands of our XML (PITFALLS 46: all disks in one). */
static void
test_xml_as_virt_v2v_reads_it (void)
{
    struct vmf_v2v v2v = { 0 };
    if (!vmf_v2v_probe (&v2v, NULL, NULL))
        return g_test_skip ("virt-v2v-in-place is not installed");
    g_autoptr (vmf_vm) vm = some_vm ();
    const unsigned ports[] = { 1, 2 };
    const struct vmf_convert_options options = { .vm = vm, .ports = ports, .n_ports = 2 };
    g_autofree char *xml = vmf_convert_write_xml (&options);
    g_autofree char *path = NULL;
    close (g_file_open_tmp ("vmferry-XXXXXX.xml", &path, NULL));
    g_assert_true (g_file_set_contents (path, xml, -1, NULL));
    const char *const argv[] = { v2v.program, "-i", "libvirtxml", path, "--print-source", NULL };
    const struct vmf_child_options child = { .name = "virt-v2v", .argv = argv };
    g_autoptr (GError) error = NULL;
    g_autofree char *output = vmf_child_run (&child, 60000, NULL, &error);
    g_unlink (path);
    g_assert_no_error (error);
    static const char *const wanted[] = { "source name: web <&'> 01\n",
                                          "hypervisor type: vmware\n",
                                          "memory: 3221225472 (bytes)\n",
                                          "nr vCPUs: 4\n",
                                          "firmware: uefi\n",
                                          "0 [scsi]\n",
                                          "1 [sata]\n",
                                          "Network \"VM Network\" mac: 00:50:56:01:02:03 [vmxnet3]\n" };
    for (size_t i = 0; i < G_N_ELEMENTS (wanted); i++)
        if (!strstr (output, wanted[i]))
            g_error ("not understood: %sin: %s", wanted[i], output);
    g_assert_nonnull (strstr (xml, "<host name='localhost' port='2'/>"));
    g_assert_null (strstr (xml, "cdrom"));
    const char *nic = strstr (xml, "<interface");
    g_assert_true (nic && !strstr (nic + 1, "<interface")); /* the other one is kept out */
    vmf_v2v_clear (&v2v);
}

static bool
has (GPtrArray *lines, const char *part)
{
    for (unsigned i = 0; i < lines->len; i++)
        if (strstr (g_ptr_array_index (lines, i), part))
            return true;
    return false;
}

static void
test_log_of_a_debian (void)
{
    g_autofree char *log = data_file ("v2v-2.2.0-debian12.log");
    g_autofree char *messages = data_file ("v2v-2.2.0-debian12.messages");
    g_autoptr (GError) error = NULL;
    g_autoptr (vmf_convert_result) result = vmf_v2v_read_log (log, messages, &error);
    g_assert_no_error (error);
    g_assert_cmpint (result->caps.disk_bus, ==, VMF_BUS_VIRTIO_BLK);
    g_assert_true (result->caps.virtio_net && result->caps.virtio_rng && result->caps.virtio_1_0
                   && result->caps.pvpanic);
    g_assert_cmpint (result->caps.machine, ==, VMF_MACHINE_Q35);
    g_assert_cmpstr (result->caps.arch, ==, "x86_64");
    g_assert_true (result->caps.rtc_utc);
    g_assert_false (result->virtio_missing);
    g_assert_cmpstr (result->os_name, ==, "Debian GNU/Linux 12.15");
    g_assert_cmpstr (result->os_type, ==, "linux");
    g_assert_true (has (result->messages, "warning: could not determine a way to update the configuration of Grub2"));
    g_assert_true (has (result->messages, "QEMU Guest Agent will be installed"));
    g_assert_true (has (result->changes, "virtio_blk, virtio_scsi, virtio_net"));
    g_assert_true (has (result->changes, "kernel 6.1.0-56-cloud-amd64"));
    g_assert_true (has (result->changes, "/boot/grub/device.map"));
    g_assert_true (has (result->changes, "initrd.img-6.1.0-56-cloud-amd64.pre-v2v"));
}

/* Writes TEXT as a log and reads it. */
static struct vmf_convert_result *
read_text (const char *text, GError **error)
{
    g_autofree char *path = NULL;
    close (g_file_open_tmp ("vmferry-XXXXXX.log", &path, NULL));
    g_assert_true (g_file_set_contents (path, text, -1, NULL));
    struct vmf_convert_result *result = vmf_v2v_read_log (path, "/nonexistent", error);
    g_unlink (path);
    return result;
}

/* FIELD-NOTES: the exit code is 0 also when the guest was left with IDE and rtl8139. */
static void
test_no_virtio_is_seen (void)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (vmf_convert_result) result = read_text ("i_type = windows\ni_product_name = Windows 7 Ultimate\n"
                                                       "i_osinfo = win7\n"
                                                       "gcaps_block_bus = ide\ngcaps_net_bus = rtl8139\n"
                                                       "gcaps_machine = i440fx\ngcaps_arch = ../../evil\n",
                                                       &error);
    g_assert_no_error (error);
    g_assert_true (result->virtio_missing);
    g_assert_cmpint (result->caps.disk_bus, ==, VMF_BUS_IDE);
    g_assert_cmpstr (result->caps.nic_model, ==, "rtl8139");
    g_assert_cmpint (result->caps.machine, ==, VMF_MACHINE_I440FX);
    g_assert_cmpstr (result->os_name, ==, "Windows 7 Ultimate");
    g_assert_null (result->caps.arch);
    g_assert_false (result->caps.rtc_utc);
    if (g_file_test ("/usr/share/osinfo/os/microsoft.com/win-7.xml", G_FILE_TEST_EXISTS))
        g_assert_cmpstr (result->caps.osinfo_id, ==, "http://microsoft.com/win/7");
}

static void
test_half_of_virtio_is_not_enough (void)
{
    g_autoptr (vmf_convert_result) result = read_text ("gcaps_block_bus = virtio-blk\ngcaps_net_bus = e1000\n", NULL);
    g_assert_true (result->virtio_missing);
    g_assert_cmpint (result->caps.disk_bus, ==, VMF_BUS_VIRTIO_BLK);
}

static void
test_a_program_of_the_guest_cannot_speak_for_virt_v2v (void)
{
    g_autoptr (vmf_convert_result) result = read_text ("i_type = linux\ni_type = windows\n"
                                                       "gcaps_block_bus = virtio-scsi\ngcaps_net_bus = virtio-net\n"
                                                       "gcaps_block_bus = ide\ngcaps_net_bus = \033[31me1000\n",
                                                       NULL);
    g_assert_true (result->virtio_missing);
    g_assert_cmpint (result->caps.disk_bus, ==, VMF_BUS_IDE);
    g_assert_cmpstr (result->caps.nic_model, ==, "e1000");
    g_assert_cmpstr (result->os_type, ==, "linux");
}

static void
test_no_gcaps_is_an_error (void)
{
    g_autoptr (GError) error = NULL;
    g_assert_null (read_text ("i_type = linux\n", &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_CORRUPT);
}

/* A sentence stands only for a call whose result said success. */
static void
test_changes_are_proven (void)
{
    g_autoptr (vmf_changes) changes = vmf_changes_new ();
    static const char *const lines[] = {
        "libguestfs: trace: v2v: command \"/usr/sbin/update-initramfs -v -c -k 5.10\"",
        "libguestfs: trace: v2v: command = NULL (error)",
        "libguestfs: trace: v2v: mv \"/boot/initrd\" \"/boot/initrd.pre-v2v\"",
        "libguestfs: trace: v2v: sh \"dpkg --purge 'open-vm-tools' 'open-vm-tools-desktop'\"",
        "libguestfs: trace: v2v: sh = \"\"",
        "libguestfs: trace: v2v: aug_set \"/files/etc/fstab/1/spec\" \"/dev/vda1\"",
        "libguestfs: trace: v2v: aug_set = 0",
        "libguestfs: trace: v2v: upload \"/x/viostor.sys\" \"/Windows/Drivers/VirtIO/viostor.sys\"",
        "libguestfs: trace: v2v: upload = 0",
        "libguestfs: trace: v2v: touch \"/azw3p6uu\"",
        "libguestfs: trace: v2v: touch = 0",
    };
    for (size_t i = 0; i < G_N_ELEMENTS (lines); i++)
        vmf_changes_line (changes, lines[i]);
    g_autoptr (GPtrArray) sentences = vmf_changes_get_sentences (changes);
    g_assert_cmpuint (sentences->len, ==, 3);
    g_assert_true (has (sentences, "'open-vm-tools' 'open-vm-tools-desktop'"));
    g_assert_true (has (sentences, "/etc/fstab: /dev/vda1"));
    g_assert_true (has (sentences, "viostor.sys"));
}

static void
assert_explained (const char *name, int code, const char *said, const char *remedy)
{
    g_autofree char *log_name = g_strconcat (name, ".log", NULL),
                    *messages_name = g_strconcat (name, ".messages", NULL);
    g_autofree char *log = data_file (log_name), *messages = data_file (messages_name);
    g_autoptr (GError) error = NULL;
    vmf_v2v_explain (log, messages, NULL, &error);
    g_assert_error (error, VMF_ERROR, code);
    g_test_message ("%s", error->message);
    g_assert_nonnull (strstr (error->message, said));
    g_assert_nonnull (strstr (error->message, remedy));
    g_assert_nonnull (strstr (error->message, log));
    g_assert_null (strchr (error->message, '\n'));
}

/* B15: what failed, why, what to do, where the log is. PITFALLS 28, 36. */
static void
test_errors_are_explained (void)
{
    assert_explained ("v2v-2.2.0-no-root", VMF_ERROR_FAILED, "could not detect the source guest", "--no-convert");
    assert_explained ("v2v-2.2.0-kvm-broken", VMF_ERROR_FAILED, "guestfs_launch failed", "force_tcg");
}

static void
test_hibernated_windows_is_named (void)
{
    g_autofree char *path = NULL;
    close (g_file_open_tmp ("vmferry-XXXXXX.log", &path, NULL));
    static const char text[] =
        "virt-v2v-in-place: error: unable to mount the disk image for writing. This has probably "
        "happened because Windows Hibernation or Fast Restart is being used in this guest.\n";
    g_assert_true (g_file_set_contents (path, text, -1, NULL));
    g_autoptr (GError) error = NULL;
    vmf_v2v_explain (path, "/nonexistent", NULL, &error);
    g_unlink (path);
    g_assert_nonnull (strstr (error->message, "powercfg /h off"));
}

struct life
{
    char *folder, *work, *log;
    char *path; /* PATH before */
};

/* A program that answers the probe, then says LAST and ends with STATUS, or sleeps where STATUS is negative. */
static void
life_set_up (struct life *life, int status)
{
    life->folder = test_folder_new ("convert");
    life->work = g_build_filename (life->folder, "work", NULL);
    life->log = g_build_filename (life->work, "convert.log", NULL);
    life->path = g_strdup (g_getenv ("PATH"));
    g_mkdir (life->work, 0700);
    g_autofree char *program = g_build_filename (life->folder, "virt-v2v-in-place", NULL);
    g_autofree char *log = data_file ("v2v-2.2.0-debian12.log"), *messages = data_file ("v2v-2.2.0-debian12.messages");
    g_autofree char *end = status < 0 ? g_strdup ("exec sleep 600") : g_strdup_printf ("exit %d", status);
    g_autofree char *text = g_strdup_printf (
        "#!/bin/sh\n"
        "case \"$1\" in --version) echo virt-v2v-in-place 2.2.0; exit;; --machine-readable) echo input:libvirtxml; "
        "exit;; esac\n"
        "for a; do case \"$a\" in --machine-readable=file:*) cat %s > \"${a#*file:}\";; esac; done\n"
        "cat %s >&2\n"
        "echo \"TMPDIR=$TMPDIR CACHE=$LIBGUESTFS_CACHEDIR BACKEND=$LIBGUESTFS_BACKEND WIN=$VIRTIO_WIN ARGS=$*\"\n"
        "echo left > $TMPDIR/left; nice; %s\n",
        messages, log, end);
    g_assert_true (g_file_set_contents (program, text, -1, NULL));
    g_chmod (program, 0755);
    g_autofree char *path = g_strconcat (life->folder, ":", life->path, NULL);
    g_setenv ("PATH", path, TRUE);
}

static void
life_tear_down (struct life *life)
{
    static const char *const made[] = { "work/guest.xml", "work/convert.log", "work/convert.messages", "work",
                                        "virt-v2v-in-place" };
    for (size_t i = 0; i < G_N_ELEMENTS (made); i++)
    {
        g_autofree char *file = g_build_filename (life->folder, made[i], NULL);
        g_assert_cmpint (g_remove (file), ==, 0);
    }
    g_assert_cmpint (g_rmdir (life->folder), ==, 0);
    g_setenv ("PATH", life->path, TRUE);
    g_free (life->folder);
    g_free (life->work);
    g_free (life->log);
    g_free (life->path);
}

static struct vmf_convert *
life_start (const struct life *life, const struct vmf_vm *vm, const struct vmf_room *room)
{
    static const unsigned ports[] = { 10809, 10810 };
    static const char *const env[] = { "LIBGUESTFS_BACKEND=direct", NULL };
    static const char *const extra[] = { "--mac", "00:11:22:33:44:55:bridge:br0", NULL };
    const struct vmf_convert_options options = { .vm = vm,
                                                 .ports = ports,
                                                 .n_ports = 2,
                                                 .room = room,
                                                 .work_dir = life->work,
                                                 .log_path = life->log,
                                                 .libguestfs_env = env,
                                                 .virtio_win = "/iso/virtio-win.iso",
                                                 .extra_args = extra,
                                                 .root = "/dev/sda2" };
    g_autoptr (GError) error = NULL;
    struct vmf_convert *convert = vmf_convert_start (&options, &error);
    g_assert_no_error (error);
    return convert;
}

static struct vmf_room *
room_or_skip (void)
{
    g_autoptr (GError) error = NULL;
    struct vmf_room *room = vmf_room_new (&error);
    if (!room)
        g_test_skip (error->message);
    return room;
}

static void
test_life (void)
{
    g_autoptr (vmf_room) room = room_or_skip ();
    if (!room)
        return;
    struct life life;
    life_set_up (&life, 0);
    g_autoptr (vmf_vm) vm = some_vm ();
    g_autoptr (GError) error = NULL;
    struct vmf_convert *convert = life_start (&life, vm, room);
    g_autoptr (vmf_convert_result) result = vmf_convert_finish (convert, NULL, &error);
    g_assert_no_error (error);
    g_assert_cmpint (result->caps.disk_bus, ==, VMF_BUS_VIRTIO_BLK);
    g_autofree char *stage = vmf_convert_get_stage (convert);
    g_assert_cmpstr (stage, ==, "Finishing off");
    g_autofree char *log = NULL;
    g_assert_true (g_file_get_contents (life.log, &log, NULL, NULL));
    g_autofree char *said = g_strdup_printf ("TMPDIR=%s/tmp CACHE=", life.work);
    g_assert_nonnull (strstr (log, said));
    g_assert_nonnull (
        strstr (log, "BACKEND=direct WIN=/iso/virtio-win.iso ARGS=-v -x -i libvirtxml --root /dev/sda2 "));
    g_assert_nonnull (strstr (log, "--mac 00:11:22:33:44:55:bridge:br0"));
    g_assert_true (g_str_has_suffix (log, "\n10\n")); /* D2: niceness */
    vmf_convert_free (convert);
    /* TMPDIR is gone with what was in it: life_tear_down removes the work directory as an empty one. */
    life_tear_down (&life);
}

static void
test_failure_names_the_log (void)
{
    g_autoptr (vmf_room) room = room_or_skip ();
    if (!room)
        return;
    struct life life;
    life_set_up (&life, 1);
    g_autoptr (vmf_vm) vm = some_vm ();
    g_autoptr (GError) error = NULL;
    struct vmf_convert *convert = life_start (&life, vm, room);
    g_assert_null (vmf_convert_finish (convert, NULL, &error));
    g_assert_nonnull (strstr (error->message, life.log));
    vmf_convert_free (convert);
    life_tear_down (&life);
}

static void
test_cancel (void)
{
    g_autoptr (vmf_room) room = room_or_skip ();
    if (!room)
        return;
    struct life life;
    life_set_up (&life, -1);
    g_autoptr (vmf_vm) vm = some_vm ();
    g_autoptr (GError) error = NULL;
    g_autoptr (GCancellable) cancellable = g_cancellable_new ();
    struct vmf_convert *convert = life_start (&life, vm, room);
    /* Until it is in the middle of its work. */
    g_autofree char *stage = NULL;
    while (!stage && vmf_child_running (vmf_convert_get_child (convert)))
        stage = vmf_convert_get_stage (convert);
    g_cancellable_cancel (cancellable);
    g_assert_null (vmf_convert_finish (convert, cancellable, &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_CANCELLED);
    g_assert_false (vmf_child_running (vmf_convert_get_child (convert)));
    vmf_convert_free (convert);
    life_tear_down (&life);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/convert/guest-xml-as-virt-v2v-reads-it", test_xml_as_virt_v2v_reads_it);
    g_test_add_func ("/convert/log-of-a-debian", test_log_of_a_debian);
    g_test_add_func ("/convert/no-virtio-is-seen", test_no_virtio_is_seen);
    g_test_add_func ("/convert/half-of-virtio-is-not-enough", test_half_of_virtio_is_not_enough);
    g_test_add_func ("/convert/first-i-and-last-gcaps-count", test_a_program_of_the_guest_cannot_speak_for_virt_v2v);
    g_test_add_func ("/convert/no-gcaps-is-an-error", test_no_gcaps_is_an_error);
    g_test_add_func ("/convert/changes-are-proven", test_changes_are_proven);
    g_test_add_func ("/convert/B15-errors-are-explained", test_errors_are_explained);
    g_test_add_func ("/convert/PITFALLS-28-hibernated-windows", test_hibernated_windows_is_named);
    g_test_add_func ("/convert/life", test_life);
    g_test_add_func ("/convert/failure-names-the-log", test_failure_names_the_log);
    g_test_add_func ("/convert/cancel", test_cancel);
    return g_test_run ();
}
