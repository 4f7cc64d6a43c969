/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What was changed in the guest and why, from the trace of libguestfs calls in virt-v2v's debug log.
 *
 * A call stands in the log as "libguestfs: trace: v2v: NAME ARGUMENTS", its result later as "… NAME = RESULT". Only a
 * call whose result says success is proof of a change. Removing with rm_f proves nothing (it succeeds on what is not
 * there), so no rule uses it.
 */
#include "guest/convert-parts.h"
#include "base/text.h"

#include <string.h>

enum
{
    NAMES_MAX = 24,
};

/* One kind of change: all calls that match make one sentence, with what the pattern's first group caught in its %s. */
struct rule
{
    const char *calls;   /* names of libguestfs calls, space-separated */
    const char *pattern; /* on the arguments */
    const char *sentence;
};

static const struct rule rules[] = {
    { "aug_clear aug_set", "^\"/files/etc/initramfs-tools/modules/([a-z0-9_]+)\"",
      "added to /etc/initramfs-tools/modules, so that the first RAM disk has the drivers of the new disk and network: "
      "%s" },
    { "aug_set", "^\"/files/etc/mod[^\"]*/modulename\" \"([a-z0-9_-]+)\"",
      "set in the modprobe configuration as the driver of the new devices: %s" },
    { "command command_lines sh sh_lines", "update-initramfs.* -k ([^ \"]+)",
      "rebuilt the initial RAM disk by update-initramfs, so that it finds its disk on virtio: kernel %s" },
    { "command command_lines sh sh_lines", "(?:dracut|mkinitrd|make-initrd)\\b.*?(/boot/init[^ \"]+)",
      "rebuilt the initial RAM disk, so that it finds its disk on virtio: %s" },
    { "mv", "^\"[^\"]+\" \"([^\"]+\\.pre-v2v)\"", "kept the former initial RAM disk: %s" },
    { "aug_set", "^\"/files/etc/fstab/[^\"]*\" \"([^\"]+)\"", "put the disks' new device names into /etc/fstab: %s" },
    { "aug_set", "^\"/files/etc/crypttab/[^\"]*\" \"([^\"]+)\"",
      "put the disks' new device names into /etc/crypttab: %s" },
    { "aug_set", "^\"/files(/boot/grub2?/device\\.map)/", "put the disks' new device names into %s" },
    { "aug_set", "^\"/files(/etc/(?:default|sysconfig)/grub|/boot/grub/(?:menu\\.lst|grub\\.conf))/",
      "changed the kernel's command line (resume device, console) in %s" },
    { "command", "(/[^ \"]*grub2?-mkconfig|[^ \"]*grubby[^\"]*)",
      "had the boot loader's menu written anew for the new device names: %s" },
    { "command sh sh_lines",
      "(?:rpm -e|(?:yum|dnf|zypper|apt-get|apk|pacman)\\b[^\"]* (?:remove|purge|rm|del|-R)\\b|dpkg "
      "(?:-P|--purge))(.*)\"$",
      "removed packages that served the former hypervisor only:%s" },
    { "command", "\"/usr/bin/(vmware-uninstall-tools\\.pl)", "uninstalled VMware Tools with its own uninstaller (%s)" },
    { "command", "\"([^ \"]*VBoxGuestAdditions[^ \"]*uninstall[^ \"]*)",
      "uninstalled the VirtualBox Guest Additions with their own uninstaller (%s)" },
    { "write", "^\"(/usr/lib/virt-sysprep/firstboot\\.sh)\"",
      "added a service that runs scripts once at the first boot: %s" },
    { "write", "^\"/usr/lib/virt-sysprep/scripts/[^\"]*(install-qga)\"",
      "left a script that installs the QEMU guest agent at the first boot, if the guest then reaches its package "
      "servers (%s)" },
    { "upload write copy_in", "Windows/[Dd]rivers/VirtIO/([^\"/]+\\.sys)\"",
      "copied virtio drivers to C:\\Windows\\Drivers\\VirtIO for Windows to install: %s" },
    { "cp upload write", "(?i)windows/system32/drivers/([^\"/]+\\.sys)\"$",
      "put the driver of the new boot disk where Windows loads it from at start: %s" },
    { "hivex_commit", "(.{0})", "registered the new drivers and first-boot settings in the Windows registry%s" },
    { "upload write", "Guestfs/Firstboot/scripts/[0-9-]*([^\"/]+?)(?:\\.bat|\\.ps1)?\"",
      "left scripts that Windows runs once at its first boot: %s" },
    { "selinux_relabel setfiles", "(.{0})", "set the SELinux labels of its files anew%s" },
    { "touch", "\"(/\\.autorelabel)\"", "asked for new SELinux labels at the first boot (%s)" },
    { "fstrim", "\"([^\"]*)\"", "discarded the free blocks of its file systems: mounted at %s" },
};

