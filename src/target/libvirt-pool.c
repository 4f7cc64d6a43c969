/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Storage pools: which can take disks, and is this one of them.
 *
 * dir, fs and netfs pools hold files; a logical pool holds LVM volumes, which are raw and come with old bytes. Others
 * (iscsi, rbd, disk …) are refused by name.
 */
#include "base/error.h"
#include "target/libvirt-host.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void
vmf_libvirt_pool_free (struct vmf_libvirt_pool *pool)
{
    if (!pool)
        return;
    virStoragePoolFree (pool->handle);
    g_free (pool->name);
    g_free (pool->type);
    g_free (pool->path);
    g_free (pool);
}

static bool
usable (struct vmf_libvirt_pool *pool, GError **error)
{
    static const char *const file_types[] = { "dir", "fs", "netfs", NULL };
    struct stat info;
    pool->block = g_strcmp0 (pool->type, "logical") == 0;
    if (virStoragePoolIsActive (pool->handle) != 1)
        g_set_error (error, VMF_ERROR, VMF_ERROR_MISSING, "pool '%s' is not running; start it: virsh pool-start '%s'",
                     pool->name, pool->name);
    else if (!pool->type || (!pool->block && !g_strv_contains (file_types, pool->type)))
        g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE,
                     "pool '%s' is of type %s, which vmferry cannot write to; choose one of type dir, fs, netfs or "
                     "logical",
                     pool->name, pool->type ? pool->type : "unknown");
    else if (!pool->path
             || (!pool->block && stat (pool->path, &info) != 0)) /* a group without volumes has no /dev/VG */
        g_set_error (error, VMF_ERROR, VMF_ERROR_MISSING,
                     "the place of pool '%s', %s, cannot be seen from here (%s): run vmferry on the hypervisor itself, "
                     "outside of containers",
                     pool->name, pool->path ? pool->path : "?", g_strerror (errno));
    else
        return true;
    return false;
}

struct vmf_libvirt_pool *
vmf_libvirt_pool_open (virConnect *connection, const char *name, GError **error)
{
    g_autoptr (vmf_libvirt_pool) pool = g_new0 (struct vmf_libvirt_pool, 1);
    pool->name = g_strdup (name);
    pool->handle = virStoragePoolLookupByName (connection, name);
    if (!pool->handle)
    {
        virResetLastError ();
        g_autofree char *names = vmf_libvirt_pool_names (connection);
        g_set_error (error, VMF_ERROR, VMF_ERROR_NOT_FOUND,
                     "there is no storage pool '%s'; there are: %s. Choose with --pool", name, names);
        return NULL;
    }
    /* What changed behind libvirt's back; fails while another volume is being made there, and then does not matter. */
    virStoragePoolRefresh (pool->handle, 0);
    virStoragePoolInfo info = { 0 };
    int autostart = 1;
    g_autofree char *xml = virStoragePoolGetXMLDesc (pool->handle, 0);
    if (!xml || virStoragePoolGetInfo (pool->handle, &info) != 0)
        return vmf_libvirt_fail (error, "cannot look at pool '%s'", name), NULL;
    virStoragePoolGetAutostart (pool->handle, &autostart);
    pool->type = vmf_libvirt_xpath_first (xml, "/pool/@type");
    pool->path = vmf_libvirt_xpath_first (xml, "/pool/target/path");
    pool->autostart = autostart;
    pool->available_bytes = info.available;
    virResetLastError ();
    return usable (pool, error) ? g_steal_pointer (&pool) : NULL;
}

bool
vmf_libvirt_pool_has (const struct vmf_libvirt_pool *pool, const char *name)
{
    struct stat info;
    g_autofree char *path = g_build_filename (pool->path, name, NULL);
    g_autoptr (virStorageVol) volume = virStorageVolLookupByName (pool->handle, name);
    virResetLastError ();
    return volume || (!pool->block && lstat (path, &info) == 0);
}
