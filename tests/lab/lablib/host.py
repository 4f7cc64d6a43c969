# SPDX-License-Identifier: GPL-2.0-or-later
"""What the lab asks of this host: children, namespaces, loop devices, FUSE files.

A tool works in a mount and PID namespace of its own. Loop devices are attached with autoclear and held open, so they and
the mounts go with the namespace. When whoever called the tool is killed, the inside is asked to end in order. The one
trap is FUSE below a loop device: a server that is the last process of a mount namespace unmounts what stands on itself,
and waits for its own answer for ever; so servers and mounts are kept in two namespaces (see leave_servers).
"""
import ctypes
import fcntl
import glob
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


def die_with_parent(how=signal.SIGKILL):
    """For a child of ours: killed when the process that started it ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, how, 0, 0, 0)


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


def _unwind(code):
    """The end was asked for: with statements undo what they did, once."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(code)


def leave_servers():
    """To be called between the start of FUSE servers and the first mount that stands on them: from here on we are in
    another mount namespace than they are."""
    if (_libc.unshare(_CLONE_NEWNS) != 0
            or _libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None) != 0):
        raise LabError("no second namespace: " + os.strerror(ctypes.get_errno()))


def hide_fuseblk(work, proc="/proc"):
    """Makes ntfs-3g mount as "fuse" and not as "fuseblk", in our namespace: the kernel asks a fuseblk server to say goodbye
    when its mount goes, and a server that was killed and is the last of its namespace is asked by itself, for ever."""
    with open("/proc/filesystems", encoding="ascii") as file:
        lines = [line for line in file if "fuseblk" not in line]
    path = os.path.join(work, "filesystems")
    with open(path, "w", encoding="ascii") as file:
        file.writelines(lines)
    run("mount", "--bind", path, os.path.join(proc, "filesystems"))


def isolate(forward_term=False):
    """Goes on in a mount and PID namespace of our own; the process that was called waits outside for the result.

    The inside gets SIGTERM, and unwinds, when the outside ends. FORWARD_TERM: the outside waits for that, and does not end
    with its own caller (libguestfs starts its hypervisor from any thread)."""
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
    # the first process of a namespace has no default action; libguestfs ends its hypervisor so, and expects 0
    signal.signal(signal.SIGTERM, lambda *_: _unwind(0 if forward_term else 143))
    die_with_parent(signal.SIGTERM)
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
    """A temporary directory that is removed at the end, in PARENT, or where VMFERRY_LAB_TMP says (default /var/tmp). Its user holds a lock
    on it: those that a killed user left are told from those in use, and swept by the next one. Never remove one by hand
    that is in use: what another namespace has mounted on it is torn from under its user."""

    def __init__(self, prefix="vmferry-lab.", parent=None):
        self._prefix, self._parent = prefix, parent or os.environ.get("VMFERRY_LAB_TMP", "/var/tmp")

    def __enter__(self):
        self._sweep()
        while True:
            self.path = tempfile.mkdtemp(prefix=self._prefix, dir=self._parent)
            self._lock = self._take(self.path)
            if self._lock is not None and os.path.isdir(self.path):  # not swept before it was locked
                return self.path

    @staticmethod
    def _take(path):
        """A file descriptor that holds the lock on PATH, or None where somebody has it."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        except OSError:
            os.close(fd)
            return None

    def _sweep(self):
        for path in glob.glob(os.path.join(self._parent, self._prefix + "*")):
            fd = self._take(path)
            if fd is not None:
                self._remove(path)
                os.close(fd)

    @staticmethod
    def _remove(path):
        with open("/proc/self/mounts", encoding="utf-8", errors="replace") as file:
            inside = [line.split()[1] for line in file if line.split()[1].startswith(path + "/")]
        for place in reversed(inside):  # FUSE files above all: a mount point cannot be removed
            subprocess.run(["umount", "-l", place], stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(path, ignore_errors=True)

    def __exit__(self, *_):
        self._remove(self.path)
        os.close(self._lock)


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
