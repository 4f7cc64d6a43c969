/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An operating system's libosinfo id, from the short id that libguestfs' inspection gives ("debian12").
 *
 * The database's files are looked through as text: libosinfo itself would parse all of them (0.4 s) and loses memory
 * doing so, and one line of one file is all that is wanted. Debian 12's database does not know Debian 12: no id, then.
 */
#include "guest/convert-parts.h"

#include <string.h>

/* TEXT's <os id="…"> where one of its short ids is wanted. */
static char *
id_in_file (const char *path, const char *short_id_element)
{
    g_autofree char *text = NULL;
    if (!g_file_get_contents (path, &text, NULL, NULL) || !strstr (text, short_id_element))
        return NULL;
    const char *start = strstr (text, "<os id=\"");
    const char *id = start ? start + strlen ("<os id=\"") : NULL;
    const char *end = id ? strchr (id, '"') : NULL;
    return end ? g_strndup (id, (gsize)(end - id)) : NULL;
}

/* FOLDER holds a folder for each vendor, with a file for each system. */
static char *
id_in_folder (const char *folder, const char *short_id_element, unsigned depth)
{
    g_autoptr (GDir) dir = g_dir_open (folder, 0, NULL);
    const char *name;
    char *id = NULL;
    while (dir && !id && (name = g_dir_read_name (dir)))
    {
        g_autofree char *path = g_build_filename (folder, name, NULL);
        if (depth > 0)
            id = id_in_folder (path, short_id_element, depth - 1);
        else if (g_str_has_suffix (name, ".xml"))
            id = id_in_file (path, short_id_element);
    }
    return id;
}

char *
vmf_osinfo_id (const char *short_id)
{
    static const char *const folders[] = { "/etc/osinfo/os", "/usr/local/share/osinfo/os", "/usr/share/osinfo/os" };
    g_autofree char *element = g_strdup_printf ("<short-id>%s</short-id>", short_id);
    char *id = NULL;
    for (size_t i = 0; i < G_N_ELEMENTS (folders) && !id; i++)
        id = id_in_folder (folders[i], element, 1);
    return id;
}
