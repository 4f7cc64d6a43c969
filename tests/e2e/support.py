# SPDX-License-Identifier: GPL-2.0-or-later
"""What the end-to-end tests share: the lab's tools, vmferry itself, sources that take time, and what an import leaves.

A test prints what it saw and ends by check() with exit code 1 at the first thing that is not as a user relies on. All
files of a test lie below one folder of its own, so that whatever has that folder in its name is the test's.
"""
import ctypes
import glob
import hashlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.realpath(__file__))
LAB = os.path.join(os.path.dirname(HERE), "lab")
sys.path.insert(0, LAB)
from lablib.host import Scratch  # noqa: E402
VMFERRY = os.path.realpath(os.environ.get("VMFERRY", os.path.join(HERE, "../../build/vmferry")))
SKIP = 77
STAGES = ["describe", "preflight", "lock", "map", "copy", "convert", "commit", "finish"]
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_libc = ctypes.CDLL(None)


def check(condition, message):
    if not condition:
        print("FAILED: " + message, flush=True)
        sys.exit(1)


def say(text):
    print(text, flush=True)


def skip(why):
    say(why)
    sys.exit(SKIP)


def lab(*words):
    return subprocess.run([os.path.join(LAB, words[0]), *words[1:]], check=True, stdout=subprocess.PIPE,
                          text=True).stdout.strip()


def lane_environment(lane):
    """What libguestfs is told; ends the test as skipped where this machine cannot. The lane boot is for guests that are
    converted natively, as in the lane quick, and then boot."""
    if lane != "quick":
        speed = subprocess.run([os.path.join(LAB, "speed")], stdout=subprocess.PIPE, text=True, check=False)
        if speed.returncode:
            skip("too slow for emulated guests today: " + speed.stdout.strip())
    if lane == "real":
        return {}
    return dict(line.split("=", 1) for line in lab("native/run", "--env").splitlines())


