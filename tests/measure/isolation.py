"""One zone's authority is frozen while ten times the usual creates hit it: what the callers of the other zones see of that, with real processes.

    python3 tests/measure/isolation.py [path of seawall] [--rounds 5] [--seconds 30] [--rate 220]

Needs botocore in target/clients (tests/e2e/clients.txt). Three zones under one API. Rounds with and without the fault take turns, so that both see the same machine. Calls
of the other two zones begin at a steady rate, whether or not others are answered: DescribeVolumes of one volume, CreateVolume, DeleteVolume and CreateTags. The storm
comes from a process of its own. `seawall sim --scenario region-isolation` decides this; here it is tried.
"""

import argparse
import multiprocessing
import os
import queue
import random
import re
import signal
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from api import Connection, Signer, at  # noqa: E402

USUAL_CREATES = 5  # A second, in each zone.


def storm(entries, zone, rate, stop):
    """Creates in one zone at a rate, each begun when it is due. Nobody looks at what becomes of them."""
    signer, due = Signer(entries), queue.SimpleQueue()

    def work():
        connection = None
        while (n := due.get()) is not None:
            try:
                connection = connection or Connection(signer.address)
                connection.ask(signer.sign(Action="CreateVolume", AvailabilityZone=zone, Size=1, ClientToken=f"storm-{n}"))
            except (OSError, AssertionError):
                connection = None

    workers = [threading.Thread(target=work, daemon=True) for _ in range(300)]
    for worker in workers:
        worker.start()
    began, n = time.monotonic(), 0
    while not stop.is_set():
        due.put(f"{os.getpid()}-{n}")
        n += 1
        time.sleep(max(0.0, began + n / rate - time.monotonic()))


class Callers:
    """Of the zones that are well."""

    def __init__(self, signer, zones):
        self.signer, self.zones, self.lock = signer, zones, threading.Lock()
        self.volumes, self.times, self.wrong, self.late = [], [], {}, 0
        self.due = queue.SimpleQueue()
        for _ in range(48):
            threading.Thread(target=self.work, daemon=True).start()

    def work(self):
        connection, rng = Connection(self.signer.address), random.Random()
        while True:
            when = self.due.get()
            with self.lock:
                if time.monotonic() - when > 0.05:
                    self.late += 1
                kind = rng.choices(["describe", "create", "delete", "tag"], [12, 3, 3, 4])[0]
                if not self.volumes:
                    kind = "create"
                taken = kind == "delete"
                volume = None if kind == "create" else self.volumes.pop(rng.randrange(len(self.volumes))) if taken else rng.choice(self.volumes)
            request = self.request(kind, volume, rng)
            began = time.monotonic()
            try:
                status, body = connection.ask(request)
            except (OSError, AssertionError) as why:
                status, body, connection = 0, str(why).encode(), Connection(self.signer.address)
            took = time.monotonic() - began
            # What somebody else has just deleted is not there, as it should be.
            well = status == 200 or b"InvalidVolume.NotFound" in body or b"IncorrectState" in body
            with self.lock:
                self.times.append(took)
                if not well:
                    code = re.search(rb"<Code>([^<]+)", body)
                    code = code[1].decode() if code else body.decode(errors="replace")[:60]
                    self.wrong[code] = self.wrong.get(code, 0) + 1
                if kind == "create" and status == 200:
                    self.volumes.append(re.search(rb"<volumeId>([^<]+)", body)[1].decode())

    def request(self, kind, volume, rng):
        sign = self.signer.sign
        if kind == "describe":
            return sign(Action="DescribeVolumes", **{"VolumeId.1": volume})
        if kind == "create":
            return sign(Action="CreateVolume", AvailabilityZone=rng.choice(self.zones), Size=1, ClientToken=f"c-{rng.getrandbits(64):x}")
        if kind == "delete":
            return sign(Action="DeleteVolume", VolumeId=volume)
        return sign(Action="CreateTags", **{"ResourceId.1": volume, "Tag.1.Key": "k", "Tag.1.Value": str(rng.random())})

    def round(self, rate, seconds):
        """The latencies and the errors of one round."""
        with self.lock:
            self.times, self.wrong, self.late = [], {}, 0
        began = time.monotonic()
        for n in range(int(rate * seconds)):
            time.sleep(max(0.0, began + n / rate - time.monotonic()))
            self.due.put(time.monotonic())
        time.sleep(1)
        with self.lock:
            return self.times, self.wrong, self.late


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binary", nargs="?", default="target/release/seawall")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--rate", type=float, default=220)
    options = parser.parse_args()
    sys.argv[1:] = [options.binary]
    from region import Region, until

    with Region("--zones", "3", nodes=3, node_size="2TiB") as region:
        entries = region.entries()
        signer, names = Signer(entries), [zone["name"] for zone in entries["zones"]]
        bad, pid = names[2], region.pids()[f"{names[2]}/zone"]
        connection = Connection(signer.address)
        ready = signer.sign(Action="DescribeAvailabilityZones", **{"Filter.1.Name": "state", "Filter.1.Value.1": "available"})
        until("the zones are reached", 30, lambda: connection.ask(ready)[1].count(b"<zoneName>") == 3)
        callers = Callers(signer, names[:2])
        callers.round(options.rate, 5)
        sums = {False: ([], {}, 0), True: ([], {}, 0)}
        for n in range(options.rounds * 2):
            fault = n % 2 == 1
            stop = multiprocessing.get_context("spawn").Event()
            rate = USUAL_CREATES * (10 if fault else 1)
            process = multiprocessing.get_context("spawn").Process(target=storm, args=(entries, bad, rate, stop), daemon=True)
            if fault:
                os.kill(pid, signal.SIGSTOP)
            process.start()
            try:
                times, wrong, late = callers.round(options.rate, options.seconds)
            finally:
                stop.set()
                process.join(timeout=5)
                process.kill()
                os.kill(pid, signal.SIGCONT)
            until("all zones are reached again", 60, lambda: connection.ask(ready)[1].count(b"<zoneName>") == 3)
            times.sort()
            print(f"round {n // 2 + 1}, {'frozen' if fault else 'quiet'}: {len(times)} calls, p50 {at(times, 0.5):.1f} ms, p99 {at(times, 0.99):.1f} ms, errors {wrong or 0}, {late} begun late", flush=True)
            all_times, all_wrong, all_late = sums[fault]
            all_times.extend(times)
            for code, count in wrong.items():
                all_wrong[code] = all_wrong.get(code, 0) + count
            sums[fault] = (all_times, all_wrong, all_late + late)
        p99 = {}
        for fault, (times, wrong, late) in sums.items():
            times.sort()
            p99[fault] = at(times, 0.99)
            share = sum(wrong.values()) / len(times)
            print(f"{'frozen' if fault else 'quiet'}: {len(times)} calls of the other zones, p50 {at(times, 0.5):.1f} ms, p99 {p99[fault]:.1f} ms, errors {wrong or 0} ({share:.4%}), {late} begun late")
        print(f"p99 with the fault is {p99[True] / p99[False]:.2f} of that without")


if __name__ == "__main__":
    main()
