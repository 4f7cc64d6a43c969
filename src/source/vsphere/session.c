/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Login, logout, and what the server says of itself. */
#include "source/vsphere/session.h"
#include "base/error.h"
#include "base/text.h"
#include "source/vsphere/lease.h"

#include <string.h>

#define TIMEOUT_MS 60000
#define CANCEL_MS 120000
/* The version of the API that every server since vSphere 6.0 knows, to ask the first question with; and the newest that
   this client was written by: servers then show their newer devices as the older ones that they are derived from. */
#define FIRST_API_VERSION "6.0"
#define NEWEST_API_VERSION "6.7"

unsigned
vmf_session_get_logins (struct vmf_vsphere *vsphere)
{
    g_mutex_lock (&vsphere->cookie_lock);
    unsigned logins = vsphere->logins;
    g_mutex_unlock (&vsphere->cookie_lock);
    return logins;
}

char *
vmf_vsphere_get_cookie (struct vmf_vsphere *vsphere)
{
    g_mutex_lock (&vsphere->cookie_lock);
    char *cookie = g_strdup (vsphere->cookie);
    g_mutex_unlock (&vsphere->cookie_lock);
    return cookie;
}

static bool
log_in (struct vmf_vsphere *vsphere, GCancellable *cancellable, GError **error)
{
    enum vmf_fault fault = VMF_FAULT_NONE;
    struct vmf_call call = { .what = "logging in", .secret = true, .fault = &fault };
    call.request = vmf_request_new ("Login", "SessionManager", vsphere->session_manager);
    vmf_request_add (call.request, "userName", vsphere->user);
    vmf_request_add (call.request, "password", vsphere->password);
    vmf_request_end (call.request);
    bool good = vmf_call_do (vsphere, &call, cancellable, error);
    vsphere->is_refused = fault == VMF_FAULT_INVALID_LOGIN;
    if (!good)
        return false;
    g_mutex_lock (&vsphere->cookie_lock);
    vsphere->logins++;
    g_mutex_unlock (&vsphere->cookie_lock);
    return true;
}

bool
vmf_session_renew (struct vmf_vsphere *vsphere, unsigned logins, GCancellable *cancellable, GError **error)
{
    g_mutex_lock (&vsphere->login_lock);
    bool renewed = vmf_session_get_logins (vsphere) != logins;
    if (!renewed && vsphere->is_refused)
        g_set_error (error, VMF_ERROR, VMF_ERROR_AUTH,
                     "%s: the password of %s is not taken any more; it was not tried again, for that locks accounts",
                     vsphere->server, vsphere->user);
    else if (!renewed)
    {
        g_debug ("%s has forgotten the session: logging in again", vsphere->server);
        renewed = log_in (vsphere, cancellable, error);
    }
    g_mutex_unlock (&vsphere->login_lock);
    return renewed;
}

/* "8.0.2.0" against "6.7", by their numbers. */
static bool
is_older (const char *version, const char *other)
{
    g_auto (GStrv) a = g_strsplit (version, ".", 4), b = g_strsplit (other, ".", 4);
    for (unsigned i = 0; a[i] && b[i]; i++)
    {
        guint64 left = g_ascii_strtoull (a[i], NULL, 10), right = g_ascii_strtoull (b[i], NULL, 10);
        if (left != right)
            return left < right;
    }
    return g_strv_length (a) < g_strv_length (b);
}

static char *
take_version (const xmlNode *about)
{
    g_autofree char *version = vmf_xml_find_text (about, "apiVersion");
    bool plain = version && version[strspn (version, "0123456789.")] == '\0';
    return g_strdup (plain && is_older (version, NEWEST_API_VERSION) ? version : NEWEST_API_VERSION);
}

static char *
take_printable (const xmlNode *parent, const char *name)
{
    g_autofree char *text = vmf_xml_find_text (parent, name);
    return vmf_text_printable (text ? text : "unknown", 100);
}

