# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of artefacts."""
import os

from lablib import dirty, linux, package, root, windows
from lablib.cache import Recipe
from lablib.host import run

_LINUX = ("linux", "content")


def _guest(name, about, make):
    return Recipe(name, "", make, ("root",), _LINUX, about)


def _plain(name, **how):
    return lambda out, final, tar: linux.build_plain(out, final, tar, name, **how)


def _dirty(fs, is_dirty, block_size=4096):
    name = ("dirty-" if is_dirty else "clean-") + fs + ("" if block_size == 4096 else "-1k")
    return Recipe(name, "", lambda out, final: dirty.build(out, fs, is_dirty, block_size), (), ("dirty", "content"),
                  "disk.raw (one partition), files.sha256: " + ("taken while mounted, files just fsynced" if is_dirty
                                                                else "the same, unmounted first"), str(block_size))


def _listing(name):
    def make(out, final, guest):
        disks = sorted(os.path.join(guest, d) for d in os.listdir(guest) if d.endswith(".raw"))
        here = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
        run(os.path.join(here, "read-guest"), "--check", "--out", os.path.join(out, "list"), *disks)
    return Recipe(name + ".list", "list", make, (name,), ("reader",), "read-guest's listing of it, file systems checked")


def _pack(artefact, answer, guest, kind, about, **how):
    def make(out, final, where):
        disks = sorted(os.path.join(where, d) for d in os.listdir(where) if d.endswith(".raw"))
        target = os.path.join(out, answer.split("/")[0])
        package.pack(kind, package.Guest(guest, disks, **how), target, os.path.join(final, answer.split("/")[0]))
    return Recipe(artefact, answer, make, (guest,), ("package",), about, kind)


def _native(out, final):
    for name in ("kernel", "initrd", "README.fixed"):
        with open(os.path.join(out, name), "w", encoding="ascii") as file:
            file.write("the native stand-in needs none\n")
    with open(os.path.join(out, "root"), "wb") as file:  # libguestfs reads a file system's UUID from it
        file.truncate(1 << 20)
    run("mkfs.ext2", "-q", os.path.join(out, "root"))


_ALL = [
    Recipe("root", "root.tar", lambda out, final: root.build(out), (), ("root",), "a Debian root for VMware's hardware"),
    _guest("bios", "MBR, ext4, BIOS, PVSCSI; 200 MB deleted", _plain("bios", delete=True)),
    _guest("uefi", "GPT, ESP, ext4, removable path", _plain("uefi", uefi=True)),
    _guest("xfs", "MBR, XFS, BIOS, PVSCSI", _plain("xfs", fs="xfs")),
    _guest("lvm", "/boot; root and swap on LVM in a logical partition; IDE",
           lambda out, final, tar: linux.build_lvm(out, final, tar, "lvm")),
    _guest("twodisks", "root on one LV of four segments over two disks; PVSCSI",
           lambda out, final, tar: linux.build_lvm(out, final, tar, "twodisks", two=True)),
    Recipe("virtio-win", "", lambda out, final: windows.build_drivers(out), (), ("windows",),
           "phony drivers (VIRTIO_WIN) and tools/ (VIRT_TOOLS_DATA_DIR)"),
    Recipe("windows", "", lambda out, final: windows.build(out, final), (), ("windows", "hive", "linux", "content"),
           "a phony Windows Server 2019: NTFS and registry, nothing that runs"),
] + [_listing(name) for name in ("bios", "uefi", "xfs", "lvm", "twodisks", "windows")] + [
    _pack("bios.ova", "bios.ova", "bios", "ova", "OVA (tar, SHA-256 manifest, streamOptimized)"),
    _pack("uefi.ova", "uefi.ova", "uefi", "ova", "OVA, firmware efi", uefi=True),
    _pack("xfs.ova", "xfs.ova", "xfs", "ova", "OVA"),
    _pack("lvm.ova", "lvm.ova", "lvm", "ova", "OVA, IDE", bus="ide"),
    _pack("twodisks.ova", "twodisks.ova", "twodisks", "ova", "OVA, two disks"),
    _pack("windows.ova", "windows.ova", "windows", "ova", "OVA", windows=True),
    _pack("bios-dir", "bios/bios.ovf", "bios", "dir", "the OVA as a folder"),
    _pack("bios.zip", "bios.zip", "bios", "zip", "the OVA's folder zipped (stored)"),
    _pack("bios-vmx", "bios/bios.vmx", "bios", "vmx", "VMX, monolithicSparse"),
    _pack("bios-vmx-split", "bios/bios.vmx", "bios", "vmx:twoGbMaxExtentSparse", "VMX, twoGbMaxExtentSparse"),
    _pack("bios-vmx-flat", "bios/bios.vmx", "bios", "vmx:monolithicFlat", "VMX, monolithicFlat"),
    _pack("bios-libvirt", "bios/bios.xml", "bios", "libvirt", "libvirt XML, qcow2"),
    _pack("uefi-libvirt", "uefi/uefi.xml", "uefi", "libvirt", "libvirt XML, qcow2, firmware efi", uefi=True, bus="ide"),
] + [_dirty(fs, is_dirty) for fs in ("ext4", "xfs", "btrfs") for is_dirty in (True, False)] + [
    _dirty("ext4", False, 1024),
    Recipe("native", "", _native, (), (), "the fixed appliance that makes libguestfs call native/hv"),
]
RECIPES = {recipe.name: recipe for recipe in _ALL}
