/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files and folders of our own making. */
#pragma once

/* Removes PATH and all that is below it, as far as that can be done. Links are removed, not followed; what is mounted
   there is not entered. Any thread. */
void vmf_file_remove_tree (const char *path);
