/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making a running machine's disks hold still (B5), and taking that back.
 *
 * The snapshot has a name of its own, which is written to WORK/source-holds before it is made: an import that was
 * killed finds it again with --resume, `vmferry clean` names it, and `vmferry doctor SOURCE` finds it by its
 * description's mark without any of this. Of a machine that was off the file says that, and in which state it was: it
 * must still be so when the import is resumed, and when all is copied. Otherwise the copy would be half one state and
 * half another, and nobody would see it.
 */
#include "source/vsphere/internal.h"
#include "source/vsphere/roads.h"
#include "base/error.h"
#include "base/text.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>

enum
{
    ASK_AGAIN_MS = 2000,
    SETTLE_TRIES = 15,
};

/* What stands in the file of a machine that was off: no snapshot's name, nothing to tell, and why. Its state follows.
 */
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
    g_autofree char *path = held_path (source), *text = g_strconcat (off_text, source->off_state, NULL);
    return !path
           || g_file_set_contents_full (path, text, -1, G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE,
                                        0600, error);
}

/* The state in which it was off when this import began; NULL: it was not, or this is the beginning. Caller frees. */
static char *
read_off (const struct vsphere_source *source)
{
    g_autofree char *path = held_path (source), *text = NULL;
    bool off = path && g_file_get_contents (path, &text, NULL, NULL) && g_str_has_prefix (text, off_text);
    return off ? g_strdup (text + strlen (off_text)) : NULL;
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
    return vmf_vsphere_create_snapshot (source->vsphere, source->machine->moref, name, description, false,
                                        &source->may_come, cancellable, error);
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
        vmf_vsphere_describe_reference (source->vsphere, source->machine->moref, cancellable, error);
    if (!machine)
        return false;
    vmf_vsphere_machine_free (source->machine);
    source->machine = machine;
    return true;
}

/* ---- one that is off ---- */

/* The first line in which NOW is not as WAS says what has become of a machine that was off. */
static const char *
what_changed (const struct vsphere_source *source, const char *was, const char *now)
{
    g_auto (GStrv) before = g_strsplit (was, "\n", -1), after = g_strsplit (now, "\n", -1);
    unsigned i = 0;
    while (before[i] && after[i] && strcmp (before[i], after[i]) == 0)
        i++;
    const char *line = before[i] ? before[i] : "", *its = after[i] ? after[i] : "";
    g_debug ("%s: it was '%s', and is '%s'", source->machine->name, line, its);
    if (g_str_has_prefix (line, "power ") || g_str_has_prefix (line, "started "))
        return "it has been started since, so they have changed";
    if (g_str_has_prefix (line, "configuration "))
        return "its configuration has been changed since, and they may have been, too";
    return "they have been changed since";
}

static bool
refuse_state (const struct vsphere_source *source, const char *was, const char *now, const char *remedy, GError **error)
{
    g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT,
                 "'%s' was off when this import began to read its disks, and %s; %s", source->machine->name,
                 what_changed (source, was, now), remedy);
    return false;
}

static bool
refuse_to_resume (const struct vsphere_source *source, const char *was, const char *now, GError **error)
{
    g_autofree char *remedy =
        g_strdup_printf ("clear the import with 'vmferry clean --work %s' and begin anew", source->work_dir);
    return refuse_state (source, was, now, remedy, error);
}

/* What it is in now, of which WAS tells. Caller frees. */
static char *
read_state (const struct vsphere_source *source, const char *was, GCancellable *cancellable, GError **error)
{
    return vmf_vsphere_read_state (source->vsphere, source->machine->moref, was, cancellable, error);
}

static bool
hold_off (struct vsphere_source *source, GCancellable *cancellable, GError **error)
{
    g_autofree char *was = read_off (source);
    g_free (source->off_state);
    source->off_state = read_state (source, was, cancellable, error);
    if (!source->off_state)
        return false;
    if (!was && g_str_has_prefix (source->off_state, "power poweredOn"))
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED,
                     "'%s' was off, and has been started just now; leave it off until all is copied, or begin again, "
                     "and it is read from a snapshot",
                     source->machine->name);
        return false;
    }
    if (!was)
        return write_off (source, error);
    return strcmp (was, source->off_state) == 0 || refuse_to_resume (source, was, source->off_state, error);
}

/* A server that is away for a moment must not cost what was copied in hours. */
static char *
read_state_patiently (const struct vsphere_source *source, GCancellable *cancellable, GError **error)
{
    int64_t retry_s = (int64_t)vmf_settings_get_uint64 (source->settings, "copy.retry_s");
    int64_t deadline_us = g_get_monotonic_time () + retry_s * G_USEC_PER_SEC;
    for (;;)
    {
        g_autoptr (GError) failed = NULL;
        char *state = read_state (source, source->off_state, cancellable, &failed);
        if (state)
            return state;
        if (!g_error_matches (failed, VMF_ERROR, VMF_ERROR_FAILED) || g_get_monotonic_time () >= deadline_us)
        {
            g_propagate_error (error, g_steal_pointer (&failed));
            g_prefix_error (error, "whether the disks of '%s' held still while they were copied cannot be told: ",
                            source->machine->name);
            return NULL;
        }
        g_debug ("%s", failed->message);
        if (!vmf_sleep_ms (ASK_AGAIN_MS, cancellable, error))
            return NULL;
    }
}

