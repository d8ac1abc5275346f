"""A zone filled to the last MiB that create allows, and overwritten at random with the cleaner at work: nothing refused, nothing wedged, every byte right"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time

from region import Region, need, until

MIB = 1 << 20
NODES = ["node-1", "node-2", "node-3"]


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary", nargs="?")
    parser.add_argument("--node-size", default="512MiB", help="of each of the three nodes")
    parser.add_argument("--seconds", type=int, default=25, help="of measured overwriting; after that it is verified")
    parser.add_argument("--before", type=float, default=0.5, help="how often the volume is overwritten before that")
    parser.add_argument("--part", type=float, default=1.0, help="of what create allows")
    return parser.parse_args()


def largest(region):
    """The largest volume, in MiB, that create allows."""
    capacity = min(region.run("node", "show", node)["capacity"] for node in NODES) // MIB
    low, high = 1, capacity + 1
    while high - low > 1:
        middle = (low + high) // 2
        try:
            volume = region.create(f"{middle}MiB")
        except AssertionError as refused:
            assert "E0003" in str(refused), refused
            high = middle
            continue
        low = middle
        region.run("volume", "delete", volume)
        until("the volume is gone", 60, lambda: not region.run("volume", "list"))
    return low, capacity


def fio(uri, *words):
    """One job; fails with what fio says when any I/O failed or did not verify."""
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        command = ["fio", "--name=full", "--ioengine=nbd", f"--uri={uri}", "--output-format=json", f"--output={out.name}", "--verify_state_save=0"]
        done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=7200)
        assert done.returncode == 0, f"fio {words}: status {done.returncode}: {done.stderr[-2000:]}"
        with open(out.name, encoding="utf-8") as file:
            text = file.read()
    job = json.loads(text[text.index("{") :])["jobs"][0]
    assert job["error"] == 0, job["error"]
    return job


def overwrite(uri, *words):
    return fio(uri, "--rw=randwrite", "--bs=4k", "--iodepth=32", *words)


def activity(region):
    return [region.run("node", "show", node) for node in NODES]


def measured(region, uri, seconds, size_mib):
    """Overwrites for a while; says for each slice what was done and what the cleaners moved."""
    slices = max(2, min(10, seconds // 10))
    rates = []
    for number in range(slices):
        before = activity(region)
        job = overwrite(uri, "--time_based", f"--runtime={seconds / slices}", "--norandommap", f"--randseed={number + 7}")["write"]
        after = activity(region)
        moved = [a["activity"]["moved"] - b["activity"]["moved"] for a, b in zip(after, before)]
        log = sum(a["activity"]["log"] - b["activity"]["log"] for a, b in zip(after, before))
        checkpoints = sum(a["activity"]["checkpoints"] - b["activity"]["checkpoints"] for a, b in zip(after, before))
        written = job["io_bytes"]
        assert written > 0
        p999 = job["clat_ns"]["percentile"]["99.900000"] / 1e6
        used = max(a["used"] / a["capacity"] for a in after)
        rates.append(job["iops"])
        print(
            f"  {number + 1}: {job['iops']:.0f} writes/s, p99.9 {p999:.1f} ms, {written / MIB / size_mib:.2f} times over, "
            f"moved {min(moved) / MIB:.0f} MiB on each node, log {log / written / 3:.2f} and checkpoints "
            f"{checkpoints / written / 3:.3f} times what was written, used {used:.0%} of what may be promised",
            flush=True,
        )
        if number > 0:
            assert min(moved) > 0, f"a node's cleaner moved nothing: {moved}"
    return rates


def main():
    need("fio")
    args = arguments()
    with Region(nodes=3, node_size=args.node_size) as region:
        most, capacity = largest(region)
        size = int(most * args.part)
        volume = region.create(f"{size}MiB")
        if args.part == 1.0:
            refused = ""
            try:
                region.create("1MiB")
            except AssertionError as why:
                refused = str(why)
            assert "E0003" in refused and re.search(r"free: node-\d", refused), f"not refused with the numbers: {refused}"
        uri = region.attach(volume)
        print(f"{size} MiB in three copies, of {capacity} MiB that each of three nodes of {args.node_size} may hold", flush=True)
        begun = time.monotonic()
        fio(uri, "--rw=write", "--bs=256k", "--iodepth=8")
        print(f"  filled in {time.monotonic() - begun:.0f} s", flush=True)
        overwrite(uri, f"--io_size={int(size * args.before)}M", "--norandommap")
        rates = measured(region, uri, args.seconds, size)
        # Whatever it holds now, it holds it after a restart of everything; and then it is written and verified whole.
        region.stop_all()
        region.start_all()
        region.whole(volume)
        uri = region.attach(volume)
        overwrite(uri, "--verify=crc32c", "--do_verify=1", f"--io_size={min(size, 256)}M", "--verify_fatal=1")
        shown = region.run("volume", "show", volume)
        assert shown["condition"] == "ok", shown
        print(f"full at {size} MiB: {rates[0]:.0f} writes/s first, {rates[-1]:.0f} last, nothing refused, every byte right")


if __name__ == "__main__":
    sys.exit(main())