struct vmf_changes
{
    GRegex *patterns[G_N_ELEMENTS (rules)];
    GPtrArray *caught[G_N_ELEMENTS (rules)]; /* char*, unique; NULL: did not happen */
    GArray *order;                           /* unsigned, rules in the order of their first match */
    GHashTable *open;                        /* call name -> arguments, waiting for its result */
};

struct vmf_changes *
vmf_changes_new (void)
{
    struct vmf_changes *changes = g_new0 (struct vmf_changes, 1);
    for (size_t i = 0; i < G_N_ELEMENTS (rules); i++)
        changes->patterns[i] = g_regex_new (rules[i].pattern, G_REGEX_OPTIMIZE | G_REGEX_RAW, 0, NULL);
    changes->order = g_array_new (FALSE, FALSE, sizeof (unsigned));
    changes->open = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
    return changes;
}

void
vmf_changes_free (struct vmf_changes *changes)
{
    if (!changes)
        return;
    for (size_t i = 0; i < G_N_ELEMENTS (rules); i++)
    {
        g_regex_unref (changes->patterns[i]);
        if (changes->caught[i])
            g_ptr_array_unref (changes->caught[i]);
    }
    g_array_unref (changes->order);
    g_hash_table_unref (changes->open);
    g_free (changes);
}

static bool
has_word (const char *words, const char *word)
{
    size_t length = strlen (word);
    for (const char *at = strstr (words, word); at; at = strstr (at + 1, word))
        if ((at == words || at[-1] == ' ') && (at[length] == ' ' || at[length] == '\0'))
            return true;
    return false;
}

static void
catch_one (struct vmf_changes *changes, unsigned i, GMatchInfo *match)
{
    if (!changes->caught[i])
    {
        changes->caught[i] = g_ptr_array_new_with_free_func (g_free);
        g_array_append_val (changes->order, i);
    }
    g_autofree char *raw = g_match_info_fetch (match, 1);
    g_autofree char *name = vmf_text_printable (raw, 120);
    GPtrArray *caught = changes->caught[i];
    if (caught->len <= NAMES_MAX && !g_ptr_array_find_with_equal_func (caught, name, g_str_equal, NULL))
        g_ptr_array_add (caught, g_steal_pointer (&name));
}

static void
proven (struct vmf_changes *changes, const char *call, const char *arguments)
{
    for (unsigned i = 0; i < G_N_ELEMENTS (rules); i++)
    {
        g_autoptr (GMatchInfo) match = NULL;
        if (has_word (rules[i].calls, call) && g_regex_match (changes->patterns[i], arguments, 0, &match))
            catch_one (changes, i, match);
    }
}

static bool
watched (const char *call)
{
    for (unsigned i = 0; i < G_N_ELEMENTS (rules); i++)
        if (has_word (rules[i].calls, call))
            return true;
    return false;
}

void
vmf_changes_line (struct vmf_changes *changes, const char *line)
{
    static const char prefix[] = "libguestfs: trace: v2v: ";
    if (!g_str_has_prefix (line, prefix))
        return;
    const char *call_start = line + strlen (prefix);
    size_t length = strcspn (call_start, " ");
    g_autofree char *call = g_strndup (call_start, length);
    const char *rest = call_start[length] ? call_start + length + 1 : "";
    if (!watched (call))
        return;
    if (!g_str_has_prefix (rest, "= "))
    {
        g_hash_table_replace (changes->open, g_steal_pointer (&call), g_strdup (rest));
        return;
    }
    const char *arguments = g_hash_table_lookup (changes->open, call);
    if (arguments && !g_str_has_suffix (rest, "(error)"))
        proven (changes, call, arguments);
    g_hash_table_remove (changes->open, call);
}

/* SENTENCE with WHAT in place of its %s: the table's sentences are data, not formats for printf. */
static char *
fill_in (const char *sentence, const char *what)
{
    g_auto (GStrv) halves = g_strsplit (sentence, "%s", 2);
    return g_strconcat (halves[0], what, halves[1], NULL);
}

GPtrArray *
vmf_changes_get_sentences (struct vmf_changes *changes)
{
    GPtrArray *sentences = g_ptr_array_new_with_free_func (g_free);
    for (unsigned k = 0; k < changes->order->len; k++)
    {
        unsigned i = g_array_index (changes->order, unsigned, k);
        g_autoptr (GString) names = g_string_new (NULL);
        for (unsigned n = 0; n < changes->caught[i]->len; n++)
            g_string_append_printf (names, "%s%s", n ? ", " : "",
                                    n == NAMES_MAX ? "…" : (char *)g_ptr_array_index (changes->caught[i], n));
        g_ptr_array_add (sentences, fill_in (rules[i].sentence, names->str));
    }
    return sentences;
}
