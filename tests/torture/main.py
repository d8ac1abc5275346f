"""`cargo xtask torture`: real processes under kill -9, SIGSTOP, cut and half-cut links, slow and failing disks, with a client whose whole history is judged."""

import argparse
import json
import os
import sys

import figures
from cluster import Cluster
from faults import FAULTS
from links import ENTERED, enter

WHAT = {
    "torture": figures.torture,
    "kills": figures.kills,
    "rows": figures.rows,
    "authority": figures.authority,
    "everything": figures.everything,
    "lies": figures.lies,
}


def arguments():
    every = "\n".join(f"  {fault.name:<24} {fault.about}" for fault in FAULTS.values())
    said = "\n".join(f"  {name:<12} {(function.__doc__ or '').strip()}" for name, function in WHAT.items())
    parser = argparse.ArgumentParser(
        prog="cargo xtask torture",
        description=__doc__,
        epilog=f"what to run:\n{said}\n\nfaults:\n{every}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("binary", help=argparse.SUPPRESS)
    parser.add_argument("what", nargs="?", default="torture", choices=WHAT)
    parser.add_argument("--minutes", type=float, default=5, help="of torture (5)")
    parser.add_argument("--rounds", type=int, help="of everything else; each figure has its own number")
    parser.add_argument("--seed", type=int, default=2011, help="which faults, and when; not their timing (2011)")
    parser.add_argument("--faults", type=lambda text: text.split(","), default=[], help="only these, by name, with commas between")
    parser.add_argument("--hold", type=float, default=5, help="seconds that a fault of a row holds, and that the authority is dead (5)")
    parser.add_argument("--release", action="store_true", help="a build without disks for tests: faults of disks are left out")
    parser.add_argument("--json", action="store_true", help="the figures as JSON, as the last line")
    parser.add_argument(ENTERED, action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = [name for name in options.faults if name not in FAULTS]
    if unknown:
        parser.error(f"no such faults: {', '.join(unknown)}")
    return options


def show(counted, indent=""):
    """Figures as lines."""
    for name, value in counted.items():
        if isinstance(value, dict) and any(isinstance(part, (dict, list)) for part in value.values()):
            print(f"{indent}{name}:")
            show(value, indent + "  ")
        elif isinstance(value, dict):
            print(f"{indent}{name:<26} " + ", ".join(f"{key} {part}" for key, part in value.items()))
        else:
            print(f"{indent}{name:<26} {value}")


def main():
    options = arguments()
    linked = enter()

    def make(disks="plain", **given):
        return Cluster(os.path.abspath(options.binary), linked=linked, disks=None if options.release else disks, **given)

    counted = WHAT[options.what](make, options)
    counted["machine load"] = list(os.getloadavg())
    show(counted)
    if options.json:
        print(json.dumps(counted))


if __name__ == "__main__":
    sys.exit(main())
