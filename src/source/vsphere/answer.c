/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SOAP answers: libxml2's push parser, and its tree builder with two hooks. */
#include "source/vsphere/answer.h"
#include "base/error.h"
#include "base/text.h"
#include "vm/xml.h"

#include <libxml/SAX2.h>
#include <libxml/parser.h>
#include <libxml/parserInternals.h>
#include <string.h>

#define XSI "http://www.w3.org/2001/XMLSchema-instance"

struct vmf_answer
{
    xmlParserCtxt *context;
    const char *each;
    vmf_answer_func on_each;
    void *data;
    uint64_t bytes, max_bytes;
    unsigned elements, before_each; /* in the tree, with attributes; when the last one to hand on began */
    bool has_doctype, is_bad, is_crowded;
};

static void
stop_at_doctype (void *data, const xmlChar *name, const xmlChar *external_id, const xmlChar *system_id)
{
    xmlParserCtxt *context = data;
    struct vmf_answer *answer = context->_private;
    answer->has_doctype = true;
    xmlStopParser (context);
}

/* Where a retrieval has its <objects>, and an update its <objectSet>. */
static bool
is_holder (const xmlNode *node)
{
    return node && node->type == XML_ELEMENT_NODE
           && (strcmp ((const char *)node->name, "returnval") == 0
               || strcmp ((const char *)node->name, "filterSet") == 0);
}

static bool
is_each (const struct vmf_answer *answer, const char *name, const xmlNode *parent)
{
    return answer->each && strcmp (name, answer->each) == 0 && is_holder (parent);
}

/* Four bytes of text, <a/>, cost a tree thirty times that: what counts is elements and attributes. */
static void
start_element (void *data, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri, int n_namespaces,
               const xmlChar **namespaces, int n_attributes, int n_defaulted, const xmlChar **attributes)
{
    xmlParserCtxt *context = data;
    struct vmf_answer *answer = context->_private;
    if (is_each (answer, (const char *)name, context->node))
        answer->before_each = answer->elements;
    xmlSAX2StartElementNs (data, name, prefix, uri, n_namespaces, namespaces, n_attributes, n_defaulted, attributes);
    answer->elements += 1 + (unsigned)n_attributes;
    if (answer->elements <= VMF_ANSWER_MAX_ELEMENTS)
        return;
    answer->is_crowded = true;
    xmlStopParser (context);
}

/* The tree builder has closed the element: hand it on, and take it out. */
static void
end_element (void *data, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri)
{
    xmlParserCtxt *context = data;
    struct vmf_answer *answer = context->_private;
    xmlNode *node = context->node;
    xmlSAX2EndElementNs (data, name, prefix, uri);
    if (!node || !is_each (answer, (const char *)name, node->parent))
        return;
    xmlUnlinkNode (node);
    answer->on_each (node, answer->data);
    xmlFreeNode (node);
    answer->elements = answer->before_each;
}

/* What is wrong is kept with the context and said at the end; otherwise some of it is printed. */
static void
ignore_error (void *data, xmlError *error)
{
}

struct vmf_answer *
vmf_answer_new (const char *each, vmf_answer_func on_each, void *data)
{
    struct vmf_answer *answer = g_new0 (struct vmf_answer, 1);
    answer->each = each;
    answer->on_each = on_each;
    answer->data = data;
    answer->max_bytes = each ? VMF_ANSWER_EACH_MAX_BYTES : VMF_ANSWER_MAX_BYTES;
    answer->context = xmlCreatePushParserCtxt (NULL, NULL, NULL, 0, NULL);
    answer->context->_private = answer;
    xmlCtxtUseOptions (answer->context, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING | XML_PARSE_NOCDATA
                                            | XML_PARSE_COMPACT | XML_PARSE_BIG_LINES | XML_PARSE_NOBLANKS);
    answer->context->sax->internalSubset = stop_at_doctype;
    answer->context->sax->startElementNs = start_element;
    answer->context->sax->endElementNs = end_element;
    answer->context->sax->comment = NULL; /* nodes that nobody counts, and nobody sends */
    answer->context->sax->processingInstruction = NULL;
    answer->context->sax->serror = (xmlStructuredErrorFunc)ignore_error; /* libxml2 2.12 made its argument const */
    return answer;
}

void
vmf_answer_free (struct vmf_answer *answer)
{
    if (!answer)
        return;
    xmlFreeDoc (answer->context->myDoc);
    xmlFreeParserCtxt (answer->context);
    g_free (answer);
}

