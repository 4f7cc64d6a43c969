/* SPDX-License-Identifier: GPL-2.0-or-later */
/* LVM2: volumes that lvm2's own tools laid out, across two disks, are found and mapped; what is not plain is not.
 *
 * The host needs no device mapper: lvcreate -an writes metadata only, and the volumes' bytes are put into place here,
 * by what pvs says. Metadata is then changed, with good checksums, as an attacker would.
 */
#include "images.h"
#include "guest/lvm.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define MIB ((uint64_t)1 << 20)

struct lab
{
    char *images[2], *loops[2];
    int fds[2]; /* while these are open the loop devices stand; so they are gone when the test dies */
};

static char *
attach (const char *image, int *fd)
{
    struct loop_info64 info;
    char *name = g_strchomp (run_output ((const char *[]){ "losetup", "--show", "-f", image, NULL }));
    *fd = open (name, O_RDWR | O_CLOEXEC);
    g_assert_cmpint (ioctl (*fd, LOOP_GET_STATUS64, &info), ==, 0);
    info.lo_flags |= LO_FLAGS_AUTOCLEAR;
    g_assert_cmpint (ioctl (*fd, LOOP_SET_STATUS64, &info), ==, 0);
    return name;
}

static void
lab_detach (struct lab *lab)
{
    for (unsigned i = 0; i < 2; i++)
    {
        if (lab->loops[i])
        {
            g_assert_cmpint (fsync (lab->fds[i]), ==, 0);
            close (lab->fds[i]);
        }
        g_clear_pointer (&lab->loops[i], g_free);
    }
}

static void
lab_end (struct lab *lab)
{
    lab_detach (lab);
    for (unsigned i = 0; i < 2; i++)
        g_free (lab->images[i]);
}

/* lvm2 that looks at our two loop devices only and touches nothing of the host's own. */
static void
lvm (struct lab *lab, const char *command)
{
    g_autofree char *devices =
        g_strdup_printf ("--config 'devices { filter = [ \"a|^%s$|\", \"a|^%s$|\", \"r|.*|\" ] use_devicesfile = 0 } "
                         "backup { backup = 0 archive = 0 } activation { udev_sync = 0 udev_rules = 0 } "
                         "global { use_lvmpolld = 0 locking_type = 1 }'",
                         lab->loops[0], lab->loops[1]);
    g_autofree char *line = g_strdup_printf ("lvm $(echo '%s' | sed 's|@0|%s|g; s|@1|%s|g') --driverloaded n %s",
                                             command, lab->loops[0], lab->loops[1], devices);
    run ("sh", "-c", line);
}

static bool
lab_begin (struct lab *lab)
{
    if (!have_mounts ("ext4") || !have_programs ("lvm", "losetup", "mkfs.ext4", NULL))
        return false;
    images_dir ();
    for (unsigned i = 0; i < 2; i++)
    {
        lab->images[i] = image_new (i == 0 ? "pv0.img" : "pv1.img", 300 * MIB);
        lab->loops[i] = attach (lab->images[i], &lab->fds[i]);
    }
    lvm (lab, "pvcreate -q @0 @1");
    lvm (lab, "vgcreate -q vg0 @0 @1");
    return true;
}

static struct vmf_map *
lab_map (struct lab *lab)
{
    sync ();
    return image_map ((const char *[]){ lab->images[0], lab->images[1], NULL }, NULL);
}

static void
put (const char *from, uint64_t from_at, const char *to, uint64_t to_at, uint64_t length)
{
    g_autofree char *bytes = g_malloc (length);
    image_read (from, from_at, bytes, length);
    image_write (to, to_at, bytes, length);
}

