"""Turns botocore's protocol cases round: what tests its clients becomes tests of a server's reader and writer.

An input case says which body parameters become: the body must be read as those parameters. An output case says what a body is read as:
that must be written as this body. Members that no served shape has the like of (maps, attributes, lists of lists) are taken out.
"""

import base64
import json
import re

TOKEN = "00000000-0000-4000-8000-000000000000"
MACROS = {"input": "requests", "output": "answers"}


def text(value):
    """A Rust literal of a text."""
    return json.dumps(value, ensure_ascii=False).replace("\\b", "\\u{8}").replace("\\f", "\\u{c}")


def raw(value):
    """A Rust literal of a document, without the space between its elements."""
    value = re.sub(r">\s+<", "><", value.strip())
    return f'r#"{value}"#'


class Suite:
    """The shapes and cases that stand together."""

    def __init__(self, suite, way, model, snake):
        self.snake, self.way, self.cases = snake, way, suite["cases"]
        self.model = model(suite["shapes"], suite["metadata"]["protocol"])
        self.dropped = set()
        for name, shape in suite["shapes"].items():
            for member, ref in list(shape.get("members", {}).items()):
                if self.is_odd(ref):
                    self.dropped |= {member, ref.get("locationName") or member}
                    del shape["members"][member]

    def is_odd(self, ref):
        shape = self.model.shapes[ref["shape"]]
        inner = shape.get("member") and self.model.shapes[shape["member"]["shape"]]
        return shape["type"] == "map" or ref.get("xmlAttribute") or (inner and inner["type"] in ("list", "map"))

    def literal(self, ref, value, owner=None, member=None):
        """A value as Rust says it."""
        shape = self.model.shapes[ref["shape"]]
        if shape["type"] == "list":
            return f"vec![{', '.join(self.literal(shape['member'], item) for item in value)}]"
        if shape["type"] == "structure":
            fields = [f"{self.snake(m)}: {self.member(ref['shape'], m, r, value[m])}"
                      for m, r in shape["members"].items() if value.get(m) is not None]
            rest = [] if len(fields) == len(shape["members"]) else ["..Default::default()"]
            return f"{ref['shape']} {{ {', '.join(fields + rest)} }}"
        kind = self.model.scalar(ref)
        if kind == "Timestamp":
            return f"Timestamp({round(value * 1000)})"
        if kind == "f64":
            special = {"NaN": "f64::NAN", "Infinity": "f64::INFINITY", "-Infinity": "f64::NEG_INFINITY"}
            return special.get(value) or repr(float(value))
        if shape["type"] == "blob":
            value = base64.b64encode(value.encode()).decode()
        return f"{text(value)}.into()" if kind == "String" else json.dumps(value)

    def member(self, owner, name, ref, value):
        kind = self.model.kind(owner, name, ref)
        literal = self.literal(ref, value)
        if "Box<" in kind:
            literal = f"Box::new({literal})"
        return f"Some({literal})" if kind.startswith("Option") or self.way == "output" and not kind.startswith("Vec") else literal

    def empty_lists(self, ref, value):
        """The elements of lists that a result says are there and empty."""
        found = []
        for name, member in self.model.shapes[ref["shape"]].get("members", {}).items():
            if value.get(name) == [] and self.model.is_list(member):
                found.append(self.model.tag(name, member).split("/")[0])
        return found

    def why_left_out(self, case):
        if case.get("errorCode") or case.get("error"):
            return "an error"
        if "requestcompression" in case["given"]:
            return "compressed"
        if self.way == "output" and not case["response"].get("body"):
            return "no body"
        values = json.dumps(case.get("params" if self.way == "input" else "result"))
        if self.way == "input" and any(f'"{name}"' in values for name in self.dropped):
            return "a map or the like"
        if self.way == "output" and case.get("result") and not set(case["result"]) - self.dropped:
            return "nothing but maps or the like"
        given = case["given"].get(self.way)
        formats = [ref for ref in self.refs(given) if self.model.shapes[ref[1]["shape"]]["type"] == "timestamp"
                   and self.model.scalar(ref[1]) == "String"]
        if self.way == "output" and any(f'"{name}"' in values for name, _ in formats):
            return "a date as HTTP writes it"
        return None

    def refs(self, given):
        return list(self.model.shapes[given["shape"]].get("members", {}).items()) if given else []

    def test(self, case):
        """One case as a test."""
        given, name = case["given"], self.snake(case["id"])
        shape = given.get(self.way)
        if self.way == "input":
            params = dict(case["params"])
            params.update({m: TOKEN for m, r in self.refs(shape) if r.get("idempotencyToken") and m not in params})
            body = text(case["serialized"]["body"])
            want = self.literal(shape, params) if shape else "Nothing"
            call = f"reads({text(given['name'])}, {body}, {want})"
        else:
            body = raw(case["response"].get("body", ""))
            want = f"Some({self.literal(shape, case['result'])})" if shape else "None::<Nothing>"
            kept = ", ".join(text(tag) for tag in self.empty_lists(shape, case["result"])) if shape else ""
            without = ", ".join(text(tag) for tag in sorted(self.dropped))
            call = f"writes(SERVICE, {text(given['name'])}, {want}, &[{kept}], {body}, &[{without}])"
        return f"    #[test]\n    fn {name}() {{\n        {call};\n    }}\n"

    def module(self, at, left_out):
        """The whole suite, or nothing."""
        kept = []
        for case in self.cases:
            why = self.why_left_out(case)
            if why:
                left_out.append(f"{case['id']} ({why})")
            else:
                kept.append(case)
        if not kept:
            return ""
        reached = set()
        for case in kept:
            if self.way in case["given"]:
                self.model.reach(case["given"][self.way]["shape"], reached)
        names = self.model.structures(reached)
        shapes = self.model.block(MACROS[self.way], names, self.way == "input", self.way == "output")
        shapes = "".join(f"    {line}\n" if line else "\n" for line in shapes.splitlines())
        name = self.snake(kept[0]["given"]["name"])
        tests = "\n".join(self.test(case) for case in kept)
        return f"\nmod {name}_{at} {{\n    use super::*;\n\n{shapes}\n{tests}}}\n"


def files(cases, model, head, snake):
    """The generated tests, by name."""
    made = {}
    for way in ("input", "output"):
        for protocol in ("ec2", "query"):
            suites = json.loads((cases / f"{way}-{protocol}.json").read_text(encoding="utf-8"))
            left_out = []
            body = "".join(Suite(suite, way, model, snake).module(at, left_out) for at, suite in enumerate(suites))
            about = f"botocore's {way} cases of the protocol {protocol}, turned round. Left out:\n//!"
            about += "".join(f"\n//! - {case}" for case in left_out)
            what = "reads" if way == "input" else "writes"
            service = "" if way == "input" else f"use crate::{ {'ec2': 'ec2', 'query': 'sts'}[protocol] }::SERVICE;\n"
            helpers = f"{{Nothing, {what}}}" if "Nothing" in body else what
            uses = f"{service}use crate::shape::{MACROS[way]};\nuse crate::shape::tests::{helpers};\n"
            if "Timestamp" in body:
                uses += "use crate::timestamp::Timestamp;\n"
            made[f"crates/api/src/shape/protocol/{protocol}_{way}.rs"] = head.format(about=about) + f"\n{uses}{body}"
    return made
