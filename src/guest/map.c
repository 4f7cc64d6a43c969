/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From disks to needed bytes.
 *
 * Everything is needed to begin with. Only what a trusted map calls free, inside a volume that nothing else claims, is
 * taken away again; so what was overlooked is copied. Volumes are found first, with few reads of ours; then all maps
 * are made, a few at a time.
 */
#include "guest/map.h"
#include "guest/filesystem.h"
#include "guest/lvm.h"
#include "guest/partitions.h"
#include "guest/usedblocks.h"
#include "base/error.h"
#include "base/text.h"
#include "disk/nbd.h"

#include <string.h>

enum
{
    AT_A_TIME = 4, /* maps; each has a server, a mount and a program */
    VOLUMES_MAX = 1024,
};

struct volume
{
    struct vmf_map_volume *shown; /* owned by the map */
    struct vmf_view *view;
    struct vmf_filesystem *fs; /* NULL: decided already */
    struct vmf_mount *mount;
    struct vmf_child *child;
};

struct mapping
{
    const struct vmf_map_disk *disks;
    unsigned n_disks;
    const struct vmf_room *room;
    const char *work_dir;
    GCancellable *cancellable;
    struct vmf_reader reader;
    GPtrArray *handles; /* nbd_handle* */
    struct vmf_map *map;
    GPtrArray *volumes; /* struct volume* */
    GPtrArray *pvs;     /* struct vmf_view*, borrowed from volumes */
    GArray *pv_volumes; /* guint: index in `volumes` for each PV */
    unsigned n_mounts;  /* made so far: their folders' names */
};

static void
volume_free (gpointer data)
{
    struct volume *volume = data;
    vmf_child_free (volume->child);
    vmf_mount_free (volume->mount);
    vmf_view_free (volume->view);
    vmf_filesystem_free (volume->fs);
    g_free (volume);
}

static void
shown_free (gpointer data)
{
    struct vmf_map_volume *volume = data;
    g_free (volume->name);
    g_free (volume->type);
    g_free (volume->why);
    g_free (volume);
}

static void
handle_free (gpointer handle)
{
    vmf_nbd_close (handle);
}

static void
extents_free (gpointer extents)
{
    vmf_extents_free (extents);
}

static void
decide (struct volume *volume, enum vmf_map_way way, const char *why)
{
    volume->shown->way = way;
    g_free (volume->shown->why);
    volume->shown->why = vmf_text_printable (why, 300);
}

/* Takes VIEW over. */
static struct volume *
add_volume (struct mapping *mapping, char *name, const char *type, struct vmf_view *view, uint64_t size_bytes)
{
    struct volume *volume = g_new0 (struct volume, 1);
    volume->shown = g_new0 (struct vmf_map_volume, 1);
    volume->shown->name = vmf_text_printable (name, 200);
    volume->shown->type = g_strdup (type);
    volume->shown->size_bytes = volume->shown->used_bytes = size_bytes;
    volume->shown->way = VMF_MAP_WAY_ALLOCATION;
    volume->view = view;
    g_free (name);
    g_ptr_array_add (mapping->map->volumes, volume->shown);
    g_ptr_array_add (mapping->volumes, volume);
    return volume;
}

static void
need_not (unsigned disk, uint64_t offset, uint64_t length, void *data)
{
    struct mapping *mapping = data;
    vmf_extents_remove (g_ptr_array_index (mapping->map->needed, disk), offset, length);
}

/* Takes what lies in [0, END) of VIEW and not in USED from what is needed. */
static void
give_up_free (struct mapping *mapping, const struct vmf_view *view, const struct vmf_extents *used, uint64_t end)
{
    uint64_t at = 0;
    struct vmf_extent next;
    while (at < end)
    {
        bool more = vmf_extents_next (used, at, &next) && next.offset < end;
        uint64_t free_end = more ? next.offset : end;
        if (free_end > at)
            vmf_view_each (view, at, free_end - at, need_not, mapping);
        at = more ? next.offset + next.length : end;
    }
}

static void
add_always (const struct vmf_filesystem *fs, struct vmf_extents *used)
{
    for (guint i = 0; i < fs->always->len; i++)
    {
        const struct vmf_segment *range = &g_array_index (fs->always, struct vmf_segment, i);
        vmf_extents_add (used, range->offset, range->length);
    }
}

