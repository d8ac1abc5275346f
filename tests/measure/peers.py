"""Seawall beside the disk itself and beside Ceph, in one sitting: rounds in turn, medians, and how each figure stands to its bar.

    python3 tests/measure/peers.py [path of seawall] [--rounds 5] [--seconds 8] [--size 1G] [--rows NAME,NAME] [--without-ceph] [--json FILE]

Needs fio, and for Ceph ceph-osd, ceph-mon, ceph-mgr and ceph-common; and `shared/bench` beside the project, whose `fio-matrix` measures
each of them the same way. All copies of both systems lie on the one disk of this machine, and an acknowledged write is flushed on all three.

Every block that is written was written before: the disk's file is filled first, Ceph's image too, and Seawall's volume so often that each node's log has gone
round once. So nobody waits for a file system that makes room. (What a fresh node does meanwhile is in crates/store/src/zero.rs.)

Each is measured alone: Ceph's processes are stopped (SIGSTOP) while the others have their turn, since on two cores its idle ones, which wake for a millisecond
again and again, are a load of their own. `--together` lets them run.

Then it says of each bar of the house whether it is met, and the tail at depth 32 beside Ceph's.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))

BENCH = os.path.join(HERE, "..", "..", "..", "shared", "bench")
ROWS = "write-qd1,write-qd32,read-qd1,read-qd32,seqwrite-128k,seqread-128k"
NODE_GIB = 6
# What is asked of each row: a figure of Seawall alone, or as a multiple of another's.
BARS = [
    ("write-qd32", "cpu_us", None, "<=", 70),
    ("write-qd32", "iops", "ceph", ">=", 15),
    ("read-qd32", "cpu_us", None, "<=", 35),
    ("read-qd32", "iops", "ceph", ">=", 5),
    ("write-qd1", "iops", "floor", ">=", 0.6),
    ("read-qd1", "iops", "disk", ">=", 0.7),
    ("seqwrite-128k", "mib_s", "disk", ">=", 0.22),
    ("seqread-128k", "mib_s", "disk", ">=", 0.5),
    ("read-qd32", "disk_r", None, ">=", 0.95),
    ("seqread-128k", "disk_r", None, ">=", 0.95),
    ("write-qd32", "disk_w", None, ">=", 3),
    ("seqwrite-128k", "disk_w", None, ">=", 3),
]
TAILS = ["write-qd32", "read-qd32", "mixed-70-30-qd32"]


class Side:
    """Something that `fio-matrix` measures."""

    def __init__(self, kind, target, env=None, uri=None):
        self.kind, self.target, self.env = kind, target, {**os.environ, **(env or {})}
        self.fio = uri or []

    def matrix(self, rows, asked):
        """Rows, by name; `fill` is one of them."""
        with tempfile.NamedTemporaryFile(suffix=".json") as out:
            command = [sys.executable, os.path.join(BENCH, "fio-matrix"), self.kind, self.target, "--size", asked.size]
            command += ["--seconds", str(asked.seconds), "--rows", rows, "--json", out.name]
            done = subprocess.run(command, env=self.env, capture_output=True, text=True)
            assert done.returncode == 0, f"{self.kind}: {done.stdout[-500:]}{done.stderr[-500:]}"
            return {row["row"]: row for row in json.load(open(out.name, encoding="utf-8"))}

    def tail(self, row, asked):
        """The 99th percentile and the one above which a thousandth is, in milliseconds."""
        options = {"write-qd32": ["--rw=randwrite"], "read-qd32": ["--rw=randread"], "mixed-70-30-qd32": ["--rw=randrw", "--rwmixread=70"]}
        command = ["fio", "--name=tail", "--output-format=json", f"--size={asked.size}", "--bs=4k", "--iodepth=32"]
        command += ["--time_based", f"--runtime={asked.seconds}", *options[row], *self.fio]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, check=True)
        job = json.loads(done.stdout[done.stdout.index("{") :])["jobs"][0]
        assert not job["error"], job["error"]
        side = max(("read", "write"), key=lambda name: job[name]["total_ios"])
        points = job[side]["clat_ns"]["percentile"]
        return points["99.000000"] / 1e6, points["99.900000"] / 1e6


def ceph(folder, verb):
    subprocess.run(["bash", os.path.join(BENCH, "ceph-peer"), verb, folder], check=True, capture_output=True, timeout=300)


class Alone:
    """Ceph's processes, which run only while they are measured."""

    def __init__(self, folder, together):
        self.folder, self.together = folder, together

    def signal(self, number):
        for name in os.listdir(self.folder):
            if name.endswith(".pid"):
                os.kill(int(open(os.path.join(self.folder, name), encoding="ascii").read()), number)

    def __enter__(self):
        if self.together:
            return
        self.signal(signal.SIGCONT)
        env, end = {**os.environ, "CEPH_CONF": os.path.join(self.folder, "ceph.conf")}, time.monotonic() + 120
        # They may have taken each other for dead, and say so only after a while.
        time.sleep(5)
        while True:
            said = subprocess.run(["ceph", "-s", "-f", "json"], env=env, capture_output=True, text=True, timeout=60).stdout
            state = json.loads(said) if said else {}
            groups = state.get("pgmap", {}).get("pgs_by_state", [])
            if state.get("osdmap", {}).get("num_up_osds") == 3 and {group["state_name"] for group in groups} == {"active+clean"}:
                return
            assert time.monotonic() < end, f"Ceph is not well two minutes after it was woken: {said}"
            time.sleep(1)

    def __exit__(self, *_):
        if not self.together:
            self.signal(signal.SIGSTOP)


