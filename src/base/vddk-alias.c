/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vddk-alias.h: it is made beside its place and then takes it, so that nobody meets half of one. */
#include "base/vddk-alias.h"
#include "base/error.h"
#include "base/file.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ASKED_FOR "libvixDiskLib.so.8"

char *
vmf_vddk_alias_path (const struct vmf_vddk_place *place)
{
    g_autofree char *root =
        geteuid () == 0 ? g_strdup ("/var/lib/vmferry") : g_build_filename (g_get_user_state_dir (), "vmferry", NULL);
    g_autofree char *whole = g_canonicalize_filename (place->dir, NULL);
    g_autofree char *name = g_strdelimit (g_strdup (whole + strspn (whole, "/")), "/", '_');
    return g_build_filename (root, "vddk", *name ? name : "root", NULL);
}

/* Whoever may write there could have a library of theirs loaded. */
static bool
is_own (const char *path)
{
    struct stat info;
    return lstat (path, &info) == 0 && S_ISDIR (info.st_mode) && info.st_uid == geteuid () && !(info.st_mode & 022);
}

bool
vmf_vddk_alias_is_good (const struct vmf_vddk_place *place)
{
    g_autofree char *path = vmf_vddk_alias_path (place), *lib = g_build_filename (path, "lib64", NULL);
    g_autofree char *alias = g_build_filename (lib, ASKED_FOR, NULL);
    g_autofree char *target = g_file_read_link (alias, NULL);
    return is_own (path) && is_own (lib) && g_strcmp0 (target, place->library) == 0;
}

static bool
fail (const char *what, const char *path, GError **error)
{
    g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "cannot %s %s: %s", what, path, g_strerror (errno));
    return false;
}

/* A link in FOLDER for each thing of FROM, but for what is called LEFT_OUT. */
static bool
link_all (const char *from, const char *folder, const char *left_out, GError **error)
{
    g_autoptr (GDir) dir = g_dir_open (from, 0, error);
    const char *name;
    while (dir && (name = g_dir_read_name (dir)))
    {
        g_autofree char *target = g_build_filename (from, name, NULL), *link = g_build_filename (folder, name, NULL);
        if (strcmp (name, left_out) != 0 && symlink (target, link) != 0)
            return fail ("make", link, error);
    }
    return dir != NULL;
}

static bool
fill (const struct vmf_vddk_place *place, const char *folder, GError **error)
{
    g_autofree char *dir = g_canonicalize_filename (place->dir, NULL);
    g_autofree char *from = g_build_filename (dir, "lib64", NULL), *lib = g_build_filename (folder, "lib64", NULL);
    g_autofree char *alias = g_build_filename (lib, ASKED_FOR, NULL);
    if (g_mkdir_with_parents (lib, 0755) != 0)
        return fail ("make", lib, error);
    if (!link_all (dir, folder, "lib64", error) || !link_all (from, lib, ASKED_FOR, error))
        return false;
    return symlink (place->library, alias) == 0 || fail ("make", alias, error);
}

bool
vmf_vddk_alias_make (const struct vmf_vddk_place *place, GError **error)
{
    g_autofree char *path = vmf_vddk_alias_path (place), *fresh = g_strconcat (path, ".new", NULL);
    vmf_file_remove_tree (fresh);
    bool good = fill (place, fresh, error);
    if (good)
        vmf_file_remove_tree (path);
    if (good && rename (fresh, path) != 0)
        good = fail ("make", path, error);
    if (!good)
        vmf_file_remove_tree (fresh);
    return good;
}
