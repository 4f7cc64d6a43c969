/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A qcow2's tables: the L1 table has an L2 table's place for each stretch of the disk, that has an entry for each
 * cluster (QEMU's docs/interop/qcow2.txt). QEMU writes an L2 table before the L1 entry that leads to it. */
#include "disk/mover-covered.h"
#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum
{
    HEADER_BYTES = 104,
    CLUSTER_BITS_MIN = 16, /* our blocks */
    CLUSTER_BITS_MAX = 21,
};

static const uint64_t PLACE_MASK = 0x00fffffffffffe00u;  /* of an L1 or L2 entry */
static const uint64_t ENTRY_MASK = ~((uint64_t)1 << 63); /* without the hint that nobody else uses it */
static const uint64_t EXTENDED_L2 = (uint64_t)1 << 4;

struct tables
{
    const char *path;
    int fd;
    unsigned cluster_bits;
    uint64_t l1_at, n_l1, size_bytes;
    uint64_t *l2; /* room for one */
    struct vmf_extents *covered;
};

static uint64_t
be (const void *bytes, size_t n)
{
    uint64_t value = 0;
    for (size_t i = 0; i < n; i++)
        value = value << 8 | ((const uint8_t *)bytes)[i];
    return value;
}

static bool
read_at (const struct tables *tables, void *data, size_t length, uint64_t offset, GError **error)
{
    ssize_t got = pread (tables->fd, data, length, (off_t)offset);
    if (got == (ssize_t)length)
        return true;
    g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT, "%s: its tables cannot be read: %s", tables->path,
                 got < 0 ? g_strerror (errno) : "it ends before them");
    return false;
}

static bool
read_header (struct tables *tables, GError **error)
{
    uint8_t header[HEADER_BYTES];
    if (!read_at (tables, header, sizeof header, 0, error))
        return false;
    tables->cluster_bits = (unsigned)be (header + 20, 4);
    tables->n_l1 = be (header + 36, 4);
    tables->l1_at = be (header + 40, 8);
    bool good = memcmp (header, "QFI\xfb", 4) == 0 && be (header + 4, 4) == 3
                && tables->cluster_bits >= CLUSTER_BITS_MIN && tables->cluster_bits <= CLUSTER_BITS_MAX
                && be (header + 24, 8) == tables->size_bytes && !(be (header + 72, 8) & EXTENDED_L2);
    if (!good)
        g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT, "%s is not the overlay of this disk", tables->path);
    return good;
}

/* The stretch of the disk from OFFSET on. */
static bool
read_l2 (struct tables *tables, uint64_t place, uint64_t offset, GError **error)
{
    size_t cluster = (size_t)1 << tables->cluster_bits;
    if (!read_at (tables, tables->l2, cluster, place, error))
        return false;
    for (size_t i = 0; i < cluster / 8 && offset < tables->size_bytes; i++, offset += cluster)
        if (be (&tables->l2[i], 8) & ENTRY_MASK)
            vmf_extents_add (tables->covered, offset, MIN (cluster, tables->size_bytes - offset));
    return true;
}

static bool
read_tables (struct tables *tables, GError **error)
{
    if (!read_header (tables, error))
        return false;
    uint64_t stretch = (uint64_t)1 << (2 * tables->cluster_bits - 3);
    uint64_t n = MIN (tables->n_l1, tables->size_bytes / stretch + 1);
    g_autofree uint64_t *l1 = g_new0 (uint64_t, n);
    bool good = read_at (tables, l1, n * 8, tables->l1_at, error);
    tables->l2 = g_malloc ((size_t)1 << tables->cluster_bits);
    for (uint64_t i = 0; good && i < n; i++)
    {
        uint64_t place = be (&l1[i], 8) & PLACE_MASK;
        good = place == 0 || read_l2 (tables, place, i * stretch, error);
    }
    g_free (tables->l2);
    return good;
}

bool
vmf_covered_read (const char *path, uint64_t size_bytes, struct vmf_extents *covered, GError **error)
{
    struct tables tables = { .path = path, .size_bytes = size_bytes, .covered = covered };
    tables.fd = open (path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (tables.fd < 0)
        return g_set_error (error, VMF_ERROR, VMF_ERROR_NOT_FOUND, "cannot open %s: %s", path, g_strerror (errno)),
               false;
    bool good = read_tables (&tables, error);
    close (tables.fd);
    return good;
}

bool
vmf_covered_drop (struct vmf_mover *mover, const char *path, uint64_t size_bytes, struct vmf_extents *dropped,
                  GError **error)
{
    g_autoptr (vmf_extents) covered = vmf_extents_new ();
    if (!vmf_covered_read (path, size_bytes, covered, error))
        return false;
    for (size_t i = 0; i < vmf_extents_count (dropped); i++)
        vmf_extents_remove (covered, vmf_extents_nth (dropped, i).offset, vmf_extents_nth (dropped, i).length);
    for (size_t i = 0; i < vmf_extents_count (covered); i++)
        vmf_mover_drop (mover, vmf_extents_nth (covered, i).offset, vmf_extents_nth (covered, i).length);
    vmf_extents_add_all (dropped, covered);
    return true;
}
