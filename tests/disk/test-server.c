/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Serving images: the bytes and the extents of every format, against qemu-img; what a helper can see; what is left. */
#include "disk/server.h"
#include "disk/nbd.h"
#include "base/error.h"
#include "fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

enum
{
    SIZE = 24 << 20,
    DATA = 8 << 20, /* of the first MiBs each has half data, half hole; the rest is one hole */
};

static char *folder, *sockets;

static char *
path_to (const char *name)
{
    return g_build_filename (folder, name, NULL);
}

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

static struct vmf_server *
start (const struct vmf_image *image, GError **error)
{
    g_autofree char *socket = g_build_filename (sockets, "s", NULL);
    return vmf_server_start (image, "sda of test", socket, NULL, error);
}

/* Is the export the pattern, byte by byte? And are its holes seen as holes? */
static void
assert_pattern (struct vmf_server *server, unsigned hole_mib)
{
    GError *error = NULL;
    g_autofree char *pattern = path_to ("pattern.raw");
    g_autofree char *compare =
        fixture_run ("qemu-img", "compare", "-f", "raw", "-F", "raw", pattern, vmf_server_get_uri (server), NULL);
    g_assert_nonnull (strstr (compare, "identical"));
    g_assert_cmpuint (vmf_server_get_size (server), ==, SIZE);
    g_autoptr (nbd_handle) nbd = vmf_nbd_connect (vmf_server_get_uri (server), "test", VMF_NBD_EXTENTS, NULL, &error);
    g_assert_no_error (error);
    g_assert_cmpint (nbd_is_read_only (nbd), ==, 1);
    g_assert_cmpint (nbd_can_multi_conn (nbd), ==, 1);
    g_assert_cmpint (nbd_can_meta_context (nbd, LIBNBD_CONTEXT_BASE_ALLOCATION), ==, 1);
    uint64_t holes = 0;
    for (uint64_t at = 0; at < SIZE;)
    {
        g_autoptr (GArray) status = g_array_new (FALSE, FALSE, sizeof (struct vmf_nbd_status));
        g_assert_true (
            vmf_nbd_block_status (nbd, LIBNBD_CONTEXT_BASE_ALLOCATION, at, SIZE - at, status, "test", &error));
        for (guint i = 0; i < status->len; i++)
        {
            struct vmf_nbd_status one = g_array_index (status, struct vmf_nbd_status, i);
            holes += one.flags & LIBNBD_STATE_ZERO ? one.length_bytes : 0;
            at += one.length_bytes;
        }
    }
    g_assert_cmpuint (holes, ==, (uint64_t)hole_mib << 20);
}

/* Blocks of a VHD are 2 MiB, of a VHDX 8 MiB or more, of a VDI 1 MiB: half of each is data here. QEMU 7.2 calls all
   that lies in an allocated block data. */
static const struct
{
    const char *name, *format, *options;
    unsigned hole_mib; /* as far as the format can say */
} kinds[] = {
    { "a.raw", "raw", "", 20 },
    { "a.qcow2", "qcow2", "", 20 },
    { "v2.qcow2", "qcow2", "compat=0.10", 20 },
    { "ext.qcow2", "qcow2", "extended_l2=on", 20 },
    { "sparse.vmdk", "vmdk", "", 20 },
    { "flat.vmdk", "vmdk", "subformat=monolithicFlat", 20 },
    { "two.vmdk", "vmdk", "subformat=twoGbMaxExtentSparse", 20 },
    { "twoflat.vmdk", "vmdk", "subformat=twoGbMaxExtentFlat", 20 },
    { "stream.vmdk", "vmdk", "subformat=streamOptimized", 20 },
    { "dynamic.vhd", "vpc", "force_size=on", 16 },
    { "fixed.vhd", "vpc", "subformat=fixed,force_size=on", 20 },
    { "a.vhdx", "vhdx", "", 0 },
    { "a.vdi", "vdi", "", 16 },
};

static void
test_formats (void)
{
    for (size_t i = 0; i < G_N_ELEMENTS (kinds); i++)
    {
        GError *error = NULL;
        g_autofree char *path = make_image (kinds[i].name, kinds[i].format, kinds[i].options);
        g_autoptr (vmf_image) image = vmf_image_new_file (path, kinds[i].format, folder, NULL, &error);
        g_assert_no_error (error);
        g_autoptr (vmf_server) server = start (image, &error);
        g_assert_no_error (error);
        g_test_message ("%s", kinds[i].name);
        assert_pattern (server, kinds[i].hole_mib);
        /* And with nothing but the file to be seen. */
        g_clear_pointer (&server, vmf_server_free);
        vmf_image_narrow (image);
        server = start (image, &error);
        g_assert_no_error (error);
        assert_pattern (server, kinds[i].hole_mib);
    }
}

