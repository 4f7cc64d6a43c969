/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Labels, metadata areas, groups. Format: lvm2's lib/format_text/layout.h and lvm2's own text.
 *
 * First every PV's label and newest metadata text are read, then each group is resolved once, from its newest text.
 */
#include "guest/lvm.h"
#include "guest/lvmgroup.h"

enum
{
    SECTOR = 512,
    LABEL_SECTORS = 4,
    MDA_HEADER = 512,
    AREAS_MAX = 4,
    TEXT_MAX = 8 * 1024 * 1024, /* the usual metadata area has 1 MiB */
};

static const uint32_t lvm_crc_start = 0xf597a6cf;

struct area
{
    uint64_t offset, size;
};

/* The area lists of a PV header: data areas, then metadata areas, each ended by an offset of 0. */
static bool
parse_areas (const uint8_t *at, const uint8_t *end, struct area *mdas, unsigned *n_mdas)
{
    unsigned lists = 0, n_data = 0;
    for (*n_mdas = 0; lists < 2; at += 16)
    {
        if (at + 16 > end)
            return false;
        struct area area = { vmf_le64 (at), vmf_le64 (at + 8) };
        if (area.offset == 0)
            lists++;
        else if (lists == 0)
            n_data++;
        else if (*n_mdas < AREAS_MAX)
            mdas[(*n_mdas)++] = area;
        else
            return false;
    }
    return n_data == 1;
}

static bool
parse_label (struct vmf_lvm_pv *pv, const uint8_t *sectors, struct area *mdas, unsigned *n_mdas)
{
    for (unsigned i = 0; i < LABEL_SECTORS; i++)
    {
        const uint8_t *label = sectors + i * SECTOR;
        uint32_t header = vmf_le32 (label + 20);
        if (memcmp (label, "LABELONE", 8) != 0 || memcmp (label + 24, "LVM2 001", 8) != 0)
            continue;
        if (vmf_le64 (label + 8) != i || vmf_crc32 (lvm_crc_start, label + 20, SECTOR - 20) != vmf_le32 (label + 16)
            || header < 32 || header > SECTOR - 40)
            return false;
        pv->id = g_strndup ((const char *)label + header, 32);
        return parse_areas (label + header + 40, label + SECTOR, mdas, n_mdas);
    }
    return false;
}

/* The text that an area's header points to, round the end of its ring; NULL without error where it does not hold. */
static char *
read_text (const struct vmf_view *view, struct vmf_reader *reader, struct area area, bool *empty, GError **error)
{
    static const uint8_t magic[16] = { ' ', 'L', 'V', 'M', '2', ' ', 'x', '[', '5', 'A', '%', 'r', '0', 'N', '*', '>' };
    uint8_t header[MDA_HEADER];
    *empty = false;
    if (area.size <= MDA_HEADER || area.offset > view->size_bytes || area.size > view->size_bytes - area.offset
        || !vmf_view_read (view, reader, area.offset, header, sizeof header, error))
        return NULL;
    const uint8_t *location = header + 40;
    uint64_t offset = vmf_le64 (location), length = vmf_le64 (location + 8);
    if (vmf_crc32 (lvm_crc_start, header + 4, MDA_HEADER - 4) != vmf_le32 (header)
        || memcmp (header + 4, magic, 16) != 0 || vmf_le32 (header + 20) != 1 || vmf_le64 (header + 24) != area.offset
        || vmf_le64 (header + 32) != area.size)
        return NULL;
    if (offset == 0 || (vmf_le32 (location + 20) & 1) != 0) /* bit 0: this area is to be ignored */
        return *empty = true, NULL;
    if (offset < MDA_HEADER || offset >= area.size || length == 0 || length > area.size - MDA_HEADER
        || length > TEXT_MAX)
        return NULL;
    g_autofree char *text = g_malloc0 (length + 1);
    uint64_t first = MIN (length, area.size - offset);
    if (!vmf_view_read (view, reader, area.offset + offset, text, (size_t)first, error)
        || (length > first
            && !vmf_view_read (view, reader, area.offset + MDA_HEADER, text + first, (size_t)(length - first), error)))
        return NULL;
    if (vmf_crc32 (lvm_crc_start, text, length) != vmf_le32 (location + 16))
        return NULL;
    return g_steal_pointer (&text);
}

