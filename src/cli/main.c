/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The program: a table of subcommands. */
#include "cli/commands.h"

#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static const struct
{
    const char *name;
    int (*run) (int argc, char **argv);
    const char *help;
} commands[] = {
    { "import", vmf_cmd_import, "bring a VM to KVM" },
    { "copy", vmf_cmd_copy, "copy one disk, with what import copies with; goes on after a kill" },
    { "verify", vmf_cmd_verify, "compare disks with the receipt of their copy" },
    { "control", vmf_cmd_control, "rate, pause and status of a running copy" },
    { "list", vmf_cmd_list, "the VMs that a source has" },
    { "show", vmf_cmd_show, "one VM's description, before anything is copied" },
    { "doctor", vmf_cmd_doctor, "what this host has and lacks, with the install command" },
    { "clean", vmf_cmd_clean, "clear what imports that were killed left behind" },
};

static void
print_help (FILE *out)
{
    fprintf (out, "Usage: vmferry COMMAND [OPTION...]\n\nBrings virtual machines to KVM.\n\n");
    for (size_t i = 0; i < G_N_ELEMENTS (commands); i++)
        fprintf (out, "  %-8s %s\n", commands[i].name, commands[i].help);
    fprintf (out, "\n'vmferry COMMAND --help' lists a command's options; the manual is vmferry(1).\n");
}

int
main (int argc, char **argv)
{
    setlocale (LC_ALL, "");
    signal (SIGPIPE, SIG_IGN);
    signal (SIGXFSZ, SIG_IGN); /* a limit on file sizes is an error of the write, not our death */
    const char *name = argc > 1 ? argv[1] : "--help";
    for (size_t i = 0; i < G_N_ELEMENTS (commands); i++)
        if (strcmp (name, commands[i].name) == 0)
            return commands[i].run (argc - 1, argv + 1);
    if (strcmp (name, "--version") == 0)
    {
        printf ("vmferry %s\n", VMF_VERSION);
        return VMF_EXIT_OK;
    }
    bool help = strcmp (name, "--help") == 0 || strcmp (name, "-h") == 0 || strcmp (name, "help") == 0;
    if (!help)
        fprintf (stderr, "vmferry: there is no command '%s'\n\n", name);
    print_help (help ? stdout : stderr);
    return help ? VMF_EXIT_OK : VMF_EXIT_USAGE;
}