/* Stream-optimised VMDK has a plugin of ours. */
static char *
plugin_path (void)
{
    return g_build_filename (g_getenv ("VMFERRY_PLUGIN_DIR"), "nbdkit-vmdkstream-plugin.so", NULL);
}

static struct vmf_server *
start_stream_with_plugins_in (const char *path, const char *plugin_dir, GError **error)
{
    g_autofree char *before = g_strdup (g_getenv ("VMFERRY_PLUGIN_DIR"));
    g_autoptr (vmf_image) image = vmf_image_new_file (path, "vmdk", folder, NULL, error);
    g_assert_no_error (*error);
    g_setenv ("VMFERRY_PLUGIN_DIR", plugin_dir, TRUE);
    struct vmf_server *server = start (image, error);
    g_setenv ("VMFERRY_PLUGIN_DIR", before, TRUE);
    return server;
}

/* Who has no libdeflate has no plugin: QEMU reads the image then. */
static void
test_stream_without_plugin (void)
{
    GError *error = NULL;
    g_autofree char *none = path_to ("none"), *path = make_image ("stream1.vmdk", "vmdk", "subformat=streamOptimized");
    g_autoptr (vmf_server) server = start_stream_with_plugins_in (path, none, &error);
    g_assert_no_error (error);
    assert_pattern (server, 20);
}

/* And where it is, it is used: what is not a plugin does not load. */
static void
test_stream_by_plugin (void)
{
    GError *error = NULL;
    g_autofree char *real = plugin_path (), *dir = path_to ("plugins"),
                    *path = make_image ("stream2.vmdk", "vmdk", "subformat=streamOptimized");
    g_autofree char *fake = g_build_filename (dir, "nbdkit-vmdkstream-plugin.so", NULL);
    if (!g_file_test (real, G_FILE_TEST_EXISTS))
    {
        g_test_skip ("built without libdeflate");
        return;
    }
    g_assert_cmpint (g_mkdir (dir, 0700), ==, 0);
    g_assert_true (g_file_set_contents (fake, "no plugin", -1, NULL));
    g_assert_null (start_stream_with_plugins_in (path, dir, &error));
    g_assert_nonnull (error);
    g_assert_nonnull (strstr (error->message, "nbdkit-vmdkstream-plugin.so"));
    g_clear_error (&error);
}

/* What the plugin says of a damaged image reaches the user. */
static void
test_stream_refused (void)
{
    GError *error = NULL;
    gsize length;
    g_autofree char *path = make_image ("stream3.vmdk", "vmdk", "subformat=streamOptimized"), *bytes = NULL,
                    *real = plugin_path ();
    if (!g_file_test (real, G_FILE_TEST_EXISTS))
    {
        g_test_skip ("built without libdeflate");
        return;
    }
    g_autoptr (vmf_image) image = vmf_image_new_file (path, "vmdk", folder, NULL, &error);
    g_assert_no_error (error);
    g_assert_true (g_file_get_contents (path, &bytes, &length, NULL));
    g_assert_true (g_file_set_contents (path, bytes, (gssize)length / 2, NULL));
    g_assert_null (start (image, &error));
    g_assert_nonnull (error);
    g_test_message ("%s", error->message);
    g_assert_nonnull (strstr (error->message, "sda of test"));
    g_assert_nonnull (strstr (error->message, "it is cut off; copy it again"));
    g_clear_error (&error);
}

static void
test_parts (void)
{
    for (size_t i = 0; i < G_N_ELEMENTS (kinds); i++)
    {
        GError *error = NULL;
        gsize length;
        g_autofree char *path = path_to (kinds[i].name), *bytes = NULL, *whole = path_to ("whole.tar");
        if (strstr (kinds[i].name, "flat") || strstr (kinds[i].name, "two")) /* they have several files */
            continue;
        g_assert_true (g_file_get_contents (path, &bytes, &length, NULL));
        g_autofree char *padded = g_malloc (length + 4096);
        memset (padded, 'x', length + 4096);
        memcpy (padded + 1536, bytes, length);
        g_assert_true (g_file_set_contents (whole, padded, (gssize)length + 4096, NULL));
        g_autoptr (vmf_image) image = vmf_image_new_part (whole, 1536, length, kinds[i].format, &error);
        g_assert_no_error (error);
        g_autoptr (vmf_server) server = start (image, &error);
        g_assert_no_error (error);
        g_test_message ("%s", kinds[i].name);
        bool raw = strcmp (image->format, "raw") == 0; /* written without holes above */
        assert_pattern (server, raw ? 0 : kinds[i].hole_mib);
    }
}

