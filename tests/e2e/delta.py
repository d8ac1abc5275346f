"""A node is killed, its volume written to at random, and the node comes back: it is sent what changed and no more, and holds every byte"""

import os
import random
import threading
import time

import nbd
from region import Region, until

BLOCK = 4096
WORKERS = 4
# The figure of a node that was away for ten minutes: SEAWALL_DELTA_SECONDS=600 SEAWALL_DELTA_SIZE_MIB=4096.
SECONDS = float(os.environ.get("SEAWALL_DELTA_SECONDS", "6"))
SIZE_MIB = int(os.environ.get("SEAWALL_DELTA_SIZE_MIB", "128"))
SEED = int(os.environ.get("SEAWALL_DELTA_SEED", "2011"))
# What is sent for each byte that changed, at most; everything around the blocks included.
OVERHEAD_MAX = 1.1


def stamp(block, version):
    return (block.to_bytes(8, "little") + version.to_bytes(8, "little")) * (BLOCK // 16)


class Worker(threading.Thread):
    """Writes blocks of its own part at random, and remembers what each holds and which it wrote."""

    def __init__(self, number, uri):
        super().__init__()
        self.rng = random.Random(SEED * 100 + number)
        count = SIZE_MIB * 256 // WORKERS
        self.blocks = range(number * count, (number + 1) * count)
        self.client = nbd.Client(uri, timeout=90)
        self.versions = {}
        self.written = set()
        self.count = 0
        self.stop = threading.Event()
        self.failure = None

    def fill(self):
        """Everything once, so that a whole copy would be seen."""
        for first in range(self.blocks.start, self.blocks.stop, 64):
            self.client.write(first * BLOCK, b"".join(stamp(block, 0) for block in range(first, first + 64)))

    def run(self):
        try:
            while not self.stop.is_set():
                block = self.rng.choice(self.blocks)
                self.versions[block] = self.versions.get(block, 0) + 1
                self.client.write(block * BLOCK, stamp(block, self.versions[block]))
                # When it ended: what was under way when somebody began to count counts too.
                self.written.add(block)
                self.count += 1
        except Exception as error:  # pylint: disable=broad-except
            self.failure = error

    def check(self):
        for first in range(self.blocks.start, self.blocks.stop, 64):
            data = self.client.read(first * BLOCK, 64 * BLOCK)
            for i in range(64):
                block = data[i * BLOCK : (i + 1) * BLOCK]
                assert block == stamp(first + i, self.versions.get(first + i, 0)), f"block {first + i} is not what was written last"


def taught(region):
    """What all nodes have sent to learners."""
    all_nodes = [region.run("node", "show", node["id"])["taught"] for node in region.entries()["zones"][0]["nodes"]]
    return {key: sum(node[key] for node in all_nodes) for key in all_nodes[0]}


def without(region, volume, node):
    """Waits until the shard goes on without this node."""
    until(f"{volume} goes on without {node}", 30, lambda: node not in [m["node"] for m in region.shard(volume)["members"]])


def lead(region, volume, node):
    """Makes this node primary: whoever leads is killed until it is its turn."""
    for _ in range(20):
        primary, _ = region.members(volume)
        if primary == node:
            return
        region.kill(primary)
        without(region, volume, primary)
        region.start(primary)
        region.whole(volume)
    raise AssertionError(f"{node} never led")


def main():
    # No spare node, and nobody is replaced: the one that was away comes back.
    with Region(nodes=3, remirror_after=86_400) as region:
        volume = region.create(f"{SIZE_MIB}MiB")
        uri = region.attach(volume)
        workers = [Worker(number, uri) for number in range(WORKERS)]
        for worker in workers:
            worker.fill()
        _, backups = region.members(volume)
        away = random.Random(SEED).choice(backups)
        for worker in workers:
            worker.start()
        until("every worker writes", 30, lambda: all(worker.count > 0 for worker in workers))

        for worker in workers:
            worker.written = set()
        region.kill(away)
        without(region, volume, away)
        time.sleep(SECONDS)
        region.start(away)
        began = time.monotonic()
        region.whole(volume, within=600)
        took = time.monotonic() - began
        for worker in workers:
            worker.stop.set()
        for worker in workers:
            worker.join(timeout=120)
            assert not worker.is_alive() and worker.failure is None, worker.failure
        changed = sum(len(worker.written) for worker in workers)
        sent = taught(region)
        ratio = sent["delta_bytes"] / (changed * BLOCK)
        print(
            f"{away} was away for {SECONDS:.0f} s: {sum(w.count for w in workers)} writes, {changed} of {SIZE_MIB * 256} blocks changed; "
            f"{sent['delta_blocks']} blocks sent in {sent['delta_bytes']} bytes, {ratio:.3f} for each that changed; whole {took:.1f} s after its start"
        )
        assert (sent["by_delta"], sent["in_full"], sent["full_blocks"]) == (1, 0, 0), sent
        assert 0 < ratio <= OVERHEAD_MAX, sent

        lead(region, volume, away)
        for worker in workers:
            worker.check()
        sent = taught(region)
        assert sent["full_blocks"] == 0, sent
        print(f"every block is right as {away} reads it, which leads now")


if __name__ == "__main__":
    main()
