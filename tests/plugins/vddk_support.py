# SPDX-License-Identifier: GPL-2.0-or-later
"""What test-vddk.py stands on: the double laid out as VMware does, nbdkit with the plugin over it, an NBD client."""
import contextlib
import ctypes
import os
import pathlib
import random
import subprocess
import tempfile
import time

VM = "moref=vm-21"
DISK = "[ds one] web 01/web 01.vmdk"
PASSWORD = "correct-horse-battery"
THUMBPRINT = ":".join(f"{n:02X}" for n in range(1, 21))
PATIENCE_S = 120  # of the tests, on a machine that is busy

libnbd = ctypes.CDLL("libnbd.so.0")
libnbd.nbd_create.restype = ctypes.c_void_p
libnbd.nbd_get_error.restype = ctypes.c_char_p
libnbd.nbd_get_size.restype = ctypes.c_int64
libnbd.nbd_get_size.argtypes = [ctypes.c_void_p]
libnbd.nbd_connect_unix.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
libnbd.nbd_pread.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint64, ctypes.c_uint32]
libnbd.nbd_close.argtypes = [ctypes.c_void_p]


class Failed(Exception):
    """A request or a connection that the server did not grant."""


class Client:
    def __init__(self, socket):
        self.handle = libnbd.nbd_create()
        if libnbd.nbd_connect_unix(self.handle, str(socket).encode()) != 0:
            raise Failed(libnbd.nbd_get_error().decode())
        self.size = libnbd.nbd_get_size(self.handle)

    def read(self, offset, length):
        buffer = ctypes.create_string_buffer(length)
        if libnbd.nbd_pread(self.handle, buffer, length, offset, 0) != 0:
            raise Failed(libnbd.nbd_get_error().decode())
        return buffer.raw

    def close(self):
        libnbd.nbd_close(self.handle)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def eventually(what, condition):
    """Waits until CONDITION() is true. Nothing is said of how long that takes."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"never: {what}")
        time.sleep(0.02)


def same(a, b, what):
    if a != b:
        raise AssertionError(f"{what}: {a!r} is not {b!r}")


def has(text, *words):
    for word in words:
        if word not in text:
            raise AssertionError(f"'{word}' is not said in: {text}")


class Server:
    """An nbdkit with the plugin in the foreground. As a context it must end well."""

    def __init__(self, lab, arguments, env, before=(), stdin=None, pass_fds=()):
        self.lab = lab
        number = lab.number()
        self.socket, self.said_path = lab.path(f"sock{number}"), lab.path(f"said{number}")
        pid_path = lab.path(f"pid{number}")
        with open(self.said_path, "wb") as said:
            self.process = subprocess.Popen(
                ["nbdkit", "-f", "-U", self.socket, "-P", pid_path, *before, lab.plugin, *arguments],
                stdout=said, stderr=said, stdin=stdin, env=env, pass_fds=pass_fds)
        eventually("nbdkit has started", lambda: self.process.poll() is not None or pid_path.exists())

    def said(self):
        return self.said_path.read_text(errors="replace")

    def client(self):
        return Client(self.socket)

    def uri(self):
        return f"nbd+unix:///?socket={self.socket}"

    def end(self):
        self.process.terminate()
        return self.process.wait(PATIENCE_S)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        code = self.end()
        if kind is None and code != 0:
            raise AssertionError(f"nbdkit ended with {code}: {self.said()}")


class Lab:
    def __init__(self, plugin, build):
        self.plugin, self.build = plugin, build
        self.holder = tempfile.TemporaryDirectory(prefix="vmferry-test-vddk.")
        self.root = pathlib.Path(self.holder.name)
        self.count = 0
        self.temp = self.path("tmp")
        self.temp.mkdir()
        self.libdirs = {}
        self.raw = self.make_image("web.raw", 21 * 1024 * 1024 + 512 * 3)
        self.path("password").write_text(PASSWORD)

    def path(self, name):
        return self.root / name

    def number(self):
        self.count += 1
        return self.count

    def libdir(self, version=8):
        if version not in self.libdirs:
            directory = self.path(f"vddk{version}")
            make = pathlib.Path(__file__).parent.parent / "lab/vddk/make-distrib"
            subprocess.run([make, self.build, str(version), directory], check=True)
            self.libdirs[version] = directory
        return self.libdirs[version]

    def make_image(self, name, size, spots=40):
        """A sparse file with data here and there, at odd places, and at its end."""
        path = self.path(name)
        dice = random.Random(name)
        with open(path, "wb") as file:
            file.truncate(size)
            for _ in range(spots):
                length = dice.choice((512, 4096, 70000, 300000))
                file.seek(dice.randrange(0, max(1, size - length)))
                file.write(dice.randbytes(length))
            file.seek(size - 100)
            file.write(dice.randbytes(100))
        return path

    def config(self, *lines, raw=None):
        """The double's configuration; VMF_VDDK_DOUBLE_CONFIG of the environment that is returned names it."""
        number = self.number()
        path, state = self.path(f"double{number}.conf"), self.path(f"state{number}")
        state.mkdir()
        self.log, self.counts = self.path(f"log{number}"), self.path(f"counts{number}")
        text = [f"user admin@vsphere.local\npassword {PASSWORD}\nserver vc.example.com\nthumbprint {THUMBPRINT}",
                f"log {self.log}\ncounts {self.counts}\nstate {state}", f"disk {VM} - {raw or self.raw} {DISK}", *lines]
        path.write_text("\n".join(text) + "\n")
        env = dict(os.environ, VMF_VDDK_DOUBLE_CONFIG=str(path), TMPDIR=str(self.temp))
        env.pop("LD_LIBRARY_PATH", None)
        return env

    def arguments(self, *more, version=8, **other):
        given = dict(libdir=self.libdir(version), server="vc.example.com", user="admin@vsphere.local", vm=VM,
                     password=f"+{self.path('password')}", thumbprint=THUMBPRINT, file=DISK)
        given.update(other)
        return [f"{key.replace('_', '-')}={value}" for key, value in given.items() if value is not None] + [*more]

    def serve(self, *lines, raw=None, env=None, before=(), stdin=None, pass_fds=(), **parameters):
        return Server(self, self.arguments(**parameters), env or self.config(*lines, raw=raw), before, stdin, pass_fds)

    def calls(self):
        return self.log.read_text().split() if self.log.exists() else []

    def counted(self):
        return {name: int(n) for name, n in (line.split() for line in self.counts.read_text().splitlines())}

    def is_tidy(self):
        return not list(self.temp.iterdir())

    def close(self):
        with contextlib.suppress(OSError):
            self.holder.cleanup()


def copied(server, lab, name="copy.raw", *options):
    """The path of what nbdcopy gets."""
    out = lab.path(name)
    out.unlink(missing_ok=True)
    done = subprocess.run(["nbdcopy", *options, server.uri(), out], capture_output=True, text=True, timeout=PATIENCE_S)
    if done.returncode != 0:
        raise AssertionError(f"nbdcopy: {done.stderr}; nbdkit: {server.said()}")
    return out


def same_files(a, b):
    if subprocess.run(["cmp", a, b], capture_output=True).returncode != 0:
        raise AssertionError(f"{a} and {b} differ")
