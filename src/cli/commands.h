/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The subcommands. Each parses its own argv (argv[0] is its name) and gives the program's exit status. */
#pragma once
#include "base/settings.h"
#include "source/source.h"
#include <gio/gio.h>
#include <jansson.h>

/* Documented in the manual; few, because scripts decide on them. */
enum vmf_exit
{
    VMF_EXIT_OK = 0,
    VMF_EXIT_FAILED = 1,      /* something went wrong on the way; everything was undone, or it says what was not */
    VMF_EXIT_USAGE = 2,       /* the command line makes no sense */
    VMF_EXIT_REFUSED = 3,     /* the preflight said no, or the source is not to be trusted: nothing was touched */
    VMF_EXIT_CANCELLED = 130, /* Ctrl-C: everything was undone */
};

int vmf_cmd_import (int argc, char **argv);
int vmf_cmd_copy (int argc, char **argv);
int vmf_cmd_verify (int argc, char **argv);
int vmf_cmd_control (int argc, char **argv);
int vmf_cmd_list (int argc, char **argv);
int vmf_cmd_show (int argc, char **argv);
int vmf_cmd_clean (int argc, char **argv);
int vmf_cmd_doctor (int argc, char **argv);

/* Parses argv with ENTRIES and --config, --set; the settings then stand in *SETTINGS. Words that are no options go to
 *WORDS (a NULL-terminated array, caller frees), which must be MIN to MAX. On error says it and gives VMF_EXIT_USAGE.
 */
int vmf_cli_parse (int argc, char **argv, const GOptionEntry *entries, const char *words_help, const char *summary,
                   unsigned min, unsigned max, GStrv *words, struct vmf_settings **settings);

/* Prints "vmferry: MESSAGE" on standard error, a line each where the message has several, and gives the exit status
   that ERROR's code stands for. */
int vmf_cli_fail (const GError *error);

/* The password for ADDRESS: the first line of --password-file, or where it is WANTED and there is no such file, typed
   on the terminal; once in a program. *PASSWORD stays as long as the program; NULL: none was given. */
bool vmf_cli_ask_password (const char *address, bool wanted, const char **password, GError **error);
/* What opening SOURCE (NULL: nothing) has to tell, on standard error. */
void vmf_cli_say_notice (const struct vmf_source *source);
extern char *vmf_cli_password_file;
#define VMF_CLI_PASSWORD_OPTION                                                                                        \
    {                                                                                                                  \
        "password-file", 0, 0, G_OPTION_ARG_FILENAME, &vmf_cli_password_file,                                          \
            "Read the source's password from this file's first line (default: ask)", "FILE"                            \
    }

/* Cancelled by SIGINT, SIGTERM and SIGHUP from the first call on. */
GCancellable *vmf_cli_cancellable (void);

/* Prints VALUE with indentation on standard output and drops the reference. */
void vmf_cli_print_json (json_t *value);
