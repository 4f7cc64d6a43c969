/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `vmferry import`: the options, an import for each VM, and what is printed at its end. */
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/progress.h"
#include "import/import.h"
#include "source/source.h"

#include <stdio.h>
#include <string.h>

enum
{
    NOT_GIVEN = INT32_MIN,
    MEMORY_MIN_BYTES = 1 << 20,
};

/* The options as GOption fills them. */
static struct
{
    char *format, *target, *pool, *name, *uuid, *memory, *cpu_model, *machine, *os_name, *firmware, *disk_format;
    char *root, *work_dir, *resume, *receipt, *progress;
    char **vms, **networks, **macs, **disks, **v2v_options;
    gint64 vcpus;
    gboolean shut_down, preallocate, convert, no_convert, keep_work, replace, dry_run, verify, json;
} given = { .vcpus = NOT_GIVEN };

static const GOptionEntry entries[] = {
    { "to", 0, 0, G_OPTION_ARG_FILENAME, &given.target, "Directory or libvirt URI (qemu:///system)", "TARGET" },
    { "pool", 0, 0, G_OPTION_ARG_STRING, &given.pool, "Storage pool for the disks (default: default)", "NAME" },
    { "vm", 0, 0, G_OPTION_ARG_STRING_ARRAY, &given.vms, "Which VM, where the source has several; may be repeated",
      "NAME" },
    { "format", 0, 0, G_OPTION_ARG_STRING, &given.format, "Format of a bare image; by its extension otherwise",
      "FORMAT" },
    VMF_CLI_PASSWORD_OPTION,
    { "shut-down", 0, 0, G_OPTION_ARG_NONE, &given.shut_down,
      "Shut down a running VM first; it is read from a snapshot otherwise", NULL },
    { "name", 0, 0, G_OPTION_ARG_STRING, &given.name, "Name of the new VM", "NAME" },
    { "uuid", 0, 0, G_OPTION_ARG_STRING, &given.uuid, "UUID of the new VM, or 'new'", "UUID" },
    { "memory", 0, 0, G_OPTION_ARG_STRING, &given.memory, "Memory, such as 4G", "SIZE" },
    { "cpus", 0, 0, G_OPTION_ARG_INT64, &given.vcpus, "Number of virtual CPUs", "N" },
    { "cpu-model", 0, 0, G_OPTION_ARG_STRING, &given.cpu_model, "host-model, host-passthrough or a model's name",
      "MODEL" },
    { "machine", 0, 0, G_OPTION_ARG_STRING, &given.machine, "Machine type, such as q35 or pc", "TYPE" },
    { "firmware", 0, 0, G_OPTION_ARG_STRING, &given.firmware, "bios or uefi; for sources that do not say", "KIND" },
    { "os", 0, 0, G_OPTION_ARG_STRING, &given.os_name, "The guest's operating system, where it is not found", "NAME" },
    { "network", 0, 0, G_OPTION_ARG_STRING_ARRAY, &given.networks,
      "Network of the target for NICs on SOURCE (or NIC number N); 'none' leaves out", "[SOURCE=]TARGET" },
    { "mac", 0, 0, G_OPTION_ARG_STRING_ARRAY, &given.macs, "MAC of NIC N, or 'new'", "N=MAC" },
    { "disk", 0, 0, G_OPTION_ARG_STRING_ARRAY, &given.disks,
      "One disk: skip, pool=, format=, allocation=, alias=, with commas between", "DISK:WHAT" },
    { "disk-format", 0, 0, G_OPTION_ARG_STRING, &given.disk_format, "qcow2 (default) or raw", "FORMAT" },
    { "preallocate", 0, 0, G_OPTION_ARG_NONE, &given.preallocate, "Allocate the disks fully in advance", NULL },
    { "convert", 0, 0, G_OPTION_ARG_NONE, &given.convert, "Convert the guest even where it seems not needed", NULL },
    { "no-convert", 0, 0, G_OPTION_ARG_NONE, &given.no_convert, "Copy only", NULL },
    { "root", 0, 0, G_OPTION_ARG_STRING, &given.root, "Root file system of a guest that has several", "DEVICE" },
    { "v2v-option", 0, 0, G_OPTION_ARG_STRING_ARRAY, &given.v2v_options,
      "An option for virt-v2v that convert.allowed_options lists", "OPTION" },
    { "replace", 0, 0, G_OPTION_ARG_NONE, &given.replace, "Replace what has the same names, at the end", NULL },
    { "dry-run", 0, 0, G_OPTION_ARG_NONE, &given.dry_run, "Print the plan and the findings; touch nothing", NULL },
    { "resume", 0, 0, G_OPTION_ARG_FILENAME, &given.resume,
      "Go on with the import whose work directory is DIR; no SOURCE", "DIR" },
    { "work", 0, 0, G_OPTION_ARG_FILENAME, &given.work_dir, "Work directory of this import", "DIR" },
    { "keep-work", 0, 0, G_OPTION_ARG_NONE, &given.keep_work,
      "Keep the work directory, and when the import fails also what was copied, for --resume", NULL },
    { "verify", 0, 0, G_OPTION_ARG_NONE, &given.verify, "Read the disks back and compare them with what was read",
      NULL },
    { "receipt", 0, 0, G_OPTION_ARG_FILENAME, &given.receipt, "Write a receipt, for 'vmferry verify'", "FILE" },
    { "progress", 0, 0, G_OPTION_ARG_STRING, &given.progress, "auto, none, lines, terminal or json", "STYLE" },
    { "json", 0, 0, G_OPTION_ARG_NONE, &given.json, "Print the summary as one JSON object", NULL },
    { NULL }
};

