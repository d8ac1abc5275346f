"""The figures: each a function that runs its rounds, says what it sees as it goes, and returns what it counted. An exception is a finding."""

import os
import time

from cluster import Cluster
from faults import FAULTS
from region import until
from scene import MS, Scene
from witness import Witness, now

# Of the processes that are killed one after the other; nearly half are the primary's.
KILLS = [("kill-primary", 5), ("kill-backup", 3), ("kill-spare", 1), ("kill-zone", 2)]
DEAD_S = (0.3, 1.5)


def say(line):
    print(line, flush=True)


def stalls(values):
    """In milliseconds: the median, the 99th percentile, the greatest."""
    values = sorted(values)
    at = lambda percent: round(values[min(len(values) * percent // 100, len(values) - 1)], 1)
    return {"rounds": len(values), "median_ms": at(50), "p99_ms": at(99), "greatest_ms": at(100)}


def checked(verdict):
    """What of a verdict is a figure."""
    keys = ("answered", "accesses", "registers", "open_writes", "errors", "failures", "anomalies")
    return {key: verdict[key] for key in keys}


def kills(make, options):
    """300 kills of random processes, each after the volume is whole again: no error, no wrong byte; the stall after each."""
    with make() as cluster, Scene(cluster, options.seed) as scene:
        names, weights = zip(*KILLS)
        rounds = []
        for n in range(options.rounds or 300):
            fault = FAULTS[scene.rng.choices(names, weights)[0]]
            done = scene.round(fault, scene.rng.uniform(*DEAD_S))
            rounds.append(done)
            say(f"{n + 1:4} {done.words()}")
        verdict = scene.witness.holds()
    figures = {"kills": stalls(done.gap for done in rounds)}
    for name in names:
        of_one = [done.gap for done in rounds if done.fault == name]
        if of_one:
            figures[name] = stalls(of_one)
    return {**figures, "load": round(max(done.load for done in rounds), 1), "checked": checked(verdict)}


def rows(make, options):
    """The same with other faults, a row each: SIGSTOP, partitions whole and half, one network alone, a slow disk, disks that fail."""
    table, verdicts, slow = {}, [], []
    with make() as cluster:
        wanted = [fault for fault in chosen(options, cluster) if not fault.cuts_client]
        slow = [fault for fault in wanted if fault.name.startswith("slow")]
        rest = [fault for fault in wanted if fault not in slow]
        if rest:
            with Scene(cluster, options.seed) as scene:
                for fault in rest:
                    rounds = [told(n, scene.round(fault, options.hold)) for n in range(options.rounds or 10)]
                    table[fault.name] = stalls(done.gap for done in rounds)
                    # Of all that was done so far.
                    verdicts = [scene.witness.holds()]
                    scene.witness.again()
    for fault in slow:
        rounds = []
        for n in range(options.rounds or 10):
            # A node that is slow again is kept out for twice as long: each round has nodes that never were.
            with make() as cluster, Scene(cluster, options.seed + n) as scene:
                rounds.append(told(n, scene.round(fault, options.hold)))
                verdicts.append(scene.witness.holds())
        table[fault.name] = stalls(done.gap for done in rounds)
        table[fault.name]["p99_before_ms"] = round(max(done.p99_before for done in rounds), 1)
        table[fault.name]["p99_3s_later_ms"] = round(max(done.p99_later for done in rounds), 1)
        table[fault.name]["p99_3s_later_times"] = sorted(round(done.p99_later / done.p99_before, 2) for done in rounds)
    return {**table, "checked": {key: sum(verdict[key] for verdict in map(checked, verdicts)) for key in checked(verdicts[0])}}


def told(n, done):
    say(f"{n + 1:4} {done.words()}")
    return done


def authority(make, options):
    """The authority dead: who has all members serves without an error, who loses one waits, and goes on once the authority is back."""
    back, since_ready, quiet = [], [], []
    with make() as cluster, Scene(cluster, options.seed, size="64MiB") as scene:
        other = disjoint(cluster, scene)
        with Witness(cluster, other, seed=options.seed + 1) as beside:
            beside.connect()
            for n in range(options.rounds or 10):
                cluster.whole(scene.volume)
                cluster.whole(other)
                victim = apart(cluster, scene, other)
                died = now()
                cluster.kill("zone")
                # Long enough for every lease and every suspicion to run out.
                time.sleep(options.hold)
                quiet.append(max(witness.between(died)["gap"] for witness in (scene.witness, beside)) / MS)
                lost = now()
                cluster.kill(victim)
                # A primary reads on for the 2 s of its lease; after that nothing may be answered.
                time.sleep(4)
                waits = scene.witness.between(lost + 2500 * MS)
                assert waits["probes"] + waits["loads"] == 0, f"{victim} is lost, nobody decides, and {scene.volume} goes on: {waits}"
                beside.moves(lost)
                started = now()
                cluster.begin("zone")
                cluster.wait_ready("zone")
                ready = now()
                scene.witness.moves(started, within=30)
                on = scene.witness.between(started)["first"]
                back.append(on / MS)
                since_ready.append(max(0, started + on - ready) / MS)
                gap = beside.between(died)["gap"] / MS
                say(
                    f"{n + 1:4} {victim} lost without an authority: on {back[-1]:.0f} ms after it was started again, {since_ready[-1]:.0f} ms after "
                    f"it said that it was ready; the other volume's gap {gap:.0f} ms"
                )
                cluster.start(victim)
            cluster.whole(scene.volume)
            verdicts = [witness.holds() for witness in (scene.witness, beside)]
    return {
        "longest gap without an authority": stalls(quiet),
        "on again after the authority's start": stalls(back),
        "on again after it was ready": stalls(since_ready),
        "checked": [checked(verdict) for verdict in verdicts],
    }


def disjoint(cluster, scene):
    """A volume that has no copy on some node on which the scene's volume has one."""
    for _ in range(50):
        volume = cluster.create("64MiB")
        if apart(cluster, scene, volume):
            return volume
    raise AssertionError("fifty volumes were all placed alike")


def apart(cluster, scene, other):
    """A node that has a copy of the scene's volume and none of the other."""
    primary, backups = scene.members()
    of_other = cluster.members(other)
    only = [name for name in (primary, *backups) if name != of_other[0] and name not in of_other[1]]
    return scene.rng.choice(only) if only else None


def everything(make, options):
    """Everything killed at once and started in a random order; in half of the rounds one node never comes back. Nothing acknowledged is lost."""
    took, missing = [], 0
    # What is not flushed goes with its process. A node that never comes back is replaced elsewhere as soon as the authority gives it up.
    with make(disks="volatile", remirror_after=2) as cluster, Scene(cluster, options.seed, size="64MiB") as scene:
        verdict = None
        for n in range(options.rounds or 50):
            cluster.whole(scene.volume)
            scene.witness.moves(now())
            time.sleep(scene.rng.uniform(0.2, 1.0))
            scene.sound()
            cluster.kill_everything()
            scene.witness.stop()
            nodes = [name for name in cluster.children if name.startswith("node-")]
            lost = [scene.rng.choice(nodes)] if n % 2 else []
            order = [name for name in cluster.children if name not in lost]
            scene.rng.shuffle(order)
            began = now()
            for name in order:
                cluster.begin(name)
            cluster.wait_ready(*order)
            scene.witness.connect()
            verdict = scene.witness.holds()
            took.append((now() - began) / MS)
            say(f"{n + 1:4} all killed, {'without ' + lost[0] if lost else 'all back'}: all there after {took[-1] / 1000:.1f} s, {verdict['accesses']} accesses")
            for name in lost:
                missing += 1
                write_off(cluster, name)
                cluster.add_node()
            scene.witness.again()
    return {"killed at once": stalls(took), "one node missing for ever": missing, "checked": checked(verdict)}


def write_off(cluster, name):
    """A node that never comes back: its disk is gone too."""
    del cluster.children[name]
    os.unlink(os.path.join(cluster.dir, name, "store"))


def torture(make, options):
    """Minutes of faults of every kind, two at once now and then, never waiting for more than that I/O moves."""
    counts, spans, verdict = {}, [], None
    # So short that copies are made anew now and then, and so long that a node often rejoins.
    with make(remirror_after=3) as cluster, Scene(cluster, options.seed) as scene:
        faults = chosen(options, cluster)
        say(f"seed {options.seed}; faults: {', '.join(fault.name for fault in faults)}")
        end = time.monotonic() + options.minutes * 60
        while time.monotonic() < end:
            copies = len(scene.members()[1]) + 1
            began = now()
            what = strike(scene, faults, counts)
            scene.witness.moves(now(), within=90)
            spans.append(scene.witness.between(began)["gap"] / MS)
            scene.sound()
            say(f"{sum(counts.values()):4} {copies} copies, {what}; longest gap {spans[-1]:.0f} ms")
            # Sometimes before all copies are there again: the next fault may then leave too few to go on until one is back.
            if scene.rng.random() < 0.6:
                cluster.whole(scene.volume)
            if len(spans) % 50 == 0:
                verdict = scene.witness.holds()
                say(f"     so far {verdict['answered']} requests, {verdict['accesses']} accesses of {verdict['registers']} blocks judged: all of it can be true")
                scene.witness.again()
        cluster.whole(scene.volume)
        verdict = scene.witness.holds()
    faults = {name: counts[name] for name in sorted(counts)}
    return {"faults": sum(counts.values()), "of each": faults, "gaps": stalls(spans), "checked": checked(verdict)}


def strike(scene, faults, counts):
    """One fault, or two that overlap, undone in a random order, the authority first; what it was."""
    first = scene.rng.choice(faults)
    both = [first]
    if scene.rng.random() < 0.25:
        second = scene.rng.choice([fault for fault in faults if kind(fault) != kind(first)] or [first])
        both += [second] if second is not first else []
    # What needs to ask the authority who is who comes before what takes it away.
    both.sort(key=lambda fault: "zone" in fault.name)
    begun = []
    for fault in both:
        counts[fault.name] = counts.get(fault.name, 0) + 1
        begun.append((fault, *fault.begin(scene)))
    span = scene.rng.uniform(0.05, 4.0)
    time.sleep(span)
    scene.rng.shuffle(begun)
    # A process that is started again wants to hear the authority, and be heard; one that stands still does not end over a bad disk.
    begun.sort(key=lambda one: (not one[0].needs_links, kind(one[0]) != "stop", "zone" not in one[0].name, one[0].cuts_client))
    for _, _, undo in begun:
        undo()
    return " and ".join(f"{fault.name} ({met})" for fault, met, _ in begun) + f" for {span:.1f} s"


def kind(fault):
    """Two of one kind do not overlap: they would undo each other."""
    first = fault.name.split("-")[0]
    return "links" if fault.needs_links else "kill" if fault.ends_node else first


def chosen(options, cluster):
    """The faults that were asked for and can be had here; what cannot is told."""
    wanted = [FAULTS[name] for name in options.faults] or list(FAULTS.values())
    able = [f for f in wanted if (cluster.links or not f.needs_links) and (cluster.disks or not f.needs_disks)]
    if len(able) < len(wanted):
        say(f"left out, for want of namespaces or of a build with disks for tests: {', '.join(f.name for f in wanted if f not in able)}")
    assert able, "none of the faults that were asked for can be had here"
    return able


def lies(make, options):
    """A witness that lies, each way it can: what it says must not pass for true."""
    with make(nodes=3) as cluster, Scene(cluster, options.seed, size="16MiB") as scene:
        scene.witness.holds()
        for lie in ("lost-write", "stale-read", "torn-block", "flip-byte"):
            with Witness(cluster, cluster.create("16MiB"), "--rate", "2000", "--lie", lie, seed=options.seed) as liar:
                liar.connect()
                until(f"it has lied ({lie})", 30, lambda: liar.ask("status")["answered"] > 4000)  # pylint: disable=cell-var-from-loop
                verdict = liar.verdict()
                assert verdict["anomalies"] + verdict["failures"] > 0, f"a lie was believed: {lie}: {verdict}"
                first = [*verdict["first_anomalies"], *verdict["first_failures"]][0]
                say(f"{lie}: noticed {verdict['anomalies'] + verdict['failures']} times, such as: {first[:150]}")
    return {"lies noticed": 4}


__all__ = ["Cluster", "authority", "everything", "kills", "lies", "rows", "torture"]
