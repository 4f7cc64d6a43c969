# SPDX-License-Identifier: GPL-2.0-or-later
"""A phony Windows: nothing in it runs, but inspection calls it a Windows Server 2019 and virt-v2v converts it.

What that takes: NTFS with Windows/System32/{config,drivers,cmd.exe}, the hives SOFTWARE and SYSTEM with version, control
set and services, Program Files; and beside the guest a tree of drivers named as virtio-win's, and rhsrvany.exe.
"""
import os
import random
import struct

from lablib import content, disk, hive
from lablib.disk import MIB
from lablib.host import Loop, Mount, Scratch, hide_fuseblk, run
from lablib.linux import write_domain

DISK_ID = 0x20190613
DRIVERS = {"viostor": "viostor", "vioscsi": "vioscsi", "NetKVM": "netkvm", "Balloon": "balloon", "viorng": "viorng",
           "vioserial": "vioser", "pvpanic": "pvpanic"}

SOFTWARE = r"""Windows Registry Editor Version 5.00

[HKEY_LOCAL_MACHINE\SOFTWARE\Classes]

[HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft]

[HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows NT]

[HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows NT\CurrentVersion]
"ProductName"="Windows Server 2019 Standard (phony)"
"CurrentVersion"="6.3"
"CurrentBuildNumber"="17763"
"CurrentBuild"="17763"
"CurrentMajorVersionNumber"=dword:0000000a
"CurrentMinorVersionNumber"=dword:00000000
"EditionID"="ServerStandard"
"InstallationType"="Server"
"SystemRoot"="C:\\Windows"

[HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows]

[HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows\CurrentVersion]
"DevicePath"=str(2):"%SystemRoot%\\inf"
"ProgramFilesDir"="C:\\Program Files"

[HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows\CurrentVersion\RunOnce]

[HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall]

[HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall\lab]
"DisplayName"="Lab"
"DisplayVersion"="1.0"
"""

SYSTEM = r"""Windows Registry Editor Version 5.00

[HKEY_LOCAL_MACHINE\SYSTEM\ControlSet001]

[HKEY_LOCAL_MACHINE\SYSTEM\ControlSet001\Control]

[HKEY_LOCAL_MACHINE\SYSTEM\ControlSet001\Control\Class]

[HKEY_LOCAL_MACHINE\SYSTEM\ControlSet001\Control\CriticalDeviceDatabase]

[HKEY_LOCAL_MACHINE\SYSTEM\ControlSet001\Control\CrashControl]

[HKEY_LOCAL_MACHINE\SYSTEM\ControlSet001\Control\Session Manager]

[HKEY_LOCAL_MACHINE\SYSTEM\ControlSet001\Enum]

[HKEY_LOCAL_MACHINE\SYSTEM\ControlSet001\Services]

[HKEY_LOCAL_MACHINE\SYSTEM\ControlSet001\Services\LSI_SAS]
"Start"=dword:00000000
"Type"=dword:00000001
"ImagePath"=str(2):"System32\\drivers\\lsi_sas.sys"

[HKEY_LOCAL_MACHINE\SYSTEM\ControlSet001\Services\Tcpip]

[HKEY_LOCAL_MACHINE\SYSTEM\ControlSet001\Services\Tcpip\Parameters]
"Hostname"="phony"
"NV Hostname"="phony"

[HKEY_LOCAL_MACHINE\SYSTEM\Select]
"Current"=dword:00000001
"Default"=dword:00000001
"Failed"=dword:00000000
"LastKnownGood"=dword:00000001

[HKEY_LOCAL_MACHINE\SYSTEM\MountedDevices]
"\\DosDevices\\C:"=hex(3):{letter}
"""

INF = """; a phony driver of vmferry's test lab, named as in virtio-win
[Version]
Signature = "$WINDOWS NT$"
Class = {kind}
DriverVer = 06/13/2024,100.0.0.1
CatalogFile = {name}.cat
"""