static bool
usage (GError **error, const char *message)
{
    g_set_error_literal (error, VMF_ERROR, VMF_ERROR_USAGE, message);
    return false;
}

static bool
one_of (const char *option, const char *value, const char *const *words, unsigned *index, GError **error)
{
    *index = 0;
    for (unsigned i = 0; value && words[i]; i++)
        if (strcmp (value, words[i]) == 0)
        {
            *index = i;
            return true;
        }
    if (!value)
        return true;
    g_autofree char *all = g_strjoinv (", ", (char **)words);
    g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE, "%s '%s' is none of %s", option, value, all);
    return false;
}

static bool
has_several (void)
{
    return given.vms && g_strv_length (given.vms) > 1;
}

struct option
{
    const char *name;
    bool given;
};

/* The first of N OPTIONS that was given; NULL: none. */
static const char *
first_given (const struct option *options, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (options[i].given)
            return options[i].name;
    return NULL;
}

/* What can be true of one VM only. */
static bool
check_several (GError **error)
{
    const struct option single[] = { { "--name", given.name != NULL },
                                     { "--uuid", given.uuid && strcmp (given.uuid, "new") != 0 },
                                     { "--mac", given.macs != NULL },
                                     { "--work", given.work_dir != NULL },
                                     { "--receipt", given.receipt != NULL } };
    const char *option = first_given (single, G_N_ELEMENTS (single));
    if (option)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE, "%s is for one VM, and there are %u; import that one alone",
                     option, g_strv_length (given.vms));
        return false;
    }
    for (char **name = given.vms; *name; name++)
        if (g_strv_contains ((const char *const *)name + 1, *name))
        {
            g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE, "--vm %s is given twice", *name);
            return false;
        }
    return true;
}

/* What was settled when the import began. */
static bool
check_resume (GError **error)
{
    const struct option settled[] = { { "--vm", given.vms != NULL },
                                      { "--format", given.format != NULL },
                                      { "--to", given.target != NULL },
                                      { "--pool", given.pool != NULL },
                                      { "--name", given.name != NULL },
                                      { "--uuid", given.uuid != NULL },
                                      { "--memory", given.memory != NULL },
                                      { "--cpus", given.vcpus != NOT_GIVEN },
                                      { "--cpu-model", given.cpu_model != NULL },
                                      { "--machine", given.machine != NULL },
                                      { "--os", given.os_name != NULL },
                                      { "--firmware", given.firmware != NULL },
                                      { "--disk-format", given.disk_format != NULL },
                                      { "--work", given.work_dir != NULL },
                                      { "--network", given.networks != NULL },
                                      { "--mac", given.macs != NULL },
                                      { "--disk", given.disks != NULL },
                                      { "--v2v-option", given.v2v_options != NULL },
                                      { "--preallocate", given.preallocate },
                                      { "--convert", given.convert },
                                      { "--no-convert", given.no_convert },
                                      { "--replace", given.replace } };
    const char *option = first_given (settled, G_N_ELEMENTS (settled));
    if (option)
        g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE,
                     "--resume goes on as the import began: %s cannot be changed any more; leave it out, or give that "
                     "import up with 'vmferry clean --work' and begin anew",
                     option);
    return !option;
}

static bool
read_size (const char *text, uint64_t *bytes, GError **error)
{
    if (!text)
        return true;
    if (!vmf_text_to_size (text, "--memory", bytes, error))
        return false;
    if (*bytes >= MEMORY_MIN_BYTES)
        return true;
    g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE, "--memory %s is less than 1 MiB; 4G are four gibibytes", text);
    return false;
}

