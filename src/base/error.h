/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The error domain of vmferry.
 *
 * The message is a sentence for the user: cause, place and, where there is one, the remedy. The code says only what a
 * caller may decide on. Each layer adds its place in front with g_prefix_error().
 */
#pragma once
#include <gio/gio.h>
#include <stdbool.h>

enum vmf_error
{
    VMF_ERROR_FAILED,    /* none of the below: the message is all there is */
    VMF_ERROR_USAGE,     /* the request itself makes no sense */
    VMF_ERROR_NOT_FOUND, /* a thing that was named is not there */
    VMF_ERROR_EXISTS,    /* a name, UUID, MAC or file is taken on the target */
    VMF_ERROR_UNSAFE,    /* the source asks for something outside itself, or is absurd: refused */
    VMF_ERROR_CORRUPT,   /* damaged or malformed input */
    VMF_ERROR_NO_SPACE,  /* the target or work directory is full, or would be */
    VMF_ERROR_MISSING,   /* a program, library or driver this host lacks */
    VMF_ERROR_CANCELLED, /* the user said stop */
    VMF_ERROR_AUTH,      /* the source wants another user or password, or gives this one no permission */
};

#define VMF_ERROR (vmf_error_quark ())
GQuark vmf_error_quark (void);

/* True, with ERROR set to VMF_ERROR_CANCELLED, when CANCELLABLE (NULL: never) was cancelled. */
bool vmf_error_if_cancelled (GCancellable *cancellable, GError **error);
