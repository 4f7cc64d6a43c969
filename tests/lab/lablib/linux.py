# SPDX-License-Identifier: GPL-2.0-or-later
"""The bootable Debian guests, as raw disks: sda.raw, sdb.raw and the libvirt XML of the machine they claim to be."""
import os
import re
import shutil
import uuid

from lablib import content, disk
from lablib.disk import MIB
from lablib.host import Loop, Mount, Scratch, filesystem, run

# LVM guests look like Debian's own installer makes them: /boot outside, the rest in a logical partition.
TABLES = {
    "mbr": "label: dos\nsda1 : start=2048, type=83, bootable\n",
    "gpt": "label: gpt\nsda1 : start=2048, size=64MiB, type=U\nsda2 : type=L\n",
    "lvm": "label: dos\nsda1 : start=2048, size=200MiB, type=83, bootable\nsda2 : type=5\nsda5 : type=8e\n",
    "two": "label: dos\nsda1 : start=2048, size=200MiB, type=83, bootable\nsda2 : type=8e\n",
}

GRUB_CFG = """serial --unit=0 --speed=115200
terminal_input console serial
terminal_output console serial
set timeout=1
set default=0
menuentry 'Debian GNU/Linux' --class debian {{
  insmod {table}
  insmod {grubfs}
  search --no-floppy --fs-uuid --set=root {uuid}
  linux {boot}/vmlinuz-{kernel} root={root} ro console=tty0 console=ttyS0,115200 net.ifnames=0
  initrd {boot}/initrd.img-{kernel}
}}
"""

DOMAIN = """<domain type='qemu'>
  <name>lab-{name}</name>
  <uuid>{uuid}</uuid>
  <memory unit='MiB'>1024</memory>
  <vcpu>2</vcpu>
  <os{firmware}>
    <type arch='x86_64' machine='{machine}'>hvm</type>
    <boot dev='hd'/>
  </os>
  <features><acpi/><apic/></features>
  <clock offset='utc'/>
  <devices>
{disks}{controller}    <interface type='user'>
      <mac address='00:50:56:8a:{mac}'/>
      <model type='vmxnet3'/>
    </interface>
    <serial type='pty'/>
    <console type='pty'/>
  </devices>
</domain>
"""


def write_domain(out, final, name, disks, bus, uefi=False):
    """domain.xml: the machine as it is before any conversion. FINAL: the folder it will stand in."""
    letters = "".join("    <disk type='file' device='disk'>\n      <driver name='qemu' type='raw'/>\n"
                      "      <source file='%s/%s'/>\n      <target dev='%s%c' bus='%s'/>\n    </disk>\n"
                      % (final, disk_name, "hd" if bus == "ide" else "sd", 97 + n, bus)
                      for n, disk_name in enumerate(disks))
    number = uuid.uuid5(uuid.NAMESPACE_DNS, "lab." + name)
    text = DOMAIN.format(name=name, uuid=number, firmware=" firmware='efi'" if uefi else "",
                         machine="q35" if bus != "ide" else "pc", disks=letters,
                         controller="" if bus != "scsi" else "    <controller type='scsi' index='0' model='vmpvscsi'/>\n",
                         mac="%s:%s" % (number.hex[:2], number.hex[2:4]))
    with open(os.path.join(out, "domain.xml"), "w", encoding="utf-8") as file:
        file.write(text)


def _kernel(boot):
    return sorted(re.sub("^vmlinuz-", "", name) for name in os.listdir(boot) if name.startswith("vmlinuz-"))[-1]


def _unpack(root_tar, top, out):
    run("tar", "-C", top, "--numeric-owner", "--xattrs", "--xattrs-include=*", "-xf", root_tar)
    content.fill(os.path.join(top, "srv/lab"))
    with open(os.path.join(out, "content.sha256"), "w", encoding="utf-8") as file:
        file.write(content.manifest(os.path.join(top, "srv/lab")))


def _boot_files(folder, modules, kind, **words):
    """GRUB's folder and menu in the mounted /boot; GRUB itself is placed by the caller."""
    platform = "x86_64-efi" if kind == "gpt" else "i386-pc"
    target = os.path.join(folder, "grub", platform)
    os.makedirs(target, exist_ok=True)
    for name in os.listdir(modules):
        if name.endswith((".mod", ".lst")):
            shutil.copy(os.path.join(modules, name), target)
    with open(os.path.join(folder, "grub", "device.map"), "w", encoding="ascii") as file:
        file.write("(hd0) /dev/sda\n")
    with open(os.path.join(folder, "grub", "grub.cfg"), "w", encoding="ascii") as file:
        file.write(GRUB_CFG.format(table="part_gpt" if kind == "gpt" else "part_msdos", kernel=_kernel(folder), **words))


def _delete_a_lot(top):
    """200 MB that the file system forgets and the disk does not: allocated is more than used."""
    path = os.path.join(top, "var/tmp/deleted")
    with open("/dev/urandom", "rb") as noise, open(path, "wb") as file:
        for _ in range(200):
            file.write(noise.read(1000000))
        file.flush()
        os.fsync(file.fileno())
    os.remove(path)


def _mkfs(device, fs, label):
    if fs == "xfs":
        run("mkfs.xfs", "-q", "-L", label, device)
    else:
        run("mkfs.ext4", "-q", "-L", label, "-E", "assume_storage_prezeroed=1", device)
    return filesystem(device)["UUID"]


