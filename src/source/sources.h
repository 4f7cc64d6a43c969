/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the kinds of sources share. Only src/source/ includes this. */
#pragma once
#include "source/source.h"

/* A description is never longer: readers refuse it, and it is read into memory. */
#define VMF_SOURCE_TEXT_MAX ((size_t)16 << 20)

extern const struct vmf_source_ops vmf_source_vsphere, vmf_source_ova, vmf_source_vmx, vmf_source_libvirt_xml,
    vmf_source_image, vmf_source_ssh;

/* Does PATH end with one of EXTENSIONS (NULL-terminated, ".ova"), in any case? */
bool vmf_source_has_extension (const char *path, const char *const *extensions);

/* No image may be a .gz: its packed bytes would be imported as a raw disk. Only an OVA's are unpacked. USAGE. */
bool vmf_source_check_not_gzip (const char *path, GError **error);

/* The names in the folder PATH that end with EXTENSION, sorted; empty where it is no folder. Hidden files are left out.
   Caller unrefs. */
GPtrArray *vmf_source_names_in (const char *path, const char *extension);

/* The first bytes of the file PATH, as many as there are up to LENGTH; the rest is 0. False: not a readable file. */
bool vmf_source_first_bytes (const char *path, void *bytes, size_t length);

/* The path of DISK, which must be a file. USAGE. Borrowed. */
const char *vmf_source_get_file (const struct vmf_disk *disk, GError **error);

/* A whole small file that the user named. Caller frees. */
char *vmf_source_read_text (const char *path, size_t *length, GError **error);

/* The entries for NAMES, each by what `describe` says of it. NULL: cancelled. */
GPtrArray *vmf_source_list_names (struct vmf_source *source, const char *const *names, GCancellable *cancellable,
                                  GError **error);

/* For the `list` entry of ops where a source is one machine. */
GPtrArray *vmf_source_list_one (struct vmf_source *source, const struct vmf_source_filter *filter,
                                GCancellable *cancellable, GError **error);

/* For `describe` there: VM, which is taken over, where NAME is NULL or its own (or, where it has none, FILE's). Else
   NULL and NOT_FOUND. VM may be NULL already. */
struct vmf_vm *vmf_source_check_only (struct vmf_vm *vm, const char *file, const char *name, GError **error);
