/* SPDX-License-Identifier: GPL-2.0-or-later */
/* doctor's findings about one source on the network: what of it can be reached, by which way, and may be trusted
 * (A15, A18, A22). One question after the other; each finding is a row. Nothing of the source is changed.
 */
#pragma once
#include "base/settings.h"
#include "cli/doctor-host.h"

struct doctor_source
{
    const char *address;         /* vpx://…, esx://…, ssh://…; NULL: none */
    bool forget_thumbprint;      /* takes the pinned certificate back, and does nothing else */
    const char *remove_snapshot; /* "vm-12/snapshot-34": removes that if it is ours, and does nothing else; or NULL */
};

/* Adds rows to LIST. False: ADDRESS is none that is known, what was asked for failed, or cancelled. */
bool doctor_look_at_source (GPtrArray *list, const struct doctor_source *source, const struct vmf_settings *settings,
                            GCancellable *cancellable, GError **error);

/* ---- for doctor-*.c ---- */

/* A port that something of an import needs. */
struct doctor_port
{
    const char *host;
    uint16_t port;
    const char *purpose;   /* "VDDK fetches disks here" */
    enum row_state if_not; /* how bad it is when it cannot be reached */
    bool is_bulk;          /* disks come this way: the route is told too */
};

/* Tries all at the same time; a row or two for each. *N_OK (or NULL) counts those that answered. */
bool doctor_look_at_ports (GPtrArray *list, const struct doctor_port *ports, size_t n, size_t *n_ok,
                           GCancellable *cancellable, GError **error);

bool doctor_look_at_vsphere (GPtrArray *list, const struct doctor_source *source, const struct vmf_settings *settings,
                             GCancellable *cancellable, GError **error);
