/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A small safe layer over libxml2.
 *
 * The one non-obvious thing: the DOCTYPE is refused inside the SAX callback that announces it, before libxml2 has read
 * one declaration of it, by stopping the parser. Without a DOCTYPE no entity can exist but the five of XML itself.
 */
#include "vm/xml.h"
#include "vm/facts.h"
#include "base/error.h"
#include "base/text.h"

#include <libxml/parser.h>
#include <libxml/parserInternals.h>
#include <string.h>

static void
stop_at_doctype (void *data, const xmlChar *name, const xmlChar *external_id, const xmlChar *system_id)
{
    xmlParserCtxt *context = data;
    *(int *)context->_private = context->input ? context->input->line : 1;
    xmlStopParser (context);
}

static void
set_parse_error (xmlParserCtxt *context, const char *what, GError **error)
{
    const xmlError *last = xmlCtxtGetLastError (context);
    g_autofree char *message = vmf_text_printable (last && last->message ? last->message : "unknown", 200);
    /* libxml2 ends its messages with a newline, which is a '?' by now. */
    if (g_str_has_suffix (message, "?"))
        message[strlen (message) - 1] = '\0';
    g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT, "%s is not well-formed XML: line %d: %s", what,
                 last ? last->line : 0, message);
}

xmlDoc *
vmf_xml_parse (const char *text, size_t length, const char *what, GError **error)
{
    if (!vmf_text_check (text, length, what, error))
        return NULL;
    xmlParserCtxt *context = xmlNewParserCtxt ();
    int doctype_line = 0;
    context->_private = &doctype_line;
    context->sax->internalSubset = stop_at_doctype;
    xmlDoc *doc = xmlCtxtReadMemory (context, text, (int)length, NULL, NULL,
                                     XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING | XML_PARSE_NOCDATA
                                         | XML_PARSE_COMPACT | XML_PARSE_BIG_LINES);
    if (doctype_line > 0)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_UNSAFE,
                     "%s has a document type declaration (<!DOCTYPE) on line %d; entities and external references are "
                     "refused, and no program that describes machines writes one",
                     what, doctype_line);
        g_clear_pointer (&doc, xmlFreeDoc);
    }
    else if (!doc || !xmlDocGetRootElement (doc))
    {
        set_parse_error (context, what, error);
        g_clear_pointer (&doc, xmlFreeDoc);
    }
    xmlFreeParserCtxt (context);
    return doc;
}

bool
vmf_xml_is (const xmlNode *node, const char *name)
{
    return node && node->type == XML_ELEMENT_NODE
           && (!name || g_ascii_strcasecmp ((const char *)node->name, name) == 0);
}

static xmlNode *
first_from (xmlNode *node, const char *name)
{
    while (node && !vmf_xml_is (node, name))
        node = node->next;
    return node;
}

xmlNode *
vmf_xml_child (const xmlNode *parent, const char *name)
{
    return parent ? first_from (parent->children, name) : NULL;
}

xmlNode *
vmf_xml_next (const xmlNode *node, const char *name)
{
    return node ? first_from (node->next, name) : NULL;
}

xmlNode *
vmf_xml_find (const xmlNode *parent, const char *path)
{
    g_auto (GStrv) steps = g_strsplit (path, "/", -1);
    const xmlNode *node = parent;
    for (char **step = steps; *step && node; step++)
        node = vmf_xml_child (node, *step);
    return (xmlNode *)node;
}

/* Takes a string of libxml2's, gives one of GLib's without blanks around it, or NULL. */
static char *
take_text (xmlChar *content)
{
    if (!content)
        return NULL;
    g_autofree char *text = g_strdup ((const char *)content);
    xmlFree (content);
    g_strstrip (text);
    return *text ? g_steal_pointer (&text) : NULL;
}

char *
vmf_xml_text (const xmlNode *node)
{
    return node ? take_text (xmlNodeGetContent (node)) : NULL;
}

char *
vmf_xml_find_text (const xmlNode *parent, const char *path)
{
    return vmf_xml_text (vmf_xml_find (parent, path));
}

char *
vmf_xml_attribute (const xmlNode *node, const char *name)
{
    if (!node || node->type != XML_ELEMENT_NODE)
        return NULL;
    for (const xmlAttr *attr = node->properties; attr; attr = attr->next)
        if (g_ascii_strcasecmp ((const char *)attr->name, name) == 0)
            return take_text (xmlNodeGetContent ((const xmlNode *)attr));
    return NULL;
}

char *
vmf_xml_find_attribute (const xmlNode *parent, const char *path, const char *name)
{
    return vmf_xml_attribute (vmf_xml_find (parent, path), name);
}

bool
vmf_xml_attribute_is (const xmlNode *node, const char *name, const char *value)
{
    g_autofree char *text = vmf_xml_attribute (node, name);
    return text && g_ascii_strcasecmp (text, value) == 0;
}

bool
vmf_xml_number (const xmlNode *node, const char *text, const char *what, uint64_t max, uint64_t *value, GError **error)
{
    *value = 0;
    if (!text || vmf_text_to_uint64 (text, what, 0, max, value, error))
        return true;
    g_prefix_error (error, "line %ld: ", node ? xmlGetLineNo (node) : 0);
    return false;
}

/* TEXT with what XML 1.0 cannot hold made '?'; blanks and newlines stay. */
static char *
clean (const char *text)
{
    char *valid = g_utf8_make_valid (text, -1);
    for (char *at = valid; *at; at = g_utf8_next_char (at))
        if ((g_ascii_iscntrl (*at) && !strchr ("\t\n\r", *at)))
            *at = '?';
    return valid;
}

xmlNode *
vmf_xml_add (xmlNode *parent, const char *name, const char *content, ...)
{
    g_autofree char *text = content ? clean (content) : NULL;
    xmlNode *node = xmlNewTextChild (parent, NULL, (const xmlChar *)name, (const xmlChar *)text);
    va_list args;
    va_start (args, content);
    for (const char *key = va_arg (args, const char *); key; key = va_arg (args, const char *))
    {
        const char *value = va_arg (args, const char *);
        g_autofree char *shown = value ? clean (value) : NULL;
        if (shown)
            xmlNewProp (node, (const xmlChar *)key, (const xmlChar *)shown);
    }
    va_end (args);
    return node;
}
