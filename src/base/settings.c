/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of settings and its two layers over the defaults.
 *
 * Not a GKeyFile: keys carry their dots ("convert.timeout_s") so that file, --set and error messages spell them alike,
 * and an error has to name the line, which GKeyFile forgets.
 */
#include "base/settings.h"
#include "base/error.h"
#include "base/text.h"

#include <string.h>

static const char default_path[] = "/etc/vmferry/vmferry.conf";

static const struct vmf_setting table[] = {
    { "work.dir", "", VMF_SETTING_PATH, 0, 0,
      "Where each import has its own directory while it runs: overlays (some tens of MB, more if the conversion writes "
      "much) and maps. --work names another for one import. Blank: /var/lib/vmferry/work for root, vmferry/work below "
      "the user's state directory for others." },
    { "log.dir", "", VMF_SETTING_PATH, 0, 0,
      "Where the log of each import goes. Blank: /var/log/vmferry for root, vmferry/log below the user's state "
      "directory for others." },
    { "import.direct", "true", VMF_SETTING_BOOL, 0, 0,
      "Convert directly to the destination: each block is written once, where it stays. When false, the import is made "
      "in staging.dir and the result is then moved; for destinations that need finished files." },
    { "staging.dir", "", VMF_SETTING_PATH, 0, 0,
      "Where disks are made when import.direct is false. It needs room for the whole VM. Blank: work.dir." },
    { "copy.parallel_disks", "2", VMF_SETTING_UINT64, 1, 64, "How many disks of one VM are copied at the same time." },
    { "copy.connections", "16", VMF_SETTING_UINT64, 1, 16,
      "How many NBD connections are opened to each disk at most, where its server takes several. More than four only "
      "while latency is what is waited for and more bring more." },
    { "copy.memory_mib", "64", VMF_SETTING_UINT64, 16, 4096,
      "MiB of buffers for what is in flight, shared by all disks of an import as they need it." },
    { "copy.io_timeout_s", "60", VMF_SETTING_UINT64, 1, 86400,
      "Seconds after which a read that has no answer counts as lost and its connection is made again." },
    { "copy.retry_s", "300", VMF_SETTING_UINT64, 0, 31536000,
      "For how many seconds the same bytes are tried again before the copy fails. 0: the first failure ends it." },
    { "copy.journal", "true", VMF_SETTING_BOOL, 0, 0,
      "Keep a journal of what is on the target, so that a killed copy goes on. Off only to measure what it costs." },
    { "copy.digests", "true", VMF_SETTING_BOOL, 0, 0,
      "Take digests of what is read; the journal and receipts need them. Off only to measure what they cost." },
    { "http.ca_file", "", VMF_SETTING_PATH, 0, 0,
      "The certificates (PEM) of the authorities that https:// sources are believed by. Blank: those of this system." },
    { "convert.timeout_s", "10800", VMF_SETTING_UINT64, 60, 31536000,
      "Seconds after which a conversion that has not ended is stopped and the import fails. The default is three "
      "hours." },
    { "convert.allowed_options", "", VMF_SETTING_LIST, 0, 0,
      "virt-v2v options that users may add to an import, such as: --key --mac. Anything else is refused. Blank: "
      "none." },
    { "virtio_win", "", VMF_SETTING_PATH, 0, 0,
      "The virtio-win ISO or directory with drivers for Windows guests. Blank: where virt-v2v looks by itself, "
      "/usr/share/virtio-win." },
    { "libguestfs.backend", "", VMF_SETTING_STRING, 0, 0,
      "How libguestfs starts its appliance: direct or libvirt. Blank: LIBGUESTFS_BACKEND of the environment, otherwise "
      "direct." },
    { "libguestfs.backend_settings", "", VMF_SETTING_STRING, 0, 0,
      "For instance force_tcg or force_kvm. Blank: LIBGUESTFS_BACKEND_SETTINGS of the environment, otherwise what was "
      "found by running a small guest with KVM." },
    { "domain.machine", "", VMF_SETTING_STRING, 0, 0,
      "The machine type of imported VMs, as libvirt spells it: q35, pc, pc-q35-7.2. Blank: what fits the guest." },
    { "vddk.lib.dir", "/opt/vmware-vddk/vmware-vix-disklib-distrib", VMF_SETTING_PATH, 0, 0,
      "Where VMware's VDDK was unpacked: the directory with lib64/libvixDiskLib.so.N. With the default the usual "
      "places "
      "are looked through as well; another directory is the only one." },
    { "vddk.plugin", "auto", VMF_SETTING_STRING, 0, 0,
      "Which nbdkit plugin uses VDDK: own (vmferry's), nbdkit (the distribution's nbdkit-vddk-plugin), or auto: "
      "vmferry's where it is installed.",
      "auto|own|nbdkit" },
    { "vddk.transports", "nbdssl:nbd", VMF_SETTING_STRING, 0, 0,
      "How VDDK may reach a disk, in this order, colons between: nbdssl, nbd, hotadd, san." },
    { "vddk.thumbprint", "", VMF_SETTING_STRING, 0, 0,
      "SHA-1 thumbprint of the server's certificate, which is then the only one believed. Blank: the one that was "
      "pinned at the first connection (vsphere.known_hosts)." },
    { "vddk.compression", "", VMF_SETTING_STRING, 0, 0,
      "Compression of what VDDK sends: none, zlib, fastlz, skipz. Blank: VDDK's own choice, none.",
      "none|zlib|fastlz|skipz" },
    { "vddk.patience_s", "300", VMF_SETTING_UINT64, 0, 86400,
      "For how many seconds a disk that the server refuses to open, since too many are open already, is tried again. "
      "Waiting for disks of vmferry's own does not count (vsphere.nfc_wait_s)." },
    { "vsphere.road", "auto", VMF_SETTING_STRING, 0, 0,
      "How disks are fetched from vCenter and ESXi: auto (the fastest that is open, and it says why), vddk, export, "
      "https, ssh.",
      "auto|vddk|export|https|ssh" },
    { "vsphere.ca_file", "", VMF_SETTING_PATH, 0, 0,
      "PEM file of the authority that signed the certificates of vCenter and ESXi. Blank: the system's, or a pinned "
      "thumbprint." },
    { "vsphere.known_hosts", "", VMF_SETTING_PATH, 0, 0,
      "Where the thumbprints of servers are kept, pinned at the first connection. Blank: /var/lib/vmferry/thumbprints "
      "for root, vmferry/thumbprints below the user's state directory for others." },
    { "vsphere.nfc_slots", "0", VMF_SETTING_UINT64, 0, 64,
      "How many disks of one ESXi host may be open at the same time. 0: what its version allows." },
    { "vsphere.nfc_wait_s", "0", VMF_SETTING_UINT64, 0, 31536000,
      "For how many seconds a disk waits for its turn while others of vmferry's, of any import, have all that may be "
      "open. 0: as long as it takes." },
    { "vsphere.shutdown_s", "600", VMF_SETTING_UINT64, 1, 86400,
      "How many seconds a guest may take to shut down with --shut-down. One that installs updates takes its time." },
    { "vsphere.cancel_s", "120", VMF_SETTING_UINT64, 1, 86400,
      "After Ctrl-C: for how many seconds the end of a task is awaited that vCenter or ESXi cannot cancel, such as "
      "making a snapshot." },
    { "ssh.known_hosts", "", VMF_SETTING_PATH, 0, 0,
      "File with the host keys that ssh believes; a host that is not in it is refused. Blank: ~/.ssh/known_hosts, then "
      "/etc/ssh/ssh_known_hosts." },
    { "ssh.identity", "", VMF_SETTING_PATH, 0, 0,
      "The private key for ssh sources, without a passphrase. Blank: the agent's and those in ~/.ssh." },
    { "ssh.port", "22", VMF_SETTING_UINT64, 1, 65535,
      "The port of an ESXi host's ssh service, for the road ssh of esx:// sources." },
    { NULL, NULL, VMF_SETTING_STRING, 0, 0, NULL },
};

