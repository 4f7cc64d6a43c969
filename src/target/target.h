/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where VMs go: the interface of every target, and the registry.
 *
 * Order of calls: open, check (touches nothing), create, then the disks are written by others, then finish or abort,
 * then close. `create` leaves something only vmferry knows (partial names, volumes no domain uses); only `finish` makes
 * the VM visible. `abort` leaves nothing. Whatever is created is written to the work directory's undo list before it
 * exists, so that vmf_target_undo_leftovers() can clear it after a SIGKILL. Main thread only.
 */
#pragma once
#include "vm/findings.h"
#include "vm/vm.h"
#include "vm/write.h"
#include <gio/gio.h>

struct vmf_target_options
{
    const char *pool;     /* libvirt: the default pool for disks; NULL: "default" */
    const char *work_dir; /* for the undo list; NULL: only check may be called */
    bool replace;         /* what has our names may be replaced, at finish */
};

/* What the user wants of import disk N. */
struct vmf_target_disk_wish
{
    const char *format; /* "qcow2" or "raw"; never NULL */
    const char *pool;   /* C15: its own pool (libvirt) or directory (directory); NULL: the target's */
    bool preallocate;   /* allocation: full */
    uint64_t size_bytes;
    uint64_t expected_bytes; /* how much will be written at most, for the space check; 0: size_bytes */
};

struct vmf_target_disk
{
    char *path;       /* absolute: write here; an existing, empty image of `format` and size_bytes */
    char *final_path; /* where it is after finish: for the domain XML */
    char *format;
    bool block;
    bool fresh; /* reads as zeroes everywhere */
};

struct vmf_target
{
    const struct vmf_target_ops *ops;
    char *address;
    char *remains; /* after finish: a warning about what was replaced and could not be deleted; NULL: it is gone */
};

struct vmf_target_ops
{
    const char *name;                     /* "directory", "libvirt" */
    bool (*claims) (const char *address); /* a path, or a libvirt URI */
    struct vmf_target *(*open) (const char *address, const struct vmf_target_options *options, GError **error);
    void (*close) (struct vmf_target *target);

    /* Name, UUID and MAC clashes, networks and bridges that are not there, space, permission (B10, B11). Adds to
       FINDINGS; false only where it could not even look. */
    bool (*check) (struct vmf_target *target, const struct vmf_vm *vm, const struct vmf_target_disk_wish *wishes,
                   unsigned n_disks, GPtrArray *findings, GError **error);

    /* struct vmf_target_disk*, one for each wish, freed with the array. Checks clashes again while it creates. */
    GPtrArray *(*create) (struct vmf_target *target, const struct vmf_vm *vm, const struct vmf_target_disk_wish *wishes,
                          unsigned n_disks, GCancellable *cancellable, GError **error);

    /* Takes over DISKS, which create had made for an import that was killed: DISKS as create gave them then. Afterwards
       as if create had made them. NULL: an import into this target cannot be resumed. */
    bool (*adopt) (struct vmf_target *target, const struct vmf_vm *vm, const GPtrArray *disks, GError **error);

    /* XML is the domain as vmf_vm_write_libvirt made it over the disks' final_path. Gives what the user starts next,
       e.g. the XML file's path or the domain's name. NULL: failed, call abort. */
    char *(*finish) (struct vmf_target *target, const struct vmf_vm *vm, const char *xml, GError **error);

    /* Takes away all that create and a failed finish made, and puts back what finish had moved aside. Says what it
       could not; what is then left stays in the undo list. After a good finish there is nothing to abort. */
    bool (*abort) (struct vmf_target *target, GError **error);
};

/* What is wrong with NAME as the name of files, volumes and domains, as a sentence with the remedy; NULL: nothing.
   Names come from a source and are not trusted. Caller frees. */
char *vmf_target_name_problem (const char *name);

/* "web01-sda.qcow2" for disk 0. Caller frees. */
char *vmf_target_disk_name (const char *vm_name, unsigned n, const char *format);

struct vmf_target *vmf_target_open (const char *address, const struct vmf_target_options *options, GError **error);
void vmf_target_close (struct vmf_target *target);
void vmf_target_disk_free (void *disk); /* a GDestroyNotify for create's array */

typedef struct vmf_target vmf_target;
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_target, vmf_target_close)

/* Clears what the undo list of a dead import's WORK_DIR names, adding a sentence for each thing to REMOVED (char*, may
   be NULL), also for what was left alone because it is not what we made. An import that was killed after its VM had
   become visible is completed instead. The caller holds the work directory's lock. No list: true, nothing to do. */
bool vmf_target_undo_leftovers (const char *work_dir, GPtrArray *removed, GError **error);
