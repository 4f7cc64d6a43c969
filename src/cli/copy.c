/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `vmferry copy`: one disk, by itself, with the mover that imports use. */
#include "base/error.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/progress.h"
#include "disk/control.h"
#include "disk/held-up.h"
#include "disk/nbd.h"
#include "disk/receipt.h"
#include "disk/transfer.h"
#include "source/source.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glib/gstdio.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <unistd.h>

enum
{
    TICK_MS = 200,
    RESTART_PAUSE_MS = 2000,
};

static struct
{
    char *format, *source_format, *disk, *work_dir, *rate, *receipt, *progress;
    gboolean replace, verify, json;
} given;

static const GOptionEntry entries[] = {
    { "format", 0, 0, G_OPTION_ARG_STRING, &given.format, "raw or qcow2; otherwise by the target's extension",
      "FORMAT" },
    { "source-format", 0, 0, G_OPTION_ARG_STRING, &given.source_format, "Of an image without a known extension",
      "FORMAT" },
    { "disk", 0, 0, G_OPTION_ARG_STRING, &given.disk, "Which disk, where the source has several (default: sda)",
      "DISK" },
    { "work", 0, 0, G_OPTION_ARG_FILENAME, &given.work_dir, "Work directory (default: .NAME.vmferry beside the target)",
      "DIR" },
    { "replace", 0, 0, G_OPTION_ARG_NONE, &given.replace, "Replace the target, at the end", NULL },
    { "rate", 0, 0, G_OPTION_ARG_STRING, &given.rate, "At most so many bytes a second, such as 50M", "RATE" },
    { "verify", 0, 0, G_OPTION_ARG_NONE, &given.verify, "Read the target back and compare it with what was read",
      NULL },
    { "receipt", 0, 0, G_OPTION_ARG_FILENAME, &given.receipt, "Write a receipt, for 'vmferry verify'", "FILE" },
    VMF_CLI_PASSWORD_OPTION,
    { "progress", 0, 0, G_OPTION_ARG_STRING, &given.progress, "auto, none, lines, terminal or json", "STYLE" },
    { "json", 0, 0, G_OPTION_ARG_NONE, &given.json, "Print the summary as one JSON object", NULL },
    { NULL }
};

/* One copy and what it has open. */
struct copy
{
    const struct vmf_settings *settings;
    GCancellable *cancellable;
    struct vmf_source *source;
    struct vmf_vm *vm;
    struct vmf_image *image;
    struct vmf_server *server; /* NULL: the source is an NBD server already */
    char *source_uri, *source_name, *target, *work_dir, *socket, *name;
    char *held_up; /* what the user was told last that it waits for */
    const char *format;
    uint64_t size_bytes;
    struct vmf_pace *pace;
    struct vmf_transfer *transfer;
    struct vmf_control *control;
    struct vmf_progress *progress;
    struct vmf_proof *read, *found; /* by the journal; by reading the target back */
    int64_t started_us, ended_us;
    struct vmf_mover_waits waits;
    int wake_fd, work_fd; /* work_fd: the work directory, locked */
    GThread *thread;
    GError *thread_error;
    GError *server_error; /* why the source's helper could not be started again; NULL: it could */
    int64_t restart_us;   /* not before */
    bool thread_ended;    /* atomic */
    bool refused;         /* before anything was done */
};

static void
copy_clear (struct copy *copy)
{
    vmf_control_free (copy->control);
    vmf_transfer_free (copy->transfer);
    vmf_server_free (copy->server);
    vmf_image_free (copy->image);
    vmf_vm_free (copy->vm);
    vmf_source_close (copy->source);
    vmf_pace_free (copy->pace);
    vmf_progress_free (copy->progress);
    vmf_proof_free (copy->read);
    vmf_proof_free (copy->found);
    if (copy->refused && copy->work_fd > 0)
        g_rmdir (copy->work_dir); /* stays if there is something in it */
    g_clear_error (&copy->server_error);
    g_free (copy->source_uri);
    g_free (copy->held_up);
    g_free (copy->source_name);
    g_free (copy->target);
    g_free (copy->work_dir);
    g_free (copy->socket);
    g_free (copy->name);
    if (copy->wake_fd > 0)
        close (copy->wake_fd);
    if (copy->work_fd > 0)
        close (copy->work_fd);
}

/* ---- the source ---- */

