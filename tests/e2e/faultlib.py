# SPDX-License-Identifier: GPL-2.0-or-later
"""What copy-faults works with: an NBD server that can be killed, hung and swapped, and one running `vmferry copy`."""
import filecmp
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import time

from support import VMFERRY, check, die_with_parent

BLOCK = 64 << 10
MIB = 1 << 20
_READ = re.compile(rb" Read id=\d+ offset=0x([0-9a-f]+) count=0x([0-9a-f]+)")


class Server:
    """nbdkit on a unix socket of FOLDER, with a log of what is read. WORDS: plugin and its parameters; FILTERS come
    before the log, so it tells what clients asked for."""

    def __init__(self, folder, name, *words, filters=(), writable=False):
        self.words, self.filters, self.writable = list(words), filters, writable
        self.socket, self.log, self.pid_file = (os.path.join(folder.top, name + end) for end in (".sock", ".log", ".pid"))
        self.uri, self.process, self.marked = "nbd+unix:///?socket=" + self.socket, None, 0

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()

    def start(self, *words):
        """Starts it (again); WORDS, if any, instead of the plugin's earlier ones."""
        self.words = list(words) or self.words
        for path in (self.socket, self.pid_file):
            if os.path.exists(path):
                os.unlink(path)
        # One thread a connection: with more, nbdkit 1.32 aborts more often when a client just goes; see revive().
        argv = ["nbdkit", "-f", "-t", "1", "-U", self.socket, "-P", self.pid_file] + ([] if self.writable else ["-r"])
        argv += ["--filter=log"] + ["--filter=" + one for one in self.filters]
        with open(self.log + ".err", "ab") as said:
            self.process = subprocess.Popen(argv + self.words + ["logfile=" + self.log, "logappend=true"],
                                            stdin=subprocess.DEVNULL, stderr=said, preexec_fn=die_with_parent)
        while not os.path.exists(self.pid_file):
            check(self.process.poll() is None, "nbdkit did not start: " + " ".join(self.words))
            time.sleep(0.01)

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def revive(self, patience_s=0):
        """nbdkit 1.32 now and then aborts (raw_send_socket's assertion) when a client is killed within an answer; that may
        take it a moment. True: it did, and was started again."""
        try:
            aborted = self.process.wait(patience_s) == -signal.SIGABRT
        except subprocess.TimeoutExpired:
            return False
        if aborted:
            self.start()
        return aborted

    def reads(self):
        """(offset, count) of every read since the last call, answered or not."""
        with open(self.log, "rb") as file:
            file.seek(self.marked)
            text = file.read()
        whole = text.rfind(b"\n") + 1
        self.marked += whole
        return [(int(at, 16), int(count, 16)) for at, count in _READ.findall(text[:whole])]

    def read_bytes(self):
        return sum(count for _, count in self.reads())


class Copy:
    """One `vmferry copy` that runs. WORK is its work directory, by default the one beside the target."""

    def __init__(self, folder, source, target, *words, env=None):
        self.target, self.folder = target, folder
        self.work = words[words.index("--work") + 1] if "--work" in words else beside(target, "vmferry")
        self.process = subprocess.Popen([VMFERRY, "copy", source, target, "--json", "--progress", "none", *words],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        env={**folder.env, **(env or {})})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def control(self, *words, fails=False):
        done = subprocess.run([VMFERRY, "control", self.work, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, check=False, env=self.folder.env)
        check(fails or done.returncode == 0, "control %s: %s" % (" ".join(words), done.stderr))
        return done

    def status(self):
        """None: it does not listen, not yet or not any more."""
        done = self.control("status", fails=True)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def wait_for(self, key, at_least):
        """Returns when its status has KEY at AT_LEAST or more."""
        while True:
            status = self.status()
            if status and status[key] >= at_least:
                return status
            if self.process.poll() is not None:
                check(False, "it ended before %s was %d: %s" % (key, at_least, self.process.stderr.read()))

    def wait_standstill(self, looks=5):
        """Returns the bytes done when LOOKS statuses have told the same."""
        last, same = -1, 0
        while same < looks:
            status = self.wait_for("done_bytes", 0)
            same = same + 1 if status["done_bytes"] == last else 0
            last = status["done_bytes"]
        return last

    def wait_for_signals(self):
        """Returns when it handles Ctrl-C itself: its main thread has blocked it then, and another takes it."""
        while True:
            with open("/proc/%d/status" % self.process.pid, encoding="ascii") as file:
                blocked = next(int(line.split()[1], 16) for line in file if line.startswith("SigBlk:"))
            if blocked & 1 << signal.SIGINT - 1:
                return
            check(self.process.poll() is None, "it ended before it handled signals")
            time.sleep(0.01)

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.kill()
        self.process.communicate()

    def end(self, seconds=120):
        """(exit status, summary or None, standard error). Ending within SECONDS is a promise only where a test says so."""
        try:
            out, errors = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)
            out, errors = self.process.communicate()
            check(False, "it had not ended after %d s:\n%s" % (seconds, errors))
        return self.process.returncode, json.loads(out) if out.strip() else None, errors

    def good(self, seconds=300):
        status, summary, errors = self.end(seconds)
        check(status == 0, "the copy ended with %d:\n%s" % (status, errors))
        return summary

    def bad(self, pattern, status=1, seconds=120):
        """It must end with STATUS and words like PATTERN: gives them."""
        got, _, errors = self.end(seconds)
        check(got == status, "exit status %d is expected, not %d:\n%s" % (status, got, errors))
        check(re.search(pattern, errors), "nothing like '%s' is said:\n%s" % (pattern, errors))
        return errors


