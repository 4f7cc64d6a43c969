/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading what a conversion left: virt-v2v's messages and its debug log.
 *
 * virt-v2v writes no metadata in place: what the guest is stands in the log's "i_…" lines, what it can drive in the
 * "gcaps_…" lines. A program of the guest may print such lines too. virt-v2v prints the first kind before any of them
 * runs and the second when all have ended: so the first "i_" counts and the last "gcaps_". Devices and architectures
 * are taken from closed lists; names are text for people, made printable.
 */
#include "guest/convert-parts.h"
#include "base/error.h"
#include "base/text.h"

#include <jansson.h>
#include <string.h>

enum
{
    MESSAGES_MAX = 200,
    TEXT_MAX = 600,
};

void
vmf_v2v_read_messages (const char *path, vmf_v2v_message_fn call, void *data)
{
    g_autofree char *text = NULL;
    if (!g_file_get_contents (path, &text, NULL, NULL))
        return;
    g_auto (GStrv) lines = g_strsplit (text, "\n", -1);
    for (size_t i = 0; lines[i] && lines[i + 1]; i++)
    {
        json_t *object = json_loads (lines[i], 0, NULL);
        const char *type = json_string_value (json_object_get (object, "type"));
        const char *message = json_string_value (json_object_get (object, "message"));
        if (type && message)
            call (type, message, data);
        json_decref (object);
    }
}

/* One line that a terminal can be shown. */
static char *
one_line (const char *text)
{
    g_autofree char *flat = g_strdup (text);
    g_strdelimit (flat, "\n\t", ' ');
    return vmf_text_printable (flat, TEXT_MAX);
}

static void
collect_message (const char *type, const char *text, void *data)
{
    GPtrArray *messages = data;
    bool warning = g_str_equal (type, "warning");
    if ((!warning && !g_str_equal (type, "info")) || messages->len >= MESSAGES_MAX)
        return;
    g_autofree char *line = one_line (text);
    g_ptr_array_add (messages, g_strconcat (warning ? "warning: " : "", line, NULL));
}

/* "gcaps_block_bus = virtio-blk" becomes VALUES["gcaps_block_bus"]. */
static void
collect_value (GHashTable *values, const char *line)
{
    if (!g_str_has_prefix (line, "gcaps_") && !g_str_has_prefix (line, "i_"))
        return;
    const char *equals = strstr (line, " = ");
    if (!equals || equals - line > 40)
        return;
    g_autofree char *name = g_strndup (line, (gsize)(equals - line));
    if (*name == 'i' && g_hash_table_contains (values, name))
        return;
    g_autofree char *value = one_line (equals + 3);
    g_hash_table_replace (values, g_steal_pointer (&name), g_strdup (g_strstrip (value)));
}

static const char *
get (GHashTable *values, const char *name)
{
    const char *value = g_hash_table_lookup (values, name);
    return value && *value && !g_str_equal (value, "unknown") ? value : NULL;
}

static bool
is (GHashTable *values, const char *name, const char *wanted)
{
    return g_strcmp0 (get (values, name), wanted) == 0;
}

static enum vmf_bus
block_bus (GHashTable *values)
{
    static const struct
    {
        const char *name;
        enum vmf_bus bus;
    } buses[] = { { "virtio-blk", VMF_BUS_VIRTIO_BLK },
                  { "virtio-scsi", VMF_BUS_VIRTIO_SCSI },
                  { "ide", VMF_BUS_IDE },
                  { "sata", VMF_BUS_SATA } };
    for (size_t i = 0; i < G_N_ELEMENTS (buses); i++)
        if (is (values, "gcaps_block_bus", buses[i].name))
            return buses[i].bus;
    return VMF_BUS_UNKNOWN;
}

/* Architectures that a domain may be given; anything else is left to the source's description. */
static char *
known_arch (const char *arch)
{
    static const char *const known[] = { "x86_64",  "i686",  "i386",    "aarch64", "ppc64",
                                         "ppc64le", "s390x", "riscv64", NULL };
    if (!arch || !g_strv_contains (known, arch))
        return NULL;
    return g_strdup (g_str_equal (arch, "i386") ? "i686" : arch);
}

