/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sources end to end: an address in, a described machine and the right bytes of its disks out (C5, C6, C12, C14). */
#include "source/source.h"
#include "base/error.h"
#include "vm/write.h"
#include "fixture-ova.h"

#include <sys/stat.h>
#include <unistd.h>

enum
{
    SIZE = 8 << 20,
};

static char *folder, *sockets;

static char *
path_to (const char *name)
{
    return g_build_filename (folder, name, NULL);
}

/* A folder of its own for one case, with web01.ovf, and disk as web01-disk1.vmdk. */
static char *
make_case (const char *name, const char *href)
{
    char *path = path_to (name);
    g_autofree char *disk = g_build_filename (path, "web01-disk1.vmdk", NULL), *raw = path_to ("pattern.raw");
    g_assert_cmpint (g_mkdir (path, 0700), ==, 0);
    g_autofree char *out = fixture_run ("qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o",
                                        "subformat=streamOptimized", raw, disk, NULL);
    fixture_ovf (path, "web01.ovf", href, "", SIZE);
    return path;
}

static void
write_file (const char *in, const char *name, const char *text)
{
    g_autofree char *path = g_build_filename (in, name, NULL);
    g_assert_true (g_file_set_contents (path, text, -1, NULL));
}

static struct vmf_source *
open_source (const char *address, GError **error)
{
    struct vmf_source_options options = { .work_dir = sockets };
    return vmf_source_open (address, &options, NULL, error);
}

/* Opens, describes, serves disk 0 and compares it with the pattern; verifies where there is something to verify. */
static void
assert_imports (const char *address, const char *kind, const char *name)
{
    GError *error = NULL;
    g_autoptr (vmf_source) source = open_source (address, &error);
    g_assert_no_error (error);
    g_assert_cmpstr (source->ops->name, ==, kind);
    g_autoptr (vmf_vm) vm = source->ops->describe (source, NULL, NULL, &error);
    g_assert_no_error (error);
    g_assert_cmpstr (vm->name, ==, name);
    const struct vmf_disk *disk = vmf_vm_get_import_disk (vm, 0);
    g_assert_nonnull (disk);
    g_autoptr (vmf_image) image = source->ops->image (source, vm, disk, NULL, &error);
    g_assert_no_error (error);
    g_autofree char *socket = g_build_filename (sockets, "s", NULL), *pattern = path_to ("pattern.raw");
    g_autoptr (vmf_server) server = vmf_server_start (image, "sda", socket, NULL, &error);
    g_assert_no_error (error);
    g_autofree char *out =
        fixture_run ("qemu-img", "compare", "-f", "raw", "-F", "raw", pattern, vmf_server_get_uri (server), NULL);
    if (source->ops->verify)
        g_assert_true (source->ops->verify (source, vm, NULL, &error));
    g_assert_no_error (error);
}

/* What opening, describing or opening disk 0 says. */
static void
assert_fails (const char *address, int code, const char *words)
{
    GError *error = NULL;
    g_autoptr (vmf_source) source = open_source (address, &error);
    g_autoptr (vmf_vm) vm = source ? source->ops->describe (source, NULL, NULL, &error) : NULL;
    g_autoptr (vmf_image) image =
        vm ? source->ops->image (source, vm, vmf_vm_get_import_disk (vm, 0), NULL, &error) : NULL;
    if (image && source->ops->verify)
        source->ops->verify (source, vm, NULL, &error);
    g_assert_error (error, VMF_ERROR, code);
    g_test_message ("%s", error->message);
    g_assert_nonnull (strstr (error->message, words));
    g_clear_error (&error);
}

static void
make_tar (const char *tar, const char *in, ...)
{
    g_autoptr (GPtrArray) argv = g_ptr_array_new ();
    const char *const head[] = { "tar", "--format=ustar", "-C", in, "-cf", tar };
    for (size_t i = 0; i < G_N_ELEMENTS (head); i++)
        g_ptr_array_add (argv, (char *)head[i]);
    va_list args;
    va_start (args, in);
    for (const char *word = in; word; word = va_arg (args, const char *))
        if (word != in)
            g_ptr_array_add (argv, (char *)word);
    va_end (args);
    g_ptr_array_add (argv, NULL);
    GError *error = NULL;
    struct vmf_child_options options = { .argv = (const char *const *)argv->pdata };
    g_autofree char *out = vmf_child_run (&options, 0, NULL, &error);
    g_assert_no_error (error);
}

static void
test_ova_tar (void)
{
    g_autofree char *in = make_case ("tar", "web01-disk1.vmdk"), *ova = path_to ("web01.ova"),
                    *dot = path_to ("dot.ova"), *pax = path_to ("pax.ova"), *unnamed = path_to ("unnamed");
    g_autofree char *mf1 = fixture_digest (in, "web01.ovf", "web01.ovf", G_CHECKSUM_SHA256, "SHA256");
    g_autofree char *mf2 = fixture_digest (in, "web01-disk1.vmdk", "web01-disk1.vmdk", G_CHECKSUM_SHA256, "SHA256");
    g_autofree char *mf = g_strconcat (mf1, mf2, NULL);
    write_file (in, "web01.mf", mf);
    make_tar (ova, in, "web01.ovf", "web01.mf", "web01-disk1.vmdk", NULL);
    assert_imports (ova, "ova", "web01");
    make_tar (dot, in, ".", NULL);
    assert_imports (dot, "ova", "web01");
    g_autofree char *o1 =
        fixture_run ("tar", "--format=pax", "--pax-option=comment=x", "-C", in, "-cf", pax, ".", NULL);
    assert_imports (pax, "ova", "web01");
    g_autofree char *o2 = fixture_run ("cp", ova, unnamed, NULL);
    assert_imports (unnamed, "ova", "web01");
    /* In place: nothing was unpacked. */
    g_autoptr (GDir) dir = g_dir_open (sockets, 0, NULL);
    g_assert_null (g_dir_read_name (dir));
}

