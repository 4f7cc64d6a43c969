/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The segments plugin shows pieces of two disks, in order, byte for byte; a bad table is refused. */
#include "../folder.h"

#include <glib.h>
#include <libnbd.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

enum
{
    DISK = 1 << 20,
};

struct piece
{
    unsigned disk;
    uint64_t offset, length;
};

static const struct piece pieces[] = {
    { 0, 4096, 10000 }, { 1, 0, 1 }, { 1, 700000, 300000 }, { 0, 0, 4096 }, { 1, DISK - 512, 512 }
};

static char *folder, *plugin;

static char *
path_in (const char *name)
{
    return g_build_filename (folder, name, NULL);
}

/* nbdkit started by libnbd itself, which also ends it. NULL: it would not start or answer. */
static struct nbd_handle *
open_table (const char *text)
{
    g_autofree char *table = path_in ("table"), *argument = g_strconcat ("table=", table, NULL);
    g_autofree char *count_path = path_in ("count"), *count = g_strconcat ("count=", count_path, NULL);
    char *argv[] = { (char *)"nbdkit", (char *)"-s", (char *)"--exit-with-parent", plugin, argument, count, NULL };
    struct nbd_handle *nbd = nbd_create ();
    g_assert_true (g_file_set_contents (table, text, -1, NULL));
    if (nbd_connect_command (nbd, argv) == 0)
        return nbd;
    nbd_close (nbd);
    return NULL;
}

static void
test_bytes (const void *data)
{
    uint8_t *disks[2] = { g_malloc (DISK), g_malloc (DISK) };
    g_autoptr (GString) table = g_string_new (NULL);
    g_autoptr (GByteArray) expected = g_byte_array_new ();
    GPid pids[2];
    for (unsigned d = 0; d < 2; d++)
    {
        for (uint32_t i = 0; i < DISK; i += 4)
            memcpy (disks[d] + i, &(uint32_t){ (uint32_t)g_test_rand_int () }, 4);
        g_autofree char *name = g_strdup_printf ("disk%u", d), *path = path_in (name);
        g_autofree char *socket_path = g_strconcat (path, ".sock", NULL);
        const char *argv[] = { "nbdkit", "-f", "-r", "-U", socket_path, "file", path, NULL };
        g_assert_true (g_file_set_contents (path, (char *)disks[d], DISK, NULL));
        g_assert_true (g_spawn_async (NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD, NULL,
                                      NULL, &pids[d], NULL));
        while (access (socket_path, F_OK) != 0)
            g_usleep (2000);
        g_string_append_printf (table, "disk nbd+unix:///?socket=%s\n", socket_path);
    }
    for (size_t i = 0; i < G_N_ELEMENTS (pieces); i++)
    {
        g_string_append_printf (table, "segment %u %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT "\n", pieces[i].disk,
                                (guint64)pieces[i].offset, (guint64)pieces[i].length);
        g_byte_array_append (expected, disks[pieces[i].disk] + pieces[i].offset, (guint)pieces[i].length);
    }
    struct nbd_handle *nbd = open_table (table->str);
    g_assert_nonnull (nbd);
    g_assert_cmpint (nbd_get_size (nbd), ==, expected->len);
    g_assert_cmpint (nbd_is_read_only (nbd), ==, 1);
    g_autofree uint8_t *all = g_malloc (expected->len);
    g_assert_cmpint (nbd_pread (nbd, all, expected->len, 0, 0), ==, 0);
    g_assert_cmpmem (all, expected->len, expected->data, expected->len);
    for (unsigned i = 0; i < 200; i++)
    {
        uint64_t at = (uint64_t)g_test_rand_int_range (0, (gint32)expected->len);
        int length = g_test_rand_int_range (1, (int)(expected->len - (guint)at) + 1);
        g_assert_cmpint (nbd_pread (nbd, all, (size_t)length, at, 0), ==, 0);
        g_assert_cmpmem (all, length, expected->data + at, length);
    }
    nbd_close (nbd);
    for (unsigned d = 0; d < 2; d++)
    {
        g_free (disks[d]);
        kill (pids[d], SIGTERM);
        g_spawn_close_pid (pids[d]);
    }
}

static void
test_bad_table (const void *table)
{
    struct nbd_handle *nbd = open_table (table);
    g_assert_null (nbd);
}

int
main (int argc, char **argv)
{
    static const char *const bad[][2] = {
        { "no-such-disk", "disk nbd://x\nsegment 1 0 512\n" },
        { "no-length", "disk nbd://x\nsegment 0 0 0\n" },
        { "wraps-round", "disk nbd://x\nsegment 0 18446744073709551615 512\n" },
        { "sum-too-large", "disk nbd://x\nsegment 0 0 9223372036854775807\nsegment 0 0 512\n" },
        { "other-word", "disc nbd://x\n" },
    };
    g_test_init (&argc, &argv, NULL);
    folder = test_folder_new ("segments");
    plugin = g_build_filename (g_getenv ("VMFERRY_PLUGIN_DIR"), "nbdkit-segments-plugin.so", NULL);
    g_test_add_data_func ("/segments/bytes", NULL, test_bytes);
    for (size_t i = 0; i < G_N_ELEMENTS (bad); i++)
    {
        g_autofree char *name = g_strconcat ("/segments/bad-table/", bad[i][0], NULL);
        g_test_add_data_func (name, bad[i][1], test_bad_table);
    }
    int result = g_test_run ();
    const char *rm[] = { "rm", "-rf", folder, NULL };
    g_spawn_sync (NULL, (char **)rm, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL);
    g_free (folder);
    g_free (plugin);
    return result;
}
