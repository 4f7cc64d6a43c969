#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The vmferry-vddk plugin in nbdkit, over the double of VMware's library (tests/lab/vddk). TAP.

usage: test-vddk.py PLUGIN BUILD_DIR_OF_THE_DOUBLE [CASE...]

The double aborts where a rule of the library is broken, so that the server's good end is a part of every case.
"""
import concurrent.futures
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
import traceback

from vddk_support import (DISK, PASSWORD, THUMBPRINT, VM, Client, Failed, Lab, copied, eventually, has, same, same_files)

MIB = 1024 * 1024
CHUNK = 65536
CASES = []


def case(function):
    CASES.append(function)
    return function


def fails(function, *arguments):
    """What the server's refusal reads like for the client."""
    try:
        function(*arguments)
    except Failed as failure:
        return str(failure)
    raise AssertionError(f"{function.__name__} went well")


def chunks_with_data(path):
    """The 64 KiB chunks of a sparse file that hold data, as the file system says it."""
    found, size = set(), os.stat(path).st_size
    with open(path, "rb") as file:
        at = 0
        while at < size:
            try:
                begin = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                break
            at = os.lseek(file.fileno(), begin, os.SEEK_HOLE)
            found.update(range(begin // CHUNK, (at + CHUNK - 1) // CHUNK))
    return found


def extents_of(server):
    shown = subprocess.run(["nbdinfo", "--map", "--json", server.uri()], capture_output=True, text=True, check=True)
    return json.loads(shown.stdout)


# --- bytes and extents ---

@case
def every_version_reads_the_disk(lab):
    for version in (6, 7, 8, 9):
        with lab.serve(version=version) as server:
            same_files(copied(server, lab), lab.raw)
        same(lab.is_tidy(), True, f"temporary files of version {version} are gone")


@case
def it_is_read_only_and_open_to_many(lab):
    with lab.serve() as server:
        shown = subprocess.run(["nbdinfo", "--json", server.uri()], capture_output=True, text=True, check=True)
        export = json.loads(shown.stdout)["exports"][0]
        same(export["is_read_only"], True, "read-only")
        same(export["can_multi_conn"], True, "multi-conn")
        same(export["export-size"], os.stat(lab.raw).st_size, "size")
        same((export["block_size_minimum"], export["block_size_preferred"]), (1, CHUNK), "block sizes")


@case
def the_map_is_that_of_the_file(lab):
    with lab.serve() as server:
        extents = extents_of(server)
    data = chunks_with_data(lab.raw)
    for extent in extents:
        for chunk in range(extent["offset"] // CHUNK, (extent["offset"] + extent["length"] + CHUNK - 1) // CHUNK):
            same(extent["type"], 0 if chunk in data else 3, f"type of chunk {chunk}")
    same(lab.counted()["QueryAllocatedBlocks"], 1, "questions, as answers are kept")


@case
def reads_need_no_alignment(lab):
    dice, size = random.Random(7), os.stat(lab.raw).st_size
    expected = lab.raw.read_bytes()
    with lab.serve() as server, server.client() as client:
        for _ in range(200):
            length = dice.choice((1, 3, 511, 513, 4097, 100001))
            offset = dice.randrange(0, size - length + 1)
            same(client.read(offset, length) == expected[offset:offset + length], True, f"{length} bytes at {offset}")
        same(client.read(size - 1, 1), expected[-1:], "the last byte")


@case
def many_connections_at_once(lab):
    with lab.serve("read-ms 1") as server:
        same_files(copied(server, lab, "copy.raw", "--connections=8", "--request-size=4096"), lab.raw)


@case
def small_reads_of_the_library_add_up(lab):
    with lab.serve("request-max 65536", max_request="64K", in_flight=3) as server, server.client() as client:
        same(client.read(5, 3 * MIB) == lab.raw.read_bytes()[5:3 * MIB + 5], True, "3 MiB in pieces of 64 KiB")
    same(lab.counted()["ReadAsync"], 3 * MIB // CHUNK + 1, "reads of the library")


@case
def a_disk_of_three_terabytes(lab):
    size = 3 * 1024**4 + 32 * 1024**3 + 5 * CHUNK + 7 * 512
    raw = lab.path("huge.raw")
    with open(raw, "wb") as file:
        file.truncate(size)
        for at in (0, 2 * 1024**4 + 3 * CHUNK + 1, size - 512):
            file.seek(at)
            file.write(b"x" * 512)
    with lab.serve(raw=raw) as server:
        extents = [extent for extent in extents_of(server) if extent["type"] == 0]
        same([(e["offset"], e["length"]) for e in extents],
             [(0, CHUNK), (2 * 1024**4 + 3 * CHUNK, CHUNK), (size // CHUNK * CHUNK, 7 * 512)], "data")
        with server.client() as client:
            same(client.read(size - 512, 512), b"x" * 512, "the last sector")
    with lab.serve("query-fails-last", raw=raw) as server:
        last = extents_of(server)[-1]
        same((last["type"], last["offset"] + last["length"]), (0, size), "a window without answer")
        same(server.said().count("One of the parameters was invalid"), 1, "warnings")
    raw.unlink()


@case
def without_extents_all_is_data(lab):
    raw = lab.make_image("wide.raw", 200 * 1024**3, spots=1)  # seven windows of the map
    with lab.serve("query-fails 1-", raw=raw) as server:
        same({e["type"] for e in extents_of(server)}, {0}, "types of extents")
        has(server.said(), "warning: cannot ask for the extents of", "what is not known to be a hole is read")
        same(server.said().count("cannot ask for the extents"), 1, "warnings")
    same(lab.counted()["QueryAllocatedBlocks"], 1, "questions")
    with lab.serve("query-fails 2-", raw=raw) as server:
        extents_of(server)
        same(server.said().count("cannot ask for the extents"), 1, "warnings of three failures")
    same(lab.counted()["QueryAllocatedBlocks"], 4, "questions, until it is given up")


# --- the library's rules ---

@case
def calls_in_the_documented_order(lab):
    with lab.serve() as server, server.client() as client:
        client.read(0, MIB)
    once = ["InitEx", "AllocateConnectParams", "ConnectEx", "Open", "GetInfo", "ReadAsync", "Wait", "Close", "Disconnect",
            "FreeConnectParams", "Exit"]
    same(lab.calls(), once, "calls")


@case
def in_the_background_it_initialises_after_the_fork(lab):
    env, sock, pid = lab.config(), lab.path("sock-bg"), lab.path("pid-bg")
    subprocess.run(["nbdkit", "-U", sock, "-P", pid, lab.plugin, *lab.arguments()], env=env, check=True, timeout=120)
    with Client(sock) as client:
        same(client.read(0, 4096), lab.raw.read_bytes()[:4096], "bytes")
    os.kill(int(pid.read_text()), signal.SIGTERM)
    eventually("VixDiskLib_Exit", lab.counts.exists)
    eventually("temporary files are gone", lab.is_tidy)


@case
def the_double_has_no_mercy(lab):
    broken = {
        "VixDiskLib_Close without VixDiskLib_Wait": "L.VixDiskLib_ReadAsync(h, 0, 1, buffer, done, None)\nL.VixDiskLib_Close(h)",
        "by another thread than": "L.VixDiskLib_Read(h, 0, 1, buffer)\nt = threading.Thread(target=lambda: "
                                  "L.VixDiskLib_Read(h, 0, 1, buffer))\nt.start()\nt.join()",
        "VixDiskLib_InitEx twice": "init()",
        "VixDiskLib_Exit with 1 disks": "L.VixDiskLib_Exit()",
        "was forked after": "pid = os.fork()\nif pid == 0: L.VixDiskLib_Read(h, 0, 1, buffer)\nos.waitpid(pid, 0)\nos.abort()",
    }
    begin = f"""
import ctypes, os, threading
L = ctypes.CDLL({str(lab.libdir() / 'lib64/libvixDiskLib.so.8')!r})
for name in ("InitEx", "ConnectEx", "Open"):
    getattr(L, "VixDiskLib_" + name).restype = ctypes.c_uint64
log = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
done = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint64)(lambda *_: None)
def init():
    assert L.VixDiskLib_InitEx(6, 5, log, log, log, b"", None) == 0
init()
params, c, h = ctypes.create_string_buffer(128), ctypes.c_void_p(), ctypes.c_void_p()
assert L.VixDiskLib_ConnectEx(params, ctypes.c_char(1), None, None, ctypes.byref(c)) == 0
assert L.VixDiskLib_Open(c, {str(lab.raw)!r}.encode(), 4, ctypes.byref(h)) == 0
buffer = ctypes.create_string_buffer(512)
L.VixDiskLib_ReadAsync.argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
L.VixDiskLib_Read.argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_void_p]
L.VixDiskLib_Close.argtypes = [ctypes.c_void_p]
"""
    conf = lab.path("mercy.conf")
    conf.write_text("read-ms 1\n")
    env = dict(os.environ, VMF_VDDK_DOUBLE_CONFIG=str(conf), LD_LIBRARY_PATH=str(lab.libdir() / "lib64"),
               ASAN_OPTIONS="detect_leaks=0")
    for words, body in broken.items():
        ended = subprocess.run([sys.executable, "-c", begin + body], env=env, capture_output=True, text=True, timeout=120)
        same(ended.returncode, -signal.SIGABRT, f"end after '{words}' ({ended.stderr})")
        has(ended.stderr, words)


# --- starting: LD_LIBRARY_PATH, secrets, parameters ---

@case
def children_do_not_inherit_the_search_path(lab):
    for given in (None, "", "/nowhere/lib:/other"):
        env, out = lab.config(), lab.path("child-env")
        out.unlink(missing_ok=True)
        if given is not None:
            env["LD_LIBRARY_PATH"] = given
        subprocess.run(["nbdkit", "-U", "-", lab.plugin, *lab.arguments(), "--run",
                        f'env > {out}; nbdinfo --size "$uri" > /dev/null'], env=env, check=True, timeout=120)
        lines = out.read_text().splitlines()
        found = [line.split("=", 1)[1] for line in lines if line.startswith("LD_LIBRARY_PATH=")]
        same(found, [] if given is None else [given], "LD_LIBRARY_PATH of a child")
        same([line for line in lines if line.startswith("VMFERRY_VDDK")], [], "traces of the second start")


@case
def passwords_are_read_once_and_shown_nowhere(lab):
    reader, writer = os.pipe()
    os.write(writer, PASSWORD.encode() + b"\n")
    os.close(writer)
    with lab.serve(password=f"-{reader}", pass_fds=(reader,), before=("-v",)) as server, server.client() as client:
        client.read(0, 512)
        for name in ("cmdline", "environ"):
            with open(f"/proc/{server.process.pid}/{name}", "rb") as file:
                same(PASSWORD.encode() in file.read(), False, f"the password in {name}")
        same(PASSWORD in server.said(), False, "the password in the debug log")
        has(server.said(), "ConnectEx user admin@vsphere.local key ***")
    os.close(reader)


@case
def a_socket_of_systemd_survives_the_second_start(lab):
    path = lab.path("activated")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        env = lab.config()
        starter = ("import os, sys\nos.environ['LISTEN_FDS'] = '1'\nos.environ['LISTEN_PID'] = str(os.getpid())\n"
                   f"os.dup2({listener.fileno()}, 3)\nos.execvp('nbdkit', ['nbdkit', *sys.argv[1:]])\n")
        with subprocess.Popen([sys.executable, "-c", starter, "-f", lab.plugin, *lab.arguments()], env=env,
                              pass_fds=(listener.fileno(),)) as process:
            listener.close()  # where nbdkit has lost it, nobody listens
            with Client(path) as client:
                same(client.read(0, 512), lab.raw.read_bytes()[:512], "bytes")
            process.terminate()
            same(process.wait(120), 0, "end")


@case
def it_takes_what_the_other_vddk_plugin_takes(lab):
    config = lab.path("user.conf")
    config.write_text("vixDiskLib.transport.LogLevel=4")
    env = lab.config("log-flags", "transports nbdssl:nbd", "cookie 52-a-session",
                     f"disk {VM} snapshot-7 {lab.raw} {DISK}")
    with lab.serve(env=env, transports="nbdssl:nbd", snapshot="snapshot-7", cookie="52-a-session", password=None,
                   compression="fastlz", single_link="true", unbuffered="yes", port=8443, nfchostport=9902,
                   config=config, vimapiver="6.5", thumbprint=THUMBPRINT.replace(":", "").lower()) as server:
        with server.client() as client:
            client.read(0, 512)
        shown = extents_of(server)
        same({e["type"] for e in shown}, {0, 1}, "types of extents of a single link: a hole is not zero")
    has(lab.log.read_text(), "flags 39")  # unbuffered 1, single link 2, read-only 4, fastlz 32


@case
def what_it_cannot_do_it_says(lab):
    for arguments, words in ((("create=true",), "makes no disks"), (("export=.*",), "one disk per process"),
                             (("compression=best",), "none, zlib, fastlz and skipz"), (("wrong=1",), "unknown parameter"),
                             (("in-flight=0",), "at least 1"), (("vm=vm-21",), "begins with moref=")):
        ended = subprocess.run(["nbdkit", "-f", "-U", lab.path("s"), lab.plugin, *lab.arguments(), *arguments],
                               env=lab.config(), capture_output=True, text=True, timeout=120)
        same(ended.returncode, 1, f"exit of {arguments}")
        has(ended.stderr, words)
    for missing in ("server", "user", "password", "vm", "thumbprint"):
        ended = subprocess.run(["nbdkit", "-f", "-U", lab.path("s"), lab.plugin, *lab.arguments(**{missing: None})],
                               env=lab.config(), capture_output=True, text=True, timeout=120)
        has(ended.stderr, f"{missing}= is needed")


@case
def a_file_of_this_host_needs_no_server(lab):
    env = lab.config()
    env["VMF_VDDK_DOUBLE_CONFIG"] = str(lab.path("local.conf"))
    lab.path("local.conf").write_text("")
    out = lab.path("local.raw")
    subprocess.run(["nbdkit", "-U", "-", lab.plugin, f"libdir={lab.libdir()}", str(lab.raw), "--run",
                    f'nbdcopy "$uri" {out}'], env=env, check=True, timeout=120)
    same_files(out, lab.raw)


@case
def disks_of_the_vcenter_simulator(lab):
    """The double finds them by the simulator's map, as it is at the opening."""
    path, other = lab.path("map.json"), lab.make_image("other.raw", MIB)

    def write(file):
        path.write_text(json.dumps({"disks": [{"vm": "vm-71", "snapshot": snapshot, "path": "[L 0] a/a.vmdk", "file": str(raw),
                                               "size_bytes": 1} for snapshot, raw in (("", "/nowhere"), ("snapshot-80", file))]}))

    write(lab.raw)
    with lab.serve(f"map {path}", vm="moref=vm-71", snapshot="snapshot-80", file="[L 0] a/a.vmdk") as server:
        write(other)
        same_files(copied(server, lab), other)


@case
def where_vddk_is_looked_for(lab):
    env, empty = lab.config(), lab.path("empty")
    empty.mkdir()
    dump = ["nbdkit", "--dump-plugin", lab.plugin]
    shown = subprocess.run([*dump, f"libdir={lab.libdir(9)}"], env=env, capture_output=True, text=True, check=True).stdout
    has(shown, "name=vmferry-vddk\n", "vddk_library_version=9\n", "vddk_has_nfchostport=1\n", "vddk_default_libdir=",
        f"vddk_dll={lab.libdir(9)}/lib64/libvixDiskLib.so.9\n")
    same(shown.count("name=vmferry-vddk\n"), 1, "times that the second start repeats")
    ended = subprocess.run([*dump, f"libdir={empty}"], env=env, capture_output=True, text=True)
    same(ended.returncode, 1, "exit without VDDK")
    has(ended.stderr, f"VDDK is not in '{empty}'", "libvixDiskLib.so.6 to .9")
    # virt-v2v asks like this, before it has named a libdir, and goes no further where that fails.
    asked = subprocess.run(dump, env=env, capture_output=True, text=True)
    same(asked.returncode, 0, "exit of a plugin that was told of no libdir")
    has(asked.stdout, "vddk_default_libdir=", "vddk_has_nfchostport=1\n")
    # lib64 itself; links that an unpacker has lost; two versions side by side.
    shown = subprocess.run([*dump, f"libdir={lab.libdir(7)}/lib64"], env=env, capture_output=True, text=True, check=True)
    has(shown.stdout, "vddk_library_version=7\n")
    bare = lab.path("bare/lib64")
    bare.mkdir(parents=True)
    for version in (8, 9):
        full = next(path for path in (lab.libdir(version) / "lib64").iterdir() if path.name.count(".") == 4)
        (bare / full.name).write_bytes(full.read_bytes())
    shown = subprocess.run([*dump, f"libdir={bare.parent}"], env=env, capture_output=True, text=True, check=True)
    has(shown.stdout, "vddk_library_version=9\n", "libvixDiskLib.so.9.0.0\n")


# --- faults, and what a user reads ---

def refusal_of(lab, *lines, **parameters):
    with lab.serve(*lines, **parameters) as server:
        fails(server.client)
        return server.said()


@case
def port_902_is_closed(lab):
    has(refusal_of(lab, "open-refused 1-"), "cannot open '" + DISK + "'", "esx1.example.com:902 cannot be reached",
        "port 902", "firewall", "The server refused connection (14009)")


@case
def the_certificate_is_another(lab):
    said = refusal_of(lab, thumbprint=THUMBPRINT.replace("01", "FF"))
    has(said, f"has the thumbprint {THUMBPRINT}", THUMBPRINT.replace("01", "FF"))
    has(refusal_of(lab, "thumbprint-silent", thumbprint=THUMBPRINT.replace("01", "FF")), "Unknown error (1)",
        "a thumbprint that is not that of vc.example.com", "compare")


@case
def password_or_disk_are_wrong(lab):
    lab.path("wrong").write_text("guess")
    has(refusal_of(lab, password=f"+{lab.path('wrong')}"), "the password is not right", "admin@vsphere.local")
    has(refusal_of(lab, vm="moref=vm-22"), "there is no such disk", "moref=vm-22")


@case
def a_new_vddk_and_an_old_esxi(lab):
    with lab.serve("read-fails-always", version=9) as server, server.client() as client:
        fails(client.read, 0, 512)
        has(server.said(), "could be opened but not read at all", "VDDK 9 does not read from every ESXi version")


@case
def after_a_failed_read_the_disk_is_opened_anew(lab):
    with lab.serve("read-fails-each 3") as server, server.client() as client:
        for number in range(1, 10):
            if number % 3 == 0:
                fails(client.read, number * 4096, 4096)
            else:
                same(client.read(number * 4096, 4096), lab.raw.read_bytes()[number * 4096:number * 4096 + 4096], "bytes")
    same(lab.counted()["Open"], 3, "openings (the last failure is followed by none)")


@case
def a_read_that_hangs_fails_alone(lab):
    with lab.serve("read-hangs 2", io_timeout=1, in_flight=1) as server, server.client() as client:
        client.read(0, 512)
        fails(client.read, 512, 512)
        has(server.said(), "VDDK has not answered for 1 s")
        same(client.read(1024, 512), lab.raw.read_bytes()[1024:1536], "the next one")


@case
def an_opening_that_hangs_fails(lab):
    server = lab.serve("open-hangs 1", io_timeout=1)
    fails(server.client)
    has(server.said(), "VDDK has not answered for 1 s")
    same(server.end(), 0, "end")
    same(lab.is_tidy(), True, "temporary files are gone")


# --- limits of the host ---

def copy_all(lab, env, count, **parameters):
    """COUNT processes read the same disk, each to a copy of its own. Their logs."""
    servers = [lab.serve(env=env, before=("-v",), **parameters) for _ in range(count)]
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        copies = [pool.submit(copied, server, lab, f"copy{i}.raw") for i, server in enumerate(servers)]
        for copy in copies:
            same_files(copy.result(), lab.raw)
    for server in servers:
        same(server.end(), 0, f"end ({server.said()[-2000:]})")
    return [server.said() for server in servers]


@case
def three_processes_and_two_slots(lab):
    slots = lab.path("slots2")
    slots.mkdir()
    said = copy_all(lab, lab.config("sessions-max 2"), 3, slots=slots, slots_max=2, idle_close=1)
    same(any("no room: " in text for text in said), False, "the host had to refuse")


@case
def a_refused_opening_lowers_the_limit_for_all(lab):
    slots = lab.path("slots3")
    slots.mkdir()
    said = copy_all(lab, lab.config("sessions-max 2", "read-ms 20"), 3, slots=slots, idle_close=1)
    same(any("no room: " in text for text in said), True, "the host has refused")
    same((slots / "limit").read_text(), "2\n", "the limit that was learned")
    os.utime(slots / "limit", (0, 0))
    said = copy_all(lab, lab.config("sessions-max 2", "read-ms 20"), 3, slots=slots, idle_close=1)
    same(any("no room: " in text for text in said), True, "an old lesson was forgotten, and learned anew")


@case
def nfc_memory_runs_out(lab):
    with lab.serve("nfc-bytes 1048576", "read-ms 2", before=("-v",)) as server:
        same_files(copied(server, lab, "copy.raw", "--request-size=1048576"), lab.raw)
        has(server.said(), "Failed to allocate the requested", "bytes in flight")
    with lab.serve("request-max 131072") as server:
        same_files(copied(server, lab, "copy.raw", "--request-size=1048576"), lab.raw)


@case
def patience_ends(lab):
    env = lab.config("sessions-max 1")
    with lab.serve(env=env) as holder, holder.client(), lab.serve(env=env, patience=1) as server:
        fails(server.client)
        has(server.said(), "no room to open", "patience=1", "other disks are open there", "Last: ")


def waits(lab, server, mark, *words):
    """A client of SERVER that is being connected, once MARK says that the disk waits, by WORDS."""
    pool = concurrent.futures.ThreadPoolExecutor(1)
    connecting = pool.submit(server.client)
    pool.shutdown(wait=False)
    eventually("the disk waits", mark.exists)
    has(mark.read_text(), "waiting for one of", lab.path("esx1").name, *words)
    same(connecting.done(), False, "a client was let in")
    return connecting


def hold_a_slot(lab, env, **more):
    """A server whose disk is open and is never closed for being idle, on a host that bears one."""
    lab.path("esx1").mkdir(exist_ok=True)
    return lab.serve(env=env, slots=lab.path("esx1"), slots_max=1, idle_close=3600, **more)


def reads_well(lab, client):
    same(client.read(512, 4096), lab.raw.read_bytes()[512:4608], "bytes")


@case
def a_slot_of_ours_is_waited_for_without_failing(lab):
    env, mark = lab.config("sessions-max 1"), lab.path("mark")
    with hold_a_slot(lab, env, slots_owner="a") as holder, \
            lab.serve(env=env, slots=lab.path("esx1"), slots_max=1, slots_owner="b", patience=0, io_timeout=1, waiting=mark,
                      before=("-v",)) as server:
        with holder.client() as busy:
            connecting = waits(lab, server, mark, "1 disk connections of esx1", "held by 1 other import")
            begin = time.monotonic()
            while time.monotonic() < begin + 3:  # longer than patience and io-timeout, with a disk that is always in use
                reads_well(lab, busy)
            same(connecting.done(), False, "a client was let in, or refused")
        with connecting.result() as client:  # the holder's last client has left: its slot is given at once
            reads_well(lab, client)
            same(mark.exists(), False, "the mark, when it goes on")
        same("error:" in server.said(), False, "errors while it waited")


@case
def a_disk_in_use_by_nobody_gives_its_slot_to_another(lab):
    env, mark = lab.config("sessions-max 1"), lab.path("mark")
    with hold_a_slot(lab, env) as holder, holder.client() as idle, \
            hold_a_slot(lab, env, waiting=mark) as server, server.client() as client:
        for _ in range(3):
            reads_well(lab, client)
            reads_well(lab, idle)
    same(lab.is_tidy(), True, "temporary files are gone")


@case
def a_killed_holder_frees_its_slot(lab):
    env, mark = lab.config("sessions-max 1"), lab.path("mark")
    holder = hold_a_slot(lab, env)
    with lab.serve(env=env, slots=lab.path("esx1"), slots_max=1, waiting=mark) as server, holder.client() as busy:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            def use():
                while True:
                    busy.read(0, 512)
            using = pool.submit(use)
            connecting = waits(lab, server, mark)
            holder.process.kill()
            holder.process.wait()
            with connecting.result() as client:
                reads_well(lab, client)
            same(isinstance(using.exception(), Failed), True, "the killed one's client")


@case
def how_long_a_slot_is_waited_for_can_be_bounded(lab):
    env, mark = lab.config("sessions-max 1"), lab.path("mark")
    with hold_a_slot(lab, env, slots_owner="a") as holder, holder.client() as busy, \
            lab.serve(env=env, slots=lab.path("esx1"), slots_max=1, slots_owner="a", slots_wait=1, waiting=mark) as server, \
            concurrent.futures.ThreadPoolExecutor(1) as pool:
        refused = pool.submit(fails, server.client)
        while not refused.done():
            reads_well(lab, busy)
        has(server.said(), "slots-wait=", "1 s", "held by 1 other disk of this one")
        eventually("the mark is gone", lambda: not mark.exists())


@case
def a_host_that_hangs_is_not_taken_for_one_that_is_waited_for(lab):
    mark = lab.path("mark")
    with hold_a_slot(lab, lab.config()) as holder:
        server = lab.serve("open-hangs 1", slots=lab.path("esx1"), slots_max=1, io_timeout=1, waiting=mark)
        with holder.client() as busy, concurrent.futures.ThreadPoolExecutor(1) as pool:
            refused = pool.submit(fails, server.client)
            while not mark.exists():
                reads_well(lab, busy)
            busy.close()
            busy.handle = None
            refused.result()
        has(server.said(), "VDDK has not answered for 1 s")
        same(mark.exists(), False, "a mark while it hangs")
        server.end()


@case
def the_mark_is_there_while_the_host_has_no_room(lab):
    env, mark = lab.config("sessions-max 1"), lab.path("mark")
    holder = lab.serve(env=env)
    with lab.serve(env=env, waiting=mark) as server, concurrent.futures.ThreadPoolExecutor(1) as pool:
        with holder.client():
            connecting = pool.submit(server.client)
            eventually("the disk waits", mark.exists)
        same(holder.end(), 0, "end of the holder")
        with connecting.result() as client:
            reads_well(lab, client)
            same(mark.exists(), False, "the mark, when it goes on")


@case
def a_size_that_is_known_needs_no_open_disk(lab):
    size = os.stat(lab.raw).st_size
    with lab.serve("open-refused 1-", capacity=size) as server, server.client() as client:
        same(client.size, size, "size")
        fails(client.read, 0, 512)
        has(server.said(), "902")
    with lab.serve(capacity=size) as server:
        same_files(copied(server, lab), lab.raw)
    with lab.serve(capacity=size + 512) as server, server.client() as client:
        fails(client.read, 0, 512)
        has(server.said(), f"has {size} bytes, not {size + 512}", "begin anew")


@case
def a_disk_that_nobody_reads_is_closed(lab):
    with lab.serve(idle_close=1) as server, server.client() as client:
        client.read(0, 512)
        eventually("the disk is closed", lambda: "Close" in lab.calls())
        same(client.read(512, 512), lab.raw.read_bytes()[512:1024], "bytes after that")
    same(lab.counted()["Open"], 2, "openings")


@case
def what_a_killed_process_leaves_the_next_one_sweeps(lab):
    slots = lab.path("slots4")
    slots.mkdir()
    env = lab.config("sessions-max 1")
    killed = lab.serve(env=env, slots=slots, slots_max=1)
    with killed.client():
        killed.process.kill()
        killed.process.wait()
    same(len(list(lab.temp.iterdir())), 1, "directories that it left")
    with lab.serve(env=env, slots=slots, slots_max=1) as server, server.client() as client:
        client.read(0, 512)
        same(len(list(lab.temp.iterdir())), 1, "directories: only that of the running one")
    same(lab.is_tidy(), True, "nothing is left")


def main():
    names = sys.argv[3:]
    cases = [function for function in CASES if not names or function.__name__ in names]
    print(f"1..{len(cases)}", flush=True)
    bad = 0
    for number, function in enumerate(cases, 1):
        lab = Lab(os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2]))
        try:
            function(lab)
            print(f"ok {number} {function.__name__}", flush=True)
        except Exception:
            bad += 1
            print(f"not ok {number} {function.__name__}")
            print(re.sub("^", "# ", traceback.format_exc(), flags=re.MULTILINE), flush=True)
        finally:
            lab.close()
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
