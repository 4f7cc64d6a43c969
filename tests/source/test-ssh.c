/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A VMware machine by ssh (C12), from a real sshd: what can be read is what is there, what must not be is refused with
 * a remedy, and no host is believed whose key is not known.
 */
#include "fixture-ssh.h"
#include "base/error.h"
#include "disk/server.h"
#include "source/source.h"
#include "source/ssh-host.h"

#include <string.h>

enum
{
    DISK_BYTES = 3 << 20,
};

static struct fixture_sshd *sshd;
static char *folder; /* .../DS/web, with web.vmx */

static const char vmx[] = ".encoding = \"UTF-8\"\nconfig.version = \"8\"\nvirtualHW.version = \"13\"\n"
                          "displayName = \"web\"\nguestOS = \"debian10-64\"\nmemSize = \"256\"\nnumvcpus = \"1\"\n"
                          "scsi0.present = \"TRUE\"\nscsi0.virtualDev = \"pvscsi\"\nscsi0:0.present = \"TRUE\"\n"
                          "scsi0:0.deviceType = \"scsi-hardDisk\"\nscsi0:0.fileName = \"web.vmdk\"\n";

static void
put (const char *name, const char *text)
{
    g_autofree char *path = g_build_filename (folder, name, NULL);
    g_assert_true (g_file_set_contents (path, text, -1, NULL));
}

/* A descriptor as ESXi writes it, with EXTENT as its only extent line and MORE behind it. */
static void
put_descriptor (const char *name, const char *extent, const char *more)
{
    g_autofree char *text = g_strdup_printf ("# Disk DescriptorFile\nversion=1\nencoding=\"UTF-8\"\nCID=fffffffe\n"
                                             "%screateType=\"vmfs\"\n\n# Extent description\n%s\n\n"
                                             "# The Disk Data Base \n#DDB\n\nddb.adapterType = \"lsilogic\"\n",
                                             more, extent);
    put (name, text);
}

static void
set_up (void)
{
    g_autofree char *top = fixture_folder (), *extent = NULL;
    folder = g_build_filename (top, "vmfs", "volumes", "data store 1", "web", NULL);
    g_assert_cmpint (g_mkdir_with_parents (folder, 0700), ==, 0);
    g_autofree char *flat = g_build_filename (folder, "web-flat.vmdk", NULL);
    fixture_image (flat, DISK_BYTES);
    extent = g_strdup_printf ("RW %d VMFS \"web-flat.vmdk\"", DISK_BYTES / 512);
    put ("web.vmx", vmx);
    put_descriptor ("web.vmdk", extent, "parentCID=ffffffff\n");
}

static struct vmf_settings *
settings_with (const char *known_hosts, const char *identity)
{
    struct vmf_settings *settings = vmf_settings_new ();
    g_autofree char *a = g_strdup_printf ("ssh.known_hosts=%s", known_hosts);
    g_autofree char *b = g_strdup_printf ("ssh.identity=%s", identity);
    g_assert_true (vmf_settings_set (settings, a, NULL) && vmf_settings_set (settings, b, NULL));
    return settings;
}

static char *
address_of (const char *name)
{
    g_autofree char *path = g_build_filename (folder, name, NULL);
    g_autofree char *escaped = g_uri_escape_string (path, "/", FALSE);
    return g_strdup_printf ("ssh://%s@127.0.0.1:%u%s", g_get_user_name (), sshd->port, escaped);
}

static struct vmf_ssh_login *
login_new (void)
{
    g_autoptr (vmf_settings) settings = settings_with (sshd->known_hosts, sshd->identity);
    return vmf_ssh_login_new (g_get_user_name (), "127.0.0.1", sshd->port, NULL, settings);
}

static bool
lacks_sshd (void)
{
    if (!sshd)
        g_test_skip ("there is no sshd here (openssh-server)");
    return !sshd;
}

