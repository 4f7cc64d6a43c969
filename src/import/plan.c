/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is known before anything is touched: the description with the user's changes, every disk's image opened and
 * checked, and the findings of the preflight. A dry run ends behind this.
 */
#include "base/error.h"
#include "base/text.h"
#include "base/tools.h"
#include "disk/nbd.h"
#include "import/internal.h"

#include <string.h>
#include <sys/stat.h>

/* Compressed images say nothing of how much they hold; this is what disks of guests are packed to, roughly. */
#define COMPRESSION_GUESS 3
#define SECTOR_BYTES 512

static bool
is_virtio_guest (const struct vmf_vm *vm)
{
    const struct vmf_disk *disk = vmf_vm_get_import_disk (vm, 0);
    return vm->origin == VMF_ORIGIN_KVM && disk
           && (disk->bus == VMF_BUS_VIRTIO_BLK || disk->bus == VMF_BUS_VIRTIO_SCSI);
}

static void
decide_conversion (struct vmf_import *import)
{
    if (import->options.convert != VMF_IMPORT_CONVERT_AUTO)
    {
        import->convert = import->options.convert == VMF_IMPORT_CONVERT_YES;
        import->convert_why = "as asked for";
        return;
    }
    import->convert = !is_virtio_guest (import->vm);
    import->convert_why =
        import->convert ? "the guest does not run on virtio yet" : "the guest runs on KVM with virtio already";
}

static void
make_disks (struct vmf_import *import)
{
    const char *format = import->options.disk_format ? import->options.disk_format : "qcow2";
    while (vmf_vm_get_import_disk (import->vm, import->n_disks))
        import->n_disks++;
    import->disks = g_new0 (struct import_disk, import->n_disks);
    for (unsigned i = 0; i < import->n_disks; i++)
    {
        struct import_disk *disk = &import->disks[i];
        disk->disk = vmf_vm_get_import_disk (import->vm, i);
        disk->name = vmf_disk_letter_name (i);
        disk->import = import;
        disk->pace = vmf_pace_new (import->pace);
        disk->format = g_strdup (format);
        disk->preallocate = import->options.preallocate;
    }
}

bool
import_describe (struct vmf_import *import, GError **error)
{
    const char *ca_file = vmf_settings_get_string (import->settings, "http.ca_file");
    struct vmf_source_options options = {
        .format = import->options.format,
        .work_dir = vmf_work_get_dir (import->work),
        .settings = import->settings,
        .shut_down = import->options.shut_down,
        .ask_password = import->options.ask_password,
        .ca_file = *ca_file ? ca_file : NULL,
    };
    import_stage_begin (import, "describe");
    import->source_opened_us = g_get_real_time ();
    import->source = vmf_source_open (import->options.source, &options, import->stop, error);
    if (import->source && import->source->notice)
        import_say (import, VMF_IMPORT_WARNING, "%s", import->source->notice);
    import->vm =
        import->source ? import->source->ops->describe (import->source, import->options.vm, import->stop, error) : NULL;
    if (!import->vm)
        return false;
    make_disks (import);
    if (!import_apply (import, error))
        return false;
    if (import->n_disks == 0)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_USAGE, "%s has no hard disk to import", import->vm->name);
        return false;
    }
    decide_conversion (import);
    import_stage_end (import, "describe");
    return true;
}

static void
add_if_data (uint64_t offset, const struct vmf_nbd_status *status, void *data)
{
    if (!(status->flags & LIBNBD_STATE_ZERO))
        *(uint64_t *)data += status->length_bytes;
}

/* What the disk's server calls allocated; its size where that does not tell. */
static uint64_t
allocated_bytes (const struct import_disk *disk, GCancellable *cancellable)
{
    uint64_t sum = 0;
    bool told = vmf_nbd_walk (vmf_server_get_uri (disk->server), disk->name, VMF_NBD_EXTENTS,
                              LIBNBD_CONTEXT_BASE_ALLOCATION, add_if_data, &sum, cancellable, NULL);
    return told ? sum : disk->size_bytes;
}

