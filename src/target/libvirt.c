/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The libvirt target: volumes in storage pools of this host's hypervisor, and a domain at the end.
 *
 * libvirt creates the volumes (so that it knows them), we write into their files, so both must see the same file
 * system. The domain is defined only by finish: nobody can start it half-copied (C13). The connection is opened again
 * where libvirtd was restarted meanwhile: an import takes hours.
 */
#include "base/error.h"
#include "target/claim.h"
#include "target/libvirt-host.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static bool
claims (const char *address)
{
    return strstr (address, "://") != NULL;
}

static struct vmf_target *
libvirt_open (const char *address, const struct vmf_target_options *options, GError **error)
{
    virConnect *connection = vmf_libvirt_connect (address, error);
    if (!connection)
        return NULL;
    struct vmf_libvirt *host = g_new0 (struct vmf_libvirt, 1);
    host->base.ops = &vmf_target_libvirt_ops;
    host->base.address = g_strdup (address);
    host->connection = connection;
    host->pool = g_strdup (options->pool ? options->pool : "default");
    host->work_dir = g_strdup (options->work_dir);
    host->replace = options->replace;
    host->pools = g_ptr_array_new_with_free_func (g_free);
    host->claims[0] = host->claims[1] = -1;
    return &host->base;
}

static void
libvirt_close (struct vmf_target *target)
{
    struct vmf_libvirt *host = (struct vmf_libvirt *)target;
    if (host->connection)
        virConnectClose (host->connection);
    vmf_undo_free (host->undo);
    for (size_t i = 0; i < G_N_ELEMENTS (host->claims); i++)
        if (host->claims[i] >= 0)
            close (host->claims[i]);
    g_ptr_array_unref (host->pools);
    g_free (host->first_path);
    g_free (host->base.address);
    g_free (host->pool);
    g_free (host->work_dir);
    g_free (host);
}

static bool
reconnect (struct vmf_libvirt *host, GError **error)
{
    unsigned long version;
    if (host->connection && virConnectGetLibVersion (host->connection, &version) == 0)
        return true;
    if (host->connection)
        virConnectClose (host->connection);
    virResetLastError ();
    host->connection = vmf_libvirt_connect (host->base.address, error);
    return host->connection != NULL;
}

static bool
check (struct vmf_target *target, const struct vmf_vm *vm, const struct vmf_target_disk_wish *wishes, unsigned n_disks,
       GPtrArray *findings, GError **error)
{
    struct vmf_libvirt *host = (struct vmf_libvirt *)target;
    return reconnect (host, error) && vmf_libvirt_check (host, vm, wishes, n_disks, findings, error);
}

/* From here on no other import makes a domain of VM's name or UUID: until finish libvirt itself knows of neither. */
static bool
claim (struct vmf_libvirt *host, const struct vmf_vm *vm, GError **error)
{
    for (unsigned i = 0; i < G_N_ELEMENTS (host->claims); i++)
    {
        g_autofree char *what = NULL, *name = vmf_libvirt_claim_name (host, vm, i, &what);
        if (name && (host->claims[i] = vmf_claim_take (name, what, error)) < 0)
            return false;
    }
    return true;
}

/* The first blocking finding as an error. */
static bool
no_clash (struct vmf_libvirt *host, const struct vmf_vm *vm, GError **error)
{
    g_autoptr (GPtrArray) findings = vmf_findings_new ();
    if (!vmf_libvirt_check_clashes (host, vm, findings, error))
        return false;
    for (guint i = 0; i < findings->len; i++)
    {
        const struct vmf_finding *finding = g_ptr_array_index (findings, i);
        if (finding->kind == VMF_FINDING_BLOCKING)
            return g_set_error (error, VMF_ERROR, VMF_ERROR_EXISTS, "%s", finding->text), false;
    }
    return true;
}

/* NAME-sda.qcow2; beside a volume that --replace lets us replace later, NAME-sda-1.qcow2 and so on. */
static char *
volume_name (const struct vmf_libvirt *host, const struct vmf_libvirt_pool *pool, const char *vm_name, unsigned n,
             const char *format, GError **error)
{
    g_autofree char *name = vmf_target_disk_name (vm_name, n, format);
    if (!vmf_libvirt_pool_has (pool, name))
        return g_steal_pointer (&name);
    if (!host->replace)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_EXISTS, "pool '%s' has a volume %s already", pool->name, name);
        return NULL;
    }
    g_autofree char *letter = vmf_disk_letter_name (n);
    for (unsigned copy = 1; copy < 100; copy++)
    {
        g_autofree char *other = g_strdup_printf ("%s-%s-%u.%s", vm_name, letter, copy, format);
        if (!vmf_libvirt_pool_has (pool, other))
            return g_steal_pointer (&other);
    }
    g_set_error (error, VMF_ERROR, VMF_ERROR_EXISTS, "pool '%s' has 99 volumes like %s already; delete some",
                 pool->name, name);
    return NULL;
}

