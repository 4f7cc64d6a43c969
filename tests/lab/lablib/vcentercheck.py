# SPDX-License-Identifier: GPL-2.0-or-later
"""The checks of vcenter/selfcheck. Each has a server of its own."""
import base64
import contextlib
import json
import os
import sys
import traceback
import urllib.request

from lablib import host, vcenter
from lablib.vimsoap import Client, Fault, TYPE

BLOCK = 64 << 10
SIZE = 64 << 20


@contextlib.contextmanager
def _server(power="on", extra=(), **options):
    """A server with the machine "web 1": 64 MiB, data at 1 MiB and 40 MiB; gives (server, image)."""
    with host.Scratch() as scratch:
        image = os.path.join(scratch, "web.raw")
        with open(image, "wb") as file:
            file.truncate(SIZE)
            for at in (1 << 20, 40 << 20):
                file.seek(at)
                file.write(os.urandom(1 << 20))
        machine = {"name": "web 1", "power": power, "guest_id": "debian11_64Guest", "tools": "running",
                   "guest_name": "Debian GNU/Linux 11 (64-bit)", "disks": [{"file": image}], "firmware": "bios",
                   "nics": [{"mac": "00:50:56:01:02:03"}]}
        with vcenter.Vcenter(machines=[machine] + list(extra), **options) as server:
            yield server, image


def _read(path, at=0, length=-1):
    with open(path, "rb") as file:
        file.seek(at)
        return file.read(length)


@contextlib.contextmanager
def _fails(kind):
    try:
        yield
    except Fault as fault:
        assert fault.kind == kind, "%s instead of %s" % (fault, kind)
        return
    raise AssertionError("no %s" % kind)


def _virsh(server, address, *words):
    environment = dict(os.environ, LIBVIRT_AUTH_FILE=server.auth_file(), LC_ALL="C")
    return host.run("virsh", "-q", "-c", address, *words, env=environment)


def libvirt_reads_a_vcenter():
    with _server(vms=4) as (server, _):
        address = server.url("vpx", "DC0/DC0_H0/", no_verify=True)
        names = _virsh(server, address, "list", "--all", "--name").split("\n")
        assert "web 1" in names and "DC0_H0_VM0" in names, names
        xml = _virsh(server, address, "dumpxml", "web 1")
        for word in ("[LocalDS_0] web 1/web 1.vmdk", "00:50:56:01:02:03", "vmpvscsi"):
            assert word in xml, xml
        client = Client(server)
        client.snapshot(server.machines["web 1"], "first")
        assert "first" in _virsh(server, address, "snapshot-list", "web 1")
        assert "web 1-000001.vmdk" in _virsh(server, address, "dumpxml", "web 1")


def libvirt_reads_an_esxi_host():
    with _server(model="esx") as (server, _):
        address = server.url("esx", no_verify=True)
        assert "web 1" in _virsh(server, address, "list", "--all", "--name").split("\n")
        assert "[LocalDS_0] web 1/web 1.vmdk" in _virsh(server, address, "dumpxml", "web 1")


def govmomi_lists_ten_thousand():
    with _server(vms=9998, extra=[{"name": "one"}]) as (server, _):
        answer = json.loads(host.run(vcenter.program("timelist"), "%s:%d" % (server.address, server.port), server.user,
                                     server.password_file))
        assert answer["machines"] == 10000, answer
        print("# " + json.dumps(answer))


def nbdkit_reads_a_folder():
    with _server(power="off") as (server, image):
        url = server.flat_url("[LocalDS_0] web 1/web 1.vmdk")
        host.run("nbdkit", "-U", "-", "curl", "url=" + url, "user=" + server.user, "password=+" + server.password_file,
                 "cainfo=" + server.certificate, "--run", 'qemu-img compare -f raw -F raw "$uri" "%s"' % image)
        served = server.control.status()["served_bytes"]["folder:[LocalDS_0] web 1/web 1-flat.vmdk"]
        assert served >= 2 << 20, served


