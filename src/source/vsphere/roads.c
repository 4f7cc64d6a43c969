/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which way a machine's disks are read (A9), and saying so: a slow road that is chosen silently costs its user hours
 * (PITFALLS 1).
 */
#include "source/vsphere/roads.h"
#include "base/error.h"

#include <string.h>

/* In the order in which `auto` tries them. */
static const struct vsphere_road *const roads[] = { &vsphere_road_vddk, &vsphere_road_export, &vsphere_road_https,
                                                    &vsphere_road_ssh };

static const struct vsphere_road *
find_road (const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS (roads); i++)
        if (strcmp (roads[i]->name, name) == 0)
            return roads[i];
    return NULL;
}

static const struct vsphere_road *
take_named (struct vsphere_source *source, const char *name, char **why, GCancellable *cancellable, GError **error)
{
    const struct vsphere_road *road = find_road (name);
    if (!road)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE, "vsphere.road is '%s'; it is auto, vddk, export, https or ssh",
                     name);
        return NULL;
    }
    g_autofree char *unfit = road->unfit (source, source->machine, cancellable);
    if (unfit)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_MISSING, "the road %s is not open: %s", road->name, unfit);
        return NULL;
    }
    *why = g_strdup_printf ("the disks are read by the road %s, as vsphere.road says: %s", road->name, road->speed);
    return road;
}

static const struct vsphere_road *
take_best (struct vsphere_source *source, char **why, GCancellable *cancellable, GError **error)
{
    g_autoptr (GString) passed = g_string_new (NULL);
    for (size_t i = 0; i < G_N_ELEMENTS (roads); i++)
    {
        g_autofree char *unfit = roads[i]->unfit (source, source->machine, cancellable);
        if (!unfit && roads[i]->closed)
            unfit = roads[i]->closed (source, source->machine, cancellable);
        if (unfit)
        {
            g_string_append_printf (passed, "; not by %s (%s): %s", roads[i]->name, roads[i]->speed, unfit);
            continue;
        }
        *why =
            g_strdup_printf ("the disks are read by the road %s, %s%s", roads[i]->name, roads[i]->speed, passed->str);
        return roads[i];
    }
    g_set_error (error, VMF_ERROR, VMF_ERROR_MISSING, "the disks of %s cannot be read%s", source->machine->name,
                 passed->str);
    return NULL;
}

const struct vsphere_road *
vsphere_choose_road (struct vsphere_source *source, char **why, GCancellable *cancellable, GError **error)
{
    const char *name = vmf_settings_get_string (source->settings, "vsphere.road");
    return *name && strcmp (name, "auto") != 0 ? take_named (source, name, why, cancellable, error)
                                               : take_best (source, why, cancellable, error);
}
