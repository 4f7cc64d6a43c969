/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A disk that is open in VDDK: connection and handle, one of them per process. Every function blocks for as long as the
 * library likes, and all are called by one thread (vddk-disk.c's), which keeps the rules of vddk-abi.h by that.
 *
 *   vddk_session_open → the others → vddk_session_close (when no read is under way) → vddk_session_open …
 */
#pragma once
#include "vddk-library.h"
#include "vddk-map.h"
#include "vddk-words.h"

enum vddk_outcome
{
    VDDK_GOOD,
    VDDK_REFUSED, /* no room on the host: later it may work */
    VDDK_FAILED,
};

struct vddk_session
{
    const struct vddk_library *library;
    const struct vddk_target *target;
    vddk_connection connection;
    vddk_handle handle;                 /* NULL: not open */
    struct vddk_connect_params *params; /* as long as the connection */
    uint64_t capacity_sectors;
    bool was_open; /* ever */
};

enum vddk_outcome vddk_session_open (struct vddk_session *session, struct vddk_error *error);
void vddk_session_close (struct vddk_session *session);

/* The answer to a vddk_map_question(); release it with the library's FreeBlockList. */
bool vddk_session_query (struct vddk_session *session, uint64_t first, uint64_t count, struct vddk_block_list **list,
                         struct vddk_error *error);

/* Starts a read; DONE comes once, perhaps before this returns: a library without asynchronous reads (before 6.5) reads
   meanwhile. */
void vddk_session_read (struct vddk_session *session, uint64_t sector, uint64_t count, uint8_t *bytes,
                        vddk_done_fn done, void *data);

/* What it means that a read failed with CODE; IS_FIRST: none went well before. */
enum vddk_outcome vddk_session_judge_read (struct vddk_session *session, vddk_code code, bool is_first,
                                           struct vddk_error *error);
