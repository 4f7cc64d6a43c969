/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Views over parts of disks, and the CRC that GPT and LVM share. */
#include "guest/bytes.h"

enum
{
    SECTOR = 512,
};

struct vmf_view *
vmf_view_new (void)
{
    struct vmf_view *view = g_new0 (struct vmf_view, 1);
    view->segments = g_array_new (FALSE, FALSE, sizeof (struct vmf_segment));
    return view;
}

struct vmf_view *
vmf_view_new_part (unsigned disk, uint64_t offset, uint64_t length)
{
    struct vmf_view *view = vmf_view_new ();
    struct vmf_segment segment = { disk, offset, length };
    g_array_append_val (view->segments, segment);
    view->size_bytes = length;
    return view;
}

void
vmf_view_free (struct vmf_view *view)
{
    if (!view)
        return;
    g_array_unref (view->segments);
    g_free (view);
}

void
vmf_view_each (const struct vmf_view *view, uint64_t offset, uint64_t length, vmf_view_fn fn, void *data)
{
    for (guint i = 0; i < view->segments->len && length > 0; i++)
    {
        const struct vmf_segment *segment = &g_array_index (view->segments, struct vmf_segment, i);
        if (offset < segment->length)
        {
            uint64_t count = MIN (length, segment->length - offset);
            fn (segment->disk, segment->offset + offset, count, data);
            offset += count;
            length -= count;
        }
        offset -= segment->length;
    }
}

static void
append_piece (unsigned disk, uint64_t offset, uint64_t length, void *data)
{
    struct vmf_view *view = data;
    struct vmf_segment segment = { disk, offset, length };
    struct vmf_segment *last =
        view->segments->len > 0 ? &g_array_index (view->segments, struct vmf_segment, view->segments->len - 1) : NULL;
    if (last && last->disk == disk && last->offset + last->length == offset)
        last->length += length;
    else
        g_array_append_val (view->segments, segment);
    view->size_bytes += length;
}

bool
vmf_view_append (struct vmf_view *view, const struct vmf_view *inner, uint64_t offset, uint64_t length)
{
    uint64_t end;
    if (__builtin_add_overflow (offset, length, &end) || end > inner->size_bytes
        || length > UINT64_MAX - view->size_bytes)
        return false;
    vmf_view_each (inner, offset, length, append_piece, view);
    return true;
}

/* One piece of a read: grown to whole sectors, since a server may insist on them. */
static bool
read_piece (struct vmf_reader *reader, unsigned disk, uint64_t offset, uint8_t *buffer, size_t length, GError **error)
{
    uint64_t size = disk < reader->n_disks ? reader->sizes[disk] : 0;
    if (offset >= size)
        return true;
    length = (size_t)MIN (length, size - offset);
    uint64_t start = offset & ~(uint64_t)(SECTOR - 1);
    uint64_t end = MIN ((offset + length + SECTOR - 1) & ~(uint64_t)(SECTOR - 1), size);
    g_autofree uint8_t *whole = g_malloc (end - start);
    if (!reader->read (reader->data, disk, start, whole, (size_t)(end - start), error))
        return false;
    reader->bytes_read += end - start;
    memcpy (buffer, whole + (offset - start), length);
    return true;
}

bool
vmf_view_read (const struct vmf_view *view, struct vmf_reader *reader, uint64_t offset, void *buffer, size_t length,
               GError **error)
{
    uint8_t *at = buffer;
    memset (buffer, 0, length);
    for (guint i = 0; i < view->segments->len && length > 0; i++)
    {
        const struct vmf_segment *segment = &g_array_index (view->segments, struct vmf_segment, i);
        if (offset < segment->length)
        {
            size_t count = (size_t)MIN (length, segment->length - offset);
            if (!read_piece (reader, segment->disk, segment->offset + offset, at, count, error))
                return false;
            at += count;
            offset += count;
            length -= count;
        }
        offset -= segment->length;
    }
    return true;
}

uint32_t
vmf_crc32 (uint32_t start, const void *bytes, size_t length)
{
    const uint8_t *at = bytes;
    uint32_t crc = start;
    for (size_t i = 0; i < length; i++)
    {
        crc ^= at[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    }
    return crc;
}
