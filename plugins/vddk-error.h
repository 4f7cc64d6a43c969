/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Why something of the VDDK road failed: a sentence for the user with cause, place and remedy. Plain memory, any
 * thread. */
#pragma once
#include <stdbool.h>

struct vddk_error
{
    char text[1536];
};

/* Always false, so that a function can end with it. */
bool vddk_fail (struct vddk_error *error, const char *format, ...) __attribute__ ((format (printf, 2, 3)));
