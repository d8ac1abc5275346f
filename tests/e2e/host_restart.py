"""A host killed and started again finds what is attached to it and nothing else, at the same places, and waits for a zone that is away"""

import hashlib

import nbd
from region import Region, until

BLOCK = 4096


def pattern(volume, version):
    seed = hashlib.sha256(f"{volume} {version}".encode()).digest()
    return (seed * (BLOCK // len(seed)))[:BLOCK]


def there(uri):
    """A client, as soon as the volume is offered."""

    def connect():
        try:
            return nbd.Client(uri)
        except (nbd.Failed, nbd.Closed, OSError):
            return None

    return until(f"{uri} is offered", 60, connect)


def refused(uri):
    """In which words a volume is not offered."""
    try:
        nbd.Client(uri)
    except nbd.Failed as why:
        return str(why)
    raise AssertionError(f"{uri} is offered")


class Kept:
    """A volume that stays attached, and what it holds."""

    def __init__(self, region, host):
        self.id = region.create("16MiB")
        self.uri = region.run("attach", self.id, "--host", host)["uri"]
        self.version, self.generation = 0, 0

    def look(self, region):
        """The same socket, what was acknowledged, a generation of its own for each run of the host; and it can be written."""
        client = there(self.uri)
        assert client.generation > self.generation, f"{self.id}: generation {client.generation} after {self.generation}"
        self.generation = client.generation
        wanted = pattern(self.id, self.version) if self.version else bytes(BLOCK)
        assert client.read(0, BLOCK) == wanted, f"{self.id} lost what was acknowledged"
        self.version += 1
        client.write(0, pattern(self.id, self.version))
        # Attached once more it is the same attachment.
        made = region.run("attach", self.id)
        assert (made["uri"], made["generation"]) == (self.uri, self.generation), made
        return client


def meanwhile(region, one, two):
    """Killed; and while it is away one volume is moved, one detached and one deleted."""
    kept = [Kept(region, one) for _ in range(3)]
    moved, detached, deleted = (Kept(region, one) for _ in range(3))
    clients = [volume.look(region) for volume in (*kept, moved, detached, deleted)]
    region.kill(one)
    for volume in (moved, detached, deleted):
        region.run("detach", volume.id)
    moved.uri, old = region.run("attach", moved.id, "--host", two)["uri"], moved.uri
    moved.look(region)
    region.run("volume", "delete", deleted.id)
    for client in clients:
        try:
            client.read(0, BLOCK)
            raise AssertionError("a client of the killed host is answered")
        except nbd.Closed:
            pass
    region.start(one)
    for volume in kept:
        volume.look(region)
    for uri in (old, detached.uri, deleted.uri):
        assert "is not attached to this host" in refused(uri), refused(uri)
    log = region.log(one)
    assert all(f"{volume.id} is open, generation {volume.generation}" in log for volume in kept), log
    print(f"killed and started: {len(kept)} volumes found again; one moved, one detached and one deleted meanwhile are not offered")
    return kept


def without_zone(region, one, kept):
    """Started while the authority is away it listens, offers nothing, says so, and goes on by itself."""
    region.kill("zone")
    region.kill(one)
    region.start(one)
    text = refused(kept[0].uri)
    assert "does not know yet" in text and "waits for the zone's authority" in text, text
    until("the log says what is waited for", 30, lambda: "waits for the zone's authority" in region.log(one))
    region.start("zone")
    for volume in kept:
        volume.look(region)
    print(f"started without a zone: it waited, and has its {len(kept)} volumes since the zone is back")


def main():
    with Region("--hosts", "2") as region:
        one, two = region.hosts()
        kept = meanwhile(region, one, two)
        without_zone(region, one, kept)
        for _ in range(5):
            region.kill(one)
            region.start(one)
            for volume in kept:
                volume.look(region)
        print(f"killed and started 5 times more: generation {kept[0].generation}, nothing lost")


if __name__ == "__main__":
    main()
