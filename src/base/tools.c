/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of programs.
 *
 * Minimum versions are those that the code is written to (Debian 12's) where nothing older was tried, and the one that
 * brought the feature where that is known.
 */
#include "base/tools.h"
#include "base/child.h"

#include <stdlib.h>
#include <string.h>

#define SAME(name)                                                                                                     \
    {                                                                                                                  \
        name, name, name, name                                                                                         \
    }

static const struct vmf_tool table[] = {
    { "qemu-img",
      NULL,
      "--version",
      "6.0",
      true,
      "making and checking disk images",
      { "qemu-utils", "qemu-utils", "qemu-img", "qemu-img" } },
    { "qemu-storage-daemon",
      NULL,
      "--version",
      "7.0",
      true,
      "copying and converting at the same time",
      { "qemu-system-common", "qemu-system-common", "qemu-img", "qemu-tools" } },
    { "nbdkit", NULL, "--version", "1.30", true, "serving source disks", SAME ("nbdkit") },
    { "nbdfuse",
      NULL,
      "--version",
      "1.10",
      true,
      "finding used blocks",
      { "libnbd-bin", "libnbd-bin", "nbdfuse", "nbdfuse" } },
    { "fusermount3", NULL, "--version", NULL, true, "finding used blocks", SAME ("fuse3") },
    { "bwrap", NULL, "--version", "0.5", true, "confining what reads a source's data", SAME ("bubblewrap") },
    { "virt-v2v-in-place", "/usr/libexec/virt-v2v-in-place:/usr/local/libexec/virt-v2v-in-place", "--version", "2.0",
      true, "converting guests", SAME ("virt-v2v") },
    { "supermin", NULL, "--version", "5.1", true, "libguestfs' appliance, in which guests are converted",
      SAME ("supermin") },
    { "qemu-system-x86_64",
      "/usr/libexec/qemu-kvm",
      "--version",
      "6.0",
      true,
      "libguestfs' appliance, and finding out whether KVM works",
      { "qemu-system-x86", "qemu-system-x86", "qemu-kvm", "qemu-x86" } },
    { "qemu-nbd",
      NULL,
      "--version",
      "6.0",
      true,
      "serving VHD images",
      { "qemu-utils", "qemu-utils", "qemu-img", "qemu-tools" } },
    { "dumpe2fs", "/usr/sbin/dumpe2fs", "-V", NULL, false,
      "copying only used blocks of ext2, ext3, ext4 (otherwise all that is allocated)", SAME ("e2fsprogs") },
    { "e2fsck", "/usr/sbin/e2fsck", "-V", NULL, false, "copying only used blocks of an ext4 with a dirty journal",
      SAME ("e2fsprogs") },
    { "partclone.xfs", "/usr/sbin/partclone.xfs", "-v", "0.3.12", false, "copying only used blocks of XFS",
      SAME ("partclone") },
    { "partclone.ntfs", "/usr/sbin/partclone.ntfs", "-v", "0.3.12", false, "copying only used blocks of NTFS",
      SAME ("partclone") },
    { "partclone.fat", "/usr/sbin/partclone.fat", "-v", "0.3.12", false, "copying only used blocks of FAT",
      SAME ("partclone") },
    { "partclone.exfat", "/usr/sbin/partclone.exfat", "-v", "0.3.12", false, "copying only used blocks of exFAT",
      SAME ("partclone") },
    { "btrfs",
      NULL,
      "--version",
      NULL,
      false,
      "copying only used blocks of btrfs",
      { "btrfs-progs", "btrfs-progs", "btrfs-progs", "btrfsprogs" } },
    { "ntfs-3g.probe", NULL, "--help", NULL, false,
      "knowing a hibernated Windows; and NTFS in libguestfs' appliance, without which no Windows is converted",
      SAME ("ntfs-3g") },
    { NULL, NULL, NULL, NULL, false, NULL, { NULL } },
};

static const struct vmf_bad_pair bad_pairs[] = {
    { "libguestfs", "1.46", "qemu-img", "6.1",
      "this libguestfs makes overlays in a way that QEMU 6.1 and newer refuse (Red Hat bug 1998820): update "
      "libguestfs" },
    { "nbdkit", "1.33", NULL, NULL,
      "this nbdkit can stop with an assertion in raw_send_socket when its client is killed while the rate or delay "
      "filter sleeps (seen with 1.32): an import that is killed may leave a line about it in the system's log" },
    { NULL, NULL, NULL, NULL, NULL },
};

const struct vmf_tool *
vmf_tools_table (void)
{
    return table;
}

const struct vmf_bad_pair *
vmf_bad_pairs (void)
{
    return bad_pairs;
}

const struct vmf_tool *
vmf_tool_get (const char *name)
{
    for (size_t i = 0; table[i].name; i++)
        if (g_str_equal (table[i].name, name))
            return &table[i];
    return NULL;
}

char *
vmf_tool_find (const struct vmf_tool *tool)
{
    char *path = g_find_program_in_path (tool->name);
    g_auto (GStrv) others = g_strsplit (tool->other_place ? tool->other_place : "", ":", -1);
    for (size_t i = 0; !path && others[i]; i++)
        path = g_find_program_in_path (others[i]);
    return path;
}

struct collected
{
    GString *text;
};

static void
collect (const char *line, void *data)
{
    struct collected *collected = data;
    if (collected->text->len < 8192)
        g_string_append_printf (collected->text, "%s\n", line);
}

/* The first dotted number in what the program says, as in "nbdkit 1.32.5" or "Partclone : v0.3.23 (…)". */
static char *
ask_version (const char *path, const char *option)
{
    const char *const argv[] = { path, option, NULL };
    struct collected collected = { g_string_new (NULL) };
    const struct vmf_child_options options = {
        .name = path, .argv = argv, .flags = VMF_CHILD_STDOUT_TO_LINES, .on_line = collect, .on_line_data = &collected
    };
    struct vmf_child *child = vmf_child_start (&options, NULL);
    /* Some exit with 1 after saying it. Freeing reaps, so nothing is added to the text any more. */
    if (child)
        vmf_child_wait (child, 30000, NULL, NULL);
    vmf_child_free (child);
    g_autoptr (GRegex) regex = g_regex_new ("(?<![0-9.])[0-9]+(?:\\.[0-9]+)+", 0, 0, NULL);
    g_autoptr (GMatchInfo) match = NULL;
    char *version = g_regex_match (regex, collected.text->str, 0, &match) ? g_match_info_fetch (match, 0) : NULL;
    g_clear_pointer (&match, g_match_info_free);
    g_string_free (collected.text, TRUE);
    return version;
}

struct vmf_tool_found *
vmf_tool_look (const struct vmf_tool *tool)
{
    struct vmf_tool_found *found = g_new0 (struct vmf_tool_found, 1);
    found->tool = tool;
    found->path = vmf_tool_find (tool);
    found->version = found->path ? ask_version (found->path, tool->version_option) : NULL;
    if (!found->path)
        found->state = VMF_TOOL_ABSENT;
    else if (!found->version)
        found->state = VMF_TOOL_SILENT;
    else if (tool->min_version && vmf_version_compare (found->version, tool->min_version) < 0)
        found->state = VMF_TOOL_OLD;
    return found;
}

void
vmf_tool_found_free (struct vmf_tool_found *found)
{
    if (!found)
        return;
    g_free (found->path);
    g_free (found->version);
    g_free (found);
}

int
vmf_version_compare (const char *a, const char *b)
{
    while (*a || *b)
    {
        char *a_end, *b_end;
        unsigned long long x = g_ascii_strtoull (a, &a_end, 10), y = g_ascii_strtoull (b, &b_end, 10);
        if (x != y)
            return x < y ? -1 : 1;
        a = *a_end == '.' ? a_end + 1 : "";
        b = *b_end == '.' ? b_end + 1 : "";
    }
    return 0;
}

static bool
family_by_words (const char *words, enum vmf_family *family)
{
    static const struct
    {
        const char *word;
        enum vmf_family family;
    } known[] = { { "debian", VMF_FAMILY_DEBIAN },      { "ubuntu", VMF_FAMILY_DEBIAN },
                  { "fedora", VMF_FAMILY_FEDORA },      { "rhel", VMF_FAMILY_FEDORA },
                  { "centos", VMF_FAMILY_FEDORA },      { "suse", VMF_FAMILY_SUSE },
                  { "opensuse", VMF_FAMILY_SUSE },      { "sles", VMF_FAMILY_SUSE },
                  { "opensuse-leap", VMF_FAMILY_SUSE }, { "opensuse-tumbleweed", VMF_FAMILY_SUSE } };
    g_auto (GStrv) list = g_strsplit (words, " ", -1);
    for (size_t i = 0; list[i]; i++)
        for (size_t k = 0; k < G_N_ELEMENTS (known); k++)
            if (g_str_equal (list[i], known[k].word))
                return *family = known[k].family, true;
    return false;
}

enum vmf_family
vmf_family_of (const char *os_release)
{
    g_autofree char *own = NULL;
    if (!os_release && !g_file_get_contents ("/etc/os-release", &own, NULL, NULL))
        return VMF_FAMILY_OTHER;
    g_auto (GStrv) lines = g_strsplit (os_release ? os_release : own, "\n", -1);
    enum vmf_family family = VMF_FAMILY_OTHER;
    static const char *const keys[] = { "ID=", "ID_LIKE=" };
    for (size_t k = 0; k < G_N_ELEMENTS (keys); k++)
        for (size_t i = 0; lines[i]; i++)
        {
            g_autofree char *value =
                g_str_has_prefix (lines[i], keys[k]) ? g_shell_unquote (lines[i] + strlen (keys[k]), NULL) : NULL;
            if (value && family_by_words (value, &family))
                return family;
        }
    return family;
}

char *
vmf_family_install_command (enum vmf_family family, GPtrArray *packages)
{
    static const char *const commands[] = {
        [VMF_FAMILY_OTHER] = "install (Debian's names):",
        [VMF_FAMILY_DEBIAN] = "apt-get install --no-install-recommends",
        [VMF_FAMILY_FEDORA] = "dnf install",
        [VMF_FAMILY_SUSE] = "zypper install",
    };
    g_autoptr (GPtrArray) unique = g_ptr_array_new ();
    for (unsigned i = 0; i < packages->len; i++)
        if (!g_ptr_array_find_with_equal_func (unique, g_ptr_array_index (packages, i), g_str_equal, NULL))
            g_ptr_array_add (unique, g_ptr_array_index (packages, i));
    if (unique->len == 0)
        return NULL;
    g_ptr_array_add (unique, NULL);
    g_autofree char *names = g_strjoinv (" ", (char **)unique->pdata);
    return g_strdup_printf ("%s %s", commands[family], names);
}

char *
vmf_tool_hint (const char *program)
{
    const struct vmf_tool *tool = vmf_tool_get (program);
    return tool ? g_strdup_printf ("install the package %s", tool->package[vmf_family_of (NULL)]) : NULL;
}

bool
vmf_bad_pair_applies (const struct vmf_bad_pair *pair, const char *a_version, const char *b_version)
{
    return a_version && vmf_version_compare (a_version, pair->a_below) < 0
           && (!pair->b || (b_version && vmf_version_compare (b_version, pair->b_from) >= 0));
}
