/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The inventory as it was told: facts by reference, and rows that are compared with the last ones. */
#include "source/vsphere/mirror.h"
#include "source/vsphere/updates.h"

struct machine
{
    struct vmf_row_facts facts;
    struct vmf_vsphere_row *row; /* as it was told last; NULL: it was not, or is not wanted */
    bool is_there;               /* false: it is gone, but that was not told yet */
    bool is_dirty;
};

struct vmf_mirror
{
    struct vmf_vsphere_filter filter; /* its texts are ours */
    GHashTable *tagged;               /* NULL: any */
    struct vmf_tree *tree;
    GHashTable *machines; /* moref → struct machine */
    bool all_dirty;       /* folders or hosts have changed, which may be in any row */
};

struct change
{
    struct vmf_vsphere_row *before, *after;
};

static char **
filter_texts (struct vmf_vsphere_filter *filter, size_t i)
{
    const char **texts[] = { &filter->datacenter, &filter->cluster, &filter->host, &filter->folder,
                             &filter->name,       &filter->os,      &filter->tag };
    return i < G_N_ELEMENTS (texts) ? (char **)texts[i] : NULL;
}

static void
free_machine (void *data)
{
    struct machine *machine = data;
    vmf_row_facts_clear (&machine->facts);
    vmf_row_free (machine->row);
    g_free (machine);
}

struct vmf_mirror *
vmf_mirror_new (const struct vmf_vsphere_filter *filter)
{
    struct vmf_mirror *mirror = g_new0 (struct vmf_mirror, 1);
    if (filter)
        mirror->filter = *filter;
    for (size_t i = 0; filter_texts (&mirror->filter, i); i++)
        *filter_texts (&mirror->filter, i) = g_strdup (*filter_texts (&mirror->filter, i));
    mirror->tree = vmf_tree_new ();
    mirror->machines = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, free_machine);
    return mirror;
}

void
vmf_mirror_free (struct vmf_mirror *mirror)
{
    if (!mirror)
        return;
    for (size_t i = 0; filter_texts (&mirror->filter, i); i++)
        g_free (*filter_texts (&mirror->filter, i));
    g_clear_pointer (&mirror->tagged, g_hash_table_unref);
    vmf_tree_free (mirror->tree);
    g_hash_table_unref (mirror->machines);
    g_free (mirror);
}

void
vmf_mirror_restart (struct vmf_mirror *mirror)
{
    GHashTableIter all;
    void *value;
    vmf_tree_free (mirror->tree);
    mirror->tree = vmf_tree_new ();
    mirror->all_dirty = true;
    g_hash_table_iter_init (&all, mirror->machines);
    while (g_hash_table_iter_next (&all, NULL, &value))
    {
        struct machine *machine = value;
        vmf_row_facts_clear (&machine->facts);
        machine->is_there = false;
    }
}

static void
apply_machine (struct vmf_mirror *mirror, const xmlNode *object)
{
    g_autofree char *moref = vmf_xml_find_text (object, "obj");
    struct machine *machine = moref ? g_hash_table_lookup (mirror->machines, moref) : NULL;
    bool leaves = vmf_update_is_leave (object);
    if (!moref || (leaves && !machine))
        return;
    if (!machine)
    {
        machine = g_new0 (struct machine, 1);
        g_hash_table_insert (mirror->machines, g_steal_pointer (&moref), machine);
    }
    machine->is_there = !leaves;
    machine->is_dirty = true;
    if (leaves)
        vmf_row_facts_clear (&machine->facts);
    else
        vmf_row_facts_apply (&machine->facts, object);
}

void
vmf_mirror_apply (struct vmf_mirror *mirror, const xmlNode *object)
{
    if (!vmf_tree_has_type (object))
    {
        apply_machine (mirror, object);
        return;
    }
    vmf_tree_apply (mirror->tree, object);
    mirror->all_dirty = true;
}

const char *
vmf_mirror_get_tag (const struct vmf_mirror *mirror)
{
    return mirror->filter.tag && *mirror->filter.tag ? mirror->filter.tag : NULL;
}

void
vmf_mirror_take_tagged (struct vmf_mirror *mirror, GHashTable *tagged)
{
    g_clear_pointer (&mirror->tagged, g_hash_table_unref);
    mirror->tagged = tagged;
    mirror->all_dirty = true;
}

/* NULL: it is not there, or not wanted. Caller frees. */
static struct vmf_vsphere_row *
make_row (struct vmf_mirror *mirror, const char *moref, const struct machine *machine)
{
    if (!machine->is_there)
        return NULL;
    struct vmf_vsphere_row *row = vmf_row_new (moref, &machine->facts, mirror->tree);
    if (!vmf_row_is_wanted (row, &machine->facts, mirror->tree, &mirror->filter, mirror->tagged))
        g_clear_pointer (&row, vmf_row_free);
    return row;
}

/* What has become of one machine; adds to CHANGES, which owns what was before. */
static void
settle_machine (struct vmf_mirror *mirror, const char *moref, struct machine *machine, GArray *changes)
{
    struct vmf_vsphere_row *now = make_row (mirror, moref, machine);
    machine->is_dirty = false;
    if ((!now && !machine->row) || (now && machine->row && vmf_row_equal (now, machine->row)))
    {
        vmf_row_free (now);
        return;
    }
    struct change change = { .before = machine->row, .after = now };
    machine->row = now;
    g_array_append_val (changes, change);
}

static int
compare_changes (gconstpointer left, gconstpointer right)
{
    const struct change *a = left, *b = right;
    const struct vmf_vsphere_row *x = a->after ? a->after : a->before, *y = b->after ? b->after : b->before;
    return !a->after != !b->after ? !b->after - !a->after : vmf_row_compare (&x, &y);
}

unsigned
vmf_mirror_settle (struct vmf_mirror *mirror, vmf_vsphere_on_change on_change, void *data)
{
    g_autoptr (GArray) changes = g_array_new (FALSE, FALSE, sizeof (struct change));
    GHashTableIter all;
    void *moref, *value;
    g_hash_table_iter_init (&all, mirror->machines);
    while (g_hash_table_iter_next (&all, &moref, &value))
    {
        struct machine *machine = value;
        if (mirror->all_dirty || machine->is_dirty)
            settle_machine (mirror, moref, machine, changes);
        if (!machine->is_there)
            g_hash_table_iter_remove (&all);
    }
    mirror->all_dirty = false;
    g_array_sort (changes, compare_changes);
    for (unsigned i = 0; i < changes->len; i++)
    {
        struct change *change = &g_array_index (changes, struct change, i);
        if (on_change)
            on_change (change->before, change->after, data);
        vmf_row_free (change->before);
    }
    return changes->len;
}

GPtrArray *
vmf_mirror_get_rows (const struct vmf_mirror *mirror)
{
    GPtrArray *rows = g_ptr_array_new ();
    GHashTableIter all;
    void *value;
    g_hash_table_iter_init (&all, mirror->machines);
    while (g_hash_table_iter_next (&all, NULL, &value))
        if (((struct machine *)value)->row)
            g_ptr_array_add (rows, ((struct machine *)value)->row);
    g_ptr_array_sort (rows, vmf_row_compare);
    return rows;
}
