"""Lets botocore itself, not only its model, say what requests look like and whether our answers are understood.

Run by hand where that release of botocore can be imported, when operations are added: clients.py ROOT [--write]. With --write it writes
crates/api/tests/golden/requests.txt: each operation with all of its members, as botocore sends it. Without, it compares. In both it reads
crates/api/tests/golden/answers.txt, each operation's answer with all of its members as api writes it, and demands that botocore finds every one.
"""

import datetime
import sys
import urllib.parse
from pathlib import Path

import botocore.loaders
import botocore.model
import botocore.parsers
import botocore.serialize

import generate

TIME = datetime.datetime(2026, 11, 23, 4, 46, 34, tzinfo=datetime.timezone.utc)
# What crates/api/src/shape/filled.rs puts into a member of each kind.
WANTED = {"string": "a <b> & \"c\"\n\u00e9", "integer": 7, "long": 8_000_000_000, "boolean": True, "double": 0.5, "timestamp": TIME}
SENT = {**WANTED, "string": "a b+c&d=e%f/\u00e9~", "integer": -12}


def filled(shape, values):
    """A value of a shape with everything in it; lists have eleven elements, so that their order is not that of texts."""
    if shape.type_name == "structure":
        return {name: filled(member, values) for name, member in shape.members.items()}
    if shape.type_name == "list":
        return [filled(shape.member, values)] * (11 if values is SENT else 1)
    return values[shape.type_name]


def services():
    loader = botocore.loaders.Loader()
    for spec in (generate.EC2, generate.STS):
        full = loader.load_service_model(spec["folder"], "service-2")
        model = botocore.model.ServiceModel(full, spec["folder"])
        for name in spec["operations"]:
            yield model, model.operation_model(name)


def request(model, operation):
    """The body that botocore would send."""
    serializer = botocore.serialize.create_serializer(model.protocol, include_validation=False)
    params = filled(operation.input_shape, SENT) if operation.input_shape else {}
    body = serializer.serialize_to_request(params, operation)["body"]
    return urllib.parse.urlencode(body)


def understood(model, operation, answer):
    """What botocore misses in an answer, or nothing."""
    parser = botocore.parsers.create_parser(model.protocol)
    response = {"status_code": 200, "headers": {}, "body": answer.encode()}
    read = parser.parse(response, operation.output_shape)
    meta = read.pop("ResponseMetadata")
    want = filled(operation.output_shape, WANTED) if operation.output_shape else {}
    return None if read == want and meta["RequestId"] == "id" else f"{operation.name}: botocore reads {read}, and not {want}"


def main(root, *options):
    golden = Path(root) / "crates/api/tests/golden"
    requests = "".join(request(model, operation) + "\n" for model, operation in services())
    if "--write" in options:
        golden.mkdir(exist_ok=True)
        (golden / "requests.txt").write_text(requests, encoding="utf-8")
    wrong = [] if requests == (golden / "requests.txt").read_text(encoding="utf-8") else ["requests.txt: botocore sends others"]
    if (golden / "answers.txt").exists():
        answers = (golden / "answers.txt").read_text(encoding="utf-8").split("\n\n")
        answers = dict(answer.split("\n", 1) for answer in answers if answer.strip())
        for model, operation in services():
            wrong.append(understood(model, operation, answers[operation.name]))
    wrong = [why for why in wrong if why]
    print("\n".join(wrong) or "botocore sends these requests and understands these answers")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main(*sys.argv[1:])
