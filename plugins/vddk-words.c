/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vddk-words.h */
#include "vddk-words.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum
{
    HINT_MAX = 768,
    NFC_PORT = 902,
    API_PORT = 443,
};

bool
vddk_words_is_refusal (const struct vddk_failure *failure)
{
    bool by_connection = false;
    switch (failure->code & VDDK_CODE_MASK)
    {
    case VDDK_E_TOO_MANY_LOGONS:
    case VDDK_E_TOO_MANY_OPEN_FILES:
    case VDDK_E_OUT_OF_MEMORY:
        return true;
    case VDDK_E_CONNECTION_REFUSED:
    case VDDK_E_CANNOT_CONNECT:
        by_connection = strcmp (failure->call, "Open") == 0;
        break;
    default:
        break;
    }
    /* A port that was open a moment ago is not closed by a firewall. */
    return failure->facts.is_out_of_memory || failure->facts.is_crowded || (by_connection && failure->was_open);
}

static void
hint_connection (const struct vddk_target *target, const struct vddk_failure *failure, char *hint)
{
    char peer[300];
    if (failure->facts.peer[0])
        snprintf (peer, sizeof peer, "%s", failure->facts.peer);
    else
        snprintf (peer, sizeof peer, "port %u of the ESXi host that runs the VM (%s, or the host that it manages)",
                  target->nfc_port ? target->nfc_port : NFC_PORT, target->server ? target->server : "the server");
    snprintf (
        hint, HINT_MAX,
        "%s cannot be reached from here: VDDK reads disks from the ESXi host by TCP port %u (NFC), beside port %u "
        "of the server. Open that port in the firewalls between this host and the ESXi host, and see that the "
        "ESXi host's name can be resolved here",
        peer, target->nfc_port ? target->nfc_port : NFC_PORT, target->port ? target->port : API_PORT);
}

static void
hint_thumbprint (const struct vddk_target *target, const struct vddk_failure *failure, char *hint)
{
    const char *given = target->thumbprint ? target->thumbprint : "(none)", *actual = failure->facts.thumbprint;
    if (actual[0] && strcasecmp (actual, given) != 0)
        snprintf (hint, HINT_MAX,
                  "the certificate of %s has the thumbprint %s, thumbprint= says %s: if the certificate was "
                  "changed on purpose give the new one, else somebody is between here and the server",
                  target->server, actual, given);
    else
        snprintf (hint, HINT_MAX,
                  "VDDK says no more. The commonest cause is a thumbprint that is not that of %s (given: %s): compare "
                  "it with the SHA-1 fingerprint of the certificate on port %u",
                  target->server, given, target->port ? target->port : API_PORT);
}

static void
hint_first_read (const struct vddk_failure *failure, char *hint)
{
    snprintf (hint, HINT_MAX,
              "the disk could be opened but not read at all: VDDK %d does not read from every ESXi version (9 wants "
              "7.0 or later, 8 wants 6.7 or later; ESXi 5.5 and 6.0 need VDDK 6.5 or 6.7). Use a VDDK that fits the "
              "host's version, or another road",
              failure->version);
}

static void
hint_of (const struct vddk_target *target, const struct vddk_failure *failure, char *hint)
{
    bool opens = strcmp (failure->call, "Open") == 0 || strcmp (failure->call, "ConnectEx") == 0;
    switch (failure->code & VDDK_CODE_MASK)
    {
    case VDDK_E_CONNECTION_REFUSED:
    case VDDK_E_CANNOT_CONNECT:
        if (opens && target->server)
            hint_connection (target, failure, hint);
        return;
    case VDDK_E_HOST_NOT_FOUND:
        snprintf (hint, HINT_MAX, "the name %s is not known here", target->server);
        return;
    case VDDK_E_HOST_PERMISSIONS:
    case VDDK_E_AUTHENTICATION:
        snprintf (hint, HINT_MAX,
                  "user %s or the password is not right, or the user lacks the privilege \"Allow read-only disk "
                  "access\" on the VM",
                  target->user ? target->user : "(none)");
        return;
    case VDDK_E_FILE_NOT_FOUND:
        snprintf (hint, HINT_MAX, "there is no such disk, or it is not one of %s%s%s",
                  target->vm ? target->vm : "this VM", target->snapshot ? " in snapshot " : "",
                  target->snapshot ? target->snapshot : "");
        return;
    case VDDK_E_FILE_ACCESS:
        snprintf (hint, HINT_MAX,
                  "the disk is locked or may not be read: a running VM's disk is read through a snapshot (snapshot=)");
        return;
    case VDDK_E_NO_LICENSE:
        snprintf (hint, HINT_MAX,
                  "the host's licence does not permit storage APIs: the free ESXi cannot be read by VDDK");
        return;
    default:
        break;
    }
    if (failure->is_first_read)
        hint_first_read (failure, hint);
    else if (opens && target->server)
        hint_thumbprint (target, failure, hint);
}

bool
vddk_words_explain (const struct vddk_target *target, const struct vddk_failure *failure, struct vddk_error *error)
{
    char hint[HINT_MAX] = "";
    bool reads = strncmp (failure->call, "Read", 4) == 0, asks = strncmp (failure->call, "Query", 5) == 0;
    const char *from = target->vm ? target->vm : target->server;
    hint_of (target, failure, hint);
    return vddk_fail (error, "cannot %s '%s'%s%s: %s%s[VixDiskLib_%s: %s (%u)%s%s]",
                      reads  ? "read"
                      : asks ? "ask for the extents of"
                             : "open",
                      target->file, from ? " of " : "", from ? from : "", hint, hint[0] ? " " : "", failure->call,
                      failure->description, (unsigned)(failure->code & VDDK_CODE_MASK),
                      failure->facts.warning[0] ? "; VDDK: " : "", failure->facts.warning);
}
