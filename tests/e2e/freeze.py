"""A volume of three shards frozen again and again under a writer of which each write depends on the last: every point is a moment of all shards at once"""

import os
import random
import subprocess
import threading
import time
import uuid

import nbd
from region import Region, binary, until

BLOCK = 4096
SHARD = 4 << 20
SHARDS = 3
# Places in each shard: they are written over and over.
SLOTS = SHARD // BLOCK
POINTS = 8


def place(number):
    """Where a number is written: in the shards by turns."""
    return number % SHARDS, number // SHARDS % SLOTS


def block(number):
    return number.to_bytes(8, "little") * (BLOCK // 8)


class Writer(threading.Thread):
    """Writes 1, 2, 3 and so on, each when the one before was acknowledged: so in every moment of the volume, whoever is there has all below it."""

    def __init__(self, uri):
        super().__init__(daemon=True)
        self.client = nbd.Client(uri)
        self.acknowledged, self.longest, self.failure = 0, 0.0, None
        self.stopped = threading.Event()
        self.start()

    def run(self):
        try:
            while not self.stopped.is_set():
                number = self.acknowledged + 1
                shard, slot = place(number)
                began = time.monotonic()
                self.client.write(shard * SHARD + slot * BLOCK, block(number))
                self.longest = max(self.longest, time.monotonic() - began)
                self.acknowledged = number
        except Exception as error:  # pylint: disable=broad-except
            self.failure = error

    def goes_on(self, count=50):
        """Waits until so many more are written."""
        goal = self.acknowledged + count

        def look():
            assert self.failure is None, self.failure
            return self.acknowledged >= goal

        until(f"{count} more numbers are written", 60, look)


class Point:
    """A frozen point: what must be in it, and who led each shard when it was made."""

    def __init__(self, region, volume, writer):
        self.refused = 0
        request = str(uuid.uuid4())

        def frozen():
            # All this is acknowledged before the command begins.
            self.least = writer.acknowledged
            made = region.attempt("volume", "freeze", volume, "--request", request)
            # At most one more is under way.
            self.most = writer.acknowledged + 1
            self.refused += made is None
            return made

        made = until(f"{volume} is frozen", 60, frozen)
        assert made["condition"] == "made" and made["request"] == request, made
        self.id = made["point"]
        assert region.run("volume", "freeze", volume, "--request", request) == made, "the same request is the same point"
        self.primaries = primaries(region, volume)


def primaries(region, volume):
    return [shard["primary"] for shard in region.run("volume", "show", volume)["shards"]]


def extract(region, node, volume, index, point):
    """The blocks of a shard at a point, as the store of a node has them; everything is stopped."""
    path = os.path.join(region.top, f"{point}-{index}.img")
    store = os.path.join(region.dir, node, "store")
    command = [binary(), "inspect", "store", store, "--extract", f"{volume}/{index}", path, "--point", point, "--json"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{point} of {volume}/{index} on {node}: {done.stderr}"
    with open(path, "rb") as file:
        data = file.read()
    os.unlink(path)
    assert len(data) == SHARD, len(data)
    return data


def numbers(shards):
    """Which number lies at each place; 0 where none was written."""
    found = {}
    for index, data in enumerate(shards):
        for slot in range(SLOTS):
            there = data[slot * BLOCK : (slot + 1) * BLOCK]
            number = int.from_bytes(there[:8], "little")
            assert there == block(number), f"block {slot} of shard {index} is torn"
            found[index, slot] = number
    return found


def check(point, shards):
    """The numbers of the point are all from 1 to some n, or what is left of them where later ones were written over them."""
    found = numbers(shards)
    last = max(found.values())
    assert point.least <= last, f"{point.least} was acknowledged before {point.id} was asked for, which ends with {last}"
    assert last <= point.most, f"{point.id} ends with {last}, and only {point.most} was begun when it was there"
    expected = dict.fromkeys(found, 0)
    for number in range(1, last + 1):
        expected[place(number)] = number
    wrong = {at: (found[at], expected[at]) for at in found if found[at] != expected[at]}
    assert not wrong, f"{point.id} has {last}, and lacks what was acknowledged before (place: found, expected): {dict(list(wrong.items())[:5])}"
    return last


def main():
    rng = random.Random(1)
    with Region("--shard-size", "4MiB", nodes=4) as region:
        volume = region.create("12MiB")
        writer = Writer(region.attach(volume))
        points = []
        for _ in range(POINTS):
            writer.goes_on(rng.randrange(50, 2000))
            points.append(Point(region, volume, writer))
        # One goes, while it is written on.
        gone = points.pop(2)
        region.run("volume", "thaw", volume, gone.id)
        writer.goes_on()
        ids = [point.id for point in points]

        def shown():
            return [p["point"] for p in region.run("volume", "show", volume)["points"]] == ids

        until(f"{gone.id}, and what was not made, is dropped and the others are there", 60, shown)
        assert gone.id in region.refused("E0001", "volume", "thaw", volume, gone.id)
        writer.goes_on()
        writer.stopped.set()
        writer.join(timeout=60)
        assert not writer.is_alive() and writer.failure is None, writer.failure
        assert len(set(primaries(region, volume))) > 1, "one node leads all shards, so nothing was shown"
        region.stop_all()
        ends = [check(p, [extract(region, n, volume, i, p.id) for i, n in enumerate(p.primaries)]) for p in points]
        assert ends == sorted(set(ends)), ends
        refused = sum(point.refused for point in [*points, gone])
        print(
            f"{len(points)} points of {SHARDS} shards, each a moment of all of them, at {ends} of {writer.acknowledged} writes; "
            f"{refused} times it was tried again; the longest write took {writer.longest * 1000:.0f} ms"
        )


if __name__ == "__main__":
    main()
