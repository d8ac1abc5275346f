"""Disks of a running region grow slow, fail and vanish under load: no I/O fails, and what was acknowledged is there"""

import os
import random

from region import Region, until
from restart import Load
from rot import BLOCK, Disk, Volume, rot

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


def armed(region, volume, fault, node):
    """Sets faults, and reads until the node says that it has them, for which it looks with the next operation: what is read before that is read well."""

    def told():
        with open(os.path.join(region.dir, node, "log"), encoding="utf-8") as log:
            return log.read().count("faults on purpose")

    before = told()
    region.faults(fault, node)

    def taken_up():
        volume.check()
        return told() > before

    until(f"{node} has taken up its faults", 20, taken_up)


def bad_spots(region, volume):
    """Blocks that a disk does not read, some alone and some in a row: every read is right, and they are mended elsewhere while the disk is as it is."""
    primary, _ = region.members(volume.id)
    places = Disk(region, primary, volume.chance).blocks_of(volume)
    alone, row = volume.chance.sample(sorted(places), 40), range(1024, 1024 + 32)
    bad = {places[block] for block in [*alone, *row]}
    armed(region, volume, "\n".join(f"fail read of {at} to {at + BLOCK}" for at in bad), primary)
    volume.check()
    until(f"{primary} has mended {len(bad)} blocks", 20, lambda: rot(region, primary)["mended"] == len(bad))
    seen = rot(region, primary)
    assert seen["found"] == len(bad) and seen["lost"] == 0 and seen["reads_failed"] > len(bad), seen
    volume.check()
    region.faults(None)
    volume.check()
    again = rot(region, primary)
    assert again == {**seen, "scrubbed_segments": again["scrubbed_segments"], "scrubbed_ms": again["scrubbed_ms"]}, (seen, again)
    print(f"{primary}: {len(bad)} blocks that it could not read, {seen['reads_failed']} failed reads, all mended", flush=True)


def reads_nothing(region, volume):
    """A disk that fails every read is given up, and not mended for ever."""
    primary, _ = region.members(volume.id)
    pid = region.pids()[primary]
    armed(region, volume, "fail read", primary)
    volume.check()
    until(f"{primary} has ended", 30, lambda: not os.path.exists(f"/proc/{pid}"))
    with open(os.path.join(region.dir, primary, "log"), encoding="utf-8") as log:
        assert "E0021" in (text := log.read()) and "reads one after the other" in text, text[-2000:]
    region.faults(None)
    region.start(primary)
    region.whole(volume.id)
    volume.check()
    print(f"{primary} 'fail read': given up, and back over a disk that reads", flush=True)


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
        volume = Volume(region, random.Random(5))
        bad_spots(region, volume)
        reads_nothing(region, volume)
        load.until(load.count() + WRITES)
        load.kill()
        region.start_all()
        lost = load.lost()
        assert not lost, f"{len(lost)} acknowledged writes are lost: {lost[:3]}"
        print(f"six disks went wrong: {load.count()} writes acknowledged, all there")


if __name__ == "__main__":
    main()