/* Checks what needs no source, and fills OPTIONS. */
static bool
read_options (struct vmf_import_options *options, const char *source, enum vmf_progress_style *style, GError **error)
{
    static const char *const styles[] = { "auto", "none", "lines", "terminal", "json", NULL };
    static const char *const formats[] = { "qcow2", "raw", NULL };
    unsigned style_index, format_index;
    if (given.resume && source)
        return usage (error, "--resume takes source and target from the work directory; leave them out");
    if (given.resume && !check_resume (error))
        return false;
    if (!given.resume && (!source || !given.target))
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE, "import wants %s%s%s; 'vmferry import --help' says more",
                     source ? "" : "a SOURCE", source || given.target ? "" : ", and ",
                     given.target ? ""
                                  : "--to, where the VM goes: a directory, or a libvirt URI such as qemu:///system");
        return false;
    }
    if (has_several () && !check_several (error))
        return false;
    if (given.convert && given.no_convert)
        return usage (error, "--convert and --no-convert exclude each other");
    if (given.vcpus != NOT_GIVEN && (given.vcpus < 1 || given.vcpus > 4096))
        return usage (error, "--cpus is a number from 1 to 4096");
    if (!one_of ("--progress", given.progress, styles, &style_index, error)
        || !one_of ("--disk-format", given.disk_format, formats, &format_index, error)
        || !read_size (given.memory, &options->memory_bytes, error))
        return false;
    *style = style_index;
    options->source = source;
    options->vm = given.vms ? given.vms[0] : NULL;
    options->ask_password = vmf_cli_ask_password;
    options->shut_down = given.shut_down;
    options->format = given.format;
    options->target = given.target;
    options->pool = given.pool;
    options->name = given.name;
    options->uuid = given.uuid;
    options->vcpus = given.vcpus == NOT_GIVEN ? 0 : (uint64_t)given.vcpus;
    options->cpu_model = given.cpu_model;
    options->machine_type = given.machine;
    options->os_name = given.os_name;
    options->firmware = given.firmware;
    options->networks = (const char *const *)given.networks;
    options->macs = (const char *const *)given.macs;
    options->disks = (const char *const *)given.disks;
    options->disk_format = formats[format_index];
    options->preallocate = given.preallocate;
    options->convert = given.convert      ? VMF_IMPORT_CONVERT_YES
                       : given.no_convert ? VMF_IMPORT_CONVERT_NO
                                          : VMF_IMPORT_CONVERT_AUTO;
    options->root = given.root;
    options->v2v_options = (const char *const *)given.v2v_options;
    options->resume = given.resume;
    options->verify = given.verify;
    options->receipt = given.receipt;
    options->work_dir = given.work_dir;
    options->keep_work = given.keep_work;
    options->replace = given.replace;
    options->dry_run = given.dry_run;
    return true;
}

/* After a run: the summary or plan on standard output, or into REPORTS where there is such an array, or why it failed
   on standard error. */
static int
finish (struct vmf_import *import, bool good, enum vmf_progress_style style, json_t *reports, const GError *error)
{
    g_autofree char *text = NULL;
    int status = VMF_EXIT_OK;
    if (!good)
    {
        status = vmf_cli_fail (error);
        if (vmf_import_was_refused (import))
            status = VMF_EXIT_REFUSED;
        const char *change = vmf_import_get_source_change (import);
        if (change)
            fprintf (stderr, "vmferry: %s\n", change);
        fprintf (stderr, "vmferry: %s%s%s\n",
                 !vmf_import_has_touched (import)    ? change ? "the target was not touched" : "nothing was touched"
                 : vmf_import_get_leftovers (import) ? "not everything was undone"
                 : vmf_import_get_kept (import)      ? "what was copied is kept"
                 : given.keep_work                   ? "the target is as it was; the work directory is kept"
                                                     : "everything was undone (--keep-work keeps what was copied)",
                 vmf_log_get_path () ? "; log: " : "", vmf_log_get_path () ? vmf_log_get_path () : "");
        if (vmf_import_get_kept (import))
            fprintf (stderr, "vmferry: 'vmferry import --resume %s' goes on; 'vmferry clean --work %s' gives up\n",
                     vmf_import_get_kept (import), vmf_import_get_kept (import));
    }
    if (style == VMF_PROGRESS_JSON)
    {
        g_autofree char *time = vmf_text_from_time (g_get_real_time ());
        json_t *line =
            json_pack ("{s:s, s:s, s:o}", "event", "summary", "time", time, "summary", vmf_import_report (import));
        json_dumpf (line, stdout, JSON_COMPACT);
        putchar ('\n');
        json_decref (line);
    }
    else if (reports)
        json_array_append_new (reports, vmf_import_report (import));
    else if (given.json)
        vmf_cli_print_json (vmf_import_report (import));
    else if (good)
    {
        text = given.dry_run ? vmf_import_plan_text (import) : vmf_import_summary_text (import);
        fputs (text, stdout);
    }
    fflush (stdout); /* before what the next VM has to say */
    return status;
}

