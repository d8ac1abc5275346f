"""The same twenty kills over disks that lose what was not flushed; and with flushes that lie, writes are lost and it shows"""

from region import Region
from restart import ROUNDS, WRITES_EACH_ROUND, Load


def survives(region):
    """Whatever is not flushed goes with its process, and nothing that was acknowledged was not flushed."""
    region.stop_all()
    region.configure("node-", test_disk="volatile")
    region.start_all()
    load = Load(region)
    for number in range(ROUNDS):
        # For the start that follows the kill: both drivers read what either has left.
        driver = ["epoll", "io_uring"][number % 2]
        region.configure("", driver=driver)
        load.round(f"round {number + 1} of {ROUNDS}, volatile disks, started again over {driver}")
    return load


def shows(region, load):
    """A build that skips flushes is found out: this is what the rounds above would have said of it."""
    load.start()
    load.until(WRITES_EACH_ROUND)
    region.faults("lost-flush")
    load.until(load.count() + WRITES_EACH_ROUND)
    load.kill()
    region.faults(None)
    region.start_all()
    lost = load.lost()
    assert lost, "flushes were lost, every process was killed, and nothing is missing: the disk for tests tests nothing"
    print(f"{ROUNDS} kills lost nothing; with flushes that lie, {len(lost)} acknowledged writes are missing, as they must be")


def main():
    with Region() as region:
        load = survives(region)
        shows(region, load)


if __name__ == "__main__":
    main()
