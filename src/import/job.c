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
import_job_poll (struct import_job *job, GError **error)
{
    if (!job->thread || !__atomic_load_n (&job->ended, __ATOMIC_ACQUIRE))
        return true;
    g_thread_join (g_steal_pointer (&job->thread));
    if (!job->good)
        g_propagate_error (error, g_steal_pointer (&job->error));
    return job->good;
}

void
import_job_join (struct import_job *job)
{
    if (job->thread)
        g_thread_join (g_steal_pointer (&job->thread));
    g_clear_error (&job->error);
}

/* ---- release ---- */

static bool
release (struct vmf_import *import, GError **error)
{
    g_autoptr (GError) problem = NULL;
    if (import->source->ops->release (import->source, &problem))
        return true;
    import_say (import, VMF_IMPORT_WARNING, "%s", problem->message);
    vmf_findings_add (import->findings, VMF_FINDING_WARNING, "%s",
                      problem->message); /* read once this has been joined */
    return true;
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
import_release_now (struct vmf_import *import)
{
    import_job_join (&import->release);
    if (import->held && import->source)
        release (import, NULL);
    import->held = false;
}
