/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Receipts: what was copied and what stands on the target, in JSON (docs/receipt.md; X3). Main thread only: helpers. */
#pragma once
#include "disk/mover.h"
#include "disk/proof.h"

/* One disk's part. READ: what its journal says, of all runs; NULL: PROGRESS of the last one has to do. New reference.
 */
json_t *vmf_receipt_disk (const char *name, const char *source, const char *target, const char *format,
                          const struct vmf_mover_progress *progress, const struct vmf_proof *read,
                          const struct vmf_proof *proof, bool verified);

/* Writes a receipt, taking DISKS (an array), by a new file that is renamed. */
bool vmf_receipt_write (const char *path, json_t *disks, GError **error);

/* A disk that is complete and that nobody has open. */
struct vmf_receipt_target
{
    const char *path, *format; /* PATH: absolute, or an NBD URI */
    const char *work_dir;      /* for the helper's socket */
};

/* Reads TARGET back through a helper; OPTIONS without uri and differences. A difference from the table is an error
   (VMF_ERROR_CORRUPT) that names disk and byte. */
struct vmf_proof *vmf_receipt_read_target (const struct vmf_receipt_target *target,
                                           const struct vmf_proof_options *options, GError **error);

/* True where DIFFERENCES (char*) has none; else all of them as one error, a line each. */
bool vmf_receipt_refuse (const GPtrArray *differences, GError **error);