def die_with_parent():
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def adopt_orphans():
    """From here on every process that comes of ours stays below us, whoever of its parents dies."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Folder:
    """The test's folder: top, with out (a target), and env (for vmferry, all temporary files below top). Locked while the test
    lives; what a killed one left is swept by the next."""

    def __init__(self, lane="quick"):
        self.lane = lane

    def __enter__(self):
        self._scratch = Scratch("vmf-e2e-run.", "/var/tmp")
        self.top = self._scratch.__enter__()
        os.chmod(self.top, 0o711)  # libvirt's QEMU has to get through
        for name in ("tmp", "out", "log"):
            os.mkdir(os.path.join(self.top, name))
        self.out, self.work_root = self / "out", self / "work"
        appliance = os.environ.get("TMPDIR", "/var/tmp")  # libguestfs keeps it where it always does: made once, not per test
        self.env = {"LIBGUESTFS_CACHEDIR": appliance, **os.environ, **lane_environment(self.lane),
                    "VMFERRY_LAB_TMP": self / "tmp", "TMPDIR": self / "tmp"}
        self.env.pop("XDG_STATE_HOME", None)
        return self

    def __truediv__(self, name):
        return os.path.join(self.top, name)

    def __exit__(self, *_):
        self._scratch.__exit__()

    def argv(self, source, *words, to=None):
        return [VMFERRY, "import", source, "--to", to or self.out, "--set", "log.dir=" + (self / "log"),
                "--set", "work.dir=" + self.work_root, *words]

    def run(self, source, *words, to=None, env=None):
        """One import to its end: (exit status, summary or None, standard error)."""
        done = subprocess.run(self.argv(source, "--json", "--progress", "lines", *words, to=to), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**self.env, **(env or {})},
                              check=False)
        return done.returncode, json.loads(done.stdout) if done.stdout.strip() else None, done.stderr

    def good(self, source, *words, to=None, env=None):
        """One import that must succeed: its summary."""
        status, report, errors = self.run(source, *words, to=to, env=env)
        check(status == 0 and report["result"] == "imported", "import of %s ended with %s:\n%s" % (source, status, errors))
        return report

    def clean(self, *words):
        """`vmferry clean`: (exit status, its lines)."""
        done = subprocess.run([VMFERRY, "clean", "--set", "work.dir=" + self.work_root, *words], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.env, check=False)
        return done.returncode, done.stdout.splitlines()


def tree(top, digests=True):
    """Every name below TOP with what it is: kind, mode, owner, size, time of change, digest or link. For comparing."""
    found = {}
    for root, folders, files in os.walk(top):
        for name in folders + files:
            path = os.path.join(root, name)
            info = os.lstat(path)
            what = os.readlink(path) if os.path.islink(path) else None
            if digests and stat.S_ISREG(info.st_mode):
                with open(path, "rb") as file:
                    what = hashlib.file_digest(file, "sha256").hexdigest()
            found[os.path.relpath(path, top)] = (info.st_mode, info.st_uid, info.st_size, info.st_mtime_ns, what)
    return found


def difference(before, after):
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


# ---- sources that take time

NBD_XML = """<domain type='kvm'><name>%s</name><memory unit='MiB'>1024</memory><vcpu>2</vcpu>
<os><type arch='x86_64'>hvm</type></os><devices>
<disk type='network' device='disk'><driver name='qemu' type='raw'/>
<source protocol='nbd'><host name='localhost' port='%d'/></source><target dev='sda' bus='scsi'/></disk>
<controller type='scsi' model='vmpvscsi'/>
<interface type='network'><mac address='%s'/><source network='default'/><model type='vmxnet3'/></interface>
</devices></domain>
"""


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class SlowDisk:
    """IMAGE as an NBD network disk of a libvirt XML (.xml), at most BYTES_PER_S quick. QEMU's own throttle: nbdkit's rate
    filter may fall over when a client is killed."""

    def __init__(self, image, folder, bytes_per_s, name="slow", mac="52:54:00:4a:3b:2c"):
        self.port = free_port()
        self.xml = folder / (name + ".xml")
        with open(self.xml, "w", encoding="utf-8") as file:
            file.write(NBD_XML % (name, self.port, mac))
        self.process = subprocess.Popen(
            ["qemu-storage-daemon", "--object", "throttle-group,id=t,x-bps-total=%d" % bytes_per_s,
             "--blockdev", json.dumps({"driver": "raw", "node-name": "disk", "read-only": True, "file": {
                 "driver": "throttle", "throttle-group": "t", "file": {"driver": "file", "filename": image,
                                                                       "locking": "off"}}}),
             "--nbd-server", "addr.type=inet,addr.host=127.0.0.1,addr.port=%d,max-connections=0" % self.port,
             "--export", "type=nbd,id=e,node-name=disk,name="], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            preexec_fn=die_with_parent)

    def __enter__(self):
        while True:
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            check(self.process.poll() is None, "the source's server did not start")
            time.sleep(0.05)

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


# ---- what an import leaves

def _read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _link(path):
    try:
        return os.readlink(path)
    except OSError:
        return ""


def descendants(pid):
    """Every process below PID, its namespaces' ones included: {pid: words}."""
    parents = {}
    for path in glob.glob("/proc/[0-9]*/stat"):
        words = _read(path).rpartition(b")")[2].split()
        if len(words) > 1 and words[0] != b"Z":  # one that has ended and waits for us to notice is no process any more
            parents.setdefault(int(words[1]), []).append(int(path.split("/")[2]))
    found, queue = {}, [pid]
    while queue:
        for child in parents.get(queue.pop(), []):
            words = _read("/proc/%d/cmdline" % child).replace(b"\0", b" ").decode(errors="replace").strip()
            found[child] = words or _read("/proc/%d/comm" % child).decode(errors="replace").strip()
            queue.append(child)
    return found


def until_gone(look, seconds=20):
    """What LOOK finds once it finds nothing, or after SECONDS: a killed process takes a moment to give its memory back."""
    end = time.monotonic() + seconds
    while (found := look()) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def namespaces(pids):
    """The network namespaces that PIDS live in, our own excepted."""
    return {_link("/proc/%d/ns/net" % pid) for pid in pids} - {"", _link("/proc/self/ns/net")}


