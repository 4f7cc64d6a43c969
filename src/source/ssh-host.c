/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files of a host by nbdkit's ssh plugin: words for its command line, reading a text, descriptors, and what its errors
 * mean to people.
 */
#include "source/ssh-host.h"
#include "disk/image-beneath.h"
#include "disk/image-parse.h"
#include "disk/nbd.h"
#include "disk/server.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

#include <string.h>

#define SECRET_FD 3
#define RETRIES 5 /* of one read, a second apart; the mover then tries for longer */
G_STATIC_ASSERT (SECRET_FD == VMF_CHILD_SECRET_FD);

enum
{
    TEXT_MAX_BYTES = 1 << 20,
    CONNECT_TIMEOUT_S = 30,
    SSH_PORT = 22,
};

struct vmf_ssh_login *
vmf_ssh_login_new (const char *user, const char *host, uint16_t port, const char *password,
                   const struct vmf_settings *settings)
{
    struct vmf_ssh_login *login = g_new0 (struct vmf_ssh_login, 1);
    const char *identity = settings ? vmf_settings_get_string (settings, "ssh.identity") : "";
    const char *known_hosts = settings ? vmf_settings_get_string (settings, "ssh.known_hosts") : "";
    login->user = g_strdup (user);
    login->host = g_strdup (host);
    login->port = port ? port : SSH_PORT;
    login->password = g_strdup (password);
    login->identity = *identity ? g_strdup (identity) : NULL;
    login->known_hosts = *known_hosts ? g_strdup (known_hosts) : NULL;
    return login;
}

void
vmf_ssh_login_free (struct vmf_ssh_login *login)
{
    if (!login)
        return;
    if (login->password)
        explicit_bzero (login->password, strlen (login->password));
    g_free (login->user);
    g_free (login->host);
    g_free (login->password);
    g_free (login->identity);
    g_free (login->known_hosts);
    g_free (login);
}

static void
add (GPtrArray *words, const char *key, const char *value)
{
    if (value)
        g_ptr_array_add (words, g_strdup_printf ("%s=%s", key, value));
}

/* libssh expands %h and the like in names of files. */
static void
add_file (GPtrArray *words, const char *key, const char *path)
{
    g_auto (GStrv) parts = path ? g_strsplit (path, "%", -1) : NULL;
    g_autofree char *escaped = parts ? g_strjoinv ("%%", parts) : NULL;
    add (words, key, escaped);
}

GPtrArray *
vmf_ssh_words (const struct vmf_ssh_login *login, const char *path)
{
    GPtrArray *words = g_ptr_array_new_with_free_func (g_free);
    g_autofree char *port = g_strdup_printf ("%u", login->port);
    g_autofree char *timeout = g_strdup_printf ("%d", CONNECT_TIMEOUT_S);
    g_ptr_array_add (words, g_strdup ("ssh"));
    add (words, "host", login->host);
    add (words, "port", port);
    add (words, "user", login->user);
    add (words, "path", path);
    add (words, "config", ""); /* an ssh_config might say that host keys do not matter */
    add_file (words, "known-hosts", login->known_hosts);
    add_file (words, "identity", login->identity);
    add (words, "timeout", timeout);
    if (login->password)
        add (words, "password", "-" G_STRINGIFY (SECRET_FD));
    g_ptr_array_add (words, NULL);
    return words;
}

/* What nbdkit 1.32's plugin says, and what to do about it. libssh has no codes that would come through. */
static const struct
{
    const char *words;
    int code;
    const char *remedy;
} meanings[] = {
    { "host key is unknown", VMF_ERROR_UNSAFE,
      "its host key is not known here, so it was not connected to: run 'ssh' to it once as this user and compare the "
      "fingerprint with what the host's console shows, or name a file that has its key with the setting "
      "ssh.known_hosts" },
    { "host key for server changed", VMF_ERROR_UNSAFE,
      "its host key is not the one that is known here, so it was not connected to: if the host was installed anew, "
      "take the old key out ('ssh-keygen -R HOST') and compare the new one with what its console shows" },
    { "host key for server was not found", VMF_ERROR_UNSAFE,
      "its host key is of another type than the known one, so it was not connected to: run 'ssh' to it once and "
      "compare "
      "the fingerprint" },
    { "authentication methods failed", VMF_ERROR_AUTH,
      "the login was refused: put a public key of this user into the host's /etc/ssh/keys-root/authorized_keys (and "
      "name the private one with the setting ssh.identity, or load it into the agent); ESXi takes passwords only where "
      "its sshd_config says 'PasswordAuthentication yes'" },
    { "No such file", VMF_ERROR_NOT_FOUND, "the host has no such file" },
    { "Permission denied", VMF_ERROR_AUTH, "the user may not read that file" },
    { "SFTP server: Failure", VMF_ERROR_FAILED,
      "the host cannot open that file now; a running VM locks its disks: shut it down, or import it from vpx:// or "
      "esx://, which can do it running" },
    { "failed to connect", VMF_ERROR_FAILED,
      "it cannot be reached: on ESXi the service SSH must be started (Host, Actions, Services), and its firewall must "
      "let this host in" },
};

