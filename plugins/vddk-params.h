/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The plugin's parameters: those of nbdkit's own vddk plugin, and some more (data/nbdkit-vmferry-vddk-plugin.1).
 *
 *   vddk_params_set for each → vddk_params_check → vddk_params_read_secret (once nbdkit was executed again) →
 *   vddk_params_free
 *
 * Main thread; afterwards they do not change. What fails has said so by nbdkit_error().
 */
#pragma once
#include "vddk-disk.h"

struct vddk_params
{
    struct vddk_target target;
    struct vddk_disk_options options; /* but for the slots */
    char *libdir, *config_path, *slots_directory, *mark_path;
    const char *slots_owner;
    unsigned slots_max;
    char *thumbprint, *secret_word, *secret; /* what `target` borrows */
};

extern struct vddk_params vddk_params;
extern const char vddk_params_help[];

int vddk_params_set (const char *key, const char *value);
int vddk_params_check (void);
int vddk_params_read_secret (void);
void vddk_params_free (void);
