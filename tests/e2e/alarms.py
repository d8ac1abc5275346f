#!/usr/bin/env python3
"""The alarm rules in docs/alarms by promtool: they fire when they must and only then, and a region's metrics page is what they read"""

import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request

from region import SKIPPED, Region, until

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
ALARMS = os.path.join(ROOT, "docs", "alarms")
# Where .ci/run unpacks Debian's package, whose service nobody wants here.
UNPACKED = os.path.join(ROOT, "target", "prometheus", "usr", "bin", "promtool")

# Rules that are wrong on purpose, each of which must be noticed: what to replace by what.
WRONG = [
    # The one that hid the launches of 2011: a sum over all operations.
    ("sum by (job, operation) (", "sum by (job) ("),
    # The threshold that fires only when the window is full of errors, and some more.
    (">= 0.005", ">= 0.02"),
    # One error alone alarms.
    ("> 1.5", "> 0.5"),
    # Requests that are wrong thin out the errors.
    ('outcome=~"ok|server_error"', 'outcome=~".+"'),
    # Zones are not told apart.
    ("sum by (job, operation, zone) (", "sum by (job, operation) ("),
]


def tool():
    if os.environ.get("SEAWALL_WITHOUT_PROMTOOL"):
        print("left out: SEAWALL_WITHOUT_PROMTOOL is set, since promtool cannot be had here")
        sys.exit(0)
    found = shutil.which("promtool") or (UNPACKED if os.path.exists(UNPACKED) else None)
    if found is None:
        print("skipped: needs promtool (Debian's package prometheus)")
        sys.exit(SKIPPED)
    return found


def run(*command, text=None):
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def tried(promtool, folder):
    return run(promtool, "test", "rules", os.path.join(folder, "region.test.yml"))


def rules(promtool):
    path = os.path.join(ALARMS, "region.rules.yml")
    status, said = run(promtool, "check", "rules", path)
    assert status == 0, said
    status, said = tried(promtool, ALARMS)
    assert status == 0, said
    with open(path, encoding="utf-8") as file:
        right = file.read()
    for old, new in WRONG:
        assert old in right, f"no rule has {old}"
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(os.path.join(ALARMS, "region.test.yml"), folder)
            with open(os.path.join(folder, "region.rules.yml"), "w", encoding="utf-8") as file:
                file.write(right.replace(old, new))
            status, said = tried(promtool, folder)
            assert status != 0 and "FAILED" in said, f"nobody noticed {old} -> {new}"


def page(promtool):
    """The page of a region: promtool finds nothing wrong with it."""
    with Region(nodes=3, node_size="1GiB") as region:
        url = region.entries()["metrics"]

        def scraped():
            with urllib.request.urlopen(url, timeout=10) as answer:
                assert answer.headers["content-type"].startswith("text/plain; version=0.0.4"), answer.headers
                return answer.read().decode()

        until("the zone is reached", 10, lambda: 'seawall_region_zone_reached{zone="' in scraped() and '"} 1\n' in scraped())
        text = scraped()
        status, said = run(promtool, "check", "metrics", text=text)
        assert status == 0, said
        return len(text.splitlines())


def main():
    promtool = tool()
    rules(promtool)
    lines = page(promtool)
    print(f"the rules alarm as they must, {len(WRONG)} wrong ones are noticed, and a page of {lines} lines is sound")


if __name__ == "__main__":
    main()
