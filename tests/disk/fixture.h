/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What tests of disks share: a folder that goes away, a disk image with a known pattern, and programs to run. */
#pragma once
#include "../folder.h"
#include "base/child.h"
#include <glib/gstdio.h>
#include <gio/gio.h>
#include <string.h>

/* A new folder; remove with fixture_remove. */
static inline char *
fixture_folder (void)
{
    return test_folder_new ("test");
}

/* Runs a program of the test's own choice to its end; it must succeed. Gives what it printed. */
static inline char *
fixture_run (const char *program, ...)
{
    g_autoptr (GPtrArray) argv = g_ptr_array_new ();
    va_list args;
    va_start (args, program);
    for (const char *word = program; word; word = va_arg (args, const char *))
        g_ptr_array_add (argv, (char *)word);
    va_end (args);
    g_ptr_array_add (argv, NULL);
    GError *error = NULL;
    struct vmf_child_options options = { .argv = (const char *const *)argv->pdata };
    char *output = vmf_child_run (&options, 0, NULL, &error);
    g_assert_no_error (error);
    return output;
}

static inline void
fixture_remove (char *folder)
{
    g_autofree char *output = fixture_run ("rm", "-rf", "--", folder, NULL);
    g_free (folder);
}

/* A raw image of SIZE bytes: of every MiB the first half is data that differs everywhere, the rest a hole. */
static inline void
fixture_image (const char *path, uint64_t size_bytes)
{
    g_autofree guint32 *words = g_malloc (512 * 1024);
    FILE *file = fopen (path, "wb");
    g_assert_nonnull (file);
    for (uint64_t at = 0; at < size_bytes; at += 1024 * 1024)
    {
        for (size_t i = 0; i < 512 * 1024 / 4; i++)
            words[i] = (guint32)(at / 4 + i) * 2654435761u + 1;
        size_t length = (size_t)MIN (size_bytes - at, (uint64_t)512 * 1024);
        g_assert_cmpint (fseek (file, (long)at, SEEK_SET), ==, 0);
        g_assert_cmpuint (fwrite (words, 1, length, file), ==, length);
    }
    g_assert_cmpint (fclose (file), ==, 0);
    g_assert_cmpint (truncate (path, (off_t)size_bytes), ==, 0);
}

/* An nbdkit on SOCKET with the given arguments behind it; gone when freed. */
static inline struct vmf_child *
fixture_nbdkit (const char *socket, const char *first, ...)
{
    g_autoptr (GPtrArray) argv = g_ptr_array_new ();
    g_autofree char *pid_path = g_strconcat (socket, ".pid", NULL); /* made when it listens, unlike the socket */
    const char *start[] = { "nbdkit", "-f", "-U", socket, "-P", pid_path };
    for (size_t i = 0; i < G_N_ELEMENTS (start); i++)
        g_ptr_array_add (argv, (char *)start[i]);
    va_list args;
    va_start (args, first);
    for (const char *word = first; word; word = va_arg (args, const char *))
        g_ptr_array_add (argv, (char *)word);
    va_end (args);
    g_ptr_array_add (argv, NULL);
    GError *error = NULL;
    struct vmf_child_options options = { .argv = (const char *const *)argv->pdata };
    struct vmf_child *child = vmf_child_start (&options, &error);
    g_assert_no_error (error);
    vmf_child_wait_for_path (child, pid_path, NULL, &error);
    g_assert_no_error (error);
    return child;
}
