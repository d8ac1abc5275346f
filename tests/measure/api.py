"""What the region's API carries: signed requests a second on one core, creates at a rate, a long list page by page, a full zone.

    python3 tests/measure/api.py [path of seawall] [--seconds 10] [--volumes 2000] [--nodes 4] [--node-size 2TiB]

Needs botocore in target/clients (tests/e2e/clients.txt). The region's process is kept on one core and everything else on the others. Describing is asked for by
requests that were signed before, over connections that stay: each is verified as any other. Latencies are those that the caller sees.
"""

import argparse
import importlib.util
import os
import queue
import re
import socket
import sys
import threading
import time
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))
if importlib.util.find_spec("botocore") is None:
    python = os.path.join(HERE, "..", "..", "target", "clients", "bin", "python")
    os.execv(python, [python, "-B", *sys.argv])

from botocore.auth import SigV4Auth  # noqa: E402
from botocore.awsrequest import AWSRequest  # noqa: E402
from botocore.credentials import Credentials  # noqa: E402


class Signer:
    """Requests of one key, as bytes that can be sent."""

    def __init__(self, entries):
        self.url, self.region = entries["endpoint"], entries["region"]
        self.credentials = Credentials(entries["access_key_id"], entries["secret_access_key"])
        at = urllib.parse.urlparse(self.url)
        self.address = (at.hostname, at.port)

    def sign(self, **parameters):
        body = urllib.parse.urlencode({"Version": "2016-11-15", **parameters})
        headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8", "Host": "%s:%d" % self.address}
        request = AWSRequest(method="POST", url=self.url + "/", data=body, headers=headers)
        SigV4Auth(self.credentials, "ec2", self.region).add_auth(request)
        head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
        return f"POST / HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


class Connection:
    """One that stays, with one request under way at a time."""

    def __init__(self, address):
        self.socket = socket.create_connection(address, timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray(1 << 20)

    def ask(self, request):
        """The status and the document."""
        self.socket.sendall(request)
        view, have, end = memoryview(self.buffer), 0, None
        while end is None or have < end:
            got = self.socket.recv_into(view[have:])
            assert got, "the connection was closed"
            have += got
            if end is None and (at := self.buffer.find(b"\r\n\r\n", 0, have)) >= 0:
                head = bytes(view[:at]).lower()
                start = at + 4
                end = start + int(re.search(rb"content-length: (\d+)", head)[1])
        return int(self.buffer[9:12]), bytes(view[start:end])


def cpu_s(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mib(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1]) / 1024


def keep_on(pid, cores):
    for task in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(task), cores)


def at(sorted_values, share):
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * share))] * 1000


def fill(signer, zone, count):
    """Makes so many volumes, by several connections."""
    todo = queue.SimpleQueue()
    for n in range(count):
        todo.put(n)
    wrong = []

    def work():
        connection = Connection(signer.address)
        while True:
            try:
                n = todo.get_nowait()
            except queue.Empty:
                return
            request = signer.sign(Action="CreateVolume", AvailabilityZone=zone, Size=1, VolumeType="gp3", ClientToken=f"fill-{n}")
            status, body = connection.ask(request)
            if status == 503:
                todo.put(n)
            elif status != 200:
                wrong.append(body)
                return

    began = time.monotonic()
    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong, wrong[0]
    return time.monotonic() - began


