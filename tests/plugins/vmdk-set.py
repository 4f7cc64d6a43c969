#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes stream-optimised VMDKs into a folder: a good one as VMware lays it out (QEMU writes another layout), and bent ones.

usage: vmdk-set.py FOLDER

FOLDER/list has a line for each: NAME, how it is read (file, stream), what must come of it (same: the bytes of good.raw;
refused: no server; eio: a read fails), and words that the message must have. Fields are split by tabs. NAME.vmdk is
the image.
"""
import pathlib
import random
import struct
import sys
import zlib

SECTOR = 512
AT_END = 2**64 - 1
ZERO_GRAINS, COMPRESSED, MARKERS = 1 << 2, 1 << 16, 1 << 17
END, TABLE, DIRECTORY, FOOTER = range(4)
CAPACITY, GRAIN, ENTRIES = 1000, 16, 16  # sectors, sectors, entries of a table: four tables, half a grain at the end
DATA_AT = 24  # sectors
DESCRIPTOR = b'# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="streamOptimized"\n' \
             b'RW %d SPARSE "x.vmdk"\n'


def padded(data):
    return data + bytes(-len(data) % SECTOR)


def marker(value, kind):
    return padded(struct.pack("<QII", value, 0, kind))


class Image:
    """The bytes, and where in them each part is. GRAINS: {index: (sector it says it is for, deflated bytes)}."""

    def __init__(self, grains, capacity=CAPACITY, grain=GRAIN, entries=ENTRIES, backwards=False):
        self.capacity, self.grain, self.entries = capacity, grain, entries
        self.grain_at, self.table_at, self.marker_at = {}, {}, []
        n = -(-capacity // grain)
        self.data = bytearray(padded(self.header(AT_END)) + padded(DESCRIPTOR % capacity))
        self.data += bytes(DATA_AT * SECTOR - len(self.data))
        for table in range(-(-n // entries)):
            order = sorted((i for i in grains if i // entries == table), reverse=backwards)
            self.add_table(table, {i: grains[i] for i in order})
        self.add_marker(-(-len(self.table_at) * 4 // SECTOR), DIRECTORY)
        self.directory_at = len(self.data)
        self.data += padded(b"".join(struct.pack("<I", self.table_at.get(t, 0) // SECTOR) for t in range(-(-n // entries))))
        self.add_marker(1, FOOTER)
        self.footer_at = len(self.data)
        self.data += padded(self.header(self.directory_at // SECTOR))
        self.add_marker(0, END)

    def header(self, directory):
        return struct.pack("<4sIIQQQQIQQQB4sH", b"KDMV", 3, 1 | COMPRESSED | MARKERS, self.capacity, self.grain, 1, 1,
                           self.entries, 0, directory, DATA_AT, 0, b"\n \r\n", 1)

    def add_marker(self, value, kind):
        self.marker_at.append(len(self.data))
        self.data += marker(value, kind)

    def add_table(self, table, grains):
        if not grains:
            return
        for index, (lba, deflated) in grains.items():
            self.grain_at[index] = len(self.data)
            self.data += padded(struct.pack("<QI", lba, len(deflated)) + deflated)
        self.add_marker(-(-self.entries * 4 // SECTOR), TABLE)
        self.table_at[table] = len(self.data)
        self.data += padded(b"".join(struct.pack("<I", self.grain_at.get(table * self.entries + i, 0) // SECTOR)
                                     for i in range(self.entries)))

    def put(self, at, form, *values):
        struct.pack_into("<" + form, self.data, at, *values)
        return self

    def both(self, at, form, *values):
        """The same in header and footer."""
        return self.put(at, form, *values).put(self.footer_at + at, form, *values)

    def entry_at(self, index):
        return self.table_at[index // self.entries] + index % self.entries * 4


class Set:
    def __init__(self, folder):
        self.folder, self.lines = pathlib.Path(folder), []
        rng = random.Random(5)
        here = [0, 1, 2, 5, 15, 16, 17, 31, 48, 50, 61, 62]  # none in the third table; the last one is half the disk's
        self.plain = {i: rng.randbytes(3000) + bytes(GRAIN * SECTOR - 3000) for i in here}
        raw = bytearray(CAPACITY * SECTOR + SECTOR * GRAIN)
        for index, data in self.plain.items():
            raw[index * GRAIN * SECTOR:(index + 1) * GRAIN * SECTOR] = data
        (self.folder / "good.raw").write_bytes(raw[:CAPACITY * SECTOR])

    def good(self, change=None, **more):
        grains = {i: (i * GRAIN, zlib.compress(data)) for i, data in self.plain.items()}
        if change:
            change(grains)
        return Image(grains, **more)

    def add(self, name, image, how, outcome, words=""):
        data = image.data if isinstance(image, Image) else image
        (self.folder / f"{name}.vmdk").write_bytes(data)
        self.lines += [f"{name}\t{one}\t{outcome}\t{words}" for one in how.split()]

    def write_list(self):
        (self.folder / "list").write_text("\n".join(self.lines) + "\n")


def add_headers(out):
    wrong = [("magic", 0, "4s", b"VMDK", "not that of a sparse VMDK"), ("version", 4, "I", 9, "of version 9"),
             ("not-compressed", 8, "I", 1 | MARKERS, "not of a stream-optimized one"),
             ("no-markers", 8, "I", 1 | COMPRESSED, "not of a stream-optimized one"),
             ("lzma", 77, "H", 2, "compression 2"), ("no-capacity", 12, "Q", 0, "disk of 0 sectors"),
             ("capacity", 12, "Q", 1 << 60, "up to 64 TiB"), ("capacity-64-tib", 12, "Q", (1 << 37) + 1, "up to 64 TiB"),
             ("no-grain", 20, "Q", 0, "grains of 0 sectors"), ("grain-3", 20, "Q", 24, "a power of two"),
             ("grain-small", 20, "Q", 4, "8 to 2048"), ("grain-large", 20, "Q", 4096, "8 to 2048"),
             ("grain-wraps", 20, "Q", 1 << 63, "8 to 2048"), ("no-entries", 44, "I", 0, "tables of 0 entries"),
             ("entries", 44, "I", 513, "up to 512"), ("entries-wrap", 44, "I", 0xffffffff, "up to 512"),
             ("descriptor", 36, "Q", 1 << 40, "claims a descriptor")]
    for name, at, form, value, words in wrong:
        out.add("header-" + name, out.good().both(at, form, value), "file stream", "refused", words)
    big = out.good().both(12, "Q", 1 << 33).both(44, "I", 512)  # 4 TiB: a directory that this file cannot hold
    out.add("header-directory-longer-than-file", big, "file", "refused", "more than the file has")
    out.add("header-many-tables", out.good().both(12, "Q", 1 << 36).both(44, "I", 1), "file stream", "refused",
            "grain tables")
    out.add("data-nowhere", out.good().put(64, "Q", 1 << 60), "stream", "refused", "absurd")
    out.add("data-behind-end", out.good().put(64, "Q", 1 << 30), "stream", "eio", "it was cut off")


def add_directories(out):
    image = out.good()
    at = image.footer_at + 56
    out.add("directory-absurd", out.good().put(at, "Q", 1 << 62), "file", "refused", "which is absurd")
    out.add("directory-behind-end", out.good().put(at, "Q", 1 << 40), "file", "refused", "it is cut off")
    out.add("directory-at-end-again", out.good().put(at, "Q", AT_END), "file", "refused", "does not say where")
    out.add("footer-other-size", out.good().put(image.footer_at + 12, "Q", 500), "stream", "eio", "another disk")
    out.add("footer-missing", image.data[:image.footer_at - SECTOR] + marker(0, END), "file", "refused", "no footer")
    out.add("footer-missing-streamed", image.data[:image.footer_at - SECTOR], "stream", "eio", "without a footer")
    out.add("table-behind-end", out.good().put(image.directory_at, "I", 1 << 20), "file", "refused", "it is cut off")
    out.add("table-shared", out.good().put(image.directory_at + 4, "I", image.table_at[0] // SECTOR), "file", "eio",
            "is for sector")
    out.add("table-is-directory", out.good().put(image.directory_at, "I", image.directory_at // SECTOR), "file", "eio",
            "the grain at byte")
    loop = Image({0: (0, zlib.compress(bytes(8 * SECTOR)))}, capacity=8 * 512 * 4096, grain=8, entries=512)
    loop.put(loop.directory_at, "4096I", *[loop.table_at[0] // SECTOR] * 4096)
    out.add("table-loop", loop, "file", "refused", "more tables than the file can hold")


def add_entries(out):
    image = out.good()
    out.add("entry-behind-end", out.good().put(image.entry_at(1), "I", 0xffffffff), "file", "refused", "it is cut off")
    out.add("entry-shared", out.good().put(image.entry_at(1), "I", image.grain_at[0] // SECTOR), "file", "eio",
            "is for sector 0, but its table has it for sector 16")
    out.add("entry-is-table", out.good().put(image.entry_at(1), "I", image.table_at[0] // SECTOR), "file", "eio",
            "the grain at byte")
    out.add("entry-1-no-flag", out.good().put(image.entry_at(3), "I", 1), "file", "eio", "the grain at byte 512")
    flags = 1 | COMPRESSED | MARKERS | ZERO_GRAINS
    zero = out.good().put(image.entry_at(3), "I", 1).both(8, "I", flags)
    out.add("entry-zero-grain", zero, "file stream", "same")


def add_grains(out):
    image = out.good()
    at = image.grain_at[5]
    out.add("grain-size-0", out.good().put(at + 8, "I", 0), "file", "eio", "claims 0 deflated bytes")
    out.add("grain-size-huge", out.good().put(at + 8, "I", 0xffffffff), "file stream", "eio", "claims 4294967295")
    out.add("grain-size-2-and-1", out.good().put(at + 8, "I", 2 * GRAIN * SECTOR + 1), "file stream", "eio", "is the most")
    out.add("grain-unaligned", out.good().put(at, "Q", 5 * GRAIN + 1), "file stream", "eio", "where no grain begins")
    out.add("grain-behind-disk", out.good().put(at, "Q", CAPACITY + 8), "file stream", "eio", "behind the disk's end")
    out.add("grain-lba-wraps", out.good().put(at, "Q", 2**64 - GRAIN), "file stream", "eio", "behind the disk's end")
    out.add("grain-not-rising", out.good().put(at, "Q", GRAIN), "stream", "eio", "read from a file only")
    for how, outcome, words in ("file", "same", ""), ("stream", "eio", "read from a file only"):
        out.add("grains-backwards", out.good(backwards=True), how, outcome, words)
    out.add("grain-twice", out.good().put(at, "Q", 2 * GRAIN), "stream", "eio", "read from a file only")
    out.add("grain-other-place", out.good().put(at, "Q", 4 * GRAIN), "file", "eio", "but its table has it for sector 80")
    for name, data in [("long", bytes(GRAIN * SECTOR + 1)), ("bomb", bytes(64 << 20)), ("short", bytes(SECTOR)),
                       ("empty", b"")]:
        words = "to more than a grain" if name in ("long", "bomb") else "instead of 8192"
        deflated = zlib.compress(data, 9)[:2 * GRAIN * SECTOR] if name == "bomb" else zlib.compress(data)
        bent = out.good(lambda grains, deflated=deflated: grains.update({5: (5 * GRAIN, deflated)}))
        out.add("grain-" + name, bent, "file stream", "eio", words)
    out.add("grain-damaged", out.good().put(at + 700, "8s", b"\xff" * 8), "file stream", "eio", "the grain for sector 80 is damaged")
    out.add("grain-not-deflate", out.good().put(at + 12, "H", 0), "file stream", "eio", "cannot be inflated")
    last = out.good(lambda grains: grains.update({62: (62 * GRAIN, zlib.compress(out.plain[62][:8 * SECTOR]))}))
    out.add("grain-last-ends-with-disk", last, "file stream", "same")
    short = out.good(lambda grains: grains.update({62: (62 * GRAIN, zlib.compress(out.plain[62][:7 * SECTOR]))}))
    out.add("grain-last-short", short, "file stream", "eio", "instead of 4096")
    large = Image({0: (0, zlib.compress(bytes(1 << 20)))}, capacity=2048, grain=2048)
    large.put(large.grain_at[0] + 8, "I", (1 << 21) - 4096)
    out.add("grain-longer-than-file", large, "file", "eio", "cut off")
    out.add("grain-longer-than-stream", large, "stream", "eio", "bytes are missing")


def add_markers(out):
    image = out.good()
    at = image.marker_at[0]
    out.add("marker-unknown", out.good().put(at + 12, "I", 9), "stream", "eio", "marker of type 9")
    out.add("marker-unknown-in-file", out.good().put(at + 12, "I", 9), "file", "same")
    out.add("marker-absurd", out.good().put(at, "Q", 1 << 63), "stream", "eio", "claims 9223372036854775808 sectors")
    out.add("marker-long", out.good().put(at, "Q", 16384), "stream", "eio", "in the middle of a grain table")
    out.add("marker-end-early", out.good().put(at, "QII", 0, 0, END), "stream", "eio", "without a footer")


def main():
    out = Set(sys.argv[1])
    out.add("good", out.good(), "file stream", "same")
    add_headers(out)
    add_directories(out)
    add_entries(out)
    add_grains(out)
    add_markers(out)
    out.write_list()


main()
