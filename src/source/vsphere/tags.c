/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vCenter's tags. They are not in the SOAP API: a REST session of its own asks for them, by /api (vSphere 7.0 U2 and
 * later), or by the older /rest, whose answers are wrapped in {"value": …}.
 */
#include "source/vsphere/tags.h"
#include "base/error.h"
#include "base/text.h"

#include <jansson.h>
#include <string.h>

#define ANSWER_MAX_BYTES (16u << 20)
#define TAGS_MAX 10000

struct rest
{
    struct vmf_vsphere *vsphere;
    struct vmf_tls_seen seen;
    CURL *curl;
    char detail[CURL_ERROR_SIZE];
    char *token; /* of the session, or NULL */
    bool old;    /* /rest */
    GString *answer;
    GCancellable *cancellable;
};

static size_t
on_bytes (char *bytes, size_t size, size_t count, void *data)
{
    struct rest *rest = data;
    if (rest->answer->len + size * count > ANSWER_MAX_BYTES)
        return 0;
    g_string_append_len (rest->answer, bytes, (gssize)(size * count));
    return size * count;
}

static int
on_progress (void *data, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    return g_cancellable_is_cancelled (((struct rest *)data)->cancellable);
}

static bool
rest_open (struct rest *rest, GError **error)
{
    rest->curl = vmf_tls_handle_new ();
    rest->answer = g_string_new (NULL);
    CURL *curl = rest->curl;
    if (!vmf_tls_setup (curl, &rest->vsphere->trust, &rest->seen, error))
        return false;
    long timeout_ms = (long)rest->vsphere->timeout_ms;
    curl_easy_setopt (curl, CURLOPT_PROXY, "");
    curl_easy_setopt (curl, CURLOPT_USERAGENT, "vmferry/" VMF_VERSION);
    curl_easy_setopt (curl, CURLOPT_ERRORBUFFER, rest->detail);
    curl_easy_setopt (curl, CURLOPT_CONNECTTIMEOUT_MS, timeout_ms);
    curl_easy_setopt (curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt (curl, CURLOPT_LOW_SPEED_TIME, MAX (timeout_ms / 1000, 1L));
    curl_easy_setopt (curl, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt (curl, CURLOPT_WRITEDATA, rest);
    curl_easy_setopt (curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt (curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt (curl, CURLOPT_XFERINFODATA, rest);
    return true;
}

/* One request; the HTTP status, or 0 with ERROR set. */
static long
rest_send (struct rest *rest, const char *method, const char *path, GError **error)
{
    struct vmf_vsphere *vsphere = rest->vsphere;
    g_autofree char *place = vmf_text_host_port (vsphere->host, vsphere->port);
    g_autofree char *url = g_strconcat ("https://", place, path, NULL);
    g_autofree char *session = g_strdup_printf ("vmware-api-session-id: %s", rest->token ? rest->token : "");
    struct curl_slist *headers = curl_slist_append (NULL, "Content-Type: application/json");
    if (rest->token)
        headers = curl_slist_append (headers, session);
    long status = 0;
    g_string_truncate (rest->answer, 0);
    curl_easy_setopt (rest->curl, CURLOPT_URL, url);
    curl_easy_setopt (rest->curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt (rest->curl, CURLOPT_CUSTOMREQUEST, method);
    if (strcmp (method, "POST") == 0)
        curl_easy_setopt (rest->curl, CURLOPT_POSTFIELDS, rest->token ? "{}" : "");
    else
        curl_easy_setopt (rest->curl, CURLOPT_HTTPGET, 1L);
    CURLcode code = curl_easy_perform (rest->curl);
    if (code == CURLE_OK)
        curl_easy_getinfo (rest->curl, CURLINFO_RESPONSE_CODE, &status);
    else
    {
        vmf_tls_set_error (code, vsphere->server, &vsphere->trust, &rest->seen, rest->detail, error);
        g_prefix_error (error, "asking for tags: ");
    }
    curl_easy_setopt (rest->curl, CURLOPT_HTTPHEADER, NULL);
    curl_slist_free_all (headers);
    return status;
}

static json_t *
fail (const struct rest *rest, int code, const char *says, long status, GError **error)
{
    g_set_error (error, VMF_ERROR, code, "%s: asking for tags: %s (HTTP status %ld)", rest->vsphere->server, says,
                 status);
    return NULL;
}

/* The answer to a request. New reference. */
static json_t *
rest_call (struct rest *rest, const char *method, const char *path, GError **error)
{
    long status = rest_send (rest, method, path, error);
    if (status == 0)
        return NULL;
    if (status == 401 || status == 403)
        return fail (rest, VMF_ERROR_AUTH, "the server refuses this user", status, error);
    if (status == 404)
        return fail (rest, VMF_ERROR_NOT_FOUND, "the server has no tags; only a vCenter has", status, error);
    if (status < 200 || status > 299)
        return fail (rest, VMF_ERROR_FAILED, "the server failed", status, error);
    json_t *json = json_loadb (rest->answer->str, rest->answer->len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    if (!json)
        return fail (rest, VMF_ERROR_CORRUPT, "the answer is not JSON", status, error);
    json_t *value = rest->old ? json_object_get (json, "value") : json;
    json_incref (value);
    json_decref (json);
    return value ? value : fail (rest, VMF_ERROR_CORRUPT, "the answer has no value", status, error);
}

/* /api, or where that is not there, /rest. The password goes with this one request only. */
static bool
rest_log_in (struct rest *rest, GError **error)
{
    static const char *const paths[] = { "/api/session", "/rest/com/vmware/cis/session" };
    json_t *token = NULL;
    g_autoptr (GError) failed = NULL;
    curl_easy_setopt (rest->curl, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
    curl_easy_setopt (rest->curl, CURLOPT_USERNAME, rest->vsphere->user);
    curl_easy_setopt (rest->curl, CURLOPT_PASSWORD, rest->vsphere->password);
    for (unsigned i = 0; i < G_N_ELEMENTS (paths) && !token; i++)
    {
        if (failed && !g_error_matches (failed, VMF_ERROR, VMF_ERROR_NOT_FOUND))
            break;
        g_clear_error (&failed);
        rest->old = i > 0;
        token = rest_call (rest, "POST", paths[i], &failed);
    }
    curl_easy_setopt (rest->curl, CURLOPT_USERNAME, NULL);
    curl_easy_setopt (rest->curl, CURLOPT_PASSWORD, NULL);
    curl_easy_setopt (rest->curl, CURLOPT_HTTPAUTH, (long)CURLAUTH_NONE);
    const char *text = json_string_value (token);
    /* It goes into a header. */
    if (text && text[strspn (text, "0123456789abcdefABCDEFghijklmnopqrstuvwxyzGHIJKLMNOPQRSTUVWXYZ-_.:=+/")] == '\0')
        rest->token = g_strdup (text);
    else if (!failed)
        fail (rest, VMF_ERROR_CORRUPT, "its session has no name", 200, &failed);
    json_decref (token);
    if (failed)
        g_propagate_error (error, g_steal_pointer (&failed));
    return rest->token != NULL;
}

static void
rest_close (struct rest *rest)
{
    rest->cancellable = NULL;
    curl_easy_setopt (rest->curl, CURLOPT_TIMEOUT_MS, (long)VMF_GOODBYE_MS);
    if (rest->token)
        rest_send (rest, "DELETE", rest->old ? "/rest/com/vmware/cis/session" : "/api/session", NULL);
    curl_easy_cleanup (rest->curl);
    g_string_free (rest->answer, TRUE);
    g_free (rest->token);
}

static json_t *
get_tag (struct rest *rest, const char *id, GError **error)
{
    g_autofree char *escaped = g_uri_escape_string (id, ":", FALSE);
    g_autofree char *path =
        g_strconcat (rest->old ? "/rest/com/vmware/cis/tagging/tag/id:" : "/api/cis/tagging/tag/", escaped, NULL);
    return rest_call (rest, "GET", path, error);
}

/* Adds the VMs that carry the tag ID to MOREFS. */
static bool
add_attached (struct rest *rest, const char *id, GHashTable *morefs, GError **error)
{
    g_autofree char *escaped = g_uri_escape_string (id, ":", FALSE);
    g_autofree char *path =
        rest->old ? g_strdup_printf ("/rest/com/vmware/cis/tagging/tag-association/id:%s?~action=list-attached-objects",
                                     escaped)
                  : g_strdup_printf ("/api/cis/tagging/tag-association/%s?action=list-attached-objects", escaped);
    json_t *objects = rest_call (rest, "POST", path, error), *object;
    size_t i;
    json_array_foreach (objects, i, object)
    {
        const char *type = json_string_value (json_object_get (object, "type"));
        const char *moref = json_string_value (json_object_get (object, "id"));
        if (type && moref && strcmp (type, "VirtualMachine") == 0)
            g_hash_table_add (morefs, g_strdup (moref));
    }
    json_decref (objects);
    return objects != NULL;
}

static bool
has_name (const json_t *tag, const char *name)
{
    const char *own = json_string_value (json_object_get (tag, "name"));
    g_autofree char *a = g_utf8_casefold (own ? own : "", -1), *b = g_utf8_casefold (name, -1);
    return strcmp (a, b) == 0;
}

/* Categories may each have a tag of that name: all of them count. */
static bool
find (struct rest *rest, const char *name, GHashTable *morefs, GError **error)
{
    json_t *ids =
        rest_call (rest, "GET", rest->old ? "/rest/com/vmware/cis/tagging/tag" : "/api/cis/tagging/tag", error);
    json_t *id;
    size_t i;
    bool ok = ids != NULL, found = json_array_size (ids) > TAGS_MAX; /* then nobody knows */
    json_array_foreach (ids, i, id)
    {
        const char *text = json_string_value (id);
        if (!ok || i >= TAGS_MAX)
            break;
        json_t *tag = text ? get_tag (rest, text, error) : NULL;
        bool is_it = has_name (tag, name);
        found |= is_it;
        ok = (!text || tag) && (!is_it || add_attached (rest, text, morefs, error));
        json_decref (tag);
    }
    json_decref (ids);
    if (!ok || found)
        return ok;
    g_autofree char *shown = vmf_text_printable (name, 100);
    g_set_error (error, VMF_ERROR, VMF_ERROR_NOT_FOUND, "%s: there is no tag '%s'", rest->vsphere->server, shown);
    return false;
}

GHashTable *
vmf_tags_find (struct vmf_vsphere *vsphere, const char *tag, GCancellable *cancellable, GError **error)
{
    struct rest rest = { .vsphere = vsphere, .cancellable = cancellable };
    g_autoptr (GHashTable) morefs = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
    if (!vsphere->about.is_vcenter)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE, "%s is an ESXi host: it has no tags, only a vCenter has",
                     vsphere->server);
        return NULL;
    }
    bool ok = rest_open (&rest, error) && rest_log_in (&rest, error) && find (&rest, tag, morefs, error);
    rest_close (&rest);
    return ok ? g_steal_pointer (&morefs) : NULL;
}
