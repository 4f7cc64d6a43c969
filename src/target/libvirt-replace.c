/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --replace on a libvirt host: the old domain stays whole until the new one is about to be defined.
 *
 * Its XML goes into the undo list first, so a failure or a SIGKILL between undefining the one and defining the other
 * gives it back. Its volumes go only after the new domain stands, and only those that are named like an import's own
 * (NAME-sda.qcow2); a disk with another name may be somebody's data, and stays.
 */
#include "base/error.h"
#include "target/libvirt-host.h"

#include <string.h>
#include <sys/stat.h>

static bool
is_named_like_ours (const char *volume, const char *vm_name)
{
    g_autofree char *escaped = g_regex_escape_string (vm_name, -1);
    g_autofree char *pattern = g_strdup_printf ("^%s-sd[a-z]+(-[0-9]+)?\\.(qcow2|raw)$", escaped);
    return g_regex_match_simple (pattern, volume, 0, 0);
}

/* The disks that the domain of XML alone may write to, by path. */
static GStrv
own_disks (virConnect *connection, const char *xml)
{
    return vmf_libvirt_source_paths (connection, xml,
                                     "/domain/devices/disk[not(@device) or @device='disk'][not(readonly)]"
                                     "[not(shareable)]/source");
}

/* Who else may need a volume. */
struct users
{
    GPtrArray *domains; /* struct vmf_libvirt_domain*; NULL: they could not be listed */
    GStrv backing;      /* files that others are overlays of */
};

static struct users
list_users (virConnect *connection, GError **error)
{
    return (struct users){ vmf_libvirt_domains (connection, error), vmf_libvirt_backing_files (connection) };
}

static void
clear_users (struct users *users)
{
    g_clear_pointer (&users->domains, g_ptr_array_unref);
    g_strfreev (users->backing);
}

/* One file may have several names. */
static bool
has_file (const GStrv files, const char *path)
{
    struct stat info, other;
    bool there = stat (path, &info) == 0;
    for (size_t i = 0; files[i]; i++)
        if (strcmp (files[i], path) == 0
            || (there && stat (files[i], &other) == 0 && other.st_ino == info.st_ino && other.st_dev == info.st_dev))
            return true;
    return false;
}

/* The volume of PATH that goes with the domain VM_NAME; NULL: none, or not to be touched. */
static virStorageVol *
replaceable_volume (virConnect *connection, const struct users *users, const char *path, const char *vm_name)
{
    g_autoptr (virStorageVol) volume = virStorageVolLookupByPath (connection, path);
    virResetLastError ();
    if (!volume || !is_named_like_ours (virStorageVolGetName (volume), vm_name) || has_file (users->backing, path))
        return NULL;
    for (guint i = 0; i < users->domains->len; i++)
    {
        const struct vmf_libvirt_domain *domain = g_ptr_array_index (users->domains, i);
        if (strcmp (domain->name, vm_name) != 0 && has_file (domain->disks, path))
            return NULL;
    }
    return g_steal_pointer (&volume);
}

/* What libvirt would not let go of, or what would be lost with the domain without having been asked for. */
static const char *
obstacle (virDomain *domain)
{
    const char *found = NULL;
    if (virDomainIsActive (domain) == 1)
        found = "is running; shut it down first";
    else if (virDomainHasManagedSaveImage (domain, 0) == 1)
        found = "has a saved state; remove it first with virsh managedsave-remove";
    else if (virDomainSnapshotNum (domain, 0) > 0)
        found = "has snapshots; delete them first with virsh snapshot-delete";
    else if (virDomainListAllCheckpoints (domain, NULL, 0) > 0)
        found = "has checkpoints; delete them first with virsh checkpoint-delete";
    virResetLastError ();
    return found;
}

static void
check_disks (virConnect *connection, const char *name, const char *xml, GPtrArray *findings)
{
    g_auto (GStrv) paths = own_disks (connection, xml);
    struct users users = list_users (connection, NULL);
    for (size_t i = 0; users.domains && paths[i]; i++)
    {
        g_autoptr (virStorageVol) volume = replaceable_volume (connection, &users, paths[i], name);
        vmf_findings_add (findings, VMF_FINDING_WARNING,
                          volume ? "the volume %s of the domain that is replaced will be deleted at the end"
                                 : "the disk %s of the domain that is replaced stays: it is no volume that an import "
                                   "made, or another domain or volume uses it",
                          paths[i]);
    }
    clear_users (&users);
}

