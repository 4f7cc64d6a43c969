/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The work directory of one import: 0700, locked while its vmferry lives, and how what a dead one left is found.
 *
 * The lock is flock() on WORK/vmferry.lock, whose first line is ours. A directory that has such a file which nobody
 * holds belongs to a dead import. Nothing is removed from a directory without it, or from one that another user owns or
 * may write to: there the file could be anybody's.
 */
#pragma once
#include "base/settings.h"
#include <gio/gio.h>

#define VMF_WORK_STATE_NAME "state.json" /* state.c: what --resume goes on with */

typedef struct vmf_work vmf_work;

/* DIR NULL: a new one below the setting work.dir, named after NAME. A DIR that exists must be empty or a dead import's,
   whose leftovers are cleared first; one that is alive is VMF_ERROR_EXISTS, another user's VMF_ERROR_USAGE. */
struct vmf_work *vmf_work_new (const struct vmf_settings *settings, const char *dir, const char *name, GError **error);

/* One in the folder for temporary files, so that not even the folder of work directories is made. */
struct vmf_work *vmf_work_new_passing (GError **error);

/* Takes over DIR, a dead import's, as it is. VMF_ERROR_EXISTS where that lives, NOT_FOUND where there is none. */
struct vmf_work *vmf_work_resume (const char *dir, GError **error);

/* Has the directory what --resume goes on with? Then only `vmferry clean` clears it. */
bool vmf_work_is_resumable (const char *dir);

/* Removes the directory and all in it, unless it is to be kept. While the target's undo list lies in it, it stays as a
   dead import's, for `vmferry clean`. */
void vmf_work_free (struct vmf_work *work);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_work, vmf_work_free)

const char *vmf_work_get_dir (const struct vmf_work *work);
void vmf_work_keep (struct vmf_work *work, bool keep); /* at first a resumed one is kept, any other not */

/* True while something on the target is still to be cleared away. (With what is held at the source this keeps the
   directory, too.) */
bool vmf_work_has_undo (const struct vmf_work *work);

/* Remembers that PATH, outside the directory, belongs to it: removed with it, by whoever removes it. */
bool vmf_work_note_file (struct vmf_work *work, const char *name, const char *path, GError **error);

/* The folder of all work directories: work.dir, or /var/lib/vmferry/work for root and below $XDG_STATE_HOME for others.
 */
char *vmf_work_root (const struct vmf_settings *settings);

/* What the import in DIR holds at its source, as a sentence for people (source/source.h); NULL: nothing. Caller frees.
 */
char *vmf_work_get_held (const char *dir);

/* From here on DIR cannot be resumed: what it stands for is being undone. */
void vmf_work_forget_state (const char *dir);

/* Clears the dead below work.dir that cannot be resumed; RESUMABLE (char*) gets the directories of those that can. */
bool vmf_work_clear_all (const struct vmf_settings *settings, GPtrArray *resumable, GPtrArray *removed, GError **error);

/* Undoes and removes DIR where it is a dead import's. True also where there was nothing to do. Errors as vmf_work_new.
 */
bool vmf_work_clear_dead (const char *dir, GPtrArray *removed, GError **error);
