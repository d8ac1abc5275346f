"""An idle region costs next to nothing: memory, wakings and processor time of each process over half a minute"""

import os
import subprocess
import time

from region import Region, need

SECONDS = 30
# The bars of the house for an idle node are 64 MiB and 0.2 % of a core.
RSS_KIB_MAX = 64 << 10
CORE_PERCENT_BAR = 0.2
# What it takes to wake up is the machine's: 60 to 400 us were seen for the same turns. How often it wakes is ours, so that is what is held to. A process with a
# volume says a keepalive on each of ten connections twice a second, and answers as many: 20 wakings.
WAKINGS_PER_S_MAX = 40
# A loop that does not sleep, or looks in vain before each sleep, shows on any machine.
CORE_PERCENT_MAX = 5.0


def cpu_s(pid):
    """Seconds of processor time so far. /proc/PID/stat counts clock ticks, which hit or miss one who wakes by a clock; schedstat measures."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat", encoding="utf-8") as file:
            total += int(file.read().split()[0])
    return total / 1e9


def wakings(pid):
    """How often its threads went to sleep by themselves."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status", encoding="utf-8") as file:
            total += next(int(line.split()[1]) for line in file if line.startswith("voluntary_ctxt_switches:"))
    return total


def rss_kib(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))


def main():
    need("nbdcopy")
    with Region() as region:
        # Idle, but not empty: a volume is attached, and has been written to.
        volume = region.create("256MiB")
        uri = region.attach(volume)
        data = os.path.join(region.top, "data")
        with open(data, "wb") as file:
            file.write(os.urandom(64 << 20))
            file.truncate(256 << 20)
        subprocess.run(["nbdcopy", data, uri], check=True)
        time.sleep(5)
        pids = region.pids()
        before = {name: (cpu_s(pid), wakings(pid)) for name, pid in pids.items()}
        began = time.monotonic()
        time.sleep(SECONDS)
        span = time.monotonic() - began
        print(f"{'process':22} {'RSS KiB':>10} {'wakings/s':>10} {'CPU % of a core':>16}")
        for name, pid in pids.items():
            percent = (cpu_s(pid) - before[name][0]) / span * 100
            wakes = (wakings(pid) - before[name][1]) / span
            rss = rss_kib(pid)
            above = "  above the bar of 0.2" if percent > CORE_PERCENT_BAR else ""
            print(f"{name:22} {rss:>10} {wakes:>10.1f} {percent:>16.3f}{above}")
            assert rss <= RSS_KIB_MAX, f"{name} holds {rss} KiB when idle"
            assert wakes <= WAKINGS_PER_S_MAX, f"{name} wakes {wakes:.0f} times a second when idle"
            assert percent < CORE_PERCENT_MAX, f"{name} takes {percent:.2f} % of a core when idle"


if __name__ == "__main__":
    main()
