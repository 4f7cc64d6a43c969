/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A real sshd on the loopback, with keys of its own, that stands for an ESXi host: SFTP and a user's key, no password.
 */
#pragma once
#include "fixture.h"

#include <arpa/inet.h>
#include <pwd.h>
#include <sys/socket.h>
#include <unistd.h>

struct fixture_sshd
{
    char *folder;      /* keys, known_hosts */
    char *known_hosts; /* has the server's key */
    char *identity, *other_identity;
    uint16_t port;
    struct vmf_child *child;
};

static inline uint16_t
fixture_free_port (void)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl (INADDR_LOOPBACK) };
    socklen_t length = sizeof address;
    int fd = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint (bind (fd, (struct sockaddr *)&address, length), ==, 0);
    g_assert_cmpint (getsockname (fd, (struct sockaddr *)&address, &length), ==, 0);
    close (fd);
    return ntohs (address.sin_port);
}

static inline char *
fixture_key (const char *folder, const char *name)
{
    char *path = g_build_filename (folder, name, NULL);
    g_autofree char *said = fixture_run ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path, NULL);
    return path;
}

/* "[127.0.0.1]:PORT ssh-ed25519 …" of the public key at KEY, as NAME. Caller frees. */
static inline char *
fixture_known_hosts (struct fixture_sshd *sshd, const char *key, const char *name)
{
    char *path = g_build_filename (sshd->folder, name, NULL);
    g_autofree char *public_path = g_strconcat (key, ".pub", NULL), *text = NULL;
    g_assert_true (g_file_get_contents (public_path, &text, NULL, NULL));
    g_autofree char *line = g_strdup_printf ("[127.0.0.1]:%u %s", sshd->port, text);
    g_assert_true (g_file_set_contents (path, line, -1, NULL));
    return path;
}

static inline bool
fixture_answers (uint16_t port)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl (INADDR_LOOPBACK),
                                   .sin_port = htons (port) };
    int fd = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool good = connect (fd, (struct sockaddr *)&address, sizeof address) == 0;
    close (fd);
    return good;
}

/* NULL: no sshd here. */
static inline struct fixture_sshd *
fixture_sshd_start (void)
{
    g_autofree char *program = g_find_program_in_path ("/usr/sbin/sshd"),
                    *keygen = g_find_program_in_path ("ssh-keygen");
    if (!program || !keygen)
        return NULL;
    if (geteuid () == 0)
        g_mkdir_with_parents ("/run/sshd", 0755); /* which sshd wants, and a service would have made */
    struct fixture_sshd *sshd = g_new0 (struct fixture_sshd, 1);
    sshd->folder = fixture_folder ();
    sshd->port = fixture_free_port ();
    g_autofree char *host_key = fixture_key (sshd->folder, "host");
    sshd->identity = fixture_key (sshd->folder, "user");
    sshd->other_identity = fixture_key (sshd->folder, "stranger");
    sshd->known_hosts = fixture_known_hosts (sshd, host_key, "known");
    g_autofree char *config = g_build_filename (sshd->folder, "config", NULL);
    g_autofree char *text =
        g_strdup_printf ("Port %u\nListenAddress 127.0.0.1\nHostKey %s\nAuthorizedKeysFile %s.pub\nPidFile none\n"
                         "PasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\nStrictModes no\n"
                         "PermitRootLogin yes\nMaxStartups 100\nSubsystem sftp internal-sftp\n",
                         sshd->port, host_key, sshd->identity);
    g_assert_true (g_file_set_contents (config, text, -1, NULL));
    const char *const argv[] = { program, "-D", "-e", "-f", config, NULL };
    const struct vmf_child_options options = { .name = "sshd", .argv = argv };
    GError *error = NULL;
    sshd->child = vmf_child_start (&options, &error);
    g_assert_no_error (error);
    while (!fixture_answers (sshd->port))
    {
        g_assert_true (vmf_child_running (sshd->child));
        g_usleep (10 * 1000);
    }
    return sshd;
}

static inline void
fixture_sshd_stop (struct fixture_sshd *sshd)
{
    if (!sshd)
        return;
    vmf_child_free (sshd->child);
    fixture_remove (sshd->folder);
    g_free (sshd->known_hosts);
    g_free (sshd->identity);
    g_free (sshd->other_identity);
    g_free (sshd);
}