static void
fill_caps (struct vmf_convert_result *result, GHashTable *values)
{
    struct vmf_guest_caps *caps = &result->caps;
    caps->disk_bus = block_bus (values);
    caps->virtio_net = is (values, "gcaps_net_bus", "virtio-net");
    if (is (values, "gcaps_net_bus", "rtl8139"))
        caps->nic_model = g_strdup ("rtl8139");
    else if (!caps->virtio_net)
        caps->nic_model = g_strdup ("e1000");
    caps->virtio_rng = is (values, "gcaps_virtio_rng", "true");
    caps->virtio_balloon = is (values, "gcaps_virtio_balloon", "true");
    caps->pvpanic = is (values, "gcaps_isa_pvpanic", "true");
    caps->virtio_1_0 = is (values, "gcaps_virtio_1_0", "true");
    caps->machine = is (values, "gcaps_machine", "q35")      ? VMF_MACHINE_Q35
                    : is (values, "gcaps_machine", "i440fx") ? VMF_MACHINE_I440FX
                    : is (values, "gcaps_machine", "virt")   ? VMF_MACHINE_VIRT
                                                             : VMF_MACHINE_UNKNOWN;
    caps->arch = known_arch (get (values, "gcaps_arch"));
    /* virt-v2v 2.2 does not say; Linux keeps its hardware clock in UTC unless told, Windows never. */
    const char *utc = get (values, "gcaps_rtc_utc");
    caps->rtc_utc = utc ? g_str_equal (utc, "true") : g_strcmp0 (result->os_type, "windows") != 0;
    bool disk = caps->disk_bus == VMF_BUS_VIRTIO_BLK || caps->disk_bus == VMF_BUS_VIRTIO_SCSI;
    result->virtio_missing = !disk || !caps->virtio_net;
}

/* libguestfs takes Debian's product name from /etc/debian_version, a bare "12.15". */
static char *
os_name (const char *product, const char *distro)
{
    if (product && !g_ascii_isdigit (*product))
        return g_strdup (product);
    const char *name = g_strcmp0 (distro, "debian") == 0 ? "Debian GNU/Linux" : distro;
    return name && product ? g_strdup_printf ("%s %s", name, product) : g_strdup (name);
}

static void
fill_os (struct vmf_convert_result *result, GHashTable *values)
{
    const char *short_id = get (values, "i_osinfo");
    result->os_type = g_strdup (get (values, "i_type"));
    result->os_distro = g_strdup (get (values, "i_distro"));
    result->os_name = os_name (get (values, "i_product_name"), result->os_distro);
    result->caps.osinfo_id = short_id ? vmf_osinfo_id (short_id) : NULL;
}

/* Calls for each line of the log; it may be long, so it is never in memory as a whole. */
static bool
each_line (const char *path, GHashTable *values, struct vmf_changes *changes, GError **error)
{
    g_autoptr (GFile) file = g_file_new_for_path (path);
    g_autoptr (GFileInputStream) raw = g_file_read (file, NULL, error);
    if (!raw)
        return g_prefix_error (error, "cannot read virt-v2v's log: "), false;
    g_autoptr (GDataInputStream) lines = g_data_input_stream_new (G_INPUT_STREAM (raw));
    GError *problem = NULL;
    char *line;
    while ((line = g_data_input_stream_read_line (lines, NULL, NULL, &problem)))
    {
        collect_value (values, line);
        vmf_changes_line (changes, line);
        g_free (line);
    }
    if (problem)
        g_propagate_prefixed_error (error, problem, "cannot read virt-v2v's log %s: ", path);
    return !problem;
}

struct vmf_convert_result *
vmf_v2v_read_log (const char *log_path, const char *messages_path, GError **error)
{
    g_autoptr (GHashTable) values = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
    g_autoptr (vmf_changes) changes = vmf_changes_new ();
    if (!each_line (log_path, values, changes, error))
        return NULL;
    if (!get (values, "gcaps_block_bus") || !get (values, "gcaps_net_bus"))
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT,
                     "virt-v2v ended well but did not say which devices the guest has drivers for (no gcaps lines in "
                     "%s); this version of virt-v2v is not supported: please report it with that log",
                     log_path);
        return NULL;
    }
    struct vmf_convert_result *result = g_new0 (struct vmf_convert_result, 1);
    result->messages = g_ptr_array_new_with_free_func (g_free);
    vmf_v2v_read_messages (messages_path, collect_message, result->messages);
    fill_os (result, values);
    fill_caps (result, values);
    result->changes = vmf_changes_get_sentences (changes);
    return result;
}

void
vmf_convert_result_free (struct vmf_convert_result *result)
{
    if (!result)
        return;
    g_free ((char *)result->caps.nic_model);
    g_free ((char *)result->caps.arch);
    g_free ((char *)result->caps.osinfo_id);
    g_free (result->os_name);
    g_free (result->os_type);
    g_free (result->os_distro);
    g_ptr_array_unref (result->messages);
    g_ptr_array_unref (result->changes);
    g_free (result);
}