struct vmf_settings
{
    GHashTable *file; /* key (of the table) -> char* value */
    GHashTable *set;
};

const struct vmf_setting *
vmf_settings_table (void)
{
    return table;
}

struct vmf_settings *
vmf_settings_new (void)
{
    struct vmf_settings *settings = g_new0 (struct vmf_settings, 1);
    settings->file = g_hash_table_new_full (g_str_hash, g_str_equal, NULL, g_free);
    settings->set = g_hash_table_new_full (g_str_hash, g_str_equal, NULL, g_free);
    return settings;
}

void
vmf_settings_free (struct vmf_settings *settings)
{
    if (!settings)
        return;
    g_hash_table_unref (settings->file);
    g_hash_table_unref (settings->set);
    g_free (settings);
}

static void
copy_layer (GHashTable *from, GHashTable *to)
{
    GHashTableIter iter;
    gpointer key, value;
    g_hash_table_iter_init (&iter, from);
    while (g_hash_table_iter_next (&iter, &key, &value))
        g_hash_table_insert (to, key, g_strdup (value));
}

struct vmf_settings *
vmf_settings_copy (const struct vmf_settings *settings)
{
    struct vmf_settings *copy = vmf_settings_new ();
    copy_layer (settings->file, copy->file);
    copy_layer (settings->set, copy->set);
    return copy;
}

