/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An image as QEMU's block graph: a driver named at every level, nothing left to be probed or followed. Only server.c
 * needs this.
 */
#pragma once
#include "disk/image.h"
#include <jansson.h>

/* The `blockdev-add` object of IMAGE, with node-name "top" at its top. PROXIES: the unix sockets that stand for the
   NBD images of the chain, in the order in which vmf_server_graph_nbd_uris lists them. New reference. */
json_t *vmf_server_graph (const struct vmf_image *image, const char *const *proxies);

/* The URIs of the chain's NBD images; borrowed strings. */
GPtrArray *vmf_server_graph_nbd_uris (const struct vmf_image *image);

/* The same object as qemu-nbd's --image-opts: a.b.c=value,… Caller frees. */
char *vmf_server_graph_options (const json_t *graph);