/* About how much of the target this disk will fill, as far as can be told without reading it. */
static uint64_t
expected_bytes (const struct import_disk *disk, GCancellable *cancellable)
{
    const struct vmf_image *image = disk->image;
    struct stat info;
    /* The file of an image that refers to others is only a part of it, or a mere description. */
    if (image->backing || image->data_file || image->has_references)
        return allocated_bytes (disk, cancellable);
    if (!image->path || stat (image->path, &info) != 0 || !S_ISREG (info.st_mode))
        return disk->size_bytes;
    uint64_t held = image->length_bytes ? image->length_bytes : (uint64_t)info.st_blocks * 512;
    bool may_be_compressed = strcmp (image->format, "vmdk") == 0 || strcmp (image->format, "qcow2") == 0;
    return MIN (disk->size_bytes, may_be_compressed ? held * COMPRESSION_GUESS : held);
}

char *
import_source_socket (const struct import_disk *disk)
{
    return g_strdup_printf ("%s/%s-source.sock", vmf_work_get_dir (disk->import->work), disk->name);
}

/* X8: the helper that will serve the disk is started now, tells its size and has to give its first sector. */
static bool
open_disk (struct vmf_import *import, struct import_disk *disk, GError **error)
{
    g_autofree char *socket = import_source_socket (disk);
    char sector[SECTOR_BYTES];
    disk->image = import->source->ops->image (import->source, import->vm, disk->disk, import->stop, error);
    import->sequential |= disk->image && vmf_image_is_sequential (disk->image);
    disk->server = disk->image ? vmf_server_start (disk->image, disk->name, socket, import->stop, error) : NULL;
    g_autoptr (nbd_handle) nbd = disk->server ? vmf_nbd_connect (vmf_server_get_uri (disk->server), disk->name,
                                                                 VMF_NBD_NONE, import->stop, error)
                                              : NULL;
    if (!nbd)
        return false;
    disk->size_bytes = (uint64_t)nbd_get_size (nbd);
    if (disk->size_bytes < SECTOR_BYTES)
    {
        g_set_error (error, VMF_ERROR, VMF_ERROR_CORRUPT, "it is empty; leave it out with --disk %s:skip", disk->name);
        return false;
    }
    if (vmf_nbd_read_telling (nbd, "its first sector cannot be read", sector, sizeof sector, 0, import_tell_held_up,
                              disk, import->stop, error))
        return true;
    vmf_server_explain (disk->server, error);
    return false;
}

/* A dry run touches nothing, the source's machine least of all; while that runs, its disks cannot be opened. */
static bool
leave_closed (struct vmf_import *import)
{
    if (!import->options.dry_run || !import->vm->running || !import->source->ops->hold)
        return false;
    vmf_findings_add (import->findings, VMF_FINDING_INFO,
                      "the machine runs: an import holds its disks still first; this dry run has not opened them");
    for (unsigned i = 0; i < import->n_disks; i++)
        import->disks[i].size_bytes = import->disks[i].disk->capacity_bytes;
    return true;
}

static void
open_disks (struct vmf_import *import)
{
    if (import->resumed && import->resume != IMPORT_RESUME_COPY) /* the source was let go of */
        return;
    if (leave_closed (import))
        return;
    for (unsigned i = 0; i < import->n_disks; i++)
    {
        struct import_disk *disk = &import->disks[i];
        g_autoptr (GError) local = NULL;
        if (open_disk (import, disk, &local))
            disk->expected_bytes = expected_bytes (disk, import->stop);
        else
            vmf_findings_add (import->findings, VMF_FINDING_BLOCKING, "disk %s: %s", disk->name, local->message);
        if (!local && disk->disk->shareable)
            vmf_findings_add (import->findings, VMF_FINDING_WARNING,
                              "disk %s is shared with other VMs; the copy will be this VM's own", disk->name);
    }
}

static void
check_program (struct vmf_import *import, const char *name, const char *otherwise)
{
    g_autofree char *path = vmf_tool_find (vmf_tool_get (name));
    g_autofree char *hint = vmf_tool_hint (name);
    if (!path)
        vmf_findings_add (import->findings, VMF_FINDING_BLOCKING, "the program %s is not installed; %s%s", name, hint,
                          otherwise);
}

