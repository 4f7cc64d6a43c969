/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From a group's text to its volumes' places.
 *
 * A volume is linear when all its segments are "striped" over one PV. Whatever another kind of segment names (pool,
 * origin, mirror leg, cow store) goes by allocation as well, found by looking for volumes' names among the segment's
 * strings instead of knowing each kind.
 */
#include "guest/lvmgroup.h"

#include <string.h>

enum
{
    SECTOR = 512,
    SEGMENTS_MAX = 1000 * 1000,
};

static const uint64_t extent_bytes_max = (uint64_t)16 << 30;

/* The one section at the top is the group, its key the group's name. */
static const struct vmf_lvmtext *
group_of (const struct vmf_lvmtext *text)
{
    const struct vmf_lvmtext *found = NULL;
    for (guint i = 0; i < text->children->len; i++)
    {
        const struct vmf_lvmtext *child = g_ptr_array_index (text->children, i);
        if (child->is_section && found)
            return NULL;
        if (child->is_section)
            found = child;
    }
    return found;
}

static uint64_t
sequence_of (const struct vmf_lvmtext *group)
{
    uint64_t number = 0;
    return vmf_lvmtext_get_number (group, "seqno", UINT64_MAX, &number) ? number : 0;
}

static const char *
id_of (const struct vmf_lvmtext *text)
{
    const struct vmf_lvmtext *group = text ? group_of (text) : NULL;
    return group ? vmf_lvmtext_get_string (group, "id") : NULL;
}

bool
vmf_lvm_pv_add_text (struct vmf_lvm_pv *pv, struct vmf_lvmtext *text)
{
    bool good = id_of (text) && sequence_of (group_of (text)) > 0
                && (!pv->text || g_str_equal (id_of (pv->text), id_of (text)))
                && (!pv->text || sequence_of (group_of (pv->text)) == sequence_of (group_of (text)));
    if (good && !pv->text)
        pv->text = text;
    else
        vmf_lvmtext_free (text);
    return good;
}

struct group
{
    const GPtrArray *pvs; /* all of them */
    const struct vmf_lvmtext *root;
    uint64_t extent_bytes;
    GHashTable *members;        /* "pv0" to struct vmf_lvm_pv* */
    GHashTable *used_by_others; /* names of volumes that another kind of segment names */
    const char *trouble;
};

static void
trouble (struct group *group, const char *why)
{
    if (!group->trouble)
        group->trouble = why;
}

static char *
without_dashes (const char *id)
{
    GString *plain = g_string_new (NULL);
    for (; *id; id++)
        if (*id != '-')
            g_string_append_c (plain, *id);
    return g_string_free (plain, FALSE);
}

static struct vmf_lvm_pv *
find_pv (struct group *group, const char *dashed)
{
    g_autofree char *id = without_dashes (dashed ? dashed : "");
    struct vmf_lvm_pv *found = NULL;
    for (guint i = 0; i < group->pvs->len; i++)
    {
        struct vmf_lvm_pv *pv = g_ptr_array_index (group->pvs, i);
        if (g_strcmp0 (pv->id, id) != 0)
            continue;
        if (found)
            trouble (group, "two physical volumes have the same id");
        found = pv;
    }
    return found;
}

static void
join_pv (struct group *group, const struct vmf_lvmtext *section)
{
    struct vmf_lvm_pv *pv = find_pv (group, vmf_lvmtext_get_string (section, "id"));
    uint64_t start, count, length, end;
    if (!pv)
    {
        trouble (group, "a physical volume of the group is missing");
        return;
    }
    bool good = vmf_lvmtext_get_number (section, "pe_start", UINT64_MAX / SECTOR, &start)
                && vmf_lvmtext_get_number (section, "pe_count", UINT32_MAX, &count)
                && !__builtin_mul_overflow (count, group->extent_bytes, &length)
                && !__builtin_add_overflow (start * SECTOR, length, &end) && end <= pv->view->size_bytes;
    if (!good)
        trouble (group, "a physical volume is smaller than the group's metadata says");
    if (pv->resolved || vmf_lvmtext_has (section, "flags", "MISSING"))
        trouble (group, "a physical volume is claimed by two groups or marked missing");
    if (pv->trouble)
        trouble (group, "a physical volume of the group is damaged");
    if (good && !pv->resolved)
    {
        pv->start = start * SECTOR;
        pv->extent_bytes = group->extent_bytes;
        pv->n_extents = count;
        pv->claimed = vmf_extents_new ();
    }
    pv->resolved = true;
    g_hash_table_insert (group->members, section->key, pv);
}

