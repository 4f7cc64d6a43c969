/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What server.c asks of a VMDK beyond its size: may our own plugin serve it? */
#pragma once
#include "disk/image.h"

/* Is IMAGE a stream-optimised VMDK in a file or a part of one, standing alone, of the sizes that plugins/vmdkstream.c
   reads? Looks at the header again; false also where that cannot be read. */
bool vmf_image_is_vmdk_stream (const struct vmf_image *image);
