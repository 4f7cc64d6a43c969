/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The undo list: a file `undo` in the work directory that says, before each step, what is about to be made.
 *
 * Append-only JSON lines, each on disk before its step is taken. A step that makes something has a second line behind
 * it with the identity of what was made (inode and birth time; device numbers change with a boot), so that clearing up
 * never takes what is not ours: what has a recorded identity goes only if it still is that very thing, and what was
 * about to be made when we died goes only if it is empty. Three kinds of lines:
 *
 *     {"do": KIND, …}     about to make or move something; undone in reverse order
 *     {"did": KIND, "name": …, "ino": …, "born_ns": …}
 *                         the last such "do" is done, and this is what came of it
 *     {"trash": KIND, …}  what finish replaced; goes once "done" stands
 *     {"done": true}      the VM is visible: from here on nothing is undone, only the trash is taken out
 *
 * Order of calls: open (a work directory has one list), steps, then either commit and vmf_undo_run(), or vmf_undo_run()
 * alone, which undoes. vmf_undo_run() deletes the list when nothing of it is left. Main thread only.
 */
#pragma once
#include <glib.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct vmf_undo_id
{
    uint64_t ino;     /* 0: not known */
    uint64_t born_ns; /* since 1970; 0: the file system does not say */
};

typedef struct vmf_undo vmf_undo;
struct vmf_undo *vmf_undo_open (const char *work_dir, GError **error); /* fails with EXISTS where a list lies */
/* Opens the list of an import that was killed, to go on with it. NOT_FOUND where there is none. */
struct vmf_undo *vmf_undo_reopen (const char *work_dir, GError **error);

/* Has the list of WORK_DIR its "done"? */
bool vmf_undo_is_committed (const char *work_dir);

void vmf_undo_free (struct vmf_undo *undo);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_undo, vmf_undo_free)

/* LINE is taken over; back when it is on disk. */
bool vmf_undo_add (struct vmf_undo *undo, json_t *line, GError **error);

/* The steps on files. Paths are absolute. */

/* A new file, empty, open for writing; EXISTS where PATH is there. -1 on error. */
int vmf_undo_create_file (struct vmf_undo *undo, const char *path, mode_t mode, GError **error);
/* Somebody who was quicker is no error. */
bool vmf_undo_create_dir (struct vmf_undo *undo, const char *path, GError **error);
/* EXISTS where TO is there; never replaces. */
bool vmf_undo_rename (struct vmf_undo *undo, const char *from, const char *to, GError **error);
bool vmf_undo_trash_file (struct vmf_undo *undo, const char *path, GError **error);

/* fsync of the folder that PATH lies in. */
bool vmf_undo_sync_parent (const char *path, GError **error);

/* The point of no return. */
bool vmf_undo_commit (struct vmf_undo *undo, GError **error);

/* Undoes the list of WORK_DIR, or takes its trash out. REMOVED (char*, may be NULL) gets a sentence for each thing.
   Goes on past failures and gives the first; the list then stays for another try. */
bool vmf_undo_run (const char *work_dir, GPtrArray *removed, GError **error);

/* The same behind a commit: the VM stands, and what it replaced and could not be deleted does not undo that, but stays
   in the list. NULL, or a sentence about it; caller frees. */
char *vmf_undo_take_out_trash (const char *work_dir);

/* For those who add their own kinds (libvirt-undo.c). */

/* One "do" or "trash" with its "did". */
struct vmf_undo_step
{
    const char *kind;
    json_t *line;
    bool did;
    struct vmf_undo_id id;
    bool trash;
};

bool vmf_undo_identify (const char *path, struct vmf_undo_id *id); /* false: not there */
int64_t vmf_undo_since_ns (void);                                  /* for a "do" line's "since_ns" */
void vmf_undo_id_to_json (const struct vmf_undo_id *id, json_t *line);
/* Whether PATH is what STEP made; where that was never recorded, whether it is empty (an image
   of the line's "format" without data) and no older than the line. */
bool vmf_undo_is_ours (const struct vmf_undo_step *step, const char *path);

/* File names are bytes, JSON is UTF-8: percent escapes for what is not. Callers free. */
json_t *vmf_undo_path_to_json (const char *path);
char *vmf_undo_path_from_json (json_t *line, const char *key);
void vmf_undo_say (GPtrArray *removed, const char *format, ...) G_GNUC_PRINTF (2, 3);
