/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What VDDK says. Its callbacks carry no data of ours, so this is one per process; any thread.
 *
 * All of it goes to nbdkit's debug log (-v), with our secrets blotted out. Remembered are the last warning and the few
 * facts that VDDK tells nowhere else: its return codes alone cannot tell a closed port from a host that is busy.
 */
#pragma once
#include <stdbool.h>
#include <stdarg.h>

struct vddk_log_facts
{
    char warning[512];     /* the last one, or "" */
    char thumbprint[128];  /* of the server's certificate, when VDDK did not accept it */
    char peer[256];        /* HOST:PORT that could not be reached */
    bool is_out_of_memory; /* ESXi has no NFC buffers left */
    bool is_crowded;       /* no session or connection left */
};

/* Words that must not appear; before the library is initialised. They stay the caller's. */
void vddk_log_hide (const char *secret);

void vddk_log_message (const char *format, va_list args);
void vddk_log_warning (const char *format, va_list args);
void vddk_log_panic (const char *format, va_list args);

void vddk_log_forget (void);
void vddk_log_recall (struct vddk_log_facts *facts);

/* Takes note of what one LINE tells: the pure part. */
void vddk_log_learn (struct vddk_log_facts *facts, const char *line);