static void
test_ova_long_names (void)
{
    g_autoptr (GString) name = g_string_new (NULL);
    while (name->len < 150)
        g_string_append (name, "long-");
    g_string_append (name, ".vmdk");
    g_autofree char *in = make_case ("long", name->str), *ova = path_to ("long.ova");
    g_autofree char *from = g_build_filename (in, "web01-disk1.vmdk", NULL),
                    *to = g_build_filename (in, name->str, NULL);
    g_assert_cmpint (rename (from, to), ==, 0);
    g_autofree char *o1 = fixture_run ("tar", "--format=gnu", "-C", in, "-cf", ova, ".", NULL);
    assert_imports (ova, "ova", "web01");
    g_autofree char *o2 = fixture_run ("tar", "--format=pax", "-C", in, "-cf", ova, ".", NULL);
    assert_imports (ova, "ova", "web01");
}

static void
test_ova_folder (void)
{
    g_autofree char *in = make_case ("folder", "web01-disk1.vmdk"), *ovf = g_build_filename (in, "web01.ovf", NULL);
    assert_imports (in, "ova", "web01");
    assert_imports (ovf, "ova", "web01");
}

static void
test_ova_zip (void)
{
    g_autofree char *in = make_case ("zip", "web01-disk1.vmdk"), *ova = path_to ("zipped.ova"),
                    *stored = path_to ("stored.zip");
    g_autofree char *ovf = g_build_filename (in, "web01.ovf", NULL),
                    *disk = g_build_filename (in, "web01-disk1.vmdk", NULL);
    g_autofree char *mf = fixture_digest (in, "web01-disk1.vmdk", "web01-disk1.vmdk", G_CHECKSUM_SHA1, "SHA1");
    g_autofree char *mf_path = g_build_filename (in, "web01.mf", NULL);
    write_file (in, "web01.mf", mf);
    g_autofree char *o1 = fixture_run ("python3", "-m", "zipfile", "-c", ova, ovf, disk, mf_path, NULL);
    assert_imports (ova, "ova", "web01");
    g_autofree char *o2 = fixture_run ("python3", "-c",
                                       "import sys, zipfile\n"
                                       "with zipfile.ZipFile(sys.argv[1], 'w', zipfile.ZIP_STORED) as z:\n"
                                       "    for name in sys.argv[2:]: z.write(name, name.split('/')[-1])\n",
                                       stored, ovf, disk, NULL);
    assert_imports (stored, "ova", "web01");
    g_autoptr (GDir) dir = g_dir_open (sockets, 0, NULL);
    g_assert_null (g_dir_read_name (dir));
}

/* Where the disk of the bundle at ADDRESS is read from, and what its machine's notes say. Callers free. */
static char *
place_of_disk (const char *address, bool *noted)
{
    GError *error = NULL;
    g_autoptr (vmf_source) source = open_source (address, &error);
    g_autoptr (vmf_vm) vm = source->ops->describe (source, NULL, NULL, &error);
    g_autoptr (vmf_image) image = source->ops->image (source, vm, vmf_vm_get_import_disk (vm, 0), NULL, &error);
    g_assert_no_error (error);
    *noted = false;
    for (guint i = 0; i < vm->notes->len; i++)
        *noted = *noted || strstr (g_ptr_array_index (vm->notes, i), "unpacked into the work directory");
    return g_strdup (image->path);
}

/* A zip's stored disk is read in place, however the archive says where that is; a compressed one is unpacked, and said
   to be. */
static void
test_ova_zip_in_place (void)
{
    static const char *const ways[] = { "plain", "comment", "zip64", "streamed", "deflated" };
    static const char script[] =
        "import os, sys, zipfile\n"
        "way, out, names = sys.argv[1], sys.argv[2], sys.argv[3:]\n"
        "if way == 'streamed':\n" /* sizes behind the data, in a record that is not the local header */
        "    class Pipe:\n"
        "        def __init__(self, file): self.file = file\n"
        "        def write(self, data): return self.file.write(data)\n"
        "        def flush(self): self.file.flush()\n"
        "    target = Pipe(open(out, 'wb'))\n"
        "else:\n"
        "    target = out\n"
        "method = zipfile.ZIP_DEFLATED if way == 'deflated' else zipfile.ZIP_STORED\n"
        "with zipfile.ZipFile(target, 'w', method) as z:\n"
        "    for name in names:\n"
        "        with z.open(os.path.basename(name), 'w', force_zip64=way == 'zip64') as to, open(name, 'rb') as "
        "file:\n"
        "            to.write(file.read())\n"
        "    if way == 'comment': z.comment = b'a comment of some length'\n";
    g_autofree char *in = make_case ("zip-ways", "web01-disk1.vmdk");
    g_autofree char *ovf = g_build_filename (in, "web01.ovf", NULL),
                    *disk = g_build_filename (in, "web01-disk1.vmdk", NULL);
    for (size_t i = 0; i < G_N_ELEMENTS (ways); i++)
    {
        bool noted, deflated = strcmp (ways[i], "deflated") == 0;
        g_autofree char *name = g_strconcat (ways[i], ".zip", NULL), *zip = path_to (name);
        g_free (fixture_run ("python3", "-c", script, ways[i], zip, ovf, disk, NULL));
        assert_imports (zip, "ova", "web01");
        g_autofree char *place = place_of_disk (zip, &noted), *real = realpath (zip, NULL);
        g_assert_true ((strcmp (place, real) == 0) == !deflated);
        g_assert_true (noted == deflated);
    }
}

