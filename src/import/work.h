/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The work directory of one import: 0700, locked while its vmferry lives, and how what a dead one left is found.
 *
 * The lock is flock() on WORK/lock. A directory that has a `lock` file which nobody holds belongs to a dead import.
 */
#pragma once
#include "base/settings.h"
#include <gio/gio.h>

typedef struct vmf_work vmf_work;

/* DIR NULL: a new one below the setting work.dir, named after NAME. A DIR that exists must be empty or a dead import's,
   whose leftovers are cleared first; one that is alive is VMF_ERROR_EXISTS. */
struct vmf_work *vmf_work_new (const struct vmf_settings *settings, const char *dir, const char *name, GError **error);

/* Removes the directory and all in it, unless it is to be kept. */
void vmf_work_free (struct vmf_work *work);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_work, vmf_work_free)

const char *vmf_work_get_dir (const struct vmf_work *work);
void vmf_work_keep (struct vmf_work *work);

/* Remembers that PATH, outside the directory, belongs to it: removed with it, by whoever removes it. */
bool vmf_work_note_file (struct vmf_work *work, const char *name, const char *path, GError **error);

/* The folder of all work directories: work.dir, or /var/lib/vmferry/work for root and below $XDG_STATE_HOME for others.
 */
char *vmf_work_root (const struct vmf_settings *settings);

/* Undoes and removes DIR where it is a dead import's. True also where there was nothing to do. */
bool vmf_work_clear_dead (const char *dir, GPtrArray *removed, GError **error);