void
vmf_libvirt_replace_check (virConnect *connection, const char *name, GPtrArray *findings)
{
    g_autoptr (virDomain) domain = virDomainLookupByName (connection, name);
    g_autofree char *xml = domain ? virDomainGetXMLDesc (domain, VIR_DOMAIN_XML_INACTIVE) : NULL;
    if (!xml)
        return virResetLastError ();
    const char *why = obstacle (domain);
    if (why)
        vmf_findings_add (findings, VMF_FINDING_BLOCKING, "the domain '%s' cannot be replaced: it %s", name, why);
    else
        vmf_findings_add (findings, VMF_FINDING_WARNING, "the domain '%s' will be replaced at the end", name);
    if (strstr (xml, "<tpm"))
        vmf_findings_add (findings, VMF_FINDING_INFO,
                          "the TPM of the domain that is replaced keeps its keys: libvirt has them by its UUID");
    check_disks (connection, name, xml, findings);
}

static bool
trash_volume (struct vmf_libvirt *host, virStorageVol *volume, const char *path, GError **error)
{
    struct vmf_undo_id id;
    g_autoptr (virStoragePool) pool = virStoragePoolLookupByVolume (volume);
    if (!pool)
        return vmf_libvirt_fail (error, "cannot find the pool of %s", path);
    vmf_undo_identify (path, &id);
    json_t *line = json_pack ("{s:s, s:s, s:s, s:s, s:s, s:o}", "trash", "volume", "uri", host->base.address, "pool",
                              virStoragePoolGetName (pool), "name", virStorageVolGetName (volume), "key",
                              virStorageVolGetKey (volume), "path", vmf_undo_path_to_json (path));
    vmf_undo_id_to_json (&id, line);
    return vmf_undo_add (host->undo, line, error);
}

/* The old domain's disks, and the UEFI variables that would else become the new one's. */
static bool
trash_belongings (struct vmf_libvirt *host, const char *name, const char *xml, GError **error)
{
    struct users users = list_users (host->connection, error);
    g_auto (GStrv) paths = own_disks (host->connection, xml);
    bool good = users.domains != NULL;
    for (size_t i = 0; good && paths[i]; i++)
    {
        g_autoptr (virStorageVol) volume = replaceable_volume (host->connection, &users, paths[i], name);
        good = !volume || trash_volume (host, volume, paths[i], error);
    }
    clear_users (&users);
    g_autofree char *nvram = vmf_libvirt_xpath_first (xml, "/domain/os/nvram");
    g_autofree char *suffix = g_strdup_printf ("/%s_VARS.fd", name);
    if (good && nvram && g_str_has_suffix (nvram, suffix))
        return vmf_undo_trash_file (host->undo, nvram, error);
    return good;
}

bool
vmf_libvirt_replace (struct vmf_libvirt *host, const char *name, const char *xml, GError **error)
{
    g_autoptr (virDomain) domain = virDomainLookupByName (host->connection, name);
    char uuid[VIR_UUID_STRING_BUFLEN];
    int autostart = 0;
    virResetLastError ();
    if (!domain)
        return true;
    g_autofree char *old = virDomainGetXMLDesc (domain, VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE);
    if (!old || virDomainGetUUIDString (domain, uuid) != 0)
        return vmf_libvirt_fail (error, "cannot read the domain '%s' that is to be replaced", name);
    virDomainGetAutostart (domain, &autostart);
    json_t *line = json_pack ("{s:s, s:s, s:s, s:s, s:b, s:s}", "do", "undefine", "uri", host->base.address, "name",
                              name, "uuid", uuid, "autostart", autostart, "xml", old);
    if (!vmf_undo_add (host->undo, line, error) || !trash_belongings (host, name, old, error))
        return false;
    g_autofree char *new_uuid = vmf_libvirt_xpath_first (xml, "/domain/uuid");
    if (new_uuid && g_ascii_strcasecmp (new_uuid, uuid) == 0)
        return true; /* defining takes its place in one step */
    return vmf_libvirt_undefine (domain)
           || vmf_libvirt_fail (error, "cannot undefine the domain '%s' that is to be replaced", name);
}
