/* SPDX-License-Identifier: GPL-2.0-or-later */
/* held-up.h: a file beside the socket that the URI names. */
#include "disk/held-up.h"
#include "base/text.h"

#include <string.h>

#define SOCKET_KEY "socket="

enum
{
    WORDS_MAX = 300,
};

char *
vmf_held_up_path (const char *socket)
{
    return g_strconcat (socket, ".waiting", NULL);
}

char *
vmf_held_up_look (const char *uri)
{
    const char *found = uri ? strstr (uri, SOCKET_KEY) : NULL;
    const char *value = found ? found + strlen (SOCKET_KEY) : "";
    g_autofree char *socket = g_uri_unescape_segment (value, value + strcspn (value, "&#"), NULL), *text = NULL;
    g_autofree char *path = socket && *socket ? vmf_held_up_path (socket) : NULL;
    bool waits = path && g_file_get_contents (path, &text, NULL, NULL) && *text;
    return waits ? vmf_text_printable (text, WORDS_MAX) : NULL;
}

bool
vmf_held_up_is_news (char **told, const char *why)
{
    if (!why || g_strcmp0 (why, *told) == 0)
        return false;
    g_free (*told);
    *told = g_strdup (why);
    return true;
}