static bool
open_log (const struct vmf_settings *settings, const char *source, GError **error)
{
    g_autofree char *shown = vmf_import_show_source (source), *base = g_path_get_basename (shown);
    g_autofree char *dir = vmf_log_default_dir (vmf_settings_get_string (settings, "log.dir"));
    if (!given.dry_run && !vmf_log_open (dir, given.vms ? given.vms[0] : base, error))
        return false;
    g_info ("vmferry " VMF_VERSION ": %s %s", given.resume ? "resuming" : "importing from", shown);
    return true;
}

/* PLACE: "2 of 5", where there are several. */
static int
import_one (const struct vmf_import_options *options, const struct vmf_settings *settings,
            enum vmf_progress_style style, const char *place, json_t *reports)
{
    g_autoptr (GError) error = NULL;
    g_autoptr (vmf_progress) progress = vmf_progress_new (style);
    g_autoptr (vmf_import) import =
        vmf_import_new (options, settings, vmf_progress_get_events (progress), vmf_cli_cancellable ());
    if (options->vm)
        g_info ("VM %s", options->vm);
    if (place)
        vmf_progress_tell_vm (progress, options->vm, place);
    bool good = vmf_import_run (import, &error);
    vmf_progress_settle (progress);
    return finish (import, good, style, reports, error);
}

/* Before hours pass: each of the VMs is there. Those that are not are told all at once. */
static bool
all_there (const struct vmf_settings *settings, const char *address, GError **error)
{
    struct vmf_source_options options = { .settings = settings, .ask_password = vmf_cli_ask_password };
    g_autoptr (vmf_source) source = vmf_source_open (address, &options, vmf_cli_cancellable (), error);
    g_autoptr (GString) lacking = g_string_new (NULL);
    for (char **name = given.vms; source && *name; name++)
    {
        g_autoptr (GError) why = NULL;
        g_autoptr (vmf_vm) vm = source->ops->describe (source, *name, vmf_cli_cancellable (), &why);
        if (!vm)
            g_string_append_printf (lacking, "%s%s", lacking->len ? "\n" : "", why->message);
    }
    if (lacking->len && !vmf_error_if_cancelled (vmf_cli_cancellable (), error))
        g_set_error (error, VMF_ERROR, VMF_ERROR_NOT_FOUND, "%s\nnone of the %u VMs is imported", lacking->str,
                     g_strv_length (given.vms));
    return source && !lacking->len;
}

/* One after the other. One that fails keeps no other from coming; the first one's status is that of all. */
static int
import_several (struct vmf_import_options *options, const struct vmf_settings *settings, enum vmf_progress_style style)
{
    int status = VMF_EXIT_OK;
    unsigned n = g_strv_length (given.vms), good = 0;
    json_t *reports = given.json && style != VMF_PROGRESS_JSON ? json_array () : NULL;
    g_autoptr (GString) failed = g_string_new (NULL);
    for (unsigned i = 0; i < n; i++)
    {
        g_autofree char *place = g_strdup_printf ("%u of %u", i + 1, n);
        bool over = vmf_error_if_cancelled (vmf_cli_cancellable (), NULL);
        options->vm = given.vms[i];
        int one = over ? VMF_EXIT_CANCELLED : import_one (options, settings, style, place, reports);
        good += one == VMF_EXIT_OK;
        status = status ? status : one;
        if (one != VMF_EXIT_OK)
            g_string_append_printf (failed, "%s%s%s", failed->len ? ", " : "", given.vms[i],
                                    over ? " (not begun)" : "");
    }
    if (reports)
        vmf_cli_print_json (reports);
    fprintf (stderr, "vmferry: %u of %u VMs %s%s%s\n", good, n, given.dry_run ? "can be imported" : "imported",
             failed->len ? ", not: " : "", failed->str);
    return status;
}

int
vmf_cmd_import (int argc, char **argv)
{
    g_auto (GStrv) words = NULL;
    g_autoptr (vmf_settings) settings = NULL;
    g_autoptr (GError) error = NULL;
    struct vmf_import_options options = { 0 };
    enum vmf_progress_style style = VMF_PROGRESS_AUTO;
    int status = vmf_cli_parse (
        argc, argv, entries, "SOURCE",
        "Brings VMs to KVM. SOURCE is a vCenter (vpx://USER@HOST/…), an ESXi host (esx://USER@HOST/), an "
        "OVA (tar, zip or directory), a .vmx, a libvirt domain XML or a disk image.",
        0, 1, &words, &settings);
    if (status != VMF_EXIT_OK)
        return status;
    vmf_cli_cancellable (); /* before any other thread: they inherit the signal mask */
    if (!read_options (&options, words[0], &style, &error)
        || !open_log (settings, words[0] ? words[0] : given.resume, &error)
        || (has_several () && !all_there (settings, words[0], &error)))
        return vmf_cli_fail (error);
    return has_several () ? import_several (&options, settings, style)
                          : import_one (&options, settings, style, NULL, NULL);
}
