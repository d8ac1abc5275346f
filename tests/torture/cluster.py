"""A region whose every process can be killed, stopped, and cut off from any other: made by `seawall dev`, run by the script itself, each process in a network
namespace of its own where that is allowed, and on loopback where it is not."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

# pylint: disable=wrong-import-position
from links import Links, die_with_parent
from region import Region, until

READY_S = 60


class Cluster(Region):
    """The processes are this script's children. They end with it; the folder is kept when it failed."""

    def __init__(self, binary, nodes=5, node_size="2GiB", linked=True, disks=None, remirror_after=3600, zone=None):
        super().__init__(nodes=nodes, node_size=node_size, remirror_after=remirror_after)
        self.binary, self.linked, self.disks, self.zone = binary, linked, disks, zone or {}
        self.links, self.children, self.shown = None, {}, None

    def __enter__(self):
        super().__enter__()
        self.shown = self.entries()
        self.stop_all()
        self.dev = None
        if self.linked:
            self._move_into_links()
        if self.disks is not None:
            self.configure("node-", test_disk=self.disks)
        self.configure("zone", **self.zone)
        self.start("zone")
        self.start(*self.nodes(), self.host())
        return self

    def __exit__(self, kind, value, trace):
        for child in self.children.values():
            child.kill()
        for child in self.children.values():
            child.wait()
        if self.links is not None:
            self.links.close()
        super().__exit__(kind, value, trace)

    def nodes(self):
        return [node["id"] for node in self.shown["zones"][0]["nodes"]]

    def host(self):
        return self.shown["hosts"][0]["id"]

    def entries(self):
        return self.shown if self.shown is not None else super().entries()

    def pids(self):
        return {name: child.pid for name, child in self.children.items()} if self.shown is not None else super().pids()

    def _move_into_links(self):
        """Gives each process its namespace and rewrites where it listens and whom it asks."""
        self.links = Links()
        for name in ("zone", self.host(), *self.nodes()):
            self.links.add(name)
        zone = f"{self.links.address('zone')}:{self._port('zone', 'listen')}"
        self.configure("", zone=zone)
        self.configure("zone", zone=self.shown["zones"][0]["name"], listen=zone, allow_remote=True)
        self.shown["zones"][0]["authority"]["addr"] = zone
        for node in self.shown["zones"][0]["nodes"]:
            self._settle(node)

    def _settle(self, node):
        """Where a node listens in its namespace."""
        name = node["id"]
        node["addr"] = f"{self.links.address(name)}:{self._port(name, 'listen')}"
        node["replication_addr"] = f"{self.links.address(name, 'replication')}:{self._port(name, 'listen_replication')}"
        listens = {"listen": node["addr"], "listen_replication": node["replication_addr"]}
        self.configure_one(name, **listens, allow_remote=True)

    def _config(self, name):
        with open(os.path.join(self.dir, name, "config.toml"), encoding="utf-8") as file:
            return file.read()

    def _port(self, name, key):
        return re.search(rf'^{key} = ".*:(\d+)"$', self._config(name), re.M).group(1)

    def configure_one(self, name, **keys):
        lines = [line for line in self._config(name).splitlines() if line.split("=")[0].strip() not in keys]
        lines += [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
        with open(os.path.join(self.dir, name, "config.toml"), "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")

    def add_node(self):
        """One more node, in a rack of its own, with an empty disk; it runs when this returns."""
        number = len(self.shown["zones"][0]["nodes"]) + 1
        name, pattern = f"node-{number}", self.shown["zones"][0]["nodes"][0]
        os.mkdir(os.path.join(self.dir, name))
        shutil.copy(os.path.join(self.dir, pattern["id"], "config.toml"), os.path.join(self.dir, name, "config.toml"))
        node = {**pattern, "id": name, "rack": f"r{number}", "store": os.path.join(self.dir, name, "store")}
        self.configure_one(name, node=name, rack=node["rack"])
        self.shown["zones"][0]["nodes"].append(node)
        if self.links is not None:
            self.links.add(name)
            self._settle(node)
        else:
            base = int(re.search(r":(\d+)$", pattern["addr"]).group(1)) + 2 * number + 100
            node["addr"], node["replication_addr"] = f"127.0.0.1:{base}", f"127.0.0.1:{base + 1}"
            self.configure_one(name, listen=node["addr"], listen_replication=node["replication_addr"])
        self.start(name)
        return name

    def begin(self, name):
        """Starts a process, and does not wait for it."""
        kind = name.split("-")[0] if name == "zone" or name.startswith("node-") else "host"
        folder = os.path.join(self.dir, name)
        into = self.links.into(name) if self.links is not None else []
        command = [*into, self.binary, kind, "--config", os.path.join(folder, "config.toml")]
        with open(os.path.join(folder, "said"), "wb") as said, open(os.path.join(folder, "log"), "ab") as log:
            self.children[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=said, stderr=log, preexec_fn=die_with_parent, start_new_session=True
            )
        with open(os.path.join(self.dir, "region.json"), "w", encoding="utf-8") as file:
            json.dump(self._with_pids(), file)

    def _with_pids(self):
        pid = lambda name: self.children[name].pid if name in self.children else 0
        zone = self.shown["zones"][0]
        zone["authority"]["pid"], self.shown["hosts"][0]["pid"] = pid("zone"), pid(self.host())
        for node in zone["nodes"]:
            node["pid"] = pid(node["id"])
        return self.shown

    def said(self, name):
        with open(os.path.join(self.dir, name, "said"), encoding="utf-8") as file:
            return file.read()

    def wait_ready(self, *names, word="ready"):
        """Until they have said so."""
        for name in names:

            def ready(name=name):
                assert self.children[name].poll() is None, f"{name} ended with {self.children[name].returncode}: {self.tail(name)}"
                return word in self.said(name)

            until(f"{name} is {word}", READY_S, ready)

    def tail(self, name):
        with open(os.path.join(self.dir, name, "log"), encoding="utf-8", errors="replace") as file:
            return "".join(file.readlines()[-6:])

    def start(self, *names):
        """Starts processes that do not run, and waits until they are ready: in vain without an authority, and then until they listen."""
        for name in names:
            self.begin(name)
        has_zone = "zone" in self.children and self.children["zone"].poll() is None
        self.wait_ready(*names, word="ready" if has_zone else "listening")

    def kill(self, name, how=signal.SIGKILL):
        self.children[name].send_signal(how)
        if how == signal.SIGKILL:
            self.children[name].wait()

    def kill_everything(self):
        for child in self.children.values():
            child.send_signal(signal.SIGKILL)
        for child in self.children.values():
            child.wait()

    def all_live(self):
        """Nobody has ended, by itself or otherwise."""
        ended = [name for name, child in self.children.items() if child.poll() is not None]
        assert not ended, f"{ended} ended by themselves: {[self.tail(name) for name in ended]}"

    def attach_as(self, volume):
        """Attaches a volume: the generation and the socket."""
        reply = self.run("attach", volume)
        return reply["generation"], reply["socket"]

    def is_whole(self, volume, copies=3):
        shown = self.run("volume", "show", volume)
        members = [len(shard["members"]) for shard in shown["shards"]]
        return shown["condition"] == "ok" and all(n == copies for n in members)

    def whole(self, volume, copies=3, within=120):
        """As of a region, at a pace that leaves the processors to the processes."""
        end = time.monotonic() + within
        while not self.is_whole(volume, copies):
            self.all_live()
            assert time.monotonic() < end, f"{volume} has not {copies} copies after {within} s: {self.run('volume', 'show', volume)}"
            time.sleep(0.1)

    def disk(self, name, text):
        """What the disk for tests of one node does from now on (crates/runtime/src/disk/switch.rs); None is nothing."""
        path = os.path.join(self.dir, name, "store.faults")
        if text is not None:
            with open(path + ".new", "w", encoding="utf-8") as file:
                file.write(text)
            os.rename(path + ".new", path)
        elif os.path.exists(path):
            os.unlink(path)
