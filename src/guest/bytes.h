/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading a guest's disks in small pieces: numbers out of on-disk structures, and volumes that lie in several places.
 *
 * A view is a volume's bytes as its user sees them: parts of disks, one behind the other. What lies outside a view or
 * a disk reads as zeroes, so a table that points beyond the end finds nothing there; only a source that cannot be read
 * is an error. Reads are made as asked, one round trip each: callers ask for few and large ones.
 */
#pragma once
#include <gio/gio.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef bool (*vmf_reader_fn) (void *data, unsigned disk, uint64_t offset, void *buffer, size_t length, GError **error);

struct vmf_reader
{
    const uint64_t *sizes; /* bytes, one for each disk */
    unsigned n_disks;
    vmf_reader_fn read; /* within the disk, multiples of 512 but for the disk's end */
    void *data;
    uint64_t bytes_read;
};

struct vmf_segment
{
    unsigned disk;
    uint64_t offset, length; /* bytes on that disk */
};

typedef struct vmf_view vmf_view;
struct vmf_view
{
    GArray *segments; /* struct vmf_segment */
    uint64_t size_bytes;
};

struct vmf_view *vmf_view_new (void);
struct vmf_view *vmf_view_new_part (unsigned disk, uint64_t offset, uint64_t length);
void vmf_view_free (struct vmf_view *view);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_view, vmf_view_free)

/* Appends LENGTH bytes of what INNER shows at OFFSET; false where it does not have that many. */
bool vmf_view_append (struct vmf_view *view, const struct vmf_view *inner, uint64_t offset, uint64_t length);

bool vmf_view_read (const struct vmf_view *view, struct vmf_reader *reader, uint64_t offset, void *buffer,
                    size_t length, GError **error);

/* Calls FN for each piece of disk that [OFFSET, OFFSET + LENGTH) of the view lies in. */
typedef void (*vmf_view_fn) (unsigned disk, uint64_t offset, uint64_t length, void *data);
void vmf_view_each (const struct vmf_view *view, uint64_t offset, uint64_t length, vmf_view_fn fn, void *data);

/* The usual CRC-32 (polynomial 0xEDB88320), without the inversions at start and end. */
uint32_t vmf_crc32 (uint32_t start, const void *bytes, size_t length);

static inline uint16_t
vmf_le16 (const uint8_t *at)
{
    return (uint16_t)(at[0] | at[1] << 8);
}

static inline uint32_t
vmf_le32 (const uint8_t *at)
{
    return (uint32_t)vmf_le16 (at) | (uint32_t)vmf_le16 (at + 2) << 16;
}

static inline uint64_t
vmf_le64 (const uint8_t *at)
{
    return (uint64_t)vmf_le32 (at) | (uint64_t)vmf_le32 (at + 4) << 32;
}

static inline uint16_t
vmf_be16 (const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static inline uint32_t
vmf_be32 (const uint8_t *at)
{
    return (uint32_t)vmf_be16 (at) << 16 | vmf_be16 (at + 2);
}

static inline uint64_t
vmf_be64 (const uint8_t *at)
{
    return (uint64_t)vmf_be32 (at) << 32 | vmf_be32 (at + 4);
}