static void
assert_address (const char *address, const char *user, const char *host, uint16_t port, const char *path)
{
    g_autofree char *got_user = NULL, *got_host = NULL, *got_path = NULL;
    uint16_t got_port;
    g_autoptr (GError) error = NULL;
    vmf_ssh_parse (address, &got_user, &got_host, &got_port, &got_path, &error);
    g_assert_no_error (error);
    g_assert_cmpstr (got_user, ==, user);
    g_assert_cmpstr (got_host, ==, host);
    g_assert_cmpuint (got_port, ==, port);
    g_assert_cmpstr (got_path, ==, path);
}

static void
test_addresses (void)
{
    static const char *const bad[] = { "ssh://root:secret@esx1/vmfs/volumes/a/b/b.vmx",
                                       "ssh:///vmfs/volumes/a/b/b.vmx",
                                       "ssh://esx1/vmfs/volumes/a/b/b.vmdk",
                                       "ssh://esx1/vmfs/volumes/a/b%0a/b.vmx",
                                       "ssh://esx1/a/b.vmx?x=y",
                                       "ssh://esx1:99999/a/b.vmx" };
    assert_address ("ssh://root@esx1/vmfs/volumes/my%20store/web/web.vmx", "root", "esx1", 22,
                    "/vmfs/volumes/my store/web/web.vmx");
    assert_address ("ssh://[fd00::1]:2222/a/b.vmtx", NULL, "fd00::1", 2222, "/a/b.vmtx");
    for (size_t i = 0; i < G_N_ELEMENTS (bad); i++)
    {
        char *user, *host, *path;
        uint16_t port;
        g_autoptr (GError) error = NULL;
        g_assert_false (vmf_ssh_parse (bad[i], &user, &host, &port, &path, &error));
        g_assert_error (error, VMF_ERROR, VMF_ERROR_USAGE);
        g_assert_null (strstr (error->message, "secret"));
    }
}

/* PITFALLS 37: of the password only where it is to be read. */
static void
test_words (void)
{
    g_autoptr (vmf_settings) settings = settings_with ("/keys/100%h", "/keys/id");
    g_autoptr (vmf_ssh_login) login = vmf_ssh_login_new ("root", "esx1", 0, "s3cret", settings);
    g_autoptr (GPtrArray) words = vmf_ssh_words (login, "/vmfs/a b.vmdk");
    const char *const *list = (const char *const *)words->pdata;
    g_autofree char *all = g_strjoinv (" ", (char **)words->pdata);
    g_assert_cmpstr (list[0], ==, "ssh");
    g_assert_true (g_strv_contains (list, "password=-3"));
    g_assert_null (strstr (all, "s3cret"));
    g_assert_true (g_strv_contains (list, "config=")); /* nothing of the user's may say that host keys do not matter */
    g_assert_null (strstr (all, "verify-remote-host"));
    g_assert_true (g_strv_contains (list, "known-hosts=/keys/100%%h"));
    g_assert_true (g_strv_contains (list, "path=/vmfs/a b.vmdk"));
    g_assert_true (g_strv_contains (list, "port=22"));
    g_autoptr (vmf_ssh_login) without = vmf_ssh_login_new (NULL, "esx1", 22, NULL, NULL);
    g_autoptr (GPtrArray) fewer = vmf_ssh_words (without, "/x");
    g_autofree char *joined = g_strjoinv (" ", (char **)fewer->pdata);
    g_assert_null (strstr (joined, "password"));
    g_assert_null (strstr (joined, "known-hosts"));
}

