/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `vmferry doctor --fix`: what can be done without asking anybody, and that is little: the folders that the settings
 * name, and the name under which an older nbdkit plugin looks for VDDK 9. Packages, modules, firewalls and other
 * people's files are for the administrator; doctor says which.
 */
#include "base/log.h"
#include "base/vddk-alias.h"
#include "cli/doctor-host.h"
#include "import/work.h"
#include "source/vsphere/pins.h"

#include <errno.h>
#include <glib/gstdio.h>

static void
make_folder (GPtrArray *list, const char *name, const char *path)
{
    if (g_file_test (path, G_FILE_TEST_IS_DIR))
        return;
    if (g_mkdir_with_parents (path, 0700) == 0)
        row_add (list, name, ROW_GOOD, "made %s", path);
    else
        row_add (list, name, ROW_WARNING, "cannot make %s: %s", path, g_strerror (errno));
}

/* A13. It stays as it is when VDDK goes: what dangles is looked through, and --fix makes it anew. */
static void
make_alias (GPtrArray *list, const struct vmf_settings *settings, GCancellable *cancellable)
{
    g_autoptr (vmf_vddk) vddk = vmf_vddk_look (settings, cancellable);
    g_autoptr (GError) error = NULL;
    if (!vddk->wants_alias)
        return;
    g_autofree char *path = vmf_vddk_alias_path (vddk->chosen);
    if (vmf_vddk_alias_make (vddk->chosen, &error))
        row_add (list, "VDDK", ROW_GOOD, "made %s, where %s is libvixDiskLib.so.8 too", path, vddk->chosen->library);
    else
        row_add (list, "VDDK", ROW_WARNING, "%s", error->message);
}

void
doctor_fix (GPtrArray *list, const struct vmf_settings *settings, GCancellable *cancellable)
{
    const char *staging = vmf_settings_get_string (settings, "staging.dir");
    g_autofree char *work = vmf_work_root (settings);
    g_autofree char *log = vmf_log_default_dir (vmf_settings_get_string (settings, "log.dir"));
    g_autofree char *pins = vmf_pins_path (settings), *pins_folder = g_path_get_dirname (pins);
    make_folder (list, "work.dir", work);
    make_folder (list, "log.dir", log);
    make_folder (list, "vsphere.known_hosts", pins_folder);
    if (*staging)
        make_folder (list, "staging.dir", staging);
    make_alias (list, settings, cancellable);
}
