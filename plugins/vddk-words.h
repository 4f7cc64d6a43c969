/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From a return code of VDDK, and what it said meanwhile, to a sentence with cause, place and remedy. Pure functions.
 */
#pragma once
#include "vddk-abi.h"
#include "vddk-error.h"
#include "vddk-log.h"

/* What is read from where; all of it borrowed, NULL where not given. */
struct vddk_target
{
    const char *file; /* "[datastore] vm/disk.vmdk", or a path when there is no server */
    const char *server, *user, *password, *cookie, *thumbprint;
    const char *vm; /* "moref=vm-21" */
    const char *snapshot, *transports;
    uint16_t port, nfc_port; /* 0: VDDK's own */
    uint32_t flags;          /* VDDK_OPEN_… */
};

struct vddk_failure
{
    const char *call; /* "Open" */
    vddk_code code;
    const char *description; /* the library's words for it */
    struct vddk_log_facts facts;
    int version; /* of the library */
    bool is_first_read;
    bool was_open; /* this disk was open before in this process: server, port and credentials are right */
};

/* The host has no room for us now; later it may. Not an error of the disk. */
bool vddk_words_is_refusal (const struct vddk_failure *failure);

/* Always false. */
bool vddk_words_explain (const struct vddk_target *target, const struct vddk_failure *failure,
                         struct vddk_error *error);
