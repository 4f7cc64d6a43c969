/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The helper that serves one source image read-only over NBD on a unix socket (DESIGN idea 1).
 *
 * qemu-storage-daemon (qemu-nbd for VHD, whose size it must be told) for everything that has a format but
 * stream-optimised VMDK, which nbdkit serves with our own plugin (plugins/vmdkstream.c; three times as fast), nbdkit's
 * file plugin for raw files (with several connections 1.4 to 3 times as fast), all confined to the image's own files
 * and without a network. A remote NBD server is reached by nbdkit's nbd plugin, unconfined; where a format is in it,
 * the confined helper reads that through the plugin's socket. A helper image (image.h) says itself what serves it; its
 * feed begins anew with each server. The export is the default one, "", read-only, with
 * base:allocation, open to several connections. It ends when it is freed or vmferry dies. Main thread only (child.h).
 */
#pragma once
#include "base/child.h"
#include "disk/image.h"

typedef struct vmf_server vmf_server;

/* NAME ("sda of web01") is for messages. SOCKET_PATH must not exist; its folder is the import's own, 0700, its length
   below 108. Returns when the server answers. */
struct vmf_server *vmf_server_start (const struct vmf_image *image, const char *name, const char *socket_path,
                                     GCancellable *cancellable, GError **error);
void vmf_server_free (struct vmf_server *server);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_server, vmf_server_free)

/* False once one of its helpers has ended, or its feed has failed: only another server can go on. */
bool vmf_server_is_running (const struct vmf_server *server);

/* Puts what its feed and its helpers complained of behind ERROR's message, where that is VMF_ERROR_FAILED: over NBD
   comes no more than "Input/output error". SERVER may be NULL. */
void vmf_server_explain (struct vmf_server *server, GError **error);

const char *vmf_server_get_socket (const struct vmf_server *server);

/* The disk's size as the server says it: never less than the image's header. */
uint64_t vmf_server_get_size (const struct vmf_server *server);

/* nbd+unix:///?socket=… for libnbd. Borrowed. */
const char *vmf_server_get_uri (const struct vmf_server *server);
