/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VDDK finds its own libraries by LD_LIBRARY_PATH only, which the dynamic loader reads when a process starts. So nbdkit
 * is executed once more, by the same process, with VDDK's directory in front; children do not inherit that.
 *
 *   vddk_reexec_restore (as soon as the plugin is loaded) → vddk_reexec_with (before anything was read or opened)
 *
 * Arguments, file descriptors and a systemd socket pass on, so whatever can be read once (a password) is read later.
 */
#pragma once
#include "vddk-error.h"

/* In the second life: LD_LIBRARY_PATH is what the user had. */
void vddk_reexec_restore (void);

/* Returns only when DIRECTORY was in LD_LIBRARY_PATH when this process started, or with ERROR. */
bool vddk_reexec_with (const char *directory, struct vddk_error *error);