def folder_asks_who_it_is():
    with _server(power="off") as (server, image):
        url = server.flat_url("[LocalDS_0] web 1/web 1.vmdk")
        nobody = Client(server, login=False)
        status, headers, _ = nobody.open(url)
        assert status == 401 and headers["WWW-Authenticate"].startswith("Basic"), status
        words = base64.b64encode(("%s:%s" % (server.user, server.password)).encode()).decode()
        status, headers, _ = nobody.open(url, Authorization="Basic " + words, Range="bytes=0-9")
        assert status == 206 and "vmware_soap_session" in headers["Set-Cookie"], status
        nobody.cookie = headers["Set-Cookie"].split(";")[0]
        status, _, body = nobody.open(url, Range="bytes=%d-%d" % (1 << 20, (1 << 20) + 99))
        assert status == 206 and body == _read(image, 1 << 20, 100)
        server.control.expire_sessions()
        assert nobody.open(url)[0] == 401
        reader = Client(server, server.limited_user)
        assert reader.open(url)[0] == 403


def folder_refuses_what_a_guest_writes():
    with _server() as (server, image):
        client = Client(server)
        url = server.flat_url("[LocalDS_0] web 1/web 1.vmdk")
        assert client.open(url)[0] == 500
        snapshot = client.snapshot(server.machines["web 1"])
        server.control.write("web 1", 0, b"after")
        assert client.open(url)[2] == _read(image)
        client.remove_snapshot(snapshot)
        assert client.open(url)[0] == 500


def sessions_end():
    with _server(idle_timeout="2s") as (server, _):
        with _fails("InvalidLogin"):
            Client(server, password="wrong")
        with _fails("InvalidLogin"):
            Client(server, user=server.limited_user, password="wrong")
        client = Client(server)
        assert len(server.control.status()["sessions"]) == 1
        assert server.control.expire_sessions() == 1
        with _fails("NotAuthenticated"):
            client.view("VirtualMachine")
        with _fails("NotAuthenticated"):
            client.text("VirtualMachine", server.machines["web 1"], "name")
        client.login(server.user, server.password)
        assert client.text("VirtualMachine", server.machines["web 1"], "name") == "web 1"
        host.wait_until(lambda: not _is_alive(client, server), "the session's end", 30)


def _is_alive(client, server):
    import time  # pylint: disable=import-outside-toplevel
    time.sleep(2.5)  # the point is silence
    try:
        return client.text("VirtualMachine", server.machines["web 1"], "name") is not None
    except Fault as fault:
        assert fault.kind == "NotAuthenticated", fault
        return False


def a_reader_may_read():
    with _server() as (server, _):
        reader = Client(server, server.limited_user)
        assert reader.text("VirtualMachine", server.machines["web 1"], "runtime.powerState") == "poweredOn"
        try:
            reader.snapshot(server.machines["web 1"])
        except Fault as fault:
            assert fault.kind == "NoPermission", fault
            assert [n.text for n in fault.detail.iter() if n.tag.endswith("privilegeId")] == [
                "VirtualMachine.State.CreateSnapshot"]
            return
        raise AssertionError("a reader took a snapshot")


def pages():
    with _server(vms=20) as (server, _):
        client = Client(server)
        spec = client.spec("VirtualMachine", client.view("VirtualMachine"), ["name"], "ContainerView")
        answer = client.retrieve(spec, 8)
        names, sizes = [], []
        while True:
            result = answer.find("returnval")
            sizes.append(len(result.findall("objects")))
            names += [v.text for v in result.findall("objects/propSet/val")]
            token = result.findtext("token")
            if token is None:
                break
            answer = client.call("ContinueRetrievePropertiesEx", "PropertyCollector",
                                 client.content["propertyCollector"], "<token>%s</token>" % token)
        assert sizes == [8, 8, 5] and len(set(names)) == 21, (sizes, names)
        token = client.retrieve(spec, 8).findtext("returnval/token")
        words = ("PropertyCollector", client.content["propertyCollector"], "<token>%s</token>" % token)
        client.call("CancelRetrievePropertiesEx", *words)
        with _fails("InvalidArgument"):
            client.call("ContinueRetrievePropertiesEx", *words)


def elements_of_arrays_have_types():
    with _server() as (server, _):
        client = Client(server)
        for kind, moref, path in (("VirtualMachine", server.machines["web 1"], "datastore"),
                                  ("Folder", client.content["rootFolder"], "childEntity"),
                                  ("VirtualMachine", server.machines["web 1"], "config.hardware.device")):
            value = client.get(kind, moref, path)
            assert value.get(TYPE).startswith("ArrayOf") and len(value), value
            assert all(child.get(TYPE) for child in value), client.raw


