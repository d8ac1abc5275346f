#!/usr/bin/env python3
"""The region's API by clients that others wrote, boto3 and the aws command line, also while its process is killed, and over three zones of which one is"""

import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.request

from region import SKIPPED, Region, need, until

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
CLIENTS = os.path.join(ROOT, "target", "clients", "bin")

# The clients are in a place of their own, which .ci/run made: this script goes on there.
if importlib.util.find_spec("boto3") is None:
    python = os.path.join(CLIENTS, "python")
    if not os.path.exists(python):
        print("skipped: needs boto3 and the aws command line (tests/e2e/clients.txt) in target/clients")
        sys.exit(SKIPPED)
    os.execv(python, [python, "-B", *sys.argv])

import boto3  # noqa: E402
import botocore.auth  # noqa: E402
from botocore.config import Config  # noqa: E402
from botocore.exceptions import ClientError  # noqa: E402

GIB = 1 << 30
KILLS = int(os.environ.get("API_KILLS", "12"))


class Api:
    """Clients of one region, in all their kinds."""

    def __init__(self, region):
        entries = region.entries()
        self.url, self.name = entries["endpoint"], entries["region"]
        self.id, self.secret = entries["access_key_id"], entries["secret_access_key"]
        assert os.stat(os.path.join(region.dir, "region.json")).st_mode & 0o077 == 0, "others can read the secret"

    def client(self, service="ec2", secret=None, key=None, attempts=1, connections=10):
        config = Config(
            retries={"total_max_attempts": attempts}, connect_timeout=2, read_timeout=15, parameter_validation=False, max_pool_connections=connections
        )
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=self.name,
            aws_access_key_id=key or self.id,
            aws_secret_access_key=secret or self.secret,
            config=config,
        )

    def aws(self, *words, status=0):
        """The command line: what it says."""
        env = {**os.environ, "AWS_ACCESS_KEY_ID": self.id, "AWS_SECRET_ACCESS_KEY": self.secret, "AWS_EC2_METADATA_DISABLED": "true"}
        program = os.path.join(os.path.dirname(sys.executable), "aws")
        command = [program, "--endpoint-url", self.url, "--region", self.name, "--output", "json", *words]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == status, f"{words}: status {done.returncode}: {done.stderr}"
        return json.loads(done.stdout) if status == 0 and done.stdout.strip() else done.stderr


def refused(code, call, **parameters):
    """A call that must be refused so: its message, and its HTTP status."""
    try:
        call(**parameters)
    except ClientError as why:
        assert why.response["Error"]["Code"] == code, why
        return why.response["Error"]["Message"], why.response["ResponseMetadata"]["HTTPStatusCode"]
    raise AssertionError(f"{parameters} was not refused")


