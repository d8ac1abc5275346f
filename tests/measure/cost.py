"""What one write and one read cost, and where: system calls, disk operations and processor time of each process per I/O.

    python3 tests/measure/cost.py [path of seawall] [--seconds 8] [--drivers io_uring,epoll]

Needs fio. Each row has a run of its own, so that the counters that every process leaves in its log at its end are that row's. A turn of a
process over io_uring is one system call (io_uring_enter), and one more if it sleeps: what it took in and what it asked for went through the ring. With several
drivers each row is measured over one after the other, so that their ratio is of one sitting.
"""

import argparse
import itertools
import json
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))

ROWS = {
    "write-qd1": ["--rw=randwrite", "--iodepth=1"],
    "write-qd32": ["--rw=randwrite", "--iodepth=32"],
    "read-qd1": ["--rw=randread", "--iodepth=1"],
    "read-qd32": ["--rw=randread", "--iodepth=32"],
}
COUNTS = ["turns", "sqes", "sends", "receives", "frames_out", "reads", "writes", "bytes_copied"]


def ticks(pid):
    """Processor time in user and in system mode, in microseconds."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    us = 1e6 / os.sysconf("SC_CLK_TCK")
    return int(fields[11]) * us, int(fields[12]) * us


def fio(uri, options):
    command = ["fio", "--name=cost", "--ioengine=nbd", f"--uri={uri}", "--size=256M", "--output-format=json", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    job = json.loads(done.stdout[done.stdout.index("{") :])["jobs"][0]
    assert not job["error"], job["error"]
    return job["read"]["total_ios"] + job["write"]["total_ios"], job["read"]["iops"] + job["write"]["iops"]


def counters(region, name):
    with open(os.path.join(region.dir, name, "log"), encoding="utf-8", errors="replace") as file:
        lines = [line for line in file if line.startswith("counters: ")]
    return {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", lines[-1])}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", nargs="?")
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--drivers", default="auto")
    asked = parser.parse_args()
    sys.argv = sys.argv[:1] + ([asked.binary] if asked.binary else [])
    from region import Region, need

    need("fio")
    with Region(nodes=3, node_size="16GiB") as region:
        volume = region.create("256MiB")
        fio(region.attach(volume), ["--rw=write", "--bs=1M", "--iodepth=8"])
        for row, driver in itertools.product(asked.rows.split(","), asked.drivers.split(",")):
            region.stop_all()
            region.configure("", driver=driver)
            region.start_all()
            uri = region.attach(volume)
            region.whole(volume)
            primary, backups = region.members(volume)
            pids = region.pids()
            host = next(name for name in pids if name.startswith("i-"))
            roles = {"host": host, "primary": primary, "backup": backups[0]}
            before = {role: ticks(pids[name]) for role, name in roles.items()}
            ios, iops = fio(uri, ["--bs=4k", f"--runtime={asked.seconds}", "--time_based", *ROWS[row]])
            after = {role: ticks(pids[name]) for role, name in roles.items()}
            region.stop_all()
            print(f"{row} over {driver}: {ios} I/Os, {iops:.0f} a second; of each process per I/O:")
            print(f"{'':10}{'user us':>9}{'sys us':>9}" + "".join(f"{name:>13}" for name in COUNTS))
            for role, name in roles.items():
                count = counters(region, name)
                user, system = (b - a for a, b in zip(before[role], after[role]))
                cells = "".join(f"{count[key] / ios:>13.2f}" for key in COUNTS)
                print(f"{role:10}{user / ios:>9.1f}{system / ios:>9.1f}{cells}")
            region.start_all()


if __name__ == "__main__":
    main()
