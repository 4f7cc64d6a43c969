/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One SOAP call: a POST, its answer parsed while it arrives, and one more login where the session was forgotten. */
#include "source/vsphere/session.h"
#include "base/error.h"
#include "base/text.h"

#include <string.h>

/* What the callbacks of one POST see. */
struct transfer
{
    struct vmf_vsphere *vsphere;
    struct vmf_answer *answer;
    GCancellable *cancellable;
    bool refused; /* by the parser */
};

static size_t
on_bytes (char *bytes, size_t size, size_t count, void *data)
{
    struct transfer *transfer = data;
    if (vmf_answer_feed (transfer->answer, bytes, size * count))
        return size * count;
    transfer->refused = true;
    return 0;
}

/* "Set-Cookie: vmware_soap_session=…; Path=/": kept as it stands, with its quotation marks or without. */
static size_t
on_header (char *bytes, size_t size, size_t count, void *data)
{
    static const char name[] = "set-cookie:";
    struct transfer *transfer = data;
    g_autofree char *line = g_strndup (bytes, size * count);
    if (g_ascii_strncasecmp (line, name, strlen (name)) != 0)
        return size * count;
    char *cookie = g_strstrip (line + strlen (name));
    cookie[strcspn (cookie, ";")] = '\0';
    if (g_str_has_prefix (cookie, "vmware_soap_session="))
    {
        g_mutex_lock (&transfer->vsphere->cookie_lock);
        g_free (transfer->vsphere->cookie);
        transfer->vsphere->cookie = g_strdup (g_strchomp (cookie));
        g_mutex_unlock (&transfer->vsphere->cookie_lock);
    }
    return size * count;
}

static int
on_progress (void *data, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    return g_cancellable_is_cancelled (((struct transfer *)data)->cancellable);
}

static struct curl_slist *
make_headers (const struct vmf_vsphere *vsphere)
{
    g_autofree char *action = g_strdup_printf ("SOAPAction: \"urn:vim25/%s\"", vsphere->api_version);
    struct curl_slist *headers = curl_slist_append (NULL, action);
    headers = curl_slist_append (headers, "Content-Type: text/xml; charset=utf-8");
    return curl_slist_append (headers, "Expect:"); /* or a long request waits a second for leave */
}

