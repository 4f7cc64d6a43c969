/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Addresses: vpx:// and esx:// as libvirt's ESX driver has them, and URLs of a datastore's files. */
#include "base/error.h"
#include "base/text.h"
#include "source/vsphere/internal.h"

#include <string.h>

static bool
refuse (GError **error, const char *says)
{
    g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE,
                 "%s; an address is vpx://user@vcenter/datacenter/cluster/host or esx://user@host/, with special "
                 "characters percent-encoded",
                 says);
    return false;
}

/* NULL: an escape that is none, or one of NUL. Caller frees. */
static char *
decode (const char *text, gssize length)
{
    g_autofree char *part = length < 0 ? g_strdup (text) : g_strndup (text, (gsize)length);
    char *decoded = g_uri_unescape_string (part, NULL);
    if (decoded && !g_utf8_validate (decoded, -1, NULL))
        g_clear_pointer (&decoded, g_free);
    return decoded;
}

static bool
parse_port (const char *text, struct vmf_vsphere_address *address, GError **error)
{
    uint64_t port;
    if (!vmf_text_to_uint64 (text, "port", 1, 65535, &port, NULL))
        return refuse (error, "the port is not a number from 1 to 65535");
    address->port = (uint16_t)port;
    return true;
}

/* "host", "host:port", "[::1]:port". */
static bool
parse_host (const char *text, struct vmf_vsphere_address *address, GError **error)
{
    bool bracketed = *text == '[';
    const char *start = bracketed ? text + 1 : text;
    size_t length = strcspn (start, bracketed ? "]" : ":");
    const char *rest = start + length;
    if (bracketed && *rest++ != ']')
        return refuse (error, "the closing bracket of an IPv6 address is missing");
    address->host = decode (start, (gssize)length);
    if (!address->host || !*address->host)
        return refuse (error, "the address names no host");
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._";
    bool plain = address->host[strspn (address->host, allowed)] == '\0';
    if (!(bracketed ? g_hostname_is_ip_address (address->host) : plain || g_hostname_is_non_ascii (address->host)))
        return refuse (error, "the host's name has characters that no name has");
    if (*rest == '\0')
        return true;
    return *rest == ':' ? parse_port (rest + 1, address, error) : refuse (error, "what is behind the host is no port");
}

/* "user@host:port": the last @ counts, so that "administrator@vsphere.local@vc" means what its author meant. */
static bool
parse_authority (const char *text, struct vmf_vsphere_address *address, GError **error)
{
    const char *at = strrchr (text, '@');
    if (!at)
        return parse_host (text, address, error);
    if (memchr (text, ':', (size_t)(at - text)))
        return refuse (error, "a password does not belong into an address, which others can read: it is asked for, or "
                              "read from a file (a colon in the user's name is written as %3A)");
    address->user = decode (text, at - text);
    if (!address->user || !*address->user)
        return refuse (error, "the user's name is empty or badly encoded");
    return parse_host (at + 1, address, error);
}

static bool
parse_path (const char *text, struct vmf_vsphere_address *address, GError **error)
{
    g_auto (GStrv) parts = g_strsplit (text, "/", -1);
    g_autoptr (GPtrArray) words = g_ptr_array_new_with_free_func (g_free);
    for (char **part = parts; *part; part++)
    {
        char *word = decode (*part, -1);
        if (!word)
            return refuse (error, "the path is badly encoded");
        if (*word)
            g_ptr_array_add (words, word);
        else
            g_free (word);
    }
    g_ptr_array_add (words, NULL);
    address->words = (GStrv)g_ptr_array_free (g_steal_pointer (&words), FALSE);
    return true;
}

static bool
take_query (struct vmf_vsphere_address *address, const char *key, const char *value, GError **error)
{
    if (strcmp (key, "no_verify") == 0)
    {
        address->no_verify = strcmp (value, "1") == 0;
        return address->no_verify || strcmp (value, "0") == 0 || refuse (error, "no_verify is 0 or 1");
    }
    if (strcmp (key, "transport") == 0 && strcmp (value, "https") != 0)
        return refuse (error, "only https is spoken (transport=…)");
    g_hash_table_insert (address->query, g_strdup (key), g_strdup (value));
    return true;
}

