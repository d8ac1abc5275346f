"""One volume of a cluster under a witness, and what happens to it in one round: a fault begins, holds for a while, is undone, and the volume becomes whole."""

import os
import random
import time
from dataclasses import dataclass

from witness import Witness, now

MS = 1_000_000
# Before a fault, for what is usual.
BASELINE_NS = 2_000 * MS
# What a slow disk is given before its volume must be fast again.
SLOW_ALLOWED_NS = 3_000 * MS


@dataclass
class Round:
    """What a fault was to the clients, in milliseconds."""

    fault: str
    met: str
    gap: float
    gap_held: float
    p99_before: float
    p99_later: float
    whole_after: float
    load: float

    def words(self):
        return (
            f"{self.fault:<24} {self.met:<28} longest gap {self.gap:7.1f} ms (while it held {self.gap_held:7.1f}), whole after "
            f"{self.whole_after / 1000:5.1f} s, machine load {self.load:.1f}"
        )


class Scene:
    """A cluster, one volume, one witness."""

    def __init__(self, cluster, seed, size="128MiB", options=()):
        self.cluster, self.rng = cluster, random.Random(seed)
        self.volume = cluster.create(size)
        self.witness = Witness(cluster, self.volume, *options, seed=seed)
        self.witness.connect()
        self.witness.moves(now())

    def __enter__(self):
        return self

    def __exit__(self, *what):
        self.witness.__exit__(*what)

    def members(self):
        return self.cluster.members(self.volume)

    def one(self, role):
        """The name of a process of this role, by chance where there are several; of any node when nobody has the role now."""
        if role == "zone":
            return role
        primary, backups = self.members()
        spares = [name for name in self.cluster.nodes() if name != primary and name not in backups]
        return self.rng.choice({"primary": [primary], "backup": backups, "spare": spares}[role] or [primary])

    def round(self, fault, hold):
        """The volume is whole when it begins and when it ends."""
        self.cluster.whole(self.volume)
        self.witness.moves(now())
        began = now()
        before = self.witness.between(began - BASELINE_NS, began)
        began = now()
        met, undo = fault.begin(self)
        # The fault's own time, during which the witness looks; nothing is waited for.
        time.sleep(hold)
        undone = now()
        held = self.witness.between(began, undone)
        later = self.witness.between(min(began + SLOW_ALLOWED_NS, undone), undone)
        undo()
        self.witness.moves(undone)
        self.cluster.whole(self.volume)
        ended = now()
        seen = self.witness.between(began, ended)
        self.sound()
        return Round(
            fault.name,
            met,
            gap=seen["gap"] / MS,
            gap_held=held["gap"] / MS,
            p99_before=before["p99"] / MS,
            p99_later=later["p99"] / MS,
            whole_after=(ended - undone) / MS,
            load=os.getloadavg()[0],
        )

    def sound(self):
        """Nothing failed, and who runs runs."""
        self.witness.sound()
        self.cluster.all_live()
