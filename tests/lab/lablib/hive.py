# SPDX-License-Identifier: GPL-2.0-or-later
"""Registry hives: an empty one from scratch, filled by hivexregedit.

The layout of an empty hive is that of hivex's and libregf's documentation of the format: a 4 KiB header, one 4 KiB bin
with the root key, its security descriptor and one free cell.
"""
import struct

from lablib.host import run

_NONE = 0xFFFFFFFF
_BIN = 4096
# Owner and group SYSTEM, everyone may do everything: a self-relative security descriptor
_SECURITY = (struct.pack("<BBHIIII", 1, 0, 0x8004, 0x30, 0x3C, 0, 0x14)
             + struct.pack("<BBHHH", 2, 0, 28, 1, 0) + struct.pack("<BBHI", 0, 2, 20, 0xF003F)
             + struct.pack("<BB6sI", 1, 1, b"\0\0\0\0\0\1", 0)
             + 2 * struct.pack("<BB6sI", 1, 1, b"\0\0\0\0\0\5", 18))


def _cell(body):
    size = (len(body) + 4 + 7) // 8 * 8
    return struct.pack("<i", -size) + body.ljust(size - 4, b"\0")


def _key(name, security):
    """A root key (flags: root, not deletable, name in one byte per character) without subkeys or values."""
    return _cell(struct.pack("<2sHqIIIIIIIIIIHHIIIIHH", b"nk", 0x2C, 0, 0, 0x20, 0, 0, _NONE, _NONE, 0, _NONE, security,
                             _NONE, 0, 0, 0, 0, 0, 0, len(name), 0) + name)


def empty(name=b"$$$PROTO.HIV"):
    """The bytes of a hive with nothing in it."""
    at = 0x20 + len(_key(name, 0))
    key = _key(name, at)
    security = _cell(struct.pack("<2sHIIII", b"sk", 0, at, at, 1, len(_SECURITY)) + _SECURITY)
    used = 0x20 + len(key) + len(security)
    free = struct.pack("<i", _BIN - used).ljust(_BIN - used, b"\0")
    body = struct.pack("<4sIIQQI", b"hbin", 0, _BIN, 0, 0, 0) + key + security + free
    header = struct.pack("<4sIIqIIIIIII", b"regf", 1, 1, 0, 1, 5, 0, 1, 0x20, _BIN, 1).ljust(508, b"\0")
    checksum = 0
    for word in struct.unpack("<127I", header):
        checksum ^= word
    return (header + struct.pack("<I", checksum)).ljust(4096, b"\0") + body


def build(path, prefix, text):
    """A hive at PATH with the keys of TEXT (in the form of regedit's exports), whose names begin with PREFIX."""
    with open(path, "wb") as file:
        file.write(empty())
    with open(path + ".reg", "w", encoding="utf-8") as file:
        file.write(text)
    run("hivexregedit", "--merge", "--prefix", prefix, path, path + ".reg")
