/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where VMs come from: the interface of every source, and the registry.
 *
 * Order of calls: open, then list or describe as often as wanted; for an import of a described VM: check, hold, image
 * for each disk, still, release; then close. Main thread only, but `verify` may run in a thread of its own beside
 * anything. A function that a source lacks is NULL; the comment says what that means. image.c is the smallest complete
 * one: copy it.
 */
#pragma once
#include "base/settings.h"
#include "disk/server.h"
#include "vm/findings.h"
#include "vm/vm.h"

struct vmf_source_options
{
    const char *format;  /* --format: a bare image's format; NULL: by its extension */
    const char *ca_file; /* PEM: whom https:// addresses are believed by; NULL: the system's authorities */
    /* For what must be unpacked (compressed members of a zip, .gz disks), and what --resume needs of a running machine;
       NULL: such are refused. */
    const char *work_dir;
    const struct vmf_settings *settings; /* NULL: the defaults */
    bool shut_down;                      /* a running machine may be shut down */
    /* Asked by a source that one logs in to, once its address makes sense. WANTED: nobody gets in without one; else
       NULL may come. *PASSWORD stays the callee's. NULL: there is none. */
    bool (*ask_password) (const char *address, bool wanted, const char **password, GError **error);
};

/* Which machines `list` is to tell: patterns with * and ?, without regard to case; NULL: any. */
struct vmf_source_filter
{
    const char *name, *os, *power;                    /* power: "on", "off", "suspended" */
    const char *datacenter, *cluster, *host, *folder; /* of a vCenter */
    const char *tag;
};

/* What `list` knows without effort. */
struct vmf_source_entry
{
    char *name;
    char *os_name;           /* or NULL */
    uint64_t capacity_bytes; /* sum of hard disks; 0: not known yet */
    unsigned n_disks;
    char *id;                                   /* what names it where names are not unique: "vm-12"; or NULL */
    char *datacenter, *cluster, *host, *folder; /* where a vCenter has it; or NULL */
    const char *power; /* "on", "off", "suspended", "template"; NULL: it is no machine that runs */
    char *problem;     /* why this one cannot be described; NULL: it can (C21: one broken VM does not break the list) */
};

/* One change of what `list` tells. BEFORE NULL: it is new; AFTER NULL: it is gone, or not let through any more. */
typedef void (*vmf_source_on_change) (const struct vmf_source_entry *before, const struct vmf_source_entry *after,
                                      void *data);

struct vmf_source
{
    const struct vmf_source_ops *ops;
    char *address; /* as the user wrote it */
    char *notice;  /* set by open: what the user must be told at once; NULL: nothing */
    char *done;    /* set by hold: what it has changed at the source and nobody takes back; NULL: nothing */
};

/* A file of this name in the work directory: its second line says what an import holds at its source, which only its
   source can take back; as long as there is such a line the directory stays. */
#define VMF_SOURCE_HOLDS_NAME "source-holds"

struct vmf_source_ops
{
    const char *name; /* "ova", "vmx", "libvirt-xml", "image" */

    /* Does ADDRESS look like ours? By shape, extension and, for archives without either, the first bytes. */
    bool (*claims) (const char *address);

    struct vmf_source *(*open) (const char *address, const struct vmf_source_options *options,
                                GCancellable *cancellable, GError **error);
    void (*close) (struct vmf_source *source);

    /* struct vmf_source_entry*, freed with the array. FILTER spares work: vmf_source_list() applies it in any case, but
       for name, os, folder and tag where the source `filters` these itself, knowing more of them. */
    bool filters;
    GPtrArray *(*list) (struct vmf_source *source, const struct vmf_source_filter *filter, GCancellable *cancellable,
                        GError **error);

    /* Follows what `list` tells: the first call gives all as new, each waits for a change for at most TIMEOUT_MS.
       FILTER is that of the first call; vmf_source_watch() applies it in any case. NULL: the source does not change by
       itself.
     */
    bool (*watch) (struct vmf_source *source, const struct vmf_source_filter *filter, int64_t timeout_ms,
                   vmf_source_on_change on_change, void *data, GCancellable *cancellable, GError **error);

    /* NAME as list gave it; NULL: the only or first one. */
    struct vmf_vm *(*describe) (struct vmf_source *source, const char *name, GCancellable *cancellable, GError **error);

    /* What the source knows that stands against importing VM, or that its user should know: how its disks are read, for
       one. Adds to FINDINGS; false only where it could not even look. NULL: nothing. */
    bool (*check) (struct vmf_source *source, const struct vmf_vm *vm, GPtrArray *findings, GCancellable *cancellable,
                   GError **error);

    /* Makes that the disks hold still: a running machine gets a snapshot, or is shut down. What an import of the same
       work directory had made is found and used again. NULL: they do. */
    bool (*hold) (struct vmf_source *source, const struct vmf_vm *vm, GCancellable *cancellable, GError **error);

    /* The disks are not needed any more: takes back what `hold` made. Again is no error. NULL where hold is. */
    bool (*release) (struct vmf_source *source, GError **error);

    /* All is copied: did the disks hold still all the time, as `hold` left them? CORRUPT: no, so that the copy is no
       one state of them. NULL: they did. */
    bool (*still) (struct vmf_source *source, GCancellable *cancellable, GError **error);

    /* How far the copy is, for who waits at the other end (an export's lease). NULL: nobody. */
    void (*tell) (struct vmf_source *source, unsigned percent);

    /* The checked image of one hard disk of VM. Cheap: opens headers only. NULL on error. */
    struct vmf_image *(*image) (struct vmf_source *source, const struct vmf_vm *vm, const struct vmf_disk *disk,
                                GCancellable *cancellable, GError **error);

    /* Checks what the source vouches for about its bytes (an OVF manifest: .mf with SHA-1, SHA-256, SHA-512). Reads all
       of them; import runs it beside the copy and will not finish before it is true. Thread-safe. NULL: nothing to
       check. */
    bool (*verify) (struct vmf_source *source, const struct vmf_vm *vm, GCancellable *cancellable, GError **error);
};

/* Opens ADDRESS with the kind that claims it. VMF_ERROR_NOT_FOUND where it is not there, USAGE where no kind claims it:
   the message lists the kinds and how each is recognised. */
struct vmf_source *vmf_source_open (const char *address, const struct vmf_source_options *options,
                                    GCancellable *cancellable, GError **error);
void vmf_source_close (struct vmf_source *source);

/* What ops->list says, and FILTER lets through. */
GPtrArray *vmf_source_list (struct vmf_source *source, const struct vmf_source_filter *filter,
                            GCancellable *cancellable, GError **error);
/* What ops->watch says, and FILTER lets through. USAGE: the source does not change by itself. */
bool vmf_source_watch (struct vmf_source *source, const struct vmf_source_filter *filter, int64_t timeout_ms,
                       vmf_source_on_change on_change, void *data, GCancellable *cancellable, GError **error);
struct vmf_source_entry *vmf_source_entry_copy (const struct vmf_source_entry *entry);
void vmf_source_entry_free (struct vmf_source_entry *entry);

typedef struct vmf_source vmf_source;
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_source, vmf_source_close)
