"""What can go wrong for real processes, each by a name: how it is done, and how it is undone."""

import signal
from dataclasses import dataclass
from typing import Callable

from region import until


@dataclass(frozen=True)
class Fault:
    """`begin(scene)` does it and returns whom it met and how to undo it."""

    name: str
    about: str
    begin: Callable
    needs_links: bool = False
    needs_disks: bool = False
    ends_node: bool = False
    cuts_client: bool = False


def revive(scene, *names):
    """Starts those of them that do not run."""
    scene.cluster.start(*(name for name in names if scene.cluster.children[name].poll() is not None))


def kill(role):
    def begin(scene):
        name = scene.one(role)
        scene.cluster.kill(name)
        return name, lambda: revive(scene, name)

    return begin


def kill_host(scene):
    name = scene.cluster.host()
    scene.cluster.kill(name)

    def undo():
        scene.cluster.start(name)
        scene.witness.stop()
        scene.witness.connect()

    return name, undo


def kill_nodes(count):
    """So many nodes, or all, at one instant; they come back in a random order."""

    def begin(scene):
        names = scene.cluster.nodes()
        scene.rng.shuffle(names)
        names = names[:count]
        for name in names:
            scene.cluster.children[name].send_signal(signal.SIGKILL)
        for name in names:
            scene.cluster.children[name].wait()
        return " ".join(names), lambda: revive(scene, *names)

    return begin


def stop(role):
    def begin(scene):
        name = scene.one(role)
        scene.cluster.kill(name, signal.SIGSTOP)
        return name, lambda: scene.cluster.kill(name, signal.SIGCONT)

    return begin


def link(cut, role="primary"):
    """`cut(links, name, other)`: of a node of that role, and another member where it takes two."""

    def begin(scene):
        name = scene.one(role)
        other = scene.one("backup" if role == "primary" else "primary")
        cut(scene.cluster.links, name, other)
        words = cut.__doc__.format(name=name, other=other)
        return words, scene.cluster.links.heal

    return begin


def silence(links, name, _other):
    """{name} and everybody else do not hear each other"""
    links.silence(name)


def deafen(links, name, _other):
    """{name} hears nobody, and is heard"""
    links.deafen(name)


def mute(links, name, _other):
    """nobody hears {name}, which hears all"""
    links.mute(name)


def part(links, name, other):
    """{name} and {other} do not hear each other"""
    links.part(name, other)


def half_part(links, name, other):
    """{other} does not hear {name}"""
    links.deafen(other, [name])


def replication_of_one(links, name, _other):
    """{name} is off the replication network"""
    links.silence(name, ["replication"])


def replication_of_all(links, _name, _other):
    """nobody hears anybody on the replication network"""
    for each in links.holders:
        links.deafen(each, None, ["replication"])


def primary_network_of_one(links, name, _other):
    """{name} is off the primary network"""
    links.silence(name, ["primary"])


def slow(role):
    """Ten times."""

    def begin(scene):
        name = scene.one(role)
        scene.cluster.disk(name, "slow 10")
        return name, lambda: scene.cluster.disk(name, None)

    return begin


def broken(role, fault):
    """A disk that fails, which ends its node; the node is started again over a disk that works."""

    def begin(scene):
        name = scene.one(role)
        child = scene.cluster.children[name]
        scene.cluster.disk(name, fault)

        def undo():
            until(f"{name} has ended over a disk that fails", 30, lambda: child.poll() is not None)
            scene.cluster.disk(name, None)
            revive(scene, name)

        return f"{name}: {fault}", undo

    return begin


def _all():
    links = {"needs_links": True}
    disks = {"needs_disks": True}
    ends = {"needs_disks": True, "ends_node": True}
    yield Fault("kill-primary", "kill -9 of the primary", kill("primary"))
    yield Fault("kill-backup", "kill -9 of a backup", kill("backup"))
    yield Fault("kill-spare", "kill -9 of a node that has no copy", kill("spare"))
    yield Fault("kill-zone", "kill -9 of the authority", kill("zone"))
    yield Fault("kill-host", "kill -9 of the host; the volume is attached anew", kill_host, cuts_client=True)
    yield Fault("kill-two", "kill -9 of two nodes at once", kill_nodes(2))
    yield Fault("kill-all", "kill -9 of all nodes at once", kill_nodes(None))
    yield Fault("stop-primary", "SIGSTOP of the primary, and SIGCONT", stop("primary"))
    yield Fault("stop-backup", "SIGSTOP of a backup, and SIGCONT", stop("backup"))
    yield Fault("stop-zone", "SIGSTOP of the authority, and SIGCONT", stop("zone"))
    yield Fault("silent-primary", "the primary cut off from everybody, both networks", link(silence), **links)
    yield Fault("silent-backup", "a backup cut off from everybody, both networks", link(silence, "backup"), **links)
    yield Fault("silent-zone", "the authority cut off from everybody", link(silence, "zone"), **links)
    yield Fault("deaf-primary", "the primary hears nobody and is heard", link(deafen), **links)
    yield Fault("deaf-backup", "a backup hears nobody and is heard", link(deafen, "backup"), **links)
    yield Fault("mute-primary", "nobody hears the primary, which hears all", link(mute), **links)
    yield Fault("mute-backup", "nobody hears a backup, which hears all", link(mute, "backup"), **links)
    yield Fault("parted", "the primary and one backup do not hear each other; all others hear both", link(part), **links)
    yield Fault("half-parted-backup", "one backup does not hear the primary, which hears it", link(half_part), **links)
    yield Fault("half-parted-primary", "the primary does not hear one backup, which hears it", link(half_part, "backup"), **links)
    yield Fault("replication-off-primary", "the primary off the replication network", link(replication_of_one), **links)
    yield Fault("replication-off-all", "the replication network gone", link(replication_of_all), **links)
    yield Fault("primary-net-off-primary", "the primary off the primary network", link(primary_network_of_one), **links)
    yield Fault("primary-net-off-backup", "a backup off the primary network", link(primary_network_of_one, "backup"), **links)
    yield Fault("slow-primary", "the primary's disk ten times slower", slow("primary"), **disks)
    yield Fault("slow-backup", "a backup's disk ten times slower", slow("backup"), **disks)
    yield Fault("flush-fails-primary", "EIO of every flush of the primary's disk", broken("primary", "fail flush"), **ends)
    yield Fault("write-fails-backup", "EIO of every write of a backup's disk", broken("backup", "fail write after 20"), **ends)
    yield Fault("disk-gone-primary", "the primary's disk vanishes", broken("primary", "gone"), **ends)


FAULTS = {fault.name: fault for fault in _all()}
