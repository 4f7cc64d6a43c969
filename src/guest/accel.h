/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whether KVM really works here: found by running a guest for a moment, once per host and boot.
 *
 * /dev/kvm may be there, open, and still run nothing (nested virtualisation). A Linux kernel of this host is started
 * with the CPU that libguestfs uses; only a kernel that gets to its panic for want of a root file system counts.
 * Without a readable kernel a boot sector of ours is run instead. The answer is cached by boot id.
 */
#pragma once
#include <gio/gio.h>
#include <stdbool.h>

enum vmf_accel
{
    VMF_ACCEL_KVM,
    VMF_ACCEL_TCG,
};

/* WHY gets a sentence for the user ("/dev/kvm opens, but a kernel did not get anywhere in 20 s"). Caller frees. Never
   fails: where the probe cannot run, it is TCG and why. */
enum vmf_accel vmf_accel_probe (GCancellable *cancellable, char **why);

/* "LIBGUESTFS_BACKEND=direct", "LIBGUESTFS_BACKEND_SETTINGS=force_tcg" …: what the user set (BACKEND, SETTINGS from the
   settings or the environment) wins over what was found (A11). */
GStrv vmf_accel_libguestfs_env (enum vmf_accel accel, const char *backend, const char *settings);
