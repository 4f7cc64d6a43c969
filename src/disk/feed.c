/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Downloading into a pipe.
 *
 * libcurl's multi interface, for its poll wakes up for a cancel too. A pipe that is full is waited for within the
 * callback that has bytes for it, so libcurl keeps none. Its own limit of low speed would count such a wait as the
 * server's, hence a clock of our own that begins anew when the pipe has taken what came.
 */
#include "disk/feed.h"
#include "base/error.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum
{
    PIPE_BYTES = 1 << 20,
    BUFFER_BYTES = 256 * 1024,
    REDIRECTS_MAX = 5,
    LOOK_MS = 1000, /* how often to look at the clock */
};

/* Why a transfer was ended by us. */
enum ending
{
    NOT_ENDED,
    STOPPED,     /* freed, or cancelled */
    READER_GONE, /* nobody reads the pipe any more */
    STALLED,
};

struct vmf_feed
{
    struct vmf_feed_options *options;
    char *shown; /* the address, for messages */
    GCancellable *cancellable;
    gulong cancel_handler;
    int write_fd, stop_fd; /* stop_fd: an eventfd, readable when the thread shall end */
    GThread *thread;

    /* the thread's */
    CURL *curl;
    CURLM *multi;
    struct curl_slist *headers;
    struct vmf_tls_seen seen;
    char words[CURL_ERROR_SIZE];
    int64_t active_us; /* when bytes came last and were taken */
    enum ending ending;

    uint64_t received, total; /* atomic */
    GMutex lock;
    GError *error; /* under lock */
};

struct vmf_feed_options *
vmf_feed_options_copy (const struct vmf_feed_options *options)
{
    struct vmf_feed_options *copy = g_new (struct vmf_feed_options, 1);
    *copy = *options;
    copy->url = g_strdup (options->url);
    copy->headers = g_strdupv (options->headers);
    copy->trust.ca_file = g_strdup (options->trust.ca_file);
    copy->trust.thumbprint = g_strdup (options->trust.thumbprint);
    return copy;
}

void
vmf_feed_options_free (struct vmf_feed_options *options)
{
    if (!options)
        return;
    g_free (options->url);
    g_strfreev (options->headers);
    g_free ((char *)options->trust.ca_file);
    g_free ((char *)options->trust.thumbprint);
    g_free (options);
}

char *
vmf_feed_show_url (const char *url, GError **error)
{
    g_autoptr (GUri) uri = g_uri_parse (url, G_URI_FLAGS_ENCODED | G_URI_FLAGS_HAS_PASSWORD, NULL);
    const char *scheme = uri ? g_uri_get_scheme (uri) : "";
    if ((strcmp (scheme, "http") != 0 && strcmp (scheme, "https") != 0) || !g_uri_get_host (uri)
        || !*g_uri_get_host (uri))
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE, "this is not an address like https://host/path/disk.vmdk");
        return NULL;
    }
    if (g_uri_get_password (uri))
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE, "an HTTP address holds no password; take it out");
        return NULL;
    }
    return g_uri_to_string_partial (uri, G_URI_HIDE_USERINFO | G_URI_HIDE_QUERY | G_URI_HIDE_FRAGMENT);
}

/* ---- the pipe ---- */

/* Waits until the pipe takes more. False: it never will. */
static bool
wait_for_pipe (struct vmf_feed *feed)
{
    struct pollfd fds[] = { { feed->write_fd, POLLOUT, 0 }, { feed->stop_fd, POLLIN, 0 } };
    while (poll (fds, G_N_ELEMENTS (fds), -1) < 0)
        ;
    if (fds[1].revents)
        feed->ending = STOPPED;
    return !fds[1].revents;
}

