/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the kinds of sources share. Only src/source/ includes this. */
#pragma once
#include "source/source.h"

/* A description is never longer: readers refuse it, and it is read into memory. */
#define VMF_SOURCE_TEXT_MAX ((size_t)16 << 20)

extern const struct vmf_source_ops vmf_source_ova, vmf_source_vmx, vmf_source_libvirt_xml, vmf_source_image;

/* Does PATH end with one of EXTENSIONS (NULL-terminated, ".ova"), in any case? */
bool vmf_source_has_extension (const char *path, const char *const *extensions);

/* The names in the folder PATH that end with EXTENSION, sorted; empty where it is no folder. Hidden files are left out.
   Caller unrefs. */
GPtrArray *vmf_source_names_in (const char *path, const char *extension);

/* The first bytes of the file PATH, as many as there are up to LENGTH; the rest is 0. False: not a readable file. */
bool vmf_source_first_bytes (const char *path, void *bytes, size_t length);

/* A whole small file that the user named. Caller frees. */
char *vmf_source_read_text (const char *path, size_t *length, GError **error);

/* The array that `list` gives for a source of one machine: VM's name, or PROBLEM. */
GPtrArray *vmf_source_list_one (const struct vmf_vm *vm, const char *name, const char *problem);

/* A list of one that asks `describe`. For the `list` entry of ops. */
GPtrArray *vmf_source_list_by_describe (struct vmf_source *source, GCancellable *cancellable, GError **error);
