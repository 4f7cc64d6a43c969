/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SOAP requests, as text. */
#include "source/vsphere/request.h"

#include <string.h>

static const char head[] =
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
    "<soapenv:Envelope xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\" "
    "xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">"
    "<soapenv:Body>";
static const char tail[] = "</soapenv:Body></soapenv:Envelope>\n";

/* What XML cannot hold at all becomes '?'; blanks stay as they are by way of references. */
static void
append_escaped (GString *request, const char *value)
{
    g_autofree char *made = g_utf8_validate (value, -1, NULL) ? NULL : g_utf8_make_valid (value, -1);
    for (const char *at = made ? made : value; *at; at++)
        switch (*at)
        {
        case '&':
            g_string_append (request, "&amp;");
            break;
        case '<':
            g_string_append (request, "&lt;");
            break;
        case '>':
            g_string_append (request, "&gt;");
            break;
        case '"':
            g_string_append (request, "&quot;");
            break;
        case '\t':
        case '\n':
        case '\r':
            g_string_append_printf (request, "&#%d;", *at);
            break;
        default:
            g_string_append_c (request, g_ascii_iscntrl (*at) ? '?' : *at);
        }
}

GString *
vmf_request_new (const char *method, const char *type, const char *moref)
{
    /* So that a login's buffer is not outgrown, and left behind unwiped: a password of 1,024 characters, escaped. */
    GString *request = g_string_sized_new (8192);
    g_string_append (request, head);
    g_string_append_printf (request, "<%s xmlns=\"urn:vim25\">", method);
    vmf_request_add_moref (request, "_this", type, moref);
    return request;
}

/* The method's name stands behind the head: that is what is to be closed. */
GString *
vmf_request_end (GString *request)
{
    const char *method = request->str + strlen (head) + 1;
    g_autofree char *name = g_strndup (method, strcspn (method, " "));
    vmf_request_close (request, name);
    return g_string_append (request, tail);
}

void
vmf_request_add (GString *request, const char *name, const char *value)
{
    vmf_request_open (request, name, NULL);
    append_escaped (request, value);
    vmf_request_close (request, name);
}

void
vmf_request_add_bool (GString *request, const char *name, bool value)
{
    vmf_request_add (request, name, value ? "true" : "false");
}

void
vmf_request_add_int (GString *request, const char *name, int64_t value)
{
    char text[24];
    g_snprintf (text, sizeof text, "%" G_GINT64_FORMAT, value);
    vmf_request_add (request, name, text);
}

void
vmf_request_add_moref (GString *request, const char *name, const char *type, const char *moref)
{
    g_string_append_printf (request, "<%s type=\"", name);
    append_escaped (request, type);
    g_string_append (request, "\">");
    append_escaped (request, moref);
    vmf_request_close (request, name);
}

void
vmf_request_open (GString *request, const char *name, const char *xsi_type)
{
    if (xsi_type)
        g_string_append_printf (request, "<%s xsi:type=\"%s\">", name, xsi_type);
    else
        g_string_append_printf (request, "<%s>", name);
}

void
vmf_request_close (GString *request, const char *name)
{
    g_string_append_printf (request, "</%s>", name);
}