def life(region, api):
    """A volume from its making to its end, as boto3 sees it."""
    ec2 = api.client()
    zones = ec2.describe_availability_zones()["AvailabilityZones"]
    zone = zones[0]["ZoneName"]
    assert len(zones) == 1 and ec2.describe_regions()["Regions"][0]["RegionName"] == api.name
    available = [{"Name": "state", "Values": ["available"]}]
    until("the zone is reached", 10, lambda: ec2.describe_availability_zones(Filters=available)["AvailabilityZones"])
    tags = [{"ResourceType": "volume", "Tags": [{"Key": "Name", "Value": "a+b & <c> \u00e9~"}]}]
    made = ec2.create_volume(AvailabilityZone=zone, Size=1, VolumeType="gp3", TagSpecifications=tags)
    volume = made["VolumeId"]
    assert made["State"] == "creating" and made["Iops"] == 3000 and made["Throughput"] == 125 and not made["Encrypted"], made
    ec2.get_waiter("volume_available").wait(VolumeIds=[volume])
    (shown,) = ec2.describe_volumes(VolumeIds=[volume])["Volumes"]
    assert shown["Tags"] == tags[0]["Tags"] and shown["CreateTime"] == made["CreateTime"], shown
    found = ec2.describe_volumes(Filters=[{"Name": "tag:Name", "Values": ["a+b*"]}, {"Name": "size", "Values": ["1"]}])
    assert [v["VolumeId"] for v in found["Volumes"]] == [volume]
    # A host has it: what is in use is not deleted.
    region.attach(volume)
    message, status = refused("VolumeInUse", ec2.delete_volume, VolumeId=volume)
    assert volume in message and status == 400, (message, status)
    region.run("detach", volume)
    ec2.create_tags(Resources=[volume], Tags=[{"Key": "k", "Value": "v"}])
    pages = ec2.get_paginator("describe_tags").paginate(PaginationConfig={"PageSize": 5})
    assert sorted(t["Key"] for page in pages for t in page["Tags"]) == ["Name", "k"]
    ec2.delete_tags(Resources=[volume], Tags=[{"Key": "k"}])
    others = [ec2.create_volume(AvailabilityZone=zone, Size=1)["VolumeId"] for _ in range(11)]
    pages = list(ec2.get_paginator("describe_volumes").paginate(PaginationConfig={"PageSize": 5}))
    assert len(pages) == 3 and sorted(v["VolumeId"] for p in pages for v in p["Volumes"]) == sorted([volume, *others])
    for gone in [volume, *others]:
        ec2.delete_volume(VolumeId=gone)
    ec2.get_waiter("volume_deleted").wait(VolumeIds=[volume])
    message, status = refused("InvalidVolume.NotFound", ec2.describe_volumes, VolumeIds=[volume])
    assert volume in message and status == 400, (message, status)
    who = api.client("sts").get_caller_identity()
    assert who["Account"] == "000000000001", who
    return zone


def refusals(api, zone):
    """What clients get wrong, and what they are told."""
    ec2 = api.client()
    message, status = refused("DryRunOperation", ec2.create_volume, AvailabilityZone=zone, Size=1, DryRun=True)
    assert (message, status) == ("Request would have succeeded, but DryRun flag is set.", 412)
    assert refused("AuthFailure", api.client(secret="x" * 40).describe_volumes)[1] == 401
    assert refused("AuthFailure", api.client(key="AKIANOBODY").describe_volumes)[1] == 401
    refused("InvalidClientTokenId", api.client("sts", key="AKIANOBODY").get_caller_identity)
    refused("MissingParameter", ec2.create_volume, AvailabilityZone=zone)
    refused("InvalidParameterValue", ec2.create_volume, AvailabilityZone=zone, Size=1 << 20)
    refused("UnknownVolumeType", ec2.create_volume, AvailabilityZone=zone, Size=1, VolumeType="fast")
    refused("InvalidZone.NotFound", ec2.create_volume, AvailabilityZone="moon-1a", Size=1)
    refused("UnsupportedOperation", ec2.run_instances, ImageId="ami-1", MinCount=1, MaxCount=1)
    refused("InvalidParameterValue", ec2.describe_volumes, Filters=[{"Name": "colour", "Values": ["red"]}])
    refused("InvalidParameterCombination", ec2.describe_volumes, VolumeIds=["vol-00000000000000001"], MaxResults=5)
    # A clock that is wrong.
    right = botocore.auth.get_current_datetime
    try:
        from datetime import timedelta

        botocore.auth.get_current_datetime = lambda *a, **k: right(*a, **k) - timedelta(minutes=16)
        assert refused("RequestExpired", ec2.describe_volumes)[1] == 400
    finally:
        botocore.auth.get_current_datetime = right
    # Somebody in between.
    tampered = api.client()

    def change(request, **_):
        body = request.body if isinstance(request.body, bytes) else request.body.encode()
        request.body = body.replace(b"Size=1", b"Size=9")
        request.headers["Content-Length"] = str(len(request.body))

    tampered.meta.events.register("before-send.ec2.CreateVolume", lambda request, **k: change(request))
    assert refused("AuthFailure", tampered.create_volume, AvailabilityZone=zone, Size=1)[1] == 401
    assert not ec2.describe_volumes()["Volumes"], "something was made"


