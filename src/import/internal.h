/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of this folder share: the state of one import. Nobody outside includes it. */
#pragma once
#include "base/room.h"
#include "disk/chain.h"
#include "disk/control.h"
#include "disk/mover.h"
#include "disk/nbd.h"
#include "disk/server.h"
#include "guest/accel.h"
#include "guest/convert.h"
#include "guest/map.h"
#include "import/import.h"
#include "import/work.h"
#include "source/source.h"
#include "target/target.h"

enum
{
    IMPORT_TICK_MS = 200, /* how often progress is told when nothing else happens */
};

/* One stage as it went; names are the user's words. */
struct import_stage
{
    const char *name;
    int64_t started_us, ended_us; /* g_get_real_time; ended 0: runs, or was broken off */
};

/* Where a resumed import goes on. */
enum import_resume
{
    IMPORT_RESUME_COPY,    /* the target's disks are there; the guest is converted anew, on a new overlay */
    IMPORT_RESUME_CONVERT, /* all is copied: the same, and the source is not needed any more */
    IMPORT_RESUME_COMMIT,  /* all is copied and converted */
    IMPORT_RESUME_MOVE,    /* of staged disks: they are complete, and are to be moved to the target */
    IMPORT_RESUME_FINISH,  /* the disks are complete */
};

/* One call to the source in a thread of its own, beside copy and conversion. */
struct import_job
{
    struct vmf_import *import;
    bool (*call) (struct vmf_import *import, GError **error);
    GThread *thread; /* NULL: it was not begun, or has been collected */
    GError *error;
    bool good, ended; /* ended: atomic, set by the thread as its last act */
};

struct import_disk
{
    struct vmf_import *import;
    struct vmf_disk *disk; /* of import->vm */
    char *name;            /* "sda" */
    char *format, *pool;   /* wishes; pool may be NULL */
    bool preallocate;
    struct vmf_image *image;
    uint64_t size_bytes, expected_bytes, fetched_bytes, commit_bytes; /* expected: on the target, a guess */
    struct vmf_server *server;
    char *held_up;      /* what its helper waited for when the user was told last; NULL: for nothing yet */
    char *source_uri;   /* the server's, also while it is started again */
    int64_t restart_us; /* not before, by g_get_monotonic_time */
    int64_t gone_us;    /* since when there is no server, by the same clock */
    struct vmf_chain_options chain_options;
    struct vmf_chain *chain;
    struct vmf_journal *journal; /* of what is at write_path */
    char *write_path;            /* where the chain writes: the target's path, or the staged file */
    const struct vmf_extents *needed;
    struct vmf_pace *pace;
    struct vmf_mover_waits waits;
    struct vmf_mover_progress progress,
        first_pass; /* first_pass: of the source, when staged disks are moved behind it */
    struct vmf_mover_options mover_options;
    struct vmf_mover *mover;     /* while the thread is there */
    struct vmf_extents *dropped; /* from the mover, as the conversion's overlay covers it */
    bool left_out;               /* some was dropped and not copied: another overlay would need it from the source */
    GThread *thread;
    GError *thread_error;
    bool thread_ended;           /* atomic: set by the thread as its last act */
    struct vmf_extents *changed; /* by the conversion; NULL: not known */
    bool copied, released, committed;
    bool moving;             /* from where it was staged to the target: all of it, which no journal follows */
    bool reserved;           /* its files got their space before their data */
    uint64_t verified_bytes; /* how far it was read back */
    bool verified;           /* to its end */
};

struct vmf_import
{
    struct vmf_import_options options;
    const struct vmf_settings *settings;
    struct vmf_settings *own_settings; /* of a resumed one: with what --set said at the start; NULL: the caller's */
    struct vmf_import_events events;
    GCancellable *cancellable; /* the user's; every wait listens to it */
    GCancellable *stop;        /* ours: cancelled with the user's, or when one part failed and the others must end */
    gulong stop_link;

    struct vmf_source *source;
    struct vmf_vm *vm;
    struct vmf_target *target;
    struct import_disk *disks;
    unsigned n_disks;
    GPtrArray *target_disks; /* struct vmf_target_disk* */
    GPtrArray *findings;
    bool convert, staged;
    const char *convert_why;
    enum vmf_accel accel;
    char *accel_why;
    bool refused, created, touched, finished;
    bool sequential; /* the source's disks can be read once and in order: the conversion comes behind the copy */
    bool held;       /* ops->hold was called, so ops->release is to be */
    bool kept;       /* it failed, and can be resumed */
    bool resumed;    /* by --resume */
    enum import_resume resume; /* of a resumed one */
    json_t *state;             /* what was loaded; option strings point into it */
    GPtrArray *option_lists;   /* const char**: of the state */

    struct vmf_work *work;
    struct vmf_room *room;
    struct vmf_map *map;
    int64_t convert_started_us;
    uint64_t commit_done_bytes, commit_total_bytes;
    int64_t verify_told_us; /* when progress was told last */
    int64_t covered_us;     /* when to look again what the overlays cover */
    GPtrArray *move_needed; /* struct vmf_extents* of staged disks */
    struct vmf_convert *conversion;
    struct vmf_convert_result *converted;
    char *convert_log;
    struct vmf_pace *pace;     /* of all disks; theirs are its children */
    struct vmf_budget *budget; /* memory of all movers; made with the first */
    struct vmf_control *control;
    int wake_fd;                       /* eventfd: threads of ours say that they have ended */
    struct import_job verify, release; /* what the source vouches for; what hold made is taken back */

