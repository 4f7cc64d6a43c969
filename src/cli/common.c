/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What every subcommand needs: options with settings, errors, cancel.
 *
 * Signals are taken by a thread of their own: they are blocked everywhere else (children get a clean mask), so no code
 * of ours ever runs in a handler.
 */
#include "base/error.h"
#include "base/text.h"
#include "cli/commands.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum
{
    LINE_MAX_CHARS = 4000,
};

static char *config_path;
static char **set_pairs;

static bool
load_settings (struct vmf_settings *settings, GError **error)
{
    if (!vmf_settings_load (settings, config_path, error))
        return false;
    for (size_t i = 0; set_pairs && set_pairs[i]; i++)
        if (!vmf_settings_set (settings, set_pairs[i], error))
            return false;
    return true;
}

int
vmf_cli_parse (int argc, char **argv, const GOptionEntry *entries, const char *words_help, const char *summary,
               unsigned min, unsigned max, GStrv *words, struct vmf_settings **settings)
{
    static const GOptionEntry common[] = { { "config", 0, 0, G_OPTION_ARG_FILENAME, &config_path,
                                             "Settings file (default: /etc/vmferry/vmferry.conf)", "FILE" },
                                           { "set", 0, 0, G_OPTION_ARG_STRING_ARRAY, &set_pairs,
                                             "One setting, over the file", "KEY=VALUE" },
                                           { NULL } };
    g_auto (GStrv) rest = NULL;
    const GOptionEntry remaining[] = { { G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &rest, NULL, NULL },
                                       { NULL } };
    g_autoptr (GOptionContext) context = g_option_context_new (words_help);
    g_autoptr (GError) error = NULL;
    g_autofree char *program = g_strdup_printf ("vmferry %s", argv[0]);
    g_set_prgname (program);
    g_option_context_set_summary (context, summary);
    g_option_context_add_main_entries (context, entries, NULL);
    g_option_context_add_main_entries (context, common, NULL);
    g_option_context_add_main_entries (context, remaining, NULL);
    g_autoptr (vmf_settings) loaded = vmf_settings_new ();
    bool good = g_option_context_parse (context, &argc, &argv, &error) && load_settings (loaded, &error);
    unsigned n = rest ? g_strv_length (rest) : 0;
    if (good && n < min)
        g_set_error (&error, VMF_ERROR, VMF_ERROR_USAGE, "%s wants %s; '%s --help' says more", program, words_help,
                     program);
    else if (good && n > max)
        g_set_error (&error, VMF_ERROR, VMF_ERROR_USAGE, "%s: '%s' is one word too many; '%s --help' says more",
                     program, rest[max], program);
    good = good && !error;
    if (!good)
    {
        vmf_cli_fail (error);
        return VMF_EXIT_USAGE;
    }
    *words = rest ? g_steal_pointer (&rest) : g_new0 (char *, 1);
    *settings = g_steal_pointer (&loaded);
    return VMF_EXIT_OK;
}

int
vmf_cli_fail (const GError *error)
{
    g_auto (GStrv) lines = g_strsplit (error->message, "\n", -1);
    g_info ("failed: %s", error->message);
    for (size_t i = 0; lines[i]; i++)
    {
        g_autofree char *line = vmf_text_printable (lines[i], LINE_MAX_CHARS);
        fprintf (stderr, "vmferry: %s\n", line);
    }
    if (error->domain != VMF_ERROR)
        return VMF_EXIT_FAILED;
    switch (error->code)
    {
    case VMF_ERROR_USAGE:
        return VMF_EXIT_USAGE;
    case VMF_ERROR_UNSAFE:
        return VMF_EXIT_REFUSED;
    case VMF_ERROR_CANCELLED:
        return VMF_EXIT_CANCELLED;
    default:
        return VMF_EXIT_FAILED;
    }
}

void
vmf_cli_say_notice (const struct vmf_source *source)
{
    if (source && source->notice)
        fprintf (stderr, "vmferry: %s\n", source->notice);
}

static void *
signal_thread (void *data)
{
    int number;
    sigset_t *set = data;
    while (sigwait (set, &number) == 0)
        g_cancellable_cancel (vmf_cli_cancellable ());
    return NULL;
}

GCancellable *
vmf_cli_cancellable (void)
{
    static GCancellable *cancellable;
    static sigset_t set;
    if (cancellable)
        return cancellable;
    cancellable = g_cancellable_new ();
    sigemptyset (&set);
    sigaddset (&set, SIGINT);
    sigaddset (&set, SIGTERM);
    sigaddset (&set, SIGHUP);
    pthread_sigmask (SIG_BLOCK, &set, NULL);
    g_thread_unref (g_thread_new ("signals", signal_thread, &set));
    return cancellable;
}

void
vmf_cli_print_json (json_t *value)
{
    json_dumpf (value, stdout, JSON_INDENT (2));
    putchar ('\n');
    json_decref (value);
}
