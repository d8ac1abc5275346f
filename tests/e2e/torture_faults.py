"""Torture in short: each kind of kill, stop, cut link and bad disk once or twice under a witness whose whole history is judged, and lies that it must notice"""

import argparse
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "torture"))

# pylint: disable=wrong-import-position
import figures
from cluster import Cluster
from links import enter

SHORT = argparse.Namespace(seed=4, rounds=1, hold=1.0, minutes=0.5, faults=[])


def main():
    linked = enter()
    binary = os.path.abspath(sys.argv[1])

    def make(disks="plain", **given):
        return Cluster(binary, linked=linked, disks=disks, **given)

    figures.lies(make, SHORT)
    counted = figures.torture(make, SHORT)
    print(
        f"{counted['faults']} faults{'' if linked else ', none of links, which need namespaces'}: {counted['checked']['answered']} requests answered, "
        f"{counted['checked']['accesses']} accesses judged, 0 anomalies; four lies noticed"
    )


if __name__ == "__main__":
    main()