/* root: 10 extents of the first disk from extent 5, then 20 of the second from 3; pe_start 1 MiB, extents of 4 MiB. */
static void
test_linear (void)
{
    struct lab lab = { 0 };
    if (!lab_begin (&lab))
        return;
    lvm (&lab, "lvcreate -q -an -Zn -Wn -n root -l 10 vg0 @0:5-14");
    lvm (&lab, "lvextend -q -l +20 vg0/root @1:3-22");
    lvm (&lab, "lvcreate -q -an -Zn -Wn -n swap -l 4 vg0 @0:40-43");
    g_autofree char *root = image_new ("root.img", 120 * MIB), *swap = image_new ("swap.img", 16 * MIB);
    run ("mkfs.ext4", "-q", "-F", root);
    run ("mkswap", swap);
    g_autofree char *mount_point = image_mount (root, "defaults");
    g_autofree char *synced = image_populate (mount_point, 20 * MIB);
    image_unmount ();
    put (root, 0, lab.images[0], MIB + 5 * 4 * MIB, 40 * MIB);
    put (root, 40 * MIB, lab.images[1], MIB + 3 * 4 * MIB, 80 * MIB);
    put (swap, 0, lab.images[0], MIB + 40 * 4 * MIB, 16 * MIB);
    lab_detach (&lab);
    g_autoptr (vmf_map) map = lab_map (&lab);
    g_assert_cmpint (map_volume (map, "sda")->way, ==, VMF_MAP_WAY_MAP);
    g_assert_cmpint (map_volume (map, "vg0/root")->way, ==, VMF_MAP_WAY_MAP);
    g_assert_cmpint (map_volume (map, "vg0/swap")->way, ==, VMF_MAP_WAY_NONE);
    /* what no volume has is not needed, the metadata is, and the disks' ends are */
    g_assert_cmpuint (vmf_extents_total (g_ptr_array_index (map->needed, 0)), <, 60 * MIB);
    g_assert_cmpuint (vmf_extents_total (g_ptr_array_index (map->needed, 1)), <, 80 * MIB);
    struct vmf_extent first;
    g_assert_true (vmf_extents_next (g_ptr_array_index (map->needed, 0), 0, &first));
    g_assert_cmpuint (first.length, ==, MIB);

    g_autofree char *again = image_new ("again.img", 120 * MIB);
    g_autofree char *copy0 = image_copy (lab.images[0], map, 0), *copy1 = image_copy (lab.images[1], map, 1);
    put (copy0, MIB + 5 * 4 * MIB, again, 0, 40 * MIB);
    put (copy1, MIB + 3 * 4 * MIB, again, 40 * MIB, 80 * MIB);
    run ("e2fsck", "-fn", again);
    g_autofree char *again_mount = image_mount (again, "defaults");
    g_autofree char *path = g_build_filename (again_mount, "synced", NULL);
    g_autofree char *found = sha256_of (path);
    image_unmount ();
    g_assert_cmpstr (found, ==, synced);

    /* one of the disks alone: its group is not complete */
    g_autoptr (vmf_map) half = image_map_one (lab.images[0]);
    g_assert_cmpint (map_volume (half, "sda")->way, ==, VMF_MAP_WAY_ALLOCATION);
    g_assert_cmpint (map_volume (half, "vg0/root")->way, ==, VMF_MAP_WAY_ALLOCATION);
    g_assert_cmpuint (vmf_extents_total (g_ptr_array_index (half->needed, 0)), ==, 300 * MIB);

    /* the same disk twice: two PVs with one id */
    g_autoptr (vmf_map) twice = image_map ((const char *[]){ lab.images[0], lab.images[1], lab.images[0], NULL }, NULL);
    g_assert_cmpint (map_volume (twice, "vg0/root")->way, ==, VMF_MAP_WAY_ALLOCATION);
    g_assert_cmpuint (vmf_extents_total (g_ptr_array_index (twice->needed, 0)), ==, 300 * MIB);
    lab_end (&lab);
}

struct kind_case
{
    const char *name, *command;
};

static const struct kind_case kinds[] = {
    { "striped", "lvcreate -q -an -Zn -Wn -n odd -i 2 -l 10 vg0" },
};

/* Another kind in the group: it goes by allocation, and so do the group's free extents. */
static void
test_kind (const void *data)
{
    const struct kind_case *c = data;
    struct lab lab = { 0 };
    if (!lab_begin (&lab))
        return;
    lvm (&lab, c->command);
    lab_detach (&lab);
    g_autoptr (vmf_map) map = lab_map (&lab);
    g_assert_cmpint (map_volume (map, "vg0/odd")->way, ==, VMF_MAP_WAY_ALLOCATION);
    g_assert_cmpuint (vmf_extents_total (g_ptr_array_index (map->needed, 0)), ==, 300 * MIB);
    g_assert_cmpuint (vmf_extents_total (g_ptr_array_index (map->needed, 1)), ==, 300 * MIB);
    lab_end (&lab);
}

static const char good_text[] =
    "vg { id = \"a-b\" seqno = 3 format = \"lvm2\" status = [\"RESIZEABLE\", \"READ\", \"WRITE\"] extent_size = 8192\n"
    "physical_volumes { pv0 { id = \"PVPVPV-PVPV-PVPV-PVPV-PVPV-PVPV-PVPVPV\" pe_start = 2048 pe_count = 7 } }\n"
    "logical_volumes {\n"
    "  a { id = \"x\" status = [\"READ\", \"WRITE\", \"VISIBLE\"] segment_count = 1\n"
    "    segment1 { start_extent = 0 extent_count = 3 type = \"striped\" stripe_count = 1 stripes = [ \"pv0\", 0 ] } "
    "}\n"
    "  b { id = \"y\" status = [\"READ\", \"WRITE\", \"VISIBLE\"] segment_count = 1\n"
    "    segment1 { start_extent = 0 extent_count = 2 type = \"striped\" stripe_count = 1 stripes = [ \"pv0\", 4 ] } "
    "}\n"
    "} } # a comment\ncontents = \"Text Format Volume Group\" version = 1\n";