static bool
write_all (struct vmf_feed *feed, const char *bytes, size_t length)
{
    while (length > 0)
    {
        ssize_t n = write (feed->write_fd, bytes, length);
        if (n < 0 && errno == EAGAIN && !wait_for_pipe (feed))
            return false;
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return feed->ending = READER_GONE, false;
        bytes += n > 0 ? n : 0;
        length -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

static long
status_of (const struct vmf_feed *feed)
{
    long status = 0;
    curl_easy_getinfo (feed->curl, CURLINFO_RESPONSE_CODE, &status);
    return status;
}

/* Of libcurl: bytes of the answer. Only those of the file itself are handed on. */
static size_t
on_bytes (char *bytes, size_t one, size_t n, void *data)
{
    struct vmf_feed *feed = data;
    curl_off_t total = -1;
    if (status_of (feed) != 200)
        return status_of (feed) / 100 == 3 ? n : 0;
    if (feed->received == 0 && curl_easy_getinfo (feed->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &total) == CURLE_OK
        && total > 0)
        __atomic_store_n (&feed->total, (uint64_t)total, __ATOMIC_RELAXED);
    __atomic_add_fetch (&feed->received, n, __ATOMIC_RELAXED);
    bool good = write_all (feed, bytes, n);
    feed->active_us = g_get_monotonic_time ();
    return good ? n : 0;
}

static size_t
on_header (char *bytes, size_t one, size_t n, void *data)
{
    ((struct vmf_feed *)data)->active_us = g_get_monotonic_time ();
    return n;
}

/* ---- one request ---- */

static int64_t
stall_ms (const struct vmf_feed *feed)
{
    return feed->options->stall_ms > 0 ? feed->options->stall_ms : VMF_FEED_STALL_MS;
}

static bool
prepare (struct vmf_feed *feed, GError **error)
{
    CURL *curl = feed->curl;
    for (size_t i = 0; feed->options->headers && feed->options->headers[i]; i++)
        feed->headers = curl_slist_append (feed->headers, feed->options->headers[i]);
    curl_easy_setopt (curl, CURLOPT_URL, feed->options->url);
    vmf_tls_allow_http (curl);
    curl_easy_setopt (curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt (curl, CURLOPT_HTTPHEADER, feed->headers);
    if (feed->options->direct)
        curl_easy_setopt (curl, CURLOPT_PROXY, "");
    curl_easy_setopt (curl, CURLOPT_USERAGENT, "vmferry/" VMF_VERSION);
    curl_easy_setopt (curl, CURLOPT_BUFFERSIZE, (long)BUFFER_BYTES);
    curl_easy_setopt (curl, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt (curl, CURLOPT_CONNECTTIMEOUT_MS, (long)stall_ms (feed));
    curl_easy_setopt (curl, CURLOPT_ERRORBUFFER, feed->words);
    curl_easy_setopt (curl, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt (curl, CURLOPT_WRITEDATA, feed);
    curl_easy_setopt (curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt (curl, CURLOPT_HEADERDATA, feed);
    return vmf_tls_setup (curl, &feed->options->trust, &feed->seen, error);
}

/* Should the transfer go on? */
static bool
may_go_on (struct vmf_feed *feed, const struct curl_waitfd *stop)
{
    if (stop->revents)
        feed->ending = STOPPED;
    else if (feed->ending == NOT_ENDED && g_get_monotonic_time () - feed->active_us > stall_ms (feed) * 1000)
        feed->ending = STALLED;
    return feed->ending == NOT_ENDED;
}

/* Until the answer has ended, or we end it. */
static CURLcode
transfer (struct vmf_feed *feed)
{
    struct curl_waitfd stop = { .fd = feed->stop_fd, .events = CURL_WAIT_POLLIN };
    CURLcode result = CURLE_OK;
    CURLMcode multi = curl_multi_add_handle (feed->multi, feed->curl);
    int running = 1, left;
    feed->active_us = g_get_monotonic_time ();
    while (multi == CURLM_OK && running && may_go_on (feed, &stop))
    {
        multi = curl_multi_perform (feed->multi, &running);
        if (multi == CURLM_OK && running)
            multi = curl_multi_poll (feed->multi, &stop, 1, (int)MIN (stall_ms (feed), LOOK_MS), NULL);
    }
    for (CURLMsg *message; (message = curl_multi_info_read (feed->multi, &left));)
        result = message->msg == CURLMSG_DONE ? message->data.result : result;
    curl_multi_remove_handle (feed->multi, feed->curl);
    return multi == CURLM_OK ? result : CURLE_FAILED_INIT;
}

/* ---- what became of it ---- */

static bool
fail_by_status (const struct vmf_feed *feed, long status, GError **error)
{
    static const struct
    {
        long status;
        const char *words;
        enum vmf_error code;
    } known[] = {
        { 401, "it wants a login", VMF_ERROR_AUTH },
        { 403, "we may not read it, or the session has ended", VMF_ERROR_AUTH },
        { 404, "there is no such file", VMF_ERROR_NOT_FOUND },
        { 410, "the file is gone", VMF_ERROR_NOT_FOUND },
        { 503, "the server is busy; try again later", VMF_ERROR_FAILED },
    };
    size_t i = 0;
    while (i < G_N_ELEMENTS (known) && known[i].status != status)
        i++;
    bool found = i < G_N_ELEMENTS (known);
    g_set_error (error, VMF_ERROR, found ? known[i].code : VMF_ERROR_FAILED,
                 "%s: the server answers with status %ld%s%s", feed->shown, status, found ? ": " : "",
                 found ? known[i].words : "");
    return false;
}

/* Libcurl's own words. Where bytes came it broke off. */
static bool
fail_by_result (const struct vmf_feed *feed, CURLcode result, GError **error)
{
    g_autofree char *why = vmf_text_printable (*feed->words ? feed->words : curl_easy_strerror (result), 300);
    g_autofree char *of_total =
        feed->total > 0 ? g_strdup_printf (" of %" G_GUINT64_FORMAT, (guint64)feed->total) : g_strdup ("");
    if (feed->received > 0)
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED,
                     "%s: the connection broke off after %" G_GUINT64_FORMAT "%s bytes: %s", feed->shown,
                     (guint64)feed->received, of_total, why);
    else if (result == CURLE_PEER_FAILED_VERIFICATION && !feed->options->trust.thumbprint)
        g_set_error (
            error, VMF_ERROR, VMF_ERROR_UNSAFE,
            "%s: the server's certificate is not trusted (%s), nothing was sent; name the file of its authority "
            "with http.ca_file",
            feed->shown, why);
    else
        vmf_tls_set_error (result, feed->shown, &feed->options->trust, &feed->seen, feed->words, error);
    return false;
}

static bool
fail_by_ending (const struct vmf_feed *feed, GError **error)
{
    if (feed->ending == STALLED)
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED,
                     "%s: no byte has come for %" G_GINT64_FORMAT " s, after %" G_GUINT64_FORMAT " bytes: it hangs",
                     feed->shown, (gint64)(stall_ms (feed) + 999) / 1000, (guint64)feed->received);
    else if (feed->ending == STOPPED)
        g_set_error (error, VMF_ERROR, VMF_ERROR_CANCELLED, "%s: the download was stopped", feed->shown);
    return feed->ending == READER_GONE;
}

static bool
is_same_place (const char *from, const char *to)
{
    g_autoptr (GUri) a = g_uri_parse (from, G_URI_FLAGS_ENCODED | G_URI_FLAGS_SCHEME_NORMALIZE, NULL);
    g_autoptr (GUri) b = g_uri_parse (to, G_URI_FLAGS_ENCODED | G_URI_FLAGS_SCHEME_NORMALIZE, NULL);
    bool same_host = a && b && g_ascii_strcasecmp (g_uri_get_host (a), g_uri_get_host (b)) == 0;
    bool same_scheme = same_host && strcmp (g_uri_get_scheme (a), g_uri_get_scheme (b)) == 0;
    return (same_scheme && g_uri_get_port (a) == g_uri_get_port (b))
           || (same_host && strcmp (g_uri_get_scheme (a), "http") == 0 && strcmp (g_uri_get_scheme (b), "https") == 0);
}

/* A cookie must not get to another host, and who named this one trusts this one. */
static bool
take_redirect (struct vmf_feed *feed, GError **error)
{
    char *to = NULL, *from = NULL;
    curl_easy_getinfo (feed->curl, CURLINFO_REDIRECT_URL, &to);
    curl_easy_getinfo (feed->curl, CURLINFO_EFFECTIVE_URL, &from);
    if (to && from && is_same_place (from, to))
        return curl_easy_setopt (feed->curl, CURLOPT_URL, to) == CURLE_OK;
    g_autofree char *shown = to ? vmf_feed_show_url (to, NULL) : NULL;
    g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED,
                 "%s: the server redirects to %s, another place; give that address if you trust it", feed->shown,
                 shown ? shown : "nowhere");
    return false;
}

static bool
download (struct vmf_feed *feed, GError **error)
{
    if (!feed->multi)
        return fail_by_result (feed, CURLE_OUT_OF_MEMORY, error);
    if (!prepare (feed, error))
        return false;
    for (unsigned redirects = 0;; redirects++)
    {
        g_autofree char *cookie = feed->options->get_cookie ? feed->options->get_cookie (feed->options->data) : NULL;
        curl_easy_setopt (feed->curl, CURLOPT_COOKIE, cookie);
        CURLcode result = transfer (feed);
        long status = status_of (feed);
        if (feed->ending != NOT_ENDED)
            return fail_by_ending (feed, error);
        if (status / 100 == 3 && redirects < REDIRECTS_MAX)
        {
            if (!take_redirect (feed, error))
                return false;
            continue;
        }
        if (status != 0 && status != 200)
            return fail_by_status (feed, status, error);
        return result == CURLE_OK || fail_by_result (feed, result, error);
    }
}

/* A reader that goes is seen by write(), not by a signal. */
static void
block_sigpipe (void)
{
    sigset_t set;
    sigemptyset (&set);
    sigaddset (&set, SIGPIPE);
    pthread_sigmask (SIG_BLOCK, &set, NULL);
}

static void *
run (void *data)
{
    struct vmf_feed *feed = data;
    g_autoptr (GError) error = NULL;
    block_sigpipe ();
    feed->curl = vmf_tls_handle_new ();
    feed->multi = curl_multi_init ();
    download (feed, &error);
    /* The reason first: whoever sees the stream's end may ask for it at once. */
    g_mutex_lock (&feed->lock);
    feed->error = g_steal_pointer (&error);
    g_mutex_unlock (&feed->lock);
    close (feed->write_fd);
    curl_easy_cleanup (feed->curl);
    curl_multi_cleanup (feed->multi);
    curl_slist_free_all (feed->headers);
    return NULL;
}

/* ---- the calls ---- */

static void
on_cancel (GCancellable *cancellable, void *data)
{
    eventfd_write (((struct vmf_feed *)data)->stop_fd, 1);
}

/* Our end does not block; the reader's does, as a helper expects it. */
static bool
make_pipe (struct vmf_feed *feed, int *read_fd, GError **error)
{
    int ends[2];
    feed->stop_fd = eventfd (0, EFD_CLOEXEC);
    if (feed->stop_fd < 0 || pipe2 (ends, O_CLOEXEC) != 0)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "cannot make a pipe: %s", g_strerror (errno));
        return false;
    }
    (void)fcntl (ends[1], F_SETPIPE_SZ, PIPE_BYTES);
    (void)fcntl (ends[1], F_SETFL, O_NONBLOCK);
    *read_fd = ends[0];
    feed->write_fd = ends[1];
    return true;
}

struct vmf_feed *
vmf_feed_start (const struct vmf_feed_options *options, GCancellable *cancellable, int *read_fd, GError **error)
{
    g_autoptr (vmf_feed) feed = g_new0 (struct vmf_feed, 1);
    g_mutex_init (&feed->lock);
    feed->write_fd = feed->stop_fd = -1;
    feed->options = vmf_feed_options_copy (options);
    feed->shown = vmf_feed_show_url (options->url, error);
    if (!feed->shown || !make_pipe (feed, read_fd, error))
        return NULL;
    feed->cancellable = cancellable ? g_object_ref (cancellable) : NULL;
    if (cancellable)
        feed->cancel_handler = g_cancellable_connect (cancellable, G_CALLBACK (on_cancel), feed, NULL);
    feed->thread = g_thread_new ("feed", run, feed);
    return g_steal_pointer (&feed);
}

void
vmf_feed_free (struct vmf_feed *feed)
{
    if (!feed)
        return;
    if (feed->cancellable)
        g_cancellable_disconnect (feed->cancellable, feed->cancel_handler);
    if (feed->thread)
    {
        eventfd_write (feed->stop_fd, 1);
        g_thread_join (feed->thread);
    }
    if (feed->stop_fd >= 0)
        close (feed->stop_fd);
    g_clear_object (&feed->cancellable);
    g_clear_error (&feed->error);
    g_mutex_clear (&feed->lock);
    vmf_feed_options_free (feed->options);
    g_free (feed->shown);
    g_free (feed);
}

void
vmf_feed_get_progress (const struct vmf_feed *feed, uint64_t *received_bytes, uint64_t *total_bytes)
{
    *received_bytes = __atomic_load_n (&feed->received, __ATOMIC_RELAXED);
    *total_bytes = __atomic_load_n (&feed->total, __ATOMIC_RELAXED);
}

bool
vmf_feed_has_failed (struct vmf_feed *feed, GError **error)
{
    g_mutex_lock (&feed->lock);
    bool failed = feed->error != NULL;
    if (failed && error)
        *error = g_error_copy (feed->error);
    g_mutex_unlock (&feed->lock);
    return failed;
}
