/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disk images for the map's tests: made by other people's programs, served by nbdkit, copied by a map, compared. */
#pragma once
#include "guest/bytes.h"
#include "guest/map.h"
#include <gio/gio.h>

/* A folder of the test program's own, removed at the end. */
const char *images_dir (void);
void images_end (void);
/* Path below it. Caller frees. */
char *images_path (const char *name);

/* Runs a program with up to fifteen arguments; a failure ends the test. The second form gives its exit status, the
   third its output. */
#define run(...) g_assert_cmpint (run_status ((const char *[]){ __VA_ARGS__, NULL }), ==, 0)
int run_status (const char *const *argv);
char *run_output (const char *const *argv);

/* Skips the current test, by name, where something is missing. */
bool have_programs (const char *first, ...) G_GNUC_NULL_TERMINATED;
bool have_mounts (const char *type); /* root, loop devices, and the file system in the kernel */

/* A sparse file. Caller frees the path. */
char *image_new (const char *name, uint64_t size);
void image_write (const char *path, uint64_t offset, const void *bytes, size_t length);
void image_read (const char *path, uint64_t offset, void *bytes, size_t length);

/* Mounts IMAGE at "mnt" below the folder, whose path is given back. */
char *image_mount (const char *image, const char *options);
void image_unmount (void);

/* A few hundred files, then every third one deleted; then one of SIZE bytes that is fsynced. Gives its SHA-256. */
char *image_populate (const char *mount_point, size_t size);
char *sha256_of (const char *path);

/* Serves images by nbdkit and maps them. STATS: bytes that nbdkit counted (NULL: not asked). */
struct vmf_map *image_map (const char *const *paths, uint64_t *stats);
struct vmf_map *image_map_one (const char *path);
const struct vmf_map_volume *map_volume (const struct vmf_map *map, const char *name);

/* A fresh sparse file that has what MAP needs of disk N, and nothing else. */
char *image_copy (const char *path, const struct vmf_map *map, unsigned n);

/* A reader of one file, for what needs no server. */
struct vmf_reader *reader_new (const char *path);
void reader_free (struct vmf_reader *reader);
