"""Every process killed at one instant under load: after a start from the same folder, what was acknowledged is there"""

import hashlib
import threading
import time

import nbd
from region import Region

BLOCK = 4096
WRITERS = 4
BLOCKS_EACH = 512
ROUNDS = 3


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


def check(uri, sent, done):
    """Each block holds its last acknowledged version, or the one that was under way; that one is then the truth."""
    client = nbd.Client(uri)
    for block in range(WRITERS * BLOCKS_EACH):
        data = client.read(block * BLOCK, BLOCK)
        possible = range(done[block], sent[block] + 1)
        found = [version for version in possible if data == stamp(block, version)]
        assert found, f"block {block} holds none of its versions {possible}: {data[:16].hex()}"
        sent[block] = done[block] = found[0]
    client.close()


def main():
    with Region() as region:
        volume = region.create("64MiB")
        sent, done = [0] * (WRITERS * BLOCKS_EACH), [0] * (WRITERS * BLOCKS_EACH)
        for number in range(ROUNDS):
            uri = region.attach(volume)
            check(uri, sent, done)
            writers = [Writer(n, uri, sent, done) for n in range(WRITERS)]
            for writer in writers:
                writer.start()
            deadline = time.monotonic() + 60
            while sum(w.count for w in writers) < 2000 * (number + 1):
                assert time.monotonic() < deadline, "the load does not move"
                assert not any(w.failure for w in writers), [w.failure for w in writers]
                time.sleep(0.01)
            region.kill_everything()
            for writer in writers:
                writer.join(timeout=30)
                assert not writer.is_alive() and writer.failure is None, writer.failure
            began = time.monotonic()
            region.start_all()
            check(region.attach(volume), sent, done)
            print(
                f"round {number + 1}: {sum(w.count for w in writers)} writes acknowledged, everything killed, all there "
                f"{time.monotonic() - began:.1f} s later"
            )
            region.whole(volume)


if __name__ == "__main__":
    main()