/* The plugin's own words, without who hands them on. */
static const char *
own_words (const char *message)
{
    static const char before[] = "error: ";
    const char *found = strstr (message, before);
    return found ? found + strlen (before) : message;
}

/* Says what WHY means; the plugin's own words stay behind it. */
static void
explain (const struct vmf_ssh_login *login, const char *path, const GError *why, GError **error)
{
    g_autofree char *shown = vmf_text_printable (path, 300);
    g_autofree char *said = vmf_text_printable (own_words (why->message), 600);
    g_autofree char *place = g_strdup_printf ("%s:%u, '%s'", login->host, login->port, shown);
    for (size_t i = 0; i < G_N_ELEMENTS (meanings); i++)
        if (strstr (why->message, meanings[i].words))
        {
            g_set_error (error, VMF_ERROR, meanings[i].code, "%s: %s (%s)", place, meanings[i].remedy, said);
            return;
        }
    g_set_error (error, VMF_ERROR, why->domain == VMF_ERROR ? why->code : VMF_ERROR_FAILED, "%s: %s", place, said);
}

/* NULL only for words that make no sense, which ours do. */
static struct vmf_image *
image_of (const struct vmf_ssh_login *login, const char *path, uint64_t size_bytes)
{
    g_autoptr (GPtrArray) words = vmf_ssh_words (login, path);
    /* The plugin keeps a session that has died and fails every read of it: this opens another one. */
    static const char *const again[] = { "retries=" G_STRINGIFY (RETRIES), "retry-delay=1", "retry-exponential=no" };
    g_ptr_array_insert (words, 0, g_strdup ("--filter=retry"));
    for (size_t i = 0; i < G_N_ELEMENTS (again); i++)
        g_ptr_array_insert (words, (gint)words->len - 1, g_strdup (again[i]));
    const struct vmf_image_helper helper = { .words = (char **)words->pdata,
                                             .secret = login->password,
                                             .network = true };
    return vmf_image_new_helper (&helper, size_bytes, NULL);
}

/* Starts IMAGE's helper in a folder of its own, *FOLDER, which the caller removes. */
static struct vmf_server *
start (const struct vmf_image *image, char **folder, GCancellable *cancellable, GError **error)
{
    *folder = g_dir_make_tmp ("vmferry-XXXXXX", error);
    if (!*folder)
        return NULL;
    g_autofree char *socket = g_build_filename (*folder, "socket", NULL);
    return vmf_server_start (image, "it", socket, cancellable, error);
}

static void
stop (struct vmf_server *server, char *folder)
{
    vmf_server_free (server);
    if (folder)
        vmf_file_remove_tree (folder);
    g_free (folder);
}

static char *
read_all (const struct vmf_server *server, const char *path, size_t *length, GCancellable *cancellable, GError **error)
{
    uint64_t size = vmf_server_get_size (server);
    if (size > TEXT_MAX_BYTES)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_UNSAFE,
                     "it is longer than 1 MiB, so it is no description; a disk in one file (sparse, stream-optimised) "
                     "is not read by ssh: copy it with 'vmkfstools -i' on the host, or fetch the file");
        return NULL;
    }
    g_autoptr (nbd_handle) nbd = vmf_nbd_connect (vmf_server_get_uri (server), path, VMF_NBD_NONE, cancellable, error);
    g_autofree char *text = g_malloc0 (size + 1);
    if (!nbd || (size > 0 && !vmf_nbd_read (nbd, path, text, size, 0, cancellable, error)))
        return NULL;
    *length = size;
    return g_steal_pointer (&text);
}