/* Without a manifest it is the zip's own CRC that tells a damaged disk. */
static void
test_ova_zip_damaged (void)
{
    g_autofree char *zip = path_to ("plain.zip"), *bytes = NULL;
    gsize length;
    g_assert_true (g_file_get_contents (zip, &bytes, &length, NULL));
    bytes[length / 2] ^= 1;
    g_assert_true (g_file_set_contents (zip, bytes, (gssize)length, NULL));
    assert_fails (zip, VMF_ERROR_CORRUPT, "damaged");
}

/* PITFALLS 39 */
static void
test_ova_tolerant_names (void)
{
    static const char *const hrefs[] = { "WEB01-disk1.VMDK", "./web01-disk1.vmdk", "elsewhere/web01-disk1.vmdk" };
    for (size_t i = 0; i < G_N_ELEMENTS (hrefs); i++)
    {
        g_autofree char *name = g_strdup_printf ("tolerant-%zu", i), *in = make_case (name, hrefs[i]),
                        *ova = path_to ("tolerant.ova");
        make_tar (ova, in, "web01.ovf", "web01-disk1.vmdk", NULL);
        assert_imports (ova, "ova", "web01");
        assert_imports (in, "ova", "web01");
    }
    g_autofree char *in = make_case ("prefix", "web01-disk1.vmdk"), *ova = path_to ("prefix.ova");
    make_tar (ova, folder, "prefix/web01.ovf", "prefix/web01-disk1.vmdk", NULL);
    assert_imports (ova, "ova", "web01");
}

static void
test_ova_gz (void)
{
    g_autofree char *in = make_case ("gz", "web01-disk1.vmdk"), *ova = path_to ("gz.ova");
    g_autofree char *disk = g_build_filename (in, "web01-disk1.vmdk", NULL);
    g_autofree char *o1 = fixture_run ("gzip", disk, NULL);
    make_tar (ova, in, "web01.ovf", "web01-disk1.vmdk.gz", NULL);
    assert_imports (ova, "ova", "web01");
    assert_imports (in, "ova", "web01");
    /* Named without .gz, but said to be compressed. */
    g_autofree char *gz = g_build_filename (in, "web01-disk1.vmdk.gz", NULL);
    g_assert_cmpint (rename (gz, disk), ==, 0);
    fixture_ovf (in, "web01.ovf", "web01-disk1.vmdk", "ovf:compression=\"gzip\"", SIZE);
    assert_imports (in, "ova", "web01");
    /* Cut off; and a bomb: more than the OVF declares. */
    struct stat info;
    g_assert_cmpint (stat (disk, &info), ==, 0);
    g_assert_cmpint (truncate (disk, info.st_size - 9), ==, 0);
    assert_fails (in, VMF_ERROR_CORRUPT, "cut off");
    g_autofree char *big = g_build_filename (in, "big", NULL), *big_gz = g_build_filename (in, "big.gz", NULL);
    g_autofree char *o2 = fixture_run ("truncate", "-s", "64M", big, NULL);
    g_autofree char *o3 = fixture_run ("gzip", big, NULL);
    g_assert_cmpint (rename (big_gz, disk), ==, 0);
    assert_fails (in, VMF_ERROR_UNSAFE, "more comes out of it");
    g_autoptr (GDir) dir = g_dir_open (sockets, 0, NULL);
    g_assert_null (g_dir_read_name (dir));
}