static void
test_chains (void)
{
    GError *error = NULL;
    g_autofree char *base = make_image ("base.qcow2", "qcow2", ""), *middle = path_to ("middle.qcow2"),
                    *top = path_to ("top.qcow2");
    g_autofree char *o1 =
        fixture_run ("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", middle, NULL);
    g_autofree char *o2 =
        fixture_run ("qemu-img", "create", "-q", "-f", "qcow2", "-b", "middle.qcow2", "-F", "qcow2", top, NULL);
    g_autoptr (vmf_image) image = vmf_image_new_file (top, "qcow2", folder, NULL, &error);
    g_assert_no_error (error);
    g_autoptr (vmf_server) server = start (image, &error);
    g_assert_no_error (error);
    assert_pattern (server, 20);
}

static void
test_data_file (void)
{
    GError *error = NULL;
    g_autofree char *path = path_to ("data.qcow2"), *pattern = path_to ("pattern.raw"), *data = path_to ("data.raw");
    g_autofree char *option = g_strdup_printf ("data_file=%s", data);
    g_autofree char *o1 = fixture_run ("qemu-img", "convert", "-O", "qcow2", "-o", option, pattern, path, NULL);
    g_autofree char *o2 = fixture_run ("qemu-img", "amend", "-f", "qcow2", "-o", "data_file=data.raw", path, NULL);
    g_autoptr (vmf_image) image = vmf_image_new_file (path, "qcow2", folder, NULL, &error);
    g_assert_no_error (error);
    g_autoptr (vmf_server) server = start (image, &error);
    g_assert_no_error (error);
    assert_pattern (server, 20);
}

/* VirtualBox's VHDs: the geometry is smaller than the disk. Made with qemu's creator mark exchanged. */
static void
test_vhd_size (void)
{
    GError *error = NULL;
    gsize length;
    g_autofree char *path = path_to ("dynamic.vhd"), *bytes = NULL;
    g_assert_true (g_file_get_contents (path, &bytes, &length, NULL));
    for (gsize at = 0; at < length; at += length - 512)
    {
        guchar *footer = (guchar *)bytes + at;
        guint32 sum = 0;
        memcpy (footer + 28, "vbox", 4);
        footer[59] = 5; /* sectors per track: the geometry now says much less */
        memset (footer + 64, 0, 4);
        for (int i = 0; i < 512; i++)
            sum += footer[i];
        sum = GUINT32_TO_BE (~sum);
        memcpy (footer + 64, &sum, 4);
    }
    g_autofree char *vbox = path_to ("vbox.vhd");
    g_assert_true (g_file_set_contents (vbox, bytes, (gssize)length, NULL));
    g_autoptr (vmf_image) image = vmf_image_new_file (vbox, "vpc", folder, NULL, &error);
    g_assert_no_error (error);
    g_autoptr (vmf_server) server = start (image, &error);
    g_assert_no_error (error);
    assert_pattern (server, 16);
}

/* An NBD server of somebody else's: raw goes through, a format in it is read by a confined helper. */
static void
test_nbd (void)
{
    GError *error = NULL;
    static const char *const files[][2] = { { "a.raw", "raw" }, { "a.qcow2", "qcow2" }, { "dynamic.vhd", "vpc" } };
    for (size_t i = 0; i < G_N_ELEMENTS (files); i++)
    {
        g_autofree char *path = path_to (files[i][0]), *remote = g_build_filename (sockets, "remote", NULL);
        const char *const argv[] = { "nbdkit", "-f", "-U", remote, "file", path, NULL };
        struct vmf_child_options options = { .argv = argv };
        g_autoptr (vmf_child) other = vmf_child_start (&options, &error);
        g_assert_no_error (error);
        g_assert_true (vmf_child_wait_for_path (other, remote, NULL, &error));
        g_autofree char *uri = g_strdup_printf ("nbd+unix:///?socket=%s", remote);
        g_autoptr (vmf_image) image = vmf_image_new_nbd (uri, files[i][1], NULL, &error);
        g_assert_no_error (error);
        g_autoptr (vmf_server) server = start (image, &error);
        g_assert_no_error (error);
        assert_pattern (server, i < 2 ? 20 : 16);
        vmf_child_stop (other, 1000);
        unlink (remote);
    }
}

static void
test_nbd_unreachable (void)
{
    GError *error = NULL;
    g_autoptr (vmf_image) image = vmf_image_new_nbd ("nbd://127.0.0.1:1/", "raw", NULL, &error);
    g_assert_no_error (error);
    g_assert_null (start (image, &error));
    g_assert_nonnull (error);
    g_test_message ("%s", error->message);
    g_assert_nonnull (strstr (error->message, "Connection refused"));
    g_assert_nonnull (strstr (error->message, "sda of test"));
    g_clear_error (&error);
}

