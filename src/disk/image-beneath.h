/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opening what somebody else named, inside a folder and nowhere else (DESIGN idea 7).
 *
 * The kernel does the check (openat2, RESOLVE_BENEATH), so a link that is exchanged meanwhile leads nowhere either.
 * Any thread.
 */
#pragma once
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* Is NAME a plain relative name: no leading slash, no "..", no scheme ("nbd:", "json:", "C:"), no control characters?
   WHAT says in the message what named it: "backing file". VMF_ERROR_UNSAFE. */
bool vmf_beneath_check_name (const char *name, const char *what, GError **error);

/* Opens the regular file NAME below the folder ROOT for reading. *PATH, unless NULL, is its absolute path with links
   resolved; the caller frees it. -1 with UNSAFE (leads outside, not a regular file) or NOT_FOUND. */
int vmf_beneath_open (const char *root, const char *name, const char *what, char **path, GError **error);

/* Opens the file or block device PATH that the user named, links and all, but nothing that blocks (FIFO) or acts when
   it is opened (tapes, terminals). *SIZE_BYTES is its length. */
int vmf_beneath_open_own (const char *path, char **real_path, uint64_t *size_bytes, GError **error);
