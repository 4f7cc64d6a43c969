/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images of every format, made by qemu-img: what their headers say, what they may refer to, and that a file that was
 * cut off is never taken for a whole one (DESIGN idea 7).
 */
#include "disk/image.h"
#include "base/error.h"
#include "fixture.h"

#include <sys/stat.h>
#include <unistd.h>

enum
{
    SIZE = 8 << 20,
};

static char *folder;

static char *
path_to (const char *name)
{
    return g_build_filename (folder, name, NULL);
}

static void
write_file (const char *name, const char *text)
{
    g_autofree char *path = path_to (name);
    g_assert_true (g_file_set_contents (path, text, -1, NULL));
}

/* Makes NAME from the pattern; OPTIONS as of qemu-img -o, or "". */
static char *
make_image (const char *name, const char *format, const char *options)
{
    g_autofree char *raw = path_to ("pattern.raw");
    char *path = path_to (name);
    g_autofree char *out =
        *options ? fixture_run ("qemu-img", "convert", "-f", "raw", "-O", format, "-o", options, raw, path, NULL)
                 : fixture_run ("qemu-img", "convert", "-f", "raw", "-O", format, raw, path, NULL);
    return path;
}

static struct vmf_image *
open_image (const char *path, const char *format, GError **error)
{
    return vmf_image_new_file (path, format, folder, NULL, error);
}

static void
assert_refused (const char *name, const char *format, int code, const char *words)
{
    GError *error = NULL;
    g_autofree char *path = path_to (name);
    g_autoptr (vmf_image) image = open_image (path, format, &error);
    g_assert_null (image);
    g_assert_error (error, VMF_ERROR, code);
    g_test_message ("%s", error->message);
    g_assert_nonnull (strstr (error->message, name));
    g_assert_nonnull (strstr (error->message, words));
    g_clear_error (&error);
}

/* name, format, qemu-img's options */
static const char *const kinds[][3] = {
    { "a.raw", "raw", "" },
    { "v2.qcow2", "qcow2", "compat=0.10" },
    { "v3.qcow2", "qcow2", "cluster_size=4096" },
    { "ext.qcow2", "qcow2", "extended_l2=on" },
    { "prealloc.qcow2", "qcow2", "preallocation=metadata" },
    { "sparse.vmdk", "vmdk", "" },
    { "flat.vmdk", "vmdk", "subformat=monolithicFlat" },
    { "two.vmdk", "vmdk", "subformat=twoGbMaxExtentSparse" },
    { "twoflat.vmdk", "vmdk", "subformat=twoGbMaxExtentFlat" },
    { "stream.vmdk", "vmdk", "subformat=streamOptimized" },
    { "dynamic.vhd", "vpc", "force_size=on" },
    { "fixed.vhd", "vpc", "subformat=fixed,force_size=on" },
    { "a.vhdx", "vhdx", "" },
    { "fixed.vhdx", "vhdx", "subformat=fixed" },
    { "a.vdi", "vdi", "" },
    { "static.vdi", "vdi", "static=on" },
};

static void
test_sizes (void)
{
    for (size_t i = 0; i < G_N_ELEMENTS (kinds); i++)
    {
        GError *error = NULL;
        g_autofree char *path = make_image (kinds[i][0], kinds[i][1], kinds[i][2]);
        g_autoptr (vmf_image) image = open_image (path, kinds[i][1], &error);
        g_assert_no_error (error);
        g_assert_cmpuint (image->size_bytes, ==, SIZE);
        g_assert_cmpstr (image->path, ==, path);
    }
}

/* A size that is no multiple of any block: the last block is short, and that is not a cut. */
static void
test_odd_sizes (void)
{
    g_autofree char *pattern = path_to ("pattern.raw");
    for (size_t i = 0; i < G_N_ELEMENTS (kinds); i++)
    {
        GError *error = NULL;
        uint64_t size = SIZE - 3 * 512 - 512 * 1024;
        g_assert_cmpint (truncate (pattern, (off_t)size), ==, 0);
        g_autofree char *name = g_strconcat ("odd-", kinds[i][0], NULL);
        g_autofree char *path = make_image (name, kinds[i][1], kinds[i][2]);
        g_autoptr (vmf_image) image = open_image (path, kinds[i][1], &error);
        g_assert_no_error (error);
        g_assert_cmpuint (image->size_bytes, ==, size);
        fixture_image (pattern, SIZE);
    }
}

