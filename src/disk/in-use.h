/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whether a QEMU has an image open: its locks on the file tell. Any thread. */
#pragma once
#include <stdbool.h>

enum vmf_in_use_by
{
    VMF_IN_USE_BY_WRITER, /* who may write to it, such as a running VM */
    VMF_IN_USE_BY_ANYONE, /* or read it: the VM of an overlay above it */
};

/* False also where it cannot be told: no such file, no permission, a file system without locks. */
bool vmf_in_use (const char *path, enum vmf_in_use_by who);