/* Some errors stop libxml2 (a text of more than 10 MB) and leave the document well-formed by its own account. */
static bool
is_sound (const xmlParserCtxt *context)
{
    return context->wellFormed && !context->disableSAX;
}

bool
vmf_answer_feed (struct vmf_answer *answer, const char *bytes, size_t length)
{
    answer->bytes += length;
    if (answer->bytes > answer->max_bytes || answer->is_bad)
        return false;
    /* libxml2 counts in int. */
    for (size_t done = 0; done < length && !answer->is_bad;)
    {
        size_t part = MIN (length - done, (size_t)1 << 20);
        xmlParseChunk (answer->context, bytes + done, (int)part, 0);
        answer->is_bad = !is_sound (answer->context);
        done += part;
    }
    return !answer->is_bad;
}

bool
vmf_answer_is_empty (const struct vmf_answer *answer)
{
    return answer->bytes == 0;
}

static void
set_malformed (const struct vmf_answer *answer, GError **error)
{
    const xmlError *last = xmlCtxtGetLastError (answer->context);
    g_autofree char *message = g_strdup (last && last->message ? last->message : "nothing is in it");
    g_autofree char *shown = vmf_text_printable (g_strstrip (message), 200);
    g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT, "the answer is not XML: line %d: %s", last ? last->line : 0,
                 shown);
}

xmlDoc *
vmf_answer_end (struct vmf_answer *answer, GError **error)
{
    if (!answer->is_bad && answer->bytes <= answer->max_bytes)
        xmlParseChunk (answer->context, NULL, 0, 1);
    if (answer->has_doctype)
        g_set_error (error, VMF_ERROR, VMF_ERROR_UNSAFE,
                     "the answer has a document type declaration; no vSphere server sends one");
    else if (answer->bytes > answer->max_bytes)
        g_set_error (error, VMF_ERROR, VMF_ERROR_UNSAFE, "the answer is longer than %" G_GUINT64_FORMAT " bytes",
                     answer->max_bytes);
    else if (answer->is_crowded)
        g_set_error (error, VMF_ERROR, VMF_ERROR_UNSAFE, "the answer has more than %u elements",
                     VMF_ANSWER_MAX_ELEMENTS);
    else if (!is_sound (answer->context) || !answer->context->myDoc || !xmlDocGetRootElement (answer->context->myDoc))
        set_malformed (answer, error);
    else
        return g_steal_pointer (&answer->context->myDoc);
    return NULL;
}

xmlNode *
vmf_answer_response (xmlDoc *doc)
{
    xmlNode *envelope = xmlDocGetRootElement (doc);
    return vmf_xml_is (envelope, "Envelope") ? vmf_xml_child (vmf_xml_child (envelope, "Body"), NULL) : NULL;
}

static const char *
attribute_text (const xmlAttr *attribute)
{
    const xmlNode *text = attribute->children;
    return text && !text->next && text->content ? (const char *)text->content : "";
}

const char *
vmf_node_type (const xmlNode *node)
{
    for (const xmlAttr *at = node ? node->properties : NULL; at; at = at->next)
    {
        if (!at->ns || strcmp ((const char *)at->name, "type") != 0 || strcmp ((const char *)at->ns->href, XSI) != 0)
            continue;
        const char *type = attribute_text (at), *colon = strchr (type, ':');
        return colon ? colon + 1 : type;
    }
    return "";
}

const char *
vmf_node_moref_type (const xmlNode *node)
{
    for (const xmlAttr *at = node ? node->properties : NULL; at; at = at->next)
        if (!at->ns && strcmp ((const char *)at->name, "type") == 0)
            return attribute_text (at);
    return "";
}

bool
vmf_node_bool (const xmlNode *parent, const char *path)
{
    g_autofree char *text = vmf_xml_find_text (parent, path);
    return text && (g_ascii_strcasecmp (text, "true") == 0 || strcmp (text, "1") == 0);
}

int64_t
vmf_node_int (const xmlNode *parent, const char *path, int64_t otherwise)
{
    g_autofree char *text = vmf_xml_find_text (parent, path);
    gint64 value;
    return text && g_ascii_string_to_signed (text, 10, G_MININT64, G_MAXINT64, &value, NULL) ? value : otherwise;
}

bool
vmf_node_child_is (const xmlNode *parent, const char *name, const char *text)
{
    const xmlNode *node = vmf_xml_child (parent, name);
    const xmlNode *content = node ? node->children : NULL;
    return content && !content->next && content->content && strcmp ((const char *)content->content, text) == 0;
}
