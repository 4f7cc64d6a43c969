/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Answers, parsed while they arrive.
 *
 * A parser builds libxml2's tree; where the caller names an element that comes in great numbers (<objects>, or an
 * update's <objectSet>), each is handed on as it ends and then freed, so that memory is one of them, whatever the
 * answer's size. Nothing is fetched, a DOCTYPE ends the parsing, and an answer without such an element may have 64 MiB
 * and a million elements. One thread at a time.
 */
#pragma once
#include <gio/gio.h>
#include <libxml/tree.h>
#include <stdbool.h>

#define VMF_ANSWER_MAX_BYTES (UINT64_C (64) << 20)
#define VMF_ANSWER_EACH_MAX_BYTES (UINT64_C (1) << 30)
#define VMF_ANSWER_MAX_ELEMENTS 1000000u

struct vmf_answer;
typedef void (*vmf_answer_func) (xmlNode *node, void *data);

/* EACH NULL: the whole tree. */
struct vmf_answer *vmf_answer_new (const char *each, vmf_answer_func on_each, void *data);
void vmf_answer_free (struct vmf_answer *answer);
/* False: no more is wanted, it is malformed or too long; vmf_answer_end() says what. */
bool vmf_answer_feed (struct vmf_answer *answer, const char *bytes, size_t length);
bool vmf_answer_is_empty (const struct vmf_answer *answer);
/* The document; CORRUPT or UNSAFE. Caller frees. */
xmlDoc *vmf_answer_end (struct vmf_answer *answer, GError **error);

/* The first element within the envelope's body: <XResponse> or <Fault>; NULL. */
xmlNode *vmf_answer_response (xmlDoc *doc);

/* The xsi:type of NODE without its prefix, whatever the prefix of xsi is; "" where none is said. Borrowed. */
const char *vmf_node_type (const xmlNode *node);
/* What a ManagedObjectReference refers to: attribute `type`; "" where none is said. Borrowed. */
const char *vmf_node_moref_type (const xmlNode *node);
/* Text of the first child NAME as a bool, or as a number (OTHERWISE: not there, or none). */
bool vmf_node_bool (const xmlNode *parent, const char *path);
int64_t vmf_node_int (const xmlNode *parent, const char *path, int64_t otherwise);
/* Is the text of NODE's child NAME this? Cheap. */
bool vmf_node_child_is (const xmlNode *parent, const char *name, const char *text);
