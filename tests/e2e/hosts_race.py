"""Two hosts race for one volume by forced moves while both write: nothing of the old one after the new one's first write"""

import random
import signal
import socket
import struct
import sys
import threading
import time

import generations
import nbd
from generations import NOTHING, Read, Write
from region import Region, until

BLOCK = 4096
WRITERS = 3
BLOCKS_EACH = 32
# What the new host must have written before the next move.
WRITES_EACH_MOVE = 100
MOVES = 10
STAMP = struct.Struct(">QQQQ")
MAGIC = 0x5365_6177_616C_6C21


def stamp(block, version):
    return STAMP.pack(MAGIC, block, *version) * (BLOCK // STAMP.size)


def read_stamp(data, block):
    """The version in every part of a block, which must be one."""
    if data == bytes(BLOCK):
        return NOTHING
    magic, where, *version = STAMP.unpack(data[: STAMP.size])
    assert (magic, where) == (MAGIC, block) and data == stamp(block, version), f"block {block} is torn or another's: {data[:64].hex()}"
    return tuple(version)


class Worker(threading.Thread):
    """Writes blocks of its own, and reads any, through one host: as soon as the volume is there, until it is not, and again."""

    def __init__(self, uri, number, stop):
        super().__init__(daemon=True)
        self.uri, self.number, self.stop = uri, number, stop
        self.rng = random.Random(number)
        self.counter = 0
        self.writes, self.reads = [], []
        # The attachment under which it is at work; none while it has no volume.
        self.generation = None
        self.failure = None

    def run(self):
        while not self.stop.is_set():
            try:
                client = nbd.Client(self.uri, timeout=120)
            except (nbd.Closed, nbd.Failed, OSError):
                time.sleep(0.002)
                continue
            try:
                self.generation = client.generation
                while not self.stop.is_set():
                    self.write(client)
                    self.read(client)
            except (nbd.Closed, nbd.Failed):
                pass
            except Exception as error:  # pylint: disable=broad-except
                self.failure = error
                return
            finally:
                self.generation = None
                client.socket.close()

    def write(self, client):
        block = self.number * BLOCKS_EACH + self.rng.randrange(BLOCKS_EACH)
        self.counter += 1
        version = (client.generation, self.counter)
        begin, end = time.monotonic_ns(), None
        try:
            client.write(block * BLOCK, stamp(block, version))
            end = time.monotonic_ns()
        finally:
            # Without an end nobody knows whether it was done.
            self.writes.append(Write(begin, end, block, version))

    def read(self, client):
        block = self.rng.randrange(WRITERS * BLOCKS_EACH)
        begin = time.monotonic_ns()
        data = client.read(block * BLOCK, BLOCK)
        self.reads.append(Read(begin, time.monotonic_ns(), block, read_stamp(data, block)))


class Line:
    """A way to the authority that can be cut: then nothing passes in either direction, and nobody is told."""

    def __init__(self, to):
        self.to = to
        self.whole = threading.Event()
        self.whole.set()
        self.sockets = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            near, _ = self.listener.accept()
            try:
                self.whole.wait()
                far = socket.create_connection(self.to)
            except OSError:
                near.close()
                continue
            self.sockets += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self.carry, args=(one, other), daemon=True).start()

    def carry(self, one, other):
        try:
            while data := one.recv(65536):
                self.whole.wait()
                other.sendall(data)
        except OSError:
            pass
        for end in (one, other):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        self.whole.clear()

    def heal(self):
        """What was under way is lost: both sides begin again."""
        for end in self.sockets:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.sockets.clear()
        self.whole.set()


