"""Every process killed at one instant under load, twenty times: what was acknowledged is there after each start"""

import hashlib
import threading
import time

import nbd
from region import Region

BLOCK = 4096
WRITERS = 4
BLOCKS_EACH = 256
ROUNDS = 20
WRITES_EACH_ROUND = 600


def stamp(block, version):
    """A block that says which block and version it is, in every byte."""
    if version == 0:
        return bytes(BLOCK)
    seed = hashlib.sha256(f"{block} {version}".encode()).digest()
    return (seed * (BLOCK // len(seed)))[:BLOCK]


class Writer(threading.Thread):
    """Writes its own blocks again and again, one request at a time, until the server is gone."""

    def __init__(self, number, uri, sent, done):
        super().__init__()
        self.number, self.uri, self.sent, self.done = number, uri, sent, done
        self.failure = None
        self.count = 0

    def run(self):
        try:
            client = nbd.Client(self.uri)
            step = 0
            while True:
                block = self.number * BLOCKS_EACH + step * 7 % BLOCKS_EACH
                self.sent[block] = self.sent[block] + 1
                client.write(block * BLOCK, stamp(block, self.sent[block]))
                self.done[block] = self.sent[block]
                self.count += 1
                step += 1
        except nbd.Closed:
            pass
        except Exception as error:  # pylint: disable=broad-except
            self.failure = error


class Load:
    """What was sent to every block of a volume and what of it was acknowledged, over all starts of its region."""

    def __init__(self, region):
        self.region = region
        self.volume = region.create("64MiB")
        self.sent, self.done = [0] * (WRITERS * BLOCKS_EACH), [0] * (WRITERS * BLOCKS_EACH)
        self.writers = []

    def start(self):
        uri = self.region.attach(self.volume)
        self.writers = [Writer(n, uri, self.sent, self.done) for n in range(WRITERS)]
        for writer in self.writers:
            writer.start()

    def count(self):
        """Writes acknowledged since the start."""
        return sum(writer.count for writer in self.writers)

    def until(self, count):
        deadline = time.monotonic() + 60
        while self.count() < count:
            assert time.monotonic() < deadline, "the load does not move"
            assert not any(w.failure for w in self.writers), [w.failure for w in self.writers]
            time.sleep(0.01)

    def kill(self):
        """Every process of the region at one instant; the load ends with it."""
        self.region.kill_everything()
        for writer in self.writers:
            writer.join(timeout=30)
            assert not writer.is_alive() and writer.failure is None, writer.failure

    def lost(self):
        """Blocks that hold neither their last acknowledged version nor one that was sent after it. What a block holds is then
        the truth."""
        client = nbd.Client(self.region.attach(self.volume))
        lost = []
        for block in range(WRITERS * BLOCKS_EACH):
            data = client.read(block * BLOCK, BLOCK)
            possible = range(self.done[block], self.sent[block] + 1)
            found = [version for version in possible if data == stamp(block, version)]
            if found:
                self.sent[block] = self.done[block] = found[0]
            else:
                lost.append(f"block {block} holds none of its versions {possible}: {data[:16].hex()}")
        client.close()
        return lost

    def round(self, name):
        """Load, the kill, the start, and a look at every block."""
        self.start()
        self.until(WRITES_EACH_ROUND)
        self.kill()
        began = time.monotonic()
        self.region.start_all()
        lost = self.lost()
        assert not lost, f"{name}: {len(lost)} acknowledged writes are lost: {lost[:3]}"
        took = time.monotonic() - began
        print(f"{name}: {self.count()} writes acknowledged, everything killed, all there {took:.1f} s later", flush=True)
        self.region.whole(self.volume)


def main():
    with Region() as region:
        load = Load(region)
        for number in range(ROUNDS):
            load.round(f"round {number + 1} of {ROUNDS}")


if __name__ == "__main__":
    main()
