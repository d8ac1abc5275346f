"""A kernel's own NBD client in a guest: ext4 and xfs are made, filled while a primary is killed, trimmed and checked clean"""

import os
import shutil
import socket
import subprocess
import time

import guest
from region import Region, need, until

FILES = 24
# Of files like these 24 fit ten times over.
SIZE = {"ext4": "256MiB", "xfs": "512MiB"}
FORMAT = {"ext4": "mkfs.ext4 -q -F", "xfs": "mkfs.xfs -q -f"}
CHECK = {"ext4": "e2fsck -f -n", "xfs": "xfs_repair -n"}
MODULES = "virtio_pci virtio_net crc32c_generic nbd ext4 xfs".split()
TOOLS = "nbd-client mkfs.ext4 e2fsck mkfs.xfs xfs_repair".split()

# One file system from its making to its check. The host kills a node at `MARK killing`; the files after that are written meanwhile.
STORY = """
fs={kind}; dev={device}
nbd-client 10.0.2.2 {port} $dev -N {volume} -b 4096 -C 2 || echo "LOST connection $fs"
echo "SIZE $fs $(blockdev --getsize64 $dev)"
{format} $dev || echo "LOST mkfs $fs"
mount -t $fs $dev /mnt || echo "LOST mount $fs"
echo "MARK killing $fs"
n=0
while [ $n -lt {files} ]; do
    dd if=/dev/urandom of=/mnt/file-$n bs=64k count=16 conv=fsync 2>/dev/null || echo "LOST write $fs $n"
    n=$((n + 1))
done
cd /mnt; md5sum file-* > sums; cd /; sync
echo "MARK written $fs"
rm /mnt/file-0 /mnt/file-1; sync
fstrim /mnt && echo "TRIMMED $fs"
umount /mnt || echo "LOST umount $fs"
{check} $dev > /run/check 2>&1 && echo "CLEAN $fs" || cat /run/check
mount -t $fs -o ro $dev /mnt
cd /mnt; head -n 100 sums > /run/sums; md5sum -c /run/sums > /run/found 2>/dev/null; cd /
good=0; while read -r line; do case "$line" in *": OK") good=$((good + 1));; esac; done < /run/found
echo "GOOD $fs $good"
umount /mnt
nbd-client -d $dev && echo "LEFT $fs"
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def offer_over_tcp(region):
    """The host listens on a TCP port of the loopback too."""
    port = free_port()
    (host,) = region.hosts()
    region.configure(host, nbd_listen=f"127.0.0.1:{port}")
    region.kill(host)
    until("the host is dead", 30, lambda: not os.path.exists(f"/proc/{region.pids()[host]}"))
    region.start(host)
    return port


def run(region, image, ramdisk, volumes):
    """What the guest said, the primary of each volume killed while its files are written."""
    said, killed = [], []
    with guest.Guest(image, ramdisk, os.path.join(region.top, "guest.log")) as running:
        for line in running.lines():
            words = line.split()
            if line.startswith("MARK killing"):
                primary, _ = region.members(volumes[words[2]])
                region.kill(primary)
                killed.append(primary)
            elif line.startswith("MARK written"):
                region.start(killed[-1])
                others = [volume for kind, volume in volumes.items() if kind != words[2]]
                others.append(volumes[words[2]])
                for volume in others:
                    region.whole(volume)
            if words and words[0] in ("SIZE", "LOST", "TRIMMED", "CLEAN", "GOOD", "LEFT", "MARK"):
                said.append(line)
        assert running.process.wait() == 0, "the guest did not end by itself"
    return said, killed


def main():
    if os.environ.get("SEAWALL_WITHOUT_GUEST"):
        print("left out: SEAWALL_WITHOUT_GUEST is set, since no guest can be run here")
        return
    need("qemu-system-x86_64", "busybox", "ldd", "nbdcopy")
    image, modules = guest.kernel()
    began = time.monotonic()
    with Region() as region:
        port = offer_over_tcp(region)
        volumes = {kind: region.create(size) for kind, size in SIZE.items()}
        for volume in volumes.values():
            region.attach(volume)
        stories = [
            STORY.format(
                kind=kind, device=f"/dev/nbd{n}", port=port, volume=volume, format=FORMAT[kind], check=CHECK[kind], files=FILES
            )
            for n, (kind, volume) in enumerate(volumes.items())
        ]
        ramdisk = os.path.join(region.top, "initramfs")
        guest.initramfs(ramdisk, "\n".join(stories), TOOLS, guest.modules(modules, MODULES))
        said, killed = run(region, image, ramdisk, volumes)
        wanted = []
        for kind, size in SIZE.items():
            bytes_ = int(size.removesuffix("MiB")) << 20
            wanted += [f"SIZE {kind} {bytes_}", f"MARK killing {kind}", f"MARK written {kind}", f"TRIMMED {kind}"]
            wanted += [f"CLEAN {kind}", f"GOOD {kind} {FILES - 2}", f"LEFT {kind}"]
        assert said == wanted, f"the guest said {said}; its console is {region.top}/guest.log"
        print(f"ext4 and xfs were made, written while {' and '.join(killed)} died, trimmed, checked and read back")
        # What lies in the volumes is clean also for tools that never saw the guest.
        for kind, volume in volumes.items():
            copy = os.path.join(region.top, f"{kind}.raw")
            subprocess.run(["nbdcopy", region.attach(volume), copy], check=True)
            check = CHECK[kind].split() + (["-f"] if kind == "xfs" else []) + [copy]
            tool = shutil.which(check[0], path=os.environ["PATH"] + ":/usr/sbin:/sbin")
            done = subprocess.run([tool, *check[1:]], capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{kind}: {done.stdout}{done.stderr}"
        print(f"and are clean from outside; {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