def holders(net):
    """Who holds one of the network namespaces NET: as its own, by a descriptor, or as a mount."""
    found = []
    for path in glob.glob("/proc/[0-9]*/ns/net") + glob.glob("/proc/[0-9]*/fd/*"):
        if _link(path) in net:
            found.append(path)
    mounts = _read("/proc/self/mountinfo").decode(errors="replace").splitlines()
    return found + [line for line in mounts if any(one in line for one in net)]


class Watch:
    """Finds what is left of the import PROCESS after its end. look() while it runs, left() afterwards."""

    def __init__(self, process, folder, known):
        self.process, self.folder, self.known, self.net = process, folder, set(known), set()
        self.seen = {}

    def look(self):
        below = descendants(self.process.pid)
        self.seen.update(below)
        self.net |= namespaces(below)

    def loops(self):
        listed = subprocess.run(["losetup", "-l", "-n", "-O", "NAME,BACK-FILE"], stdout=subprocess.PIPE, text=True,
                                check=False).stdout
        return [line for line in listed.splitlines() if self.folder.top in line]

    def once(self):
        while True:  # those that came to us when their parents died
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
        left = ["process %d: %s" % item for item in descendants(os.getpid()).items()
                if item[0] not in self.known and item[0] != self.process.pid]
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            pid = int(path.split("/")[2])
            if self.folder.top.encode() in _read(path) and pid not in self.known and pid != os.getpid():
                left.append("process %d: %s" % (pid, _read(path).replace(b"\0", b" ").decode(errors="replace")))
        for line in _read("/proc/self/mounts").decode(errors="replace").splitlines():
            if self.folder.top in line:
                left.append("mount: " + line)
        left += ["network namespace: " + one for one in holders(self.net)]
        return left + ["loop device: " + line for line in self.loops()]

    def left(self, seconds):
        """(what stays after SECONDS, how long the rest took to go)."""
        begin = time.monotonic()
        return until_gone(self.once, seconds), time.monotonic() - begin


# ---- libvirt

class Libvirt:
    """The lab's private libvirtd, with a pool "default" (and "other") below FOLDER and an isolated network "default"."""

    def __init__(self, folder):
        self.folder = folder
        self._scratch = Scratch("vmf-run.", "/tmp")
        self.dir = self._scratch.__enter__()
        self.process = subprocess.Popen([os.path.join(LAB, "libvirtd"), self.dir], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, text=True, preexec_fn=die_with_parent)

    def __enter__(self):
        self.uri = self.process.stdout.readline().strip()
        if not self.uri:
            status = self.process.wait()
            sys.exit(status if status == SKIP else 1)
        for pool in ("default", "other"):
            os.mkdir(self.folder / ("pool-" + pool), 0o755)
            self.virsh("pool-create-as", pool, "dir", "--target", self.folder / ("pool-" + pool))
        self.define("net-create", "<network><name>default</name></network>")
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self._scratch.__exit__()

    def virsh(self, *words, fails=False):
        done = subprocess.run(["virsh", "-q", "-c", self.uri, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False)
        check(fails or done.returncode == 0, "virsh %s: %s" % (" ".join(words), done.stdout))
        return done.stdout.strip()

    def define(self, command, xml):
        path = self.folder / "define.xml"
        with open(path, "w", encoding="utf-8") as file:
            file.write(xml)
        self.virsh(command, path)
        os.unlink(path)

    def state(self):
        """Domains, volumes and the pools' folders, for comparing."""
        found = {"domain " + name: self.virsh("dumpxml", name) for name in self.virsh("list", "--all", "--name").split()}
        for pool in ("default", "other"):
            self.virsh("pool-refresh", pool)
            for line in self.virsh("vol-list", pool).splitlines():
                found["volume %s of %s" % (line.split()[0], pool)] = self.virsh("vol-dumpxml", line.split()[0], pool)
            found.update({"file %s/%s" % (pool, name): what for name, what in tree(self.folder / ("pool-" + pool)).items()})
        return found
