/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A bundle: the named files that an OVF travels with, in a folder, a tar or a zip.
 *
 * Members are known by their names; nothing is ever extracted by its own name. A tar's and a folder's members are used
 * where they lie, and those that a zip stores; those that it compresses must be unpacked (unpack.h). An archive with
 * links, devices, absolute names, "..", a name twice or more than 10,000 members is refused as a whole. The bundle is
 * read-only once open, but for vmf_bundle_find: that one on the main thread only.
 */
#pragma once
#include <gio/gio.h>
#include <stdbool.h>
#include <stdint.h>

enum vmf_bundle_kind
{
    VMF_BUNDLE_FOLDER,
    VMF_BUNDLE_TAR,
    VMF_BUNDLE_ZIP,
};

struct vmf_bundle_member
{
    char *name;            /* as the archive has it, without "./" in front */
    uint64_t offset_bytes; /* in the archive, where in_place */
    uint64_t length_bytes; /* of its bytes, uncompressed; folder: unused */
    bool in_place;         /* its bytes lie in the archive as they are */
};

struct vmf_bundle
{
    enum vmf_bundle_kind kind;
    char *path;         /* of the folder or archive, absolute */
    GPtrArray *members; /* struct vmf_bundle_member* */
};

typedef struct vmf_bundle vmf_bundle;
struct vmf_bundle *vmf_bundle_open_folder (const char *path, GError **error);
/* A tar or zip, by its first bytes. */
struct vmf_bundle *vmf_bundle_open_archive (const char *path, GCancellable *cancellable, GError **error);
void vmf_bundle_free (struct vmf_bundle *bundle);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (vmf_bundle, vmf_bundle_free)

/* The member that an OVF in FOLDER ("" or "sub") calls NAME: exactly so, else without regard to case, with or without
   ".gz", else the only one with that last part (PITFALLS 39). Borrowed. UNSAFE, NOT_FOUND. */
const struct vmf_bundle_member *vmf_bundle_find (struct vmf_bundle *bundle, const char *folder, const char *name,
                                                 GError **error);

/* Gets the bytes in order; false ends the stream. */
typedef bool (*vmf_bundle_chunk_fn) (const void *bytes, size_t length, void *data, GError **error);
bool vmf_bundle_stream (const struct vmf_bundle *bundle, const struct vmf_bundle_member *member,
                        vmf_bundle_chunk_fn on_chunk, void *data, GCancellable *cancellable, GError **error);

/* A small member as text, NUL-terminated. UNSAFE above MAX_BYTES. Caller frees. */
char *vmf_bundle_read (const struct vmf_bundle *bundle, const struct vmf_bundle_member *member, size_t max_bytes,
                       size_t *length, GError **error);

/* For bundle-*.c: checks the name, takes "./" off, refuses doubles. False: refused. NAMES: a set of those seen. */
bool vmf_bundle_add (struct vmf_bundle *bundle, GHashTable *names, const char *name, uint64_t offset_bytes,
                     uint64_t length_bytes, bool in_place, GError **error);
bool vmf_bundle_index_tar (struct vmf_bundle *bundle, GCancellable *cancellable, GError **error);
bool vmf_bundle_index_zip (struct vmf_bundle *bundle, GCancellable *cancellable, GError **error);
void vmf_bundle_place_stored (struct vmf_bundle *bundle); /* of a zip, once it is indexed: sets in_place and offsets */
/* Through libarchive, which compares the CRC at the end. */
bool vmf_bundle_stream_zip (const struct vmf_bundle *bundle, const struct vmf_bundle_member *member,
                            vmf_bundle_chunk_fn on_chunk, void *data, GCancellable *cancellable, GError **error);
