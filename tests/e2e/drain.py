"""A node drained under load, taken back, drained again over restarts of the zone and of itself, stopped and forgotten: no copy is ever missing and no I/O fails"""

import os
import signal
import subprocess
import threading

import nbd
from region import Region, binary, until

BLOCK = 4096
BLOCKS = 1024


class Load(threading.Thread):
    """Writes and reads back until it is told to stop."""

    def __init__(self, uri):
        super().__init__()
        self.client, self.failure, self.done, self.stop = nbd.Client(uri), None, 0, False

    def run(self):
        try:
            while not self.stop:
                block, data = self.done * 7 % BLOCKS, bytes([self.done % 255 + 1]) * BLOCK
                self.client.write(block * BLOCK, data)
                assert self.client.read(block * BLOCK, BLOCK) == data
                self.done += 1
        except Exception as error:  # pylint: disable=broad-except
            self.failure = error


def refused(region, code, *words):
    done = subprocess.run([binary(), *words, "--dir", region.dir], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and code in done.stderr, f"{words}: {done.returncode}: {done.stdout}{done.stderr}"
    print(done.stderr.strip(), flush=True)


def drains(region, name):
    try:
        region.run("node", "drain", name)
    except AssertionError as why:
        assert "E0003" in str(why), why
        return False
    return True


def main():
    with Region() as region:
        volumes = [region.create("64MiB") for _ in range(6)]
        load = Load(region.attach(volumes[0]))
        load.start()
        until("the load moves", 30, lambda: load.done > 100 or load.failure)
        name = region.members(volumes[0])[0]
        shown = lambda: region.run("node", "show", name)
        assert shown()["drain"] is None
        refused(region, "E0002", "node", "remove", name)
        state = region.run("node", "drain", name)
        assert state["drain"]["replicas"] > 0, state
        assert region.run("node", "drain", name, "--undo")["drain"] is None
        # A copy that was begun by the first, and given up when it was taken back, takes its place for a moment more.
        until("it is drained again", 20, lambda: drains(region, name))
        # Both are told again by what is recorded.
        region.kill("zone")
        region.start("zone")
        assert shown()["drain"] is not None
        region.kill(name)
        region.start(name)

        def drained():
            assert load.failure is None, load.failure
            for volume in volumes:
                shard = region.shard(volume)
                assert len(shard["members"]) >= 2, shard
            return shown()["state"] == "drained"

        until(f"{name} is drained", 180, drained)
        for volume in volumes:
            region.whole(volume)
            assert name not in [m["node"] for m in region.shard(volume)["members"]]
        refused(region, "E0002", "node", "remove", name)
        # With it gone there are three nodes for three copies, so no other can be drained.
        refused(region, "E0003", "node", "drain", region.members(volumes[0])[0])
        pid = region.pids()[name]
        region.kill(name, signal.SIGTERM)
        until("the node has stopped", 30, lambda: not os.path.exists(f"/proc/{pid}"))
        until("the zone knows", 30, lambda: "removed" in subprocess.run(
            [binary(), "node", "remove", name, "--dir", region.dir, "--json"], capture_output=True, text=True).stdout)
        assert name not in [n["id"] for n in region.run("node", "list")]
        moved = load.done
        until("the load moves on", 30, lambda: load.done > moved + 100 or load.failure)
        load.stop = True
        load.join(timeout=60)
        assert load.failure is None, load.failure
        print(f"{name} drained and forgotten; {load.done} writes and reads beside it", flush=True)


if __name__ == "__main__":
    main()
