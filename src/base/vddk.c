/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where VDDK may lie, what a directory of it looks like, and which plugin is to use it. */
#include "base/vddk.h"
#include "base/vddk-alias.h"
#include "base/plugins.h"
#include "base/text.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum
{
    NUMBER_MAX = 9, /* of libvixDiskLib.so.N; newest first */
    NUMBER_MIN = 6,
};

/* "~" is the user's home. */
static const char *const usual_places[] = {
    "/opt/vmware-vddk/vmware-vix-disklib-distrib", "/opt/vmware-vix-disklib-distrib", "/opt/vmware-vddk",
    "/usr/local/vmware-vix-disklib-distrib",       "/usr/lib/vmware-vix-disklib",     "/usr/lib64/vmware-vix-disklib",
    "/usr/local/lib/vmware-vix-disklib",           "~/vmware-vix-disklib-distrib",
};

static const char how_to_get[] =
    "VDDK is VMware's and may not be shipped with vmferry: download 'VMware Virtual Disk Development Kit' for Linux "
    "from the vendor's developer site (developer.broadcom.com), unpack it with "
    "'mkdir -p /opt/vmware-vddk && tar -xf VMware-vix-disklib-*.tar.gz -C /opt/vmware-vddk', or name its directory "
    "with "
    "the setting vddk.lib.dir. "
    "Without it, the other roads (export, https, ssh) work";

void
vmf_vddk_place_free (struct vmf_vddk_place *place)
{
    if (!place)
        return;
    g_free (place->dir);
    g_free (place->library);
    g_free (place->version);
    g_free (place->problem);
    g_free (place);
}

static void
place_free (void *place)
{
    vmf_vddk_place_free (place);
}

void
vmf_vddk_free (struct vmf_vddk *vddk)
{
    if (!vddk)
        return;
    g_ptr_array_unref (vddk->places);
    g_free (vddk->libdir);
    g_free (vddk->plugin);
    g_free (vddk->plugin_version);
    g_free (vddk->why);
    g_free (vddk->problem);
    g_free (vddk);
}

/* libvixDiskLib.so.8 is a link to libvixDiskLib.so.8.0.2. */
static char *
version_by_link (const char *library, unsigned number)
{
    g_autofree char *real = realpath (library, NULL);
    g_autofree char *name = real ? g_path_get_basename (real) : NULL;
    g_autofree char *prefix = g_strdup_printf ("libvixDiskLib.so.%u.", number);
    return name && g_str_has_prefix (name, prefix) ? g_strdup (name + strlen ("libvixDiskLib.so.")) : NULL;
}

