# SPDX-License-Identifier: GPL-2.0-or-later
"""The sources of bench/copy: nbdkit's file plugin, read-only, on a unix socket, with filters that make it a worse one."""
import os
import subprocess
import time

from support import die_with_parent

BURST_S = 0.05  # of the cap may come at once; a request of 2 MiB still fits below 100 MB/s
MB = 10**6


class Source:
    """What stands between the disk and the programs: nbdkit's FILTERS, and the cap in bytes a second, if any."""

    def __init__(self, *filters, cap=None, extents=True):
        self.cap, self.extents = cap, extents
        if cap:
            filters += ("rate", "rate=%d" % (cap * 8), "burstiness=%g" % BURST_S)
        self.filters = ["--filter=" + word for word in filters if "=" not in word]
        self.settings = [word for word in filters if "=" in word]


SOURCES = {
    "local": Source(),
    "2ms": Source("delay", "rdelay=2ms", "delay-extents=2ms"),
    "20ms": Source("delay", "rdelay=20ms", "delay-extents=20ms"),
    "100MBps": Source(cap=100 * MB),
    "1GBps": Source(cap=1000 * MB),
    "no-multi-conn": Source("multi-conn", "multi-conn-mode=disable"),
    "no-extents": Source("noextents", extents=False),
}


class Server:
    """IMAGE as the source KIND says; .uri while the with block lasts. A socket and a pid file lie in WORK."""

    def __init__(self, image, kind, work, threads=None):
        self.socket, self.pid_file = os.path.join(work, "source.sock"), os.path.join(work, "source.pid")
        self.log = os.path.join(work, "source.log")
        self.uri = "nbd+unix:///?socket=" + self.socket
        self.argv = ["nbdkit", "-f", "-r", "--exit-with-parent", "-U", self.socket, "-P", self.pid_file,
                     *(["-t", str(threads)] if threads else []), *SOURCES[kind].filters, "file", image,
                     *SOURCES[kind].settings]
        self.process = None

    def __enter__(self):
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            preexec_fn=die_with_parent)
        while not os.path.exists(self.pid_file):
            if self.process.poll() is not None:
                with open(self.log, encoding="utf-8", errors="replace") as log:
                    raise OSError("nbdkit did not start: " + log.read())
            time.sleep(0.01)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        for path in (self.socket, self.pid_file):
            os.unlink(path)

    def read_bytes(self):
        """What it has read from its file so far: nothing else of nbdkit goes through read(2)."""
        with open("/proc/%d/io" % self.process.pid, encoding="ascii") as file:
            return int(file.readline().split()[1])
