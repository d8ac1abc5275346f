"""Half a minute of seeded kills and freezes of nodes and authority under a verifying load: no I/O fails, no byte is wrong"""

import hashlib
import os
import random
import signal
import threading
import time

import nbd
from region import Region, until

BLOCK = 4096
WORKERS = 4
BLOCKS_EACH = 1024
SECONDS = float(os.environ.get("SEAWALL_STORM_SECONDS", "30"))
SEED = int(os.environ.get("SEAWALL_STORM_SEED", "2011"))


def stamp(block, version):
    if version == 0:
        return bytes(BLOCK)
    seed = hashlib.sha256(f"{block} {version}".encode()).digest()
    return (seed * (BLOCK // len(seed)))[:BLOCK]


class Worker(threading.Thread):
    """Reads and writes its own blocks at random, and knows what each must hold."""

    def __init__(self, number, uri):
        super().__init__()
        self.rng = random.Random(SEED * 100 + number)
        self.first = number * BLOCKS_EACH
        self.uri = uri
        self.versions = [0] * BLOCKS_EACH
        self.stop = threading.Event()
        self.failure = None
        self.count = 0
        self.slowest = 0.0

    def run(self):
        try:
            client = nbd.Client(self.uri, timeout=90)
            while not self.stop.is_set():
                began = time.monotonic()
                self.step(client)
                self.slowest = max(self.slowest, time.monotonic() - began)
                self.count += 1
                self.stop.wait(0.002)
            for at in range(BLOCKS_EACH):
                self.check(client, at, 1)
            client.close()
        except Exception as error:  # pylint: disable=broad-except
            self.failure = error

    def step(self, client):
        count = self.rng.randint(1, 8)
        at = self.rng.randrange(BLOCKS_EACH - count + 1)
        if self.rng.random() < 0.5:
            self.check(client, at, count)
            return
        for i in range(at, at + count):
            self.versions[i] += 1
        data = b"".join(stamp(self.first + i, self.versions[i]) for i in range(at, at + count))
        client.write((self.first + at) * BLOCK, data)

    def check(self, client, at, count):
        data = client.read((self.first + at) * BLOCK, count * BLOCK)
        for i in range(count):
            block = data[i * BLOCK : (i + 1) * BLOCK]
            version = self.versions[at + i]
            assert block == stamp(self.first + at + i, version), (
                f"block {self.first + at + i} does not hold version {version}: {block[:16].hex()}"
            )


def fault(rng, region, nodes):
    """One fault, healed before it returns; what it was."""
    kinds = ["kill-node", "freeze-node", "kill-zone", "freeze-zone", "kill-node-and-zone", "kill-two", "freeze-two", "kill-all"]
    kind = rng.choices(kinds, weights=[4, 2, 1, 1, 2, 1, 1, 1])[0]
    span = rng.uniform(0.05, 4.0)
    victims = rng.sample(nodes, {"zone": 0, "two": 2, "all": len(nodes)}.get(kind.split("-")[1], 1))
    if kind.endswith("zone"):
        victims.append("zone")
    for victim in victims:
        region.kill(victim, signal.SIGSTOP if kind.startswith("freeze") else signal.SIGKILL)
    time.sleep(span)
    rng.shuffle(victims)
    for victim in victims:
        if kind.startswith("freeze"):
            region.kill(victim, signal.SIGCONT)
        else:
            region.start(victim)
    return f"{kind} {' '.join(victims)} for {span:.1f} s"


def main():
    print(f"seed {SEED} (SEAWALL_STORM_SEED={SEED} repeats the faults, not their timing)")
    rng = random.Random(SEED)
    with Region(remirror_after=2) as region:
        nodes = [node["id"] for node in region.entries()["zones"][0]["nodes"]]
        volume = region.create("64MiB")
        uri = region.attach(volume)
        workers = [Worker(n, uri) for n in range(WORKERS)]
        for worker in workers:
            worker.start()
        end = time.monotonic() + SECONDS
        faults = 0
        while time.monotonic() < end:
            print(" ", fault(rng, region, nodes))
            faults += 1
            before = [worker.count for worker in workers]

            def moved(before=before):
                for worker in workers:
                    assert worker.failure is None, worker.failure
                return all(worker.count > count for worker, count in zip(workers, before))

            until("every client's I/O moves again", 60, moved)
            # Sometimes before the copies are all there again: the next fault may then leave too few to go on until one is back.
            if rng.random() < 0.5:
                region.whole(volume)
        region.whole(volume)
        for worker in workers:
            worker.stop.set()
        for worker in workers:
            worker.join(timeout=120)
            assert not worker.is_alive() and worker.failure is None, worker.failure
        total, slowest = sum(w.count for w in workers), max(w.slowest for w in workers)
        print(f"{faults} faults, {total} I/Os, none failed, every byte right; the slowest took {slowest:.1f} s")


if __name__ == "__main__":
    main()
