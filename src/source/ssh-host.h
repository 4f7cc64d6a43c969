/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A VMware host's datastores by ssh: its text files, and its disks as images (C12, the road "ssh").
 *
 * Everything goes through nbdkit's ssh plugin (SFTP), a helper for each file; vmferry itself speaks no ssh. The host's
 * key must be known: nothing here can turn that off, and the user's ssh_config, which could, is not read. Passwords go
 * through a pipe. What the host's files name must lie in their own folder, as for local ones. Main thread only
 * (child.h).
 *
 * ESXi has a login per connection, of about a second; a disk is opened twice, its descriptor and its data.
 */
#pragma once
#include "base/settings.h"
#include "disk/image.h"

struct vmf_ssh_login
{
    char *user; /* NULL: the local user's name */
    char *host;
    uint16_t port;     /* 0: 22 */
    char *password;    /* NULL: keys only */
    char *identity;    /* file of a private key; NULL: the agent's and those in ~/.ssh */
    char *known_hosts; /* NULL: ~/.ssh/known_hosts, then /etc/ssh/ssh_known_hosts */
};

typedef struct vmf_ssh_login vmf_ssh_login;

/* ssh://user@host[:port]/…/NAME.vmx. USAGE. Caller frees; *USER may be NULL. */
bool vmf_ssh_parse (const char *address, char **user, char **host, uint16_t *port, char **path, GError **error);

/* With what the settings ssh.identity and ssh.known_hosts say; SETTINGS NULL: nothing. */
struct vmf_ssh_login *vmf_ssh_login_new (const char *user, const char *host, uint16_t port, const char *password,
                                         const struct vmf_settings *settings);
void vmf_ssh_login_free (struct vmf_ssh_login *login);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_ssh_login, vmf_ssh_login_free)

/* nbdkit's plugin and its parameters for the file PATH, char*, ended by NULL; of a password only that it is to be read
   from a file descriptor. Caller unrefs. */
GPtrArray *vmf_ssh_words (const struct vmf_ssh_login *login, const char *path);

/* A text file of at most 1 MiB. Caller frees. NULL: MISSING (nbdkit or its plugin), UNSAFE (host key, too long), AUTH,
   NOT_FOUND, FAILED; the message says the remedy. */
char *vmf_ssh_read_text (const struct vmf_ssh_login *login, const char *path, size_t *length, GCancellable *cancellable,
                         GError **error);

/* The disk whose descriptor NAME is in FOLDER ("/vmfs/volumes/datastore1/web"). Its descriptor is read and the data
   opened once, so what is locked by a running VM, cut off or not there is told now. */
struct vmf_image *vmf_ssh_open_disk (const struct vmf_ssh_login *login, const char *folder, const char *name,
                                     GCancellable *cancellable, GError **error);

/* The same for a path as vSphere has it: "[datastore1] web/web.vmdk". */
struct vmf_image *vmf_ssh_open_datastore_disk (const struct vmf_ssh_login *login, const char *path,
                                               GCancellable *cancellable, GError **error);