static uint64_t
total_within (const struct vmf_extents *set, uint64_t end)
{
    uint64_t total = 0;
    for (size_t i = 0; i < vmf_extents_count (set); i++)
    {
        struct vmf_extent extent = vmf_extents_nth (set, i);
        total += extent.offset < end ? MIN (extent.length, end - extent.offset) : 0;
    }
    return total;
}

static void
use_map (struct mapping *mapping, struct volume *volume, struct vmf_used *used, enum vmf_map_way way, const char *why)
{
    add_always (volume->fs, used->extents);
    give_up_free (mapping, volume->view, used->extents, used->end);
    volume->shown->used_bytes = total_within (used->extents, used->end);
    if (way != VMF_MAP_WAY_NONE)
        mapping->map->used_bytes += volume->shown->used_bytes;
    decide (volume, way, why);
}

static bool
read_disk (void *data, unsigned disk, uint64_t offset, void *buffer, size_t length, GError **error)
{
    struct mapping *mapping = data;
    if (g_cancellable_is_cancelled (mapping->cancellable))
        return g_set_error_literal (error, VMF_ERROR, VMF_ERROR_CANCELLED, "reading the map was stopped"), false;
    return vmf_nbd_read (g_ptr_array_index (mapping->handles, disk), mapping->disks[disk].name, buffer, length, offset,
                         mapping->cancellable, error);
}

/* What VIEW holds. Takes VIEW and NAME over. */
static bool
look_into (struct mapping *mapping, char *name, struct vmf_view *view, enum vmf_partition_kind kind, bool nested,
           GError **error)
{
    struct volume *volume = add_volume (mapping, name, "unknown", view, view->size_bytes);
    g_autoptr (vmf_filesystem) fs = vmf_filesystem_probe (view, &mapping->reader, error);
    if (!fs)
        return false;
    g_free (volume->shown->type);
    volume->shown->type = g_strdup (fs->type);
    if (kind == VMF_PARTITION_LDM)
        decide (volume, VMF_MAP_WAY_ALLOCATION, "part of a Windows dynamic disk or storage space");
    else if (fs->state == VMF_FILESYSTEM_OPAQUE)
        decide (volume, VMF_MAP_WAY_ALLOCATION, fs->why);
    else if (fs->state == VMF_FILESYSTEM_LVM && nested)
        decide (volume, VMF_MAP_WAY_ALLOCATION, "LVM inside LVM");
    else if (fs->state == VMF_FILESYSTEM_LVM)
    {
        guint index = mapping->volumes->len - 1;
        g_ptr_array_add (mapping->pvs, view);
        g_array_append_val (mapping->pv_volumes, index);
    }
    else
        volume->fs = g_steal_pointer (&fs);
    return true;
}

static void
all_by_allocation (struct mapping *mapping, unsigned disk, const char *why)
{
    struct vmf_view *view = vmf_view_new_part (disk, 0, mapping->disks[disk].size_bytes);
    decide (add_volume (mapping, g_strdup (mapping->disks[disk].name), "unknown", view, view->size_bytes),
            VMF_MAP_WAY_ALLOCATION, why);
}

static bool
look_into_partition (struct mapping *mapping, unsigned disk, const struct vmf_partition *partition, GError **error)
{
    g_autofree char *name = g_strdup_printf ("%s%u", mapping->disks[disk].name, partition->number);
    struct vmf_view *view = vmf_view_new_part (disk, partition->offset, partition->length);
    if (!partition->overlaps)
        return look_into (mapping, g_steal_pointer (&name), view, partition->kind, false, error);
    decide (add_volume (mapping, g_steal_pointer (&name), "unknown", view, view->size_bytes), VMF_MAP_WAY_ALLOCATION,
            "it overlaps another partition");
    return true;
}

