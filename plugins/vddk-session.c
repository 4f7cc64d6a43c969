/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vddk-session.h */
#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "vddk-session.h"

#include <stdlib.h>
#include <string.h>

static enum vddk_outcome
judge (struct vddk_session *session, const char *call, vddk_code code, bool is_first_read, struct vddk_error *error)
{
    char words[256];
    struct vddk_failure failure = { .call = call,
                                    .code = code,
                                    .description = words,
                                    .version = session->library->version,
                                    .is_first_read = is_first_read,
                                    .was_open = session->was_open };
    vddk_library_describe (session->library, code, words, sizeof words);
    vddk_log_recall (&failure.facts);
    vddk_words_explain (session->target, &failure, error);
    return vddk_words_is_refusal (&failure) ? VDDK_REFUSED : VDDK_FAILED;
}

/* What is put in is ours: it is taken out again before the library frees the rest. */
static struct vddk_connect_params *
new_params (const struct vddk_session *session)
{
    const struct vddk_target *target = session->target;
    const struct vddk_api *api = &session->library->api;
    struct vddk_connect_params *params =
        api->AllocateConnectParams ? api->AllocateConnectParams () : calloc (1, sizeof *params);
    if (!params || !target->server)
        return params;
    params->vmx_spec = (char *)target->vm;
    params->server = (char *)target->server;
    params->thumbprint = (char *)target->thumbprint;
    params->port = target->port;
    params->nfc_port = target->nfc_port;
    params->spec_type = 0;
    params->credentials_type = target->cookie ? VDDK_CREDENTIALS_COOKIE : VDDK_CREDENTIALS_USER;
    if (target->cookie)
    {
        params->credentials.session.cookie = (char *)target->cookie;
        params->credentials.session.user = (char *)target->user;
        params->credentials.session.key = (char *)target->password;
    }
    else
    {
        params->credentials.user.user = (char *)target->user;
        params->credentials.user.password = (char *)target->password;
    }
    return params;
}

static void
free_params (struct vddk_session *session)
{
    const struct vddk_api *api = &session->library->api;
    struct vddk_connect_params *params = session->params;
    session->params = NULL;
    if (!params)
        return;
    params->vmx_spec = params->server = params->thumbprint = NULL;
    memset (&params->credentials, 0, sizeof params->credentials);
    if (api->AllocateConnectParams)
        api->FreeConnectParams (params);
    else
        free (params);
}

static vddk_code
connect_to (struct vddk_session *session)
{
    const struct vddk_target *target = session->target;
    session->params = new_params (session);
    if (!session->params)
        return VDDK_E_FAIL;
    nbdkit_debug ("VixDiskLib_ConnectEx (%s, %s, snapshot %s, transports %s)",
                  target->server ? target->server : "this host", target->vm ? target->vm : "no VM",
                  target->snapshot ? target->snapshot : "none", target->transports ? target->transports : "any");
    return session->library->api.ConnectEx (session->params, 1, target->snapshot, target->transports,
                                            &session->connection);
}

static vddk_code
learn_size (struct vddk_session *session)
{
    const struct vddk_api *api = &session->library->api;
    struct vddk_info *info = NULL;
    vddk_code code = api->GetInfo (session->handle, &info);
    if (code != VDDK_OK)
        return code;
    session->capacity_sectors = info->capacity_sectors;
    api->FreeInfo (info);
    const char *transport = api->GetTransportMode (session->handle);
    nbdkit_debug ("%s is open: %llu sectors, transport %s", session->target->file,
                  (unsigned long long)session->capacity_sectors, transport ? transport : "unknown");
    return VDDK_OK;
}

enum vddk_outcome
vddk_session_open (struct vddk_session *session, struct vddk_error *error)
{
    const struct vddk_api *api = &session->library->api;
    const char *call = "ConnectEx";
    uint64_t known = session->capacity_sectors;
    vddk_log_forget ();
    vddk_code code = connect_to (session);
    if (code == VDDK_OK)
    {
        call = "Open";
        nbdkit_debug ("VixDiskLib_Open (%s, flags %u)", session->target->file, session->target->flags);
        code = api->Open (session->connection, session->target->file, session->target->flags, &session->handle);
        if (code != VDDK_OK)
            session->handle = NULL;
    }
    else
        session->connection = NULL;
    if (code == VDDK_OK)
    {
        call = "GetInfo";
        code = learn_size (session);
    }
    if (code != VDDK_OK)
    {
        enum vddk_outcome outcome = judge (session, call, code, false, error);
        vddk_session_close (session);
        return outcome;
    }
    if (session->was_open && known != session->capacity_sectors)
    {
        vddk_fail (error, "'%s' has another size than when it was opened first: it is not the same disk any more",
                   session->target->file);
        vddk_session_close (session);
        session->capacity_sectors = known;
        return VDDK_FAILED;
    }
    session->was_open = true;
    return VDDK_GOOD;
}

void
vddk_session_close (struct vddk_session *session)
{
    const struct vddk_api *api = &session->library->api;
    vddk_code code = VDDK_OK;
    if (session->handle && api->Wait)
        code = api->Wait (session->handle);
    if (code != VDDK_OK)
        nbdkit_debug ("VixDiskLib_Wait: %llu", (unsigned long long)code);
    if (session->handle)
        code = api->Close (session->handle);
    if (session->handle && code != VDDK_OK)
        nbdkit_debug ("VixDiskLib_Close: %llu", (unsigned long long)code);
    if (session->connection)
        api->Disconnect (session->connection);
    free_params (session);
    session->handle = NULL;
    session->connection = NULL;
}

bool
vddk_session_query (struct vddk_session *session, uint64_t first, uint64_t count, struct vddk_block_list **list,
                    struct vddk_error *error)
{
    *list = NULL;
    vddk_log_forget ();
    vddk_code code =
        session->library->api.QueryAllocatedBlocks (session->handle, first, count, VDDK_CHUNK_SECTORS, list);
    if (code == VDDK_OK && *list)
        return true;
    judge (session, "QueryAllocatedBlocks", code, false, error);
    return false;
}

void
vddk_session_read (struct vddk_session *session, uint64_t sector, uint64_t count, uint8_t *bytes, vddk_done_fn done,
                   void *data)
{
    const struct vddk_api *api = &session->library->api;
    vddk_code code = api->ReadAsync && api->Wait ? api->ReadAsync (session->handle, sector, count, bytes, done, data)
                                                 : api->Read (session->handle, sector, count, bytes);
    if (code != VDDK_ASYNC)
        done (data, code);
}

enum vddk_outcome
vddk_session_judge_read (struct vddk_session *session, vddk_code code, bool is_first, struct vddk_error *error)
{
    const struct vddk_api *api = &session->library->api;
    return judge (session, api->ReadAsync && api->Wait ? "ReadAsync" : "Read", code, is_first, error);
}
