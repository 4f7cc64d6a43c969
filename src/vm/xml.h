/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A small safe layer over libxml2 for the readers and writers of this folder, and for the vSphere client.
 *
 * Parsing never opens a file or a socket and refuses every document type declaration at its first byte, so there are no
 * entities to explode or to fetch. Elements and attributes are found by their local name, whatever their prefix and in
 * either case (oVirt writes InstanceId where DMTF says InstanceID). Nodes are borrowed from the document.
 */
#pragma once
#include <glib.h>
#include <libxml/tree.h>
#include <stdbool.h>
#include <stdint.h>

typedef xmlDoc vmf_xml_doc;
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_xml_doc, xmlFreeDoc)

#define VMF_TEXT_MAX_BYTES (16u << 20)

/* WHAT names the document in messages: "the OVF descriptor". VMF_ERROR_UNSAFE (too long, DOCTYPE), VMF_ERROR_CORRUPT.
 */
xmlDoc *vmf_xml_parse (const char *text, size_t length, const char *what, GError **error);

bool vmf_xml_is (const xmlNode *node, const char *name);
/* The first child element NAME of PARENT, the next sibling of that name, and a path "os/type"; NULL where there is none
   (PARENT may be NULL). NAME NULL: any element. */
xmlNode *vmf_xml_child (const xmlNode *parent, const char *name);
xmlNode *vmf_xml_next (const xmlNode *node, const char *name);
xmlNode *vmf_xml_find (const xmlNode *parent, const char *path);

/* Text without the blanks around it; NULL where there is none. Caller frees. */
char *vmf_xml_text (const xmlNode *node);
char *vmf_xml_find_text (const xmlNode *parent, const char *path);
char *vmf_xml_attribute (const xmlNode *node, const char *name);
char *vmf_xml_find_attribute (const xmlNode *parent, const char *path, const char *name);
bool vmf_xml_attribute_is (const xmlNode *node, const char *name, const char *value);

/* TEXT, found at NODE, as a number; NULL TEXT is 0. The error names WHAT and the line. */
bool vmf_xml_number (const xmlNode *node, const char *text, const char *what, uint64_t max, uint64_t *value,
                     GError **error);

/* For writers: a new child with text (or NULL) and attributes as name, value pairs up to a NULL name; a pair whose
   value is NULL is left out. Bytes that XML cannot hold become '?'. */
xmlNode *vmf_xml_add (xmlNode *parent, const char *name, const char *content, ...) G_GNUC_NULL_TERMINATED;
