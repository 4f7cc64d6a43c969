# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks that were taken while mounted, as a snapshot takes them, and their cleanly unmounted siblings.

Files are written and fsynced, and the disk's file is copied before the file system writes its journal back: what an
fsync promised is in the journal only (PITFALL 41: a used-block map of such a disk misses data).
"""
import os
import random

from lablib import content, disk
from lablib.disk import MIB
from lablib.host import Loop, Mount, Scratch, run

SIZE = 768 * MIB


def _sync(path):
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def _settled(top, rng):
    """What is long written back when the snapshot is taken."""
    os.makedirs(os.path.join(top, "old"))
    for n in range(20):
        path = os.path.join(top, "old", "file%d" % n)
        with open(path, "wb") as file:
            file.write(rng.randbytes(MIB))


def _fresh(top, rng):
    """What is fsynced just before: new files, one that grows, one renamed over another."""
    os.makedirs(os.path.join(top, "new"))
    for name, size in [("big", 50 * MIB)] + [("small%d" % n, 3000 + n) for n in range(30)]:
        path = os.path.join(top, "new", name)
        with open(path, "wb") as file:
            file.write(rng.randbytes(size))
        _sync(path)
    grown = os.path.join(top, "old", "file3")
    with open(grown, "ab") as file:
        file.write(rng.randbytes(2 * MIB))
    _sync(grown)
    replacement = os.path.join(top, "old", "file4.new")
    with open(replacement, "wb") as file:
        file.write(rng.randbytes(MIB // 2))
    _sync(replacement)
    os.rename(replacement, os.path.join(top, "old", "file4"))
    for folder in ("old", "new", "."):
        _sync(os.path.join(top, folder))


def _copy(source, target):
    with open(source, "rb") as src, open(target, "wb") as dst:
        dst.truncate(os.fstat(src.fileno()).st_size)
        disk.copy_sparse(src.fileno(), 0, dst.fileno(), 0, os.fstat(src.fileno()).st_size)


def build(out, fs, dirty, block_size=4096):
    """disk.raw (one partition at 1 MiB) and files.sha256 in OUT."""
    target = os.path.join(out, "disk.raw")
    rng = random.Random("%s dirty" % fs)
    with Scratch() as work:
        path = disk.create(os.path.join(work, "disk.raw"), SIZE)
        parts = disk.partition(path, "label: dos\nstart=2048, type=83\n")
        with Loop(path, *parts[1]) as loop:
            run("mkfs." + fs, *{"ext4": ["-q", "-b", str(block_size), "-E", "assume_storage_prezeroed=1"],
                                "xfs": ["-q"], "btrfs": ["-q"]}[fs], "-L", "data", loop.device)
            # long commit intervals: nothing but the fsyncs puts data on the disk
            options = {"ext4": "commit=300", "xfs": "", "btrfs": "commit=300"}[fs]
            # unmounted in between, so that counters and bitmaps agree: what is missing later is not noticed
            with Mount(loop.device, fs, parent=work) as top:
                _settled(top, rng)
            with Mount(loop.device, fs, options, parent=work) as top:
                _fresh(top, rng)
                if dirty:
                    _copy(path, target)
                with open(os.path.join(out, "files.sha256"), "w", encoding="utf-8") as file:
                    file.write(content.manifest(top))
        if not dirty:
            _copy(path, target)
