/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VMDK's text side: the descriptor, a file of its own or embedded in a sparse one.
 *
 * QEMU silently skips extent lines that it does not know (ZERO, RDONLY), and all behind them moves forward: each line
 * here is understood or the image is refused.
 */
#include "disk/image-parse.h"
#include "disk/image.h"
#include "base/error.h"
#include "base/text.h"

#include <string.h>

enum
{
    EXTENTS_MAX = 4096,
    EXTENT_NAME_MAX = 511, /* QEMU cuts longer ones */
};

struct descriptor
{
    char *create_type, *parent_hint, *parent_cid;
    bool encrypted;
};

static void
descriptor_clear (struct descriptor *descriptor)
{
    g_free (descriptor->create_type);
    g_free (descriptor->parent_hint);
    g_free (descriptor->parent_cid);
}

/* The value of KEY=VALUE or KEY="VALUE" where LINE is one for KEY; otherwise NULL. Caller frees. */
static char *
value_of (const char *line, const char *key)
{
    size_t length = strlen (key);
    if (g_ascii_strncasecmp (line, key, length) != 0)
        return NULL;
    line += length;
    line += strspn (line, " \t");
    if (*line != '=')
        return NULL;
    g_autofree char *value = g_strdup (line + 1);
    g_strstrip (value);
    size_t n = strlen (value);
    if (n >= 2 && value[0] == '"' && value[n - 1] == '"')
        return g_strndup (value + 1, n - 2);
    return g_steal_pointer (&value);
}

static void
take_value (char **into, char *value)
{
    if (!value)
        return;
    g_free (*into);
    *into = value;
}

static bool
is_access (const char *line)
{
    static const char *const words[] = { "RW ", "RDONLY ", "NOACCESS ", "RW\t", "RDONLY\t", "NOACCESS\t" };
    for (size_t i = 0; i < G_N_ELEMENTS (words); i++)
        if (g_ascii_strncasecmp (line, words[i], strlen (words[i])) == 0)
            return true;
    return false;
}

static bool
refuse_line (const char *line, const char *why, GError **error)
{
    g_autofree char *shown = vmf_text_printable (line, 120);
    return vmf_image_refuse (error, VMF_ERROR_CORRUPT, "its descriptor has the extent line '%s': %s", shown, why);
}

static bool
extent_type (const char *type, bool *flat)
{
    static const char *const flats[] = { "FLAT", "VMFS" }, *const sparses[] = { "SPARSE", "VMFSSPARSE", "SESPARSE" };
    for (size_t i = 0; i < G_N_ELEMENTS (flats); i++)
        if (strcmp (type, flats[i]) == 0)
            return *flat = true;
    *flat = false;
    for (size_t i = 0; i < G_N_ELEMENTS (sparses); i++)
        if (strcmp (type, sparses[i]) == 0)
            return true;
    return false;
}

/* RW 4192256 SPARSE "name-s001.vmdk" [offset]: the form that QEMU reads, or nothing. */
static bool
parse_extent (const char *line, struct vmf_image_facts *facts, GError **error)
{
    g_autoptr (GRegex) form = g_regex_new (
        "^RW[ \\t]+([0-9]+)[ \\t]+([A-Z0-9]+)[ \\t]+\"([^\"]+)\"(?:[ \\t]+([0-9]+))?[ \\t]*$", G_REGEX_RAW, 0, NULL);
    g_autoptr (GMatchInfo) match = NULL;
    if (!g_regex_match (form, line, 0, &match))
        return refuse_line (line, "only readable and writable extents of files are known", error);
    g_autofree char *sectors = g_match_info_fetch (match, 1), *type = g_match_info_fetch (match, 2),
                    *name = g_match_info_fetch (match, 3), *offset = g_match_info_fetch (match, 4);
    uint64_t n_sectors, first = 0, total;
    bool flat;
    if (!extent_type (type, &flat))
        return refuse_line (line, "extents of this type lie on a device or are not known", error);
    if (strlen (name) > EXTENT_NAME_MAX || facts->extents->len >= EXTENTS_MAX)
        return refuse_line (line, "the name is too long or there are too many extents", error);
    if (!vmf_text_to_uint64 (sectors, "its number of sectors", 1, VMF_IMAGE_SIZE_MAX_BYTES / 512, &n_sectors, error)
        || (offset && *offset
            && !vmf_text_to_uint64 (offset, "its offset", 0, VMF_IMAGE_SIZE_MAX_BYTES / 512, &first, error)))
    {
        if (error && *error)
            (*error)->code = VMF_ERROR_UNSAFE;
        return g_prefix_error (error, "in the extent '%s' of its descriptor ", name), false;
    }
    total = facts->size_bytes + n_sectors * 512;
    if (total > VMF_IMAGE_SIZE_MAX_BYTES)
        return vmf_image_refuse (error, VMF_ERROR_UNSAFE, "it claims a disk above 64 TiB, the most that is imported");
    struct vmf_image_extent *extent = g_new0 (struct vmf_image_extent, 1);
    *extent = (struct vmf_image_extent){ g_strdup (name), n_sectors * 512, first * 512, flat };
    g_ptr_array_add (facts->extents, extent);
    facts->size_bytes = total;
    return true;
}

