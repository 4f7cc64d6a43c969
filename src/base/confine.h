/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The command line that a child is really started with: bubblewrap in front where its options ask for a cage or for
 * confinement. Only child.c needs this.
 */
#pragma once
#include "base/child.h"

/* NULL-terminated; owns its strings. */
GPtrArray *vmf_confine_argv (const struct vmf_child_options *options);