const char *
vmf_settings_get_set (const struct vmf_settings *settings, const char *key)
{
    return g_hash_table_lookup (settings->set, key);
}

/* Levenshtein's distance, for "did you mean". Keys are short. */
static size_t
distance (const char *a, const char *b)
{
    size_t columns = strlen (b) + 1;
    g_autofree size_t *row = g_new (size_t, columns);
    for (size_t j = 0; j < columns; j++)
        row[j] = j;
    for (size_t i = 0; a[i]; i++)
    {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 1; j < columns; j++)
        {
            size_t above = row[j];
            row[j] = MIN (MIN (above, row[j - 1]) + 1, diagonal + (a[i] != b[j - 1]));
            diagonal = above;
        }
    }
    return row[columns - 1];
}

static const char *
nearest_key (const char *key)
{
    const char *best = NULL;
    size_t best_distance = G_MAXSIZE;
    for (size_t i = 0; table[i].key; i++)
    {
        size_t here = distance (key, table[i].key);
        if (here < best_distance)
            best = table[i].key, best_distance = here;
    }
    return best;
}

static const struct vmf_setting *
find (const char *key)
{
    for (size_t i = 0; table[i].key; i++)
        if (g_str_equal (table[i].key, key))
            return &table[i];
    return NULL;
}

static bool
to_bool (const char *text, bool *value)
{
    static const char *const yes[] = { "true", "yes", "on", "1", NULL }, *const no[] = { "false", "no", "off", "0",
                                                                                         NULL };
    *value = g_strv_contains (yes, text);
    return *value || g_strv_contains (no, text);
}

static bool
check_choice (const struct vmf_setting *setting, const char *value, GError **error)
{
    g_auto (GStrv) choices = g_strsplit (setting->choices ? setting->choices : value, "|", -1);
    if (g_strv_contains ((const char *const *)choices, value) || !setting->choices)
        return true;
    g_autofree char *list = g_strjoinv (", ", choices), *shown = vmf_text_printable (value, 80);
    g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE, "%s is '%s'; it must be one of: %s", setting->key, shown, list);
    return false;
}

static bool
check (const struct vmf_setting *setting, const char *value, GError **error)
{
    uint64_t number;
    bool truth;
    if (*value == '\0')
        return true;
    if (setting->type == VMF_SETTING_UINT64
        && !vmf_text_to_uint64 (value, setting->key, setting->min, setting->max, &number, error))
    {
        if (error)
            (*error)->code = VMF_ERROR_USAGE; /* it is the user's word, not a file's */
        return false;
    }
    if (setting->type == VMF_SETTING_BOOL && !to_bool (value, &truth))
        return g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE, "%s is '%s'; it must be true or false", setting->key,
                            value),
               false;
    if (setting->type == VMF_SETTING_PATH && !g_path_is_absolute (value))
        return g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE, "%s is '%s'; it must be an absolute path", setting->key,
                            value),
               false;
    return check_choice (setting, value, error);
}

/* KEY = VALUE into LAYER; PAIR is changed. */
static bool
take (GHashTable *layer, char *pair, GError **error)
{
    char *equals = strchr (pair, '=');
    if (!equals)
    {
        g_autofree char *shown = vmf_text_printable (pair, 80);
        g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE, "'%s' is not of the form key=value", shown);
        return false;
    }
    *equals = '\0';
    const char *key = g_strstrip (pair), *value = g_strstrip (equals + 1);
    const struct vmf_setting *setting = find (key);
    if (!setting)
    {
        g_autofree char *shown = vmf_text_printable (key, 80);
        g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE, "there is no setting '%s'; the nearest is '%s'", shown,
                     nearest_key (shown));
        return false;
    }
    if (!check (setting, value, error))
        return false;
    if (*value)
        g_hash_table_replace (layer, (char *)setting->key, g_strdup (value));
    else
        g_hash_table_remove (layer, setting->key);
    return true;
}

