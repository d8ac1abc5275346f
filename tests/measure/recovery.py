"""How long a node with a large store takes to open it, and how much of its log it reads: after a stop, and after a kill under load"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

from memory import fio, nodes
from region import Region, need

MIB, GIB = 1 << 20, 1 << 30
SECONDS, LOG = 10, GIB
OPEN = re.compile(r"its store is open after (\d+) ms: (\d+) MiB read, (\d+) MiB of them log")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binary", nargs="?")
    parser.add_argument("--gib", type=int, default=50, help="stored on one node")
    parser.add_argument("--random", type=float, default=0.02, help="of it overwritten at random in 4 KiB before that")
    return parser.parse_args()


def openings(region):
    """What each node said of opening its store, in order: milliseconds, MiB read, MiB of the log."""
    found = {}
    for name in filter(lambda name: name.startswith("node-"), os.listdir(region.dir)):
        with open(os.path.join(region.dir, name, "log"), encoding="utf-8", errors="replace") as file:
            found[name] = [tuple(map(int, match.groups())) for match in map(OPEN.search, file) if match]
    return found


def forget_pages():
    """What the page cache holds of the stores is not what a machine that starts has."""
    subprocess.run(["sync"], check=True)
    try:
        with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
            file.write("1\n")
    except OSError as why:
        print(f"  (the page cache is as it was: {why})")


def again(region, gib, what):
    known = openings(region)
    forget_pages()
    begun = time.monotonic()
    region.start_all()
    took = time.monotonic() - begun
    news = [opening for name, said in openings(region).items() for opening in said[len(known[name]) :]]
    assert len(news) == len(known), f"not every node said once that its store is open: {news}"
    ms, read, log = max(news, key=lambda opening: opening[1])
    print(f"{what}: the store of {gib} GiB was open after {ms} ms: {read} MiB read, {log} MiB of them log; all ready after {took:.1f} s", flush=True)
    assert ms <= SECONDS * 1000 and log * MIB <= LOG


def main():
    need("fio")
    args = arguments()
    with Region(nodes=3, node_size=f"{args.gib * 5 // 4}GiB") as region:
        volume = region.create(f"{args.gib}GiB", "--copies", "1")
        uri = region.attach(volume)
        fio(uri, "--rw=write", "--bs=1M", "--iodepth=16")
        over = ["--rw=randwrite", "--bs=4k", "--iodepth=32", "--norandommap"]
        fio(uri, *over, f"--io_size={int(args.gib * args.random * 1024)}M")
        print(json.dumps({name: region.run("node", "show", name)["used"] for name in nodes(region)}))
        region.stop_all()
        again(region, args.gib, "stopped")
        uri = region.attach(volume)
        load = subprocess.Popen(
            ["fio", "--name=load", "--ioengine=nbd", f"--uri={uri}", *over, "--time_based", "--runtime=300"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        time.sleep(20)
        region.kill_everything()
        load.send_signal(signal.SIGTERM)
        load.wait(timeout=60)
        again(region, args.gib, "killed under load")


if __name__ == "__main__":
    main()