/* A disk with a partition table, or one that is a volume itself; with signs of both, neither is believed. */
static bool
look_into_disk (struct mapping *mapping, unsigned disk, GError **error)
{
    g_autoptr (vmf_view) whole = vmf_view_new_part (disk, 0, mapping->disks[disk].size_bytes);
    g_autoptr (vmf_partition_table) table = vmf_partition_table_read (&mapping->reader, disk, error);
    g_autoptr (vmf_filesystem) fs = table ? vmf_filesystem_probe (whole, &mapping->reader, error) : NULL;
    if (!fs)
        return false;
    bool is_volume = !g_str_equal (fs->type, "unknown");
    bool is_boot_sector =
        g_str_equal (fs->type, "vfat") || g_str_equal (fs->type, "ntfs") || g_str_equal (fs->type, "exfat");
    bool has_partitions = table->partitions->len > 0 && !table->trouble;
    /* A FAT's boot code may look like a table in trouble. */
    if (is_volume && !has_partitions && (!table->trouble || is_boot_sector))
        return look_into (mapping, g_strdup (mapping->disks[disk].name), g_steal_pointer (&whole), VMF_PARTITION_DATA,
                          false, error);
    if (table->trouble)
        return all_by_allocation (mapping, disk, table->trouble), true;
    if (is_volume)
        return all_by_allocation (mapping, disk, "it has a partition table and is a volume itself"), true;
    if (fs->n_claims > 1)
        return all_by_allocation (mapping, disk, fs->why), true;
    if (!table->type)
        return all_by_allocation (mapping, disk, "it has no partition table and nothing known was found in it"), true;
    for (guint i = 0; i < table->partitions->len; i++)
    {
        if (mapping->volumes->len >= VOLUMES_MAX)
            return true; /* the rest is needed as a whole, as everything is that is not looked into */
        if (!look_into_partition (mapping, disk, &g_array_index (table->partitions, struct vmf_partition, i), error))
            return false;
    }
    return true;
}

static bool
look_into_lvm (struct mapping *mapping, GError **error)
{
    if (mapping->pvs->len == 0)
        return true;
    g_autoptr (vmf_lvm) lvm = vmf_lvm_read (&mapping->reader, mapping->pvs, error);
    if (!lvm)
        return false;
    for (guint i = 0; i < mapping->pvs->len; i++)
    {
        struct volume *volume = g_ptr_array_index (mapping->volumes, g_array_index (mapping->pv_volumes, guint, i));
        const char *trouble = g_ptr_array_index (lvm->trouble, i);
        struct vmf_view *unclaimed = g_ptr_array_index (lvm->unclaimed, i);
        if (unclaimed)
            vmf_view_each (unclaimed, 0, unclaimed->size_bytes, need_not, mapping);
        volume->shown->used_bytes -= unclaimed ? unclaimed->size_bytes : 0;
        decide (volume, trouble ? VMF_MAP_WAY_ALLOCATION : VMF_MAP_WAY_MAP,
                trouble ? trouble : "its logical volumes are listed by themselves");
    }
    for (guint i = 0; i < lvm->volumes->len && mapping->volumes->len < VOLUMES_MAX; i++)
    {
        struct vmf_lvm_volume *volume = g_ptr_array_index (lvm->volumes, i);
        if (!volume->view)
            decide (add_volume (mapping, g_strdup (volume->name), "unknown", NULL, volume->size_bytes),
                    VMF_MAP_WAY_ALLOCATION, volume->why);
        else if (!look_into (mapping, g_strdup (volume->name), g_steal_pointer (&volume->view), VMF_PARTITION_DATA,
                             true, error))
            return false;
    }
    return true;
}

/* What ends the whole map: a stop by the user. A file system that cannot be mapped, be it for want of a program, ends
   nothing. */
static bool
is_fatal (struct mapping *mapping, const GError *error)
{
    return g_cancellable_is_cancelled (mapping->cancellable) || g_error_matches (error, VMF_ERROR, VMF_ERROR_CANCELLED);
}

/* Decides for allocation with ERROR as the reason, or passes a fatal one on. Takes FAILED over. */
static bool
give_up (struct mapping *mapping, struct volume *volume, GError *failed, GError **error)
{
    if (is_fatal (mapping, failed))
    {
        g_propagate_error (error, failed);
        return false;
    }
    bool ours = g_error_matches (failed, VMF_ERROR,
                                 VMF_ERROR_CORRUPT); /* a sentence of usedblocks.c's, not a program's words */
    g_autofree char *why = g_strconcat (ours ? "" : "its map could not be read: ", failed->message, NULL);
    decide (volume, VMF_MAP_WAY_ALLOCATION, why);
    g_error_free (failed);
    return true;
}

/* Before and after the replay: the target gets the bytes as they are, journal and all, so both views must be whole
   there: what boots before the journal is replayed (GRUB) reads the one, the system the other. The journal's own blocks
   are in both. */
