/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `vmferry verify`: disks against the receipt of their copy (X3). */
#include "base/error.h"
#include "cli/commands.h"
#include "disk/receipt.h"

#include <glib/gstdio.h>
#include <stdio.h>
#include <string.h>

enum
{
    RECEIPT_MAX_BYTES = 512 * 1024 * 1024, /* a full disk of 64 TiB has 4 million ranges */
};

static json_t *
read_receipt (const char *path, GError **error)
{
    json_error_t fault;
    g_autofree char *text = NULL;
    gsize length;
    if (!g_file_get_contents (path, &text, &length, error))
        return NULL;
    json_t *receipt = length <= RECEIPT_MAX_BYTES ? json_loadb (text, length, 0, &fault) : NULL;
    if (g_strcmp0 (json_string_value (json_object_get (receipt, "kind")), "vmferry receipt") == 0
        && json_integer_value (json_object_get (receipt, "version")) == 1)
        return receipt;
    json_decref (receipt);
    g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT, "%s is not a receipt of vmferry", path);
    return NULL;
}

/* TARGET against the receipt's disk. */
static bool
verify_disk (const json_t *disk, const char *target, const char *format, const char *work_dir, GError **error)
{
    g_autoptr (GPtrArray) differences = g_ptr_array_new_with_free_func (g_free);
    const char *name = json_string_value (json_object_get (disk, "name"));
    const char *said = json_string_value (json_object_get (disk, "format"));
    g_autofree char *path = strstr (target, "://") ? g_strdup (target) : g_canonicalize_filename (target, NULL);
    g_autoptr (vmf_proof) expected = vmf_proof_from_json (json_object_get (disk, "content"), error);
    if (!expected)
        return false;
    if (!name || (!format && !said))
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT, "the receipt does not tell a disk's name and format");
        return false;
    }
    struct vmf_receipt_target place = { path, format ? format : said, work_dir };
    struct vmf_proof_options options = { .name = name,
                                         .size_bytes = expected->size_bytes,
                                         .cancellable = vmf_cli_cancellable () };
    g_autoptr (vmf_proof) found = vmf_receipt_read_target (&place, &options, error);
    if (!found)
        return false;
    vmf_proof_compare (expected, found, differences);
    if (vmf_receipt_refuse (differences, error))
        return printf ("%s: %s is what the receipt says (SHA-256 %s)\n", name, target, found->sha256), true;
    g_prefix_error (error, "%s: ", name);
    return false;
}

static bool
verify (const json_t *receipt, char **words, const char *format, const char *work_dir, GError **error)
{
    const json_t *disks = json_object_get (receipt, "disks");
    bool good = true;
    if (g_strv_length (words) != json_array_size (disks))
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE,
                     "the receipt is of %zu disks; name as many targets, in its order", json_array_size (disks));
        return false;
    }
    for (size_t i = 0; words[i]; i++)
    {
        g_autoptr (GError) local = NULL;
        if (verify_disk (json_array_get (disks, i), words[i], format, work_dir, &local))
            continue;
        if (!good)
            g_prefix_error (error, "%s\n", local->message);
        else
            g_propagate_error (error, g_steal_pointer (&local));
        good = false;
    }
    return good;
}

int
vmf_cmd_verify (int argc, char **argv)
{
    g_autofree char *format = NULL;
    g_auto (GStrv) words = NULL;
    g_autoptr (vmf_settings) settings = NULL;
    g_autoptr (GError) error = NULL;
    const GOptionEntry entries[] = {
        { "format", 0, 0, G_OPTION_ARG_STRING, &format, "Of the targets, if not the receipt's", "FORMAT" }, { NULL }
    };
    int status =
        vmf_cli_parse (argc, argv, entries, "RECEIPT TARGET...",
                       "Reads each TARGET and compares it with what the receipt says. The target must not be in use.",
                       2, 1000, &words, &settings);
    if (status != VMF_EXIT_OK)
        return status;
    g_autofree char *work_dir = g_dir_make_tmp ("vmferry-verify-XXXXXX", &error);
    json_t *receipt = work_dir ? read_receipt (words[0], &error) : NULL;
    bool good = receipt && verify (receipt, words + 1, format, work_dir, &error);
    json_decref (receipt);
    if (work_dir)
        g_rmdir (work_dir);
    return good ? VMF_EXIT_OK : vmf_cli_fail (error);
}