static bool
add_did (struct vmf_libvirt *host, virStorageVol *volume, const char *path, GError **error)
{
    struct vmf_undo_id id;
    vmf_undo_identify (path, &id);
    json_t *line = json_pack ("{s:s, s:s, s:o}", "did", "volume", "key", virStorageVolGetKey (volume), "path",
                              vmf_undo_path_to_json (path));
    vmf_undo_id_to_json (&id, line);
    return vmf_undo_add (host->undo, line, error);
}

/* Has libvirt make the volume, and gives its path. */
static char *
create_volume (struct vmf_libvirt *host, const struct vmf_libvirt_pool *pool, const char *name,
               const struct vmf_target_disk_wish *wish, GError **error)
{
    bool qcow2 = strcmp (wish->format, "qcow2") == 0;
    g_autofree char *target =
        g_strdup_printf ("<target><format type='%s'/>%s</target>", wish->format,
                         qcow2 ? "<compat>1.1</compat><clusterSize unit='KiB'>64</clusterSize>" : "");
    g_autofree char *head =
        g_markup_printf_escaped ("<name>%s</name><capacity unit='bytes'>%" G_GUINT64_FORMAT
                                 "</capacity><allocation unit='bytes'>%" G_GUINT64_FORMAT "</allocation>",
                                 name, (guint64)wish->size_bytes, (guint64)(pool->block ? wish->size_bytes : 0));
    g_autofree char *xml = g_strconcat ("<volume>", head, target, "</volume>", NULL);
    json_t *line = json_pack ("{s:s, s:s, s:s, s:s, s:s, s:b, s:I}", "do", "volume", "uri", host->base.address, "pool",
                              pool->name, "name", name, "format", wish->format, "block", (int)pool->block, "since_ns",
                              (json_int_t)vmf_undo_since_ns ());
    if (!vmf_undo_add (host->undo, line, error))
        return NULL;
    g_autoptr (virStorageVol) volume = virStorageVolCreateXML (pool->handle, xml, 0);
    g_autofree char *path = volume ? virStorageVolGetPath (volume) : NULL;
    if (!path)
        return vmf_libvirt_fail (error, "cannot create the volume %s in pool '%s'", name, pool->name), NULL;
    if (!add_did (host, volume, path, error))
        return NULL;
    if (access (path, R_OK | W_OK) == 0)
        return g_steal_pointer (&path);
    g_set_error (error, VMF_ERROR, VMF_ERROR_MISSING,
                 "libvirt made the volume %s, but it cannot be written from here (%s): run vmferry as root, on the "
                 "hypervisor itself and outside of containers",
                 path, g_strerror (errno));
    return NULL;
}

static struct vmf_target_disk *
create_disk (struct vmf_libvirt *host, const char *vm_name, unsigned n, const struct vmf_target_disk_wish *wish,
             GCancellable *cancellable, GError **error)
{
    const char *pool_name = wish->pool ? wish->pool : host->pool;
    g_autoptr (vmf_libvirt_pool) pool = vmf_libvirt_pool_open (host->connection, pool_name, error);
    g_autofree char *name = pool ? volume_name (host, pool, vm_name, n, wish->format, error) : NULL;
    g_autofree char *path = name ? create_volume (host, pool, name, wish, error) : NULL;
    /* Reserved only now: the undo list knows the file, however long this takes. */
    if (!path
        || (wish->preallocate && !pool->block
            && !vmf_blank_make (path, wish->format, wish->size_bytes, true, cancellable, error)))
        return NULL;
    if (!g_ptr_array_find_with_equal_func (host->pools, pool_name, g_str_equal, NULL))
        g_ptr_array_add (host->pools, g_strdup (pool_name));
    struct vmf_target_disk *disk = g_new0 (struct vmf_target_disk, 1);
    disk->path = g_strdup (path);
    disk->final_path = g_steal_pointer (&path);
    disk->format = g_strdup (wish->format);
    disk->block = pool->block;
    disk->fresh = !pool->block;
    return disk;
}

static GPtrArray *
create (struct vmf_target *target, const struct vmf_vm *vm, const struct vmf_target_disk_wish *wishes, unsigned n_disks,
        GCancellable *cancellable, GError **error)
{
    struct vmf_libvirt *host = (struct vmf_libvirt *)target;
    g_autoptr (GPtrArray) disks = g_ptr_array_new_with_free_func (vmf_target_disk_free);
    g_autofree char *problem = vmf_target_name_problem (vm->name);
    if (problem)
        return g_set_error (error, VMF_ERROR, VMF_ERROR_UNSAFE, "%s", problem), NULL;
    if (!reconnect (host, error) || !claim (host, vm, error) || !no_clash (host, vm, error)
        || !(host->undo = vmf_undo_open (host->work_dir, error)))
        return NULL;
    for (unsigned i = 0; i < n_disks; i++)
    {
        struct vmf_target_disk *disk = NULL;
        if (g_cancellable_is_cancelled (cancellable))
            g_set_error (error, VMF_ERROR, VMF_ERROR_CANCELLED, "making the volumes was stopped");
        else
            disk = create_disk (host, vm->name, i, &wishes[i], cancellable, error);
        if (!disk)
            return NULL;
        g_ptr_array_add (disks, disk);
    }
    if (n_disks > 0)
        host->first_path = g_strdup (((struct vmf_target_disk *)g_ptr_array_index (disks, 0))->final_path);
    return g_steal_pointer (&disks);
}

