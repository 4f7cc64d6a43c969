/* SPDX-License-Identifier: GPL-2.0-or-later */
/* LVM2's text metadata as a tree: sections, and values that are numbers, strings or lists of them.
 *
 * The text comes from the guest's disk. It is bounded by its length (the caller's), nesting by a constant; anything
 * that is not of this grammar ends the parsing.
 */
#pragma once
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct vmf_lvmtext
{
    char *key;           /* NULL within a list */
    GPtrArray *children; /* struct vmf_lvmtext*: of a section or a list; NULL: a plain value */
    bool is_section;
    char *string;    /* NULL: a number, a section or a list */
    uint64_t number; /* negative numbers end the parsing: nothing that we read is ever below 0 */
};

typedef struct vmf_lvmtext vmf_lvmtext;

/* NULL where TEXT is not of the grammar. */
struct vmf_lvmtext *vmf_lvmtext_parse (const char *text);
void vmf_lvmtext_free (struct vmf_lvmtext *node);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_lvmtext, vmf_lvmtext_free)

/* A child by name; NULL where NODE has none, or is no section. */
const struct vmf_lvmtext *vmf_lvmtext_get (const struct vmf_lvmtext *node, const char *key);
bool vmf_lvmtext_get_number (const struct vmf_lvmtext *node, const char *key, uint64_t max, uint64_t *value);
const char *vmf_lvmtext_get_string (const struct vmf_lvmtext *node, const char *key);
/* Whether the list KEY has the string WORD. */
bool vmf_lvmtext_has (const struct vmf_lvmtext *node, const char *key, const char *word);
