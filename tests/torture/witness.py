"""`seawall witness`, driven: the client that writes, reads, probes, and says at the end whether what it saw can be true."""

import json
import os
import select
import subprocess
import time

from links import die_with_parent


def now():
    """Nanoseconds of the clock that the witness reads too."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Witness:
    """One witness of one volume."""

    def __init__(self, cluster, volume, *options, seed=1):
        self.cluster, self.volume = cluster, volume
        self.errors = open(os.path.join(cluster.top, f"witness-{volume}.log"), "ab")
        self.process = subprocess.Popen(
            [cluster.binary, "witness", volume, "--seed", str(seed), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            preexec_fn=die_with_parent,
        )
        self.generation, self.socket = None, None

    def __enter__(self):
        return self

    def __exit__(self, _kind, _value, _trace):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self.errors.close()

    def ask(self, *words, within=60):
        """One question, one answer."""
        self.process.stdin.write((" ".join(str(word) for word in words) + "\n").encode())
        self.process.stdin.flush()
        readable, _, _ = select.select([self.process.stdout], [], [], within)
        assert readable, f"the witness does not answer {words} within {within} s: an I/O is stuck"
        answer = json.loads(self.process.stdout.readline())
        assert "error" not in answer, f"{words}: {answer['error']}"
        return answer

    def connect(self):
        """Attaches the volume anew, and begins, or goes on."""
        self.generation, self.socket = self.cluster.attach_as(self.volume)
        self.ask("connect", self.generation, self.socket)

    def again(self):
        """Goes on under the attachment there is."""
        self.ask("connect", self.generation, self.socket)

    def moves(self, since, within=60):
        """Waits until every connection was answered something that it asked after that time; nothing may fail meanwhile."""
        end = time.monotonic() + within
        while not self.ask("moved", since)["moved"]:
            self.sound()
            assert time.monotonic() < end, f"the I/O of {self.volume} stands still for {within} s"
            time.sleep(0.02)

    def sound(self):
        """Nothing has failed so far, no connection was lost, no block was wrong."""
        status = self.ask("status")
        assert status["errors"] == 0 and status["failures"] == 0, status
        assert status["lost"] == 0, f"{status['lost']} connections were lost: {status}"
        return status

    def between(self, since, to=None):
        """What the time since then looked like."""
        return self.ask("between", since, to if to is not None else now())

    def stop(self, within=60):
        return self.ask("stop", within=within)

    def verdict(self):
        """Stops, reads every block, judges everything. An anomaly is in the answer, not an exception."""
        self.stop()
        return self.ask("verify", self.generation, self.socket, within=600)

    def holds(self):
        """The verdict, which must be that all of it can be true."""
        verdict = self.verdict()
        assert verdict["anomalies"] == 0 and verdict["failures"] == 0 and verdict["errors"] == 0, verdict
        return verdict