static bool
replay (struct mapping *mapping, struct volume *volume, struct vmf_used *used, GError **error)
{
    struct vmf_used after = { 0 };
    if (!vmf_used_replay (volume->fs, volume->mount, mapping->room, mapping->cancellable, error))
        return false;
    g_autoptr (vmf_child) child = vmf_used_start (volume->fs, volume->mount, mapping->room, "after", error);
    bool good = child
                && vmf_used_finish (child, volume->fs, volume->mount, mapping->room, "after", &after,
                                    mapping->cancellable, error);
    if (good && after.end == used->end)
        vmf_extents_add_all (used->extents, after.extents);
    else if (good)
        g_set_error_literal (error, VMF_ERROR, VMF_ERROR_CORRUPT, "its journal's replay changes its size");
    good = good && after.end == used->end;
    vmf_used_clear (&after);
    return good;
}

static bool
start_map (struct mapping *mapping, struct volume *volume, GError **error)
{
    GError *failed = NULL;
    g_autofree char *name = g_strdup_printf ("map-%u", mapping->n_mounts++);
    bool writable = volume->fs->state == VMF_FILESYSTEM_REPLAY || volume->fs->windows_check;
    volume->mount = vmf_mount_start (volume->view, mapping->disks, mapping->n_disks, mapping->room, mapping->work_dir,
                                     name, writable, mapping->cancellable, &failed);
    return volume->mount || give_up (mapping, volume, failed, error);
}

static bool
run_map (struct mapping *mapping, struct volume *volume, GError **error)
{
    GError *failed = NULL;
    if (!volume->mount)
        return true;
    if (vmf_mount_wait (volume->mount, mapping->cancellable, &failed))
        volume->child = vmf_used_start (volume->fs, volume->mount, mapping->room, "map", &failed);
    return volume->child || give_up (mapping, volume, failed, error);
}

static bool
take_map (struct mapping *mapping, struct volume *volume, GError **error)
{
    struct vmf_used used = { 0 };
    GError *failed = NULL;
    const struct vmf_filesystem *fs = volume->fs;
    bool replayed = fs->state == VMF_FILESYSTEM_REPLAY;
    bool good =
        vmf_used_finish (volume->child, fs, volume->mount, mapping->room, "map", &used, mapping->cancellable, &failed);
    if (good && fs->windows_check)
        good = vmf_used_check_ntfs (fs, volume->mount, mapping->room, mapping->cancellable, &failed);
    if (good && replayed)
        good = replay (mapping, volume, &used, &failed);
    if (good)
        use_map (mapping, volume, &used, replayed ? VMF_MAP_WAY_REPLAYED : VMF_MAP_WAY_MAP,
                 replayed ? "its journal needs recovery; its map was read before and after a replay" : fs->why);
    vmf_used_clear (&used);
    return good || give_up (mapping, volume, failed, error);
}

static bool
finish_map (struct mapping *mapping, struct volume *volume, GError **error)
{
    bool good = !volume->child || take_map (mapping, volume, error);
    g_clear_pointer (&volume->child, vmf_child_free);
    if (volume->mount)
        vmf_mount_end (volume->mount, &mapping->map->bytes_read);
    return good;
}

static bool
map_batch (struct mapping *mapping, GPtrArray *batch, GError **error)
{
    for (guint i = 0; i < batch->len; i++)
        if (!start_map (mapping, g_ptr_array_index (batch, i), error))
            return false;
    for (guint i = 0; i < batch->len; i++)
        if (!run_map (mapping, g_ptr_array_index (batch, i), error))
            return false;
    for (guint i = 0; i < batch->len; i++)
        if (!finish_map (mapping, g_ptr_array_index (batch, i), error))
            return false;
    return true;
}

static bool
map_volumes (struct mapping *mapping, GError **error)
{
    g_autoptr (GPtrArray) batch = g_ptr_array_new ();
    for (guint i = 0; i < mapping->volumes->len; i++)
    {
        struct volume *volume = g_ptr_array_index (mapping->volumes, i);
        if (volume->fs && volume->fs->state == VMF_FILESYSTEM_UNUSED)
        {
            struct vmf_used none = { vmf_extents_new (), volume->fs->size_bytes };
            use_map (mapping, volume, &none, VMF_MAP_WAY_NONE, volume->fs->why);
            vmf_used_clear (&none);
        }
        else if (volume->fs)
            g_ptr_array_add (batch, volume);
        if (batch->len == AT_A_TIME || (i + 1 == mapping->volumes->len && batch->len > 0))
        {
            if (!map_batch (mapping, batch, error))
                return false;
            g_ptr_array_set_size (batch, 0);
        }
    }
    return true;
}