def executable(words):
    """A PE32+ header for x86-64 and nothing to run; WORDS make one differ from the other."""
    optional = struct.pack("<HBB5I", 0x20B, 14, 0, 512, 0, 0, 0x1000, 0x1000)
    optional += struct.pack("<QIIHHHHHHIIIIHH4QII", 0x140000000, 0x1000, 0x200, 6, 0, 0, 0, 6, 0, 0, 0x2000, 0x400, 0, 3, 0,
                            0x100000, 0x1000, 0x100000, 0x1000, 0, 16) + bytes(128)
    section = struct.pack("<8s6I2HI", b".text", 0x200, 0x1000, 0x200, 0x400, 0, 0, 0, 0, 0x60000020)
    header = struct.pack("<2s58xI", b"MZ", 0x80).ljust(0x80, b"\0") + b"PE\0\0"
    header += struct.pack("<HHIIIHH", 0x8664, 1, 0, 0, 0, len(optional), 0x22) + optional + section
    return header.ljust(0x400, b"\0") + words.encode().ljust(0x200, b"\0")


def _write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)


def _files(top, work, offset):
    hive.build(os.path.join(work, "software"), r"HKEY_LOCAL_MACHINE\SOFTWARE", SOFTWARE)
    letter = struct.pack("<IQ", DISK_ID, offset)
    hive.build(os.path.join(work, "system"), r"HKEY_LOCAL_MACHINE\SYSTEM",
               SYSTEM.replace("{letter}", ",".join("%02x" % byte for byte in letter)))
    for name in ("software", "system"):
        with open(os.path.join(work, name), "rb") as file:
            _write(os.path.join(top, "Windows/System32/config", name.upper()), file.read())
    for path in ("Windows/System32/cmd.exe", "Windows/System32/drivers/lsi_sas.sys", "Windows/explorer.exe"):
        _write(os.path.join(top, path), executable(path))
    for path in ("Program Files/Common Files", "Program Files (x86)", "ProgramData", "Windows/inf", "Windows/Temp",
                 "Windows/System32/DriverStore"):
        os.makedirs(os.path.join(top, path))
    rng = random.Random(content.SEED)
    for n in range(300):
        _write(os.path.join(top, "Users/lab/Documents", "file %03d.dat" % n), rng.randbytes(rng.randrange(20000)))
    _write(os.path.join(top, "Users/lab/big.bin"), rng.randbytes(20 * MIB))


def _set_serial(path, start, size, serial):
    """mkfs.ntfs takes it from the clock: two in one second are the same. It stands in both boot sectors."""
    for sector in (start, start + size - 512):
        disk.put(struct.pack("<Q", serial), path, sector + 0x48)


def build(out, final):
    """sda.raw with "System Reserved" and C:, domain.xml, content.sha256 (of Users/)."""
    path = disk.create(os.path.join(out, "sda.raw"), 1024 * MIB)
    parts = disk.partition(path, "label: dos\nlabel-id: 0x%08x\nsda1 : start=2048, size=100MiB, type=7, bootable\n"
                                 "sda2 : type=7\n" % DISK_ID)
    with Scratch() as work:
        hide_fuseblk(work)
        for number, label in ((1, "System Reserved"), (2, "")):
            start, size = parts[number]
            with Loop(path, start, size) as loop:
                run("mkfs.ntfs", "-Q", "-q", "-F", "-p", start // 512, "-H", 255, "-S", 63, "-L", label, loop.device)
                _set_serial(path, start, size, 0x1906130020240000 + number)
                run("blockdev", "--flushbufs", loop.device)
                with Mount(loop.device, "ntfs-3g", parent=work) as top:
                    if number == 1:
                        _write(os.path.join(top, "bootmgr"), b"phony boot manager\n")
                        continue
                    _files(top, work, start)
                    with open(os.path.join(out, "content.sha256"), "w", encoding="utf-8") as file:
                        file.write(content.manifest(os.path.join(top, "Users")))
    write_domain(out, final, "windows", ["sda.raw"], "scsi")


def build_drivers(out):
    """The tree that VIRTIO_WIN names, and tools/ for VIRT_TOOLS_DATA_DIR."""
    for folder, name in DRIVERS.items():
        kind = {"viostor": "SCSIAdapter", "vioscsi": "SCSIAdapter", "NetKVM": "Net"}.get(folder, "System")
        for system in ("2k19", "2k22", "w10"):
            base = os.path.join(out, folder, system, "amd64", name)
            _write(base + ".inf", INF.format(kind=kind, name=name).replace("\n", "\r\n").encode())
            _write(base + ".sys", executable("%s %s" % (name, system)))
            _write(base + ".cat", b"phony catalogue of %s\n" % name.encode())
    _write(os.path.join(out, "tools", "rhsrvany.exe"), executable("rhsrvany"))
    _write(os.path.join(out, "tools", "pnp_wait.exe"), executable("pnp_wait"))