static bool
find_image (struct copy *copy, const char *address, GError **error)
{
    const char *ca_file = vmf_settings_get_string (copy->settings, "http.ca_file");
    struct vmf_source_options options = { .format = given.source_format,
                                          .ca_file = *ca_file ? ca_file : NULL,
                                          .work_dir = copy->work_dir,
                                          .settings = copy->settings,
                                          .ask_password = vmf_cli_ask_password };
    copy->source = vmf_source_open (address, &options, copy->cancellable, error);
    copy->vm = copy->source ? copy->source->ops->describe (copy->source, NULL, copy->cancellable, error) : NULL;
    for (unsigned i = 0; copy->vm && vmf_vm_get_import_disk (copy->vm, i); i++)
    {
        g_autofree char *name = vmf_disk_letter_name (i);
        if (strcmp (name, given.disk ? given.disk : "sda") != 0)
            continue;
        copy->image = copy->source->ops->image (copy->source, copy->vm, vmf_vm_get_import_disk (copy->vm, i),
                                                copy->cancellable, error);
        return copy->image != NULL;
    }
    if (copy->vm)
        g_set_error (error, VMF_ERROR, VMF_ERROR_NOT_FOUND, "%s has no disk '%s'", address,
                     given.disk ? given.disk : "sda");
    return false;
}

static bool
start_server (struct copy *copy, GError **error)
{
    copy->server = vmf_server_start (copy->image, copy->name, copy->socket, copy->cancellable, error);
    copy->source_uri = copy->server ? g_strdup (vmf_server_get_uri (copy->server)) : NULL;
    return copy->server != NULL;
}

static bool
open_source (struct copy *copy, const char *address, GError **error)
{
    bool direct = vmf_nbd_is_uri (address) && g_strcmp0 (given.source_format ? given.source_format : "raw", "raw") == 0;
    copy->source_name = strstr (address, "://") ? vmf_feed_show_url (address, NULL) : NULL;
    if (!copy->source_name)
        copy->source_name = vmf_nbd_is_uri (address) ? g_strdup (address) : g_canonicalize_filename (address, NULL);
    copy->source_uri = direct ? g_strdup (address) : NULL;
    if (!direct && (!find_image (copy, address, error) || !start_server (copy, error)))
        return false;
    g_autoptr (nbd_handle) nbd =
        vmf_nbd_connect (copy->source_uri, address, direct ? VMF_NBD_NAMED : VMF_NBD_NONE, copy->cancellable, error);
    if (!nbd)
        return false;
    copy->size_bytes = (uint64_t)nbd_get_size (nbd);
    return true;
}

/* Said before anything is read. */
static bool
check_nbd_target (struct copy *copy, GError **error)
{
    if (!vmf_nbd_is_uri (copy->target))
        return true;
    g_autoptr (nbd_handle) nbd = vmf_nbd_connect (copy->target, copy->target, VMF_NBD_NAMED, copy->cancellable, error);
    if (!nbd)
        return false;
    uint64_t size_bytes = (uint64_t)nbd_get_size (nbd);
    if (nbd_is_read_only (nbd) == 1)
        g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE, "%s is read-only; start its server writable", copy->target);
    else if (size_bytes < copy->size_bytes)
        g_set_error (error, VMF_ERROR, VMF_ERROR_NO_SPACE,
                     "%s has %" G_GUINT64_FORMAT " bytes, the source %" G_GUINT64_FORMAT "; make it as large",
                     copy->target, (guint64)size_bytes, (guint64)copy->size_bytes);
    else
        return true;
    return false;
}

/* A helper that died is started again; the mover connects to it by itself. */
static void
tend_server (struct copy *copy)
{
    bool fine = !copy->image || (copy->server && vmf_server_is_running (copy->server));
    if (fine || g_get_monotonic_time () < copy->restart_us)
        return;
    g_clear_pointer (&copy->server, vmf_server_free);
    g_clear_error (&copy->server_error);
    copy->server = vmf_server_start (copy->image, copy->name, copy->socket, copy->cancellable, &copy->server_error);
    copy->restart_us = g_get_monotonic_time () + RESTART_PAUSE_MS * 1000;
}

/* Over NBD comes no more than "Input/output error"; what stands behind it is known here. */
static void
explain (struct copy *copy)
{
    vmf_server_explain (copy->server, &copy->thread_error);
    if (copy->server_error && copy->thread_error)
        g_prefix_error (&copy->thread_error, "%s; ", copy->server_error->message);
}

/* ---- the target and the work directory ---- */