/* Fills PV from its label and areas; what does not hold goes into pv->trouble. */
static bool
read_pv (struct vmf_lvm_pv *pv, struct vmf_reader *reader, GError **error)
{
    uint8_t sectors[LABEL_SECTORS * SECTOR];
    struct area mdas[AREAS_MAX];
    unsigned n_mdas = 0;
    if (!vmf_view_read (pv->view, reader, 0, sectors, sizeof sectors, error))
        return false;
    if (!parse_label (pv, sectors, mdas, &n_mdas))
        return pv->trouble = g_strdup ("the physical volume's label is damaged"), true;
    for (unsigned i = 0; i < n_mdas; i++)
    {
        bool empty = false;
        GError *failed = NULL;
        g_autofree char *text = read_text (pv->view, reader, mdas[i], &empty, &failed);
        if (failed)
            return g_propagate_error (error, failed), false;
        g_autoptr (vmf_lvmtext) tree = text ? vmf_lvmtext_parse (text) : NULL;
        if (!empty && !vmf_lvm_pv_add_text (pv, g_steal_pointer (&tree)) && !pv->trouble)
            pv->trouble = g_strdup ("the physical volume's metadata is damaged");
    }
    return true;
}

static void
pv_free (gpointer data)
{
    struct vmf_lvm_pv *pv = data;
    vmf_lvmtext_free (pv->text);
    vmf_extents_free (pv->claimed);
    g_free (pv->id);
    g_free (pv->trouble);
    g_free (pv);
}

static void
volume_free (gpointer data)
{
    struct vmf_lvm_volume *volume = data;
    vmf_view_free (volume->view);
    g_free (volume->name);
    g_free (volume->why);
    g_free (volume);
}

static void
view_free (gpointer view)
{
    vmf_view_free (view);
}

struct vmf_lvm *
vmf_lvm_read (struct vmf_reader *reader, const GPtrArray *views, GError **error)
{
    g_autoptr (vmf_lvm) lvm = g_new0 (struct vmf_lvm, 1);
    g_autoptr (GPtrArray) pvs = g_ptr_array_new_with_free_func (pv_free);
    lvm->volumes = g_ptr_array_new_with_free_func (volume_free);
    lvm->trouble = g_ptr_array_new_with_free_func (g_free);
    lvm->unclaimed = g_ptr_array_new_with_free_func (view_free);
    for (guint i = 0; i < views->len; i++)
    {
        struct vmf_lvm_pv *pv = g_new0 (struct vmf_lvm_pv, 1);
        pv->view = g_ptr_array_index (views, i);
        g_ptr_array_add (pvs, pv);
        if (!read_pv (pv, reader, error))
            return NULL;
    }
    vmf_lvm_resolve (pvs, lvm->volumes);
    for (guint i = 0; i < pvs->len; i++)
    {
        struct vmf_lvm_pv *pv = g_ptr_array_index (pvs, i);
        g_ptr_array_add (lvm->trouble, g_strdup (pv->trouble));
        g_ptr_array_add (lvm->unclaimed, vmf_lvm_pv_unclaimed (pv));
    }
    return g_steal_pointer (&lvm);
}

void
vmf_lvm_free (struct vmf_lvm *lvm)
{
    if (!lvm)
        return;
    g_clear_pointer (&lvm->volumes, g_ptr_array_unref);
    g_clear_pointer (&lvm->trouble, g_ptr_array_unref);
    g_clear_pointer (&lvm->unclaimed, g_ptr_array_unref);
    g_free (lvm);
}
