/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The property collector: properties of one object, or of all of some types, in pages. */
#include "source/vsphere/internal.h"
#include "base/error.h"

#include <string.h>

/* Objects a page: what keeps both sides' memory small, and a page's answer below a second. */
#define PAGE_OBJECTS 500
/* A server may make them smaller; it does not go on for ever. */
#define PAGES_MAX 100000u

void
vmf_spec_add_paths (GString *spec, const char *type, const char *const *paths)
{
    vmf_request_open (spec, "propSet", NULL);
    vmf_request_add (spec, "type", type);
    vmf_request_add (spec, "all", "false");
    for (; *paths; paths++)
        vmf_request_add (spec, "pathSet", *paths);
    vmf_request_close (spec, "propSet");
}

void
vmf_spec_add_object (GString *spec, const char *type, const char *moref)
{
    vmf_request_open (spec, "objectSet", NULL);
    vmf_request_add_moref (spec, "obj", type, moref);
    vmf_request_close (spec, "objectSet");
}

void
vmf_spec_add_view (GString *spec, const char *view)
{
    vmf_request_open (spec, "objectSet", NULL);
    vmf_request_add_moref (spec, "obj", "ContainerView", view);
    vmf_request_add_bool (spec, "skip", true);
    vmf_request_open (spec, "selectSet", "TraversalSpec");
    vmf_request_add (spec, "type", "ContainerView");
    vmf_request_add (spec, "path", "view");
    vmf_request_add_bool (spec, "skip", false);
    vmf_request_close (spec, "selectSet");
    vmf_request_close (spec, "objectSet");
}

static GString *
first_page (const struct vmf_vsphere *vsphere, const GString *spec)
{
    GString *request = vmf_request_new ("RetrievePropertiesEx", "PropertyCollector", vsphere->property_collector);
    vmf_request_open (request, "specSet", NULL);
    g_string_append_len (request, spec->str, (gssize)spec->len);
    vmf_request_close (request, "specSet");
    vmf_request_open (request, "options", NULL);
    vmf_request_add_int (request, "maxObjects", PAGE_OBJECTS);
    vmf_request_close (request, "options");
    return vmf_request_end (request);
}

static GString *
next_page (const struct vmf_vsphere *vsphere, const char *token)
{
    GString *request =
        vmf_request_new ("ContinueRetrievePropertiesEx", "PropertyCollector", vsphere->property_collector);
    vmf_request_add (request, "token", token);
    return vmf_request_end (request);
}

bool
vmf_properties_each (struct vmf_vsphere *vsphere, const char *what, GString *spec,
                     void (*on_object) (xmlNode *object, void *data), void *data, GCancellable *cancellable,
                     GError **error)
{
    g_autofree char *token = NULL;
    bool ok = true, more = true;
    for (unsigned pages = 0; ok && more; pages++)
    {
        if (pages == PAGES_MAX)
        {
            g_set_error (error, VMF_ERROR, VMF_ERROR_UNSAFE, "%s: %s: the answer has more than %u pages",
                         vsphere->server, what, PAGES_MAX);
            ok = false;
            break;
        }
        struct vmf_call call = { .what = what, .each = "objects", .on_each = on_object, .data = data };
        call.request = token ? next_page (vsphere, token) : first_page (vsphere, spec);
        xmlDoc *doc = vmf_call_run (vsphere, &call, cancellable, error);
        ok = doc != NULL;
        g_clear_pointer (&token, g_free);
        if (ok)
            token = vmf_xml_find_text (vmf_answer_response (doc), "returnval/token");
        xmlFreeDoc (doc);
        more = token != NULL;
    }
    g_string_free (spec, TRUE);
    return ok;
}

char *
vmf_vsphere_view_new (struct vmf_vsphere *vsphere, const char *what, const char *const *types,
                      GCancellable *cancellable, GError **error)
{
    struct vmf_call call = { .what = what };
    call.request = vmf_request_new ("CreateContainerView", "ViewManager", vsphere->view_manager);
    vmf_request_add_moref (call.request, "container", "Folder", vsphere->root_folder);
    for (; *types; types++)
        vmf_request_add (call.request, "type", *types);
    vmf_request_add_bool (call.request, "recursive", true);
    vmf_request_end (call.request);
    return vmf_call_text (vsphere, &call, cancellable, error);
}

void
vmf_view_end (struct vmf_vsphere *vsphere, const char *view)
{
    struct vmf_call call = { .what = "ending a view", .timeout_ms = VMF_GOODBYE_MS };
    call.request = vmf_request_end (vmf_request_new ("DestroyView", "ContainerView", view));
    vmf_call_do (vsphere, &call, NULL, NULL);
}

static void
keep_object (xmlNode *object, void *data)
{
    xmlDoc **doc = data;
    if (*doc)
        return;
    *doc = xmlNewDoc ((const xmlChar *)"1.0");
    /* A copy: the parser's dictionary and name spaces go with its own document. */
    xmlDocSetRootElement (*doc, xmlDocCopyNode (object, *doc, 1));
}

xmlDoc *
vmf_properties_one (struct vmf_vsphere *vsphere, const char *what, const char *type, const char *moref,
                    const char *const *paths, GCancellable *cancellable, GError **error)
{
    xmlDoc *doc = NULL;
    GString *spec = g_string_new (NULL);
    vmf_spec_add_paths (spec, type, paths);
    vmf_spec_add_object (spec, type, moref);
    if (!vmf_properties_each (vsphere, what, spec, keep_object, &doc, cancellable, error))
        g_clear_pointer (&doc, xmlFreeDoc);
    else if (!doc)
        g_set_error (error, VMF_ERROR, VMF_ERROR_NOT_FOUND, "%s: %s: %s is not there, or not any more", vsphere->server,
                     what, moref);
    return doc;
}

xmlNode *
vmf_property_find (const xmlNode *object, const char *path)
{
    for (xmlNode *set = vmf_xml_child (object, "propSet"); set; set = vmf_xml_next (set, "propSet"))
        if (vmf_node_child_is (set, "name", path))
            return vmf_xml_child (set, "val");
    return NULL;
}

char *
vmf_property_text (const xmlNode *object, const char *path)
{
    return vmf_xml_text (vmf_property_find (object, path));
}

char *
vmf_name_decode (const char *name)
{
    static const char *const codes[] = { "%2f", "/", "%5c", "\\", "%25", "%" };
    GString *decoded = g_string_new (NULL);
    for (const char *at = name; *at;)
    {
        size_t i = 0;
        while (i < G_N_ELEMENTS (codes) && g_ascii_strncasecmp (at, codes[i], 3) != 0)
            i += 2;
        g_string_append_c (decoded, i < G_N_ELEMENTS (codes) ? *codes[i + 1] : *at);
        at += i < G_N_ELEMENTS (codes) ? 3 : 1;
    }
    return g_string_free (decoded, FALSE);
}

bool
vmf_properties_bool (struct vmf_vsphere *vsphere, const char *what, const char *type, const char *moref,
                     const char *path, bool *value, GCancellable *cancellable, GError **error)
{
    const char *const paths[] = { path, NULL };
    xmlDoc *doc = vmf_properties_one (vsphere, what, type, moref, paths, cancellable, error);
    if (!doc)
        return false;
    g_autofree char *text = vmf_property_text (xmlDocGetRootElement (doc), path);
    *value = text && strcmp (text, "true") == 0;
    xmlFreeDoc (doc);
    return true;
}
