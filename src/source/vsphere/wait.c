/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Waiting for a property by change notification; begun anew where the session was lost. */
#include "source/vsphere/updates.h"
#include "base/error.h"

#include <poll.h>
#include <string.h>

enum
{
    RENEWALS_MAX = 5,
    AWAY_MAX_S = 300, /* how long a server may give no answer while it is waited for: a restart of its services */
    AWAY_PAUSE_MS = 2000,
};

struct wait
{
    struct vmf_updates updates;
    const char *type, *moref, *path;
    const char *const *values;
    enum vmf_wait found;
    int64_t away_since_us; /* 0: it answers */
    GError *failed;
};

bool
vmf_sleep_ms (int64_t ms, GCancellable *cancellable, GError **error)
{
    GPollFD fd;
    if (cancellable && g_cancellable_make_pollfd (cancellable, &fd))
    {
        struct pollfd one = { .fd = fd.fd, .events = POLLIN };
        (void)poll (&one, 1, (int)ms);
        g_cancellable_release_fd (cancellable);
    }
    else
        g_usleep ((gulong)ms * 1000);
    return !vmf_error_if_cancelled (cancellable, error);
}

static bool
begin (struct wait *wait, GCancellable *cancellable, GError **error)
{
    const char *const paths[] = { wait->path, NULL };
    GString *spec = g_string_new (NULL);
    vmf_spec_add_paths (spec, wait->type, paths);
    vmf_spec_add_object (spec, wait->type, wait->moref);
    return vmf_updates_begin (&wait->updates, spec, cancellable, error);
}

static void
look_at_value (const char *path, const xmlNode *value, void *data)
{
    struct wait *wait = data;
    g_autofree char *text = strcmp (path, wait->path) == 0 ? vmf_xml_text (value) : NULL;
    if (text && g_strv_contains (wait->values, text))
        wait->found = VMF_WAIT_DONE;
}

/* One <objectSet>; the first that decides does. */
static void
on_object (xmlNode *object, void *data)
{
    struct wait *wait = data;
    const struct vmf_vsphere *vsphere = wait->updates.vsphere;
    const char *what = wait->updates.what;
    const xmlNode *missing = vmf_xml_child (object, "missingSet");
    struct vmf_fault_place place = { vsphere->server, vsphere->user, what };
    if (wait->found != VMF_WAIT_TIMEOUT)
        return;
    if (vmf_update_is_leave (object))
        g_set_error (&wait->failed, VMF_ERROR, VMF_ERROR_NOT_FOUND, "%s: %s: %s is not there any more", place.server,
                     what, wait->moref);
    else
        vmf_update_each (object, look_at_value, wait);
    if (missing && !wait->failed && wait->found == VMF_WAIT_TIMEOUT)
        vmf_fault_set_error (vmf_xml_find (missing, "fault/fault"), NULL, &place, &wait->failed);
    if (wait->failed)
        wait->found = VMF_WAIT_ERROR;
}

/* An answer that did not come is no answer: what is waited for goes on at the server. TIMEOUT: it may be asked again;
   ERROR: as FAILED says, or cancelled. */
static enum vmf_wait
ask_again (struct wait *wait, GError *failed, GCancellable *cancellable, GError **error)
{
    int64_t now_us = g_get_monotonic_time ();
    if (wait->away_since_us == 0)
        wait->away_since_us = now_us;
    g_debug ("%s", failed->message);
    bool is_over = !wait->updates.is_away || now_us - wait->away_since_us >= AWAY_MAX_S * G_USEC_PER_SEC;
    if (is_over)
        g_propagate_error (error, failed);
    else
        g_error_free (failed);
    return is_over || !vmf_sleep_ms (AWAY_PAUSE_MS, cancellable, error) ? VMF_WAIT_ERROR : VMF_WAIT_TIMEOUT;
}

/* One question; TIMEOUT: not yet. */
static enum vmf_wait
step (struct wait *wait, int64_t left_us, unsigned *renewals, GCancellable *cancellable, GError **error)
{
    g_autoptr (GError) failed = NULL;
    int64_t seconds = MIN (MAX (left_us / G_USEC_PER_SEC, 1), VMF_WAIT_SLICE_S);
    if (!wait->updates.collector && !begin (wait, cancellable, &failed))
        return ask_again (wait, g_steal_pointer (&failed), cancellable, error);
    enum vmf_updated told = vmf_updates_ask (&wait->updates, seconds, on_object, wait, cancellable, &failed);
    if (told == VMF_UPDATED_LOST && (*renewals)++ < RENEWALS_MAX)
    {
        vmf_updates_end (&wait->updates);
        return VMF_WAIT_TIMEOUT;
    }
    if (told == VMF_UPDATED_ERROR)
        return ask_again (wait, g_steal_pointer (&failed), cancellable, error);
    wait->away_since_us = 0;
    if (!failed)
        failed = g_steal_pointer (&wait->failed);
    if (!failed)
        return wait->found;
    g_propagate_error (error, g_steal_pointer (&failed));
    return VMF_WAIT_ERROR;
}

enum vmf_wait
vmf_wait_for (struct vmf_vsphere *vsphere, const char *what, const char *type, const char *moref, const char *path,
              const char *const *values, int64_t deadline_us, GCancellable *cancellable, GError **error)
{
    struct wait wait = { .updates = { .vsphere = vsphere, .what = what },
                         .type = type,
                         .moref = moref,
                         .path = path,
                         .values = values,
                         .found = VMF_WAIT_TIMEOUT };
    enum vmf_wait found = VMF_WAIT_TIMEOUT;
    unsigned renewals = 0;
    do
        found = step (&wait, deadline_us - g_get_monotonic_time (), &renewals, cancellable, error);
    while (found == VMF_WAIT_TIMEOUT && g_get_monotonic_time () < deadline_us);
    vmf_updates_end (&wait.updates);
    g_clear_error (&wait.failed);
    return found;
}
