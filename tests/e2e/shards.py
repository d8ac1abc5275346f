"""A volume of six shards over five nodes: I/O across their borders, one shard stuck while the others go on, a primary killed under load"""

import random
import threading

import nbd
from region import Region, until

MIB = 1 << 20
SHARD = 4 * MIB
SIZE = 6 * SHARD


class Guest:
    """A client, and what the volume must hold."""

    def __init__(self, uri, seed):
        self.client = nbd.Client(uri)
        self.rng = random.Random(seed)
        self.holds = bytearray(SIZE)

    def write(self, offset, length):
        data = self.rng.randbytes(length)
        self.client.write(offset, data)
        self.holds[offset : offset + length] = data

    def trim(self, offset, length):
        self.client.trim(offset, length)
        self.holds[offset : offset + length] = bytes(length)

    def check(self, offset, length):
        assert self.client.read(offset, length) == self.holds[offset : offset + length], f"{length} bytes from {offset} are wrong"

    def anything(self):
        """One request of any kind, alignment and length, as often as not across a border or several."""
        length = self.rng.choice([512, 4096, 5000, 65536, MIB, 5 * MIB, 11 * MIB])
        offset = self.rng.randrange(SIZE - length)
        if self.rng.random() < 0.5:
            border = SHARD * self.rng.randrange(1, SIZE // SHARD)
            offset = max(0, min(border - self.rng.randrange(length), SIZE - length))
        act = self.rng.choice([self.write, self.check, self.check, self.trim])
        act(offset, length)

    def check_all(self):
        for offset in range(0, SIZE, SHARD):
            self.check(offset, SHARD)


def borders(region):
    volume = region.create("24MiB")
    shards = region.run("volume", "show", volume)["shards"]
    primaries = {shard["primary"] for shard in shards}
    assert len(shards) == 6 and len(primaries) >= 3, shards
    guest = Guest(region.attach(volume), 1)
    guest.write(SHARD - 512, 1024)
    guest.check(SHARD - 4096, 8192)
    guest.write(0, SIZE)
    guest.trim(MIB + 100, SIZE - 2 * MIB - 200)
    guest.check_all()
    for _ in range(150):
        guest.anything()
    guest.client.flush()
    print(f"I/O across borders of 6 shards with primaries on {len(primaries)} nodes: right")
    return volume, guest


def killed(region, volume, guest):
    """Whoever leads a shard is killed: nothing fails, and all shards are whole in the end."""
    victim = region.run("volume", "show", volume)["shards"][3]["primary"]
    region.kill(victim)
    for _ in range(100):
        guest.anything()
    region.start(victim)
    for _ in range(50):
        guest.anything()
    region.whole(volume)
    guest.check_all()
    print(f"{victim} killed and started again under load: no error, no wrong byte, whole")


class Waiting(threading.Thread):
    """A request that is not answered yet."""

    def __init__(self, act):
        super().__init__(daemon=True)
        self.act, self.failure = act, None
        self.start()

    def run(self):
        try:
            self.act()
        except Exception as error:  # pylint: disable=broad-except
            self.failure = error

    def ends(self):
        self.join(timeout=60)
        assert not self.is_alive() and self.failure is None, self.failure


def stuck(region):
    """Of two copies both are needed, so the shards on a node that is gone wait, and only those."""
    volume = region.create("24MiB", "--copies", "2")
    uri = region.attach(volume)
    guest = Guest(uri, 2)
    guest.write(0, SIZE)
    shards = region.run("volume", "show", volume)["shards"]
    on = {node: {s["index"] for s in shards if node in [m["node"] for m in s["members"]]} for node in region.pids()}
    victim = max((node for node in on if 0 < len(on[node]) < 6), key=lambda node: len(on[node]))
    region.kill(victim)
    others = sorted(set(range(6)) - on[victim])
    # One request over all shards, and a flush of another client behind it, wait; what touches none of the lost node's shards goes on.
    writer, flusher = Guest(uri, 3), nbd.Client(uri)
    held = min(on[victim])
    waits = Waiting(lambda: writer.write(held * SHARD, 4096))

    def shown():
        states = {s["index"]: s["condition"] for s in region.run("volume", "show", volume)["shards"]}
        return states if states[held] == "stuck-awaiting-member" else None

    states = until(f"shard {held} is shown to wait for a member", 60, shown)
    flush = Waiting(flusher.flush)
    for index in others:
        guest.write(index * SHARD + 4096, 64 * 1024)
        guest.check(index * SHARD, SHARD)
        assert states[index] == "ok", f"shard {index}, which has lost nobody, is {states[index]}"
    host = region.hosts()[0]
    until("the host says which shard waits", 30, lambda: f"I/O of {volume}/{held} waits for " in region.log(host))
    assert not any(f"I/O of {volume}/{index} waits" in region.log(host) for index in others)
    assert waits.is_alive() and flush.is_alive(), "a write was answered that one of two copies cannot have, or a flush before it"
    region.start(victim)
    waits.ends()
    flush.ends()
    until("it goes on", 30, lambda: f"I/O of {volume}/{held} goes on" in region.log(host))
    guest.holds[held * SHARD : held * SHARD + 4096] = writer.holds[held * SHARD : held * SHARD + 4096]
    guest.check_all()
    print(f"{victim} gone: {len(on[victim])} of 6 shards wait and say so, {len(others)} go on; with it back nothing is missing")


def main():
    with Region("--shard-size", "4MiB", nodes=5, remirror_after=600) as region:
        volume, guest = borders(region)
        killed(region, volume, guest)
        stuck(region)


if __name__ == "__main__":
    main()
