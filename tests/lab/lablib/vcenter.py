# SPDX-License-Identifier: GPL-2.0-or-later
"""A vCenter or an ESXi host with real disks: vcenter/ (Go, around govmomi's simulator), built once and cached.

    with Vcenter(machines=[{"name": "web", "power": "on", "disks": [{"file": "/path/web.raw"}]}]) as vc:
        vc.url("vpx"), vc.thumbprint, vc.password_file, vc.machines["web"], vc.datastores["LocalDS_0"]
        vc.control.expire_sessions()

Fields of machines: vcenter/machines.go. The control calls: vcenter/control.go.
"""
import base64
import hashlib
import json
import os
import subprocess
import urllib.error
import urllib.parse
import urllib.request

from lablib import cache, host
from lablib.cache import HERE, Recipe

SOURCE = os.path.join(HERE, "vcenter")
GOVMOMI = "/usr/share/gocode/src/github.com/vmware/govmomi/simulator/simulator.go"
PASSWORD = "geheim & <pass>"  # one that needs escaping, and is found where it should not be


def _go_files():
    for directory, _, names in sorted(os.walk(SOURCE)):
        for name in sorted(names):
            if name.endswith(".go"):
                yield os.path.join(directory, name)


def _sources():
    """A digest of what the programs are made of; the folder's key."""
    digest = hashlib.sha256()
    for path in list(_go_files()) + [GOVMOMI]:
        with open(path, "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def missing():
    """What this host lacks to build it, or None."""
    if not os.path.exists(GOVMOMI):
        return "golang-github-vmware-govmomi-dev"
    for directory in os.environ.get("PATH", "/usr/bin").split(":"):
        if os.access(os.path.join(directory, "go"), os.X_OK):
            return None
    return "golang-go"


def _build(out, _final):
    environment = dict(os.environ, GO111MODULE="off", GOPATH="/usr/share/gocode", GOFLAGS="",
                       GOCACHE=os.path.join(cache.directory(), "go"), CGO_ENABLED="0")
    host.run("go", "build", "-o", os.path.join(out, "vcenter"), ".", cwd=SOURCE, env=environment)
    host.run("go", "build", "-o", os.path.join(out, "timelist"), "./timelist", cwd=SOURCE, env=environment)


def program(name="vcenter"):
    """The path of the program NAME (vcenter, timelist), built where that has not been done (25 s)."""
    lack = missing()
    if lack:
        raise host.LabError("the vCenter simulator needs the package " + lack)
    recipes = {"vcenter": Recipe("vcenter", "", _build, (), ("vcenter",), words=_sources())}
    cache.ensure(recipes, "vcenter", lambda recipe, out, final: recipe.make(out, final))
    return os.path.join(cache.folder(recipes, "vcenter"), name)


class _Memory(host.Scratch):
    """For thousands of stock machines: 50,000 small files, which a busy disk takes a minute for."""

    def __init__(self):
        super().__init__()
        if os.path.isdir("/dev/shm"):
            self._parent = "/dev/shm"


class Vcenter:
    """The running server, for a with statement. MODEL: vpx or esx; VMS: stock machines besides MACHINES; further options
    by their names (task_time="1s", limited_user=...): see vcenter --help. STDERR: where its own complaints go."""

    def __init__(self, machines=(), model="vpx", vms=0, stock=False, stderr=None, **options):
        self._machines, self.model, self._vms, self._stock, self._stderr = machines, model, vms, stock, stderr
        self._options = options

    def _argv(self):
        described = os.path.join(self.directory, "machines.json")
        with open(described, "w", encoding="utf-8") as file:
            json.dump({"machines": list(self._machines)}, file)
        self.password_file = os.path.join(self.directory, "password")
        with open(os.open(self.password_file, os.O_CREAT | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
            file.write(PASSWORD + "\n")
        argv = [program(), "--model", self.model, "--vms", str(self._vms), "--json", described, "--state",
                os.path.join(self.directory, "state"), "--password-file", self.password_file]
        if self._stock:
            argv.append("--stock")
        for name, value in self._options.items():
            argv += ["--" + name.replace("_", "-"), str(value)]
        return argv

    def __enter__(self):
        self._scratch = _Memory() if self._vms >= 1000 else host.Scratch()
        self.directory = self._scratch.__enter__()
        try:
            self.process = host.start(*self._argv(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr)
            line = self.process.stdout.readline()
            if not line:
                raise host.LabError("the vCenter simulator ended with %d" % self.process.wait())
        except BaseException:
            self._scratch.__exit__(None, None, None)
            raise
        self.start = json.loads(line)
        for name in ("address", "port", "thumbprint", "user", "limited_user", "machines", "datastores", "certificate",
                     "state"):
            setattr(self, name, self.start[name])
        self.password = PASSWORD
        self.map_file = os.path.join(self.state, "datastore-map.json")
        self.control = Control(self.start.get("control"))
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._scratch.__exit__(None, None, None)

    def url(self, scheme="https", path="", no_verify=False, user=None):
        """vpx://user@127.0.0.1:PORT/PATH, esx://…; for https the address without a user."""
        who = "" if scheme == "https" else urllib.parse.quote(user or self.user) + "@"
        return "%s://%s%s:%d/%s%s" % (scheme, who, self.address, self.port, path, "?no_verify=1" if no_verify else "")

    def auth_file(self):
        """A file for LIBVIRT_AUTH_FILE."""
        path = os.path.join(self.directory, "auth.conf")
        with open(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write("[credentials-lab]\nusername=%s\npassword=%s\n\n[auth-esx-%s]\ncredentials=lab\n"
                       % (self.user, self.password, self.address))
        return path

    def flat_url(self, path, datacenter=None):
        """Of "[datastore] dir/name.vmdk": its -flat.vmdk through /folder."""
        datastore, _, name = path[1:].partition("] ")
        if datacenter is None:
            datacenter = "DC0" if self.model == "vpx" else "ha-datacenter"
        return self.url(path="folder/%s?%s" % (
            urllib.parse.quote(name[:-len(".vmdk")] + "-flat.vmdk"),
            urllib.parse.urlencode({"dcPath": datacenter, "dsName": datastore}, quote_via=urllib.parse.quote)))


class Control:
    """What a test does to the server behind the client's back; see vcenter/control.go."""

    def __init__(self, port):
        self.port = port

    def call(self, name, **arguments):
        if self.port is None:
            raise host.LabError("the stock simulator has no control port")
        request = urllib.request.Request("http://127.0.0.1:%d/%s" % (self.port, name), json.dumps(arguments).encode(),
                                         {"Content-Type": "application/json"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=600) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise host.LabError("control %s: %s" % (name, error.read().decode(errors="replace").strip())) from error

    def status(self):
        """sessions, leases, calls and answer_bytes (by method), served_bytes (by "folder:[datastore] path", "lease:…"),
        snapshots."""
        return self.call("status")

    def expire_sessions(self, key="", leases=True):
        return self.call("expire_sessions", key=key, leases=leases)["ended"]

    def fail(self, method, fault, count=1, in_task=False, message="", **fields):
        """FIELDS: of the fault, e.g. PrivilegeId="VApp.Export". COUNT -1: from now on."""
        self.call("fail", method=method, fault=fault, count=count, in_task=in_task, message=message, fields=fields)

    def hang_up(self, method, count=1):
        """The next COUNT calls of METHOD get no answer: their connection is closed."""
        self.call("hang_up", method=method, count=count)

    def delay(self, method, seconds, count=-1):
        self.call("delay", method=method, ms=int(seconds * 1000), count=count)

    def drop(self, where, after_bytes, count=1):
        self.call("drop", where=where, after_bytes=after_bytes, count=count)

    def throttle(self, where, bytes_per_s):
        self.call("throttle", where=where, bytes_per_s=bytes_per_s)

    def clear(self):
        self.call("clear")

    def write(self, vm, offset, data, disk=0):
        """What the running guest VM (name or moref) writes; DISK: its position or its device key."""
        self.call("write", vm=vm, disk=disk, offset=offset, data=base64.b64encode(data).decode())

    def set_machine(self, vm, **what):
        """tools, deaf (to ShutdownGuest), consolidation_needed, consolidate_ms, connection, power ("on", "off")."""
        self.call("set_machine", vm=vm, **what)

    def hold_tasks(self, hold, cancelable=False):
        """Tasks of machines that begin from now on do not end (but by CancelTask) until this is said again."""
        self.call("hold_tasks", hold=hold, cancelable=cancelable)

    def create(self, vm):
        """A machine of that name, without a disk; its moref."""
        return self.call("create", vm=vm)["moref"]

    def rename(self, vm, to):
        """VM: a name or moref of a machine, folder, host, cluster or datacenter."""
        self.call("rename", vm=vm, to=to)

    def destroy(self, vm):
        """One that is off."""
        self.call("destroy", vm=vm)

    def reset_change_tracking(self, vm):
        self.call("reset_change_tracking", vm=vm)

    def renew_certificate(self):
        """The new thumbprint."""
        return self.call("renew_certificate")["thumbprint"]
