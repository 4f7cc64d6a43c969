/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making a running machine's disks hold still (B5), and taking that back.
 *
 * The snapshot has a name of its own, which is written to WORK/source-holds before it is made: an import that was
 * killed finds it again with --resume, `vmferry clean` names it, and `vmferry doctor SOURCE` finds it by its
 * description's mark without any of this. Of a machine that was off the file says that: it must still be so when the
 * import is resumed.
 */
#include "source/vsphere/roads.h"
#include "base/error.h"
#include "base/text.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>

enum
{
    SHUT_DOWN_MAX_MS = 10 * 60 * 1000, /* a guest that installs updates takes its time */
};

/* What stands in the file of a machine that was off: no snapshot's name, nothing to tell, and why. */
static const char off_text[] = "\n\nit was off\n";

static char *
held_path (const struct vsphere_source *source)
{
    return source->work_dir ? g_build_filename (source->work_dir, VMF_SOURCE_HOLDS_NAME, NULL) : NULL;
}

char *
vsphere_held_name (const struct vsphere_source *source)
{
    g_autofree char *path = held_path (source), *text = NULL;
    if (!path || !g_file_get_contents (path, &text, NULL, NULL))
        return NULL;
    g_auto (GStrv) lines = g_strsplit (text, "\n", 3);
    return lines[0] && *lines[0] ? g_strdup (lines[0]) : NULL;
}

static bool
write_held (const struct vsphere_source *source, const char *name, GError **error)
{
    g_autofree char *path = held_path (source);
    g_autofree char *text =
        g_strdup_printf ("%s\nthe snapshot '%s' of %s on %s may still be there; 'vmferry doctor %s' tells, and how to "
                         "remove it\n",
                         name, name, source->machine->name, source->address->host, source->base.address);
    return !path
           || g_file_set_contents_full (path, text, -1, G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE,
                                        0600, error);
}

/* Of a machine that is off nothing is held; but an import that is resumed must find it as it was. */
static bool
write_off (const struct vsphere_source *source, GError **error)
{
    g_autofree char *path = held_path (source);
    return !path
           || g_file_set_contents_full (path, off_text, -1,
                                        G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE, 0600, error);
}

static bool
was_off (const struct vsphere_source *source)
{
    g_autofree char *path = held_path (source), *text = NULL;
    return path && g_file_get_contents (path, &text, NULL, NULL) && strcmp (text, off_text) == 0;
}

/* The snapshot NAME of the machine, as it was described. */
static const struct vmf_vsphere_snapshot *
find_snapshot (const struct vmf_vsphere_machine *machine, const char *name)
{
    for (guint i = 0; name && i < machine->snapshots->len; i++)
    {
        const struct vmf_vsphere_snapshot *one = g_ptr_array_index (machine->snapshots, i);
        if (strcmp (one->name, name) == 0)
            return one;
    }
    return NULL;
}

static char *
make_snapshot (struct vsphere_source *source, GCancellable *cancellable, GError **error)
{
    g_autofree char *uuid = g_uuid_string_random (), *time = vmf_text_from_time (g_get_real_time ());
    g_autofree char *name = g_strdup_printf ("vmferry-%.8s", uuid);
    g_autofree char *description = g_strdup_printf (
        VMF_SNAPSHOT_MARK " made %s by an import on %s; it may be removed when no import of this machine runs", time,
        g_get_host_name ());
    if (!write_held (source, name, error))
        return NULL;
    return vmf_vsphere_create_snapshot (source->vsphere, source->machine->moref, name, description, false, cancellable,
                                        error);
}

static bool
use_snapshot (struct vsphere_source *source, GCancellable *cancellable, GError **error)
{
    g_clear_pointer (&source->held_disks, g_ptr_array_unref);
    source->held_disks = vmf_vsphere_snapshot_disks (source->vsphere, source->snapshot, cancellable, error);
    return source->held_disks != NULL;
}

/* What is said of the machine after its state changed. */
static bool
describe_again (struct vsphere_source *source, GCancellable *cancellable, GError **error)
{
    struct vmf_vsphere_machine *machine =
        vmf_vsphere_describe (source->vsphere, NULL, source->machine->moref, cancellable, error);
    if (!machine)
        return false;
    if (strcmp (machine->moref, source->machine->moref) != 0) /* a name goes before a reference */
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED,
                     "another machine has the name '%s', which is the reference of '%s': rename it first",
                     source->machine->moref, source->machine->name);
        vmf_vsphere_machine_free (machine);
        return false;
    }
    vmf_vsphere_machine_free (source->machine);
    source->machine = machine;
    return true;
}

bool
vsphere_hold (struct vsphere_source *source, const struct vmf_vm *vm, GCancellable *cancellable, GError **error)
{
    g_autofree char *name = vsphere_held_name (source);
    const struct vmf_vsphere_snapshot *earlier = find_snapshot (source->machine, name);
    if (!earlier && name) /* the disks have changed since, also where it is off now, and so would half of the copy */
    {
        g_set_error (
            error, VMF_ERROR, VMF_ERROR_CORRUPT,
            "the snapshot '%s' that this import was reading from is gone; clear it with 'vmferry clean --work %s' "
            "and begin anew",
            name, source->work_dir);
        return false;
    }
    if (!earlier && source->machine->power != VMF_POWER_ON)
        return write_off (source, error);
    if (was_off (source)) /* as above */
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT,
                     "'%s' was off when this import read its disks and has been started since, so they have changed; "
                     "clear the import with 'vmferry clean --work %s' and begin anew",
                     source->machine->name, source->work_dir);
        return false;
    }
    if (!earlier && source->shut_down)
        return vmf_vsphere_shut_down (source->vsphere, source->machine->moref, SHUT_DOWN_MAX_MS, false, cancellable,
                                      error)
               && describe_again (source, cancellable, error) && write_off (source, error);
    source->snapshot = earlier ? g_strdup (earlier->moref) : make_snapshot (source, cancellable, error);
    return source->snapshot && use_snapshot (source, cancellable, error);
}

static void
forget_held (struct vsphere_source *source)
{
    g_autofree char *path = held_path (source);
    if (path)
        g_unlink (path);
    g_clear_pointer (&source->snapshot, g_free);
}

/* An import that was killed had not told us the snapshot's reference. */
static bool
find_lost (struct vsphere_source *source, GError **error)
{
    g_autofree char *name = vsphere_held_name (source);
    if (source->snapshot || !name)
        return true;
    if (!describe_again (source, NULL, error))
        return false;
    const struct vmf_vsphere_snapshot *found = find_snapshot (source->machine, name);
    source->snapshot = found ? g_strdup (found->moref) : NULL;
    return true;
}

bool
vsphere_release (struct vsphere_source *source, GError **error)
{
    g_mutex_lock (&source->lock);
    struct vmf_vsphere_lease *lease = g_steal_pointer (&source->lease);
    g_mutex_unlock (&source->lock);
    vmf_vsphere_lease_end (lease, true);
    if (!find_lost (source, error)
        || (source->snapshot
            && !vmf_vsphere_remove_snapshot (source->vsphere, source->machine->moref, source->snapshot, NULL, error)))
    {
        g_autofree char *name = vsphere_held_name (source);
        g_prefix_error (
            error,
            "the snapshot '%s' of %s is still there; 'vmferry doctor %s' lists it, and with which command it "
            "is removed: ",
            name ? name : source->snapshot, source->machine->name, source->base.address);
        return false;
    }
    forget_held (source);
    return true;
}
