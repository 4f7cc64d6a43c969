/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside src/target/ only: the kinds of targets, and what they share.
 *
 * Main thread only, like target.h.
 */
#pragma once
#include "target/target.h"

extern const struct vmf_target_ops vmf_target_directory_ops;
extern const struct vmf_target_ops vmf_target_libvirt_ops;

/* What every target refuses of a machine: an architecture that there is no domain for. */
void vmf_target_check_arch (const struct vmf_vm *vm, GPtrArray *findings);

/* Makes the empty file PATH, which exists already, an image of FORMAT: sparse, or with PREALLOCATE its blocks reserved
   and none written. VMF_ERROR_NO_SPACE where that does not fit. */
bool vmf_blank_make (const char *path, const char *format, uint64_t size_bytes, bool preallocate,
                     GCancellable *cancellable, GError **error);

/* Whether this host has the network interface NAME as a bridge (Linux bridge, or any interface for Open vSwitch). */
bool vmf_bridge_exists (const char *name, bool openvswitch);

/* The space check: what several disks need is summed up by file system, then compared once (B11). */
typedef struct vmf_space vmf_space;
struct vmf_space *vmf_space_new (void);
void vmf_space_free (struct vmf_space *space);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_space, vmf_space_free)
/* PLACE, for messages: "pool 'default'". DIRECTORY, or the nearest of its parents that is there, is asked for its free
   space; where it is NULL, PLACE is a file system of its own with AVAILABLE_BYTES. */
void vmf_space_need (struct vmf_space *space, const char *place, const char *directory, uint64_t available_bytes,
                     const struct vmf_target_disk_wish *wish);
void vmf_space_report (const struct vmf_space *space, GPtrArray *findings);