static void
take_line (const char *line, struct descriptor *descriptor)
{
    take_value (&descriptor->create_type, value_of (line, "createType"));
    take_value (&descriptor->parent_hint, value_of (line, "parentFileNameHint"));
    take_value (&descriptor->parent_cid, value_of (line, "parentCID"));
    g_autofree char *filters = value_of (line, "ddb.iofilters"), *keys = value_of (line, "encryption.keySafe");
    if (keys || (filters && strstr (filters, "vmwarevmcrypt")))
        descriptor->encrypted = true;
}

/* The kinds that QEMU opens; the others lead to a device. */
static bool
check_create_type (const char *type, bool embedded, GError **error)
{
    static const char *const texts[] = { "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat",
                                         "vmfs",           "vmfsSparse",           "seSparse",
                                         "vmfsThin",       "vmfsPreallocated",     "vmfsEagerZeroedThick" };
    if (embedded)
        return true; /* the header in front says what it is, and nothing else is opened */
    for (size_t i = 0; type && i < G_N_ELEMENTS (texts); i++)
        if (strcmp (type, texts[i]) == 0)
            return true;
    g_autofree char *shown = vmf_text_printable (type ? type : "", 60);
    static const char *const devices[] = { "custom",  "fullDevice",       "partitionedDevice",
                                           "vmfsRaw", "vmfsRawDeviceMap", "vmfsPassthroughRawDeviceMap" };
    for (size_t i = 0; type && i < G_N_ELEMENTS (devices); i++)
        if (strcmp (type, devices[i]) == 0)
            return vmf_image_refuse (error, VMF_ERROR_UNSAFE,
                                     "its kind is '%s', which may stand for a device of its host and is not imported; "
                                     "make a copy of the disk in a file first (vmkfstools -i)",
                                     shown);
    return vmf_image_refuse (error, VMF_ERROR_CORRUPT, "its descriptor says the kind '%s', which is not known", shown);
}

static bool
take_parent (struct descriptor *descriptor, struct vmf_image_facts *facts, GError **error)
{
    bool has_parent = descriptor->parent_cid && g_ascii_strcasecmp (descriptor->parent_cid, "ffffffff") != 0;
    if (!has_parent)
        return true;
    if (!descriptor->parent_hint || descriptor->parent_hint[0] == '\0')
        return vmf_image_refuse (error, VMF_ERROR_CORRUPT,
                                 "it is a snapshot's delta and does not name its parent (parentFileNameHint)");
    facts->backing = g_steal_pointer (&descriptor->parent_hint);
    facts->backing_format = g_strdup ("vmdk");
    return true;
}

static bool
parse_lines (const char *text, bool embedded, struct descriptor *descriptor, struct vmf_image_facts *facts,
             GError **error)
{
    g_auto (GStrv) lines = g_strsplit (text, "\n", -1);
    for (size_t i = 0; lines[i]; i++)
    {
        const char *line = g_strstrip (lines[i]);
        take_line (line, descriptor);
        if (!embedded && is_access (line) && !parse_extent (line, facts, error))
            return false;
    }
    if (descriptor->encrypted)
        return vmf_image_refuse (error, VMF_ERROR_USAGE, "it is encrypted; decrypt the VM in vSphere first");
    if (!check_create_type (descriptor->create_type, embedded, error) || !take_parent (descriptor, facts, error))
        return false;
    if (!embedded && facts->extents->len == 0)
        return vmf_image_refuse (error, VMF_ERROR_CORRUPT, "its descriptor is cut off or names no extent");
    return true;
}

bool
vmf_image_parse_vmdk_text (const char *text, bool embedded, struct vmf_image_facts *facts, GError **error)
{
    struct descriptor descriptor = { 0 };
    bool good = parse_lines (text, embedded, &descriptor, facts, error);
    descriptor_clear (&descriptor);
    return good;
}
