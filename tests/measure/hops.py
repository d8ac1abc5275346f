"""Where the processor time of one I/O goes: microseconds of each process in system calls, copies, checksums and the rest of the kernel.

    python3 tests/measure/hops.py [path of seawall] [--seconds 5] [--rows write-qd1,write-qd32,read-qd1,read-qd32,seqwrite-128k,seqread-128k]

Needs fio and perf. All processors are sampled while fio runs; a sample counts for the first group of which a function is on its stack, the innermost function first for what
is copied, summed or waited for, so that a copy inside a send is a copy. Microseconds are the busy time of the machine over the I/Os, shared out by the samples.
"""

import argparse
import collections
import json
import os
import re
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))

ROWS = {
    "write-qd1": ["--rw=randwrite", "--bs=4k", "--iodepth=1"],
    "write-qd32": ["--rw=randwrite", "--bs=4k", "--iodepth=32"],
    "read-qd1": ["--rw=randread", "--bs=4k", "--iodepth=1"],
    "read-qd32": ["--rw=randread", "--bs=4k", "--iodepth=32"],
    "seqwrite-128k": ["--rw=write", "--bs=128k", "--iodepth=8"],
    "seqread-128k": ["--rw=read", "--bs=128k", "--iodepth=8"],
}
# By the innermost function, then by any function on the stack; the first that fits.
INNERMOST = [
    ("copies", r"copy_(to|from)_(iter|user)|_copy_|rep_movs|copy_user|memmove|memcpy|skb_copy"),
    ("checksums", r"crc|crc32c|checksum"),
    ("page faults", r"clear_page|clear_user"),
    ("idle", r"^(pv_)?native_(safe_)?halt|default_idle|acpi_idle|mwait_idle|cpuidle"),
]
ANYWHERE = [
    ("page faults", r"exc_page_fault|do_user_addr_fault"),
    ("waking", r"try_to_wake_up|wake_up|ttwu|__wake_up|autoremove_wake"),
    ("sleeping", r"^schedule|__schedule|sched_yield|io_cqring_wait|do_poll|futex_wait|do_nanosleep"),
    ("disk", r"io_write|io_read|blkdev|ext4|iomap|blk_mq|virtblk|submit_bio|vring|fsync"),
    ("sending", r"sendmsg|tcp_sendmsg|unix_stream_sendmsg|tcp_write_xmit"),
    ("receiving", r"recvmsg|tcp_recvmsg|unix_stream_read|io_recv"),
    ("other system calls", r"entry_SYSCALL|do_syscall|io_uring|syscall|asm_|irq|softirq"),
    ("allocation", r"malloc|free|calloc|realloc|arena"),
]


def group(stack):
    for name, pattern in INNERMOST:
        if stack and re.search(pattern, stack[0]):
            return name
    text = "\n".join(stack)
    for name, pattern in ANYWHERE:
        if re.search(pattern, text, re.MULTILINE):
            return name
    return "the program itself"


def samples(path):
    """Process and stack of each sample, the innermost function first."""
    script = subprocess.Popen(
        ["perf", "script", "-i", path, "-F", "comm,pid,ip,sym"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    pid, stack = None, []
    for line in script.stdout:
        if not line.strip():
            if pid is not None:
                yield pid, stack
            pid, stack = None, []
        elif line[0] not in " \t" or pid is None:
            pid, stack = int(re.search(r"(\d+)\s*$", line.strip()).group(1)), []
        else:
            stack.append(line.split(None, 1)[1].strip() if len(line.split(None, 1)) > 1 else "")
    script.wait()


def busy_s():
    with open("/proc/stat", encoding="utf-8") as file:
        fields = [int(field) for field in file.readline().split()[1:]]
    return (fields[0] + fields[1] + fields[2] + fields[5] + fields[6]) / os.sysconf("SC_CLK_TCK")


def measure(row, uri, roles, seconds, size):
    """Prints one row's table."""
    command = ["fio", "--name=hops", "--ioengine=nbd", f"--uri={uri}", f"--size={size}", "--output-format=json"]
    command += ["--thread", "--time_based", f"--runtime={seconds + 2}", *ROWS[row]]
    with tempfile.TemporaryDirectory() as top:
        data = os.path.join(top, "data")
        before = busy_s()
        load = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        time.sleep(1)
        record = ["perf", "record", "-a", "-e", "cpu-clock", "-F", "2000", "-g", "-o", data, "--", "sleep", str(seconds)]
        subprocess.run(record, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        said, _ = load.communicate()
        busy = busy_s() - before
        job = json.loads(said[said.index("{") :])["jobs"][0]
        ios = job["read"]["total_ios"] + job["write"]["total_ios"]
        counted = collections.Counter()
        for pid, stack in samples(data):
            what = group(stack)
            if what != "idle" and pid != 0:
                counted[roles.get(pid, "fio" if pid == load.pid else "rest"), what] += 1
    total, us = sum(counted.values()), busy * 1e6 / ios
    who = [name for name in ("fio", "host", "primary", "backups", "rest") if any(role == name for role, _ in counted)]
    print(f"\n{row}: {ios / (seconds + 2):.0f} a second, {us:.1f} us of the machine for each (while it is sampled)")
    print(f"{'':20}" + "".join(f"{name:>10}" for name in who) + f"{'all':>10}")
    groups = [name for name, _ in INNERMOST + ANYWHERE if name != "idle"] + ["the program itself"]
    for what in dict.fromkeys(groups):
        cells = [counted[name, what] / total * us for name in who]
        print(f"{what:20}" + "".join(f"{cell:10.1f}" for cell in cells) + f"{sum(cells):10.1f}")
    sums = [sum(n for (role, _), n in counted.items() if role == name) / total * us for name in who]
    print(f"{'all':20}" + "".join(f"{cell:10.1f}" for cell in sums) + f"{sum(sums):10.1f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", nargs="?")
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--size", default="1G")
    asked = parser.parse_args()
    sys.argv = sys.argv[:1] + ([asked.binary] if asked.binary else [])
    from region import Region, need

    need("fio", "perf")
    with Region(nodes=3, node_size="4GiB") as region:
        volume = region.create("1GiB")
        uri = region.attach(volume)
        # Until every segment of each node's log was written: nobody waits for the file system to make room.
        fill = ["fio", "--name=fill", "--ioengine=nbd", f"--uri={uri}", f"--size={asked.size}", "--rw=write", "--bs=1M", "--iodepth=8"]
        for _ in range(5):
            subprocess.run(fill, check=True, stdout=subprocess.DEVNULL)
        primary, backups = region.members(volume)
        pids = region.pids()
        roles = {pids[primary]: "primary", **{pids[name]: "backups" for name in backups}}
        roles.update({pid: "host" for name, pid in pids.items() if name.startswith("i-")})
        for row in asked.rows.split(","):
            measure(row, uri, roles, asked.seconds, asked.size)


if __name__ == "__main__":
    main()