    GArray *stages; /* struct import_stage */
    int64_t source_opened_us, source_released_us;
    GPtrArray *changes; /* char*: what the domain has otherwise than the source (B18) */
    char *result;       /* what finish gave */
    char *failure;      /* the message of a failed run */
    char *leftovers;    /* the work directory, where its undo list could not be worked off */
};

/* stages.c */
void import_stage_begin (struct vmf_import *import, const char *name);
void import_stage_end (struct vmf_import *import, const char *name);
void import_say (struct vmf_import *import, enum vmf_import_message kind, const char *format, ...) G_GNUC_PRINTF (3, 4);
void import_tell_held_up (const char *why, void *data); /* DATA: a disk; WHY it waits for its turn, or NULL */

/* run.c: frees what DISK holds, not DISK; its thread has been joined. */
bool import_open_converted (struct vmf_import *import, GError **error); /* chains over what is converted already */
void import_disk_clear (struct import_disk *disk);

/* apply.c: the user's changes to the description (C16). VMF_ERROR_USAGE. */
bool import_apply (struct vmf_import *import, GError **error);

/* plan.c: describe, choose, look; touches nothing. */
bool import_describe (struct vmf_import *import, GError **error);
bool import_preflight (struct vmf_import *import, GError **error);
struct vmf_target_disk_wish *import_wishes (const struct vmf_import *import); /* one for each disk; caller frees */

/* job.c: calls of the source beside the rest; main thread. join waits for one that was begun, poll does where it has
   ended: false with its error. */
void import_job_start (struct vmf_import *import, struct import_job *job,
                       bool (*call) (struct vmf_import *import, GError **error));
bool import_job_poll (struct import_job *job, GError **error);
bool import_job_join (struct import_job *job, GError **error);
/* The source is let go of: in a job, or (at the end, whatever it was) now. A failure is said and stops nothing. */
void import_release_begin (struct vmf_import *import);
void import_release_poll (struct vmf_import *import);
void import_release_now (struct vmf_import *import);

/* plan.c: where the helper of DISK's source listens. Caller frees. */
char *import_source_socket (const struct import_disk *disk);

/* copy.c: map, copy and convert, beside each other. */
bool import_copy_and_convert (struct vmf_import *import, GError **error);
bool import_convert_again (struct vmf_import *import, GError **error); /* what is copied already; no source is asked */

/* space.c: once the map is read, the target's files get the space that they will need, or NO_SPACE. What they did not
   use is given back when nobody writes to them any more. */
bool import_reserve_space (struct vmf_import *import, GError **error);
void import_give_back_space (struct vmf_import *import);

/* commit.c: pass 2, closing, moving staged disks. */
bool import_commit (struct vmf_import *import, GError **error);
bool import_move_staged (struct vmf_import *import, GError **error);

/* state.c: what --resume needs. */
bool import_state_save (struct vmf_import *import, enum import_resume stage, GError **error);
bool import_state_load (struct vmf_import *import, const char *work_dir, GError **error);
uint64_t import_state_size (const struct vmf_import *import, unsigned disk);   /* bytes */
uint64_t import_state_needed (const struct vmf_import *import, unsigned disk); /* what was copied; 0: it was not yet */
char *import_state_staged (const struct vmf_import *import, unsigned disk);    /* where; NULL: nowhere. Caller frees */
GPtrArray *import_state_disks (const struct vmf_import *import);               /* struct vmf_target_disk* */

/* control.c: the control socket. */
void import_control_open (struct vmf_import *import);

/* verify.c: reading back, and the receipt. note_changes comes before the overlays are committed; a resumed import finds
   what it noted in the work directory. */
bool import_note_changes (struct vmf_import *import, GError **error);
bool import_verify (struct vmf_import *import, GError **error);

/* finish.c: the domain's definition. */
bool import_finish (struct vmf_import *import, GError **error);

/* passes.c: movers in threads of their own, at most copy.parallel_disks at once. Main thread. step starts those whose
   turn it is and collects those that have ended, without waiting; false with the first error, and the others still run.
   join waits for all and throws their errors away: cancel import->stop before. */
bool import_passes_step (struct vmf_import *import, bool *all_ended, GError **error);
void import_passes_join (struct vmf_import *import);
/* Now and then: what the conversion has written or freed is not read any more. */
void import_passes_drop_covered (struct vmf_import *import);
/* DISK's journal in the work directory, made where it is not there. What it says is not looked at. */
char *import_journal_path (const struct import_disk *disk);
bool import_journal_open (struct import_disk *disk, GError **error);
/* Returns when a thread or the conversion has ended, or after TIMEOUT_MS; false, CANCELLED, once import->stop is. */
bool import_wait_for_events (struct vmf_import *import, int timeout_ms, GError **error);
/* What DISK waited for most of late; NULL: nothing, or it is copied. */
const char *import_bottleneck (struct import_disk *disk);
void import_tell_progress (struct vmf_import *import, const char *stage);
