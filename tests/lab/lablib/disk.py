# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks, partition tables, LVM and boot loaders, written into files without device mapper, an emulator or kpartx.

A partition is a loop device at its offset. A logical volume is a flat file that is scattered to its extents once it is
full: LVM's own tools write the metadata (`--driverloaded n`: no device mapper is asked), and say where the extents lie.
"""
import json
import os
import subprocess

from lablib.host import Loop, LabError, copy_sparse, die_with_parent, run

MIB = 1 << 20


def partition(path, script):
    """Writes the partition table that sfdisk's SCRIPT describes; gives {number: (first byte, bytes)}."""
    from lablib.host import partitions
    done = subprocess.run(["sfdisk", "-q", path], input=script.encode(), stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, preexec_fn=die_with_parent, check=False)
    if done.returncode:
        raise LabError("sfdisk %s: %s" % (path, done.stdout.decode(errors="replace")))
    return {number: (start, size) for number, start, size, _ in partitions(path)}


def create(path, size):
    with open(path, "wb") as file:
        file.truncate(size)
    return path


def put(data, path, at):
    """Writes bytes into a disk at a byte offset."""
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(data)


def put_file(source, path, at):
    with open(source, "rb") as src, open(path, "r+b") as dst:
        copy_sparse(src.fileno(), 0, dst.fileno(), at, os.fstat(src.fileno()).st_size)


class Lvm:
    """LVM's tools on some loop devices only, without device mapper and without the host's own configuration."""

    def __init__(self, devices):
        accept = ",".join('"a|^%s$|"' % device for device in devices)
        self._config = ("devices { use_devicesfile=0 scan=\"/dev\" filter=[%s,\"r|.*|\"] } "
                        "backup { backup=0 archive=0 } global { use_lvmpolld=0 event_activation=0 } "
                        "activation { udev_sync=0 udev_rules=0 monitoring=0 }" % accept)

    def __call__(self, command, *args):
        environment = dict(os.environ, LVM_SUPPRESS_FD_WARNINGS="1", LC_ALL="C")
        return run("lvm", command, "--driverloaded", "n", "--config", self._config, *args, env=environment)

    def segments(self):
        """{(group, volume): [(device, first byte on it, bytes)]} in the order of the volume's own bytes."""
        report = json.loads(self("lvs", "--reportformat", "json", "--units", "b", "--nosuffix", "--segments", "-o",
                                 "vg_name,lv_name,segtype,seg_start,seg_pe_ranges,vg_extent_size"))
        starts = json.loads(self("pvs", "--reportformat", "json", "--units", "b", "--nosuffix", "-o",
                                 "pv_name,pe_start"))
        first = {row["pv_name"]: int(row["pe_start"]) for row in starts["report"][0]["pv"]}
        volumes = {}
        rows = report["report"][0]["seg" if "seg" in report["report"][0] else "lv"]
        for row in sorted(rows, key=lambda r: (r["vg_name"], r["lv_name"], int(r["seg_start"]))):
            if row["segtype"] != "linear":
                raise LabError("%s/%s is not linear" % (row["vg_name"], row["lv_name"]))
            extent = int(row["vg_extent_size"])
            device, pes = row["seg_pe_ranges"].rsplit(":", 1)
            low, high = (int(n) for n in pes.split("-"))
            volumes.setdefault((row["vg_name"], row["lv_name"]), []).append(
                (device, first[device] + low * extent, (high - low + 1) * extent))
        return volumes


def scatter(flat, pieces, where):
    """Writes the flat file of a volume to its extents. WHERE: {device: (disk file, offset of the PV in it)}."""
    with open(flat, "rb") as source:
        at = 0
        for device, start, size in pieces:
            path, base = where[device]
            with open(path, "r+b") as target:
                copy_sparse(source.fileno(), at, target.fileno(), base + start, size)
            at += size


def gather(pieces, where, flat):
    """The other way round: a sparse flat file from the extents of a volume."""
    with open(flat, "wb") as target:
        at = 0
        for device, start, size in pieces:
            path, base = where[device]
            with open(path, "rb") as source:
                copy_sparse(source.fileno(), base + start, target.fileno(), at, size)
            at += size
        target.truncate(at)


def open_group(places):
    """PLACES: [(disk file, offset, bytes)] of physical volumes. Gives (loops, Lvm, where) for scatter and gather."""
    loops = [Loop(path, offset, size) for path, offset, size in places]
    where = {loop.device: (path, offset) for loop, (path, offset, _) in zip(loops, places)}
    return loops, Lvm([loop.device for loop in loops]), where


def install_bios_grub(path, modules, prefix, work, extra, first_free=1):
    """GRUB for BIOS: boot.img in the MBR, core.img in the gap behind it. MODULES: the guest's own i386-pc folder."""
    core = os.path.join(work, "core.img")
    run("grub-mkimage", "-O", "i386-pc", "-d", modules, "-p", prefix, "-o", core, "biosdisk", "part_msdos", "normal",
        "search", "search_fs_uuid", "linux", "serial", "terminal", "configfile", "test", "echo", *extra)
    if os.path.getsize(core) > MIB - 512:
        raise LabError("GRUB's core does not fit in front of the first partition")
    with open(os.path.join(modules, "boot.img"), "rb") as file:
        put(file.read(440), path, 0)
    with open(core, "rb") as file:
        put(file.read(), path, 512 * first_free)


def make_esp(path, offset, size, modules, work, uuid, label="EFI"):
    """A FAT32 ESP with GRUB at the removable path; it looks for the file system UUID that has /boot/grub.
    Made as a file with mtools, because the host's kernel may lack vfat. Gives the volume's id as fstab writes it."""
    image = create(os.path.join(work, "esp.img"), size)
    run("mkfs.vfat", "-F", "32", "-n", label, image)
    config = os.path.join(work, "embedded.cfg")
    with open(config, "w", encoding="ascii") as file:
        file.write("search --no-floppy --fs-uuid --set=root %s\nset prefix=($root)/boot/grub\n"
                   "configfile $prefix/grub.cfg\n" % uuid)
    binary = os.path.join(work, "bootx64.efi")
    run("grub-mkimage", "-O", "x86_64-efi", "-d", modules, "-p", "/EFI/debian", "-c", config, "-o", binary,
        "part_gpt", "fat", "ext2", "normal", "search", "search_fs_uuid", "linux", "serial", "terminal", "configfile",
        "test", "echo", "boot", "efi_gop", "all_video")
    environment = dict(os.environ, MTOOLS_SKIP_CHECK="1")
    run("mmd", "-i", image, "::/EFI", "::/EFI/BOOT", "::/EFI/debian", env=environment)
    run("mcopy", "-i", image, binary, "::/EFI/BOOT/BOOTX64.EFI", env=environment)
    run("mcopy", "-i", image, binary, "::/EFI/debian/grubx64.efi", env=environment)
    run("mcopy", "-i", image, config, "::/EFI/debian/grub.cfg", env=environment)
    put_file(image, path, offset)
    return run("blkid", "-p", "-s", "UUID", "-o", "value", image).strip()