static void
put32 (uint8_t *at, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> 8 * i);
}

/* A PV of 32 MiB whose metadata is TEXT, LENGTH bytes by its header (0: TEXT's own). */
static char *
pv_image (const char *text, uint64_t length)
{
    char *image = image_new ("pv.img", 32 * MIB);
    uint8_t label[512] = "LABELONE", header[512] = { 0 };
    g_autofree char *stored = g_strdup (text);
    label[8] = 1;
    put32 (label + 20, 32);
    memcpy (label + 24, "LVM2 001", 8);
    memcpy (label + 32, "PVPVPVPVPVPVPVPVPVPVPVPVPVPVPVPV", 32);
    put32 (label + 64, 32 * MIB);
    put32 (label + 72, MIB);             /* data from 1 MiB on */
    put32 (label + 72 + 32, 4096);       /* metadata from 4 KiB on … */
    put32 (label + 72 + 40, MIB - 4096); /* … up to the data */
    put32 (label + 16, vmf_crc32 (0xf597a6cf, label + 20, 512 - 20));
    image_write (image, 512, label, sizeof label);
    memcpy (header + 4, " LVM2 x[5A%r0N*>", 16);
    put32 (header + 20, 1);
    put32 (header + 24, 4096);
    put32 (header + 32, MIB - 4096);
    put32 (header + 40, 1024);
    put32 (header + 48, (uint32_t)(length ? length : strlen (text)));
    put32 (header + 52, (uint32_t)(length >> 32));
    put32 (header + 56, vmf_crc32 (0xf597a6cf, text, strlen (text)));
    put32 (header, vmf_crc32 (0xf597a6cf, header + 4, 512 - 4));
    image_write (image, 4096, header, sizeof header);
    image_write (image, 4096 + 1024, stored, strlen (stored));
    return image;
}

static struct vmf_lvm *
read_pv_image (const char *image)
{
    struct vmf_reader *reader = reader_new (image);
    g_autoptr (GError) error = NULL;
    g_autoptr (vmf_view) view = vmf_view_new_part (0, 0, 32 * MIB);
    g_autoptr (GPtrArray) pvs = g_ptr_array_new ();
    g_ptr_array_add (pvs, view);
    struct vmf_lvm *lvm_read = vmf_lvm_read (reader, pvs, &error);
    g_assert_no_error (error);
    g_assert_cmpuint (reader->bytes_read, <=, 2 * MIB);
    reader_free (reader);
    return lvm_read;
}

static void
test_text (void)
{
    g_autofree char *image = pv_image (good_text, 0);
    g_autoptr (vmf_lvm) lvm_read = read_pv_image (image);
    g_assert_cmpstr (g_ptr_array_index (lvm_read->trouble, 0), ==, NULL);
    g_assert_cmpuint (lvm_read->volumes->len, ==, 2);
    const struct vmf_lvm_volume *b = g_ptr_array_index (lvm_read->volumes, 1);
    g_assert_cmpstr (b->name, ==, "vg/b");
    g_assert_cmpuint (b->view->size_bytes, ==, 8 * MIB);
    g_assert_cmpuint (g_array_index (b->view->segments, struct vmf_segment, 0).offset, ==, MIB + 16 * MIB);
    const struct vmf_view *unclaimed = g_ptr_array_index (lvm_read->unclaimed, 0);
    g_assert_cmpuint (unclaimed->size_bytes, ==, 8 * MIB);
    g_assert_cmpuint (g_array_index (unclaimed->segments, struct vmf_segment, 0).offset, ==, MIB + 12 * MIB);
}

struct change
{
    const char *name, *from, *to;
};

static const struct change changes[] = {
    { "overlapping-volumes", "[ \"pv0\", 4 ]", "[ \"pv0\", 2 ]" },
    { "behind-the-pv", "[ \"pv0\", 4 ]", "[ \"pv0\", 6 ]" },
    { "at-2-to-the-63", "[ \"pv0\", 4 ]", "[ \"pv0\", 9223372036854775808 ]" },
    { "more-than-the-pv-has", "pe_count = 7", "pe_count = 8" },
    { "extents-of-2-to-the-60", "extent_size = 8192", "extent_size = 1152921504606846976" },
    { "extents-of-nothing", "extent_size = 8192", "extent_size = 0" },
    { "start-that-overflows", "pe_start = 2048", "pe_start = 36028797018963967" },
    { "pv-not-here", "\"PVPVPV-", "\"OTHER1-" },
    { "gap-between-segments", "start_extent = 0 extent_count = 2", "start_extent = 1 extent_count = 2" },
    { "segment-of-nothing", "extent_count = 2", "extent_count = 0" },
    { "missing-segment", "segment_count = 1", "segment_count = 2" },
    { "exported", "\"RESIZEABLE\"", "\"EXPORTED\"" },
    { "brace-too-few", "} } #", "} #" },
    { "not-a-number", "seqno = 3", "seqno = -3" },
    { "unfinished-string", "version = 1", "version = \"1" },
    { "nested-for-ever", "version = 1", "a {a {a {a {a {a {a {a {a {a {a {a {a {a {a {a { }}}}}}}}}}}}}}}}}" },
};

