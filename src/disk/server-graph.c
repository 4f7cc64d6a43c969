/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From struct vmf_image to QEMU's JSON. "backing" is always written, null where there is none: left out, QEMU would
 * open what the header says.
 */
#include "disk/server-graph.h"

#include <string.h>
#include <sys/stat.h>

static bool
may_have_backing (const char *format)
{
    return strcmp (format, "qcow2") == 0 || strcmp (format, "vmdk") == 0;
}

static json_t *
file_node (const struct vmf_image *image)
{
    struct stat info;
    bool block = stat (image->path, &info) == 0 && S_ISBLK (info.st_mode);
    json_t *node = json_pack ("{s:s, s:s, s:b}", "driver", block ? "host_device" : "file", "filename", image->path,
                              "read-only", 1);
    if (image->offset_bytes == 0 && image->length_bytes == 0)
        return node;
    /* QEMU wants whole sectors; a member of a tar is padded to them. */
    json_int_t size = (json_int_t)((image->length_bytes + 511) & ~(uint64_t)511);
    return json_pack ("{s:s, s:I, s:I, s:b, s:o}", "driver", "raw", "offset", (json_int_t)image->offset_bytes, "size",
                      size, "read-only", 1, "file", node);
}

static json_t *
graph (const struct vmf_image *image, const char *const *proxies, unsigned *n)
{
    json_t *protocol = image->nbd_uri ? json_pack ("{s:s, s:{s:s, s:s}, s:s, s:b}", "driver", "nbd", "server", "type",
                                                   "unix", "path", proxies[(*n)++], "export", "", "read-only", 1)
                                      : file_node (image);
    json_t *node = json_pack ("{s:s, s:b, s:o}", "driver", image->format, "read-only", 1, "file", protocol);
    if (image->data_file)
        json_object_set_new (node, "data-file", file_node (image->data_file));
    if (may_have_backing (image->format))
        json_object_set_new (node, "backing", image->backing ? graph (image->backing, proxies, n) : json_null ());
    return node;
}

json_t *
vmf_server_graph (const struct vmf_image *image, const char *const *proxies)
{
    unsigned n = 0;
    json_t *top = graph (image, proxies, &n);
    json_object_set_new (top, "node-name", json_string ("top"));
    return top;
}

GPtrArray *
vmf_server_graph_nbd_uris (const struct vmf_image *image)
{
    GPtrArray *uris = g_ptr_array_new ();
    for (; image; image = image->backing)
        if (image->nbd_uri)
            g_ptr_array_add (uris, image->nbd_uri);
    return uris;
}

/* A comma in a value is written twice. */
static void
append_option (GString *out, const char *prefix, const char *key, const char *value)
{
    g_auto (GStrv) parts = g_strsplit (value, ",", -1);
    g_autofree char *escaped = g_strjoinv (",,", parts);
    g_string_append_printf (out, "%s%s%s=%s", out->len > 0 ? "," : "", prefix, key, escaped);
}

static void
append_options (GString *out, const char *prefix, const json_t *object)
{
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)object, key, value)
    {
        g_autofree char *number = NULL, *deeper = g_strconcat (prefix, key, ".", NULL);
        if (json_is_object (value))
            append_options (out, deeper, value);
        else if (json_is_integer (value))
            append_option (out, prefix, key,
                           number = g_strdup_printf ("%" JSON_INTEGER_FORMAT, json_integer_value (value)));
        else if (json_is_boolean (value))
            append_option (out, prefix, key, json_is_true (value) ? "on" : "off");
        else if (json_is_string (value) && strcmp (key, "node-name") != 0)
            append_option (out, prefix, key, json_string_value (value));
    }
}

char *
vmf_server_graph_options (const json_t *object)
{
    GString *out = g_string_new (NULL);
    append_options (out, "", object);
    return g_string_free (out, FALSE);
}