def describe(signer, pid, seconds):
    """Pages of 100 volumes, as many as there can be."""
    request = signer.sign(Action="DescribeVolumes", MaxResults=100)
    times, lock, stop = [], threading.Lock(), time.monotonic() + seconds
    sizes = []

    def work():
        connection, mine = Connection(signer.address), []
        while time.monotonic() < stop:
            began = time.monotonic()
            status, body = connection.ask(request)
            mine.append(time.monotonic() - began)
            assert status == 200, body
        with lock:
            times.extend(mine)
            sizes.append((body.count(b"<volumeId>"), len(body)))

    before, workers = cpu_s(pid), [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    used = cpu_s(pid) - before
    times.sort()
    volumes, size = sizes[0]
    print(
        f"DescribeVolumes, {volumes} volumes and {size} bytes a page: {len(times) / seconds:.0f} a second, "
        f"of which {len(times) / used:.0f} a second of the region's processor; p50 {at(times, 0.5):.1f} ms, p99 {at(times, 0.99):.1f} ms"
    )


def listing(signer):
    """All volumes, page by page of 100."""
    connection, token, seen, pages = Connection(signer.address), None, set(), 0
    began, signing = time.monotonic(), 0.0
    while True:
        before = time.monotonic()
        more = {"NextToken": token} if token else {}
        request = signer.sign(Action="DescribeVolumes", MaxResults=100, **more)
        signing += time.monotonic() - before
        status, body = connection.ask(request)
        assert status == 200, body
        seen.update(re.findall(rb"<volumeId>(vol-[0-9a-f]+)</volumeId>", body))
        pages += 1
        found = re.search(rb"<nextToken>([^<]+)</nextToken>", body)
        if not found:
            break
        token = found[1].decode()
    took = time.monotonic() - began
    print(f"{len(seen)} volumes listed in {pages} pages within {took:.2f} s, {signing:.2f} s of which were the caller's signing")


def creating(signer, zone, seconds, rate=50):
    """Creates at a rate, each begun when it is due, whether or not others are answered."""
    times, lock, wrong = [], threading.Lock(), []
    due = queue.SimpleQueue()

    def work():
        connection = Connection(signer.address)
        while (item := due.get()) is not None:
            begun, request = item
            status, body = connection.ask(request)
            with lock:
                times.append(time.monotonic() - begun)
                if status != 200:
                    wrong.append(body)

    workers = [threading.Thread(target=work) for _ in range(16)]
    for worker in workers:
        worker.start()
    began = time.monotonic()
    for n in range(int(seconds * rate)):
        token = f"rate-{began}-{n}"
        request = signer.sign(Action="CreateVolume", AvailabilityZone=zone, Size=1, VolumeType="gp3", ClientToken=token)
        time.sleep(max(0.0, began + n / rate - time.monotonic()))
        due.put((time.monotonic(), request))
    for _ in workers:
        due.put(None)
    for worker in workers:
        worker.join()
    times.sort()
    assert not wrong, f"{len(wrong)} went wrong: {wrong[0]}"
    print(f"CreateVolume at {rate} a second for {seconds} s: {len(times)} made, p50 {at(times, 0.5):.1f} ms, p99 {at(times, 0.99):.1f} ms, the longest {times[-1] * 1000:.1f} ms")


def full(signer, zone):
    """What a zone has no room for is refused at once."""
    connection, times = Connection(signer.address), []
    for n in range(200):
        request = signer.sign(Action="CreateVolume", AvailabilityZone=zone, Size=65536, VolumeType="gp3", ClientToken=f"large-{n}")
        began = time.monotonic()
        status, body = connection.ask(request)
        times.append(time.monotonic() - began)
        assert status == 503 and b"InsufficientVolumeCapacity" in body, body
    times.sort()
    print(f"CreateVolume of what there is no room for: 200 refused with InsufficientVolumeCapacity, p50 {at(times, 0.5):.1f} ms, p99 {at(times, 0.99):.1f} ms, the longest {times[-1] * 1000:.1f} ms")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binary", nargs="?", default="target/release/seawall")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--volumes", type=int, default=2000)
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--node-size", default="2TiB")
    options = parser.parse_args()
    sys.argv[1:] = [options.binary]
    from region import Region, until

    with Region(nodes=options.nodes, node_size=options.node_size) as region:
        signer, pid = Signer(region.entries()), region.pids()["region"]
        zone = region.entries()["zones"][0]["name"]
        keep_on(pid, {0})
        for other in [os.getpid(), *region.pids().values()]:
            if other != pid:
                keep_on(other, set(range(1, os.cpu_count())))
        connection = Connection(signer.address)
        ready = signer.sign(Action="DescribeAvailabilityZones", **{"Filter.1.Name": "state", "Filter.1.Value.1": "available"})
        until("the zone is reached", 30, lambda: b"zoneName" in connection.ask(ready)[1])
        print(f"the region's memory with no volumes: {rss_mib(pid):.1f} MiB")
        took = fill(signer, zone, options.volumes)
        print(f"{options.volumes} volumes made by eight callers in {took:.1f} s, {options.volumes / took:.0f} a second; the region's memory {rss_mib(pid):.1f} MiB")
        describe(signer, pid, options.seconds)
        listing(signer)
        creating(signer, zone, options.seconds)
        full(signer, zone)
        print(f"the region's memory at the end: {rss_mib(pid):.1f} MiB")


if __name__ == "__main__":
    main()
