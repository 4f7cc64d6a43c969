# SPDX-License-Identifier: GPL-2.0-or-later
"""The root file system that all Linux guests of the lab are filled from: a minimal Debian as it stands on VMware.

One tar serves BIOS and UEFI, ext4, XFS and LVM. The initramfs is kept light (a list of modules, lz4), because the
conversion runs the guest's own update-initramfs inside an emulated appliance.
"""
import os
import platform
import subprocess

from lablib.host import LabError, die_with_parent

PACKAGES = ["systemd-sysv", "udev", "kmod", "initramfs-tools", "lz4", "linux-image-cloud-amd64", "grub-pc",
            "grub-efi-amd64-bin", "iproute2", "lvm2", "e2fsprogs", "xfsprogs", "ifupdown", "isc-dhcp-client"]
# What the virtual hardware of VMware needs. The cloud kernel has no LSI (mptspi) driver; absent ones are left out.
MODULES = ["vmw_pvscsi", "mptspi", "ata_piix", "ahci", "sd_mod", "ext4", "xfs", "dm_mod"]

INITRAMFS = "MODULES=list\nCOMPRESS=lz4\nBUSYBOX=no\n"
GRUB = ('GRUB_DEFAULT=0\nGRUB_TIMEOUT=1\nGRUB_DISTRIBUTOR=Debian\nGRUB_CMDLINE_LINUX_DEFAULT=""\n'
        'GRUB_CMDLINE_LINUX="console=tty0 console=ttyS0,115200 net.ifnames=0"\nGRUB_TERMINAL="console serial"\n'
        'GRUB_SERIAL_COMMAND="serial --unit=0 --speed=115200"\nGRUB_DISABLE_OS_PROBER=true\n')
INTERFACES = "auto lo\niface lo inet loopback\n\nallow-hotplug eth0\niface eth0 inet dhcp\n"

SETUP = r"""#!/bin/sh
set -eu
root=$1
kernel=$(ls "$root/lib/modules")
for module in {modules}; do
  if chroot "$root" modinfo -k "$kernel" "$module" >/dev/null 2>&1; then echo "$module"; fi
done >> "$root/etc/initramfs-tools/modules"
cp "$(dirname "$0")/grub" "$root/etc/default/grub"
cp "$(dirname "$0")/interfaces" "$root/etc/network/interfaces"
echo guest > "$root/etc/hostname"
printf '127.0.0.1 localhost\n127.0.1.1 guest\n' > "$root/etc/hosts"
echo root:lab | chroot "$root" chpasswd
ln -sf /lib/systemd/system/serial-getty@.service "$root/etc/systemd/system/getty.target.wants/serial-getty@ttyS0.service"
chroot "$root" update-initramfs -u
rm -f "$root/etc/machine-id"; : > "$root/etc/machine-id"
"""


def build(out):
    """root.tar in OUT."""
    if platform.machine() != "x86_64":
        raise LabError("the lab's guests are x86_64")
    work = os.path.join(out, "work")
    os.mkdir(work)
    for name, text in (("initramfs", INITRAMFS), ("grub", GRUB), ("interfaces", INTERFACES),
                       ("setup", SETUP.replace("{modules}", " ".join(MODULES)))):
        with open(os.path.join(work, name), "w", encoding="ascii") as file:
            file.write(text)
    os.chmod(os.path.join(work, "setup"), 0o755)
    argv = ["mmdebstrap", "--variant=minbase", "--mode=root", "--skip=check/empty",
            "--aptopt=APT::Install-Recommends \"false\"", "--include=" + ",".join(PACKAGES),
            "--essential-hook=mkdir -p \"$1\"/etc/initramfs-tools/conf.d && cp %s/initramfs "
            "\"$1\"/etc/initramfs-tools/conf.d/lab.conf" % work,
            "--customize-hook=" + os.path.join(work, "setup"),
            os.environ.get("VMFERRY_LAB_SUITE", "bookworm"), os.path.join(out, "root.tar")]
    mirror = os.environ.get("VMFERRY_LAB_MIRROR")
    with open(os.path.join(out, "build.log"), "wb") as log:
        done = subprocess.run(argv + ([mirror] if mirror else []), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                              env=dict(os.environ, TMPDIR="/var/tmp"), preexec_fn=die_with_parent, check=False)
    if done.returncode:
        with open(os.path.join(out, "build.log"), errors="replace", encoding="utf-8") as log:
            raise LabError("mmdebstrap ended with %d:\n%s" % (done.returncode, "".join(log.readlines()[-12:])))
    for name in ("initramfs", "grub", "interfaces", "setup"):
        os.remove(os.path.join(work, name))
    os.rmdir(work)
