/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VMware's library: where it is, loading it.
 *
 *   vddk_library_find → (the caller sees to LD_LIBRARY_PATH, vddk-reexec.h) → vddk_library_load → api is valid
 *
 * It is never unloaded: it leaves threads behind. Main thread.
 */
#pragma once
#include "vddk-abi.h"
#include "vddk-error.h"

#define VDDK_DEFAULT_DIRECTORY "/opt/vmware-vddk/vmware-vix-disklib-distrib"

struct vddk_library
{
    char *path;      /* …/lib64/libvixDiskLib.so.8 */
    char *directory; /* …/lib64, what LD_LIBRARY_PATH needs */
    char *root;      /* what has lib64 in it; InitEx wants to know */
    int version;     /* 6 to 9 */
    struct vddk_api api;
};

/* LIBDIR is what VMware's archive unpacks to, or its lib64; NULL: the usual places. The highest version wins. */
bool vddk_library_find (struct vddk_library *library, const char *libdir, struct vddk_error *error);
bool vddk_library_load (struct vddk_library *library, struct vddk_error *error);
void vddk_library_free (struct vddk_library *library);

/* The library's own words for CODE. Not from one of its callbacks. */
void vddk_library_describe (const struct vddk_library *library, vddk_code code, char *text, size_t size);