def beside(target, what):
    """The work directory ("vmferry") or the growing file ("vmferry-partial") of TARGET."""
    folder, name = os.path.split(target)
    return os.path.join(folder, ".%s.%s" % (name, what))


def make_disk(path, rng, pattern, runs):
    """A raw disk: RUNS times PATTERN, a list of (kind, bytes); kind: data, zero (written) or hole."""
    with open(path, "wb") as file:
        for _ in range(runs):
            for kind, length in pattern:
                if kind == "hole":
                    file.seek(length, os.SEEK_CUR)
                else:
                    file.write(rng.randbytes(length) if kind == "data" else bytes(length))
        file.truncate(runs * sum(length for _, length in pattern))
    return path


def flip_bit(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 4]))


def compare(source, target, kind):
    """By QEMU's account TARGET reads as the raw SOURCE does."""
    if kind == "raw":
        check(filecmp.cmp(source, target, shallow=False), "%s is not %s" % (target, source))
        return
    done = subprocess.run(["qemu-img", "compare", "-f", "raw", "-F", kind, source, target],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    check(done.returncode == 0, "%s is not %s: %s" % (target, source, done.stdout.strip()))
    with open(target, "rb") as file:
        size = int.from_bytes(file.read(32)[24:], "big")  # qemu-img compare would not mind other zeroes behind it
    check(size == os.path.getsize(source), "%s has %d bytes, %s has %d" % (source, os.path.getsize(source), target, size))


def was_over(target):
    """A copy to TARGET, killed since, had done all but removing its work directory: that is done here."""
    work = beside(target, "vmferry")
    over = os.path.exists(target) and not glob.glob(os.path.join(work, "*.journal"))
    if over:
        shutil.rmtree(work, ignore_errors=True)
    return over


def check_finished(target, kind, source):
    """TARGET is SOURCE to the byte, sound, and nothing else of the copy is left beside it."""
    compare(source, target, kind)
    if kind == "qcow2":
        done = subprocess.run(["qemu-img", "check", "-q", "-f", "qcow2", target], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False)
        check(done.returncode == 0, "qemu-img check: " + done.stdout)
    for what in ("vmferry", "vmferry-partial"):
        check(not os.path.lexists(beside(target, what)), "%s is left" % beside(target, what))


class Snapshot:
    """The growing file and the work directory of a killed copy, to be brought back as often as needed."""

    def __init__(self, target, work, keep):
        self.pairs = [(beside(target, "vmferry-partial"), keep + ".partial"), (work, keep + ".work")]
        self.target = target
        for place, kept in self.pairs:
            self._copy(place, kept)

    @staticmethod
    def _copy(source, target):
        if os.path.isdir(target):
            shutil.rmtree(target)
        elif os.path.lexists(target):
            os.unlink(target)
        if os.path.isdir(source):
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.sock"))
        else:
            subprocess.run(["cp", "--sparse=always", source, target], check=True)

    def restore(self):
        if os.path.exists(self.target):
            os.unlink(self.target)
        for place, kept in self.pairs:
            self._copy(kept, place)


def records(journal):
    """Where each record of a journal begins, and where the last one ends (src/disk/journal.c)."""
    with open(journal, "rb") as file:
        data = file.read()
    at, found = 4096, []
    while any(data[at:at + 40]):
        found.append(at)
        at += 40 + 16 * int.from_bytes(data[at + 24:at + 28], "little")
    check(found and at <= len(data) and not any(data[at:]), "the journal does not end with a whole record")
    return found + [at]
