"""Writes requests that botocore signs, to standard output, as JSON: what the verifier must accept.

Needs botocore and no network: nothing is sent, and the time stands still. Run it in a virtual environment:

    python3 -m venv venv && venv/bin/pip install botocore==1.44.8 && venv/bin/python botocore_requests.py > botocore.json
"""

import base64
import datetime
import hashlib
import json
import unittest.mock

import botocore.auth
import botocore.session

NOW = datetime.datetime(2026, 11, 30, 12, 0, 0, tzinfo=datetime.timezone.utc)
KEY = ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")


class Sent(Exception):
    """A request reached the point where it would have been sent."""


def signed(service, operation, **parameters):
    """The request that this operation becomes."""
    caught = []

    def catch(request, **_):
        caught.append(request)
        raise Sent

    client = botocore.session.get_session().create_client(
        service,
        region_name="us-east-1",
        endpoint_url="http://127.0.0.1:4566",
        aws_access_key_id=KEY[0],
        aws_secret_access_key=KEY[1],
    )
    client.meta.events.register("before-send", catch)
    try:
        getattr(client, operation)(**parameters)
    except Sent:
        pass
    request = caught[0]
    path, _, query = request.url.removeprefix("http://127.0.0.1:4566").partition("?")
    body = request.body or b""
    body = body.read() if hasattr(body, "read") else body
    body = body.encode() if isinstance(body, str) else body
    # The HTTP client adds this one when it sends.
    headers = [["Host", "127.0.0.1:4566"]]
    for name, value in request.headers.items():
        if name.lower() != "user-agent":
            headers.append([name, value.decode() if isinstance(value, bytes) else value])
    return {
        "name": f"{service} {operation}",
        "method": request.method,
        "path": path,
        "query": query,
        "headers": headers,
        "body_hex": body.hex(),
    }


def presigned(service, operation, **parameters):
    """The same for a URL that carries its signature."""
    client = botocore.session.get_session().create_client(
        service,
        region_name="us-east-1",
        endpoint_url="http://127.0.0.1:4566",
        aws_access_key_id=KEY[0],
        aws_secret_access_key=KEY[1],
    )
    url = client.generate_presigned_url(operation, Params=parameters, ExpiresIn=3600, HttpMethod="GET")
    path, _, query = url.removeprefix("http://127.0.0.1:4566").partition("?")
    return {
        "name": f"{service} {operation} presigned",
        "method": "GET",
        "path": path,
        "query": query,
        "headers": [["Host", "127.0.0.1:4566"]],
        "body_hex": "",
    }


def main():
    """All of them."""
    block = bytes(range(256)) * 2
    with (
        unittest.mock.patch("botocore.auth.get_current_datetime", lambda remove_tzinfo=True: NOW.replace(tzinfo=None)),
        unittest.mock.patch("uuid.uuid4", lambda: "00000000-0000-4000-8000-000000000000"),
    ):
        requests = [
            signed(
                "ec2",
                "create_volume",
                AvailabilityZone="us-east-1a",
                Size=8,
                TagSpecifications=[
                    {"ResourceType": "volume", "Tags": [{"Key": "Größe + ~", "Value": "a b  c/ሴ=&%20*"}]},
                ],
            ),
            signed("sts", "get_caller_identity"),
            signed(
                "ebs",
                "put_snapshot_block",
                SnapshotId="snap-0123456789abcdef0",
                BlockIndex=7,
                BlockData=block,
                DataLength=len(block),
                Checksum=base64.b64encode(hashlib.sha256(block).digest()).decode(),
                ChecksumAlgorithm="SHA256",
            ),
            signed("ebs", "list_snapshot_blocks", SnapshotId="snap-0123456789abcdef0", NextToken="a+b/c= ~d", MaxResults=100),
            signed("ebs", "start_snapshot", VolumeSize=8, Description="zwei  Räume", ClientToken="token"),
            signed("rds", "describe_db_instances", DBInstanceIdentifier="a~b"),
            presigned("ec2", "describe_volumes", Filters=[{"Name": "tag:a b", "Values": ["x+y", "~"]}]),
            presigned("sts", "get_caller_identity"),
        ]
    print(json.dumps({"secret": KEY[1], "now_s": int(NOW.timestamp()), "requests": requests}, indent=1))


main()
