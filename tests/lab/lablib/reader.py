# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads every file of a guest's disks with the host kernel's file systems, LVM's own tools, mtools and ntfs-3g:
independent of libguestfs and of vmferry's C code.

Disks are opened through a throw-away overlay, so that a dirty journal is replayed as a booting guest would replay it, and
nothing is written to them.
"""
import hashlib
import os
import stat
import subprocess

from lablib.disk import gather, open_group
from lablib.host import Loop, LabError, filesystem, fuse_export, hide_fuseblk, leave_servers, partitions, run

_MOUNT = {"ext2": "ext4", "ext3": "ext4", "ext4": "ext4", "xfs": "xfs", "btrfs": "btrfs", "ntfs": "ntfs-3g"}
_CHECK = {"ext4": ["e2fsck", "-fn"], "xfs": ["xfs_repair", "-n"], "btrfs": ["btrfs", "check", "--readonly"],
          "ntfs-3g": ["ntfsfix", "-n"]}


class Volume:
    """A file system: where it is (sda1, lab/root), what it is, and where it is mounted while we read."""

    def __init__(self, name, loop):
        self.name, self.loop, self.device = name, loop, loop.device
        words = filesystem(self.device)
        self.type, self.uuid, self.label = words.get("TYPE"), words.get("UUID"), words.get("LABEL")
        self.top = None
        self.place = None  # the guest's own mount point

    def mount(self, work):
        self.top = os.path.join(work, "top-" + self.name.replace("/", "-"))
        os.mkdir(self.top)
        if self.type == "vfat":  # the host's kernel may lack it
            run("mcopy", "-s", "-n", "-i", self.device, "::/", self.top, env=dict(os.environ, MTOOLS_SKIP_CHECK="1"))
            return
        options = {"xfs": "nouuid", "ntfs": "ro"}.get(self.type, "")
        run("mount", "-t", _MOUNT[self.type], *(["-o", options] if options else []), self.device, self.top)

    def unmount(self):
        """Fine to call again, or before it was mounted."""
        if self.type != "vfat" and self.top and os.path.ismount(self.top):
            run("umount", self.top)

    def used_bytes(self):
        """What the file system has in use, its own structures included."""
        if self.type in ("ext2", "ext3", "ext4"):
            words = dict(line.split(":", 1) for line in run("dumpe2fs", "-h", self.device).splitlines() if ":" in line)
            return (int(words["Block count"]) - int(words["Free blocks"])) * int(words["Block size"])
        if self.type == "vfat":
            return None
        room = os.statvfs(self.top)
        return (room.f_blocks - room.f_bfree) * room.f_frsize

    def check(self):
        """The file system's own checker, read-only; its words where it is not content, otherwise None."""
        argv = ["fsck.vfat", "-n"] if self.type == "vfat" else _CHECK[_MOUNT[self.type]]
        done = subprocess.run(argv + [self.device], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              stdin=subprocess.DEVNULL, check=False)
        return None if done.returncode == 0 else done.stdout.decode(errors="replace")


def _raw_volumes(disk_name, path):
    """(volumes, physical volumes) of one disk file; a disk without a partition table is one volume."""
    ranges = [("%s%d" % (disk_name, number), start, size) for number, start, size, _ in partitions(path)]
    if not ranges:
        ranges = [(disk_name, 0, os.path.getsize(path))]
    volumes, members = [], []
    for name, start, size in ranges:
        loop = Loop(path, start, size)
        volume = Volume(name, loop)
        if volume.type == "LVM2_member":
            loop.close()
            members.append((path, start, size))
        elif volume.type in _MOUNT or volume.type == "vfat":
            volumes.append(volume)
    return volumes, members


def open_disks(disks, work):
    """DISKS: [(path, format)]. Gives the file systems on them."""
    files, volumes, members = [], [], []
    for n, (path, image_format) in enumerate(disks):
        name = "sd%c" % (97 + n)
        overlay = os.path.join(work, name + ".overlay")
        below = {"driver": image_format, "file": {"driver": "file", "filename": os.path.realpath(path), "locking": "off"},
                 "read-only": True}
        size = _virtual_size(path, image_format)
        run("qemu-img", "create", "-q", "-f", "qcow2", overlay, size)
        file, _ = fuse_export({"driver": "qcow2", "file": {"driver": "file", "filename": overlay}, "backing": below},
                              work, name)
        files.append((name, file))
    leave_servers()
    hide_fuseblk(work)
    for name, file in files:
        found, physical = _raw_volumes(name, file)
        volumes += found
        members += physical
    if members:
        volumes += _logical_volumes(members, work)
    return volumes


