/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What doctor-vsphere.c (before the login) and doctor-vsphere-login.c (behind it) share; no other file includes this.
 */
#pragma once
#include "base/vddk.h"
#include "cli/doctor-source.h"
#include "source/vsphere/vsphere.h"

#define DOCTOR_FOR_VDDK "the road vddk (transports nbdssl and nbd) fetches disks here"

struct doctor_vsphere
{
    GPtrArray *list;
    const struct doctor_source *source;
    const struct vmf_settings *settings;
    struct vmf_vsphere_address *address;
    uint16_t port;
    GCancellable *cancellable;
};

/* The version, the hosts that have the disks, whether VDDK fits, what killed imports left; or removes one such. What
   needs a password and has none becomes a row. */
bool doctor_look_behind_login (struct doctor_vsphere *looking, GError **error);