static void
join_pvs (struct group *group)
{
    const struct vmf_lvmtext *sections = vmf_lvmtext_get (group->root, "physical_volumes");
    uint64_t extent_sectors;
    if (!vmf_lvmtext_get_number (group->root, "extent_size", extent_bytes_max / SECTOR, &extent_sectors)
        || extent_sectors == 0 || !sections || !sections->is_section)
    {
        trouble (group, "the group's metadata is incomplete");
        return;
    }
    group->extent_bytes = extent_sectors * SECTOR;
    for (guint i = 0; i < sections->children->len; i++)
        join_pv (group, g_ptr_array_index (sections->children, i));
}

/* Metadata copies are compared by their sequence numbers; an older one means that its PV was away for a while. */
static void
compare_copies (struct group *group)
{
    for (guint i = 0; i < group->pvs->len; i++)
    {
        const struct vmf_lvm_pv *pv = g_ptr_array_index (group->pvs, i);
        if (!pv->text || g_strcmp0 (id_of (pv->text), vmf_lvmtext_get_string (group->root, "id")) != 0)
            continue;
        if (sequence_of (group_of (pv->text)) != sequence_of (group->root))
            trouble (group, "the copies of the group's metadata differ");
        if (!pv->resolved)
            trouble (group, "a physical volume has the group's metadata but is not in the group");
    }
}

/* One linear segment: PV extents that nothing else has claimed. Its bytes go behind those of VIEW. */
static bool
add_linear (struct group *group, const struct vmf_lvmtext *segment, uint64_t count, struct vmf_view *view)
{
    const struct vmf_lvmtext *stripes = vmf_lvmtext_get (segment, "stripes");
    const struct vmf_lvmtext *name = stripes && stripes->children && !stripes->is_section && stripes->children->len == 2
                                         ? g_ptr_array_index (stripes->children, 0)
                                         : NULL;
    struct vmf_lvm_pv *pv = name && name->string ? g_hash_table_lookup (group->members, name->string) : NULL;
    if (!pv || !pv->claimed)
        return false;
    uint64_t first = ((struct vmf_lvmtext *)g_ptr_array_index (stripes->children, 1))->number;
    if (first >= pv->n_extents || count > pv->n_extents - first)
        return trouble (group, "a volume lies outside its physical volume"), false;
    struct vmf_extent next;
    if (vmf_extents_next (pv->claimed, first, &next) && next.offset < first + count)
        trouble (group, "two volumes claim the same extents");
    vmf_extents_add (pv->claimed, first, count);
    return vmf_view_append (view, pv->view, pv->start + first * pv->extent_bytes, count * pv->extent_bytes);
}

static bool
is_linear (const struct vmf_lvmtext *segment)
{
    uint64_t stripes;
    return g_strcmp0 (vmf_lvmtext_get_string (segment, "type"), "striped") == 0
           && vmf_lvmtext_get_number (segment, "stripe_count", 1, &stripes) && stripes == 1;
}

/* Remembers which volumes a segment of another kind is made of or belongs to. */
static void
note_names (struct group *group, const struct vmf_lvmtext *node)
{
    if (node->string)
        g_hash_table_add (group->used_by_others, node->string);
    for (guint i = 0; node->children && i < node->children->len; i++)
        note_names (group, g_ptr_array_index (node->children, i));
}

