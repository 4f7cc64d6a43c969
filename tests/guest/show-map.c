/* SPDX-License-Identifier: GPL-2.0-or-later */
/* show-map WORK_DIR URI SIZE [URI SIZE …]: prints what vmf_map_read() finds, for measurements by hand.
 *
 * Lines: a volume each, then "needed DISK OFFSET LENGTH", then the sums.
 */
#include "guest/map.h"
#include "base/text.h"

#include <stdio.h>

int
main (int argc, char **argv)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (vmf_room) room = vmf_room_new (&error);
    unsigned n_disks = (unsigned)(argc - 2) / 2;
    g_autofree struct vmf_map_disk *disks = g_new0 (struct vmf_map_disk, n_disks + 1);
    for (unsigned i = 0; i < n_disks; i++)
        disks[i] = (struct vmf_map_disk){ i == 0   ? "sda"
                                          : i == 1 ? "sdb"
                                                   : "sdx",
                                          argv[2 + 2 * i], g_ascii_strtoull (argv[3 + 2 * i], NULL, 10) };
    int64_t start = g_get_monotonic_time ();
    g_autoptr (vmf_map) map = room ? vmf_map_read (disks, n_disks, room, argv[1], NULL, &error) : NULL;
    if (!map)
    {
        fprintf (stderr, "%s\n", error->message);
        return 1;
    }
    int64_t duration = g_get_monotonic_time () - start;
    for (guint i = 0; i < map->volumes->len; i++)
    {
        const struct vmf_map_volume *volume = g_ptr_array_index (map->volumes, i);
        printf ("%s %s %s: %" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT " bytes used, %s\n", volume->name, volume->type,
                vmf_map_way_name (volume->way), (guint64)volume->used_bytes, (guint64)volume->size_bytes, volume->why);
    }
    for (unsigned i = 0; i < n_disks && g_getenv ("SHOW_NEEDED"); i++)
    {
        const struct vmf_extents *needed = g_ptr_array_index (map->needed, i);
        for (size_t j = 0; j < vmf_extents_count (needed); j++)
            printf ("needed %u %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT "\n", i,
                    (guint64)vmf_extents_nth (needed, j).offset, (guint64)vmf_extents_nth (needed, j).length);
    }
    g_autofree char *took = vmf_text_from_duration (duration);
    printf ("%" G_GUINT64_FORMAT " bytes used, %" G_GUINT64_FORMAT " bytes read, %s\n", (guint64)map->used_bytes,
            (guint64)map->bytes_read, took);
    return 0;
}
