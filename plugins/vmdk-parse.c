/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmdk-parse.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum
{
    FLAG_ZERO_GRAINS = 1 << 2,
    FLAG_COMPRESSED = 1 << 16,
    FLAG_MARKERS = 1 << 17,
    COMPRESSION_DEFLATE = 1,
    ENTRY_NONE = 0,
    ENTRY_ZEROES = 1,
    DESCRIPTOR_SECTORS_MAX = 2048,
    TABLES_MAX = 4 << 20, /* a directory of 16 MiB; 64 TiB in grains of 64 KiB need half of it */
};

#define CAPACITY_MAX_BYTES ((uint64_t)64 << 40)

bool
vmdk_fail (struct vmdk_error *error, const char *format, ...)
{
    va_list args;
    va_start (args, format);
    vsnprintf (error->text, sizeof error->text, format, args);
    va_end (args);
    return false;
}

uint32_t
vmdk_le32 (const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

uint64_t
vmdk_le64 (const uint8_t *p)
{
    return vmdk_le32 (p) | (uint64_t)vmdk_le32 (p + 4) << 32;
}

static bool
check_kind (const uint8_t *sector, const char *what, struct vmdk_error *error)
{
    uint32_t version = vmdk_le32 (sector + 4), flags = vmdk_le32 (sector + 8);
    unsigned compression = (unsigned)sector[77] | (unsigned)sector[78] << 8;
    if (memcmp (sector, "KDMV", 4) != 0)
        return vmdk_fail (error, "the %s is not that of a sparse VMDK", what);
    if (version < 1 || version > 3)
        return vmdk_fail (error, "the %s is of version %" PRIu32 "; known are 1 to 3", what, version);
    if (!(flags & FLAG_COMPRESSED) || !(flags & FLAG_MARKERS))
        return vmdk_fail (error, "the %s is that of a sparse VMDK, but not of a stream-optimized one", what);
    if (compression != COMPRESSION_DEFLATE)
        return vmdk_fail (error, "the %s names compression %u; known is 1 (deflate)", what, compression);
    return true;
}

static bool
check_sizes (const char *what, uint64_t capacity, uint64_t grain, uint32_t entries, struct vmdk_error *error)
{
    if (capacity == 0 || capacity > CAPACITY_MAX_BYTES / VMDK_SECTOR)
        return vmdk_fail (error, "the %s claims a disk of %" PRIu64 " sectors; up to 64 TiB can be read", what,
                          capacity);
    if (grain < VMDK_GRAIN_SECTORS_MIN || grain > VMDK_GRAIN_SECTORS_MAX || (grain & (grain - 1)) != 0)
        return vmdk_fail (error, "the %s claims grains of %" PRIu64 " sectors; 8 to 2048, a power of two, can be read",
                          what, grain);
    if (entries == 0 || entries > VMDK_TABLE_ENTRIES_MAX)
        return vmdk_fail (error, "the %s claims grain tables of %" PRIu32 " entries; up to 512 can be read", what,
                          entries);
    if ((capacity + grain * entries - 1) / (grain * entries) > TABLES_MAX)
        return vmdk_fail (error, "the %s claims more than %d grain tables", what, TABLES_MAX);
    return true;
}

bool
vmdk_parse_header (const uint8_t *sector, const char *what, struct vmdk_header *header, struct vmdk_error *error)
{
    uint64_t capacity = vmdk_le64 (sector + 12), grain = vmdk_le64 (sector + 20);
    uint64_t descriptor_sectors = vmdk_le64 (sector + 36);
    uint32_t entries = vmdk_le32 (sector + 44);
    if (!check_kind (sector, what, error) || !check_sizes (what, capacity, grain, entries, error))
        return false;
    if (descriptor_sectors > DESCRIPTOR_SECTORS_MAX)
        return vmdk_fail (error, "the %s claims a descriptor of %" PRIu64 " sectors; 1 MiB is the most", what,
                          descriptor_sectors);
    *header = (struct vmdk_header){
        .capacity_bytes = capacity * VMDK_SECTOR,
        .grain_bytes = (uint32_t)grain * VMDK_SECTOR,
        .table_entries = entries,
        .directory_sector = vmdk_le64 (sector + 56),
        .data_sector = vmdk_le64 (sector + 64),
        .zero_grains = vmdk_le32 (sector + 8) & FLAG_ZERO_GRAINS,
    };
    return true;
}

uint64_t
vmdk_count_grains (const struct vmdk_header *header)
{
    return (header->capacity_bytes + header->grain_bytes - 1) / header->grain_bytes;
}

uint64_t
vmdk_count_tables (const struct vmdk_header *header)
{
    return (vmdk_count_grains (header) + header->table_entries - 1) / header->table_entries;
}

uint32_t
vmdk_grain_length (const struct vmdk_header *header, uint64_t index)
{
    uint64_t left = header->capacity_bytes - index * header->grain_bytes;
    return left < header->grain_bytes ? (uint32_t)left : header->grain_bytes;
}

uint32_t
vmdk_deflated_max (const struct vmdk_header *header)
{
    return 2 * header->grain_bytes;
}

bool
vmdk_entry_is_data (const struct vmdk_header *header, uint32_t entry)
{
    return entry != ENTRY_NONE && !(entry == ENTRY_ZEROES && header->zero_grains);
}

struct vmdk_marker
vmdk_parse_marker (const uint8_t *bytes, size_t length)
{
    struct vmdk_marker marker = { .value = vmdk_le64 (bytes), .size = vmdk_le32 (bytes + 8) };
    if (marker.size == 0)
        marker.type = length >= VMDK_MARKER_BYTES + 4 ? vmdk_le32 (bytes + VMDK_MARKER_BYTES) : UINT32_MAX;
    return marker;
}

bool
vmdk_check_grain (const struct vmdk_header *header, const struct vmdk_marker *marker, uint64_t at,
                  struct vmdk_error *error)
{
    uint64_t grain_sectors = header->grain_bytes / VMDK_SECTOR;
    if (marker->value >= header->capacity_bytes / VMDK_SECTOR)
        return vmdk_fail (error,
                          "the grain at byte %" PRIu64 " says that it is for sector %" PRIu64 ", behind the disk's end",
                          at, marker->value);
    if (marker->value % grain_sectors != 0)
        return vmdk_fail (error,
                          "the grain at byte %" PRIu64 " says that it is for sector %" PRIu64 ", where no grain begins",
                          at, marker->value);
    if (marker->size == 0 || marker->size > vmdk_deflated_max (header))
        return vmdk_fail (error,
                          "the grain at byte %" PRIu64 " claims %" PRIu32 " deflated bytes; %" PRIu32 " is the most",
                          at, marker->size, vmdk_deflated_max (header));
    return true;
}
