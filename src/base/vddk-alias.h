/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VDDK 9 for a program that asks for libvixDiskLib.so.8 (A13): a folder of vmferry's own in which everything of VDDK's
 * directory is there by links, and its library by the older name too. Nobody makes links by hand, and nothing is
 * written into VDDK's directory or the system's.
 *
 *     VMFERRY'S/vddk/opt_vddk/       bin64 → /opt/vddk/bin64, …
 *                             lib64/ everything of /opt/vddk/lib64 by its name, libvixDiskLib.so.8 →
 * …/libvixDiskLib.so.9
 *
 * The distribution's nbdkit plugin wants that; ours takes any version. Any thread.
 */
#pragma once
#include "base/vddk.h"

/* Where PLACE's alias is, or would be: below /var/lib/vmferry for root, the user's state directory for others. Caller
   frees. */
char *vmf_vddk_alias_path (const struct vmf_vddk_place *place);

/* Is it there, the user's own, and does its library lead to PLACE's? */
bool vmf_vddk_alias_is_good (const struct vmf_vddk_place *place);

/* Makes it, anew where there was one. */
bool vmf_vddk_alias_make (const struct vmf_vddk_place *place, GError **error);
