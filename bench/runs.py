# SPDX-License-Identifier: GPL-2.0-or-later
"""One run of a program, measured: wall time, CPU time and memory of it and its children, and how far it was when."""
import json
import os
import select
import signal
import subprocess
import sys
import time

from support import adopt_orphans, die_with_parent

TICK_S = 0.05
PAGE, HZ = os.sysconf("SC_PAGESIZE"), os.sysconf("SC_CLK_TCK")


def run(argv, environment, log, progress, limit):
    """Runs ARGV, its words into the file LOG; after LIMIT seconds it is killed. PROGRESS () -> bytes is asked every
    TICK_S. Returns

    status, wall_s, cpu_s   of the program; CPU of its children too, helpers that it leaves behind included. What dies with
                            the init of its process namespace is in no count of the kernel's: if the ticks saw more, that
    cut                     whether it was killed
    rss_bytes               the most that one of them had in memory (the kernel's count; not below Python's own 15 MiB)
    private_bytes           the most that all of them had to themselves at a tick
    samples                 [[seconds, bytes]...]"""
    reading, writing = os.pipe()
    runner = os.fork()
    if runner == 0:
        status = 1
        try:
            os.close(reading)
            os.write(writing, json.dumps(execute(argv, environment, log, limit)).encode())
            status = 0
        except OSError as error:
            print(error, file=sys.stderr, flush=True)
        finally:
            os._exit(status)
    os.close(writing)
    try:
        samples, private, cpu = watch(runner, reading, progress)
        with open(reading, encoding="utf-8", closefd=False) as file:
            text = file.read()
    finally:
        os.close(reading)
        if os.waitpid(runner, os.WNOHANG)[0] == 0:  # interrupted: all die with the runner
            os.kill(runner, signal.SIGKILL)
            os.waitpid(runner, 0)
    if not text:
        raise OSError("%s could not start, or a helper of it stays on after its end" % argv[0])
    said = json.loads(text)
    begin = said.pop("begin")
    samples = [[max(at - begin, 0), count] for at, count in samples if at < begin + said["wall_s"]]
    said["cpu_s"] = max(said["cpu_s"], cpu)
    return {**said, "private_bytes": private, "samples": samples + [[said["wall_s"], progress()]]}


def execute(argv, environment, log, limit):
    """In a process of its own, to which the orphans of the program come."""
    die_with_parent()
    adopt_orphans()
    with open(log, "wb") as file:
        begin = time.monotonic()
        child = subprocess.Popen(argv, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                                 preexec_fn=die_with_parent)
        signal.signal(signal.SIGALRM, lambda *_: os.kill(child.pid, signal.SIGKILL))
        signal.alarm(limit)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.monotonic() - begin
    cpu, rss = usage.ru_utime + usage.ru_stime, usage.ru_maxrss
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(20)  # a helper that stays on for longer is an error, and dies with us
    while True:
        try:
            _, _, usage = os.wait4(-1, 0)
        except ChildProcessError:
            break
        cpu, rss = cpu + usage.ru_utime + usage.ru_stime, max(rss, usage.ru_maxrss)
    return {"begin": begin, "status": os.waitstatus_to_exitcode(status), "wall_s": wall, "cut": wall >= limit,
            "cpu_s": cpu, "rss_bytes": rss << 10}


def watch(runner, reading, progress):
    """Until the runner has something to say: ([(time, bytes)...], peak of private memory, CPU time)."""
    samples, private, cpu = [], 0, {}
    while not select.select([reading], [], [], TICK_S)[0]:
        samples.append((time.monotonic(), progress()))
        alive = {pid: (words(pid, "stat"), words(pid, "statm")) for pid in below(runner)}
        cpu.update({pid: (int(stat[11]) + int(stat[12])) / HZ for pid, (stat, _) in alive.items() if stat})
        private = max(private, sum(int(statm[1]) - int(statm[2]) for _, statm in alive.values() if statm) * PAGE)
    return samples, private, sum(cpu.values())


def below(pid):
    """The processes below PID; those that a process' first thread started, which here is all of them."""
    try:
        with open("/proc/%d/task/%d/children" % (pid, pid), encoding="ascii") as file:
            children = [int(word) for word in file.read().split()]
    except OSError:
        return []
    return children + [one for child in children for one in below(child)]


def words(pid, name):
    """Of a file of PID in /proc, what is behind the program's name if that is in it. None if the process has gone."""
    try:
        with open("/proc/%d/%s" % (pid, name), encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split() or None
    except OSError:
        return None
