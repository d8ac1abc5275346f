"""A retried CreateVolume never makes a second volume, where the region's process dies at the worst moments: recorded and not asked, reserved and not recorded, done and not told"""

import os
import time

import api
from region import Region, until

POINTS = ("after-record", "after-reserve", "before-reply")


class Dies:
    """The process ends at a fail point (crates/seawall/src/daemon/fail_point.rs)."""

    def __init__(self, point):
        self.point = point

    def __call__(self, region, _rng):
        pid = region.pids()["region"]
        until(f"the region's process dies {self.point}", 60, lambda: api.has_ended(pid))


def set_fail_point(region, text):
    path = os.path.join(region.dir, "region", "config.toml")
    with open(path, encoding="utf-8") as file:
        lines = [line for line in file if not line.startswith("fail_at")]
    with open(path, "w", encoding="utf-8") as file:
        file.writelines([f'fail_at = "{text}"\n'] if text else [])
        file.writelines(lines)


def main():
    with Region(node_size="400GiB") as region:
        clients = api.Api(region)
        ec2 = clients.client()
        (zone,) = [z["ZoneName"] for z in ec2.describe_availability_zones()["AvailabilityZones"]]
        # Half of them at the points in turn, half at any moment.
        ends = [end for point in POINTS for end in (Dies(point), api.killed_at_random)]

        def arm(end, rng):
            set_fail_point(region, f"{end.point}:{rng.randint(1, 40)}" if isinstance(end, Dies) else None)

        # It is to end at the first of them.
        region.kill("region")
        set_fail_point(region, f"{POINTS[0]}:3")
        region.start("region")
        until("the API answers", 10, lambda: ec2.describe_regions() is not None)
        began = time.monotonic()
        api.kills(region, clients, zone, ends, arm)
        log = region.log("region")
        struck = {point: log.count(f"dies at the fail point {word}") for point, word in zip(POINTS, ("AfterRecord", "AfterReserve", "BeforeReply"))}
        assert sum(struck.values()) == api.KILLS // 2 and all(struck.values()), struck
        print(f"died at fail points: {struck}, and {api.KILLS - sum(struck.values())} times at random, within {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