def snapshots_keep_what_was():
    with _server() as (server, image):
        client, vm = Client(server), server.machines["web 1"]
        first = client.snapshot(vm, "first")
        assert client.disks("VirtualMachine", vm)[2000][0] == "[LocalDS_0] web 1/web 1-000001.vmdk"
        assert client.disks("VirtualMachineSnapshot", first)[2000][0] == "[LocalDS_0] web 1/web 1.vmdk"
        server.control.write("web 1", 5 << 20, b"x" * 1000)
        second = client.snapshot(vm, "second")
        server.control.write("web 1", 6 << 20, b"y" * 1000)
        files = {(e["snapshot"], e["path"]): e["file"] for e in json.loads(_read(server.map_file))["disks"]}
        base, delta = "[LocalDS_0] web 1/web 1.vmdk", "[LocalDS_0] web 1/web 1-000001.vmdk"
        assert _read(files[first, base]) == _read(image)
        assert _read(files[second, delta], 5 << 20, 1000) == b"x" * 1000
        assert _read(files[second, delta], 6 << 20, 1000) == bytes(1000)
        client.remove_snapshot(first)
        assert client.disks("VirtualMachineSnapshot", second)[2000][0] == base
        assert client.disks("VirtualMachine", vm)[2000][0] == "[LocalDS_0] web 1/web 1-000002.vmdk"
        client.remove_snapshot(second)
        assert client.disks("VirtualMachine", vm)[2000][0] == base
        flat = os.path.join(server.datastores["LocalDS_0"], "web 1", "web 1-flat.vmdk")
        assert _read(flat, 5 << 20, 1000) == b"x" * 1000 and _read(flat, 6 << 20, 1000) == b"y" * 1000
        assert _read(image, 5 << 20, 1000) == bytes(1000), "the original was written to"
        left = sorted(os.listdir(os.path.dirname(flat)))
        assert not [name for name in left if "00000" in name], left
        with _fails("ManagedObjectNotFound"):
            client.remove_snapshot(second)


def change_ids_come_after_a_stun():
    with _server() as (server, _):
        client, vm = Client(server), server.machines["web 1"]
        one = client.snapshot(vm)
        assert client.disks("VirtualMachineSnapshot", one)[2000][1] is None
        client.remove_snapshot(one)
        client.track_changes(vm)
        two = client.snapshot(vm)
        assert client.disks("VirtualMachineSnapshot", two)[2000][1] is None, "in effect before the stun"
        with _fails("FileFault"):
            client.changed(vm, two, 2000, "*")
        client.remove_snapshot(two)
        three = client.snapshot(vm)
        assert "/" in client.disks("VirtualMachineSnapshot", three)[2000][1]
    with _server() as (server, _):
        client, vm = Client(server), server.machines["web 1"]
        client.track_changes(vm)
        client.snapshot(vm)
        assert client.disks("VirtualMachineSnapshot", client.snapshot(vm))[2000][1], "the second: after one stun"
    with _server() as (server, _):
        client, vm = Client(server), server.machines["web 1"]
        one = client.snapshot(vm)
        client.track_changes(vm)
        client.remove_snapshot(one)
        assert client.disks("VirtualMachine", vm)[2000][1], "a snapshot's end is a stun"
    with _server(power="off") as (server, _):
        client, vm = Client(server), server.machines["web 1"]
        client.track_changes(vm)
        assert client.disks("VirtualMachine", vm)[2000][1] is None
        client.task("PowerOnVM_Task", "VirtualMachine", vm)
        assert client.disks("VirtualMachine", vm)[2000][1], "power on is a stun"


def machines_have_tags():
    extra = [{"name": "tagged", "tags": ["tier/gold", "site/north"]}]
    with _server(extra=extra) as (server, _):
        client = Client(server)

        def rest(path, body=None):
            words = {"Authorization": "Basic " + base64.b64encode(b"user:pass").decode()} if not session else {
                "vmware-api-session-id": session}
            request = urllib.request.Request(server.url(path="rest/com/vmware/cis/" + path), body, dict(
                words, **{"Content-Type": "application/json"}), method="GET" if body is None else "POST")
            with urllib.request.urlopen(request, context=client.context) as answer:
                return json.load(answer)["value"]
        session = None
        session = rest("session", b"")
        attached = rest("tagging/tag-association?~action=list-attached-tags", json.dumps(
            {"object_id": {"type": "VirtualMachine", "id": server.machines["tagged"]}}).encode())
        assert sorted(rest("tagging/tag/id:" + t)["name"] for t in attached) == ["gold", "north"]