static bool
starts_with_segment (const char *key)
{
    return g_str_has_prefix (key, "segment") && g_ascii_isdigit (key[7]);
}

/* Fills VOLUME's view as far as its segments are linear and in order. */
static void
place_volume (struct group *group, const struct vmf_lvmtext *section, struct vmf_lvm_volume *volume)
{
    uint64_t n_segments = 0, seen = 0, at = 0;
    const char *kind = NULL;
    g_autoptr (vmf_view) view = vmf_view_new ();
    vmf_lvmtext_get_number (section, "segment_count", SEGMENTS_MAX, &n_segments);
    for (guint i = 0; i < section->children->len; i++)
    {
        const struct vmf_lvmtext *segment = g_ptr_array_index (section->children, i);
        uint64_t start, count;
        if (!segment->is_section || !starts_with_segment (segment->key))
            continue;
        bool whole = vmf_lvmtext_get_number (segment, "start_extent", UINT32_MAX, &start)
                     && vmf_lvmtext_get_number (segment, "extent_count", UINT32_MAX, &count);
        if (!whole || start != at || count == 0)
        {
            trouble (group, "a volume's segments are not sound");
            return;
        }
        at += count;
        seen++;
        if (is_linear (segment) && !add_linear (group, segment, count, view))
            kind = "of unknown";
        else if (!is_linear (segment))
        {
            kind = vmf_lvmtext_get_string (segment, "type");
            note_names (group, segment);
        }
    }
    if (seen != n_segments || seen == 0)
        trouble (group, "a volume's segments are not sound");
    volume->size_bytes = at > UINT64_MAX / group->extent_bytes ? UINT64_MAX : at * group->extent_bytes;
    if (seen > 0 && !kind && view->size_bytes == volume->size_bytes)
        volume->view = g_steal_pointer (&view);
    else
        volume->why = g_strdup_printf ("a logical volume of type %s", kind ? kind : "unknown");
}

/* Takes a volume's view from it. What is not linear keeps its group's free extents, too: they may be in use in a way
   that this code does not know. */
static void
spoil (struct vmf_lvm_volume *volume, char *why)
{
    g_clear_pointer (&volume->view, vmf_view_free);
    if (volume->why)
        g_free (why);
    else
        volume->why = why;
}

static void
place_volumes (struct group *group, GPtrArray *volumes)
{
    const struct vmf_lvmtext *sections = vmf_lvmtext_get (group->root, "logical_volumes");
    guint first = volumes->len;
    bool all_linear = true;
    for (guint i = 0; sections && sections->is_section && i < sections->children->len; i++)
    {
        const struct vmf_lvmtext *section = g_ptr_array_index (sections->children, i);
        if (!section->is_section)
        {
            trouble (group, "the group's metadata is incomplete");
            return;
        }
        struct vmf_lvm_volume *volume = g_new0 (struct vmf_lvm_volume, 1);
        volume->name = g_strdup_printf ("%s/%s", group->root->key, section->key);
        g_ptr_array_add (volumes, volume);
        if (!group->trouble)
            place_volume (group, section, volume);
        if (!vmf_lvmtext_has (section, "status", "VISIBLE"))
            spoil (volume, g_strdup ("a hidden logical volume"));
        else if (vmf_lvmtext_has (section, "status", "PVMOVE") || vmf_lvmtext_has (section, "status", "LOCKED"))
            spoil (volume, g_strdup ("a logical volume that is being moved"));
    }
    for (guint i = first; i < volumes->len; i++)
    {
        struct vmf_lvm_volume *volume = g_ptr_array_index (volumes, i);
        if (g_hash_table_contains (group->used_by_others, strchr (volume->name, '/') + 1))
            spoil (volume, g_strdup ("part of another logical volume (snapshot, pool, mirror or cache)"));
        if (group->trouble)
            spoil (volume, g_strdup (group->trouble));
        all_linear = all_linear && volume->view;
    }
    GHashTableIter iter;
    gpointer pv;
    g_hash_table_iter_init (&iter, group->members);
    while (g_hash_table_iter_next (&iter, NULL, &pv))
        ((struct vmf_lvm_pv *)pv)->claims_all = !all_linear;
}