bool
vsphere_still (struct vsphere_source *source, GCancellable *cancellable, GError **error)
{
    static const char remedy[] = "the copy is no one state of them; begin anew and leave it off until all is copied, "
                                 "or import it while it runs, from a snapshot";
    if (!source->off_state)
        return true;
    g_autofree char *now = read_state_patiently (source, cancellable, error);
    return now
           && (strcmp (now, source->off_state) == 0 || refuse_state (source, source->off_state, now, remedy, error));
}

/* ---- both ---- */

/* What a machine does last to its files may be seen a moment after it is off; it must not look like a change later. */
static bool
let_settle (const struct vsphere_source *source, GCancellable *cancellable, GError **error)
{
    g_autofree char *before = read_state (source, NULL, cancellable, error);
    for (unsigned i = 0; before && i < SETTLE_TRIES; i++)
    {
        if (!vmf_sleep_ms (ASK_AGAIN_MS, cancellable, error))
            return false;
        char *now = read_state (source, before, cancellable, error);
        bool same = now && strcmp (before, now) == 0;
        g_free (before);
        before = now;
        if (same)
            return true;
    }
    return before != NULL;
}

static bool
shut_down (struct vsphere_source *source, GCancellable *cancellable, GError **error)
{
    int64_t most_ms = (int64_t)vmf_settings_get_uint64 (source->settings, "vsphere.shutdown_s") * 1000;
    bool asked;
    if (!vmf_vsphere_shut_down (source->vsphere, source->machine->moref, most_ms, false, &asked, cancellable, error))
    {
        if (asked)
            source->base.done = g_strdup_printf ("%s was asked to shut down, and may yet do so", source->machine->name);
        g_prefix_error (error, "'%s' runs on: ", source->machine->name);
        return false;
    }
    source->base.done = g_strdup_printf ("%s was shut down, and is off at the source", source->machine->name);
    return describe_again (source, cancellable, error) && let_settle (source, cancellable, error)
           && hold_off (source, cancellable, error);
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
        return hold_off (source, cancellable, error);
    g_autofree char *off = read_off (source);
    if (off) /* as above */
        return refuse_to_resume (source, off, "power poweredOn", error);
    if (!earlier && source->shut_down)
        return shut_down (source, cancellable, error);
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

/* Nobody knows yet whether there is something to remove: the note stays, and the work directory with it. */
static bool
keep_note (const struct vsphere_source *source, GError **error)
{
    g_autofree char *name = vsphere_held_name (source), *path = held_path (source);
    g_autofree char *why = error && *error ? g_strconcat (" (", (*error)->message, ")", NULL) : g_strdup ("");
    g_clear_error (error);
    g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED,
                 "%s was asked for the snapshot '%s' of %s, and whether it is there or comes yet is not known%s; its "
                 "name stays in %s: 'vmferry clean' tells it again, and 'vmferry doctor %s' lists it once it is there, "
                 "and with which command it is removed",
                 source->address->host, name ? name : "", source->machine->name, why, path ? path : "no file",
                 source->base.address);
    return false;
}

/* It could not be removed, or its files could not be merged into the disks afterwards. What is still there is told, and
   by its mark found by whoever looks for it. */
static bool
give_up (struct vsphere_source *source, GError **error)
{
    g_autofree char *name = vsphere_held_name (source);
    bool gone = name && describe_again (source, NULL, NULL) && !find_snapshot (source->machine, name);
    if (gone)
        g_prefix_error (error,
                        "the snapshot '%s' of %s is removed, but its files are not merged into the disks yet; in the "
                        "vSphere Client that is Snapshots, Consolidate: ",
                        name, source->machine->name);
    else
        g_prefix_error (error,
                        "the snapshot '%s' of %s is still there; 'vmferry doctor %s' lists it, and with which command "
                        "it is removed: ",
                        name ? name : source->snapshot, source->machine->name, source->base.address);
    forget_held (source);
    return false;
}

bool
vsphere_release (struct vsphere_source *source, GError **error)
{
    g_mutex_lock (&source->lock);
    struct vmf_vsphere_lease *lease = g_steal_pointer (&source->lease);
    g_mutex_unlock (&source->lock);
    vmf_vsphere_lease_end (lease, true);
    bool looked = find_lost (source, error);
    if (!source->snapshot && (!looked || source->may_come))
        return keep_note (source, error);
    if (source->snapshot
        && !vmf_vsphere_remove_snapshot (source->vsphere, source->machine->moref, source->snapshot, NULL, error))
        return give_up (source, error);
    forget_held (source);
    return true;
}
