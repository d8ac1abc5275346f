"""Half of a zone's nodes is cut off and comes back, under load: nobody is replaced, everybody rejoins by what changed, and no I/O fails"""

import itertools
import os
import random
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "torture"))

# pylint: disable=wrong-import-position
import nbd
from cluster import Cluster
from delta import BLOCK, OVERHEAD_MAX, stamp, taught
from links import enter
from region import until

NODES = 6
VOLUMES = 8
SIZE_MIB = 16
BLOCKS = SIZE_MIB * 256
SECONDS = float(os.environ.get("SEAWALL_HALF_CUT_SECONDS", "12"))
SEED = int(os.environ.get("SEAWALL_HALF_CUT_SEED", "2011"))
# Longer than the cut: of whom is away for so long the zone says that it failed, and a shard with one copy left is given another at once.
FAILED_AFTER_S = 60
# Between two I/Os of a client: so many at once would otherwise measure the machine.
PAUSE_S = 0.002


class Client(threading.Thread):
    """Writes and reads blocks of its volume at random, one at a time, and knows what each must hold."""

    def __init__(self, number, cluster):
        super().__init__()
        self.rng = random.Random(SEED * 100 + number)
        self.volume = cluster.create(f"{SIZE_MIB}MiB")
        self.members = {member["node"] for member in cluster.shard(self.volume)["members"]}
        self.client = nbd.Client(cluster.attach(self.volume), timeout=90)
        self.versions = [0] * BLOCKS
        self.changed = set()
        self.count = 0
        self.slowest = 0.0
        self.stop = threading.Event()
        self.failure = None

    def fill(self):
        """Everything once, so that a whole copy would be seen."""
        for first in range(0, BLOCKS, 64):
            self.client.write(first * BLOCK, b"".join(stamp(block, 0) for block in range(first, first + 64)))

    def run(self):
        try:
            while not self.stop.wait(PAUSE_S):
                began = time.monotonic()
                self.step(self.rng.randrange(BLOCKS))
                self.slowest = max(self.slowest, time.monotonic() - began)
                self.count += 1
        except Exception as error:  # pylint: disable=broad-except
            self.failure = error

    def step(self, block):
        if self.rng.random() < 0.3:
            self.check(block, 1)
            return
        self.versions[block] += 1
        self.client.write(block * BLOCK, stamp(block, self.versions[block]))
        # When it ended: what was under way when somebody began to count counts too.
        self.changed.add(block)

    def check(self, first, count):
        data = self.client.read(first * BLOCK, count * BLOCK)
        for i in range(count):
            right = stamp(first + i, self.versions[first + i])
            assert data[i * BLOCK : (i + 1) * BLOCK] == right, f"{self.volume}: block {first + i} is not what was written last"


def halves(clients, nodes, rng):
    """Which half to cut off: one that leaves as many volumes with most of their copies on one side as on the other, or near to it."""

    def skew(far):
        lost = [len(client.members & set(far)) for client in clients]
        return abs(lost.count(1) - lost.count(2))

    choices = list(itertools.combinations(nodes, len(nodes) // 2))
    rng.shuffle(choices)
    far = list(min(choices, key=skew))
    return [node for node in nodes if node not in far], far


def cut(cluster, near, far):
    """Neither half hears the other, and the far one hears nobody else either; or, where links cannot be cut, it stands still. How to undo it."""
    if cluster.links is None:
        for name in far:
            cluster.kill(name, signal.SIGSTOP)
        return lambda: [cluster.kill(name, signal.SIGCONT) for name in far]
    here = [*near, "zone", cluster.host()]
    for name in here:
        cluster.links.deafen(name, far)
    for name in far:
        cluster.links.deafen(name, here)
    return cluster.links.heal


def moves(clients):
    """Waits until each of them had an answer since it was asked."""
    before = [client.count for client in clients]

    def moved():
        for client in clients:
            assert client.failure is None, client.failure
        return all(client.count > count for client, count in zip(clients, before))

    until("every client's I/O moves", 60, moved)


def told(cluster, least):
    """What was sent to learners, when the last report of everybody is in."""
    until(f"{least} have rejoined by what changed", 30, lambda: taught(cluster)["by_delta"] >= least)
    return taught(cluster)


def main():
    linked = enter()
    rng = random.Random(SEED)
    binary, zone = os.path.abspath(sys.argv[1]), {"failed_after_s": FAILED_AFTER_S}
    with Cluster(binary, nodes=NODES, node_size="1GiB", linked=linked, remirror_after=3600, zone=zone) as cluster:
        clients = [Client(number, cluster) for number in range(VOLUMES)]
        for client in clients:
            client.fill()
        for client in clients:
            client.start()
        moves(clients)
        near, far = halves(clients, cluster.nodes(), rng)
        lost = [len(client.members & set(far)) for client in clients]
        before = taught(cluster)
        for client in clients:
            client.changed = set()

        began = time.monotonic()
        undo = cut(cluster, near, far)
        go_on = [client for client, count in zip(clients, lost) if count < 2]
        moves(go_on)
        for client, count in zip(clients, lost):
            if count == 1:
                until(f"{client.volume} goes on with two copies", 30, lambda c=client: len(cluster.shard(c.volume)["members"]) == 2)
        until("the cut has held for its time", SECONDS + 1, lambda: time.monotonic() - began >= SECONDS)
        undo()
        healed = time.monotonic()
        moves(clients)
        moved = time.monotonic() - healed
        for client in clients:
            cluster.whole(client.volume)
        took = time.monotonic() - healed
        for client in clients:
            client.stop.set()
        for client in clients:
            client.join(timeout=120)
            assert not client.is_alive() and client.failure is None, client.failure

        sent = {key: value - before[key] for key, value in told(cluster, before["by_delta"] + lost.count(1)).items()}
        changed = sum(len(client.changed) for client in clients)
        print(
            f"{len(far)} of {NODES} nodes {'cut off' if linked else 'stopped'} for {healed - began:.1f} s, with one copy of {lost.count(1)} volumes, two of "
            f"{lost.count(2)}, all of {lost.count(3)}: {sum(c.count for c in clients)} I/Os, the slowest {max(c.slowest for c in clients):.1f} s, of volumes with most "
            f"copies on the near side {max(c.slowest for c in go_on):.1f} s"
        )
        print(
            f"{changed} of {VOLUMES * BLOCKS} blocks changed; {sent['by_delta']} rejoined by {sent['delta_blocks']} blocks in {sent['delta_bytes']} bytes, "
            f"{sent['delta_bytes'] / (changed * BLOCK):.3f} for each that changed; every client moves {moved:.1f} s after, all whole {took:.1f} s after"
        )
        assert (sent["in_full"], sent["full_blocks"]) == (0, 0), sent
        assert 0 < sent["delta_bytes"] <= OVERHEAD_MAX * changed * BLOCK, sent
        for client in clients:
            members = {member["node"] for member in cluster.shard(client.volume)["members"]}
            assert members == client.members, f"{client.volume} was on {client.members}, and is on {members}"
            for first in range(0, BLOCKS, 64):
                client.check(first, 64)
        print("nobody was filled in full, nobody was replaced, every block is right")


if __name__ == "__main__":
    main()
