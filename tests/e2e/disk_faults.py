"""Disks of a running region grow slow, fail and vanish under load: no I/O fails, and what was acknowledged is there"""

import os

from region import Region, until
from restart import Load

WRITES = 300


def slow(region, load):
    """A backup whose disk takes thirty times as long: everything waits for it, and everything goes on."""
    _, backups = region.members(load.volume)
    region.faults("slow 30", backups[0])
    load.until(load.count() + WRITES)
    region.faults(None)
    print(f"{backups[0]} slow: {load.count()} writes so far", flush=True)


def fails(region, load, fault, is_primary):
    """A disk that fails takes its node with it; the others go on, and it comes back when it is started over a disk that works."""
    primary, backups = region.members(load.volume)
    victim = primary if is_primary else backups[0]
    pid = region.pids()[victim]
    region.faults(fault, victim)
    until(f"{victim} has ended", 30, lambda: not os.path.exists(f"/proc/{pid}"))
    load.until(load.count() + WRITES)
    region.faults(None)
    region.start(victim)
    region.whole(load.volume)
    print(f"{victim} {fault!r}: {load.count()} writes so far", flush=True)


def main():
    with Region() as region:
        region.stop_all()
        region.configure("node-", test_disk="plain")
        region.start_all()
        load = Load(region)
        load.start()
        load.until(WRITES)
        slow(region, load)
        fails(region, load, "fail flush", is_primary=True)
        fails(region, load, "fail write after 50", is_primary=False)
        fails(region, load, "gone", is_primary=True)
        load.until(load.count() + WRITES)
        load.kill()
        region.start_all()
        lost = load.lost()
        assert not lost, f"{len(lost)} acknowledged writes are lost: {lost[:3]}"
        print(f"four disks went wrong: {load.count()} writes acknowledged, all there")


if __name__ == "__main__":
    main()