static void
test_change (const void *data)
{
    const struct change *c = data;
    g_auto (GStrv) parts = g_strsplit (good_text, c->from, 2);
    g_autofree char *text = g_strjoinv (c->to, parts);
    g_assert_cmpstr (text, !=, good_text);
    g_autofree char *image = pv_image (text, 0);
    g_autoptr (vmf_lvm) lvm_read = read_pv_image (image);
    g_assert_nonnull (g_ptr_array_index (lvm_read->trouble, 0));
    g_assert_null (g_ptr_array_index (lvm_read->unclaimed, 0));
    for (guint i = 0; i < lvm_read->volumes->len; i++)
        g_assert_null (((struct vmf_lvm_volume *)g_ptr_array_index (lvm_read->volumes, i))->view);
}

static void
test_claimed_length (void)
{
    static const uint64_t lengths[] = { (uint64_t)1 << 30, (uint64_t)1 << 63, UINT64_MAX, 1 };
    for (size_t i = 0; i < G_N_ELEMENTS (lengths); i++)
    {
        g_autofree char *image = pv_image (good_text, lengths[i]);
        g_autoptr (vmf_lvm) lvm_read = read_pv_image (image);
        g_assert_nonnull (g_ptr_array_index (lvm_read->trouble, 0));
    }
}

/* Kinds that name other volumes: a and b are no file systems of their own then, and nothing is free. */
static const struct kind_case naming[] = {
    { "snapshot", "type = \"snapshot\" chunk_size = 8 origin = \"a\" cow_store = \"b\"" },
    { "mirror", "type = \"mirror\" mirror_count = 2 mirrors = [ \"a\", 0, \"b\", 0 ]" },
    { "raid1", "type = \"raid1\" device_count = 2 raids = [ \"x\", \"a\", \"y\", \"b\" ]" },
    { "thin-pool", "type = \"thin-pool\" metadata = \"a\" pool = \"b\" transaction_id = 1" },
    { "cache", "type = \"cache\" cache_pool = \"a\" origin = \"b\"" },
    { "of-the-future", "type = \"vdo-ng\" parts { first { name = \"a\" } second = [ \"b\" ] }" },
};

static void
test_naming (const void *data)
{
    const struct kind_case *c = data;
    g_autofree char *odd = g_strdup_printf ("logical_volumes { odd { id = \"z\" status = [\"READ\", \"VISIBLE\"] "
                                            "segment_count = 1 segment1 { start_extent = 0 extent_count = 3 %s } }\n",
                                            c->command);
    g_auto (GStrv) parts = g_strsplit (good_text, "logical_volumes {", 2);
    g_autofree char *text = g_strjoinv (odd, parts);
    g_autofree char *image = pv_image (text, 0);
    g_autoptr (vmf_lvm) lvm_read = read_pv_image (image);
    g_assert_cmpstr (g_ptr_array_index (lvm_read->trouble, 0), ==, NULL);
    g_assert_cmpuint (lvm_read->volumes->len, ==, 3);
    for (guint i = 0; i < 3; i++)
        g_assert_null (((struct vmf_lvm_volume *)g_ptr_array_index (lvm_read->volumes, i))->view);
    g_assert_null (g_ptr_array_index (lvm_read->unclaimed, 0));
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/lvm/linear-over-two-disks", test_linear);
    for (size_t i = 0; i < G_N_ELEMENTS (kinds); i++)
    {
        g_autofree char *name = g_strconcat ("/lvm/pitfall-43/", kinds[i].name, NULL);
        g_test_add_data_func (name, &kinds[i], test_kind);
    }
    g_test_add_func ("/lvm/text", test_text);
    for (size_t i = 0; i < G_N_ELEMENTS (naming); i++)
    {
        g_autofree char *name = g_strconcat ("/lvm/pitfall-43/", naming[i].name, NULL);
        g_test_add_data_func (name, &naming[i], test_naming);
    }
    g_test_add_func ("/lvm/hostile/claimed-length", test_claimed_length);
    for (size_t i = 0; i < G_N_ELEMENTS (changes); i++)
    {
        g_autofree char *name = g_strconcat ("/lvm/hostile/", changes[i].name, NULL);
        g_test_add_data_func (name, &changes[i], test_change);
    }
    int result = g_test_run ();
    images_end ();
    return result;
}