static void
test_manifest (void)
{
    static const struct
    {
        GChecksumType type;
        const char *word;
    } kinds[] = { { G_CHECKSUM_SHA1, "SHA1" }, { G_CHECKSUM_SHA256, "SHA256" }, { G_CHECKSUM_SHA512, "SHA512" } };
    g_autofree char *in = make_case ("manifest", "web01-disk1.vmdk");
    for (size_t i = 0; i < G_N_ELEMENTS (kinds); i++)
    {
        g_autofree char *mf1 = fixture_digest (in, "web01.ovf", "web01.ovf", kinds[i].type, kinds[i].word);
        g_autofree char *mf2 =
            fixture_digest (in, "web01-disk1.vmdk", "web01-disk1.vmdk", kinds[i].type, kinds[i].word);
        g_autofree char *both = g_strconcat (mf1, mf2, NULL);
        write_file (in, "web01.mf", both);
        assert_imports (in, "ova", "web01");
        char *digit = strstr (mf2, "= ") + 2;
        *digit = *digit == '0' ? '1' : '0';
        g_autofree char *wrong = g_strconcat (mf1, mf2, NULL);
        write_file (in, "web01.mf", wrong);
        assert_fails (in, VMF_ERROR_CORRUPT, "'web01-disk1.vmdk' is not what its manifest says");
        digit = strstr (mf1, "= ") + 2;
        *digit = *digit == '0' ? '1' : '0';
        write_file (in, "web01.mf", mf1);
        assert_fails (in, VMF_ERROR_CORRUPT, "'web01.ovf' is not what its manifest says");
    }
    write_file (in, "web01.mf", "MD5(web01.ovf)= 0123\n");
    assert_fails (in, VMF_ERROR_CORRUPT, "MD5(web01.ovf)");
    write_file (in, "web01.mf", "SHA1(missing)= 0123456789012345678901234567890123456789\n");
    assert_fails (in, VMF_ERROR_NOT_FOUND, "'missing', which is not here");
    write_file (in, "web01.mf", "SHA1(../../etc/passwd)= 0123456789012345678901234567890123456789\n");
    assert_fails (in, VMF_ERROR_UNSAFE, "in the manifest");
}

