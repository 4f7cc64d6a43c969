/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Settings: one table of keys, read from the defaults, the host's configuration file and --set, in this order.
 *
 * The file has lines "key = value"; '#' starts a comment line. The same keys go behind --set (A19, A20). A value that
 * is blank falls back: in --set to the file, in the file to the default. A key that is not in the table is an error
 * that names the line and the nearest known key. Read at start and then only looked at: any thread may get.
 */
#pragma once
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

enum vmf_setting_type
{
    VMF_SETTING_STRING,
    VMF_SETTING_PATH, /* absolute, or blank */
    VMF_SETTING_UINT64,
    VMF_SETTING_BOOL, /* true, yes, on, 1; false, no, off, 0 */
    VMF_SETTING_LIST, /* words with spaces or commas between them */
};

struct vmf_setting
{
    const char *key;
    const char *fallback; /* the default, as text; "" for none */
    enum vmf_setting_type type;
    uint64_t min, max;   /* UINT64 */
    const char *doc;     /* sentences for people; the configuration file's comment */
    const char *choices; /* STRING: the words it may be, "a|b|c"; NULL: any */
};

typedef struct vmf_settings vmf_settings;

struct vmf_settings *vmf_settings_new (void);
void vmf_settings_free (struct vmf_settings *settings);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_settings, vmf_settings_free)

/* PATH NULL: /etc/vmferry/vmferry.conf, which may be absent. A PATH that was named must be there
   (NOT_FOUND). What the file says wrong is USAGE, with the line's number. */
bool vmf_settings_load (struct vmf_settings *settings, const char *path, GError **error);

struct vmf_settings *vmf_settings_copy (const struct vmf_settings *settings);

/* What --set said for KEY; NULL: nothing. Borrowed. */
const char *vmf_settings_get_set (const struct vmf_settings *settings, const char *key);

/* "key=value" from --set, over the file. An empty value takes an earlier --set of KEY back: the file's then holds, or
   the default. VMF_ERROR_USAGE. */
bool vmf_settings_set (struct vmf_settings *settings, const char *pair, GError **error);

/* KEY must be in the table, with that type; get_string gives any type's text. Borrowed; "" where nothing is set. */
const char *vmf_settings_get_string (const struct vmf_settings *settings, const char *key);
uint64_t vmf_settings_get_uint64 (const struct vmf_settings *settings, const char *key);
bool vmf_settings_get_bool (const struct vmf_settings *settings, const char *key);
GStrv vmf_settings_get_list (const struct vmf_settings *settings, const char *key); /* caller frees */

/* The table, ended by a NULL key, for --help and manuals; and the commented file that it makes (caller frees). */
const struct vmf_setting *vmf_settings_table (void);
char *vmf_settings_example (void);
