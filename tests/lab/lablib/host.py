# SPDX-License-Identifier: GPL-2.0-or-later
"""What the lab asks of this host: children, namespaces, loop devices, FUSE files.

Nothing here is undone by a trap. A tool works in a mount and PID namespace of its own whose first process dies with
whoever called it; mounts go with the namespace, and loop devices are attached with autoclear and held open, so they go
with the process. A SIGKILL at any moment leaves nothing behind but a temporary directory.
"""
import ctypes
import fcntl
import json
import os
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import time

PYTHON = "/usr/bin/python3"  # the distribution's: it has libnbd's module
SKIP = 77                    # the exit code that says: this host lacks something

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNS, _CLONE_NEWPID = 0x20000, 0x20000000
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000
_PR_SET_PDEATHSIG = 1


class LabError(Exception):
    """A sentence for the person who runs the lab."""


def die_with_parent():
    """For a child of ours: killed when the process that started it ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def run(*argv, **options):
    """Runs a program to its end and gives its standard output; LabError with its last words where it fails."""
    options.setdefault("stdin", subprocess.DEVNULL)
    done = subprocess.run([str(a) for a in argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          preexec_fn=die_with_parent, **options)
    if done.returncode:
        words = (done.stderr + done.stdout).decode(errors="replace").strip().splitlines()[-8:]
        raise LabError("%s ended with %d:\n  %s" % (" ".join(str(a) for a in argv)[:400], done.returncode,
                                                    "\n  ".join(words)))
    return done.stdout.decode(errors="replace")


def start(*argv, **options):
    """Starts a helper that dies with us."""
    options.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.Popen([str(a) for a in argv], preexec_fn=die_with_parent, **options)


def wait_until(condition, what, seconds=120, helper=None):
    """Waits for a helper to be ready; generous, because machines differ by fifty times."""
    end = time.monotonic() + seconds
    while not condition():
        if helper is not None and helper.poll() is not None:
            raise LabError("%s: the helper ended with %d" % (what, helper.returncode))
        if time.monotonic() > end:
            raise LabError("%s: nothing after %d s" % (what, seconds))
        time.sleep(0.02)


def need_root():
    if os.geteuid() != 0:
        sys.stderr.write("the lab mounts loop devices: run it as root\n")
        sys.exit(SKIP)


def isolate(forward_term=False):
    """Goes on in a mount and PID namespace of our own; the process that was called waits outside for the result.

    FORWARD_TERM: SIGTERM asks the inside to end in order, and the death of whoever called is left to the caller (libguestfs
    starts its hypervisor from any thread); otherwise the inside is killed with the outside, at once."""
    need_root()
    if not forward_term:
        die_with_parent()
    sys.stdout.flush()
    sys.stderr.flush()
    if _libc.unshare(_CLONE_NEWNS | _CLONE_NEWPID) != 0:
        raise LabError("no namespace of our own: " + os.strerror(ctypes.get_errno()))
    child = os.fork()
    if child:
        if forward_term:
            signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    die_with_parent()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the first process of a namespace has no default action
    if (_libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None) != 0
            or _libc.mount(b"proc", b"/proc", b"proc", 0, None) != 0):
        raise LabError("no mounts of our own: " + os.strerror(ctypes.get_errno()))


class Loop:
    """A loop device over a part of FILE. It detaches by itself when the last user (a mount, or this object) is gone."""
    _CTL_GET_FREE, _CONFIGURE = 0x4C82, 0x4C0A
    _READ_ONLY, _AUTOCLEAR = 1, 4

    def __init__(self, path, offset=0, size=0, read_only=False):
        backing = os.open(path, os.O_RDONLY if read_only else os.O_RDWR)
        flags = self._AUTOCLEAR | (self._READ_ONLY if read_only else 0)
        info = struct.pack("=5Q4I64s64s32s2Q", 0, 0, 0, offset, size, 0, 0, 0, flags,
                           os.fsencode(path)[-63:], b"", b"", 0, 0)
        config = struct.pack("=2I", backing, 0) + info + bytes(64)
        try:
            self.device, self._fd = self._configure(config, read_only)
        finally:
            os.close(backing)

    def _configure(self, config, read_only):
        for _ in range(64):  # others take free numbers at the same time
            with open("/dev/loop-control", "rb") as control:
                number = fcntl.ioctl(control, self._CTL_GET_FREE)
            device = "/dev/loop%d" % number
            if not os.path.exists(device):  # a private /dev does not see new ones
                os.mknod(device, 0o600 | stat.S_IFBLK, os.makedev(7, number))
            fd = os.open(device, os.O_RDONLY if read_only else os.O_RDWR)
            try:
                fcntl.ioctl(fd, self._CONFIGURE, config)
                return device, fd
            except OSError:
                os.close(fd)
        raise LabError("no loop device is free")

    def close(self):
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Mount:
    """A file system of DEVICE on a fresh directory, for a with statement."""

    def __init__(self, device, kind, options="", parent=None):
        self.path = tempfile.mkdtemp(prefix="mnt.", dir=parent)
        run("mount", "-t", kind, *(["-o", options] if options else []), device, self.path)

    def __enter__(self):
        return self.path

    def __exit__(self, *_):
        run("umount", self.path)
        os.rmdir(self.path)


class Scratch:
    """A temporary directory that is removed at the end; VMFERRY_LAB_TMP says where (default /var/tmp)."""

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="vmferry-lab.", dir=os.environ.get("VMFERRY_LAB_TMP", "/var/tmp"))
        return self.path

    def __exit__(self, *_):
        with open("/proc/self/mounts", encoding="utf-8", errors="replace") as file:
            inside = [line.split()[1] for line in file if line.split()[1].startswith(self.path + "/")]
        for place in reversed(inside):  # FUSE files above all: a mount point cannot be removed
            subprocess.run(["umount", "-l", place], stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(self.path, ignore_errors=True)


def format_of(path):
    """By extension, as vmferry does it: formats are given, never probed."""
    extension = os.path.splitext(path)[1].lower()
    return {".qcow2": "qcow2", ".vmdk": "vmdk", ".raw": "raw", ".img": "raw", ".vhd": "vpc", ".vhdx": "vhdx",
            ".vdi": "vdi"}.get(extension, "raw")


def fuse_export(node, directory, name, writable=True, log=None):
    """A file in DIRECTORY that is the QEMU block NODE (a dict); gives (path, helper). Discards go through."""
    path = os.path.join(directory, name)
    open(path, "w").close()
    before = os.stat(path).st_dev
    helper = start("qemu-storage-daemon", "--blockdev", json.dumps(dict(node, **{"node-name": "disk"})),
                   "--export", json.dumps({"type": "fuse", "id": "x", "node-name": "disk", "mountpoint": path,
                                           "writable": writable, "allow-other": "off"}),
                   stdout=log or subprocess.DEVNULL, stderr=log or None)
    wait_until(lambda: os.stat(path).st_dev != before, "serving " + name, helper=helper)
    return path, helper


def partitions(path):
    """[(number, first byte, bytes, type)] of a disk image; [] where there is no partition table. Logical ones count,
    the extended one that holds them does not."""
    done = subprocess.run(["sfdisk", "-J", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    if done.returncode:
        return []
    table = json.loads(done.stdout)["partitiontable"]
    sector = table.get("sectorsize", 512)
    found = []
    for part in table.get("partitions", []):
        if part["type"].lower() in ("5", "f", "85"):
            continue
        digits = part["node"][len(path):].lstrip("p")
        found.append((int(digits), part["start"] * sector, part["size"] * sector, part["type"]))
    return found


def filesystem(device):
    """blkid's word for what is on DEVICE: {"TYPE": "ext4", "UUID": ...}; {} for nothing known."""
    done = subprocess.run(["blkid", "-p", "-o", "export", device], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          check=False)
    pairs = [line.split("=", 1) for line in done.stdout.decode(errors="replace").splitlines() if "=" in line]
    return dict(pairs)


def copy_sparse(source, source_at, target, target_at, length):
    """Copies the data of a range between two open files; holes stay holes. Both are file descriptors."""
    at, end = source_at, source_at + length
    while at < end:
        try:
            at = os.lseek(source, at, os.SEEK_DATA)
        except OSError:  # ENXIO: nothing but a hole up to the end
            return
        if at >= end:
            return
        stop = min(end, os.lseek(source, at, os.SEEK_HOLE))
        while at < stop:
            data = os.pread(source, min(4 << 20, stop - at), at)
            if not data:
                return
            if data.count(0) != len(data):
                os.pwrite(target, data, target_at + at - source_at)
            at += len(data)
