/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A directory of our own for VDDK's temporary files and logs, and the configuration file that tells VDDK so. It goes
 * with the process; that of a killed one is swept by the next process of the same user. Main thread.
 */
#pragma once
#include "vddk-error.h"

struct vddk_temp
{
    char *directory;
    char *config; /* for InitEx */
    int lock_fd;
};

/* USER_CONFIG (or NULL) is copied into the configuration file. */
bool vddk_temp_make (struct vddk_temp *temp, const char *user_config, struct vddk_error *error);
void vddk_temp_remove (struct vddk_temp *temp);
