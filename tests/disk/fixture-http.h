/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Starting tests/disk/serve.py: an HTTP server that is not ours, and misbehaves as an address asks it to. */
#pragma once
#include <fcntl.h>
#include <glib.h>
#include <stdlib.h>
#include <unistd.h>

/* Serves the files of FOLDER and gives the port; LOG gets a line for each request. It ends when the test does. With
   CERTIFICATE (PEM, with its key) over TLS. */
static inline int
fixture_serve (const char *folder, const char *log, const char *certificate)
{
    static int alive[2]; /* its other end closes with us */
    g_autofree char *script = g_test_build_filename (G_TEST_DIST, "disk", "serve.py", NULL);
    const char *argv[] = { "python3", script, folder, log, certificate, NULL };
    g_autoptr (GError) error = NULL;
    char line[16] = "";
    int out[2];
    if (alive[1] == 0)
        g_assert_cmpint (pipe2 (alive, O_CLOEXEC), ==, 0);
    g_assert_cmpint (pipe2 (out, O_CLOEXEC), ==, 0);
    g_spawn_async_with_fds (NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, alive[0], out[1], -1,
                            &error);
    g_assert_no_error (error);
    close (out[1]);
    for (size_t n = 0; n < sizeof line - 1 && (n == 0 || line[n - 1] != '\n'); n++)
        g_assert_cmpint (read (out[0], line + n, 1), ==, 1);
    close (out[0]);
    return atoi (line);
}
