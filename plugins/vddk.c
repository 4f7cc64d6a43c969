/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nbdkit-vmferry-vddk-plugin: a disk that VMware's VDDK reads, read-only. This file is nbdkit's side: the library's
 * life and the requests. plugins/README.md lists the others.
 */
#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "vddk-params.h"
#include "vddk-reexec.h"
#include "vddk-temp.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

enum
{
    RUNS_MAX = 256,        /* pieces of extents that one request looks up */
    PREFERRED = 64 * 1024, /* VDDK's chunks */
    MAXIMUM = 32 << 20,
};

static struct vddk_library library;
static struct vddk_temp temp;
static struct vddk_disk *disk;
static bool is_stuck; /* the library did not end */
static pid_t owner;   /* the process that has initialised the library */

static int
fail (const struct vddk_error *error)
{
    nbdkit_error ("%s", error->text);
    nbdkit_set_error (EIO);
    return -1;
}

static bool
load (struct vddk_error *error)
{
    return vddk_library_find (&library, vddk_params.libdir, error) && vddk_reexec_with (library.directory, error)
           && vddk_library_load (&library, error);
}

static int
vddk_config_complete (void)
{
    struct vddk_error error;
    if (vddk_params_check () < 0)
        return -1;
    if (!load (&error))
        return fail (&error);
    if (vddk_params_read_secret () < 0)
        return -1;
    vddk_log_hide (vddk_params.secret);
    vddk_log_hide (vddk_params.target.cookie);
    return 0;
}

/* virt-v2v, like others, asks without libdir= whether the plugin works at all, and says where VDDK is later: nbdkit's
 * own plugin then says what it can. A libdir that is named and cannot be used is an error. */
static void
vddk_dump_plugin (void)
{
    struct vddk_error error;
    printf ("vddk_default_libdir=%s\nvddk_has_nfchostport=1\n", VDDK_DEFAULT_DIRECTORY);
    bool loaded = load (&error);
    if (!loaded && vddk_params.libdir)
    {
        fail (&error);
        exit (EXIT_FAILURE);
    }
    if (!loaded)
    {
        nbdkit_debug ("%s", error.text);
        return;
    }
    printf ("vddk_library_version=%d\nvddk_dll=%s\n", library.version, library.path);
    printf ("vddk_has_read_async=%d\nvddk_has_extents=%d\n", library.api.ReadAsync && library.api.Wait,
            library.api.QueryAllocatedBlocks != NULL);
}

/* --- the library's life --- */

static bool
give_up (void)
{
    /* nbdkit's own sleep is the one that notices its end, and the client's. */
    return nbdkit_nanosleep (0, 1) < 0;
}

static bool
initialise (struct vddk_error *error)
{
    char words[256];
    vddk_code code = library.api.InitEx (VDDK_MAJOR, VDDK_MINOR, vddk_log_message, vddk_log_warning, vddk_log_panic,
                                         library.root, temp.config);
    if (code == VDDK_OK)
        return true;
    vddk_library_describe (&library, code, words, sizeof words);
    return vddk_fail (error, "VDDK in '%s' cannot be initialised: %s (%u): the distribution may not be complete",
                      library.root, words, (unsigned)(code & VDDK_CODE_MASK));
}

/* It starts threads, which do not live through a fork. */
static int
vddk_after_fork (void)
{
    struct vddk_error error;
    struct vddk_disk_options options = vddk_params.options;
    options.give_up = give_up;
    if (vddk_params.slots_directory)
        options.slots =
            vddk_slots_new (vddk_params.slots_directory, vddk_params.slots_max, vddk_params.slots_owner, &error);
    if (vddk_params.slots_directory && !options.slots)
        return fail (&error);
    owner = getpid ();
    if (!vddk_temp_make (&temp, vddk_params.config_path, &error))
        return fail (&error);
    if (initialise (&error))
        disk = vddk_disk_start (&library, &vddk_params.target, &options, &error);
    if (disk)
        return 0;
    vddk_temp_remove (&temp);
    return fail (&error);
}

static void
vddk_cleanup (void)
{
    if (owner != getpid ())
        return;
    is_stuck = disk && !vddk_disk_stop (disk);
    if (disk && !is_stuck)
        library.api.Exit ();
    disk = NULL;
    vddk_temp_remove (&temp);
}