static bool
parse_query (const char *text, struct vmf_vsphere_address *address, GError **error)
{
    g_auto (GStrv) pairs = g_strsplit_set (text, "&;", -1);
    for (char **pair = pairs; *pair; pair++)
    {
        size_t length = strcspn (*pair, "=");
        g_autofree char *key = decode (*pair, (gssize)length);
        g_autofree char *value = decode ((*pair)[length] ? *pair + length + 1 : "", -1);
        if (!key || !value)
            return refuse (error, "what is behind the question mark is badly encoded");
        if (*key && !take_query (address, key, value, error))
            return false;
    }
    return true;
}

static bool
parse (const char *text, struct vmf_vsphere_address *address, GError **error)
{
    address->is_vcenter = g_ascii_strncasecmp (text, "vpx://", 6) == 0;
    if (!address->is_vcenter && g_ascii_strncasecmp (text, "esx://", 6) != 0)
        return refuse (error, "the address begins with neither vpx:// nor esx://");
    if (strchr (text, '#'))
        return refuse (error, "a # in an address is written as %23");
    const char *authority = text + 6;
    size_t authority_length = strcspn (authority, "/?");
    const char *path = authority + authority_length;
    size_t path_length = strcspn (path, "?");
    g_autofree char *authority_text = g_strndup (authority, authority_length);
    g_autofree char *path_text = g_strndup (path, path_length);
    const char *query = path[path_length] ? path + path_length + 1 : "";
    return parse_authority (authority_text, address, error) && parse_path (path_text, address, error)
           && parse_query (query, address, error);
}

struct vmf_vsphere_address *
vmf_vsphere_address_parse (const char *text, GError **error)
{
    struct vmf_vsphere_address *address = g_new0 (struct vmf_vsphere_address, 1);
    address->query = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
    if (!parse (text, address, error))
        g_clear_pointer (&address, vmf_vsphere_address_free);
    return address;
}

uint16_t
vmf_vsphere_address_port (const struct vmf_vsphere_address *address)
{
    return address->port ? address->port : VMF_VSPHERE_PORT;
}

void
vmf_vsphere_address_free (struct vmf_vsphere_address *address)
{
    if (!address)
        return;
    g_free (address->user);
    g_free (address->host);
    g_strfreev (address->words);
    g_hash_table_unref (address->query);
    g_free (address);
}

/* "[datastore] dir/name.vmdk" to its two halves; false: it is none. Both halves are the caller's. */
static bool
split_path (const char *path, char **datastore, char **file)
{
    const char *end = *path == '[' ? strchr (path, ']') : NULL;
    if (!end || end == path + 1)
        return false;
    const char *rest = end + 1 + strspn (end + 1, " ");
    if (!g_str_has_suffix (rest, ".vmdk") || *rest == '/')
        return false;
    g_auto (GStrv) words = g_strsplit (rest, "/", -1);
    if (g_strv_contains ((const char *const *)words, "..") || g_strv_contains ((const char *const *)words, "."))
        return false;
    *datastore = g_strndup (path + 1, (gsize)(end - path - 1));
    *file = g_strdup_printf ("%.*s-flat.vmdk", (int)(strlen (rest) - strlen (".vmdk")), rest);
    return true;
}

char *
vmf_vsphere_flat_url (const struct vmf_vsphere *vsphere, const char *datacenter, const char *path, GError **error)
{
    g_autofree char *datastore = NULL, *file = NULL;
    if (!split_path (path, &datastore, &file))
    {
        g_autofree char *shown = vmf_text_printable (path, 200);
        g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT, "'%s' is no disk's path on a datastore", shown);
        return NULL;
    }
    g_autofree char *place = vmf_text_host_port (vsphere->host, vsphere->port);
    g_autofree char *escaped = g_uri_escape_string (file, "/", FALSE);
    g_autofree char *dc = g_uri_escape_string (datacenter ? datacenter : "", NULL, FALSE);
    g_autofree char *ds = g_uri_escape_string (datastore, NULL, FALSE);
    return g_strdup_printf ("https://%s/folder/%s?dcPath=%s&dsName=%s", place, escaped, dc, ds);
}
