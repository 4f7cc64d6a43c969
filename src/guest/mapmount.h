/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A volume as a file that confined programs can open: our segments plugin serves the view, nbdfuse makes it a file.
 *
 * Both only move bytes and run unconfined; the mount is seen only inside the room. A writable mount keeps its writes to
 * itself (nbdkit's cow filter) and throws them away. Main thread only.
 */
#pragma once
#include "base/child.h"
#include "guest/bytes.h"
#include "guest/map.h"

struct vmf_mount
{
    char *dir; /* in the work directory, with everything below; `out` in it is for the program's output */
    char *out;
    char *file; /* the volume, as seen inside the room */
    char *mount_point;
    char *count_path;
    struct vmf_child *server, *fuse;
};

typedef struct vmf_mount vmf_mount;

/* NAME is unique within WORK_DIR and short. Returns before the file is there: vmf_mount_wait. */
struct vmf_mount *vmf_mount_start (const struct vmf_view *view, const struct vmf_map_disk *disks, unsigned n_disks,
                                   const struct vmf_room *room, const char *work_dir, const char *name, bool writable,
                                   GCancellable *cancellable, GError **error);
bool vmf_mount_wait (struct vmf_mount *mount, GCancellable *cancellable, GError **error);

/* Unmounts; what was read from the disks is added to BYTES_READ (NULL: not asked). Removes `dir`. */
void vmf_mount_end (struct vmf_mount *mount, uint64_t *bytes_read);
void vmf_mount_free (struct vmf_mount *mount);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_mount, vmf_mount_free)
