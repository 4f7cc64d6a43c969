# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of vSphere's machines share: a vCenter with the lab's guest and small machines, one import of them, what
nothing may be left of, and the loop over cases."""
import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import threading
import time

from support import HERE, LAB, VMFERRY, Folder, adopt_orphans, check, descendants, lab, say
from faultlib import make_disk

sys.path.insert(0, LAB)
from lablib import vddk, vimsoap  # noqa: E402
from lablib.vcenter import Vcenter  # noqa: E402

ROADS = ("vddk", "export", "https")
NIC = {"mac": "52:54:00:4a:3b:2c"}


class Case:
    """What the cases share: a folder, the guest's disk, a small disk, and a vCenter that has both as machines."""

    def __init__(self, folder, vcenter, double):
        self.folder, self.out, self.vc, self.double = folder, folder.out, vcenter, double
        self.snapshots = vcenter.control.status()["snapshots"]  # the machines' own
        self.guest = os.path.join(lab("lab", "bios"), "sda.raw")
        self.env = {**folder.env, **double.env}
        self.base = ["--password-file", vcenter.password_file]
        self.set = ["--set", "vsphere.known_hosts=" + (folder / "pins"), "--set", "vddk.lib.dir=" + double.directory]

    def address(self, **how):
        """libvirt's, of the server, or of a host of the vCenter."""
        return self.vc.url("esx", "", **how) if self.vc.model == "esx" else self.vc.url("vpx", "DC0/DC0_H0", **how)

    def run(self, *words, env=None, source=None, to=None):
        """vmferry import, its exit status, summary and standard error."""
        return self.folder.run(source or self.address(), *self.base, *self.set, *words, to=to, env={**self.env, **(env or {})})

    def good(self, *words, **how):
        status, report, errors = self.run(*words, **how)
        check(status == 0 and report["result"] == "imported", "ended with %d:\n%s" % (status, errors))
        return report, errors

    def refused(self, pattern, *words, status=(1, 3), **how):
        got, _, errors = self.run(*words, **how)
        check(got in status, "exit status %s is expected, not %d:\n%s" % (status, got, errors))
        said = [line for line in errors.splitlines() if line.startswith("vmferry: ") and re.search(pattern, line)]
        check(said, "nothing like '%s' is said:\n%s" % (pattern, errors))
        check(not os.listdir(self.out), "left on the target: %s" % os.listdir(self.out))
        say("  refused: " + said[0][:600])
        return errors

    def argv(self, *words, to=None):
        return self.folder.argv(self.address(), *self.base, *self.set, *words, to=to)

    def nothing_left(self):
        """Neither on the source nor on this host (B14, B16)."""
        left = self.vc.control.status()
        open_leases = [lease for lease in left["leases"] if lease["state"] in ("ready", "initializing")]
        check(not left["sessions"], "sessions left: %s" % left["sessions"])
        check(not open_leases, "leases left: %s" % open_leases)
        more = {vm: names for vm, names in left["snapshots"].items() if names != self.snapshots.get(vm, [])}
        check(not more, "snapshots left: %s" % more)
        check(not os.path.isdir(self.folder.work_root) or not os.listdir(self.folder.work_root), "work directories left")
        secret = self.vc.password.encode()
        for root, _, files in os.walk(self.folder.top):
            for name in files:
                path = os.path.join(root, name)
                if path != self.vc.password_file and os.path.getsize(path) < 64 << 20:
                    with open(path, "rb") as file:
                        check(secret not in file.read(), "the password stands in %s" % path)

    def calls(self, method):
        return self.vc.control.status()["calls"].get(method, 0)

    def keep(self, name):
        """A copy of the disk of machine NAME as it is now."""
        with open(self.vc.map_file, encoding="utf-8") as file:
            disk = next(disk for disk in json.load(file)["disks"] if disk["vm"] == self.moref(name) and disk["current"])
        copy = self.folder / "before.raw"
        subprocess.run(["cp", "--sparse=always", disk["file"], copy], check=True)
        return copy

    def moref(self, name):
        return self.vc.machines[name]

    def empty(self):
        for name in os.listdir(self.out):
            os.unlink(os.path.join(self.out, name))


