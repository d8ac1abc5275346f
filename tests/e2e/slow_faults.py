"""A disk grows ten times slower under load: its node is put out, everybody else is as fast as before, and when it is well again it comes back"""

import random
import time

from region import Region, until
from storm import WORKERS, Worker

STEPS = 400
# What the house aims at: in so many seconds after a disk grew slow the volume is as before.
ALLOWED_S = 3.0


class Probe(Worker):
    """Remembers when each of its I/Os began and how long it took."""

    def __init__(self, number, uri):
        super().__init__(number, uri)
        self.took = []

    def step(self, client):
        began = time.monotonic()
        super().step(client)
        self.took.append((began, time.monotonic() - began))


def p99_ms(probes, begin, end):
    """Of all I/Os that began then; none of none."""
    took = sorted(span for probe in probes for began, span in list(probe.took) if begin <= began < end)
    return f"{took[len(took) * 99 // 100] * 1000:.1f} ms ({len(took)} I/Os)" if took else "none"


def moves(probes, steps=STEPS):
    """So many more steps of each."""
    before = [probe.count for probe in probes]

    def moved():
        for probe in probes:
            assert probe.failure is None, probe.failure
        return all(probe.count >= count + steps for probe, count in zip(probes, before))

    until("every client's I/O moves on", 120, moved)


def grows_slow(region, probes, volume, victim, waits):
    """From the disk's growing slow to its node's being a member again. `waits`: another was put out less than a minute ago."""
    counted = region.run("zone", "status")
    began_before = time.monotonic()
    moves(probes)
    began = time.monotonic()
    region.faults("slow 10", victim)

    def slow():
        return region.run("node", "show", victim)["slow"]

    seen = until(f"{victim} is found slow", 60, slow)
    if waits:
        assert (seen["put_out"], seen["kept"]) == (0, 1), seen
        print(f"{victim} is slow and stays a member: another was put out less than a minute ago", flush=True)
        until(f"{victim} is put out", 90, lambda: slow()["put_out"] == 1)
    out = time.monotonic()
    primary, backups = region.members(volume)
    assert victim not in (primary, *backups), f"{victim} is still a member"
    shown = region.run("zone", "status")
    assert [s["node"] for s in shown["slow"]] == [victim], shown["slow"]
    assert shown["slow_put_out"] == counted["slow_put_out"] + 1, (counted, shown)
    assert shown["slow_kept"] == counted["slow_kept"] + waits, (counted, shown)
    assert f"{victim} is slow" in region.log("zone"), region.log("zone")[-2000:]
    moves(probes)
    # Not a wait for anything: so much of what comes after is looked at.
    time.sleep(max(0.0, began + ALLOWED_S + 3 - time.monotonic()))
    after = max(out, began + ALLOWED_S)
    print(
        f"{victim} ten times slower, put out after {out - began:.1f} s: p99 before {p99_ms(probes, began_before, began)}, "
        f"in the first {ALLOWED_S:.0f} s {p99_ms(probes, began, began + ALLOWED_S)}, later {p99_ms(probes, after, time.monotonic())}",
        flush=True,
    )
    region.faults(None)
    until(f"{victim} is not taken for slow any more", 60, lambda: not slow())
    region.whole(volume)
    primary, backups = region.members(volume)
    assert victim in (primary, *backups), "another took its place"
    assert f"{victim} is not taken for slow any more" in region.log("zone")
    moves(probes)


def main():
    with Region(remirror_after=600) as region:
        region.stop_all()
        region.configure("node-", test_disk="plain")
        region.configure("zone", slow_probation_s=8)
        region.start_all()
        volume = region.create("64MiB")
        uri = region.attach(volume)
        probes = [Probe(n, uri) for n in range(WORKERS)]
        for probe in probes:
            probe.start()
        moves(probes)
        primary, backups = region.members(volume)
        grows_slow(region, probes, volume, random.Random(1).choice(backups), waits=0)
        primary, _ = region.members(volume)
        grows_slow(region, probes, volume, primary, waits=1)
        for probe in probes:
            probe.stop.set()
        for probe in probes:
            probe.join(timeout=120)
            assert not probe.is_alive() and probe.failure is None, probe.failure
        print(f"two disks grew slow: {sum(probe.count for probe in probes)} I/Os, all as they should be")


if __name__ == "__main__":
    main()
