# SPDX-License-Identifier: GPL-2.0-or-later
"""A bare client of the vSphere API for checks: requests are texts, answers are trees without namespaces."""
import re
import ssl
import time
import urllib.error
import urllib.request
import xml.etree.ElementTree as ElementTree
from xml.sax.saxutils import escape

ENVELOPE = ('<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" '
            'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:xsd="http://www.w3.org/2001/XMLSchema">'
            '<s:Body><%s xmlns="urn:vim25"><_this type="%s">%s</_this>%s</%s></s:Body></s:Envelope>')
TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"


class Fault(Exception):
    """KIND: the fault's type; DETAIL: its element."""

    def __init__(self, kind, text, detail):
        super().__init__("%s: %s" % (kind, text))
        self.kind, self.detail = kind, detail


def _strip(tree):
    for node in tree.iter():
        node.tag = re.sub(r"^\{.*?\}", "", node.tag)
    return tree


class Client:
    def __init__(self, vc, user=None, password=None, login=True):
        self.vc, self.cookie = vc, None
        self.context = ssl.create_default_context(cafile=vc.certificate)
        content = self.call("RetrieveServiceContent", "ServiceInstance", "ServiceInstance")
        self.content = {node.tag: node.text for node in content.find("returnval")}
        if login:
            self.login(user or vc.user, vc.password if password is None else password)

    def login(self, user, password):
        return self.call("Login", "SessionManager", self.content["sessionManager"], "<userName>%s</userName><password>%s"
                         "</password>" % (escape(user), escape(password)))

    def open(self, url, **headers):
        """GET with our cookie; gives (status, headers, body)."""
        request = urllib.request.Request(url, headers=dict({"Cookie": self.cookie} if self.cookie else {}, **headers))
        try:
            with urllib.request.urlopen(request, context=self.context, timeout=60) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    def call(self, method, kind, moref, body=""):
        text = ENVELOPE % (method, kind, escape(moref), body, method)
        request = urllib.request.Request(self.vc.url(path="sdk"), text.encode(), {
            "Content-Type": "text/xml; charset=utf-8", "SOAPAction": '"urn:vim25/7.0"'})
        if self.cookie:
            request.add_header("Cookie", self.cookie)
        try:
            with urllib.request.urlopen(request, context=self.context, timeout=60) as answer:
                if answer.headers["Set-Cookie"]:
                    self.cookie = answer.headers["Set-Cookie"].split(";")[0]
                self.raw = answer.read()
        except urllib.error.HTTPError as error:
            tree = _strip(ElementTree.fromstring(error.read()))
            detail = tree.find(".//detail/*")
            raise Fault(detail.get(TYPE), tree.findtext(".//faultstring"), detail) from None
        return _strip(ElementTree.fromstring(self.raw)).find("Body")[0]

    def spec(self, kind, moref, paths, select=""):
        return ("<specSet><propSet><type>%s</type>%s</propSet><objectSet><obj type=\"%s\">%s</obj>%s</objectSet></specSet>"
                % (kind, "".join("<pathSet>%s</pathSet>" % p for p in paths), select or kind, escape(moref),
                   '<skip>true</skip><selectSet xsi:type="TraversalSpec"><type>%s</type><path>view</path><skip>false</skip>'
                   '</selectSet>' % select if select else ""))

    def retrieve(self, spec, most=0):
        options = "<options>%s</options>" % ("<maxObjects>%d</maxObjects>" % most if most else "")
        return self.call("RetrievePropertiesEx", "PropertyCollector", self.content["propertyCollector"], spec + options)

    def get(self, kind, moref, path):
        """The value's element, or None."""
        return self.retrieve(self.spec(kind, moref, [path])).find("returnval/objects/propSet/val")

    def text(self, kind, moref, path):
        value = self.get(kind, moref, path)
        return None if value is None else value.text

    def view(self, kind):
        answer = self.call("CreateContainerView", "ViewManager", self.content["viewManager"],
                           '<container type="Folder">%s</container><type>%s</type><recursive>true</recursive>'
                           % (self.content["rootFolder"], kind))
        return answer.findtext("returnval")

    def wait(self, kind, moref, path, wanted, seconds=60):
        end = time.monotonic() + seconds
        while True:
            value = self.text(kind, moref, path)
            if value in wanted:
                return value
            if time.monotonic() > end:
                raise AssertionError("%s of %s is %s" % (path, moref, value))
            time.sleep(0.01)

    def task(self, method, kind, moref, body=""):
        """Runs it to its end; gives the result's text. Fault where it fails."""
        task = self.call(method, kind, moref, body).findtext("returnval")
        if self.wait("Task", task, "info.state", ("success", "error")) == "error":
            error = self.get("Task", task, "info.error")
            raise Fault(error.find("fault").get(TYPE), error.findtext("localizedMessage"), error)
        return self.text("Task", task, "info.result")

    def snapshot(self, vm, name="s"):
        return self.task("CreateSnapshot_Task", "VirtualMachine", vm,
                         "<name>%s</name><memory>false</memory><quiesce>false</quiesce>" % name)

    def remove_snapshot(self, moref):
        self.task("RemoveSnapshot_Task", "VirtualMachineSnapshot", moref, "<removeChildren>false</removeChildren>")

    def disks(self, kind, moref):
        """Of a VirtualMachine or VirtualMachineSnapshot: {key: (file name, change id)}."""
        devices = self.get(kind, moref, "config.hardware.device")
        return {int(d.findtext("key")): (d.findtext("backing/fileName"), d.findtext("backing/changeId"))
                for d in devices if d.get(TYPE) == "VirtualDisk"}

    def track_changes(self, vm):
        self.task("ReconfigVM_Task", "VirtualMachine", vm,
                  "<spec><changeTrackingEnabled>true</changeTrackingEnabled></spec>")

    def changed(self, vm, snapshot, key, change_id, start=0):
        """One answer: (start, length, [(start, length)])."""
        answer = self.call("QueryChangedDiskAreas", "VirtualMachine", vm,
                           '<snapshot type="VirtualMachineSnapshot">%s</snapshot><deviceKey>%d</deviceKey><startOffset>%d'
                           '</startOffset><changeId>%s</changeId>' % (snapshot, key, start, change_id)).find("returnval")
        return (int(answer.findtext("startOffset")), int(answer.findtext("length")),
                [(int(a.findtext("start")), int(a.findtext("length"))) for a in answer.iter("changedArea")])