char *
vmf_ssh_read_text (const struct vmf_ssh_login *login, const char *path, size_t *length, GCancellable *cancellable,
                   GError **error)
{
    char *folder = NULL;
    g_autoptr (GError) why = NULL;
    g_autoptr (vmf_image) image = image_of (login, path, 0);
    struct vmf_server *server = start (image, &folder, cancellable, &why);
    char *text = server ? read_all (server, path, length, cancellable, &why) : NULL;
    stop (server, folder);
    if (!text)
        explain (login, path, why, error);
    return text;
}

/* The one flat extent that a disk of ESXi has; everything else is told how to become one. */
static const struct vmf_image_extent *
check_descriptor (const struct vmf_image_facts *facts, GError **error)
{
    if (facts->backing)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE,
                     "it is the delta of a snapshot, which can't be imported by ssh: delete the VM's snapshots in "
                     "vSphere first (that merges them), or import it from vpx:// or esx://");
        return NULL;
    }
    const struct vmf_image_extent *extent = facts->extents->len == 1 ? g_ptr_array_index (facts->extents, 0) : NULL;
    if (!extent || !extent->flat || extent->offset_bytes != 0)
    {
        g_set_error (
            error, VMF_ERROR, VMF_ERROR_USAGE,
            "its data are not in one flat file, as ESXi's own disks are, and can't be read by ssh: make a copy "
            "on the host with 'vmkfstools -i OLD.vmdk NEW.vmdk', or copy the folder here");
        return NULL;
    }
    return vmf_beneath_check_name (extent->name, "extent", error) ? extent : NULL;
}

/* Opens it once: the server compares its size with the descriptor's. */
static bool
check_data (const struct vmf_ssh_login *login, const struct vmf_image *image, const char *path,
            GCancellable *cancellable, GError **error)
{
    char *folder = NULL;
    g_autoptr (GError) why = NULL;
    struct vmf_server *server = start (image, &folder, cancellable, &why);
    stop (server, folder);
    if (!server)
        explain (login, path, why, error);
    return server != NULL;
}

struct vmf_image *
vmf_ssh_open_disk (const struct vmf_ssh_login *login, const char *folder, const char *name, GCancellable *cancellable,
                   GError **error)
{
    size_t length;
    if (!vmf_beneath_check_name (name, "disk", error))
    {
        g_prefix_error (error, "only disks in the machine's own folder are read by ssh (vpx:// and esx:// reach the "
                               "others): ");
        return NULL;
    }
    g_autofree char *path = g_build_filename (folder, name, NULL);
    g_autofree char *text = vmf_ssh_read_text (login, path, &length, cancellable, error);
    g_autoptr (vmf_image_facts) facts = vmf_image_facts_new ();
    const struct vmf_image_extent *extent =
        text && vmf_image_parse_vmdk_text (text, false, facts, error) ? check_descriptor (facts, error) : NULL;
    if (!extent)
        return g_prefix_error (error, "the disk '%s': ", name), NULL;
    g_autofree char *own_folder = g_path_get_dirname (path);
    g_autofree char *data = g_build_filename (own_folder, extent->name, NULL);
    g_autoptr (vmf_image) image = image_of (login, data, extent->size_bytes);
    return check_data (login, image, data, cancellable, error) ? g_steal_pointer (&image) : NULL;
}

struct vmf_image *
vmf_ssh_open_datastore_disk (const struct vmf_ssh_login *login, const char *path, GCancellable *cancellable,
                             GError **error)
{
    const char *end = path[0] == '[' ? strstr (path, "] ") : NULL;
    g_autofree char *datastore = end ? g_strndup (path + 1, (size_t)(end - path - 1)) : NULL;
    if (!end || *datastore == '\0' || strchr (datastore, '/')
        || !vmf_beneath_check_name (datastore, "datastore", error))
    {
        g_clear_error (error);
        g_autofree char *shown = vmf_text_printable (path, 300);
        g_set_error (error, VMF_ERROR, VMF_ERROR_UNSAFE,
                     "'%s' is not a disk of a datastore ('[name] folder/file.vmdk')", shown);
        return NULL;
    }
    g_autofree char *folder = g_build_filename ("/vmfs/volumes", datastore, NULL);
    return vmf_ssh_open_disk (login, folder, end + 2, cancellable, error);
}
