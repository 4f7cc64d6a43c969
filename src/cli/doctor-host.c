/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What an import needs of the host beyond programs: each thing is tried, not looked up. */
#include "cli/doctor-host.h"
#include "base/child.h"
#include "base/room.h"
#include "base/text.h"
#include "base/tools.h"
#include "guest/accel.h"
#include "import/work.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

enum
{
    WORK_SPACE_GIB = 2,
};

static void
row_free (void *data)
{
    struct row *row = data;
    g_free (row->name);
    g_free (row->version);
    g_free (row->text);
    g_free (row->package);
    g_free (row);
}

GPtrArray *
row_list_new (void)
{
    return g_ptr_array_new_with_free_func (row_free);
}

struct row *
row_add (GPtrArray *list, const char *name, enum row_state state, const char *format, ...)
{
    struct row *row = g_new0 (struct row, 1);
    va_list args;
    va_start (args, format);
    row->name = g_strdup (name);
    row->state = state;
    row->text = g_strdup_vprintf (format, args);
    va_end (args);
    g_ptr_array_add (list, row);
    return row;
}

static void
look_at_kvm (GPtrArray *list)
{
    g_autofree char *why = NULL;
    enum vmf_accel accel = vmf_accel_probe (NULL, &why);
    row_add (list, "KVM", accel == VMF_ACCEL_KVM ? ROW_GOOD : ROW_WARNING, "%s", why);
}

/* A room, and in it a cage: what every conversion runs in. */
static void
look_at_namespaces (GPtrArray *list)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (vmf_room) room = vmf_room_new (&error);
    const char *const argv[] = { "true", NULL };
    const struct vmf_child_options options = {
        .name = "a process in namespaces", .argv = argv, .room = room, .flags = VMF_CHILD_CAGE
    };
    g_autofree char *output = room ? vmf_child_run (&options, 30000, NULL, &error) : NULL;
    row_add (list, "namespaces", output ? ROW_GOOD : ROW_MISSING, "%s",
             output ? "the conversion gets a network and processes of its own" : error->message);
    int fuse = open ("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fuse < 0)
        row_add (list, "FUSE", ROW_WARNING,
                 "/dev/fuse cannot be opened (%s), so used blocks cannot be found and all that is allocated is copied; "
                 "load the module fuse",
                 g_strerror (errno));
    else
        row_add (list, "FUSE", ROW_GOOD, "file systems' used blocks can be read");
    if (fuse >= 0)
        close (fuse);
}

struct kernels
{
    char *readable;   /* one that supermin can use */
    char *unreadable; /* one that is there, with its modules, but not for this user */
};

/* supermin takes /boot/vmlinuz-VERSION or /lib/modules/VERSION/vmlinuz, with modules in /lib/modules/VERSION. */
static void
look_for_kernels (struct kernels *kernels)
{
    g_autoptr (GDir) dir = g_dir_open ("/lib/modules", 0, NULL);
    const char *version;
    while (dir && !kernels->readable && (version = g_dir_read_name (dir)))
    {
        g_autofree char *dependencies = g_build_filename ("/lib/modules", version, "modules.dep", NULL);
        g_autofree char *inside = g_build_filename ("/lib/modules", version, "vmlinuz", NULL);
        g_autofree char *boot = g_strdup_printf ("/boot/vmlinuz-%s", version);
        const char *const places[] = { inside, boot };
        for (size_t i = 0; i < G_N_ELEMENTS (places); i++)
        {
            if (g_access (dependencies, R_OK) != 0 || g_access (places[i], F_OK) != 0)
                continue;
            char **which = g_access (places[i], R_OK) == 0 ? &kernels->readable : &kernels->unreadable;
            if (!*which)
                *which = g_strdup (places[i]);
        }
    }
}

static void
look_at_kernel (GPtrArray *list)
{
    static const char *const packages[] = { "linux-image-cloud-amd64", "linux-image-cloud-amd64", "kernel-core",
                                            "kernel-default" };
    struct kernels kernels = { 0 };
    const char *fixed = g_getenv ("LIBGUESTFS_PATH");
    look_for_kernels (&kernels);
    if (fixed && *fixed)
        row_add (list, "libguestfs kernel", ROW_GOOD, "LIBGUESTFS_PATH names an appliance: %s", fixed);
    else if (kernels.readable)
        row_add (list, "libguestfs kernel", ROW_GOOD, "its appliance can use %s", kernels.readable);
    else if (kernels.unreadable)
        row_add (list, "libguestfs kernel", ROW_MISSING,
                 "%s is not readable for this user, so libguestfs' appliance cannot start; run vmferry as root, or let "
                 "others read it (Debian and Ubuntu: dpkg-statoverride --update --add root root 0644 %s)",
                 kernels.unreadable, kernels.unreadable);
    else
        row_add (list, "libguestfs kernel", ROW_MISSING,
                 "there is no kernel with its modules on this host, and libguestfs' appliance needs one")
            ->package = g_strdup (packages[vmf_family_of (NULL)]);
    g_free (kernels.readable);
    g_free (kernels.unreadable);
}

