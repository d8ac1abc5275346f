"""fio against a throttled volume: it gets what it may and no more, nothing fails, and what waits is not called stuck"""

import json
import subprocess

from region import Region, need, until

SECONDS = 8
# What is saved up is a twentieth of a second; the rest is for fio's own idea of when it began and ended.
OVER = 1.02
# A machine that also builds may fall behind what it may do; that rates are reached is shown in simulated time (crates/host/tests/throttles.rs).
UNDER = 0.50


def fio(uri, *words):
    common = ["--name=throttled", "--ioengine=nbd", f"--uri={uri}", "--size=64M", "--randseed=7", "--output-format=json"]
    return subprocess.Popen(["fio", *common, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process):
    """What was done, read and written together: I/Os and bytes in a second."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, f"fio failed: {err}{out}"
    job = json.loads(out[out.index("{") :])["jobs"][0]
    assert job["error"] == 0 and job.get("total_err", 0) == 0, "a throttled I/O failed"
    return sum(job[kind]["iops"] for kind in ("read", "write")), sum(job[kind]["bw_bytes"] for kind in ("read", "write"))


def within(what, got, allowed):
    print(f"{what}: {got:.0f} of {allowed} in a second", flush=True)
    assert UNDER * allowed <= got <= OVER * allowed, f"{what}: {got:.1f} in a second, and {allowed} are allowed"


def main():
    need("fio")
    with Region(nodes=3) as region:
        volume = region.create("128MiB", "--iops", "300")
        uri = region.attach(volume)
        timed = ("--time_based", f"--runtime={SECONDS}")
        small = ("--rw=randrw", "--bs=4k", "--iodepth=16")

        load = fio(uri, *small, *timed)

        def waits():
            shown = region.run("volume", "show", volume)
            assert not shown["condition"].startswith("stuck"), shown
            return shown["throttled"] and shown["throttled"]["waiting"] > 0

        until("requests are shown to wait for the throttle", 30, waits)
        within("small I/Os", ended(load)[0], 300)
        assert "waits for" not in region.log(region.hosts()[0]), "throttled I/O was called stuck"

        # The other limit, set while the volume is attached; the first one is gone.
        shown = region.run("volume", "throttle", volume, "--iops", "none", "--bandwidth", "8MiB")
        assert (shown["iops"], shown["bandwidth"]) == (None, 8 << 20), shown
        within("bytes of mixed sizes", ended(fio(uri, "--rw=randrw", "--bsrange=4k-1m", "--iodepth=8", *timed))[1], 8 << 20)

        # Limits outlive everything that is told of them.
        for name in ("zone", region.hosts()[0]):
            region.kill(name)
            region.start(name)
        uri = region.attach(volume)
        within("bytes after restarts", ended(fio(uri, "--rw=write", "--bs=256k", "--iodepth=4", *timed))[1], 8 << 20)

        # One that is taken away while I/O waits lets it go: at the old rate this would last for 40 s.
        load = fio(uri, "--rw=randwrite", "--bs=64k", "--iodepth=32", "--io_size=320M")
        until("requests wait", 30, waits)
        region.run("volume", "throttle", volume, "--bandwidth", "none")
        _, speed = ended(load)
        assert speed > 1.25 * (8 << 20), f"without a limit {speed / (1 << 20):.1f} MiB went in a second"
        until("nothing waits", 30, lambda: region.run("volume", "show", volume)["throttled"]["waiting"] == 0)
        print(f"without a limit: {speed / (1 << 20):.0f} MiB in a second")


if __name__ == "__main__":
    main()
