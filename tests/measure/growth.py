"""How the cost of an I/O grows: with attached volumes, with nodes, with the shards of a volume.

    python3 tests/measure/growth.py [path of seawall] [--seconds 6] [--rounds 3] [--what volumes,nodes,shards]

Needs fio. IOPS at depth 32 with blocks of 4 KiB, and the processor time of the whole machine for each, medians of the rounds. All of it is one machine, so more nodes bring
no more power: what is to be seen is whether an I/O costs more because there is more of everything.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))

ROWS = {"write-qd32": ["--rw=randwrite"], "read-qd32": ["--rw=randread"]}


def busy_s():
    """Processor time of the machine so far: user, nice, system, interrupts."""
    with open("/proc/stat", encoding="utf-8") as file:
        fields = [int(field) for field in file.readline().split()[1:]]
    return (fields[0] + fields[1] + fields[2] + fields[5] + fields[6]) / os.sysconf("SC_CLK_TCK")


def fio(uris, options, size):
    """One job for each volume, together at depth 32: I/Os, I/Os a second."""
    depth = max(1, 32 // len(uris))
    command = ["fio", "--output-format=json", "--ioengine=nbd", f"--size={size}", f"--iodepth={depth}", "--group_reporting", *options]
    for n, uri in enumerate(uris):
        command += [f"--name=v{n}", f"--uri={uri}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    job = json.loads(done.stdout[done.stdout.index("{") :])["jobs"][0]
    assert not job["error"], job["error"]
    return job["read"]["total_ios"] + job["write"]["total_ios"], job["read"]["iops"] + job["write"]["iops"]


def measure(name, uris, asked, size="48M"):
    """Prints the medians of a case. At most 32 volumes are used at once; the others are attached and at rest."""
    uris = uris[:32]
    fio(uris, ["--rw=write", "--bs=256k"], size)
    for row, options in ROWS.items():
        found = []
        for _ in range(asked.rounds):
            before = busy_s()
            ios, iops = fio(uris, ["--bs=4k", "--time_based", f"--runtime={asked.seconds}", *options], size)
            found.append((iops, (busy_s() - before) * 1e6 / ios))
        iops, cpu = (statistics.median(one[i] for one in found) for i in (0, 1))
        print(f"{name:24} {row:12} {iops:8.0f} IOPS {cpu:7.1f} us", flush=True)


def volumes(region, asked):
    uris = []
    with region(nodes=3, node_size="8GiB") as r:
        for count in (1, 10, 100):
            while len(uris) < count:
                uris.append(r.attach(r.create("48MiB")))
            measure(f"{count} volumes", uris[:1], asked)
            if count > 1:
                measure(f"{count} volumes, {min(count, 32)} used", uris, asked, "16M")


def nodes(region, asked):
    # A region has three nodes at least; one copy is on one of them.
    for name, count, words in (("1 node has it", 3, ["--copies", "1"]), ("3 nodes", 3, []), ("9 nodes", 9, [])):
        with region(nodes=count, node_size="4GiB") as r:
            measure(name, [r.attach(r.create("512MiB", *words))], asked, "512M")


def shards(region, asked):
    for count in (1, 16):
        with region("--shard-size", f"{1024 // count}MiB", nodes=3, node_size="8GiB") as r:
            volume = r.create("1GiB")
            assert len(r.run("volume", "show", volume)["shards"]) == count
            measure(f"{count} shards", [r.attach(volume)], asked, "1G")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", nargs="?")
    parser.add_argument("--seconds", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--what", default="volumes,nodes,shards")
    asked = parser.parse_args()
    sys.argv = sys.argv[:1] + ([asked.binary] if asked.binary else [])
    from region import Region, need

    need("fio")
    cases = {"volumes": volumes, "nodes": nodes, "shards": shards}
    for what in asked.what.split(","):
        cases[what](Region, asked)


if __name__ == "__main__":
    main()
