"""A second process of a node's identity, with a disk of its own and with a copy of the first's, is refused by name while the first serves on"""

import os
import shutil
import signal
import subprocess
import threading
import time

import nbd
from region import Region, binary, until

BLOCK = 4096


class Load(threading.Thread):
    """Writes and reads until it is told to stop; the longest that one request took."""

    def __init__(self, uri):
        super().__init__()
        self.client, self.failure, self.done, self.longest, self.stop = nbd.Client(uri), None, 0, 0.0, False

    def run(self):
        try:
            while not self.stop:
                began = time.monotonic()
                data = bytes([self.done % 255 + 1]) * BLOCK
                self.client.write(self.done % 64 * BLOCK, data)
                assert self.client.read(self.done % 64 * BLOCK, BLOCK) == data
                self.longest = max(self.longest, time.monotonic() - began)
                self.done += 1
        except Exception as error:  # pylint: disable=broad-except
            self.failure = error


def twin_of(region, name, clone):
    """The folder of another process of this identity, at addresses of its own."""
    folder = os.path.join(region.top, "twin", name)
    os.makedirs(folder)
    shutil.copy(os.path.join(region.dir, "zone.key"), os.path.join(region.top, "twin", "zone.key"))
    with open(os.path.join(region.dir, name, "config.toml"), encoding="utf-8") as file:
        lines = [line for line in file if line.split("=")[0].strip() not in ("listen", "listen_replication")]
    with open(os.path.join(folder, "config.toml"), "w", encoding="utf-8") as file:
        file.writelines(['listen = "127.0.0.1:0"\n', 'listen_replication = "127.0.0.1:0"\n', *lines])
    if clone:
        store = os.path.join(region.dir, name, "store")
        subprocess.run(["cp", "--sparse=always", store, os.path.join(folder, "store")], check=True)
    return folder


def refused(region, name, clone):
    folder = twin_of(region, name, clone)
    command = [binary(), "node", "--config", os.path.join(folder, "config.toml")]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "E0023" in done.stderr, f"{done.returncode}: {done.stdout}{done.stderr}"
    assert f"another process that is {name} is at work" in done.stderr, done.stderr
    assert "ready" not in done.stdout, done.stdout
    shutil.rmtree(os.path.dirname(folder))
    print(f"{name}, {'a copy of its disk' if clone else 'a disk of its own'}: {done.stderr.strip().splitlines()[-1]}", flush=True)


def main():
    with Region() as region:
        volume = region.create("64MiB")
        load = Load(region.attach(volume))
        load.start()
        until("the load moves", 30, lambda: load.done > 100 or load.failure)
        before = region.shard(volume)
        primary, backups = region.members(volume)
        pids = region.pids()
        for name in (primary, backups[0]):
            for clone in (False, True):
                refused(region, name, clone)
        moved = load.done
        until("the load moves on", 30, lambda: load.done > moved + 100 or load.failure)
        assert load.failure is None, load.failure
        after = region.shard(volume)
        assert (before["epoch"], before["members"]) == (after["epoch"], after["members"]), (before, after)
        for name, pid in pids.items():
            os.kill(pid, 0)
            assert region.pids()[name] == pid
        # Whoever was merely started again is let in.
        region.kill(backups[0], signal.SIGKILL)
        region.start(backups[0])
        region.whole(volume)
        load.stop = True
        load.join(timeout=60)
        assert load.failure is None, load.failure
        print(f"{load.done} writes and reads beside it, the longest took {load.longest * 1000:.0f} ms", flush=True)


if __name__ == "__main__":
    main()
