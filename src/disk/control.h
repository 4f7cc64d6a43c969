/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The control socket of a running import or copy: WORK_DIR/control.sock.
 *
 * A request is one line of JSON, {"command": "rate", "disk": "sda", "value": "50M"}, its answer another: {"ok": true,
 * …} or {"ok": false, "error": "…"}. Who may write in the work directory (0700) may control. One thread: its owner
 * polls the descriptor and calls step.
 */
#pragma once
#include "disk/pace.h"
#include <gio/gio.h>
#include <jansson.h>
#include <stdbool.h>

/* Gives the answer's members beside "ok" (new reference), or NULL with ERROR set. */
typedef json_t *(*vmf_control_fn) (const char *command, const char *disk, const char *value, void *data,
                                   GError **error);

typedef struct vmf_control vmf_control;
struct vmf_control *vmf_control_new (const char *work_dir, vmf_control_fn handler, void *data, GError **error);
void vmf_control_free (struct vmf_control *control); /* removes the socket */
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_control, vmf_control_free)

int vmf_control_get_fd (const struct vmf_control *control); /* readable: call step */
void vmf_control_step (struct vmf_control *control);

/* The commands that change a pace: rate VALUE, pause, resume; and nice VALUE, of the whole process. An empty object
   (new reference); NULL with ERROR: the command is another, or VALUE makes no sense. */
json_t *vmf_control_pace (struct vmf_pace *pace, const char *command, const char *value, GError **error);

/* The other side: sends a request to what runs in WORK_DIR. DISK and VALUE may be NULL. The answer (new reference);
   NULL: nothing runs there (VMF_ERROR_NOT_FOUND), or it said no. */
json_t *vmf_control_send (const char *work_dir, const char *command, const char *disk, const char *value,
                          GError **error);
