/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Asking a libvirt host what it has. Its XML is read with XPath and nothing else of it is kept. */
#include "target/libvirt-host.h"
#include "base/error.h"

#include <errno.h>
#include <libxml/parser.h>
#include <libxml/xpath.h>
#include <string.h>
#include <unistd.h>

static int
code_of (const virError *failed)
{
    switch (failed->code)
    {
    case VIR_ERR_NO_DOMAIN:
    case VIR_ERR_NO_NETWORK:
    case VIR_ERR_NO_STORAGE_POOL:
    case VIR_ERR_NO_STORAGE_VOL:
        return VMF_ERROR_NOT_FOUND;
    case VIR_ERR_DOM_EXIST:
    case VIR_ERR_STORAGE_VOL_EXIST:
        return VMF_ERROR_EXISTS;
    case VIR_ERR_SYSTEM_ERROR:
        return failed->int1 == ENOSPC ? VMF_ERROR_NO_SPACE : VMF_ERROR_FAILED;
    default:
        return failed->message && strstr (failed->message, g_strerror (ENOSPC)) ? VMF_ERROR_NO_SPACE : VMF_ERROR_FAILED;
    }
}

bool
vmf_libvirt_fail (GError **error, const char *format, ...)
{
    va_list args;
    va_start (args, format);
    g_autofree char *what = g_strdup_vprintf (format, args);
    va_end (args);
    const virError *failed = virGetLastError ();
    if (failed)
        g_set_error (error, VMF_ERROR, code_of (failed), "%s: %s", what, failed->message);
    else
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "%s: libvirt does not say why", what);
    virResetLastError ();
    return false;
}

/* libvirt prints errors by itself unless told otherwise. */
static void
stay_silent (void *data, virErrorPtr failed)
{
}

virConnect *
vmf_libvirt_connect (const char *uri, GError **error)
{
    g_autoptr (GUri) parsed = g_uri_parse (uri, G_URI_FLAGS_NON_DNS | G_URI_FLAGS_ENCODED_QUERY, NULL);
    const char *scheme = parsed ? g_uri_get_scheme (parsed) : "";
    const char *server = parsed ? g_uri_get_host (parsed) : NULL;
    bool local = (strcmp (scheme, "qemu") == 0 || strcmp (scheme, "qemu+unix") == 0) && (!server || !*server);
    if (!local)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE,
                     "'%s' is not a hypervisor of this host: disks are written here, so run vmferry on the hypervisor "
                     "itself and give qemu:///system, qemu:///session or qemu+unix:///system?socket=PATH",
                     uri);
        return NULL;
    }
    virSetErrorFunc (NULL, stay_silent);
    virConnect *connection = virConnectOpen (uri);
    if (!connection)
    {
        vmf_libvirt_fail (error, "cannot reach the hypervisor at %s", uri);
        if (error && *error)
        {
            char *longer = g_strconcat ((*error)->message, "; is libvirtd running, and may this user use it?", NULL);
            g_free ((*error)->message);
            (*error)->message = longer;
        }
    }
    return connection;
}

