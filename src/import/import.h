/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One import, from a source's address to a VM on the target (DESIGN, "one cold import").
 *
 *     describe → preflight → lock ┬→ map → copy ──┬→ commit → finish
 *                                 └→ convert ─────┘
 *
 * Order of calls: new, run, read the report, free. Free undoes whatever a failed or cancelled run had made. Everything
 * is called on the main thread; callbacks come on it too. The CLI and the daemon's children use this and nothing below
 * it.
 */
#pragma once
#include "base/settings.h"
#include "vm/vm.h"
#include <gio/gio.h>
#include <jansson.h>

enum vmf_import_convert
{
    VMF_IMPORT_CONVERT_AUTO, /* yes, unless the source is KVM with virtio already (D5) */
    VMF_IMPORT_CONVERT_YES,
    VMF_IMPORT_CONVERT_NO,
};

/* What the user said. Strings are borrowed for the life of the import; NULL and 0: not said. */
struct vmf_import_options
{
    const char *source; /* address */
    /* As source.h has it. */
    bool (*ask_password) (const char *address, bool wanted, const char **password, GError **error);
    bool shut_down;     /* a running machine may be shut down; otherwise it is read from a snapshot */
    const char *vm;     /* which one, where the source has several */
    const char *format; /* of a bare image */
    const char *target; /* directory or libvirt URI */
    const char *pool;
    const char *name;
    const char *uuid; /* "new": a fresh one */
    uint64_t memory_bytes;
    uint64_t vcpus;
    const char *cpu_model, *machine_type, *os_name, *firmware;
    const char *const
        *networks; /* "SOURCE=TARGET" or "TARGET" for all; "SOURCE=none" leaves out; "bridge:br0", "network:x" */
    const char *const *macs;  /* "N=MAC" or "N=new", N the NIC's number from 1 */
    const char *const *disks; /* "sda:pool=p,format=raw,allocation=full,alias=text" or "sdb:skip" */
    const char *disk_format;  /* "qcow2" or "raw" */
    bool preallocate;
    enum vmf_import_convert convert;
    const char *root;               /* of a multi-boot guest */
    const char *const *v2v_options; /* checked against the administrator's list (B8) */
    const char *work_dir;
    const char *resume; /* the work directory of an import that ended early; only work-independent options count then */
    const char *receipt; /* a file; NULL: none */
    bool verify;         /* read the disks back and compare them with what was read */
    bool keep_work, replace, dry_run;
};

/* How far one disk is; bytes. */
struct vmf_import_disk_progress
{
    const char *name; /* "sda" */
    uint64_t needed_bytes, done_bytes, read_bytes;
    bool copied;
    const char
        *bottleneck; /* "source latency", "target" …: what it waits for; NULL: nothing, or it is not copied now */
};

struct vmf_import_progress
{
    const char *stage; /* the user's word for what runs: "copy", "commit" … */
    const struct vmf_import_disk_progress *disks;
    unsigned n_disks;
    bool converting;
    const char *convert_stage;          /* virt-v2v's own last words; NULL: none */
    int64_t convert_started_us, now_us; /* g_get_monotonic_time */
    uint64_t commit_done_bytes, commit_total_bytes;
};

enum vmf_import_message
{
    VMF_IMPORT_NOTE,
    VMF_IMPORT_WARNING,
};

/* All may be NULL. */
struct vmf_import_events
{
    void (*stage) (const char *stage, bool begins, void *data);
    void (*progress) (const struct vmf_import_progress *progress, void *data);
    void (*message) (enum vmf_import_message kind, const char *text, void *data);
    void *data;
};

/* The source's address as it may be written down and shown: a web server's without its query, which may be a signature
   that others must not have. Caller frees. */
char *vmf_import_show_source (const char *address);

typedef struct vmf_import vmf_import;
struct vmf_import *vmf_import_new (const struct vmf_import_options *options, const struct vmf_settings *settings,
                                   const struct vmf_import_events *events, GCancellable *cancellable);
void vmf_import_free (struct vmf_import *import);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_import, vmf_import_free)

/* Runs it whole, or with dry_run to the end of the preflight. On error everything is undone when this returns, but for
   the work directory with keep_work and for what get_leftovers names. */
bool vmf_import_run (struct vmf_import *import, GError **error);

/* True when a run failed before anything was touched: the preflight said no. */
bool vmf_import_was_refused (const struct vmf_import *import);

/* True once the target was written to, whether or not that was undone since. */
bool vmf_import_has_touched (const struct vmf_import *import);

/* What the run has changed at the source and did not take back: "web01 was shut down, …". NULL: nothing. Borrowed. */
const char *vmf_import_get_source_change (const struct vmf_import *import);

/* After a failed run: the work directory that --resume goes on with. NULL: everything was undone. Borrowed. */
const char *vmf_import_get_kept (const struct vmf_import *import);

/* After run: the work directory that stays because its undo list names things which are still on the target, for
   vmf_import_clean() once the cause is gone. NULL: nothing is left. Borrowed. */
const char *vmf_import_get_leftovers (const struct vmf_import *import);

/* The summary, after run; also after a failed one, as far as it came. Schema: docs/summary.md. New reference. */
json_t *vmf_import_report (const struct vmf_import *import);

/* The plan and the findings for people (after a dry run), or the summary for people. Caller frees. */
char *vmf_import_plan_text (const struct vmf_import *import);
char *vmf_import_summary_text (const struct vmf_import *import);

/* The work directories below the settings' work.dir of imports that ended early and can go on: adds them to DIRS (char*).
   And what such a one brings, "web01 from vpx://… to /srv/images", for people; caller frees. */
void vmf_import_list_resumable (const struct vmf_settings *settings, GPtrArray *dirs);
char *vmf_import_describe (const char *work_dir);

/* Clears what dead imports left: all below the settings' work.dir, or WORK_DIR alone where it is not NULL. Adds a line
   for each thing to REMOVED (char*). */
bool vmf_import_clean (const struct vmf_settings *settings, const char *work_dir, GPtrArray *removed, GError **error);
