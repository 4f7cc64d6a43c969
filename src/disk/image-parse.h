/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the header parsers of image-*.c share; only src/disk/image*.c and their fuzz target include this.
 *
 * A parser gets an open file and gives facts: the virtual size, and the names that the image refers to, unresolved and
 * not believed. It also walks the allocation tables and refuses an image whose blocks lie behind the end of its file:
 * QEMU reads zeroes there, so a copy that was cut off would import without a word. Reads are bounded by what the file
 * can hold; nothing is written, nothing else is opened. Any thread.
 */
#pragma once
#include <gio/gio.h>
#include <stdbool.h>
#include <stdint.h>

/* An image, or the part of a file that is one. */
struct vmf_image_input
{
    int fd;
    uint64_t offset_bytes, length_bytes;
};

/* A file that holds part of a VMDK. */
struct vmf_image_extent
{
    char *name;
    uint64_t size_bytes;   /* of the guest's disk */
    uint64_t offset_bytes; /* FLAT, VMFS: where in the file */
    bool flat;             /* plain bytes; otherwise a sparse extent with a header */
};

struct vmf_image_facts
{
    uint64_t size_bytes;
    char *backing, *backing_format; /* format NULL: not recorded */
    char *data_file;
    GPtrArray *extents; /* struct vmf_image_extent*; of a VMDK descriptor */
    bool is_raw;        /* the guest's bytes as they are, from the start on (a fixed VHD) */
};

typedef struct vmf_image_facts vmf_image_facts;
struct vmf_image_facts *vmf_image_facts_new (void);
void vmf_image_facts_free (struct vmf_image_facts *facts);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_image_facts, vmf_image_facts_free)

/* FORMAT is one of vmf_image_formats. NULL with CORRUPT, UNSAFE or USAGE; messages do not name the file, the caller
   does. */
struct vmf_image_facts *vmf_image_parse (const struct vmf_image_input *input, const char *format, GError **error);

bool vmf_image_parse_qcow2 (const struct vmf_image_input *input, struct vmf_image_facts *facts, GError **error);
bool vmf_image_parse_vmdk (const struct vmf_image_input *input, struct vmf_image_facts *facts, GError **error);
bool vmf_image_parse_vhd (const struct vmf_image_input *input, struct vmf_image_facts *facts, GError **error);
bool vmf_image_parse_vhdx (const struct vmf_image_input *input, struct vmf_image_facts *facts, GError **error);
bool vmf_image_parse_vdi (const struct vmf_image_input *input, struct vmf_image_facts *facts, GError **error);

/* The text part of a VMDK: extents, parent, kind. EMBEDDED: it lies in a sparse file and its extent is that file. */
bool vmf_image_parse_vmdk_text (const char *text, bool embedded, struct vmf_image_facts *facts, GError **error);

/* One file that a VMDK descriptor names, opened by the caller. */
bool vmf_image_check_extent (const struct vmf_image_input *input, const struct vmf_image_extent *extent,
                             GError **error);

/* Sets ERROR with CODE and gives false. */
bool vmf_image_refuse (GError **error, int code, const char *format, ...) G_GNUC_PRINTF (3, 4);

/* Reads exactly LENGTH bytes at AT or says that WHAT is cut off. */
bool vmf_image_read (const struct vmf_image_input *input, uint64_t at, void *buffer, size_t length, const char *what,
                     GError **error);

/* A table of LENGTH bytes; NULL where it does not fit into the file or is above 256 MiB, which no sound image of a disk
   that we take needs: a file can be long without being large. Caller frees. */
uint8_t *vmf_image_read_table (const struct vmf_image_input *input, uint64_t at, uint64_t length, const char *what,
                               GError **error);

/* True where LENGTH bytes of the guest's disk, said to lie at AT, are in the file. */
bool vmf_image_check_block (const struct vmf_image_input *input, uint64_t at, uint64_t length, GError **error);

/* How many bytes of tables may be read of this file altogether: what it holds on its disk, not how long it says it is,
   with room for what a file system may have packed. */
uint64_t vmf_image_get_table_budget (const struct vmf_image_input *input);

/* How much of the block at GUEST_OFFSET is the guest's: less than BLOCK at the disk's end; in whole sectors. */
uint64_t vmf_image_block_length (uint64_t size_bytes, uint64_t guest_offset, uint64_t block);

static inline uint16_t
vmf_le16 (const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t
vmf_le32 (const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t
vmf_le64 (const uint8_t *p)
{
    return vmf_le32 (p) | (uint64_t)vmf_le32 (p + 4) << 32;
}

static inline uint32_t
vmf_be32 (const uint8_t *p)
{
    return GUINT32_SWAP_LE_BE (vmf_le32 (p));
}

static inline uint64_t
vmf_be64 (const uint8_t *p)
{
    return GUINT64_SWAP_LE_BE (vmf_le64 (p));
}
