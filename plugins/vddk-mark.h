/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A file that is there as long as the plugin waits for something that is no fault, with the sentence that says what
 * for: a client then knows that an answer which does not come is not lost. Whoever kills the plugin removes the file.
 * One thread.
 *
 *   vddk_mark_set → … → vddk_mark_clear, as often as there is something to wait for
 */
#pragma once
#include <stdbool.h>

struct vddk_mark
{
    const char *path; /* borrowed; NULL: nobody looks */
    char text[320];   /* what stands there; "": it is not there */
};

/* TEXT is copied; what does not fit is cut. True where it is news. */
bool vddk_mark_set (struct vddk_mark *mark, const char *text);
void vddk_mark_clear (struct vddk_mark *mark);
