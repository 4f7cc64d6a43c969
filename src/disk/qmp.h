/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A QMP connection to a qemu-storage-daemon of ours (QEMU's docs/interop/qmp-spec). One thread at a time; blocking. */
#pragma once
#include <gio/gio.h>
#include <jansson.h>
#include <stdbool.h>

typedef struct vmf_qmp vmf_qmp;

/* Connects to SOCKET_PATH (retried while it refuses, as the name exists before it listens) and negotiates. */
struct vmf_qmp *vmf_qmp_connect (const char *socket_path, GCancellable *cancellable, GError **error);
void vmf_qmp_free (struct vmf_qmp *qmp);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_qmp, vmf_qmp_free)

/* Runs COMMAND; ARGUMENTS (may be NULL) is taken over. Gives the "return" value as a new reference, or NULL with the
   daemon's own description. Events in between are dropped. */
json_t *vmf_qmp_run (struct vmf_qmp *qmp, const char *command, json_t *arguments, GError **error);
