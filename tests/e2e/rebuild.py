"""The zone's metadata deleted, rotten, and an old copy of themselves: it refuses to start or to act, and a rebuild from the nodes brings all volumes back with all data"""

import hashlib
import os
import shutil
import signal
import subprocess
import time

import nbd
from region import Region, binary, until

BLOCK = 65536
BLOCKS = 64


def stamp(volume, block, version):
    seed = hashlib.sha256(f"{volume} {block} {version}".encode()).digest()
    return seed * (BLOCK // len(seed))


class Volumes:
    """Volumes of which every block is known; the first is attached and written all the time."""

    def __init__(self, region, count):
        self.region = region
        self.ids = [region.create("16MiB") for _ in range(count)]
        self.version = {volume: 0 for volume in self.ids}
        for volume in self.ids:
            self.write(volume)
        for volume in self.ids[1:]:
            region.run("detach", volume)

    def write(self, volume):
        client = nbd.Client(self.region.attach(volume))
        self.version[volume] += 1
        for block in range(BLOCKS):
            client.write(block * BLOCK, stamp(volume, block, self.version[volume]))
        client.close()

    def verify(self, attached_only=False):
        for volume in self.ids[:1] if attached_only else self.ids:
            client = nbd.Client(self.region.attach(volume) if not attached_only else self.uri(volume))
            for block in range(BLOCKS):
                data = client.read(block * BLOCK, BLOCK)
                assert data == stamp(volume, block, self.version[volume]), f"{volume}: block {block}"
            client.close()

    def host_is_back(self):
        """A zone that has just started does not know its hosts before they come."""
        command = [binary(), "attach", self.ids[0], "--dir", self.region.dir]
        until("the host is back", 60, lambda: subprocess.run(command, capture_output=True, check=False).returncode == 0)

    def uri(self, volume):
        socket = os.path.join(self.region.entries()["hosts"][0]["sockets"], "nbd.sock")
        return f"nbd+unix:///{volume}?socket={socket}"


def refused(region, code, *words):
    command = [binary(), *words, "--dir", region.dir]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and code in done.stderr, f"{words}: {done.returncode}: {done.stdout}{done.stderr}"
    return done.stderr.strip()


def stop_zone(region):
    pid = region.pids()["zone"]
    region.kill("zone", signal.SIGTERM)
    until("the zone has stopped", 30, lambda: not os.path.exists(f"/proc/{pid}"))


def everybody_is_back(region):
    """A zone that has just started places nothing on nodes that have not come yet."""
    until("all four nodes are up", 60, lambda: region.run("zone", "status")["nodes_up"] == 4)


def rebuild(region, volumes, name):
    """The zone is stopped; it is rebuilt, started, and everything is there."""
    began = time.monotonic()
    done = region.run("zone", "rebuild")
    took = time.monotonic() - began
    assert sorted(v["id"] for v in done["volumes"]) == sorted(volumes.ids) and not done["left_out"], done
    region.start("zone")
    volumes.host_is_back()
    for volume in volumes.ids:
        region.whole(volume)
    volumes.verify()
    for volume in volumes.ids:
        volumes.write(volume)
    volumes.verify()
    everybody_is_back(region)
    status = region.run("zone", "status")
    assert not status["must_be_rebuilt"] and status["nodes_up"] == 4, status
    print(f"{name}: {len(done['volumes'])} volumes rebuilt in {took:.1f} s, all data there", flush=True)


def main():
    with Region() as region:
        volumes = Volumes(region, 4)
        meta = os.path.join(region.dir, "zone", "meta")

        # Deleted: it does not start as a new zone.
        stop_zone(region)
        os.unlink(meta)
        print(refused(region, "E0016", "dev", "start", "zone"), flush=True)
        # Without an authority an attached volume goes on.
        volumes.verify(attached_only=True)
        rebuild(region, volumes, "deleted")

        # Deleted with all that says that there was one: the nodes know.
        stop_zone(region)
        for name in ("meta", "meta.made"):
            os.unlink(os.path.join(region.dir, "zone", name))
        region.start("zone")
        until("a node was heard", 30, lambda: region.run("zone", "status")["must_be_rebuilt"])
        print(refused(region, "E0025", "volume", "create", "16MiB"), flush=True)
        volumes.verify(attached_only=True)
        stop_zone(region)
        rebuild(region, volumes, "empty")

        # Rotten.
        stop_zone(region)
        with open(meta, "r+b") as file:
            size = file.seek(0, os.SEEK_END)
            for at in range(0, size, 512):
                file.seek(at + 100)
                file.write(b"rot")
        refused(region, "E0016", "dev", "start", "zone")
        rebuild(region, volumes, "rotten")

        # An old copy of itself.
        stop_zone(region)
        shutil.copy(meta, meta + ".old")
        region.start("zone")
        volumes.host_is_back()
        everybody_is_back(region)
        region.run("detach", volumes.ids[0])
        gone = region.create("16MiB")
        volumes.ids.append(gone)
        volumes.version[gone] = 0
        volumes.write(gone)
        stop_zone(region)
        shutil.copy(meta + ".old", meta)
        region.start("zone")
        until("a node was heard", 30, lambda: region.run("zone", "status")["must_be_rebuilt"])
        print(refused(region, "E0025", "attach", volumes.ids[1]), flush=True)
        stop_zone(region)

        # A node that is missing is named; and written off, the others are enough.
        name = "node-4"
        pid = region.pids()[name]
        region.kill(name, signal.SIGTERM)
        until("the node has stopped", 30, lambda: not os.path.exists(f"/proc/{pid}"))
        line = refused(region, "E0026", "zone", "rebuild", "--within", "5")
        assert name in line, line
        done = region.run("zone", "rebuild", "--without", name)
        assert sorted(v["id"] for v in done["volumes"]) == sorted(volumes.ids), done
        region.start("zone")
        region.start(name)
        volumes.host_is_back()
        for volume in volumes.ids:
            region.whole(volume)
        volumes.verify()
        print(f"an old copy, and {name} written off: all {len(volumes.ids)} volumes there", flush=True)


if __name__ == "__main__":
    main()
