"""A node is dead for good: its copies are made anew on others within their budget of bytes, `volume show` says how much is left, and clients are served meanwhile"""

import errno
import json
import os
import subprocess
import tempfile
import time

import nbd
from region import Region, need, until

BLOCK = 4096
EXTENT = 256
# The figure in docs/measured.md: SEAWALL_REMIRROR_VOLUMES=8 SEAWALL_REMIRROR_SIZE_MIB=512.
VOLUMES = int(os.environ.get("SEAWALL_REMIRROR_VOLUMES", "4"))
SIZE_MIB = int(os.environ.get("SEAWALL_REMIRROR_SIZE_MIB", "64"))
COPY_MIB_PER_S = int(os.environ.get("SEAWALL_REMIRROR_COPY_MIB_PER_S", "16"))
REMIRROR_AFTER = 5


def stamp(volume, block):
    return (int(volume.split("-")[-1], 16).to_bytes(8, "little") + block.to_bytes(8, "little")) * (BLOCK // 16)


def extents():
    return range(0, SIZE_MIB * 256, EXTENT)


def fill(uri, volume):
    client = nbd.Client(uri)
    for first in extents():
        client.write(first * BLOCK, b"".join(stamp(volume, block) for block in range(first, first + EXTENT)))
    client.close()


def check(uri, volume):
    client = nbd.Client(uri)
    for first in extents():
        data = client.read(first * BLOCK, EXTENT * BLOCK)
        assert data == b"".join(stamp(volume, block) for block in range(first, first + EXTENT)), f"{volume}, from block {first}"
    client.close()


class Load:
    """fio on one volume, half reads and half writes at a moderate rate, each I/O's latency with its time."""

    def __init__(self, uri):
        self.folder = tempfile.TemporaryDirectory(prefix="seawall-remirror-")
        self.began = time.monotonic()
        # It is told to end when all is over.
        words = ["--rw=randrw", "--bs=4k", "--iodepth=8", "--rate_iops=250,250", "--time_based", "--runtime=3600"]
        log = ["--write_lat_log=io", "--log_avg_msec=0", "--output-format=json", "--output=said.json"]
        self.process = subprocess.Popen(
            ["fio", "--name=load", "--ioengine=nbd", f"--uri={uri}", *words, *log],
            cwd=self.folder.name,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def now(self):
        """Milliseconds, nearly as fio counts them."""
        return (time.monotonic() - self.began) * 1000

    def end(self):
        """(milliseconds, latency in milliseconds) of each I/O; none may have failed."""
        assert self.process.poll() is None, "fio ended before it was told to"
        self.process.terminate()
        self.process.wait(timeout=60)
        with open(os.path.join(self.folder.name, "said.json"), encoding="utf-8") as file:
            text = file.read()
        job = json.loads(text[text.index("{") :])["jobs"][0]
        # It was interrupted; nothing else may have gone wrong.
        assert job["error"] in (0, errno.EINTR), job["error"]
        with open(os.path.join(self.folder.name, "io_clat.1.log"), encoding="utf-8") as file:
            lines = [line.split(",") for line in file]
        self.folder.cleanup()
        return [(float(at), float(latency) / 1e6) for at, latency, *_ in lines]


def said(latencies, since, until_ms):
    """p50, p99 and the greatest between two times, for people."""
    part = sorted(latency for at, latency in latencies if since <= at < until_ms)
    assert len(part) >= 100, f"only {len(part)} I/Os from {since:.0f} to {until_ms:.0f} ms"
    at = [part[min(len(part) - 1, len(part) * share // 100)] for share in (50, 99)]
    return f"p50 {at[0]:.1f} ms, p99 {at[1]:.1f} ms, greatest {part[-1]:.0f} ms of {len(part)}"


def learners(region, volumes):
    shards = [shard for volume in volumes for shard in region.run("volume", "show", volume)["shards"]]
    return [shard["learner"] for shard in shards if shard["learner"]], [shard for shard in shards if len(shard["members"]) < 3]


def copied(region):
    nodes = [node["id"] for node in region.run("node", "list") if node["condition"] == "up"]
    return sum(region.run("node", "show", node)["taught"]["full_bytes"] for node in nodes)


def main():
    need("fio")
    with Region(nodes=4, remirror_after=REMIRROR_AFTER) as region:
        region.stop_all()
        region.configure("node-", copy_per_s=f"{COPY_MIB_PER_S}MiB")
        region.start_all()
        volumes = [until("all nodes are up", 30, lambda: region.attempt("volume", "create", f"{SIZE_MIB}MiB"))["id"]]
        volumes += [region.create(f"{SIZE_MIB}MiB") for _ in range(VOLUMES - 1)]
        uris = {volume: region.attach(volume) for volume in volumes}
        for volume in volumes:
            fill(uris[volume], volume)
        # One more, which has what it has to lose too, is used all the while.
        used = region.create("64MiB")
        load = Load(region.attach(used))
        time.sleep(5)
        primary, backups = region.members(used)
        concerned = {volume: [m["node"] for m in region.shard(volume)["members"]] for volume in [*volumes, used]}
        dead = backups[0]
        lost = [volume for volume, members in concerned.items() if dead in members]
        bytes_lost = sum(SIZE_MIB << 20 if volume != used else 64 << 20 for volume in lost)
        killed = load.now()
        region.kill(dead)
        until("somebody learns", 60, lambda: learners(region, lost)[0])
        began, seen = load.now(), []

        def whole():
            now, missing = learners(region, lost)
            seen.extend(learner for learner in now if learner["left"] is not None)
            return not missing

        until(f"all that {dead} had is made anew", 600, whole)
        ended = load.now()
        assert any(learner["left"] > 0 and learner["left_ms"] for learner in seen), f"nothing is said of what is left: {seen}"
        assert not any(learner["by_delta"] for learner in seen), "somebody was brought back, and nobody came back"
        time.sleep(2)
        sent = copied(region)
        latencies = load.end()
        for volume in volumes:
            check(uris[volume], volume)
        assert primary == region.members(used)[0], "the primary of the volume in use changed, so its stall is in the figures"
        print(f"{dead}, dead for good, had {len(lost)} copies of {bytes_lost >> 20} MiB; made anew from {(began - killed) / 1000:.1f} s after")
        print(f"  copied {sent >> 20} MiB in {(ended - began) / 1000:.1f} s, each node at most {COPY_MIB_PER_S} MiB a second")
        print(f"  clients before: {said(latencies, 1000, killed)}")
        print(f"  clients while it was missed: {said(latencies, killed, began)}")
        print(f"  clients while copies were made: {said(latencies, began, ended)}")


if __name__ == "__main__":
    main()