static void
test_wrong_format (void)
{
    for (size_t i = 1; i < G_N_ELEMENTS (kinds); i++)
        for (size_t other = 1; other < G_N_ELEMENTS (kinds); other++)
        {
            GError *error = NULL;
            if (strcmp (kinds[i][1], kinds[other][1]) == 0)
                continue;
            g_autofree char *path = path_to (kinds[i][0]);
            g_autoptr (vmf_image) image = open_image (path, kinds[other][1], &error);
            g_assert_null (image);
            g_assert_error (error, VMF_ERROR, VMF_ERROR_CORRUPT);
            g_clear_error (&error);
        }
}

/* PITFALLS: what QEMU reads behind the end of a file is zeroes, so each of these would import in silence. */
static void
test_cut_off (void)
{
    g_autofree char *cut = path_to ("cut");
    for (size_t i = 1; i < G_N_ELEMENTS (kinds); i++)
    {
        if (strstr (kinds[i][0], "flat") || strstr (kinds[i][0], "two"))
            continue;
        g_autofree char *path = path_to (kinds[i][0]), *bytes = NULL;
        gsize length;
        g_assert_true (g_file_get_contents (path, &bytes, &length, NULL));
        for (gsize keep = 0; keep < length - 512 * 1024; keep += MAX (1, keep < 2048 ? 37 : length / 61))
        {
            GError *error = NULL;
            g_assert_true (g_file_set_contents (cut, bytes, (gssize)keep, NULL));
            g_autoptr (vmf_image) image = open_image (cut, kinds[i][1], &error);
            if (image)
                g_error ("%s cut to %zu of %zu bytes was taken for a whole image", kinds[i][0], keep, length);
            g_assert_error (error, VMF_ERROR, VMF_ERROR_CORRUPT);
            g_clear_error (&error);
        }
    }
    unlink (cut);
}

static void
test_cut_extent (void)
{
    g_autofree char *path = path_to ("flat-flat.vmdk"), *two = path_to ("two-s001.vmdk");
    g_assert_cmpint (truncate (path, SIZE - 4096), ==, 0);
    assert_refused ("flat.vmdk", "vmdk", VMF_ERROR_CORRUPT, "cut off");
    g_assert_cmpint (truncate (two, SIZE / 4), ==, 0);
    assert_refused ("two.vmdk", "vmdk", VMF_ERROR_CORRUPT, "cut off");
    assert_refused ("flat-flat.vmdk", "vmdk", VMF_ERROR_CORRUPT, "descriptor");
}

static void
test_backing (void)
{
    GError *error = NULL;
    g_autofree char *base = make_image ("base.qcow2", "qcow2", ""), *top = path_to ("top.qcow2"),
                    *bare = path_to ("bare.qcow2");
    g_autofree char *o1 =
        fixture_run ("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", top, NULL);
    g_autoptr (vmf_image) image = open_image (top, "qcow2", &error);
    g_assert_no_error (error);
    g_assert_nonnull (image->backing);
    g_assert_cmpstr (image->backing->path, ==, base);
    g_assert_cmpstr (image->backing->format, ==, "qcow2");
    g_auto (GStrv) bindings = vmf_image_get_bindings (image);
    g_assert_cmpuint (g_strv_length (bindings), ==, 1);
    g_assert_cmpstr (bindings[0], ==, folder);
    vmf_image_narrow (image);
    g_auto (GStrv) still = vmf_image_get_bindings (image);
    g_assert_cmpstr (still[0], ==, folder);

    /* Without a recorded format: as written by qemu-img of old. */
    g_autofree char *o2 = fixture_run ("qemu-img", "create", "-q", "-u", "-f", "qcow2", bare, "8M", NULL);
    g_autofree char *o3 = fixture_run ("cp", top, bare, NULL);
    g_autofree char *bytes = NULL;
    gsize length;
    g_assert_true (g_file_get_contents (bare, &bytes, &length, NULL));
    char *extension = memmem (bytes, 4096, "\xe2\x79\x2a\xca", 4);
    g_assert_nonnull (extension);
    memcpy (extension, "\x12\x34\x56\x78", 4);
    g_assert_true (g_file_set_contents (bare, bytes, (gssize)length, NULL));
    assert_refused ("bare.qcow2", "qcow2", VMF_ERROR_UNSAFE, "qemu-img rebase -u -b base.qcow2 -F");
}

