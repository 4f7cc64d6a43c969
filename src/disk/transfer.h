/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One disk brought into one file, block device or NBD server, so that a kill at any moment costs at most 64 MiB.
 *
 * While it grows a file is called .NAME.vmferry-partial, in the target's folder; its own name it gets when all of it is
 * on stable storage. The journal is WORK_DIR/NAME.journal. The same call on the same work directory goes on where the
 * last ended, after a few blocks of source and target were read and found to be what the journal says. A call that was
 * killed on the last steps, when the file was complete, goes on there too; afterwards the journal is of no more use.
 *
 * Order of calls: open, run, finish, free. Run may be called by any thread, the rest by one.
 */
#pragma once
#include "disk/mover.h"

struct vmf_transfer_options
{
    const char *name;       /* of the disk: "sda", or the target's */
    const char *source;     /* what the journal calls it: a path, or a URI without secrets */
    const char *source_uri; /* NBD */
    const char *target;     /* absolute path, or an NBD URI; an NBD target must read as zeroes */
    const char *format;     /* "raw" or "qcow2"; over NBD "raw" */
    const char *work_dir;   /* there; NULL: no journal */
    uint64_t size_bytes;
    bool replace; /* a file of that name may be there: it goes at the end */
    struct vmf_mover_options
        mover; /* connections, memory_bytes, sequential, no_digests, pace, timeouts; the rest is filled in */
};

typedef struct vmf_transfer vmf_transfer;

/* VMF_ERROR_EXISTS: the target is there, or another vmferry copies it. VMF_ERROR_CORRUPT: source or target is not what
   the journal says. */
struct vmf_transfer *vmf_transfer_open (const struct vmf_transfer_options *options, GCancellable *cancellable,
                                        GError **error);
void vmf_transfer_free (struct vmf_transfer *transfer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_transfer, vmf_transfer_free)

bool vmf_transfer_run (struct vmf_transfer *transfer, GError **error);

/* Completes the target, gives it its name. Afterwards other programs may open it. */
bool vmf_transfer_finish (struct vmf_transfer *transfer, GError **error);

const struct vmf_mover_progress *vmf_transfer_get_progress (const struct vmf_transfer *transfer);

/* Removes the journal: all that it was for is done. */
void vmf_transfer_forget (struct vmf_transfer *transfer);

/* NULL: no journal. Borrowed. */
struct vmf_journal *vmf_transfer_get_journal (struct vmf_transfer *transfer);
