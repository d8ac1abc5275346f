"""Disks deleted and formatted under volumes in use: the node comes back empty, as another member, and every copy is made anew from the others"""

import hashlib
import os
import signal
import subprocess

import nbd
from region import Region, binary, until

BLOCK = 65536
BLOCKS = 512


def stamp(block, version):
    seed = hashlib.sha256(f"{block} {version}".encode()).digest()
    return seed * (BLOCK // len(seed))


class Volume:
    """A volume of which every block is known."""

    def __init__(self, region):
        self.region, self.version = region, 0
        self.id = region.create("32MiB")
        self.uri = region.attach(self.id)
        self.client = nbd.Client(self.uri)

    def write(self):
        self.version += 1
        for block in range(BLOCKS):
            self.client.write(block * BLOCK, stamp(block, self.version))

    def verify(self):
        for block in range(BLOCKS):
            assert self.client.read(block * BLOCK, BLOCK) == stamp(block, self.version), f"block {block}"


def stores(region):
    """The disk of each node, as the zone knows it."""
    return {node["id"]: node["store"] for node in region.run("node", "list")}


def lose(region, volume, name, make_new):
    """The node stops, its disk is gone, it starts again; meanwhile and after it everything is there."""
    before = stores(region)[name]
    role = "primary" if region.members(volume.id)[0] == name else "backup"
    region.kill(name, signal.SIGTERM)
    volume.verify()
    make_new(name)
    region.start(name)
    after = stores(region)[name]
    assert after != before, "the node has its old disk"
    shown = region.shard(volume.id)
    assert all(m["store"] != before or name in shown["lost"] for m in shown["members"]), shown
    volume.write()
    region.whole(volume.id)
    volume.verify()
    shown = region.shard(volume.id)
    assert not shown["lost"] and all(m["store"] == stores(region)[m["node"]] for m in shown["members"]), shown
    print(f"{name} ({role}): disk {before} gone, {after} in its place, {volume.id} whole again", flush=True)


def deleted(region):
    return lambda name: os.unlink(os.path.join(region.dir, name, "store"))


def formatted(region):
    """As an operator does it: by the name of what is given up."""

    def make_new(name):
        config = os.path.join(region.dir, name, "config.toml")
        command = [binary(), "node", "format", "--config", config, "--json"]
        # The process was asked to stop; its lock goes with it.
        until("the disk is free", 30, lambda: "E0024" in subprocess.run(command, capture_output=True, text=True).stderr)
        wrong = subprocess.run([*command, "--erase", "01234567-89ab-cdef-0123-456789abcdef"], capture_output=True, text=True)
        assert wrong.returncode == 1 and "E0024" in wrong.stderr, wrong
        done = subprocess.run([*command, "--erase", stores(region)[name]], capture_output=True, text=True)
        assert done.returncode == 0, done

    return make_new


def main():
    with Region(remirror_after=2) as region:
        volume = Volume(region)
        volume.write()
        region.whole(volume.id)
        primary, backups = region.members(volume.id)
        lose(region, volume, backups[0], deleted(region))
        lose(region, volume, region.members(volume.id)[0], deleted(region))
        # A blank disk is refused now, so that only a format lets a node come back empty.
        region.configure("node-", format_blank=False)
        lose(region, volume, region.members(volume.id)[1][0], formatted(region))
        lose(region, volume, region.members(volume.id)[0], formatted(region))
        print(f"{volume.version} versions of {BLOCKS} blocks verified over four disks lost; was led by {primary} at first", flush=True)


if __name__ == "__main__":
    main()
