"""An image written by qemu-img comes back from nbdcopy to the byte; nbdinfo likes what it sees"""

import json
import os
import random
import subprocess

import nbd
from region import Region, need, until

MIB = 1 << 20


def make_image(path):
    """1 GiB with data, zeroes and holes: 16 MiB in turns, seeded."""
    rng = random.Random(2011)
    with open(path, "wb") as image:
        image.truncate(1024 * MIB)
        for part in range(64):
            image.seek(part * 16 * MIB)
            if part % 4 == 0:
                image.write(rng.randbytes(16 * MIB))
            elif part % 4 == 1:
                image.write(rng.randbytes(4096 + 512 * part))
            elif part % 4 == 2:
                image.write(bytes(MIB))


def written(uri):
    """Bytes of the volume that are written, as it says itself."""
    said = subprocess.run(["nbdinfo", "--map", "--json", uri], check=True, capture_output=True).stdout
    return sum(stretch["length"] for stretch in json.loads(said) if stretch["description"] == "data")


def read_only(region, volume, image):
    """Attached read only, it is read and not written, by whom ever."""
    uri = region.run("attach", volume, "--read-only")["uri"]
    export = json.loads(subprocess.run(["nbdinfo", "--json", uri], check=True, capture_output=True).stdout)["exports"][0]
    assert export["is_read_only"] and not export["can_trim"], export
    assert region.run("volume", "show", volume)["read_only"]
    client = nbd.Client(uri)
    for what in (lambda: client.write(0, bytes(4096)), lambda: client.trim(0, 4096)):
        try:
            what()
        except nbd.Failed as why:
            assert why.error == 1, why
        else:
            raise AssertionError("a volume that is attached read only was changed")
    client.close()
    subprocess.run(["qemu-img", "compare", "-f", "raw", "-F", "raw", image, uri], check=True)
    region.refused("E0002", "attach", volume)
    region.run("detach", volume)


def main():
    need("qemu-img", "nbdcopy", "nbdinfo", "cmp")
    with Region() as region:
        volume = region.create("1GiB")
        uri = region.attach(volume)
        info = json.loads(subprocess.run(["nbdinfo", "--json", uri], check=True, capture_output=True).stdout)
        export = info["exports"][0]
        assert export["export-size"] == 1024 * MIB, export
        assert export["export-name"] == volume, export
        assert export["block_size_minimum"] in (1, 512) and export["block_size_preferred"] == 4096, export
        for ability in ("can_flush", "can_fua", "can_trim", "can_zero", "can_multi_conn"):
            assert export[ability], f"the export says that it lacks {ability}"
        listed = json.loads(
            subprocess.run(["nbdinfo", "--list", "--json", uri], check=True, capture_output=True).stdout
        )
        assert [e["export-name"] for e in listed["exports"]] == [volume], listed
        print("nbdinfo is satisfied")
        image, back = os.path.join(region.top, "in.raw"), os.path.join(region.top, "out.raw")
        make_image(image)
        subprocess.run(["qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", image, uri], check=True)
        subprocess.run(["nbdcopy", uri, back], check=True)
        subprocess.run(["cmp", image, back], check=True)
        print("1 GiB went in by qemu-img and came out by nbdcopy, the same")
        # Parts 0, 4, ... are full of data, parts 1, 5, ... hold little; the rest is zeroes, which qemu-img does not write. It looks at 64 KiB at a time.
        least = 16 * 16 * MIB + sum(-(-(4096 + 512 * part) // 4096) * 4096 for part in range(1, 64, 4))
        assert least <= written(uri) <= least + 16 * 65536, f"{written(uri)} bytes are written; {least} were"
        print(f"and {written(uri)} bytes of it are written, which the volume knows")
        subprocess.run(["qemu-img", "compare", "-f", "raw", "-F", "raw", image, uri], check=True)
        region.run("detach", volume)
        subprocess.run(["nbdcopy", region.attach(volume), back], check=True)
        subprocess.run(["cmp", image, back], check=True)
        print("and again under a new attachment")
        region.run("detach", volume)
        read_only(region, volume, image)
        print("and attached read only it stays as it is")
        region.run("volume", "delete", volume)
        # It is shown as deleting until each node has dropped its copy, durably.
        until("no node holds anything of the volume", 60, lambda: region.run("volume", "list") == [])


if __name__ == "__main__":
    main()