def middle(rounds, row, figure):
    return statistics.median(found[row][figure] for found in rounds if row in found)


def table(measured, rows):
    print(f"\n{'row':14} {'':8} {'IOPS':>8} {'least..most':>15} {'MiB/s':>6} {'p50 us':>7} {'p99 us':>7} {'cpu us':>7} {'disk_r':>6} {'disk_w':>6} {'flush':>6}")
    for row in [*rows.split(","), "floor"]:
        for name, rounds in measured.items():
            found = [one[row] for one in rounds if row in one]
            if found:
                m = lambda figure: statistics.median(one[figure] for one in found)
                spread = f"{min(one['iops'] for one in found)}..{max(one['iops'] for one in found)}"
                print(
                    f"{row:14} {name:8} {m('iops'):8.0f} {spread:>15} {m('mib_s'):6.0f} {m('p50'):7.0f} {m('p99'):7.0f} {m('cpu_us'):7.1f} {m('disk_r'):6.2f} {m('disk_w'):6.2f} {m('flush'):6.2f}"
                )


def bars(measured, rows):
    """Prints each bar with where we stand, and gives those that are missed."""
    missed = []
    print()
    for row, figure, other, which, bar in BARS:
        if row not in rows.split(",") or other is not None and other not in measured:
            continue
        ours = middle(measured["seawall"], row, figure)
        if other is not None:
            ours /= middle(measured[other], "floor" if other == "floor" else row, figure)
        met = ours <= bar if which == "<=" else ours >= bar
        what = f"{row} {figure}" + (f" / {other}" if other else "")
        print(f"{what:28} {ours:8.2f}   bar {which} {bar:<6} {'met' if met else 'MISSED'}")
        if not met:
            missed.append(what)
    return missed


def measure(sides, alone, asked):
    measured = {name: [] for name in sides}
    for n in range(asked.rounds):
        for name, side in sides.items():
            print(f"round {n + 1} of {asked.rounds}: {name}", file=sys.stderr, flush=True)
            with alone.get(name, contextlib.nullcontext()):
                measured[name].append(side.matrix("fill,floor" if name == "floor" else asked.rows, asked))
    return measured


def tails(sides, alone, asked):
    print(f"\n{'at depth 32':18} {'':8} {'p99 ms':>9} {'p99.9 ms':>9}")
    for row in TAILS:
        for name in [name for name in ("seawall", "ceph") if name in sides]:
            with alone.get(name, contextlib.nullcontext()):
                found = [sides[name].tail(row, asked) for _ in range(min(asked.rounds, 3))]
            p99, p999 = (statistics.median(one[i] for one in found) for i in (0, 1))
            print(f"{row:18} {name:8} {p99:9.2f} {p999:9.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", nargs="?")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--size", default="1G")
    parser.add_argument("--rows", default=ROWS)
    parser.add_argument("--without-ceph", action="store_true")
    parser.add_argument("--together", action="store_true")
    parser.add_argument("--without-tails", action="store_true")
    parser.add_argument("--json", help="also write every round to this file")
    asked = parser.parse_args()
    sys.argv = sys.argv[:1] + ([asked.binary] if asked.binary else [])
    from region import Region, need

    need("fio", *([] if asked.without_ceph else ["ceph-osd", "ceph-mon", "ceph-mgr", "rbd"]))
    top = tempfile.mkdtemp(prefix="seawall-peers-")
    peer = os.path.join(top, "ceph")
    try:
        with Region(nodes=3, node_size=f"{NODE_GIB}GiB") as region:
            uri = region.attach(region.create("1GiB"))
            sides = {
                "seawall": Side("nbd", uri, uri=["--ioengine=nbd", f"--uri={uri}"]),
                "disk": Side("file", os.path.join(top, "disk")),
                "floor": Side("floor", os.path.join(top, "floor")),
            }
            alone = {}
            if not asked.without_ceph:
                ceph(peer, "up")
                rbd = ["--ioengine=rbd", "--pool=bench", "--rbdname=vol", "--clientname=admin"]
                alone["ceph"] = Alone(peer, asked.together)
                sides["ceph"] = Side("rbd", "bench/vol", {"CEPH_CONF": os.path.join(peer, "ceph.conf")}, rbd)
            for name, side in sides.items():
                if name != "floor":
                    print(f"filling: {name}", file=sys.stderr, flush=True)
                    for _ in range(NODE_GIB + 1 if name == "seawall" else 1):
                        side.matrix("fill", asked)
            for one in alone.values():
                one.__exit__()
            measured = measure(sides, alone, asked)
            table(measured, asked.rows)
            missed = bars(measured, asked.rows)
            if not asked.without_tails:
                tails(sides, alone, asked)
            if asked.json:
                json.dump(measured, open(asked.json, "w", encoding="utf-8"), indent=1)
    finally:
        if os.path.isdir(peer):
            Alone(peer, False).signal(signal.SIGCONT)
            ceph(peer, "down")
        shutil.rmtree(top, ignore_errors=True)
    sys.exit(f"missed: {', '.join(missed)}" if missed else 0)


if __name__ == "__main__":
    main()