/* What everything else begins with; asks for no login. */
static bool
read_content (struct vmf_vsphere *vsphere, GCancellable *cancellable, GError **error)
{
    struct vmf_call call = { .what = "asking what it is" };
    call.request = vmf_request_end (vmf_request_new ("RetrieveServiceContent", "ServiceInstance", "ServiceInstance"));
    xmlDoc *doc = vmf_call_run (vsphere, &call, cancellable, error);
    if (!doc)
        return false;
    const xmlNode *content = vmf_xml_child (vmf_answer_response (doc), "returnval");
    const xmlNode *about = vmf_xml_child (content, "about");
    vsphere->root_folder = vmf_xml_find_text (content, "rootFolder");
    vsphere->property_collector = vmf_xml_find_text (content, "propertyCollector");
    vsphere->view_manager = vmf_xml_find_text (content, "viewManager");
    vsphere->session_manager = vmf_xml_find_text (content, "sessionManager");
    vsphere->event_manager = vmf_xml_find_text (content, "eventManager");
    vsphere->search_index = vmf_xml_find_text (content, "searchIndex");
    vsphere->about.product = take_printable (about, "name");
    vsphere->about.version = take_printable (about, "version");
    vsphere->about.build = take_printable (about, "build");
    vsphere->about.is_vcenter = vmf_node_child_is (about, "apiType", "VirtualCenter");
    g_free (vsphere->api_version);
    vsphere->api_version = take_version (about);
    xmlFreeDoc (doc);
    if (vsphere->root_folder && vsphere->property_collector && vsphere->view_manager && vsphere->session_manager)
        return true;
    g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT,
                 "%s: its answer names no root folder and managers: this is no "
                 "vCenter or ESXi",
                 vsphere->server);
    return false;
}

static bool
open_channel (const struct vmf_vsphere *vsphere, struct vmf_channel *channel, GError **error)
{
    CURL *curl = channel->curl = vmf_tls_handle_new ();
    if (!vmf_tls_setup (curl, &vsphere->trust, &channel->seen, error))
        return false;
    curl_easy_setopt (curl, CURLOPT_URL, vsphere->url);
    curl_easy_setopt (curl, CURLOPT_PROXY, ""); /* a proxy would see the password where nobody verifies */
    curl_easy_setopt (curl, CURLOPT_POST, 1L);
    curl_easy_setopt (curl, CURLOPT_USERAGENT, "vmferry/" VMF_VERSION);
    curl_easy_setopt (curl, CURLOPT_ACCEPT_ENCODING, ""); /* inventories shrink to a tenth */
    curl_easy_setopt (curl, CURLOPT_ERRORBUFFER, channel->detail);
    curl_easy_setopt (curl, CURLOPT_TCP_KEEPALIVE, 1L);
    return true;
}

static bool
open_channels (struct vmf_vsphere *vsphere, GError **error)
{
    for (unsigned i = 0; i < VMF_N_CHANNELS; i++)
        if (!open_channel (vsphere, &vsphere->channels[i], error))
            return false;
    return true;
}

static struct vmf_vsphere *
new_session (const struct vmf_vsphere_options *options)
{
    struct vmf_vsphere *vsphere = g_new0 (struct vmf_vsphere, 1);
    for (unsigned i = 0; i < VMF_N_CHANNELS; i++)
        g_mutex_init (&vsphere->channels[i].lock);
    g_mutex_init (&vsphere->login_lock);
    g_mutex_init (&vsphere->cookie_lock);
    g_mutex_init (&vsphere->leases_lock);
    vsphere->leases = g_ptr_array_new ();
    vsphere->port = options->port ? options->port : VMF_VSPHERE_PORT;
    vsphere->host = g_strdup (options->host);
    vsphere->user = g_strdup (options->user ? options->user : "");
    vsphere->password = g_strdup (options->password ? options->password : "");
    vsphere->server = g_strdup_printf ("%s:%u", vsphere->host, vsphere->port);
    vsphere->url = g_uri_join (G_URI_FLAGS_NONE, "https", NULL, vsphere->host, vsphere->port, "/sdk", NULL, NULL);
    vsphere->ca_file = g_strdup (options->trust.ca_file);
    vsphere->thumbprint = g_strdup (options->trust.thumbprint);
    vsphere->trust = (struct vmf_tls_trust){ vsphere->ca_file, vsphere->thumbprint, options->trust.no_verify };
    vsphere->timeout_ms = options->timeout_ms > 0 ? options->timeout_ms : TIMEOUT_MS;
    vsphere->cancel_ms = options->cancel_ms > 0 ? options->cancel_ms : CANCEL_MS;
    vsphere->api_version = g_strdup (FIRST_API_VERSION);
    return vsphere;
}

