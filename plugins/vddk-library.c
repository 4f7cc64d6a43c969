/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vddk-library.h. A distribution whose symbolic links were lost in unpacking has libvixDiskLib.so.8.0.3 only: any file
 * of the right major version will do.
 */
#include "vddk-library.h"

#include <dirent.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum
{
    OLDEST = 6,
    NEWEST = 9,
};

static const char library_name[] = "libvixDiskLib.so.";

static const char *const usual_places[] = {
    VDDK_DEFAULT_DIRECTORY,
    "/opt/vmware-vix-disklib-distrib",
    "/usr/lib64/vmware-vix-disklib",
    "/usr/lib/vmware-vix-disklib",
};

bool
vddk_fail (struct vddk_error *error, const char *format, ...)
{
    va_list args;
    va_start (args, format);
    vsnprintf (error->text, sizeof error->text, format, args);
    va_end (args);
    return false;
}

/* The major version in a file name, or 0. */
static int
version_of (const char *name)
{
    char *end;
    if (strncmp (name, library_name, sizeof library_name - 1) != 0)
        return 0;
    long version = strtol (name + sizeof library_name - 1, &end, 10);
    bool whole = (*end == '\0' || *end == '.') && end != name + sizeof library_name - 1;
    return whole && version >= OLDEST && version <= NEWEST ? (int)version : 0;
}

/* The best library in DIRECTORY becomes LIBRARY's: the highest version, of several files of it the shortest name. */
static bool
look_in (struct vddk_library *library, const char *directory)
{
    DIR *stream = opendir (directory);
    char *best = NULL;
    if (!stream)
        return false;
    for (struct dirent *entry; (entry = readdir (stream));)
    {
        int version = version_of (entry->d_name);
        bool better = version > library->version
                      || (best && version == library->version && strlen (entry->d_name) < strlen (best));
        if (version == 0 || !better)
            continue;
        free (best);
        best = strdup (entry->d_name);
        library->version = version;
    }
    closedir (stream);
    if (!best)
        return false;
    library->directory = strdup (directory);
    if (asprintf (&library->path, "%s/%s", directory, best) < 0)
        library->path = NULL;
    free (best);
    return library->directory && library->path;
}

static bool
look_below (struct vddk_library *library, const char *libdir)
{
    static const char lib64[] = "/lib64";
    char *below;
    if (asprintf (&below, "%s%s", libdir, lib64) < 0)
        return false;
    bool found = look_in (library, below) || look_in (library, libdir);
    free (below);
    if (!found)
        return false;
    library->root = strdup (library->directory);
    size_t length = library->root ? strlen (library->root) : 0;
    if (length > sizeof lib64 && strcmp (library->root + length - (sizeof lib64 - 1), lib64) == 0)
        library->root[length - (sizeof lib64 - 1)] = '\0';
    return library->root != NULL;
}

bool
vddk_library_find (struct vddk_library *library, const char *libdir, struct vddk_error *error)
{
    *library = (struct vddk_library){ 0 };
    if (libdir)
        return look_below (library, libdir)
               || vddk_fail (
                   error,
                   "VDDK is not in '%s': neither that directory nor its lib64 has libvixDiskLib.so.%d to .%d; "
                   "libdir= names what VMware's archive for Linux unpacks to (vmware-vix-disklib-distrib)",
                   libdir, OLDEST, NEWEST);
    for (size_t i = 0; i < sizeof usual_places / sizeof usual_places[0]; i++)
        if (look_below (library, usual_places[i]))
            return true;
    return vddk_fail (
        error,
        "VDDK is not here: libvixDiskLib.so.%d to .%d was looked for in %s, %s, %s and %s; it is VMware's and "
        "cannot be shipped: download \"Virtual Disk Development Kit\" for Linux from Broadcom, unpack it, and "
        "name the directory with libdir=",
        OLDEST, NEWEST, usual_places[0], usual_places[1], usual_places[2], usual_places[3]);
}

struct symbol
{
    const char *name;
    size_t offset;
    bool optional;
};

#define SYMBOL(name, optional)                                                                                         \
    {                                                                                                                  \
        "VixDiskLib_" #name, offsetof (struct vddk_api, name), optional                                                \
    }

static const struct symbol symbols[] = {
    SYMBOL (InitEx, false),
    SYMBOL (Exit, false),
    SYMBOL (GetErrorText, false),
    SYMBOL (FreeErrorText, false),
    SYMBOL (ConnectEx, false),
    SYMBOL (Disconnect, false),
    SYMBOL (Open, false),
    SYMBOL (Close, false),
    SYMBOL (GetInfo, false),
    SYMBOL (FreeInfo, false),
    SYMBOL (GetTransportMode, false),
    SYMBOL (ListTransportModes, true),
    SYMBOL (Read, false),
    SYMBOL (FreeConnectParams, false),
    SYMBOL (AllocateConnectParams, true),
    SYMBOL (ReadAsync, true),
    SYMBOL (Wait, true),
    SYMBOL (QueryAllocatedBlocks, true),
    SYMBOL (FreeBlockList, true),
};

bool
vddk_library_load (struct vddk_library *library, struct vddk_error *error)
{
    void *object = dlopen (library->path, RTLD_NOW | RTLD_LOCAL);
    if (!object)
        return vddk_fail (error,
                          "VDDK cannot be loaded: %s; if a library is missing, the distribution in %s is not complete, "
                          "or not for this machine",
                          dlerror (), library->root);
    for (size_t i = 0; i < sizeof symbols / sizeof symbols[0]; i++)
    {
        void *address = dlsym (object, symbols[i].name);
        if (!address && !symbols[i].optional)
            return vddk_fail (error, "%s has no %s: this is not VDDK %d", library->path, symbols[i].name,
                              library->version);
        memcpy ((char *)&library->api + symbols[i].offset, &address, sizeof address);
    }
    return true;
}

void
vddk_library_free (struct vddk_library *library)
{
    free (library->path);
    free (library->directory);
    free (library->root);
    *library = (struct vddk_library){ 0 };
}

void
vddk_library_describe (const struct vddk_library *library, vddk_code code, char *text, size_t size)
{
    char *words = library->api.GetErrorText (code, NULL);
    snprintf (text, size, "%s", words ? words : "unknown error");
    if (words)
        library->api.FreeErrorText (words);
}
