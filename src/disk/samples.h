/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Before a copy goes on: are source and target still those that its journal speaks of? */
#pragma once
#include "disk/journal.h"
#include "disk/writer.h"
#include <gio/gio.h>

/* One of the two is set. */
struct vmf_sample_place
{
    const char *which; /* "source", "target": for messages */
    const char *uri;   /* NBD */
    struct vmf_writer *writer;
    bool sequential; /* it can be read once: only blocks at its beginning are looked at */
};

/* Reads some blocks of each of the N PLACES, spread over what JOURNAL says, and compares. A difference is
 * VMF_ERROR_CORRUPT. NAME: "sda". Blocks; any thread. */
bool vmf_samples_check (struct vmf_journal *journal, const char *name, const struct vmf_sample_place *places, size_t n,
                        GCancellable *cancellable, GError **error);
