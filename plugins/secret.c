/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nbdkit-vmferry-secret-filter: a parameter that others must not see. What stands on nbdkit's command line is there for
 * everybody to read, and of most plugins' parameters only passwords can be given in another way:
 *
 *     nbdkit --filter=…/nbdkit-vmferry-secret-filter.so curl secret-url=-3 3< file     is     nbdkit curl url=LINE
 *
 * secret-KEY= takes what nbdkit's password= takes: -FD, +FILE, - (asked for). Nothing else of nbdkit is touched. nbdkit
 * takes only filters that were built for its own version, and says so.
 */
#include <nbdkit-filter.h>

#include <stdlib.h>
#include <string.h>

static const char prefix[] = "secret-";

static int
secret_config (nbdkit_next_config *next, nbdkit_backend *backend, const char *key, const char *value)
{
    char *secret;
    if (strncmp (key, prefix, strlen (prefix)) != 0)
        return next (backend, key, value);
    if (nbdkit_read_password (value, &secret) < 0)
        return -1;
    /* Plugins keep the pointer. */
    const char *kept = nbdkit_strdup_intern (secret);
    explicit_bzero (secret, strlen (secret));
    free (secret);
    return kept ? next (backend, key + strlen (prefix), kept) : -1;
}

static struct nbdkit_filter filter = {
    .name = "vmferry-secret",
    .longname = "a parameter that is not on the command line",
    .config = secret_config,
    .config_help = "secret-KEY=-FD|+FILE|-  the plugin's parameter KEY, read from there",
};

NBDKIT_REGISTER_FILTER (filter)