def tasks_tell_of_their_end():
    with _server(task_time="400ms") as (server, _):
        client, vm = Client(server), server.machines["web 1"]
        task = client.call("CreateSnapshot_Task", "VirtualMachine", vm, "<name>s</name><memory>false</memory><quiesce>false"
                           "</quiesce>").findtext("returnval")
        collector = ("PropertyCollector", client.content["propertyCollector"])
        client.call("CreateFilter", *collector, client.spec("Task", task, ["info.state", "info.result"]).replace(
            "specSet>", "spec>") + "<partialUpdates>false</partialUpdates>")
        version, states = "", []
        while "success" not in states:
            answer = client.call("WaitForUpdatesEx", *collector, ("<version>%s</version>" % version if version else "")
                                 + "<options><maxWaitSeconds>30</maxWaitSeconds></options>")
            version = answer.findtext("returnval/version")
            states += [c.findtext("val") for c in answer.iter("changeSet") if c.findtext("name") == "info.state"]
        assert states == ["running", "success"], states


def changed_areas():
    with _server(max_areas=3) as (server, _):
        client, vm = Client(server), server.machines["web 1"]
        client.track_changes(vm)
        client.remove_snapshot(client.snapshot(vm))
        one = client.snapshot(vm)
        change_id = client.disks("VirtualMachineSnapshot", one)[2000][1]
        assert client.changed(vm, one, 2000, "*") == (0, SIZE, [(1 << 20, 1 << 20), (40 << 20, 1 << 20)])
        client.remove_snapshot(one)
        places = [0, 10 * BLOCK, 11 * BLOCK + 5, 100 * BLOCK, 300 * BLOCK, SIZE - 1]
        for at in places:
            server.control.write("web 1", at, b"z")
        two = client.snapshot(vm)
        found, at = [], 0
        while at < SIZE:
            start, length, areas = client.changed(vm, two, 2000, change_id, at)
            assert start == at and length > 0 and len(areas) <= 3
            found += areas
            at += length
        assert found == [(0, BLOCK), (10 * BLOCK, 2 * BLOCK), (100 * BLOCK, BLOCK), (300 * BLOCK, BLOCK),
                         (SIZE - BLOCK, BLOCK)], found
        with _fails("InvalidArgument"):
            client.changed(vm, two, 2000, change_id, SIZE)
        with _fails("InvalidArgument"):
            client.changed(vm, two, 1, change_id)
        server.control.reset_change_tracking("web 1")
        with _fails("FileFault"):
            client.changed(vm, two, 2000, change_id)


def a_lease_streams_a_disk():
    with _server(power="off") as (server, image):
        client, vm = Client(server), server.machines["web 1"]
        lease = client.call("ExportVm", "VirtualMachine", vm).findtext("returnval")
        with _fails("TaskInProgress"):
            client.snapshot(vm)
        client.wait("HttpNfcLease", lease, "state", ("ready",))
        info = client.get("HttpNfcLease", lease, "info")
        assert info.findtext("leaseTimeout") == "300"
        urls = [u for u in info.findall("deviceUrl") if u.findtext("disk") == "true"]
        assert [u.findtext("key") for u in urls] == ["/%s/ParaVirtualSCSIController0:0" % vm], client.raw
        assert urls[0].findtext("sslThumbprint") == server.thumbprint
        assert Client(server, login=False).open(urls[0].findtext("url"))[0] == 401
        status, headers, body = client.open(urls[0].findtext("url"), Range="bytes=100-")
        assert status == 200 and headers["Content-Length"] is None and body[:4] == b"KDMV"
        path = os.path.join(server.directory, "got.vmdk")
        with open(path, "wb") as file:
            file.write(body)
        host.run("qemu-img", "compare", "-f", "vmdk", "-F", "raw", path, image)
        client.call("HttpNfcLeaseProgress", "HttpNfcLease", lease, "<percent>50</percent>")
        assert server.control.status()["leases"][0]["percent"] == [50]
        server.control.drop("lease", 1000)
        try:
            client.open(urls[0].findtext("url"))
            raise AssertionError("the whole stream came")
        except (OSError, ValueError) as error:
            assert "IncompleteRead" in repr(error) or "Remote" in repr(error), error
        except Exception as error:  # http.client's own
            assert "IncompleteRead" in repr(error), error
        client.call("HttpNfcLeaseComplete", "HttpNfcLease", lease)
        assert client.open(urls[0].findtext("url"))[0] == 404
        with _fails("ManagedObjectNotFound"):
            client.call("HttpNfcLeaseProgress", "HttpNfcLease", lease, "<percent>60</percent>")
        client.snapshot(vm)