def build_plain(out, final, root_tar, name, fs="ext4", uefi=False, delete=False):
    """One disk of 2 GiB, one root file system, no LVM: the guests bios, uefi and xfs."""
    kind = "gpt" if uefi else "mbr"
    path = disk.create(os.path.join(out, "sda.raw"), 2048 * MIB)
    parts = disk.partition(path, TABLES[kind])
    start, size = parts[2 if uefi else 1]
    with Scratch() as work:
        modules = os.path.join(work, "modules")
        with Loop(path, start, size) as loop:
            ident = _mkfs(loop.device, fs, "guest")
            with Mount(loop.device, fs, parent=work) as top:
                _unpack(root_tar, top, out)
                if delete:
                    _delete_a_lot(top)
                shutil.copytree(os.path.join(top, "usr/lib/grub", "x86_64-efi" if uefi else "i386-pc"), modules)
                _boot_files(os.path.join(top, "boot"), modules, kind, boot="/boot", uuid=ident, root="UUID=" + ident,
                            grubfs="ext2" if fs == "ext4" else fs)
                fstab = "UUID=%s / %s defaults 0 1\n" % (ident, fs)
                if uefi:
                    esp = disk.make_esp(path, *parts[1], modules, work, ident)
                    fstab += "UUID=%s /boot/efi vfat umask=0077 0 1\n" % esp
                    os.makedirs(os.path.join(top, "boot/efi"))
                elif fs == "ext4":
                    fstab = "LABEL=guest / ext4 errors=remount-ro 0 1\n"
                _write_fstab(top, fstab)
                _name_root(top, ident)
        if not uefi:
            disk.install_bios_grub(path, modules, "(hd0,msdos1)/boot/grub", work,
                                   ["ext2" if fs == "ext4" else fs])
    # OVMF as Debian builds it has no PVSCSI driver and the cloud kernel has no AHCI: IDE is what both know
    write_domain(out, final, name, ["sda.raw"], "ide" if uefi else "scsi", uefi)


def _name_root(top, ident):
    """For the native lane: its partitions are loop devices, of which the guest's update-grub learns no UUID."""
    path = os.path.join(top, "etc/default/grub")
    with open(path, encoding="ascii") as file:
        text = file.read().replace('GRUB_CMDLINE_LINUX="', 'GRUB_CMDLINE_LINUX="root=UUID=%s ' % ident)
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def _write_fstab(top, text):
    with open(os.path.join(top, "etc/fstab"), "w", encoding="ascii") as file:
        file.write("# <file system> <mount point> <type> <options> <dump> <pass>\n" + text)


def _create_volumes(places, two):
    """The volume group `lab`; gives (pieces by volume name, where). On two disks the root volume has four segments, in
    another order than the extents'; on one disk there is a swap volume as well."""
    loops, lvm, where = disk.open_group(places)
    devices = [loop.device for loop in loops]
    lvm("pvcreate", *devices)
    lvm("vgcreate", "lab", *devices)
    create = ["-an", "-Zn", "-Wn", "-y", "-n"]
    if two:
        lvm("lvcreate", *create, "root", "-l", "100", "lab", devices[1] + ":150-249")
        lvm("lvextend", "-l", "+150", "lab/root", devices[0] + ":0-149")
        lvm("lvextend", "-l", "+140", "lab/root", devices[1] + ":5-144")
        lvm("lvextend", "-l", "+100%FREE", "lab/root")
    else:
        lvm("lvcreate", *create, "swap", "-L", "64M", "lab")
        lvm("lvcreate", *create, "root", "-l", "100%FREE", "lab")
    pieces = {volume: found for (_, volume), found in lvm.segments().items()}
    for loop in loops:
        run("blockdev", "--flushbufs", loop.device)
        loop.close()
    return pieces, where


def build_lvm(out, final, root_tar, name, two=False):
    """/boot on a partition, the root on LVM: on one IDE disk, or spread over two SCSI disks."""
    sda = disk.create(os.path.join(out, "sda.raw"), (1100 if two else 2300) * MIB)
    parts = disk.partition(sda, TABLES["two" if two else "lvm"])
    places = [(sda,) + parts[2 if two else 5]]
    if two:
        sdb = disk.create(os.path.join(out, "sdb.raw"), 1200 * MIB)  # a physical volume without a partition table
        places.append((sdb, 0, 1200 * MIB))
    pieces, where = _create_volumes(places, two)
    with Scratch() as work:
        flat = disk.create(os.path.join(work, "root"), sum(size for _, _, size in pieces["root"]))
        modules = os.path.join(work, "modules")
        with Loop(flat) as root_loop, Loop(sda, *parts[1]) as boot_loop:
            ident = _mkfs(boot_loop.device, "ext4", "boot")
            _mkfs(root_loop.device, "ext4", "guest")
            with Mount(root_loop.device, "ext4", parent=work) as top:
                os.mkdir(os.path.join(top, "boot"))
                run("mount", boot_loop.device, os.path.join(top, "boot"))
                _unpack(root_tar, top, out)
                shutil.copytree(os.path.join(top, "usr/lib/grub/i386-pc"), modules)
                _boot_files(os.path.join(top, "boot"), modules, "mbr", boot="", uuid=ident, grubfs="ext2",
                            root="/dev/mapper/lab-root")
                _write_fstab(top, "/dev/mapper/lab-root / ext4 errors=remount-ro 0 1\nUUID=%s /boot ext4 defaults 0 2\n"
                             % ident + ("" if two else "/dev/mapper/lab-swap none swap sw 0 0\n"))
                run("umount", os.path.join(top, "boot"))
        disk.scatter(flat, pieces["root"], where)
        if not two:
            swap = disk.create(os.path.join(work, "swap"), 64 * MIB)
            run("mkswap", swap)
            disk.scatter(swap, pieces["swap"], where)
        disk.install_bios_grub(sda, modules, "(hd0,msdos1)/grub", work, ["ext2"])
    write_domain(out, final, name, ["sda.raw"] + (["sdb.raw"] if two else []), "scsi" if two else "ide")
