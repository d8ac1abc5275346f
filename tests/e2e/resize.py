"""A volume grows while it is attached and under verified load: within a shard, over the border of several, with its primary and the zone killed in between"""

import random
import threading
import time

import nbd
from region import Region, until

MIB = 1 << 20
SHARD = 4 * MIB


class Load(threading.Thread):
    """A client that was connected before the volume grew: it reads and writes what it knows of, and checks what it reads."""

    def __init__(self, uri):
        super().__init__(daemon=True)
        self.client = nbd.Client(uri)
        self.size = self.client.size
        self.rng = random.Random(4)
        self.holds = bytearray(self.rng.randbytes(self.size))
        self.client.write(0, bytes(self.holds))
        self.stops, self.failure, self.done = False, None, 0
        self.start()

    def run(self):
        try:
            while not self.stops:
                self.one()
                self.done += 1
        except Exception as error:  # pylint: disable=broad-except
            self.failure = error

    def one(self):
        length = self.rng.choice([512, 4096, 5000, 65536, MIB])
        offset = self.rng.randrange(self.size - length)
        if self.rng.random() < 0.6:
            data = self.rng.randbytes(length)
            self.client.write(offset, data)
            self.holds[offset : offset + length] = data
        else:
            assert self.client.read(offset, length) == self.holds[offset : offset + length], f"{length} bytes from {offset} are wrong"

    def goes_on(self):
        """Some more of it has been done since this was asked."""
        from_here = self.done + 5

        def look():
            assert self.failure is None, self.failure
            return self.done >= from_here

        until("the load goes on", 60, look)

    def ends(self):
        self.goes_on()
        self.stops = True
        self.join(timeout=60)
        assert not self.is_alive() and self.failure is None, self.failure


class Grown:
    """What the volume must hold behind what the load writes."""

    def __init__(self, start):
        self.start, self.holds, self.rng = start, bytearray(), random.Random(5)

    def check(self, client):
        self.check_tail(client, self.start)

    def check_tail(self, client, start):
        for offset in range(start, self.start + len(self.holds), MIB):
            length = min(MIB, self.start + len(self.holds) - offset)
            at = offset - self.start
            assert client.read(offset, length) == self.holds[at : at + length], f"{length} bytes from {offset} are wrong"

    def takes(self, uri, size):
        """Who connects now sees the size, finds zeroes in the new part, and may write there at once; all but a piece in the middle."""
        client = nbd.Client(uri)
        old = self.start + len(self.holds)
        assert client.size == size, f"{client.size} bytes are offered, and {size} were made"
        self.holds += bytes(size - old)
        self.check(client)
        for offset in range(old, size, MIB // 2):
            if (offset // (MIB // 2)) % 3 == 1:
                continue
            data = self.rng.randbytes(min(MIB // 2, size - offset))
            client.write(offset, data)
            self.holds[offset - self.start : offset - self.start + len(data)] = data
        # Over the old end, when that is no one else's.
        if old > self.start:
            data = self.rng.randbytes(8192)
            client.write(old - 4096, data)
            self.holds[old - 4096 - self.start : old + 4096 - self.start] = data
        client.flush()
        self.check(client)
        client.close()


def shards(region, volume):
    return region.run("volume", "show", volume)["shards"]


def resize(region, volume, size):
    # A zone that has just started has not heard enough nodes yet, and says so.
    shown = until("the volume is resized", 60, lambda: region.attempt("volume", "resize", volume, f"{size // MIB}MiB"))
    assert shown["size"] == size and sum(s["bytes"] for s in shown["shards"]) == size, shown


def refusals(region, volume):
    size = region.run("volume", "show", volume)["size"]
    said = region.refused("E0004", "volume", "resize", volume, "4MiB")
    assert "cannot become smaller" in said, said
    said = region.refused("E0003", "volume", "resize", volume, "4GiB")
    assert "free: " in said and "delete volumes" in said, said
    region.refused("E0004", "volume", "resize", volume, "1TiB")
    region.refused("E0004", "volume", "resize", volume, str(size + 1))
    region.refused("E0001", "volume", "resize", "vol-00123456789abcdef", "8MiB")
    assert region.run("volume", "show", volume)["size"] == size
    print("smaller, too large, not of whole blocks and of no volume: refused, and nothing changed", flush=True)


def under_load(region, volume, uri):
    load = Load(uri)
    grown = Grown(load.size)
    generation = region.run("volume", "show", volume)["generation"]

    resize(region, volume, 7 * MIB)
    grown.takes(uri, 7 * MIB)
    load.goes_on()
    print("grown within its last shard, under load", flush=True)

    # Its last shard has just lost its primary.
    victim = shards(region, volume)[-1]["primary"]
    region.kill(victim)
    resize(region, volume, 18 * MIB)
    assert [s["bytes"] // MIB for s in shards(region, volume)] == [4, 4, 4, 4, 2]
    grown.takes(uri, 18 * MIB)
    load.goes_on()
    region.start(victim)
    region.whole(volume)
    print(f"grown over the borders of three shards, with {victim} killed: it is whole again", flush=True)

    # The zone dies somewhere in between; what was asked is asked again.
    for step, wait in enumerate([0.0, 0.002, 0.005, 0.01, 0.05]):
        size = (20 + 3 * step) * MIB
        asks = threading.Thread(target=region.attempt, args=("volume", "resize", volume, f"{size // MIB}MiB"))
        asks.start()
        time.sleep(wait)
        region.kill("zone")
        region.start("zone")
        asks.join(timeout=60)
        resize(region, volume, size)
        grown.takes(uri, size)
        load.goes_on()
    region.whole(volume)
    shown = region.run("volume", "show", volume)
    assert shown["generation"] == generation, "it was attached anew"
    print("grown five times while the zone was killed: each time it had the old size or the new", flush=True)
    load.ends()
    return load, grown


def check_all(uri, load, grown):
    client = nbd.Client(uri)
    assert client.size == grown.start + len(grown.holds)
    assert client.read(0, load.size) == load.holds, "what was there before it grew is wrong"
    grown.check(client)
    client.close()


def main():
    # A shard that was placed on a node which had just been killed gets its copy elsewhere, and soon.
    with Region("--shard-size", "4MiB", nodes=5, node_size="2GiB", remirror_after=2) as region:
        volume = region.create("6MiB")
        uri = region.attach(volume)
        refusals(region, volume)
        load, grown = under_load(region, volume, uri)
        try:
            load.client.write(load.size, bytes(4096))
            raise AssertionError("a client wrote beyond the size it was told when it connected")
        except nbd.Failed:
            pass
        host = region.hosts()[0]
        # It has grown seven times; of lines about one volume five are written at once, and then one a second.
        assert region.log(host).count("sees that when it connects anew") >= 5, region.log(host)
        check_all(uri, load, grown)
        region.kill_everything()
        region.start_all()
        uri = region.attach(volume)
        check_all(uri, load, grown)
        region.whole(volume)
        print("every process killed and started again: every byte is there, at the new size", flush=True)

        # Also while nobody has it.
        region.run("detach", volume)
        resize(region, volume, 41 * MIB)
        uri = region.attach(volume)
        grown.takes(uri, 41 * MIB)
        region.stop_all()
        region.start_all()
        check_all(region.attach(volume), load, grown)
        region.run("detach", volume)
        region.run("volume", "delete", volume)
        until("its space comes back", 60, lambda: all(n["reserved"] == n["held"] == 0 for n in region.run("node", "list")))
        print("grown while detached; deleted, all of it", flush=True)


if __name__ == "__main__":
    main()