/* Listed, described, and its disk read through the server that an import would use, compared by qemu-img. */
static void
test_machine (void)
{
    if (lacks_sshd ())
        return;
    g_autoptr (GError) error = NULL;
    g_autoptr (vmf_settings) settings = settings_with (sshd->known_hosts, sshd->identity);
    g_autofree char *address = address_of ("web.vmx"), *flat = g_build_filename (folder, "web-flat.vmdk", NULL);
    const struct vmf_source_options options = { .settings = settings };
    g_autoptr (vmf_source) source = vmf_source_open (address, &options, NULL, &error);
    g_assert_no_error (error);
    g_assert_cmpstr (source->ops->name, ==, "ssh");
    g_autoptr (vmf_vm) vm = source->ops->describe (source, NULL, NULL, &error);
    g_assert_no_error (error);
    g_assert_cmpstr (vm->name, ==, "web");
    g_autoptr (vmf_image) image = source->ops->image (source, vm, vmf_vm_get_import_disk (vm, 0), NULL, &error);
    g_assert_no_error (error);
    g_assert_cmpuint (image->size_bytes, ==, DISK_BYTES);
    g_autofree char *socket = g_build_filename (sshd->folder, "socket", NULL);
    g_autoptr (vmf_server) server = vmf_server_start (image, "sda", socket, NULL, &error);
    g_assert_no_error (error);
    g_autofree char *said =
        fixture_run ("qemu-img", "compare", "-f", "raw", "-F", "raw", vmf_server_get_uri (server), flat, NULL);
    g_assert_nonnull (strstr (said, "identical"));
}

static void
assert_not_opened (const char *known_hosts, const char *identity, const char *name, int code, const char *part)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (vmf_settings) settings = settings_with (known_hosts, identity);
    g_autofree char *address = address_of (name);
    const struct vmf_source_options options = { .settings = settings };
    g_assert_null (vmf_source_open (address, &options, NULL, &error));
    g_assert_error (error, VMF_ERROR, code);
    g_test_message ("%s", error->message);
    g_assert_nonnull (strstr (error->message, part));
}

static void
test_host_keys (void)
{
    if (lacks_sshd ())
        return;
    g_autofree char *none = g_build_filename (sshd->folder, "none", NULL);
    g_autofree char *changed = fixture_known_hosts (sshd, sshd->other_identity, "changed");
    assert_not_opened (none, sshd->identity, "web.vmx", VMF_ERROR_UNSAFE, "ssh.known_hosts");
    g_assert_true (g_file_set_contents (none, "", -1, NULL));
    assert_not_opened (none, sshd->identity, "web.vmx", VMF_ERROR_UNSAFE, "ssh.known_hosts");
    assert_not_opened (changed, sshd->identity, "web.vmx", VMF_ERROR_UNSAFE, "not the one that is known");
}

static void
test_login_and_files (void)
{
    if (lacks_sshd ())
        return;
    assert_not_opened (sshd->known_hosts, sshd->other_identity, "web.vmx", VMF_ERROR_AUTH, "authorized_keys");
    assert_not_opened (sshd->known_hosts, sshd->identity, "other.vmx", VMF_ERROR_NOT_FOUND, "other.vmx");
    g_autofree char *huge = g_build_filename (folder, "huge.vmx", NULL);
    put ("huge.vmx", "");
    g_assert_cmpint (truncate (huge, (1 << 20) + 1), ==, 0);
    assert_not_opened (sshd->known_hosts, sshd->identity, "huge.vmx", VMF_ERROR_UNSAFE, "1 MiB");
}

static void
assert_no_disk (const char *name, int code, const char *part)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (vmf_ssh_login) login = login_new ();
    g_assert_null (vmf_ssh_open_disk (login, folder, name, NULL, &error));
    g_assert_error (error, VMF_ERROR, code);
    g_test_message ("%s", error->message);
    g_assert_nonnull (strstr (error->message, part));
}