static void
test_chain_by_caller (void)
{
    GError *error = NULL;
    g_autofree char *top = path_to ("abs.qcow2"), *base = path_to ("base.qcow2");
    g_autofree char *o = fixture_run ("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", top, NULL);
    assert_refused ("abs.qcow2", "qcow2", VMF_ERROR_UNSAFE, "absolute");
    struct vmf_image *backing = open_image (base, "qcow2", &error);
    g_assert_no_error (error);
    g_autoptr (vmf_image) image = vmf_image_new_file (top, "qcow2", folder, backing, &error);
    g_assert_no_error (error);
    g_assert_true (image->backing == backing);
    vmf_image_narrow (image);
    g_auto (GStrv) bindings = vmf_image_get_bindings (image);
    g_assert_cmpuint (g_strv_length (bindings), ==, 2);
}

static void
rebase (const char *name, const char *to)
{
    g_autofree char *path = path_to (name);
    g_autofree char *o =
        fixture_run ("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", to, "-F", "raw", path, "8M", NULL);
}

static void
test_names_that_leave (void)
{
    static const char *const names[][2] = {
        { "/etc/passwd", "absolute" },
        { "../../etc/passwd", ".." },
        { "sub/../../x", ".." },
        { "nbd://localhost/x", "protocol" },
        { "json:{\"driver\":\"file\",\"filename\":\"/etc/passwd\"}", "protocol" },
        { "ssh://host/etc/passwd", "protocol" },
        { "fat:rw:/etc", "protocol" },
        { "link", "by a link" },
        { "linkdir/passwd", "by a link" },
        { "fifo", "not a regular file" },
        { "missing", "No such file" },
    };
    g_autofree char *link = path_to ("link"), *linkdir = path_to ("linkdir"), *fifo = path_to ("fifo");
    g_assert_cmpint (symlink ("/etc/passwd", link), ==, 0);
    g_assert_cmpint (symlink ("/etc", linkdir), ==, 0);
    g_assert_cmpint (mkfifo (fifo, 0600), ==, 0);
    for (size_t i = 0; i < G_N_ELEMENTS (names); i++)
    {
        int code = strcmp (names[i][0], "missing") == 0 ? VMF_ERROR_NOT_FOUND : VMF_ERROR_UNSAFE;
        rebase ("leave.qcow2", names[i][0]);
        assert_refused ("leave.qcow2", "qcow2", code, names[i][1]);
        g_autofree char *text = g_strdup_printf ("# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n"
                                                 "createType=\"monolithicFlat\"\nRW 16384 FLAT \"%s\" 0\n",
                                                 names[i][0]);
        if (strchr (names[i][0], '"'))
            continue;
        write_file ("leave.vmdk", text);
        assert_refused ("leave.vmdk", "vmdk", code, names[i][1]);
    }
}

static void
test_data_file (void)
{
    GError *error = NULL;
    g_autofree char *path = path_to ("data.qcow2"), *o = NULL;
    g_autofree char *data = path_to ("data.raw"), *option = g_strdup_printf ("data_file=%s", data);
    o = fixture_run ("qemu-img", "create", "-q", "-f", "qcow2", "-o", option, path, "8M", NULL);
    assert_refused ("data.qcow2", "qcow2", VMF_ERROR_UNSAFE, "data file");
    g_free (g_steal_pointer (&o));
    o = fixture_run ("qemu-img", "amend", "-f", "qcow2", "-o", "data_file=data.raw", path, NULL);
    g_autoptr (vmf_image) image = open_image (path, "qcow2", &error);
    g_assert_no_error (error);
    g_assert_cmpstr (image->data_file->path, ==, data);
    g_assert_cmpstr (image->data_file->format, ==, "raw");
    /* The user's own file alone may refer to nothing. */
    g_autoptr (vmf_image) alone = vmf_image_new_file (path, "qcow2", NULL, NULL, &error);
    g_assert_error (error, VMF_ERROR, VMF_ERROR_UNSAFE);
    g_clear_error (&error);
}

static void
test_loop (void)
{
    g_autofree char *path = path_to ("loop.qcow2");
    g_autofree char *o = fixture_run ("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", "loop.qcow2", "-F",
                                      "qcow2", path, "8M", NULL);
    assert_refused ("loop.qcow2", "qcow2", VMF_ERROR_UNSAFE, "back to itself");
}

