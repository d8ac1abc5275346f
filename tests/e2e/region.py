"""A region of real processes in a temporary folder, for the scripts beside this file. Standard library only."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

SKIPPED = 77


def binary():
    """The program under test: the first argument, or $SEAWALL, or what cargo built last."""
    if len(sys.argv) > 1:
        return os.path.abspath(sys.argv[1])
    if "SEAWALL" in os.environ:
        return os.path.abspath(os.environ["SEAWALL"])
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    return os.path.join(root, "target", "release", "seawall")


def need(*tools):
    """Ends the script, as skipped, when a tool is missing."""
    for tool in tools:
        if shutil.which(tool) is None:
            print(f"skipped: needs {tool}")
            sys.exit(SKIPPED)


def until(what, within, look):
    """Looks until there is an answer; fails after so many seconds."""
    deadline = time.monotonic() + within
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {within} s until {what}, in vain")
        time.sleep(0.02)


class Region:
    """A `seawall dev` of its own. What it started ends with it; its folder is kept when the script failed."""

    def __init__(self, *options, nodes=4, node_size="8GiB", remirror_after=5):
        self.top = tempfile.mkdtemp(prefix="seawall-e2e-")
        self.dir = os.path.join(self.top, "region")
        self.options = ["--nodes", str(nodes), "--node-size", node_size, "--remirror-after", str(remirror_after), *options]
        self.dev = None

    def __enter__(self):
        self.start_all()
        return self

    def __exit__(self, kind, _value, _trace):
        if self.dev is not None and self.dev.poll() is None:
            self.stop_all(check=kind is None)
        if kind is None:
            shutil.rmtree(self.top)
        else:
            print(f"the region's folder is kept: {self.dir}")

    def start_all(self):
        """Starts, or starts again, everything; returns when all is ready."""
        log = open(os.path.join(self.top, "dev.log"), "ab")
        self.dev = subprocess.Popen(
            [binary(), "dev", "--dir", self.dir, *self.options], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        log.close()

        def ready():
            assert self.dev.poll() is None, f"`seawall dev` ended: {open(os.path.join(self.top, 'dev.log')).read()}"
            return os.path.exists(os.path.join(self.dir, "region.json"))

        until("the region is ready", 120, ready)

    def stop_all(self, check=True):
        """Asks everything to stop, and waits for it; nothing may be left."""
        pids = self.pids() if check else {}
        self.dev.send_signal(signal.SIGTERM)
        status = self.dev.wait(timeout=60)
        if check:
            assert status == 0, f"`seawall dev` stopped with status {status}"
            for name, pid in pids.items():
                assert not os.path.exists(f"/proc/{pid}"), f"{name} (process {pid}) is left behind"

    def kill_everything(self):
        """Every process at one instant, `seawall dev` first so that it can do nothing about it."""
        victims = [self.dev.pid, *self.pids().values()]
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        self.dev.wait()
        # Nobody was left to remove it; the next start is told ready by its coming back.
        os.unlink(os.path.join(self.dir, "region.json"))

    def configure(self, beginning, **keys):
        """Sets keys in the configuration of every process of the zone whose name begins so. For its next start."""
        for name in os.listdir(self.dir):
            path = os.path.join(self.dir, name, "config.toml")
            if not name.startswith(beginning) or name == "region" or not os.path.exists(path):
                continue
            with open(path, encoding="utf-8") as file:
                lines = [line for line in file if line.split("=")[0].strip() not in keys]
            with open(path, "w", encoding="utf-8") as file:
                file.writelines([*lines, *(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())])

    def faults(self, text, beginning="node-"):
        """What the disks for tests of these nodes do from now on (crates/runtime/src/disk/switch.rs); None is nothing, of all."""
        for name in os.listdir(self.dir):
            path = os.path.join(self.dir, name, "store.faults")
            if text is not None:
                if not name.startswith(beginning):
                    continue
                with open(path + ".new", "w", encoding="utf-8") as file:
                    file.write(text)
                os.rename(path + ".new", path)
            elif os.path.exists(path):
                os.unlink(path)

    def entries(self):
        with open(os.path.join(self.dir, "region.json"), encoding="utf-8") as file:
            return json.load(file)

    def pids(self):
        """The process of each id: zone, node-1 and so on in the first zone, local-1b/zone in the second."""
        entries = self.entries()
        pids, prefixes = {"region": entries["pid"]}, {}
        for zone in entries["zones"]:
            prefix = prefixes.setdefault(zone["name"], f"{zone['name']}/" if prefixes else "")
            pids[f"{prefix}zone"] = zone["authority"]["pid"]
            pids.update({prefix + node["id"]: node["pid"] for node in zone["nodes"]})
        pids.update({prefixes[host["zone"]] + host["id"]: host["pid"] for host in entries["hosts"]})
        return pids

    def kill(self, name, how=signal.SIGKILL):
        os.kill(self.pids()[name], how)

    def start(self, name):
        """`seawall dev start`."""
        self.run("dev", "start", name)

    def run(self, *words):
        """A command that must succeed: what it says, read as JSON."""
        command = [binary(), *words, "--dir", self.dir, "--json"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=180)
        assert done.returncode == 0, f"{' '.join(words)}: status {done.returncode}: {done.stderr}{done.stdout}"
        return json.loads(done.stdout)

    def attempt(self, *words):
        """A command that may be refused: what it says, or None."""
        command = [binary(), *words, "--dir", self.dir, "--json"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=180, check=False)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def refused(self, code, *words):
        """A command that must be refused with this code: in which words."""
        command = [binary(), *words, "--dir", self.dir]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=180, check=False)
        assert done.returncode == 1 and f"{code}: " in done.stderr, f"{' '.join(words)}: {done.returncode}: {done.stderr}"
        return done.stderr

    def hosts(self):
        return [host["id"] for host in self.entries()["hosts"]]

    def log(self, name):
        with open(os.path.join(self.dir, name, "log"), encoding="utf-8", errors="replace") as file:
            return file.read()

    def create(self, size, *words):
        return self.run("volume", "create", size, *words)["id"]

    def attach(self, volume):
        return self.run("attach", volume)["uri"]

    def shard(self, volume):
        """The only shard of a small volume."""
        shards = self.run("volume", "show", volume)["shards"]
        assert len(shards) == 1, shards
        return shards[0]

    def members(self, volume):
        """The primary, and the others."""
        shard = self.shard(volume)
        names = [member["node"] for member in shard["members"]]
        return shard["primary"], [name for name in names if name != shard["primary"]]

    def whole(self, volume, copies=3, within=120):
        """Waits until the volume has all its copies, and is as it should be."""

        def look():
            shown = self.run("volume", "show", volume)
            members = [len(shard["members"]) for shard in shown["shards"]]
            return shown["condition"] == "ok" and all(n == copies for n in members)

        until(f"{volume} has {copies} copies", within, look)
