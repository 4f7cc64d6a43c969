/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The road `ssh`: a disk's -flat.vmdk on the ESXi host itself, through nbdkit's ssh plugin. The host needs its ssh
 * service, and the user of the address must be one of the host's own.
 */
#include "source/vsphere/roads.h"
#include "source/ssh-host.h"
#include "base/error.h"
#include "base/plugins.h"

static char *
unfit (struct vsphere_source *source, const struct vmf_vsphere_machine *machine, GCancellable *cancellable)
{
    if (!vmf_plugin_is_installed ("ssh", cancellable))
        return g_strdup ("nbdkit's ssh plugin is not installed; install the package nbdkit");
    if (source->address->is_vcenter)
        return g_strdup ("ssh leads to an ESXi host, not through a vCenter; use esx://USER@HOST/ for it");
    if (machine->power == VMF_POWER_ON && !source->shut_down)
        return g_strdup ("it runs, and holds its disks; --shut-down shuts it down first");
    for (guint i = 0; i < machine->disks->len; i++)
        if (((const struct vmf_vsphere_disk *)g_ptr_array_index (machine->disks, i))->is_delta)
            return g_strdup ("it has snapshots, whose deltas cannot be read like this; remove them first");
    return NULL;
}

static struct vmf_image *
open_image (struct vsphere_source *source, const struct vmf_vsphere_disk *disk, GCancellable *cancellable,
            GError **error)
{
    g_autoptr (vmf_ssh_login) login = vmf_ssh_login_new (
        source->address->user, source->address->host, (uint16_t)vmf_settings_get_uint64 (source->settings, "ssh.port"),
        source->password, source->settings);
    return vmf_ssh_open_datastore_disk (login, disk->path, cancellable, error);
}

const struct vsphere_road vsphere_road_ssh = {
    .name = "ssh",
    .speed = "as fast as one ssh connection",
    .unfit = unfit,
    .image = open_image,
};
