/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Changes of objects' properties, as the server tells them: what waiting for a task (wait.c) and the inventory that
 * follows (follow.c) have in common.
 *
 * Each user has a property collector of its own at the server, with one filter; updates of a shared one would go to
 * whoever asks first. What was told is known by its version: an answer brings what has changed since, nothing else. The
 * collector dies with its session, and the server may have forgotten the version: then LOST, and all is told anew.
 *
 * Order of calls: begin, ask as often as wanted, end; after LOST end and begin again. One thread at a time.
 */
#pragma once
#include "source/vsphere/internal.h"

struct vmf_updates /* zeroed but for the first two: not begun */
{
    struct vmf_vsphere *vsphere;
    const char *what; /* for messages; borrowed */
    char *collector, *version;
    bool is_away; /* the last question, or the beginning, had no answer at all; it may be asked again */
};

/* SPEC is what stands in <spec>; freed. Its objects may be many: they are told by the first answers. */
bool vmf_updates_begin (struct vmf_updates *updates, GString *spec, GCancellable *cancellable, GError **error);
/* The collector's end takes its filter along. Not begun: nothing. */
void vmf_updates_end (struct vmf_updates *updates);

enum vmf_updated
{
    VMF_UPDATED_ERROR,
    VMF_UPDATED_NOTHING, /* in that time */
    VMF_UPDATED_PART,    /* more of the same moment is there: ask again */
    VMF_UPDATED_ALL,
    VMF_UPDATED_LOST, /* ERROR says why: for who does not want to begin again */
};

/* Waits at most WAIT_S; ON_OBJECT gets each <objectSet>. An answer that broke off is told again by the next: what is
   made of it must not mind. */
enum vmf_updated vmf_updates_ask (struct vmf_updates *updates, int64_t wait_s, vmf_answer_func on_object, void *data,
                                  GCancellable *cancellable, GError **error);

/* Is OBJECT, an <objectSet>, one that went away (from the server, or from this user's sight)? */
bool vmf_update_is_leave (const xmlNode *object);
/* Calls F with each property that an <objectSet> of an update or an <objects> of a retrieval tells. VALUE NULL: it has
   none, or none any more; an array's element that was added comes as the array would (ask for leaves). */
void vmf_update_each (const xmlNode *object, void (*f) (const char *path, const xmlNode *value, void *data),
                      void *data);