static bool
choose_target (struct copy *copy, const char *word, GError **error)
{
    static const char *const formats[] = { "raw", "qcow2", NULL };
    bool nbd = vmf_nbd_is_uri (word);
    copy->target = nbd ? g_strdup (word) : g_canonicalize_filename (word, NULL);
    copy->name = nbd ? g_strdup ("disk") : g_path_get_basename (word);
    copy->format = given.format ? given.format : g_str_has_suffix (word, ".qcow2") ? "qcow2" : "raw";
    if (!g_strv_contains (formats, copy->format))
        g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE, "--format is raw or qcow2");
    else if (nbd && strcmp (copy->format, "raw") != 0)
        g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE, "an NBD target is raw; its server knows its format");
    else
        return true;
    return false;
}

/* Everything in the work directory, sockets too, is ours alone from here on. */
static bool
lock_work (struct copy *copy, GError **error)
{
    int fd = open (copy->work_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 && (flock (fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK))
        return copy->work_fd = fd, true;
    if (fd < 0)
        g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "cannot open the work directory %s: %s", copy->work_dir,
                     g_strerror (errno));
    else
        g_set_error (
            error, VMF_ERROR, VMF_ERROR_EXISTS,
            "the work directory %s is in use: another vmferry runs there; wait for it, or give another (--work)",
            copy->work_dir);
    if (fd >= 0)
        close (fd);
    return false;
}

static bool
open_work (struct copy *copy, GError **error)
{
    g_autofree char *folder = g_path_get_dirname (copy->target), *leaf = g_strdup_printf (".%s.vmferry", copy->name);
    bool file = !vmf_nbd_is_uri (copy->target) && !g_str_has_prefix (copy->target, "/dev/");
    if (given.work_dir)
        copy->work_dir = g_canonicalize_filename (given.work_dir, NULL);
    else if (file)
        copy->work_dir = g_build_filename (folder, leaf, NULL);
    else
        g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE,
                     "a device or an NBD server as target needs --work DIR for the journal");
    if (!copy->work_dir)
        return false;
    copy->socket = g_build_filename (copy->work_dir, "source.sock", NULL);
    if (g_mkdir_with_parents (copy->work_dir, 0700) == 0)
        return lock_work (copy, error);
    g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "cannot make the work directory %s: %s", copy->work_dir,
                 g_strerror (errno));
    return false;
}

static bool
open_transfer (struct copy *copy, GError **error)
{
    uint64_t rate = 0;
    if (given.rate && !vmf_text_to_size (given.rate, "--rate", &rate, error))
        return false;
    copy->pace = vmf_pace_new (NULL);
    vmf_pace_set_rate (copy->pace, rate);
    struct vmf_transfer_options options = {
        .name = copy->name,
        .source = copy->source_name,
        .source_uri = copy->source_uri,
        .target = copy->target,
        .format = copy->format,
        .work_dir = vmf_settings_get_bool (copy->settings, "copy.journal") ? copy->work_dir : NULL,
        .size_bytes = copy->size_bytes,
        .replace = given.replace,
        .mover = { .connections = (unsigned)vmf_settings_get_uint64 (copy->settings, "copy.connections"),
                   .memory_bytes = vmf_settings_get_uint64 (copy->settings, "copy.memory_mib") << 20,
                   .sequential = copy->image && vmf_image_is_sequential (copy->image),
                   .no_digests = !vmf_settings_get_bool (copy->settings, "copy.digests"),
                   .pace = copy->pace,
                   .io_timeout_ms = (int64_t)vmf_settings_get_uint64 (copy->settings, "copy.io_timeout_s") * 1000,
                   .retry_ms = (int64_t)vmf_settings_get_uint64 (copy->settings, "copy.retry_s") * 1000 },
    };
    copy->transfer = vmf_transfer_open (&options, copy->cancellable, error);
    return copy->transfer != NULL;
}

/* ---- control ---- */

static const char *
bottleneck (struct copy *copy)
{
    return vmf_mover_waits_for (&copy->waits, vmf_transfer_get_progress (copy->transfer));
}

static json_t *
status_json (struct copy *copy)
{
    const struct vmf_mover_progress *progress = vmf_transfer_get_progress (copy->transfer);
    return json_pack ("{s:s, s:I, s:I, s:I, s:I, s:I, s:b, s:s?}", "name", copy->name, "needed_bytes",
                      (json_int_t)progress->needed, "done_bytes", (json_int_t)progress->done, "proven_bytes",
                      (json_int_t)progress->proven, "retries", (json_int_t)progress->retries, "rate_bytes_per_s",
                      (json_int_t)vmf_pace_get_rate (copy->pace), "paused", vmf_pace_is_paused (copy->pace),
                      "bottleneck", bottleneck (copy));
}