class Race:
    def __init__(self, region):
        self.region = region
        self.hosts = region.hosts()
        self.volume = region.create("16MiB")
        address, port = region.entries()["zones"][0]["authority"]["addr"].split(":")
        self.lines = {}
        for host in self.hosts:
            self.lines[host] = Line((address, int(port)))
            region.configure(host, zone=self.lines[host].address)
            region.kill(host)
            region.start(host)
        self.now = self.hosts[0]
        self.attach(self.now)
        self.stop = threading.Event()
        self.workers = {
            host: [Worker(self.uri(host), number, self.stop) for number in range(WRITERS)] for host in self.hosts
        }
        for worker in self.all():
            worker.start()

    def uri(self, host):
        sockets = {entry["id"]: entry["sockets"] for entry in self.region.entries()["hosts"]}
        return f"nbd+unix:///{self.volume}?socket={sockets[host]}/nbd.sock"

    def all(self):
        return [worker for workers in self.workers.values() for worker in workers]

    def attach(self, host):
        """The generation. A host that was just cut off or killed takes a moment to be there again."""
        made = until(f"{host} takes the volume", 60, lambda: self.region.attempt("attach", self.volume, "--host", host))
        assert made["host"] == host
        return made["generation"]

    def move(self, mode):
        """The volume goes to the other host, and nobody asks the one that has it."""
        old = self.now
        new = next(host for host in self.hosts if host != old)
        primary = self.region.members(self.volume)[0]
        began = time.monotonic()
        before = {"stop": lambda: self.region.kill(old, signal.SIGSTOP), "cut": self.lines[old].cut}
        before |= {"kill": lambda: self.region.kill(old), "leader": lambda: self.region.kill(primary, signal.SIGSTOP)}
        before.get(mode, lambda: None)()
        self.region.run("detach", self.volume)
        self.now = new
        generation = self.attach(new)
        self.written(new, generation, 1)
        took = time.monotonic() - began
        text = self.region.refused("E0002", "attach", self.volume, "--host", old)
        assert new in text, f"a second attach names whom the volume is attached to: {text}"
        if mode == "stop":
            self.region.kill(old, signal.SIGCONT)
        if mode == "leader":
            self.region.kill(primary, signal.SIGCONT)
        # Also without a word from the authority: it tries, and the nodes refuse it.
        until(f"{old} has given the volume up", 60, lambda: all(w.generation is None for w in self.workers[old]))
        if mode == "cut":
            assert "a later generation may write" in self.region.log(old)
            self.lines[old].heal()
        if mode == "kill":
            self.region.start(old)
        self.written(new, generation, WRITES_EACH_MOVE)
        if mode == "leader":
            self.region.whole(self.volume)
        return took

    def written(self, host, generation, count):
        """Waits until so much was written through a host in a generation, all of it acknowledged."""

        def enough():
            failures = [worker.failure for worker in self.all() if worker.failure]
            assert not failures, failures
            mine = (write for worker in self.workers[host] for write in reversed(worker.writes[-10_000:]))
            return sum(1 for write in mine if write.end is not None and write.version[0] == generation) >= count

        until(f"{count} writes through {host} in generation {generation}", 60, enough)

    def end(self):
        """What everybody wrote and read, and what each block holds in the end, read through whoever has the volume."""
        self.stop.set()
        for worker in self.all():
            worker.join(timeout=130)
            assert not worker.is_alive() and worker.failure is None, worker.failure
        writes = [write for worker in self.all() for write in worker.writes]
        reads = [read for worker in self.all() for read in worker.reads]
        client = nbd.Client(self.uri(self.now))
        for block in range(WRITERS * BLOCKS_EACH):
            begin = time.monotonic_ns()
            data = client.read(block * BLOCK, BLOCK)
            reads.append(Read(begin, time.monotonic_ns(), block, read_stamp(data, block)))
        client.close()
        return writes, reads


def main():
    moves = int(sys.argv[2]) if len(sys.argv) > 2 else MOVES
    modes = ["plain", "stop", "cut", "kill", "plain", "stop", "cut", "leader", "kill", "plain"]
    with Region("--hosts", "2") as region:
        race = Race(region)
        for number in range(moves):
            mode = modes[number % len(modes)]
            took = race.move(mode)
            print(f"move {number + 1} of {moves} ({mode}) to {race.now}: it writes {took * 1000:.0f} ms later", flush=True)
        writes, reads = race.end()
    unknown = sum(1 for write in writes if write.end is None)
    generations.check_the_checker(writes, reads)
    found = generations.violations(writes, reads)
    assert not found, f"{len(found)} violations, the first: {found[:3]}"
    print(
        f"{moves} moves, {len(writes)} writes ({unknown} of unknown end) and {len(reads)} reads: each generation's end before the next one's beginning"
    )


if __name__ == "__main__":
    main()
