#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the hostile set and prints a TAP line for each case with the message that a user sees.

usage: run.py OPEN-SOURCE [VMFERRY]

OPEN-SOURCE (tests/source/open-source) opens a source, reads all its disks and verifies it: what an import does before it
writes. With VMFERRY each case also goes through `vmferry show` and `vmferry import --dry-run`. A case passes when it is
refused with the right reason, in time, nothing in the canary folder was opened (inotify sees it through any mount), and
nothing was written anywhere but where the case itself lies.
"""
import ctypes
import os
import shutil
import struct
import subprocess
import sys
import tempfile

import cases

TIMEOUT_S = 60
IN_ACCESS, IN_MODIFY, IN_OPEN, IN_CREATE, IN_NONBLOCK = 1, 2, 0x20, 0x100, 0o4000
REFUSED = range(10, 20)  # open-source: 10 + the error's code


class Canary:
    """A folder whose files nobody may open."""

    def __init__(self, path):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.fd = self.libc.inotify_init1(IN_NONBLOCK)
        if self.libc.inotify_add_watch(self.fd, path.encode(), IN_ACCESS | IN_MODIFY | IN_OPEN | IN_CREATE) < 0:
            raise OSError(ctypes.get_errno(), "inotify")

    def events(self):
        """Names that were touched since the last call."""
        try:
            data = os.read(self.fd, 65536)
        except BlockingIOError:
            return []
        names, at = [], 0
        while at < len(data):
            _, mask, _, length = struct.unpack_from("iIII", data, at)
            names.append(f"{data[at + 16:at + 16 + length].rstrip(bytes(1)).decode()} ({mask:#x})")
            at += 16 + length
        return names


def listing(top):
    """What lies below TOP, to see whether anything was added."""
    return {os.path.join(folder, name) for folder, folders, files in os.walk(top) for name in folders + files}


class Runner:
    def __init__(self, open_source, vmferry, top):
        self.open_source, self.vmferry, self.top = open_source, vmferry, top
        self.canary_path = f"{top}/canary"
        os.mkdir(self.canary_path)
        with open(f"{self.canary_path}/secret.raw", "wb") as out:
            out.write(b"SECRET OF THE HOST" * 240000)
        self.canary = Canary(self.canary_path)
        os.mkdir(f"{top}/set")
        os.mkdir(f"{top}/tmp")
        self.n = self.failed = 0

    def run(self, *argv):
        try:
            done = subprocess.run(argv, capture_output=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL,
                                  env={**os.environ, "TMPDIR": f"{self.top}/tmp"})
        except subprocess.TimeoutExpired:
            return None, "", "took too long"
        return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace").strip()

    def report(self, good, name, message):
        self.n += 1
        self.failed += not good
        print(f"{'ok' if good else 'not ok'} {self.n} - {name}: {message.replace(self.top, '').replace('#', '')}",
              flush=True)

    def touched(self):
        events = self.canary.events()
        return f" BUT OPENED {', '.join(events)}" if events else ""

    def refuse(self, name, address, fmt, words):
        code, _, message = self.run(self.open_source, address, *([fmt] if fmt else []))
        wrong = self.touched()
        if code not in REFUSED:
            wrong += f" BUT EXIT STATUS {code}"
        if words not in message.replace(name, ""):
            wrong += f" BUT EXPECTED '{words}'"
        if "\n" in message:
            wrong += " BUT MORE THAN ONE LINE"
        self.report(not wrong, name, message + wrong)

    def refuse_by_vmferry(self, name, address, fmt, words):
        option = ["--format", fmt] if fmt else []
        show = self.run(self.vmferry, "show", *option, address)
        target = f"{self.top}/tmp/target"
        os.mkdir(target)
        # A dry run reads no disk; what only its bytes can show is left to a real import.
        how = "--no-convert" if name in cases.SEEN_BY_READING else "--dry-run"
        own = [f"--set=log.dir={self.top}/tmp/log", f"--set=work.dir={self.top}/tmp/work"]
        dry = self.run(self.vmferry, "import", *own, *option, address, "--to", target, how)
        for folder in ("log", "work"):
            shutil.rmtree(f"{self.top}/tmp/{folder}", ignore_errors=True)
        wrong = self.touched()
        if os.listdir(target):
            wrong += " BUT SOMETHING WAS WRITTEN"
        shutil.rmtree(target)
        if dry[0] is None or dry[0] <= 0:
            wrong += f" BUT EXIT STATUS {dry[0]}"
        if show[0] is None or show[0] < 0:
            wrong += f" BUT SHOW HAS EXIT STATUS {show[0]}"
        if words not in (dry[2] + dry[1]).replace(name, ""):
            wrong += f" BUT EXPECTED '{words}'"
        self.report(not wrong, f"vmferry {name}", self.line_with(words, dry[2]) + wrong)

    @staticmethod
    def line_with(words, text):
        lines = text.splitlines() or ["nothing"]
        return next((line for line in lines if words and words in line), lines[-1])

    def whole_or_refused(self, name, fmt, data, digest):
        """A bent image: refused, or every byte is right (DIGEST), or, without DIGEST, anything but a crash."""
        path = f"{self.top}/set/bent"
        with open(path, "wb") as out:
            out.write(data)
        code, output, message = self.run(self.open_source, path, fmt)
        wrong = self.touched()
        if code == 0 and digest and digest not in output:
            wrong += " BUT TAKEN FOR WHOLE"
        if code not in REFUSED and code != 0:
            wrong += f" BUT EXIT STATUS {code}"
        os.unlink(path)
        if wrong:
            self.report(False, name, message + wrong)
        return not wrong

    def many(self, name, bent, digest):
        """One line for a whole series."""
        results = [self.whole_or_refused(one, fmt, data, digest) for one, fmt, data in bent]
        self.report(all(results), name, f"{len(results)} images, each refused or read without harm")


def main():
    open_source = os.path.abspath(sys.argv[1])
    vmferry = os.path.abspath(sys.argv[2]) if len(sys.argv) > 2 else None
    per_format = int(os.environ.get("HOSTILE_ROUNDS", "24"))
    with tempfile.TemporaryDirectory(prefix="vmferry-hostile-") as top:
        runner = Runner(open_source, vmferry, top)
        hostile = cases.make(f"{top}/set", runner.canary_path)
        whole = runner.run(open_source, hostile.pattern, "raw")
        assert whole[0] == 0, whole
        digest = whole[1].split()[2]
        before = listing(top)
        runner.canary.events()
        for case in hostile.cases:
            runner.refuse(*case)
            if vmferry:
                runner.refuse_by_vmferry(*case)
        runner.many("cut-off images", cases.cuts(hostile, per_format), digest)
        runner.many("images with changed bytes", cases.fuzz(hostile, per_format), None)
        added = listing(top) - before
        runner.report(not added, "nothing was written", ", ".join(sorted(added)) or "nowhere")
        print(f"1..{runner.n}")
    return 1 if runner.failed else 0


if __name__ == "__main__":
    sys.exit(main())
