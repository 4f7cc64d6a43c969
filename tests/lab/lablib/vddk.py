# SPDX-License-Identifier: GPL-2.0-or-later
"""The double of VMware's VDDK (vddk/), laid out as VMware does, over the files of a lab's vCenter.

    with Vcenter(...) as vc, Double(vc) as double:
        double.directory is what vddk.lib.dir wants; double.env goes to vmferry; double.set(read_ms=2) makes it slow
"""
import os
import subprocess

from lablib import host
from lablib.cache import HERE

BUILD = os.environ.get("VMF_BUILD", os.path.join(HERE, "..", "..", "build"))


class Double:
    """VERSION: 6 to 9, as vddk/make-distrib has them. Its keys: vddk/README.md or double.c; underscores are dashes."""

    def __init__(self, vcenter, version=8, **keys):
        self._vcenter, self._version, self._keys = vcenter, version, keys

    def __enter__(self):
        self._scratch = host.Scratch()
        top = self._scratch.__enter__()
        self.directory, self.calls = os.path.join(top, "distrib"), os.path.join(top, "calls")
        self._config, state = os.path.join(top, "config"), os.path.join(top, "state")
        os.mkdir(state)
        subprocess.run([os.path.join(HERE, "vddk", "make-distrib"), os.path.join(BUILD, "tests", "lab", "vddk"),
                        str(self._version), self.directory], check=True)
        self._keys = {"map": self._vcenter.map_file, "user": self._vcenter.user, "password": self._vcenter.password,
                      "thumbprint": self._vcenter.thumbprint, "state": state, **self._keys}
        self.env = {"VMF_VDDK_DOUBLE_CONFIG": self._config}
        self.set()
        return self

    def __exit__(self, *_):
        self._scratch.__exit__(None, None, None)

    def set(self, **keys):
        """Changes keys for processes that start from now on; None takes one away."""
        self._keys.update({key.replace("_", "-"): value for key, value in keys.items()})
        with open(self._config, "w", encoding="utf-8") as file:
            file.writelines("%s %s\n" % item for item in self._keys.items() if item[1] is not None)

    def forget(self):
        """Memory that killed processes had in use is given back, as a host does with broken connections."""
        path = os.path.join(self._keys["state"], "nfc")
        if os.path.exists(path):
            os.truncate(path, 0)

    def without(self):
        """A directory where no VDDK is."""
        path = os.path.join(os.path.dirname(self.directory), "none")
        os.makedirs(path, exist_ok=True)
        return path