def _virtual_size(path, image_format):
    import json
    return json.loads(run("qemu-img", "info", "-U", "-f", image_format, "--output=json", path))["virtual-size"]


def _logical_volumes(members, work):
    loops, lvm, where = open_group(members)
    volumes = []
    for (group, name), pieces in sorted(lvm.segments().items()):
        flat = os.path.join(work, "%s-%s" % (group, name))
        gather(pieces, where, flat)
        volume = Volume("%s/%s" % (group, name), Loop(flat))
        if volume.type in _MOUNT:
            volumes.append(volume)
    for loop in loops:
        loop.close()
    return volumes


def place(volumes):
    """Finds the guest's own mount points in its fstab; what is not in there is called by its name, "(sda1)"."""
    for volume in volumes:
        fstab = os.path.join(volume.top, "etc/fstab")
        if not os.path.isfile(fstab):
            continue
        with open(fstab, encoding="utf-8", errors="replace") as file:
            rows = [line.split() for line in file if line.strip() and not line.startswith("#")]
        for spec, point in (row[:2] for row in rows if len(row) > 1):
            for other in volumes:
                names = ("UUID=%s" % other.uuid, "LABEL=%s" % other.label, "/dev/mapper/" + other.name.replace("/", "-"),
                         "/dev/" + other.name)
                if spec in names and point.startswith("/"):
                    other.place = point.rstrip("/")
        volume.place = ""
    for volume in volumes:
        if volume.place is None:
            volume.place = "" if len(volumes) == 1 else "(%s)" % volume.name


def _digest(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while data := file.read(1 << 20):
            digest.update(data)
    return digest.hexdigest()


def _attributes(path):
    try:
        return {name: os.getxattr(path, name, follow_symlinks=False).hex()
                for name in sorted(os.listxattr(path, follow_symlinks=False))}
    except OSError:
        return {}


def entry(path, shown, with_attributes=True):
    """What the listing says of one file."""
    info = os.lstat(path)
    found = {"path": shown, "type": {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link",
                                     stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket", stat.S_IFCHR: "char",
                                     stat.S_IFBLK: "block"}[stat.S_IFMT(info.st_mode)],
             "mode": "%04o" % stat.S_IMODE(info.st_mode), "uid": info.st_uid, "gid": info.st_gid}
    if stat.S_ISREG(info.st_mode):
        found.update(size_bytes=info.st_size, links=info.st_nlink, sha256=_digest(path))
    elif stat.S_ISLNK(info.st_mode):
        found["target"] = os.fsencode(os.readlink(path)).decode(errors="backslashreplace")
    elif stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode):
        found["device"] = "%d:%d" % (os.major(info.st_rdev), os.minor(info.st_rdev))
    if with_attributes and (attributes := _attributes(path)):
        found["attributes"] = attributes
    return found


def entries(volume):
    """Every file of a mounted volume, sorted within each folder."""
    for folder, folders, names in os.walk(volume.top):
        folders.sort()
        for name in sorted(names + folders):
            path = os.path.join(folder, name)
            inside = os.fsencode(os.path.relpath(path, volume.top)).decode(errors="backslashreplace")
            yield entry(path, volume.place + "/" + inside, volume.type in ("ext2", "ext3", "ext4", "xfs", "btrfs"))


class Guest:
    """All file systems of the disks, mounted, for a with statement; they are unmounted however it ends."""

    def __init__(self, disks, work):
        self.volumes = open_disks(disks, work)
        self.work = work
        if not self.volumes:
            raise LabError("no file system was found on " + ", ".join(path for path, _ in disks))

    def __enter__(self):
        try:
            for volume in self.volumes:
                volume.mount(self.work)
            place(self.volumes)
        except BaseException:
            self.unmount()
            raise
        return self

    def entries(self):
        return [item for volume in self.volumes for item in entries(volume)]

    def unmount(self):
        for volume in self.volumes:
            volume.unmount()

    def __exit__(self, *_):
        self.unmount()
        for volume in self.volumes:
            volume.loop.close()