/* What a channel saw last may be another's certificate, which was refused: who hands on our password or cookie must not
   be told of that one. */
static void
remember_certificate (struct vmf_vsphere *vsphere)
{
    const struct vmf_tls_seen *seen = &vsphere->channels[VMF_CHANNEL_CALLS].seen;
    vsphere->shown_thumbprint = g_strdup (seen->thumbprint);
    vsphere->shown_pem = g_strdup (seen->pem);
}

struct vmf_vsphere *
vmf_vsphere_login (const struct vmf_vsphere_options *options, GCancellable *cancellable, GError **error)
{
    if (!options->host || !*options->host)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE, "the address names no vCenter or ESXi host");
        return NULL;
    }
    g_autoptr (vmf_vsphere) vsphere = new_session (options);
    if (!open_channels (vsphere, error) || !read_content (vsphere, cancellable, error)
        || !log_in (vsphere, cancellable, error))
        return NULL;
    remember_certificate (vsphere);
    return g_steal_pointer (&vsphere);
}

/* Best effort: a session that is not logged out ends by itself, after half an hour. */
static void
log_out (struct vmf_vsphere *vsphere)
{
    struct vmf_call call = { .what = "logging out", .timeout_ms = VMF_GOODBYE_MS, .secret = true };
    call.request = vmf_request_end (vmf_request_new ("Logout", "SessionManager", vsphere->session_manager));
    g_autoptr (GError) error = NULL;
    if (!vmf_call_do (vsphere, &call, NULL, &error))
        g_debug ("%s", error->message);
}

void
vmf_vsphere_free (struct vmf_vsphere *vsphere)
{
    if (!vsphere)
        return;
    while (vsphere->leases->len > 0)
        vmf_vsphere_lease_end (vsphere->leases->pdata[0], false);
    if (vsphere->logins > 0)
        log_out (vsphere);
    for (unsigned i = 0; i < VMF_N_CHANNELS; i++)
    {
        curl_easy_cleanup (vsphere->channels[i].curl);
        g_mutex_clear (&vsphere->channels[i].lock);
    }
    explicit_bzero (vsphere->password, strlen (vsphere->password));
    char *texts[] = { vsphere->host,          vsphere->user,
                      vsphere->password,      vsphere->server,
                      vsphere->url,           vsphere->ca_file,
                      vsphere->thumbprint,    vsphere->cookie,
                      vsphere->about.product, vsphere->about.version,
                      vsphere->about.build,   vsphere->api_version,
                      vsphere->root_folder,   vsphere->property_collector,
                      vsphere->view_manager,  vsphere->session_manager,
                      vsphere->shown_pem,     vsphere->shown_thumbprint,
                      vsphere->event_manager, vsphere->search_index };
    for (size_t i = 0; i < G_N_ELEMENTS (texts); i++)
        g_free (texts[i]);
    g_ptr_array_unref (vsphere->leases);
    g_mutex_clear (&vsphere->login_lock);
    g_mutex_clear (&vsphere->cookie_lock);
    g_mutex_clear (&vsphere->leases_lock);
    g_free (vsphere);
}

const struct vmf_vsphere_about *
vmf_vsphere_get_about (const struct vmf_vsphere *vsphere)
{
    return &vsphere->about;
}

const char *
vmf_vsphere_get_thumbprint (struct vmf_vsphere *vsphere)
{
    return vsphere->shown_thumbprint;
}

const char *
vmf_vsphere_get_certificate_pem (struct vmf_vsphere *vsphere)
{
    return vsphere->shown_pem;
}

bool
vmf_vsphere_keep_alive (struct vmf_vsphere *vsphere, GCancellable *cancellable, GError **error)
{
    struct vmf_call call = { .what = "keeping the session" };
    call.request = vmf_request_end (vmf_request_new ("CurrentTime", "ServiceInstance", "ServiceInstance"));
    return vmf_call_do (vsphere, &call, cancellable, error);
}
