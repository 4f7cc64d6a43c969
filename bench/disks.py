# SPDX-License-Identifier: GPL-2.0-or-later
"""The disks that bench/copy copies: made once from a seed, kept in ${XDG_CACHE_HOME:-~/.cache}/vmferry/bench.

fs         4 GiB, a quarter of it data, in the pattern of a file system that has been in use
dense      1 GiB, all of it data that does not compress
scattered  1 TiB, 10,000 extents of 4 to 128 KiB
guest      the lab's BIOS guest, sda.raw

A file's name has the number of the recipe in it: who changes what a recipe writes counts it up.
"""
import os
import random
import subprocess

from support import lab

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
BLOCK = 4 * KIB
GROUP = 128 * MIB // BLOCK  # ext4's block group, in blocks


def folder():
    path = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "vmferry", "bench")
    os.makedirs(path, exist_ok=True)
    return path


def cached(name, make):
    """The path of NAME in the cache. MAKE (path) writes it where it is not there yet; what stands there is complete."""
    path = os.path.join(folder(), name)
    if not os.path.exists(path):
        print("making " + path, flush=True)
        part = "%s.new%d" % (path, os.getpid())
        try:
            make(part)
            with open(part, "rb") as file:
                os.fsync(file.fileno())
            os.rename(part, path)
        finally:
            if os.path.exists(part):
                os.unlink(part)
    return path


def disk(name):
    """The path of the raw disk NAME."""
    if name == "guest":
        return os.path.join(lab("lab", "bios"), "sda.raw")
    size, write = RECIPES[name]

    def make(path):
        with open(path, "xb") as file:
            os.ftruncate(file.fileno(), size)
            write(file.fileno(), random.Random("vmferry bench " + name))
    return cached(name + "-1.raw", make)


def stream_vmdk(name):
    """The disk NAME as the stream-optimised VMDK that an OVA has."""
    return cached(name + "-1.vmdk", lambda path: subprocess.run(
        ["qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", disk(name), path], check=True))


def extents(path):
    """(offset, length) of what is not a hole in the file PATH."""
    with open(path, "rb") as file:
        fd, end, at = file.fileno(), os.stat(path).st_size, 0
        while at < end:
            try:
                data = os.lseek(fd, at, os.SEEK_DATA)
            except OSError:  # ENXIO: nothing but a hole to the end
                return
            at = os.lseek(fd, data, os.SEEK_HOLE)
            yield data, at - data


def warm(path, whole):
    """Reads the data of PATH into the page cache; with WHOLE its holes too, for a server that does not know of them."""
    with open(path, "rb", buffering=0) as file:
        buffer = memoryview(bytearray(4 * MIB))
        for offset, length in [(0, os.stat(path).st_size)] if whole else list(extents(path)):
            file.seek(offset)
            while length > 0:
                got = file.readinto(buffer[:min(length, len(buffer))])
                if got == 0:
                    return
                length -= got


# ---- recipes

def contents(rng):
    """Pools of 8 MiB that files are cut from: text, records and what has been compressed already. Deflate makes them about
    a quarter, a half and nothing smaller."""
    words = [bytes(rng.choices(b"etaoinshrdlucmfwygp", k=rng.randint(2, 9))) for _ in range(3000)]
    text = b" ".join(rng.choices(words, k=1400 * KIB))[:8 * MIB]
    frame = rng.randbytes(64)
    records = b"".join(rng.randbytes(12) + frame[at % 4 * 16:at % 4 * 16 + 20] for at in range(8 * MIB // 32))
    return [text, records, rng.randbytes(8 * MIB)]


class Blocks:
    """Which blocks of the disk are in use; takes the next free ones."""

    def __init__(self, fd, count):
        self.fd, self.used, self.left = fd, bytearray(count), count // 4

    def put(self, at, data):
        """Writes DATA from block AT on where blocks are free, around those that are not: a fragmented file."""
        done = 0
        while done < len(data) and self.left:
            at = self.used.find(0, at)
            if at < 0:
                at = 0  # the disk's end: once more from its beginning
                continue
            most = min(-(-(len(data) - done) // BLOCK), self.left)
            taken = self.used.find(1, at, at + most)
            count = most if taken < 0 else taken - at
            os.pwrite(self.fd, data[done:done + count * BLOCK].ljust(count * BLOCK, b"\0"), at * BLOCK)
            self.used[at:at + count] = b"\1" * count
            self.left -= count
            done += count * BLOCK
            at += count


def write_fs(fd, rng):
    """Each block group begins with bitmaps and a table of inodes, mostly zeroes; a journal stands in the middle; files
    have the sizes that files have (median 16 KiB, most bytes in the large ones), more of them in the first groups."""
    blocks, pools = Blocks(fd, 4 * GIB // BLOCK), contents(rng)
    groups = len(blocks.used) // GROUP
    for group in range(groups):
        blocks.put(group * GROUP, rng.randbytes(16 * KIB) + pools[1][:300 * KIB] + bytes(1748 * KIB))
    blocks.put(groups // 2 * GROUP, pools[1][:6 * MIB] + bytes(26 * MIB))
    while blocks.left:
        size = min(int(rng.lognormvariate(9.7, 2.2)), 64 * MIB) + 1
        pool = rng.choices(pools, weights=(40, 25, 35))[0]
        begin = rng.randrange(len(pool))
        data = (pool[begin:] + pool * (size // len(pool) + 1))[:size]
        group = min(int(rng.expovariate(2.5 / groups)), groups - 1)
        blocks.put(group * GROUP + rng.randrange(GROUP // 16) * 16, data)


def write_dense(fd, rng):
    for at in range(0, GIB, 16 * MIB):
        os.pwrite(fd, rng.randbytes(16 * MIB), at)


def write_scattered(fd, rng):
    for slot in rng.sample(range(TIB // MIB), 10000):
        count = rng.randint(1, 32)
        os.pwrite(fd, rng.randbytes(count * BLOCK), slot * MIB + rng.randrange(MIB // BLOCK - count) * BLOCK)


RECIPES = {"fs": (4 * GIB, write_fs), "dense": (GIB, write_dense), "scattered": (TIB, write_scattered)}
DISKS = [*RECIPES, "guest"]
