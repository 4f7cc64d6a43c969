/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests as text: every value is escaped here, nobody else puts a value between tags.
 *
 * A request is a GString that vmf_request_new() opens and vmf_request_end() closes; elements come in the order of the
 * API reference, which servers insist on. Pure functions; any thread.
 */
#pragma once
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* METHOD on the managed object MOREF of TYPE. */
GString *vmf_request_new (const char *method, const char *type, const char *moref);
GString *vmf_request_end (GString *request); /* gives REQUEST */

void vmf_request_add (GString *request, const char *name, const char *value);
void vmf_request_add_bool (GString *request, const char *name, bool value);
void vmf_request_add_int (GString *request, const char *name, int64_t value);
void vmf_request_add_moref (GString *request, const char *name, const char *type, const char *moref);
/* XSI_TYPE NULL: none is said. */
void vmf_request_open (GString *request, const char *name, const char *xsi_type);
void vmf_request_close (GString *request, const char *name);
