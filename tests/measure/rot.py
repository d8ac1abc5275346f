"""A thousand bytes flipped on one node's disk, while it is stopped and while it runs: every read right, all of it found, and mended from the others"""

import json
import os
import random
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

import nbd
from region import Region, binary, until

BLOCK = 4096
BLOCKS = 16 << 10
NODE = "node-1"
FLIPS = 250
SCRUB_PERIOD_S = 8


def stamp(block, version):
    """A block that says in every sixteen bytes which block and version it is."""
    return (block.to_bytes(8, "little") + version.to_bytes(8, "little")) * (BLOCK // 16)


class Volume:
    """What a volume holds."""

    def __init__(self, region, chance):
        self.region, self.chance = region, chance
        self.id = region.create(f"{BLOCKS * BLOCK >> 20}MiB")
        self.versions = [1] * BLOCKS

    def write(self, share):
        """Writes everything, and then a share of it again, here and there."""
        client = nbd.Client(self.region.attach(self.id))
        for first in range(0, BLOCKS, 64):
            client.write(first * BLOCK, b"".join(stamp(b, self.versions[b]) for b in range(first, first + 64)))
        for block in self.chance.sample(range(BLOCKS), int(BLOCKS * share)):
            self.versions[block] += 1
            client.write(block * BLOCK, stamp(block, self.versions[block]))
        client.close()

    def check(self):
        """Reads everything through the front door."""
        client = nbd.Client(self.region.attach(self.id))
        for first in range(0, BLOCKS, 64):
            expected = b"".join(stamp(b, self.versions[b]) for b in range(first, first + 64))
            assert client.read(first * BLOCK, 64 * BLOCK) == expected, f"blocks {first} to {first + 63} are not what was written"
        client.close()


def inspected(path):
    """What `seawall inspect store` says of a disk; it ends with 1 when something is wrong with it."""
    done = subprocess.run([binary(), "inspect", "store", path, "--json"], capture_output=True, text=True, timeout=120)
    assert done.stdout, done.stderr
    return json.loads(done.stdout.splitlines()[0])


def flip(path, places):
    """One bit of the byte at each of these places."""
    with open(path, "r+b", buffering=0) as disk:
        for place in places:
            byte = os.pread(disk.fileno(), 1, place)
            os.pwrite(disk.fileno(), bytes([byte[0] ^ 0x10]), place)
        os.fsync(disk.fileno())
        os.posix_fadvise(disk.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def live_blocks(path, volume):
    """Where on a disk blocks lie that are as the volume has them. Some may be copies that nobody names any more."""
    found = []
    with open(path, "rb", buffering=0) as disk:
        at = 2 * BLOCK
        while chunk := os.pread(disk.fileno(), 256 * BLOCK, at):
            for skip in range(0, len(chunk), BLOCK):
                block, version = struct.unpack_from("<QQ", chunk, skip)
                if block < BLOCKS and version == volume.versions[block] and chunk[skip : skip + BLOCK] == stamp(block, version):
                    found.append(at + skip)
            at += len(chunk)
        os.posix_fadvise(disk.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return found


def in_blocks(blocks, chance):
    """One byte of each of so many different blocks."""
    return [block + chance.randrange(BLOCK) for block in chance.sample(blocks, FLIPS)]


def rot(region):
    return region.run("node", "show", NODE)["rot"]


def settled(region, volume):
    """Two passes of the scrub later nothing is found any more that is not mended."""
    region.whole(volume.id)
    seen = {"state": None, "since_ms": 0, "passes": 0}

    def quiet():
        now = rot(region)
        state = (now["found"], now["mended"], now["lost"], now["rewritten"])
        since_ms = now["scrubbed_ms"] or 0
        if now["found"] != now["mended"] or state != seen["state"]:
            seen.update(state=state, passes=0)
        elif since_ms < seen["since_ms"]:
            seen["passes"] += 1
        seen["since_ms"] = since_ms
        # The first of them may have begun before the bytes were flipped.
        return seen["passes"] >= 3

    until("the scrub finds nothing more", 240, quiet)
    found = rot(region)
    assert found["lost"] == 0, found
    return found


def scrub_often(region):
    for name in os.listdir(region.dir):
        path = os.path.join(region.dir, name, "config.toml")
        if name.startswith("node-"):
            with open(path, encoding="utf-8") as file:
                lines = [line for line in file if not line.startswith("scrub_period_s")]
            with open(path, "w", encoding="utf-8") as file:
                file.writelines([*lines, f"scrub_period_s = {SCRUB_PERIOD_S}\n"])


def main():
    chance = random.Random(2011)
    with Region(nodes=3, node_size="512MiB") as region:
        volume = Volume(region, chance)
        volume.write(0.3)
        region.stop_all()
        scrub_often(region)
        path = os.path.join(region.dir, NODE, "store")

        # Stopped: payload, and of each piece of the checkpoint and of the superblocks one copy: the other must be enough.
        seen = inspected(path)
        pieces = [piece["at"][chance.randrange(2)] for piece in seen["checkpoint"]["pieces"]]
        # Not the last batches: nobody could tell those from a torn tail, and the whole replica would be filled anew.
        tail = {batch["at"] // (1 << 20) for batch in seen["batches"][-16:]}
        places = in_blocks([at for at in live_blocks(path, volume) if at // (1 << 20) not in tail], chance)
        places += [chance.choice(pieces) + chance.randrange(BLOCK) for _ in range(FLIPS)]
        places += [BLOCK + chance.randrange(BLOCK) for _ in range(FLIPS)]
        flip(path, places)
        region.start_all()
        volume.check()
        found = settled(region, volume)
        # How many depends on whether the others went on without it meanwhile: then it was filled anew, and what was rotten is nobody's.
        volume.check()
        print(f"{len(places)} bytes of payload, checkpoint and superblock, while it was stopped: {found}", flush=True)

        # Stopped: headers of the log that no checkpoint covers. What was in them is suspect, and filled anew.
        region.stop_all()
        headers = [batch["at"] for batch in inspected(path)["batches"]]
        places = [chance.choice(headers) + chance.randrange(BLOCK) for _ in range(FLIPS)]
        flip(path, places)
        region.start_all()
        volume.check()
        settled(region, volume)
        volume.check()
        print(f"{len(places)} bytes in {len(headers)} batch headers, while it was stopped: filled anew", flush=True)

        # Running: payload, and a superblock.
        before = rot(region)
        places = in_blocks(live_blocks(path, volume), chance)
        flip(path, [*places, chance.randrange(2) * BLOCK + chance.randrange(BLOCK)])
        volume.check()
        found = settled(region, volume)
        # Every other may be a copy from before it was filled anew, which nobody names any more.
        assert found["found"] > before["found"] + FLIPS // 5 and found["rewritten"] > before["rewritten"], (before, found)
        volume.check()
        print(f"{len(places) + 1} bytes of payload and superblock, while it ran: {found}", flush=True)

        # The disk itself, with nobody to mend it: as it should be.
        region.stop_all()
        out = os.path.join(region.top, "extracted")
        done = subprocess.run(
            [binary(), "inspect", "store", path, "--extract", f"{volume.id}/0", out], capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        with open(out, "rb") as file:
            for block in range(BLOCKS):
                assert file.read(BLOCK) == stamp(block, volume.versions[block]), f"block {block} on the disk"
        print("every read was right, nothing was lost, and the disk is whole again")


if __name__ == "__main__":
    main()