static void
set_options (CURL *curl, struct transfer *transfer, const struct vmf_call *call, const char *cookie)
{
    struct vmf_vsphere *vsphere = transfer->vsphere;
    int64_t timeout_ms = call->timeout_ms ? call->timeout_ms : vsphere->timeout_ms;
    curl_easy_setopt (curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->request->len);
    curl_easy_setopt (curl, CURLOPT_POSTFIELDS, call->request->str);
    curl_easy_setopt (curl, CURLOPT_COOKIE, cookie);
    curl_easy_setopt (curl, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt (curl, CURLOPT_WRITEDATA, transfer);
    curl_easy_setopt (curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt (curl, CURLOPT_HEADERDATA, transfer);
    curl_easy_setopt (curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt (curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt (curl, CURLOPT_XFERINFODATA, transfer);
    /* Of silence, not of the whole: a long inventory over a slow line is no failure. */
    curl_easy_setopt (curl, CURLOPT_CONNECTTIMEOUT_MS, (long)timeout_ms);
    curl_easy_setopt (curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt (curl, CURLOPT_LOW_SPEED_TIME, (long)MAX (timeout_ms / 1000, 1));
}

/* One POST. *STATUS 0 and ERROR set where there was no answer at all. */
static void
post (struct transfer *transfer, const struct vmf_call *call, long *status, GError **error)
{
    struct vmf_vsphere *vsphere = transfer->vsphere;
    g_autofree char *cookie = vmf_vsphere_get_cookie (vsphere);
    struct curl_slist *headers = make_headers (vsphere);
    struct vmf_channel *channel = &vsphere->channels[call->waits ? VMF_CHANNEL_WAITS : VMF_CHANNEL_CALLS];
    *status = 0;
    g_mutex_lock (&channel->lock);
    channel->detail[0] = '\0';
    set_options (channel->curl, transfer, call, cookie);
    curl_easy_setopt (channel->curl, CURLOPT_HTTPHEADER, headers);
    CURLcode code = curl_easy_perform (channel->curl);
    if (code == CURLE_OK || transfer->refused)
        curl_easy_getinfo (channel->curl, CURLINFO_RESPONSE_CODE, status);
    else
    {
        vmf_tls_set_error (code, vsphere->server, &vsphere->trust, &channel->seen, channel->detail, error);
        g_prefix_error (error, "%s: ", call->what);
    }
    curl_easy_setopt (channel->curl, CURLOPT_POSTFIELDS, NULL); /* it is freed before the next call */
    curl_easy_setopt (channel->curl, CURLOPT_HTTPHEADER, NULL);
    g_mutex_unlock (&channel->lock);
    curl_slist_free_all (headers);
}

static void
set_status_error (const struct vmf_vsphere *vsphere, const struct vmf_call *call, long status, GError **error)
{
    const char *says = status == 503   ? "the server's services are not up (yet)"
                       : status == 404 ? "there is no vSphere API at this address"
                                       : "that is no answer of the vSphere API";
    g_clear_error (error);
    g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "%s: %s: %s (HTTP status %ld)", vsphere->server, call->what, says,
                 status);
}

/* The document of the answer, or NULL with ERROR and *FAULT. */
static xmlDoc *
take_answer (struct transfer *transfer, const struct vmf_call *call, long status, enum vmf_fault *fault, GError **error)
{
    struct vmf_vsphere *vsphere = transfer->vsphere;
    xmlDoc *doc = vmf_answer_end (transfer->answer, error);
    xmlNode *response = doc ? vmf_answer_response (doc) : NULL;
    if (status != 200 && !vmf_xml_is (response, "Fault"))
        set_status_error (vsphere, call, status, error);
    else if (!doc)
        g_prefix_error (error, "%s: %s: ", vsphere->server, call->what);
    else if (!response)
        g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT, "%s: %s: the answer is no SOAP envelope", vsphere->server,
                     call->what);
    else if (vmf_xml_is (response, "Fault"))
    {
        struct vmf_fault_place place = { vsphere->server, vsphere->user, call->what };
        *fault = vmf_fault_set_soap_error (response, &place, error);
        if (call->other_task)
            *call->other_task = vmf_xml_find_text (vmf_fault_detail (response), "task");
    }
    else
        return doc;
    xmlFreeDoc (doc);
    return NULL;
}

static xmlDoc *
run_once (struct vmf_vsphere *vsphere, const struct vmf_call *call, enum vmf_fault *fault, GCancellable *cancellable,
          GError **error)
{
    struct transfer transfer = { .vsphere = vsphere, .cancellable = cancellable };
    long status;
    xmlDoc *doc = NULL;
    *fault = VMF_FAULT_NONE;
    if (vmf_error_if_cancelled (cancellable, error))
        return NULL;
    transfer.answer = vmf_answer_new (call->each, call->on_each, call->data);
    post (&transfer, call, &status, error);
    if (status != 0)
        doc = take_answer (&transfer, call, status, fault, error);
    vmf_answer_free (transfer.answer);
    return doc;
}

static void
free_request (struct vmf_call *call)
{
    if (call->secret)
        explicit_bzero (call->request->str, call->request->allocated_len);
    g_string_free (g_steal_pointer (&call->request), TRUE);
}

xmlDoc *
vmf_call_run (struct vmf_vsphere *vsphere, struct vmf_call *call, GCancellable *cancellable, GError **error)
{
    enum vmf_fault fault;
    unsigned logins = vmf_session_get_logins (vsphere);
    g_autoptr (GError) failed = NULL;
    xmlDoc *doc = run_once (vsphere, call, &fault, cancellable, &failed);
    if (fault == VMF_FAULT_NOT_AUTHENTICATED && !call->secret && logins > 0
        && vmf_session_renew (vsphere, logins, cancellable, error))
    {
        g_clear_error (&failed);
        doc = run_once (vsphere, call, &fault, cancellable, &failed);
    }
    else if (fault == VMF_FAULT_NOT_AUTHENTICATED && error && *error)
        g_clear_error (&failed); /* what kept us from logging in says more */
    free_request (call);
    if (call->fault)
        *call->fault = fault;
    if (failed)
        g_propagate_error (error, g_steal_pointer (&failed));
    return doc;
}

bool
vmf_call_do (struct vmf_vsphere *vsphere, struct vmf_call *call, GCancellable *cancellable, GError **error)
{
    xmlDoc *doc = vmf_call_run (vsphere, call, cancellable, error);
    xmlFreeDoc (doc);
    return doc != NULL;
}

char *
vmf_call_text (struct vmf_vsphere *vsphere, struct vmf_call *call, GCancellable *cancellable, GError **error)
{
    const char *what = call->what;
    xmlDoc *doc = vmf_call_run (vsphere, call, cancellable, error);
    if (!doc)
        return NULL;
    char *text = vmf_xml_find_text (vmf_answer_response (doc), "returnval");
    if (!text)
        g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT, "%s: %s: the answer is empty", vsphere->server, what);
    xmlFreeDoc (doc);
    return text;
}