static void
test_deltas (void)
{
    GError *error = NULL;
    g_autofree char *base = make_image ("snap.vmdk", "vmdk", "subformat=monolithicSparse"),
                    *delta = path_to ("snap-000001.vmdk");
    g_autofree char *o = fixture_run ("qemu-img", "create", "-q", "-f", "vmdk", "-b", base, "-F", "vmdk", delta, NULL);
    /* qemu-img writes an absolute hint; VMware writes a relative one. */
    assert_refused ("snap-000001.vmdk", "vmdk", VMF_ERROR_UNSAFE, "absolute");
    g_autofree char *hint = g_strdup_printf ("parentFileNameHint=\"%s\"", base);
    g_autofree char *bytes = NULL;
    gsize length;
    g_assert_true (g_file_get_contents (delta, &bytes, &length, NULL));
    char *at = memmem (bytes, length, hint, strlen (hint));
    g_assert_nonnull (at);
    memset (at, '\n', strlen (hint));
    memcpy (at, "parentFileNameHint=\"snap.vmdk\"", 30);
    g_assert_true (g_file_set_contents (delta, bytes, (gssize)length, NULL));
    g_autoptr (vmf_image) image = open_image (delta, "vmdk", &error);
    g_assert_no_error (error);
    g_assert_cmpstr (image->backing->path, ==, base);
}

static void
test_vmdk_kinds (void)
{
    static const char *const kind_names[] = { "custom", "fullDevice", "vmfsRaw", "vmfsRawDeviceMap" };
    for (size_t i = 0; i < G_N_ELEMENTS (kind_names); i++)
    {
        g_autofree char *text =
            g_strdup_printf ("# Disk DescriptorFile\ncreateType=\"%s\"\nRW 1 FLAT \"a.raw\" 0\n", kind_names[i]);
        write_file ("kind.vmdk", text);
        assert_refused ("kind.vmdk", "vmdk", VMF_ERROR_UNSAFE, kind_names[i]);
    }
    /* QEMU skips such lines, and all behind them would move. */
    write_file ("kind.vmdk", "# Disk DescriptorFile\ncreateType=\"monolithicFlat\"\nRW 8 FLAT \"a.raw\" 0\n"
                             "RW 8 ZERO\nRW 8 FLAT \"a.raw\" 8\n");
    assert_refused ("kind.vmdk", "vmdk", VMF_ERROR_CORRUPT, "RW 8 ZERO");
    write_file ("kind.vmdk", "# Disk DescriptorFile\ncreateType=\"monolithicFlat\"\nRDONLY 8 FLAT \"a.raw\" 0\n");
    assert_refused ("kind.vmdk", "vmdk", VMF_ERROR_CORRUPT, "RDONLY 8");
    write_file ("kind.vmdk",
                "# Disk DescriptorFile\ncreateType=\"monolithicFlat\"\nRW 99999999999999999999 FLAT \"a.raw\" 0\n");
    assert_refused ("kind.vmdk", "vmdk", VMF_ERROR_UNSAFE, "a.raw");
    write_file ("kind.vmdk", "# Disk DescriptorFile\ncreateType=\"monolithicFlat\"\nencryption.keySafe=\"x\"\n"
                             "RW 8 FLAT \"a.raw\" 0\n");
    assert_refused ("kind.vmdk", "vmdk", VMF_ERROR_USAGE, "encrypted");
}

