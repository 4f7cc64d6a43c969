/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The header parsers of disk images: the first byte chooses the format, the rest is the file. */
#include "disk/image-parse.h"

#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    static const char *const formats[] = { "qcow2", "vmdk", "vpc", "vhdx", "vdi", "raw" };
    if (size < 1)
        return 0;
    int fd = memfd_create ("image", MFD_CLOEXEC);
    if (fd < 0 || write (fd, data + 1, size - 1) != (ssize_t)(size - 1))
        __builtin_trap ();
    struct vmf_image_input input = { fd, 0, size - 1 };
    g_autoptr (GError) error = NULL;
    g_autoptr (vmf_image_facts) facts = vmf_image_parse (&input, formats[data[0] % G_N_ELEMENTS (formats)], &error);
    if (!facts == !error)
        __builtin_trap ();
    close (fd);
    return 0;
}
