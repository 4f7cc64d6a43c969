/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every program that vmferry starts: its version, what needs it, the package that has it (A10, A14).
 *
 * The table is the one place that knows package names; `vmferry doctor` prints it, and error messages about a missing
 * program quote it. Functions that start a program are for the main thread only (child.h).
 */
#pragma once
#include <gio/gio.h>
#include <stdbool.h>

enum vmf_family
{
    VMF_FAMILY_OTHER,
    VMF_FAMILY_DEBIAN,
    VMF_FAMILY_FEDORA, /* Enterprise Linux too */
    VMF_FAMILY_SUSE,
};

struct vmf_tool
{
    const char *name;           /* of the program, looked for in PATH */
    const char *other_place;    /* where some keep it outside of PATH, colons between; NULL: none */
    const char *version_option; /* prints the version */
    const char *min_version;    /* the oldest that can do what we ask; NULL: any */
    bool required;
    const char *needed_for;                   /* "serving disk images" */
    const char *package[VMF_FAMILY_SUSE + 1]; /* by enum vmf_family; [OTHER] is Debian's name */
};

enum vmf_tool_state
{
    VMF_TOOL_PRESENT,
    VMF_TOOL_ABSENT,
    VMF_TOOL_OLD,    /* older than min_version */
    VMF_TOOL_SILENT, /* there, but it would not say its version */
};

struct vmf_tool_found
{
    const struct vmf_tool *tool;
    enum vmf_tool_state state;
    char *path;
    char *version;
};

const struct vmf_tool *vmf_tools_table (void); /* ended by a NULL name */
const struct vmf_tool *vmf_tool_get (const char *name);

/* The program's absolute path, or NULL. Caller frees. */
char *vmf_tool_find (const struct vmf_tool *tool);

/* Starts it to ask for its version; never fails. */
struct vmf_tool_found *vmf_tool_look (const struct vmf_tool *tool);
void vmf_tool_found_free (struct vmf_tool_found *found);

/* Below, equal, above zero as the dotted number A is older than, equal to or newer than B. */
int vmf_version_compare (const char *a, const char *b);

/* From /etc/os-release's ID and ID_LIKE. TEXT NULL: this host's. */
enum vmf_family vmf_family_of (const char *os_release);

/* "apt-get install qemu-utils nbdkit": each package once. PACKAGES: char*. Caller frees; NULL: nothing to install. */
char *vmf_family_install_command (enum vmf_family family, GPtrArray *packages);

/* For error messages: "install the package qemu-utils"; NULL where PROGRAM is not in the table. Caller frees. */
char *vmf_tool_hint (const char *program);

/* A combination that is known not to work, or only with care: A below one version while B is at or above another. */
struct vmf_bad_pair
{
    const char *a, *a_below;
    const char *b, *b_from; /* b NULL: A alone */
    const char *what;       /* a sentence with the source of the knowledge */
};
const struct vmf_bad_pair *vmf_bad_pairs (void); /* ended by a NULL a */

/* True where the versions (NULL: not known, never bad) fall into PAIR. */
bool vmf_bad_pair_applies (const struct vmf_bad_pair *pair, const char *a_version, const char *b_version);