/* What a folder of the host may say is not believed more than what a local one says. */
static void
test_refused_disks (void)
{
    if (lacks_sshd ())
        return;
    g_autofree char *longer = g_strdup_printf ("RW %d VMFS \"web-flat.vmdk\"", DISK_BYTES / 512 + 8);
    put_descriptor ("up.vmdk", "RW 2048 VMFS \"../../secret/web-flat.vmdk\"", "");
    put_descriptor ("absolute.vmdk", "RW 2048 VMFS \"/etc/shadow\"", "");
    put_descriptor ("delta.vmdk", "RW 2048 VMFSSPARSE \"web-000001-delta.vmdk\"",
                    "parentCID=12345678\nparentFileNameHint=\"web.vmdk\"\n");
    put_descriptor ("sparse.vmdk", "RW 2048 SPARSE \"web-s001.vmdk\"", "");
    put_descriptor ("two.vmdk", "RW 2048 FLAT \"a.vmdk\" 0\nRW 2048 FLAT \"b.vmdk\" 0", "");
    put_descriptor ("cut.vmdk", longer, "");
    put_descriptor ("gone.vmdk", "RW 2048 VMFS \"gone-flat.vmdk\"", "");
    assert_no_disk ("up.vmdk", VMF_ERROR_UNSAFE, "..");
    assert_no_disk ("absolute.vmdk", VMF_ERROR_UNSAFE, "absolute path");
    assert_no_disk ("../web/web.vmdk", VMF_ERROR_UNSAFE, "..");
    assert_no_disk ("/etc/passwd", VMF_ERROR_UNSAFE, "absolute path");
    assert_no_disk ("delta.vmdk", VMF_ERROR_USAGE, "delete the VM's snapshots");
    assert_no_disk ("sparse.vmdk", VMF_ERROR_USAGE, "vmkfstools -i");
    assert_no_disk ("two.vmdk", VMF_ERROR_USAGE, "vmkfstools -i");
    assert_no_disk ("web-flat.vmdk", VMF_ERROR_UNSAFE, "1 MiB");
    assert_no_disk ("cut.vmdk", VMF_ERROR_CORRUPT, "can be read");
    assert_no_disk ("gone.vmdk", VMF_ERROR_NOT_FOUND, "gone-flat.vmdk");
}

static void
test_datastore_paths (void)
{
    static const char *const bad[] = { "web/web.vmdk",        "[store]web/web.vmdk", "[] web/web.vmdk",
                                       "[../etc] web.vmdk",   "[..] web.vmdk",       "[a/b] web.vmdk",
                                       "[store] /etc/passwd", "[store] ../x.vmdk" };
    g_autoptr (vmf_ssh_login) login = vmf_ssh_login_new ("root", "127.0.0.1", 1, NULL, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS (bad); i++)
    {
        g_autoptr (GError) error = NULL;
        g_assert_null (vmf_ssh_open_datastore_disk (login, bad[i], NULL, &error));
        g_assert_error (error, VMF_ERROR, VMF_ERROR_UNSAFE);
    }
    /* A good one is asked of the host, which is not there. */
    g_autoptr (GError) error = NULL;
    g_assert_null (vmf_ssh_open_datastore_disk (login, "[store 1] web/web.vmdk", NULL, &error));
    g_assert_nonnull (strstr (error->message, "/vmfs/volumes/store 1/web/web.vmdk"));
    g_assert_nonnull (strstr (error->message, "the service SSH must be started"));
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    set_up ();
    sshd = fixture_sshd_start ();
    g_test_add_func ("/ssh/addresses", test_addresses);
    g_test_add_func ("/ssh/words", test_words);
    g_test_add_func ("/ssh/C12-machine", test_machine);
    g_test_add_func ("/ssh/host-keys", test_host_keys);
    g_test_add_func ("/ssh/login-and-files", test_login_and_files);
    g_test_add_func ("/ssh/refused-disks", test_refused_disks);
    g_test_add_func ("/ssh/datastore-paths", test_datastore_paths);
    int status = g_test_run ();
    fixture_sshd_stop (sshd);
    g_autofree char *store = g_path_get_dirname (folder), *volumes = g_path_get_dirname (store);
    g_autofree char *vmfs = g_path_get_dirname (volumes);
    fixture_remove (g_path_get_dirname (vmfs));
    g_free (folder);
    return status;
}