def qemu_img_makes_streams_too():
    with _server(power="off", stream_format="qemu") as (server, image):
        client = Client(server)
        lease = client.call("ExportVm", "VirtualMachine", server.machines["web 1"]).findtext("returnval")
        client.wait("HttpNfcLease", lease, "state", ("ready",))
        path = os.path.join(server.directory, "got.vmdk")
        with open(path, "wb") as file:
            file.write(client.open(client.get("HttpNfcLease", lease, "info").findtext("deviceUrl/url"))[2])
        host.run("qemu-img", "compare", "-f", "vmdk", "-F", "raw", path, image)


def streams_of_odd_sizes():
    with host.Scratch() as scratch:
        disks = []
        for number, (size, places) in enumerate(((1 << 20, ()), ((96 << 20) + 512, (0, (33 << 20) + 7, (96 << 20) + 500)),
                                                 (3 << 30, ((3 << 30) - 9, 1 << 30)))):
            disks.append(os.path.join(scratch, "%d.raw" % number))
            with open(disks[-1], "wb") as file:
                file.truncate(size)
                for at in places:
                    file.seek(at)
                    file.write(b"data")
        with vcenter.Vcenter(machines=[{"name": "many", "disks": [{"file": d} for d in disks]}]) as server:
            client = Client(server)
            lease = client.call("ExportVm", "VirtualMachine", server.machines["many"]).findtext("returnval")
            client.wait("HttpNfcLease", lease, "state", ("ready",))
            for url in client.get("HttpNfcLease", lease, "info").findall("deviceUrl"):
                number = int(url.findtext("key").rpartition(":")[2])
                path = os.path.join(scratch, "got.vmdk")
                with open(path, "wb") as file:
                    file.write(client.open(url.findtext("url"))[2])
                host.run("qemu-img", "compare", "-f", "vmdk", "-F", "raw", path, disks.pop(number))
            assert not disks


def a_lease_ends_without_progress():
    with _server(lease_timeout="1s") as (server, image):
        client, vm = Client(server), server.machines["web 1"]
        with _fails("InvalidPowerState"):
            client.call("ExportVm", "VirtualMachine", vm)
        snapshot = client.snapshot(vm)
        server.control.write("web 1", 1 << 20, b"later")
        lease = client.call("ExportSnapshot", "VirtualMachineSnapshot", snapshot).findtext("returnval")
        client.wait("HttpNfcLease", lease, "state", ("ready",))
        url = client.get("HttpNfcLease", lease, "info").findtext("deviceUrl/url")
        path = os.path.join(server.directory, "got.vmdk")
        with open(path, "wb") as file:
            file.write(client.open(url)[2])
        host.run("qemu-img", "compare", "-f", "vmdk", "-F", "raw", path, image)
        client.wait("HttpNfcLease", lease, "state", ("error",))
        with _fails("Timedout"):
            client.call("HttpNfcLeaseProgress", "HttpNfcLease", lease, "<percent>60</percent>")
        assert client.open(url)[0] == 404


def guests_shut_down():
    with _server(extra=[{"name": "bare", "power": "on"}], shutdown_time="200ms") as (server, _):
        client, vm = Client(server), server.machines["web 1"]
        with _fails("ToolsUnavailable"):
            client.call("ShutdownGuest", "VirtualMachine", server.machines["bare"])
        client.call("ShutdownGuest", "VirtualMachine", vm)
        client.wait("VirtualMachine", vm, "runtime.powerState", ("poweredOff",))
        client.wait("VirtualMachine", vm, "guest.toolsRunningStatus", ("guestToolsNotRunning",))
        client.task("PowerOnVM_Task", "VirtualMachine", vm)
        client.wait("VirtualMachine", vm, "guest.toolsRunningStatus", ("guestToolsRunning",))
        server.control.set_machine("web 1", consolidate_ms=300)
        snapshot = client.snapshot(vm)
        client.remove_snapshot(snapshot)
        assert client.text("VirtualMachine", vm, "runtime.consolidationNeeded") == "true"
        client.wait("VirtualMachine", vm, "runtime.consolidationNeeded", ("false",))