static bool
adopt (struct vmf_target *target, const struct vmf_vm *vm, const GPtrArray *disks, GError **error)
{
    struct vmf_libvirt *host = (struct vmf_libvirt *)target;
    for (guint i = 0; i < disks->len; i++)
    {
        const struct vmf_target_disk *disk = g_ptr_array_index (disks, i);
        if (access (disk->path, R_OK | W_OK) == 0)
            continue;
        g_set_error (error, VMF_ERROR, VMF_ERROR_NOT_FOUND,
                     "the volume %s, which the import had made, is gone: %s; begin it anew", disk->path,
                     g_strerror (errno));
        return false;
    }
    if (disks->len > 0)
        host->first_path = g_strdup (((struct vmf_target_disk *)g_ptr_array_index (disks, 0))->final_path);
    g_ptr_array_add (host->pools, g_strdup (host->pool));
    host->adopted = true;
    return reconnect (host, error) && claim (host, vm, error)
           && (host->undo = vmf_undo_reopen (host->work_dir, error)) != NULL;
}

static bool
define (struct vmf_libvirt *host, const char *name, const char *xml, GError **error)
{
    json_t *line = json_pack ("{s:s, s:s, s:s, s:o}", "do", "domain", "uri", host->base.address, "name", name, "path",
                              vmf_undo_path_to_json (host->first_path ? host->first_path : ""));
    if (!vmf_undo_add (host->undo, line, error))
        return false;
    g_autoptr (virDomain) domain = virDomainDefineXMLFlags (host->connection, xml, VIR_DOMAIN_DEFINE_VALIDATE);
    return domain || vmf_libvirt_fail (error, "cannot define the domain '%s'", name);
}

/* So that libvirt tells the volumes' actual sizes (C13). */
static void
refresh_pools (struct vmf_libvirt *host)
{
    for (guint i = 0; i < host->pools->len; i++)
    {
        g_autoptr (virStoragePool) pool =
            virStoragePoolLookupByName (host->connection, g_ptr_array_index (host->pools, i));
        if (pool)
            virStoragePoolRefresh (pool, 0);
    }
    virResetLastError ();
}

/* Did this import define its domain before it was killed? */
static bool
is_defined (struct vmf_libvirt *host, const char *name)
{
    g_autoptr (virDomain) domain = host->adopted ? virDomainLookupByName (host->connection, name) : NULL;
    g_autofree char *xml = domain ? virDomainGetXMLDesc (domain, VIR_DOMAIN_XML_INACTIVE) : NULL;
    g_autofree char *path =
        xml ? vmf_libvirt_xpath_first (xml, "/domain/devices/disk/source/@file | /domain/devices/disk/source/@dev")
            : NULL;
    virResetLastError ();
    return path && g_strcmp0 (path, host->first_path) == 0;
}

static bool
make_visible (struct vmf_libvirt *host, const struct vmf_vm *vm, const char *xml, GError **error)
{
    if (is_defined (host, vm->name))
        return true;
    return no_clash (host, vm, error) && (!host->replace || vmf_libvirt_replace (host, vm->name, xml, error))
           && define (host, vm->name, xml, error);
}

static char *
finish (struct vmf_target *target, const struct vmf_vm *vm, const char *xml, GError **error)
{
    struct vmf_libvirt *host = (struct vmf_libvirt *)target;
    g_autofree char *name = vmf_libvirt_xpath_first (xml, "/domain/name");
    if (g_strcmp0 (name, vm->name) != 0)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT, "the domain's XML names '%s', not '%s'", name, vm->name);
        return NULL;
    }
    if (!reconnect (host, error) || !make_visible (host, vm, xml, error))
        return NULL;
    refresh_pools (host);
    if (!vmf_undo_commit (host->undo, error))
        return NULL;
    target->remains = vmf_undo_take_out_trash (host->work_dir);
    return g_steal_pointer (&name);
}

static bool
abort_import (struct vmf_target *target, GError **error)
{
    struct vmf_libvirt *host = (struct vmf_libvirt *)target;
    if (!host->undo) /* never created anything; a list that lies there is somebody else's */
        return true;
    g_clear_pointer (&host->undo, vmf_undo_free);
    return vmf_undo_run (host->work_dir, NULL, error);
}

const struct vmf_target_ops vmf_target_libvirt_ops = {
    .name = "libvirt",
    .claims = claims,
    .open = libvirt_open,
    .close = libvirt_close,
    .check = check,
    .create = create,
    .adopt = adopt,
    .finish = finish,
    .abort = abort_import,
};