static void
put_be (uint8_t *at, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        at[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
}

/* A qcow2 whose file is 1 TiB long by its own word and holds a few kilobytes. Each L1 entry that is USED names the same
   L2 table, in a hole. */
static void
make_long_qcow2 (const char *name, unsigned cluster_bits, uint64_t size, uint32_t l1_entries, bool used)
{
    g_autofree char *path = path_to (name);
    size_t length = ((size_t)1 << 16) + (used ? l1_entries * (size_t)8 : 0);
    g_autofree uint8_t *bytes = g_malloc0 (length);
    memcpy (bytes, "QFI\xfb", 4);
    put_be (bytes + 4, 2, 4);
    put_be (bytes + 20, cluster_bits, 4);
    put_be (bytes + 24, size, 8);
    put_be (bytes + 36, l1_entries, 4);
    put_be (bytes + 40, 1 << 16, 8);
    for (uint32_t i = 0; used && i < l1_entries; i++)
        put_be (bytes + (1 << 16) + i * (size_t)8, (uint64_t)1 << 39, 8);
    g_assert_true (g_file_set_contents (path, (char *)bytes, (gssize)length, NULL));
    g_assert_cmpint (truncate (path, (off_t)1 << 40), ==, 0);
}

/* How long a sparse file is costs its maker nothing, so it does not say how much we read or keep of it. */
static void
test_long_files (void)
{
    make_long_qcow2 ("l1.qcow2", 9, (uint64_t)256 << 30, 8 << 20, false);
    assert_refused ("l1.qcow2", "qcow2", VMF_ERROR_UNSAFE, "L1 table");
    make_long_qcow2 ("l2.qcow2", 16, (uint64_t)64 << 40, 128 << 10, true);
    assert_refused ("l2.qcow2", "qcow2", VMF_ERROR_CORRUPT, "L1 table has more entries");
}

static void
test_encrypted_and_absurd (void)
{
    g_autofree char *aes = path_to ("aes.qcow2"), *huge = path_to ("huge.qcow2");
    /* Not LUKS: to make that, qemu-img measures the machine, and fails on some. The header's field is the same. */
    g_autofree char *o1 = fixture_run ("qemu-img", "create", "-q", "--object", "secret,id=s,data=x", "-f", "qcow2",
                                       "-o", "encrypt.format=aes,encrypt.key-secret=s", aes, "8M", NULL);
    assert_refused ("aes.qcow2", "qcow2", VMF_ERROR_USAGE, "encrypted");
    g_autofree char *o2 =
        fixture_run ("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=2M", huge, "65T", NULL);
    assert_refused ("huge.qcow2", "qcow2", VMF_ERROR_UNSAFE, "64 TiB");
}

static void
test_part (void)
{
    GError *error = NULL;
    g_autofree char *path = path_to ("stream.vmdk"), *whole = path_to ("whole"), *bytes = NULL;
    gsize length;
    g_assert_true (g_file_get_contents (path, &bytes, &length, NULL));
    g_autofree char *padded = g_malloc0 (length + 2048);
    memcpy (padded + 1024, bytes, length);
    g_assert_true (g_file_set_contents (whole, padded, (gssize)length + 2048, NULL));
    g_autoptr (vmf_image) image = vmf_image_new_part (whole, 1024, length, "vmdk", &error);
    g_assert_no_error (error);
    g_assert_cmpuint (image->size_bytes, ==, SIZE);
    g_assert_null (vmf_image_new_part (whole, 1024, length + 2048, "vmdk", &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_CORRUPT);
    g_clear_error (&error);
    g_autofree char *flat = path_to ("twoflat.vmdk");
    struct stat info;
    g_assert_cmpint (stat (flat, &info), ==, 0);
    g_assert_null (vmf_image_new_part (flat, 0, (uint64_t)info.st_size, "vmdk", &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_UNSAFE);
    g_clear_error (&error);
}

static void
test_nbd_addresses (void)
{
    static const char *const bad[] = { "http://h/x", "nbd:h:1", "nbd://user:secret@h/", "", "nbd+ssh://h/" };
    GError *error = NULL;
    for (size_t i = 0; i < G_N_ELEMENTS (bad); i++)
    {
        g_assert_null (vmf_image_new_nbd (bad[i], "raw", NULL, &error));
        g_assert_error (error, VMF_ERROR, VMF_ERROR_USAGE);
        g_clear_error (&error);
    }
    g_autoptr (vmf_image) image = vmf_image_new_nbd ("nbd://h:10809/x", "raw", NULL, &error);
    g_assert_no_error (error);
    g_assert_null (vmf_image_new_nbd ("nbd://h/", "auto", NULL, &error));
    g_assert_error (error, VMF_ERROR, VMF_ERROR_USAGE);
    g_clear_error (&error);
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    folder = fixture_folder ();
    g_autofree char *pattern = path_to ("pattern.raw");
    fixture_image (pattern, SIZE);
    g_test_add_func ("/image/sizes", test_sizes);
    g_test_add_func ("/image/odd-sizes", test_odd_sizes);
    g_test_add_func ("/image/wrong-format", test_wrong_format);
    g_test_add_func ("/image/cut-off", test_cut_off);
    g_test_add_func ("/image/part", test_part);
    g_test_add_func ("/image/cut-extent", test_cut_extent);
    g_test_add_func ("/image/backing", test_backing);
    g_test_add_func ("/image/chain-by-caller", test_chain_by_caller);
    g_test_add_func ("/image/names-that-leave", test_names_that_leave);
    g_test_add_func ("/image/data-file", test_data_file);
    g_test_add_func ("/image/loop", test_loop);
    g_test_add_func ("/image/deltas", test_deltas);
    g_test_add_func ("/image/vmdk-kinds", test_vmdk_kinds);
    g_test_add_func ("/image/long-files", test_long_files);
    g_test_add_func ("/image/encrypted-and-absurd", test_encrypted_and_absurd);
    g_test_add_func ("/image/nbd-addresses", test_nbd_addresses);
    int result = g_test_run ();
    fixture_remove (folder);
    return result;
}