static json_t *
control (const char *command, const char *disk, const char *value, void *data, GError **error)
{
    struct copy *copy = data;
    return strcmp (command, "status") == 0 ? status_json (copy) : vmf_control_pace (copy->pace, command, value, error);
}

/* ---- running ---- */

static void *
transfer_thread (void *data)
{
    struct copy *copy = data;
    vmf_transfer_run (copy->transfer, &copy->thread_error);
    __atomic_store_n (&copy->thread_ended, true, __ATOMIC_RELEASE);
    eventfd_write (copy->wake_fd, 1);
    return NULL;
}

static void
tell (struct copy *copy, const char *stage)
{
    const struct vmf_import_events *events = vmf_progress_get_events (copy->progress);
    const struct vmf_mover_progress *progress = vmf_transfer_get_progress (copy->transfer);
    struct vmf_import_disk_progress disk = { .name = copy->name,
                                             .needed_bytes = __atomic_load_n (&progress->needed, __ATOMIC_RELAXED),
                                             .done_bytes = __atomic_load_n (&progress->done, __ATOMIC_RELAXED),
                                             .read_bytes = __atomic_load_n (&progress->read, __ATOMIC_RELAXED),
                                             .copied = copy->thread_ended && !copy->thread_error,
                                             .bottleneck = bottleneck (copy) };
    struct vmf_import_progress all = {
        .stage = stage, .disks = &disk, .n_disks = 1, .now_us = g_get_monotonic_time ()
    };
    if (events->progress)
        events->progress (&all, events->data);
}

static void
tell_held_up (struct copy *copy)
{
    const struct vmf_import_events *events = vmf_progress_get_events (copy->progress);
    g_autofree char *why = copy->server ? vmf_held_up_look (vmf_server_get_uri (copy->server)) : NULL;
    if (vmf_held_up_is_news (&copy->held_up, why))
        events->message (VMF_IMPORT_NOTE, why, events->data);
}

static bool
run (struct copy *copy, GError **error)
{
    eventfd_t ignored;
    copy->wake_fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
    copy->thread = g_thread_new ("mover", transfer_thread, copy);
    while (!__atomic_load_n (&copy->thread_ended, __ATOMIC_ACQUIRE))
    {
        struct pollfd fds[] = { { copy->wake_fd, POLLIN, 0 }, { vmf_control_get_fd (copy->control), POLLIN, 0 } };
        poll (fds, G_N_ELEMENTS (fds), TICK_MS);
        eventfd_read (copy->wake_fd, &ignored);
        vmf_control_step (copy->control);
        tend_server (copy);
        tell_held_up (copy);
        tell (copy, "copy");
    }
    g_thread_join (copy->thread);
    tell (copy, "copy");
    explain (copy);
    if (copy->thread_error)
        g_propagate_error (error, g_steal_pointer (&copy->thread_error));
    else
        return vmf_transfer_finish (copy->transfer, error);
    return false;
}

/* What was read, by the journal; with --verify also what the target gives back, by another program. */
static bool
prove (struct copy *copy, GError **error)
{
    struct vmf_journal *journal = vmf_transfer_get_journal (copy->transfer);
    if (!given.verify && !given.receipt)
        return true;
    if (!journal || !vmf_settings_get_bool (copy->settings, "copy.digests"))
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE, "--verify and --receipt need copy.journal and copy.digests");
        return false;
    }
    g_autoptr (vmf_digest_table) table = vmf_journal_table (journal, error);
    copy->read = table ? vmf_proof_from_table (table, error) : NULL;
    if (!copy->read || !given.verify)
        return copy->read != NULL;
    g_clear_pointer (&copy->server, vmf_server_free);
    struct vmf_receipt_target target = { copy->target, copy->format, copy->work_dir };
    struct vmf_proof_options options = { .name = copy->name,
                                         .size_bytes = copy->size_bytes,
                                         .table = table,
                                         .unknown_is_zero = true,
                                         .cancellable = copy->cancellable };
    copy->found = vmf_receipt_read_target (&target, &options, error);
    return copy->found != NULL;
}

static json_t *
receipt_disks (const struct copy *copy)
{
    const struct vmf_mover_progress *progress = vmf_transfer_get_progress (copy->transfer);
    json_t *disk = vmf_receipt_disk (copy->name, copy->source_name, copy->target, copy->format, progress, copy->read,
                                     copy->found ? copy->found : copy->read, copy->found != NULL);
    return json_pack ("[o]", disk);
}

