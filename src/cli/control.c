/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `vmferry control`: what a running import or copy is told (X10, giving way). */
#include "disk/control.h"
#include "cli/commands.h"

#include <stdio.h>
#include <string.h>

int
vmf_cmd_control (int argc, char **argv)
{
    g_autofree char *disk = NULL;
    g_auto (GStrv) words = NULL;
    g_autoptr (vmf_settings) settings = NULL;
    g_autoptr (GError) error = NULL;
    const GOptionEntry entries[] = {
        { "disk", 0, 0, G_OPTION_ARG_STRING, &disk, "Only this disk, such as sda", "DISK" }, { NULL }
    };
    int status = vmf_cli_parse (argc, argv, entries, "DIR COMMAND [VALUE]",
                                "Controls the import or copy whose work directory is DIR.\n\n"
                                "  status        how far it is, as JSON\n"
                                "  rate 50M      at most so many bytes a second; 0 takes the limit away\n"
                                "  pause         reads nothing more until 'resume'\n"
                                "  resume\n"
                                "  nice 10       its own priority, from 0 to 19",
                                2, 3, &words, &settings);
    if (status != VMF_EXIT_OK)
        return status;
    g_autofree char *dir = g_canonicalize_filename (words[0], NULL);
    json_t *reply = vmf_control_send (dir, words[1], disk, words[2], &error);
    if (!reply)
        return vmf_cli_fail (error);
    if (strcmp (words[1], "status") == 0)
        vmf_cli_print_json (reply);
    else
        json_decref (reply);
    return VMF_EXIT_OK;
}
