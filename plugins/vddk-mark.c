/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vddk-mark.h: by renaming, so that who reads it has a whole sentence. That it cannot be written is no reason to fail.
 */
#include "vddk-mark.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void
write_file (const char *path, const char *text)
{
    char fresh[4096];
    if (snprintf (fresh, sizeof fresh, "%s.new", path) >= (int)sizeof fresh)
        return;
    int fd = open (fresh, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    bool good = write (fd, text, strlen (text)) == (ssize_t)strlen (text);
    close (fd);
    if (!good || rename (fresh, path) != 0)
        unlink (fresh);
}

bool
vddk_mark_set (struct vddk_mark *mark, const char *text)
{
    if (strncmp (mark->text, text, sizeof mark->text - 1) == 0)
        return false;
    snprintf (mark->text, sizeof mark->text, "%s", text);
    if (mark->path)
        write_file (mark->path, mark->text);
    return true;
}

void
vddk_mark_clear (struct vddk_mark *mark)
{
    if (mark->text[0] && mark->path)
        unlink (mark->path);
    mark->text[0] = '\0';
}
