"""fio writes and verifies while the primary, a backup and the authority are killed and started again: no error, no wrong byte"""

import json
import os
import subprocess
import time

from region import Region, need, until

JOBS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "verify.fio")
# What an I/O may take at most while a process is killed. The house aims at 1 s; a machine that also builds is slower.
STALL_S_MAX = 5.0
VERIFIED_MIN = 0.95


def faults(region, volume, fio):
    """One process after the other, each started again, with fio running all the time."""

    def running(what):
        assert fio.poll() is None, f"fio ended before {what}"

    def pause(seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            running("all faults were injected")
            time.sleep(0.05)

    pause(3)
    primary, backups = region.members(volume)
    for name, role in ((primary, "primary"), (backups[0], "a backup"), ("zone", "the authority")):
        running(f"{name} was killed")
        print(f"kill -9 of {name}, {role}")
        region.kill(name)
        pause(2)
        region.start(name)
        region.whole(volume)
        print(f"  started again, the volume is whole: {region.members(volume)}")
        if role == "primary":
            now, backups = region.members(volume)
            assert now != primary, "the killed primary leads on"


def main():
    need("fio")
    with Region() as region:
        volume = region.create("384MiB")
        report = os.path.join(region.top, "fio.json")
        command = ["fio", "--output-format=json", f"--output={report}", JOBS]
        environment = {**os.environ, "URI": region.attach(volume)}
        fio = subprocess.Popen(command, env=environment, cwd=region.top)
        try:
            faults(region, volume, fio)
            status = fio.wait(timeout=300)
        finally:
            if fio.poll() is None:
                fio.kill()
                fio.wait()
        with open(report, encoding="utf-8") as file:
            text = file.read()
        assert status == 0, f"fio failed with status {status}: {text}"
        jobs = json.loads(text[text.index("{") :])["jobs"]
        written = sum(job["write"]["io_bytes"] for job in jobs)
        verified = sum(job["read"]["io_bytes"] for job in jobs)
        errors = sum(job["error"] + job.get("total_err", 0) for job in jobs)
        longest = max(job[kind]["clat_ns"]["max"] for job in jobs for kind in ("read", "write")) / 1e9
        print(
            f"{written >> 20} MiB written, {verified >> 20} MiB read back and verified, {errors} errors, "
            f"longest I/O {longest * 1000:.0f} ms"
        )
        assert errors == 0
        assert written >= 300 << 20, "too little was written to prove anything"
        assert verified >= VERIFIED_MIN * written, f"only {verified / written:.2%} of what was written was verified"
        assert longest <= STALL_S_MAX, f"an I/O took {longest:.1f} s"
        until("the volume is whole at the end", 60, lambda: region.run("volume", "show", volume)["condition"] == "ok")


if __name__ == "__main__":
    main()