/* What every import starts. What only some images or file systems need is looked for where they are met. */
static void
check_programs (struct vmf_import *import)
{
    static const char *const always[] = {
        "qemu-storage-daemon", "qemu-img", "nbdkit", "nbdfuse", "fusermount3", "bwrap"
    };
    for (size_t i = 0; i < G_N_ELEMENTS (always); i++)
        check_program (import, always[i], "");
    if (import->convert)
        check_program (import, "virt-v2v-in-place", ", or copy without conversion (--no-convert)");
}

/* D6, PITFALLS 30: named before the start, not after the copy. */
static void
check_windows (struct vmf_import *import)
{
    if (!import->convert || !import->vm->os_windows)
        return;
    const char *set = vmf_settings_get_string (import->settings, "virtio_win");
    const char *env = g_getenv ("VIRTIO_WIN");
    const char *place = *set ? set : env && *env ? env : "/usr/share/virtio-win";
    if (!g_file_test (place, G_FILE_TEST_EXISTS))
        vmf_findings_add (
            import->findings, VMF_FINDING_WARNING,
            "this is a Windows and its virtio drivers are not at %s: it will be given IDE or SATA disks and "
            "an e1000 NIC; install virtio-win or set virtio_win to its ISO or directory",
            place);
}

/* B8: what goes to virt-v2v unread must be on the administrator's list, by the option's name. */
static void
check_v2v_options (struct vmf_import *import)
{
    g_auto (GStrv) allowed = vmf_settings_get_list (import->settings, "convert.allowed_options");
    for (size_t i = 0; import->options.v2v_options && import->options.v2v_options[i]; i++)
    {
        g_auto (GStrv) halves = g_strsplit (import->options.v2v_options[i], "=", 2);
        if (!g_strv_contains ((const char *const *)allowed, halves[0]))
            vmf_findings_add (import->findings, VMF_FINDING_BLOCKING,
                              "the virt-v2v option %s is not on this host's list; the administrator adds it to "
                              "convert.allowed_options",
                              halves[0]);
    }
}

/* B10: a NIC without a word from the user goes to the network 'default', whatever the source's is called; that is said.
 */
static void
map_nics (struct vmf_import *import)
{
    for (unsigned i = 0; i < import->vm->nics->len; i++)
    {
        struct vmf_nic *nic = g_ptr_array_index (import->vm->nics, i);
        if (nic->keep_out || nic->map_network || nic->map_bridge)
            continue;
        g_autofree char *number = g_strdup_printf ("%u", i + 1);
        nic->map_network = g_strdup ("default");
        if (nic->added)
            vmf_findings_add (
                import->findings, VMF_FINDING_INFO,
                "the source says nothing of network cards: the machine gets one, on the network 'default'; "
                "choose with --network TARGET, or --network none");
        else
            vmf_findings_add (import->findings, VMF_FINDING_INFO,
                              "NIC %s (%s) goes to the network 'default'; choose with --network \"%s=TARGET\"", number,
                              nic->network ? nic->network : "no network named", nic->network ? nic->network : number);
    }
}

struct vmf_target_disk_wish *
import_wishes (const struct vmf_import *import)
{
    struct vmf_target_disk_wish *wishes = g_new0 (struct vmf_target_disk_wish, import->n_disks);
    for (unsigned i = 0; i < import->n_disks; i++)
    {
        const struct import_disk *disk = &import->disks[i];
        wishes[i] = (struct vmf_target_disk_wish){
            .format = disk->format,
            .pool = disk->pool,
            .preallocate = disk->preallocate && !import->convert, /* with a chain, when that is closed */
            .size_bytes = disk->size_bytes,
            .expected_bytes = disk->preallocate ? disk->size_bytes : disk->expected_bytes,
        };
    }
    return wishes;
}

static bool
open_target (struct vmf_import *import, GError **error)
{
    struct vmf_target_options options = {
        .pool = import->options.pool,
        .work_dir = import->options.dry_run ? NULL : vmf_work_get_dir (import->work),
        .replace = import->options.replace,
    };
    return (import->target = vmf_target_open (import->options.target, &options, error)) != NULL;
}

