/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The parts of a conversion that convert.c puts together; nobody else needs them but their tests.
 *
 * What virt-v2v did is known from two files: its messages (--machine-readable=file:, JSON, a line each) and its debug
 * log, which holds a trace of every libguestfs call. The programs of the guest write into that log too, so what is read
 * there is for people and for a choice among devices that all are safe for the host, nothing else.
 */
#pragma once
#include "guest/convert.h"

/* The installed virt-v2v-in-place. Cleared by vmf_v2v_clear(). */
struct vmf_v2v
{
    char *program; /* absolute */
    char *version; /* "2.2.0" */
    GStrv can;     /* the words that --machine-readable prints */
};

bool vmf_v2v_probe (struct vmf_v2v *v2v, GCancellable *cancellable, GError **error);
void vmf_v2v_clear (struct vmf_v2v *v2v);

/* guest.xml: libvirt XML of the source with an NBD port on localhost for each import disk. Caller frees. */
char *vmf_convert_write_xml (const struct vmf_convert_options *options);

/* The messages file: `type` is message, info, warning or error. CALL gets each; a line that is not JSON, or not yet
   complete, is passed over. A missing file is an empty one. */
typedef void (*vmf_v2v_message_fn) (const char *type, const char *text, void *data);
void vmf_v2v_read_messages (const char *path, vmf_v2v_message_fn call, void *data);

/* The debug log of a conversion that went well. VMF_ERROR_CORRUPT where it does not say what the guest can drive. */
struct vmf_convert_result *vmf_v2v_read_log (const char *log_path, const char *messages_path, GError **error);

/* One import's collection of proven changes, fed line by line. */
typedef struct vmf_changes vmf_changes;
struct vmf_changes *vmf_changes_new (void);
void vmf_changes_free (struct vmf_changes *changes);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_changes, vmf_changes_free)
void vmf_changes_line (struct vmf_changes *changes, const char *line);
GPtrArray *vmf_changes_get_sentences (struct vmf_changes *changes); /* char*, new */

/* What a failed virt-v2v said, with the remedy where the cause is known, and where its log is. CHILD_ERROR (its exit
   status and last words) is used where it said nothing better. */
void vmf_v2v_explain (const char *log_path, const char *messages_path, const GError *child_error, GError **error);

/* "debian12" to "http://debian.org/debian/12" by osinfo-db. NULL where it does not know. Caller frees. */
char *vmf_osinfo_id (const char *short_id);
