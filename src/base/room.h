/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A room: the network and mount namespaces that the helpers of one import share.
 *
 * In it loopback is up and nothing else: an NBD port there is open to nobody else on the host, and a guest's tools
 * reach no network. Mounts made in it (FUSE) are seen only in it. Unix sockets in the file system work across its
 * walls. It exists as long as a file descriptor or a process is in it, so nothing of it outlives vmferry. Who is not
 * root gets a user namespace around it.
 */
#pragma once
#include <glib.h>
#include <stdbool.h>

typedef struct vmf_room vmf_room;
/* NULL with VMF_ERROR_MISSING where the kernel or its settings do not let us. Main thread only: it forks. */
struct vmf_room *vmf_room_new (GError **error);
void vmf_room_free (struct vmf_room *room);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_room, vmf_room_free)

/* Moves the calling process into ROOM; only between fork and exec (async-signal-safe). false: errno says why. */
bool vmf_room_enter (const struct vmf_room *room);
