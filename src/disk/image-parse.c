/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of formats, and bounded reads for the parsers. */
#include "disk/image-parse.h"
#include "disk/image.h"
#include "base/error.h"
#include "base/text.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum
{
    TABLE_MAX_BYTES = 256 << 20,
    BUDGET_FLOOR_BYTES = 64 << 20,
    BUDGET_PACKED = 8,
};

static void
extent_free (void *data)
{
    struct vmf_image_extent *extent = data;
    g_free (extent->name);
    g_free (extent);
}

struct vmf_image_facts *
vmf_image_facts_new (void)
{
    struct vmf_image_facts *facts = g_new0 (struct vmf_image_facts, 1);
    facts->extents = g_ptr_array_new_with_free_func (extent_free);
    return facts;
}

void
vmf_image_facts_free (struct vmf_image_facts *facts)
{
    if (!facts)
        return;
    g_free (facts->backing);
    g_free (facts->backing_format);
    g_free (facts->data_file);
    g_ptr_array_unref (facts->extents);
    g_free (facts);
}

bool
vmf_image_refuse (GError **error, int code, const char *format, ...)
{
    va_list args;
    va_start (args, format);
    g_autofree char *text = g_strdup_vprintf (format, args);
    va_end (args);
    g_set_error_literal (error, VMF_ERROR, code, text);
    return false;
}

static bool
cut_off (const struct vmf_image_input *input, uint64_t at, const char *what, GError **error)
{
    return vmf_image_refuse (error, VMF_ERROR_CORRUPT,
                             "it is cut off or damaged: its %s should lie at byte %" G_GUINT64_FORMAT
                             ", but it has only %" G_GUINT64_FORMAT " bytes; copy it again",
                             what, (guint64)at, (guint64)input->length_bytes);
}

bool
vmf_image_read (const struct vmf_image_input *input, uint64_t at, void *buffer, size_t length, const char *what,
                GError **error)
{
    uint64_t end;
    if (__builtin_add_overflow (at, length, &end) || end > input->length_bytes)
        return cut_off (input, at, what, error);
    for (size_t done = 0; done < length;)
    {
        ssize_t n = pread (input->fd, (char *)buffer + done, length - done, (off_t)(input->offset_bytes + at + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return vmf_image_refuse (error, n < 0 ? VMF_ERROR_FAILED : VMF_ERROR_CORRUPT, "cannot read its %s: %s",
                                     what, n < 0 ? g_strerror (errno) : "the file ended");
        done += (size_t)n;
    }
    return true;
}

uint8_t *
vmf_image_read_table (const struct vmf_image_input *input, uint64_t at, uint64_t length, const char *what,
                      GError **error)
{
    uint64_t end;
    /* The size is checked before memory is asked for: it is the image's own claim. */
    if (__builtin_add_overflow (at, length, &end) || end > input->length_bytes)
        return cut_off (input, at, what, error), NULL;
    uint8_t *table = length <= TABLE_MAX_BYTES ? g_try_malloc (length ? length : 1) : NULL;
    if (!table)
        return vmf_image_refuse (error, VMF_ERROR_UNSAFE, "its %s is too large (%" G_GUINT64_FORMAT " bytes)", what,
                                 (guint64)length),
               NULL;
    if (!vmf_image_read (input, at, table, length, what, error))
        g_clear_pointer (&table, g_free);
    return table;
}

uint64_t
vmf_image_get_table_budget (const struct vmf_image_input *input)
{
    struct stat info;
    /* Devices and some network file systems do not say what they hold. */
    if (fstat (input->fd, &info) != 0 || !S_ISREG (info.st_mode) || info.st_blocks == 0)
        return input->length_bytes;
    return MIN (input->length_bytes, BUDGET_FLOOR_BYTES + (uint64_t)info.st_blocks * 512 * BUDGET_PACKED);
}

bool
vmf_image_check_block (const struct vmf_image_input *input, uint64_t at, uint64_t length, GError **error)
{
    uint64_t end;
    if (!__builtin_add_overflow (at, length, &end) && end <= input->length_bytes)
        return true;
    return vmf_image_refuse (error, VMF_ERROR_CORRUPT,
                             "it is cut off or damaged: data should lie at byte %" G_GUINT64_FORMAT
                             ", but it has only %" G_GUINT64_FORMAT " bytes; copy it again",
                             (guint64)at, (guint64)input->length_bytes);
}

uint64_t
vmf_image_block_length (uint64_t size_bytes, uint64_t guest_offset, uint64_t block)
{
    if (guest_offset >= size_bytes)
        return 0;
    return MIN (block, (size_bytes - guest_offset + 511) & ~(uint64_t)511);
}

static bool
parse_raw (const struct vmf_image_input *input, struct vmf_image_facts *facts, GError **error)
{
    facts->size_bytes = input->length_bytes;
    facts->is_raw = true;
    return true;
}

static const struct
{
    const char *format;
    bool (*parse) (const struct vmf_image_input *input, struct vmf_image_facts *facts, GError **error);
} parsers[] = {
    { "raw", parse_raw },           { "qcow2", vmf_image_parse_qcow2 }, { "vmdk", vmf_image_parse_vmdk },
    { "vpc", vmf_image_parse_vhd }, { "vhdx", vmf_image_parse_vhdx },   { "vdi", vmf_image_parse_vdi },
};

struct vmf_image_facts *
vmf_image_parse (const struct vmf_image_input *input, const char *format, GError **error)
{
    size_t n = 0;
    while (n < G_N_ELEMENTS (parsers) && g_strcmp0 (parsers[n].format, format) != 0)
        n++;
    if (n == G_N_ELEMENTS (parsers))
        return vmf_image_refuse (error, VMF_ERROR_USAGE,
                                 "the image format '%s' is not known; known are raw, qcow2, vmdk, vpc (VHD), vhdx, vdi",
                                 format ? format : ""),
               NULL;
    g_autoptr (vmf_image_facts) facts = vmf_image_facts_new ();
    if (!parsers[n].parse (input, facts, error))
        return NULL;
    if (facts->size_bytes > VMF_IMAGE_SIZE_MAX_BYTES)
    {
        g_autofree char *size = vmf_text_from_size (facts->size_bytes);
        return vmf_image_refuse (error, VMF_ERROR_UNSAFE, "it claims a disk of %s; no disk above 64 TiB is imported",
                                 size),
               NULL;
    }
    if (facts->size_bytes == 0)
        return vmf_image_refuse (error, VMF_ERROR_CORRUPT, "it holds a disk of 0 bytes"), NULL;
    return g_steal_pointer (&facts);
}