/* Seeing more than its files would let a hostile image read the host: what stands beside the folder is not there. */
static void
test_confined (void)
{
    GError *error = NULL;
    g_autofree char *path = path_to ("a.qcow2");
    g_autoptr (vmf_image) image = vmf_image_new_file (path, "qcow2", folder, NULL, &error);
    g_assert_no_error (error);
    /* The checks taken away: an image that leads outside, handed straight to the helper. */
    g_free (g_steal_pointer (&image->path));
    image->path = g_strdup ("/etc/passwd");
    g_assert_null (start (image, &error));
    g_assert_nonnull (error);
    g_test_message ("%s", error->message);
    g_assert_nonnull (strstr (error->message, "No such file"));
    g_clear_error (&error);
}

static void
test_in_use (void)
{
    GError *error = NULL;
    static const char *const files[][2] = { { "a.raw", "raw" }, { "a.qcow2", "qcow2" } };
    for (size_t i = 0; i < G_N_ELEMENTS (files); i++)
    {
        g_autofree char *path = path_to (files[i][0]), *other = g_build_filename (sockets, "vm", NULL);
        const char *const argv[] = { "qemu-nbd", "-t", "-f", files[i][1], "-k", other, path, NULL };
        struct vmf_child_options options = { .argv = argv };
        g_autoptr (vmf_child) writer = vmf_child_start (&options, &error);
        g_assert_no_error (error);
        g_assert_true (vmf_child_wait_for_path (writer, other, NULL, &error));
        /* qemu-nbd listens before it opens, and locks, the image: it is ready when it answers. */
        g_autofree char *other_uri = g_strdup_printf ("nbd+unix:///?socket=%s", other);
        g_autoptr (nbd_handle) nbd = vmf_nbd_connect (other_uri, "writer", VMF_NBD_NONE, NULL, &error);
        g_assert_no_error (error);
        g_autoptr (vmf_image) image = vmf_image_new_file (path, files[i][1], folder, NULL, &error);
        g_assert_no_error (error);
        g_assert_null (start (image, &error));
        g_assert_nonnull (error);
        g_assert_nonnull (strstr (error->message, "is in use"));
        g_clear_error (&error);
        vmf_child_stop (writer, 1000);
        unlink (other);
    }
}

static void
test_odd_raw (void)
{
    GError *error = NULL;
    g_autofree char *path = path_to ("odd.raw");
    g_assert_true (g_file_set_contents (path, "0123456789", 10, NULL));
    g_autoptr (vmf_image) image = vmf_image_new_file (path, "raw", folder, NULL, &error);
    g_assert_no_error (error);
    g_autoptr (vmf_server) server = start (image, &error);
    g_assert_no_error (error);
    g_assert_cmpuint (vmf_server_get_size (server), ==, 512);
}

static void
test_nothing_left (void)
{
    g_autoptr (GDir) dir = g_dir_open (sockets, 0, NULL);
    g_assert_null (g_dir_read_name (dir));
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    folder = fixture_folder ();
    sockets = fixture_folder ();
    g_autofree char *program = g_file_read_link ("/proc/self/exe", NULL), *here = g_path_get_dirname (program);
    g_autofree char *plugins = g_build_filename (here, "..", "..", "plugins", NULL);
    g_setenv ("VMFERRY_PLUGIN_DIR", plugins, FALSE);
    g_autofree char *pattern = path_to ("pattern.raw");
    fixture_image (pattern, DATA);
    g_assert_cmpint (truncate (pattern, SIZE), ==, 0);
    g_test_add_func ("/server/formats", test_formats);
    g_test_add_func ("/server/parts", test_parts);
    g_test_add_func ("/server/stream-without-plugin", test_stream_without_plugin);
    g_test_add_func ("/server/stream-by-plugin", test_stream_by_plugin);
    g_test_add_func ("/server/stream-refused", test_stream_refused);
    g_test_add_func ("/server/chains", test_chains);
    g_test_add_func ("/server/data-file", test_data_file);
    g_test_add_func ("/server/vhd-size", test_vhd_size);
    g_test_add_func ("/server/nbd", test_nbd);
    g_test_add_func ("/server/nbd-unreachable", test_nbd_unreachable);
    g_test_add_func ("/server/confined", test_confined);
    g_test_add_func ("/server/in-use", test_in_use);
    g_test_add_func ("/server/odd-raw", test_odd_raw);
    g_test_add_func ("/server/nothing-left", test_nothing_left);
    int result = g_test_run ();
    fixture_remove (folder);
    fixture_remove (sockets);
    return result;
}