static bool
connect_disks (struct mapping *mapping, uint64_t *sizes, GError **error)
{
    for (unsigned i = 0; i < mapping->n_disks; i++)
    {
        const struct vmf_map_disk *disk = &mapping->disks[i];
        struct nbd_handle *nbd = vmf_nbd_connect (disk->uri, disk->name, VMF_NBD_NONE, mapping->cancellable, error);
        struct vmf_extents *needed = vmf_extents_new ();
        vmf_extents_add (needed, 0, disk->size_bytes);
        g_ptr_array_add (mapping->map->needed, needed);
        if (!nbd)
            return false;
        g_ptr_array_add (mapping->handles, nbd);
        int64_t size = nbd_get_size (nbd);
        sizes[i] = MIN (disk->size_bytes, size > 0 ? (uint64_t)size : 0);
    }
    return true;
}

static bool
read_map (struct mapping *mapping, uint64_t *sizes, GError **error)
{
    if (!connect_disks (mapping, sizes, error))
        return false;
    for (unsigned i = 0; i < mapping->n_disks; i++)
        if (!look_into_disk (mapping, i, error))
            return false;
    if (!look_into_lvm (mapping, error))
        return false;
    mapping->map->bytes_read += mapping->reader.bytes_read;
    return map_volumes (mapping, error);
}

/* For disks that cannot be looked into beforehand. */
static struct vmf_map *
whole_map (const struct vmf_map_disk *disks, unsigned n_disks, const char *why)
{
    struct vmf_map *map = g_new0 (struct vmf_map, 1);
    map->needed = g_ptr_array_new_with_free_func (extents_free);
    map->volumes = g_ptr_array_new_with_free_func (shown_free);
    for (unsigned i = 0; i < n_disks; i++)
    {
        struct vmf_extents *all = vmf_extents_new ();
        struct vmf_map_volume *volume = g_new0 (struct vmf_map_volume, 1);
        vmf_extents_add (all, 0, disks[i].size_bytes);
        g_ptr_array_add (map->needed, all);
        volume->name = g_strdup (disks[i].name);
        volume->type = g_strdup ("disk");
        volume->size_bytes = volume->used_bytes = disks[i].size_bytes;
        volume->way = VMF_MAP_WAY_ALLOCATION;
        volume->why = g_strdup (why);
        g_ptr_array_add (map->volumes, volume);
    }
    return map;
}

struct vmf_map *
vmf_map_read (const struct vmf_map_disk *disks, unsigned n_disks, const struct vmf_room *room, const char *work_dir,
              GCancellable *cancellable, GError **error)
{
    for (unsigned i = 0; i < n_disks; i++)
        if (disks[i].whole_why)
            return whole_map (disks, n_disks, disks[i].whole_why);
    g_autoptr (vmf_map) map = g_new0 (struct vmf_map, 1);
    g_autofree uint64_t *sizes = g_new0 (uint64_t, n_disks);
    g_autoptr (GPtrArray) handles = g_ptr_array_new_with_free_func (handle_free);
    g_autoptr (GPtrArray) volumes = g_ptr_array_new_with_free_func (volume_free);
    g_autoptr (GPtrArray) pvs = g_ptr_array_new ();
    g_autoptr (GArray) pv_volumes = g_array_new (FALSE, FALSE, sizeof (guint));
    map->needed = g_ptr_array_new_with_free_func (extents_free);
    map->volumes = g_ptr_array_new_with_free_func (shown_free);
    struct mapping mapping = {
        .disks = disks,
        .n_disks = n_disks,
        .room = room,
        .work_dir = work_dir,
        .cancellable = cancellable,
        .reader = { sizes, n_disks, read_disk, NULL, 0 },
        .handles = handles,
        .map = map,
        .volumes = volumes,
        .pvs = pvs,
        .pv_volumes = pv_volumes,
    };
    mapping.reader.data = &mapping;
    if (!read_map (&mapping, sizes, error))
    {
        g_prefix_error (error, "cannot read which blocks are in use: ");
        return NULL;
    }
    return g_steal_pointer (&map);
}

void
vmf_map_free (struct vmf_map *map)
{
    if (!map)
        return;
    g_clear_pointer (&map->needed, g_ptr_array_unref);
    g_clear_pointer (&map->volumes, g_ptr_array_unref);
    g_free (map);
}

const char *
vmf_map_way_name (enum vmf_map_way way)
{
    static const char *const names[] = { "map", "replayed", "allocation", "none" };
    return names[way];
}