/* Debian leaves XFS out of libguestfs' appliance unless the package is asked for; others have it in. */
static void
look_at_appliance_xfs (GPtrArray *list)
{
    if (vmf_family_of (NULL) != VMF_FAMILY_DEBIAN)
        return;
    glob_t found = { 0 };
    bool there = glob ("/usr/lib/*/guestfs/supermin.d/*packages-xfs", 0, NULL, &found) == 0;
    globfree (&found);
    struct row *row = row_add (list, "libguestfs XFS", there ? ROW_GOOD : ROW_WARNING, "%s",
                               there ? "guests on XFS can be converted" : "guests on XFS cannot be converted");
    row->package = there ? NULL : g_strdup ("libguestfs-xfs");
}

static void
look_at_virtio_win (GPtrArray *list, const struct vmf_settings *settings)
{
    const char *set = vmf_settings_get_string (settings, "virtio_win"), *env = g_getenv ("VIRTIO_WIN");
    const char *place = *set ? set : env && *env ? env : "/usr/share/virtio-win";
    bool drivers = g_file_test (place, G_FILE_TEST_EXISTS);
    const char *tools = g_getenv ("VIRT_TOOLS_DATA_DIR") ? g_getenv ("VIRT_TOOLS_DATA_DIR") : "/usr/share/virt-tools";
    g_autofree char *rhsrvany = g_build_filename (tools, "rhsrvany.exe", NULL);
    g_autofree char *pvvxsvc = g_build_filename (tools, "pvvxsvc.exe", NULL);
    bool helper = g_file_test (rhsrvany, G_FILE_TEST_EXISTS) || g_file_test (pvvxsvc, G_FILE_TEST_EXISTS);
    if (drivers)
        row_add (list, "virtio-win", ROW_GOOD, "drivers for Windows guests: %s", place);
    else
        row_add (list, "virtio-win", ROW_WARNING,
                 "%s is not there, so Windows guests get slow emulated devices; put virtio-win.iso "
                 "(https://fedorapeople.org/groups/virt/virtio-win) somewhere and name it with the setting virtio_win",
                 place);
    if (helper)
        row_add (list, "rhsrvany", ROW_GOOD, "runs scripts at a Windows guest's first boot: %s", tools);
    else
        row_add (list, "rhsrvany", ROW_WARNING,
                 "neither rhsrvany.exe nor pvvxsvc.exe is in %s, so virt-v2v refuses Windows guests; Fedora's package "
                 "mingw32-srvany-redistributable has it (https://github.com/rwmjones/rhsrvany)",
                 tools);
}

static void
look_at_work_dir (GPtrArray *list, const struct vmf_settings *settings)
{
    g_autofree char *work = vmf_work_root (settings);
    g_autofree char *place = g_strdup (work);
    while (!g_file_test (place, G_FILE_TEST_IS_DIR) && strlen (place) > 1)
    {
        char *parent = g_path_get_dirname (place);
        g_free (place);
        place = parent;
    }
    struct statvfs info;
    if (statvfs (place, &info) != 0)
    {
        row_add (list, "work directory", ROW_WARNING, "%s cannot be looked at: %s", place, g_strerror (errno));
        return;
    }
    uint64_t free_bytes = (uint64_t)info.f_bavail * info.f_frsize;
    g_autofree char *size = vmf_text_from_size (free_bytes);
    bool enough = free_bytes >= (uint64_t)WORK_SPACE_GIB << 30;
    row_add (list, "work directory", enough ? ROW_GOOD : ROW_WARNING, "%s has %s free%s", work, size,
             enough ? "" : "; each import wants about 1 GiB there while it runs (setting work.dir)");
}

void
doctor_look_at_host (GPtrArray *list, const struct vmf_settings *settings)
{
    look_at_kvm (list);
    look_at_kernel (list);
    look_at_appliance_xfs (list);
    look_at_namespaces (list);
    look_at_virtio_win (list, settings);
    look_at_work_dir (list, settings);
}

/* guestfs_version() of guestfs(3); its public struct is three int64_t and a string. Loaded only here, so that a host
   without the library gets a row in doctor's table and not a program that does not start. */
struct guestfs_version
{
    int64_t major, minor, release;
    char *extra;
};

char *
doctor_libguestfs_version (void)
{
    void *library = dlopen ("libguestfs.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return NULL;
    void *(*create) (void) = (void *(*)(void))dlsym (library, "guestfs_create");
    void (*destroy) (void *) = (void (*) (void *))dlsym (library, "guestfs_close");
    struct guestfs_version *(*get) (void *) = (struct guestfs_version * (*)(void *)) dlsym (library, "guestfs_version");
    void (*release) (void *) = (void (*) (void *))dlsym (library, "guestfs_free_version");
    void *handle = create && destroy && get && release ? create () : NULL;
    struct guestfs_version *version = handle ? get (handle) : NULL;
    char *text = version ? g_strdup_printf ("%" G_GINT64_FORMAT ".%" G_GINT64_FORMAT ".%" G_GINT64_FORMAT,
                                            version->major, version->minor, version->release)
                         : NULL;
    if (version)
        release (version);
    if (handle)
        destroy (handle);
    /* Not closed: libguestfs registers an exit handler. */
    return text;
}