def qemu_io(uri, *orders):
    command = ["qemu-io", "-f", "raw", uri]
    for order in orders:
        command += ["-c", order]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def io(uri, *orders):
    process = qemu_io(uri, *orders)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "failed" not in said, f"{orders}: {said}"


def in_use(region, api, zone):
    """A volume goes to an instance, is written to, becomes larger and faster meanwhile, says that it stands still, and comes back."""
    ec2 = api.client()
    volume = ec2.create_volume(AvailabilityZone=zone, Size=1, VolumeType="gp3")["VolumeId"]
    ec2.get_waiter("volume_available").wait(VolumeIds=[volume])
    (host,) = region.hosts()
    (page,) = ec2.get_paginator("describe_instances").paginate(InstanceIds=[host])
    (instance,) = page["Reservations"][0]["Instances"]
    assert instance["State"]["Name"] == "running" and instance["Placement"]["AvailabilityZone"] == zone, instance
    ec2.get_waiter("instance_status_ok").wait(InstanceIds=[host])
    (kind,) = ec2.describe_instance_types(InstanceTypes=[instance["InstanceType"]])["InstanceTypes"]
    assert kind["EbsInfo"]["MaximumEbsAttachments"] > 0, kind
    told = ec2.attach_volume(VolumeId=volume, InstanceId=host, Device="/dev/sdf")
    assert told["State"] == "attaching" and told["Device"] == "/dev/sdf", told
    ec2.get_waiter("volume_in_use").wait(VolumeIds=[volume])

    def shown():
        return ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]

    until("the volume is attached", 30, lambda: shown()["Attachments"][0]["State"] == "attached")
    (mapping,) = ec2.describe_instances()["Reservations"][0]["Instances"][0]["BlockDeviceMappings"]
    assert mapping["DeviceName"] == "/dev/sdf" and mapping["Ebs"]["VolumeId"] == volume, mapping
    # What is attached already, `attach` only says where it is.
    uri = region.attach(volume)
    io(uri, "write -P 7 0 1M", "flush")
    refused("VolumeInUse", ec2.delete_volume, VolumeId=volume)
    refused("VolumeInUse", ec2.attach_volume, VolumeId=volume, InstanceId=host, Device="/dev/sdg")
    refused("InvalidInstanceID.NotFound", ec2.attach_volume, VolumeId=volume, InstanceId="i-0000000000000beef", Device="/dev/sdg")
    changed = ec2.modify_volume(VolumeId=volume, Size=2, Throughput=200)["VolumeModification"]
    assert changed["ModificationState"] in ("modifying", "optimizing") and changed["TargetSize"] == 2, changed

    def change():
        return ec2.describe_volumes_modifications(VolumeIds=[volume])["VolumesModifications"][0]

    until("the volume is changed", 30, lambda: change()["ModificationState"] == "completed")
    assert change()["Progress"] == 100 and change()["OriginalSize"] == 1 and shown()["Size"] == 2 and shown()["Throughput"] == 200
    io(uri, "read -P 7 0 1M", "write -P 9 1536M 1M")
    stands_still(region, ec2, volume, uri)
    io(uri, "read -P 7 0 1M", "read -P 9 1536M 1M")
    # While somebody uses it there it stays, unless it is taken by force.
    for force in (False, True):
        user = subprocess.Popen(["qemu-io", "-f", "raw", uri], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        user.stdin.write("read -P 7 0 4k\n")
        user.stdin.flush()
        while "4096/4096" not in user.stdout.readline():
            assert user.poll() is None, "it cannot be used"
        told = ec2.detach_volume(VolumeId=volume)
        assert told["State"] == "detaching" and told["InstanceId"] == host, told
        time.sleep(2.5)
        assert shown()["Attachments"][0]["State"] == "detaching", "it was taken from somebody who uses it"
        if force:
            ec2.detach_volume(VolumeId=volume, Force=True)
        else:
            user.stdin.close()
        until("the volume is back", 30, lambda: shown()["State"] == "available")
        user.kill()
        user.wait(timeout=60)
        if not force:
            ec2.attach_volume(VolumeId=volume, InstanceId=host, Device="/dev/sdf")
            until("the volume is attached again", 30, lambda: shown()["Attachments"] and shown()["Attachments"][0]["State"] == "attached")
    assert shown()["Attachments"] == [] and region.run("volume", "show", volume)["attached"] is None, shown()
    message, _ = refused("IncorrectState", ec2.detach_volume, VolumeId=volume)
    assert message == f"Volume '{volume}' is in the 'available' state.", message
    ec2.delete_volume(VolumeId=volume)


def stands_still(region, ec2, volume, uri):
    """All nodes stop: the volume says so with the reason, and goes on."""

    def status():
        (item,) = ec2.describe_volume_status(VolumeIds=[volume])["VolumeStatuses"]
        return item

    until("all is well", 30, lambda: status()["VolumeStatus"]["Status"] == "ok")
    nodes = [name for name in region.pids() if name.startswith("node-")]
    for node in nodes:
        region.kill(node, signal.SIGSTOP)
    try:
        writer, began = qemu_io(uri, "write -P 8 1M 64k"), time.monotonic()
        until("the volume says that it stands still", 20, lambda: status()["VolumeStatus"]["Status"] == "impaired")
        took, item = time.monotonic() - began, status()
    finally:
        for node in nodes:
            region.kill(node, signal.SIGCONT)
    (event,) = item["Events"]
    assert event["EventType"] == "io-performance:stalled" and "I/O stands still" in event["Description"], item
    said, _ = writer.communicate(timeout=120)
    assert writer.returncode == 0, said
    until("all is well again", 120, lambda: status()["VolumeStatus"]["Status"] == "ok")
    print(f"a volume that stood still said so {took:.1f} s after its first I/O was delayed: {event['Description']}")


def command_line(api, zone):
    """The same by hand."""
    made = api.aws("ec2", "create-volume", "--availability-zone", zone, "--size", "1", "--volume-type", "gp2")
    volume = made["VolumeId"]
    assert made["Iops"] == 100
    api.aws("ec2", "wait", "volume-available", "--volume-ids", volume)
    api.aws("ec2", "create-tags", "--resources", volume, "--tags", "Key=Name,Value=x")
    shown = api.aws("ec2", "describe-volumes", "--filters", "Name=tag:Name,Values=x")
    assert [v["VolumeId"] for v in shown["Volumes"]] == [volume]
    said = api.aws("ec2", "create-volume", "--availability-zone", zone, "--size", "1", "--dry-run", status=255)
    assert "DryRunOperation" in said, said
    assert api.aws("sts", "get-caller-identity")["Account"] == "000000000001"
    (instance,) = api.aws("ec2", "describe-instances", "--query", "Reservations[].Instances[].InstanceId")
    where = ["--volume-id", volume, "--instance-id", instance]
    said = api.aws("ec2", "attach-volume", *where, "--device", "/dev/sdf", "--dry-run", status=255)
    assert "DryRunOperation" in said, said
    assert api.aws("ec2", "attach-volume", *where, "--device", "/dev/sdf")["State"] == "attaching"
    api.aws("ec2", "wait", "volume-in-use", "--volume-ids", volume)
    api.aws("ec2", "modify-volume", "--volume-id", volume, "--size", "3")
    told = api.aws("ec2", "describe-volumes-modifications", "--volume-ids", volume)["VolumesModifications"]
    assert told[0]["TargetSize"] == 3 and told[0]["TargetIops"] == 100, told
    (status,) = api.aws("ec2", "describe-volume-status", "--volume-ids", volume)["VolumeStatuses"]
    assert status["VolumeStatus"]["Status"] == "ok", status
    assert api.aws("ec2", "detach-volume", *where)["State"] == "detaching"
    api.aws("ec2", "wait", "volume-available", "--volume-ids", volume)
    api.aws("ec2", "delete-volume", "--volume-id", volume)


def has_ended(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def killed_at_random(region, rng):
    time.sleep(0.2 + rng.random() / 2)
    region.kill("region")


def kills(region, api, zone, ends=(killed_at_random,), arm=lambda end, rng: None):
    """A retried CreateVolume never makes a second volume: the process is killed while clients create and delete, and starts again. It ends in these ways in turn;
    `arm` is told of each before the process starts that is to end so."""
    made, deleted, stop, broken, asked = {}, set(), threading.Event(), threading.Event(), [0, 0]
    lock = threading.Lock()

    def again(call, rng, **parameters):
        """Asks until there is an answer: connections break, and refusals for now are asked again."""
        while True:
            if broken.is_set():
                sys.exit()
            with lock:
                asked[0] += 1
            try:
                return call(**parameters)
            except Exception as why:
                code = why.response["Error"]["Code"] if isinstance(why, ClientError) else ""
                if code == "InvalidVolume.NotFound":
                    return None  # Deleted by what was asked before, and nobody heard of it.
                assert code in ("", "Unavailable", "RequestLimitExceeded"), why
                with lock:
                    asked[1] += 1
                time.sleep(rng.random() / 20)

    def create(number):
        rng = random.Random(number)
        ec2 = api.client()
        for n in range(10**6):
            if stop.is_set():
                return
            token = f"{number}-{n}"
            volume = again(ec2.create_volume, rng, AvailabilityZone=zone, Size=1, ClientToken=token)["VolumeId"]
            with lock:
                made.setdefault(token, set()).add(volume)
            if rng.random() < 0.97:
                again(ec2.delete_volume, rng, VolumeId=volume)
                with lock:
                    deleted.add(volume)
            time.sleep(rng.random() / 20)

    workers = [threading.Thread(target=create, args=(n,)) for n in range(4)]
    for worker in workers:
        worker.start()
    rng, gaps = random.Random(1), []
    try:
        for n in range(KILLS):
            ends[n % len(ends)](region, rng)
            # After the last it lives on.
            arm(ends[(n + 1) % len(ends)] if n + 1 < KILLS else killed_at_random, rng)
            region.start("region")
            began = time.monotonic()
            ec2 = api.client()

            def answers():
                try:
                    if ec2.describe_regions():
                        gaps.append(time.monotonic() - began)
                    return True
                except Exception:
                    # One that is to die on its own may be dead already.
                    return has_ended(region.pids()["region"])

            until("the API answers again", 10, answers)
    except BaseException:
        broken.set()  # Nobody may be there any more who answers.
        raise
    finally:
        stop.set()
        for worker in workers:
            worker.join()
    assert all(len(volumes) == 1 for volumes in made.values()), "one token, two volumes"
    told = {volume for volumes in made.values() for volume in volumes} - deleted
    until("no volume is on its way", 30, lambda: not api.client().describe_volumes(Filters=[{"Name": "status", "Values": ["creating", "deleting"]}])["Volumes"])
    known = {v["VolumeId"] for v in api.client().describe_volumes()["Volumes"]}
    kept = {v["id"] for v in region.run("volume", "list") if v["condition"] != "deleting"}
    assert known == kept, f"the region knows of {len(known)} volumes and the zone has room for {len(kept)}"
    assert known == told, f"{len(known - told)} volumes that nobody was told of, {len(told - known)} that are lost"
    print(f"{KILLS} kills, {asked[0]} requests, {asked[1]} of them asked again; {len(made)} tokens, {len(deleted)} volumes deleted, {len(known)} left; back within {max(gaps):.2f} s of the start")
    return sorted(known)


def states(ec2):
    """How each zone is, by name: its state, and what is said of it."""
    zones = ec2.describe_availability_zones()["AvailabilityZones"]
    return {z["ZoneName"]: (z["State"], [m["Message"] for m in z.get("Messages", [])]) for z in zones}


def made_in(api, zone, token):
    ec2 = api.client()
    volume = ec2.create_volume(AvailabilityZone=zone, Size=1, ClientToken=token)["VolumeId"]
    ec2.get_waiter("volume_available").wait(VolumeIds=[volume])
    return volume


def dead_zone(region, api, names):
    """While one zone's authority is dead, what is asked of that zone is refused in time and the others do not notice. What was begun there meanwhile comes to its end when it is back."""
    ec2, dead = api.client(), names[1]
    others = [name for name in names if name != dead]
    (before,) = [v["id"] for v in region.run("volume", "list", "--zone", dead)]
    region.kill(f"{dead}/zone")
    until("it is seen that the zone is gone", 30, lambda: states(ec2)[dead][0] == "impaired")
    assert states(ec2)[dead][1] == ["The zone's authority cannot be reached."], states(ec2)
    assert all(states(ec2)[name] == ("available", []) for name in others), states(ec2)
    told = [f"{dead} (zone-1 in this log)", "its authority cannot be reached: nobody listens there"]
    until("the log says so", 30, lambda: any(all(words in line for words in told) for line in region.log("region").splitlines()))
    # More at once than may wait for one zone: some are refused in time, the others at once.
    asked, codes, wrong = 160, {}, []
    many = api.client(connections=asked)

    def create(n):
        try:
            many.create_volume(AvailabilityZone=dead, Size=1, ClientToken=f"dead-{n}")
            wrong.append("a volume was made without its zone")
        except ClientError as why:
            codes[n] = why.response["Error"]["Code"]
        except Exception as why:  # No answer before the client's own time was up, say.
            wrong.append(why)

    workers = [threading.Thread(target=create, args=(n,)) for n in range(asked)]
    for worker in workers:
        worker.start()
    rounds = 0
    while any(worker.is_alive() for worker in workers) or rounds < 3:
        for name in others:
            ec2.delete_volume(VolumeId=made_in(api, name, f"meanwhile-{name}-{rounds}"))
        rounds += 1
    assert not wrong, wrong[0]
    assert set(codes.values()) == {"Unavailable", "RequestLimitExceeded"}, codes
    began = [n for n, code in codes.items() if code == "Unavailable"]
    refused("Unavailable", ec2.delete_volume, VolumeId=before)
    shown = {v["VolumeId"]: v["State"] for v in ec2.describe_volumes(Filters=[{"Name": "availability-zone", "Values": [dead]}])["Volumes"]}
    # What its zone was never asked for is not there: whoever asked was told so, and asks again.
    assert shown == {before: "deleting"}, shown
    region.refused("E0013", "volume", "list", "--zone", dead)
    region.start(f"{dead}/zone")
    until("the zone is reached again", 30, lambda: states(ec2)[dead] == ("available", []))
    until("its nodes are up again", 60, lambda: region.run("zone", "status", "--zone", dead)["nodes_up"] == 3)
    # Each request again is one volume: the one that it began, or another where the zone had to give that up since its nodes were not up yet.
    volumes = {made_in(api, dead, f"dead-{n}") for n in began}
    assert len(volumes) == len(began), volumes
    until("the zone has those and no others", 60, lambda: {v["id"] for v in region.run("volume", "list", "--zone", dead)} == volumes)
    for volume in volumes:
        ec2.delete_volume(VolumeId=volume)
    print(
        f"one of three zones dead: of {asked} creates there {len(began)} refused in time and the others at once; {2 * rounds} volumes made and deleted in "
        "the others meanwhile"
    )


def silent_zone(region, api, names):
    """The same where the authority is there and says nothing."""
    ec2, silent = api.client(), names[2]
    region.kill(f"{silent}/zone", signal.SIGSTOP)
    message, status = refused("Unavailable", ec2.create_volume, AvailabilityZone=silent, Size=1, ClientToken="silent")
    assert "not answered in time" in message and status == 503, (message, status)
    for name in names[:2]:
        ec2.delete_volume(VolumeId=made_in(api, name, f"beside-silence-{name}"))
    until("it is seen that the zone is silent", 60, lambda: states(ec2)[silent][0] == "impaired")
    assert [states(ec2)[name][0] for name in names[:2]] == ["available"] * 2, states(ec2)
    region.kill(f"{silent}/zone", signal.SIGCONT)
    until("the zone is reached again", 60, lambda: states(ec2)[silent] == ("available", []))
    until("its nodes are heard again", 60, lambda: region.run("zone", "status", "--zone", silent)["nodes_up"] == 3)
    ec2.delete_volume(VolumeId=made_in(api, silent, "silent"))


def wrong_key(region, names):
    """A region that has another zone's key for one of its zones serves the others, and says what is wrong."""
    path = os.path.join(region.dir, "region", "config.toml")
    with open(path, encoding="utf-8") as file:
        right = file.read()
    wrong = right.replace(f'key = "../{names[1]}/zone.key"', 'key = "../zone.key"')
    assert wrong != right
    for text, state in ((wrong, "impaired"), (right, "available")):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        region.kill("region")
        region.start("region")
        api = Api(region)
        ec2 = api.client()
        others = (names[0], names[2])
        until("the other zones are reached", 30, lambda: all(states(ec2)[name][0] == "available" for name in others))
        until(f"the zone is {state}", 30, lambda: states(ec2)[names[1]][0] == state)
        for name in others:
            ec2.delete_volume(VolumeId=made_in(api, name, f"{state}-{name}"))
    assert "do not have the same zone key" in region.log("region")
    ec2.delete_volume(VolumeId=made_in(api, names[1], "right-again"))


def observed(region, api, zone):
    """What an operator sees: each operation counted alone, and a line of log by the id that the client was told."""
    url = region.entries()["metrics"]
    assert url.startswith("http://127.0.0.1:") and not url.startswith(api.url), url

    def page():
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert answer.headers["content-type"].startswith("text/plain; version=0.0.4"), answer.headers
            lines = [line for line in answer.read().decode().splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}

    def requests(operation, kind, outcome, where=f'zone="{zone}",'):
        return f'seawall_api_requests_total{{operation="{operation}",operation_class="{kind}",{where}outcome="{outcome}"}}'

    before, ec2 = page(), api.client()
    assert before[f'seawall_region_zone_reached{{zone="{zone}"}}'] == 1 and before["seawall_region_ready"] == 1
    made = ec2.create_volume(AvailabilityZone=zone, Size=1)
    volume = made["VolumeId"]
    ec2.get_waiter("volume_available").wait(VolumeIds=[volume])
    missing = {"VolumeId": volume, "InstanceId": "i-0000000000000beef", "Device": "/dev/sdf"}
    refused("InvalidInstanceID.NotFound", ec2.attach_volume, **missing)
    refused("MissingParameter", ec2.create_volume, AvailabilityZone=zone)
    refused("AuthFailure", api.client(secret="x" * 40).attach_volume, **missing)
    gone = ec2.delete_volume(VolumeId=volume)
    after = page()
    # Whoever is not known is counted for no operation.
    grew = {name: after[name] - before[name] for name in before if name.startswith("seawall_api_requests_total") and after[name] != before[name]}
    seen = grew.pop(requests("DescribeVolumes", "describe", "ok", ""))
    assert seen >= 1 and grew == {
        requests("CreateVolume", "change", "ok"): 1,
        requests("CreateVolume", "change", "client_error"): 1,
        requests("AttachVolume", "launch-attach", "client_error"): 1,
        requests("DeleteVolume", "change", "ok"): 1,
        requests("unknown", "unknown", "client_error", ""): 1,
    }, grew
    for told, operation in ((made, "CreateVolume"), (gone, "DeleteVolume")):
        name = told["ResponseMetadata"]["RequestId"]
        (line,) = until("it is logged", 10, lambda: [line for line in region.log("region").splitlines() if f" id={name} " in line])
        fields = dict(field.split("=", 1) for field in line.split() if "=" in field)
        wanted = {"operation": operation, "account": "000000000001", "zone": zone, "volume": volume, "outcome": "ok", "status": "200"}
        assert wanted.items() <= fields.items() and float(fields["duration_ms"]) > 0, line
    log = region.log("region")
    assert api.secret not in log and api.id not in log and "Signature" not in log, "the log tells secrets"


def several_zones():
    """Three zones under one API: each a cluster of its own."""
    with Region("--zones", "3", nodes=3, node_size="400GiB") as region:
        api = Api(region)
        ec2 = api.client()
        names = [f"{api.name}{letter}" for letter in "abc"]
        until("all zones are reached", 30, lambda: states(ec2) == {name: ("available", []) for name in names})
        ids = {z["ZoneId"] for z in ec2.describe_availability_zones()["AvailabilityZones"]}
        assert len(ids) == 3, ids
        assert len({z["cluster"] for z in region.entries()["zones"]}) == 3
        volumes = {name: made_in(api, name, f"first-{name}") for name in names}
        shown = {v["VolumeId"]: v["AvailabilityZone"] for v in ec2.describe_volumes()["Volumes"]}
        assert shown == {volume: name for name, volume in volumes.items()}, shown
        for name, volume in volumes.items():
            assert [v["id"] for v in region.run("volume", "list", "--zone", name)] == [volume]
            # A host of its own zone has it.
            attached = region.run("attach", volume, "--zone", name)
            assert attached["host"] == [h["id"] for h in region.entries()["hosts"] if h["zone"] == name][0]
            region.run("detach", volume, "--zone", name)
        for words in (("volume", "list"), ("node", "list"), ("zone", "status"), ("dev", "start", "zone")):
            message = region.refused("E0027", *words)
            assert ", ".join(names) in message, message
        dead_zone(region, api, names)
        silent_zone(region, api, names)
        # All of it is there after a restart of everything, which need not be told how many zones there are.
        region.stop_all()
        at = region.options.index("--zones")
        del region.options[at : at + 2]
        region.start_all()
        ec2 = Api(region).client()
        until("all zones are reached again", 30, lambda: all(state == "available" for state, _ in states(ec2).values()))
        left = {v["VolumeId"]: v["AvailabilityZone"] for v in ec2.describe_volumes()["Volumes"]}
        assert left == {volumes[name]: name for name in (names[0], names[2])}, left
        wrong_key(region, names)


def main():
    need("qemu-io")
    several_zones()
    with Region(node_size="400GiB") as region:
        api = Api(region)
        zone = life(region, api)
        refusals(api, zone)
        observed(region, api, zone)
        command_line(api, zone)
        in_use(region, api, zone)
        volumes = kills(region, api, zone)
        # The zone's own commands see the same, and all of it is there after a restart of everything.
        region.stop_all()
        region.start_all()
        ec2 = Api(region).client()
        assert sorted(v["VolumeId"] for v in ec2.describe_volumes()["Volumes"]) == volumes
        for volume in volumes:
            ec2.delete_volume(VolumeId=volume)
        until("the zone has taken all back", 60, lambda: not region.run("volume", "list"))


if __name__ == "__main__":
    main()
