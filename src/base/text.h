/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Text to numbers and back, in one place that checks range and rest.
 *
 * Any thread may call these; nothing is kept.
 */
#pragma once
#include <glib.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* A decimal number without sign, space or rest. WHAT names it in the error: "sector count". VMF_ERROR_CORRUPT. */
bool vmf_text_to_uint64 (const char *text, const char *what, uint64_t min, uint64_t max, uint64_t *value,
                         GError **error);

/* A size or rate as users write it: "512", "64K", "10G", "1.5T" (powers of 1024; "KiB" and "KB" mean the same as "K").
   VMF_ERROR_USAGE. */
bool vmf_text_to_size (const char *text, const char *what, uint64_t *bytes, GError **error);

/* "1.5 GiB", "0 B": one digit behind the point from KiB on. Caller frees. */
char *vmf_text_from_size (uint64_t bytes);

/* "1:02:03", "4:05" or "12.3 s". Caller frees. */
char *vmf_text_from_duration (int64_t duration_us);

/* RFC 3339 in UTC with milliseconds, from microseconds since 1970 (g_get_real_time). Caller frees. */
char *vmf_text_from_time (int64_t time_us);

/* TEXT with every byte that a terminal would act on (controls, and what is not UTF-8) replaced by '?', and cut to
   MAX_CHARS characters with "..." behind: for names that a source gave. Caller frees. */
char *vmf_text_printable (const char *text, size_t max_chars);

/* TEXT as a JSON string, null for NULL. File names, programs' output and what a source says need not be UTF-8, which
   json_pack() answers with no object at all: what is not becomes U+FFFD. New reference. */
json_t *vmf_text_to_json (const char *text);

/* "vc.example:443", "[::1]:443": HOST and PORT as they stand in an address. Caller frees. */
char *vmf_text_host_port (const char *host, unsigned port);

/* Is TEXT such as PATTERN, with * and ?, says, in capitals or not? NULL and "" are any pattern; NULL is an empty TEXT.
 */
bool vmf_text_matches (const char *pattern, const char *text);

/* TEXT with every comma twice, as a value among QEMU's key=value options has it. Caller frees. */
char *vmf_text_double_commas (const char *text);
