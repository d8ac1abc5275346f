"""Network links of their own for processes of one machine, that can be cut in one direction and without a word. Standard library, and iproute2.

Each member has a network namespace with two interfaces, one on each of two bridges: the primary network (10.77.1.0/24) and the replication network
(10.77.2.0/24). A cut is a rule in the *receiver's* namespace by which what comes from one sender, on one network, is dropped: the sender notices
nothing, as when a cable or a switch loses what it is given. All of it, bridges included, lives in a namespace that `enter` makes for the script, and
is gone with the script's last process, however it ends.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys

NETWORKS = ("primary", "replication")
ENTERED = "--inside-links"


def may():
    """Whether this user may make namespaces here: what to put before a command to run it in one, or None."""
    if any(shutil.which(tool) is None for tool in ("unshare", "nsenter", "ip")):
        return None
    for words in (["unshare", "--net"], ["unshare", "--user", "--map-root-user", "--net"]):
        probe = "ip link add name seawall-a type veth peer name seawall-b && ip link add name seawall-c type bridge && ip rule add pref 9 blackhole"
        if subprocess.run([*words, "sh", "-c", probe], capture_output=True, check=False).returncode == 0:
            return words
    return None


def enter():
    """Begins the script again inside a namespace of its own; returns in there, True. False: namespaces are not allowed here."""
    if ENTERED in sys.argv:
        sys.argv.remove(ENTERED)
        ip("link set lo up")
        return True
    words = may()
    if words is None:
        return False
    sys.stdout.flush()
    os.execvp(words[0], [*words, sys.executable, *sys.orig_argv[1:], ENTERED])


def die_with_parent():
    """For `preexec_fn`: the child is killed when the thread that starts it ends."""
    prctl = ctypes.CDLL(None).prctl
    if prctl(1, int(signal.SIGKILL)) != 0:
        os._exit(1)


def ip(*batch, inside=None):
    """Commands of `ip`, in one run of it."""
    into = [] if inside is None else ["nsenter", f"--net=/proc/{inside}/ns/net", "--"]
    done = subprocess.run([*into, "ip", "-batch", "-"], input="\n".join(batch), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {batch}: {done.stderr}"


class Links:
    """The namespaces of some members, and who does not hear whom."""

    def __init__(self):
        self.holders, self.numbers = {}, {}
        bridges = [f"link add name sw-{network} type bridge" for network in NETWORKS]
        ups = [f"link set sw-{network} up" for network in NETWORKS]
        own = [f"address add 10.77.{n}.254/24 dev sw-{network}" for n, network in enumerate(NETWORKS, 1)]
        ip(*bridges, *own, *ups)

    def add(self, name):
        """A namespace for one more member, known by this name."""
        number = len(self.numbers) + 1
        assert number < 254
        holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo here; exec sleep infinity"], stdout=subprocess.PIPE, preexec_fn=die_with_parent
        )
        assert holder.stdout.readline() == b"here\n"
        holder.stdout.close()
        self.holders[name], self.numbers[name] = holder, number
        outside, inside = [], ["link set lo up"]
        for n, network in enumerate(NETWORKS, 1):
            outside.append(f"link add name sw{number}-{n} type veth peer name eth{n} netns {holder.pid}")
            outside += [f"link set sw{number}-{n} master sw-{network}", f"link set sw{number}-{n} up"]
            inside += [f"address add {self.address(name, network)}/24 dev eth{n}", f"link set eth{n} up"]
        ip(*outside)
        # What is local is looked up after the rules of cuts, and a socket's route anew for each packet.
        ip(*inside, "rule add pref 100 lookup local", "rule del pref 0", inside=holder.pid)
        write = "echo 0 > /proc/sys/net/ipv4/ip_early_demux"
        subprocess.run(["nsenter", f"--net=/proc/{holder.pid}/ns/net", "sh", "-c", write], check=True)

    def address(self, name, network="primary"):
        return f"10.77.{NETWORKS.index(network) + 1}.{self.numbers[name]}"

    def into(self, name):
        """What to put before a command to run it as this member. It stays the same process."""
        return ["nsenter", f"--net=/proc/{self.holders[name].pid}/ns/net", "--"]

    def deafen(self, name, to=None, networks=NETWORKS):
        """From now on it does not hear those; by default it hears nobody."""
        rules = []
        for network in networks:
            interface = f"iif eth{NETWORKS.index(network) + 1}"
            senders = [""] if to is None else [f"from {self.address(sender, network)}" for sender in to]
            rules += [f"rule add pref 10 {sender} {interface} blackhole" for sender in senders]
        ip(*rules, inside=self.holders[name].pid)

    def mute(self, name, networks=NETWORKS):
        """From now on nobody hears it."""
        for other in self.holders:
            if other != name:
                self.deafen(other, [name], networks)

    def silence(self, name, networks=NETWORKS):
        """Both."""
        self.deafen(name, None, networks)
        self.mute(name, networks)

    def part(self, one, other, networks=NETWORKS):
        """These two do not hear each other, and everybody else hears both."""
        self.deafen(one, [other], networks)
        self.deafen(other, [one], networks)

    def heal(self):
        """Everybody hears everybody."""
        for holder in self.holders.values():
            listed = subprocess.run(
                ["nsenter", f"--net=/proc/{holder.pid}/ns/net", "--", "ip", "rule", "list", "pref", "10"], capture_output=True, text=True, check=True
            )
            count = len(listed.stdout.splitlines())
            if count:
                ip(*["rule del pref 10"] * count, inside=holder.pid)

    def close(self):
        """Every namespace, and the bridges."""
        veths = [f"link del sw{number}-{n}" for number in self.numbers.values() for n in (1, 2)]
        ip(*veths, *(f"link del sw-{network}" for network in NETWORKS))
        for holder in self.holders.values():
            holder.kill()
            holder.wait()
