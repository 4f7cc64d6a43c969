# SPDX-License-Identifier: GPL-2.0-or-later
"""The hostile set: sources that lie, each in a folder of its own, with what vmferry must say to them.

A case is (name, address, format or None, words that its refusal must have). CANARY is a folder outside of all cases;
nothing in it may ever be opened. Images are made by qemu-img, then bent.
"""
import io
import os
import random
import struct
import subprocess
import tarfile
import zipfile

SIZE = 4 << 20
SEEN_BY_READING = {"manifest-wrong"}  # a disk's digest is checked beside its copy

OVF = """<?xml version="1.0"?>{doctype}
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
 xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData">
<References><File ovf:href="{href}" ovf:id="file1"{extra}/></References>
<DiskSection><Info>d</Info><Disk ovf:capacity="{capacity}" ovf:diskId="d1" ovf:fileRef="file1"
 ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/></DiskSection>
<VirtualSystem ovf:id="web01"><Info>m</Info><Name>{vm_name}</Name><VirtualHardwareSection><Info>h</Info>
<Item><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType>
<rasd:VirtualQuantity>1</rasd:VirtualQuantity></Item>
<Item><rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits><rasd:InstanceID>2</rasd:InstanceID>
<rasd:ResourceType>4</rasd:ResourceType><rasd:VirtualQuantity>256</rasd:VirtualQuantity></Item>
<Item><rasd:InstanceID>3</rasd:InstanceID><rasd:ResourceType>6</rasd:ResourceType></Item>
<Item><rasd:AddressOnParent>0</rasd:AddressOnParent><rasd:HostResource>ovf:/disk/d1</rasd:HostResource>
<rasd:InstanceID>4</rasd:InstanceID><rasd:Parent>3</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>
</VirtualHardwareSection></VirtualSystem></Envelope>
"""

DOMAIN = """{doctype}<domain type='kvm'><name>{name}</name><memory unit='MiB'>256</memory><vcpu>1</vcpu>
<os><type arch='x86_64'>hvm</type></os><devices><disk type='file' device='disk'><driver name='qemu' type='{format}'/>
<source file='{path}'/><target dev='vda' bus='virtio'/></disk></devices></domain>
"""

BOMB = "<!DOCTYPE x [<!ENTITY a0 'ha'>" + "".join(
    f"<!ENTITY a{i} '{('&a%d;' % (i - 1)) * 10}'>" for i in range(1, 12)) + "]>"

FORMATS = [("qcow2", "qcow2", ""), ("vmdk", "vmdk", "subformat=monolithicSparse"),
           ("stream.vmdk", "vmdk", "subformat=streamOptimized"), ("vhd", "vpc", "force_size=on"),
           ("fixed.vhd", "vpc", "subformat=fixed,force_size=on"), ("vhdx", "vhdx", ""), ("vdi", "vdi", "")]


def qemu_img(*args):
    subprocess.run(["qemu-img", *args], check=True, stdout=subprocess.DEVNULL)


def ovf(href="disk.vmdk", doctype="", vm_name="web01", capacity=SIZE, extra=""):
    return OVF.format(href=href, doctype=doctype, vm_name=vm_name, capacity=capacity, extra=extra)