static void
test_verify_is_cancelled (void)
{
    GError *error = NULL;
    g_autofree char *in = make_case ("cancel", "web01-disk1.vmdk");
    g_autofree char *mf = fixture_digest (in, "web01-disk1.vmdk", "web01-disk1.vmdk", G_CHECKSUM_SHA256, "SHA256");
    write_file (in, "web01.mf", mf);
    g_autoptr (vmf_source) source = open_source (in, &error);
    g_autoptr (vmf_vm) vm = source->ops->describe (source, NULL, NULL, &error);
    g_assert_no_error (error);
    g_autoptr (GCancellable) cancellable = g_cancellable_new ();
    g_cancellable_cancel (cancellable);
    g_assert_false (source->ops->verify (source, vm, cancellable, &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_CANCELLED);
    g_clear_error (&error);
}

static void
test_ova_refusals (void)
{
    g_autofree char *in = make_case ("refuse", "web01-disk1.vmdk"), *ova = path_to ("refuse.ova"),
                    *gz = path_to ("refuse.ova.gz"), *empty = path_to ("empty.ova"), *missing = path_to ("nothing.ova");
    make_tar (ova, in, "web01.ovf", NULL);
    assert_fails (ova, VMF_ERROR_NOT_FOUND, "'web01-disk1.vmdk', which is not here");
    make_tar (ova, in, "web01-disk1.vmdk", NULL);
    assert_fails (ova, VMF_ERROR_CORRUPT, "there is no .ovf in it");
    g_autofree char *o1 = fixture_run ("gzip", ova, NULL);
    g_assert_cmpint (rename (gz, ova), ==, 0);
    assert_fails (ova, VMF_ERROR_USAGE, "gunzip");
    g_assert_true (g_file_set_contents (empty, "", 0, NULL));
    assert_fails (empty, VMF_ERROR_CORRUPT, "empty");
    assert_fails (missing, VMF_ERROR_NOT_FOUND, "nothing.ova");
    assert_fails ("/dev/null", VMF_ERROR_USAGE, "known are");
}

static void
write_vmx (const char *in, const char *disk)
{
    g_autofree char *text =
        g_strdup_printf (".encoding = \"UTF-8\"\nconfig.version = \"8\"\nvirtualHW.version = \"19\"\n"
                         "displayName = \"web01\"\nmemsize = \"256\"\nnumvcpus = \"1\"\nguestOS = \"debian10-64\"\n"
                         "scsi0.present = \"TRUE\"\nscsi0.virtualDev = \"pvscsi\"\nscsi0:0.present = \"TRUE\"\n"
                         "scsi0:0.fileName = \"%s\"\nide1:0.present = \"TRUE\"\n"
                         "ide1:0.deviceType = \"cdrom-image\"\nide1:0.fileName = \"/isos/debian.iso\"\n",
                         disk);
    write_file (in, "web01.vmx", text);
}

/* C12; a CD's image is not looked for. */
static void
test_vmx (void)
{
    static const char *const formats[] = { "monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse" };
    for (size_t i = 0; i < G_N_ELEMENTS (formats); i++)
    {
        g_autofree char *name = g_strdup_printf ("vmx-%zu", i), *in = path_to (name), *raw = path_to ("pattern.raw");
        g_autofree char *disk = g_build_filename (in, "web01.vmdk", NULL),
                        *vmx = g_build_filename (in, "web01.vmx", NULL);
        g_autofree char *option = g_strdup_printf ("subformat=%s", formats[i]);
        g_assert_cmpint (g_mkdir (in, 0700), ==, 0);
        g_autofree char *out =
            fixture_run ("qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", option, raw, disk, NULL);
        write_vmx (in, "web01.vmdk");
        assert_imports (vmx, "vmx", "web01");
        assert_imports (in, "vmx", "web01");
        write_vmx (in, "../vmx-0/web01.vmdk");
        assert_fails (vmx, VMF_ERROR_UNSAFE, "'..'");
        write_vmx (in, "/vmfs/volumes/ds/web01.vmdk");
        assert_fails (vmx, VMF_ERROR_UNSAFE, "absolute");
        write_vmx (in, "other.vmdk");
        assert_fails (vmx, VMF_ERROR_NOT_FOUND, "other.vmdk");
    }
}

/* A VM with a snapshot: the .vmx names the delta, the delta its parent. */
static void
test_vmx_snapshot (void)
{
    g_autofree char *in = path_to ("snapshot"), *raw = path_to ("pattern.raw");
    g_autofree char *base = g_build_filename (in, "web01.vmdk", NULL),
                    *delta = g_build_filename (in, "web01-000001.vmdk", NULL), *bytes = NULL;
    gsize length;
    g_assert_cmpint (g_mkdir (in, 0700), ==, 0);
    g_autofree char *o1 = fixture_run ("qemu-img", "convert", "-f", "raw", "-O", "vmdk", raw, base, NULL);
    g_autofree char *o2 = fixture_run ("qemu-img", "create", "-q", "-f", "vmdk", "-b", base, "-F", "vmdk", delta, NULL);
    g_autofree char *hint = g_strdup_printf ("parentFileNameHint=\"%s\"", base);
    g_assert_true (g_file_get_contents (delta, &bytes, &length, NULL));
    char *at = memmem (bytes, length, hint, strlen (hint));
    g_assert_nonnull (at);
    memset (at, '\n', strlen (hint));
    memcpy (at, "parentFileNameHint=\"web01.vmdk\"", strlen ("parentFileNameHint=\"web01.vmdk\""));
    g_assert_true (g_file_set_contents (delta, bytes, (gssize)length, NULL));
    write_vmx (in, "web01-000001.vmdk");
    assert_imports (in, "vmx", "web01");
}

static void
write_xml (const char *name, const char *type, const char *disk)
{
    g_autofree char *text =
        g_strdup_printf ("<domain type='%s'><name>db</name><memory unit='MiB'>256</memory><vcpu>1</vcpu>"
                         "<os><type arch='x86_64'>%s</type></os><devices>%s</devices></domain>\n",
                         type, strcmp (type, "xen") == 0 ? "xen" : "hvm", disk);
    write_file (folder, name, text);
}

/* C5 */
static void
test_libvirt_files (void)
{
    g_autofree char *xml = path_to ("db.xml"), *raw = path_to ("pattern.raw"), *image = path_to ("db.qcow2");
    g_autofree char *o1 = fixture_run ("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image, NULL);
    g_autofree char *disk = g_strdup_printf ("<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
                                             "<source file='%s'/><target dev='vda' bus='virtio'/></disk>",
                                             image);
    write_xml ("db.xml", "kvm", disk);
    assert_imports (xml, "libvirt-xml", "db");
    g_autofree char *xen = g_strdup_printf ("<disk type='file' device='disk'><driver name='file'/>"
                                            "<source file='%s'/><target dev='xvda' bus='xen'/></disk>",
                                            raw);
    write_xml ("db.xml", "xen", xen);
    assert_imports (xml, "libvirt-xml", "db");
    /* The XML was carried here with its disk. */
    write_xml ("db.xml", "kvm",
               "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source "
               "file='/var/lib/nowhere/db.qcow2'/><target dev='vda' bus='virtio'/></disk>");
    assert_imports (xml, "libvirt-xml", "db");
    write_xml ("db.xml", "kvm",
               "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source "
               "file='/var/lib/nowhere/gone.qcow2'/><target dev='vda' bus='virtio'/></disk>");
    assert_fails (xml, VMF_ERROR_NOT_FOUND, "/var/lib/nowhere/gone.qcow2");
    g_autofree char *unsaid = g_strdup_printf ("<disk type='file' device='disk'><source file='%s'/>"
                                               "<target dev='vda' bus='virtio'/></disk>",
                                               image);
    write_xml ("db.xml", "kvm", unsaid);
    assert_fails (xml, VMF_ERROR_USAGE, "<driver type='qcow2'/>");
    write_xml ("db.xml", "kvm",
               "<disk type='volume' device='disk'><driver name='qemu' type='qcow2'/><source pool='p' volume='v'/>"
               "<target dev='vda' bus='virtio'/></disk>");
    assert_fails (xml, VMF_ERROR_USAGE, "virsh vol-path --pool p v");
}

/* The header's chain is absolute and not followed, unless the XML names it. */
static void
test_libvirt_chain (void)
{
    g_autofree char *xml = path_to ("chain.xml"), *raw = path_to ("pattern.raw"), *top = path_to ("chain-top.qcow2");
    g_autofree char *o1 = fixture_run ("qemu-img", "create", "-q", "-f", "qcow2", "-b", raw, "-F", "raw", top, NULL);
    g_autofree char *without =
        g_strdup_printf ("<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='%s'/>"
                         "<target dev='vda' bus='virtio'/></disk>",
                         top);
    write_xml ("chain.xml", "kvm", without);
    assert_fails (xml, VMF_ERROR_UNSAFE, "<backingStore>");
    g_autofree char *with =
        g_strdup_printf ("<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='%s'/>"
                         "<backingStore type='file'><format type='raw'/><source file='%s'/><backingStore/>"
                         "</backingStore><target dev='vda' bus='virtio'/></disk>",
                         top, raw);
    write_xml ("chain.xml", "kvm", with);
    assert_imports (xml, "libvirt-xml", "db");
    g_autoptr (GString) deep = g_string_new ("<disk type='file' device='disk'><source file='/x'/>");
    for (int i = 0; i < 40; i++)
        g_string_append (deep, "<backingStore type='file'><format type='raw'/><source file='/x'/>");
    for (int i = 0; i < 40; i++)
        g_string_append (deep, "</backingStore>");
    g_string_append (deep, "<target dev='vda' bus='virtio'/></disk>");
    write_xml ("chain.xml", "kvm", deep->str);
    assert_fails (xml, VMF_ERROR_UNSAFE, "more than 32 backing files");
}

static void
test_libvirt_nbd (void)
{
    GError *error = NULL;
    g_autofree char *xml = path_to ("nbd.xml"), *raw = path_to ("pattern.raw"),
                    *remote = g_build_filename (sockets, "remote", NULL);
    const char *const argv[] = { "nbdkit", "-f", "-U", remote, "file", raw, NULL };
    struct vmf_child_options options = { .argv = argv };
    g_autoptr (vmf_child) other = vmf_child_start (&options, &error);
    g_assert_no_error (error);
    g_assert_true (vmf_child_wait_for_path (other, remote, NULL, &error));
    g_autofree char *disk = g_strdup_printf (
        "<disk type='network' device='disk'><driver name='qemu' type='raw'/><source protocol='nbd' name='x y'>"
        "<host transport='unix' socket='%s'/></source><target dev='vda' bus='virtio'/></disk>",
        remote);
    write_xml ("nbd.xml", "kvm", disk);
    assert_imports (xml, "libvirt-xml", "db");
    g_autofree char *uri = g_strdup_printf ("nbd+unix:///?socket=%s", remote);
    g_autoptr (vmf_source) bare = open_source (uri, &error);
    g_assert_no_error (error);
    g_autoptr (vmf_vm) vm = bare->ops->describe (bare, NULL, NULL, &error);
    g_assert_no_error (error);
    g_autofree char *shown = vmf_vm_write_text (vm);
    g_assert_nonnull (strstr (shown, uri));
    vmf_child_stop (other, 1000);
    unlink (remote);
}

static void
test_nbd_address (void)
{
    static const struct
    {
        const char *address, *host, *name;
        uint16_t port;
        bool tls;
    } cases[] = { { "nbd://backup/web%20sda", "backup", "web sda", 0, false },
                  { "nbds://[::1]:10900", "::1", NULL, 10900, true } };
    for (size_t i = 0; i < G_N_ELEMENTS (cases); i++)
    {
        GError *error = NULL;
        g_autoptr (vmf_source) source = open_source (cases[i].address, &error);
        g_assert_no_error (error);
        g_autoptr (vmf_vm) vm = source->ops->describe (source, NULL, NULL, &error);
        g_assert_no_error (error);
        const struct vmf_place *place = &vmf_vm_get_import_disk (vm, 0)->place;
        g_assert_cmpint (place->location, ==, VMF_LOCATION_NBD);
        g_assert_cmpstr (place->host, ==, cases[i].host);
        g_assert_cmpstr (place->export_name, ==, cases[i].name);
        g_assert_cmpuint (place->port, ==, cases[i].port);
        g_assert_true (place->tls == cases[i].tls);
    }
}

static void
test_image (void)
{
    GError *error = NULL;
    g_autofree char *raw = path_to ("pattern.raw"), *odd = path_to ("odd.name");
    assert_imports (raw, "image", "pattern");
    g_autoptr (vmf_source) bare = vmf_source_open (raw, &(struct vmf_source_options){ 0 }, NULL, &error);
    g_autoptr (vmf_vm) vm = bare->ops->describe (bare, NULL, NULL, &error);
    g_assert_cmpuint (vm->nics->len, ==, 1); /* users expect a network */
    g_assert_true (((struct vmf_nic *)g_ptr_array_index (vm->nics, 0))->added);
    g_autofree char *o1 = fixture_run ("qemu-img", "convert", "-f", "raw", "-O", "vdi", raw, odd, NULL);
    assert_fails (odd, VMF_ERROR_USAGE, "--format");
    struct vmf_source_options options = { .format = "vdi" };
    g_autoptr (vmf_source) source = vmf_source_open (odd, &options, NULL, &error);
    g_assert_no_error (error);
    g_autoptr (GPtrArray) list = vmf_source_list (source, &(struct vmf_source_filter){ 0 }, NULL, &error);
    g_assert_no_error (error);
    g_assert_cmpuint (list->len, ==, 1);
    const struct vmf_source_entry *entry = g_ptr_array_index (list, 0);
    g_assert_cmpstr (entry->name, ==, "odd");
    g_assert_cmpuint (entry->capacity_bytes, ==, SIZE);
    g_assert_null (entry->problem);
}

/* What a guest wrote into its disk describes no machine: the name says that it is an image. */
static void
test_image_before_content (void)
{
    GError *error = NULL;
    g_autofree char *raw = path_to ("disguised.raw"), *bare = path_to ("nameless"), *tar = path_to ("tar.img"),
                    *in = make_case ("disguised", "web01-disk1.vmdk"), *ova = path_to ("disguised.ova");
    static const char xml[] = "<domain type='kvm'><name>x</name><memory>1</memory><devices><disk type='file'>"
                              "<driver type='raw'/><source file='/etc/shadow'/><target dev='vda'/></disk></devices>"
                              "</domain>";
    write_file (folder, "disguised.raw", xml);
    write_file (folder, "nameless", xml);
    make_tar (ova, in, "web01.ovf", NULL);
    g_assert_cmpint (rename (ova, tar), ==, 0);
    const char *const images[] = { raw, tar };
    for (size_t i = 0; i < G_N_ELEMENTS (images); i++)
    {
        g_autoptr (vmf_source) source = open_source (images[i], &error);
        g_assert_no_error (error);
        g_assert_cmpstr (source->ops->name, ==, "image");
    }
    assert_fails (bare, VMF_ERROR_USAGE, "is no source");
}

/* A raw disk that is packed would be imported as it lies there. */
static void
test_gz_is_no_image (void)
{
    g_autofree char *raw = path_to ("packed.raw"), *gz = path_to ("packed.raw.gz"), *xml = path_to ("packed.xml");
    write_file (folder, "packed.raw", "a disk");
    g_autofree char *o1 = fixture_run ("gzip", raw, NULL);
    assert_fails (gz, VMF_ERROR_USAGE, "gunzip");
    write_xml ("packed.xml", "kvm",
               "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='packed.raw.gz'/>"
               "<target dev='vda' bus='virtio'/></disk>");
    assert_fails (xml, VMF_ERROR_USAGE, "gunzip");
}

/* --vm: one of several in an OVF; elsewhere only the name that is there. */
static void
test_choose_by_name (void)
{
    GError *error = NULL;
    g_autofree char *in = path_to ("two"), *xml = path_to ("only.xml"), *raw = path_to ("pattern.raw");
    g_assert_cmpint (g_mkdir (in, 0700), ==, 0);
    write_file (in, "two.ovf",
                "<Envelope xmlns='http://schemas.dmtf.org/ovf/envelope/1'><VirtualSystemCollection>"
                "<VirtualSystem id='1'><Name>web</Name></VirtualSystem><VirtualSystem id='2'><Name>db</Name>"
                "</VirtualSystem><VirtualSystem id='3'><Name>db</Name></VirtualSystem></VirtualSystemCollection>"
                "</Envelope>");
    write_xml ("only.xml", "kvm", "");
    g_autoptr (vmf_source) two = open_source (in, &error);
    g_assert_no_error (error);
    g_autoptr (vmf_vm) db = two->ops->describe (two, "db", NULL, &error);
    g_assert_no_error (error);
    g_assert_cmpstr (db->name, ==, "db");
    g_assert_null (two->ops->describe (two, "mail", NULL, &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_NOT_FOUND);
    g_assert_nonnull (strstr (error->message, "it has: web, db, 3"));
    g_clear_error (&error);
    g_autoptr (GPtrArray) list = vmf_source_list (two, &(struct vmf_source_filter){ 0 }, NULL, &error);
    g_assert_no_error (error);
    g_assert_cmpuint (list->len, ==, 3);
    g_assert_cmpstr (((struct vmf_source_entry *)g_ptr_array_index (list, 2))->name, ==, "3");
    const char *const addresses[] = { xml, raw }, *const names[] = { "db", "pattern" };
    for (size_t i = 0; i < G_N_ELEMENTS (addresses); i++)
    {
        g_autoptr (vmf_source) source = open_source (addresses[i], &error);
        g_assert_null (source->ops->describe (source, "web", NULL, &error));
        g_assert_error (error, VMF_ERROR, VMF_ERROR_NOT_FOUND);
        g_clear_error (&error);
        g_autoptr (vmf_vm) only = source->ops->describe (source, names[i], NULL, &error);
        g_assert_no_error (error);
    }
}

/* C21: what is broken is listed with its problem. */
static void
test_list_broken (void)
{
    GError *error = NULL;
    g_autofree char *xml = path_to ("broken.xml");
    write_file (folder, "broken.xml", "<domain><name>x</name>");
    g_autoptr (vmf_source) source = open_source (xml, &error);
    g_assert_no_error (error);
    g_autoptr (GPtrArray) list = vmf_source_list (source, &(struct vmf_source_filter){ 0 }, NULL, &error);
    g_assert_no_error (error);
    const struct vmf_source_entry *entry = g_ptr_array_index (list, 0);
    g_assert_nonnull (entry->problem);
}

/* B3, C21: a filter's patterns know no case, and what a source cannot tell matches none. */
static void
test_list_filter (void)
{
    static const struct
    {
        struct vmf_source_filter filter;
        unsigned n;
    } cases[] = {
        { { .name = "PATT*" }, 1 },
        { { .name = "pattern" }, 1 },
        { { .name = "web*" }, 0 },
        { { .name = "*?" }, 1 },
        { { .name = "p*", .host = "esx1" }, 0 },
        { { .power = "on" }, 0 },
    };
    g_autofree char *path = path_to ("pattern.raw");
    for (size_t i = 0; i < G_N_ELEMENTS (cases); i++)
    {
        g_autoptr (GError) error = NULL;
        g_autoptr (vmf_source) source = open_source (path, &error);
        g_assert_no_error (error);
        g_autoptr (GPtrArray) list = vmf_source_list (source, &cases[i].filter, NULL, &error);
        g_assert_no_error (error);
        g_assert_cmpuint (list->len, ==, cases[i].n);
    }
}

/* A source that tells changes: one machine comes to a host, gets another name, and leaves the host. */
static bool
tell_changes (struct vmf_source *source, const struct vmf_source_filter *filter, int64_t timeout_ms,
              vmf_source_on_change on_change, void *data, GCancellable *cancellable, GError **error)
{
    struct vmf_source_entry there = { .name = (char *)"web", .host = (char *)"h2" };
    struct vmf_source_entry here = { .name = (char *)"web", .host = (char *)"h1" };
    struct vmf_source_entry renamed = { .name = (char *)"www", .host = (char *)"h1" };
    struct vmf_source_entry away = { .name = (char *)"www", .host = (char *)"h2", .power = "template" };
    on_change (NULL, &there, data);
    on_change (&there, &here, data);
    on_change (&here, &renamed, data);
    on_change (&renamed, &away, data);
    on_change (&away, NULL, data);
    return true;
}

static void
note_change (const struct vmf_source_entry *before, const struct vmf_source_entry *after, void *data)
{
    g_string_append_printf (data, "%s>%s;", before ? before->name : "", after ? after->name : "");
}

/* Who comes to match is new, who ceases to is gone; a source that stands still says so. */
static void
test_watch (void)
{
    const struct vmf_source_ops ops = { .name = "fake", .watch = tell_changes };
    const struct vmf_source_filter filter = { .host = "H1" }, none = { 0 };
    struct vmf_source source = { .ops = &ops };
    g_autoptr (GError) error = NULL;
    g_autoptr (GString) told = g_string_new (NULL), all = g_string_new (NULL);
    g_assert_true (vmf_source_watch (&source, &filter, 0, note_change, told, NULL, &error));
    g_assert_cmpstr (told->str, ==, ">web;web>www;www>;");
    g_assert_true (vmf_source_watch (&source, &none, 0, note_change, all, NULL, &error));
    g_assert_cmpstr (all->str, ==, ">web;web>web;web>www;www>www;www>;");
    /* One that has a filter's words of its own is held against the state all the same: a template is not "off". */
    const struct vmf_source_ops knowing = { .name = "fake", .watch = tell_changes, .filters = true };
    const struct vmf_source_filter templates = { .name = "other", .power = "template" };
    struct vmf_source clever = { .ops = &knowing };
    g_string_truncate (all, 0);
    g_assert_true (vmf_source_watch (&clever, &templates, 0, note_change, all, NULL, &error));
    g_assert_cmpstr (all->str, ==, ">www;www>;");
    g_autofree char *path = path_to ("pattern.raw");
    const struct vmf_source_options options = { 0 };
    g_autoptr (vmf_source) still = vmf_source_open (path, &options, NULL, &error);
    g_assert_no_error (error);
    g_assert_false (vmf_source_watch (still, &none, 0, note_change, told, NULL, &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_USAGE);
    g_assert_nonnull (strstr (error->message, "vpx://"));
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    folder = fixture_folder ();
    sockets = fixture_folder ();
    g_autofree char *pattern = path_to ("pattern.raw");
    fixture_image (pattern, SIZE);
    g_test_add_func ("/source/ova-tar", test_ova_tar);
    g_test_add_func ("/source/ova-long-names", test_ova_long_names);
    g_test_add_func ("/source/ova-folder", test_ova_folder);
    g_test_add_func ("/source/ova-zip", test_ova_zip);
    g_test_add_func ("/source/ova-zip-in-place", test_ova_zip_in_place);
    g_test_add_func ("/source/ova-zip-damaged", test_ova_zip_damaged);
    g_test_add_func ("/source/ova-tolerant-names", test_ova_tolerant_names);
    g_test_add_func ("/source/ova-gz", test_ova_gz);
    g_test_add_func ("/source/manifest", test_manifest);
    g_test_add_func ("/source/verify-is-cancelled", test_verify_is_cancelled);
    g_test_add_func ("/source/ova-refusals", test_ova_refusals);
    g_test_add_func ("/source/vmx", test_vmx);
    g_test_add_func ("/source/vmx-snapshot", test_vmx_snapshot);
    g_test_add_func ("/source/libvirt-files", test_libvirt_files);
    g_test_add_func ("/source/libvirt-chain", test_libvirt_chain);
    g_test_add_func ("/source/libvirt-nbd", test_libvirt_nbd);
    g_test_add_func ("/source/nbd-address", test_nbd_address);
    g_test_add_func ("/source/image", test_image);
    g_test_add_func ("/source/list-broken", test_list_broken);
    g_test_add_func ("/source/list-filter", test_list_filter);
    g_test_add_func ("/source/watch", test_watch);
    g_test_add_func ("/source/image-before-content", test_image_before_content);
    g_test_add_func ("/source/gz-is-no-image", test_gz_is_no_image);
    g_test_add_func ("/source/choose-by-name", test_choose_by_name);
    int result = g_test_run ();
    fixture_remove (folder);
    fixture_remove (sockets);
    return result;
}
