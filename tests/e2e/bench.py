"""`seawall bench` on volumes that were there before: nothing is lost unasked, what was attached stays so, and figures are figures"""

import glob
import json
import os
import shutil
import signal
import subprocess
import tempfile

from region import Region, binary, until

ROWS = ["write-qd32", "read-qd1", "mixed-70-30-qd32"]
READING = "read-qd32,seqread-128k"
# It is ready at once, has no region, and takes what it is told.
ODD = """#!/bin/sh
case $1 in
dev) while [ $# -gt 1 ]; do if [ "$1" = --dir ]; then mkdir -p "$2"; echo {{}} > "$2/region.json"; fi; shift; done; exec sleep 60;;
volume) echo vol-00000000000000abc;;
attach) {attach};;
esac
"""


def bench(region, *words):
    return region.run("bench", *words, "--seconds", "1", "--size", "8MiB")


def attached(region, volume):
    return region.run("volume", "show", volume)["attached"]


def refused(code, words, temp):
    """In a folder for temporary files of its own, in which nothing that ran may be left."""
    done = subprocess.run([binary(), "bench", *words], capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "TMPDIR": temp})
    assert done.returncode == 1 and f"{code}: " in done.stderr, f"{words}: {done.returncode}: {done.stderr}"
    return done.stderr


def main():
    with Region(nodes=3) as region:
        volume = region.create("64MiB")
        words = region.refused("E0031", "bench", volume)
        assert volume in words and "64MiB" in words and "not attached" in words, words
        assert attached(region, volume) is None

        # A volume is attached for the occasion, and detached again.
        said = bench(region, volume, "--overwrite", "--verify", "--rows", ",".join(ROWS))
        assert [row["row"] for row in said["rows"]] == ROWS, said
        assert said["compared_blocks"] == 2048 and said["size_bytes"] == 8 << 20 and not said["own_region"], said
        for row in said["rows"]:
            assert row["iops"] > 0 and 0 < row["latency_p50_us"] <= row["latency_p99_us"] <= row["latency_max_us"], row
            assert (row["reads"] > 0) == (row["row"] != "write-qd32") and (row["writes"] > 0) == (row["row"] != "read-qd1"), row
        assert attached(region, volume) is None

        # One that is attached stays so; by its address it is the same volume. What only reads asks nobody, and has nothing to lose.
        uri = region.attach(volume)
        host = attached(region, volume)
        words = region.refused("E0031", "bench", uri)
        assert uri in words and "64MiB" in words, words
        for place in (volume, uri):
            said = bench(region, place, "--rows", READING)
            assert all(row["writes"] == 0 and row["reads"] > 0 for row in said["rows"]), said
            assert attached(region, volume) == host
        bench(region, uri, "--overwrite", "--rows", "write-qd1", "--verify")

        words = region.refused("E0030", "bench", volume, "--size", "128MiB", "--overwrite")
        assert "128MiB" in words, words
        region.refused("E0001", "bench", "vol-00000000000000abc")
        region.run("detach", volume)
        region.refused("E0030", "bench", uri, "--rows", READING)
        # A host whose socket cannot be had, as when it runs elsewhere: what was attached for the occasion does not stay so.
        os.unlink(os.path.join(region.dir, region.hosts()[0], "nbd.sock"))
        words = region.refused("E0030", "bench", volume, "--rows", READING)
        assert "nbd.sock" in words, words
        assert attached(region, volume) is None

    temp = tempfile.mkdtemp(prefix="seawall-e2e-")
    refused("E0030", ["nbd+unix:///x?socket=/nowhere"], temp)
    refused("E0012", ["--server", "/nowhere/seawall"], temp)
    words = refused("E0016", ["--server", shutil.which("false")], temp)
    assert temp in words, words

    # Builds whose commands are not what people rely on.
    for attach, code in (("echo nowhere", "E0014"), ("echo no >&2; exit 1", "E0016")):
        odd = os.path.join(temp, "odd")
        with open(odd, "w", encoding="utf-8") as file:
            file.write(ODD.format(attach=attach))
        os.chmod(odd, 0o755)
        words = refused(code, ["--server", odd], temp)
        assert ("nowhere" if code == "E0014" else "no; its folder") in words, words

    # The region without a volume can be another build's; here it is the same one under another name.
    other = os.path.join(temp, "other")
    shutil.copy(binary(), other)
    left = set(os.listdir(temp))
    command = [binary(), "bench", "--server", other, "--size", "8MiB", "--seconds", "1", "--rows", "read-qd32", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, env={**os.environ, "TMPDIR": temp})
    said = json.loads(done.stdout)
    assert said["own_region"] and said["rows"][0]["reads"] > 0, said
    assert set(os.listdir(temp)) == left, "something is left behind"

    # Interrupted in the middle, it takes everything with it.
    running = subprocess.Popen([binary(), "bench"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": temp})
    until("its region is ready", 60, lambda: glob.glob(os.path.join(temp, "seawall-bench-*", "region", "*", "nbd.sock")))
    running.send_signal(signal.SIGINT)
    _, words = running.communicate(timeout=60)
    assert running.returncode == 1 and "interrupted" in words, f"{running.returncode}: {words}"
    assert set(os.listdir(temp)) == left, "something is left behind"
    shutil.rmtree(temp)
    print(f"{said['rows'][0]['iops']:.0f} reads a second at depth 32, of a region that is gone")


if __name__ == "__main__":
    main()
