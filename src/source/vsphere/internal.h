/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of this folder share: the session's struct, one SOAP call, reading properties, waiting for tasks.
 *
 * One call is one round trip. vmf_call_run() holds a channel's lock for it (not longer), logs in again once where the
 * server has forgotten the session, and turns a fault into an error. Long waits are many calls of a few seconds, so
 * that other threads (a lease's) come in between. Answers are trees of libxml2's, read with vm/xml.h; nodes are
 * borrowed.
 */
#pragma once
#include "source/vsphere/answer.h"
#include "source/vsphere/fault.h"
#include "source/vsphere/request.h"
#include "source/vsphere/vsphere.h"
#include "vm/xml.h"

/* One wait for something at the server's; a cancel is seen within a second of it. */
#define VMF_WAIT_SLICE_S 10

/* A connection. Waits have their own, so that a task of half an hour keeps nobody from asking something. */
struct vmf_channel
{
    GMutex lock; /* one call at a time */
    CURL *curl;
    char detail[CURL_ERROR_SIZE];
    struct vmf_tls_seen seen;
};

enum
{
    VMF_CHANNEL_CALLS,
    VMF_CHANNEL_WAITS,
    VMF_N_CHANNELS,
};

struct vmf_vsphere
{
    char *host, *user, *password;
    char *server; /* "vc.example:443": for messages */
    char *url;    /* of /sdk */
    uint16_t port;
    char *ca_file, *thumbprint; /* what `trust` points to */
    struct vmf_tls_trust trust;
    int64_t timeout_ms, cancel_ms;

    struct vmf_channel channels[VMF_N_CHANNELS];
    GMutex login_lock; /* over logging in again; never taken with a channel's held */
    bool is_refused;   /* under it: the password was, so nobody tries again */
    unsigned logins;   /* under `cookie_lock` */
    GMutex cookie_lock;
    char *cookie;
    char *shown_thumbprint, *shown_pem; /* of the server's certificate, as the login saw and believed it */

    struct vmf_vsphere_about about;
    char *api_version; /* for SOAPAction */
    char *root_folder, *property_collector, *view_manager, *session_manager;
    char *event_manager; /* NULL: there is none */
    char *search_index;  /* or NULL */

    GMutex leases_lock;
    GPtrArray *leases; /* struct vmf_vsphere_lease*, borrowed: those that were not ended */
};

struct vmf_call
{
    const char *what; /* "taking a snapshot of vm-12": for messages; borrowed */
    GString *request; /* freed by the run, and wiped if `secret` */
    const char
        *each; /* each element of that name below <returnval> or its <filterSet> goes to `on_each`, then is freed */
    void (*on_each) (xmlNode *node, void *data);
    void *data;
    int64_t timeout_ms;    /* 0: the session's */
    bool secret;           /* the request has a password in it */
    bool waits;            /* the server may take its time: VMF_CHANNEL_WAITS */
    enum vmf_fault *fault; /* out, where not NULL: what the fault was; VMF_FAULT_NONE where there was none */
    char **other_task;     /* out, where not NULL: of TASK_IN_PROGRESS, the task; the caller frees */
};

/* The answer, whose <…Response> vmf_answer_response() gives; or NULL. */
xmlDoc *vmf_call_run (struct vmf_vsphere *vsphere, struct vmf_call *call, GCancellable *cancellable, GError **error);
/* The same, for who only wants to know that it went well. */
bool vmf_call_do (struct vmf_vsphere *vsphere, struct vmf_call *call, GCancellable *cancellable, GError **error);
/* The text of <returnval>, a reference mostly. Caller frees. CORRUPT where there is none. */
char *vmf_call_text (struct vmf_vsphere *vsphere, struct vmf_call *call, GCancellable *cancellable, GError **error);

enum
{
    VMF_GOODBYE_MS = 10000, /* for what only the server would miss: it forgets sessions and leases by itself, too */
};

/* ---- properties ---- */

/* Calls ON_OBJECT with each <objects>, page by page. SPEC is what stands in <specSet>; freed. */
bool vmf_properties_each (struct vmf_vsphere *vsphere, const char *what, GString *spec,
                          void (*on_object) (xmlNode *object, void *data), void *data, GCancellable *cancellable,
                          GError **error);
/* Of one object: a document whose root is its <objects>. NOT_FOUND. */
xmlDoc *vmf_properties_one (struct vmf_vsphere *vsphere, const char *what, const char *type, const char *moref,
                            const char *const *paths, GCancellable *cancellable, GError **error);
/* One property that is true or false; not set is false. */
bool vmf_properties_bool (struct vmf_vsphere *vsphere, const char *what, const char *type, const char *moref,
                          const char *path, bool *value, GCancellable *cancellable, GError **error);
/* <val> of PATH, or NULL; and its text. */
xmlNode *vmf_property_find (const xmlNode *object, const char *path);
char *vmf_property_text (const xmlNode *object, const char *path);
/* The <propSet> for TYPE with PATHS, and an <objectSet> of one object: to build a spec of. */
void vmf_spec_add_paths (GString *spec, const char *type, const char *const *paths);
void vmf_spec_add_object (GString *spec, const char *type, const char *moref);

/* A view of all objects of TYPES below the root folder, to end with vmf_view_end(); and an <objectSet> of what it
   shows. */
char *vmf_vsphere_view_new (struct vmf_vsphere *vsphere, const char *what, const char *const *types,
                            GCancellable *cancellable, GError **error);
void vmf_view_end (struct vmf_vsphere *vsphere, const char *view);
void vmf_spec_add_view (GString *spec, const char *view);

/* "a%2fb" as vSphere spells names to "a/b". Caller frees. */
char *vmf_name_decode (const char *name);

/* ---- waiting ---- */

enum vmf_wait
{
    VMF_WAIT_ERROR,
    VMF_WAIT_DONE,
    VMF_WAIT_TIMEOUT,
};

/* Waits until the property PATH of an object has one of VALUES, by change notification. DEADLINE_US as
   g_get_monotonic_time() counts; G_MAXINT64: none. NOT_FOUND: the object went away. */
enum vmf_wait vmf_wait_for (struct vmf_vsphere *vsphere, const char *what, const char *type, const char *moref,
                            const char *path, const char *const *values, int64_t deadline_us, GCancellable *cancellable,
                            GError **error);

/* Runs the task that MAKE's request starts, and waits for its end; where another task is in progress, waits for that
   and tries again. The document's root is the task's <objects>, whose property `info` has the result. Cancelled: the
   server is asked to cancel the task, and its end is awaited for a while, since only that tells what is there
   afterwards: one that still ends well is a success. VMF_FAULT_NO_END where it is not known how it ended. */
typedef GString *(*vmf_make_request) (const void *data);
xmlDoc *vmf_task_run (struct vmf_vsphere *vsphere, const char *what, vmf_make_request make, const void *data,
                      enum vmf_fault *fault, GCancellable *cancellable, GError **error);
/* The middle of that, for calls that start no task of their own: did it fail because another task is in progress? Then
   waits for OTHER (NULL: a while) and is true; otherwise false, with ERROR as it was. */
bool vmf_task_wait_for_other (struct vmf_vsphere *vsphere, enum vmf_fault fault, const char *other, int64_t begun_us,
                              GCancellable *cancellable, GError **error);

/* Sleeps; false: cancelled. */
bool vmf_sleep_ms (int64_t ms, GCancellable *cancellable, GError **error);

/* struct vmf_vsphere_disk* from a VirtualMachineConfigInfo element. */
GPtrArray *vmf_disks_read (const xmlNode *config, GError **error);
