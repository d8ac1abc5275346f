"""A small guest for the scripts beside this file: Debian's kernel under QEMU's own translation, tools of this machine, and a script as its init."""

import glob
import os
import re
import shutil
import subprocess
import sys

from region import SKIPPED

KERNEL = "linux-image-cloud-amd64"
# Where the kernel's package is unpacked, and kept.
CACHE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "target", "guest")
# Names that busybox is called by.
APPLETS = "sh mount umount insmod ip dd md5sum sync mkdir cat echo ls rm poweroff fstrim blockdev sleep head cmp".split()


def skip(needs):
    print(f"skipped: needs {needs}")
    sys.exit(SKIPPED)


def kernel():
    """The kernel and the folder of its modules; fetched if they are not there yet."""
    if not glob.glob(os.path.join(CACHE, "boot", "vmlinuz-*")):
        fetch()
    images = sorted(glob.glob(os.path.join(CACHE, "boot", "vmlinuz-*")))
    if not images:
        skip(f"the package {KERNEL} of Debian")
    return images[-1], os.path.join(CACHE, "lib", "modules", os.path.basename(images[-1]).removeprefix("vmlinuz-"))


def fetch():
    """Unpacks the kernel's package, without installing it."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return
    os.makedirs(CACHE, exist_ok=True)

    def named_now():
        found = subprocess.run(["apt-cache", "depends", KERNEL], capture_output=True, text=True, check=False).stdout
        return re.search(r"Depends: (linux-image-\S+)", found)

    named = named_now()
    if named is None and os.geteuid() == 0:
        # A machine that has never asked which packages there are.
        subprocess.run(["apt-get", "update", "-qq"], check=False)
        named = named_now()
    if named and subprocess.run(["apt-get", "download", "-qq", named.group(1)], cwd=CACHE, check=False).returncode == 0:
        for package in glob.glob(os.path.join(CACHE, "linux-image-*.deb")):
            subprocess.run(["dpkg-deb", "-x", package, CACHE], check=True)
            os.unlink(package)


def modules(folder, wanted):
    """Paths of these modules and of all that they depend on, in an order in which they can be loaded. What the kernel has built in has no file."""
    paths = {}
    for path in glob.glob(os.path.join(folder, "kernel", "**", "*.ko"), recursive=True):
        paths[os.path.basename(path).removesuffix(".ko").replace("-", "_")] = path
    order = []

    def add(name):
        path = paths.get(name.replace("-", "_"))
        if path is None or path in order:
            return
        with open(path, "rb") as file:
            depends = re.search(rb"\0depends=([^\0]*)\0", file.read())
        for other in (depends.group(1).decode().split(",") if depends else []):
            add(other)
        order.append(path)

    for name in wanted:
        add(name)
    return order


def libraries(program):
    """What the dynamic loader would bring along, itself included."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return set(re.findall(r"(/\S+) \(0x", listed))


class Archive:
    """An initramfs, as the kernel reads it: one file after the other, each with a header of text (cpio's newc)."""

    def __init__(self, path):
        self.file = open(path, "wb")
        self.made = set()
        self.number = 0

    def entry(self, name, mode, data=b""):
        self.number += 1
        fields = [self.number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        self.file.write(head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4))

    def folder(self, name):
        if name and name not in self.made:
            self.folder(os.path.dirname(name))
            self.made.add(name)
            self.entry(name, 0o040755)

    def add(self, name, data, mode=0o100755):
        self.folder(os.path.dirname(name))
        if name not in self.made:
            self.made.add(name)
            self.entry(name, mode, data)

    def copy(self, source, name):
        with open(os.path.realpath(source), "rb") as file:
            self.add(name, file.read())

    def link(self, name, target):
        self.add(name, target.encode(), 0o120777)

    def close(self):
        self.entry("TRAILER!!!", 0)
        self.file.close()


def initramfs(path, init, programs, module_paths):
    """Writes one whose init is this script, once the modules are loaded and the network is up."""
    archive = Archive(path)
    for folder in ("proc", "sys", "dev", "mnt", "tmp", "run", "var/run"):
        archive.folder(folder)
    archive.copy(shutil.which("busybox"), "bin/busybox")
    for applet in APPLETS:
        archive.link(f"bin/{applet}", "busybox")
    for program in programs:
        found = shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
        if found is None:
            skip(program)
        archive.copy(found, f"bin/{program}")
        for library in libraries(found):
            archive.copy(library, library.lstrip("/"))
    loads = []
    for module in module_paths:
        archive.copy(module, f"modules/{os.path.basename(module)}")
        loads.append(f"insmod /modules/{os.path.basename(module)} || echo 'LOST {os.path.basename(module)}'")
    prologue = [
        "#!/bin/sh",
        "export PATH=/bin",
        "mount -t proc none /proc; mount -t sysfs none /sys; mount -t devtmpfs none /dev",
        *loads,
        "ip link set lo up; ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0; ip route add default via 10.0.2.2",
    ]
    archive.add("init", ("\n".join(prologue) + "\n" + init + "\npoweroff -f\n").encode())
    archive.close()


class Guest:
    """A running one. What its console says comes line by line."""

    def __init__(self, image, ramdisk, log):
        self.log = log
        command = ["qemu-system-x86_64", "-accel", "tcg", "-m", "768", "-smp", "1", "-no-reboot", "-nodefaults"]
        command += ["-display", "none", "-serial", "stdio", "-kernel", image, "-initrd", ramdisk]
        # The guest reaches this machine's loopback as 10.0.2.2.
        command += ["-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n,romfile="]
        command += ["-append", "console=ttyS0 panic=-1 loglevel=4 mitigations=off"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def lines(self):
        """Until it ends. All of it is kept in the log."""
        with open(self.log, "w", encoding="utf-8") as log:
            for line in self.process.stdout:
                log.write(line)
                log.flush()
                yield line.strip()
