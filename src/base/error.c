/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The quark behind VMF_ERROR, and the one way a cancel becomes an error. */
#include "base/error.h"

G_DEFINE_QUARK (vmf - error, vmf_error)

bool
vmf_error_if_cancelled (GCancellable *cancellable, GError **error)
{
    if (!g_cancellable_is_cancelled (cancellable))
        return false;
    g_set_error (error, VMF_ERROR, VMF_ERROR_CANCELLED, "stopped on request");
    return true;
}