/* Every PV that the group has, or that has the group's metadata, is in the same trouble. */
static void
spread_trouble (struct group *group)
{
    for (guint i = 0; group->trouble && i < group->pvs->len; i++)
    {
        struct vmf_lvm_pv *pv = g_ptr_array_index (group->pvs, i);
        bool same = g_strcmp0 (id_of (pv->text), vmf_lvmtext_get_string (group->root, "id")) == 0;
        GHashTableIter iter;
        gpointer member;
        g_hash_table_iter_init (&iter, group->members);
        while (g_hash_table_iter_next (&iter, NULL, &member))
            same = same || member == pv;
        if (same && !pv->trouble)
            pv->trouble = g_strdup (group->trouble);
        pv->resolved = pv->resolved || same;
    }
}

static void
resolve_group (const GPtrArray *pvs, const struct vmf_lvmtext *root, GPtrArray *volumes)
{
    struct group group = { .pvs = pvs, .root = root };
    group.members = g_hash_table_new (g_str_hash, g_str_equal);
    group.used_by_others = g_hash_table_new (g_str_hash, g_str_equal);
    join_pvs (&group);
    compare_copies (&group);
    if (vmf_lvmtext_has (root, "status", "EXPORTED") || vmf_lvmtext_has (root, "status", "PARTIAL"))
        trouble (&group, "the group is exported or partial");
    guint first = volumes->len;
    if (group.extent_bytes > 0)
        place_volumes (&group, volumes);
    for (guint i = first; group.trouble && i < volumes->len; i++)
        spoil (g_ptr_array_index (volumes, i), g_strdup (group.trouble));
    spread_trouble (&group);
    g_hash_table_unref (group.members);
    g_hash_table_unref (group.used_by_others);
}

void
vmf_lvm_resolve (const GPtrArray *pvs, GPtrArray *volumes)
{
    for (guint i = 0; i < pvs->len; i++)
    {
        const struct vmf_lvm_pv *pv = g_ptr_array_index (pvs, i);
        const struct vmf_lvmtext *newest = pv->text ? group_of (pv->text) : NULL;
        if (!newest || pv->resolved)
            continue;
        for (guint j = 0; j < pvs->len; j++)
        {
            const struct vmf_lvm_pv *other = g_ptr_array_index (pvs, j);
            if (g_strcmp0 (id_of (other->text), id_of (pv->text)) == 0
                && sequence_of (group_of (other->text)) > sequence_of (newest))
                newest = group_of (other->text);
        }
        resolve_group (pvs, newest, volumes);
    }
    for (guint i = 0; i < pvs->len; i++)
    {
        struct vmf_lvm_pv *pv = g_ptr_array_index (pvs, i);
        if (!pv->resolved && !pv->trouble)
            pv->trouble = g_strdup ("the physical volume is in no volume group");
    }
}

struct vmf_view *
vmf_lvm_pv_unclaimed (const struct vmf_lvm_pv *pv)
{
    if (pv->trouble || !pv->claimed || pv->claims_all)
        return NULL;
    g_autoptr (vmf_extents) free_extents = vmf_extents_new ();
    g_autoptr (vmf_view) view = vmf_view_new ();
    vmf_extents_add (free_extents, 0, pv->n_extents);
    for (size_t i = 0; i < vmf_extents_count (pv->claimed); i++)
        vmf_extents_remove (free_extents, vmf_extents_nth (pv->claimed, i).offset,
                            vmf_extents_nth (pv->claimed, i).length);
    for (size_t i = 0; i < vmf_extents_count (free_extents); i++)
    {
        struct vmf_extent extent = vmf_extents_nth (free_extents, i);
        vmf_view_append (view, pv->view, pv->start + extent.offset * pv->extent_bytes,
                         extent.length * pv->extent_bytes);
    }
    return g_steal_pointer (&view);
}
