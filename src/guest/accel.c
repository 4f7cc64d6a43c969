/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The KVM probe: a guest that runs for a moment.
 *
 * What can be seen by opening /dev/kvm is looked at each time; only the guest's verdict is cached, by boot id and by
 * the QEMU that ran it. The kernel has no root file system to mount, so a working machine ends in a panic within
 * seconds, and 'panic=-1' with -no-reboot makes QEMU end there.
 */
#include "guest/accel.h"
#include "base/child.h"
#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

enum
{
    PROBE_MS = 20000,
};

/* Prints its text on the first serial port and resets the machine by the keyboard controller. Real mode, at 0x7c00. */
static const unsigned char boot_code[] = { 0x31, 0xc0, 0x8e, 0xd8, 0xbe, 0x1a, 0x7c, 0xfc, 0xba, 0xf8, 0x03, 0xac, 0x84,
                                           0xc0, 0x74, 0x03, 0xee, 0xeb, 0xf8, 0xb0, 0xfe, 0xe6, 0x64, 0xf4, 0xeb, 0xfd,
                                           'v',  'm',  'f',  'e',  'r',  'r',  'y',  ' ',  'r',  'a',  'n',  0x00 };
static const char boot_text[] = "vmferry ran";
static const char panic_text[] = "Kernel panic";

static char *
find_qemu (void)
{
    static const char *const names[] = { "qemu-system-x86_64", "/usr/libexec/qemu-kvm", "qemu-kvm" };
    for (size_t i = 0; i < G_N_ELEMENTS (names); i++)
    {
        char *path = g_find_program_in_path (names[i]);
        if (path)
            return path;
    }
    return NULL;
}

/* A readable kernel image of this host: the running one's, otherwise any. NULL: none. */
static char *
find_kernel (void)
{
    struct utsname name;
    uname (&name);
    g_autofree char *boot = g_strdup_printf ("/boot/vmlinuz-%s", name.release);
    g_autofree char *modules = g_strdup_printf ("/lib/modules/%s/vmlinuz", name.release);
    if (g_access (boot, R_OK) == 0)
        return g_steal_pointer (&boot);
    if (g_access (modules, R_OK) == 0)
        return g_steal_pointer (&modules);
    static const char *const folders[] = { "/boot", "/lib/modules" };
    for (size_t i = 0; i < G_N_ELEMENTS (folders); i++)
    {
        g_autoptr (GDir) dir = g_dir_open (folders[i], 0, NULL);
        const char *entry;
        while (dir && (entry = g_dir_read_name (dir)))
        {
            g_autofree char *path = i == 0 ? g_build_filename (folders[i], entry, NULL)
                                           : g_build_filename (folders[i], entry, "vmlinuz", NULL);
            if ((i == 1 || g_str_has_prefix (entry, "vmlinuz-")) && g_access (path, R_OK) == 0)
                return g_steal_pointer (&path);
        }
    }
    return NULL;
}

static char *
write_boot_sector (GError **error)
{
    unsigned char sector[512] = { 0 };
    memcpy (sector, boot_code, sizeof boot_code);
    sector[510] = 0x55;
    sector[511] = 0xaa;
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp ("vmferry-boot-XXXXXX", &path, error);
    if (fd < 0)
        return NULL;
    bool good = write (fd, sector, sizeof sector) == sizeof sector;
    close (fd);
    if (good)
        return g_steal_pointer (&path);
    g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "cannot write %s: %s", path, g_strerror (errno));
    g_unlink (path);
    return NULL;
}

/* Runs QEMU with KERNEL, or with the boot sector SECTOR, and says whether WANTED came on the serial console. */
static bool
run_guest (const char *qemu, const char *kernel, const char *sector, GCancellable *cancellable, GError **error)
{
    g_autofree char *drive = sector ? g_strdup_printf ("file=%s,format=raw,if=ide,readonly=off", sector) : NULL;
    const char *what = kernel ? "-kernel" : "-drive", *value = kernel ? kernel : drive;
    const char *append = kernel ? "-append" : NULL, *words = "console=ttyS0 panic=-1 no_timer_check tsc=reliable";
    const char *const argv[] = {
        qemu,          "-machine",        "pc,accel=kvm", "-cpu", "max",      "-m",   "256",
        "-nodefaults", "-no-user-config", "-display",     "none", "-monitor", "none", "-serial",
        "stdio",       "-no-reboot",      what,           value,  append,     words,  NULL
    };
    const struct vmf_child_options options = { .name = "the KVM probe", .argv = argv };
    const char *wanted = kernel ? panic_text : boot_text;
    g_autofree char *output = vmf_child_run (&options, PROBE_MS, cancellable, error);
    if (output && !strstr (output, wanted))
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "QEMU ended before the guest got anywhere");
    return output && strstr (output, wanted);
}

static bool
probe_guest (const char *qemu, GCancellable *cancellable, char **why, bool *cancelled)
{
    g_autoptr (GError) error = NULL;
    g_autofree char *kernel = find_kernel ();
    g_autofree char *sector = kernel ? NULL : write_boot_sector (&error);
    bool works = (kernel || sector) && run_guest (qemu, kernel, sector, cancellable, &error);
    if (sector)
        g_unlink (sector);
    *cancelled = g_error_matches (error, VMF_ERROR, VMF_ERROR_CANCELLED);
    if (works)
        *why = g_strdup (kernel ? "KVM works: a Linux kernel ran on it"
                                : "KVM works as far as a boot sector can show; no kernel of this host was readable");
    else
        *why = g_strdup_printf ("/dev/kvm opens, but %s does not run on it, so guests are emulated, which is many "
                                "times slower (nested virtualisation is the usual cause): %s",
                                kernel ? "a Linux kernel" : "even a boot sector",
                                error ? error->message : "no reason given");
    return works;
}

