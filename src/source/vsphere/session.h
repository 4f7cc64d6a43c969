/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a call needs of the session: how often it logged in, and to do so again. */
#pragma once
#include "source/vsphere/internal.h"

/* 0 while the first login is on its way. */
unsigned vmf_session_get_logins (struct vmf_vsphere *vsphere);
/* Logs in again, unless another thread has since LOGINS was read. */
bool vmf_session_renew (struct vmf_vsphere *vsphere, unsigned logins, GCancellable *cancellable, GError **error);