static bool
check_target (struct vmf_import *import, GPtrArray *findings, GError **error)
{
    g_autofree struct vmf_target_disk_wish *wishes = import_wishes (import);
    return import->resumed /* what has the VM's names is its own */
           || import->target->ops->check (import->target, import->vm, wishes, import->n_disks, findings, error);
}

/* One error that names every blocking finding: nobody wants to meet them one by one. */
static bool
refuse_if_blocked (struct vmf_import *import, GError **error)
{
    g_autoptr (GString) all = g_string_new (NULL);
    for (guint i = 0; i < import->findings->len; i++)
    {
        const struct vmf_finding *finding = g_ptr_array_index (import->findings, i);
        if (finding->kind == VMF_FINDING_BLOCKING)
            g_string_append_printf (all, "%s%s", all->len ? "\n" : "", finding->text);
        else
            import_say (import, finding->kind == VMF_FINDING_WARNING ? VMF_IMPORT_WARNING : VMF_IMPORT_NOTE, "%s",
                        finding->text);
    }
    for (guint i = 0; i < import->vm->notes->len; i++)
        import_say (import, VMF_IMPORT_NOTE, "%s", (const char *)g_ptr_array_index (import->vm->notes, i));
    if (all->len == 0)
        return true;
    import->refused = true;
    g_set_error (error, VMF_ERROR, VMF_ERROR_FAILED, "%s", all->str);
    return false;
}

/* What stands against the target, as far as the disks' described sizes tell; it is looked at again when they are open.
 */
static bool
may_hold (struct vmf_import *import, GError **error)
{
    g_autoptr (GPtrArray) findings = vmf_findings_new ();
    for (unsigned i = 0; i < import->n_disks; i++)
        import->disks[i].size_bytes = import->disks[i].disk->capacity_bytes;
    if (!check_target (import, findings, error))
        return false;
    for (guint i = 0; i < findings->len; i++)
    {
        const struct vmf_finding *finding = g_ptr_array_index (findings, i);
        if (finding->kind == VMF_FINDING_BLOCKING)
            vmf_findings_add (import->findings, finding->kind, "%s", finding->text);
    }
    return !vmf_findings_blocking (import->findings) || refuse_if_blocked (import, error);
}

/* From here on the source's machine may be touched; not before all else was found good, and not in a dry run. */
static bool
hold_source (struct vmf_import *import, GError **error)
{
    bool over = import->resumed && import->resume != IMPORT_RESUME_COPY;
    if (!import->source->ops->hold || import->options.dry_run)
        return true;
    if (!over && !may_hold (import, error))
        return false;
    import->held = true;
    if (over)
        return true;
    if (import->options.shut_down && import->vm->running)
        import_say (import, VMF_IMPORT_NOTE, "%s is being shut down",
                    import->options.vm ? import->options.vm : import->vm->name);
    bool good = import->source->ops->hold (import->source, import->vm, import->stop, error);
    if (import->source->done)
        vmf_findings_add (import->findings, VMF_FINDING_WARNING, "%s", import->source->done);
    return good;
}

bool
import_preflight (struct vmf_import *import, GError **error)
{
    const struct vmf_source_ops *source = import->source->ops;
    import_stage_begin (import, "preflight");
    if (source->check && !source->check (import->source, import->vm, import->findings, import->stop, error))
        return false;
    check_programs (import);
    check_windows (import);
    check_v2v_options (import);
    map_nics (import);
    import->accel = vmf_accel_probe (import->stop, &import->accel_why);
    if (import->convert && import->accel == VMF_ACCEL_TCG)
        vmf_findings_add (import->findings, VMF_FINDING_WARNING,
                          "no KVM here (%s): the conversion is emulated and takes minutes instead of seconds",
                          import->accel_why);
    if (!open_target (import, error) || !hold_source (import, error))
        return false;
    open_disks (import);
    if (vmf_error_if_cancelled (import->stop, error) || !check_target (import, import->findings, error)
        || !refuse_if_blocked (import, error))
        return false;
    import_stage_end (import, "preflight");
    return true;
}
