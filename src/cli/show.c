/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `vmferry show`: one machine of a source, read without touching anything. */
#include "cli/commands.h"
#include "source/source.h"
#include "vm/write.h"

#include <stdio.h>

int
vmf_cmd_show (int argc, char **argv)
{
    gboolean json = FALSE;
    g_autofree char *vm_name = NULL, *format = NULL;
    g_auto (GStrv) words = NULL;
    g_autoptr (vmf_settings) settings = NULL;
    g_autoptr (GError) error = NULL;
    const GOptionEntry entries[] = {
        { "json", 0, 0, G_OPTION_ARG_NONE, &json, "Print it as JSON (docs/vm.schema.json)", NULL },
        { "vm", 0, 0, G_OPTION_ARG_STRING, &vm_name, "Which VM, where the source has several", "NAME" },
        { "format", 0, 0, G_OPTION_ARG_STRING, &format, "Format of a bare image; by its extension otherwise",
          "FORMAT" },
        VMF_CLI_PASSWORD_OPTION,
        { NULL }
    };
    int status = vmf_cli_parse (argc, argv, entries, "SOURCE", "Shows one VM of SOURCE before anything is copied.", 1,
                                1, &words, &settings);
    if (status != VMF_EXIT_OK)
        return status;
    struct vmf_source_options options = { .format = format,
                                          .settings = settings,
                                          .ask_password = vmf_cli_ask_password };
    g_autoptr (vmf_source) source = vmf_source_open (words[0], &options, vmf_cli_cancellable (), &error);
    vmf_cli_say_notice (source);
    g_autoptr (vmf_vm) vm = source ? source->ops->describe (source, vm_name, vmf_cli_cancellable (), &error) : NULL;
    if (!vm)
        return vmf_cli_fail (error);
    if (json)
        return vmf_cli_print_json (vmf_vm_write_json (vm)), VMF_EXIT_OK;
    g_autofree char *text = vmf_vm_write_text (vm);
    fputs (text, stdout);
    return VMF_EXIT_OK;
}