class Set:
    def __init__(self, top, canary):
        self.top, self.canary, self.cases = top, canary, []
        self.secret = f"{canary}/secret.raw"
        rng = random.Random(3)
        self.pattern = f"{top}/pattern.raw"
        with open(self.pattern, "wb") as file:
            file.write(rng.randbytes(SIZE // 2))
            file.truncate(SIZE)
        self.seeds = {}
        for name, fmt, option in FORMATS:
            path = f"{top}/seed.{name}"
            qemu_img("convert", "-f", "raw", "-O", fmt, *(["-o", option] if option else []), self.pattern, path)
            self.seeds[name] = open(path, "rb").read()

    def folder(self, name):
        path = f"{self.top}/{name}"
        os.mkdir(path)
        return path

    def add(self, name, address, words, fmt=None):
        self.cases.append((name, address, fmt, words))

    def file(self, name, file, data, words, fmt=None):
        """One file in a folder of its own."""
        path = f"{self.folder(name)}/{file}"
        with open(path, "wb") as out:
            out.write(data if isinstance(data, bytes) else data.encode())
        self.add(name, path, words, fmt)
        return path

    def patched(self, name, seed, words, *patches):
        data = bytearray(self.seeds[seed])
        for at, value in patches:
            at += len(data) if at < 0 else 0
            data[at:at + len(value)] = value
        return self.file(name, "disk." + seed.split(".")[-1], bytes(data), words)


def vhd_footer(seed, size):
    """The last 512 bytes of a VHD with another current size and a right checksum."""
    footer = bytearray(seed[-512:])
    footer[48:56] = struct.pack(">Q", size)
    footer[64:68] = bytes(4)
    footer[64:68] = struct.pack(">I", ~sum(footer) & 0xffffffff)
    return bytes(footer)


def qcow2_cases(s):
    def backed(name, to, words, fmt="raw"):
        path = f"{s.folder(name)}/disk.qcow2"
        qemu_img("create", "-q", "-u", "-f", "qcow2", "-b", to, "-F", fmt, path, str(SIZE))
        s.add(name, path, words)
        return path
    backed("qcow2-backing-absolute", s.secret, "absolute path")
    backed("qcow2-backing-parent", "../../canary/secret.raw", "'..'")
    backed("qcow2-backing-json", 'json:{"driver":"raw","file":{"driver":"file","filename":"%s"}}' % s.secret,
           "names a protocol")
    backed("qcow2-backing-nbd", "nbd://127.0.0.1:10809/x", "names a protocol")
    backed("qcow2-backing-file-scheme", f"file:{s.secret}", "names a protocol")
    path = backed("qcow2-backing-link", "link.raw", "by a link")
    os.symlink(s.secret, os.path.dirname(path) + "/link.raw")
    path = backed("qcow2-backing-fifo", "fifo", "not a regular file")
    os.mkfifo(os.path.dirname(path) + "/fifo")
    backed("qcow2-backing-itself", "disk.qcow2", "back to itself", "qcow2")
    path = backed("qcow2-backing-format-unknown", "base", "is not known", "raw")
    open(os.path.dirname(path) + "/base", "wb").write(bytes(512))
    data = open(path, "rb").read()
    open(path, "wb").write(data.replace(struct.pack(">II", 0xe2792aca, 3) + b"raw",
                                        struct.pack(">II", 0xe2792aca, 3) + b"ssh"))
    path = backed("qcow2-backing-no-format", "base", "does not record its backing file's format")
    data = open(path, "rb").read()
    open(path, "wb").write(data.replace(struct.pack(">I", 0xe2792aca), struct.pack(">I", 0x11111111)))
    path = f"{s.folder('qcow2-data-file-absolute')}/disk.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-o", f"data_file={os.path.dirname(path)}/data.raw", path, str(SIZE))
    data = open(path, "rb").read()
    old = f"{os.path.dirname(path)}/data.raw".encode()
    new = s.secret.encode()
    at = data.index(struct.pack(">I", 0x44415441))
    entry = struct.pack(">II", 0x44415441, len(new)) + new + bytes(-len(new) % 8)
    open(path, "wb").write(data[:at] + entry + bytes(max(0, len(old) + 16 - len(entry)))
                           + data[at + len(entry) + max(0, len(old) + 16 - len(entry)):])
    s.add("qcow2-data-file-absolute", path, "data file")
    chain = s.folder("qcow2-chain-too-deep")
    for n in range(40):
        qemu_img("create", "-q", "-u", "-f", "qcow2", "-b", f"d{n + 1}.qcow2", "-F", "qcow2", f"{chain}/d{n}.qcow2", "1M")
    s.add("qcow2-chain-too-deep", f"{chain}/d0.qcow2", "32 deep")
    s.patched("qcow2-size-8-EiB", "qcow2", "64 TiB", (24, struct.pack(">Q", 1 << 63)))
    s.patched("qcow2-size-65-TiB", "qcow2", "64 TiB", (24, struct.pack(">Q", 65 << 40)))
    s.patched("qcow2-L1-far-away", "qcow2", "cut off or damaged", (40, struct.pack(">Q", 1 << 60)))
    s.patched("qcow2-L1-huge", "qcow2", "cut off or damaged", (24, struct.pack(">Q", 60 << 40)),
              (36, struct.pack(">I", 0xffffffff)))
    s.patched("qcow2-cluster-2^63", "qcow2", "cluster size", (20, struct.pack(">I", 63)))
    s.patched("qcow2-unknown-feature", "qcow2", "not known", (72, struct.pack(">Q", 1 << 40)))


def vmdk_cases(s):
    def text(name, extents, words, kind="monolithicFlat", more=""):
        return s.file(name, "disk.vmdk", f'# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n'
                      f'createType="{kind}"\n{more}{extents}\n', words)
    n = SIZE // 512
    text("vmdk-extent-absolute", f'RW {n} FLAT "{s.secret}" 0', "absolute path")
    text("vmdk-extent-parent", f'RW {n} FLAT "../../canary/secret.raw" 0', "'..'")
    text("vmdk-extent-protocol", f'RW {n} FLAT "nbd://127.0.0.1/x" 0', "names a protocol")
    text("vmdk-extent-device", f'RW {n} FLAT "/dev/vda" 0', "fullDevice", kind="fullDevice")
    text("vmdk-extent-device-flat", f'RW {n} FLAT "/dev/vda" 0', "absolute path")
    path = text("vmdk-extent-link", f'RW {n} FLAT "flat.vmdk" 0', "by a link")
    os.symlink(s.secret, os.path.dirname(path) + "/flat.vmdk")
    path = text("vmdk-extent-folder-link", f'RW {n} FLAT "sub/secret.raw" 0', "by a link")
    os.symlink(s.canary, os.path.dirname(path) + "/sub")
    path = text("vmdk-extent-fifo", f'RW {n} FLAT "fifo" 0', "not a regular file")
    os.mkfifo(os.path.dirname(path) + "/fifo")
    text("vmdk-extent-absurd", 'RW 18446744073709551615 FLAT "a" 0', "number of sectors")
    text("vmdk-extents-sum-absurd", "\n".join(f'RW {60 << 31} FLAT "a{i}" 0' for i in range(2)), "64 TiB")
    text("vmdk-extents-many", "\n".join('RW 1 FLAT "a" 0' for _ in range(5000)), "too many extents")
    text("vmdk-extent-missing", f'RW {n} FLAT "a" 0', "No such file")
    path = text("vmdk-delta-absolute", f'RW {n} FLAT "a" 0', "absolute path",
                more=f'parentCID=12345678\nparentFileNameHint="{s.secret}"\n')
    open(os.path.dirname(path) + "/a", "wb").truncate(SIZE)
    s.patched("vmdk-capacity-absurd", "vmdk", "absurd", (12, struct.pack("<Q", 1 << 62)))
    s.patched("vmdk-capacity-0-leads-elsewhere", "vmdk", "size 0", (12, bytes(8)))
    s.patched("vmdk-grain-absurd", "vmdk", "grain size", (20, struct.pack("<Q", 3)))
    s.patched("vmdk-directory-far-away", "vmdk", "cut off or damaged", (56, struct.pack("<Q", 1 << 50)))
    s.patched("vmdk-descriptor-huge", "vmdk", "1 MiB", (36, struct.pack("<Q", 1 << 40)))


def other_image_cases(s):
    vhd = s.seeds["fixed.vhd"]
    s.patched("vhd-size-absurd", "fixed.vhd", "64 TiB", (-512, vhd_footer(vhd, 1 << 62)))
    s.patched("vhd-larger-than-its-file", "fixed.vhd", "cut off", (-512, vhd_footer(vhd, SIZE * 2)))
    s.patched("vhd-checksum-wrong", "vhd", "checksum", (-512 + 48, struct.pack(">Q", 3 << 61)))
    s.patched("vdi-size-absurd", "vdi", "64 TiB", (0x170, struct.pack("<Q", 1 << 62)))
    s.patched("vdi-map-far-away", "vdi", "cut off", (0x154, struct.pack("<I", 0xfffffff0)))
    s.patched("vhdx-regions-absurd", "vhdx", "region table", (192 * 1024 + 8, struct.pack("<I", 0xffffffff)))
    s.file("qcow2-named-raw-vmdk", "disk.vmdk", s.seeds["qcow2"], "not a VMDK")
    s.file("raw-format-given-as-nonsense", "disk.img", bytes(512), "is not known", fmt="luks")


def description_cases(s):
    def folder(name, text, words):
        path = f"{s.folder(name)}/web01.ovf"
        open(path, "w").write(text)
        open(f"{os.path.dirname(path)}/disk.vmdk", "wb").write(s.seeds["stream.vmdk"])
        s.add(name, path, words)
        return path
    folder("ovf-href-parent", ovf("../../canary/secret.raw"), "'..'")
    folder("ovf-href-absolute", ovf(s.secret), "absolute path")
    folder("ovf-href-file-scheme", ovf(f"file://{s.secret}"), "leads elsewhere")
    folder("ovf-href-http", ovf("http://127.0.0.1/x.vmdk"), "leads elsewhere")
    path = folder("ovf-href-link", ovf("link.vmdk"), "by a link")
    os.symlink(s.secret, os.path.dirname(path) + "/link.vmdk")
    path = folder("ovf-href-fifo", ovf("fifo"), "not a regular file")
    os.mkfifo(os.path.dirname(path) + "/fifo")
    folder("ovf-entity-bomb", ovf(doctype=BOMB, vm_name="&a11;"), "document type declaration")
    folder("ovf-external-entity", ovf(doctype=f"<!DOCTYPE x [<!ENTITY e SYSTEM 'file://{s.secret}'>]>", vm_name="&e;"),
           "document type declaration")
    folder("ovf-external-dtd", ovf(doctype=f"<!DOCTYPE x SYSTEM 'file://{s.secret}'>"), "document type declaration")
    folder("ovf-parameter-entity",
           ovf(doctype=f"<!DOCTYPE x [<!ENTITY % p SYSTEM 'file://{s.secret}'> %p;]>"),
           "document type declaration")
    folder("ovf-17-MiB", ovf() + "<!--" + "x" * (17 << 20) + "-->", "longer than 16384 KiB")
    folder("ovf-cut-off", ovf()[:700], "not well-formed XML")
    path = folder("manifest-leaves", ovf(), "'..'")
    open(f"{os.path.dirname(path)}/web01.mf", "w").write("SHA1(../../canary/secret.raw)= " + "0" * 40 + "\n")
    path = folder("manifest-wrong", ovf(), "not what its manifest says")
    open(f"{os.path.dirname(path)}/web01.mf", "w").write("SHA1(disk.vmdk)= " + "0" * 40 + "\n")
    s.file("xml-entity-bomb", "db.xml", DOMAIN.format(doctype=BOMB, name="&a11;", format="raw", path="/x"),
           "document type declaration")
    s.file("xml-external-entity", "db.xml",
           DOMAIN.format(doctype=f"<!DOCTYPE x [<!ENTITY e SYSTEM 'file://{s.secret}'>]>", name="&e;", format="raw",
                         path="/x"), "document type declaration")
    # A guest that writes an administrator's XML into its own disk.
    xml = DOMAIN.format(doctype="", name="db", format="raw", path=s.secret)
    s.file("xml-disguised-as-vmdk", "disk.vmdk", xml, "not a VMDK")
    s.file("xml-disguised-without-name", "disk", xml, "is no source")
    store = f"<backingStore type='file'><format type='raw'/><source file='{s.secret}'/>"
    s.file("xml-40-backing-stores", "db.xml", DOMAIN.format(doctype="", name="db", format="raw", path="/x").replace(
        "<target", store * 40 + "</backingStore>" * 40 + "<target"), "more than 32 backing files")
    path = f"{s.folder('xml-backing-unnamed')}/db.xml"
    image = f"{os.path.dirname(path)}/disk.qcow2"
    qemu_img("create", "-q", "-u", "-f", "qcow2", "-b", s.secret, "-F", "raw", image, str(SIZE))
    open(path, "w").write(DOMAIN.format(doctype="", name="db", format="qcow2", path=image))
    s.add("xml-backing-unnamed", path, "<backingStore>")
    path = f"{s.folder('xml-disk-fifo')}/db.xml"
    os.mkfifo(f"{os.path.dirname(path)}/fifo")
    open(path, "w").write(DOMAIN.format(doctype="", name="db", format="raw", path=f"{os.path.dirname(path)}/fifo"))
    s.add("xml-disk-fifo", path, "neither a file nor a block device")
    vmx = 'config.version = "8"\nvirtualHW.version = "19"\ndisplayName = "w"\nscsi0.present = "TRUE"\n' \
          'scsi0:0.present = "TRUE"\nscsi0:0.fileName = "{}"\n'
    s.file("vmx-disk-absolute", "web01.vmx", vmx.format(s.secret), "absolute path")
    s.file("vmx-disk-parent", "web01.vmx", vmx.format("../../canary/secret.raw"), "'..'")
    path = s.file("vmx-disk-link", "web01.vmx", vmx.format("disk.vmdk"), "by a link")
    os.symlink(s.secret, os.path.dirname(path) + "/disk.vmdk")


def archive_cases(s):
    disk = s.seeds["stream.vmdk"]

    def tar(name, words, *members, mangle=None, href="disk.vmdk", fmt=tarfile.GNU_FORMAT):
        path = f"{s.folder(name)}/web01.ova"
        with tarfile.open(path, "w", format=fmt) as out:
            for member, data in [("web01.ovf", ovf(href).encode()), ("disk.vmdk", disk), *members]:
                if not isinstance(member, tarfile.TarInfo):
                    member = tarfile.TarInfo(member)
                if member.isreg():
                    member.size = len(data)
                out.addfile(member, io.BytesIO(data) if member.isreg() else None)
        if mangle:
            mangle(path)
        s.add(name, path, words)
        return path

    def special(name, kind, target="", major=0, minor=0):
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.devmajor, info.devminor = kind, target, major, minor
        return info, b""
    tar("tar-symbolic-link", "a symbolic link", special("x.vmdk", tarfile.SYMTYPE, s.secret))
    tar("tar-hard-link", "a hard link", special("x.vmdk", tarfile.LNKTYPE, s.secret))
    tar("tar-character-device", "a device", special("x.vmdk", tarfile.CHRTYPE, major=1, minor=5))
    tar("tar-block-device", "a device", special("x.vmdk", tarfile.BLKTYPE, major=254))
    tar("tar-fifo", "no regular file", special("x.vmdk", tarfile.FIFOTYPE))
    tar("tar-absolute-name", "absolute path", (s.canary + "/written", b"x"))
    tar("tar-parent-name", "'..'", ("../../canary/written", b"x"))
    tar("tar-parent-folder", "'..'", special("../../canary/folder", tarfile.DIRTYPE))
    tar("tar-member-twice", "twice", ("disk.vmdk", b"x"))
    tar("tar-href-leaves", "'..'", href="../../canary/secret.raw")
    tar("tar-cut-off", "cut off", mangle=lambda path: os.truncate(path, 100 * 1024))

    def absurd(path):
        data = bytearray(open(path, "rb").read())
        at = data.index(b"disk.vmdk\0")
        data[at + 124:at + 136] = b"\x80" + bytes(3) + struct.pack(">Q", 1 << 62)
        data[at + 148:at + 156] = b" " * 8
        data[at + 148:at + 156] = b"%06o\0 " % sum(data[at:at + 512])
        open(path, "wb").write(data)
    tar("tar-member-4-EiB", "cut off", mangle=absurd)
    path = f"{s.folder('tar-100000-members')}/web01.ova"
    with tarfile.open(path, "w") as out:
        for n in range(100000):
            out.addfile(tarfile.TarInfo(f"m{n}"))
        info = tarfile.TarInfo("web01.ovf")
        out.addfile(info)
    s.add("tar-100000-members", path, "10000 members")
    backed = f"{s.top}/backed.qcow2"
    qemu_img("create", "-q", "-u", "-f", "qcow2", "-b", s.secret, "-F", "raw", backed, str(SIZE))
    text = f'# Disk DescriptorFile\ncreateType="monolithicFlat"\nRW {SIZE // 512} FLAT "flat.vmdk" 0\n'
    path = f"{s.folder('tar-disk-with-extents')}/web01.ova"
    with tarfile.open(path, "w") as out:
        for name, data in [("web01.ovf", ovf().encode()), ("disk.vmdk", text.encode()), ("flat.vmdk", bytes(SIZE))]:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
    s.add("tar-disk-with-extents", path, "stands alone")
    s.file("tar-compressed", "web01.ova", subprocess.run(["gzip", "-c"], input=bytes(10240), capture_output=True,
                                                          check=True).stdout, "gunzip")
    sparse = s.folder("tar-sparse-member")
    with open(f"{sparse}/disk.vmdk", "wb") as out:
        out.write(disk[:4096])
        out.truncate(1 << 30)
    open(f"{sparse}/web01.ovf", "w").write(ovf())
    subprocess.run(["tar", "--sparse", "-C", sparse, "-cf", f"{sparse}/web01.ova", "web01.ovf", "disk.vmdk"], check=True)
    s.add("tar-sparse-member", f"{sparse}/web01.ova", "sparse file")
    gz = s.folder("gzip-bomb")
    open(f"{gz}/web01.ovf", "w").write(ovf("disk.vmdk.gz"))
    with open(f"{gz}/disk.vmdk.gz", "wb") as out:
        subprocess.run("head -c 2G /dev/zero | gzip -1", shell=True, stdout=out, check=True)
    s.add("gzip-bomb", f"{gz}/web01.ovf", "more comes out of it")

    def zipped(name, words, extra_name=None, mode=None, data=b"x"):
        path = f"{s.folder(name)}/web01.ova"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
            out.writestr("web01.ovf", ovf())
            out.writestr("disk.vmdk", data if extra_name is None else disk)
            if extra_name:
                info = zipfile.ZipInfo(extra_name)
                info.external_attr = (mode or 0o100644) << 16
                info.create_system = 3
                out.writestr(info, s.secret)
        s.add(name, path, words)
        return path
    zipped("zip-link", "a link", "x.vmdk", 0o120777)
    zipped("zip-parent-name", "'..'", "../../canary/written")
    zipped("zip-absolute-name", "absolute path", s.canary + "/written")
    zipped("zip-bomb", "more comes out of it", data=bytes(512 << 20))
    path = zipped("zip-cut-off", "damaged or cut off", "y")
    os.truncate(path, os.path.getsize(path) - 30)


def make(top, canary):
    s = Set(top, canary)
    for cases in (qcow2_cases, vmdk_cases, other_image_cases, description_cases, archive_cases):
        cases(s)
    return s


def cuts(s, per_format):
    """(name, format, bytes): each format's image, cut at many lengths."""
    for name, fmt, _ in FORMATS:
        data = s.seeds[name]
        lengths = {0, 1, 511, 512, 513, 1024, 4096, len(data) - 1, len(data) - 512, len(data) - 1536}
        lengths |= {len(data) * i // per_format for i in range(per_format)}
        for length in sorted(n for n in lengths if 0 <= n < len(data)):
            yield f"{name} cut to {length} of {len(data)}", fmt, data[:length]


def fuzz(s, per_format, seed=20):
    """(name, format, bytes): headers and tables with a few bytes changed, the same ones every time."""
    for name, fmt, _ in FORMATS:
        rng = random.Random(f"{seed}-{name}")
        for n in range(per_format):
            data = bytearray(s.seeds[name])
            reach = rng.choice([128, 512, 4096, min(len(data), 1 << 20)])
            for _ in range(rng.choice([1, 2, 4, 16])):
                at = rng.randrange(reach)
                width = rng.choice([1, 2, 4, 8])
                value = rng.choice([bytes(width), b"\xff" * width, rng.randbytes(width),
                                    (b"\x7f" + b"\xff" * 7)[:width]])
                data[at:at + width] = value
            yield f"{name} changed {n}", fmt, bytes(data)