class Spy(threading.Thread):
    """Looks at every process below us, all the time: does the password stand in what others can see?"""

    def __init__(self, secret):
        super().__init__(daemon=True)
        self.secret, self.seen, self.files, self.end = secret.encode(), set(), set(), threading.Event()

    def run(self):
        while not self.end.wait(0.02):
            for pid in descendants(os.getpid()):
                for name in ("cmdline", "environ"):
                    try:
                        with open("/proc/%d/%s" % (pid, name), "rb") as file:
                            if self.secret in file.read():
                                self.seen.add("%s of %d" % (name, pid))
                    except OSError:
                        pass

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.end.set()
        self.join()


def compare(disk, image):
    done = subprocess.run(["qemu-img", "compare", "-f", disk.rpartition(".")[2], "-F", "raw", disk, image],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    check(done.returncode == 0, "%s is not %s: %s" % (disk, image, done.stdout.strip()))


def vmferry(case, *words):
    done = subprocess.run([VMFERRY, *words, *case.base, *case.set], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False, env=case.env)
    return done.returncode, done.stdout, done.stderr


def check_guest(case):
    """Each file of the guest that was imported is as it was, but those that a conversion may touch."""
    disks = [os.path.join(case.out, name) for name in sorted(os.listdir(case.out)) if not name.endswith(".xml")]
    after = case.folder / "after.list"
    subprocess.run([os.path.join(LAB, "read-guest"), "--check", "--out", after, *disks], check=True)
    subprocess.run([os.path.join(LAB, "compare-guests"), lab("lab", "bios.list"), after, "--all", "--allow",
                    os.path.join(HERE, "conversion-touches")], check=True, stdout=subprocess.DEVNULL)


def boot(case):
    """The domain that the import wrote boots to its login."""
    say("  boots to login in %s s" % lab("boot-domain", os.path.join(case.out, "new.xml"), "--timeout", "900"))


def machines(guest, plain):
    """What the vCenter has: the lab's guest, and machines with a disk that has no file system, so all of it is copied."""
    def one(name, disk, **more):
        return {"name": name, "disks": [{"file": disk, "mode": more.pop("mode", "persistent")}], "nics": [NIC],
                "guest_id": "debian12_64Guest", **more}
    return [one("guest", guest), one("cold", plain), one("runs", plain, power="on"),
            one("windows", plain, power="on", guest_id="windows2019srv_64Guest"), one("encrypted", plain, encrypted=True),
            one("independent", plain, power="on", mode="independent_persistent"),
            one("broken", plain, connection="inaccessible")]


def run_case(shared, case):
    shared.empty()
    shutil.rmtree(shared.folder.work_root, ignore_errors=True)
    try:
        case(shared)
        return True
    except (SystemExit, Exception) as problem:  # noqa: BLE001: the next case is told apart from this one
        if not isinstance(problem, SystemExit):
            say("  %s: %s" % (type(problem).__name__, problem))
        return False


def choose(usage, lanes):
    """The lane that the command line names, quick by default, and those of its cases that it names, or all."""
    parser = argparse.ArgumentParser(usage=usage)
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--lane", choices=list(lanes), default="quick")
    options = parser.parse_args()
    chosen = [case for case in lanes[options.lane] if not options.cases or case.__name__ in options.cases]
    check(chosen, "no such case in the lane %s" % options.lane)
    return options.lane, chosen


def main(usage, lanes, more_machines=lambda folder: [], model="vpx"):
    """Runs cases. LANES: those of each lane, in their order."""
    lane, chosen = choose(usage, lanes)
    adopt_orphans()
    with Folder(lane) as folder:
        print("1..%d" % len(chosen))
        return run_cases(chosen, folder, os.path.join(lab("lab", "bios"), "sda.raw"), more_machines(folder), model)


def run_cases(cases, folder, guest, more, model):
    failed = 0
    plain = make_disk(folder / "plain.raw", random.Random(20240917), [("data", 768 << 10), ("hole", 256 << 10)], 512)
    with Vcenter(machines=machines(guest, plain) + more, model=model, lease_timeout="8s") as vcenter, vddk.Double(vcenter) as double:
        shared = Case(folder, vcenter, double)
        for number, case in enumerate(cases, 1):
            begin = time.monotonic()
            good = run_case(shared, case)
            failed += not good
            say("%sok %d - %s %s: %s (%.1f s)" % ("" if good else "not ", number, os.path.basename(sys.argv[0]), case.__name__, case.__doc__,
                                                  time.monotonic() - begin))
    return 1 if failed else 0