bool
vmf_settings_load (struct vmf_settings *settings, const char *path, GError **error)
{
    g_autofree char *text = NULL;
    g_autoptr (GError) problem = NULL;
    const char *from = path ? path : default_path;
    if (!g_file_get_contents (from, &text, NULL, &problem))
    {
        if (!path && g_error_matches (problem, G_FILE_ERROR, G_FILE_ERROR_NOENT))
            return true;
        g_set_error (error, VMF_ERROR, VMF_ERROR_NOT_FOUND, "cannot read the configuration: %s", problem->message);
        return false;
    }
    g_auto (GStrv) lines = g_strsplit (text, "\n", -1);
    for (unsigned i = 0; lines[i]; i++)
    {
        char *line = g_strstrip (lines[i]);
        if (*line == '\0' || *line == '#')
            continue;
        if (!take (settings->file, line, error))
            return g_prefix_error (error, "%s, line %u: ", from, i + 1), false;
    }
    return true;
}

bool
vmf_settings_set (struct vmf_settings *settings, const char *pair, GError **error)
{
    g_autofree char *copy = g_strdup (pair);
    if (take (settings->set, copy, error))
        return true;
    g_prefix_error (error, "--set: ");
    return false;
}

static const char *
get (const struct vmf_settings *settings, const char *key)
{
    const struct vmf_setting *setting = find (key);
    g_assert (setting);
    const char *value = g_hash_table_lookup (settings->set, key);
    value = value ? value : g_hash_table_lookup (settings->file, key);
    return value ? value : setting->fallback;
}

const char *
vmf_settings_get_string (const struct vmf_settings *settings, const char *key)
{
    return get (settings, key);
}

uint64_t
vmf_settings_get_uint64 (const struct vmf_settings *settings, const char *key)
{
    uint64_t value = 0;
    const struct vmf_setting *setting = find (key);
    g_assert (setting && setting->type == VMF_SETTING_UINT64);
    /* Checked when it came in. */
    vmf_text_to_uint64 (get (settings, key), key, setting->min, setting->max, &value, NULL);
    return value;
}

bool
vmf_settings_get_bool (const struct vmf_settings *settings, const char *key)
{
    bool value = false;
    to_bool (get (settings, key), &value);
    return value;
}

GStrv
vmf_settings_get_list (const struct vmf_settings *settings, const char *key)
{
    g_auto (GStrv) words = g_strsplit_set (get (settings, key), " ,\t", -1);
    g_autoptr (GStrvBuilder) list = g_strv_builder_new ();
    for (size_t i = 0; words[i]; i++)
        if (*words[i])
            g_strv_builder_add (list, words[i]);
    return g_strv_builder_end (list);
}

/* DOC as comment lines of at most 100 characters. */
static void
add_comment (GString *text, const char *doc)
{
    g_auto (GStrv) words = g_strsplit (doc, " ", -1);
    size_t column = 0;
    for (size_t i = 0; words[i]; i++)
    {
        size_t length = strlen (words[i]);
        bool fresh = column == 0 || column + 1 + length > 100;
        g_string_append_printf (text, "%s%s %s", fresh && column ? "\n" : "", fresh ? "#" : "", words[i]);
        column = (fresh ? 1 : column) + 1 + length;
    }
    g_string_append_c (text, '\n');
}

char *
vmf_settings_example (void)
{
    GString *text =
        g_string_new ("# The settings of vmferry on this host. A line that is commented out shows the default.\n"
                      "# For one import, '--set KEY=VALUE' overrides what stands here.\n");
    for (size_t i = 0; table[i].key; i++)
    {
        g_string_append_c (text, '\n');
        add_comment (text, table[i].doc);
        g_string_append_printf (text, "#%s =%s%s\n", table[i].key, *table[i].fallback ? " " : "", table[i].fallback);
    }
    return g_string_free (text, FALSE);
}
