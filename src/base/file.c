/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A folder and all in it. */
#include "base/file.h"

#include <ftw.h>
#include <stdio.h>

static int
remove_one (const char *path, const struct stat *info, int type, struct FTW *where)
{
    remove (path);
    return 0; /* the rest all the same */
}

void
vmf_file_remove_tree (const char *path)
{
    nftw (path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}
