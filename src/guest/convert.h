/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Converting a guest in place: virt-v2v-in-place over NBD ports in the import's room.
 *
 * Start, then watch vmf_convert_get_child()'s descriptor, then finish. What the installed virt-v2v can do is probed
 * before its options are used (D4). It writes no metadata: what the guest can drive now is read from its debug log
 * (gcaps_ lines). Main thread only.
 */
#pragma once
#include "base/child.h"
#include "vm/write.h"

struct vmf_convert_options
{
    const struct vmf_vm *vm;
    const unsigned *ports; /* TCP ports on localhost inside ROOM, one for each import disk, default export, raw */
    unsigned n_ports;
    const struct vmf_room *room;
    const char *work_dir;              /* guest.xml and TMPDIR of libguestfs lie in it */
    const char *log_path;              /* the full debug log goes here */
    const char *const *libguestfs_env; /* from vmf_accel_libguestfs_env() */
    const char *virtio_win;            /* ISO or directory; NULL: virt-v2v's own default */
    const char *const *extra_args;     /* allow-listed by the administrator (B8); NULL: none */
    const char *root; /* which root file system of a multi-boot guest: "first", "/dev/sda2"; NULL: "first" */
};

struct vmf_convert_result
{
    struct vmf_guest_caps caps; /* strings in it are owned by this struct */
    char *os_name;              /* "Debian GNU/Linux 12 (bookworm)": what inspection found (B9) */
    char *os_type;              /* linux, windows */
    char *os_distro;
    GPtrArray *messages; /* char*: what virt-v2v said that a user should read (warnings, info) */
    GPtrArray *changes;  /* char*: what was changed in the guest and why, a sentence each */
    bool virtio_missing; /* no virtio driver was found in the guest; the domain gets devices that boot */
};

typedef struct vmf_convert vmf_convert;
typedef struct vmf_convert_result vmf_convert_result;

struct vmf_convert *vmf_convert_start (const struct vmf_convert_options *options, GError **error);
void vmf_convert_free (struct vmf_convert *convert);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_convert, vmf_convert_free)

struct vmf_child *vmf_convert_get_child (struct vmf_convert *convert);

/* virt-v2v's last message line, for the progress display. Caller frees; NULL: none yet. */
char *vmf_convert_get_stage (struct vmf_convert *convert);

/* After the child's end. NULL with what virt-v2v said, and the log's place, where it failed. */
struct vmf_convert_result *vmf_convert_finish (struct vmf_convert *convert, GCancellable *cancellable, GError **error);
void vmf_convert_result_free (struct vmf_convert_result *result);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_convert_result, vmf_convert_result_free)
