/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where VMs come from: the interface of every source, and the registry.
 *
 * Order of calls: open, then list or describe as often as wanted, then image for each disk of a described VM, then
 * close. Main thread only, but `verify` may run in a thread of its own beside anything. A function that a source lacks
 * is NULL; the comment says what that means. image.c is the smallest complete one: copy it.
 */
#pragma once
#include "disk/server.h"
#include "vm/vm.h"

struct vmf_source_options
{
    const char *format;  /* --format: a bare image's format; NULL: by its extension */
    const char *ca_file; /* PEM: whom https:// addresses are believed by; NULL: the system's authorities */
    bool one_pass; /* the caller reads each disk once, in rising order: it gets those that are still arriving, too */
    const char
        *work_dir; /* for what must be unpacked (compressed members of a zip, .gz disks); NULL: such are refused */
};

/* What `list` knows without effort. */
struct vmf_source_entry
{
    char *name;
    char *os_name;           /* or NULL */
    uint64_t capacity_bytes; /* sum of hard disks; 0: not known yet */
    unsigned n_disks;
    char *problem; /* why this one cannot be described; NULL: it can (C21: one broken VM does not break the list) */
};

struct vmf_source
{
    const struct vmf_source_ops *ops;
    char *address; /* as the user wrote it */
};

struct vmf_source_ops
{
    const char *name; /* "ova", "vmx", "libvirt-xml", "image" */

    /* Does ADDRESS look like ours? By shape, extension and, for archives without either, the first bytes. */
    bool (*claims) (const char *address);

    struct vmf_source *(*open) (const char *address, const struct vmf_source_options *options,
                                GCancellable *cancellable, GError **error);
    void (*close) (struct vmf_source *source);

    /* struct vmf_source_entry*, freed with the array. */
    GPtrArray *(*list) (struct vmf_source *source, GCancellable *cancellable, GError **error);

    /* NAME as list gave it; NULL: the only or first one. */
    struct vmf_vm *(*describe) (struct vmf_source *source, const char *name, GCancellable *cancellable, GError **error);

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
void vmf_source_entry_free (struct vmf_source_entry *entry);

typedef struct vmf_source vmf_source;
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_source, vmf_source_close)
