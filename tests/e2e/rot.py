"""Bytes flipped on disks, stopped and running, in payload, headers, checkpoint and superblocks: all is found, mended or named, and every read is right"""

import json
import os
import random
import signal
import struct
import subprocess

import nbd
from region import Region, binary, until

BLOCK = 4096
BLOCKS = 8 << 10
FLIPS = 250
SCRUB_PERIOD_S = 2
# So many batches may be in flight: what is so far from the end of the log, a later header proves durable.
IN_FLIGHT_MAX = 64


def stamp(block, version):
    """A block that says in every sixteen bytes which block and version it is."""
    return (block.to_bytes(8, "little") + version.to_bytes(8, "little")) * (BLOCK // 16)


class Volume:
    """What a volume holds. No version of a block is written twice, so that where it lies on a disk can be found by its bytes."""

    def __init__(self, region, chance):
        self.region, self.chance = region, chance
        self.id = region.create(f"{BLOCKS * BLOCK >> 20}MiB")
        self.versions = [0] * BLOCKS
        self.fill()

    def stamps(self, first, count):
        return b"".join(stamp(b, self.versions[b]) for b in range(first, first + count))

    def fill(self):
        """Writes everything again."""
        self.versions = [version + 1 for version in self.versions]
        client = nbd.Client(self.region.attach(self.id))
        for first in range(0, BLOCKS, 64):
            client.write(first * BLOCK, self.stamps(first, 64))
        client.close()

    def write(self, blocks):
        """Writes blocks again, one by one."""
        client = nbd.Client(self.region.attach(self.id))
        for block in blocks:
            self.versions[block] += 1
            client.write(block * BLOCK, stamp(block, self.versions[block]))
        client.close()

    def check(self):
        """Reads everything through the front door."""
        client = nbd.Client(self.region.attach(self.id))
        for first in range(0, BLOCKS, 64):
            assert client.read(first * BLOCK, 64 * BLOCK) == self.stamps(first, 64), f"blocks {first} to {first + 63} are not what was written"
        client.close()


class Disk:
    """The disk of a node: where what lies on it, and bytes of it flipped. A byte is flipped once at most, so that none is flipped back."""

    def __init__(self, region, node, chance):
        self.region, self.node, self.chance = region, node, chance
        self.path = os.path.join(region.dir, node, "store")
        self.flipped = set()

    def inspected(self):
        """What `seawall inspect store` says of it; it ends with 1 when something is wrong with it. Of a copy: the disk may be in use."""
        copy = os.path.join(self.region.top, "copy")
        subprocess.run(["cp", "--sparse=always", self.path, copy], check=True, timeout=120)
        command = [binary(), "inspect", "store", copy, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        os.unlink(copy)
        assert done.stdout, done.stderr
        return json.loads(done.stdout.splitlines()[0]), done.returncode

    def flip(self, places):
        """One bit of the byte at each of these places."""
        assert len(set(places)) == len(places) and not self.flipped.intersection(places)
        self.flipped.update(places)
        with open(self.path, "r+b", buffering=0) as disk:
            for place in places:
                byte = os.pread(disk.fileno(), 1, place)
                os.pwrite(disk.fileno(), bytes([byte[0] ^ 0x10]), place)
            os.fsync(disk.fileno())
            os.posix_fadvise(disk.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def within(self, ranges):
        """So many different bytes of these ranges, none of which was flipped before."""
        chosen = set()
        while len(chosen) < FLIPS:
            begin, end = self.chance.choice(ranges)
            chosen.add(self.chance.randrange(begin, end))
            chosen -= self.flipped
        return sorted(chosen)

    def blocks_of(self, volume):
        """Where each block of the volume lies, as it is now. Copies that nobody names may lie beside it: then it is left out."""
        found, twice = {}, set()
        with open(self.path, "rb", buffering=0) as disk:
            os.posix_fadvise(disk.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            end, at = os.fstat(disk.fileno()).st_size, 2 * BLOCK
            while at < end:
                try:
                    at = max(at, os.lseek(disk.fileno(), at, os.SEEK_DATA) // BLOCK * BLOCK)
                except OSError:
                    break  # Nothing was ever written behind here.
                chunk = os.pread(disk.fileno(), 256 * BLOCK, at)
                for skip in range(0, len(chunk), BLOCK):
                    block, version = struct.unpack_from("<QQ", chunk, skip)
                    if block < BLOCKS and version == volume.versions[block] and chunk[skip : skip + BLOCK] == stamp(block, version):
                        if block in found:
                            twice.add(block)
                        found[block] = at + skip
                at += len(chunk)
        return {block: at for block, at in found.items() if block not in twice}

    def payload(self, volume, batches=()):
        """One byte of each of so many blocks of the volume, none of which lies in these batches."""
        ends = [(batch["at"], batch["at"] + batch["blocks"] * BLOCK) for batch in batches]
        old = [at for at in self.blocks_of(volume).values() if not any(begin <= at < end for begin, end in ends)]
        return [at + self.chance.randrange(BLOCK) for at in self.chance.sample(old, FLIPS)]


def rot(region, node):
    return region.run("node", "show", node)["rot"]


def quiet(region, node, **expected):
    """The node says that it found what is expected, mended as much, and nothing more in two whole passes of the scrub."""

    def reached():
        now = rot(region, node)
        return all(now[key] >= value for key, value in expected.items())

    until(f"{node} has found {expected}: {rot(region, node)}", 60, reached)
    passes, since_ms = 0, 0
    while passes < 3:
        now = rot(region, node)
        ended_ms = now["scrubbed_ms"] or 0
        passes, since_ms = passes + (ended_ms < since_ms), ended_ms
    wrong = {key: now[key] for key, value in expected.items() if now[key] != value}
    assert not wrong and now["lost"] == 0, f"{node} was to find {expected}, and found {now}"


def sound_now(disk):
    """What is on a disk with which nothing is wrong; none of another."""
    seen, status = disk.inspected()
    return seen if status == 0 else None


def first_copies(seen):
    """Where the first copy of each piece of the checkpoint begins and ends."""
    return [(piece["at"][0], piece["at"][0] + piece["blocks"] * BLOCK) for piece in seen["checkpoint"]["pieces"]]


def members(region, volume):
    shard = region.shard(volume.id)
    return sorted(member["node"] for member in shard["members"]), shard["epoch"]


def stopped_payload(region, volume, disk):
    """Payload, one copy of every piece of the checkpoint, one superblock: the node comes back with all it has, and mends it."""
    region.stop_all()
    seen, _ = disk.inspected()
    pieces = first_copies(seen)
    places = disk.payload(volume, seen["batches"][-IN_FLIGHT_MAX:])
    # At least one byte of each piece, so that what is to be found is known.
    sure = [begin + 64 + i for i, (begin, _) in enumerate(pieces)]
    disk.flip([*places, *disk.within([(BLOCK, 2 * BLOCK)])])
    disk.flip(sure)
    disk.flip(disk.within(pieces)[len(sure) :])
    region.start_all()
    volume.check()
    quiet(region, disk.node, found=FLIPS, mended=FLIPS, rewritten=len(pieces) + 1)
    volume.check()
    region.stop_all()
    assert sound_now(disk), disk.inspected()
    region.start_all()
    print(f"stopped: {FLIPS} bytes of payload, {FLIPS} of {len(pieces)} pieces, {FLIPS} of a superblock: all found and mended", flush=True)


def stopped_headers(region, volume, disk):
    """Headers that no checkpoint covers: what was in those batches is suspect, says so, and is filled anew."""
    region.stop_all()
    headers = [(batch["at"], batch["at"] + BLOCK) for batch in disk.inspected()[0]["batches"][:-IN_FLIGHT_MAX]]
    disk.flip(disk.within(headers))
    region.start_all()
    volume.check()
    region.whole(volume.id)
    with open(os.path.join(region.dir, disk.node, "log"), encoding="utf-8") as log:
        assert "is damaged and had been durable" in log.read()
    quiet(region, disk.node, found=0, mended=0)
    volume.check()
    print(f"stopped: {FLIPS} bytes of {len(headers)} batch headers: suspect, and filled anew", flush=True)


def running(region, volume, disk):
    """The same four places under a node that runs: the scrub finds all of it, and the next start finds nothing."""
    before = rot(region, disk.node)
    seen, _ = disk.inspected()
    headers = [(batch["at"], batch["at"] + BLOCK) for batch in seen["batches"]]
    # Headers alone first: nothing else makes that checkpoint.
    disk.flip(disk.within(headers))
    until("the scrub has found headers", 60, lambda: rot(region, disk.node)["rewritten"] > before["rewritten"])
    headers_found = rot(region, disk.node)["rewritten"] - before["rewritten"]
    until("a checkpoint has taken their place", 60, lambda: not disk.inspected()[0]["batches"])
    pieces = first_copies(until("the disk is as it should be", 60, lambda: sound_now(disk)))
    counted = rot(region, disk.node)["rewritten"]
    disk.flip(disk.within(pieces))
    until("the scrub has found pieces", 60, lambda: rot(region, disk.node)["rewritten"] > counted)
    counted = rot(region, disk.node)["rewritten"]
    disk.flip(disk.within([(0, BLOCK)]))
    until("the scrub has found a superblock", 60, lambda: rot(region, disk.node)["rewritten"] > counted)
    places = disk.payload(volume)
    disk.flip(places)
    volume.check()
    quiet(region, disk.node, found=before["found"] + FLIPS, mended=before["mended"] + FLIPS)
    volume.check()
    names, epoch = members(region, volume)
    region.stop_all()
    assert sound_now(disk), disk.inspected()
    region.start_all()
    volume.check()
    assert members(region, volume)[0] == names and disk.node in names, "nobody was left out"
    print(f"running: {FLIPS} bytes each of payload, headers ({headers_found} found), pieces and a superblock: found and mended", flush=True)


def refused(region, volume, disk, places, why):
    """What cannot be mended is refused by name, the others go on, and the node comes back over a new store."""
    pid = region.pids()[disk.node]
    region.kill(disk.node, signal.SIGKILL)
    until(f"{disk.node} has ended", 30, lambda: not os.path.exists(f"/proc/{pid}"))
    disk.flip(places(disk.inspected()[0]))
    command = [binary(), "dev", "start", disk.node, "--dir", region.dir]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "E0012" in done.stderr and why in done.stderr and "peers" in done.stderr, done.stderr
    volume.check()
    volume.write(volume.chance.sample(range(BLOCKS), 50))
    os.rename(disk.path, disk.path + ".broken")
    region.start(disk.node)
    region.whole(volume.id)
    os.unlink(disk.path + ".broken")
    volume.check()
    print(f"{why}: refused by name, the others went on, and a new store was filled", flush=True)


def both_copies(seen):
    piece = seen["checkpoint"]["pieces"][-1]
    return [piece["at"][0] + 100, piece["at"][1] + 200]


def lost(region, volume, disks):
    """One block on all members: it is named and never answered, what lies beside it is, and what is written over it is no loss."""
    block = volume.chance.randrange(BLOCKS)
    # While all are stopped: one that runs would find its own and be mended by those whose turn has not come.
    region.stop_all()
    for disk in disks:
        disk.flip([disk.blocks_of(volume)[block] + 99])
    region.start_all()
    client = nbd.Client(region.attach(volume.id))
    try:
        client.read(block * BLOCK, BLOCK)
        raise RuntimeError("a block was answered that nobody has")
    except AssertionError as error:
        assert str(error).endswith("failed: 5"), error
    beside = (block + 1) % BLOCKS
    assert client.read(beside * BLOCK, BLOCK) == stamp(beside, volume.versions[beside])
    primary, _ = region.members(volume.id)
    named = {"volume": volume.id, "shard": 0, "block": block, "frozen": False}
    until(f"{primary} names {named}: {rot(region, primary)}", 20, lambda: rot(region, primary)["named"] == [named])
    client.close()
    volume.write([block])
    until("nothing is lost any more", 20, lambda: rot(region, primary)["lost"] == 0)
    volume.check()
    print(f"block {block} on all three: refused, named by {primary}, and whole again once it was written", flush=True)


def main():
    chance = random.Random(2011)
    with Region(nodes=3, node_size="512MiB") as region:
        region.stop_all()
        region.configure("node-", scrub_period_s=SCRUB_PERIOD_S)
        region.start_all()
        volume = Volume(region, chance)
        disks = [Disk(region, f"node-{n}", chance) for n in (1, 2, 3)]
        # Enough for a checkpoint, and for batches behind it.
        for _ in range(5):
            volume.fill()
        volume.write(chance.sample(range(BLOCKS), 400))
        stopped_payload(region, volume, disks[0])
        volume.write(chance.sample(range(BLOCKS), 400))
        stopped_headers(region, volume, disks[1])
        volume.write(chance.sample(range(BLOCKS), 400))
        running(region, volume, disks[2])
        refused(region, volume, disks[0], both_copies, "a piece of the checkpoint is damaged in both of its copies")
        refused(region, volume, disks[1], lambda _: [40, BLOCK + 41], "neither of the two superblocks")
        lost(region, volume, disks)
        print("every byte that was flipped was found, mended or named; no read was wrong")


if __name__ == "__main__":
    main()