/* By its header: does this machine run it? NULL: it does. */
static char *
problem_of_library (const char *library)
{
    unsigned char header[sizeof (Elf64_Ehdr)];
    int fd = open (library, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return g_strdup_printf ("'%s' cannot be read: %s", library, g_strerror (errno));
    ssize_t n = read (fd, header, sizeof header);
    close (fd);
    const Elf64_Ehdr *elf = (const Elf64_Ehdr *)header;
    if (n < (ssize_t)sizeof header || memcmp (header, ELFMAG, SELFMAG) != 0)
        return g_strdup_printf ("'%s' is not a library; unpack VDDK again", library);
#ifdef __x86_64__
    bool fits = header[EI_CLASS] == ELFCLASS64 && elf->e_machine == EM_X86_64;
#else
    bool fits = false;
#endif
    return fits ? NULL
                : g_strdup_printf ("'%s' is made for another kind of machine (ELF machine %u); VDDK is for x86-64 only",
                                   library, elf->e_machine);
}

struct vmf_vddk_place *
vmf_vddk_look_at (const char *dir)
{
    struct vmf_vddk_place *place = g_new0 (struct vmf_vddk_place, 1);
    place->dir = g_strdup (dir);
    for (unsigned number = NUMBER_MAX; number >= NUMBER_MIN && !place->library; number--)
    {
        g_autofree char *path = g_strdup_printf ("%s/lib64/libvixDiskLib.so.%u", dir, number);
        if (!g_file_test (path, G_FILE_TEST_EXISTS))
            continue;
        place->library = g_steal_pointer (&path);
        place->number = number;
        place->version = version_by_link (place->library, number);
        place->problem = problem_of_library (place->library);
    }
    if (place->library)
        return place;
    bool there = g_file_test (dir, G_FILE_TEST_IS_DIR);
    place->problem = there ? g_strdup_printf ("'%s' has no lib64/libvixDiskLib.so.9, .8, .7 or .6", dir)
                           : g_strdup_printf ("'%s' is not there", dir);
    return place;
}

static void
add_place (struct vmf_vddk *vddk, const char *dir)
{
    for (guint i = 0; i < vddk->places->len; i++)
        if (strcmp (((const struct vmf_vddk_place *)g_ptr_array_index (vddk->places, i))->dir, dir) == 0)
            return;
    struct vmf_vddk_place *place = vmf_vddk_look_at (dir);
    g_ptr_array_add (vddk->places, place);
    if (!place->problem && !vddk->chosen)
        vddk->chosen = place;
}

static const struct vmf_setting *
setting_of (const char *key)
{
    const struct vmf_setting *setting = vmf_settings_table ();
    while (!g_str_equal (setting->key, key))
        setting++;
    return setting;
}

/* A directory that the user named is the only one: what lies elsewhere may be another version. */
static void
look_at_places (struct vmf_vddk *vddk, const struct vmf_settings *settings)
{
    const char *set = vmf_settings_get_string (settings, "vddk.lib.dir");
    add_place (vddk, set);
    if (!g_str_equal (set, setting_of ("vddk.lib.dir")->fallback))
        return;
    for (size_t i = 0; i < G_N_ELEMENTS (usual_places); i++)
    {
        const char *dir = usual_places[i];
        g_autofree char *own = dir[0] == '~' ? g_build_filename (g_get_home_dir (), dir + 2, NULL) : g_strdup (dir);
        add_place (vddk, own);
    }
}

static char *
problem_of_places (const struct vmf_vddk *vddk)
{
    g_autoptr (GPtrArray) absent = g_ptr_array_new ();
    g_autoptr (GString) text = g_string_new ("VDDK was not found");
    for (guint i = 0; i < vddk->places->len; i++)
    {
        const struct vmf_vddk_place *place = g_ptr_array_index (vddk->places, i);
        if (g_file_test (place->dir, G_FILE_TEST_IS_DIR))
            g_string_append_printf (text, "; %s", place->problem);
        else
            g_ptr_array_add (absent, place->dir);
    }
    g_ptr_array_add (absent, NULL);
    g_autofree char *list = g_strjoinv (", ", (char **)absent->pdata);
    g_string_append_printf (text, "%s%s. %s", *list ? "; there is no " : "", list, how_to_get);
    return g_string_free (g_steal_pointer (&text), FALSE);
}

static const struct vmf_plugin *
plugin_of (bool own)
{
    const struct vmf_plugin *plugin = vmf_plugins_table ();
    while (!g_str_equal (plugin->name, own ? "vmferry-vddk" : "vddk"))
        plugin++;
    return plugin;
}

/* Which of the two there are, in the order in which the setting wants them. */
static void
choose_plugin (struct vmf_vddk *vddk, const char *wish, GCancellable *cancellable)
{
    bool wants_nbdkit = g_str_equal (wish, "nbdkit"), wants_own = g_str_equal (wish, "own");
    g_autofree char *own = wants_nbdkit ? NULL : vmf_plugin_find_own (plugin_of (true)->name);
    bool other = !own && !wants_own && vmf_plugin_is_installed ("vddk", cancellable);
    if (own)
    {
        vddk->plugin_is_own = true;
        vddk->plugin = g_steal_pointer (&own);
        vddk->why = g_strdup ("vmferry's own plugin, which keeps each host's limits and reads with many requests in "
                              "flight");
    }
    else if (other)
    {
        vddk->plugin = g_strdup ("vddk");
        vddk->why = g_strdup (wants_nbdkit ? "nbdkit's plugin, as the setting vddk.plugin says"
                                           : "nbdkit's plugin, since vmferry's own is not installed");
    }
    else
        vddk->problem = g_strdup_printf (
            "the nbdkit plugin for VDDK is not there: %s",
            wants_nbdkit ? "vddk.plugin says nbdkit; install nbdkit-vddk-plugin (Debian: nbdkit-plugin-vddk), or take "
                           "the setting away"
                         : "vmferry was built without it (nbdkit-vmferry-vddk-plugin.so); install it, or "
                           "nbdkit-vddk-plugin (Debian: nbdkit-plugin-vddk)");
}

/* Loads the library in a child of its own: a file that is there may still lack what it needs. Gives the plugin's
   complaint; NULL: it was loaded. */
static char *
try_libdir (struct vmf_vddk *vddk, char *libdir, GCancellable *cancellable)
{
    g_autofree char *parameter = g_strdup_printf ("libdir=%s", libdir);
    struct vmf_plugin_found *found = vmf_plugin_look (plugin_of (vddk->plugin_is_own), parameter, cancellable);
    char *complaint = found->problem ? vmf_text_printable (found->problem, 600) : NULL;
    g_free (vddk->plugin_version);
    vddk->plugin_version = g_strdup (found->version);
    g_free (vddk->libdir);
    vddk->libdir = libdir;
    vmf_plugin_found_free (found);
    return complaint;
}

/* One that is older than VDDK 9 does not look for its name; by the alias it finds it. */
static void
try_plugin (struct vmf_vddk *vddk, GCancellable *cancellable)
{
    g_autofree char *complaint = try_libdir (vddk, g_strdup (vddk->chosen->dir), cancellable);
    bool newer = complaint && !vddk->plugin_is_own && vddk->chosen->number > 8;
    bool has_alias = newer && vmf_vddk_alias_is_good (vddk->chosen);
    vddk->wants_alias = newer && !has_alias;
    if (has_alias)
    {
        g_free (complaint);
        complaint = try_libdir (vddk, vmf_vddk_alias_path (vddk->chosen), cancellable);
    }
    if (complaint)
        vddk->problem = g_strdup_printf (
            "'%s' is there but cannot be loaded: %s%s", vddk->chosen->library, complaint,
            vddk->wants_alias ? " (this plugin may be older than VDDK 9 and look for libvixDiskLib.so.8: "
                                "'vmferry doctor --fix' makes that name in a folder of vmferry's own; or "
                                "set vddk.plugin to own, which takes any version)"
                              : "");
}

struct vmf_vddk *
vmf_vddk_look (const struct vmf_settings *settings, GCancellable *cancellable)
{
    struct vmf_vddk *vddk = g_new0 (struct vmf_vddk, 1);
    vddk->places = g_ptr_array_new_with_free_func (place_free);
    look_at_places (vddk, settings);
    choose_plugin (vddk, vmf_settings_get_string (settings, "vddk.plugin"), cancellable);
    if (!vddk->chosen)
    {
        g_free (vddk->problem); /* without VDDK no plugin is of any use */
        vddk->problem = problem_of_places (vddk);
    }
    else if (vddk->plugin)
        try_plugin (vddk, cancellable);
    return vddk;
}

static int
release_of (const char *version)
{
    static const char *const releases[] = { "5.5", "6.0", "6.5", "6.7", "7.0", "8.0", "9.0" };
    for (size_t i = 0; version && i < G_N_ELEMENTS (releases); i++)
        if (strncmp (version, releases[i], 3) == 0)
            return (int)i;
    return -1;
}

bool
vmf_vddk_supports (const char *vddk_version, const char *vsphere_version)
{
    int vddk = release_of (vddk_version), vsphere = release_of (vsphere_version);
    return vddk < 0 || vsphere < 0 || (vsphere >= vddk - 2 && vsphere <= vddk + 1);
}