static void
vddk_unload (void)
{
    if (is_stuck) /* its threads still use all of that */
        return;
    vddk_params_free ();
    vddk_library_free (&library);
}

/* --- requests --- */

static void *
vddk_open (int readonly)
{
    uint64_t size;
    struct vddk_error error;
    vddk_disk_count_client (disk, 1);
    if (vddk_disk_get_size (disk, &size, &error))
        return NBDKIT_HANDLE_NOT_NEEDED;
    vddk_disk_count_client (disk, -1);
    fail (&error);
    return NULL;
}

static void
vddk_close (void *handle)
{
    vddk_disk_count_client (disk, -1);
}

static int64_t
vddk_get_size (void *handle)
{
    uint64_t size;
    struct vddk_error error;
    return vddk_disk_get_size (disk, &size, &error) ? (int64_t)size : fail (&error);
}

static int
vddk_block_size (void *handle, uint32_t *minimum, uint32_t *preferred, uint32_t *maximum)
{
    *minimum = 1;
    *preferred = PREFERRED;
    *maximum = MAXIMUM;
    return 0;
}

static int
vddk_can_write (void *handle)
{
    return 0;
}

static int
vddk_can_multi_conn (void *handle)
{
    return 1;
}

static int
vddk_can_extents (void *handle)
{
    return library.api.QueryAllocatedBlocks != NULL && library.api.FreeBlockList != NULL;
}

static int
vddk_pread (void *handle, void *buffer, uint32_t count, uint64_t offset, uint32_t flags)
{
    struct vddk_error error;
    return vddk_disk_read (disk, buffer, offset, count, &error) ? 0 : fail (&error);
}

static int
vddk_extents (void *handle, uint32_t count, uint64_t offset, uint32_t flags, struct nbdkit_extents *extents)
{
    uint64_t end = offset + count;
    /* What is not allocated in the disk of a snapshot alone is in its parent, not zero. */
    uint32_t hole =
        vddk_params.target.flags & VDDK_OPEN_SINGLE_LINK ? NBDKIT_EXTENT_HOLE : NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO;
    bool first_is_data = false;
    for (unsigned runs = 0; offset < end && runs < RUNS_MAX; runs++)
    {
        uint64_t length;
        bool data;
        struct vddk_error error;
        if (!vddk_disk_run (disk, offset, &length, &data, &error))
            return runs > 0 ? 0 : fail (&error);
        /* nbdkit 1.32 ends by an assertion when it is told of more than 4 GiB. */
        length = length < end - offset ? length : end - offset;
        if (runs == 0)
            first_is_data = data;
        if ((flags & NBDKIT_FLAG_REQ_ONE) && data != first_is_data)
            break;
        if (nbdkit_add_extent (extents, offset, length, data ? 0 : hole) < 0)
            return -1;
        offset += length;
    }
    return 0;
}

static struct nbdkit_plugin plugin = {
    .name = "vmferry-vddk",
    .longname = "a VMware disk, read by VMware's VDDK",
    .description = "Reads a disk of a vCenter or ESXi host through VDDK, which must be installed. Takes the parameters "
                   "of nbdkit's vddk plugin. See nbdkit-vmferry-vddk-plugin(1).",
    .version = VMF_VERSION,
    .config_help = vddk_params_help,
    .magic_config_key = "file",
    .load = vddk_reexec_restore,
    .unload = vddk_unload,
    .config = vddk_params_set,
    .config_complete = vddk_config_complete,
    .dump_plugin = vddk_dump_plugin,
    .after_fork = vddk_after_fork,
    .cleanup = vddk_cleanup,
    .open = vddk_open,
    .close = vddk_close,
    .get_size = vddk_get_size,
    .block_size = vddk_block_size,
    .can_write = vddk_can_write,
    .can_multi_conn = vddk_can_multi_conn,
    .can_extents = vddk_can_extents,
    .extents = vddk_extents,
    .pread = vddk_pread,
    .errno_is_preserved = 0,
};

NBDKIT_REGISTER_PLUGIN (plugin)