def calls_fail_on_command():
    with _server() as (server, _):
        client, vm = Client(server), server.machines["web 1"]
        server.control.fail("CreateSnapshot_Task", "TaskInProgress", 2)
        for _ in range(2):
            with _fails("TaskInProgress"):
                client.snapshot(vm)
        server.control.fail("CreateSnapshot_Task", "LicenseRestricted", in_task=True)
        with _fails("LicenseRestricted"):
            client.snapshot(vm)
        client.snapshot(vm)
        assert server.control.status()["calls"]["CreateSnapshot_Task"] == 4
        assert len(server.control.status()["snapshots"][vm]) == 1
        old = server.thumbprint
        assert server.control.renew_certificate() not in (old, None)
        try:
            client.text("VirtualMachine", vm, "name")
        except OSError as error:
            assert "CERTIFICATE_VERIFY_FAILED" in str(error), error
            return
        raise AssertionError("the new certificate was trusted")


def machines_with_peculiarities():
    extra = [{"name": "odd", "firmware": "efi", "secure_boot": True, "controller": "sata", "vtpm": True, "encrypted": True,
              "folder": "a/b", "host": "DC0_C0_H1", "disks": [
                  {"size_bytes": 1 << 20, "rdm": "physicalMode"},
                  {"size_bytes": 1 << 20, "mode": "independent_persistent"},
                  {"size_bytes": 1 << 20, "sharing": "sharingMultiWriter", "encrypted": True}]}]
    with _server(extra=extra) as (server, _):
        client, vm = Client(server), server.machines["odd"]
        client.track_changes(vm)
        client.remove_snapshot(client.snapshot(vm))
        snapshot = client.snapshot(vm)
        names = {key: name.split("/")[1] for key, (name, _) in client.disks("VirtualMachine", vm).items()}
        assert names == {16000: "odd.vmdk", 16001: "odd_1.vmdk", 16002: "odd_2-000002.vmdk"}, names
        ids = client.disks("VirtualMachineSnapshot", snapshot)
        assert [key for key in ids if ids[key][1]] == [16002], ids
        for method, kind, moref, units in (("ExportVm", "VirtualMachine", vm, "21"),
                                           ("ExportSnapshot", "VirtualMachineSnapshot", snapshot, "2")):
            lease = client.call(method, kind, moref).findtext("returnval")
            client.wait("HttpNfcLease", lease, "state", ("ready",))
            keys = [k.text for k in client.get("HttpNfcLease", lease, "info").iter("key")]
            assert keys == ["/%s/VirtualAHCIController0:%s" % (vm, u) for u in units] + ["/%s/nvram" % vm], keys
            client.call("HttpNfcLeaseAbort", "HttpNfcLease", lease)
        devices = client.get("VirtualMachine", vm, "config.hardware.device")
        kinds = [d.get(TYPE) for d in devices]
        assert "VirtualTPM" in kinds and "VirtualAHCIController" in kinds, kinds
        backings = [d.find("backing").get(TYPE) for d in devices if d.get(TYPE) == "VirtualDisk"]
        assert backings.count("VirtualDiskRawDiskMappingVer1BackingInfo") == 1, backings
        assert client.text("VirtualMachine", vm, "config.keyId.keyId") == "lab"
        assert client.text("VirtualMachine", vm, "config.bootOptions.efiSecureBootEnabled") == "true"


CHECKS = [value for name, value in sorted(globals().items())
          if callable(value) and not name.startswith("_") and getattr(value, "__module__", "") == __name__]


def run(names):
    chosen = [check for check in CHECKS if not names or check.__name__ in names]
    print("1..%d" % len(chosen), flush=True)
    bad = 0
    for number, check in enumerate(chosen, 1):
        try:
            check()
            print("ok %d - %s" % (number, check.__name__), flush=True)
        except Exception:  # pylint: disable=broad-except
            bad += 1
            print("not ok %d - %s" % (number, check.__name__), flush=True)
            sys.stderr.write(traceback.format_exc())
    return 1 if bad or not chosen else 0
