# SPDX-License-Identifier: GPL-2.0-or-later
"""About 60 MB of known files of many kinds, the same on every machine, put into each Linux guest below /srv/lab.

What they should be stands in the manifest beside the generator's output, never in the guest.
"""
import hashlib
import os
import random

SEED = 20240613


def _write(path, data, mode=0o644):
    with open(path, "wb") as file:
        file.write(data)
    os.chmod(path, mode)


def _many_small(top, rng):
    for n in range(1500):
        folder = os.path.join(top, "small", "%02d" % (n % 40))
        os.makedirs(folder, exist_ok=True)
        _write(os.path.join(folder, "file-%04d" % n), rng.randbytes(rng.choice([0, 1, 60, 511, 512, 4095, 4096, 4097,
                                                                               rng.randrange(16384)])))


def _sparse(top, rng):
    with open(os.path.join(top, "sparse"), "wb") as file:
        for at in (0, 5 << 20, (17 << 20) + 123, 30 << 20):
            file.seek(at)
            file.write(rng.randbytes(70000))
        file.truncate(40 << 20)
    with open(os.path.join(top, "all-hole"), "wb") as file:
        file.truncate(8 << 20)


def _links(top):
    os.makedirs(os.path.join(top, "links"))
    _write(os.path.join(top, "links", "one"), b"one inode, three names\n")
    for name in ("two", "three"):
        os.link(os.path.join(top, "links", "one"), os.path.join(top, "links", name))
    os.symlink("one", os.path.join(top, "links", "relative"))
    os.symlink("/srv/lab/links/one", os.path.join(top, "links", "absolute"))
    os.symlink("x" * 300, os.path.join(top, "links", "dangling-and-long"))
    os.mkfifo(os.path.join(top, "links", "fifo"))


def _attributes(top):
    for name, mode, owner in (("set-user", 0o4755, 0), ("private", 0o600, 33), ("group", 0o2750, 100),
                              ("nothing", 0o000, 65534)):
        path = os.path.join(top, name)
        _write(path, name.encode() * 100)
        os.chown(path, owner, owner)
        os.chmod(path, mode)
    path = os.path.join(top, "attributes")
    _write(path, b"see my attributes\n")
    os.setxattr(path, "user.lab.short", b"1")
    os.setxattr(path, "user.lab.long", b"0123456789" * 90)
    os.setxattr(path, "user.lab.binary", bytes(range(256)))
    # cap_net_raw+ep, as file systems keep it (struct vfs_cap_data, revision 2)
    os.setxattr(path, "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))


def _names(top):
    folder = os.path.join(top, "names")
    os.makedirs(folder)
    for name in ("with space", "Grüße-日本語", "new\nline", "back\\slash", "n" * 255, "-dash", "tab\there"):
        _write(os.path.join(folder, name), name.encode())
    deep = os.path.join(top, "deep", *["d%d" % n for n in range(30)])
    os.makedirs(deep)
    _write(os.path.join(deep, "bottom"), b"here\n")


def fill(top):
    """Writes the files into the new directory TOP."""
    rng = random.Random(SEED)
    os.makedirs(top)
    _many_small(top, rng)
    _sparse(top, rng)
    _links(top)
    _attributes(top)
    _names(top)
    _write(os.path.join(top, "big"), rng.randbytes(40 << 20))
    _write(os.path.join(top, "zeroes"), bytes(4 << 20))
    _write(os.path.join(top, "text"), b"".join(b"line %d\n" % n for n in range(300000)))


def manifest(top):
    """SHA-256 and path of every regular file below TOP, one a line, in the form of sha256sum; sorted."""
    lines = []
    for folder, _, names in os.walk(top):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path):
                with open(path, "rb") as file:
                    digest = hashlib.sha256(file.read()).hexdigest()
                lines.append((os.path.relpath(path, top), digest))
    return "".join("%s  %s\n" % (digest, path.replace("\\", "\\\\").replace("\n", "\\n"))
                   for path, digest in sorted(lines))
