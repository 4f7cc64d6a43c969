/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The registry of targets, and what every target asks of a name. */
#include "target/target.h"
#include "base/error.h"
#include "base/text.h"
#include "target/targets.h"
#include "target/undo.h"

#include <string.h>

enum
{
    /* 255 is a file name's limit; ".", "-sdaaa-99.qcow2" and ".vmferry-partial" go around the name. */
    NAME_MAX_BYTES = 200,
};

static const char *
name_fault (const char *name)
{
    if (!name || !*name)
        return "is empty";
    if (!g_utf8_validate (name, -1, NULL))
        return "is not UTF-8";
    for (const char *at = name; *at; at = g_utf8_next_char (at))
        if (!g_unichar_isprint (g_utf8_get_char (at)))
            return "has a control character in it";
    if (strchr (name, '/'))
        return "has a '/' in it";
    if (*name == '.' || *name == '-' || *name == ' ')
        return "begins with a dot, a dash or a space";
    if (strlen (name) > NAME_MAX_BYTES)
        return "is longer than 200 bytes";
    return NULL;
}

char *
vmf_target_name_problem (const char *name)
{
    const char *fault = name_fault (name);
    if (!fault)
        return NULL;
    g_autofree char *shown = vmf_text_printable (name ? name : "", 60);
    return g_strdup_printf (
        "the machine's name '%s' %s, so it cannot name files and volumes; choose another with --name", shown, fault);
}

char *
vmf_target_disk_name (const char *vm_name, unsigned n, const char *format)
{
    g_autofree char *letter = vmf_disk_letter_name (n);
    return g_strdup_printf ("%s-%s.%s", vm_name, letter, format);
}

void
vmf_target_check_arch (const struct vmf_vm *vm, GPtrArray *findings)
{
    if (vmf_domain_knows_arch (vm))
        return;
    g_autofree char *shown = vmf_text_printable (vm->arch, 40);
    vmf_findings_add (findings, VMF_FINDING_BLOCKING,
                      "the machine is a %s, and domains are made for x86_64 and aarch64 only", shown);
}

struct vmf_target *
vmf_target_open (const char *address, const struct vmf_target_options *options, GError **error)
{
    static const struct vmf_target_ops *const kinds[] = { &vmf_target_libvirt_ops, &vmf_target_directory_ops };
    for (size_t i = 0; i < G_N_ELEMENTS (kinds); i++)
        if (kinds[i]->claims (address))
            return kinds[i]->open (address, options, error);
    g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE,
                 "'%s' is no target; give a directory, or a libvirt URI such as qemu:///system", address);
    return NULL;
}

void
vmf_target_close (struct vmf_target *target)
{
    if (!target)
        return;
    g_free (target->remains);
    target->ops->close (target);
}

bool
vmf_target_undo_leftovers (const char *work_dir, GPtrArray *removed, GError **error)
{
    return vmf_undo_run (work_dir, removed, error);
}
