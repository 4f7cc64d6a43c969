/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An OVF's manifest (.mf): a digest for each file, as "SHA256(disk1.vmdk)= 0123…" (DMTF DSP0243, 9.1). */
#pragma once
#include "source/bundle.h"

struct vmf_manifest_entry
{
    char *name;                             /* as written */
    char *algorithm;                        /* "SHA1", "SHA256", "SHA384", "SHA512" */
    char *digest;                           /* lower-case hex */
    const struct vmf_bundle_member *member; /* NULL: not in the bundle … */
    char *missing;                          /* … and why, in the look-up's words */
};

/* struct vmf_manifest_entry*, freed with the array; their members are looked for in BUNDLE beside FOLDER. CORRUPT where
   a line cannot be understood. */
GPtrArray *vmf_manifest_parse (const char *text, struct vmf_bundle *bundle, const char *folder, GError **error);

/* Reads the member and compares. CORRUPT where it differs: the message has the name and both digests. Any thread. */
bool vmf_manifest_check (const struct vmf_bundle *bundle, const struct vmf_manifest_entry *entry,
                         GCancellable *cancellable, GError **error);
