/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Receipts: making them, and reading a target back for them. */
#include "disk/receipt.h"
#include "base/error.h"
#include "base/text.h"
#include "disk/nbd.h"
#include "disk/server.h"

#include <string.h>

json_t *
vmf_receipt_disk (const char *name, const char *source, const char *target, const char *format,
                  const struct vmf_mover_progress *progress, const struct vmf_proof *read,
                  const struct vmf_proof *proof, bool verified)
{
    uint64_t zero_bytes = read ? read->known_bytes - read->data_bytes : progress->zero;
    uint64_t hole_bytes = !read                                  ? progress->hole
                          : progress->needed > read->known_bytes ? progress->needed - read->known_bytes
                                                                 : 0;
    return json_pack ("{s:s, s:s, s:s, s:s, s:{s:I, s:I, s:I, s:I}, s:b, s:o}", "name", name, "source", source,
                      "target", target, "format", format, "counts", "data_bytes", (json_int_t)proof->data_bytes,
                      "zero_bytes", (json_int_t)zero_bytes, "hole_bytes", (json_int_t)hole_bytes, "free_bytes",
                      (json_int_t)(proof->size_bytes - progress->needed), "verified", verified, "content",
                      vmf_proof_to_json (proof));
}

bool
vmf_receipt_write (const char *path, json_t *disks, GError **error)
{
    g_autofree char *time = vmf_text_from_time (g_get_real_time ());
    g_autoptr (nbd_handle) nbd = nbd_create ();
    json_t *receipt = json_pack ("{s:s, s:i, s:s, s:s, s:{s:s, s:s?}, s:o}", "kind", "vmferry receipt", "version", 1,
                                 "created_at", time, "host", g_get_host_name (), "tools", "vmferry", VMF_VERSION,
                                 "libnbd", nbd ? nbd_get_version (nbd) : NULL, "disks", disks);
    char *text = receipt ? json_dumps (receipt, JSON_INDENT (1)) : NULL;
    bool good = text && g_file_set_contents (path, text, -1, error);
    if (!text)
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "cannot write the receipt %s: a name in it is not UTF-8",
                     path);
    free (text);
    json_decref (receipt);
    return good;
}

bool
vmf_receipt_refuse (const GPtrArray *differences, GError **error)
{
    if (differences->len == 0)
        return true;
    GString *text = g_string_new (NULL);
    for (guint i = 0; i < differences->len; i++)
        g_string_append_printf (text, "%s%s", i ? "\n" : "", (const char *)g_ptr_array_index (differences, i));
    g_set_error_literal (error, VMF_ERROR, VMF_ERROR_CORRUPT, text->str);
    g_string_free (text, TRUE);
    return false;
}

struct vmf_proof *
vmf_receipt_read_target (const struct vmf_receipt_target *target, const struct vmf_proof_options *options,
                         GError **error)
{
    g_autofree char *socket = g_build_filename (target->work_dir, "target.sock", NULL);
    g_autofree char *folder = g_path_get_dirname (target->path);
    g_autoptr (GPtrArray) differences = g_ptr_array_new_with_free_func (g_free);
    struct vmf_proof_options proof_options = *options;
    bool nbd =
        strstr (target->path, "://") != NULL || options->size_bytes == 0; /* no helper serves a disk of 0 bytes */
    g_autoptr (vmf_image) image = nbd ? NULL : vmf_image_new_file (target->path, target->format, folder, NULL, error);
    g_autoptr (vmf_server) server =
        image ? vmf_server_start (image, options->name, socket, options->cancellable, error) : NULL;
    if (!nbd && !server)
        return NULL;
    proof_options.uri = server ? vmf_server_get_uri (server) : target->path;
    proof_options.named = nbd;
    proof_options.differences = differences;
    g_autoptr (vmf_proof) proof = vmf_proof_read (&proof_options, error);
    return proof && vmf_receipt_refuse (differences, error) ? g_steal_pointer (&proof) : NULL;
}