GStrv
vmf_libvirt_xpath (const char *xml, const char *expression)
{
    g_autoptr (GStrvBuilder) values = g_strv_builder_new ();
    xmlDoc *doc =
        xmlReadMemory (xml, (int)strlen (xml), NULL, NULL, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    xmlXPathContext *context = doc ? xmlXPathNewContext (doc) : NULL;
    xmlXPathObject *found = context ? xmlXPathEval (BAD_CAST expression, context) : NULL;
    for (int i = 0; found && found->nodesetval && i < found->nodesetval->nodeNr; i++)
    {
        xmlChar *text = xmlNodeGetContent (found->nodesetval->nodeTab[i]);
        g_strv_builder_add (values, (const char *)text);
        xmlFree (text);
    }
    xmlXPathFreeObject (found);
    xmlXPathFreeContext (context);
    xmlFreeDoc (doc);
    return g_strv_builder_end (values);
}

char *
vmf_libvirt_xpath_first (const char *xml, const char *expression)
{
    g_auto (GStrv) values = vmf_libvirt_xpath (xml, expression);
    return g_strdup (values[0]);
}

GStrv
vmf_libvirt_source_paths (virConnect *connection, const char *xml, const char *sources)
{
    g_autofree char *by_path = g_strdup_printf ("%s/@file | %s/@dev", sources, sources);
    g_autofree char *by_pool = g_strdup_printf ("%s[@pool and @volume]/@pool", sources);
    g_autofree char *by_volume = g_strdup_printf ("%s[@pool and @volume]/@volume", sources);
    g_auto (GStrv) paths = vmf_libvirt_xpath (xml, by_path);
    g_auto (GStrv) pools = vmf_libvirt_xpath (xml, by_pool), volumes = vmf_libvirt_xpath (xml, by_volume);
    g_autoptr (GStrvBuilder) all = g_strv_builder_new ();
    g_strv_builder_addv (all, (const char **)paths);
    for (size_t i = 0; pools[i] && volumes[i]; i++)
    {
        g_autoptr (virStoragePool) pool = virStoragePoolLookupByName (connection, pools[i]);
        g_autoptr (virStorageVol) volume = pool ? virStorageVolLookupByName (pool, volumes[i]) : NULL;
        g_autofree char *path = volume ? virStorageVolGetPath (volume) : NULL;
        if (path)
            g_strv_builder_add (all, path);
    }
    virResetLastError ();
    return g_strv_builder_end (all);
}

static void
add_backing_files (virStoragePool *pool, GStrvBuilder *files)
{
    virStorageVolPtr *volumes = NULL;
    virStoragePoolRefresh (pool, 0); /* an overlay that was made by hand */
    int n = virStoragePoolListAllVolumes (pool, &volumes, 0);
    for (int i = 0; i < n; i++)
    {
        g_autofree char *xml = virStorageVolGetXMLDesc (volumes[i], 0);
        g_autofree char *backing = xml ? vmf_libvirt_xpath_first (xml, "/volume/backingStore/path") : NULL;
        if (backing)
            g_strv_builder_add (files, backing);
        virStorageVolFree (volumes[i]);
    }
    free (volumes);
}

GStrv
vmf_libvirt_backing_files (virConnect *connection)
{
    virStoragePoolPtr *pools = NULL;
    g_autoptr (GStrvBuilder) files = g_strv_builder_new ();
    int n = virConnectListAllStoragePools (connection, &pools, VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE);
    for (int i = 0; i < n; i++)
    {
        add_backing_files (pools[i], files);
        virStoragePoolFree (pools[i]);
    }
    free (pools);
    virResetLastError ();
    return g_strv_builder_end (files);
}

bool
vmf_libvirt_undefine (virDomain *domain)
{
    unsigned flags = VIR_DOMAIN_UNDEFINE_KEEP_NVRAM;
#if LIBVIR_CHECK_VERSION(8, 9, 0)
    unsigned long version = 0;
    if (virConnectGetLibVersion (virDomainGetConnect (domain), &version) == 0 && version >= 8009000)
        flags |= VIR_DOMAIN_UNDEFINE_KEEP_TPM;
#endif
    return virDomainUndefineFlags (domain, flags) == 0;
}

static void
domain_free (void *data)
{
    struct vmf_libvirt_domain *domain = data;
    g_free (domain->name);
    g_free (domain->uuid);
    g_strfreev (domain->macs);
    g_strfreev (domain->disks);
    g_free (domain);
}

/* NULL: it went away while we looked. */
static struct vmf_libvirt_domain *
describe_domain (virDomain *handle)
{
    bool active = virDomainIsActive (handle) == 1, persistent = virDomainIsPersistent (handle) == 1;
    char uuid[VIR_UUID_STRING_BUFLEN];
    g_autofree char *now = virDomainGetXMLDesc (handle, 0);
    g_autofree char *later = active && persistent ? virDomainGetXMLDesc (handle, VIR_DOMAIN_XML_INACTIVE) : NULL;
    if (!now || virDomainGetUUIDString (handle, uuid) != 0)
        return NULL;
    struct vmf_libvirt_domain *domain = g_new0 (struct vmf_libvirt_domain, 1);
    virConnect *connection = virDomainGetConnect (handle);
    g_autoptr (GStrvBuilder) macs = g_strv_builder_new (), disks = g_strv_builder_new ();
    const char *texts[] = { now, later };
    for (size_t i = 0; i < G_N_ELEMENTS (texts) && texts[i]; i++)
    {
        g_auto (GStrv) some_macs = vmf_libvirt_xpath (texts[i], "/domain/devices/interface/mac/@address");
        g_auto (GStrv) some_disks = vmf_libvirt_source_paths (connection, texts[i], "/domain/devices/disk//source");
        for (size_t n = 0; some_macs[n]; n++)
        {
            g_autofree char *lower = g_ascii_strdown (some_macs[n], -1);
            g_strv_builder_add (macs, lower);
        }
        g_strv_builder_addv (disks, (const char **)some_disks);
    }
    domain->name = g_strdup (virDomainGetName (handle));
    domain->uuid = g_strdup (uuid);
    domain->macs = g_strv_builder_end (macs);
    domain->disks = g_strv_builder_end (disks);
    domain->active = active;
    return domain;
}

GPtrArray *
vmf_libvirt_domains (virConnect *connection, GError **error)
{
    virDomainPtr *handles = NULL;
    int n = virConnectListAllDomains (connection, &handles, 0);
    if (n < 0)
        return vmf_libvirt_fail (error, "cannot list the domains"), NULL;
    GPtrArray *domains = g_ptr_array_new_with_free_func (domain_free);
    for (int i = 0; i < n; i++)
    {
        struct vmf_libvirt_domain *domain = describe_domain (handles[i]);
        if (domain)
            g_ptr_array_add (domains, domain);
        virDomainFree (handles[i]);
    }
    free (handles);
    virResetLastError ();
    return domains;
}

static int
compare_names (const void *a, const void *b)
{
    return strcmp (*(const char *const *)a, *(const char *const *)b);
}

static char *
joined (GPtrArray *names)
{
    g_ptr_array_sort (names, compare_names);
    g_ptr_array_add (names, NULL);
    return names->len == 1 ? g_strdup ("none") : g_strjoinv (", ", (char **)names->pdata);
}

char *
vmf_libvirt_network_names (virConnect *connection)
{
    virNetworkPtr *handles = NULL;
    g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);
    int n = virConnectListAllNetworks (connection, &handles, 0);
    for (int i = 0; i < n; i++)
    {
        g_ptr_array_add (names, g_strdup (virNetworkGetName (handles[i])));
        virNetworkFree (handles[i]);
    }
    free (handles);
    return joined (names);
}

bool
vmf_libvirt_has_network (virConnect *connection, const char *name, bool *active)
{
    g_autoptr (virNetwork) network = virNetworkLookupByName (connection, name);
    if (network && active)
        *active = virNetworkIsActive (network) == 1;
    virResetLastError ();
    return network != NULL;
}

char *
vmf_libvirt_pool_names (virConnect *connection)
{
    virStoragePoolPtr *handles = NULL;
    g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);
    int n = virConnectListAllStoragePools (connection, &handles, 0);
    for (int i = 0; i < n; i++)
    {
        g_ptr_array_add (names, g_strdup (virStoragePoolGetName (handles[i])));
        virStoragePoolFree (handles[i]);
    }
    free (handles);
    return joined (names);
}
