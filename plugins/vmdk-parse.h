/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The parts of a stream-optimised VMDK as pure functions of bytes: no file, no nbdkit, so that they can be fuzzed.
 *
 * After VMware's "Virtual Disk Format" 1.1 and 5.0. All positions in the format count sectors of 512 bytes. The guest's
 * disk is cut into grains; each lies behind a marker of 12 bytes, deflated (zlib's form) and padded to a sector:
 *
 *   header │ descriptor │ grain grain … table grain … table │ directory │ footer │ end
 *
 * A table has the sectors of 512 grains, the directory those of the tables. Where the header says VMDK_AT_END the
 * directory's place is in the footer; what lies between is announced by markers too. QEMU writes both in front and no
 * footer. Nothing here is believed: sizes are bounded, and an error names the place. Any thread.
 */
#pragma once
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum
{
    VMDK_SECTOR = 512,
    VMDK_MARKER_BYTES = 12,
    VMDK_TABLE_ENTRIES_MAX = 512,
    VMDK_GRAIN_SECTORS_MIN = 8,
    VMDK_GRAIN_SECTORS_MAX = 2048,
};

#define VMDK_AT_END UINT64_MAX

/* A sentence for the user, without a dot at its end. */
struct vmdk_error
{
    char text[300];
};

/* Always false, for `return vmdk_fail (…)`. */
bool vmdk_fail (struct vmdk_error *error, const char *format, ...) __attribute__ ((format (printf, 2, 3)));

struct vmdk_header
{
    uint64_t capacity_bytes;   /* of the guest's disk: at least a sector, at most 64 TiB */
    uint64_t directory_sector; /* or VMDK_AT_END */
    uint64_t data_sector;      /* where grains may begin */
    uint32_t grain_bytes;      /* a power of two */
    uint32_t table_entries;
    bool zero_grains; /* entry 1 of a table is a grain of zeroes */
};

/* SECTOR: 512 bytes. WHAT: "header" or "footer". */
bool vmdk_parse_header (const uint8_t *sector, const char *what, struct vmdk_header *header, struct vmdk_error *error);

uint64_t vmdk_count_grains (const struct vmdk_header *header);
uint64_t vmdk_count_tables (const struct vmdk_header *header);

/* What is the guest's in this grain: less than a grain at the disk's end. */
uint32_t vmdk_grain_length (const struct vmdk_header *header, uint64_t index);

/* More bytes than this no grain may have when it is deflated; QEMU has the same limit. */
uint32_t vmdk_deflated_max (const struct vmdk_header *header);

/* Does this entry of a table lead to a grain, or is there none, or one of zeroes? */
bool vmdk_entry_is_data (const struct vmdk_header *header, uint32_t entry);

enum vmdk_marker_type
{
    VMDK_MARKER_END = 0,
    VMDK_MARKER_TABLE = 1,
    VMDK_MARKER_DIRECTORY = 2,
    VMDK_MARKER_FOOTER = 3,
};

struct vmdk_marker
{
    uint64_t value; /* of a grain: its first sector on the guest's disk; else how many sectors follow */
    uint32_t size;  /* of a grain: its deflated bytes; else 0 */
    uint32_t type;  /* enum vmdk_marker_type, where size is 0 */
};

/* BYTES: at least VMDK_MARKER_BYTES, and 4 more where size is 0. */
struct vmdk_marker vmdk_parse_marker (const uint8_t *bytes, size_t length);

/* Is it the marker of a grain that this disk can have? AT: the byte of the file, for the message. */
bool vmdk_check_grain (const struct vmdk_header *header, const struct vmdk_marker *marker, uint64_t at,
                       struct vmdk_error *error);

uint32_t vmdk_le32 (const uint8_t *p);
uint64_t vmdk_le64 (const uint8_t *p);
