"""What memory a node needs: for ten thousand empty volumes, and for what is stored, written at random in 4 KiB and in sequence"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

from region import Region, need, until

MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40
# design/store.md: what a TiB stored may cost, at worst and in runs; and what an empty volume may cost on each node.
AT_WORST, IN_RUNS, EMPTY = 3.5 * GIB, 1.3 * GIB, 16 << 10


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binary", nargs="?")
    parser.add_argument("--volumes", type=int, default=10_000, help="empty ones; 0 leaves that out")
    parser.add_argument("--gib", type=int, default=16, help="written to one volume of one copy; 0 leaves that out")
    parser.add_argument("--how", choices=["runs", "random", "both"], default="both")
    return parser.parse_args()


def resident(pid):
    """Bytes of anonymous memory that a process holds; pages of files come and go."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        fields = dict(line.split(":", 1) for line in file)
    return int(fields["RssAnon"].split()[0]) << 10


def nodes(region):
    return {name: pid for name, pid in region.pids().items() if name.startswith("node-")}


def settled(region):
    """What each node holds once that stands still: the same within 64 KiB for three seconds."""
    seen = {"was": {}, "since": time.monotonic()}

    def still():
        now = {name: resident(pid) for name, pid in nodes(region).items()}
        if any(abs(now[name] - seen["was"].get(name, 0)) > 64 << 10 for name in now):
            seen.update(was=now, since=time.monotonic())
        return now if time.monotonic() > seen["since"] + 3 else None

    return until("memory stands still", 120, still)


def empty(volumes):
    with Region(nodes=3, node_size="32GiB") as region:
        for _ in range(100):
            region.create("1MiB")
        before = settled(region)
        begun = time.monotonic()
        for _ in range(volumes):
            region.create("1MiB")
        took = time.monotonic() - begun
        after = settled(region)
        each = {name: (after[name] - before[name]) / volumes for name in before}
        print(f"{volumes} empty volumes, made in {took:.0f} s: " + ", ".join(f"{name} {b:.0f}" for name, b in each.items()), end="")
        print(" bytes each", flush=True)
        assert max(each.values()) <= EMPTY, f"more than {EMPTY} bytes"


def fio(uri, *words):
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        command = ["fio", "--name=memory", "--ioengine=nbd", f"--uri={uri}", "--output-format=json", f"--output={out.name}"]
        subprocess.run([*command, *words], check=True, timeout=7200, stdout=subprocess.DEVNULL)
        with open(out.name, encoding="utf-8") as file:
            text = file.read()
    job = json.loads(text[text.index("{") :])["jobs"][0]
    assert job["error"] == 0, job["error"]
    return job["write"]


def stored(gib, how, most):
    with Region(nodes=3, node_size=f"{gib * 2}GiB") as region:
        # What serving takes at all is there before, on whichever node the copy will be.
        served = set()
        while len(served) < 3:
            warm = region.create("64MiB", "--copies", "1")
            served.add(region.members(warm)[0])
            fio(region.attach(warm), "--rw=randwrite", "--bs=4k", "--iodepth=64")
            fio(region.attach(warm), "--rw=write", "--bs=1M", "--iodepth=16")
        before = settled(region)
        volume = region.create(f"{gib}GiB", "--copies", "1")
        written = fio(region.attach(volume), *how)
        assert written["io_bytes"] == gib * GIB
        after = settled(region)
        used = sum(region.run("node", "show", name)["used"] for name in nodes(region))
        # The node that has the copy; what the others grew by meanwhile is not for what is stored.
        more = max(after[name] - before[name] for name in before)
        others = min(after[name] - before[name] for name in before)
        per_tib = more * TIB / (gib * GIB)
        print(
            f"{gib} GiB {' '.join(how)} at {written['iops']:.0f}/s: {more / MIB:.1f} MiB more, {per_tib / GIB:.2f} GiB per TiB stored "
            f"(used {used / GIB:.2f} GiB; a node without a copy {others / MIB:.1f} MiB more)",
            flush=True,
        )
        assert per_tib <= most, f"more than {most / GIB} GiB per TiB"


def main():
    need("fio")
    args = arguments()
    if args.volumes:
        empty(args.volumes)
    if args.gib:
        if args.how != "random":
            stored(args.gib, ["--rw=write", "--bs=1M", "--iodepth=16"], IN_RUNS)
        if args.how != "runs":
            stored(args.gib, ["--rw=randwrite", "--bs=4k", "--iodepth=64"], AT_WORST)


if __name__ == "__main__":
    main()
