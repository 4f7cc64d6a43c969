/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An image: what the bytes of a source's disk lie in, with every reference inside it found and checked.
 *
 * DESIGN idea 7: the format is given, never probed; a name inside an image (backing file, extent, data file, parent)
 * may lead only to a file in `root` or below, by relative name and through no link that leaves it, or to what libvirt
 * XML names as <backingStore>. Sizes are bounded. Checking parses headers only, in this process, with bounded reads;
 * the bytes themselves are parsed by a confined helper (server.h).
 */
#pragma once
#include "disk/feed.h"

/* No disk of ours is larger: 64 TiB is ext4's and most hypervisors' limit. */
#define VMF_IMAGE_SIZE_MAX_BYTES ((uint64_t)64 << 40)

/* A disk that nbdkit serves by a plugin's parameters: whatever is not a file and not an NBD server.
 *
 * At VMF_CHILD_SECRET_FD (3) it reads `secret`, at VMF_IMAGE_FEED_FD (4) what `feed` downloads; the words say so
 * ("password=-3", "stream=fd:4"), as the plugin wants it. Without `network` it is confined like all other helpers.
 */
struct vmf_image_helper
{
    GStrv words;     /* behind "nbdkit -f -r -U SOCKET": filters, the plugin, parameters; each option is one word. A
                        plugin of our own goes by its name: "vmdkstream" */
    char *secret;    /* a password; NULL: none */
    GStrv env;       /* "NAME=value"; NULL: none */
    GStrv readable;  /* what it may see of the host besides programs and our plugins, where it is confined */
    bool network;    /* it connects to somewhere itself: not confined */
    bool may_wait;   /* for its turn at a host: gets a last word "waiting=FILE", and is held-up.h's */
    bool sequential; /* it can be read once, in rising order: its bytes are still arriving */
    struct vmf_feed_options *feed; /* NULL: none */
};

enum
{
    VMF_IMAGE_FEED_FD = 4,
};

struct vmf_image
{
    char *path;                      /* absolute: a file or block device; NULL where nbd_uri or helper is set */
    uint64_t offset_bytes;           /* the image is this part of `path` (a member of a tar) … */
    uint64_t length_bytes;           /* … of this length; 0: to its end */
    char *nbd_uri;                   /* nbd://host:port/export, nbds://…, nbd+unix:///export?socket=… */
    struct vmf_image_helper *helper; /* it is served by this; the format is raw */
    char *format;                    /* QEMU's driver: raw, qcow2, vmdk, vpc, vhdx, vdi; a fixed VHD is raw here */
    char *root;                      /* the folder that the helper may see; NULL: nothing but `path` */
    uint64_t size_bytes;             /* virtual size by the header, in whole sectors; 0: known when it is opened */
    struct vmf_image *backing;       /* of qcow2, or the parent of a VMDK/VHD/VHDX delta */
    struct vmf_image *data_file;     /* of qcow2: a raw file in `root` */
    bool has_references;             /* it named files of `root` (backing file, data file, extents) */
};

typedef struct vmf_image vmf_image;
void vmf_image_free (struct vmf_image *image);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_image, vmf_image_free)

/* Opens PATH's header as FORMAT, checks that its tables lead to bytes that are there, and follows what it refers to (at
   most 32 deep, no loops) in its own folder or below. ROOT is the folder that holds all of it: NULL, "/" and devices
   may have no references. With BACKING, the chain is what the caller says instead of what the header says (libvirt
   XML); it is taken over, also on error. PATH is believed: where somebody else named it, vmf_beneath_open() comes
   first. VMF_ERROR_NOT_FOUND, UNSAFE (leads outside, absurd size), CORRUPT (not of that format, truncated), USAGE
   (unknown format). Each message names the image and the reference. */
struct vmf_image *vmf_image_new_file (const char *path, const char *format, const char *root, struct vmf_image *backing,
                                      GError **error);

/* A part of a file: a disk inside a tar. It may refer to nothing. */
struct vmf_image *vmf_image_new_part (const char *path, uint64_t offset_bytes, uint64_t length_bytes,
                                      const char *format, GError **error);

/* A disk that an NBD server has. FORMAT other than raw is parsed over NBD by the helper; it may refer to nothing but
   BACKING, which is taken over, also on error. */
struct vmf_image *vmf_image_new_nbd (const char *nbd_uri, const char *format, struct vmf_image *backing,
                                     GError **error);

/* A disk that HELPER (copied; what its feed's callback needs must outlive the image and its servers) serves. SIZE_BYTES
   0: known when it is opened. USAGE: there is no plugin among the words. */
struct vmf_image *vmf_image_new_helper (const struct vmf_image_helper *helper, uint64_t size_bytes, GError **error);

/* Can it be read only once, in rising order? Then copy it; convert or map it afterwards. */
bool vmf_image_is_sequential (const struct vmf_image *image);

/* Lets the helper see the image's file only, where it and its chain refer to nothing in `root`. For paths that the user
   wrote: a name that came from the source keeps its folder, since a folder holds when a link is exchanged meanwhile. */
void vmf_image_narrow (struct vmf_image *image);

/* What the helper must see of the host: folders, files or devices, none twice. Caller frees. */
GStrv vmf_image_get_bindings (const struct vmf_image *image);
