/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Calls to the source that take their time, in threads of their own: checking what it vouches for, and taking back what
 * an import of a running machine made there. The main thread goes on meanwhile.
 */
#include "import/internal.h"

#include <sys/eventfd.h>

static void *
job_thread (void *data)
{
    struct import_job *job = data;
    job->good = job->call (job->import, &job->error);
    __atomic_store_n (&job->ended, true, __ATOMIC_RELEASE);
    eventfd_write (job->import->wake_fd, 1);
    return NULL;
}

void
import_job_start (struct vmf_import *import, struct import_job *job,
                  bool (*call) (struct vmf_import *import, GError **error))
{
    *job = (struct import_job){ .import = import, .call = call };
    job->thread = g_thread_new ("source", job_thread, job);
}

bool
import_job_join (struct import_job *job, GError **error)
{
    if (!job->thread)
        return true;
    g_thread_join (g_steal_pointer (&job->thread));
    if (!job->good)
        g_propagate_error (error, g_steal_pointer (&job->error));
    return job->good;
}

bool
import_job_poll (struct import_job *job, GError **error)
{
    return !__atomic_load_n (&job->ended, __ATOMIC_ACQUIRE) || import_job_join (job, error);
}

/* ---- release ---- */

static bool
release (struct vmf_import *import, GError **error)
{
    return import->source->ops->release (import->source, error);
}

static void
say_unless (bool good, struct vmf_import *import, const GError *problem)
{
    if (good)
        return;
    import_say (import, VMF_IMPORT_WARNING, "%s", problem->message);
    vmf_findings_add (import->findings, VMF_FINDING_WARNING, "%s", problem->message);
}

void
import_release_begin (struct vmf_import *import)
{
    if (!import->held)
        return;
    import->held = false;
    import_job_start (import, &import->release, release);
}

void
import_release_poll (struct vmf_import *import)
{
    g_autoptr (GError) problem = NULL;
    bool good = import_job_poll (&import->release, &problem);
    say_unless (good, import, problem);
}

void
import_release_now (struct vmf_import *import)
{
    g_autoptr (GError) problem = NULL;
    bool good = import_job_join (&import->release, &problem);
    if (import->held && import->source)
        good = release (import, &problem);
    say_unless (good, import, problem);
    import->held = false;
}
