/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the vSphere source share: one opened vCenter or ESXi host, the machine that is imported, and the
 * road by which its disks are read. The client itself (vsphere.h) knows nothing of this.
 *
 * Order of calls: as in source/source.h. Main thread, but `release` and what keeps the session alive.
 */
#pragma once
#include "source/sources.h"
#include "source/vsphere/pins.h"
#include "source/vsphere/relay.h"
#include "source/vsphere/vsphere.h"

struct vsphere_source;

/* One way of reading a machine's disks: vddk, export, https, ssh. */
struct vsphere_road
{
    const char *name;
    const char *speed; /* what an `auto` that did not choose it tells: "the fastest" */

    /* NULL: it can read this machine from here; otherwise why not, with the remedy. Caller frees. */
    char *(*unfit) (struct vsphere_source *source, const struct vmf_vsphere_machine *machine,
                    GCancellable *cancellable);

    /* NULL: it is open by all that can be told in a few seconds; otherwise why not. Asked by `auto` alone. May be NULL.
     */
    char *(*closed) (struct vsphere_source *source, const struct vmf_vsphere_machine *machine,
                     GCancellable *cancellable);

    struct vmf_image *(*image) (struct vsphere_source *source, const struct vmf_vsphere_disk *disk,
                                GCancellable *cancellable, GError **error);
};

struct vsphere_source
{
    struct vmf_source base;
    struct vmf_vsphere_address *address;
    const struct vmf_settings *settings; /* borrowed; never NULL */
    struct vmf_settings *own_settings;   /* the defaults, where none were given */
    char *work_dir;                      /* NULL: only list and describe */
    char *password;
    bool shut_down;
    struct vmf_trust trust;
    struct vmf_vsphere *vsphere;

    struct vmf_vsphere_inventory *inventory; /* while it is watched */

    struct vmf_vsphere_place place; /* what the address names; looked up once */
    bool has_place;

    struct vmf_vsphere_machine *machine; /* the last that was described */
    const struct vsphere_road *road;     /* chosen by check */
    char *https_name;                    /* what the road https calls the server; NULL: the address's name */
    struct vmf_relay *relay;             /* by which it is reached under that name; NULL: directly */
    struct vmf_vddk *vddk;               /* what the road vddk found; NULL: not looked yet */
    char *snapshot;                      /* its reference, while it holds the machine's disks still */
    bool may_come;                       /* it was asked for, and how that ended is not known */
    char *off_state;                 /* as it was off when reading began (vmf_vsphere_read_state); NULL: it is held */
    GPtrArray *held_disks;           /* struct vmf_vsphere_disk*: as the snapshot has them; NULL: the machine's own */
    struct vmf_vsphere_lease *lease; /* of the export road; taken away under lock */

    GThread *keeper;    /* asks the server something now and then, so that it does not forget us */
    GCancellable *stop; /* the keeper's questions */
    GMutex lock;
    GCond wake;
    bool closing; /* under lock */
};

/* roads.c: the road that the setting vsphere.road names or, with "auto", the first that can; *WHY gets a sentence about
   the choice, which the caller frees. NULL: none can, the error tells of each. */
const struct vsphere_road *vsphere_choose_road (struct vsphere_source *source, char **why, GCancellable *cancellable,
                                                GError **error);
extern const struct vsphere_road vsphere_road_vddk, vsphere_road_export, vsphere_road_https, vsphere_road_ssh;

/* road-https.c: puts the session's cookie where nbdkit reads it. */
bool vsphere_write_cookie (struct vsphere_source *source, GError **error);

/* checks.c */
void vsphere_check_machine (const struct vsphere_source *source, const struct vmf_vm *vm, GPtrArray *findings);

/* hold.c: for ops->hold, ops->release and ops->still; and the name of the snapshot that an import of this work
   directory made, which the caller frees (NULL: it made none). */
char *vsphere_held_name (const struct vsphere_source *source);
bool vsphere_hold (struct vsphere_source *source, const struct vmf_vm *vm, GCancellable *cancellable, GError **error);
bool vsphere_release (struct vsphere_source *source, GError **error);
bool vsphere_still (struct vsphere_source *source, GCancellable *cancellable, GError **error);

/* The disk that DISK of the description is, as it is to be read: the snapshot's where there is one. By device, never by
   order (PITFALLS 17). */
const struct vmf_vsphere_disk *vsphere_find_disk (const struct vsphere_source *source, const struct vmf_disk *disk,
                                                  GError **error);