/* VMFERRY_CACHE_DIR is for tests and for hosts with a read-only /run. */
static char *
cache_path (void)
{
    const char *set = g_getenv ("VMFERRY_CACHE_DIR");
    if (set)
        return g_build_filename (set, "kvm", NULL);
    return geteuid () == 0 ? g_strdup ("/run/vmferry/kvm")
                           : g_build_filename (g_get_user_cache_dir (), "vmferry", "kvm", NULL);
}

/* What the verdict holds for: this boot, this QEMU. */
static char *
cache_key (const char *qemu)
{
    g_autofree char *boot_id = NULL;
    struct stat info;
    if (!g_file_get_contents ("/proc/sys/kernel/random/boot_id", &boot_id, NULL, NULL) || stat (qemu, &info) != 0)
        return NULL;
    return g_strdup_printf ("%s %s %lld.%09ld %lld", g_strchomp (boot_id), qemu, (long long)info.st_mtim.tv_sec,
                            info.st_mtim.tv_nsec, (long long)info.st_size);
}

static bool
cache_read (const char *key, bool *works, char **why)
{
    g_autofree char *path = cache_path ();
    g_autoptr (GKeyFile) file = g_key_file_new ();
    if (!key || !g_key_file_load_from_file (file, path, G_KEY_FILE_NONE, NULL))
        return false;
    g_autofree char *saved_key = g_key_file_get_string (file, "kvm", "key", NULL);
    g_autofree char *saved_why = g_key_file_get_string (file, "kvm", "why", NULL);
    if (g_strcmp0 (saved_key, key) != 0 || !saved_why)
        return false;
    *works = g_key_file_get_boolean (file, "kvm", "works", NULL);
    *why = g_steal_pointer (&saved_why);
    return true;
}

/* A cache that cannot be written costs the next run some seconds, nothing else. */
static void
cache_write (const char *key, bool works, const char *why)
{
    g_autofree char *path = cache_path ();
    g_autofree char *folder = g_path_get_dirname (path);
    g_autoptr (GKeyFile) file = g_key_file_new ();
    if (!key || g_mkdir_with_parents (folder, 0755) != 0)
        return;
    g_key_file_set_string (file, "kvm", "key", key);
    g_key_file_set_boolean (file, "kvm", "works", works);
    g_key_file_set_string (file, "kvm", "why", why);
    if (!g_key_file_save_to_file (file, path, NULL))
        g_debug ("the KVM probe's result was not kept in %s", path);
}

/* The reason why there is no use in running a guest, or NULL. */
static char *
plain_reason (const char *qemu)
{
    int fd = open ("/dev/kvm", O_RDWR | O_CLOEXEC);
    int failed = errno;
    if (fd >= 0)
        close (fd);
    if (!qemu)
        return g_strdup ("QEMU is not installed, so KVM was not tried; 'vmferry doctor' names the package");
    if (fd >= 0)
        return NULL;
    if (failed == ENOENT)
        return g_strdup ("there is no /dev/kvm: the processor's virtualisation is off or not passed on, or the module "
                         "kvm_intel or kvm_amd is not loaded; guests are emulated, which is many times slower");
    return g_strdup_printf ("/dev/kvm cannot be opened (%s): this user may have to be in the group kvm; guests are "
                            "emulated, which is many times slower",
                            g_strerror (failed));
}

enum vmf_accel
vmf_accel_probe (GCancellable *cancellable, char **why)
{
    g_autofree char *qemu = find_qemu ();
    g_autofree char *reason = plain_reason (qemu);
    bool works = false, cancelled = false;
    if (!reason)
    {
        g_autofree char *key = cache_key (qemu);
        if (!cache_read (key, &works, &reason))
        {
            works = probe_guest (qemu, cancellable, &reason, &cancelled);
            if (!cancelled)
                cache_write (key, works, reason);
        }
    }
    if (why)
        *why = g_steal_pointer (&reason);
    return works ? VMF_ACCEL_KVM : VMF_ACCEL_TCG;
}

static bool
given (const char *text)
{
    return text && *text;
}

GStrv
vmf_accel_libguestfs_env (enum vmf_accel accel, const char *backend, const char *settings)
{
    g_autoptr (GStrvBuilder) env = g_strv_builder_new ();
    g_autofree char *backend_pair = g_strconcat ("LIBGUESTFS_BACKEND=", given (backend) ? backend : "direct", NULL);
    g_autofree char *settings_pair =
        g_strconcat ("LIBGUESTFS_BACKEND_SETTINGS=", given (settings) ? settings : "force_tcg", NULL);
    /* What the environment says reaches libguestfs by itself. */
    if (given (backend) || !given (g_getenv ("LIBGUESTFS_BACKEND")))
        g_strv_builder_add (env, backend_pair);
    if (given (settings) || (accel == VMF_ACCEL_TCG && !given (g_getenv ("LIBGUESTFS_BACKEND_SETTINGS"))))
        g_strv_builder_add (env, settings_pair);
    return g_strv_builder_end (env);
}