static json_t *
summary_json (const struct copy *copy)
{
    const struct vmf_mover_progress *progress = vmf_transfer_get_progress (copy->transfer);
    return json_pack ("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:s?, s:b}", "source",
                      copy->source_name, "target", copy->target, "format", copy->format, "size_bytes",
                      (json_int_t)copy->size_bytes, "needed_bytes", (json_int_t)progress->needed, "resumed_bytes",
                      (json_int_t)progress->resumed, "read_bytes", (json_int_t)progress->read, "written_bytes",
                      (json_int_t)progress->written, "zero_bytes", (json_int_t)progress->zero, "hole_bytes",
                      (json_int_t)progress->hole, "retries", (json_int_t)progress->retries, "reconnects",
                      (json_int_t)progress->reconnects, "duration_s", (double)(copy->ended_us - copy->started_us) / 1e6,
                      "bottleneck", vmf_mover_waits_for (NULL, progress), "verified", copy->found != NULL);
}

static void
print_summary (const struct copy *copy)
{
    const struct vmf_mover_progress *progress = vmf_transfer_get_progress (copy->transfer);
    g_autofree char *read = vmf_text_from_size (progress->read), *written = vmf_text_from_size (progress->written);
    g_autofree char *resumed = vmf_text_from_size (progress->resumed);
    g_autofree char *time = vmf_text_from_duration (copy->ended_us - copy->started_us);
    printf ("%s: read %s, wrote %s in %s", copy->target, read, written, time);
    if (progress->resumed > 0)
        printf ("; %s were there from before%s", resumed,
                copy->image && vmf_image_is_sequential (copy->image) ? " (but a stream is read from its beginning)"
                                                                     : "");
    if (progress->retries > 0)
        printf ("; %" G_GUINT64_FORMAT " reads tried again", (guint64)progress->retries);
    if (copy->found)
        printf ("; read back and found to be what was read (SHA-256 %s)", copy->found->sha256);
    putchar ('\n');
}

static int
remove_one (const char *path, const struct stat *info, int type, struct FTW *where)
{
    return remove (path);
}

static bool
copy_disk (struct copy *copy, const char *source, const char *target, GError **error)
{
    if (!choose_target (copy, target, error) || !open_work (copy, error) || !open_source (copy, source, error)
        || !check_nbd_target (copy, error) || !open_transfer (copy, error))
        return false;
    copy->started_us = g_get_monotonic_time ();
    copy->control = vmf_control_new (copy->work_dir, control, copy, error);
    if (!copy->control || !run (copy, error) || !prove (copy, error))
        return false;
    copy->ended_us = g_get_monotonic_time ();
    return !given.receipt || vmf_receipt_write (given.receipt, receipt_disks (copy), error);
}

int
vmf_cmd_copy (int argc, char **argv)
{
    g_auto (GStrv) words = NULL;
    g_autoptr (vmf_settings) settings = NULL;
    g_autoptr (GError) error = NULL;
    enum vmf_progress_style style = VMF_PROGRESS_AUTO;
    int status =
        vmf_cli_parse (argc, argv, entries, "SOURCE TARGET",
                       "Copies one disk. SOURCE is an NBD URI, an image, or what import takes; TARGET a file, a "
                       "block device or an NBD URI. The same command goes on where a killed one was.",
                       2, 2, &words, &settings);
    if (status != VMF_EXIT_OK)
        return status;
    struct copy copy = { .settings = settings, .cancellable = vmf_cli_cancellable () };
    if (!vmf_progress_style_from_text (given.progress, &style, &error))
        return vmf_cli_fail (error);
    copy.progress = vmf_progress_new (style);
    bool good = copy_disk (&copy, words[0], words[1], &error);
    vmf_progress_settle (copy.progress);
    if (good && given.json)
        vmf_cli_print_json (summary_json (&copy));
    else if (good)
        print_summary (&copy);
    if (!good)
        status = vmf_cli_fail (error);
    if (!good && copy.transfer && vmf_transfer_get_journal (copy.transfer))
        fprintf (stderr, "vmferry: what was copied is kept; the same command goes on, and 'rm -r %s' gives up\n",
                 copy.work_dir);
    if (good)
        vmf_transfer_forget (copy.transfer);
    copy.refused = !good && !copy.transfer;
    char *done_with = good && !given.work_dir ? g_strdup (copy.work_dir) : NULL;
    copy_clear (&copy);
    if (done_with)
        nftw (done_with, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    g_free (done_with);
    return status;
}
