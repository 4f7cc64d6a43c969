/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Unpacking one member of a bundle into the work directory, under a name of ours.
 *
 * Only what cannot be served where it lies: compressed members of a zip and .gz disks. Bounded by what the description
 * declares and by free space, of which a reserve stays (PITFALLS 40). Zeroes become holes.
 */
#pragma once
#include "source/bundle.h"

struct vmf_unpack_options
{
    const char *work_dir;
    unsigned number;    /* makes the name: unpacked-0, unpacked-1 … */
    bool gzip;          /* its bytes are a gzip stream */
    uint64_t max_bytes; /* no more than this comes out */
};

/* The new file's path; the caller removes and frees it. NULL with UNSAFE (more than declared), NO_SPACE, CORRUPT,
   EXISTS; nothing is left then. */
char *vmf_unpack (const struct vmf_bundle *bundle, const struct vmf_bundle_member *member,
                  const struct vmf_unpack_options *options, GCancellable *cancellable, GError **error);
