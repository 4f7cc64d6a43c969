/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Undoing steps on a libvirt host, from the undo list alone: by the same road after a failure and after a SIGKILL.
 *
 * A volume goes only if its file is the very one that was made. A domain goes only if it uses our first disk.
 */
#include "base/error.h"
#include "target/libvirt-host.h"
#include "target/undo-kinds.h"

#include <string.h>

static const char *
field (const struct vmf_undo_step *step, const char *key)
{
    const char *text = json_string_value (json_object_get (step->line, key));
    return text ? text : "";
}

/* The volume that STEP names; NULL with no error: there is none (any more). */
static virStorageVol *
find_volume (virConnect *connection, const struct vmf_undo_step *step, GError **error)
{
    const char *pool_name = field (step, "pool"), *name = field (step, "name");
    g_autoptr (virStoragePool) pool = virStoragePoolLookupByName (connection, pool_name);
    if (!pool || virStoragePoolIsActive (pool) != 1)
    {
        virResetLastError ();
        g_set_error (error, VMF_ERROR, VMF_ERROR_MISSING,
                     "the pool '%s' is not there or not running, so the volume %s in it could not be deleted",
                     pool_name, name);
        return NULL;
    }
    virStorageVol *volume = virStorageVolLookupByName (pool, name);
    if (!volume)
    {
        virStoragePoolRefresh (pool, 0); /* libvirtd itself may have been killed and not know the file */
        volume = virStorageVolLookupByName (pool, name);
    }
    virResetLastError ();
    return volume;
}

static bool
is_our_volume (const struct vmf_undo_step *step, virStorageVol *volume, const char *path)
{
    if (json_is_true (json_object_get (step->line, "block")) || (step->trash && step->id.ino == 0))
        return g_strcmp0 (virStorageVolGetKey (volume), field (step, "key")) == 0;
    return vmf_undo_is_ours (step, path);
}

bool
vmf_undo_volume (const struct vmf_undo_step *step, GPtrArray *removed, GError **error)
{
    const char *pool = field (step, "pool"), *name = field (step, "name");
    g_autoptr (GError) failed = NULL;
    g_autoptr (virConnect) connection = vmf_libvirt_connect (field (step, "uri"), error);
    g_autoptr (virStorageVol) volume = connection ? find_volume (connection, step, &failed) : NULL;
    g_autofree char *path = volume ? virStorageVolGetPath (volume) : NULL;
    if (failed)
        return g_propagate_error (error, g_steal_pointer (&failed)), false;
    if (!path)
        return connection != NULL;
    if (!is_our_volume (step, volume, path))
        return vmf_undo_say (removed,
                             "the volume %s in pool '%s' was left alone: it is not the one that this import made", name,
                             pool),
               true;
    if (virStorageVolDelete (volume, 0) != 0)
        return vmf_libvirt_fail (error, "cannot delete the volume %s in pool '%s'", name, pool);
    vmf_undo_say (removed, "deleted the volume %s in pool '%s'", name, pool);
    return true;
}

bool
vmf_undo_domain (const struct vmf_undo_step *step, GPtrArray *removed, GError **error)
{
    const char *name = field (step, "name");
    g_autofree char *path = vmf_undo_path_from_json (step->line, "path");
    g_autoptr (virConnect) connection = vmf_libvirt_connect (field (step, "uri"), error);
    if (!connection)
        return false;
    g_autoptr (virDomain) domain = virDomainLookupByName (connection, name);
    g_autofree char *xml = domain ? virDomainGetXMLDesc (domain, VIR_DOMAIN_XML_INACTIVE) : NULL;
    virResetLastError ();
    if (!xml)
        return true;
    g_auto (GStrv) disks =
        vmf_libvirt_xpath (xml, "/domain/devices/disk/source/@file | /domain/devices/disk/source/@dev");
    if (!path || !g_strv_contains ((const char *const *)disks, path))
        return true; /* another one of that name: the one that was to be replaced, or made since */
    if (virDomainIsActive (domain) == 1)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED,
                     "the domain '%s' of an unfinished import is running; stop it with virsh destroy", name);
        return false;
    }
    /* It never ran, so UEFI variables under its name and TPM keys under its UUID are those of the domain that it was to
       replace. */
    if (!vmf_libvirt_undefine (domain))
        return vmf_libvirt_fail (error, "cannot undefine the domain '%s'", name);
    vmf_undo_say (removed, "undefined the domain '%s'", name);
    return true;
}

bool
vmf_undo_undefined (const struct vmf_undo_step *step, GPtrArray *removed, GError **error)
{
    const char *name = field (step, "name");
    g_autoptr (virConnect) connection = vmf_libvirt_connect (field (step, "uri"), error);
    if (!connection)
        return false;
    g_autoptr (virDomain) there = virDomainLookupByName (connection, name);
    virResetLastError ();
    if (there)
        return true;
    g_autoptr (virDomain) domain = virDomainDefineXML (connection, field (step, "xml"));
    if (!domain)
        return vmf_libvirt_fail (error, "cannot define the domain '%s' again that was to be replaced", name);
    if (json_is_true (json_object_get (step->line, "autostart")))
        virDomainSetAutostart (domain, 1);
    vmf_undo_say (removed, "the domain '%s' is there again as it was", name);
    return true;
}
