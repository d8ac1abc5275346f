"""What two hosts wrote to one volume and read of it, and whether anything of a generation came after the next one's first write.

A block is a register. Each generation has one writer for each block, which writes its next version when the last was answered, so the versions of a
block, (generation, counter), are ordered, and whatever is read must follow that order.
"""

import bisect
import collections
import copy

# begin and end in nanoseconds of one clock; end is None when nobody knows whether it was done.
Write = collections.namedtuple("Write", "begin end block version")
Read = collections.namedtuple("Read", "begin end block version")

NOTHING = (0, 0)


class Newest:
    """The greatest version among those that ended before a moment."""

    def __init__(self, events):
        events = sorted(events, key=lambda e: e.end)
        self.ends, self.greatest = [], []
        for event in events:
            self.ends.append(event.end)
            self.greatest.append(max(event.version, self.greatest[-1] if self.greatest else NOTHING))

    def before(self, moment):
        index = bisect.bisect_left(self.ends, moment)
        return self.greatest[index - 1] if index else NOTHING


def first_writes(writes):
    """When the first write of each generation was acknowledged, in order of generation."""
    first = {}
    for write in writes:
        if write.end is not None:
            generation = write.version[0]
            first[generation] = min(write.end, first.get(generation, write.end))
    return sorted(first.items())


def deposed(first, moment):
    """The newest generation that had written before this moment."""
    return max((generation for generation, at in first if at < moment), default=0)


def by_block(events):
    blocks = collections.defaultdict(list)
    for event in events:
        blocks[event.block].append(event)
    return blocks


def violations(writes, reads):
    """Everything that must not have been, in words."""
    found = []
    first = first_writes(writes)
    for write in writes:
        newest = deposed(first, write.begin)
        if write.end is not None and newest > write.version[0]:
            found.append(f"{write} began after the first write of generation {newest} and was acknowledged")
    written, read = by_block(writes), by_block(reads)
    for block, mine in read.items():
        there = {write.version: write for write in written[block]}
        acknowledged = Newest(write for write in written[block] if write.end is not None)
        seen = Newest(mine)
        old = {}
        for event in sorted(mine, key=lambda e: e.begin):
            write = there.get(event.version)
            if event.version != NOTHING and (write is None or write.begin > event.end):
                found.append(f"{event}: nobody had written that")
            least = max(acknowledged.before(event.begin), seen.before(event.begin))
            if event.version < least:
                found.append(f"{event}: older than {least}, which had been acknowledged or read")
            # What an old generation left is the same for as long as a newer one has not written the block.
            newest = deposed(first, event.begin)
            if event.version[0] < newest and old.setdefault(newest, event.version) != event.version:
                found.append(f"{event}: changed by an old generation, it was {old[newest]} when generation {newest} had written")
    return found


def check_the_checker(writes, reads):
    """Plants what must be found into a history that is right, one at a time."""
    first = first_writes(writes)
    (old, _), (new, began) = first[0], first[1]
    late = Write(began + 1, began + 2, 1 << 40, (old, 1 << 40))
    stale = max((write for write in writes if write.end is not None), key=lambda w: w.end)
    last = max(read.end for read in reads)
    plants = {
        "a late write": ([late], []),
        "a lost write": ([], [Read(stale.end + 1, stale.end + 2, stale.block, NOTHING)]),
        "a value of nobody": ([], [Read(last + 1, last + 2, stale.block, (new, 1 << 41))]),
        "an old host's change": (
            [Write(0, None, 1 << 41, (old, 1)), Write(0, None, 1 << 41, (old, 2))],
            [Read(last + 1, last + 2, 1 << 41, (old, 1)), Read(last + 3, last + 4, 1 << 41, (old, 2))],
        ),
    }
    for name, (more_writes, more_reads) in plants.items():
        assert violations(writes + more_writes, reads + copy.copy(more_reads)), f"{name} is not noticed: the checker checks nothing"
