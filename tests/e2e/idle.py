"""An idle region costs next to nothing: memory and processor time of each process over half a minute"""

import os
import subprocess
import time

from region import Region, need

SECONDS = 30
# The bars of the house for an idle node are 64 MiB and 0.2 % of a core; time is asserted with room for a busy machine.
RSS_KIB_MAX = 64 << 10
CORE_PERCENT_MAX = 1.0
CORE_PERCENT_BAR = 0.2


def cpu_s(pid):
    """Seconds of processor time so far, in user and system mode: fields 14 and 15 of proc_pid_stat(5)."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


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
        before = {name: cpu_s(pid) for name, pid in pids.items()}
        began = time.monotonic()
        time.sleep(SECONDS)
        span = time.monotonic() - began
        print(f"{'process':22} {'RSS KiB':>10} {'CPU % of a core':>16}")
        for name, pid in pids.items():
            percent = (cpu_s(pid) - before[name]) / span * 100
            rss = rss_kib(pid)
            above = "  above the bar of 0.2" if percent > CORE_PERCENT_BAR else ""
            print(f"{name:22} {rss:>10} {percent:>16.3f}{above}")
            assert rss <= RSS_KIB_MAX, f"{name} holds {rss} KiB when idle"
            assert percent < CORE_PERCENT_MAX, f"{name} takes {percent:.2f} % of a core when idle"


if __name__ == "__main__":
    main()
