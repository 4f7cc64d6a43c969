/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Finding VMware's VDDK, which vmferry never ships (A7, A12, A13), and the nbdkit plugin that uses it.
 *
 * Looked at are the directory of the setting vddk.lib.dir and, where that has its default, the places where others put
 * it. Nothing of VDDK is ever loaded into this process: it brings an OpenSSL of its own (PITFALLS 24). Whether it loads
 * is found out by nbdkit in a child. Main thread only (child.h).
 */
#pragma once
#include "base/settings.h"
#include <gio/gio.h>
#include <stdbool.h>

enum
{
    VMF_VDDK_NFC_PORT = 902, /* of the ESXi hosts, not of vCenter: VDDK reads there */
};

/* One directory that was looked at. */
struct vmf_vddk_place
{
    char *dir;
    char *library;   /* DIR/lib64/libvixDiskLib.so.N; NULL: none there */
    unsigned number; /* the N: 9 to 6 */
    char *version;   /* "8.0.2", by the name that the library's link leads to; NULL: not known */
    char *problem;   /* why it is of no use; NULL: it looks good */
};

struct vmf_vddk
{
    GPtrArray *places;                   /* struct vmf_vddk_place*, in the order in which they were looked at */
    const struct vmf_vddk_place *chosen; /* one of them; NULL: none is of use */
    char *libdir;                        /* what the plugin's libdir= is to be: chosen's, or its alias (A13) */
    bool wants_alias;                    /* the plugin asks for an older name: vddk-alias.h can make it */
    char *plugin;                        /* for nbdkit's command line; NULL: none */
    bool plugin_is_own;
    char *plugin_version;
    char *why;     /* why this plugin: "vmferry's own, …" */
    char *problem; /* what is missing, where it was looked for, how to get it: sentences. NULL: VDDK can be used */
};

typedef struct vmf_vddk vmf_vddk;

/* Never NULL. */
struct vmf_vddk *vmf_vddk_look (const struct vmf_settings *settings, GCancellable *cancellable);
void vmf_vddk_free (struct vmf_vddk *vddk);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_vddk, vmf_vddk_free)

/* Looks at one directory, by its files alone. Caller frees. */
struct vmf_vddk_place *vmf_vddk_look_at (const char *dir);
void vmf_vddk_place_free (struct vmf_vddk_place *place);

/* May this VDDK be used with that vSphere (PITFALLS 21: one that is too new opens disks and fails to read)? VMware's
   rule, in the release notes of VDDK 6.7 and 7.0.2: two releases back and one ahead. True where either is not known. */
bool vmf_vddk_supports (const char *vddk_version, const char *vsphere_version);
