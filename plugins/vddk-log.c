/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vddk-log.h. The phrases are VDDK's as users have quoted them. */
#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "vddk-log.h"

#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum
{
    SECRETS_MAX = 4,
    LINE_MAX_BYTES = 4096,
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct vddk_log_facts known;
static const char *secrets[SECRETS_MAX];
static unsigned secret_count;

void
vddk_log_hide (const char *secret)
{
    if (secret && *secret && secret_count < SECRETS_MAX)
        secrets[secret_count++] = secret;
}

static bool
has_any (const char *line, const char *const *phrases)
{
    for (; *phrases; phrases++)
        if (strcasestr (line, *phrases))
            return true;
    return false;
}

/* The word behind the last PHRASE of LINE, of the characters that hosts and thumbprints are made of. */
static void
word_behind (const char *line, const char *phrase, char *word, size_t size)
{
    const char *at = strcasestr (line, phrase);
    size_t length = 0;
    if (!at)
        return;
    for (at += strlen (phrase); *at == ' '; at++)
        continue;
    while (length + 1 < size && (isalnum ((unsigned char)at[length]) || (at[length] && strchr (".:-_[]%", at[length]))))
        length++;
    while (length > 0 && (at[length - 1] == ':' || at[length - 1] == '.'))
        length--;
    if (length == 0)
        return;
    memcpy (word, at, length);
    word[length] = '\0';
}

void
vddk_log_learn (struct vddk_log_facts *facts, const char *line)
{
    static const char *const memory[] = { "Failed to allocate the requested", "received NFC error 5", NULL };
    static const char *const crowd[] = { "Error reading from vmware-authd socket", "maximum number of",
                                         "too many connections", "too many sessions", NULL };
    facts->is_out_of_memory |= has_any (line, memory);
    facts->is_crowded |= has_any (line, crowd);
    word_behind (line, "actual thumbprint=", facts->thumbprint, sizeof facts->thumbprint);
    word_behind (line, "Failed to connect to server", facts->peer, sizeof facts->peer);
    word_behind (line, "Timed out connecting to server", facts->peer, sizeof facts->peer);
}

static void
blot_out (char *line, const char *secret)
{
    size_t length = strlen (secret);
    for (char *at = line; (at = strstr (at, secret)); at += length)
        memset (at, '*', length);
}

static void
render (char *line, const char *format, va_list args)
{
    vsnprintf (line, LINE_MAX_BYTES, format ? format : "", args);
    for (size_t length = strlen (line); length > 0 && isspace ((unsigned char)line[length - 1]); length--)
        line[length - 1] = '\0';
    for (unsigned i = 0; i < secret_count; i++)
        blot_out (line, secrets[i]);
}

static void
keep (const char *line, bool is_warning)
{
    pthread_mutex_lock (&lock);
    vddk_log_learn (&known, line);
    if (is_warning && *line)
        snprintf (known.warning, sizeof known.warning, "%.511s", line);
    pthread_mutex_unlock (&lock);
}

void
vddk_log_message (const char *format, va_list args)
{
    char line[LINE_MAX_BYTES];
    render (line, format, args);
    keep (line, false);
    nbdkit_debug ("VDDK: %s", line);
}

void
vddk_log_warning (const char *format, va_list args)
{
    char line[LINE_MAX_BYTES];
    render (line, format, args);
    keep (line, true);
    nbdkit_debug ("VDDK warns: %s", line);
}

void
vddk_log_panic (const char *format, va_list args)
{
    char line[LINE_MAX_BYTES];
    render (line, format, args);
    keep (line, true);
    nbdkit_error ("VDDK gives up: %s", line);
}

void
vddk_log_forget (void)
{
    pthread_mutex_lock (&lock);
    memset (&known, 0, sizeof known);
    pthread_mutex_unlock (&lock);
}

void
vddk_log_recall (struct vddk_log_facts *facts)
{
    pthread_mutex_lock (&lock);
    *facts = known;
    pthread_mutex_unlock (&lock);
}
